"""C99: a graph of layers as one file that a microcontroller's compiler takes.

`files` reads the nodes that the layers wrote down (`steps.py`), finds places for their values, and
writes a call for each (`ops.py`) of a function in C (`kernels.py`, `functions.py`). The network
computes what `predict` does. What has no counterpart is refused by name before anything is written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..._version import __version__
from ...base import checks
from ...base.memory import Array
from . import checking, int8, steps
from .ops import KINDS, obstacle
from .steps import Places, Program, Source
from .writer import Writer, argument, comment

_KEYWORDS = (
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return short signed sizeof static struct switch typedef "
    "union unsigned void volatile while"
)


MARK = b": written by bpcore "  # in the first line of what is written


class Files(NamedTuple):
    """What is written: the file, and the header for those who call it."""

    source: str
    header: str


def files(
    source: Source,
    name: str,
    rows: tuple[list[Array], list[Array]] | None,
    calibrate: Callable[[list[int]], int8.Ranges] | None = None,
) -> Files:
    """A network as C.

    Parameters
    ----------
    source : Source
    name : str
        What names in C begin with.
    rows : (list of array, list of array), optional
        Inputs and answers for the self test.
    calibrate : callable, optional
        From values, which are nodes of the lowered graph, to their ranges: for 8 bits.
    """
    program, kinds = steps.read(source, KINDS, obstacle), {**KINDS, **int8.KINDS}
    if calibrate is not None:
        wanted = int8.values(program, KINDS)
        if not wanted:
            raise ValueError("int8 is of dense layers, and this model has none; leave out int8")
        program = int8.rewrite(program, calibrate(wanted), KINDS)
    places = steps.place(program, kinds)
    writer = Writer(name, source.low.dtype, program, places)
    calls = [line for s in program.steps for line in writer.write(s, kinds[s.op].write)]
    body = _function(program, places, calls)
    used = writer.collected(body)
    test = checking.test(writer, rows) if rows is not None else ""
    head = _head(source, writer, rows is not None)
    declared = _declarations(writer, rows is not None)
    main = checking.main(writer, rows is not None)
    includes = ["math", "stddef"] + ["stdint"] * bool(re.search(r"\bint\d+_t\b", declared + used))
    included = "\n".join(f"#include <{library}.h>" for library in includes)
    parts = [head, included, declared, used, body, test, main]
    text = "\n".join(part.rstrip("\n") + "\n" for part in parts if part)
    return Files(writer.finish(text), writer.finish(f"/* {_title(source, name)} */\n{declared}"))


def identifier(name: str) -> str:
    """The name of a network in C."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, got {checks.describe(name)}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in _KEYWORDS.split():
        raise ValueError(
            f"name is {name!r}, expected a name in C that all others in the file begin with: a "
            "letter, then letters, digits and underscores, and no keyword; for example 'net'"
        )
    return name


def _title(source: Source, name: str) -> str:
    return f"{name}{MARK.decode()}{__version__}, the network {comment(source.title)}"


def _head(source: Source, writer: Writer, tested: bool) -> str:
    name, program, places = writer.name, writer.program, writer.places
    lines = [_title(source, name) + ".", "", f"  {'layer':<40} {'output':<18} {'parameters':>10}"]
    for label, shape, count in source.layers:
        lines.append(f"  {comment(label):<40} {comment(str(shape)):<18} {count:>10,}")
    size = program.itemsize
    lines += [
        "",
        f"  Flash: {writer.flash:,} bytes of weights, and the code. RAM: "
        f"{places.size * size:,} bytes, static, and",
        "  a few hundred of stack.",
        "",
    ]
    if program.streams:
        lines += [
            f"  One step of a sequence at a time: {name}_reset begins, {name}_step goes on.",
            f"  Each stream has a {name}_state of its own, of {places.carried * size:,} bytes.",
            "",
        ]
    if program.small:
        lines += ["  Dense layers work in whole numbers of 8 bits, the rest in float.", ""]
    for letter, ends, names in (
        ("x", program.inputs, source.names[0]),
        ("y", program.outputs, source.names[1]),
    ):
        for value, k in sorted(ends.items(), key=lambda item: item[1]):
            told = f"  {argument(letter, k, len(ends))}: {_shape(program, value)}"
            lines.append(f"{told} {'whole ' * (value in program.ids)}numbers, {comment(names[k])}")
            columns = source.columns[k] if letter == "x" else None
            lines += [f"     {i}: {comment(c)}" for i, c in enumerate(columns or ())]
    lines += [
        "",
        f"  {name}_{called(program)} works in one static buffer: it must not run twice at a time",
        "  (from two threads, or from an interrupt while it runs). x and y must not overlap.",
        f"  Compiled with -D{name.upper()}_MAIN this file is a program that "
        + ("tests itself." if tested else "reads rows of x and prints y."),
    ]
    return "/* " + "\n".join(f" * {line}".rstrip() for line in lines)[3:] + "\n */"


def _shape(program: Program, value: int) -> str:
    shape = program.shapes[value]
    own = shape[1:] if program.streams and len(shape) > 1 else shape  # without the one step
    return " x ".join(map(str, own))


def called(program: Program) -> str:
    """What its function is called, behind the network's name."""
    return "step" if program.streams else "predict"


def _parameters(program: Program) -> str:
    xs = sorted(program.inputs, key=program.inputs.__getitem__)
    ys = sorted(program.outputs, key=program.outputs.__getitem__)
    told = [
        f"const {'int32_t' if v in program.ids else 'real'} *{argument('x', k, len(xs))}"
        for k, v in enumerate(xs)
    ]
    told = ["@state *s"] * program.streams + told
    return ", ".join([*told, *(f"real *{argument('y', k, len(ys))}" for k in range(len(ys)))])


def _declarations(writer: Writer, tested: bool) -> str:
    upper, program = writer.name.upper(), writer.program
    guard = f"{upper}_H"
    lines = [f"#ifndef {guard}", f"#define {guard}", ""]
    if program.ids:
        lines += ["#include <stdint.h>", ""]
    lines.append("/* How many numbers each input and output has, and the static buffer. */")
    for letter, ends in (("X", program.inputs), ("Y", program.outputs)):
        for value, k in sorted(ends.items(), key=lambda item: item[1]):
            told = f"{upper}_{argument(letter, k, len(ends))}_SIZE"
            lines.append(f"#define {told} {math.prod(program.shapes[value])}")
    lines += [f"#define {upper}_ARENA_SIZE {writer.places.size}", ""]
    lines += ["#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
    if program.streams:
        lines += [f"typedef struct {{\n  real values[{max(writer.places.carried, 1)}];\n}} @state;"]
        lines += ["void @reset(@state *s);"]
    lines += [f"void @{called(program)}({_parameters(program)});"]
    if tested:
        lines += ["/* How many of the rows in this file are answered wrongly. */"]
        lines += ["int @self_test(void);"]
    lines += ["", "#ifdef __cplusplus", "}", "#endif", "", "#endif"]
    return "\n".join(lines)


def _function(program: Program, places: Places, calls: Sequence[str]) -> str:
    lines = []
    if program.streams:
        lines += [f"void @reset(@state *s) {{\n  @zero(s->values, {max(places.carried, 1)});\n}}\n"]
    lines += [f"void @{called(program)}({_parameters(program)}) {{"]
    if places.size:
        lines.append(f"  static real a[{places.size}];")
    if program.streams and not places.carried:
        lines.append("  (void)s;")
    lines += [f"  {call}" for call in calls if call]
    return "\n".join([*lines, "}"]) + "\n"
