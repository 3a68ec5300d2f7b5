"""Losses of classes and probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array, Shape
from ..errors import ShapeError
from .base import CoreLoss, mean, size

_SLACK = 1e-3  # of probabilities that are sums of others, or were rounded


class _Labelled(CoreLoss):
    """Cross entropies: smoothing, and weights per class that multiply the sample weights."""

    option_name = "label_smoothing"

    def __init__(
        self, label_smoothing: float = 0.0, class_weight: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.label_smoothing = checks.real("label_smoothing", label_smoothing, 0.0, 1.0)
        self.class_weight = class_weight

    def _hold(self, p: Array, eps: Any) -> Array:
        strange = p[(p < -_SLACK) | (p > 1 + _SLACK)]
        if strange.size:
            raise ValueError(
                f"{self.name}: got y_pred with {strange[0]:g} in it, expected probabilities, 0 to "
                "1, because a loss by itself does not know what the model ends in; give the "
                "softmax or sigmoid of logits z, whose gradient in z is p - t over the rows' number"
            )
        result: Array = np.clip(p, eps, 1 - eps)
        return result


def _positive(value: Any) -> list[float]:
    """The argument `pos_weight`, checked."""
    several = np.ndim(value) == 1 and np.size(value) > 0
    if not several and np.ndim(value) != 0:
        raise ShapeError(
            f"pos_weight: got shape {np.shape(value)}, expected a number or (K,), one for each "
            "output column"
        )
    given = list(value) if several else [value]
    return [checks.real("pos_weight", q, 0.0, open_low=True) for q in given]


class BinaryCrossEntropy(_Labelled):
    """L = mean of -(q t log p + (1 - t) log(1 - p)), t in [0, 1], q = 1 or `pos_weight`.

    If the model ends in ``sigmoid`` the two are one fused step with delta p - t (over K and N), and
    (1 - t + q t) p - q t with weights; if it ends linear, the outputs are logits. `value` and
    `gradient`, called by hand, take probabilities. Smoothing s: t <- t (1 - s) + s/2.

    Parameters
    ----------
    label_smoothing : float
        In [0, 1].
    class_weight : dict of {0, 1} to float, or two numbers, optional
        Multiply the sample weights by that of the row's class; for one output column.
    pos_weight : float, or sequence of float (K,), optional
        q, what a true label weighs against a false one: of each of K labels, or of all. With
        (number of false) / (number of true) both weigh alike.
    reduction : {"mean", "sum"}
        "sum": over rows and outputs.

    Notes
    -----
    `pos_weight` as in PyTorch's BCEWithLogitsLoss.

    Examples
    --------
    >>> round(BinaryCrossEntropy().value([[1.0, 0.0]], [[0.5, 0.5]]), 6)
    0.693147
    >>> round(BinaryCrossEntropy(pos_weight=[3.0, 1.0]).value([[1.0, 0.0]], [[0.5, 0.5]]), 6)
    1.386294
    """

    kind = "binary_cross_entropy"

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weight: Any = None,
        pos_weight: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(label_smoothing, class_weight, reduction)
        self.pos_weight = None if pos_weight is None else _positive(pos_weight)

    def _options(self) -> list[float]:
        return [*super()._options(), *(self.pos_weight or [])]

    def target_shape(self, shape: Shape) -> Shape:
        if self.pos_weight is not None and len(self.pos_weight) not in (1, shape[-1]):
            raise ShapeError(
                f"{self.name}: got {len(self.pos_weight)} pos_weight for an output of shape "
                f"{shape}, expected one number, or {shape[-1]}, one for each column"
            )
        return super().target_shape(shape)

    def _shares(self, t: Array) -> tuple[Array, Array]:
        """What log p and log(1 - p) are multiplied by."""
        t = self._smooth(t)
        return t * (1.0 if self.pos_weight is None else np.array(self.pos_weight)), 1.0 - t

    def rows(self, t: Array, p: Array) -> Array:
        yes, no = self._shares(t)
        return -mean(yes * np.log(p) + no * np.log1p(-p))

    def slope(self, t: Array, p: Array) -> Array:
        if self.pos_weight is None:
            result: Array = (p - self._smooth(t)) / (p * (1 - p)) / size(p)
            return result
        yes, no = self._shares(t)
        result = (no * p - yes * (1 - p)) / (p * (1 - p)) / size(p)
        return result

    def _smooth(self, t: Array) -> Array:
        result: Array = t * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        return result


class CrossEntropy(_Labelled):
    """L = -sum over classes of t log p; t: integer labels (N,) or distributions (N, K).

    If the model ends in ``softmax`` the two are one fused step with delta p - t (over N); if it
    ends linear, the outputs are logits. `value` and `gradient`, called by hand, take probabilities.
    Smoothing s: t <- t (1 - s) + s/K.

    Examples
    --------
    >>> round(CrossEntropy().value([1], [[0.5, 0.5]]), 6)
    0.693147
    """

    kind = "cross_entropy"
    takes_labels = True

    def weight_shape(self, shape: Shape) -> Shape:
        return shape[:-1]  # classes share one number

    def terms(self, p: Array) -> int:
        return size(p) // int(p.shape[-1])

    def _smooth(self, t: Array) -> Array:
        result: Array = t * (1 - self.label_smoothing) + self.label_smoothing / t.shape[-1]
        return result

    def rows(self, t: Array, p: Array) -> Array:
        result: Array = -mean(self._smooth(t) * np.log(p)) * p.shape[-1]
        return result

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = -self._smooth(t) / p / (size(p) // p.shape[-1])
        return result


class KLDivergence(CoreLoss):
    """L = sum of t log(t / p), t and p distributions; dL/dp = -t / p.

    p is held in [1e-7, 1] in float32 and in [1e-15, 1] in float64, so that a class of probability 0
    costs a finite loss: a target of 1 there costs 16.1 and 34.5. Where t is 0 (or less) the term
    is 0.

    Notes
    -----
    S. Kullback, R. Leibler, On information and sufficiency, 1951. PyTorch's ``kl_div`` takes
    logarithms of p and holds nothing: the two differ where a p is below the bound.

    Examples
    --------
    >>> round(KLDivergence().value([[0.5, 0.5]], [[0.9, 0.1]]), 6)
    0.510826
    >>> round(KLDivergence().value([[1.0, 0.0]], [[0.0, 1.0]]), 2)
    34.54
    """

    kind = "kl_divergence"

    def terms(self, p: Array) -> int:
        return size(p) // int(p.shape[-1])

    def _hold(self, p: Array, eps: Any) -> Array:
        result: Array = np.clip(p, eps, 1.0)
        return result

    def rows(self, t: Array, p: Array) -> Array:
        some = np.where(t > 0, t, 1.0)
        result: Array = mean(np.where(t > 0, t * np.log(some / p), 0.0)) * p.shape[-1]
        return result

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = np.where(t > 0, -t / p, 0.0) / (size(p) // p.shape[-1])
        return result


class Hinge(CoreLoss):
    """L = mean of max(0, 1 - t p), t in {-1, 1}; targets 0 and 1 are read as -1 and 1."""

    kind = "hinge"

    def _signs(self, t: Array) -> Array:
        return 2.0 * t - 1.0 if ((t == 0) | (t == 1)).all() else t

    def rows(self, t: Array, p: Array) -> Array:
        return mean(np.maximum(0.0, 1.0 - self._signs(t) * p))

    def slope(self, t: Array, p: Array) -> Array:
        t = self._signs(t)
        return np.where(t * p < 1.0, -t, 0.0) / size(p)
