"""Symbolic tensors, and the graph that calls of layers on them record.

A `Tensor` is the output of a `Node`; a `Node` is one call of a layer on tensors. References point
backward only (from outputs to inputs), so a graph is freed with its last output.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

from ..base import checks
from ..base.lengths import closed, is_open
from ..base.memory import Shape

_count = itertools.count()


class Layer(Protocol):
    """What a graph asks of a layer; `bpcore.layers.Layer` answers."""

    is_input: bool
    stateful: bool
    columns: tuple[str, ...] | None

    @property
    def name(self) -> str:
        """Unique in its model."""

    @property
    def label(self) -> str:
        """Class and name, for messages."""

    @property
    def trainable(self) -> bool:
        """Whether optimizers change its weights."""

    @property
    def weights(self) -> Any:
        """All of its parameters."""

    @property
    def matrices(self) -> Any:
        """Those of them whose transposes the way back reads; None: nobody knows."""

    @property
    def input_shape(self) -> Any:
        """Per-sample shape of the input, or a list of them; None before it is built."""

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """The per-sample shape of the output, for inputs without an open length."""

    def passes_mask(self, shapes: list[Shape], shape: Shape) -> bool:
        """Whether the steps of the result are those of the inputs; an error if it mixes steps
        without heed of a mask."""

    def infer_shape(self, input_shape: Any) -> Shape:
        """The per-sample shape of the output, after checks of the inputs' shape or shapes."""

    def lower(self, low: Any, inputs: list[int], shapes: list[Shape], shape: Shape) -> int:
        """Write one call down in a `Lowering`; the number of its output."""


class Node:
    """One call of `layer` on `inputs`."""

    def __init__(self, layer: Layer, inputs: tuple[Tensor, ...], shape: Shape) -> None:
        self.order = next(_count)
        self.layer = layer
        self.inputs = inputs
        self.output = Tensor(shape, self)

    @property
    def takes_steps(self) -> bool:
        """Whether the steps of sequences may come one after the other."""
        layer: Any = self.layer
        shapes = [t.shape for t in self.inputs]
        if is_open(shapes) and layer.mixes_steps(closed(shapes, 61), closed(self.output.shape, 61)):
            return False
        return bool(layer.is_input or layer.streams)


class Tensor:
    """A value that will be computed: the per-sample `shape` and the node that makes it.

    Takes ``+ - * /`` and unary ``-`` with tensors, numbers and arrays (NumPy broadcasting over the
    per-sample shapes), ``**`` with tensors and numbers, ``abs`` and slices.

    Examples
    --------
    >>> import bpcore as bp
    >>> a = bp.Input((3,))
    >>> (2 * a + bp.layers.Dense(3)(a)).shape
    (3,)
    """

    __array_ufunc__ = None  # so that ndarray + Tensor comes to __radd__
    # From the name of an operation and its operands to a tensor; `layers.merging` puts it here.
    arithmetic: ClassVar[Callable[[str, Any, Any], Tensor]]
    power: ClassVar[Callable[[Any, Any], Tensor]]  # `layers.functions` puts these three here
    absolute: ClassVar[Callable[[Any], Tensor]]
    cut: ClassVar[Callable[[Any, Any], Tensor]]

    def __init__(self, shape: Shape, node: Node) -> None:
        self.shape = shape
        self.node = node

    @property
    def name(self) -> str:
        """Name of the layer that makes it."""
        return self.node.layer.name

    def __add__(self, other: Any) -> Tensor:
        return Tensor.arithmetic("Add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return Tensor.arithmetic("Add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return Tensor.arithmetic("Subtract", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return Tensor.arithmetic("Subtract", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return Tensor.arithmetic("Multiply", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return Tensor.arithmetic("Multiply", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return Tensor.arithmetic("Divide", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return Tensor.arithmetic("Divide", other, self)

    def __neg__(self) -> Tensor:
        return Tensor.arithmetic("Multiply", self, -1.0)

    def __pow__(self, exponent: Any) -> Tensor:
        return Tensor.power(self, exponent)

    def __rpow__(self, base: Any) -> Tensor:
        return Tensor.power(base, self)

    def __abs__(self) -> Tensor:
        return Tensor.absolute(self)

    def __getitem__(self, index: Any) -> Tensor:
        return Tensor.cut(self, index)

    def __bool__(self) -> bool:
        raise TypeError("a symbolic tensor has no truth value; it is computed when the model runs")

    def __iter__(self) -> Any:
        raise TypeError("a symbolic tensor cannot be iterated; it is computed when the model runs")

    def __repr__(self) -> str:
        return f"<Tensor {self.name!r} {self.shape}>"


def is_symbolic(value: Any) -> bool:
    """A tensor, or a list or tuple with one in it."""
    if isinstance(value, (list, tuple)):
        return any(isinstance(item, Tensor) for item in value)
    return isinstance(value, Tensor)


def connect(layer: Layer, inputs: Any) -> Tensor:
    """Record a call of `layer` on a tensor or a list of tensors."""
    several = isinstance(inputs, (list, tuple))
    tensors = tuple(inputs) if several else (inputs,)
    for item in tensors:
        if not isinstance(item, Tensor):
            raise TypeError(
                f"{layer.label}: got {checks.describe(item)} among symbolic tensors, expected "
                "tensors only; wrap constants by arithmetic, as in tensor * 2.0"
            )
    shapes = [t.shape for t in tensors]
    shape = layer.infer_shape(shapes if several else shapes[0])
    checks.elements(layer.label, closed(shape, 1))
    return Node(layer, tensors, shape).output


def sort(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[Node]:
    """The nodes that `outputs` need, each after its inputs, in the order of their creation."""
    found: dict[int, Node] = {}
    open_nodes: set[int] = set()
    stack = [(t.node, False) for t in reversed(outputs)]
    while stack:
        node, done = stack.pop()
        if done:
            open_nodes.discard(id(node))
            found[id(node)] = node
            continue
        if id(node) in found:
            continue
        if id(node) in open_nodes:
            raise ValueError(
                f"the graph has a cycle through layer {node.layer.name!r}, expected an acyclic "
                "graph because every value is computed once per sample; unroll the loop in time"
            )
        open_nodes.add(id(node))
        stack.append((node, True))
        for t in node.inputs:
            if id(t.node) not in found:
                stack.append((t.node, False))  # popped again while open: a cycle
    _check_ends(inputs, outputs, found)
    return _ordered(list(found.values()))


def _ordered(nodes: list[Node]) -> list[Node]:
    """By creation where that is a valid order, else as found (depth first)."""
    by_creation = sorted(nodes, key=lambda n: n.order)
    seen: set[int] = set()
    for node in by_creation:
        if any(id(t.node) not in seen for t in node.inputs):
            return nodes
        seen.add(id(node))
    return by_creation


def _check_ends(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], found: dict[int, Node]
) -> None:
    declared = {id(t.node) for t in inputs}
    for node in found.values():
        if node.layer.is_input and id(node) not in declared:
            names = ", ".join(repr(t.name) for t in outputs)
            raise ValueError(
                f"the graph is disconnected: output {names} needs input {node.layer.name!r}, which "
                "is not among the model's inputs; add it to inputs"
            )
    for position, t in enumerate(inputs):
        if id(t.node) not in found:
            raise ValueError(
                f"inputs[{position}] ({t.name!r}) is unused: no output depends on it; remove it "
                "from inputs or connect it"
            )


def unique_layers(nodes: Sequence[Node]) -> list[Layer]:
    """The layers of nodes, each once, in order of first use."""
    return list({id(n.layer): n.layer for n in nodes}.values())
