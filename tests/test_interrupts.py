"""Ctrl-C in any call leaves a model that can be used; a call within a call is an error, no wait."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import signal
import threading

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .crash import interrupts
from .helpers.interrupting import Interrupted


@pytest.fixture
def bench(tmp_path):
    return interrupts.Bench(str(tmp_path))


@pytest.mark.parametrize("name", ["train_on_batch", "evaluate", "gradients", "compile"])
def test_no_bytecode_leaves_a_model_busy(bench, name):
    """Interrupts around the lock and the `with` that gives it back, each of them."""
    model = bench.model
    calls = {
        "train_on_batch": lambda: model.train_on_batch(bench.x, bench.y),
        "evaluate": lambda: model.evaluate(bench.x, bench.y),
        "gradients": lambda: model.gradients(bench.x, bench.y),
        "compile": lambda: model.compile("adam", "cross_entropy"),
    }
    calls[name]()  # what is imported or made on first use
    whole = Interrupted()
    whole(calls[name])
    busy = []
    ends = 200, whole.count - 60  # between them is the call's own work
    for k in [*range(1, ends[0]), *range(ends[0], ends[1], 37), *range(ends[1], whole.count + 1)]:
        with contextlib.suppress(KeyboardInterrupt):
            Interrupted(k)(calls[name])
        try:
            model.compile("adam", "cross_entropy")
        except bp.BusyError:
            busy.append(k)
            break
        if model._evaluation.held:
            busy.append(k)
            break
    assert not busy, f"of {whole.count} bytecodes"
    model.evaluate(bench.x, bench.y)


def test_every_call_interrupted_here_and_there(bench):
    counts, wrong = interrupts.sweep(1999, ("fit", "fit_averaged", "fit_saved", "copy", "load"))
    assert not wrong and min(counts.values()) > 1000
    names = ("train_on_batch", "predict", "refresh_statistics", "set_output_bias", "threads")
    assert not interrupts.sweep(151, names)[1]


def test_every_call_interrupted_by_signals():
    hits = interrupts.run(60)
    assert sum(hits.values()) >= 60


def test_counters_are_the_cores(bench):
    """An interrupt after the step and before Python has looked at it costs neither of the two."""
    model = bench.model
    before = model.optimizer.iterations, model._draws
    trainer = model._engine.trainer("train", model._compiled)
    trainer.train_step([bench.x], [(bench.y.astype(np.int32), True)], [None], 0.01)
    assert (model.optimizer.iterations, model._draws) == (before[0] + 1, before[1] + 1)
    model.optimizer.iterations = 41
    model.train_on_batch(bench.x, bench.y)
    assert model.optimizer.iterations == 42
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert interrupts.state(twin) == interrupts.state(model)
        twin.train_on_batch(bench.x, bench.y)
        assert (twin.optimizer.iterations, model.optimizer.iterations) == (43, 42)


class Watched:
    """A loss that does something in the middle of an evaluation."""

    def __init__(self, act):
        self.act = act

    def value(self, y, p):
        self.act()
        return float(np.square(p - y).mean())

    def gradient(self, y, p):
        return 2 * (p - y) / p.size


def test_evaluate_within_evaluate():
    """An error where it is called, at once; both before and after a model can be evaluated."""
    x, y = np.ones((4, 3)), np.ones((4, 2))
    seen = []

    def act():
        seen.append(model.predict(x).shape)
        with pytest.raises(bp.BusyError, match="in the middle of an evaluation"):
            model.evaluate(x, y)

    model = bp.Sequential([bp.layers.Dense(2)], seed=0)
    model.compile("sgd", Watched(act))
    model.build((3,))
    assert model.evaluate(x, y)["loss"] > 0 and len(seen) == 1
    assert model.evaluate(x, y)["loss"] > 0 and len(seen) == 2


def test_evaluate_in_a_signal_handler():
    x, y = np.ones((4, 3)), np.ones((4, 2))
    model = bp.Sequential([bp.layers.Dense(2)], seed=0)
    model.compile("sgd", Watched(lambda: signal.raise_signal(signal.SIGALRM)))
    model.build((3,))

    def handle(number, frame):
        model.evaluate(x, y)

    before = signal.signal(signal.SIGALRM, handle)
    try:
        with pytest.raises(bp.BusyError, match="signal"):
            model.evaluate(x, y)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_evaluations_of_other_threads_are_waited_for():
    x, y = np.ones((4, 3)), np.ones((4, 2))
    inside, go_on = threading.Event(), threading.Event()

    def act():
        inside.set()
        assert go_on.wait(20)

    model = bp.Sequential([bp.layers.Dense(2)], seed=0)
    model.compile("sgd", Watched(act))
    model.build((3,))
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(model.evaluate(x, y))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert inside.wait(20) and not found
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert len(found) == 3 and found[0] == found[1] == found[2]


def test_waiting_can_be_interrupted():
    """Ctrl-C while another thread's evaluation is waited for."""
    gate, done = _core.Gate(), threading.Event()
    held = threading.Event()

    def hold():
        with gate.enter():
            held.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(20) and gate.held and not gate.mine and gate.enter() is None
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        gate.wait()
    done.set()
    thread.join()
    assert not gate.held


def test_a_turn_ends_with_its_block_or_with_itself():
    gate = _core.Gate()
    with gate.enter() as turn:
        assert gate.mine and gate.enter() is None and gate.wait() is None
    assert not gate.held and turn is not None
    gate.enter()  # nobody keeps the turn
    assert not gate.held
    turn = gate.enter()
    assert gate.held
    with pytest.raises(ZeroDivisionError), turn:
        raise ZeroDivisionError
    assert not gate.held
    del turn
    assert gate.enter() is not None
