"""Resuming, feature by feature and together: an interrupted run ends as one that was not."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

C, L, S = bp.callbacks, bp.layers, bp.schedules
O = bp.optimizers  # noqa: E741
RNG = np.random.default_rng(21)
X, XV = RNG.normal(size=(29, 6)), RNG.normal(size=(11, 6))
Y, YV = RNG.integers(0, 3, 29), RNG.integers(0, 3, 11)
EPOCHS, BATCHES = 4, 4


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """What fsync is for is in test_atomic.py."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Kill(Exception):
    """The end of a process, as far as a test can have it inside of one."""


class Interrupt(C.Callback):
    """Ends the fit at a hook: the k-th call of it in this process."""

    def __init__(self, hook=None, k=0):
        self.hook, self.left = hook, k

    def _count(self, hook):
        if hook == self.hook:
            self.left -= 1
            if self.left == 0:
                raise Kill

    def on_train_batch_begin(self, batch, logs=None):
        self._count("batch_begin")

    def on_train_batch_end(self, batch, logs=None):
        self._count("batch_end")

    def on_test_begin(self, logs=None):
        self._count("test_begin")

    def on_epoch_end(self, epoch, logs=None):
        self._count("epoch_end")

    def on_train_end(self, logs=None):
        self._count("train_end")


class StopAt(C.Callback):
    """Sets stop_training after a number of updates."""

    def __init__(self, iterations):
        self.iterations = iterations

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations >= self.iterations:
            self.model.stop_training = True


# ---- parts to combine ----------------------------------------------------------------------------


def plain():
    return [L.Dense(5, "tanh"), L.Dense(3)]


def dropout():
    return [L.Dropout(0.2), L.Dense(8, "relu"), L.Dropout(0.5, seed=3), L.Dense(3)]


def noisy():
    noise = [L.GaussianNoise(0.3), L.GaussianDropout(0.3), L.AlphaDropout(0.2)]
    return [noise[0], L.Dense(6, "selu"), noise[1], noise[2], L.Dense(3)]


def normalized():
    first = L.Normalization()
    first.adapt(X)
    inner = [L.Dense(6), L.BatchNormalization(momentum=0.8), L.PReLU(), L.LayerNormalization()]
    return [first, *inner, L.Dense(3)]


def batch_dropout():
    return [L.Dense(6), L.BatchNormalization(), L.Activation("relu"), L.Dropout(0.4), L.Dense(3)]


def frozen():
    held = L.BatchNormalization(momentum=0.5, trainable=False)
    return [L.Dense(6, "tanh", trainable=False), held, L.BatchNormalization(), L.Dense(3)]


def penalised():
    first = L.Dense(
        6,
        "tanh",
        kernel_regularizer=bp.regularizers.L1L2(1e-2, 1e-2),
        bias_regularizer="l2",
        kernel_constraint=bp.constraints.MaxNorm(0.9),
    )
    return [first, L.Dense(3, kernel_regularizer=bp.regularizers.Orthogonal(0.01))]


def tied():
    code = L.Dense(6, "tanh")
    return [code, L.TiedDense(code, "tanh"), L.Dropout(0.3), L.Dense(3)]


class Twice(L.Layer):
    """A layer in Python."""

    def forward(self, x, training=False):
        return x * x.dtype.type(2)

    def backward(self, dy):
        return dy * dy.dtype.type(2)


def in_python():
    return [L.Dense(5, "tanh"), Twice(), L.Dropout(0.3), L.Dense(3)]


def graph(seed, dtype):
    """A layer with dropout called twice, and a branch around it."""
    a = bp.Input((6,))
    shared, drop = L.Dense(6, "tanh"), L.Dropout(0.3)
    h = drop(shared(drop(shared(a))))
    return bp.Model(a, L.Dense(3)(L.BatchNormalization()(h) + a), seed=seed, dtype=dtype)


class Case:
    """Everything that makes one run."""

    def __init__(self, layers, optimizer=O.Adam, callbacks=list, every=1, seed=0, dtype="float32",
                 validate=True, compiled=None, **fit):  # fmt: skip
        self.layers, self.optimizer, self.callbacks = layers, optimizer, callbacks
        self.every, self.seed, self.dtype, self.validate = every, seed, dtype, validate
        self.compiled, self.fit = compiled or {}, fit

    def run(self, path=None, interrupt=None, make_seed=None):
        """(model, history, callbacks), as a script would make them."""
        seed = self.seed if make_seed is None else make_seed
        if self.layers is graph:
            model = graph(seed, self.dtype)
        else:
            model = bp.Sequential(self.layers(), seed=seed, dtype=self.dtype)
        model.compile(self.optimizer(), "cross_entropy", ["accuracy", "f1"], **self.compiled)
        callbacks = [*self.callbacks(), interrupt or Interrupt()]
        options = {"batch_size": 8, "epochs": EPOCHS, "verbose": 0, **self.fit}
        if self.validate:
            options["validation_data"] = (XV, YV)
        if path is not None:
            options |= {"checkpoint": path, "checkpoint_every": self.every}
        return model, model.fit(X, Y, callbacks=callbacks, **options), callbacks


def stopping():
    return [C.EarlyStopping("val_loss", patience=2)]


def plateau():
    return [C.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=0.5, cooldown=1)]


def average():
    return [C.EMA(decay=0.8)]


def best_of_average():
    return [C.EMA(decay=0.7, every=2, start=3), C.EarlyStopping("val_loss", patience=1)]


def epochs_average():
    return [C.SWA(1), C.ReduceLROnPlateau("loss", patience=1, min_delta=1.0)]


def by_epoch():
    return [C.LearningRateScheduler(lambda epoch, rate: rate * 0.7)]


GROUPS = {"*/bias": {"learning_rate_factor": 2.0, "weight_decay": 0.0}}
EVERYTHING = {"accumulate_steps": 3, "gradient_clip_norm": 0.5, "parameter_groups": GROUPS}


def everything():
    return [*best_of_average(), C.SWA(2, validate=False, apply=False), *plateau(), C.TimeLimit(1e6)]


def adam():
    return O.AdamW(0.02, weight_decay=0.1)


def fast():
    return O.SGD(0.5, momentum=0.9)


CASES = {
    "dropout": Case(dropout),
    "dropout-epochs": Case(dropout, every=None),
    "dropout-accumulate": Case(dropout, compiled={"accumulate_steps": 3}, every=2),
    "dropout-no-seed": Case(dropout, fast, stopping, seed=None),
    "dropout-float64-ema": Case(dropout, fast, average, dtype="float64"),
    "noise-stop": Case(noisy, fast, lambda: [StopAt(7)]),
    "noise-ema-epochs": Case(noisy, fast, average, every=None),
    "normalization": Case(normalized),
    "normalization-float64-swa": Case(normalized, fast, epochs_average, dtype="float64"),
    "batch-accumulate": Case(batch_dropout, compiled={"accumulate_steps": 2}),
    "batch-ema-best": Case(batch_dropout, fast, best_of_average, every=2),
    "batch-steps": Case(batch_dropout, steps_per_epoch=3, compiled={"accumulate_steps": 2}),
    "batch-rarely-validated": Case(batch_dropout, fast, stopping, validation_freq=2),
    "frozen": Case(frozen, fast, stopping),
    "frozen-epochs-swa": Case(frozen, fast, epochs_average, every=None),
    "penalties": Case(penalised, fast),
    "penalties-accumulate-groups": Case(penalised, adam, compiled=EVERYTHING, every=2),
    "penalties-plateau": Case(penalised, fast, plateau, every=3),
    "tied": Case(tied, adam),
    "tied-ema-accumulate": Case(tied, adam, average, compiled={"accumulate_steps": 2}),
    "graph": Case(graph, adam),
    "graph-everything": Case(graph, adam, everything, compiled=EVERYTHING),
    "graph-no-seed-float64": Case(graph, adam, best_of_average, seed=None, dtype="float64"),
    "python-layer": Case(in_python, fast, average),
    "warm-up": Case(dropout, lambda: O.Nadam(S.Cosine(0.05, 16, warmup_steps=4)), stopping),
    "one-cycle-accumulate": Case(
        penalised, lambda: O.RMSprop(S.OneCycle(0.05, 8)), compiled={"accumulate_steps": 2}
    ),
    "restarts-stop": Case(
        batch_dropout, lambda: O.Adagrad(S.CosineRestarts(0.1, 3)), lambda: [StopAt(10)], every=3
    ),
    "rate-by-epoch": Case(plain, adam, by_epoch),
    "rate-by-epoch-rare": Case(plain, fast, by_epoch, every=7, validate=False),
    "plateau-frequency": Case(dropout, fast, plateau, validation_freq=2, every=2),
    "swa-stop": Case(normalized, adam, lambda: [C.SWA(0), *stopping()], every=2),
    "diagnose": Case(normalized, adam, lambda: [C.Diagnose(2), *average()]),
    "split-weights": Case(
        dropout, adam, average, validate=False, validation_split=0.2,
        sample_weight=np.linspace(0.5, 1.5, 29),
    ),
    "class-weight-order": Case(batch_dropout, adam, class_weight={0: 1.0, 1: 3.0, 2: 0.5},
                               shuffle=False, initial_epoch=1),
}  # fmt: skip
# Hooks and their calls at which one run after the other ends: each goes on from the last save.
PLACES = (
    [("batch_end", 1), ("batch_end", 3), ("epoch_end", 1), ("test_begin", 2), ("train_end", 1)],
    [("batch_begin", 6), ("test_begin", 1), ("batch_end", 5), ("epoch_end", 2)],
)


def outcome(model, history, callbacks):
    """All that a run leaves."""
    optimizer = model.optimizer
    slots = optimizer.state(model.weights)["slots"]
    states = []
    for item in callbacks:
        state = item.get_state()
        state.pop("spent", None)  # of a TimeLimit
        states.append(plain_data(state))
    rate = optimizer.learning_rate
    return {
        "weights": support.weights_hash(model),
        "slots": plain_data(slots),
        "counters": (optimizer.iterations, model._counters.epochs_done, model._counters.draws),
        "rate": rate if isinstance(rate, float) else optimizer.current_rate(),
        "history": (history.history, history.epoch, history.epochs),
        "callbacks": states,
    }


def plain_data(value):
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return {key: plain_data(item) for key, item in value.items()}
    return [plain_data(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", CASES)
def test_interrupted_and_resumed(tmp_path, monkeypatch, name):
    """The same weights, optimizer, counters, History and callbacks as without a stop."""
    case = CASES[name]
    seed = 77 if case.seed is None else None
    expected = outcome(*case.run(make_seed=seed))
    monkeypatch.setattr(bp.base.seeding, "_state", None)  # as where no one has called set_seed
    stops = 0
    for k, places in enumerate(PLACES):
        path = str(tmp_path / str(k))
        # a model without a seed has another one in each process, but the run keeps its first
        seeds = itertools.count(1000)
        monkeypatch.setattr(
            bp.base.seeding,
            "next_seed",
            lambda p=path, s=seeds: next(s) if os.path.exists(p) else 77,
        )
        for place in places:
            try:
                case.run(path, Interrupt(*place))
            except Kill:
                stops += 1
        for _ in range(2):  # the second finds a finished run
            found = outcome(*case.run(path))
            differing = [key for key in found if found[key] != expected[key]]
            assert not differing
    assert stops >= 4, "the run ended before it was interrupted"
