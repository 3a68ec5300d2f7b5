"""Checkpoints that no run has written, under hashes that fit: refused before anything changes.

The issue's own input among them: four sums of r2 for 2,000 outputs, which overflowed the heap.
"""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import CheckpointError

from .fuzz import fuzz_checkpoints as fuzz
from .helpers import files, runs


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)


def stopped(name, path, stop=("batch", 6)):
    """A sound checkpoint of one of the runs, taken apart."""
    with pytest.raises(runs.Stop):
        runs.RUNS[name](str(path), stop)
    return files.taken_apart(path)


def refused(name, path, data, message):
    """The run's fit refuses the file; nothing of it and no file has changed."""
    path.write_bytes(data)
    with fuzz.Watch() as watch:
        with pytest.raises(CheckpointError, match=message):
            runs.RUNS[name](str(path))
        watch.check_refused(str(path), data)


def test_sums_of_a_metric_that_are_too_few(tmp_path):
    """In a new process' fit, which is where it crashed."""
    x, y, path = np.ones((6, 3)), np.ones((6, 2000)), tmp_path / "run"

    class Stop(bp.callbacks.Callback):
        def __init__(self, at):
            self.at = at

        def on_train_batch_begin(self, batch, logs=None):
            if batch == self.at:
                raise runs.Stop

    def fit(at):
        model = bp.Sequential([bp.layers.Dense(2000)], seed=0)
        model.compile("sgd", "mse", ["r2"])
        options = {"checkpoint": path, "checkpoint_every": 1, "callbacks": [Stop(at)]}
        return model.fit(x, y, batch_size=2, verbose=0, **options)

    with pytest.raises(runs.Stop):
        fit(2)
    document, held, arrays = files.taken_apart(path)
    place = held["gathered"]["metrics"][0][0]["$array"]
    assert arrays[place].shape == (8000,)
    for few in (0, 4, 7996, 7999, 8001, 16000):
        changed = {**arrays, place: np.resize(arrays[place], few)}
        path.write_bytes(files.put_together(document, held, changed))
        with pytest.raises(CheckpointError, match=r"gathered.metrics.*shape \(8000,\)"):
            fit(None)
    path.write_bytes(files.put_together(document, held, arrays))
    assert len(fit(None).epoch) == 1


# where in (document, part of fit), what stands there instead, what the message says
FORGED = [
    ("regression", "held", ("position",), [1, -1], "position"),
    ("regression", "held", ("position",), [1, 4], r"position\[1\]"),
    ("regression", "held", ("position",), [3, 1], "position"),
    ("regression", "held", ("position",), [1.0, 2], r"position\[0\]"),
    ("regression", "held", ("finished",), True, "finished run"),
    ("regression", "held", ("stopped",), 1, "stopped"),
    ("binary", "held", ("position",), [1, 1], "gradients wait"),
    ("regression", "held", ("gathered", "samples"), 7, "samples"),
    ("regression", "held", ("gathered", "samples"), 2**63, "samples"),
    ("regression", "held", ("gathered", "loss"), [1.0], "loss"),
    ("regression", "held", ("gathered", "penalty"), None, "penalty"),
    ("regression", "held", ("gathered", "metrics"), [[]], "metrics"),
    ("regression", "held", ("gathered",), None, "gathered"),
    ("regression", "held", ("history", "epoch"), [0, 1], r"history.epoch\[1\]"),
    ("regression", "held", ("history", "epoch"), [0, 0], "ascending"),
    ("regression", "held", ("history", "history", "loss"), [], "history.loss"),
    ("regression", "held", ("history", "history", "r2"), ["x"], "history.r2"),
    ("regression", "held", ("history", "history", "r2"), [True], "history.r2"),
    ("regression", "held", ("callbacks", 0, "state", "count"), -1, "count"),
    ("regression", "held", ("callbacks", 0, "state", "last"), "3", "last"),
    ("regression", "held", ("callbacks", 0, "state", "average"), {"0": {}}, "average"),
    ("regression", "held", ("callbacks", 1, "state", "best"), "none", "best"),
    ("regression", "held", ("callbacks", 1, "state", "best_epoch"), -2, "best_epoch"),
    ("regression", "held", ("callbacks", 1, "state", "wait"), 2**64, "wait"),
    ("regression", "held", ("callbacks", 1, "state"), {}, "missing"),
    ("regression", "held", ("callbacks", 1, "class_name"), "SWA", "class_name"),
    ("regression", "held", ("callbacks",), [], "callbacks"),
    ("labels", "held", ("callbacks", 1, "state", "records"), [{}], "a diagnosis"),
    ("wide", "held", ("callbacks", 0, "state", "epoch"), -2, "epoch"),
    ("wide", "held", ("callbacks", 1, "state", "spent"), float("inf"), "spent|canonical|JSON"),
    ("in_python", "held", ("metrics", 0, 2, "update_state"), 3, "attributes of the metric"),
    ("in_python", "held", ("metrics", 0, 2, "value"), [], "value"),
    ("in_python", "held", ("metrics", 0, 0), "1", r"metrics\[0\]\[0\]"),
    ("in_python", "held", ("metrics",), [], "metrics"),
    ("in_python", "held", ("callbacks", 0, "state", "note"), 3, "does not take its state"),
    ("in_python", "held", ("callbacks", 0, "state", "losses"), ["x"], "does not take its state"),
    ("regression", "document", ("state", "iterations"), 2**62, "iterations"),
    ("regression", "document", ("state", "iterations"), -1, "iterations"),
    ("regression", "document", ("state", "draws"), 10, "draws"),
    ("regression", "document", ("state", "epochs_done"), 2**40, "epochs_done"),
    ("regression", "document", ("state", "stream"), -1, "stream"),
    ("regression", "document", ("state", "seed"), None, "seed"),
    ("regression", "document", ("state", "seed"), 5, "seed"),
    ("regression", "document", ("state", "fma"), 1, "fma"),
    ("regression", "document", ("state", "learning_rate"), -0.1, "learning_rate"),
    ("regression", "document", ("state", "learning_rate"), None, "learning_rate"),
    ("regression", "document", ("state", "learning_rate"),
     {"class_name": "Exponential", "config": {
         "initial_learning_rate": 1e300, "decay_steps": 1, "decay_rate": 1e300}}, "rates that are"),
    ("pairs", "document", ("state", "learning_rate"),
     {"class_name": "Constant", "config": {"learning_rate": 0.1}}, "a callback sets"),
    ("labels", "document", ("state", "random"), {}, "random"),
    ("labels", "document", ("state", "random", "dropout"), [0, -1], "random.dropout"),
    ("labels", "document", ("state", "random", "dropout"), [2**64, 0], "random.dropout"),
]  # fmt: skip


@pytest.mark.parametrize("name, part, place, value, message", FORGED, ids=str)
def test_forged_values(tmp_path, name, part, place, value, message):
    path = tmp_path / "run"
    document, held, arrays = stopped(name, path)
    at = {"held": held, "document": document}[part]
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    refused(name, path, files.put_together(document, held, arrays), message)


ARRAYS = [
    ("regression", "@optimizer/velocity/dense/kernel", lambda a: a * np.nan, "NaN or Inf"),
    ("regression", "@optimizer/velocity/dense/kernel", lambda a: a.T, "velocity/dense/kernel"),
    ("regression", "@optimizer/velocity/dense/bias", None, "missing"),
    ("regression", "dense/kernel", lambda a: a.astype(np.float64), "dense/kernel"),
    ("regression", "dense/kernel", lambda a: a[:-1], "dense/kernel"),
    ("regression", "dense/kernel", None, "missing"),
    ("labels", "@optimizer/square/dense/kernel", lambda a: a - 1, r"square.*numbers >= 0"),
    ("labels", "batch_normalization/moving_variance", lambda a: -a, "numbers >= 0"),
    ("pairs", "@optimizer/square/dense/bias", lambda a: a * np.inf, "NaN or Inf"),
    ("binary", "@optimizer/step/dense/bias", lambda a: -a, "numbers >= 0"),
    ("regression", "@array/0", lambda a: a[:0], "shape"),
    ("regression", "@array/0", lambda a: a.astype(np.float32), "dtype"),
    ("regression", "@array/0", None, "@array/0"),
    ("regression", "@fit", lambda a: a, "."),
]


@pytest.mark.parametrize(
    "name, array, change, message", ARRAYS, ids=lambda of: None if callable(of) else str(of)
)
def test_forged_arrays(tmp_path, name, array, change, message):
    path = tmp_path / "run"
    document, held, arrays = stopped(name, path)
    if array == "@fit":  # in another shape
        text = np.frombuffer(files.dumps(held).encode(), np.uint8)
        data = files.forged(document, {**arrays, "@fit": text[None]})
        return refused(name, path, data, "@fit.*expected a row of bytes")
    changed = dict(arrays)
    if change is None:
        del changed[array]
    else:
        with np.errstate(all="ignore"):
            changed[array] = np.ascontiguousarray(change(arrays[array]))
    refused(name, path, files.put_together(document, held, changed), message)


def test_arrays_that_belong_to_nothing(tmp_path):
    path = tmp_path / "run"
    document, held, arrays = stopped("regression", path)
    for key in ("@x", "@array/77", "@reals", "a/b", "@optimizer/mean/dense/kernel", "@array/a"):
        data = files.put_together(document, held, {**arrays, key: np.zeros(3, np.float32)})
        refused("regression", path, data, "array|not expected")


def test_text_of_fit_that_is_no_canonical_json(tmp_path):
    path = tmp_path / "run"
    document, held, arrays = stopped("regression", path)
    text = files.dumps(held).encode()
    bad = [b"", b"[]", text + b" ", text[:-1], text.replace(b"{", b"{ ", 1), b"\xff" + text]
    bad += [b"[" * 10**6, b'{"a":' * 10**5, text.replace(b"0", b"0e0", 1), b"1" * 10**5]
    for other in bad:
        refused("regression", path, files.put_together(document, other, arrays), ".")


def test_callbacks_go_back_together(tmp_path):
    """One that does not take its state leaves those before it as they were, and the weights."""
    path = tmp_path / "run"

    class Picky(bp.callbacks.Callback):
        def get_state(self):
            return {"a": 1}

        def set_state(self, state):
            raise ZeroDivisionError("no")

    def fit(stop):
        model = bp.Sequential([bp.layers.Dense(2)], seed=0)
        model.compile("adam", "mse")
        stopping, average = bp.callbacks.EarlyStopping("loss"), bp.callbacks.EMA(0.5)
        items = [stopping, average, Picky(), runs.Interrupt(stop)]
        try:
            runs.fit(model, path, None, runs.X, runs.REAL, callbacks=items)
        except (runs.Stop, CheckpointError) as error:
            return model, stopping, average, error

    fit(("epoch", 3))
    before = path.read_bytes()
    model, stopping, average, error = fit(None)
    assert "Picky does not take its state: ZeroDivisionError: no; nothing was changed" in str(error)
    assert stopping.best == float("inf") and not stopping._kept and not average.get_weights()
    assert model.optimizer.iterations == 0 and path.read_bytes() == before
    fresh = bp.Sequential([bp.layers.Dense(2)], seed=0)
    fresh.build((4,))
    for a, b in zip(model.get_weights(), fresh.get_weights(), strict=True):
        assert (a == b).all()


def test_a_few_hundred_mutants():
    """A part of what the nox session `fuzz_checkpoints` does 20,000 times under sanitizers."""
    found = fuzz.run(250, seed=11)
    assert found["refused"] > 120 and found["trained"] > 20


@pytest.mark.parametrize("blind", ["fit", "arrays_kind"])
def test_the_fuzzer_bites(monkeypatch, blind):
    """Without one of the descriptions it finds a flaw soon."""
    from bpcore.base import kinds
    from bpcore.files import checkpoint
    from bpcore.train.expected import Expected

    where = checkpoint if blind == "arrays_kind" else Expected
    monkeypatch.setattr(where, blind, lambda *a: kinds.Anything())
    with pytest.raises(RuntimeError, match="kept as"):
        fuzz.run(2000, seed=5)
