"""The benchmarks' own arithmetic; what they measure is not tested here."""

from __future__ import annotations

import os

import numpy as np
import pytest
from bench.limits import gain, inference, memory, resident
from bench.limits.options import Options, in_child
from bench.networks import NETWORKS


def test_needed_memory_by_hand():
    """3-4-2: 4 * 3 + 4 + 2 * 4 + 2 = 26 weights; of each sample 3 inputs, 6 outputs, 6 deltas."""
    assert memory.needed((3, 4, 2), 1, 0, False) == 4 * (26 + 15)
    assert memory.needed((3, 4, 2), 5, 2, True) == 4 * (4 * 26 + 5 * 15)


def test_flops_of_predictions():
    assert inference.flops() == 2 * 10_000 * (784 * 512 + 512 * 512 + 512 * 10)
    x = np.arange(5000.0)[:, None]
    assert (inference.in_blocks(lambda rows: rows + 1, x)() == x + 1).all()


def test_steps_of_a_timed_epoch_are_few_but_enough():
    assert all(4 <= gain.steps(network, 0.05) <= 20_000 for network in gain.networks())
    assert len(gain.networks()) == 2 * len(NETWORKS) + 1
    assert gain.measure(Options(threads=1, rounds=1)) == []


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="reads /proc")
def test_resident_memory_sees_what_is_touched():
    resident.trim()
    resident.reset_peak()
    before, peak = resident.status("VmRSS"), resident.status("VmHWM")
    held = np.ones(4 << 20)
    assert resident.status("VmRSS") - before >= held.nbytes // 2
    del held
    resident.trim()
    assert resident.status("VmHWM") - peak >= 16 << 20


def test_work_in_a_fresh_interpreter():
    found = in_child("calls", calls=100, repeats=10)
    assert found["calls"] == 100 and found["p99"] >= found["median"]
