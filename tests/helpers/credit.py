"""What tests of rules of credit assignment share."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

L = bp.layers
RULES = {
    "fa": bp.credit.FeedbackAlignment,
    "dfa": bp.credit.DirectFeedbackAlignment,
    "dni": lambda: bp.credit.SyntheticGradients(context=False, hidden=(6,)),
    "cdni": lambda: bp.credit.SyntheticGradients(module_learning_rate=0.02),
    "dtp": bp.credit.DifferenceTargetPropagation,
    "hsic": bp.credit.HSICBottleneck,
    "am": lambda: bp.credit.AlternatingMinimization(code_rate=0.05),
}


def net(credit="backprop", *, seed=0, dtype="float64", layers=None, optimizer=None, loss=None):
    layers = layers or [L.Dense(7, "tanh"), L.Dense(6, "sigmoid"), L.Dense(4, "softmax")]
    model = bp.Sequential([bp.Input((5,)), *layers], seed=seed, dtype=dtype)
    model.compile(
        optimizer or bp.optimizers.SGD(0.1, momentum=0.9),
        loss or "cross_entropy",
        ["accuracy"] if loss in (None, "cross_entropy") else (),
        credit=credit,
    )
    return model


def data(n=23, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 5)), rng.integers(0, 4, n)


def of_rule(model, x, y):
    """The gradients of the model's rule, by name."""
    engine, item = model._built(), model._prepared(x, y)
    compilation = model._need_compilation()
    trainer = engine.trainer("credit", compilation)
    _, grads, _ = trainer.gradients(item.xs, item.ys, item.told, False, True)
    params = engine.trained(compilation.credit).params
    return {p.name: g for p, g in zip(params, grads, strict=True) if g is not None}


def forward(model, x):
    """Values h_0 .. h_2 and derivatives f' of the net of tanh, sigmoid and softmax, and p."""
    w = model.get_weights()
    h, slopes = [x], []
    for k, f in enumerate(("tanh", "sigmoid")):
        z = h[-1] @ w[2 * k] + w[2 * k + 1]
        h.append(np.tanh(z) if f == "tanh" else 1 / (1 + np.exp(-z)))
        slopes.append(1 - h[-1] ** 2 if f == "tanh" else h[-1] * (1 - h[-1]))
    z = h[-1] @ w[4] + w[5]
    p = np.exp(z - z.max(1, keepdims=True))
    return h, slopes, p / p.sum(1, keepdims=True)


def nhsic(u, v, sigma, epsilon=1e-5):
    """The published formula, of PyTorch's tensors, which differentiates it."""
    torch = pytest.importorskip("torch")

    def ratio(x):
        m, d = x.shape
        k = torch.exp(-((x[:, None] - x[None]) ** 2).sum(-1) / (2 * sigma**2 * d))
        kh = k @ (torch.eye(m, dtype=x.dtype) - 1 / m)
        return kh @ torch.linalg.inv(kh + epsilon * m * torch.eye(m, dtype=x.dtype))

    return torch.trace(ratio(u) @ ratio(v))


def weights(model):
    return [w.value.copy() for w in (*model.weights, *model.credit_weights)]


def same(a, b):
    return all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


class Poison(bp.losses.Loss):
    """Cross entropy of softmax's outputs; while its gradient is asked for, kernels become NaN."""

    model = None

    def value(self, y_true, y_pred):
        return -np.log(y_pred[np.arange(len(y_pred)), y_true.astype(int)])

    def gradient(self, y_true, y_pred):
        dy = np.zeros_like(y_pred)
        rows = np.arange(len(y_pred)), y_true.astype(int)
        dy[rows] = -1 / y_pred[rows]
        if self.model is not None:
            for p in self.model.weights:
                p.value[...] = np.nan
        return dy

    target_shape = None
