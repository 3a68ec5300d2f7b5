"""The parts of a C file: numbers, weights, functions, and names for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...base.memory import Array
from ...graph.parameter import Parameter
from .. import numbers
from . import functions
from .kernels import KERNELS
from .steps import Places, Program, Step

_WIDTH = 96


def comment(text: str) -> str:
    """A text of the user's, as part of a comment in C: it cannot end it."""
    return re.sub(r"[^A-Za-z0-9_ /.,:()'=+-]", "_", text)


class Writer:
    """Writes steps down, and collects what they use.

    Attributes
    ----------
    name : str
        Of the network: what all names in C begin with.
    program : Program
    flash : int
        Bytes of numbers that never change.
    """

    null = "NULL"

    def __init__(self, name: str, dtype: str, program: Program, places: Places) -> None:
        self.name, self.dtype, self.program, self.places = name, dtype, program, places
        self.single = dtype == "float32"
        self.flash = 0
        self._constants: list[str] = []
        self._known: dict[tuple[int, Any], str] = {}  # of parameters, by who lays them out
        self._fixed: dict[int, str] = {}  # values that are the same for every sample
        self._functions: dict[str, str] = {}
        self._step: Step | None = None

    # ---- what a step asks for -------------------------------------------------------------------
    def write(self, step: Step, write: Callable[[Writer, Step], str]) -> list[str]:
        """The statements of a step."""
        self._step = step
        return write(self, step).split("\n")

    def fix(self, array: str) -> str:
        """The step's value is this array that never changes; no statement makes it."""
        assert self._step is not None
        self._fixed[self._step.value] = array
        return ""

    def x(self, k: int) -> str:
        """Input k of the step."""
        assert self._step is not None
        return self._at(self._step.inputs[k])

    @property
    def y(self) -> str:
        """Its value."""
        assert self._step is not None
        return self._at(self._step.value)

    def scratch(self, offset: int) -> str:
        """What it needs besides, from there on."""
        assert self._step is not None
        return f"a + {self.places.offsets[-1 - self._step.value] + offset}"

    @property
    def carried(self) -> str | None:
        """What it hands on to the next step of a stream; None in a network that is none."""
        assert self._step is not None
        if not self.program.streams:
            return None
        return f"s->values + {self.places.states[self._step.value]}"

    def _at(self, value: int) -> str:
        program = self.program
        if value in program.inputs:
            return argument("x", program.inputs[value], len(program.inputs))
        if value in self._fixed:
            return self._fixed[value]
        home = self.places.home[value]
        if home in program.outputs:
            return argument("y", program.outputs[home], len(program.outputs))
        place = f"a + {self.places.offsets[home]}"
        return f"(int8_t *)({place})" if value in program.small else place

    def number(self, value: float) -> str:
        """A number of the network's type."""
        held = numbers.rounded([value], self.dtype, self._what("a constant"))
        return self.numbers(held)[0]

    def numbers(self, values: Array) -> list[str]:
        """The same of an array of finite numbers in the network's dtype."""
        texts = map(str, values) if self.single else map(repr, values.tolist())
        end = "f" if self.single else ""
        return [(t if "." in t or "e" in t else f"{t}.0") + end for t in texts]

    def _what(self, told: str) -> str:
        return f"layer {self._step.name!r}: {told}" if self._step is not None else told

    def weight(self, parameter: Parameter, lay_out: Callable[[Array], Array] | None = None) -> str:
        """The array of a parameter, in another order if told."""
        key = id(parameter), lay_out
        if key not in self._known:
            value = np.asarray(parameter.value)
            told = comment(parameter.name)
            self._known[key] = self.array(lay_out(value) if lay_out else value, told)
        return self._known[key]

    def array(self, values: Any, told: str = "") -> str:
        """Numbers of the network's type that never change: the array's name."""
        flat = numbers.rounded(values, self.dtype, self._what(told or "a constant")).ravel()
        return self.constant("real", self.numbers(flat), told)

    def whole(self, kind: str, values: Any) -> str:
        """Whole numbers of this type that never change: the array's name."""
        return self.constant(kind, [str(int(v)) for v in np.ravel(values)])

    def constant(self, kind: str, numbers: Sequence[str], told: str = "") -> str:
        """An array that never changes, by its numbers: its name."""
        name = f"@{len(self._constants)}"
        remark = f" /* {told} */" if told else ""
        sizes = {"int8_t": 1, "int32_t": 4}
        self.flash += len(numbers) * sizes.get(kind, self.program.itemsize)
        self._constants.append(
            block(f"static const {kind} {name}[{len(numbers)}]", numbers, remark)
        )
        return name

    def table(self, kind: str, numbers: Sequence[int]) -> str:
        """A struct of whole numbers: its name."""
        name = f"@{len(self._constants)}"
        told = ", ".join(map(str, numbers))
        self._constants.append(f"static const {kind} {name} = {{{told}}};\n")
        return name

    def triples(self, rows: Sequence[Sequence[int]]) -> str:
        """Threes of whole numbers: the array's name."""
        name = f"@{len(self._constants)}"
        told = ", ".join("{" + ", ".join(map(str, row)) + "}" for row in rows)
        self._constants.append(f"static const long {name}[{len(rows)}][3] = {{{told}}};\n")
        return name

    def function(self, function: str, alpha: float = 0.0) -> str:
        """A function of one value: its name."""
        own = [f"@{function}"]
        if function in functions.OF_ALPHA:
            others = [n for n in self._functions if n.startswith(f"@{function}_")]
            made = functions.of_one(function, "F", self.number(alpha))
            own = [n for n in others if self._functions[n] == made.replace("@F", n)]
            own = own or [f"@{function}_{len(others)}"]
        made = functions.of_one(function, own[0][1:], self.number(alpha))
        self._functions[own[0]] = made
        return own[0]

    def two(self, function: str) -> str:
        """A function of two values: its name."""
        self._functions[f"@{function}"] = functions.of_two(function)
        return f"@{function}"

    # ---- what was collected ---------------------------------------------------------------------
    def collected(self, body: str) -> str:
        """All that `body` uses: types, constants, functions, each before who uses it."""
        found: list[str] = []

        def take(text: str) -> None:
            for word in re.findall(r"@(\w+)", text):
                if word in KERNELS and word not in found:
                    take(KERNELS[word].replace(f"@{word}", ""))
                    found.append(word)

        take("".join(self._constants) + body)
        types = [KERNELS[word] for word in found if KERNELS[word].count("typedef")]
        kernels = [KERNELS[word] for word in found if not KERNELS[word].count("typedef")]
        return "\n".join([*types, *self._constants, *self._functions.values(), *kernels])

    def finish(self, text: str) -> str:
        """The text in C, with names and types in the place of what stands for them; comments and
        strings, in which are words of the user's, stay."""
        parts = re.split(r'(/\*.*?\*/|"[^"]*")', text, flags=re.DOTALL)
        return "".join(p if k % 2 else self._in_c(p) for k, p in enumerate(parts))

    def _in_c(self, code: str) -> str:
        end = "f" if self.single else ""
        code = re.sub(r"R\(([^()]*)\)", lambda m: self.number(float(m[1])), code)
        code = re.sub(r"\bm_(\w+)\(", rf"\1{end}(", code)
        code = re.sub(r"\breal\b", "float" if self.single else "double", code)
        return code.replace("@", f"{self.name}_")


def argument(letter: str, k: int, count: int) -> str:
    """The name of an input or output: x, or x0, x1, ..."""
    return letter if count == 1 else f"{letter}{k}"


def block(declared: str, numbers: Sequence[str], remark: str = "") -> str:
    """An array with its numbers, in lines."""
    lines, line = [f"{declared} = {{{remark}"], "   "
    for number in numbers:
        if len(line) + len(number) + 2 > _WIDTH:
            lines.append(line)
            line = "   "
        line += f" {number},"
    return "\n".join([*lines, line, "};"]) + "\n"
