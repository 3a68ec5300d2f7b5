"""The self test of a network in C, and the program that a file may be compiled to."""

from __future__ import annotations

import numpy as np

from ...base.memory import Array
from .writer import Writer, argument, block

# Of the largest answer of an output: sums in another order and other implementations of exp and its
# kin stay below, a weight that is wrong seldom does.
_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
_ROUGH = 0.1  # of 8 bits


def test(writer: Writer, rows: tuple[list[Array], list[Array]]) -> str:
    """The rows, and the function that answers them again."""
    program, upper = writer.program, writer.name.upper()
    ids = {program.inputs[v] for v in program.ids}
    xs, ys = rows
    tolerance = _ROUGH if program.small else _TOLERANCE[writer.dtype]
    lines = [
        "/* The largest difference that counts as right: this times the largest answer. */",
        f"#ifndef {upper}_TOLERANCE",
        f"#define {upper}_TOLERANCE {writer.number(tolerance)}",
        "#endif",
        "",
    ]
    for letter, arrays in (("x", xs), ("y", ys)):
        for k, array in enumerate(arrays):
            whole = letter == "x" and k in ids
            flat = array.reshape(-1)
            told = [str(v) for v in flat] if whole else writer.numbers(flat)
            kind = "int32_t" if whole else "real"
            name = f"@test_{argument(letter, k, len(arrays))}"
            lines.append(block(f"static const {kind} {name}[{len(told)}]", told))
    body = _sequences(writer, xs, ys) if program.streams else _samples(writer, xs, ys)
    head = ["int @self_test(void) {", "  int wrong = 0;", "  long n, i;"]
    return "\n".join([*lines, *head, *body, "  return wrong;", "}"]) + "\n"


def _samples(writer: Writer, xs: list[Array], ys: list[Array]) -> list[str]:
    """The loop over samples."""
    lines = [f"  for (n = 0; n < {len(xs[0])}; n++) {{", "    int differs = 0;"]
    made = [argument("y", k, len(ys)) for k in range(len(ys))]
    lines += [f"    static real {y}[{array[0].size}];" for y, array in zip(made, ys, strict=True)]
    given = [
        f"@test_{argument('x', k, len(xs))} + n * {array[0].size}" for k, array in enumerate(xs)
    ]
    lines.append(f"    @predict({', '.join([*given, *made])});")
    for y, array in zip(made, ys, strict=True):
        lines += _compared(writer, y, array, array[0].size, "n", "    ")
    return [*lines, "    wrong += differs;", "  }"]


def _sequences(writer: Writer, xs: list[Array], ys: list[Array]) -> list[str]:
    """The loop over sequences and their steps; there is an answer for each, or one at the end."""
    n, steps = xs[0].shape[:2]
    x_size, y_size = (
        xs[0].size // (n * steps),
        writer.program.size(next(iter(writer.program.outputs))),
    )
    lines = [
        f"  for (n = 0; n < {n}; n++) {{",
        "    int differs = 0;",
        "    long t;",
        "    static @state s;",
        f"    static real y[{y_size}];",
        "    @reset(&s);",
        f"    for (t = 0; t < {steps}; t++) {{",
        f"      @step(&s, @test_x + (n * {steps} + t) * {x_size}, y);",
    ]
    if ys[0].size == n * steps * y_size:
        lines += [*_compared(writer, "y", ys[0], y_size, f"(n * {steps} + t)", "      "), "    }"]
    else:
        lines += ["    }", *_compared(writer, "y", ys[0], y_size, "n", "    ")]
    return [*lines, "    wrong += differs;", "  }"]


def _compared(writer: Writer, y: str, right: Array, size: int, at: str, indent: str) -> list[str]:
    most = writer.number(float(np.abs(right).max(initial=0.0)))
    allowed = f"{writer.name.upper()}_TOLERANCE * {most}"
    return [
        f"{indent}for (i = 0; i < {size}; i++) {{",
        f"{indent}  real error = m_fabs({y}[i] - @test_{y}[{at} * {size} + i]);",
        f"{indent}  if (!(error <= {allowed})) differs = 1;",
        f"{indent}}}",
    ]


def main(writer: Writer, tested: bool) -> str:
    """A program: the self test, or rows of numbers in, rows of answers out."""
    upper, program = writer.name.upper(), writer.program
    lines = [f"#ifdef {upper}_MAIN", "#include <stdio.h>", "", "int main(void) {"]
    if tested:
        lines += [
            "  int wrong = @self_test();",
            f'  printf("{writer.name}: %d rows differ\\n", wrong);',
            "  return wrong != 0;",
        ]
        return "\n".join([*lines, "}", "#endif"]) + "\n"
    names: dict[str, list[tuple[str, int, bool]]] = {"x": [], "y": []}
    for letter, ends in (("x", program.inputs), ("y", program.outputs)):
        for value, k in sorted(ends.items(), key=lambda item: item[1]):
            own = argument(letter, k, len(ends)), program.size(value), value in program.ids
            names[letter].append(own)
    for name, size, whole in (*names["x"], *names["y"]):
        lines.append(f"  static {'int32_t' if whole else 'real'} {name}[{size}];")
    lines += ["  @state s;"] * program.streams
    lines += ["  long i;", "  double value;"]
    lines += ["  @reset(&s);"] * program.streams
    lines += ["  for (;;) {"]
    for name, size, whole in names["x"]:
        lines += [
            f"    for (i = 0; i < {size}; i++) {{",
            '      if (scanf("%lf", &value) != 1) return 0;',
            f"      {name}[i] = ({'int32_t' if whole else 'real'})value;",
            "    }",
        ]
    told = ", ".join(name for name, *_ in (*names["x"], *names["y"]))
    lines.append(f"    @step(&s, {told});" if program.streams else f"    @predict({told});")
    digits = 9 if writer.single else 17
    for name, size, _ in names["y"]:
        lines.append(f'    for (i = 0; i < {size}; i++) printf("%.{digits}g ", (double){name}[i]);')
    lines += ['    printf("\\n");', "  }"]
    return "\n".join([*lines, "}", "#endif"]) + "\n"
