"""What every metric is: a kind and options for the core, and a number from what that gathered."""

from __future__ import annotations

import math
from typing import Any

from ..base import arguments, checks

Value = float | list[float]


class Context:
    """What a metric must know about the output it watches."""

    def __init__(self, width: int, binary: bool, labels: bool = False) -> None:
        self.width = width  # size of the last axis
        self.binary = binary  # one column, or a binary loss
        self.labels = labels  # several columns, each true or false by itself; else one of classes


class Metric(arguments.Configured):
    """Base of all metrics, and the way to write one's own.

    A subclass must define ``update_state(self, y_true, y_pred, sample_weight=None)``, called with
    each batch, ``result(self)``, the number of all batches since the last reset, and
    ``reset_state(self)``, called before the first one.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> class LargestError(bp.metrics.Metric):
    ...     def reset_state(self):
    ...         self.largest = 0.0
    ...
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         self.largest = max(self.largest, float(np.abs(y_pred - y_true).max()))
    ...
    ...     def result(self):
    ...         return self.largest
    >>> model = bp.Sequential([bp.layers.Dense(1, kernel_initializer="zeros")], seed=0)
    >>> model.compile("sgd", "mse", metrics=[LargestError()])
    >>> model.train_on_batch(np.ones((2, 3)), np.array([[1.0], [-4.0]]))["largest_error"]
    4.0
    """

    name = ""

    def __init__(self, name: str | None = None) -> None:
        if name is not None:
            self.name = checks.object_name("metric", name) or self.name

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take in a batch; weights come to what is in ``weighted_metrics`` alone."""
        raise NotImplementedError(f"{type(self).__name__} must define update_state")

    def result(self) -> Any:
        """The number of all batches since the last reset."""
        raise NotImplementedError(f"{type(self).__name__} must define result")

    def reset_state(self) -> None:
        """Forget all batches."""
        raise NotImplementedError(f"{type(self).__name__} must define reset_state")


class CoreMetric(Metric):
    """Base of the built-in metrics: ``spec`` for the core, ``compute`` from what it gathered."""

    dense_target = False  # needs targets of the predictions' shape, not class labels
    point = False  # compares with one number per target, of several that a loss may predict
    classifies = False  # asks of targets what is true, not how large they are
    strict = True  # False: from a file, in which an argument without effect is no error

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        """Kind and options for the core."""
        raise NotImplementedError

    def compute(self, state: Any, context: Context) -> Value:
        """The metric from what the core gathered."""
        total, weight = state
        return float(total) / float(weight) if weight else math.nan

    def listed(self, context: Context) -> bool:
        """Whether `compute` gives a list, one number for each column."""
        return False

    def undefined(self, state: Any, context: Context) -> str:
        """Why `compute` gives NaN, in words, or nothing."""
        return ""
