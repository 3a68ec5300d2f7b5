"""Jacobians, Hessian, Gauss-Newton and Fisher products against PyTorch's, in float64 to 1e-10.

``python -m pytest tests/judges/derivatives.py``; random nets of dense, activation, merging and
normalization layers.
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
