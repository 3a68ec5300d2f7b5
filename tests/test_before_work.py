"""What can be known before the first step is an error before it: names, format codes, paths."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import bpcore as bp
from bpcore.cli import commands as cli

from .helpers import support

C = bp.callbacks


def data(rows=64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 6))
    return x, (x @ rng.normal(size=(6, 4))).argmax(axis=1)


def network():
    model = bp.Sequential([bp.layers.Dense(4)], seed=3)
    model.compile("adam", loss="cross_entropy", metrics=["accuracy"])
    model.build((6,))
    return model


class Adds(C.Callback):
    """A callback of the user's that adds a number to the logs."""

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = float(epoch)


BAD = {
    "early stopping without validation": (
        lambda tmp: [C.EarlyStopping()], ValueError, r"val_loss.*loss, accuracy.*validation_data"),
    "misspelt metric": (
        lambda tmp: [C.EarlyStopping("acuracy", mode="max")], ValueError,
        r"acuracy.*did you mean 'accuracy'"),
    "misspelt monitor of a rate": (
        lambda tmp: [C.ReduceLROnPlateau("los", mode="min")], ValueError, r"did you mean 'loss'"),
    "rate monitored before it is added": (
        lambda tmp: [C.EarlyStopping("learning_rate", mode="min"),
                     C.LearningRateScheduler(lambda epoch: 0.1)],
        ValueError, r"learning_rate.*must come first"),
    "best checkpoint without validation": (
        lambda tmp: [C.ModelCheckpoint(tmp / "m.safetensors", save_best_only=True)], ValueError,
        r"val_loss.*validation_data"),
    "unknown field": (
        lambda tmp: [C.ModelCheckpoint(tmp / "m-{val_acc}.safetensors")], ValueError,
        r"field 'val_acc'.*epoch, loss, accuracy"),
    "misspelt field": (
        lambda tmp: [C.ModelCheckpoint(tmp / "m-{acuracy:.3f}.safetensors")], ValueError,
        r"did you mean 'accuracy'"),
    "format code of another type": (
        lambda tmp: [C.ModelCheckpoint(tmp / "m-{loss:d}.safetensors")], ValueError,
        r"cannot be filled in"),
    "folder that is a file": (
        lambda tmp: [C.ModelCheckpoint(tmp / "file" / "m.safetensors")], NotADirectoryError,
        r"is a file"),
    "path that is a folder": (
        lambda tmp: [C.ModelCheckpoint(tmp)], IsADirectoryError, r"is a folder"),
    "csv in a missing folder": (
        lambda tmp: [C.CSVLogger(tmp / "missing" / "log.csv")], FileNotFoundError, r"no folder"),
    "csv below a file": (
        lambda tmp: [C.CSVLogger(tmp / "file" / "log.csv")], NotADirectoryError, r"is a file"),
}  # fmt: skip


def test_a_misspelt_monitor_gets_the_nearest_name():
    with pytest.raises(ValueError, match=r"'val_los'.*did you mean 'val_loss'.*mode='min'"):
        C.ReduceLROnPlateau("val_los")


@pytest.mark.parametrize("case", BAD)
def test_a_callback_that_cannot_work_is_refused_before_training(case, tmp_path):
    make, error, words = BAD[case]
    (tmp_path / "file").write_text("mine")
    model, (x, y) = network(), data()
    before = support.weights_hash(model)
    with pytest.raises(error, match=words):
        model.fit(x, y, verbose=0, callbacks=make(tmp_path))
    assert support.weights_hash(model) == before and model.optimizer.iterations == 0
    assert (tmp_path / "file").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_batch_fields_have_no_validation(tmp_path):
    model, (x, y) = network(), data()
    path = tmp_path / "m-{batch}-{val_loss:.2f}.safetensors"
    with pytest.raises(ValueError, match="field 'val_loss'"):
        model.fit(x, y, validation_split=0.5, verbose=0,
                  callbacks=[C.ModelCheckpoint(path, save_freq=1)])  # fmt: skip


def test_what_callbacks_add_is_known_or_waited_for(tmp_path):
    model, (x, y) = network(), data()
    rate = C.LearningRateScheduler(lambda epoch: 0.1)
    stop = C.EarlyStopping("score", mode="max", patience=3)
    path = tmp_path / "{epoch}-{learning_rate:.1f}-{score:.0f}.safetensors"
    model.fit(x, y, epochs=2, verbose=0,
              callbacks=[rate, Adds(), stop, C.ModelCheckpoint(path)])  # fmt: skip
    assert stop.best == 1.0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "1-0.1-0.safetensors",
        "2-0.1-1.safetensors",
    ]
    with pytest.raises(ValueError, match=r"monitors 'score', but the epochs of this fit have only"):
        model.fit(x, y, verbose=0, callbacks=[C.EarlyStopping("score", mode="max"), Adds()])


def test_a_decorated_hook_may_add_to_the_logs_too():
    """Though `functools.wraps` makes it look like the one that it wraps."""

    def scored(hook):
        @functools.wraps(hook)
        def call(self, epoch, logs=None):
            logs["score"] = float(epoch)
            hook(self, epoch, logs)

        return call

    class Scored(C.TerminateOnNaN):
        on_epoch_end = scored(C.TerminateOnNaN.on_epoch_end)

    model, (x, y) = network(), data()
    stop = C.EarlyStopping("score", mode="max", patience=3)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[Scored(), stop])
    assert stop.best == 1.0


def test_names_of_several_outputs_are_known():
    a = bp.Input((6,))
    model = bp.Model(a, {"p": bp.layers.Dense(4)(a), "q": bp.layers.Dense(1)(a)}, seed=0)
    model.compile("adam", loss={"p": "cross_entropy", "q": "mse"}, metrics={"p": ["accuracy"]})
    x, y = data()
    seen = []
    look = C.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(list(logs)))
    stop = C.EarlyStopping("val_p_accuracy", mode="max")
    model.fit(x, {"p": y, "q": x[:, :1]}, validation_split=0.25, verbose=0, callbacks=[stop, look])
    assert list(stop.params["logs"]) == seen[0]


def test_demo_looks_at_its_paths_before_training(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for option in ("--save", "--plot"):
        assert cli.main(["demo", option, str(tmp_path / "file" / "x"), "--epochs", "1"]) == 2
        assert cli.main(["demo", option, str(tmp_path), "--epochs", "1"]) == 2
        error = capsys.readouterr()
        assert option in error.err and "epoch" not in error.out
    assert (tmp_path / "file").read_text() == "mine"
