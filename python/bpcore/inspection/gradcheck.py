"""Gradients against differences of the loss, in float64, for a whole model.

A difference is Richardson's combination of two central ones, error O(h^4). Where a kink (relu, max,
abs) lies within h of a value, the difference is wrong and not the gradient; so several h are tried,
and the best agreement counts: a wrong gradient agrees with none of them. Where a value stands on a
kink itself, as relu's over an empty background before a bias has moved, no h helps: the loss goes
up another way than down, and all is compared once more at a point nearby.
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
_KINK = 1e-3  # of the gradient: by as much the two sides differ; a curve's by 1e-6 of its bend
_NEARBY = 1e-3  # of the values' size


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

    rng = np.random.default_rng(seed)

    def compare() -> tuple[list[Array], dict[str, float], bool]:
        """The arrays, their errors, and whether the loss has a kink here."""
        targets = _targets(engine, trainer, item, wide)
        # Far below the largest they are noise of the differences; they are measured against it.
        sizes = [float(np.linalg.norm(g)) for _, _, g in targets]
        floor = 1e-5 * max(sizes, default=0.0) + 1e-12
        found = {name: _check(loss, w, g, floor, rng) for name, w, g in targets}
        errors = {name: error for name, (error, _) in found.items()}
        return [w for _, w, _ in targets], errors, any(kink for _, kink in found.values())

    arrays, errors, kink = compare()
    if kink:
        for w in arrays:
            size = float(np.sqrt(np.mean(w * w))) if w.size else 0.0
            w += _NEARBY * (size or 1.0) * rng.standard_normal(w.shape)
        if np.isfinite(loss()):
            _, nearby, _ = compare()
            errors = {name: min(error, nearby[name]) for name, error in errors.items()}
    return GradCheck(errors)


def _targets(engine: Any, trainer: Any, item: Dataset, xs: list[Array]) -> list[Any]:
    """Name, values and gradient of each trained parameter and each input."""
    _, grads, dxs = trainer.gradients(item.xs, item.ys, item.told, wrt_inputs=True)
    targets = [
        (p.name, p.value, np.array(g))
        for p, g in zip(engine.params, grads, strict=True)
        if g is not None and p.trainable
    ]
    names = engine.signature.inputs.names
    for k, (name, array, g) in enumerate(zip(names, xs, dxs[: len(xs)], strict=True)):
        if k not in engine.low.ids:
            targets.append((f"input {name!r}", array, np.array(g)))
    return targets


def _check(
    loss: Callable[[], float], w: Array, g: Array, floor: float, rng: np.random.Generator
) -> tuple[float, bool]:
    """The relative error of gradient `g` at `w`, and whether the loss has a kink there."""
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
    found = [_error(loss, w, d, e, scale) for d, e in zip(directions, expected, strict=True)]
    error = float(np.linalg.norm([error for error, _ in found])) / scale
    return error, any(kink for _, kink in found)


def _unit(d: Any) -> Array:
    result: Array = d / np.linalg.norm(d)
    return result


def _error(
    loss: Callable[[], float], w: Array, d: Array, expected: float, scale: float
) -> tuple[float, bool]:
    """The least disagreement of all steps; if it is large, whether up and down are two slopes."""
    start = w.copy()

    def at(step: float) -> float:
        w[...] = start + step * d
        return loss()

    best, kink = np.inf, False
    try:
        for h in _STEPS:
            up, down = at(h), at(-h)
            near = (up - down) / (2 * h)
            far = (at(2 * h) - at(-2 * h)) / (4 * h)
            best = min(best, abs((4 * near - far) / 3 - expected), abs(near - expected))
            if best <= _GOOD * scale:
                break
        if best > _KINK * scale:
            here = at(0.0)
            kink = abs((up - here) - (here - down)) / h > _KINK * scale
    finally:
        w[...] = start
    return float(best), kink
