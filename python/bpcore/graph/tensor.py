"""Symbolic tensors, the graph that calls on them record, and its lowering to nodes of the core.

A `Tensor` is the output of a `Node`; a `Node` is one call of a layer on tensors. References point
backward only (from outputs to inputs), so a graph is freed with its last output.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base import checks
from ..base.memory import Shape

if TYPE_CHECKING:
    from ..layers.base import Layer
    from .parameter import Parameter

_count = itertools.count()


class Node:
    """One call of `layer` on `inputs`."""

    def __init__(self, layer: Layer, inputs: tuple[Tensor, ...], shape: Shape) -> None:
        self.order = next(_count)
        self.layer = layer
        self.inputs = inputs
        self.output = Tensor(shape, self)


class Tensor:
    """A value that will be computed: the per-sample `shape` and the node that makes it.

    Takes ``+ - * /`` and unary ``-`` with tensors, numbers and arrays (NumPy broadcasting over the
    per-sample shapes).

    Examples
    --------
    >>> import bpcore as bp
    >>> a = bp.Input((3,))
    >>> (2 * a + bp.layers.Dense(3)(a)).shape
    (3,)
    """

    __array_ufunc__ = None  # so that ndarray + Tensor comes to __radd__

    def __init__(self, shape: Shape, node: Node) -> None:
        self.shape = shape
        self.node = node

    @property
    def name(self) -> str:
        """Name of the layer that makes it."""
        return self.node.layer.name

    def __add__(self, other: Any) -> Tensor:
        return _binary("Add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _binary("Add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return _binary("Subtract", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _binary("Subtract", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _binary("Multiply", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return _binary("Multiply", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return _binary("Divide", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _binary("Divide", other, self)

    def __neg__(self) -> Tensor:
        return _binary("Multiply", self, -1.0)

    def __bool__(self) -> bool:
        raise TypeError("a symbolic tensor has no truth value; it is computed when the model runs")

    def __iter__(self) -> Any:
        raise TypeError("a symbolic tensor cannot be iterated; it is computed when the model runs")

    def __repr__(self) -> str:
        return f"<Tensor {self.name!r} {self.shape}>"


def _binary(kind: str, left: Any, right: Any) -> Tensor:
    from ..layers import merging

    layer = getattr(merging, kind)()
    operands = []
    for value in (left, right):
        if not isinstance(value, Tensor):
            try:
                array = np.asarray(value)
            except Exception:
                array = np.asarray(None)
            if array.dtype.kind not in "fiub":
                result: Tensor = NotImplemented
                return result
            value = merging.Constant(array).tensor()
        operands.append(value)
    return connect(layer, operands)


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
    checks.elements(layer.label, shape)
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


class Place:
    """Where a node of the graph went: numbers of its inputs, its z and its output in the core."""

    def __init__(self, inputs: list[int], z: int, a: int) -> None:
        self.inputs, self.z, self.a = inputs, z, a


class Lowering:
    """Collects the core's nodes and parameters while layers write themselves down."""

    def __init__(self, dtype: str, compute: str) -> None:
        self.dtype, self.compute = dtype, compute
        self.nodes: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any], str]] = []
        self.shapes: list[Shape] = []
        self.params: list[Parameter] = []
        self.shared_layers: set[int] = set()  # ids of layers with several calls
        self._modes: list[tuple[dict[str, Any], Layer, str, str]] = []
        self._numbers: dict[int, int] = {}

    def add(
        self,
        op: str,
        inputs: Sequence[int],
        shape: Shape,
        name: str,
        params: Sequence[Parameter] = (),
        /,
        **attrs: Any,
    ) -> int:
        """Append a node whose value has `shape`; its number."""
        numbers = tuple(self._number(p) for p in params)
        self.nodes.append((op, tuple(inputs), numbers, attrs, name))
        self.shapes.append(shape)
        return len(self.nodes) - 1

    def set_mode(self, i: int, layer: Layer, trained: str, frozen: str) -> None:
        """Node `i` works in one mode or the other, by whether its layer is trainable."""
        self._modes.append((self.nodes[i][3], layer, trained, frozen))

    def flags(self) -> list[bool]:
        """All that `network` depends on and that may change: who is trainable."""
        layers = [layer for _, layer, *_ in self._modes]
        return [p.trainable for p in self.params] + [layer.trainable for layer in layers]

    def _number(self, parameter: Parameter) -> int:
        if id(parameter) not in self._numbers:
            self._numbers[id(parameter)] = len(self.params)
            self.params.append(parameter)
        return self._numbers[id(parameter)]

    def last_op(self, i: int) -> str:
        """The op that makes value `i`, or the function if it is an activation."""
        op, _, _, attrs, _ = self.nodes[i]
        return str(attrs["function"]) if op == "activation" else op

    def network(self, outputs: Sequence[int], trainable: Sequence[bool] | None = None) -> Any:
        """The compiled graph."""
        from .. import _core

        flags = [p.trainable for p in self.params] if trainable is None else list(trainable)
        for attrs, layer, trained, frozen in self._modes:
            attrs["mode"] = trained if layer.trainable else frozen
        return _core.Network(
            self.dtype,
            self.nodes,
            list(outputs),
            [p.value for p in self.params],
            [p.name for p in self.params],
            flags,
            self.compute,
        )


def lower(
    nodes: Sequence[Node], inputs: Sequence[Tensor], dtype: str, compute: str
) -> tuple[Lowering, dict[int, Place]]:
    """Write a sorted graph down; the k-th input tensor becomes the core's k-th input node."""
    low = Lowering(dtype, compute)
    places: dict[int, Place] = {}
    for t in inputs:
        i = low.add("input", (), t.shape, t.name, shape=t.shape)
        places[id(t.node)] = Place([], i, i)
    calls: dict[int, int] = {}
    for node in nodes:
        calls[id(node.layer)] = calls.get(id(node.layer), 0) + 1
    low.shared_layers = {key for key, n in calls.items() if n > 1}
    for node in nodes:
        if id(node) in places:
            continue
        arguments = [places[id(t.node)].a for t in node.inputs]
        first = len(low.nodes)
        a = node.layer.lower(low, arguments, [t.shape for t in node.inputs], node.output.shape)
        z = min(first, a)
        places[id(node)] = Place(arguments, z, a)
    return low, places
