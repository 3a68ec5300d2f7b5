"""No limit of a file's costs a run: what grows is saved, and what cannot be is said in time."""

from __future__ import annotations

import errno
import os
import warnings

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import CheckpointError, CheckpointWarning
from bpcore.files import atomic, container

from .helpers import files, support

C, L, O = bp.callbacks, bp.layers, bp.optimizers  # noqa: E741
X, Y = np.random.default_rng(1).normal(size=(2, 3)), np.ones((2, 1))


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)


def net(optimizer="adam", name=None, metrics=("mae", "mse", "r2")):
    model = bp.Sequential([L.Dense(1, name=name)], seed=0)
    model.compile(optimizer, "mse", list(metrics))
    return model


def fit(model, path, epochs=3, **options):
    return model.fit(X, Y, epochs=epochs, verbose=0, checkpoint=path, **options)


class Stop(Exception):
    """The kill."""


class StopAt(C.Callback):
    """Raises at the beginning of an epoch."""

    def __init__(self, epoch=None):
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Stop


def test_forty_thousand_epochs_with_three_metrics(tmp_path):
    """Not trained: written into the file of a run as if it had been, where the run goes on."""
    path, epochs = tmp_path / "run", 40_000
    with pytest.raises(Stop):
        fit(net(), path, epochs + 2, callbacks=[StopAt(1)])
    document, held, arrays = files.taken_apart(path)
    values = np.random.default_rng(0).uniform(size=epochs).tolist()
    names = list(held["history"]["history"])
    assert names == ["loss", "mae", "mse", "r2"]
    held["position"] = [epochs, 0]
    held["history"] = {
        "epoch": list(range(epochs)),
        "history": dict.fromkeys(names, values),
        "epochs": {name: list(range(epochs)) for name in names},
    }
    for key in ("epochs_done", "draws", "iterations"):
        document["state"][key] = epochs
    path.write_bytes(files.put_together(document, held, arrays))
    with pytest.raises(Stop):  # and is saved and read again
        fit(net(), path, epochs + 2, callbacks=[StopAt(epochs + 1)])
    assert os.path.getsize(path) < 9 * 8 * (epochs + 2) + 20_000
    history = fit(net(), path, epochs + 2, callbacks=[StopAt()])
    assert history.epoch == list(range(epochs + 2))
    for name in names:
        assert history.history[name][:epochs] == values and len(history.history[name]) == epochs + 2
    again = fit(net(), path, epochs + 2, callbacks=[StopAt()])
    assert again.history == history.history and again.epochs == history.epochs
    assert bp.load_checkpoint(path).optimizer.iterations == epochs + 2


class Keeper(C.Callback):
    """A state of the user's that grows."""

    def __init__(self, grow):
        self.grow, self.state, self.stop = grow, [], None

    def on_train_begin(self, logs=None):
        self.state = []

    def on_epoch_end(self, epoch, logs=None):
        self.state = self.grow(epoch)

    def get_state(self):
        return {"state": self.state}

    def set_state(self, state):
        self.state = state["state"]


@pytest.mark.parametrize(
    "grow",
    [
        lambda epoch: [0.5 * k for k in range(300_000)],
        lambda epoch: list(range(300_000)),
        lambda epoch: [[k, 0.25] for k in range(90_000)],
        lambda epoch: {str(k): "text" for k in range(80_000)},
        lambda epoch: [[float("nan"), 1.0] * 20] * 5_000,
    ],
)
def test_states_beyond_what_a_model_may_describe(tmp_path, grow):
    """Each takes more than 16 MiB of values, the limit of a model's description."""
    path = tmp_path / "run"
    fit(net(), path, 1, callbacks=[Keeper(grow)])
    keeper = Keeper(grow)
    fit(net(), path, 1, callbacks=[keeper])
    assert repr(keeper.state) == repr(grow(0))


@pytest.mark.parametrize("optimizer", ["adam", O.Adam(amsgrad=True)])
def test_long_names(tmp_path, optimizer):
    """Of 120 letters beyond ASCII: the optimizer's arrays have longer names than the weights."""
    path, name = tmp_path / "run", "ä" * 120
    options = {"callbacks": [C.EMA(0.5), StopAt(2)]}
    with pytest.raises(Stop):
        fit(net(optimizer, name), path, **options)
    fresh = O.Adam(amsgrad=True) if isinstance(optimizer, O.Adam) else optimizer
    assert len(fit(net(fresh, name), path, callbacks=[C.EMA(0.5), StopAt()]).epoch) == 3


def said_at_once(tmp_path, error, message, model, **options):
    """Before the first epoch, with the model unchanged and no file."""
    model.build((3,))
    before, seen = support.weights_hash(model), []
    watch = C.LambdaCallback(on_train_begin=lambda logs: seen.append(1))
    options["callbacks"] = [*options.get("callbacks", []), watch]
    with pytest.raises(error, match=message):
        fit(model, tmp_path / "run", **options)
    assert not seen and not os.listdir(tmp_path) and support.weights_hash(model) == before


def test_a_run_that_no_file_can_hold_is_refused_at_the_start(tmp_path, monkeypatch):
    """The limits are far off, so they are brought near."""
    with monkeypatch.context() as patch:
        patch.setattr(container, "MAX_HEADER", 2**16 + 400)
        said_at_once(tmp_path, ValueError, "bytes of description", net())
    with monkeypatch.context() as patch:
        patch.setattr(container, "MAX_TENSORS", 12)  # 2 weights, 4 slots
        fit(net(), tmp_path / "run")
        os.unlink(tmp_path / "run")
        # whose averages and best weights are not there yet
        more = [C.EMA(0.5), C.SWA(1), C.EarlyStopping("loss"), C.EarlyStopping("mae")]
        said_at_once(tmp_path, ValueError, "14 tensors", net(), callbacks=more)


class Odd:
    """A metric with something that is no data."""

    def __init__(self):
        self.reset_state()

    def reset_state(self):
        self.value, self.extra = 0.0, {1, 2}

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.value = 1.0

    def result(self):
        return self.value


def test_a_metric_that_no_file_can_hold(tmp_path):
    """It is written only where an epoch is cut in two."""
    model = net(metrics=[Odd()])
    said_at_once(tmp_path, TypeError, r"state of a metric.*extra.*set", model, checkpoint_every=1)
    assert len(fit(net(metrics=[Odd()]), tmp_path / "run").epoch) == 3


def test_states_and_arguments_that_json_has_not(tmp_path):
    keeper, loop = Keeper(lambda epoch: 1), []
    loop.append(loop)
    keeper.state = loop
    said_at_once(tmp_path, ValueError, "part of itself", net(), callbacks=[keeper])
    deep = 1
    for _ in range(80):
        deep = [deep]
    keeper.state = deep
    said_at_once(tmp_path, ValueError, "nested deeper than 64", net(), callbacks=[keeper])

    class Odd(L.Layer):
        def __init__(self, value, item):
            super().__init__()

        def forward(self, x, training=False):
            return x

        def backward(self, dy):
            return dy

    for value, error in ((float("nan"), None), (10**39, None), (10**50, "50 digits|51 digits")):
        model = bp.Sequential([Odd(value, object()), L.Dense(1)], seed=0)
        model.compile("sgd", "mse")
        if error is None:
            fit(model, tmp_path / "run")
            os.unlink(tmp_path / "run")
        else:
            said_at_once(tmp_path, ValueError, error, model)


def warned(work):
    """What was said of checkpoints, and what the work gives."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = work()
    return [str(w.message) for w in said if w.category is CheckpointWarning], result


def test_a_state_that_becomes_what_no_file_holds(tmp_path):
    """Said once while it lasts; the run goes on, and is saved as soon as it can be."""
    path, found = tmp_path / "run", {}

    class Watch(C.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if path.exists():
                found[epoch] = files.taken_apart(path)[1]["position"]

    states = [1, {2}, {3}, 4, object(), 6]
    items = [Keeper(lambda epoch: states[epoch]), Watch()]
    said, history = warned(lambda: fit(net(), path, len(states), callbacks=items))
    assert len(history.epoch) == len(states)
    assert len(said) == 2 and "epoch 2, batch 0, was not written" in said[0]
    assert "state of callback Keeper.state is set" in said[0] and "epoch 5" in said[1]
    assert found == {1: [1, 0], 2: [1, 0], 3: [1, 0], 4: [4, 0], 5: [4, 0]}


def test_a_state_that_is_never_written_at_the_end(tmp_path):
    """Then the file is not that of a finished run, and the next call goes on from it."""
    path = tmp_path / "run"
    said, _ = warned(
        lambda: fit(net(), path, callbacks=[Keeper(lambda epoch: [1, object()][epoch > 0])])
    )
    assert len(said) == 1 and files.taken_apart(path)[1]["finished"] is False
    said, history = warned(lambda: fit(net(), path, callbacks=[Keeper(lambda epoch: 1)]))
    assert not said and len(history.epoch) == 3


@pytest.mark.parametrize("what", ["slot", "average", "rate"])
def test_what_the_next_process_would_refuse_is_not_written(tmp_path, what):
    """The description that files are held against is that of what is written."""
    path, average = tmp_path / "run", C.EMA(0.5)

    class Spoil(C.Callback):
        def on_epoch_end(self, epoch, logs=None):
            optimizer = self.model.optimizer
            if epoch == 1 and what == "slot":
                optimizer.state(self.model.weights)["slots"][0][1][...] = np.inf
            if epoch == 1 and what == "average":
                average._average[0][...] = np.nan
            if epoch == 1 and what == "rate":
                optimizer.learning_rate = lambda step: 0.1

    said, history = warned(
        lambda: fit(net("adam" if what == "slot" else "sgd"), path, callbacks=[average, Spoil()])
    )
    assert len(history.epoch) == 3 and len(said) == 1 and "epoch 2" in said[0]
    place = {"slot": "square/dense/kernel: got NaN or Inf", "average": "average.0: got NaN or Inf",
             "rate": "learning_rate"}[what]  # fmt: skip
    assert place in said[0] and files.taken_apart(path)[1]["position"] == [1, 0]


def test_a_full_disk_is_said_by_the_system_and_the_last_file_stays(tmp_path, monkeypatch):
    path, real, count = tmp_path / "run", atomic.os.write, [0]

    def write(handle, data):
        count[0] += 1
        if count[0] > 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data)

    monkeypatch.setattr(atomic.os, "write", write)
    with pytest.raises(OSError, match="No space left"):
        fit(net(), path, 50)
    monkeypatch.undo()
    position = files.taken_apart(path)[1]["position"]
    assert 0 < position[0] < 50
    assert len(fit(net(), path, 50).epoch) == 50


def test_a_damaged_long_history_is_refused(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(Stop):
        fit(net(), path, 40, callbacks=[StopAt(30)])
    document, held, arrays = files.taken_apart(path)
    assert held["history"]["epoch"] == {"$integers": [0, 30]}
    for mark, told in (("$integers", [0, 31]), ("$integers", [1, 29]), ("$reals", [0, 30])):
        changed = {**held, "history": {**held["history"], "epoch": {mark: told}}}
        path.write_bytes(files.put_together(document, changed, arrays))
        with pytest.raises(CheckpointError, match="history"):
            fit(net(), path, 40, callbacks=[StopAt()])
