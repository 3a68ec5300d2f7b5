"""Ctrl-C in all calls, at random moments and at every bytecode.

`python -m tests.crash.interrupts COUNT [SEED]`: a timer's signal raises KeyboardInterrupt.
`python -m tests.crash.interrupts every [STRIDE] [NAME...]`: a trace function does, before each
STRIDE-th bytecode in turn, which are more places than a signal can come at.

Afterwards no model is busy, whatever trains stands after a whole number of batches, to the bit and
with its counters, and whatever does not train has changed nothing or all of it.
"""

from __future__ import annotations

import contextlib
import copy
import faulthandler
import hashlib
import os
import random
import signal
import sys
import tempfile
import time

import numpy as np

import bpcore as bp

from ..helpers.interrupting import Interrupted

ROWS, BATCH, EPOCHS = 60, 20, 2
SECONDS = 60  # after which a call counts as hanging


def state(model):
    """Changes with any bit of weights, optimizer or counters, but for the number of epochs."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(array.tobytes())
    for slots in model.optimizer.state(model.weights)["slots"]:
        for array in slots:
            digest.update(array.tobytes())
    digest.update(f"{model.optimizer.iterations} {model._counters.draws}".encode())
    return digest.hexdigest()


class States(bp.callbacks.Callback):
    """Of the model after every batch."""

    def __init__(self):
        self.found = []

    def on_train_batch_end(self, batch, logs=None):
        self.found.append(state(self.model))


class Bench:
    """A model, data, a folder, and what to call; `check` looks at what an interrupt has left."""

    def __init__(self, folder):
        rng = np.random.default_rng(0)
        self.x, self.y = rng.normal(size=(ROWS, 6)), rng.integers(0, 3, ROWS)
        self.path = os.path.join(folder, "m.bpc")
        self.run = 0
        layers = [
            bp.layers.Dense(5, "relu"), bp.layers.BatchNormalization(), bp.layers.Dropout(0.3),
            bp.layers.Dense(3),
        ]  # fmt: skip
        self.model = bp.Sequential(layers, seed=0)
        self.model.compile("adam", "cross_entropy", metrics=["accuracy"])
        self.model.fit(self.x, self.y, verbose=0)
        self.model.save(self.path)

    # ---- calls: those after which the state is the one before or the one after ---------------
    def train_on_batch(self, model):
        model.train_on_batch(self.x, self.y)

    def fit(self, model, **options):
        model.fit(self.x, self.y, BATCH, EPOCHS, 0, validation_data=(self.x, self.y), **options)

    def fit_averaged(self, model):
        self.fit(model, callbacks=[bp.callbacks.EMA(0.5, apply=False)])

    def fit_batches(self, model):
        parts = [(self.x[k : k + BATCH], self.y[k : k + BATCH]) for k in range(0, ROWS, BATCH)]
        model.fit(parts.__iter__(), verbose=0)

    def fit_saved(self, model):
        path = f"{self.path}.{self.run}"
        self.fit(model, checkpoint=path)
        os.unlink(path)

    def evaluate(self, model):
        model.evaluate(self.x, self.y, batch_size=BATCH)

    def predict(self, model):
        model.predict(self.x, batch_size=BATCH)

    def call(self, model):
        model(self.x[:1])

    def gradients(self, model):
        model.gradients(self.x, self.y)

    def trace(self, model):
        model.trace(self.x, self.y)

    def gradcheck(self, model):
        model.gradcheck(self.x[:2], self.y[:2])

    def find_learning_rate(self, model):
        model.find_learning_rate(self.x, self.y, batch_size=BATCH, steps=10)

    def diagnose(self, model):
        model.diagnose(self.x, self.y)

    def profile(self, model):
        model.profile(self.x, self.y, repeats=2)

    def refresh_statistics(self, model):
        model.refresh_statistics(self.x + 1.0, batch_size=BATCH)

    def set_output_bias(self, model):
        model.set_output_bias(self.y)

    def set_weights(self, model):
        model.set_weights([w + 0.25 for w in model.get_weights()])

    def save(self, model):
        model.save(self.path)

    def save_checkpoint(self, model):
        model.save_checkpoint(self.path + ".ckpt")

    def load(self, model):
        bp.load_model(self.path)

    def copy(self, model):
        copy.deepcopy(model)

    def summary(self, model):
        repr(model), model.get_config(), model.count_params()

    def threads(self, model):
        with bp.threads(3):
            model.predict(self.x)

    def make_another(self, model):
        bp.set_seed(1)
        other = bp.Sequential([bp.layers.Dense(3)])
        other.build((4,))
        other.add(bp.layers.Dense(2))

    calls = (
        "train_on_batch", "fit", "fit_averaged", "fit_batches", "fit_saved", "evaluate", "predict",
        "call", "gradients", "trace", "gradcheck", "find_learning_rate", "diagnose", "profile",
        "refresh_statistics", "set_output_bias", "set_weights", "save", "save_checkpoint", "load",
        "copy", "summary", "threads", "make_another",
    )  # fmt: skip

    def expected(self, name):
        """The states that a call of a copy of the model goes through."""
        twin = copy.deepcopy(self.model)
        found = [state(twin)]
        if name.startswith("fit"):
            states = States()
            if name == "fit_batches":
                parts = [
                    (self.x[k : k + BATCH], self.y[k : k + BATCH]) for k in range(0, ROWS, BATCH)
                ]
                twin.fit(parts.__iter__(), verbose=0, callbacks=[states])
            else:
                self.fit(twin, callbacks=[states])
            return found + states.found
        getattr(self, name)(twin)
        return [*found, state(twin)]

    def check(self, name, expected, threads):
        """AssertionError, or what is left is sound."""
        model = self.model
        assert not model._training.held and not model._evaluation.held, "busy"
        assert state(model) in expected, f"state {state(model)[:8]} is none of {len(expected)}"
        assert bp.get_num_threads() == threads
        model.train_on_batch(self.x, self.y)
        model.evaluate(self.x, self.y)
        self.fit(model)
        if name == "fit_saved":
            self.fit(model, checkpoint=f"{self.path}.{self.run}.next")
            self.run += 1  # a model that has gone on is another run
        bp.load_model(self.path)
        if os.path.exists(self.path + ".ckpt"):
            bp.load_checkpoint(self.path + ".ckpt")
        assert all(np.isfinite(w).all() for w in model.get_weights())
        layer = bp.layers.Dense(2)  # of a model to come: not as if a file gave its weights
        layer.build((3,))
        assert layer.kernel.value.any()


class Alarm:
    """A signal's handler, silent where a signal comes late: another thread may have taken it."""

    armed = False

    def __call__(self, number, frame):
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt


def run(count, seed=0, names=Bench.calls):
    """{call: interrupts that came while it ran}, after a number of them in all."""
    rng = random.Random(seed)
    hits = dict.fromkeys(names, 0)
    alarm = Alarm()
    before = signal.signal(signal.SIGALRM, alarm)
    try:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(folder)
            lengths: dict[str, float] = {}
            for k in range(100 * count):
                if sum(hits.values()) >= count:
                    break
                name = names[k % len(names)]
                faulthandler.dump_traceback_later(SECONDS, exit=True)
                hits[name] += interrupt(bench, name, alarm, rng, lengths)
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
    return hits


def interrupt(bench, name, alarm, rng, lengths):
    """Whether the signal came while the call ran."""
    expected = bench.expected(name)
    threads = bp.get_num_threads()
    start = time.perf_counter()
    done = interrupted = False
    try:
        try:
            alarm.armed = True
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, lengths.get(name, 1e-3)))
            getattr(bench, name)(bench.model)
            done = True
        finally:
            alarm.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted = True
    took = time.perf_counter() - start
    # drawn towards the length of a call that is not interrupted, as that of the machine's load
    lengths[name] = max(1.1 * lengths.get(name, 0.0), took) if interrupted else took
    bench.check(name, expected, threads)
    return interrupted and not done


def sweep(stride=1, names=Bench.calls):
    """Every `stride`-th bytecode of the calls; {call: bytecodes}, and what went wrong."""
    counts, wrong = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            bench = Bench(folder)
            whole = Interrupted()
            whole(getattr(bench, name), bench.model)
            counts[name] = whole.count
            for k in range(1 + stride // 2, whole.count + 1, stride):
                faulthandler.dump_traceback_later(SECONDS, exit=True)
                expected, threads = bench.expected(name), bp.get_num_threads()
                with contextlib.suppress(KeyboardInterrupt):
                    Interrupted(k)(getattr(bench, name), bench.model)
                try:
                    bench.check(name, expected, threads)
                except Exception as error:
                    wrong.append(f"{name} at {k} of {whole.count}: {error!r}")
                    bench = Bench(folder)
        faulthandler.cancel_dump_traceback_later()
    return counts, wrong


if __name__ == "__main__":
    if sys.argv[1] == "every":
        counts, wrong = sweep(*map(int, sys.argv[2:3]), *([sys.argv[3:]] if sys.argv[3:] else []))
        print(counts, *wrong, sep="\n")
        sys.exit(bool(wrong))
    print(run(int(sys.argv[1]), *map(int, sys.argv[2:3])))
