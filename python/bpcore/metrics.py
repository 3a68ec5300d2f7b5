"""Metrics: their names, and how the core's running sums become a number.

The core gathers what a metric needs while it trains. A metric of one's own is a plain function
``f(y_true, y_pred) -> float``, averaged by samples, or an object with
``update_state(y_true, y_pred, sample_weight=None)``, ``result()`` and ``reset_state()``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .base import arguments, checks
from .base.memory import Array


class Context:
    """What a metric must know about the output it watches."""

    def __init__(self, width: int, binary: bool) -> None:
        self.width = width  # size of the last axis
        self.binary = binary  # one column, or a binary loss


class Metric(arguments.Configured):
    """Base of the built-in metrics: ``spec`` for the core, ``compute`` from what it gathered."""

    name = ""
    dense_target = False  # needs targets of the predictions' shape, not class labels
    point = False  # compares with one number per target, of several that a loss may predict

    def __init__(self) -> None:
        pass

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        """Kind and options for the core."""
        raise NotImplementedError

    def compute(self, state: Any, context: Context) -> float:
        """The metric from what the core gathered."""
        total, weight = state
        return float(total) / float(weight) if weight else math.nan


class Accuracy(Metric):
    """Fraction of rows whose largest output is the true class; for one output column, of values on
    the right side of 0.5."""

    name = "accuracy"

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        if context.binary:
            return "binary_accuracy", {"threshold": 0.5}
        return "accuracy", {}


class TopK(Metric):
    """Fraction of rows whose true class is among the k largest outputs."""

    def __init__(self, k: int = 5) -> None:
        self.k = checks.integer("k", k)
        self.name = f"top_{self.k}_accuracy"

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        if self.k > context.width:
            raise ValueError(f"top_k: k must be <= {context.width}, the outputs, got {self.k}")
        return "top_k", {"k": self.k}


class _Threshold(Metric):
    """Has a threshold in (0, 1), for outputs that are probabilities."""

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = checks.real("threshold", threshold, 0.0, 1.0)


class BinaryAccuracy(_Threshold):
    """Fraction of output values on the right side of the threshold."""

    name = "binary_accuracy"
    dense_target = True

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        return "binary_accuracy", {"threshold": self.threshold}


class _Confusion(_Threshold):
    """Computed from the (K, K) counts [true, predicted]: of class 1 for K = 2, else macro-averaged
    over the classes; 0 where a class is never predicted or never true."""

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        classes = 2 if context.width == 1 else context.width
        return "confusion", {"classes": classes, "threshold": self.threshold}

    def compute(self, state: Any, context: Context) -> float:
        matrix = np.asarray(state, dtype=np.float64)
        classes = math.isqrt(matrix.size)
        matrix = matrix.reshape(classes, classes)
        hits = np.diag(matrix)
        predicted, true = matrix.sum(axis=0), matrix.sum(axis=1)
        per_class = self._of(hits, predicted, true)
        return float(per_class[1] if len(per_class) == 2 else per_class.mean())

    def _of(self, hits: Array, predicted: Array, true: Array) -> Array:
        raise NotImplementedError


def _ratio(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


class Precision(_Confusion):
    """True positives / predicted positives."""

    name = "precision"

    def _of(self, hits: Array, predicted: Array, true: Array) -> Array:
        return _ratio(hits, predicted)


class Recall(_Confusion):
    """True positives / positives."""

    name = "recall"

    def _of(self, hits: Array, predicted: Array, true: Array) -> Array:
        return _ratio(hits, true)


class F1(_Confusion):
    """2 precision recall / (precision + recall)."""

    name = "f1"

    def _of(self, hits: Array, predicted: Array, true: Array) -> Array:
        return _ratio(2.0 * hits, predicted + true)


class AUC(Metric):
    """Area under the ROC curve of one output column, exact (ties count one half)."""

    name = "auc"

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        if context.width > 2:
            raise ValueError(f"auc needs one or two output columns, got {context.width}")
        return "auc", {}

    def compute(self, state: Any, context: Context) -> float:
        return float(np.asarray(state).reshape(-1)[0])


class MeanAbsoluteErrorMetric(Metric):
    """Mean of abs(p - t)."""

    name = "mae"
    dense_target = True
    point = True

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        return "mae", {}


class MeanSquaredErrorMetric(Metric):
    """Mean of (p - t)^2."""

    name = "mse"
    dense_target = True
    point = True

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        return "mse", {}


class RootMeanSquaredError(MeanSquaredErrorMetric):
    """Square root of the mean of (p - t)^2."""

    name = "rmse"

    def compute(self, state: Any, context: Context) -> float:
        return math.sqrt(super().compute(state, context))


class R2(Metric):
    """1 - sum (t - p)^2 / sum (t - mean t)^2, averaged over the output columns."""

    name = "r2"
    dense_target = True
    point = True

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        return "r2", {}

    def compute(self, state: Any, context: Context) -> float:
        _, mean, spread, residual = np.asarray(state, dtype=np.float64).reshape(4, -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            # A constant target: 1 if predicted exactly, else 0, as scikit-learn has it.
            flat = spread <= 1e-28 * mean * mean
            values = np.where(flat, np.where(residual == 0, 1.0, 0.0), 1.0 - residual / spread)
        return float(values.mean())


class PythonMetric(Metric):
    """A user's function or object, called with each batch."""

    def __init__(self, target: Any, name: str) -> None:
        self.target, self.name = target, name
        self.is_object = hasattr(target, "update_state")
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
        """For the core, once per batch."""
        if self.is_object:
            self.target.update_state(y_true, y_pred, sample_weight=sample_weight)
            return
        n = y_pred.shape[0]
        self.total += n * self._number(self.target(y_true, y_pred))
        self.weight += n

    def _number(self, value: Any) -> float:
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"metric {self.name!r} returned {checks.describe(value)}, expected a number"
            ) from error

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        return "python", {"call": self.update}

    def compute(self, state: Any, context: Context) -> float:
        if self.is_object:
            return self._number(self.target.result())
        return super().compute((self.total, self.weight), context)

    def get_config(self) -> dict[str, Any]:
        raise TypeError(f"metric {self.name!r} is a Python object and cannot be saved")


MeanAbsoluteError, MeanSquaredError = MeanAbsoluteErrorMetric, MeanSquaredErrorMetric
_BY_NAME: dict[str, Any] = {
    "accuracy": Accuracy,
    "top_k": TopK,
    "binary_accuracy": BinaryAccuracy,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "auc": AUC,
    "mae": MeanAbsoluteErrorMetric,
    "mse": MeanSquaredErrorMetric,
    "rmse": RootMeanSquaredError,
    "r2": R2,
}
_ALIASES = {
    "acc": "accuracy",
    "AUC": "auc",
    "top_k_accuracy": "top_k",
    "top_k_categorical_accuracy": "top_k",
    "sparse_categorical_accuracy": "accuracy",
    "categorical_accuracy": "accuracy",
    "mean_absolute_error": "mae",
    "mean_squared_error": "mse",
    "root_mean_squared_error": "rmse",
    "r2_score": "r2",
    "f1_score": "f1",
}
_BY_CLASS = {cls.__name__: cls for cls in _BY_NAME.values()}

__all__ = [
    "AUC",
    "F1",
    "R2",
    "Accuracy",
    "BinaryAccuracy",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "TopK",
    "get",
    "names",
]


def names() -> list[str]:
    """The names that `get` knows, aliases left out.

    >>> "accuracy" in names()
    True
    """
    return list(_BY_NAME)


def get(identifier: Any) -> Metric:
    """A metric from a name, class, object, function or configuration.

    >>> get("acc").name
    'accuracy'
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        key = _ALIASES.get(identifier, identifier)
        if key not in _BY_NAME:
            raise checks.unknown("metric", identifier, (*_BY_NAME, *_ALIASES))
        metric: Metric = _BY_NAME[key]()
        return metric
    if isinstance(identifier, Mapping) and set(identifier) == {"class_name", "config"}:
        if identifier["class_name"] not in _BY_CLASS:
            raise checks.unknown("metric", identifier["class_name"], _BY_CLASS)
        made: Metric = _BY_CLASS[identifier["class_name"]].from_config(dict(identifier["config"]))
        return made
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return identifier()
    methods = ("update_state", "result", "reset_state")
    if not isinstance(identifier, type) and all(hasattr(identifier, m) for m in methods):
        name = getattr(identifier, "name", None) or arguments.snake_case(type(identifier).__name__)
        return PythonMetric(identifier, str(name))
    if callable(identifier) and not isinstance(identifier, type):
        return PythonMetric(identifier, getattr(identifier, "__name__", "metric"))
    raise TypeError(
        "metric must be a name, a metric of bpcore.metrics, a function f(y_true, y_pred) or an "
        f"object with update_state, result and reset_state, got {checks.describe(identifier)}"
    )
