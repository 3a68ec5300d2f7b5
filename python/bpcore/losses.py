"""Losses: names, options and formulas. In training the core computes them, fused with the output.

Each class also gives ``value(y_true, y_pred)`` and ``gradient(y_true, y_pred)`` in NumPy, for use
alone; a loss of one's own is any object with these two methods. A value is a mean over the batch of
per-row losses L_i over K outputs; t are targets, p predictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import arguments, checks
from .errors import ShapeError

Array = np.ndarray[Any, Any]


class Loss(arguments.Configured):
    """Base of the built-in losses."""

    kind = ""  # the core's name
    option_name = ""
    takes_labels = False

    def __init__(self) -> None:
        pass

    @property
    def name(self) -> str:
        """Name in logs and configurations."""
        return self.kind

    def spec(self) -> dict[str, Any]:
        """For the core."""
        option = float(getattr(self, self.option_name)) if self.option_name else 0.0
        return {"kind": self.kind, "option": option}

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

    def _pair(self, y_true: Any, y_pred: Any) -> tuple[Array, Array]:
        t, p = np.asarray(y_true), np.asarray(y_pred, dtype=np.float64)
        if self.takes_labels and t.ndim == p.ndim - 1:
            t = np.eye(p.shape[-1])[t.astype(np.int64)]
        t = t.astype(np.float64)
        if t.shape != p.shape:
            raise ShapeError(
                f"{self.name}: got y_true of shape {t.shape}, expected {p.shape}, y_pred's"
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


class BinaryCrossEntropy(_Labelled):
    """L = mean of -(t log p + (1 - t) log(1 - p)), t in [0, 1].

    If the model ends in ``sigmoid`` the two are one fused step with delta p - t (over K and N); if
    it ends linear, the outputs are logits. Smoothing s: t <- t (1 - s) + s/2.
    """

    kind = "binary_cross_entropy"

    def rows(self, t: Array, p: Array) -> Array:
        t = t * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        with np.errstate(divide="ignore", invalid="ignore"):
            lower = np.where(t > 0, t * np.log(p), 0.0)
            upper = np.where(t < 1, (1 - t) * np.log1p(-p), 0.0)
        return -_mean(lower + upper)

    def slope(self, t: Array, p: Array) -> Array:
        t = t * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        with np.errstate(divide="ignore", invalid="ignore"):
            result: Array = (p - t) / (p * (1 - p)) / _size(p)
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
        t = self._smooth(t)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(t > 0, t * np.log(p), 0.0)
        result: Array = -_mean(terms) * p.shape[-1]
        return result

    def slope(self, t: Array, p: Array) -> Array:
        t = self._smooth(t)
        with np.errstate(divide="ignore", invalid="ignore"):
            result: Array = np.where(t > 0, -t / p, 0.0) / (_size(p) // p.shape[-1])
            return result


class KLDivergence(Loss):
    """L = sum of t log(t / p), t and p distributions."""

    kind = "kl_divergence"

    def rows(self, t: Array, p: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(t > 0, t * np.log(t / p), 0.0)
        result: Array = _mean(terms) * p.shape[-1]
        return result

    def slope(self, t: Array, p: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            result: Array = np.where(t > 0, -t / p, 0.0) / (_size(p) // p.shape[-1])
            return result


class Poisson(Loss):
    """L = mean of p - t log p, counts t >= 0."""

    kind = "poisson"

    def rows(self, t: Array, p: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return _mean(p - np.where(t > 0, t * np.log(p), 0.0))

    def slope(self, t: Array, p: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (1 - np.where(t > 0, t / p, 0.0)) / _size(p)


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
    if isinstance(identifier, str):
        name = _ALIASES.get(identifier, identifier)
        if name not in _BY_NAME:
            raise checks.unknown("loss", identifier, (*_BY_NAME, *_ALIASES))
        return _BY_NAME[name]()
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, Mapping) and set(identifier) == {"class_name", "config"}:
        if identifier["class_name"] not in _BY_CLASS:
            raise checks.unknown("loss", identifier["class_name"], _BY_CLASS)
        return _BY_CLASS[identifier["class_name"]].from_config(dict(identifier["config"]))
    if callable(getattr(identifier, "value", None)) and not isinstance(identifier, type):
        if callable(getattr(identifier, "gradient", None)):
            return identifier
        raise TypeError(f"loss {checks.describe(identifier)} has value() but no gradient() method")
    raise TypeError(
        "loss must be a name, a loss of bpcore.losses, or an object with value(y_true, y_pred) and "
        f"gradient(y_true, y_pred), got {checks.describe(identifier)}"
    )


class PythonLoss:
    """A user's loss object as the core calls it: row losses, and the delta of the batch's mean."""

    def __init__(self, loss: Any, dtype: str) -> None:
        self.loss, self.dtype = loss, dtype
        self.label = type(loss).__name__

    def __call__(self, y: Array, p: Array, w: Array | None) -> tuple[Array, Array]:
        n = p.shape[0]
        value = np.asarray(self.loss.value(y, p), dtype=np.float64)
        gradient = np.asarray(self.loss.gradient(y, p))
        if gradient.shape != p.shape:
            raise ShapeError(
                f"{self.label}.gradient returned shape {gradient.shape}, expected {p.shape}"
            )
        if value.shape == (n,):  # per-row losses, gradient of each row's loss
            scale = np.full(n, 1.0 / n) if w is None else np.asarray(w, dtype=np.float64) / n
            delta = gradient * scale.reshape((n,) + (1,) * (p.ndim - 1))
        elif value.shape == () or value.size == 1:  # the batch's mean and its gradient
            if w is not None and not (np.asarray(w) == 1).all():
                raise ValueError(
                    f"{self.label}.value returned one number for the batch, so sample weights "
                    "cannot be applied; return an array (N,) of losses per row"
                )
            value, delta = np.full(n, float(value.reshape(()))), gradient
        else:
            raise ShapeError(
                f"{self.label}.value returned shape {value.shape}, expected () or ({n},)"
            )
        if not np.isfinite(delta).all():
            raise ValueError(f"{self.label}.gradient returned NaN or Inf, expected finite values")
        return value, np.ascontiguousarray(delta, dtype=self.dtype)
