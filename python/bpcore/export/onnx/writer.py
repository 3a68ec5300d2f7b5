"""What the files of this folder write with: nodes, weights and constants of one ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...base.memory import Array, Shape
from ...graph.lowering import Lowering
from ...graph.parameter import Parameter


class Call(NamedTuple):
    """A node of the lowered graph: its inputs by their names in ONNX, shapes of samples."""

    inputs: list[str]
    shapes: list[Shape]
    shape: Shape
    weights: list[Parameter]
    attrs: dict[str, Any]
    number: int


class Writer:
    """Collects an ONNX graph; axis 0 of its values is the batch.

    Attributes
    ----------
    onnx : module
    low : Lowering
    dtype : numpy.dtype
        Of all values but ids, indices and shapes.
    opset : int
    label : str
        The layer that is being written, for names and messages.
    """

    def __init__(self, onnx: Any, low: Lowering, opset: int, reserved: Sequence[str]) -> None:
        self.onnx, self.low, self.opset = onnx, low, opset
        self.dtype = np.dtype(low.dtype)
        self.label = ""
        self.nodes: list[Any] = []
        self.labels: list[str] = []  # by node, the layer that it is of
        self.arrays: dict[str, Array] = {}
        self._names = set(reserved)
        self._known: dict[tuple[Any, ...], str] = {}  # constants, and weights as they are laid out
        self._turned: dict[str, tuple[str, Shape]] = {}  # of what a value is a transpose, and how

    @property
    def is_double(self) -> bool:
        """Whether numbers are float64, for which attributes, being float32, are too coarse."""
        return self.dtype.itemsize == 8

    def name(self, wish: str) -> str:
        """A name that nothing has yet."""
        found, k = wish, 0
        while found in self._names:
            k += 1
            found = f"{wish}_{k}"
        self._names.add(found)
        return found

    # ---- nodes ---------------------------------------------------------------------------------
    def add(self, op: str, *inputs: str, **attrs: Any) -> str:
        """Append a node with one output; its name."""
        return self.add_several(op, inputs, 1, **attrs)[0]

    def add_several(self, op: str, inputs: Sequence[str], count: int, **attrs: Any) -> list[str]:
        """Append a node; the names of its outputs."""
        outputs = [self.name(f"{self.label}/{op}") for _ in range(count)]
        made = self.onnx.helper.make_node(op, list(inputs), outputs, name=outputs[0], **attrs)
        self.nodes.append(made)
        self.labels.append(self.label)
        return outputs

    def constant(self, value: Any) -> str:
        """An array of the model's dtype."""
        return self._held(np.asarray(value, self.dtype), "constant")

    def integers(self, values: Any) -> str:
        """An array of int64: a shape, axes, indices."""
        return self._held(np.asarray(values, np.int64), "integers")

    def weight(self, parameter: Parameter, turn: Callable[[Array], Array] | None = None) -> str:
        """A parameter, as `turn` lays it out."""
        value = parameter.value if turn is None else turn(parameter.value)
        return self._held(np.asarray(value, self.dtype), parameter.name)

    def _held(self, array: Array, wish: str) -> str:
        array = np.ascontiguousarray(array).reshape(array.shape)
        key = (wish, array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = name = self.name(wish)
            self.arrays[name] = array
        return self._known[key]

    # ---- shapes --------------------------------------------------------------------------------
    def reshape(self, x: str, was: Shape, shape: Shape) -> str:
        """`x`, whose samples are of shape `was`, with samples of another shape; a first axis that
        stays as it is may be of any length."""
        if was == shape:
            return x
        kept = bool(was and shape and was[0] == shape[0])
        return self.add("Reshape", x, self.integers([0, *((0, *shape[1:]) if kept else shape)]))

    def transpose(self, x: str, order: Sequence[int]) -> str:
        """Axes in another order, batch included; what one transpose does, the next undoes."""
        source, before = self._turned.get(x, (x, tuple(range(len(order)))))
        order = tuple(before[axis] for axis in order)
        if order == tuple(range(len(order))):
            return source
        key = ("transpose", source, order)
        if key not in self._known:
            self._known[key] = y = self.add("Transpose", source, perm=order)
            self._turned[y] = source, order
        return self._known[key]

    def pointwise(self, x: str, f: Callable[[str], str]) -> str:
        """f(x) of single values, before a transpose rather than behind it."""
        source, order = self._turned.get(x, (x, None))
        y = f(source)
        return y if order is None else self.transpose(y, order)

    # ---- the whole -----------------------------------------------------------------------------
    def finish(self, values: Sequence[str], names: Sequence[str]) -> list[Any]:
        """The nodes that make `values`, which get these names."""
        renamed: dict[str, str] = {}
        made = {output for node in self.nodes for output in node.output}
        for value, name in zip(values, names, strict=True):
            if value in made and value not in renamed:
                renamed[value] = name
            else:
                self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name], name))
                self.labels.append(self.label)
        wanted = {*values, *names}
        kept = []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                wanted.update(node.input)
                kept.append(node)
        for node in kept:
            for field in (node.input, node.output):
                field[:] = [renamed.get(name, name) for name in field]
        self.arrays = {name: array for name, array in self.arrays.items() if name in wanted}
        return kept[::-1]


Kind = Callable[[Writer, Call], str]
