"""A named array that the core trains."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from .. import _core, constraints, regularizers
from ..base import checks
from ..base.memory import Array, aligned_copy, copy_all, empty
from ..errors import ShapeError


class Reserve:
    """What weights may take while a model is rebuilt from a file, which then gives their values.

    A description of a few bytes could ask for terabytes; the file's own weights bound what it gets.
    """

    def __init__(self, elements: int) -> None:
        self.left = elements

    def take(self, name: str, shape: tuple[int, ...]) -> None:
        """A weight's part of it."""
        self.left -= math.prod(shape)
        if self.left < 0:
            raise ValueError(f"weight {name!r} of shape {shape} is more than the file holds")


reserve: ContextVar[Reserve | None] = ContextVar("reserve", default=None)


class Edition:
    """How often any weight or layer of the process was frozen, thawed, or given a penalty or a
    constraint: what was found out about them holds as long as it stays the same."""

    number = 0

    @classmethod
    def assign(cls, item: Any, name: str, value: Any) -> None:
        """Such an assignment: counted before it, as Ctrl-C may come between, and behind it, as
        another thread may have looked meanwhile."""
        cls.number += 1
        setattr(item, name, value)
        cls.number += 1


class Parameter:
    """A weight: one array, shared without copies between Python and the core.

    Attributes
    ----------
    name : str
        ``"layer/kernel"``.
    value : ndarray
        A view of the array in training; assigning copies in, after a check of shape and dtype.
    grad : ndarray
        What `Layer.backward` or the last `Model.gradients` left; zeros before.
    trainable : bool
        Whether optimizers change it. A layer that is not trainable freezes all of its parameters.
    regularizer : Regularizer, name or None
        Its penalty on the loss; see `bpcore.regularizers`. One assigned here counts from the next
        call on, but is not saved with the model: files hold the arguments of layers.
    constraint : Constraint, name or None
        What it is made to obey after each update; see `bpcore.constraints`.

    Examples
    --------
    >>> import bpcore as bp
    >>> layer = bp.layers.Dense(2, name="d")
    >>> layer.build((3,))
    >>> [(p.name, p.shape) for p in layer.weights]
    [('d/kernel', (3, 2)), ('d/bias', (2,))]
    """

    __array_priority__ = 0
    # float64 numbers that a statistic of data was rounded from; one whose rounding the value no
    # longer is counts no more.
    exact: Array | None = None
    # Of a weight that lacks connections: which there are. What it holds at the others counts
    # nowhere, and nothing but an assignment moves it.
    present: Array | None = None
    _regularizer: Any = None
    _constraint: Any = None
    _drawn: Array | None = None
    _trained_by_chance = False

    def __init__(
        self, owner: Any, local_name: str, value: Array, *, trainable: bool = True
    ) -> None:
        self._owner = owner
        self.local_name = local_name
        self._value = value  # of the core's memory, and nobody else's
        self._view: Array = value.view()
        self._grad: Array | None = None
        self._changes = _core.Counter()  # how often a call has changed the value
        self._trainable = checks.boolean("trainable", trainable)

    @property
    def name(self) -> str:
        """Layer name, slash, name in the layer."""
        return f"{self._owner.name}/{self.local_name}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return tuple(self._value.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64, as the model's."""
        result: np.dtype[Any] = self._value.dtype
        return result

    @property
    def value(self) -> Array:
        """A view of the array in training; it stays valid after the model is gone.

        A shape or dtype assigned to it in place is the view's alone: the weight keeps its own.
        """
        told, seen = self._value, self._view
        if seen.shape != told.shape or seen.dtype != told.dtype or seen.strides != told.strides:
            self._view = told.view()
        return self._view

    @value.setter
    def value(self, new: Any) -> None:
        assign([self], [self.check(new)])

    @property
    def grad(self) -> Array:
        """Gradient, of the value's shape and dtype."""
        if self._grad is None:
            self._grad = empty(self.shape, self.dtype)
        return self._grad

    @grad.setter
    def grad(self, new: Any) -> None:
        if new is not self._grad:  # `p.grad += g` has already been done in place
            self.grad[...] = _fit(f"{self.name}.grad", new, self.shape, self.dtype, finite=False)

    def zero_grad(self) -> None:
        """Set the gradient to 0."""
        if self._grad is not None:
            self._grad.fill(0)

    @property
    def trainable(self) -> bool:
        """Whether optimizers may change it."""
        return self._trainable and bool(getattr(self._owner, "trainable", True))

    @trainable.setter
    def trainable(self, flag: bool) -> None:
        Edition.assign(self, "_trainable", checks.boolean("trainable", flag))

    @property
    def regularizer(self) -> Any:
        """Its penalty, or None."""
        return self._regularizer

    @regularizer.setter
    def regularizer(self, new: Any) -> None:
        found = regularizers.get(new)
        regularizers.check_shape(self.name, found, self.shape)
        Edition.assign(self, "_regularizer", found)

    @property
    def constraint(self) -> Any:
        """What it obeys, or None."""
        return self._constraint

    @constraint.setter
    def constraint(self, new: Any) -> None:
        found = constraints.get(new)
        constraints.check_shape(self.name, found, self.shape)
        Edition.assign(self, "_constraint", found)

    def held(self) -> tuple[Array, Array, _core.Counter]:
        """For the core: the array, the view that users see, and how often calls have changed it."""
        return self._value, self._view, self._changes

    def connected(self, array: Array) -> Array:
        """An array of the value's shape, with 0 at connections that are missing."""
        return array if self.present is None else np.where(self.present, array, 0)

    def check(self, new: Any, what: str | None = None) -> Array:
        """`new` as an array that may be copied into the value, or an error."""
        return _fit(what or self.name, new, self.shape, self.dtype, finite=True)

    # ---- where the value comes from -------------------------------------------------------------
    def note_drawn(self) -> None:
        """It was drawn just now, with the seed of its model."""
        self._drawn = _some(self._value).copy()

    def note_trained(self, by_chance: bool) -> None:
        """Training changes it from now on; `by_chance`: of a model without a given seed."""
        self._drawn, self._trained_by_chance = None, by_chance

    @property
    def by_chance(self) -> bool:
        """Whether, without a given seed, each process has another value.

        So it is of what was drawn, as far as 64 elements tell that nobody has set it since, and of
        what was trained.
        """
        if self._drawn is None:
            return self._trained_by_chance
        return np.allclose(_some(self._value), self._drawn, rtol=1e-6, atol=0.0)

    def unrounded(self) -> Array:
        """The value in float64, with the digits that `exact` has."""
        wide: Array = self._value.astype(np.float64)
        if self.exact is None:
            return wide
        return np.where(self.exact.astype(self.dtype) == self._value, self.exact, wide)

    def convert(self, dtype: str) -> None:
        """Take another dtype; views taken before keep the old array."""
        self._value = aligned_copy(self.unrounded().astype(dtype))
        self._view = self._value.view()
        self._grad = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy or (dtype is not None and np.dtype(dtype) != self.dtype):
            return self._value.astype(dtype or self.dtype)
        return self.value

    def __matmul__(self, other: Any) -> Any:
        return self._value @ np.asarray(other)

    def __rmatmul__(self, other: Any) -> Any:
        return np.asarray(other) @ self._value

    def __repr__(self) -> str:
        frozen = "" if self.trainable else ", trainable=False"
        return f"<Parameter {self.name!r} {self.shape} {self.dtype}{frozen}>"

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_grad": None}
        state.pop("_view"), state.pop("_changes")
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._value = aligned_copy(self._value)  # pickle does not keep the alignment
        self._view = self._value.view()
        self._changes = _core.Counter()


def zero_gradients(parameters: Sequence[Parameter]) -> None:
    """Set the gradients of all of them to 0."""
    if not _core.fill_all([p._grad for p in parameters if p._grad is not None], None):
        for p in parameters:
            p.zero_grad()


def take_gradients(parameters: Sequence[Parameter], arrays: Sequence[Array]) -> None:
    """Copy arrays, each of its parameter's shape and dtype, into their gradients."""
    if not _core.fill_all([p.grad for p in parameters], arrays):
        for p, array in zip(parameters, arrays, strict=True):
            p.grad[...] = array


@contextmanager
def gathering(parameters: Sequence[Parameter], arrays: Sequence[Array]) -> Iterator[None]:
    """Meanwhile each parameter's ``grad`` is one of these arrays; then it is what it was before."""
    before = [p._grad for p in parameters]
    for p, array in zip(parameters, arrays, strict=True):
        p._grad = array
    try:
        yield
    finally:
        for p, own in zip(parameters, before, strict=True):
            p._grad = own


def check_writable(parameters: Sequence[Parameter]) -> None:
    """Refuse weights whose arrays their user has made read-only."""
    for p in parameters:
        if not p.value.flags.writeable:
            raise ValueError(
                f"{p.name}: its value is read-only, expected an array that takes new weights; "
                "nothing was changed; set value.flags.writeable = True"
            )


def assigned(parameters: Sequence[Parameter], arrays: Sequence[Any]) -> bool:
    """Copy arrays into all parameters if they fit as they are, and are finite; else into none: then
    `Parameter.check` converts them, or says what is wrong."""
    return _core.assign_all([p.held() for p in parameters], arrays)


def assign(parameters: Sequence[Parameter], arrays: Sequence[Array]) -> None:
    """Copy arrays, each of its parameter's shape and dtype, into all parameters or into none."""
    check_writable(parameters)
    for p in parameters:
        p._changes.value += 1
    copy_all([p.value for p in parameters], arrays)


def _some(value: Array) -> Array:
    """Up to some 64 elements, evenly spaced."""
    flat = value.reshape(-1)
    return flat[:: max(1, flat.size // 64)]


def _fit(
    what: str, new: Any, shape: tuple[int, ...], dtype: np.dtype[Any], *, finite: bool
) -> Array:
    try:
        array = np.asarray(new)
    except ValueError as error:
        raise ShapeError(f"{what}: expected shape {shape}, got a ragged list") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{what}: got dtype {array.dtype}, expected a real number dtype; convert it to {dtype}"
        )
    if array.shape != shape:
        raise ShapeError(f"{what}: expected {shape}, got {array.shape}")
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if finite and not np.isfinite(converted).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(converted))[0])
        raise ValueError(
            f"{what}: got {array[where]} at {list(where)}, expected values finite in {dtype}"
        )
    return converted
