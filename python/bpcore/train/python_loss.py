"""A loss written in Python, as the core calls it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array
from ..errors import ShapeError


class PythonLoss:
    """A user's loss object as the core calls it: weighted row losses, and their mean's delta."""

    def __init__(self, loss: Any, dtype: str) -> None:
        self.loss, self.dtype = loss, dtype
        self.label = type(loss).__name__

    def __call__(self, y: Array, p: Array, w: Array | None) -> tuple[Array, Array]:
        n = p.shape[0]
        value = self._numbers("value", self.loss.value(y, p)).astype(np.float64)
        gradient = self._numbers("gradient", self.loss.gradient(y, p))
        if gradient.shape != p.shape:
            raise ShapeError(
                f"{self.label}.gradient returned shape {gradient.shape}, expected {p.shape}"
            )
        if value.ndim > 0 and value.shape == p.shape[: value.ndim]:
            # The losses of rows, or of positions in them, and the gradient of each.
            weight = np.ones(n) if w is None else np.asarray(w, dtype=np.float64)
            if weight.ndim > value.ndim:
                raise ShapeError(
                    f"{self.label}.value returned shape {value.shape}, to which sample weights of "
                    f"shape {weight.shape} cannot be applied; return an array {weight.shape}"
                )
            weight = weight.reshape(weight.shape + (1,) * (value.ndim - weight.ndim))
            weight = np.broadcast_to(weight, value.shape)
            delta = gradient * (weight / value.size).reshape(
                value.shape + (1,) * (p.ndim - value.ndim)
            )
            value = np.where(weight == 0, 0.0, value * weight).reshape(n, -1).mean(axis=1)
        elif value.shape == () or value.size == 1:  # the batch's mean and its gradient
            if w is not None and not (np.asarray(w) == 1).all():
                raise ValueError(
                    f"{self.label}.value returned one number for the batch, so sample weights "
                    "cannot be applied; return an array (N,) of losses per row"
                )
            value, delta = np.full(n, float(value.reshape(()))), gradient
        else:
            raise ShapeError(
                f"{self.label}.value returned shape {value.shape}, expected () or ({n},), or more "
                f"leading axes of {p.shape}"
            )
        if not np.isfinite(delta).all():
            raise ValueError(f"{self.label}.gradient returned NaN or Inf, expected finite values")
        return value, np.ascontiguousarray(delta, dtype=self.dtype)

    def _numbers(self, method: str, given: Any) -> Array:
        array = np.asarray(given)
        if array.dtype.kind not in "fiub":
            raise TypeError(
                f"{self.label}.{method} returned {checks.describe(given)}, expected an array of "
                "real numbers"
            )
        return array
