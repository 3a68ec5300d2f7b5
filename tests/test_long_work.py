"""Long work in the core: cut into pieces with the same bits, between which Ctrl-C is heard.

A handler that a timer calls again and again counts how often it runs: while a call is in the core
it runs only where the core looks for signals, so it raises in the midst of the call or never.
"""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core
from bpcore.files import container

from .helpers import determinism_worker as worker
from .helpers import random_nets, support

UNIX = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
ROWS, WIDTH, CLASSES = 40_000, 64, 10


@pytest.fixture
def impatient():
    """Everything is long, is cut as small as possible, and looks after every piece."""
    _core.set_patience(0.0)
    yield
    _core.set_patience(1.0)


def digests(seeds=range(12)):
    found = worker.run()
    for seed in seeds:
        try:
            found[f"net {seed}"] = random_nets.digest(seed, bp.get_num_threads())
        except bp.TrainingDiverged as error:
            found[f"net {seed}"] = str(error)
    return found


@pytest.mark.filterwarnings("ignore::bpcore.errors.MismatchWarning")
def test_pieces_change_no_bits(threads_restored):
    expected = digests()
    for threads in (1, 2, 3):
        bp.set_num_threads(threads, exact=True)
        for scale in (1e-4, 0.0):
            _core.set_patience(scale)
            try:
                found = digests()
            finally:
                _core.set_patience(1.0)
            different = [name for name in expected if found[name] != expected[name]]
            assert not different, f"{threads} threads, {scale}: other bits in {different}"


class Alarm:
    """Raises KeyboardInterrupt when its timer's signal has been heard that number of times."""

    def __init__(self, count):
        self.left = count

    def __enter__(self):
        self.before = signal.signal(signal.SIGALRM, self.ring)
        signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
        return self

    def __exit__(self, *error):
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, self.before)

    def ring(self, number, frame):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def network(*layers, width=WIDTH, dtype="float32", **compiled):
    layers = layers or (bp.layers.Dense(128, "relu"), bp.layers.Dense(128, "tanh"))
    model = bp.Sequential([*layers, bp.layers.Dense(CLASSES)], seed=3, dtype=dtype)
    model.build((width,))
    model.compile(**{"optimizer": "adam", "loss": "cross_entropy", **compiled})
    return model


def data(rows=ROWS, width=WIDTH):
    """Rows that take no memory."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1, width)).astype(np.float32)
    return np.broadcast_to(x, (rows, width)), np.broadcast_to(np.int32(3), (rows,))


def state(model):
    """Weights, statistics, slots of the optimizer and its count."""
    slots = [slot.copy() for of in model.optimizer._slots.values() for slot in of]
    return [*(w.value.copy() for w in model.weights), *slots, np.array(model.optimizer.iterations)]


CALLS = {
    "predict": lambda m, x, y: m.predict(x, batch_size=None),
    "evaluate": lambda m, x, y: m.evaluate(x, y, batch_size=None),
    "gradients": lambda m, x, y: m.gradients(x, y),
    "train_on_batch": lambda m, x, y: m.train_on_batch(x, y),
    "fit": lambda m, x, y: m.fit(x, y, batch_size=None, verbose=0),
    "refresh": lambda m, x, y: m.refresh_statistics(x, batch_size=None),
}


def normalized():
    dense = bp.layers.Dense(96, "relu")
    return network(dense, bp.layers.BatchNormalization(), bp.layers.Dropout(0.3))


CASES = [(name, make) for name in CALLS for make in (network, normalized)]
CASES.remove(("refresh", network))  # has no statistics


@UNIX
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name, make", CASES)
def test_ctrl_c_is_heard_and_nothing_has_changed(name, make, threads, impatient, threads_restored):
    bp.set_num_threads(threads, exact=True)
    x, y = data(3 * ROWS if name == "predict" else ROWS)
    few = np.random.default_rng(2).normal(size=(50, WIDTH)), np.arange(50) % CLASSES
    model, twin = make(), make()
    for item in model, twin:
        item.train_on_batch(*few)
    before = state(model)
    with Alarm(20), pytest.raises(KeyboardInterrupt):
        CALLS[name](model, x, y)
    assert all(map(support.same_bits, state(model), before))
    for item in model, twin:  # as if nothing had been
        item.train_on_batch(*few)
    assert all(map(support.same_bits, state(model), state(twin)))
    assert model.evaluate(*few) == twin.evaluate(*few)


@UNIX
@pytest.mark.parametrize("last", [0.0, np.nan])
def test_ctrl_c_is_heard_in_the_scan_for_nan(last, impatient):
    """While all is in order, and while the values that are not are counted."""
    row = np.full((1, 64), last, np.float64)
    x = np.broadcast_to(row, (30_000_000, 64))
    with Alarm(20), pytest.raises(KeyboardInterrupt):
        _core.scan(x, "float32")


@UNIX
def test_a_handler_may_use_the_model(impatient):
    x, y = data()
    few = np.ones((3, WIDTH))
    model, seen = network(), []
    expected = model.predict(few)

    def handle(number, frame):
        seen.append(support.same_bits(model.predict(few), expected))
        with pytest.raises(bp.BusyError):
            model.train_on_batch(few, [1, 2, 3])

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 5e-3)
    try:
        model.train_on_batch(x, y)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert seen == [True]


def deep(repetitions=8, width=2000):
    """Much work on few values: one layer of 4 million weights, used again and again."""
    x = h = bp.Input((width,))
    layer = bp.layers.Dense(width, "tanh")
    for _ in range(repetitions):
        h = layer(h)
    model = bp.Model(x, bp.layers.Dense(CLASSES)(h), seed=3, dtype="float64")
    model.compile(bp.optimizers.SGD(0.01), "cross_entropy")
    return model, *data(1000, width)


def shallow():
    return network(), *data(20_000_000)


REAL = {
    "scan": (
        shallow,
        lambda m, x, y: _core.scan(np.broadcast_to(x[:1], (10**9, WIDTH)), "float64"),
    ),
    "predict": (shallow, lambda m, x, y: m.predict(x)),
    "evaluate": (shallow, lambda m, x, y: m.evaluate(x, y, batch_size=8192)),
    "gradients": (deep, CALLS["gradients"]),
    "train_on_batch": (deep, CALLS["train_on_batch"]),
    "fit": (deep, CALLS["fit"]),
}


@UNIX
@pytest.mark.parametrize("name", REAL)
def test_sigint_ends_seconds_of_work(name):
    """Within 0.1 s on a quiet machine; the bound is one that a busy machine keeps as well."""
    make, call = REAL[name]
    model, x, y = make()
    before = state(model)
    sent = []

    def interrupt():
        time.sleep(0.3)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with bp.threads(1, exact=True), pytest.raises(KeyboardInterrupt):
        thread.start()
        call(model, x, y)
    assert time.perf_counter() - sent[0] < 1.0
    thread.join()
    assert all(map(support.same_bits, state(model), before))


class Gaps:
    """The longest time between two moments at which a signal of every millisecond is heard.

    Of the processor, which does not run on while other processes have it.
    """

    def __enter__(self):
        self.begun = self.last = time.process_time()
        self.longest = 0.0
        self.before = signal.signal(signal.SIGALRM, self.ring)
        signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
        return self

    def __exit__(self, *error):
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, self.before)
        self.ring()
        self.share = self.longest / (self.last - self.begun)

    def ring(self, *_):
        now = time.process_time()
        self.longest = max(self.longest, now - self.last)
        self.last = now


@UNIX
@pytest.mark.parametrize("call", ["predict", "gradients"])
@pytest.mark.parametrize("kind", ["recurrent", "convolution"])
def test_layers_that_are_no_product_are_cut_by_their_operations(kind, call):
    """Hundreds for each of their values: forward, backward and gradients of weights."""
    convolution = bp.layers.Conv2D(256, 3, padding="same")
    layers, shape = {
        "recurrent": ([bp.layers.GRU(128)], (200, 1)),
        "convolution": ([convolution, bp.layers.Flatten()], (4, 4, 256)),
    }[kind]
    model = bp.Sequential([*layers, bp.layers.Dense(CLASSES)], seed=3)
    model.build(shape)
    model.compile("sgd", "cross_entropy")
    rows = 1024 if call == "predict" else 256
    x, y = np.ones((rows, *shape), np.float32), np.zeros(rows, np.int32)
    with bp.threads(1, exact=True):
        CALLS[call](model, x, y)  # makes room
        _core.set_patience(0.03)
        try:
            with Gaps() as heard:
                CALLS[call](model, x, y)
        finally:
            _core.set_patience(1.0)
    assert heard.share < 0.2


def test_files_are_written_in_pieces():
    arrays = {"w": np.arange(5_000_000, dtype=np.float64), "b": np.zeros((0, 3))}
    pieces = [bytes(piece) for piece in container.pack({"a": 1}, arrays, 2)]
    assert max(map(len, pieces)) <= 2**23
    assert b"".join(pieces[1:]) == arrays["w"].tobytes()
