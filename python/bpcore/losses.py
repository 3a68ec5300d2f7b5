"""Losses: names, options and formulas. In training the core computes them, fused with the output.

Each class also gives ``value(y_true, y_pred)`` and ``gradient(y_true, y_pred)`` in NumPy, for use
alone; a loss of one's own is any object with these two methods. A value is a mean over the batch of
per-row losses L_i over K outputs; t are targets, p predictions.

A logarithm of 0 is infinite, so probabilities are held away from it: in [eps, 1 - eps] by the cross
entropies and in [eps, 1] by `KLDivergence`, with eps = 1e-7 for predictions in float32 and 1e-15 in
float64. Gradients are the formulas at the p so held. The cross entropies that are fused with
``softmax`` or ``sigmoid``, or take logits, need none of this and hold nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import arguments, checks
from .base.memory import Array, Shape
from .errors import ShapeError


class Loss(arguments.Configured):
    """Base of the built-in losses."""

    kind = ""  # the core's name
    option_name = ""
    takes_labels = False
    parts = 1  # values of the output for each value of the target
    point: int | None = 0  # the part that metrics compare with the target, None: there is none

    def __init__(self) -> None:
        pass

    @property
    def name(self) -> str:
        """Name in logs and configurations."""
        return self.kind

    def spec(self) -> dict[str, Any]:
        """For the core."""
        return {"kind": self.kind, "options": self._options(), "point": self.point or 0}

    def _options(self) -> list[float]:
        return [float(getattr(self, self.option_name))] if self.option_name else []

    def target_shape(self, shape: Shape) -> Shape:
        """Of one sample of y, for an output of per-sample `shape`."""
        if shape[-1] % self.parts:
            raise ShapeError(
                f"{self.name}: got an output of shape {shape}, expected its last axis to be a "
                f"multiple of {self.parts}, {self._layout()}"
            )
        return (*shape[:-1], shape[-1] // self.parts)

    def _layout(self) -> str:
        return ""

    def rows(self, t: Array, p: Array) -> Array:
        """L_i, shape (N,)."""
        raise NotImplementedError

    def slope(self, t: Array, p: Array) -> Array:
        """dL_i/dp, of p's shape."""
        raise NotImplementedError

    def value(self, y_true: Any, y_pred: Any) -> float:
        """Mean of L_i over the rows."""
        t, p = self._pair(y_true, y_pred)
        return float(self.rows(t, p).mean())

    def gradient(self, y_true: Any, y_pred: Any) -> Array:
        """Gradient of `value` with respect to `y_pred`."""
        t, p = self._pair(y_true, y_pred)
        result: Array = self.slope(t, p) / p.shape[0]
        return result

    def _hold(self, p: Array, eps: Any) -> Array:
        """Predictions as the core takes them: probabilities away from where L is infinite."""
        return p

    def _pair(self, y_true: Any, y_pred: Any) -> tuple[Array, Array]:
        t, p = np.asarray(y_true), np.asarray(y_pred)
        if p.dtype.kind != "f" or p.dtype.itemsize != 4:
            p = p.astype(np.float64)
        # In the predictions' own dtype, which may have no 1 - eps and round it.
        p = self._hold(p, p.dtype.type(1e-7 if p.dtype.itemsize == 4 else 1e-15))
        p = p.astype(np.float64)
        if self.takes_labels and t.ndim == p.ndim - 1:
            t = np.eye(p.shape[-1])[t.astype(np.int64)]
        t = t.astype(np.float64)
        if self.parts == 1:
            if t.shape != p.shape:
                raise ShapeError(
                    f"{self.name}: got y_true of shape {t.shape}, expected {p.shape}, y_pred's"
                )
            return t, p
        expected = self.target_shape(p.shape)
        if expected[-1] == 1 and t.shape == expected[:-1]:
            t = t[..., None]
        if t.shape != expected:
            raise ShapeError(
                f"{self.name}: got y_true of shape {t.shape}, expected {expected} for y_pred of "
                f"shape {p.shape}, {self._layout()}"
            )
        return t, p


def _mean(x: Array) -> Array:
    """Over all axes but the first."""
    result: Array = x.reshape(x.shape[0], -1).mean(axis=1)
    return result


def _size(x: Array) -> int:
    return int(np.prod(x.shape[1:]))


class MeanSquaredError(Loss):
    """L = mean over outputs of (p - t)^2.

    Examples
    --------
    >>> MeanSquaredError().value([[0.0, 0.0]], [[1.0, 3.0]])
    5.0
    """

    kind = "mean_squared_error"

    def rows(self, t: Array, p: Array) -> Array:
        return _mean((p - t) ** 2)

    def slope(self, t: Array, p: Array) -> Array:
        return 2.0 * (p - t) / _size(p)


class HalfSquaredError(Loss):
    """L = 1/2 sum over outputs of (p - t)^2, so that dL/dp = p - t."""

    kind = "half_squared_error"

    def rows(self, t: Array, p: Array) -> Array:
        return _mean((p - t) ** 2) * (0.5 * _size(p))

    def slope(self, t: Array, p: Array) -> Array:
        return p - t


class MeanAbsoluteError(Loss):
    """L = mean over outputs of abs(p - t); the slope at 0 is 0."""

    kind = "mean_absolute_error"

    def rows(self, t: Array, p: Array) -> Array:
        return _mean(np.abs(p - t))

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = np.sign(p - t) / _size(p)
        return result


class Huber(Loss):
    """L = mean of e^2/2 for abs(e) <= delta, else delta (abs(e) - delta/2); P. Huber, 1964."""

    kind = "huber"
    option_name = "delta"

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = checks.real("delta", delta, 0.0, open_low=True)

    def rows(self, t: Array, p: Array) -> Array:
        e = np.abs(p - t)
        d = self.delta
        return _mean(np.where(e <= d, 0.5 * e * e, d * (e - 0.5 * d)))

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = np.clip(p - t, -self.delta, self.delta) / _size(p)
        return result


class LogCosh(Loss):
    """L = mean of log(cosh(p - t))."""

    kind = "log_cosh"

    def rows(self, t: Array, p: Array) -> Array:
        e = np.abs(p - t)
        return _mean(e + np.log1p(np.exp(-2.0 * e)) - np.log(2.0))

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = np.tanh(p - t) / _size(p)
        return result


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
        return -_mean(t * np.log(p) + (1 - t) * np.log1p(-p))

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = (p - self._smooth(t)) / (p * (1 - p)) / _size(p)
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
        result: Array = -_mean(self._smooth(t) * np.log(p)) * p.shape[-1]
        return result

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = -self._smooth(t) / p / (_size(p) // p.shape[-1])
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
        result: Array = _mean(np.where(t > 0, t * np.log(some / p), 0.0)) * p.shape[-1]
        return result

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = np.where(t > 0, -t / p, 0.0) / (_size(p) // p.shape[-1])
        return result


class Poisson(Loss):
    """L = mean of p - t log(p + 1e-7), counts t >= 0; dL/dp = 1 - t / (p + 1e-7).

    The 1e-7 beside the rate p is Keras', in float32 and in float64: without it a rate of 0 would
    cost an infinite loss. A negative p, which is no rate, counts as 0 in the logarithm.

    Examples
    --------
    >>> round(Poisson().value([[3.0]], [[2.0]]), 6)
    -0.079442
    >>> round(Poisson().value([[3.0]], [[0.0]]), 2)
    48.35
    """

    kind = "poisson"

    def _rate(self, p: Array) -> Array:
        result: Array = np.maximum(p + 1e-7, 1e-7)
        return result

    def rows(self, t: Array, p: Array) -> Array:
        return _mean(p - t * np.log(self._rate(p)))

    def slope(self, t: Array, p: Array) -> Array:
        result: Array = (1 - t / self._rate(p)) / _size(p)
        return result


class Hinge(Loss):
    """L = mean of max(0, 1 - t p), t in {-1, 1}; targets 0 and 1 are read as -1 and 1."""

    kind = "hinge"

    def _signs(self, t: Array) -> Array:
        return 2.0 * t - 1.0 if ((t == 0) | (t == 1)).all() else t

    def rows(self, t: Array, p: Array) -> Array:
        return _mean(np.maximum(0.0, 1.0 - self._signs(t) * p))

    def slope(self, t: Array, p: Array) -> Array:
        t = self._signs(t)
        return np.where(t * p < 1.0, -t, 0.0) / _size(p)


class Quantile(Loss):
    """Pinball loss, whose minimum is the quantile q: L = mean of max(q e, (q - 1) e), e = t - p.

    One number q: outputs are like the targets. Q numbers: the last axis of the output holds Q
    blocks of K values, block j the quantiles q_j of the K targets (for one target: column j), and
    the mean goes over all of them. dL/dp is -q for e > 0, 1 - q for e < 0 and 0 at e = 0, over Q K.
    Quantiles are fitted apart: nothing keeps them from crossing.

    Parameters
    ----------
    quantiles : float or sequence of float
        Each in (0, 1), increasing.

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

    def __init__(self, quantiles: Any = 0.5) -> None:
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
        return _mean(np.maximum(q * e, (q - 1.0) * e))

    def slope(self, t: Array, p: Array) -> Array:
        q, e = self._errors(t, p)
        result: Array = np.where(e > 0, -q, np.where(e < 0, 1.0 - q, 0.0)).reshape(p.shape)
        return result / _size(p)


class GaussianNLL(Loss):
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

    def __init__(self, epsilon: float = 1e-6, full: bool = False) -> None:
        self.epsilon = checks.real("epsilon", epsilon, 0.0, open_low=True)
        self.full = checks.boolean("full", full)

    def _options(self) -> list[float]:
        return [float(np.log(self.epsilon)), 0.5 * float(np.log(2.0 * np.pi)) * self.full]

    def _layout(self) -> str:
        return "K means and then K logarithms of variances"

    def _terms(self, t: Array, p: Array) -> tuple[Array, Array, Array]:
        m, s = np.split(p, 2, axis=-1)
        s = np.maximum(s, np.log(self.epsilon))
        inverse = np.exp(-0.5 * s)
        return s, inverse, (m - t) * inverse

    def rows(self, t: Array, p: Array) -> Array:
        s, _, ratio = self._terms(t, p)
        return _mean(0.5 * (s + ratio**2)) + self._options()[1]

    def slope(self, t: Array, p: Array) -> Array:
        _, inverse, ratio = self._terms(t, p)
        both = np.concatenate([ratio * inverse, 0.5 * (1.0 - ratio**2)], axis=-1)
        result: Array = both / _size(t)
        return result


_CLASSES: tuple[type[Loss], ...] = (
    MeanSquaredError,
    HalfSquaredError,
    MeanAbsoluteError,
    Huber,
    LogCosh,
    BinaryCrossEntropy,
    CrossEntropy,
    KLDivergence,
    Poisson,
    Hinge,
    Quantile,
    GaussianNLL,
)
_BY_NAME: dict[str, type[Loss]] = {cls.kind: cls for cls in _CLASSES}
_ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "logcosh": "log_cosh",
    "bce": "binary_cross_entropy",
    "binary_crossentropy": "binary_cross_entropy",
    "sparse_categorical_crossentropy": "cross_entropy",
    "categorical_crossentropy": "cross_entropy",
    "crossentropy": "cross_entropy",
    "kld": "kl_divergence",
    "pinball": "quantile",
    "gaussian_negative_log_likelihood": "gaussian_nll",
}
_BY_CLASS = {cls.__name__: cls for cls in _CLASSES}

__all__ = [*(cls.__name__ for cls in _CLASSES), "Loss", "get", "names"]


def names() -> list[str]:
    """The names that `get` knows, aliases left out.

    >>> "cross_entropy" in names()
    True
    """
    return list(_BY_NAME)


def get(identifier: Any) -> Any:
    """A loss from a name, class, object or configuration.

    >>> get("mse")
    MeanSquaredError()
    """
    known = {**_BY_NAME, **{alias: _BY_NAME[name] for alias, name in _ALIASES.items()}}
    found = arguments.named("loss", identifier, Loss, known, _BY_CLASS)
    if found is not None:
        return found
    if callable(getattr(identifier, "value", None)) and not isinstance(identifier, type):
        if callable(getattr(identifier, "gradient", None)):
            return identifier
        raise TypeError(f"loss {checks.describe(identifier)} has value() but no gradient() method")
    raise TypeError(
        "loss must be a name, a loss of bpcore.losses, or an object with value(y_true, y_pred) and "
        f"gradient(y_true, y_pred), got {checks.describe(identifier)}"
    )
