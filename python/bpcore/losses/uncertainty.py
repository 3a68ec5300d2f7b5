"""Losses with several outputs for each target, which say how sure a prediction is."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array
from .base import CoreLoss, mean, size


class Quantile(CoreLoss):
    """Pinball loss, whose minimum is the quantile q: L = mean of max(q e, (q - 1) e), e = t - p.

    One number q: outputs are like the targets. Q numbers: the last axis of the output holds Q
    blocks of K values, block j the quantiles q_j of the K targets (for one target: column j), and
    the mean goes over all of them. dL/dp is -q for e > 0, 1 - q for e < 0 and 0 at e = 0, over Q K.
    Quantiles are fitted apart: nothing keeps them from crossing.

    Parameters
    ----------
    quantiles : float or sequence of float
        Each in (0, 1), increasing.
    reduction : {"mean", "sum"}
        "sum": over rows and outputs.

    Notes
    -----
    Targets are (N, K), or (N,) for K = 1. Metrics like ``mae`` compare the targets with the
    quantile 0.5, the only one, or are refused. R. Koenker and G. Bassett, Regression Quantiles,
    Econometrica 46, 1978.

    Examples
    --------
    >>> Quantile(0.9).value([[1.0], [1.0]], [[0.0], [2.0]])
    0.5
    >>> Quantile([0.25, 0.75]).value([1.0], [[0.0, 2.0]])
    0.25
    """

    kind = "quantile"

    def __init__(self, quantiles: Any = 0.5, reduction: str = "mean") -> None:
        super().__init__(reduction)
        single = np.ndim(quantiles) == 0
        given = [quantiles] if single else list(quantiles)
        if not given:
            raise ValueError("quantiles is empty, expected numbers in (0, 1)")
        levels = [
            checks.real("quantiles", q, 0.0, 1.0, open_low=True, open_high=True) for q in given
        ]
        if sorted(set(levels)) != levels:
            raise ValueError(f"quantiles must increase, got {quantiles!r}")
        self.levels = levels
        self.quantiles = levels[0] if single else tuple(levels)
        self.parts = len(levels)
        self.point = 0 if len(levels) == 1 else levels.index(0.5) if 0.5 in levels else None

    def _options(self) -> list[float]:
        return self.levels

    def _layout(self) -> str:
        return f"one block for each of the quantiles {self.levels}"

    def _errors(self, t: Array, p: Array) -> tuple[Array, Array]:
        """Levels and errors of the shape (..., Q, K)."""
        shape = (*p.shape[:-1], self.parts, p.shape[-1] // self.parts)
        return np.array(self.levels)[:, None], t[..., None, :] - p.reshape(shape)

    def rows(self, t: Array, p: Array) -> Array:
        q, e = self._errors(t, p)
        return mean(np.maximum(q * e, (q - 1.0) * e))

    def slope(self, t: Array, p: Array) -> Array:
        q, e = self._errors(t, p)
        result: Array = np.where(e > 0, -q, np.where(e < 0, 1.0 - q, 0.0)).reshape(p.shape)
        return result / size(p)


class GaussianNLL(CoreLoss):
    """Negative log likelihood of a normal distribution whose mean and variance are both learned.

    L = mean over K of 1/2 (s + (t - m)^2 exp(-s)), and + 1/2 log(2 pi) with `full`; the last axis
    of the output is 2 K wide: K means m, then K logarithms s of variances (any real numbers, so
    both heads end linear). dL/dm = (m - t) exp(-s) / K, dL/ds = 1/2 (1 - (t - m)^2 exp(-s)) / K.

    Parameters
    ----------
    epsilon : float
        The smallest variance: s is held at log(epsilon) or above, and the gradient is the formula
        at the s so held, so that a head which fell below can come back.
    full : bool
        Whether to add the constant 1/2 log(2 pi).
    reduction : {"mean", "sum"}
        "sum": over rows and K.

    Notes
    -----
    Targets are (N, K), or (N,) for K = 1. Metrics like ``mae`` compare the targets with the means.
    PyTorch's GaussianNLLLoss with ``var = exp(s)``; D. Nix and A. Weigend, Estimating the mean and
    variance of the target probability distribution, ICNN 1994.

    Examples
    --------
    >>> GaussianNLL().value([[1.0]], [[3.0, 0.0]])
    2.0
    """

    kind = "gaussian_nll"
    parts = 2

    def __init__(self, epsilon: float = 1e-6, full: bool = False, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.epsilon = checks.real("epsilon", epsilon, 0.0, open_low=True)
        self.full = checks.boolean("full", full)

    def _options(self) -> list[float]:
        return [float(np.log(self.epsilon)), 0.5 * float(np.log(2.0 * np.pi)) * self.full]

    def terms(self, p: Array) -> int:
        return size(p) // 2

    def _layout(self) -> str:
        return "K means and then K logarithms of variances"

    def _terms(self, t: Array, p: Array) -> tuple[Array, Array, Array]:
        m, s = np.split(p, 2, axis=-1)
        s = np.maximum(s, np.log(self.epsilon))
        inverse = np.exp(-0.5 * s)
        return s, inverse, (m - t) * inverse

    def rows(self, t: Array, p: Array) -> Array:
        s, _, ratio = self._terms(t, p)
        return mean(0.5 * (s + ratio**2)) + self._options()[1]

    def slope(self, t: Array, p: Array) -> Array:
        _, inverse, ratio = self._terms(t, p)
        both = np.concatenate([ratio * inverse, 0.5 * (1.0 - ratio**2)], axis=-1)
        result: Array = both / size(t)
        return result
