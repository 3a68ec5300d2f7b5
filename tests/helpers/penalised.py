"""A small network with penalties and constraints, and the same training in plain NumPy."""

from __future__ import annotations

import numpy as np

import bpcore as bp

from ..reference import mlp
from . import support

L, R, C = bp.layers, bp.regularizers, bp.constraints
OPTIMIZERS = {
    "sgd": (lambda: bp.optimizers.SGD(0.05, momentum=0.9), lambda: mlp.SGD(0.05, 0.9)),
    "adam": (lambda: bp.optimizers.Adam(0.01), lambda: mlp.Adam(0.01)),
}


class Quartic(R.Regularizer):
    """A user's penalty, factor * sum w^4."""

    def __init__(self, factor=0.1):
        self.factor = factor

    def value(self, w):
        return self.factor * float((w**4).sum())

    def gradient(self, w):
        return 4 * self.factor * w**3


class Halved(C.Constraint):
    """A user's constraint, in place and returned."""

    def __call__(self, w):
        w *= 0.5
        return w


def data(rows=23, width=5, classes=3):
    rng = np.random.default_rng(7)
    return rng.normal(size=(rows, width)), rng.integers(0, classes, rows)


def network(optimizer="sgd", dtype="float64", trainable=True, compiled=None, **arguments):
    first = {key: value for key, value in arguments.items() if not key.startswith("last_")}
    last = {key[5:]: value for key, value in arguments.items() if key.startswith("last_")}
    layers = [L.Dense(8, "tanh", trainable=trainable, **first), L.Dense(3, **last)]
    model = bp.Sequential(layers, dtype=dtype, seed=3)
    model.build((5,))
    rng = np.random.default_rng(11)
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    model.compile(optimizer=optimizer, loss="cross_entropy", **(compiled or {}))
    return model


class Run:
    """The same training in NumPy. penalties: parameter number -> (value, gradient) of w;
    bounds: parameter number -> function of w."""

    def __init__(self, model, optimizer, penalties=(), bounds=(), clip=None):
        weights = [w.astype(np.float64) for w in model.get_weights()]
        self.net = mlp.MLP(weights[0::2], weights[1::2], "tanh", optimizer)
        self.penalties, self.bounds, self.clip = dict(penalties), dict(bounds), clip

    @property
    def weights(self):
        return [w for pair in zip(self.net.kernels, self.net.biases, strict=True) for w in pair]

    def penalty(self):
        return sum(value(self.weights[p]) for p, (value, _) in self.penalties.items())

    def batch(self, x, labels):
        """One step; the loss before it."""
        loss, dw, db = self.net.gradients(x, labels)
        loss += self.penalty()
        gradients = [g for pair in zip(dw, db, strict=True) for g in pair]
        for p, (_, gradient) in self.penalties.items():
            gradients[p] = gradients[p] + gradient(self.weights[p])
        if self.clip:
            norm = np.sqrt(sum((g * g).sum() for g in gradients))
            gradients = [g * min(1, self.clip / norm) for g in gradients]
        self.net.optimizer.update(self.weights, gradients)
        for p, bound in self.bounds.items():
            self.weights[p][...] = bound(self.weights[p])
        return loss

    def fit(self, x, labels, size, epochs):
        losses = []
        for _ in range(epochs):
            total = 0.0
            for i in range(0, len(x), size):
                total += self.batch(x[i : i + size], labels[i : i + size]) * len(x[i : i + size])
            losses.append(total / len(x))
        return losses


def elastic(l1, l2):
    return (
        lambda w: l1 * np.abs(w).sum() + l2 * np.square(w).sum(),
        lambda w: l1 * np.sign(w) + 2 * l2 * w,
    )


def max_norm(limit, axis=0):
    def bound(w):
        norm = np.sqrt((w * w).sum(axis=axis, keepdims=True))
        return w * np.where(norm <= limit, 1.0, limit / (1e-7 + norm))

    return bound


def assert_close(found, expected, relative):
    for a, b in zip(found, expected, strict=True):
        assert support.relative_error(a, b) <= relative
