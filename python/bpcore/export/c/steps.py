"""What a network computes after training, as a list of steps, and where their values lie."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import graph
from ...base.lengths import MaskKey
from ...base.memory import Array, Shape
from ...graph.parameter import Parameter
from .. import numbers


class Source(NamedTuple):
    """A built model, as far as it is written.

    Attributes
    ----------
    title : str
    low : Lowering
    outputs : list of int
        Their nodes.
    names : pair of list of str
        Of inputs and of outputs.
    layers : list of (str, Shape, int)
        Label, shape of the output, parameters.
    columns : list of (list of str or None)
        Of frames, by input.
    streams : bool
        It is one step of a stream, whose layers carry states.
    """

    title: str
    low: graph.Lowering
    outputs: list[int]
    names: tuple[list[str], list[str]]
    layers: list[tuple[str, Any, int]]
    columns: list[Sequence[str] | None]
    streams: bool = False


@dataclasses.dataclass
class Step:
    """One operation; values are known by number."""

    op: str
    name: str
    inputs: list[int]
    seen: list[Shape]  # the inputs' shapes, which may be other ones than their values'
    params: list[Parameter]
    attrs: Mapping[str, Any]
    shape: Shape
    value: int


@dataclasses.dataclass
class Program:
    """Steps in order, the shapes of values, which of them are the inputs and the outputs, whole
    numbers of the caller's (`ids`) or of 8 bits (`small`); and whether it is a stream's step."""

    steps: list[Step]
    shapes: dict[int, Shape]
    inputs: dict[int, int]  # number of the input, by value
    ids: set[int]  # values that hold whole numbers
    outputs: dict[int, int]  # number of the output, by value
    itemsize: int  # of a number
    small: set[int]
    streams: bool = False

    def room(self, value: int) -> int:
        """As so many numbers it takes place."""
        return -(-self.size(value) // self.itemsize) if value in self.small else self.size(value)

    def size(self, value: int) -> int:
        """Numbers in a value."""
        return math.prod(self.shapes[value])


def _all(inputs: list[int], attrs: Mapping[str, Any]) -> list[int]:
    return inputs


class Kind(NamedTuple):
    """One kind of operation.

    Attributes
    ----------
    write : callable
        From a writer and a step to statements in C.
    scratch : callable
        How many numbers the step needs besides, alone or in a stream.
    carried : callable
        How many it hands on to the next step of a stream.
    in_place : callable
        Whether the step may overwrite its first input.
    reads : callable
        Which of its inputs it reads after training.
    matrix : callable, optional
        w (I, O) and b (O,) in float64 of a step that is a dense layer.
    is_pointwise : bool
        It is a function of single values, named in its attributes.
    is_same : bool
        Its values are those of its input, perhaps in another shape.
    is_fixed : bool
        It has the same values for every sample.
    is_source : bool
        Data of the caller's, or what tells which steps of them count.
    """

    write: Callable[[Any, Step], str] = lambda c, step: ""
    scratch: Callable[[Step, bool], int] = lambda step, streams: 0
    carried: Callable[[Step], int] = lambda step: 0
    in_place: Callable[[Step], bool] = lambda step: False
    reads: Callable[[list[int], Mapping[str, Any]], list[int]] = _all
    matrix: Callable[[Step], tuple[Array, Array]] | None = None
    is_pointwise: bool = False
    is_same: bool = False
    is_fixed: bool = False
    is_source: bool = False


Kinds = Mapping[str, Kind]


def read(source: Source, kinds: Kinds, obstacle: Callable[[Step], str | None]) -> Program:
    """The steps that the outputs need; ValueError for some that cannot be written.

    `obstacle` says what is in the way of a step, or None.
    """
    low = source.low
    same: dict[int, int] = {}  # the value that another one is, too
    program = Program([], {}, {}, set(), {}, np.dtype(low.dtype).itemsize, set(), source.streams)
    steps: dict[int, Step] = {}
    masks = iter(low.mask_inputs)
    for i, (op, inputs, weights, attrs, name) in enumerate(low.nodes):
        kind = kinds.get(op, Kind())
        own = kind.reads([same.get(k, k) for k in inputs], attrs)
        program.shapes[i] = low.shapes[i]
        if kind.is_same:
            same[i] = own[0]
        elif not kind.is_source:
            params, seen = [low.params[k] for k in weights], [low.shapes[k] for k in inputs]
            steps[i] = Step(op, name, own, seen[: len(own)], params, attrs, low.shapes[i], i)
        elif isinstance(low.steps.get(i), graph.Given):
            program.inputs[i] = len(program.inputs)
            if attrs.get("ids"):
                program.ids.add(i)
        else:
            steps[i] = _mask(program, next(masks), name, i)
    values = [same.get(i, i) for i in source.outputs]
    fixed = {i for i, step in steps.items() if kinds.get(step.op, Kind()).is_fixed}
    _claim(program, steps, fixed, values)
    program.steps = _needed(program, steps)
    _check(program.steps, obstacle)
    return program


def _mask(program: Program, key: MaskKey, name: str, i: int) -> Step:
    """The step that finds which steps of an input count; only values can tell."""
    of = {k: value for value, k in program.inputs.items()}[key.source]
    shape = program.shapes[of]
    return Step("mask", name, [of], [shape], [], {"value": key.value}, program.shapes[i], i)


def _claim(program: Program, steps: dict[int, Step], fixed: set[int], values: list[int]) -> None:
    """Each output gets a value that is its own."""
    for k, value in enumerate(values):
        made = value
        if value not in steps or value in program.outputs or value in fixed:
            made = max(program.shapes) + 1
            shape = program.shapes[made] = program.shapes[value]
            steps[made] = Step("copy", "output", [value], [shape], [], {}, shape, made)
        program.outputs[made] = k


def _needed(program: Program, steps: dict[int, Step]) -> list[Step]:
    wanted, stack = set(), list(program.outputs)
    while stack:
        value = stack.pop()
        if value in steps and value not in wanted:
            wanted.add(value)
            stack.extend(steps[value].inputs)
    return [step for value, step in sorted(steps.items()) if value in wanted]


def _check(steps: list[Step], obstacle: Callable[[Step], str | None]) -> None:
    wrong = []
    for step in steps:
        for p in step.params:
            numbers.rounded(p.value, p.dtype, numbers.of_weight(step.name, p.name))
        why = obstacle(step)
        if why is not None:
            wrong.append(f"layer {step.name!r} ({step.op}): {why}")
    if wrong:
        raise ValueError("this model cannot be written in C: " + "; ".join(dict.fromkeys(wrong)))


class Places(NamedTuple):
    """Where values lie.

    Attributes
    ----------
    offsets : dict of int to int
        In the arena, of values and, by ``-1 - value``, of what a step needs besides.
    home : dict of int to int
        The value in whose place a value lies: its own, or that of one that is over, or an output.
    size : int
        Of the arena.
    states : dict of int to int
        In what a stream carries, by value.
    carried : int
        The size of that.
    """

    offsets: dict[int, int]
    home: dict[int, int]
    size: int
    states: dict[int, int]
    carried: int


def place(program: Program, kinds: Kinds) -> Places:
    """Lay values out so that those which are needed at one time do not overlap.

    The largest first, each at the lowest offset that is free while it lives (as TFLite Micro's
    greedy planner). A step that may overwrite its first input does so if nobody reads it later.
    """
    last: dict[int, int] = {}  # the step that reads a value last
    for n, step in enumerate(program.steps):
        last.update(dict.fromkeys(step.inputs, n))
    home: dict[int, int] = {}
    spans: dict[int, list[int]] = {}  # first and last step, size
    for n, step in enumerate(program.steps):
        kind, value = kinds[step.op], step.value
        more = kind.scratch(step, program.streams)
        if more:
            spans[-1 - value] = [n, n, more]
        home[value] = value
        first = step.inputs[0] if step.inputs else value
        from_ = home.get(first, first)
        over = (
            kind.in_place(step)
            and from_ in spans
            and first not in step.inputs[2:]
            and spans[from_][1] == n
            and program.room(first) == program.room(value)
        )
        if value in program.outputs:
            if over:  # all that was there is made in the caller's array already
                del spans[from_]
                home = {k: value if v == from_ else v for k, v in home.items()}
        elif over:
            home[value] = from_
            spans[from_][1] = last.get(value, n)
        elif not kind.is_fixed:
            spans[value] = [n, last.get(value, n), program.room(value)]
    offsets, size = _laid_out(spans)
    states, carried = {}, 0
    for step in program.steps if program.streams else ():
        states[step.value] = carried
        carried += kinds[step.op].carried(step)
    return Places(offsets, home, size, states, carried)


def _laid_out(spans: Mapping[int, Sequence[int]]) -> tuple[dict[int, int], int]:
    """Offsets, and the size of all, for what lives from one step to another and has a size."""
    offsets: dict[int, int] = {}
    size = 0
    for key, (begin, end, n) in sorted(spans.items(), key=lambda item: -item[1][2]):
        taken = sorted(
            (offsets[k], spans[k][2])
            for k in offsets
            if spans[k][0] <= end and begin <= spans[k][1]
        )
        at = 0
        for offset, length in taken:
            if at + n <= offset:
                break
            at = max(at, offset + length)
        offsets[key] = at
        size = max(size, at + n)
    return offsets, size
