"""Small runs with checkpoints, stopped after a number of saves, and all that they leave."""

from __future__ import annotations

import os

import numpy as np
import pytest

import bpcore as bp
from bpcore.files import checkpoint

O = bp.optimizers  # noqa: E741
RNG = np.random.default_rng(8)
X = RNG.normal(size=(50, 6))
Y = RNG.integers(0, 3, 50)
XV, YV = RNG.normal(size=(20, 6)), RNG.integers(0, 3, 20)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """The kernel keeps what a killed process wrote; what fsync is for is in test_atomic.py."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Stop(Exception):
    """The kill of these tests."""


def small(
    optimizer="adam",
    seed=0,
    dtype="float32",
    metrics=("accuracy",),
    loss="cross_entropy",
    width=5,
    **options,
):
    model = bp.Sequential(
        [bp.layers.Dense(width, "tanh"), bp.layers.Dense(3)], seed=seed, dtype=dtype
    )
    model.compile(optimizer() if callable(optimizer) else optimizer, loss, list(metrics), **options)
    return model


def fit(model, path=None, every=None, x=X, y=Y, epochs=3, **options):
    options = {"batch_size": 8, "verbose": 0, "validation_data": (XV, YV), **options}
    if path is not None:
        options |= {"checkpoint": path, "checkpoint_every": every}
    return model.fit(x, y, epochs=epochs, **options)


def everything(model, history):
    arrays = [*model.get_weights()]
    for slots in model.optimizer.state(model.weights)["slots"]:
        arrays += slots
    counters = (
        model.optimizer.iterations,
        model._counters.epochs_done,
        model._counters.draws,
        model._counters.stream,
    )
    return [a.tobytes() for a in arrays], counters, history.history, history.epoch


def stopped_after(saves, monkeypatch, work):
    """Run `work` and stop it right after a number of saves; False if it ended before."""
    done = []
    real = checkpoint.write

    def write(*arguments):
        real(*arguments)
        done.append(1)
        if len(done) == saves:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", write)
        try:
            work()
        except Stop:
            return True
    return False


class Recorder(bp.callbacks.Callback):
    """Keeps what it sees, and stops the run at a batch."""

    def __init__(self, stop_at=None):
        self.seen, self.kept, self.stop_at, self.count = [], None, stop_at, 0

    def on_train_begin(self, logs=None):
        self.seen, self.kept, self.count = [], None, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(["begin", epoch])

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append([batch, logs["loss"]])
        self.count += 1
        if self.count == self.stop_at:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self.kept = [float("nan"), self.model.get_weights()]

    def get_state(self):
        return {"seen": self.seen, "kept": self.kept, "count": np.int64(self.count)}

    def set_state(self, state):
        self.seen, self.kept, self.count = state["seen"], state["kept"], state["count"]
