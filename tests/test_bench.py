"""The benchmarks' own arithmetic; what they measure is not tested here."""

from __future__ import annotations

import os
import re
import sys
from unittest import mock

import numpy as np
import pytest
from bench.against import compare, installs, worker
from bench.limits import gain, inference, memory, resident
from bench.limits.options import Options, in_child
from bench.networks import NETWORKS

import bpcore as bp


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


class Stub:
    """A side whose unit of work takes a told time; every fourth turn the machine is busy."""

    def __init__(self, seconds, answer=(1.0,)):
        self.each, self.answer, self.turns = seconds, [np.array(answer)], 0

    def ask(self, prepare=None, save=None):
        if save:
            np.savez(save, *self.answer)
        return {"digest": worker.digest(self.answer), "steps": 10}

    def seconds(self, count):
        self.turns += 1
        return self.each * count * (3 if self.turns % 4 == 0 else 1)


@pytest.mark.parametrize("factor, holds", [(1.0, True), (1.05, False), (0.5, True)])
def test_an_install_that_is_slower_is_found(factor, holds):
    line = compare.measure(Stub(0.01), Stub(0.01 * factor), "step", 21)
    assert np.median(line.old) == pytest.approx(0.001) and len(line.old) == 21
    assert line.ratio == pytest.approx(factor) and line.spread[0] <= line.ratio <= line.spread[1]
    assert compare.verdict([line])[0] == holds


def test_one_slow_line_breaks_the_rule():
    lines = [compare.Line(str(k), (1.0,), (ratio,)) for k, ratio in enumerate([0.9, 1.0, 1.07])]
    holds, sentence = compare.verdict(lines)
    assert not holds and "mean 0.988" in sentence and "worst line 1.070" in sentence
    assert "| 2 | 1000000 | 1070000 | 1.070 |" in compare.table(lines)


def test_answers_are_compared_before_anything_is_timed():
    near, far = Stub(0.01, (1.0 + 1e-7,)), Stub(0.01, (1.1,))
    assert compare.measure(Stub(0.01), Stub(0.01), "step", 3).bits == ""
    assert "1.0e-07 apart" in compare.measure(Stub(0.01), near, "step", 3).bits
    with pytest.raises(SystemExit, match=r"differ by 1\.0e-01; nothing was timed"):
        compare.measure(Stub(0.01), far, "step", 3)
    assert near.turns > 0 and far.turns == 0


def test_two_processes_take_turns():
    here = installs.present()
    (line,) = compare.run(here, here, [worker.CALL], 3, threads=1)
    assert line.bits == "" and 0.2 < line.ratio < 5 and 1e-7 < np.median(line.new) < 1e-3
    names = [worker.PREDICT_MANY, NETWORKS[4].name]
    assert {len(worker.prepared(name)[0]) for name in names} == {1, 6}


def test_an_install_must_be_what_was_asked_for(tmp_path):
    with pytest.raises(SystemExit, match="neither the path of a Python interpreter nor a revision"):
        installs.resolve("no-such-revision")
    assert installs.resolve(sys.executable).folder is None
    environment = installs.present().environment(1)
    with mock.patch.object(installs.Install, "environment", lambda install, threads: environment):
        other = installs.Install("old", sys.executable, tmp_path / "empty")
        with pytest.raises(SystemExit, match="old: bpcore comes from"):
            compare.Side(other, 1)


def test_solvers_are_measured_by_their_own_jacobian(monkeypatch):
    pytest.importorskip("scipy")
    from bench import solvers

    monkeypatch.setattr(solvers, "ROUNDS", 1)
    monkeypatch.setattr(solvers, "STEPS", 2)
    assert re.fullmatch(r" *4-10-1 +300 rows +.* ms  scipy .* x +.* x", solvers.measure("4-10-1"))
    real = solvers.jacobian
    monkeypatch.setattr(solvers, "jacobian", lambda *args: 1.001 * real(*args))
    with pytest.raises(AssertionError, match="Jacobians differ"):
        solvers.measure("4-10-1")


def test_curves_of_solvers_have_a_table_and_a_picture(monkeypatch, tmp_path):
    """By a stub of the training: of each solver the smallest loss so far, at times of its own."""
    pytest.importorskip("matplotlib")
    from bench import solver_curves

    losses = iter([np.array([4.0, 2.0, 2.0, 1.0]), np.array([8.0, 8.0, 4.0, 2.0])])
    monkeypatch.setattr(solver_curves, "SOLVERS", {"one": (None, None), "other": (None, 32)})
    monkeypatch.setattr(solver_curves, "STARTS", 1)
    monkeypatch.setattr(solver_curves, "MARKS", (1, 4))
    monkeypatch.setattr(solver_curves, "MILLISECONDS", (1, 3))
    monkeypatch.setattr(solver_curves, "curve", lambda make, batch, seed: (next(losses), 1e-3))
    found = solver_curves.measured()
    text = solver_curves.tables(found)
    assert "| one | 4.0e+00 | 1.0e+00 | 1000 |" in text
    assert "| other | 8.0e+00 | 4.0e+00 |" in text
    solver_curves.draw(found, tmp_path / "curves.svg")
    assert "milliseconds" in (tmp_path / "curves.svg").read_text()


def test_a_curve_ends_where_the_solver_stops(monkeypatch):
    from bench import solver_curves

    monkeypatch.setattr(solver_curves, "MARKS", (3, 40))
    loss, each = solver_curves.curve(lambda: bp.optimizers.LevenbergMarquardt(goal=0.01), None, 0)
    assert len(loss) == 40 and each > 0 and (np.diff(loss) <= 0).all()
    assert loss[-1] == loss[-2] <= 0.01
