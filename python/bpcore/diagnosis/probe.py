"""Can this network learn from these data? A short training from new weights, and two simple judges.

The question is put apart from the user's weights and rate: the copy gets new kernels, trains with
Adam on three quarters of the sample, and is asked about the rest. Where it fails there, a nearest
neighbour and a straight line through the same data say whether there is anything to be found.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from .. import _core
from ..base.memory import Array
from ..data.dataset import Dataset, subset
from ..optimizers import Adam
from .measure import Measurement

ROWS = 2048  # of the sample, at the most
HELD_OUT = 0.25
FEWEST = 120  # rows, of which a quarter is enough to judge by
BATCH = 32
STEPS = 400
RATE = 3e-3  # of Adam: a healthy network of ten layers learns at it, and a shallow one in time
FLOPS = 4e10  # of all steps: some tenths of a second; a network that takes more is not probed
NEIGHBOURS = 7
STRAIGHT = 1e-3  # of the way between two samples' outputs: a bend is more
_AFFINE_ROWS = 16  # of a test whether the network is a straight line between two samples


@dataclasses.dataclass(frozen=True)
class Probe:
    """What the short training reached.

    Attributes
    ----------
    train, held, guess : float
        Mean losses on the rows trained with and on those held out, and that of the best constant
        on the second.
    rows, held_rows : int
        Too few rows to judge by are all trained with, and none is held out.
    linear : bool
        Whether the network is a linear map up to its last activation.
    signal : bool
        Whether a simple judge finds more than a constant in the rows held out; True without any.
    """

    train: float
    held: float
    guess: float
    rows: int
    held_rows: int
    linear: bool
    signal: bool


def is_linear(m: Measurement) -> bool:
    """Whether the outputs, before their last activation, are straight lines between samples.

    The weights must not be so small that every activation is a straight line.
    """
    n = min(_AFFINE_ROWS, m.item.n // 2)
    first, second = subset(m.item, slice(0, n)), subset(m.item, slice(n, 2 * n))
    middle = [(a.astype(np.float64) + b) / 2 for a, b in zip(first.xs, second.xs, strict=True)]
    values = [m.before_ends(xs, first) for xs in (first.xs, second.xs, middle)]
    rounding = 100 * np.finfo(m.engine.dtype).eps
    for a, b, c in zip(*values, strict=True):
        size, apart = float(np.abs(a).max()), float(np.abs(a - b).max())
        if apart <= rounding * size:  # too close to tell
            return False
        if not float(np.abs((a + b) / 2 - c).max()) <= STRAIGHT * apart + rounding * size:
            return False
    return True


def probe(m: Measurement, loss_of_guess: Any) -> Probe | None:
    """Train a copy of the model from new weights; None where that would say nothing.

    Parameters
    ----------
    m : Measurement
    loss_of_guess : callable
        The loss of the best constant on a data set; nan if it is not known.
    """
    item = m.item
    cost = 3.0 * m.engine.net.flops_per_sample * BATCH * STEPS
    if cost > FLOPS or m.engine.has_python:
        return None
    order = np.random.default_rng(1).permutation(item.n)[:ROWS]
    few = item.n < FEWEST
    cut = item.n if few else int(len(order) * (1 - HELD_OUT))
    train = subset(item, order[:cut])
    held = train if few else subset(item, order[cut:])
    guess = loss_of_guess(held)
    if not math.isfinite(guess) or guess <= 0:
        return None
    told = m.compilation
    twin = m.twin.copied(
        Adam(RATE, epsilon=1e-7), told.loss, loss_weights=told.loss_weights, gradient_clip_norm=1.0
    )
    engine, compilation = twin.engine.of(item), twin.compilation
    _new_weights(engine)
    linear = is_linear(Measurement(twin, item, None, brief=True))
    trainer = engine.trainer("train", compilation)
    rows = np.random.default_rng(2)
    for _ in range(STEPS):
        part = subset(train, rows.integers(0, cut, BATCH))
        try:
            trainer.train_step(part.xs, part.ys, part.told, RATE, update=True, reset=True)
        except _core.Diverged:
            return None
    judge = engine.trainer("eval", compilation)
    ends = [
        float(judge.train_step(part.xs, part.ys, part.told, 0.0, update=False, reset=True))
        for part in (train, held)
    ]
    signal = few or any(_signal(train, held, k) for k in range(len(compilation.losses)))
    return Probe(ends[0], ends[1], guess, train.n, 0 if few else held.n, linear, signal)


def _new_weights(engine: Any) -> None:
    """Kernels as Glorot draws them, biases 0; what normalizes stays."""
    rng = np.random.default_rng(0)
    for p in engine.params:
        if not p.trainable:
            continue
        if p.value.ndim >= 2:
            fans = p.value.size // p.value.shape[-1] + p.value.shape[-1]
            limit = math.sqrt(6.0 / fans)
            p.value[...] = rng.uniform(-limit, limit, p.shape)
        elif p.local_name.endswith("bias"):
            p.value[...] = 0


# ---- judges ------------------------------------------------------------------------------------
def _signal(train: Dataset, held: Dataset, k: int) -> bool:
    """Whether neighbours or a straight line beat a constant by more than chance."""
    a, b = _features(train), _features(held)
    center, scale = a.mean(axis=0), a.std(axis=0)
    scale[scale == 0] = 1
    a, b = (a - center) / scale, (b - center) / scale
    target, truth = _targets(train, held, k)
    mean = target.mean(axis=0)
    constant = float(np.square(truth - mean).sum())
    if constant == 0:
        return False
    for found in (_by_neighbours(a, target, b), _by_line(a, target - mean, b) + mean):
        # shrunk half of the way to the mean: a judge that is noise itself then loses little
        for part in (found, (found + mean) / 2):
            explained = 1 - float(np.square(truth - part).sum()) / constant
            if explained > 4 / math.sqrt(held.n * target.shape[1]) and explained > 0.03:
                return True
    return False


def _features(item: Dataset) -> Array:
    return np.concatenate([x.reshape(item.n, -1).astype(np.float64) for x in item.xs], axis=1)


def _targets(train: Dataset, held: Dataset, k: int) -> tuple[Array, Array]:
    """Values, or classes as ones and zeros."""
    (y, labels), (t, _) = train.ys[k], held.ys[k]
    y, t = y.reshape(train.n, -1), t.reshape(held.n, -1)
    if not labels:
        return y.astype(np.float64), t.astype(np.float64)
    classes = np.arange(max(int(y.max()), int(t.max())) + 1)
    return (
        (y[:, :1] == classes).astype(np.float64),
        (t[:, :1] == classes).astype(np.float64),
    )


def _by_neighbours(a: Array, target: Array, b: Array) -> Array:
    distance = np.square(b).sum(axis=1)[:, None] + np.square(a).sum(axis=1) - 2 * b @ a.T
    near = np.argpartition(distance, min(NEIGHBOURS, len(a) - 1), axis=1)[:, :NEIGHBOURS]
    result: Array = target[near].mean(axis=1)
    return result


def _by_line(a: Array, target: Array, b: Array) -> Array:
    """Ridge regression with a penalty of as many rows as there are features."""
    gram = a.T @ a + a.shape[1] * np.eye(a.shape[1])
    result: Array = b @ np.linalg.solve(gram, a.T @ target)
    return result
