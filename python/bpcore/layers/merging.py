"""Layers with several inputs: elementwise arithmetic with broadcasting, Concatenate, Dot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import graph
from ..base import checks
from ..base.memory import Array, Shape
from ..errors import ShapeError
from .core import CoreLayer


class Merge(CoreLayer):
    """y = x0 op x1 op ..., elementwise, per-sample shapes broadcast as in NumPy."""

    op = ""
    exactly_two = False

    def __init__(self, *, name: str | None = None, dtype: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = several(self, input_shape)
        if self.exactly_two and len(shapes) != 2:
            raise ValueError(f"{self.label}: got {len(shapes)} inputs, expected exactly 2")
        return checks.broadcast(self.label, shapes)

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        i = low.add(self.op, inputs, shape, self.name)
        steps = [low.steps.get(k) for k in inputs]
        fixed = [(k, s.value) for k, s in enumerate(steps) if isinstance(s, graph.Fixed)]
        if len(inputs) == 2 and len(fixed) == 1:
            place, value = fixed[0]
            terms = self.with_constant(place, np.broadcast_to(value, shape))
            if terms is not None and shapes[1 - place] == shape:
                low.say(i, graph.Affine(1 - place, lambda: terms))
        return i

    def with_constant(self, place: int, value: Array) -> tuple[Array, Array] | None:
        """Scale and offset of y = scale x + offset where input `place` is constant, x the other."""
        return None


class Add(Merge):
    """y = x0 + x1 + ...

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.Add()([bp.Input((3,)), bp.Input((3,))]).shape
    (3,)
    """

    op = "add"

    def with_constant(self, place: int, value: Array) -> tuple[Array, Array]:
        return np.ones(value.shape), value


class Subtract(Merge):
    """y = x0 - x1."""

    op = "subtract"
    exactly_two = True

    def with_constant(self, place: int, value: Array) -> tuple[Array, Array]:
        ones = np.ones(value.shape)
        return (-ones, value) if place == 0 else (ones, -value)


class Multiply(Merge):
    """y = x0 * x1 * ..., elementwise."""

    op = "multiply"

    def with_constant(self, place: int, value: Array) -> tuple[Array, Array] | None:
        return (value, np.zeros(value.shape)) if value.all() else None


class Divide(Merge):
    """y = x0 / x1, elementwise; what ``/`` on symbolic tensors makes."""

    op = "divide"
    exactly_two = True

    def with_constant(self, place: int, value: Array) -> tuple[Array, Array] | None:
        return (1.0 / value, np.zeros(value.shape)) if place == 1 and value.all() else None


class Average(Merge):
    """y = (x0 + x1 + ...) / count."""

    op = "average"


class Maximum(Merge):
    """y = max(x0, x1, ...), elementwise; where equal, the delta goes to the first."""

    op = "maximum"


class Minimum(Merge):
    """y = min(x0, x1, ...), elementwise; where equal, the delta goes to the first.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> a, b = bp.Input((2,)), bp.Input((2,))
    >>> model = bp.Model([a, b], bp.layers.Minimum()([a, b]))
    >>> model([np.array([[1.0, 4.0]]), np.array([[3.0, 2.0]])]).tolist()
    [[1.0, 2.0]]
    """

    op = "minimum"


class Concatenate(CoreLayer):
    """Inputs side by side along one axis.

    Parameters
    ----------
    axis : int
        Counted with the batch axis, as in Keras: 1 is a sample's first axis; negative from the end.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.Concatenate()([bp.Input((3,)), bp.Input((2,))]).shape
    (5,)
    """

    def __init__(
        self, axis: int = -1, *, name: str | None = None, dtype: str | None = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.axis = _counted("axis", axis)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = several(self, input_shape)
        rank = len(shapes[0])
        axis = _of_sample(self, self.axis, rank)
        rest = {(len(s), s[:axis], s[axis + 1 :]) for s in shapes}
        if len(rest) != 1:
            listed = ", ".join(str(s) for s in shapes)
            raise ShapeError(
                f"{self.label}: got inputs of shapes {listed}, expected equal shapes except along "
                f"axis {self.axis}; reshape an input"
            )
        total = sum(s[axis] for s in shapes)
        return (*shapes[0][:axis], total, *shapes[0][axis + 1 :])

    def mixes_steps(self, shapes: list[Shape], shape: Shape) -> bool:
        """Whether it joins the steps."""
        return _of_sample(self, self.axis, len(shape)) == 0

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        axis = _of_sample(self, self.axis, len(shape))
        i = low.add("concatenate", inputs, shape, self.name, axis=axis)
        return low.say(i, graph.Joined(axis))


class Dot(CoreLayer):
    """y = sum over k of a[.., k] b[.., k], along an axis of each of two inputs, by sample.

    Parameters
    ----------
    axes : int or two ints
        The axis of the first and of the second input that is summed over; one number stands for
        both. Counted with the batch axis, as in Keras: 1 is a sample's first axis; negative from
        the end. Both axes have the same length.
    normalize : bool, default False
        Divide each vector along these axes by its Euclidean norm (or by 1e-7, if that is larger)
        before: the result is the cosine of the angle between two vectors.

    Returns
    -------
    Tensor
        The other axes of the first input, then those of the second: of (N, 3, K) and (N, K, 5) with
        ``axes=(2, 1)`` the matrix product (N, 3, 5). Of two vectors (N, K) it is (N, 1).

    Raises
    ------
    ValueError
        There are not two inputs, or an input has no such axis.
    ShapeError
        The two axes differ in length.

    Notes
    -----
    Keras' ``Dot``, with its meaning of axes and normalize.

    Examples
    --------
    >>> import bpcore as bp
    >>> a, b = bp.Input((2,)), bp.Input((2,))
    >>> model = bp.Model([a, b], bp.layers.Dot(axes=1)([a, b]))
    >>> model([[[1.0, 2.0]], [[3.0, 4.0]]]).tolist()
    [[11.0]]
    """

    def __init__(
        self,
        axes: int | Sequence[int],
        normalize: bool = False,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.axes: int | list[int]
        if isinstance(axes, (list, tuple)):
            if len(axes) != 2:
                raise ValueError(
                    f"axes has {len(axes)} numbers, expected one integer or two, one for each input"
                )
            self.axes = [_counted("axes", a) for a in axes]
        else:
            self.axes = _counted("axes", axes)
        self.normalize = checks.boolean("normalize", normalize)

    def _axes(self, shapes: list[Shape]) -> list[int]:
        """The axes of a sample that are summed over."""
        axes = self.axes if isinstance(self.axes, list) else [self.axes, self.axes]
        return [_of_sample(self, a, len(s)) for a, s in zip(axes, shapes, strict=True)]

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shapes = several(self, input_shape)
        if len(shapes) != 2:
            raise ValueError(f"{self.label}: got {len(shapes)} inputs, expected exactly 2")
        (a, b), (i, k) = shapes, self._axes(shapes)
        if a[i] != b[k]:
            raise ShapeError(
                f"{self.label}: got inputs of shapes {a} and {b}, whose axes {i + 1} and {k + 1} "
                f"have lengths {a[i]} and {b[k]}, expected equal lengths; take other axes, "
                f"which are counted from 1, or reshape an input"
            )
        return (*a[:i], *a[i + 1 :], *b[:k], *b[k + 1 :]) or (1,)

    def mixes_steps(self, shapes: list[Shape], shape: Shape) -> bool:
        """It sums over axes of a sample."""
        return True

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        axes = self._axes(shapes)
        return low.add("dot", inputs, shape, self.name, axes=axes, normalize=self.normalize)


class Constant(CoreLayer):
    """A number or array in symbolic arithmetic; a node without inputs."""

    def __init__(self, value: Any, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.value = np.array(value, dtype=np.float64)
        if not np.isfinite(self.value).all():
            raise ValueError("constant in symbolic arithmetic must be finite, got NaN or Inf")
        if self.value.ndim == 0:
            self.value = self.value.reshape(1)
        self._input_shape = tuple(self.value.shape)

    def tensor(self) -> graph.Tensor:
        """Its one tensor."""
        return graph.Node(self, (), tuple(self.value.shape)).output

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return tuple(self.value.shape)

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        i = low.add("constant", (), shape, self.name, value=self.value)
        return low.say(i, graph.Fixed(self.value))

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value.tolist(), "name": self._given_name}


def _counted(name: str, axis: Any) -> int:
    """An axis as a user counts it: with the batch, or negative from the end."""
    number = checks.integer(name, axis, -32, 32)
    if number == 0:
        raise ValueError(f"{name} must not be 0, got 0; that is the batch axis")
    return number


def _of_sample(layer: Any, axis: int, rank: int) -> int:
    """The same among the axes of a sample of this rank."""
    number = axis + rank if axis < 0 else axis - 1
    if not 0 <= number < rank:
        raise ValueError(
            f"{layer.label}: got axis {axis} for samples of rank {rank}, expected "
            f"-{rank} to -1 or 1 to {rank}"
        )
    return number


def several(layer: Any, input_shape: Any) -> list[Shape]:
    """The shapes of a merging layer's inputs, of which there must be two or more."""
    if not isinstance(input_shape, list) or len(input_shape) < 2:
        count = len(input_shape) if isinstance(input_shape, list) else 1
        raise ValueError(
            f"{layer.label}: got {count} input, expected a list of at least 2; "
            f"call it as {type(layer).__name__}()([a, b])"
        )
    return [tuple(s) for s in input_shape]


_OPERATIONS = {cls.__name__: cls for cls in (Add, Subtract, Multiply, Divide)}


def arithmetic(kind: str, left: Any, right: Any) -> graph.Tensor:
    """What ``+ - * /`` on symbolic tensors mean; numbers and arrays become constants."""
    layer = _OPERATIONS[kind]()
    operands = []
    for value in (left, right):
        if not isinstance(value, graph.Tensor):
            try:
                array = np.asarray(value)
            except Exception:
                array = np.asarray(None)
            if array.dtype.kind not in "fiub":
                result: graph.Tensor = NotImplemented
                return result
            value = Constant(array).tensor()
        operands.append(value)
    return graph.connect(layer, operands)


graph.Tensor.arithmetic = staticmethod(arithmetic)
