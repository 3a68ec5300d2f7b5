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
    n = len(xs[0])
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
            told = [str(int(v)) if whole else writer.number(v) for v in flat]
            kind = "int32_t" if whole else "real"
            name = f"@test_{argument(letter, k, len(arrays))}"
            lines.append(block(f"static const {kind} {name}[{len(told)}]", told))
    body = [
        "  int wrong = 0;",
        "  long n, i;",
        f"  for (n = 0; n < {n}; n++) {{",
        "    int differs = 0;",
    ]
    for k, array in enumerate(ys):
        body.append(f"    real {argument('y', k, len(ys))}[{array[0].size}];")
    given = [
        f"@test_{argument('x', k, len(xs))} + n * {array[0].size}" for k, array in enumerate(xs)
    ]
    made = [argument("y", k, len(ys)) for k in range(len(ys))]
    body.append(f"    @predict({', '.join([*given, *made])});")
    for k, array in enumerate(ys):
        size, y = array[0].size, made[k]
        most = writer.number(float(np.abs(array).max(initial=0.0)))
        right = f"@test_{y}[n * {size} + i]"
        body += [
            f"    for (i = 0; i < {size}; i++) {{",
            f"      if (!(m_fabs({y}[i] - {right}) <= {upper}_TOLERANCE * {most})) differs = 1;",
            "    }",
        ]
    body += ["    wrong += differs;", "  }", "  return wrong;"]
    return "\n".join([*lines, "int @self_test(void) {", *body, "}"]) + "\n"


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
    lines += ["  long i;", "  double value;", "  for (;;) {"]
    for name, size, whole in names["x"]:
        lines += [
            f"    for (i = 0; i < {size}; i++) {{",
            '      if (scanf("%lf", &value) != 1) return 0;',
            f"      {name}[i] = ({'int32_t' if whole else 'real'})value;",
            "    }",
        ]
    told = ", ".join(name for name, *_ in (*names["x"], *names["y"]))
    lines.append(f"    @predict({told});")
    digits = 9 if writer.single else 17
    for name, size, _ in names["y"]:
        lines.append(f'    for (i = 0; i < {size}; i++) printf("%.{digits}g ", (double){name}[i]);')
    lines += ['    printf("\\n");', "  }"]
    return "\n".join([*lines, "}", "#endif"]) + "\n"
