"""Matrix products in the three forms of a dense layer: GFLOP/s, results into arrays that exist.

Each figure holds a call from Python, about a microsecond: it is most of the smallest products.
oneDNN's is the faster of dnnl_sgemm and the matmul primitive.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from functools import partial

import numpy as np

from bpcore import _core

from . import onednn
from .report import label
from .scaling import FLOPS_PER_THREAD
from .timing import alternate, repeated

# M x K x N of C = A B.
SHAPES = (
    (32, 784, 128), (128, 512, 512), (256, 2048, 2048), (512, 512, 512), (2048, 2048, 2048),
    (64, 64, 64), (784, 32, 128), (10, 784, 30), (32, 128, 10), (4096, 64, 64),
)  # fmt: skip
LARGE = ((512, 512, 512), (2048, 2048, 2048))  # to be held against the peak
FORMS = {"x w": (False, False), "dy w^T": (False, True), "x^T dy": (True, False)}


class Product:
    """One product in one form, ready to be done by every library.

    `loops`: (column, variant) to a function that repeats the call, and how many calls that is.
    """

    def __init__(self, shape: tuple[int, int, int], form: str, threads: int, rival):
        m, k, n = shape
        self.flops = 2 * m * k * n
        self.form, self.threads, self.rival = FORMS[form], threads, rival
        rng = np.random.default_rng(1)
        self.a = rng.random((k, m) if self.form[0] else (m, k), dtype=np.float32)
        self.b = rng.random((n, k) if self.form[1] else (k, n), dtype=np.float32)
        self.op_a = self.a.T if self.form[0] else self.a
        self.op_b = self.b.T if self.form[1] else self.b
        self.expected = self.op_a @ self.op_b
        self.loops: dict[tuple[str, str], tuple[Callable[[], None], int]] = {}
        counts = sorted({1, threads})
        for count in counts:
            self._add_bpcore(count)
        self._add("NumPy", lambda c: partial(np.matmul, self.op_a, self.op_b, c))
        if importlib.util.find_spec("torch"):
            self._add("PyTorch", self._torch)
        if rival:
            for count in counts:
                self._add_onednn(count)

    def _add(self, column: str, make: Callable, variant: str = "") -> None:
        c = np.zeros_like(self.expected)
        call = make(c)
        call()
        if not np.allclose(c, self.expected, rtol=1e-4):
            raise AssertionError(f"{self.expected.shape} {self.form}: {column} and NumPy differ")
        self.loops[column, variant] = repeated(call)

    def _add_bpcore(self, threads: int) -> None:
        used = max(1, min(threads, self.flops // FLOPS_PER_THREAD))  # as the core would take
        defaults = None, 0, ""  # bias, chunk, compute: arguments by name cost time
        self._add(
            label("bpcore", threads),
            lambda c: partial(_core.matmul, self.a, self.b, *self.form, *defaults, used, c),
        )

    def _torch(self, c):
        import torch

        a, b, out = (torch.from_numpy(array) for array in (self.op_a, self.op_b, c))
        return partial(torch.mm, a, b, out=out)

    def _add_onednn(self, threads: int) -> None:
        column = label("oneDNN", threads)
        self.rival.set_threads(threads)
        for variant in ("sgemm", "matmul"):
            self._add(
                column,
                lambda c, v=variant: self.rival.products(self.a, self.b, c, *self.form)[v],
                variant,
            )
            loop, count = self.loops[column, variant]
            self.loops[column, variant] = self._with_threads(threads, loop), count
        self.rival.set_threads(self.threads)

    def _with_threads(self, threads: int, loop: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            self.rival.set_threads(threads)
            loop()
            self.rival.set_threads(self.threads)  # PyTorch's too

        return run

    def gflops(self, rounds: int) -> dict[str, float]:
        """Of each column its best variant."""
        timed = alternate({key: loop for key, (loop, _) in self.loops.items()}, rounds)
        found: dict[str, float] = {}
        for (column, variant), times in timed.items():
            rate = 1e-9 * self.flops * self.loops[column, variant][1] / times["median"]
            found[column] = max(rate, found.get(column, 0.0))
        return found


def peaks(threads: int) -> dict[str, float]:
    """GFLOP/s of FMA chains in registers."""
    return {
        label("bpcore", n): 1e-9 * _core.fma_peak("float32", n, 0.05) for n in sorted({1, threads})
    }


def matmul(rounds: int, quick: bool, threads: int) -> list[dict]:
    """`peak`: of large products, the larger of two readings, one before and one after."""
    path = onednn.library_path()
    rival = onednn.OneDnn(path) if path else None
    found = []
    for shape, form in itertools.product(SHAPES, ("x w",) if quick else tuple(FORMS)):
        product = Product(shape, form, threads, rival)
        result = {"shape": "x".join(map(str, shape)), "form": form}
        before = peaks(threads) if shape in LARGE else {}
        result["gflops"] = product.gflops(rounds)
        after = peaks(threads) if shape in LARGE else {}
        result["peak"] = {name: max(before[name], after[name]) for name in before}
        found.append(result)
    return found
