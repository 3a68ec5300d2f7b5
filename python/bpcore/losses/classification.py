"""Losses of classes and probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array
from .base import Loss, mean, size


class _Labelled(Loss):
    """Cross entropies: smoothing, and weights per class that multiply the sample weights."""

    option_name = "label_smoothing"

    def __init__(self, label_smoothing: float = 0.0, class_weight: Any = None) -> None:
        self.label_smoothing = checks.real("label_smoothing", label_smoothing, 0.0, 1.0)
        self.class_weight = class_weight

    def _hold(self, p: Array, eps: Any) -> Array:
        result: Array = np.clip(p, eps, 1 - eps)
        return result


class BinaryCrossEntropy(_Labelled):
    """L = mean of -(t log p + (1 - t) log(1 - p)), t in [0, 1].

    If the model ends in ``sigmoid`` the two are one fused step with delta p - t (over K and N); if
    it ends linear, the outputs are logits. Smoothing s: t <- t (1 - s) + s/2.
    """

    kind = "binary_cross_entropy"

    def rows(self, t: Array, p: Array) -> Array:
        t = self._smooth(t)
        return -mean(t * np.log(p) + (1 - t) * np.log1p(-p))

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = (p - self._smooth(t)) / (p * (1 - p)) / size(p)
        return result

    def _smooth(self, t: Array) -> Array:
        result: Array = t * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        return result


class CrossEntropy(_Labelled):
    """L = -sum over classes of t log p; t: integer labels (N,) or distributions (N, K).

    If the model ends in ``softmax`` the two are one fused step with delta p - t (over N); if it
    ends linear, the outputs are logits. Smoothing s: t <- t (1 - s) + s/K.

    Examples
    --------
    >>> round(CrossEntropy().value([1], [[0.5, 0.5]]), 6)
    0.693147
    """

    kind = "cross_entropy"
    takes_labels = True

    def _smooth(self, t: Array) -> Array:
        result: Array = t * (1 - self.label_smoothing) + self.label_smoothing / t.shape[-1]
        return result

    def rows(self, t: Array, p: Array) -> Array:
        result: Array = -mean(self._smooth(t) * np.log(p)) * p.shape[-1]
        return result

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = -self._smooth(t) / p / (size(p) // p.shape[-1])
        return result


class KLDivergence(Loss):
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


class Hinge(Loss):
    """L = mean of max(0, 1 - t p), t in {-1, 1}; targets 0 and 1 are read as -1 and 1."""

    kind = "hinge"

    def _signs(self, t: Array) -> Array:
        return 2.0 * t - 1.0 if ((t == 0) | (t == 1)).all() else t

    def rows(self, t: Array, p: Array) -> Array:
        return mean(np.maximum(0.0, 1.0 - self._signs(t) * p))

    def slope(self, t: Array, p: Array) -> Array:
        t = self._signs(t)
        return np.where(t * p < 1.0, -t, 0.0) / size(p)
