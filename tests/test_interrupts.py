"""Ctrl-C in any call leaves a model that can be used; a call within a call is an error, no wait."""

from __future__ import annotations

import contextlib
import copy
import itertools
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

# An interrupt in a generator that is being closed goes nowhere; Python 3.12 traces that, too.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def bench(tmp_path):
    return interrupts.Bench(str(tmp_path))


def test_a_step_of_ones_own_is_made_or_not_at_any_bytecode(rng):
    """Weights, running statistics and the next draws go together."""
    layers = [bp.layers.BatchNormalization(), bp.layers.Dropout(0.5), bp.layers.Dense(2)]
    model = bp.Sequential([bp.Input((3,)), *layers], dtype="float64", seed=0)
    model.compile(bp.optimizers.SGD(0.01))
    x, dy = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    model.train_on_batch(x, dy=dy)
    whole = Interrupted()
    whole(lambda: model.train_on_batch(x, dy=dy))
    mean, kernel = model.layers[0].moving_mean, model.layers[2].kernel
    made = []
    for k in range(1, whole.count + 1):
        before = model.optimizer.iterations, kernel.value.copy(), mean.value.copy()
        with contextlib.suppress(KeyboardInterrupt):
            Interrupted(k)(lambda: model.train_on_batch(x, dy=dy))
        made.append(model.optimizer.iterations - before[0])
        assert (kernel.value != before[1]).all() == made[-1], f"bytecode {k} of {whole.count}"
        assert (mean.value != before[2]).all() == made[-1], f"bytecode {k} of {whole.count}"
        assert model._counters.draws == model.optimizer.iterations
    assert set(made) == {0, 1}


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


ASSIGNMENTS = {
    "momentum": lambda m: setattr(m.optimizer, "momentum", 0.3),
    "trainable": lambda m: setattr(m.layers[-1], "trainable", False),
    "trainable, of a weight": lambda m: setattr(m.weights[0], "trainable", False),
    "regularizer": lambda m: setattr(m.weights[0], "regularizer", "l2"),
    "constraint": lambda m: setattr(m.weights[0], "constraint", bp.constraints.MaxNorm(0.1)),
}


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_an_interrupted_assignment_counts_if_it_is_seen(name):
    """The next step is that of a copy, which has to find all out anew."""
    x, y = np.array([[1.0], [3.0]]), np.array([[2.0], [-1.0]])
    for at in itertools.count(1):
        layers = [bp.Input((1,)), bp.layers.Dense(2), bp.layers.Dense(1)]
        model = bp.Sequential(layers, dtype="float64", seed=0)
        model.compile(bp.optimizers.SGD(0.05, momentum=0.9), "mse")
        for _ in range(2):
            model.train_on_batch(x, y)
        with contextlib.suppress(KeyboardInterrupt):
            interrupted = Interrupted(at)
            interrupted(ASSIGNMENTS[name], model)
        other = copy.deepcopy(model)
        for one in (model, other):
            one.train_on_batch(x, y)
        for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
            assert np.array_equal(a, b), at
        if interrupted.count < at:
            break
    assert at > 20


class Leaves(bp.callbacks.Callback):
    def on_train_exit(self):
        self.left = True


def test_every_callback_is_told_of_the_end(bench):
    """Whichever bytecode of the end is interrupted, and whatever one of them raises."""
    items = [Leaves(), bp.callbacks.EMA(0.5), Leaves()]

    def fit():
        for item in items:
            item.left = False
        bench.model.fit(bench.x, bench.y, 20, 1, 0, callbacks=items)

    fit()
    whole = Interrupted()
    whole(fit)
    begun = 0
    for k in [*range(600, whole.count - 300, 97), *range(whole.count - 300, whole.count + 1)]:
        with contextlib.suppress(KeyboardInterrupt):
            Interrupted(k)(fit)
        assert items[0].left == items[2].left
        begun += items[0].left
    assert begun > 300


def test_the_first_error_of_several_ends():
    said = []

    def ends(error):
        said.append(error)
        raise error

    calls = [lambda: ends(ValueError(1)), lambda: ends(KeyError(2)), lambda: said.append("last")]
    with pytest.raises(ValueError, match="1"), _core.Finally(calls, "the end"):
        pass
    assert said[-1] == "last" and len(said) == 3
    with (
        pytest.warns(RuntimeWarning, match=r"the end raised ValueError\(1\)"),
        pytest.raises(ZeroDivisionError),
        _core.Finally(calls, "the end"),
    ):
        raise ZeroDivisionError
    assert len(said) == 6


def test_threads_for_some_time(threads_restored):
    bp.set_num_threads(4)
    two = bp.threads(2)
    assert bp.get_num_threads() == 4
    with two:
        with bp.threads(3):
            assert bp.get_num_threads() == 3
        with two:
            assert bp.get_num_threads() == 2
        assert bp.get_num_threads() == 2
    assert bp.get_num_threads() == 4
    assert bp.threads(3)(bp.get_num_threads)() == 3 and bp.get_num_threads() == 4
    with pytest.raises(ZeroDivisionError), bp.threads(3):
        raise ZeroDivisionError
    assert bp.get_num_threads() == 4
    with pytest.raises(ValueError, match="n_threads"):
        bp.threads(0)


def test_building_is_undone_or_done(bench):
    """Also where an interrupt comes while a failed `add` is being undone."""

    def make():
        model = bp.Sequential([bp.layers.Dense(3), bp.layers.BatchNormalization()], seed=0)
        model.build((4,))
        return model

    def fails(model):
        with contextlib.suppress(ValueError):
            model.add(bp.layers.Reshape((7, 7)))

    x = np.ones((3, 4))
    for call in (fails, lambda model: model.add(bp.layers.Dense(2))):
        whole = Interrupted()
        whole(call, make())
        for k in [*range(1, whole.count, 211), *range(whole.count - 150, whole.count)]:
            model = make()
            with contextlib.suppress(KeyboardInterrupt):
                Interrupted(k)(call, model)
            assert model.predict(x).shape == (3, 3 if len(model.layers) == 2 else 2)
            model.add(bp.layers.Dense(5))
            assert model.predict(x).shape == (3, 5)


def test_a_layer_is_built_or_not():
    whole = Interrupted()
    whole(bp.layers.Dense(2).build, (3,))
    for k in range(1, whole.count + 1):
        layer = bp.layers.Dense(2)
        with contextlib.suppress(KeyboardInterrupt):
            Interrupted(k)(layer.build, (3,))
        layer.build((3,))
        assert len(layer.weights) == 2 and not layer._building


def test_statistics_move_all_or_not(bench):
    """An interrupt leaves neither some of them nor another momentum."""
    model = bench.model
    before, momenta = (
        interrupts.state(model),
        [n[3].get("momentum") for n in model._engine.low.nodes],
    )
    whole = Interrupted()
    whole(copy.deepcopy(model).refresh_statistics, bench.x)
    for k in range(1, whole.count, 41):
        with contextlib.suppress(KeyboardInterrupt):
            Interrupted(k)(model.refresh_statistics, bench.x)
        if interrupts.state(model) != before:
            break
        assert [n[3].get("momentum") for n in model._engine.low.nodes] == momenta
    assert k > 0.8 * whole.count


def test_counters_are_the_cores(bench):
    """An interrupt after the step and before Python has looked at it costs neither of the two."""
    model = bench.model
    before = model.optimizer.iterations, model._counters.draws
    trainer = model._engine.trainer("train", model._compilation)
    trainer.train_step([bench.x], [(bench.y.astype(np.int32), True)], [None], 0.01)
    assert (model.optimizer.iterations, model._counters.draws) == (before[0] + 1, before[1] + 1)
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
