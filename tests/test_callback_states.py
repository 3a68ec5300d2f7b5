"""States of callbacks: what a checkpoint can hold, and a fit that goes on from it alike."""

from __future__ import annotations

import copy
import json
import pathlib
import pickle

import numpy as np
import pytest

import bpcore as bp

from .helpers import support
from .helpers.callback_runs import RATES, STOPS, data, feed, network

C = bp.callbacks


def several(folder):
    return [
        C.EarlyStopping(patience=4),
        C.ReduceLROnPlateau(patience=1, factor=0.7, min_delta=0.05, cooldown=1),
        C.EMA(0.9, every=3),
        C.SWA(2),
        C.ModelCheckpoint(folder / "best.st", save_best_only=True),
        C.CSVLogger(folder / "log.csv"),
    ]


def through_json(value):
    """What a checkpoint can hold: JSON, and arrays apart."""
    if isinstance(value, dict):
        assert all(isinstance(key, str) for key in value)
        return {key: through_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.copy()
    return json.loads(json.dumps(value, allow_nan=False))


class Kill(C.Callback):
    """Keeps everything at the beginning of an epoch, goes on for a while, raises."""

    def __init__(self, callbacks, at):
        self.callbacks, self.at = callbacks, at

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at:
            optimizer = self.model.optimizer
            self.weights = self.model.get_weights()
            self.optimizer = copy.deepcopy(optimizer.state(self.model.weights))
            self.rate = optimizer.learning_rate
            self.states = [through_json(item.get_state()) for item in self.callbacks]
        if epoch == self.at + 2:
            raise InterruptedError


class Late(C.Callback):
    """Sets the states after every on_train_begin."""

    def __init__(self, callbacks, states):
        self.pairs = list(zip(callbacks, states, strict=True))

    def on_train_begin(self, logs=None):
        for item, state in self.pairs:
            item.set_state(state)


@pytest.mark.parametrize("at", [1, 4, 6])
@pytest.mark.parametrize("late", [False, True])
def test_a_resumed_fit_goes_on_alike(tmp_path, at, late):
    x, y = data(200)
    options = {"epochs": 10, "verbose": 0, "batch_size": 16, "validation_split": 0.2}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, callbacks = network(), several(tmp_path / "a")
    history = whole.fit(x, y, **options, callbacks=callbacks)
    killed, torn = network(), several(tmp_path / "b")
    kill = Kill(torn, at)
    with pytest.raises(InterruptedError):
        killed.fit(x, y, **options, callbacks=[*torn, kill])
    resumed, again = network(), several(tmp_path / "b")
    resumed.build((6,))
    resumed.set_weights(kill.weights)
    resumed.optimizer.set_state(resumed.weights, kill.optimizer)
    resumed.optimizer.learning_rate = kill.rate
    resumed._counters.epochs_done = at
    if late:
        again.append(Late(again[:], kill.states))
    else:
        for item, state in zip(again, kill.states, strict=True):
            item.set_state(state)
    rest = resumed.fit(x, y, **options, initial_epoch=at, callbacks=again)
    assert rest.history["val_loss"] == history.history["val_loss"][at:]
    assert support.weights_hash(resumed) == support.weights_hash(whole)
    for name in ("best.st", "log.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_history_state_and_pickle():
    x, y = data()
    model = network()
    history = model.fit(x, y, epochs=4, verbose=0, validation_split=0.25, validation_freq=2)
    again = pickle.loads(pickle.dumps(history))
    assert again.history == history.history and again.epoch == [0, 1, 2, 3] and again.model is None
    restored = C.History()
    restored.set_state(through_json(history.get_state()))
    assert restored.history == history.history and repr(restored) == repr(history)
    restored.on_epoch_end(4, {"loss": 0.5, "r2": np.nan})
    assert np.isnan(through_json(restored.get_state())["history"]["r2"]).all()
    assert restored.history["loss"][-1] == 0.5 and len(history.history["loss"]) == 4


def test_callbacks_pickle_and_copy():
    others = [C.TimeLimit(3), C.TerminateOnNaN(), C.ModelCheckpoint("a", save_freq=3)]
    for callback in [*several(pathlib.Path()), *others]:
        for again in (pickle.loads(pickle.dumps(callback)), copy.deepcopy(callback)):
            assert repr(again) == repr(callback) and type(callback).__name__ in repr(again)


class Part:
    """Goes on with a callback's state in a new object, before each epoch from `at` on."""

    def __init__(self, make, at):
        self.make, self.at, self.item = make, at, make()

    def __getattr__(self, name):
        return getattr(self.item, name)

    def on_epoch_begin(self, epoch):
        if epoch >= self.at:
            old, self.item = self.item, self.make()
            self.item.set_model(old.model)
            self.item.set_params(old.params)
            self.item.set_state(through_json(old.get_state()))
            self.item.on_train_begin()


@pytest.mark.parametrize("at", range(5))
def test_decisions_go_on_from_states(at):
    for options, values, stop, best_epoch, best in STOPS:
        part = Part(lambda options=options: C.EarlyStopping(**options), at)
        last, weight, _ = feed(part, values, validation_freq=2)
        assert last == (len(values) - 1 if stop is None else stop) and weight == best_epoch
        assert (part.best, part.best_epoch, part.stopped_epoch) == (best, best_epoch, stop)
    for options, values, rates in RATES:
        part = Part(lambda options=options: C.ReduceLROnPlateau(**options), at)
        np.testing.assert_allclose(feed(part, values)[2], rates, rtol=1e-15)


def test_a_state_is_for_one_fit():
    model, (x, y) = network(), data()
    stop = C.EarlyStopping("loss", patience=1)
    stop.set_state({**stop.get_state(), "best": "0.0"})
    assert len(model.fit(x, y, epochs=3, verbose=0, callbacks=[stop]).epoch) == 1
    assert len(model.fit(x, y, epochs=3, verbose=0, callbacks=[stop]).epoch) == 3


def test_a_fit_that_never_began_restores_nothing():
    model, (x, y) = network(), data()
    stop = C.EarlyStopping("loss")
    model.fit(x, y, epochs=3, verbose=0, callbacks=[stop])
    model.set_weights([w + 1 for w in model.get_weights()])
    before = support.weights_hash(model)

    def fail(logs):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        model.fit(x, y, verbose=0, callbacks=[C.LambdaCallback(on_train_begin=fail), stop])
    assert support.weights_hash(model) == before
