"""Metrics: their names, and how the core's running sums become a number.

The core gathers what a metric needs while it trains. Those that `Model.compile` gets as ``metrics``
count every sample alike, those that it gets as ``weighted_metrics`` count it by the weight that it
has in the loss; that is the only difference, in training, validation and `Model.evaluate`.

A metric of one's own is a subclass of `Metric`; or a plain function ``f(y_true, y_pred)`` that
returns a number, averaged over the batches by their size, or an array (N,) of one number for each
row, or with more leading axes of the targets; or an object with ``update_state(y_true, y_pred,
sample_weight=None)``, ``result()`` and ``reset_state()``. Among ``weighted_metrics`` a function
must return one number for each weight or take ``sample_weight``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base import arguments, checks
from .base import Context as Context
from .base import CoreMetric as CoreMetric
from .base import Metric
from .classification import AUC, F1, Accuracy, BinaryAccuracy, Precision, Recall, TopK
from .python_metric import PythonMetric as PythonMetric
from .regression import R2, MeanAbsoluteErrorMetric, MeanSquaredErrorMetric, RootMeanSquaredError

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


def get(identifier: Any) -> CoreMetric:
    """A metric from a name, class, object, function or configuration.

    >>> get("acc").name
    'accuracy'
    """
    if isinstance(identifier, CoreMetric):
        return identifier
    if isinstance(identifier, str):
        key = _ALIASES.get(identifier, identifier)
        if key not in _BY_NAME:
            raise checks.unknown("metric", identifier, (*_BY_NAME, *_ALIASES))
        metric: CoreMetric = _BY_NAME[key]()
        return metric
    if isinstance(identifier, Mapping) and set(identifier) == {"class_name", "config"}:
        if identifier["class_name"] not in _BY_CLASS:
            raise checks.unknown("metric", identifier["class_name"], _BY_CLASS)
        made: CoreMetric = _BY_CLASS[identifier["class_name"]].from_config(
            dict(identifier["config"])
        )
        made.strict = False
        return made
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return get(identifier())
    methods = ("update_state", "result", "reset_state")
    if isinstance(identifier, Metric):
        cls = type(identifier)
        missing = [m for m in methods if getattr(cls, m) is getattr(Metric, m)]
        if missing:
            raise TypeError(
                f"metric {cls.__name__} lacks {', '.join(missing)}, expected a subclass of Metric "
                "to define update_state(self, y_true, y_pred, sample_weight=None), result(self) "
                "and reset_state(self)"
            )
    if not isinstance(identifier, type) and all(hasattr(identifier, m) for m in methods):
        name = getattr(identifier, "name", None) or arguments.snake_case(type(identifier).__name__)
        return PythonMetric(identifier, str(name))
    if callable(identifier) and not isinstance(identifier, type):
        return PythonMetric(identifier, getattr(identifier, "__name__", "metric"))
    raise TypeError(
        "metric must be a name, a metric of bpcore.metrics, a function f(y_true, y_pred) or an "
        f"object with update_state, result and reset_state, got {checks.describe(identifier)}"
    )
