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
    """Base of the built-in metrics: ``spec`` for the core, ``compute`` from what it gathered."""

    name = ""
    dense_target = False  # needs targets of the predictions' shape, not class labels
    point = False  # compares with one number per target, of several that a loss may predict
    classifies = False  # asks of targets what is true, not how large they are
    strict = True  # False: from a file, in which an argument without effect is no error

    def __init__(self, name: str | None = None) -> None:
        if name is not None:
            self.name = checks.object_name("metric", name) or self.name

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
