"""What a rule is handed: the model's layers, and what it may add to the network as it is trained.

Beside nodes of the core (`Wiring.low`) there are a matrix for the way back in place of a layer's
own (`Wiring.send_back`), an end of all gradients (`stop`), the targets as values (`target`), a
value that is minimised beside the losses (`minimise`), and weights of the rule's own (`weight`).
Operations whose backward is more than a derivative are routes: they take values for gradients, or
gradients for values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from .. import graph
from ..base import seeding
from ..base.memory import Shape
from ..graph import Lowering, Node, Parameter, Tensor
from .base import Rule


class Block(NamedTuple):
    """A layer with a matrix and the layers behind it, up to the next such layer."""

    nodes: tuple[Node, ...]

    @property
    def layer(self) -> Any:
        """The one with the matrix."""
        return next(node.layer for node in self.nodes if node.layer.matrices)

    @property
    def name(self) -> str:
        """That layer's name."""
        return str(self.layer.name)


class Filling(NamedTuple):
    """An input behind the model's own, which a window of `fit(bptt=k)` fills."""

    place: int  # among the inputs
    shape: Shape
    key: str | None  # of the carried states that it holds; None: `Wiring.bounds`


class Wiring:
    """A network as a rule trains it, while it is written.

    Attributes
    ----------
    low : Lowering
        Takes nodes of the core.
    nodes : list of Node
        The model's calls of layers, in order.
    inputs : list of int
        The values that are the model's inputs.
    outputs : list of int
        The values that are its outputs, which the losses read; set by the rule.
    rates : dict of Parameter to float
        Of weights of the rule: by what the optimizer's learning rate is multiplied.
    objectives : list of (int, float)
        Values that are minimised beside the losses, with their weights.
    given : list of Filling
        What windows fill: there is no training without them.
    """

    def __init__(
        self,
        rule: Rule,
        nodes: Sequence[Node],
        ends: tuple[Sequence[Tensor], Sequence[Tensor]],
        low: Lowering,
        lengths: Sequence[int],
    ) -> None:
        self.rule, self.nodes, self.low = rule, list(nodes), low
        self._input_tensors, self._output_tensors = ends
        self._places = graph.begin(low, nodes, self._input_tensors, lengths)
        self.inputs = [self._places[id(t.node)].a for t in self._input_tensors]
        self.outputs: list[int] = []
        self.rates: dict[Parameter, float] = {}
        self.objectives: list[tuple[int, float]] = []
        self.given: list[Filling] = []
        self.names: set[str] = set()  # of the rule's weights
        self.signs: list[tuple[Parameter, Parameter]] = []
        self._bounds: int | None = None

    def told(self) -> dict[str, Any]:
        """What the core's trainer is told beside the network."""
        place = {id(p): i for i, p in enumerate(self.low.params)}
        more = {
            "objectives": self.objectives,
            "signs": [(place[id(p)], place[id(q)]) for p, q in self.signs],
        }
        return {key: value for key, value in more.items() if value}

    # ---- the model's layers ---------------------------------------------------------------------
    def refuse(self, layer: Any, why: str) -> ValueError:
        """The error for a layer that the rule cannot carry."""
        return ValueError(
            f"{self.rule.label} cannot carry {layer.label}: {why}; take another layer, or train "
            "by credit='backprop'"
        )

    def matrices(self, layer: Any) -> list[Parameter]:
        """The weights whose transposes the layer's way back reads; an error if nobody knows."""
        found = layer.matrices
        if found is None:
            raise self.refuse(
                layer,
                "rules do not know what matrices its way back reads, as of recurrent layers, of "
                "layers that are made of others, and of code of your own",
            )
        return list(found)

    def whole(self, own: Callable[[Node, int], int | None] = lambda node, x: None) -> None:
        """The model as it stands, from inputs to outputs, but for calls of layers that `own`
        writes, of a value: it gives what they make, and None of the others."""
        for node in self.nodes:
            if id(node) not in self._places:
                arguments = [self._places[id(t.node)].a for t in node.inputs]
                made = own(node, arguments[0])
                if made is None:
                    self._places[id(node)] = graph.lower_node(self.low, node, arguments)
                else:
                    self._places[id(node)] = graph.Place(arguments, made, made)
        self.outputs = [self._places[id(t.node)].a for t in self._output_tensors]

    def reaches(self, node: Node) -> bool:
        """Whether a gradient of the node's inputs may be of use: something below it has weights."""
        seen, stack = set(), [t.node for t in node.inputs]
        while stack:
            below = stack.pop()
            if id(below) in seen:
                continue
            seen.add(id(below))
            if below.layer.weights:
                return True
            stack += [t.node for t in below.inputs]
        return False

    def blocks(self) -> list[Block]:
        """The model as a chain, cut before each layer with a matrix.

        What stands before the first one belongs to its block.
        """
        if len(self._input_tensors) != 1 or len(self._output_tensors) != 1:
            raise ValueError(
                f"{self.rule.label} trains one chain of layers, got a model of "
                f"{len(self._input_tensors)} inputs and {len(self._output_tensors)} outputs; take "
                "FeedbackAlignment, or credit='backprop'"
            )
        if any(graph.is_open(t.shape) for t in self._input_tensors):
            raise ValueError(
                f"{self.rule.label} trains samples of one shape, got a model of any number of "
                "steps; give its Input a length, or take FeedbackAlignment"
            )
        found: list[list[Node]] = []
        before: list[Node] = []
        last = self._input_tensors[0].node
        for node in self.nodes:
            if node is last:
                continue
            if len(node.inputs) != 1 or node.inputs[0].node is not last:
                raise self.refuse(node.layer, "the model branches there, expected one chain")
            last = node
            if self.matrices(node.layer):
                found.append([*before, node])
                before = []
            elif found:
                found[-1].append(node)
            else:
                before.append(node)
        if not found:
            raise ValueError(f"{self.rule.label}: the model has no layer with a matrix to train")
        return [Block(tuple(block)) for block in found]

    def run(self, block: Block, x: int) -> int:
        """The block's value for value `x`."""
        for node in block.nodes:
            x = graph.lower_node(self.low, node, [x]).a
        return x

    def units(self, block: Block, first: int, y: int) -> int:
        """Of a block that was written from node `first` on to value `y`: what its matrix gives."""
        found = [i for i in range(first, y + 1) if isinstance(self.low.steps.get(i), graph.Units)]
        if len(found) != 1 or len(self.low.shapes[found[0]]) != 1:
            raise self.refuse(
                block.layer, "it ends the model, where a Dense layer with one row of outputs is due"
            )
        return found[0]

    def behind(self, old: int, y: int, new: int) -> int:
        """What makes value `y` of `old`, once more, of value `new`."""
        moved = {old: new}
        for i in range(old + 1, y + 1):
            op, inputs, params, attrs, name = self.low.nodes[i]
            if moved.keys().isdisjoint(inputs):
                continue
            weights = [self.low.params[k] for k in params]
            own = [moved.get(k, k) for k in inputs]
            made = self.low.add(op, own, self.low.shapes[i], name, weights, **attrs)
            if i in self.low.steps:
                self.low.say(made, self.low.steps[i])
            moved[i] = made
        return moved[y]

    @property
    def output_shape(self) -> Shape:
        """Of a sample of the first output."""
        return tuple(self._output_tensors[0].shape)

    # ---- windows of sequences -------------------------------------------------------------------
    def bounds(self) -> int:
        """Of each sample, which of its window's bounds it goes over: (2,), 1 where steps that count
        come both before the window, or after it, and from there on, else 0."""
        if self._bounds is None:
            self._bounds = self._give(None, (2,))
        return self._bounds

    def begun(self, node: Node) -> tuple[str, int]:
        """Of the call of a recurrent layer a name, and the states (states, units) in which its
        windows begin."""
        layer: Any = node.layer
        if not layer.carries:
            own = "code of your own says nothing of the states in which a window ends"
            whole = "it needs the whole sequence, and windows cut it"
            raise self.refuse(layer, own if layer.streams else whole)
        calls = self.low.count(layer.op, layer.name)
        value = self._give(f"{layer.name}/{calls}", (layer.states, layer.units))
        return f"{layer.name}.{calls}" if calls else layer.name, value

    def run_from(self, node: Node, x: int, begun: int) -> tuple[int, int]:
        """That call, from these states on: its value, and the states in which it ends."""
        layer: Any = node.layer
        shape = layer.compute_output_shape(self.low.shapes[x])
        made: tuple[int, int] = layer.lower_from(self.low, x, begun, shape)
        return made

    def _give(self, key: str | None, shape: Shape) -> int:
        self.given.append(Filling(self.low.input_count, shape, key))
        return self.low.add_source(shape, self.rule.name)

    def check_carried(self, carried: Collection[str]) -> None:
        """Refuse layers that carry what windows do not fill, beside some that do."""
        filled = {filling.key for filling in self.given}
        for key in carried if filled else ():
            if key not in filled:
                name = key.rpartition("/")[0]
                layer = next(node.layer for node in self.nodes if node.layer.name == name)
                raise self.refuse(layer, "it carries inputs from window to window, not states")

    # ---- what a rule may add --------------------------------------------------------------------
    def weight(
        self, name: str, shape: tuple[int, ...], initializer: Any, *, trainable: bool = False
    ) -> Parameter:
        """A weight of the rule's own, ``"credit/<name>"``; the same one whenever asked for."""
        self.names.add(name)
        return self.rule.weight(name, shape, self.low.dtype, initializer, trainable)

    def map(
        self, name: str, sizes: tuple[int, int], initializer: Any, rate: float | None = None
    ) -> list[Parameter]:
        """Kernel and bias of a dense layer of the rule's own, trained at a learning rate `rate`."""
        kernel = self.weight(f"{name}.kernel", sizes, initializer, trainable=True)
        bias = self.weight(f"{name}.bias", sizes[1:], "zeros", trainable=True)
        self.rates[kernel] = self.rates[bias] = self.rule.factor(rate)
        return [kernel, bias]

    def take_signs(self, feedback: Parameter, matrix: Parameter) -> None:
        """After each update `feedback` takes the signs of `matrix`."""
        self.signs.append((feedback, matrix))

    def dense(self, x: int, of: list[Parameter]) -> int:
        """That layer's value for value `x`."""
        name = f"{self.rule.name}.{of[0].local_name.rpartition('.')[0]}"
        return self.low.add("dense", (x,), of[1].shape, name, of)

    def function(self, x: int, name: str, alpha: float = 0.0) -> int:
        """An activation."""
        shape = self.low.shapes[x]
        return self.low.add("activation", (x,), shape, self.rule.name, function=name, alpha=alpha)

    def flat(self, i: int) -> int:
        """The value as one row."""
        return self.shaped(i, (math.prod(self.low.shapes[i]),))

    def shaped(self, i: int, shape: Shape) -> int:
        """The value in another shape."""
        if self.low.shapes[i] == tuple(shape):
            return i
        return self.low.add("reshape", (i,), tuple(shape), self.rule.name, shape=tuple(shape))

    def seed(self, purpose: int) -> int:
        """Of random numbers of the rule's own."""
        return seeding.mix(self.rule.random_seed, purpose)

    def send_back(self, matrix: Parameter, feedback: Parameter) -> None:
        """On the way back `feedback` stands in the place of a layer's matrix, of its shape."""
        self.low.send_back(matrix, feedback)

    def stop(self, i: int, rate: float = 0.0) -> int:
        """The same value, through which the gradient goes times `rate`, or not at all."""
        return self.low.add("stop", (i,), self.low.shapes[i], self.rule.name, rate=float(rate))

    def target(self, shape: Shape, output: int = 0) -> int:
        """What an output is compared with; of a label 1 at its place."""
        return self.low.add("target", (), shape, self.rule.name, shape=shape, output=output)

    def derivative(self, x: int, y: int, dy: int) -> int:
        """What `dy`, a gradient of value `y`, is for value `x`, of which `y` was made: a value."""
        low = self.low
        behind, slopes = {x}, {y: dy}
        for i in range(x + 1, y + 1):
            if not behind.isdisjoint(low.nodes[i][1]):
                behind.add(i)
        for i in range(y, x, -1):
            if i not in behind or i not in slopes:
                continue
            for which, source in enumerate(low.nodes[i][1]):
                if source not in behind:
                    continue
                found = low.derivative(i, which, slopes[i])
                if source in slopes:
                    both = slopes[source], found
                    found = low.add("add", both, low.shapes[source], self.rule.name)
                slopes[source] = found
        return slopes[x]

    def still(self, first: int) -> None:
        """What was written from node `first` on leaves running statistics as they are."""
        for _, _, _, attrs, _ in self.low.nodes[first:]:
            if "momentum" in attrs:
                attrs["momentum"] = 1.0

    def minimise(self, i: int, weight: float = 1.0) -> None:
        """Add the value's sum, as a mean over the batch, to what training minimises."""
        self.objectives.append((i, float(weight)))
