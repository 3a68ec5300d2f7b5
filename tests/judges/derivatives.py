"""Jacobians, Hessian, Gauss-Newton and Fisher products against PyTorch's, in float64 to 1e-10.

``python -m pytest tests/judges/derivatives.py``; random nets of dense, activation, merging and
normalization layers, and recurrent ones.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import func
from torch.nn import functional as F

import bpcore as bp

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ACTIVATIONS = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "silu": F.silu,
    "mish": F.mish,
    "gelu": F.gelu,
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "elu": F.elu,
    "selu": F.selu,
    "softsign": F.softsign,
    "exponential": torch.exp,
    "softmax": lambda z: torch.softmax(z, -1),
    "log_softmax": lambda z: torch.log_softmax(z, -1),
}
LOSSES = {
    "mse": lambda z, t: ((z - t) ** 2).mean(dim=1),
    "half_squared_error": lambda z, t: 0.5 * ((z - t) ** 2).sum(dim=1),
    "log_cosh": lambda z, t: torch.log(torch.cosh(z - t)).mean(dim=1),
    "cross_entropy": lambda z, t: F.cross_entropy(z, t, reduction="none"),
    "binary_cross_entropy": lambda z, t: F.binary_cross_entropy_with_logits(
        z, t, reduction="none"
    ).mean(dim=1),
}


class Case:
    """x -> dense, f -> layer norm -> dense, f -> times and plus a skip -> dense."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        names = list(ACTIVATIONS)
        self.f, self.g = (names[int(i)] for i in rng.integers(0, len(names), 2))
        self.loss = list(LOSSES)[seed % len(LOSSES)]
        width, out = int(rng.integers(2, 6)), int(rng.integers(2, 5))
        L, x = bp.layers, bp.Input((3,))
        a = L.Dense(width, self.f)(x)
        b = L.Dense(width, self.g)(L.LayerNormalization()(a))
        y = L.Dense(out)(a * b + b)
        self.model = bp.Model(x, y, dtype="float64", seed=seed)
        for w in self.model.weights:
            w.value = rng.normal(size=w.shape) / w.shape[0] ** 0.5
        self.model.compile("sgd", self.loss)
        self.x = rng.normal(size=(7, 3))
        self.y = rng.normal(size=(7, out))
        if self.loss == "cross_entropy":
            self.y = rng.integers(0, out, 7)
        if self.loss == "binary_cross_entropy":
            self.y = rng.integers(0, 2, (7, out)).astype(float)
        self.shapes = [w.shape for w in self.model.trainable_weights]
        flat = [w.value.ravel() for w in self.model.trainable_weights]
        self.w = torch.from_numpy(np.concatenate(flat))
        self.v = torch.from_numpy(rng.normal(size=len(self.w)))

    def forward(self, flat, x):
        w, at = [], 0
        for shape in self.shapes:
            n = int(np.prod(shape))
            w.append(flat[at : at + n].reshape(shape))
            at += n
        a = ACTIVATIONS[self.f](x @ w[0] + w[1])
        b = F.layer_norm(a, a.shape[-1:], w[2], w[3], 1e-3)
        b = ACTIVATIONS[self.g](b @ w[4] + w[5])
        return (a * b + b) @ w[6] + w[7]

    def total(self, flat):
        return self.rows(self.forward(flat, torch.from_numpy(self.x))).mean()

    def rows(self, z):
        return LOSSES[self.loss](z, torch.from_numpy(self.y))


def close(found, expected):
    expected = expected.detach().numpy()
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * scale)


@pytest.mark.parametrize("seed", range(60))
def test_against_pytorch(seed):
    case = Case(seed)
    model, x, y, w, v = case.model, torch.from_numpy(case.x), case.y, case.w, case.v
    close(model.jacobian(case.x), func.jacrev(case.forward)(w, x))
    inputs = func.vmap(func.jacrev(lambda row: case.forward(w, row)))(x)
    close(model.input_jacobian(case.x), inputs)
    each = func.jacrev(lambda flat: case.rows(case.forward(flat, x)))(w)
    close(model.per_sample_gradients(case.x, y), each)
    product = func.jvp(func.grad(case.total), (w,), (v,))[1]
    close(model.hessian_vector(case.x, y, v.numpy()), product)
    z, moved = func.jvp(lambda flat: case.forward(flat, x), (w,), (v,))
    curved = func.jvp(func.grad(lambda z: case.rows(z).mean()), (z,), (moved,))[1]
    gauss = func.vjp(lambda flat: case.forward(flat, x), w)[1](curved)[0]
    close(model.gauss_newton_vector(case.x, y, v.numpy()), gauss)
    if case.loss != "log_cosh":
        close(model.fisher_vector(case.x, v.numpy()), gauss)


CELLS = {
    "SimpleRNN": {},
    "SimpleRNN-gelu": {"activation": "gelu"},
    "LSTM": {},
    "LSTM-mish": {"activation": "mish", "recurrent_activation": "silu"},
    "GRU": {},
    "GRU-before": {"reset_after": False},
}
PLAIN = {"gelu": F.gelu, "mish": F.mish, "silu": F.silu, "tanh": torch.tanh}


def cell_step(name, w, x, h, c):
    """A step of the cells in plain PyTorch; the formulas are those of the layers' docstrings."""
    options = CELLS[name]
    f = PLAIN[options.get("activation", "tanh")]
    s = PLAIN.get(options.get("recurrent_activation"), torch.sigmoid)
    kernel, recurrent, bias = w
    u = recurrent.shape[0]
    if name.startswith("SimpleRNN"):
        return f(x @ kernel + bias + h @ recurrent), c
    if name.startswith("LSTM"):
        i, forget, g, o = (x @ kernel + bias + h @ recurrent).split(u, dim=1)
        c = s(forget) * c + s(i) * f(g)
        return s(o) * f(c), c
    if name == "GRU":
        a, b = x @ kernel + bias[0], h @ recurrent + bias[1]
        z, r = s(a[:, :u] + b[:, :u]), s(a[:, u : 2 * u] + b[:, u : 2 * u])
        new = f(a[:, 2 * u :] + r * b[:, 2 * u :])
    else:
        a, b = x @ kernel + bias, h @ recurrent[:, : 2 * u]
        z, r = s(a[:, :u] + b[:, :u]), s(a[:, u : 2 * u] + b[:, u:])
        new = f(a[:, 2 * u :] + (r * h) @ recurrent[:, 2 * u :])
    return z * h + (1 - z) * new, c


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_recurrent_layers_against_pytorch(name, backwards):
    """Two of them, the first with sequences, between dense layers."""
    rng = np.random.default_rng(len(name) + backwards)
    kind, told = getattr(bp.layers, name.split("-")[0]), CELLS[name]
    layers = [kind(4, return_sequences=True, go_backwards=backwards, **told), kind(3, **told)]
    ends = bp.layers.Dense(3, "tanh"), bp.layers.Dense(2)
    model = bp.Sequential([bp.Input((6, 2)), ends[0], *layers, ends[1]], dtype="float64")
    model.set_weights([rng.normal(size=w.shape) * 0.6 for w in model.weights])
    model.compile("sgd", "half_squared_error")
    x, y = rng.normal(size=(5, 6, 2)), rng.normal(size=(5, 2))
    flat = np.concatenate([w.ravel() for w in model.get_weights()])
    v = torch.from_numpy(rng.normal(size=len(flat)))

    def total(flat):
        w, at = [], 0
        for p in model.weights:
            w.append(flat[at : at + p.value.size].reshape(p.shape))
            at += p.value.size
        a = list(torch.tanh(torch.from_numpy(x) @ w[0] + w[1]).unbind(1))
        for k, (weights, units) in enumerate(((w[2:5], 4), (w[5:8], 3))):
            h = c = torch.zeros(5, units, dtype=torch.float64)
            found = []
            for step in reversed(a) if backwards and k == 0 else a:
                h, c = cell_step(name, weights, step, h, c)
                found.append(h)
            a = found
        return ((h @ w[8] + w[9] - torch.from_numpy(y)) ** 2).sum(1).mean() / 2

    moving = torch.from_numpy(flat).requires_grad_()
    gradient = torch.autograd.grad(total(moving), moving, create_graph=True)[0]
    product = torch.autograd.grad(gradient @ v, moving)[0]
    close(model.hessian_vector(x, y, v.numpy()), product)
