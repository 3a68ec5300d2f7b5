"""Metrics of classes, and of several labels at once.

An output of several columns is read in one of two ways. With the loss ``binary_cross_entropy``,
or where the network ends in a sigmoid, its columns are **labels**: each is true or false by itself,
and predicted where its probability is above a threshold. Otherwise they are **classes**, of which
each row has one: the predicted one is that of the largest value. One column is true or false.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array
from ..errors import MismatchWarning, warn
from .base import Context, CoreMetric, Value

_AVERAGES = ("micro", "macro", "weighted")


class Accuracy(CoreMetric):
    """Fraction of rows whose largest output is the true class.

    For one output column, and for labels (the loss ``binary_cross_entropy``), the fraction of
    values on the right side of 0.5.

    Parameters
    ----------
    name : str, optional
        In the logs, in place of ``"accuracy"``.
    """

    name = "accuracy"
    classifies = True

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        if context.binary:
            return "binary_accuracy", {"threshold": 0.5}
        return "accuracy", {}


class TopK(CoreMetric):
    """Fraction of rows whose true class is among the k largest outputs.

    Parameters
    ----------
    k : int
    name : str, optional
        In the logs, in place of ``"top_<k>_accuracy"``.
    """

    classifies = True

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        self.k = checks.integer("k", k)
        self.name = f"top_{self.k}_accuracy"
        super().__init__(name)

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        if self.k > context.width:
            raise ValueError(f"top_k: k must be <= {context.width}, the outputs, got {self.k}")
        return "top_k", {"k": self.k}


class BinaryAccuracy(CoreMetric):
    """Fraction of output values on the right side of the threshold, of whatever output.

    Parameters
    ----------
    threshold : float
        Of a probability, in [0, 1].
    name : str, optional
        In the logs, in place of ``"binary_accuracy"``.
    """

    name = "binary_accuracy"
    dense_target = True
    classifies = True

    def __init__(self, threshold: float = 0.5, name: str | None = None) -> None:
        self.threshold = checks.real("threshold", threshold, 0.0, 1.0)
        super().__init__(name)

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        return "binary_accuracy", {"threshold": self.threshold}


def _average(value: Any, *more: str) -> str | None:
    """The argument `average`, checked."""
    return None if value is None else checks.choice("average", value, (*more, *_AVERAGES))


class _Counted(CoreMetric):
    """Computed from three counts a class: hits, predicted, true."""

    classifies = True

    def __init__(
        self, threshold: float | None = None, average: str | None = "auto", name: str | None = None
    ) -> None:
        self.threshold = threshold
        if threshold is not None:
            self.threshold = checks.real("threshold", threshold, 0.0, 1.0)
        self.average = _average(average, "auto")
        super().__init__(name)

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        acts = context.width == 1 or context.labels
        if self.threshold is not None and not acts:
            text = (
                f"{self.name}: threshold={self.threshold:g} has no effect on an output of "
                f"{context.width} classes, whose largest is the predicted one; leave it out, or "
                "for several labels at once end in a sigmoid with the loss 'binary_cross_entropy'"
            )
            if self.strict:
                raise ValueError(text)
            warn(text, MismatchWarning)
        threshold = 0.5 if self.threshold is None or not acts else self.threshold
        return "counts", {"labels": context.labels, "threshold": threshold}

    def listed(self, context: Context) -> bool:
        return self.average is None

    def compute(self, state: Any, context: Context) -> Value:
        hits, predicted, true = np.asarray(state, dtype=np.float64).reshape(3, -1)
        average = self.average
        if average == "auto":
            if len(hits) == 2 and not context.labels:
                return float(self._of(hits, predicted, true)[1])
            average = "macro"
        if average == "micro":
            return float(self._of(*(np.array([a.sum()]) for a in (hits, predicted, true)))[0])
        values = self._of(hits, predicted, true)
        if average is None:
            return [float(v) for v in values]
        weights = true if average == "weighted" else np.ones_like(true)
        if average == "macro" and not context.labels:  # a class that does not occur does not count
            weights = np.where(predicted + true > 0, 1.0, 0.0)
        return float(np.average(values, weights=weights)) if weights.any() else 0.0

    def _of(self, hits: Array, predicted: Array, true: Array) -> Array:
        raise NotImplementedError


def _ratio(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


class Precision(_Counted):
    """True positives / predicted positives; 0 where nothing is predicted.

    Parameters
    ----------
    threshold : float, optional
        Of the probability, in [0, 1], for one column or several labels; 0.5 by default. For
        classes, of which that of the largest output is the predicted one, it is an error.
    average : {"auto", "micro", "macro", "weighted"} or None
        "macro": the mean over the classes or labels (of classes those that occur); "weighted": by
        the number of true ones; "micro": from the sums over all; None: a list, one number each. For
        one column the classes are false and true. "auto": that of the second class for one column
        and two classes, else "macro".
    name : str, optional
        In the logs, in place of ``"precision"``.

    Notes
    -----
    As scikit-learn's ``precision_score``, of which "auto" is ``average="binary"`` for two classes.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> model = bp.Sequential([bp.Input((2,)), bp.layers.Activation("sigmoid")])
    >>> model.compile(loss="binary_cross_entropy", metrics=[bp.metrics.Precision(average=None)])
    >>> model.evaluate([[3.0, -3.0], [3.0, 3.0]], [[1, 0], [0, 1]])["precision"]
    [0.5, 1.0]
    """

    name = "precision"

    def _of(self, hits: Array, predicted: Array, true: Array) -> Array:
        return _ratio(hits, predicted)


class Recall(_Counted):
    """True positives / positives; 0 where there are none.

    Parameters
    ----------
    threshold, average
        As of `Precision`.
    name : str, optional
        In the logs, in place of ``"recall"``.
    """

    name = "recall"

    def _of(self, hits: Array, predicted: Array, true: Array) -> Array:
        return _ratio(hits, true)


class F1(_Counted):
    """2 precision recall / (precision + recall), 0 where both are.

    Parameters
    ----------
    threshold, average
        As of `Precision`.
    name : str, optional
        In the logs, in place of ``"f1"``.
    """

    name = "f1"

    def _of(self, hits: Array, predicted: Array, true: Array) -> Array:
        return _ratio(2.0 * hits, predicted + true)


class AUC(CoreMetric):
    """Area under the ROC curve, exact: the share of (true, false) pairs in the right order.

    Ties count one half. Of several labels each column by itself, of several classes each against
    the rest by its probability; targets may be class labels or one-hot.

    Parameters
    ----------
    average : {"macro", "micro", "weighted"} or None
        Over the columns, as of `Precision`; one column and two classes have one area.
    name : str, optional
        In the logs, in place of ``"auc"``.

    Notes
    -----
    As scikit-learn's ``roc_auc_score`` (``multi_class="ovr"``): where all targets of a column are
    equal the area is not defined, which gives NaN and an `UndefinedMetricWarning`. All scores are
    kept until the epoch ends: K numbers a row.

    Examples
    --------
    >>> import bpcore as bp
    >>> model = bp.Sequential([bp.Input((1,)), bp.layers.Activation("sigmoid")])
    >>> model.compile(loss="binary_cross_entropy", metrics=["auc"])
    >>> model.evaluate([[0.1], [0.4], [0.3], [0.8]], [0, 0, 1, 1])["auc"]
    0.75
    """

    name = "auc"
    classifies = True

    def __init__(self, average: str | None = "macro", name: str | None = None) -> None:
        self.average = _average(average)
        super().__init__(name)

    def spec(self, context: Context) -> tuple[str, dict[str, Any]]:
        pooled = self.average == "micro" and self._several(context)
        return "auc", {"labels": context.labels, "pooled": pooled}

    @staticmethod
    def _several(context: Context) -> bool:
        return context.width > 2 or context.labels

    def listed(self, context: Context) -> bool:
        return self.average is None and self._several(context)

    def compute(self, state: Any, context: Context) -> Value:
        areas, true, _ = np.asarray(state, dtype=np.float64).reshape(-1, 3).T
        if self.listed(context):
            return [float(area) for area in areas]
        if self.average != "weighted":
            return float(areas.mean())
        return (
            float(np.average(areas[true > 0], weights=true[true > 0])) if true.any() else math.nan
        )

    def undefined(self, state: Any, context: Context) -> str:
        _, true, false = np.asarray(state, dtype=np.float64).reshape(-1, 3).T
        flat = np.flatnonzero((true == 0) | (false == 0))
        if self.average == "weighted" and true.any():
            flat = flat[true[flat] > 0]
        if not len(flat):
            return ""
        which = "" if len(true) == 1 else f" of {'label' if context.labels else 'class'} {flat[0]}"
        more = f" (and {len(flat) - 1} more)" if len(flat) > 1 else ""
        only = "true" if true[flat[0]] else "false"
        return (
            f"all targets{which}{more} are {only}, and an area under the ROC curve needs both; "
            "evaluate on more rows"
        )
