"""The forward pass of a multilayer perceptron in every library, NumPy in and NumPy out."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable

import numpy as np

Weights = list[tuple[np.ndarray, np.ndarray]]
Call = Callable[[np.ndarray], np.ndarray]


def random_weights(sizes: tuple[int, ...]) -> Weights:
    rng = np.random.default_rng(3)
    return [
        (rng.normal(size=(i, o)).astype(np.float32) / np.float32(i**0.5), np.zeros(o, np.float32))
        for i, o in itertools.pairwise(sizes)
    ]


def numpy_forward(weights: Weights, activation: str, threads: int) -> Call:
    f = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}[activation]

    def call(x):
        for w, b in weights[:-1]:
            x = f(x @ w + b)
        return x @ weights[-1][0] + weights[-1][1]

    return call


def bpcore_model(weights: Weights, activation: str, threads: int):
    import bpcore as bp

    hidden = [bp.layers.Dense(w.shape[1], activation=activation) for w, _ in weights[:-1]]
    model = bp.Sequential([*hidden, bp.layers.Dense(weights[-1][0].shape[1])], seed=0)
    model.build((weights[0][0].shape[0],))
    model.set_weights([a for pair in weights for a in pair])
    return model


def _torch(weights: Weights, activation: str, threads: int) -> Call:
    import torch

    layers: list = []
    for w, b in weights:
        layer = torch.nn.Linear(*w.shape)
        layer.weight.data, layer.bias.data = torch.from_numpy(w.T.copy()), torch.from_numpy(b)
        layers += [layer, {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[activation]()]
    model = torch.nn.Sequential(*layers[:-1]).eval()

    def call(x):
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return call


def _jax(weights: Weights, activation: str, threads: int) -> Call:
    import jax
    import jax.numpy as jnp

    f = {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation]

    def forward(x):
        for w, b in weights[:-1]:
            x = f(x @ w + b)
        return x @ weights[-1][0] + weights[-1][1]

    compiled = jax.jit(forward)
    return lambda x: np.asarray(compiled(x))


def _onnxruntime(weights: Weights, activation: str, threads: int) -> Call:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    kind = {"tanh": "Tanh", "relu": "Relu"}[activation]
    nodes, constants, value = [], [], "x"
    for i, (w, b) in enumerate(weights):
        constants += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"z{i}"]))
        value = f"z{i}"
        if i + 1 < len(weights):
            nodes.append(helper.make_node(kind, [value], [f"a{i}"]))
            value = f"a{i}"
    inputs, outputs = weights[0][0].shape[0], weights[-1][0].shape[1]
    graph = helper.make_graph(
        nodes, "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, inputs])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [None, outputs])], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x})[0]


MAKERS = {
    "bpcore": (bpcore_model, ("bpcore",)),
    "NumPy": (numpy_forward, ("numpy",)),
    "ONNX Runtime": (_onnxruntime, ("onnx", "onnxruntime")),
    "PyTorch": (_torch, ("torch",)),
    "JAX": (_jax, ("jax",)),
}


def calls(weights: Weights, activation: str, threads: int, x: np.ndarray) -> dict[str, Call]:
    """A call of each library that is installed, after its answer was found to be NumPy's."""
    expected = numpy_forward(weights, activation, threads)(x)
    found = {}
    for name, (make, modules) in MAKERS.items():
        if not all(importlib.util.find_spec(m) for m in modules):
            continue
        found[name] = make(weights, activation, threads)
        if not np.allclose(found[name](x), expected, atol=1e-5 * np.abs(expected).max()):
            raise AssertionError(f"{name}'s forward differs from NumPy's")
    return found
