"""Regularizers: penalties on parameters, added to the loss, with their gradients.

Names, arguments and formulas are those of Keras 3. A penalty is part of every loss that is reported
or evaluated; its gradient joins the batch's before clipping. A frozen parameter's penalty counts in
the value alone, and a shared layer's counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .base import arguments, checks
from .base.memory import Array

_NOTHING: tuple[Any, Any] = (None, lambda: None)

# Orthogonal: a vector shorter than this is scaled by 1 / _SHORTEST, as in keras.ops.normalize.
_SHORTEST = 1e-7


class Regularizer(arguments.Configured):
    """Base of all regularizers; subclass it to write one in Python.

    Any object with ``value(w) -> float`` and ``gradient(w) -> array`` of w's shape will do as well.
    It is called once per batch; w is a read-only view of the parameter in training. With a
    ``get_config`` (this class has one) it can be saved, and loaded by ``custom_objects``.

    Examples
    --------
    >>> import bpcore as bp
    >>> class Quartic(bp.regularizers.Regularizer):
    ...     def __init__(self, factor=0.1):
    ...         self.factor = factor
    ...     def value(self, w):
    ...         return self.factor * (w**4).sum()
    ...     def gradient(self, w):
    ...         return 4 * self.factor * w**3
    >>> layer = bp.layers.Dense(1, kernel_initializer="ones", kernel_regularizer=Quartic())
    >>> model = bp.Sequential([layer], seed=0)
    >>> model.compile("sgd", "mse")
    >>> round(model.gradients([[0.0, 0.0]], [[0.0]]).loss, 6)
    0.2
    """

    def value(self, w: Array) -> float:
        """The penalty."""
        raise NotImplementedError(f"{type(self).__name__} must define value(w)")

    def gradient(self, w: Array) -> Array:
        """Its derivative by w, of w's shape."""
        raise NotImplementedError(f"{type(self).__name__} must define gradient(w)")

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise ValueError if a parameter of this shape cannot have this penalty."""

    def __call__(self, w: Any) -> float:
        return float(self.value(np.asarray(w)))


class L1L2(Regularizer):
    """l1 * sum(abs(w)) + l2 * sum(w ** 2), the elastic net.

    The gradient is l1 * sign(w) + 2 * l2 * w with sign(0) = 0.

    Parameters
    ----------
    l1, l2 : float
        Factors, >= 0.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.regularizers.L1L2(l1=1.0, l2=0.5)([3.0, -4.0])
    19.5
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = checks.real("l1", l1, 0.0)
        self.l2 = checks.real("l2", l2, 0.0)

    def value(self, w: Array) -> float:
        wide = np.asarray(w, dtype=np.float64)
        return self.l1 * float(np.abs(wide).sum()) + self.l2 * float((wide * wide).sum())

    def gradient(self, w: Array) -> Array:
        result: Array = self.l1 * np.sign(w) + 2 * self.l2 * w
        return result

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class L1(L1L2):
    """l1 * sum(abs(w)), which drives weights to zero (the lasso's penalty).

    Parameters
    ----------
    l1 : float
        Factor, >= 0.
    proximal : bool
        False: the gradient l1 * sign(w) joins the batch's, and weights come near 0 without getting
        there. True: after each update w becomes sign(w) * max(abs(w) - rate * l1, 0), the proximal
        step (N. Parikh, S. Boyd, 2014), which leaves exact zeros; meant for plain `SGD`. The value
        counts in the loss either way.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.regularizers.L1(0.5)([3.0, -4.0])
    3.5
    """

    def __init__(self, l1: float = 0.01, *, proximal: bool = False) -> None:
        super().__init__(l1=l1)
        self.proximal = checks.boolean("proximal", proximal)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, **({"proximal": True} if self.proximal else {})}


class L2(L1L2):
    """l2 * sum(w ** 2), weight decay by the loss (ridge regression's penalty).

    The gradient is 2 * l2 * w: an optimizer's coupled ``weight_decay`` is twice this l2.

    Parameters
    ----------
    l2 : float
        Factor, >= 0.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.regularizers.L2(0.5)([3.0, -4.0])
    12.5
    """

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


class Orthogonal(Regularizer):
    """factor * mean over pairs of vectors of abs(cosine of their angle).

    Parameters
    ----------
    factor : float
        >= 0.
    mode : {"rows", "columns"}
        Which vectors of the matrix are driven apart. The parameter must have two axes.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.regularizers.Orthogonal(1.0)([[1.0, 0.0], [0.0, 2.0]])
    0.0
    >>> bp.regularizers.Orthogonal(1.0)([[1.0, 0.0], [-2.0, 0.0]])
    1.0
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = checks.real("factor", factor, 0.0)
        if mode not in ("rows", "columns"):
            raise ValueError(f"mode must be 'rows' or 'columns', got {mode!r}")
        self.mode = mode

    def value(self, w: Array) -> float:
        return float(0.5 * self._scale(w) * np.abs(self._products(self._unit(w)[0])).sum())

    def gradient(self, w: Array) -> Array:
        unit, inverse = self._unit(w)
        du = self._scale(w) * (np.sign(self._products(unit)) @ unit)
        # d(v / |v|) is the part across v, over |v|; a vector too short is only scaled.
        along = (du * unit).sum(axis=1, keepdims=True) * (inverse < 1 / _SHORTEST)
        dv: Array = (du - along * unit) * inverse
        return dv if self.mode == "rows" else dv.T

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        if len(shape) != 2:
            raise ValueError(
                f"{name}: the orthogonal regularizer takes a matrix, got shape {shape}; use it for "
                "a kernel of two axes"
            )

    def get_config(self) -> dict[str, Any]:
        return {"factor": self.factor, "mode": self.mode}

    def _unit(self, w: Array) -> tuple[Array, Array]:
        """The vectors as rows of length 1, and 1 / the lengths they had."""
        self.check("w", w.shape)
        v = np.asarray(w if self.mode == "rows" else w.T, dtype=np.float64)
        length = np.sqrt((v * v).sum(axis=1, keepdims=True))
        inverse = 1 / np.maximum(length, _SHORTEST)
        return v * inverse, inverse

    def _scale(self, w: Array) -> float:
        n = w.shape[0 if self.mode == "rows" else 1]
        return self.factor / (n * (n - 1) / 2) if n > 1 else 0.0

    @staticmethod
    def _products(unit: Array) -> Array:
        products: Array = unit @ unit.T
        np.fill_diagonal(products, 0.0)
        return products


l1, l2, l1_l2, orthogonal = L1, L2, L1L2, Orthogonal  # Keras' other names

_CLASSES: tuple[type[Regularizer], ...] = (L1, L2, L1L2, Orthogonal)
_BY_CLASS = {cls.__name__: cls for cls in _CLASSES}
_BY_NAME: dict[str, type[Regularizer]] = {
    "l1": L1,
    "l2": L2,
    "l1_l2": L1L2,
    "orthogonal": Orthogonal,
    "l1l2": L1L2,
    "orthogonal_regularizer": Orthogonal,
}

__all__ = [*_BY_CLASS, "Regularizer", "get", "l1", "l1_l2", "l2", "names", "orthogonal"]


def names() -> list[str]:
    """The names that `get` knows.

    >>> "l1_l2" in names()
    True
    """
    return ["l1", "l2", "l1_l2", "orthogonal"]


def get(identifier: Any) -> Any:
    """A regularizer from a name, class, object or configuration; None stays None.

    >>> get("l2")
    L2()
    >>> get({"class_name": "L1", "config": {"l1": 0.1}})
    L1(l1=0.1)
    """
    if identifier is None:
        return None
    found = arguments.named("regularizer", identifier, Regularizer, _BY_NAME, _BY_CLASS)
    found = identifier if found is None else found
    if _defined(found, "value") and _defined(found, "gradient"):
        if isinstance(found, type):
            raise TypeError(f"regularizer is the class {found.__name__}, pass an instance")
        return found
    hint = ""
    if isinstance(identifier, (int, float)) and not isinstance(identifier, bool):
        hint = f"; write bpcore.regularizers.L2({identifier})"
    raise TypeError(
        "regularizer must be a name, a Regularizer or an object with value(w) and gradient(w), got "
        f"{checks.describe(identifier)}{hint}"
    )


def _defined(item: Any, name: str) -> bool:
    """Whether an object has a method, and not the base class's that only raises."""
    method = getattr(item, name, None)
    base = getattr(Regularizer, name)
    return callable(method) and getattr(method, "__func__", method) is not base


def check_shape(name: str, regularizer: Any, shape: tuple[int, ...]) -> None:
    """ValueError if the parameter of this name and shape cannot have this regularizer."""
    if isinstance(regularizer, Regularizer):
        regularizer.check(name, shape)


def spec(parameter: Any) -> tuple[Any, Callable[[], Any]]:
    """What tells a parameter's penalty from another, and how to make it for the core."""
    regularizer = parameter.regularizer
    if regularizer is None:
        return _NOTHING
    if type(regularizer) in (L1, L2, L1L2):  # a subclass may have another value
        pair: tuple[Any, ...] = (float(regularizer.l1), float(regularizer.l2))
        if getattr(regularizer, "proximal", False):
            pair = (*pair, True)
        return pair, lambda: pair
    return id(regularizer), lambda: PythonPenalty(regularizer, parameter).pair()


class PythonPenalty:
    """A regularizer in Python as the core calls it, with its result checked."""

    def __init__(self, regularizer: Any, parameter: Any) -> None:
        self.regularizer, self.name = regularizer, parameter.name
        self.connected = parameter.connected
        self.w = parameter.value.view()
        self.dw = np.zeros(parameter.shape, parameter.dtype)

    def pair(self) -> tuple[Any, Array]:
        """For the core: the call, and where it leaves the gradient."""
        return self, self.dw

    def __call__(self, with_gradient: bool) -> float:
        label = f"the regularizer of {self.name!r}"
        w = self.connected(self.w)
        w.flags.writeable = False
        value = self.regularizer.value(w)
        if np.ndim(value) or np.asarray(value).dtype.kind not in "fiu":
            raise TypeError(f"{label}: value(w) must be a number, got {checks.describe(value)}")
        if with_gradient:
            gradient = np.asarray(self.regularizer.gradient(w))
            if gradient.shape != self.dw.shape or gradient.dtype.kind not in "fiu":
                raise ValueError(
                    f"{label}: gradient(w) returned {checks.describe(gradient)}, expected real "
                    f"numbers of w's shape {self.dw.shape}"
                )
            with np.errstate(over="ignore"):  # the core looks for what is not finite
                self.dw[...] = self.connected(gradient)
        return float(value)
