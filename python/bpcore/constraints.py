"""Constraints: what a parameter is made to obey after each update.

Names, arguments and formulas are those of Keras 3. The norm of a column is the square root of the
sum of squares over `axis`; for a Dense kernel (I, O), axis 0, it is that of the weights into one
unit. Frozen parameters are left alone. For values w in an array, ``constraint(w)`` is the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .base import arguments, checks
from .base.memory import Array

_NOTHING: tuple[Any, Any] = (None, lambda: None)
_EPSILON = 1e-7  # Keras' backend.epsilon()


class Constraint(arguments.Configured):
    """Base of all constraints; subclass it to write one in Python.

    Any callable that takes w, an array of its own, and returns an array of w's shape will do. It
    runs once per update, on one thread. With a ``get_config`` (this class has one) it can be saved,
    and loaded by ``custom_objects``.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> class Rounded(bp.constraints.Constraint):
    ...     def __call__(self, w):
    ...         return np.round(w, 2)
    >>> layer = bp.layers.Dense(1, kernel_constraint=Rounded())
    """

    def __call__(self, w: Any) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(w)")

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise ValueError if a parameter of this shape cannot obey this constraint."""


class NonNeg(Constraint):
    """w = max(w, 0).

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.constraints.NonNeg()([-1.0, 2.0]).tolist()
    [0.0, 2.0]
    """

    def __call__(self, w: Any) -> Array:
        result: Array = np.maximum(w, 0.0)
        return result


class _Norm(Constraint):
    """w *= (rate * clip(norm, low, high) + (1 - rate) * norm) / (norm + 1e-7), but for columns
    whose norm is within the bounds: they stay as they are."""

    low: float
    high: float
    rate: float
    axis: int | list[int]

    def _set(self, low: float, high: float, rate: float, axis: Any) -> None:
        self.low, self.high, self.rate = low, high, rate
        several = isinstance(axis, (list, tuple))
        axes = [checks.integer("axis", a, -64, 64) for a in (axis if several else [axis])]
        if not axes:
            raise ValueError("axis must be an int or a list of ints, got an empty list")
        self.axis = axes if several else axes[0]

    def __call__(self, w: Any) -> Array:
        values = np.asarray(w)
        view = values.reshape(self.view("w", values.shape))
        norm = np.sqrt((view.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
        clipped = np.clip(norm, self.low, self.high)
        wanted = self.rate * clipped + (1 - self.rate) * norm
        stays = (clipped == norm) | (self.rate == 0)
        factor = np.where(stays, 1.0, wanted / (_EPSILON + norm)).astype(values.dtype)
        result: Array = (view * factor).reshape(values.shape)
        return result

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        self.view(name, shape)

    def view(self, name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(outer, axes, inner): `shape` with the axes of the norm as one, those beside them too."""
        axes = self.axis if isinstance(self.axis, list) else [self.axis]
        found = sorted(a + len(shape) if a < 0 else a for a in axes)
        if not all(0 <= a < len(shape) for a in found) or len(set(found)) != len(found):
            raise ValueError(
                f"{name}: constraint {type(self).__name__} has axis={self.axis}, expected distinct "
                f"axes of its shape {shape}"
            )
        if found[-1] - found[0] != len(found) - 1:
            raise ValueError(
                f"{name}: constraint {type(self).__name__} has axis={self.axis}, expected axes "
                "that follow one another, such as [0, 1, 2]"
            )
        first, end = found[0], found[-1] + 1
        return math.prod(shape[:first]), math.prod(shape[first:end]), math.prod(shape[end:])


class MaxNorm(_Norm):
    """Columns whose norm is over `max_value` are scaled down to it; others stay as they are.

    w *= max_value / (norm + 1e-7) (N. Srebro, J. Rennie, T. Jaakkola, 2005).

    Parameters
    ----------
    max_value : float
        >= 0.
    axis : int or list of int
        Over which the norm is taken; several must follow one another.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.constraints.MaxNorm(1.0)([[3.0, 0.3], [4.0, 0.4]]).round(6).tolist()
    [[0.6, 0.3], [0.8, 0.4]]
    """

    def __init__(self, max_value: float = 2, axis: Any = 0) -> None:
        self.max_value = checks.real("max_value", max_value, 0.0)
        self._set(0.0, self.max_value, 1.0, axis)

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


class UnitNorm(_Norm):
    """Each column is scaled to norm 1: w /= norm + 1e-7.

    Parameters
    ----------
    axis : int or list of int
        As in `MaxNorm`.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.constraints.UnitNorm()([[3.0], [4.0]]).round(6).tolist()
    [[0.6], [0.8]]
    """

    def __init__(self, axis: Any = 0) -> None:
        self._set(1.0, 1.0, 1.0, axis)

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class MinMaxNorm(_Norm):
    """Norms are brought between two bounds, or nearer to them; columns between them stay.

    w *= (rate * clip(norm, min_value, max_value) + (1 - rate) * norm) / (norm + 1e-7).

    Parameters
    ----------
    min_value, max_value : float
        0 <= min_value <= max_value.
    rate : float
        In [0, 1]; 1 enforces the bounds at each update.
    axis : int or list of int
        As in `MaxNorm`.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.constraints.MinMaxNorm(1.0, 2.0)([[0.3], [0.4]]).round(6).tolist()
    [[0.6], [0.8]]
    """

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0
    ) -> None:
        self.min_value = checks.real("min_value", min_value, 0.0)
        self.max_value = checks.real("max_value", max_value, 0.0)
        if self.min_value > self.max_value:
            raise ValueError(
                f"min_value must be <= max_value, got min_value={min_value}, max_value={max_value}"
            )
        self._set(self.min_value, self.max_value, checks.real("rate", rate, 0.0, 1.0), axis)

    def get_config(self) -> dict[str, Any]:
        return {
            "min_value": self.min_value,
            "max_value": self.max_value,
            "rate": self.rate,
            "axis": self.axis,
        }


max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm  # Keras' others

_CLASSES: tuple[type[Constraint], ...] = (MaxNorm, NonNeg, UnitNorm, MinMaxNorm)
_BY_CLASS = {cls.__name__: cls for cls in _CLASSES}
_BY_NAME = {arguments.snake_case(cls.__name__): cls for cls in _CLASSES}

__all__ = [*_BY_CLASS, "Constraint", "get", "max_norm", "min_max_norm", "names", "non_neg"]
__all__ += ["unit_norm"]


def names() -> list[str]:
    """The names that `get` knows.

    >>> "max_norm" in names()
    True
    """
    return list(_BY_NAME)


def get(identifier: Any) -> Any:
    """A constraint from a name, class, object, function or configuration; None stays None.

    >>> get("max_norm")
    MaxNorm()
    >>> get({"class_name": "UnitNorm", "config": {"axis": 1}})
    UnitNorm(axis=1)
    """
    if identifier is None:
        return None
    found = arguments.named("constraint", identifier, Constraint, _BY_NAME, _BY_CLASS)
    found = identifier if found is None else found
    base = isinstance(found, Constraint) and type(found).__call__ is Constraint.__call__
    if callable(found) and not base and not isinstance(found, type):
        return found
    hint = ""
    if isinstance(identifier, (int, float)) and not isinstance(identifier, bool):
        hint = f"; write bpcore.constraints.MaxNorm({identifier})"
    raise TypeError(
        "constraint must be a name, a Constraint or a function of w, got "
        f"{checks.describe(identifier)}{hint}"
    )


def check_shape(name: str, constraint: Any, shape: tuple[int, ...]) -> None:
    """ValueError if the parameter of this name and shape cannot obey this constraint."""
    if isinstance(constraint, Constraint):
        constraint.check(name, shape)


def spec(parameter: Any) -> tuple[Any, Callable[[], Any]]:
    """What tells a parameter's constraint from another, and how to make it for the core."""
    constraint = parameter.constraint
    made: tuple[Any, ...]
    if constraint is None:
        return _NOTHING
    if type(constraint) is NonNeg:
        return "non_negative", lambda: ("non_negative",)
    if type(constraint) in (MaxNorm, UnitNorm, MinMaxNorm):  # a subclass may do something else
        view = constraint.view(parameter.name, parameter.shape)
        made = ("norm", constraint.low, constraint.high, constraint.rate, *view)
        return made, lambda: made
    return id(constraint), lambda: ("python", PythonConstraint(constraint, parameter))


class PythonConstraint:
    """A constraint in Python as the core calls it, with its result checked."""

    def __init__(self, constraint: Any, parameter: Any) -> None:
        self.constraint, self.name = constraint, parameter.name
        self.connected = parameter.connected

    def __call__(self, w: Array) -> Array:
        shape, dtype = w.shape, w.dtype
        result = np.asarray(self.constraint(self.connected(w)))
        if result.shape != shape or result.dtype.kind not in "fiu":
            raise ValueError(
                f"the constraint of {self.name!r} returned {checks.describe(result)}, expected "
                f"real numbers of w's shape {shape}"
            )
        with np.errstate(over="ignore"):  # the core looks for what is not finite
            converted: Array = np.ascontiguousarray(self.connected(result), dtype).reshape(shape)
        return converted
