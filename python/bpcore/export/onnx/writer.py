"""What the files of this folder write with: nodes, weights and constants of one ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...base.digests import sha256
from ...base.memory import Array, Shape
from ...graph.lowering import Lowering
from ...graph.parameter import Parameter
from .. import numbers

LAST = np.iinfo(np.int64).max  # behind the last value of an axis; before its first: -LAST


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
    open : bool
        Whether an input may have any number of steps.
    label : str
        The layer that is being written, for names and messages.
    inputs : list of str
        The model's.
    ends : list of int
        The nodes of the lowered graph that are outputs.
    ids : set of str
        Values that are int64.
    masks : int
        Masks so far.
    """

    def __init__(
        self,
        onnx: Any,
        low: Lowering,
        opset: int,
        names: tuple[Sequence[str], Sequence[str]],
        ends: Sequence[int],
        is_open: bool,
    ) -> None:
        self.onnx, self.low, self.opset, self.open = onnx, low, opset, is_open
        self.inputs, self.ends = list(names[0]), list(ends)
        self.dtype = np.dtype(low.dtype)
        self.label, self.masks = "", 0
        self.ids = {name for k, name in enumerate(names[0]) if low.nodes[k][3].get("ids")}
        self.nodes: list[Any] = []
        self.arrays: dict[str, Array] = {}
        self._names = {*names[0], *names[1]}
        self._inside: dict[str, set[str]] = {}  # of a loop, by its first output: what it reads
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
        return outputs

    def scan(
        self,
        states: Sequence[str],
        series: Sequence[str],
        body: Callable[[list[str], list[str]], tuple[list[str], str]],
    ) -> list[str]:
        """A loop over axis 0 of `series`: ``body(states, now)`` gives the next states and y; all
        last states, and y with that axis. Inside, of what is outside only constants are read."""
        helper, outer, self.nodes = self.onnx.helper, self.nodes, []
        ins = [[self.name(f"{self.label}/{x}") for _ in some]
               for x, some in (("state", states), ("now", series))]  # fmt: skip
        made, y = body(*ins)
        inner, self.nodes = self.nodes, outer
        ends = [self.name(f"{self.label}/next") for _ in range(len(made) + 1)]
        pairs = zip([*made, y], ends, strict=True)  # a value may come out twice
        inner += [helper.make_node("Identity", [x], [end], name=end) for x, end in pairs]
        number = helper.np_dtype_to_tensor_dtype(self.dtype)
        kinds = [number] * (len(states) + 1) + [self.onnx.TensorProto.BOOL] * (len(series) - 1)
        told = zip([*ins[0], *ins[1]], kinds, strict=True)
        graph = helper.make_graph(
            inner,
            self.name(f"{self.label}/steps"),
            [helper.make_tensor_value_info(x, kind, None) for x, kind in told],
            [helper.make_tensor_value_info(x, number, None) for x in ends],
        )
        loop = {"body": graph, "num_scan_inputs": len(series)}
        found = self.add_several("Scan", [*states, *series], len(ends), **loop)
        self._inside[found[0]] = {x for node in inner for x in node.input}
        return found

    def constant(self, value: Any) -> str:
        """An array of the model's dtype."""
        what = f"layer {self.label!r}: a constant"
        return self._held(numbers.rounded(value, self.dtype, what), "constant")

    def lowest(self) -> str:
        """What every number is larger than."""
        return self._held(np.asarray(-np.inf, self.dtype), "constant")

    def integers(self, values: Any) -> str:
        """An array of int64: a shape, axes, indices."""
        return self._held(np.asarray(values, np.int64), "integers")

    def weight(self, parameter: Parameter, turn: Callable[[Array], Array] | None = None) -> str:
        """A parameter, as `turn` lays it out."""
        value = parameter.value if turn is None else turn(parameter.value)
        return self._held(np.asarray(value, self.dtype), parameter.name)

    def _held(self, array: Array, wish: str) -> str:
        array = np.ascontiguousarray(array).reshape(array.shape)
        digest = sha256()
        digest.update(array.data)
        key = (wish, array.dtype.str, array.shape, digest.digest())
        if key not in self._known:
            self._known[key] = name = self.name(wish)
            self.arrays[name] = array
        return self._known[key]

    # ---- shapes --------------------------------------------------------------------------------
    def reshape(self, x: str, shape: Shape) -> str:
        """`x` with samples of this shape. Its first axis may be steps, of any number."""
        first = (-1 if self.open else size for size in shape[:1])
        return self.add("Reshape", x, self.integers([0, *first, *shape[1:]]))

    def batch_of(self, rank: int) -> str:
        """The size of the batch and ones for a sample of this rank, as a shape."""
        size = self.cut(self.add("Shape", self.inputs[0]), 0, 0, 1)
        return self.add("Concat", size, self.integers([1] * rank), axis=0)

    def unsqueeze(self, x: str, *axes: int) -> str:
        """`x` with axes of size 1 at these places, batch included."""
        return self.add("Unsqueeze", x, self.integers(axes)) if axes else x

    def squeeze(self, x: str, axis: int) -> str:
        """`x` without this axis of size 1."""
        return self.add("Squeeze", x, self.integers([axis]))

    def cut(self, x: str, axis: int, start: int, stop: int, step: int = 1) -> str:
        """``x[start:stop:step]`` along an axis."""
        told = [self.integers([k]) for k in (start, stop, axis, step)]
        return self.add("Slice", x, *told)

    def reverse(self, x: str, axis: int) -> str:
        """From the last to the first."""
        return self.cut(x, axis, -1, -LAST, -1)

    def reduce(self, op: str, x: str, axes: Sequence[int], keep: bool = False) -> str:
        """The sum, the mean or the largest value over axes."""
        if self.opset < 18 and op != "ReduceSum":  # whose axes are an attribute there
            return self.add(op, x, axes=list(axes), keepdims=int(keep))
        return self.add(op, x, self.integers(axes), keepdims=int(keep))

    def cast(self, x: str, kind: Any = None) -> str:
        """`x` in another dtype, by default the model's."""
        dtype = self.dtype if kind is None else np.dtype(kind)
        return self.add("Cast", x, to=self.onnx.helper.np_dtype_to_tensor_dtype(dtype))

    # ---- axes in another order: what one layer turns, the next turns back ------------------------
    def transpose(self, x: str, order: Sequence[int]) -> str:
        """Axes in another order, batch included; what one transpose does, the next undoes."""
        source, before = self.turned(x, len(order))
        order = tuple(before[axis] for axis in order)
        if order == tuple(range(len(order))):
            return source
        key = ("transpose", source, order)
        if key not in self._known:
            self._known[key] = y = self.add("Transpose", source, perm=order)
            self._turned[y] = source, order
        return self._known[key]

    def turned(self, x: str, rank: int) -> tuple[str, Shape]:
        """Of what `x` is a transpose, and its order; `x` itself where it is none."""
        return self._turned.get(x, (x, tuple(range(rank))))

    def before_turns(
        self, xs: Sequence[str], rank: int, f: Callable[[list[str], Shape], str]
    ) -> str:
        """f of values that are all turned alike, before they are: ``f(sources, order)``, which
        makes a value whose axis ``order[k]`` is what is wanted as axis k."""
        found = [self.turned(x, rank) for x in xs]
        order = found[0][1]
        if any(other != order for _, other in found):
            return f(list(xs), tuple(range(rank)))
        return self.transpose(f([source for source, _ in found], order), order)

    def pointwise(self, x: str, rank: int, f: Callable[[str], str]) -> str:
        """f(x) of single values."""
        return self.before_turns([x], rank, lambda xs, order: f(xs[0]))

    def along_last(self, x: str, rank: int, arrays: Sequence[Array], f: Callable[..., str]) -> str:
        """f(x, a, b, ..) of single values, with arrays over the last axis."""

        def made(xs: list[str], order: Shape) -> str:
            behind = (1,) * (rank - 1 - order[-1])
            return f(xs[0], *(self.constant(a.reshape(-1, *behind)) for a in arrays))

        return self.before_turns([x], rank, made)

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
        wanted = {*values, *names}
        kept = []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                wanted.update(node.input)
                wanted |= self._inside.get(node.output[0], set())
                kept.append(node)
        for node in kept:
            for field in (node.input, node.output):
                field[:] = [renamed.get(name, name) for name in field]
        self.arrays = {name: array for name, array in self.arrays.items() if name in wanted}
        return kept[::-1]


Kind = Callable[[Writer, Call], str]
