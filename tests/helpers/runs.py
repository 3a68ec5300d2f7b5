"""Small runs of `fit` that together leave every kind of state in a checkpoint.

`RUNS[name](path, stop)` makes the model and trains it with a checkpoint after every batch, as a
script would; `stop` = (hook, k) ends it at the k-th call of a hook, as a kill would. Only public
names are used, so that older versions can write fixtures (`tests/fixtures/make_checkpoints.py`);
those of format 2 hold hashes of the code here: with other code they would be other runs.
"""

from __future__ import annotations

import numpy as np

import bpcore as bp

C, L, S = bp.callbacks, bp.layers, bp.schedules
O = bp.optimizers  # noqa: E741
EPOCHS = 3


def _data(seed, rows, *shape):
    return np.random.default_rng(seed).normal(size=(rows, *shape))


X, XV = _data(1, 12, 4), _data(2, 5, 4)
REAL, REAL_V = _data(3, 12, 2), _data(4, 5, 2)
BITS, BITS_V = (X[:, :1] > 0) * 1.0, (XV[:, :1] > 0) * 1.0
THREE, THREE_V = np.arange(12) % 3, np.arange(5) % 3


class Stop(Exception):
    """The kill."""


class Interrupt(C.Callback):
    """Raises at the k-th call of a hook."""

    def __init__(self, stop=None):
        self.hook, self.left = stop or (None, 0)

    def _count(self, hook):
        if hook == self.hook:
            self.left -= 1
            if self.left == 0:
                raise Stop

    def on_train_batch_begin(self, batch, logs=None):
        self._count("batch")

    def on_epoch_begin(self, epoch, logs=None):
        self._count("epoch")

    def on_train_end(self, logs=None):
        self._count("end")


class Memory(C.Callback):
    """A state of the user's: numbers, text, a list that grows, arrays."""

    def __init__(self):
        self.best, self.kept, self.losses, self.note = float("inf"), None, [], "none"

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(float(logs["loss"]))

    def on_epoch_end(self, epoch, logs=None):
        if logs["loss"] < self.best:
            self.best, self.kept = float(logs["loss"]), self.model.get_weights()
            self.note = f"epoch {epoch}"

    def get_state(self):
        return {"best": self.best, "kept": self.kept, "losses": self.losses, "note": self.note}

    def set_state(self, state):
        if set(state) != {"best", "kept", "losses", "note"} or not isinstance(state["note"], str):
            raise ValueError(f"got {sorted(state)}")
        losses = [float(value) for value in state["losses"]]
        kept = state["kept"]
        if kept is not None and [a.shape for a in kept] != [w.shape for w in self.model.weights]:
            raise ValueError("weights of other shapes")
        self.best, self.kept = float(state["best"]), kept
        self.losses, self.note = losses, state["note"]


class Largest:
    """A metric of the user's, with a state."""

    name = "largest"

    def __init__(self):
        self.reset_state()

    def reset_state(self):
        self.value, self.seen = 0.0, 0

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.value = max(self.value, float(np.abs(y_pred).max()))
        self.seen += len(y_pred)

    def result(self):
        return self.value if self.seen else float("nan")


def spread(y_true, y_pred):
    """A metric as a function."""
    return float(np.abs(y_pred - y_true).max())


class Half(L.Layer):
    """A layer of the user's."""

    def build(self, input_shape):
        self.s = self.add_weight("s", input_shape, "ones")

    def forward(self, x, training=False):
        self.x = x
        return x * self.s.value * x.dtype.type(0.5)

    def backward(self, dy):
        self.s.grad += (dy * self.x).sum(axis=0) * dy.dtype.type(0.5)
        return dy * self.s.value * dy.dtype.type(0.5)


def fit(model, path, stop, x, y, validation=None, callbacks=(), every=1, **options):
    options = {"batch_size": 4, "epochs": EPOCHS, "verbose": 0, **options}
    if path is not None:
        options |= {"checkpoint": path, "checkpoint_every": every}
    callbacks = [*callbacks, Interrupt(stop)]
    history = model.fit(x, y, validation_data=validation, callbacks=callbacks, **options)
    return model, history, callbacks


def regression(path=None, stop=None):
    """r2 and its kin, momentum, averages, a validation, a stop by what is best."""
    model = bp.Sequential([L.Dense(3, "tanh"), L.Dense(2)], seed=0)
    model.compile(O.SGD(0.05, momentum=0.9), "mse", ["r2", "mae", "mse", "rmse"])
    callbacks = [C.EMA(0.8), C.EarlyStopping("val_loss", patience=5)]
    return fit(model, path, stop, X, REAL, (XV, REAL_V), callbacks)


def wide(path=None, stop=None):
    """r2 of several values for a target, in float64, with weights of samples."""
    model = bp.Sequential([L.Dense(4)], seed=1, dtype="float64")
    model.compile(O.RMSprop(0.01), "gaussian_nll", ["r2", "mae"])
    weight = np.linspace(0.0, 2.0, 12)
    callbacks = [C.SWA(1), C.TimeLimit(1e6)]
    return fit(model, path, stop, X, REAL, None, callbacks, sample_weight=weight)


def binary(path=None, stop=None):
    """auc and counts, Rprop, gradients that wait."""
    model = bp.Sequential([L.Dense(3, "relu"), L.Dense(1, "sigmoid")], seed=2)
    metrics = ["auc", "f1", "precision", "binary_accuracy"]
    model.compile(O.Rprop(0.01), "binary_cross_entropy", metrics, accumulate_steps=2)
    return fit(model, path, stop, X, BITS, (XV, BITS_V), batch_size=3, steps_per_epoch=3)


def labels(path=None, stop=None):
    """Classes, layers that are random and have statistics, a schedule."""
    layers = [L.Dense(4), L.BatchNormalization(), L.Activation("relu"), L.Dropout(0.3), L.Dense(3)]
    model = bp.Sequential(layers, seed=3)
    metrics = ["accuracy", bp.metrics.TopK(2), "f1", "recall"]
    model.compile(O.Adam(S.Cosine(0.02, 9)), "cross_entropy", metrics, gradient_clip_norm=1.0)
    callbacks = [C.EarlyStopping("val_accuracy", patience=4), C.Diagnose(2)]
    return fit(model, path, stop, X, THREE, (XV, THREE_V), callbacks)


def pairs(path=None, stop=None):
    """auc of labels, and a rate that callbacks set."""
    model = bp.Sequential([L.Dense(2)], seed=4)
    model.compile(O.Nadam(0.01), "cross_entropy", ["auc", "accuracy"])
    callbacks = [
        C.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        C.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.5),
        C.EMA(0.5, every=2, start=2, validate=False),
    ]
    return fit(model, path, stop, X, THREE % 2, None, callbacks, shuffle=False)


def several(path=None, stop=None):
    """Two inputs and outputs, penalties, constraints, groups."""
    a, b = bp.Input((4,), name="a"), bp.Input((4,), name="b")
    h = L.Dense(3, "tanh", kernel_regularizer="l2", name="h")(L.Concatenate()([a, b]))
    left = L.Dense(2, name="left", kernel_constraint=bp.constraints.MaxNorm(2.0))(h)
    model = bp.Model([a, b], [left, L.Dense(3, "softmax", name="right")(h)], seed=5)
    model.compile(
        O.Adam(0.01, amsgrad=True, weight_decay=0.01),
        ["mse", "cross_entropy"],
        {"left": ["r2"], "right": ["accuracy", "f1"]},
        loss_weights=[1.0, 0.5],
        parameter_groups={"*/bias": {"weight_decay": 0.0, "learning_rate_factor": 2.0}},
    )
    return fit(model, path, stop, [X, X[::-1]], [REAL, THREE], None, [C.SWA(0)], every=None)


def in_python(path=None, stop=None):
    """Layer, metrics, callback and rate of the user's."""
    model = bp.Sequential([L.Dense(3, "tanh"), Half(), L.Dense(2)], seed=6)
    model.compile(O.Adamax(lambda step: 0.01 / (1 + step)), "mse", [Largest(), spread, "r2"])
    return fit(model, path, stop, X, REAL, (XV, REAL_V), [Memory()])


def unseeded(path=None, stop=None):
    """A model without a seed takes that of the run."""
    model = bp.Sequential([L.Dropout(0.2, seed=1), L.Dense(2)])
    model.compile(O.Adadelta(0.5), "mae", ["r2"])
    return fit(model, path, stop, X, REAL, None, [C.EMA(0.9)])


RUNS = {
    run.__name__: run
    for run in (regression, wide, binary, labels, pairs, several, in_python, unseeded)
}
