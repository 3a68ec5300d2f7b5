"""What follows from a row of cases.py: lengths around the width of a vector, arrays off the cache
line and full of a pattern, samples in blocks, columns and tiles in pieces, every instruction set,
one thread and three, both dtypes, nothing written past an end, nothing allocated in a step."""

from __future__ import annotations

import dataclasses

import pytest

import bpcore as bp

from . import cases
from .helpers import rows, support

ALL = [*cases.LAYERS, *cases.APART]
DTYPES = ("float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ALL, ids=lambda c: c.id)
def test_terms_in_each_tier(case, dtype):
    rows.check_tiers(case, dtype)


def linear_in_weights(case):
    """Whether backward reads a weight only as itself, not in values of forward, nor as what the
    gradient of another weight came through."""
    layer = case.make(bp.layers)
    for inner in ("layer", "forward_layer"):  # of wrappers
        layer = getattr(layer, inner, layer)
    return (
        not isinstance(layer, (bp.layers.Swish, bp.layers.SeparableConv2D))
        and getattr(layer, "activation", "linear") == "linear"
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_may_read_other_weights_than_forward(dtype):
    """As feedback alignment wants it: Io::w_back stands for w there, and nowhere else."""
    moved = 0
    for case in filter(linear_in_weights, ALL):
        run = rows.Run(case, dtype)
        run.check_back()
        moved += bool(run.params)
    assert moved > 20


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads(dtype):
    rows.check_threads(ALL, dtype)


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_allocate_nothing_in_a_step(counter, threads):
    code = (
        f"import bpcore as bp; bp.set_num_threads({threads}, exact=True); "
        "from tests import test_rows as t; t.rows.check_allocations(t.ALL)"
    )
    env = {"LD_PRELOAD": counter, "PYTHONMALLOC": "pymalloc", "BPCORE_NUM_THREADS": threads}
    support.run_python(code, **env)


@pytest.mark.parametrize("wrong", [lambda w, x: 1.0001 * x * w[0], lambda w, x: x * w[0] + 1e-9])
def test_another_formula_is_found(wrong):
    """`nox -s planted` does it the other way round, with broken operations."""
    scale = next(case for case in ALL if case.id == "scale")
    with pytest.raises(AssertionError, match="y is wrong"):
        rows.check_terms(dataclasses.replace(scale, forward=wrong), "float64")
