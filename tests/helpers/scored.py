"""Random outputs with targets and weights, in every form in which a metric may meet them.

The model of a `Case` hands its input on, so that its predictions are known: `p` are probabilities
(or, of losses without any, values), `t` the truth as scikit-learn takes it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

import bpcore as bp

# form: (loss, end); the columns of a form are one, classes, or labels of their own
FORMS = {
    "binary": (("binary_cross_entropy", "sigmoid"), ("binary_cross_entropy", "linear"),
               ("binary_cross_entropy", "hard_sigmoid"), ("mse", "sigmoid"), ("mse", "linear"),
               ("hinge", "linear")),
    "classes": (("cross_entropy", "softmax"), ("cross_entropy", "linear"),
                ("cross_entropy", "log_softmax"), ("mse", "softmax"), ("mse", "linear")),
    "labels": (("binary_cross_entropy", "sigmoid"), ("binary_cross_entropy", "linear"),
               ("mse", "sigmoid"), ("binary_cross_entropy", "hard_sigmoid")),
}  # fmt: skip


@dataclasses.dataclass
class Case:
    form: str
    loss: str
    end: str
    x: Any  # the model's input
    y: Any  # the targets as bpcore gets them
    t: Any  # classes (M,), or true columns (M, K), one column (M,)
    p: Any  # scores (M, K): probabilities, or values if the loss has none; one column (M,)
    z: Any  # what the loss reads, before any rounding by a sigmoid: (M, K), or (M,)
    w: Any  # weights of the rows (M,), the same for all positions of a sample
    sample_weight: Any
    batch_size: int
    cut: float  # what stands for a probability of 0.5 in p

    def evaluate(self, metrics, weighted=False):
        """The metrics' values, plain or weighted."""
        layers = [bp.Input(self.x.shape[1:]), bp.layers.Activation(self.end)]
        model = bp.Sequential(layers, dtype="float64")
        lists = {"weighted_metrics" if weighted else "metrics": metrics}
        model.compile("sgd", self.loss, **lists)
        found = model.evaluate(
            self.x, self.y, batch_size=self.batch_size, sample_weight=self.sample_weight
        )
        return [found[metric.name] for metric in metrics]

    def threshold(self, value):
        """As it stands in `p`: hinge has targets -1 and 1, a threshold of 0.5 is 0."""
        return 2 * value - 1 if self.loss == "hinge" else value


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def case(form, seed):
    """One of a form."""
    rng = np.random.default_rng([seed, len(form)])
    loss, end = FORMS[form][seed % len(FORMS[form])]
    n, width = int(rng.integers(2, 60)), 1 if form == "binary" else int(rng.integers(2, 7))
    steps = int(rng.integers(2, 4)) if seed % 5 == 4 else 0  # an axis of positions
    shape = (n, steps, width) if steps else (n, width)
    z = rng.normal(size=shape) * rng.uniform(0.3, 3)
    true = rng.random(shape) < rng.uniform(0.2, 0.8)
    z = z + 0.7 * (true - 0.5)
    if rng.random() < 0.3 and not (form == "classes" and (end != "linear" or loss != "mse")):
        z = z.round(1) + 0.05  # ties, none of them on a threshold of 0.5, nor lost by a softmax
    rows = n * max(steps, 1)
    if form == "classes":
        t = rng.integers(0, width, rows)
        one_hot = np.eye(width)[t].reshape(shape)
        as_labels = loss == "cross_entropy" and rng.random() < 0.5
        y = t.reshape(shape[:-1]) if as_labels else one_hot
        p = softmax(z) if end != "linear" or loss == "cross_entropy" else z
    else:
        t, y = true.reshape(rows, width) * 1, true * 1.0
        if loss == "hinge":
            y = 2 * y - 1
        logits = loss == "binary_cross_entropy" and end == "linear"
        p = 1 / (1 + np.exp(-z)) if end == "sigmoid" or logits else z
        p = np.clip(z / 6 + 0.5, 0, 1) if end == "hard_sigmoid" else p
    weight = rng.uniform(0.1, 3, n)
    flat = (lambda a: a.reshape(rows, width)) if width > 1 else (lambda a: a.reshape(rows))
    return Case(form, loss, end, z, y, t if form == "classes" else flat(t), flat(p), flat(z),
                np.repeat(weight, max(steps, 1)), weight, int(rng.integers(1, n + 1)),
                0.0 if loss == "hinge" else 0.5)  # fmt: skip


def both_present(t):
    """Whether every column has a true and a false value."""
    t = np.asarray(t).reshape(len(t), -1)
    return bool((t.min(axis=0) < t.max(axis=0)).all())
