"""Layers that `bpcore.ops` and the operators of symbolic tensors make: functions, sums, slices."""

from __future__ import annotations

import math
from typing import Any

from .. import graph
from ..base import checks
from ..base.lengths import closed
from ..base.memory import Shape
from ..errors import ShapeError
from .activation import Activation
from .core import CoreLayer
from .dense import single
from .merging import _counted, _of_sample
from .reshaping import Reshape

FUNCTIONS = ("sin", "cos", "log", "sqrt", "square", "abs", "power", "step", "sign")


class Function(CoreLayer):
    """y = f(x), elementwise, by name; what `bpcore.ops` makes of ``sin`` and its kin.

    Parameters
    ----------
    function : str
        One of `FUNCTIONS`.
    exponent : float
        Of ``power``.
    """

    def __init__(
        self,
        function: str,
        exponent: float = 0.0,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.function = checks.choice("function", function, FUNCTIONS)
        self.exponent = checks.real("exponent", exponent)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return tuple(single(self, input_shape))

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        options = {"function": self.function, "alpha": self.exponent}
        return low.add("function", inputs, shape, self.name, **options)


class _Reduction(CoreLayer):
    """Sums along axes of each sample."""

    def __init__(
        self,
        axis: Any = None,
        keepdims: bool = False,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        axes = None if axis is None else (axis if isinstance(axis, (list, tuple)) else (axis,))
        self.axes = None if axes is None else [_counted("axis", a) for a in axes]
        self.keepdims = checks.boolean("keepdims", keepdims)

    def _axes(self, rank: int) -> list[int]:
        """Of the sample, without repetition, the last first."""
        if self.axes is None:
            return list(range(rank))[::-1]
        found = [_of_sample(self, a, rank) for a in self.axes]
        if len(set(found)) != len(found):
            raise ValueError(f"{self.label}: axis names one axis twice: {self.axes}")
        return sorted(found, reverse=True)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = list(single(self, input_shape))
        for axis in self._axes(len(shape)):
            shape[axis : axis + 1] = [1] if self.keepdims else []
        return tuple(shape) or (1,)

    def mixes_steps(self, shapes: list[Shape], shape: Shape) -> bool:
        """Whether it goes over them."""
        return 0 in self._axes(len(shapes[0]))

    def _scale(self, count: int) -> float:
        return 1.0

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        i, (now,) = inputs[0], shapes
        axes = self._axes(len(now))
        scale = self._scale(math.prod(now[a] for a in axes))
        for k, axis in enumerate(axes):
            last = k == len(axes) - 1
            kept = (1,) if self.keepdims else ()
            then = shape if last else (*now[:axis], *kept, *now[axis + 1 :])
            factor = scale if last else 1.0
            i = low.add("sum", (i,), then, self.name, axis=axis, shape=then, scale=factor)
            now = then
        return i


class ReduceSum(_Reduction):
    """The sum along axes, which count the batch's; None is all but that. See `bpcore.ops.sum`."""


class ReduceMean(_Reduction):
    """The mean along axes, as `ReduceSum`."""

    def _scale(self, count: int) -> float:
        return 1.0 / count


class Slice(CoreLayer):
    """x[..., start:stop:step, ...] along one axis; what an index of a symbolic tensor makes.

    Parameters
    ----------
    axis : int
        Counted with the batch axis.
    start, count, step : int
        The first place, how many, and from one to the next.
    """

    def __init__(
        self,
        axis: int,
        start: int,
        count: int,
        step: int = 1,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.axis = _counted("axis", axis)
        self.start = checks.integer("start", start, 0)
        self.count = checks.integer("count", count)
        self.step = checks.integer("step", step, -(2**31), 2**31)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = single(self, input_shape)
        axis = _of_sample(self, self.axis, len(shape))
        last = self.start + (self.count - 1) * self.step
        if not (0 <= self.start < shape[axis] and 0 <= last < shape[axis]):
            raise ShapeError(
                f"{self.label}: got places {self.start} to {last} of axis {self.axis}, expected 0 "
                f"to {shape[axis] - 1}: x is {shape} a sample"
            )
        return (*shape[:axis], self.count, *shape[axis + 1 :])

    def mixes_steps(self, shapes: list[Shape], shape: Shape) -> bool:
        """Whether it goes along them."""
        return _of_sample(self, self.axis, len(shape)) == 0

    def passes_mask(self, shapes: list[Shape], shape: Shape) -> bool:
        """Along the steps only the first one is every sample's."""
        alone = self.mixes_steps(shapes, shape) and self.start == 0 and self.count == 1
        return not alone and super().passes_mask(shapes, shape)

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        self.compute_output_shape(shapes[0])  # of sequences too short for it
        axis = _of_sample(self, self.axis, len(shape))
        step = self.step if self.count > 1 else 1
        options = {"axis": axis, "start": self.start, "count": self.count, "step": step}
        return low.add("slice", inputs, shape, self.name, **options)


class StopGradient(CoreLayer):
    """y = x, and no gradient goes back: what is behind it counts as data."""

    def __init__(self, *, name: str | None = None, dtype: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return tuple(single(self, input_shape))

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        return low.add("stop", inputs, shape, self.name)


def cut(tensor: graph.Tensor, index: Any) -> graph.Tensor:
    """``tensor[index]``: slices and whole numbers; the first index is that of the batch."""
    given = index if isinstance(index, tuple) else (index,)
    places = _spread(given, len(tensor.shape) + 1)
    if places[0] != slice(None):
        raise IndexError(
            f"a symbolic tensor's first index must be : or ..., got {places[0]!r}; rows of the "
            "batch are chosen in the data"
        )
    dropped = []
    for axis, place in enumerate(places[1:]):
        size: int | None = tensor.shape[axis]
        if place == slice(None):
            continue
        if size is None:  # the steps of sequences of any length
            if isinstance(place, slice) or place < 0:
                raise IndexError(
                    f"axis {axis + 1} has no fixed number of steps, got index {place}, expected : "
                    "or a number from 0 on; give the Input a fixed length, or reduce the steps, by "
                    "a recurrent layer or pooling over time"
                )
            picked = range(int(place), int(place) + 1)
            dropped.append(axis)
        elif isinstance(place, slice):
            picked = range(*place.indices(size))
            if not len(picked):
                raise IndexError(f"index {place} takes nothing of axis {axis + 1} of size {size}")
            if len(picked) == size and picked.step == 1:
                continue
        else:
            k = checks.integer("index", place, -size, size - 1) % size
            picked = range(k, k + 1)
            dropped.append(axis)
        tensor = graph.connect(Slice(axis + 1, picked.start, len(picked), picked.step), tensor)
    if dropped:
        sizes = enumerate(closed(tensor.shape, -1))
        kept = tuple(n for axis, n in sizes if axis not in dropped)
        tensor = graph.connect(Reshape(kept or (1,)), tensor)
    return tensor


def _spread(given: tuple[Any, ...], rank: int) -> list[Any]:
    """One index for each axis, with the batch's."""
    for item in given:
        whole = hasattr(item, "__index__") and not isinstance(item, bool)
        if not (item is Ellipsis or isinstance(item, slice) or whole):
            raise TypeError(
                f"a symbolic tensor takes slices, whole numbers and ... as indices, got "
                f"{checks.describe(item)}"
            )
    dots = sum(item is Ellipsis for item in given)
    missing = rank - (len(given) - dots)
    if dots > 1 or missing < 0:
        raise IndexError(f"got {len(given)} indices for a tensor of {rank} axes, batch included")
    if not dots:
        return [*given, *[slice(None)] * missing]
    at = next(i for i, item in enumerate(given) if item is Ellipsis)
    return [*given[:at], *[slice(None)] * missing, *given[at + 1 :]]


def power(base: Any, exponent: Any) -> graph.Tensor:
    """``base ** exponent``, one of them a tensor; in the exponent it takes a base > 0."""
    if not isinstance(exponent, graph.Tensor):
        return graph.connect(Function("power", checks.real("exponent", exponent)), base)
    if isinstance(base, graph.Tensor):
        log: Any = graph.connect(Function("log"), base)
    else:
        log = math.log(checks.real("base", base, 0.0, open_low=True))
    return graph.connect(Activation("exponential"), exponent * log)


def absolute(tensor: graph.Tensor) -> graph.Tensor:
    """``abs(tensor)``."""
    return graph.connect(Function("abs"), tensor)


graph.Tensor.power = staticmethod(power)
graph.Tensor.absolute = staticmethod(absolute)
graph.Tensor.cut = staticmethod(cut)
