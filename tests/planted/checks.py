"""Broken operations, each planted as a row: the checks that follow from a row find every one.

``nox -s planted``, which builds bpcore with the operations of ops.cpp beside this file.
"""

from __future__ import annotations

import pytest

import bpcore as bp

from .. import cases
from ..helpers import rows, support

# Fault: the check that finds it, and words of what it says.
FAULTS = {
    "a wrong gradient": ("terms", "the gradient is wrong"),
    "a wrong gradient of a weight": ("terms", "the gradient is wrong|dw 0 is not added"),
    "one element past the end": ("terms", "y of .*: something was written past its end"),
    "one element before the beginning": ("terms", "written before its beginning"),
    "one element past the scratch": ("terms", "scratch: something was written past its end"),
    "one element past a tile": ("terms", "gradient of a tile: something was written past its end"),
    "a bit by the block": ("terms", "y 0 has other bits"),
    "a bit by the alignment": ("terms", "y 0 has other bits"),
    "a bit by the tile": ("terms", "dw 0 has other bits"),
    "reads what nobody wrote": ("terms", "y 0 has other bits"),
    "forgets the last element": ("terms", "y is wrong"),
    "wrong in float32": ("terms", "y is wrong"),
    "does not add": ("terms", "dx 0 is not added"),
    "a bit by the instruction set": ("tiers", "other bits by tier"),
    "a bit by the number of threads": ("threads", "'planted'.* other bits by threads"),
    "an allocation a step": ("allocations", r"'planted', (20|[1-9]\d+)"),
}


class Planted(bp.layers.Scale):
    """y = x w, with a fault."""

    def __init__(self, fault, **arguments):
        super().__init__(**arguments)
        self.fault = fault

    def core_lower(self, low, inputs, shapes, shape):
        return low.add("planted", inputs, shape, self.name, self._weights, fault=self.fault)


def row(fault):
    return cases.Layer(
        "planted", "Planted", lambda L: Planted(fault), ((6,),), lambda w, x: x * w[0]
    )


def check(name, fault, counter):
    """One of the checks of test_rows.py, on the planted row beside sound ones."""
    case = row(fault)
    if name == "terms":
        for dtype in rows.LANES:
            rows.check_terms(case, dtype)
    elif name == "tiers":
        rows.check_tiers(case, "float32")
    elif name == "threads":
        rows.check_threads([*cases.LAYERS[:3], case], "float32")
    else:
        code = f"""
from tests.planted import checks
checks.rows.check_allocations([*checks.cases.LAYERS[:3], checks.row({fault!r})])
"""
        env = {"LD_PRELOAD": counter, "PYTHONMALLOC": "pymalloc"}
        done = support.run_python(code, check=False, **env)
        assert done.returncode == 0, done.stderr


CHECKS = ("terms", "tiers", "threads", "allocations")


@pytest.mark.parametrize("name", CHECKS)
def test_what_is_sound_passes(name, counter):
    check(name, "none", counter)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault, counter):
    name, words = FAULTS[fault]
    with pytest.raises(AssertionError) as caught:
        check(name, fault, counter)
    assert support.found(words, str(caught.value)), caught.value


@pytest.mark.parametrize("fault, names", [
    ("an allocation a step", ("terms", "tiers", "threads")),
    ("a bit by the number of threads", ("terms", "tiers", "allocations")),
    ("a bit by the instruction set", ("terms", "threads", "allocations")),
])  # fmt: skip
def test_each_check_is_needed(fault, names, counter):
    """What one check finds the others do not: none of them stands there in vain."""
    for name in names:
        check(name, fault, counter)
