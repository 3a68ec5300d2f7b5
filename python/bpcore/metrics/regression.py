"""Metrics that compare predictions with targets value by value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .base import Context, CoreMetric


class _Pointwise(CoreMetric):
    """Compares value by value."""

    dense_target = True
    point = True


class MeanAbsoluteErrorMetric(_Pointwise):
    """Mean of abs(p - t).

    Parameters
    ----------
    name : str, optional
        In the logs, in place of ``"mae"``.
    """

    name = "mae"

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        return "mae", {}


class MeanSquaredErrorMetric(_Pointwise):
    """Mean of (p - t)^2.

    Parameters
    ----------
    name : str, optional
        In the logs, in place of ``"mse"``.
    """

    name = "mse"

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        return "mse", {}


class RootMeanSquaredError(MeanSquaredErrorMetric):
    """Square root of the mean of (p - t)^2.

    Parameters
    ----------
    name : str, optional
        In the logs, in place of ``"rmse"``.
    """

    name = "rmse"

    def compute(self, state: Any, context: Context) -> float:
        total, weight = state
        return math.sqrt(float(total) / float(weight)) if weight else math.nan


class R2(_Pointwise):
    """1 - sum (t - p)^2 / sum (t - mean t)^2, averaged over the output's values.

    Of a constant target 1 if it is predicted exactly, else 0, as scikit-learn has it.

    Parameters
    ----------
    name : str, optional
        In the logs, in place of ``"r2"``.
    """

    name = "r2"

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        return "r2", {}

    def compute(self, state: Any, context: Context) -> float:
        weight, mean, spread, residual = np.asarray(state, dtype=np.float64).reshape(4, -1)
        if not weight.any():
            return math.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            flat = spread <= 1e-28 * mean * mean
            values = np.where(flat, np.where(residual == 0, 1.0, 0.0), 1.0 - residual / spread)
        return float(values.mean())
