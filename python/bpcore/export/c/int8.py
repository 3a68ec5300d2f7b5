"""Dense layers in whole numbers of 8 bits, as in TFLite (B. Jacob et al., 2018).

A value x of 8 bits stands for ``(x - zero) step``, with one step for all of it, found from rows of
data; a weight w for ``w step`` with a step for each output. Sums are of 32 bits, and go on as the
next value by a whole factor and a shift. Functions of single values between dense layers are
tables of 256 numbers, or, as relu, the end of a range. Everything else is in float.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ... import graph
from ...base.memory import Array
from .steps import Kind, Kinds, Program, Step
from .writer import Writer

LEAST, MOST = -128, 127
# Of functions that hardly change beyond, no range is spent on what is there.
_FLAT = {"tanh": 4.0, "sigmoid": 8.0, "hard_sigmoid": 3.0}
_CUT = ("linear", "relu", "relu6")  # by the range of their result, as far as they do anything
_BIAS, _SHIFT = 2.0**30, 62  # at most
_SMALL = float(np.finfo(np.float32).tiny)  # steps below are 0 in float, as that of zeros alone is

Ranges = Mapping[int, tuple[float, float]]  # the least and the largest number, by value


class Scale(NamedTuple):
    """What numbers of 8 bits stand for."""

    step: float
    zero: int

    @staticmethod
    def of(least: float, most: float) -> Scale:
        """For numbers between these, and for 0, which has one of its own."""
        least, most = min(least, 0.0), max(most, 0.0)
        step = (most - least) / (MOST - LEAST)
        step = step if step >= _SMALL else 1.0
        return Scale(step, int(np.clip(np.rint(LEAST - least / step), LEAST, MOST)))


class Matrix(NamedTuple):
    """A dense layer: w (O, I) of 8 bits, b (O,) of 32, what 1 in the sum of each output is."""

    w: Array
    b: Array
    steps: Array

    @staticmethod
    def of(name: str, w: Array, b: Array, x: Scale) -> Matrix:
        """For w (I, O) and b (O,), and an input of that scale."""
        inputs = w.shape[0]
        if _BIAS + 2 * 128 * 127 * inputs >= 2**31:
            raise ValueError(
                f"layer {name!r} has {inputs} inputs, whose products of 8 bits may not fit into a "
                "sum of 32 bits, expected at most 33,000; write the model without int8"
            )
        steps = np.maximum(np.abs(w).max(axis=0, initial=0) / MOST, np.abs(b) / (_BIAS * x.step))
        steps[steps == 0] = 1.0
        whole = np.rint(w / steps).astype(np.int64)
        level = np.rint(b / (steps * x.step)).astype(np.int64) - x.zero * whole.sum(axis=0)
        return Matrix(whole.T, level, steps * x.step)

    def factors(self, y: Scale) -> tuple[Array, Array]:
        """For each output the whole factor and the shift that make y of a sum."""
        part, exponent = np.frexp(self.steps / y.step)
        factor, shift = np.rint(part * 2.0**31).astype(np.int64), 31 - exponent
        over = factor == 2**31
        factor, shift = np.where(over, 2**30, factor), np.where(over, shift - 1, shift)
        return np.where(shift > _SHIFT, 0, factor), np.minimum(shift, _SHIFT)


def rewrite(program: Program, ranges: Ranges, kinds: Kinds) -> Program:
    """The program with its dense layers in 8 bits."""
    return _Rewriting(program, ranges, kinds).program


def values(program: Program, kinds: Kinds) -> list[int]:
    """Those whose ranges `rewrite` may ask for."""
    dense = {step.inputs[0] for step in program.steps if kinds[step.op].matrix}
    return sorted(dense | _eight(program, _readers(program), kinds))


def _readers(program: Program) -> dict[int, list[Step]]:
    found: dict[int, list[Step]] = {}
    for step in program.steps:
        for value in step.inputs:
            found.setdefault(value, []).append(step)
    return found


def _eight(program: Program, readers: Mapping[int, list[Step]], kinds: Kinds) -> set[int]:
    """The values that dense layers, or functions of such, make for dense layers alone."""
    found: set[int] = set()
    for step in reversed(program.steps):
        kind, own = kinds[step.op], readers.get(step.value, [])
        if step.value in program.outputs or not (kind.matrix or kind.is_pointwise):
            continue
        if own and all(kinds[r.op].matrix or r.value in found for r in own):
            found.add(step.value)
    for step in program.steps:  # functions of values in float stay there
        if kinds[step.op].is_pointwise and step.inputs[0] not in found:
            found.discard(step.value)
    return found


class _Rewriting:
    def __init__(self, program: Program, ranges: Ranges, kinds: Kinds) -> None:
        self.kinds, self.ranges, self.readers = kinds, ranges, _readers(program)
        self.eight = _eight(program, self.readers, kinds)
        own = dict(program.shapes)
        self.program = dataclasses.replace(program, steps=[], shapes=own, small=set())
        self.scales: dict[int, Scale] = {}  # of values in 8 bits
        self.twins: dict[int, int] = {}  # the value in 8 bits, by that in float
        for step in program.steps:
            matrix = kinds[step.op].matrix
            if matrix:
                self._dense(step, *matrix(step))
            elif step.value in self.eight:
                self._function(step)
            else:
                self.program.steps.append(step)

    def _add(self, op: str, step: Step, x: int, value: int, **attrs: Any) -> None:
        shapes = self.program.shapes
        made = Step(op, step.name, [x], [shapes[x]], [], attrs, shapes[value], value)
        self.program.steps.append(made)
        if "scale" in attrs:
            self.scales[value] = attrs["scale"]
            self.program.small.add(value)

    def _scale(self, value: int) -> Scale:
        """Of a value, for those who read it."""
        least, most = self.ranges[value]
        functions = {r.attrs.get("function") for r in self.readers[value]}
        if len(functions) == 1 and (name := functions.pop()) is not None:
            bound = _FLAT.get(name, math.inf)
            least, most = max(least, -bound), min(most, bound)
            if name in _CUT:
                return self._scale(self.readers[value][0].value)
        return Scale.of(least, most)

    def _dense(self, step: Step, w: Array, b: Array) -> None:
        x = self.twins.get(step.inputs[0], step.inputs[0])
        if x not in self.scales:
            x = self.twins[step.inputs[0]] = max(self.program.shapes) + 1
            self.program.shapes[x] = self.program.shapes[step.inputs[0]]
            scale = self._scale(step.inputs[0])
            self._add("quantize", step, step.inputs[0], x, scale=scale)
        matrix = Matrix.of(step.name, w, b, self.scales[x])
        if step.value not in self.eight:
            self._add("dense_float", step, x, step.value, matrix=matrix)
            return
        scale = self._scale(step.value)
        least = float(matrix.steps.max()) / 2**20  # or factors would not fit
        scale = scale._replace(step=max(scale.step, least))
        self._add("dense_eight", step, x, step.value, matrix=matrix, scale=scale)

    def _function(self, step: Step) -> None:
        x = self.twins.get(step.inputs[0], step.inputs[0])
        before, after = self.scales[x], self._scale(step.value)
        if step.attrs["function"] in _CUT and before == after:
            self.twins[step.value] = x
            return
        given = (np.arange(LEAST, MOST + 1) - before.zero) * before.step
        found = np.floor(_values(step, given) / after.step + 0.5) + after.zero
        table = np.where(np.isnan(found), after.zero, np.clip(found, LEAST, MOST))
        self._add("table", step, x, step.value, scale=after, table=table.astype(int))


def _values(step: Step, given: Array) -> Array:
    """The function of a step, as the core has it."""
    low = graph.Lowering("float64", "float64")
    x = low.add_input(given.shape, "x")
    y = low.add(step.op, (x,), given.shape, step.name, **step.attrs)
    made: Array = low.network([y]).forward([given[None]], False)[0][0]
    return made


# ---- in C ---------------------------------------------------------------------------------------
def _quantize(c: Writer, s: Step) -> str:
    scale = s.attrs["scale"]
    return (
        f"@quantize({c.x(0)}, {c.y}, {math.prod(s.shape)}, {c.number(scale.step)}, {scale.zero});"
    )


def _arrays(c: Writer, s: Step) -> str:
    matrix = s.attrs["matrix"]
    w, b = c.whole("int8_t", matrix.w), c.whole("int32_t", matrix.b)
    return f"{c.x(0)}, {w}, {b}"


def _sizes(s: Step) -> str:
    outputs, inputs = s.attrs["matrix"].w.shape
    return f"{math.prod(s.shape) // outputs}, {inputs}, {outputs}"


def _dense_float(c: Writer, s: Step) -> str:
    return f"@dense_float({_arrays(c, s)}, {c.array(s.attrs['matrix'].steps)}, {c.y}, {_sizes(s)});"


def _dense_eight(c: Writer, s: Step) -> str:
    scale = s.attrs["scale"]
    factor, shift = s.attrs["matrix"].factors(scale)
    told = f"{c.whole('int32_t', factor)}, {c.whole('int8_t', shift)}"
    return f"@dense_eight({_arrays(c, s)}, {told}, {c.y}, {_sizes(s)}, {scale.zero});"


def _table(c: Writer, s: Step) -> str:
    table = c.whole("int8_t", s.attrs["table"])
    return f"@table({c.x(0)}, {table}, {c.y}, {math.prod(s.shape)});"


KINDS = {
    "dense_eight": Kind(_dense_eight),
    "dense_float": Kind(_dense_float),
    "quantize": Kind(_quantize),
    "table": Kind(_table, in_place=lambda step: True),
}
