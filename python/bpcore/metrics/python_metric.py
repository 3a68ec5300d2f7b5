"""A metric written in Python: a function or an object of the user's, called with each batch."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array
from .base import Context, CoreMetric


def _takes_weight(function: Callable[..., Any]) -> bool:
    """Whether a function has an argument ``sample_weight``."""
    try:
        return "sample_weight" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # of some functions written in C nothing is known
        return False


class PythonMetric(CoreMetric):
    """A user's function or object."""

    def __init__(self, target: Any, name: str) -> None:
        self.target, self.name = target, name
        self.is_object = hasattr(target, "update_state")
        self.weighs = not self.is_object and _takes_weight(target)
        self.reset()

    def reset(self) -> None:
        """At the start of an epoch."""
        self.total, self.weight = 0.0, 0.0
        if self.is_object:
            self.target.reset_state()

    def state(self) -> tuple[float, float, dict[str, Any]]:
        """A copy of what it has gathered."""
        own = copy.deepcopy(getattr(self.target, "__dict__", {})) if self.is_object else {}
        return self.total, self.weight, own

    def set_state(self, state: tuple[float, float, dict[str, Any]]) -> None:
        """Go back to what `state` gave."""
        self.total, self.weight, own = state
        if self.is_object:
            self.target.__dict__.update(own)

    def update(self, y_true: Array, y_pred: Array, sample_weight: Array | None) -> None:
        """For the core, once per batch; weights come to what is in `weighted_metrics` alone."""
        if self.is_object:
            self.target.update_state(y_true, y_pred, sample_weight=sample_weight)
            return
        n = y_pred.shape[0]
        weights = np.ones(n) if sample_weight is None else np.asarray(sample_weight, np.float64)
        if not weights.any():  # nothing to add, and a mean by these weights would divide by 0
            return
        more = {"sample_weight": sample_weight} if self.weighs else {}
        value = self.target(y_true, y_pred, **more)
        shape = np.shape(value)
        leading = shape in (y_pred.shape[: len(shape)], y_true.shape[: len(shape)])
        if len(shape) >= weights.ndim and leading:
            values = np.asarray(value, dtype=np.float64)
            of_weights = values.reshape(*weights.shape, -1).mean(axis=-1)
            self.total += float(weights.ravel() @ of_weights.ravel())
        elif self.weighs or sample_weight is None:
            self.total += float(weights.sum()) * self._number(value)
        else:
            raise ValueError(
                f"metric {self.name!r} is among weighted_metrics, but returned "
                f"{checks.describe(value)}, to which sample weights cannot be applied; return an "
                f"array {weights.shape}, one number for each row, or take an argument "
                "sample_weight"
            )
        self.weight += float(weights.sum())

    def _number(self, value: Any) -> float:
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"metric {self.name!r} returned {checks.describe(value)}, expected a number, or "
                "one for each row"
            ) from error

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        return "python", {"call": self.update}

    def compute(self, state: Any, context: Context) -> Any:
        if self.is_object:
            return self._number(self.target.result())
        return super().compute((self.total, self.weight), context)

    def get_config(self) -> dict[str, Any]:
        raise TypeError(f"metric {self.name!r} is a Python object and cannot be saved")
