"""Forward pass of 8-64-64-4 tanh on one row, NumPy in and NumPy out: microseconds."""

from __future__ import annotations

import importlib.util
import itertools

import numpy as np

from .timing import alternate, repeated

SIZES = (8, 64, 64, 4)


def _weights():
    rng = np.random.default_rng(3)
    return [
        (rng.normal(size=(i, o)).astype(np.float32) / np.float32(i**0.5), np.zeros(o, np.float32))
        for i, o in itertools.pairwise(SIZES)
    ]


def _numpy(weights):
    (w1, b1), (w2, b2), (w3, b3) = weights
    return lambda x: np.tanh(np.tanh(x @ w1 + b1) @ w2 + b2) @ w3 + b3


def _bpcore(weights):
    import bpcore as bp

    hidden = [bp.layers.Dense(u, activation="tanh") for u in SIZES[1:-1]]
    model = bp.Sequential([*hidden, bp.layers.Dense(SIZES[-1])], seed=0)
    model.build((SIZES[0],))
    model.set_weights([a for pair in weights for a in pair])
    return model


def _torch(weights):
    import torch

    layers = []
    for w, b in weights:
        layer = torch.nn.Linear(*w.shape)
        layer.weight.data, layer.bias.data = torch.from_numpy(w.T.copy()), torch.from_numpy(b)
        layers += [layer, torch.nn.Tanh()]
    model = torch.nn.Sequential(*layers[:-1]).eval()

    def call(x):
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return call


def _jax(weights):
    import jax
    import jax.numpy as jnp

    def forward(x):
        for w, b in weights[:-1]:
            x = jnp.tanh(x @ w + b)
        return x @ weights[-1][0] + weights[-1][1]

    compiled = jax.jit(forward)
    return lambda x: np.asarray(compiled(x))


def _onnxruntime(weights):
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, value = [], [], "x"
    for i, (w, b) in enumerate(weights):
        constants += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"z{i}"]))
        value = f"z{i}"
        if i + 1 < len(weights):
            nodes.append(helper.make_node("Tanh", [value], [f"a{i}"]))
            value = f"a{i}"
    graph = helper.make_graph(
        nodes, "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, SIZES[0]])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [None, SIZES[-1]])], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x})[0]


MAKERS = {
    "bpcore": (_bpcore, ("bpcore",)),
    "NumPy": (_numpy, ("numpy",)),
    "ONNX Runtime": (_onnxruntime, ("onnx", "onnxruntime")),
    "PyTorch": (_torch, ("torch",)),
    "JAX": (_jax, ("jax",)),
}


def latency(rounds: int) -> dict:
    weights = _weights()
    x = np.linspace(-1, 1, SIZES[0], dtype=np.float32)[None]
    expected = _numpy(weights)(x)
    loops = {}
    for name, (make, modules) in MAKERS.items():
        if not all(importlib.util.find_spec(m) for m in modules):
            continue
        call = make(weights)
        if not np.allclose(call(x), expected, atol=1e-5):
            raise AssertionError(f"{name}'s forward differs from NumPy's")
        loops[name] = repeated(lambda call=call: call(x))
    timed = alternate({name: loop for name, (loop, _) in loops.items()}, rounds)
    return {name: t["median"] / loops[name][1] * 1e6 for name, t in timed.items()}
