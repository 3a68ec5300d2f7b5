"""Losses of real numbers and counts."""

from __future__ import annotations

import numpy as np

from ..base import checks
from ..base.memory import Array
from .base import CoreLoss, mean, size


class MeanSquaredError(CoreLoss):
    """L = mean over outputs of (p - t)^2.

    Examples
    --------
    >>> MeanSquaredError().value([[0.0, 0.0]], [[1.0, 3.0]])
    5.0
    """

    kind = "mean_squared_error"

    def rows(self, t: Array, p: Array) -> Array:
        return mean((p - t) ** 2)

    def slope(self, t: Array, p: Array) -> Array:
        return 2.0 * (p - t) / size(p)


class HalfSquaredError(CoreLoss):
    """L = 1/2 sum over outputs of (p - t)^2, so that dL/dp = p - t."""

    kind = "half_squared_error"

    def terms(self, p: Array) -> int:
        return 1

    def rows(self, t: Array, p: Array) -> Array:
        return mean((p - t) ** 2) * (0.5 * size(p))

    def slope(self, t: Array, p: Array) -> Array:
        return p - t


class MeanAbsoluteError(CoreLoss):
    """L = mean over outputs of abs(p - t); the slope at 0 is 0."""

    kind = "mean_absolute_error"

    def rows(self, t: Array, p: Array) -> Array:
        return mean(np.abs(p - t))

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = np.sign(p - t) / size(p)
        return result


class Huber(CoreLoss):
    """L = mean of e^2/2 for abs(e) <= delta, else delta (abs(e) - delta/2); P. Huber, 1964."""

    kind = "huber"
    option_name = "delta"

    def __init__(self, delta: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.delta = checks.real("delta", delta, 0.0, open_low=True)

    def rows(self, t: Array, p: Array) -> Array:
        e = np.abs(p - t)
        d = self.delta
        return mean(np.where(e <= d, 0.5 * e * e, d * (e - 0.5 * d)))

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = np.clip(p - t, -self.delta, self.delta) / size(p)
        return result


class LogCosh(CoreLoss):
    """L = mean of log(cosh(p - t))."""

    kind = "log_cosh"

    def rows(self, t: Array, p: Array) -> Array:
        e = np.abs(p - t)
        return mean(e + np.log1p(np.exp(-2.0 * e)) - np.log(2.0))

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = np.tanh(p - t) / size(p)
        return result


class Poisson(CoreLoss):
    """L = mean of p - t log(p + 1e-7), counts t >= 0; dL/dp = 1 - t / (p + 1e-7).

    The 1e-7 beside the rate p is Keras', in float32 and in float64: without it a rate of 0 would
    cost an infinite loss. A negative p, which is no rate, counts as 0 in the logarithm.

    Examples
    --------
    >>> round(Poisson().value([[3.0]], [[2.0]]), 6)
    -0.079442
    >>> round(Poisson().value([[3.0]], [[0.0]]), 2)
    48.35
    """

    kind = "poisson"

    def _rate(self, p: Array) -> Array:
        result: Array = np.maximum(p + 1e-7, 1e-7)
        return result

    def rows(self, t: Array, p: Array) -> Array:
        return mean(p - t * np.log(self._rate(p)))

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = (1 - t / self._rate(p)) / size(p)
        return result
