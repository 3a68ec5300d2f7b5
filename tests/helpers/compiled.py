"""Networks written in C, compiled together and called.

``python -m tests.helpers.compiled COUNT [FIRST]`` writes all kinds of layers and that number of
random networks with their answers, and runs their self tests under every compiler that is there,
with its sanitizers and without; test_export_c.py compares a few with `predict`.
"""

from __future__ import annotations

import ctypes
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

import numpy as np

import bpcore as bp

from .. import cases
from . import dags, random_nets

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
ROWS = [*cases.LAYERS, *cases.APART]


def compile_c(source, target, *options, compiler=COMPILER):
    """Compile one file, strictly; its path."""
    command = [compiler, *STRICT, *options, "-o", str(target), str(source), "-lm"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[:3000]
    return target


def every_layer(dtype):
    """One model with a branch for each row of tests/cases.py, and its inputs."""
    ins, outs = [], []
    for row in ROWS:
        own = [bp.Input(shape) for shape in row.shapes]
        outs.append(row.make(bp.layers)(own if len(own) > 1 else own[0]))
        ins += own
    model = bp.Model(ins, outs, dtype=dtype, seed=1)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        value = 0.3 * rng.normal(size=weight.shape)
        weight.value = np.abs(value) + 0.3 if "variance" in weight.name else value
    # Positive: some functions want that.
    return model, [np.abs(rng.normal(size=(3, *t.shape))) + 0.1 for t in model.inputs]


def random_graph(seed):
    """A random acyclic graph, and inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bp.errors.MismatchWarning)  # of losses
        g, model = dags.build(bp, seed)
    return model, dags.data(g)[0]


def random_net(seed):
    """A random Sequential, and inputs."""
    net = random_nets.Net(seed)
    return net.model, [net.x[:4]]


def rounded(model, xs):
    """Inputs as the C file takes them."""
    ids = model._built().low.ids
    kinds = [np.int32 if k in ids else model.dtype for k in range(len(xs))]
    return [np.ascontiguousarray(x, kind) for x, kind in zip(xs, kinds, strict=True)]


def answers(model, xs):
    """What `predict` says, as a list."""
    found = model.predict(xs if len(xs) > 1 else xs[0])
    return found if isinstance(found, list) else [found]


def difference(found, expected):
    """The largest one, by the largest value that was expected."""
    if found.size == 0:
        return 0.0
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))


class Library:
    """Networks in one file, each under a name of its own."""

    def __init__(self, folder, models, *options, write=True):
        """`models`: by name; `write`: whether they are not yet written in C."""
        self.models = models
        for name, model in models.items():
            if write:
                model.to_c(folder / f"{name}.c", name=name)
        every = folder / "networks.c"
        every.write_text("".join(f'#include "{name}.c"\n' for name in models))
        made = compile_c(every, folder / "networks.so", "-shared", "-fPIC", *options)
        library = ctypes.CDLL(str(made))
        self.functions = {name: getattr(library, f"{name}_predict") for name in models}

    def join(self, other):
        """Take the networks of another one."""
        self.models |= other.models
        self.functions |= other.functions

    def predict(self, name, xs):
        """The outputs for rows of all inputs, row by row."""
        model = self.models[name]
        function = self.functions[name]
        function.restype = None
        xs = rounded(model, xs)
        shapes = [t.shape for t in model.outputs]
        ys = [np.full((len(xs[0]), *shape), np.nan, model.dtype) for shape in shapes]
        for n in range(len(xs[0])):
            function(*(ctypes.c_void_p(a[n : n + 1].ctypes.data) for a in (*xs, *ys)))
        return ys


def run_self_tests(folder, models, compiler, *options, **told):
    """Networks with answers, by name (model, inputs): compiled to one program that tests all.
    `told`: further arguments of `to_c`."""
    for name, (model, xs) in models.items():
        given = xs if len(xs) > 1 else xs[0]
        model.to_c(folder / f"{name}.c", name=name, test_vectors=given, **told)
    calls = "".join(f'  wrong += failed("{name}", {name}_self_test());\n' for name in models)
    main = folder / "main.c"
    main.write_text(
        "#include <stdio.h>\n"
        + "".join(f'#include "{name}.c"\n' for name in models)
        + "static int failed(const char *name, int rows) {\n"
        + '  if (rows) printf("%s: %d rows differ\\n", name, rows);\n'
        + "  return rows;\n}\n"
        + f"int main(void) {{\n  int wrong = 0;\n{calls}  return wrong != 0;\n}}\n"
    )
    program = compile_c(main, folder / "main", *options, compiler=compiler)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[:3000]


def check_eight(folder, models):
    """Networks whose dense layers are of 8 bits answer about what they do in float."""
    for name, (model, xs) in models.items():
        given = xs if len(xs) > 1 else xs[0]
        model.to_c(folder / f"{name}.c", name=name, int8=True, calibration=given)
    only = {name: model for name, (model, _) in models.items()}
    library = Library(folder, only, "-O2", write=False)
    for name, (model, xs) in models.items():
        xs = rounded(model, xs)
        pairs = zip(library.predict(name, xs), answers(model, xs), strict=True)
        worst = max(difference(*pair) for pair in pairs)
        assert worst < 0.1, f"{name}: {worst}"


def main(count, first):
    models = {dtype: every_layer(dtype) for dtype in TOLERANCE}
    for seed in range(first, first + count):
        models[f"graph_{seed}"] = random_graph(seed)
        models[f"net_{seed}"] = random_net(seed)
    compilers = [found for name in ("gcc", "clang") if (found := shutil.which(name))]
    for compiler in compilers:
        for options in (("-O2",), ("-O1", *SANITIZED)):
            with tempfile.TemporaryDirectory() as folder:
                run_self_tests(pathlib.Path(folder), models, compiler, *options)
            print(f"{compiler} {' '.join(options)}: {len(models)} networks, no fault")
    with tempfile.TemporaryDirectory() as folder:
        check_eight(pathlib.Path(folder), {k: v for k, v in models.items() if "_" in k})
    print("8 bits: no fault")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
