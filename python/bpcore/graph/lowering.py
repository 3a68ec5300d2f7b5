"""The lowering of a graph: its layers write themselves down as nodes of the core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .. import _core
from ..base.lengths import Keys, MaskKey, closed, is_open
from ..base.memory import Array, Shape
from .parameter import Parameter
from .steps import Function, Given, Step, Units, View
from .tensor import Layer, Node, Tensor

CoreNode = tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any], str]


class Place:
    """Where a node of the graph went: numbers of its inputs, its z and its output in the core."""

    def __init__(self, inputs: list[int], z: int, a: int) -> None:
        self.inputs, self.z, self.a = inputs, z, a


class End(NamedTuple):
    """An output of a network, and what makes its values."""

    name: str
    shape: Shape
    op: str  # the last activation; "linear" of a linear layer, else the name of the operation
    function: str  # the same behind reshapes
    alpha: float  # of that activation


class Lowering:
    """Collects the core's nodes and parameters while layers write themselves down.

    Attributes
    ----------
    masked : frozenset of int
        The inputs whose data say which of their steps count.
    traced : bool
        Whether recurrent layers keep dL/dh of each step for a look at them.
    mask_inputs : list of MaskKey
        Masks that are inputs of the network, behind its own.
    in_front : frozenset of MaskKey
        Masks whose steps that count have to be the first ones.
    ids : dict of int to int
        The inputs that hold ids, and how many ids there are.
    """

    def __init__(
        self,
        dtype: str,
        compute: str,
        masked: frozenset[int] = frozenset(),
        traced: bool = False,
    ) -> None:
        self.masked, self.traced = masked, traced
        self.mask_inputs: list[MaskKey] = []
        self.in_front: Keys = frozenset()
        self.ids: dict[int, int] = {}
        self.input_count = 0  # of the core's network, so far
        self._inputs: dict[int, int] = {}  # number of the input, by node
        self._keys: dict[int, Keys] = {}  # by value: all of these masks hold
        self._masks: dict[Keys, int] = {}  # nodes that are made
        self.dtype, self.compute = dtype, compute
        self.nodes: list[CoreNode] = []
        self.shapes: list[Shape] = []
        self.params: list[Parameter] = []
        self.steps: dict[int, Step] = {}  # what nodes are, by number, as far as layers say it
        self.python_nodes: list[Any] = []  # calls of layers in Python
        self.shared_layers: set[int] = set()  # ids of layers with several calls
        self._modes: list[tuple[dict[str, Any], Layer, str, str]] = []
        self._shifts: list[tuple[int, Parameter, Parameter]] = []
        self._backs: dict[int, int] = {}  # by parameter, what stands in its place on the way back
        self._numbers: dict[int, int] = {}
        self._made: Counter[tuple[str, str]] = Counter()

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
        self._made[op, name] += 1
        self.shapes.append(shape)
        return len(self.nodes) - 1

    def count(self, op: str, name: str) -> int:
        """Nodes of this operation and name so far: the calls of a shared layer."""
        return self._made[op, name]

    def add_input(self, shape: Shape, name: str) -> int:
        """Append the next input of the network; its number as a node."""
        i = self.say(self.add_source(shape, name), Given())
        k = self._inputs[i] = len(self._inputs)
        if k in self.masked:
            self._keys[i] = frozenset({MaskKey(k)})
        return i

    def add_source(self, shape: Shape, name: str) -> int:
        """Append an input of the core's network, the model's own or one behind them."""
        self.input_count += 1
        return self.add("input", (), shape, name, shape=shape)

    def read_ids(self, label: str, i: int, count: int) -> None:
        """Value `i`, an input, holds ids below `count`, which stay integers in the core."""
        source = i
        while isinstance(self.steps.get(source), View):
            source = self.nodes[source][1][0]
        if source not in self._inputs:
            raise ValueError(
                f"{label} takes whole numbers, which only data of the caller's are, got the result "
                "of another layer; put it behind the Input"
            )
        self.nodes[source][3]["ids"] = True
        k = self._inputs[source]
        self.ids[k] = min(count, self.ids.get(k, count))

    def holds_ids(self, i: int) -> bool:
        """Whether value `i` is an input of ids, seen through reshapes."""
        while isinstance(self.steps.get(i), View):
            i = self.nodes[i][1][0]
        return self._inputs.get(i) in self.ids

    # ---- which steps count ----------------------------------------------------------------------
    def masks_of(self, i: int) -> Keys:
        """The masks that say which steps of value `i` count; none: all of them."""
        return self._keys.get(i, frozenset())

    def set_masks(self, i: int, keys: Keys) -> None:
        """Value `i` has steps, of which these masks tell."""
        if keys:
            self._keys[i] = keys

    def mask_by_value(self, label: str, source: int, i: int, value: float) -> None:
        """The steps of value `i` count where `source`, an input, is not `value`."""
        if source not in self._inputs:
            raise ValueError(
                f"{label} tells by values which steps count, and so needs data of the caller's, "
                "got the result of another layer; put it behind the Input, or pass mask="
            )
        k = self._inputs[source]
        self._keys[i] = frozenset({MaskKey(k, value)})

    def mask(self, i: int, *, in_front: bool = False) -> int | None:
        """The node that says which steps of value `i` count, by 1 and 0; None: all of them."""
        keys = self.masks_of(i)
        if in_front:
            self.in_front |= keys
        if not keys:
            return None
        if keys not in self._masks:
            steps = self.shapes[i][:1]
            single = [self._mask_input(key, steps) for key in sorted(keys, key=repr)]
            one = single[0]
            if len(single) > 1:
                one = self.add("multiply", single, steps, "mask")
            self._masks[keys] = one
        return self._masks[keys]

    def _mask_input(self, key: MaskKey, steps: Shape) -> int:
        alone = frozenset({key})
        if alone not in self._masks:
            self._masks[alone] = self.add_source(steps, "mask")
            self.mask_inputs.append(key)
        return self._masks[alone]

    def say(self, i: int, step: Step) -> int:
        """Node `i` is such a step; its number."""
        self.steps[i] = step
        return i

    def set_mode(self, i: int, layer: Layer, trained: str, frozen: str) -> None:
        """Node `i` works in one mode or the other, by whether its layer is trainable."""
        self._modes.append((self.nodes[i][3], layer, trained, frozen))

    def set_shift(self, i: int, mean: Parameter, variance: Parameter) -> None:
        """Node `i` subtracts `mean` first. Where it alone reads an input that is done while the
        data are read: in float64, before they are rounded, if the mean is large."""
        self._shifts.append((i, mean, variance))

    def send_back(self, matrix: Parameter, feedback: Parameter) -> None:
        """On the way back `feedback`, of the same shape, stands in the place of `matrix`."""
        self._backs[self._number(matrix)] = self._number(feedback)

    def _input_of(self, i: int, outputs: Sequence[int]) -> int | None:
        """The input that nothing but node `i` reads, seen through reshapes."""
        source = self.nodes[i][1][0]
        while True:
            readers = sum(node[1].count(source) for node in self.nodes)
            if readers > 1 or source in outputs:
                return None
            step = self.steps.get(source)
            if not isinstance(step, View):
                return source if isinstance(step, Given) else None  # inputs are the first nodes
            source = self.nodes[source][1][0]

    def flags(self) -> list[bool]:
        """All that `network` depends on and that may change: who is trainable."""
        layers = [layer for _, layer, *_ in self._modes]
        return [p.trainable for p in self.params] + [layer.trainable for layer in layers]

    def _number(self, parameter: Parameter) -> int:
        if id(parameter) not in self._numbers:
            self._numbers[id(parameter)] = len(self.params)
            self.params.append(parameter)
        return self._numbers[id(parameter)]

    def derivative(self, i: int, which: int, dy: int) -> int:
        """Append what backward of node `i` makes of `dy` for its input number `which`, a value."""
        op, inputs, numbers, attrs, name = self.nodes[i]
        x = inputs[which]
        if isinstance(self.steps.get(i), View):
            return self.add("reshape", (dy,), self.shapes[x], name, shape=self.shapes[x])
        told = {**attrs, "of": op, "which": which}
        weights = [self.params[k] for k in numbers]
        made = self.add("derivative", (*inputs, i, dy), self.shapes[x], name, weights, **told)
        for known, layer, trained, frozen in list(self._modes):
            if known is attrs:
                self._modes.append((self.nodes[made][3], layer, trained, frozen))
        return made

    def activation(self, i: int) -> str | None:
        """The activation that makes value `i`, if one does."""
        step = self.steps.get(i)
        return step.name if isinstance(step, Function) else None

    def _word(self, i: int) -> str:
        """What makes value `i`: an activation, "linear", or the operation."""
        other = "linear" if isinstance(self.steps.get(i), Units) else self.nodes[i][0]
        return self.activation(i) or other

    def end(self, name: str, i: int) -> End:
        """Value `i` as an output of a network."""
        source = i
        while isinstance(step := self.steps.get(source), View):
            source = self.nodes[source][1][0]
        alpha = step.alpha if isinstance(step, Function) else 0.0
        return End(name, self.shapes[i], self._word(i), self._word(source), alpha)

    def network(self, outputs: Sequence[int], trainable: Sequence[bool] | None = None) -> Any:
        """The compiled graph."""
        flags = [p.trainable for p in self.params] if trainable is None else list(trainable)
        for attrs, layer, trained, frozen in self._modes:
            attrs["mode"] = trained if layer.trainable else frozen
        return self._compiled(self.nodes, outputs, [p.value for p in self.params], flags)

    def averaging(
        self, outputs: Sequence[int], arrays: Mapping[Parameter, Array], momentum: float
    ) -> Any:
        """The graph with other arrays for some parameters, whose running statistics move so fast;
        None if it has none that move."""
        live = [attrs.get("mode") == "batch" and "momentum" in attrs for *_, attrs, _ in self.nodes]
        nodes = [
            (*node[:3], {**node[3], "momentum": momentum}, node[4]) if moves else node
            for node, moves in zip(self.nodes, live, strict=True)
        ]
        values = [arrays.get(p, p.value) for p in self.params]
        flags = [p.trainable for p in self.params]
        return self._compiled(nodes, outputs, values, flags) if any(live) else None

    def _compiled(
        self,
        nodes: list[CoreNode],
        outputs: Sequence[int],
        values: list[Array],
        flags: list[bool],
    ) -> Any:
        names = [p.name for p in self.params]
        shifts: list[Any] = []
        for i, mean, variance in self._shifts:
            found = self._input_of(i, outputs) if self.dtype == "float32" else None
            nodes[i][3]["shifted"] = found is not None
            if found is not None:
                numbers = self._number(mean), self._number(variance)
                shifts.append((found, *numbers, mean.exact))
        return _core.Network(
            self.dtype,
            nodes,
            list(outputs),
            values,
            names,
            flags,
            self.compute,
            shifts,
            [p._changes for p in self.params],
            [self._backs.get(k, -1) for k in range(len(self.params))] if self._backs else [],
        )


def lower(
    nodes: Sequence[Node],
    inputs: Sequence[Tensor],
    dtype: str,
    compute: str,
    lengths: Sequence[int] = (),
    masked: frozenset[int] = frozenset(),
    traced: bool = False,
) -> tuple[Lowering, dict[int, Place]]:
    """Write a sorted graph down; the k-th input tensor becomes the core's k-th input node.

    `lengths`: by input, steps where its shape leaves them open; `masked`: the inputs whose data
    say which steps count.
    """
    low = Lowering(dtype, compute, masked, traced)
    places = begin(low, nodes, inputs, lengths)
    for node in nodes:
        if id(node) not in places:
            places[id(node)] = lower_node(low, node, [places[id(t.node)].a for t in node.inputs])
    return low, places


def begin(
    low: Lowering, nodes: Sequence[Node], inputs: Sequence[Tensor], lengths: Sequence[int] = ()
) -> dict[int, Place]:
    """Write the inputs of a sorted graph down; their places, by node."""
    places: dict[int, Place] = {}
    for k, t in enumerate(inputs):
        shape = closed(t.shape, lengths[k]) if is_open(t.shape) else t.shape
        i = low.add_input(shape, t.name)
        places[id(t.node)] = Place([], i, i)
    calls = Counter(id(node.layer) for node in nodes)
    low.shared_layers = {key for key, n in calls.items() if n > 1}
    return places


def lower_node(low: Lowering, node: Node, arguments: list[int]) -> Place:
    """Write one call of a layer down, for these values."""
    shapes = [low.shapes[i] for i in arguments]
    shape = node.output.shape
    if is_open(shape):
        several = isinstance(node.layer.input_shape, list)
        shape = node.layer.compute_output_shape(shapes if several else shapes[0])
    first = len(low.nodes)
    a = node.layer.lower(low, arguments, shapes, shape)
    _pass_masks(low, node.layer, arguments, shapes, a)
    return Place(arguments, min(first, a), a)


def _pass_masks(
    low: Lowering, layer: Layer, inputs: list[int], shapes: list[Shape], a: int
) -> None:
    """What is masked in the inputs is masked in the result, where its steps are the same."""
    keys: Keys = frozenset().union(*(low.masks_of(i) for i in inputs))
    if keys and not low.masks_of(a) and layer.passes_mask(shapes, low.shapes[a]):
        low.set_masks(a, keys)
