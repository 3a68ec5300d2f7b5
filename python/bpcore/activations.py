"""Activations: their names, aliases and slopes. Their mathematics is in the core.

``step`` (1 where z > 0, else 0) and ``sign`` are hard thresholds; their gradient is taken to be 1
where |z| <= 1 and 0 elsewhere (straight-through: Y. Bengio et al., 2013; I. Hubara et al., 2016).

An activation may also be an object with ``f(z)`` and ``df(z)``, both elementwise on NumPy arrays.
"""

from __future__ import annotations

import math
from typing import Any

from .base import checks

# f(z); the number is the slope or scale that the formula's alpha stands for.
_ALPHA = {"leaky_relu": 0.2, "elu": 1.0, "celu": 1.0}
NAMES = (
    "linear",
    "sigmoid",
    "hard_sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "relu6",
    "elu",
    "selu",
    "celu",
    "gelu",
    "gelu_tanh",
    "silu",
    "mish",
    "softplus",
    "softsign",
    "softmax",
    "log_softmax",
    "exponential",
    "step",
    "sign",
)
# Hard thresholds, 0 or 1 and -1, 0 or 1; the gradient goes straight through where |z| <= 1.
THRESHOLDS = ("step", "sign")
OF_LAST_AXIS = ("softmax", "log_softmax")  # the others go element by element
_ALIASES = {"swish": "silu", "identity": "linear", "logistic": "sigmoid", "exp": "exponential"}


# The least and the greatest value, where there is one: of gelu and kin to four digits, rounded
# outwards.
_BOUNDS = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
    "elu": (-1.0, math.inf),
    "selu": (-1.7581, math.inf),
    "celu": (-1.0, math.inf),
    "gelu": (-0.17, math.inf),
    "gelu_tanh": (-0.1701, math.inf),
    "silu": (-0.2785, math.inf),
    "mish": (-0.3089, math.inf),
    "softplus": (0.0, math.inf),
    "softsign": (-1.0, 1.0),
    "softmax": (0.0, 1.0),
    "log_softmax": (-math.inf, 0.0),
    "exponential": (0.0, math.inf),
    "step": (0.0, 1.0),
    "sign": (-1.0, 1.0),
}


def bounds(name: str) -> tuple[float, float]:
    """Between which numbers the values of an activation lie; infinities where there is no bound.

    >>> bounds("tanh")
    (-1.0, 1.0)
    >>> bounds("linear")
    (-inf, inf)
    """
    return _BOUNDS.get(name, (-math.inf, math.inf))


def names() -> list[str]:
    """The names that `get` knows, aliases left out.

    >>> "relu" in names()
    True
    """
    return list(NAMES)


def get(identifier: Any) -> Any:
    """The canonical name, or the object with ``f`` and ``df``; None means ``"linear"``.

    >>> get("swish")
    'silu'
    """
    if identifier is None:
        return "linear"
    if isinstance(identifier, str):
        name = _ALIASES.get(identifier, identifier)
        if name not in NAMES:
            raise checks.unknown("activation", identifier, (*NAMES, *_ALIASES))
        return name
    if callable(getattr(identifier, "f", None)) and callable(getattr(identifier, "df", None)):
        return identifier
    if isinstance(identifier, type):
        raise TypeError(
            f"activation must be a name or an object, got the class {identifier.__name__}"
        )
    if callable(identifier):
        raise TypeError(
            "activation must be a name or an object with f(z) and df(z), got a function, whose "
            "derivative is not known; give an object, or subclass bpcore.layers.Layer"
        )
    raise TypeError(
        f"activation must be a name or an object with f(z) and df(z), got "
        f"{checks.describe(identifier)}"
    )


def alpha(name: str, value: float | None = None) -> float:
    """The slope or scale of an activation that has one; 0 for the others."""
    if value is None:
        return _ALPHA.get(name, 0.0)
    if name not in _ALPHA:
        raise ValueError(
            f"alpha belongs to {', '.join(_ALPHA)}; got alpha={value!r} for activation {name!r}"
        )
    return checks.real("alpha", value, 0.0, open_low=name == "celu")
