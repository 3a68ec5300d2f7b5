"""Files of other runs, damaged ones, and bad arguments: refused before anything is changed."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import CheckpointError
from bpcore.files import checkpoint, values
from bpcore.train import resume

from .helpers import files, support
from .helpers.checkpoint_runs import (
    O,
    Recorder,
    X,
    Y,
    fit,
    no_waiting_for_the_disk,
    small,
    stopped_after,
)

__all__ = ["no_waiting_for_the_disk"]


def changed(index, value):
    x = X.copy()
    x[index] = value
    return x


OTHER_RUNS = {
    "width": (lambda p: fit(small(width=6), p), r"model config.*units was '5', is '6'"),
    "seed": (lambda p: fit(small(seed=1), p), "seed was '0', is '1'"),
    "dtype": (lambda p: fit(small(dtype="float64"), p), "dtype"),
    "optimizer": (lambda p: fit(small("sgd"), p), "optimizer.*'Adam', is 'SGD'"),
    "rate": (lambda p: fit(small(lambda: O.Adam(0.002)), p), "optimizer"),
    "metrics": (lambda p: fit(small(metrics=()), p), "metrics"),
    "groups": (
        lambda p: fit(small(parameter_groups={"*/bias": {"learning_rate_factor": 2.0}}), p),
        "parameter_groups",
    ),
    "accumulate": (lambda p: fit(small(accumulate_steps=2), p), "accumulate_steps was '1', is '2'"),
    "loss": (lambda p: fit(small(loss=bp.losses.CrossEntropy(label_smoothing=0.1)), p), "loss"),
    "loss_weights": (lambda p: fit(small(loss_weights=[2.0]), p), "loss_weights"),
    "validation_freq": (lambda p: fit(small(), p, validation_freq=2), "validation_freq"),
    "validation_steps": (lambda p: fit(small(), p, validation_steps=1), "validation_steps"),
    "validation_batch_size": (
        lambda p: fit(small(), p, validation_batch_size=7),
        "validation_batch_size was '1024', is '7'",
    ),
    "steps_per_epoch": (lambda p: fit(small(), p, steps_per_epoch=3), "steps_per_epoch"),
    "initial_epoch": (lambda p: fit(small(), p, initial_epoch=1), "initial_epoch"),
    "clip_value": (lambda p: fit(small(gradient_clip_value=1.0), p), "gradient_clip_value"),
    "clip": (lambda p: fit(small(gradient_clip_norm=1.0), p), "gradient_clip_norm"),
    "epochs": (lambda p: fit(small(), p, epochs=4), "epochs was '3', is '4'"),
    "batch_size": (lambda p: fit(small(), p, batch_size=9), "batch_size was '8', is '9'"),
    "shuffle": (lambda p: fit(small(), p, shuffle=False), "shuffle"),
    "one value": (lambda p: fit(small(), p, x=changed((3, 1), 0.5)), r"data x\[0\] sha256"),
    "rows": (lambda p: fit(small(), p, x=X[:40], y=Y[:40]), "data x.*shape"),
    "labels": (lambda p: fit(small(), p, y=(Y + 1) % 3), r"data y\[0\] sha256"),
    "sample_weight": (lambda p: fit(small(), p, sample_weight=np.ones(50)), "sample_weight"),
    "validation": (lambda p: fit(small(), p, validation_data=None), "validation data"),
    "callbacks": (lambda p: fit(small(), p, callbacks=[Recorder()]), "callbacks"),
    "weights": (lambda p: fit(_moved(small()), p), "weights at the start"),
    "trained": (lambda p: fit(_trained(small()), p), "counters"),
}


def _moved(model):
    model.build((6,))
    model.set_weights([w + 0.1 for w in model.get_weights()])
    return model


def _trained(model):
    model.fit(X, Y, verbose=0)
    return model


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run.ckpt"
    fit(small(), str(path))
    return path.read_bytes()


@pytest.mark.parametrize("name", OTHER_RUNS)
def test_another_run_is_refused_and_nothing_changes(tmp_path, finished, name, monkeypatch):
    run, message = OTHER_RUNS[name]
    path = tmp_path / "run"
    path.write_bytes(finished)
    models = []
    real = resume.Run.__init__

    def init(self, loop, *rest):
        models.append((loop.model, support.weights_hash(loop.model)))
        real(self, loop, *rest)

    monkeypatch.setattr(resume.Run, "__init__", init)
    with pytest.raises(
        CheckpointError, match=f"(?s){message}.*delete the file, or pass another path"
    ):
        run(str(path))
    model, before = models[0]
    assert support.weights_hash(model) == before and path.read_bytes() == finished
    assert os.listdir(tmp_path) == ["run"]


def test_damaged_files_and_other_files(tmp_path, finished):
    path = tmp_path / "run"
    for data, message in (
        (finished[:-1], "delete the file"),
        (b"", "0 bytes.*delete the file"),
        (files.forged(*files.model_parts()), "holds no optimizer state"),
        (files.forged(*files.checkpoint_parts()), "was not written by fit"),
    ):
        path.write_bytes(data)
        model = small()
        with pytest.raises(CheckpointError, match=message):
            fit(model, str(path))
        assert path.read_bytes() == data


def test_positions_that_make_no_sense(tmp_path):
    """The part of fit in a file is checked before anything is changed."""
    path = tmp_path / "run"
    fit(small(), str(path), 3)
    document, sound, arrays = files.taken_apart(path)
    for key, value in (
        ("position", [-1, 0]),
        ("position", [4, 0]),
        ("position", [0, -1]),
        ("position", [0]),
        ("position", None),
        ("position", ["0", 0]),
        ("finished", 1),
        ("stopped", "x"),
        ("callbacks", [{"class_name": "Popen", "state": {}}]),
        ("callbacks", 3),
        ("history", {"$array": "@array/99"}),
        ("history", {"$float": "3"}),
        ("history", {"epoch": [0], "history": {"loss": [1.0]}}),
        ("history", {"epoch": [0], "history": {"loss": [1.0]}, "epochs": {}}),
        ("history", {"epoch": [0], "history": {"loss": [1.0]}, "epochs": {"loss": []}}),
        ("history", {"epoch": [0], "history": {"loss": [1.0]}, "epochs": {"loss": [1]}}),
        ("history", {"epoch": [0], "history": {"loss": ["1"]}, "epochs": {"loss": [0]}}),
        ("run", []),
        ("metrics", {"$array": "x"}),
    ):
        path.write_bytes(files.put_together(document, {**sound, key: value}, arrays))
        model = small()
        model.build((6,))
        before = support.weights_hash(model)
        with pytest.raises(CheckpointError):
            fit(model, str(path), 3)
        assert support.weights_hash(model) == before


def test_gathered_results_that_do_not_fit(tmp_path, monkeypatch):
    path = tmp_path / "run"
    stopped_after(1, monkeypatch, lambda: fit(small(), str(path), 3))
    document, sound, arrays = files.taken_apart(path)
    for gathered in (
        None,
        {},
        {"loss": [1.0, 2.0], "samples": 8, "last_loss": 0.0, "metrics": [[]]},
        {"loss": [1.0], "samples": -1, "last_loss": 0.0, "metrics": [[[1.0, 1.0]]]},
        {"loss": [1.0], "samples": 8, "last_loss": 0.0, "metrics": [[[1.0]]]},
    ):
        held = {**sound, "gathered": gathered}
        path.write_bytes(files.put_together(document, held, arrays))
        with pytest.raises(CheckpointError):
            fit(small(), str(path), 3)


def test_the_cpu_and_the_version_are_compared(tmp_path, monkeypatch):
    path = str(tmp_path / "run")
    stopped_after(1, monkeypatch, lambda: fit(small(), path))
    code = """
import sys
from tests.helpers import checkpoint_runs as t
try:
    t.fit(t.small(), sys.argv[1])
except UserWarning as warning:
    print(warning)
"""
    if "baseline" in support.tiers() and bp._core.config()["fma"]:
        done = support.run_python(
            "import warnings; warnings.simplefilter('error')" + code, path, BPCORE_ISA="baseline"
        )
        assert "not guaranteed" in done.stdout and "no FMA" in done.stdout
    monkeypatch.setattr(checkpoint, "__version__", "99.0")
    with pytest.warns(UserWarning, match=r"written by bpcore .*, this is 99\.0"):
        fit(small(), path)


def test_bad_arguments(tmp_path):
    path = str(tmp_path / "run")
    for options, error, message in (
        ({"checkpoint": 3}, TypeError, "path must be"),
        ({"checkpoint": ""}, ValueError, "non-empty"),
        ({"checkpoint_every": 5}, ValueError, "needs checkpoint"),
        ({"checkpoint": path, "checkpoint_every": 0}, ValueError, "checkpoint_every must be >= 1"),
        ({"checkpoint": path, "checkpoint_every": -1}, ValueError, "checkpoint_every"),
        ({"checkpoint": path, "checkpoint_every": float("nan")}, TypeError, "checkpoint_every"),
        ({"checkpoint": str(tmp_path)}, IsADirectoryError, "directory"),
        ({"checkpoint": str(tmp_path / "no" / "run")}, FileNotFoundError, "no"),
    ):
        model = small()
        model.build((6,))
        before = support.weights_hash(model)
        with pytest.raises(error, match=message):
            model.fit(X, Y, verbose=0, **options)
        assert support.weights_hash(model) == before
    with pytest.raises(ValueError, match="needs arrays"):
        small().fit(iter([(X, Y)]), checkpoint=path, verbose=0)
    assert not os.listdir(tmp_path)


def test_states_that_no_file_can_hold(tmp_path):
    class Bad(bp.callbacks.Callback):
        def get_state(self):
            return {"a": [1, {"b": self.state}]}

    for state in (object(), {1: 2}, {"$x": 1}, 1j, np.array(["a"]), 2**70):
        bad = Bad()
        bad.state = state
        with pytest.raises((TypeError, ValueError), match=r"state of callback Bad|dtype"):
            fit(small(), str(tmp_path / "run"), callbacks=[bad])
    assert not os.listdir(tmp_path)


def test_encode_and_decode():
    value = {
        "a": [1, 2.5, True, None, "x", (3, 4)],
        "b": {"c": np.arange(3), "d": float("-inf")},
        "e": [np.float32(0.1), float("inf"), np.bool_(True)],
        "long": [[0.5, float("nan")] * 20, list(range(-30, 30)), [1, 0.5] * 20, [True] * 20],
        "beyond": [2**63] * 20,
    }
    arrays = {}
    encode = values.Encoder(arrays)
    data = encode(value, "state")
    encode.close()
    assert len(json.dumps(data)) < 1500 and set(arrays) == {"@array/0", "@reals", "@integers"}
    decode = values.Decoder(arrays)
    again = decode(json.loads(json.dumps(data)))
    decode.check_all_used()
    assert again["a"] == [1, 2.5, True, None, "x", [3, 4]]
    assert again["e"] == [float(np.float32(0.1)), float("inf"), True]
    assert again["b"]["d"] == float("-inf") and (again["b"]["c"] == np.arange(3)).all()
    assert repr(again["long"]) == repr(value["long"]) and again["beyond"] == value["beyond"]
    again["b"]["c"][:] = 7  # its own
    assert (arrays["@array/0"] == np.arange(3)).all()


def test_values_that_no_encoder_made():
    arrays = {"@array/0": np.zeros(2), "@reals": np.zeros(3), "@integers": np.zeros((2, 2), int)}
    for value in (
        {"$float": "3"},
        {"$float": []},
        {"$array": "@array/1"},
        {"$array": "@reals"},
        {"$array": 0},
        {"$reals": [0, 4]},
        {"$reals": [-1, 2]},
        {"$reals": [4, 0]},
        {"$reals": [True, 1]},
        {"$reals": 3},
        {"$integers": [0, 1]},
    ):
        with pytest.raises((ValueError, TypeError, LookupError)):
            values.Decoder(arrays)([value])
    with pytest.raises(ValueError, match="no part of any state"):
        values.Decoder(arrays).check_all_used()


def test_two_fits_on_one_path(tmp_path):
    path = str(tmp_path / "run")
    errors = []

    class Second(bp.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            try:
                fit(small(), path)
            except CheckpointError as error:
                errors.append(str(error))

    fit(small(), path, callbacks=[Second()])
    assert len(errors) == 3 and f"process {os.getpid()}" in errors[0]
    assert os.listdir(tmp_path) == ["run"]
