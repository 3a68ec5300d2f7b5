"""A loop of one's own against PyTorch: gradients of random graphs, sums of losses, a whole update.

``python -m pytest tests/judges/loop.py``; float64, to 1e-12 of the greatest number of each array.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import bpcore as bp

L = bp.layers
GRAPHS = 100
ACTIVATIONS = {
    "linear": lambda z: z,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "softplus": lambda z: F.softplus(z, threshold=100),  # by default it is z beyond 20
    "elu": F.elu,
    "silu": F.silu,
}


def random_graph(rng):
    """A model of several ends, and a function that computes its outputs in PyTorch."""
    inputs = [bp.Input((int(rng.integers(1, 6)),)) for _ in range(rng.integers(1, 4))]
    values = [(t, lambda xs, ws, k=k: xs[k]) for k, t in enumerate(inputs)]
    names = list(ACTIVATIONS)

    def dense(value, width):
        t, f = value
        name = names[rng.integers(len(names))]
        layer, act = L.Dense(width, name), ACTIVATIONS[name]

        def run(xs, ws):
            kernel, bias = ws[layer.name]
            return act(f(xs, ws) @ kernel + bias)

        return layer(t), run

    for _ in range(rng.integers(3, 9)):
        a, b = (values[rng.integers(len(values))] for _ in range(2))
        kind = rng.choice(["dense", "add", "multiply", "concatenate"])
        if kind == "dense":
            values.append(dense(a, int(rng.integers(1, 9))))
        elif kind == "concatenate":
            run = lambda xs, ws, a=a, b=b: torch.cat([a[1](xs, ws), b[1](xs, ws)], -1)  # noqa: E731
            values.append((L.Concatenate()([a[0], b[0]]), run))
        else:
            a, b = dense(a, 4), dense(b, 4)
            joined = L.Add() if kind == "add" else L.Multiply()
            join = torch.add if kind == "add" else torch.mul
            run = lambda xs, ws, a=a, b=b, j=join: j(a[1](xs, ws), b[1](xs, ws))  # noqa: E731
            values.append((joined([a[0], b[0]]), run))
    # One end takes all that nothing else has used; a second one is from somewhere inside.
    every = [*values]
    end = L.Concatenate()([t for t, _ in every])
    all_of = lambda xs, ws: torch.cat([f(xs, ws) for _, f in every], -1)  # noqa: E731
    ends = [dense((end, all_of), 3), dense(values[rng.integers(len(values))], 2)]
    seed = int(rng.integers(1 << 30))
    model = bp.Model(inputs, [t for t, _ in ends], dtype="float64", seed=seed)
    model.compile("sgd")
    for layer in model.layers:
        for p in layer.weights:
            p.value = rng.normal(size=p.shape) * 0.7
    return model, [f for _, f in ends]


def close(found, expected):
    expected = expected.numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("case", range(GRAPHS))
def test_backward_of_a_random_graph(case):
    rng = np.random.default_rng(case)
    model, functions = random_graph(rng)
    n = int(rng.integers(1, 12))
    xs = [rng.normal(size=(n, *t.shape)) for t in model.inputs]
    ys = model.forward(xs)
    dys = [rng.normal(size=y.shape) for y in ys]
    model.zero_gradients()
    dxs = model.backward(dys)
    tensors = [torch.tensor(x, requires_grad=True) for x in xs]
    weights = {
        layer.name: [torch.tensor(p.value, requires_grad=True) for p in layer.weights]
        for layer in model.layers
        if layer.weights
    }
    results = [f(tensors, weights) for f in functions]
    for y, result in zip(ys, results, strict=True):
        close(y, result.detach())
    torch.autograd.backward(results, [torch.tensor(dy) for dy in dys])
    for dx, x in zip(dxs if isinstance(dxs, list) else [dxs], tensors, strict=True):
        close(dx, torch.zeros_like(x) if x.grad is None else x.grad)
    for layer in model.layers:
        for p, w in zip(layer.weights, weights.get(layer.name, []), strict=True):
            close(p.grad, torch.zeros_like(w) if w.grad is None else w.grad)


SUMS = {
    "mse": (bp.losses.MeanSquaredError, None, lambda z, t: F.mse_loss(z, t, reduction="none")),
    "mae": (bp.losses.MeanAbsoluteError, None, lambda z, t: F.l1_loss(z, t, reduction="none")),
    "huber": (bp.losses.Huber, None, lambda z, t: F.huber_loss(z, t, reduction="none")),
    "bce": (
        bp.losses.BinaryCrossEntropy,
        None,
        lambda z, t: F.binary_cross_entropy_with_logits(z, t, reduction="none"),
    ),
    "ce": (
        bp.losses.CrossEntropy,
        None,
        lambda z, t: F.cross_entropy(z, t, reduction="none")[:, None],
    ),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", SUMS)
def test_sums_are_pytorch_s(name, weighted):
    rng = np.random.default_rng(3)
    cls, end, elements = SUMS[name]
    model = bp.Sequential([bp.Input((4,)), L.Dense(3, end)], seed=0, dtype="float64")
    model.compile("sgd", cls(reduction="sum"))
    x = rng.normal(size=(20, 4))
    y = {"ce": rng.integers(0, 3, 20), "bce": rng.integers(0, 2, (20, 3)).astype(float)}.get(
        name, rng.normal(size=(20, 3))
    )
    w = rng.uniform(0, 2, 20) if weighted else None
    found = model.gradients(x, y, sample_weight=w)
    kernel, bias = (torch.tensor(p.value, requires_grad=True) for p in model.weights)
    each = elements(torch.tensor(x) @ kernel + bias, torch.tensor(y))
    total = (each * (1 if w is None else torch.tensor(w)[:, None])).sum()
    total.backward()
    assert found.loss == pytest.approx(float(total.detach()), rel=1e-13)
    for g, p in zip(found.parameters.values(), (kernel, bias), strict=True):
        close(g, p.grad)
