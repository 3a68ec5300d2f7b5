"""Eight threads with all methods of one model, and callbacks that write to what is being read.

In the plain suite for errors and crashes; `nox -s tsan` runs the same under the thread sanitizer.
"""

from __future__ import annotations

import copy
import itertools
import os
import sys
import threading

import numpy as np
import pytest

import bpcore as bp

THREADS = 8
SANITIZED = os.environ.get("BPCORE_SANITIZER") == "thread"
ROWS, UNITS = (600, 64) if SANITIZED else (48, 16)  # so that calls meet outside of the GIL


@pytest.fixture
def switching():
    """Threads take turns often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Half(bp.layers.Layer):
    """A layer in Python."""

    def forward(self, x, training=False):
        return x * x.dtype.type(0.5)

    def backward(self, dy):
        return dy * dy.dtype.type(0.5)


class Largest:
    """A metric in Python, with a state that calls share."""

    name = "largest"

    def __init__(self):
        self.reset_state()

    def reset_state(self):
        self.found = 0.0

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.found = max(self.found, float(np.abs(y_pred).max()))

    def result(self):
        return self.found


def network(python):
    layers = [
        bp.layers.Dense(UNITS, "relu"), bp.layers.BatchNormalization(), bp.layers.Dropout(0.2),
        bp.layers.Dense(3),
    ]  # fmt: skip
    if python:
        layers.insert(1, Half())
    model = bp.Sequential(layers, seed=0)
    compiles(model, python)
    return model


def compiles(model, python):
    model.compile("adam", "cross_entropy", metrics=["accuracy", *([Largest()] * python)])


def calls_of(model, python, x, y, folder):
    """All methods; each is given the number of the call."""
    path = os.path.join(folder, "m.bpc")
    model.save(path)

    def threads(k):
        with bp.threads(1 + k % 3, exact=True):
            model.predict(x)

    calls = {
        "fit": lambda k: model.fit(x, y, 16, 2, 0, validation_data=(x, y)),
        "fit_batches": lambda k: model.fit(iter([(x, y)] * 3), verbose=0),
        "train_on_batch": lambda k: model.train_on_batch(x, y),
        "evaluate": lambda k: model.evaluate(x, y),
        "predict": lambda k: model.predict(x, batch_size=16),
        "call": lambda k: model(x[:1]),
        "gradients": lambda k: model.gradients(x, y),
        "trace": lambda k: model.trace(x[:8], y[:8]),
        "gradcheck": lambda k: model.gradcheck(x[:2], y[:2]),
        "diagnose": lambda k: model.diagnose(x, y),
        "profile": lambda k: model.profile(x, y, repeats=1),
        "find_learning_rate": lambda k: model.find_learning_rate(x, y, batch_size=16, steps=10),
        "refresh_statistics": lambda k: model.refresh_statistics(x),
        "set_output_bias": lambda k: model.set_output_bias(y),
        "compile": lambda k: compiles(model, python),
        "weights": lambda k: model.set_weights(model.get_weights()),
        "save": lambda k: model.save(f"{path}.{k}"),
        "save_checkpoint": lambda k: model.save_checkpoint(f"{path}.{k}"),
        "load": lambda k: bp.load_model(path, {"Half": Half}).copy_weights(model),
        "copy": lambda k: copy.deepcopy(model),
        "freeze": lambda k: setattr(model.layers[0], "trainable", k % 2 == 0),
        "look": lambda k: (repr(model), model.get_config(), model.optimizer.iterations),
        "threads": threads,
    }
    if python:
        del calls["save_checkpoint"]  # which takes no metric in Python
    return calls


@pytest.mark.filterwarnings("ignore::bpcore.errors.NotCompiledWarning")
@pytest.mark.parametrize("python", [False, True], ids=["core", "python"])
def test_all_methods_from_eight_threads(python, switching, threads_restored, tmp_path):
    """Each call does its work or says that the model is busy; none crashes, none waits for ever."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(ROWS, 20)), np.arange(ROWS) % 3
    model = network(python)
    model.fit(x, y, verbose=0)
    calls = calls_of(model, python, x, y, str(tmp_path))
    done, wrong, numbers = dict.fromkeys(calls, 0), [], itertools.count()

    def work(seed):
        order = np.random.default_rng(seed)
        for name in [*order.permutation(list(calls)), *order.permutation(list(calls))]:
            try:
                calls[name](next(numbers))
                done[name] += 1
            except bp.BusyError:
                pass
            except BaseException as error:
                wrong.append(f"{name}: {error!r}")

    threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    model.layers[0].trainable = True
    model.fit(x, y, verbose=0)
    assert model.evaluate(x, y) == model.evaluate(x, y)
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("width", [8, 340])  # 340 are passed on from thread to thread
def test_callbacks_that_write_to_the_data(width, switching, threads_restored):
    """And to the weights, from the loop's own thread; another one writes to the labels."""
    bp.set_num_threads(3, exact=True)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, width)), (np.arange(200) % 5).astype(np.int32)
    w = np.ones(200)
    model = bp.Sequential([bp.layers.Dense(64, "relu"), bp.layers.Dense(5)], seed=0)
    model.compile("adam", "cross_entropy", metrics=["accuracy", "f1"])
    end = threading.Event()

    def write():
        for label in itertools.cycle((1, 2, 1_000_000)):
            y[::7] = label
            if end.wait(0.001):
                return

    class Writes(bp.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            x[batch % 200] = batch
            w[batch % 200] = 0.5
            self.model.layers[1].bias.value[...] = 0.0
            y[...] = np.clip(y, 0, 4)

    thread = threading.Thread(target=write)
    thread.start()
    refused = 0
    try:
        for _ in range(40):
            try:
                model.fit(x, y, 16, 1, 0, callbacks=[Writes()], sample_weight=w)
            except ValueError as error:
                assert "label" in str(error)
                refused += 1
                y[...] = 0
    finally:
        end.set()
        thread.join()
    assert all(np.isfinite(array).all() for array in model.get_weights())
