"""Losses: names, options and formulas. In training the core computes them, fused with the output.

Each class also gives ``value(y_true, y_pred)`` and ``gradient(y_true, y_pred)`` in NumPy, for use
alone; a loss of one's own is a subclass of `Loss`, or any object, with these two methods, whose
value is the batch's mean, or an array (N,) of the rows' losses, or (N, T) of their steps', and
whose gradient is that of the mean or of each of these. A value is a mean over the batch of per-row
losses L_i over K outputs; t are targets, p predictions.

A logarithm of 0 is infinite, so probabilities are held away from it: in [eps, 1 - eps] by the cross
entropies and in [eps, 1] by `KLDivergence`, with eps = 1e-7 for predictions in float32 and 1e-15 in
float64. Gradients are the formulas at the p so held. The cross entropies that are fused with
``softmax`` or ``sigmoid``, or take logits, need none of this and hold nothing.
"""

from __future__ import annotations

from typing import Any

from ..base import arguments, checks
from .base import CoreLoss as CoreLoss
from .base import Loss
from .classification import BinaryCrossEntropy, CrossEntropy, Hinge, KLDivergence
from .dependence import HSIC
from .regression import (
    HalfSquaredError,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
)
from .uncertainty import GaussianNLL, Quantile

_CLASSES: tuple[type[CoreLoss], ...] = (
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
    HSIC,
)
_BY_NAME: dict[str, type[CoreLoss]] = {cls.kind: cls for cls in _CLASSES}
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

__all__ = [
    "HSIC",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "GaussianNLL",
    "HalfSquaredError",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Poisson",
    "Quantile",
    "get",
    "names",
]


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
    if isinstance(found, CoreLoss):
        return found
    if found is not None:
        missing = [m for m in ("value", "gradient") if getattr(type(found), m) is getattr(Loss, m)]
        if missing:
            raise TypeError(
                f"loss {type(found).__name__} lacks {' and '.join(missing)}, expected a subclass "
                "of Loss to define value(self, y_true, y_pred) and gradient(self, y_true, y_pred)"
            )
        return found
    if callable(getattr(identifier, "value", None)) and not isinstance(identifier, type):
        if callable(getattr(identifier, "gradient", None)):
            return identifier
        raise TypeError(f"loss {checks.describe(identifier)} has value() but no gradient() method")
    raise TypeError(
        "loss must be a name, a loss of bpcore.losses, or an object with value(y_true, y_pred) and "
        f"gradient(y_true, y_pred), got {checks.describe(identifier)}"
    )
