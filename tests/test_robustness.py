"""Fork, signals, threads, and code of the user's that raises inside the loop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

UNIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and POSIX signals")


def data(rows=200, width=20):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, width)), rng.integers(0, 5, rows)


def network(seed=0):
    model = bp.Sequential([bp.layers.Dense(64, "relu"), bp.layers.Dense(5)], seed=seed)
    model.compile(optimizer="adam", loss="cross_entropy")
    return model


FORK = """
import os, signal, sys, warnings
import numpy as np, bpcore as bp
from tests.test_robustness import data, network
from tests.helpers.support import weights_hash
warnings.simplefilter("ignore")  # newer Pythons warn of fork with threads, which is the point
x, y = data(2000, WIDTH)
bp.set_num_threads(2, exact=True)
model = network()
model.fit(x, y, epochs=1, verbose=0)
again = network()
again.fit(x, y, epochs=1, verbose=0)
for _ in range(10):
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        status = 1
        try:
            model.fit(x, y, epochs=1, verbose=0)
            same = weights_hash(model) == sys.argv[1] if len(sys.argv) > 1 else True
            model.predict(x)
            print(weights_hash(model), flush=True)
            status = 0 if same else 3
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
again.fit(x, y, epochs=1, verbose=0)
print(weights_hash(again))
"""


@UNIX
@pytest.mark.parametrize("width", [20, 340])  # 340 are passed on from thread to thread
def test_training_in_a_forked_child(width):
    """Ten children after the parent's threads have run: none hangs, all give the parent's bits."""
    hashes = support.run_python(FORK.replace("WIDTH", str(width)), timeout=100).stdout.split()
    assert len(hashes) == 11 and len(set(hashes)) == 1


INTERRUPTED = """
import sys, time
import numpy as np, bpcore as bp
from tests.test_robustness import data, network
rng = np.random.default_rng(0)
x, y = rng.normal(size=(20000, 64)).astype("f4"), rng.integers(0, 5, 20000)
model = bp.Sequential([bp.layers.Dense(256, "relu"), bp.layers.Dense(256, "relu"),
                       bp.layers.Dense(5)], seed=0)
model.compile(optimizer="adam", loss="cross_entropy")
model.fit(x[:64], y[:64], verbose=0)
print("ready", flush=True)
try:
    model.fit(x, y, epochs=100000, verbose=int(sys.argv[1]))
except KeyboardInterrupt:
    print("\\nstopped", time.time(), flush=True)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    model.fit(x[:640], y[:640], epochs=1, verbose=0)
    model.evaluate(x[:100], y[:100])
    print("usable", model.optimizer.iterations, flush=True)
"""


@UNIX
@pytest.mark.parametrize("verbose", [0, 1])
def test_ctrl_c_stops_within_a_tenth_of_a_second(verbose):
    delays = []
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, str(verbose)], cwd=support.ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert child.stdout.readline().strip() == "ready"
        time.sleep(0.4)
        sent = time.time()
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=20)
        stopped = next(line for line in out.splitlines() if line.startswith("stopped"))
        delays.append(float(stopped.split()[1]) - sent)
        assert "usable" in out and child.returncode == 0
    assert sorted(delays)[1] <= 0.1, delays


def test_many_threads_predict_at_once():
    x, _ = data(64)
    model = network()
    model.build((20,))
    expected, wrong = model.predict(x), []

    def work(k):
        for i in range(200):
            if i % 2 and not support.same_bits(model.predict(x), expected):
                wrong.append(k)
            if not i % 2 and not support.same_bits(model(x[k : k + 1]), expected[k : k + 1]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_second_fit_at_once_is_refused():
    x, y = data(4000)
    model = network()
    model.fit(x[:10], y[:10], verbose=0)
    errors, started = [], threading.Event()

    class Started(bp.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            started.set()

    thread = threading.Thread(
        target=lambda: model.fit(x, y, epochs=40, verbose=0, callbacks=[Started()])
    )
    thread.start()
    assert started.wait(10)
    for call in (lambda: model.fit(x, y, verbose=0), lambda: model.train_on_batch(x, y)):
        try:
            call()
        except RuntimeError as error:
            errors.append(str(error))
    thread.join()
    assert len(errors) == 2 and all("busy" in e.lower() or "training" in e for e in errors)
    model.fit(x, y, verbose=0)


class Beside(bp.callbacks.Callback):
    """Calls of another thread in the middle of an epoch."""

    def __init__(self, *calls):
        self.calls, self.errors = calls, []

    def on_train_batch_end(self, batch, logs=None):
        thread = threading.Thread(target=self.run)
        thread.start()
        thread.join()

    def run(self):
        for call in self.calls:
            try:
                call()
            except bp.BusyError as error:
                self.errors.append(str(error))


def test_metrics_in_python_are_not_shared_with_another_threads_evaluation():
    """What the epoch has gathered would be lost or doubled; without such metrics both go on."""
    x, y = data()
    mean = bp.metrics.get(lambda t, p: float(np.mean(p)))
    models = []
    for beside in (False, True):
        model = network()
        model.compile("sgd", "cross_entropy", metrics=["accuracy", mean])
        model.build((20,))
        calls = [lambda m=model: m.evaluate(x, y), lambda m=model: m.predict(x)] if beside else []
        callback = Beside(*calls)
        history = model.fit(x, y, verbose=0, callbacks=[callback])
        models.append((history.history, support.weights_hash(model)))
        assert len(callback.errors) == 7 * beside  # of the evaluations alone
        assert all("metrics written in Python" in error for error in callback.errors)
    assert models[0] == models[1]


class Boom(Exception):
    pass


class RaisesInBatch(bp.callbacks.Callback):
    def __init__(self, error=Boom):
        super().__init__()
        self.error = error

    def on_train_batch_end(self, batch, logs=None):
        if batch == 3:
            raise self.error("from the callback")


@pytest.mark.parametrize("error", [Boom, SystemExit, KeyboardInterrupt])
def test_callback_that_raises(error):
    """The same exception; the weights are those after that batch; the next fit works."""
    x, y = data()
    model, expected = network(), network()
    with pytest.raises(error, match="from the callback"):
        model.fit(x, y, batch_size=20, epochs=5, shuffle=False, verbose=0,
                  callbacks=[RaisesInBatch(error)])  # fmt: skip
    for i in range(4):
        expected.train_on_batch(x[20 * i : 20 * i + 20], y[20 * i : 20 * i + 20])
    assert support.weights_hash(model) == support.weights_hash(expected)
    model.fit(x, y, verbose=0)


def test_callback_uses_its_own_model():
    x, y = data()
    seen = {}

    class Inside(bp.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen["predict"] = self.model.predict(x[:3]).shape
            seen["weights"] = len(self.model.get_weights())
            for name, call in (
                ("fit", lambda: self.model.fit(x, y, verbose=0)),
                ("train_on_batch", lambda: self.model.train_on_batch(x, y)),
            ):
                with pytest.raises(bp.errors.BusyError):
                    call()
                seen[name] = True

    model = network()
    model.fit(x, y, epochs=2, verbose=0, callbacks=[Inside()])
    assert seen == {"predict": (3, 5), "weights": 4, "fit": True, "train_on_batch": True}


class BadLayer(bp.layers.Layer):
    """Forward works until it does not."""

    def __init__(self, fail):
        super().__init__()
        self.fail, self.calls = fail, 0

    def forward(self, x, training):
        self.calls += 1
        if training and self.calls > 4:
            return self.fail(x)
        return np.array(x)

    def backward(self, dy):
        return np.array(dy)


def raise_boom(x):
    raise Boom("inside forward")


@pytest.mark.parametrize("fail, error", [
    (raise_boom, Boom), (lambda x: None, TypeError), (lambda x: x[:, :3], ValueError),
    (lambda x: x * np.nan, (ValueError, RuntimeError)),
])  # fmt: skip
def test_layer_in_python_that_fails(fail, error):
    """The error names the class; weights are those before the failing batch; the next fit works."""
    x, y = data()
    layer = BadLayer(fail)
    model = bp.Sequential([bp.layers.Dense(8, "tanh"), layer, bp.layers.Dense(5)], seed=0)
    model.build((20,))
    model.compile(optimizer="sgd", loss="cross_entropy")
    with pytest.raises(error, match=r"inside forward|BadLayer|bad_layer"):
        model.fit(x, y, batch_size=20, epochs=2, shuffle=False, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    layer.fail = lambda x: np.array(x)
    model.fit(x, y, verbose=0)


def test_divergence_is_reported_and_the_last_good_weights_kept():
    x, y = data()
    model = bp.Sequential([bp.layers.Dense(8), bp.layers.Dense(1)], seed=0)
    model.compile(optimizer=bp.optimizers.SGD(1e18), loss="mse")
    with pytest.raises(bp.errors.TrainingDiverged, match=r"(?i)(nan|inf)") as caught:
        model.fit(x * 100, y, batch_size=20, epochs=50, verbose=0)
    assert isinstance(caught.value, RuntimeError) and caught.value.batch >= 0
    assert "batch" in str(caught.value)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_x_is_a_view_of_the_models_own_weights():
    """Computed as if copied first."""
    results = []
    for own in (True, False):
        model = bp.Sequential([bp.layers.Dense(6, use_bias=False)], seed=2)
        model.build((6,))
        model.compile(optimizer=bp.optimizers.SGD(0.1), loss="mse")
        x = model.weights[0].value if own else model.weights[0].value.copy()
        model.train_on_batch(x, np.ones((6, 6)))
        results.append(model.get_weights()[0])
    assert support.same_bits(*results)


def test_writing_to_x_during_fit_does_not_crash():
    x, y = data(4000)
    x, model = x.astype(np.float32), network()
    stop = threading.Event()

    def scribble():
        rng = np.random.default_rng(1)
        while not stop.is_set():
            x[rng.integers(0, len(x))] = 0.5

    thread = threading.Thread(target=scribble)
    thread.start()
    model.fit(x, y, epochs=5, verbose=0)
    stop.set()
    thread.join()
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_import_is_quiet():
    """No threads started, no handler or filter changed, no warning."""
    code = """
import locale, signal, threading, warnings
before = signal.getsignal(signal.SIGINT), list(warnings.filters), locale.setlocale(locale.LC_ALL)
import numpy
threads = threading.active_count()
import bpcore
assert threading.active_count() == threads
after = signal.getsignal(signal.SIGINT), list(warnings.filters), locale.setlocale(locale.LC_ALL)
assert before[0] == after[0] and before[2] == after[2]
"""
    support.run_python(code, PYTHONWARNINGS="error", PYTHONDEVMODE="1")


def test_unknown_instruction_set_is_an_import_error():
    done = support.run_python("import bpcore", check=False, BPCORE_ISA="bogus")
    assert done.returncode == 1 and "bogus" in done.stderr
    assert (
        "ImportError" in done.stderr or "RuntimeError" in done.stderr or "ValueError" in done.stderr
    )


@pytest.mark.parametrize("name, value", [("GOMP_SPINCOUNT", "77"), ("OMP_WAIT_POLICY", "passive")])
def test_the_environment_is_the_users(name, value):
    """Threads are told to sleep soon by a variable that is gone after the import."""
    code = """
import os
before = dict(os.environ)
import bpcore
assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())
"""
    support.run_python(code)
    support.run_python(code, **{name: value})
