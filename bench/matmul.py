"""Matrix products in the three forms of a dense layer: GFLOP/s.

"bpcore kernel" is one call of the kernel, which runs on one thread: the plan divides its work among
threads, not a product's. "bpcore" is the product as a dense layer's forward, on all threads; the
rivals use all threads too.
"""

from __future__ import annotations

import importlib.util

import numpy as np

from .timing import alternate, repeated

# M x K x N of C = A B.
SHAPES = (
    (32, 784, 128), (128, 512, 512), (256, 2048, 2048), (512, 512, 512), (2048, 2048, 2048),
    (64, 64, 64), (784, 32, 128), (10, 784, 30), (32, 128, 10), (4096, 64, 64),
)  # fmt: skip
FORMS = {"x w": (False, False), "dy w^T": (False, True), "x^T dy": (True, False)}


def _onednn(a, b):
    """A call of oneDNN's inner product through PyTorch's blocked tensors; None if not built in."""
    import torch

    if not torch.backends.mkldnn.is_available():
        return None
    x = torch.from_numpy(np.ascontiguousarray(a)).to_mkldnn()
    w = torch.from_numpy(np.ascontiguousarray(b.T)).to_mkldnn()
    bias = torch.zeros(b.shape[1]).to_mkldnn()
    return lambda: torch._C._nn.mkldnn_linear(x, w, bias)


def _dense(core, a, b):
    """The product as the forward pass of a graph with one dense node."""
    w = core.empty(b.shape, "float32")
    w[...] = b
    nodes = [
        ("input", (), (), {"shape": (a.shape[1],)}, "x"),
        ("dense", (0,), (0,), {}, "dense"),
    ]
    network = core.Network("float32", nodes, [1], [w], ["w"], [True])
    return {"bpcore": lambda: network.forward([a])[0]}


def candidates(m: int, k: int, n: int, form: str) -> dict:
    transpose_a, transpose_b = FORMS[form]
    rng = np.random.default_rng(1)
    a = rng.random((k, m) if transpose_a else (m, k), dtype=np.float32)
    b = rng.random((n, k) if transpose_b else (k, n), dtype=np.float32)
    op_a, op_b = (a.T if transpose_a else a), (b.T if transpose_b else b)
    calls = {"NumPy": lambda: op_a @ op_b}
    if importlib.util.find_spec("bpcore"):
        from bpcore import _core

        kernel = {"bpcore kernel": lambda: _core.matmul(a, b, transpose_a, transpose_b)}
        calls = {**(_dense(_core, a, b) if form == "x w" else {}), **kernel, **calls}
    if importlib.util.find_spec("torch"):
        import torch

        ta, tb = torch.from_numpy(op_a), torch.from_numpy(op_b)
        calls["PyTorch"] = lambda: ta @ tb
        if form == "x w" and (call := _onednn(a, b)) is not None:
            calls["oneDNN"] = call
    return calls


def matmul(rounds: int, quick: bool) -> list[dict]:
    rows = []
    for m, k, n in SHAPES:
        for form in FORMS:
            if quick and form != "x w":
                continue
            calls = candidates(m, k, n, form)
            results = {name: np.asarray(call().to_dense() if name == "oneDNN" else call())
                       for name, call in calls.items()}  # fmt: skip
            for name, c in results.items():
                if not np.allclose(c, results["NumPy"], rtol=1e-4):
                    raise AssertionError(f"{m}x{k}x{n} {form}: {name} and NumPy differ")
            loops = {name: repeated(call) for name, call in calls.items()}
            timed = alternate({name: loop for name, (loop, _) in loops.items()}, rounds)
            flops = {
                name: 2e-9 * m * k * n * loops[name][1] / t["median"] for name, t in timed.items()
            }
            rows.append({"shape": f"{m}x{k}x{n}", "form": form, "gflops": flops})
    return rows
