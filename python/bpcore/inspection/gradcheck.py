"""Gradients against differences of the loss, in float64, for a whole model.

A difference is Richardson's combination of two central ones, error O(h^4). Where a kink (relu, max,
abs) lies within h of a value, the difference is wrong and not the gradient; so several h are tried,
and the best agreement counts: a wrong gradient agrees with none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..base.memory import Array
from ..data.dataset import Dataset

_STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
_ALL = 400  # weights of a parameter up to which each is checked by itself; beyond, directions
_DIRECTIONS = 12
_GOOD = 1e-9


class GradCheck:
    """Result of `Model.gradcheck`.

    Attributes
    ----------
    errors : dict of str to float
        Relative error by parameter: norm of the difference over the norm of the gradient.
    max_error : float
        The largest of them.
    worst : str
        Whose it is.
    """

    def __init__(self, errors: dict[str, float]) -> None:
        self.errors = errors
        self.worst = max(errors, key=lambda key: errors[key]) if errors else ""
        self.max_error = errors[self.worst] if errors else 0.0

    def __float__(self) -> float:
        return self.max_error

    def __repr__(self) -> str:
        return f"<GradCheck max_error={self.max_error:.2e} worst={self.worst!r}>"


def gradcheck(engine: Any, compilation: Any, item: Dataset, seed: int) -> GradCheck:
    """Compare the gradients of a float64 model, whose weights this may move, with differences."""
    n_inputs = len(engine.signature.inputs)
    wide = [np.array(a, dtype=np.float64) for a in item.xs[:n_inputs]]
    xs = [*wide, *item.xs[n_inputs:]]
    item = Dataset(item.n, xs, item.ys, item.ws, form=item.form, valid=item.valid)
    trainer = engine.of(item).trainer("gradients", compilation)

    def loss() -> float:
        return float(trainer.gradients(item.xs, item.ys, item.told, wrt_inputs=False)[0])

    _, grads, dxs = trainer.gradients(item.xs, item.ys, item.told, wrt_inputs=True)
    targets = [
        (p.name, p.value, np.array(g))
        for p, g in zip(engine.params, grads, strict=True)
        if g is not None and p.trainable
    ]
    for k, (name, array, g) in enumerate(
        zip(engine.signature.inputs.names, wide, dxs[:n_inputs], strict=True)
    ):
        if k in engine.low.ids:
            continue
        targets.append((f"input {name!r}", array, np.array(g)))
    rng = np.random.default_rng(seed)
    # Gradients far below the largest are noise of the differences; they are measured against it.
    floor = 1e-5 * max((float(np.linalg.norm(g)) for _, _, g in targets), default=0.0) + 1e-12
    return GradCheck({name: _check(loss, w, g, floor, rng) for name, w, g in targets})


def _check(
    loss: Callable[[], float], w: Array, g: Array, floor: float, rng: np.random.Generator
) -> float:
    """The relative error of gradient `g` at `w`."""
    if w.size <= _ALL:
        directions = []
        for i in range(w.size):
            d = np.zeros(w.size)
            d[i] = 1.0
            directions.append(d.reshape(w.shape))
    else:
        directions = [_unit(rng.standard_normal(w.shape)) for _ in range(_DIRECTIONS)]
        directions.append(_unit(np.array(g)) if np.any(g) else directions[0])
    expected = np.array([float((g * d).sum()) for d in directions])
    scale = max(float(np.linalg.norm(expected)), floor)
    errors = [_error(loss, w, d, e, scale) for d, e in zip(directions, expected, strict=True)]
    return float(np.linalg.norm(errors)) / scale


def _unit(d: Any) -> Array:
    result: Array = d / np.linalg.norm(d)
    return result


def _error(loss: Callable[[], float], w: Array, d: Array, expected: float, scale: float) -> float:
    """Smallest disagreement over the step sizes."""
    start = w.copy()

    def at(step: float) -> float:
        w[...] = start + step * d
        return loss()

    best = np.inf
    try:
        for h in _STEPS:
            near = (at(h) - at(-h)) / (2 * h)
            far = (at(2 * h) - at(-2 * h)) / (4 * h)
            best = min(best, abs((4 * near - far) / 3 - expected), abs(near - expected))
            if best <= _GOOD * scale:
                break
    finally:
        w[...] = start
    return float(best)
