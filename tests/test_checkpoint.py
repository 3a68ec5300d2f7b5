"""Checkpoints: what a killed run and its next start make is what one run makes, bit for bit."""

from __future__ import annotations

import os

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import CheckpointError, FormatError
from bpcore.files import container

from .crash import kill
from .helpers import support
from .helpers.checkpoint_runs import (
    O,
    Recorder,
    X,
    Y,
    everything,
    fit,
    no_waiting_for_the_disk,
    small,
    stopped_after,
)

__all__ = ["no_waiting_for_the_disk"]

OPTIMIZERS = {
    "momentum": lambda: O.SGD(0.05, momentum=0.9, nesterov=True),
    "adam-schedule": lambda: O.Adam(bp.schedules.OneCycle(0.02, 21)),
    "rmsprop": lambda: O.RMSprop(0.01),
    "nadam": lambda: O.Nadam(0.01),
    "lion": lambda: O.Lion(0.001),
    "kfac": lambda: O.KFAC(0.05, refresh=4),
    "amsgrad-python-rate": lambda: O.Adam(lambda step: 0.01 / (1 + step), amsgrad=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_stop_resumes_to_the_same_bits(tmp_path, monkeypatch, name):
    """A save after every batch and every epoch's end, each followed by a new process' resume."""
    path = str(tmp_path / "run")
    model = small(OPTIMIZERS[name], metrics=("accuracy", "f1"))
    expected = everything(model, fit(model))
    for every, stops in ((1, (1, 7, 8, 20, 22)), (None, (1, 3)), (4, (3, 5))):
        for saves in stops:
            work = small(OPTIMIZERS[name], metrics=("accuracy", "f1"))
            assert stopped_after(saves, monkeypatch, lambda m=work, e=every: fit(m, path, e))
            bp.set_num_threads(1 + saves % 3, exact=True)
            again = small(OPTIMIZERS[name], metrics=("accuracy", "f1"))
            assert everything(again, fit(again, path, every)) == expected, (every, saves)
            os.unlink(path)
    assert not os.listdir(tmp_path)


def test_a_chain_of_stops_and_a_finished_run(tmp_path, monkeypatch):
    """Killed after each save in turn; then a call trains no more and gives the History at once."""
    path = str(tmp_path / "run")
    model = small(dtype="float64")
    expected = everything(model, fit(model))
    count = 0
    while stopped_after(1, monkeypatch, lambda: fit(small(dtype="float64"), path, 3)):
        count += 1
        assert count < 20
        if bp.load_checkpoint(path).optimizer.iterations == 21:
            break
    assert count >= 7
    for _ in range(2):
        again = small(dtype="float64")
        assert everything(again, fit(again, path, 3)) == expected
    assert bp.load_checkpoint(path).evaluate(X, Y) == model.evaluate(X, Y)
    before = os.stat(path).st_mtime_ns
    fit(small(dtype="float64"), path, 3)
    assert os.stat(path).st_mtime_ns == before


CASES = {
    "accumulate": ({"accumulate_steps": 3}, {}),
    "clip": ({"gradient_clip_norm": 0.3}, {}),
    "weights": ({}, {"sample_weight": np.linspace(0.1, 2, 50)}),
    "no-shuffle": ({}, {"shuffle": False, "validation_data": None}),
    "split": ({}, {"validation_data": None, "validation_split": 0.3}),
    "steps": ({"accumulate_steps": 2}, {"steps_per_epoch": 5}),
    "initial-epoch": ({}, {"initial_epoch": 1, "validation_freq": 2}),
    "full-batch": ({}, {"batch_size": None}),
    "class-weight": ({}, {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}}),
    "rprop": ({"optimizer": "rprop"}, {"batch_size": None}),
    "python-metric": ({"metrics": [lambda t, p: float(np.abs(p).mean())]}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_options_of_fit(tmp_path, monkeypatch, name):
    compile_options, fit_options = CASES[name]
    path = str(tmp_path / "run")
    model = small(**compile_options)
    expected = everything(model, fit(model, **fit_options))
    reached = 0
    for saves in (1, 2, 4, 7, 9):
        if not stopped_after(
            saves, monkeypatch, lambda: fit(small(**compile_options), path, 2, **fit_options)
        ):
            break
        reached = saves
        again = small(**compile_options)
        assert everything(again, fit(again, path, 2, **fit_options)) == expected, saves
        os.unlink(path)
    assert reached >= 1


def test_gathered_scores_of_auc_and_r2(tmp_path, monkeypatch):
    """Metrics whose state is more than sums."""
    target = (Y > 0).astype(float)[:, None]

    def make():
        model = bp.Sequential([bp.layers.Dense(4, "tanh"), bp.layers.Dense(1)], seed=1)
        model.compile("adam", "binary_cross_entropy", ["auc", "r2", "mae", "binary_accuracy"])
        return model

    model = make()
    history = model.fit(X, target, 8, 2, 0).history
    path = str(tmp_path / "run")
    options = {"checkpoint": path, "checkpoint_every": 1}
    for saves in (2, 9):
        assert stopped_after(saves, monkeypatch, lambda: make().fit(X, target, 8, 2, 0, **options))
        assert make().fit(X, target, 8, 2, 0, **options).history == history
        os.unlink(path)


class Running:
    """A metric in Python with a state of its own."""

    name = "running"

    def __init__(self):
        self.reset_state()

    def reset_state(self):
        self.values = []

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.values.append(float(y_pred.sum()))

    def result(self):
        return sum(self.values)


@pytest.mark.parametrize("stop_at", [None, 5, 14])
def test_states_of_callbacks_and_metrics(tmp_path, monkeypatch, stop_at):
    """Also a run that a callback ends early, even where the kill comes after that."""
    path = str(tmp_path / "run")

    def run(**options):
        recorder, model = Recorder(stop_at), small(metrics=[Running()])
        history = fit(model, callbacks=[recorder], **options)
        kept = [w.tobytes() for w in recorder.kept[1]]
        return recorder.seen, kept, everything(model, history)

    expected = run()
    for saves in (1, 3, 5, 8):
        if stopped_after(saves, monkeypatch, lambda: run(path=path, every=1)):
            assert run(path=path, every=1) == expected
        assert run(path=path, every=1) == expected  # finished
        os.unlink(path)


def test_a_rate_that_a_callback_changed(tmp_path, monkeypatch):
    class Halve(bp.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.learning_rate = self.model.optimizer.learning_rate / 2

    path = str(tmp_path / "run")
    model = small(lambda: O.SGD(0.1))
    expected = everything(model, fit(model, callbacks=[Halve()]))
    assert stopped_after(
        2, monkeypatch, lambda: fit(small(lambda: O.SGD(0.1)), path, callbacks=[Halve()])
    )
    again = small(lambda: O.SGD(0.1))
    assert everything(again, fit(again, path, callbacks=[Halve()])) == expected
    assert again.optimizer.learning_rate == 0.1 / 8


def test_a_model_without_a_seed_takes_the_one_of_the_run(tmp_path, monkeypatch):
    path = str(tmp_path / "run")
    first = small(seed=None)
    assert stopped_after(2, monkeypatch, lambda: fit(first, path, 3))
    second, third = small(seed=None), small(seed=None)
    history = fit(second, path, 3)
    assert second.seed == first.seed
    assert everything(third, fit(third, path, 3)) == everything(second, history)


@pytest.mark.parametrize("layout", ["fortran", "float32", "big-endian", "list", "memmap"])
def test_the_same_data_in_another_layout(tmp_path, layout):
    """What trains to the same bits is the same data; another dtype is not."""
    path = str(tmp_path / "run")
    expected = fit(small(), path).history
    if layout == "float32":
        with pytest.raises(CheckpointError, match=r"data x\[0\] dtype was 'float64', is 'float32'"):
            fit(small(), path, x=X.astype(np.float32))
        return
    x = {"fortran": np.asfortranarray(X), "big-endian": X.astype(">f8"), "list": X.tolist()}
    if layout == "memmap":
        mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=X.shape)
        mapped[:] = X
        x["memmap"] = mapped
    assert fit(small(), path, x=x[layout]).history == expected


# ---- save_checkpoint and load_checkpoint ---------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_save_and_load_go_on_with_the_same_bits(tmp_path, name):
    if name == "amsgrad-python-rate":
        model = small(OPTIMIZERS[name])
        fit(model)
        with pytest.raises(TypeError, match="learning_rate"):
            model.save_checkpoint(tmp_path / "m")
        return
    model = small(OPTIMIZERS[name])
    fit(model, epochs=2)
    model.save_checkpoint(tmp_path / "m")
    again = bp.load_checkpoint(tmp_path / "m")
    assert everything(again, fit(again, epochs=2)) == everything(model, fit(model, epochs=2))


def test_a_functional_model_with_frozen_layers_goes_on(tmp_path):
    def make():
        a = bp.Input((6,), name="a")
        h = bp.layers.Dense(4, "relu", name="frozen", trainable=False)(a)
        model = bp.Model(a, bp.layers.Dense(3, name="out")(h) + bp.layers.Dense(3)(a), seed=2)
        model.compile(O.AdamW(0.01), "cross_entropy", accumulate_steps=2)
        return model

    model = make()
    fit(model, epochs=1)
    model.save_checkpoint(tmp_path / "m")
    again = bp.load_checkpoint(tmp_path / "m")
    assert not again.get_layer("frozen").trainable
    assert everything(again, fit(again)) == everything(model, fit(model))


def test_unfit_models_and_files(tmp_path):
    model = bp.Sequential([bp.layers.Dense(2)], seed=0)
    with pytest.raises(RuntimeError, match="not compiled"):
        model.save_checkpoint(tmp_path / "m")
    model.compile("adam", "mse")
    with pytest.raises(bp.NotBuiltError):
        model.save_checkpoint(tmp_path / "m")
    model.build((3,))
    model.save(tmp_path / "m")
    with pytest.raises(CheckpointError, match="holds no optimizer state"):
        bp.load_checkpoint(tmp_path / "m")
    model.save_checkpoint(tmp_path / "m")
    with pytest.raises(FormatError, match="load_checkpoint"):
        bp.load_model(tmp_path / "m")


def test_a_checkpoint_of_a_model_in_python_needs_the_script(tmp_path, monkeypatch):
    class Mine:
        def value(self, y_true, y_pred):
            return ((y_true - y_pred) ** 2).mean(axis=-1)

        def gradient(self, y_true, y_pred):
            return 2 * (y_pred - y_true) / y_pred.size

    target = np.eye(3)[Y]
    path = str(tmp_path / "run")

    def run(**options):
        model = small(loss=Mine(), metrics=())
        return everything(model, model.fit(X, target, 8, 3, 0, **options))

    expected = run()
    options = {"checkpoint": path, "checkpoint_every": 4}
    assert stopped_after(2, monkeypatch, lambda: run(**options))
    with pytest.raises(CheckpointError, match="in Python"):
        bp.load_checkpoint(path)
    assert run(**options) == expected


def test_interrupts_in_a_save(tmp_path, monkeypatch):
    """Ctrl-C anywhere in a save: the file is whole and the run goes on from it."""
    path = str(tmp_path / "run")
    expected = fit(small()).history
    real = os.fsync
    count = [0]

    def fsync(handle):
        real(handle)
        count[0] += 1
        if count[0] in (3, 4):  # before the rename of the second save, and after that of the third
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bpcore.files.atomic.os.fsync", fsync)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                fit(small(), path, 3)
            container.read(path)
            assert os.listdir(tmp_path) == ["run"]
    assert fit(small(), path, 3).history == expected


# ---- real kills ----------------------------------------------------------------------------------


def test_random_kills():
    """A few of what the nox session `crash` does 200 times."""
    found = kill.run(6, seed=3)
    assert found["kills"] >= 6 and found["resumed"] >= 6


def test_resumed_by_another_program(tmp_path):
    """The forked runs of the kill test are no special case."""
    path = str(tmp_path / "run")
    expected = kill.forked(None, 1)
    kill.forked(path, 2, 0.15)
    code = "from tests.crash import train; import sys; print(train.train(sys.argv[1], 3))"
    assert support.run_python(code, path).stdout.strip() == expected
    assert kill.forked(path, 1) == expected
