"""Weights that are not finite are told at the latest when their epoch ends, and truly."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

L = bp.layers
X, Y = np.full((8, 2), 1e18), np.full((8, 1), 1e18)


def model(optimizer, loss="mae", dtype="float32"):
    made = bp.Sequential([L.Dense(1, kernel_initializer="zeros")], seed=0, dtype=dtype)
    made.compile(optimizer, loss)
    return made


@pytest.mark.parametrize("batch_size", [8, 4, 2])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_an_update_that_overflows_ends_the_fit(batch_size, checkpoint, tmp_path):
    made = model(bp.optimizers.SGD(1e30))
    more = {"checkpoint": tmp_path / "run.ckpt"} if checkpoint else {}
    with pytest.raises(
        bp.TrainingDiverged, match=r"since an update before epoch 1.*is gone"
    ) as told:
        made.fit(X, Y, batch_size=batch_size, verbose=0, **more)
    assert (told.value.layer, told.value.tensor, told.value.epoch) == ("dense", "weight", 0)


def test_the_best_weights_come_back():
    made = model(bp.optimizers.SGD(lambda step: 1e-30 if step < 2 else 1e30))
    keep = bp.callbacks.EarlyStopping("loss", patience=9)
    with pytest.raises(bp.TrainingDiverged):
        made.fit(X, Y, batch_size=8, epochs=4, verbose=0, callbacks=[keep])
    assert all(np.isfinite(w).all() for w in made.get_weights()) and keep.best_epoch is not None


def test_a_running_statistic_that_overflows_ends_the_fit():
    x = np.random.default_rng(0).normal(size=(64, 3)) * 1e25
    made = bp.Sequential([L.BatchNormalization(), L.Dense(1)], seed=0)
    made.compile("sgd", "mse")
    with pytest.raises(bp.TrainingDiverged) as told:
        made.fit(x, np.ones((64, 1)), batch_size=32, verbose=0)
    assert told.value.layer == "batch_normalization"


@pytest.mark.parametrize(
    "name", ["Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Adagrad", "Adadelta"]
)
def test_an_epsilon_that_is_0_in_float32_is_refused(name):
    optimizer = getattr(bp.optimizers, name)(epsilon=1e-50)
    with pytest.raises(ValueError, match="is 0 in float32"):
        model(optimizer)
    made = model(getattr(bp.optimizers, name)(epsilon=1e-50), dtype="float64")
    made.fit(np.ones((8, 2)), np.ones((8, 1)), verbose=0)
    assert all(np.isfinite(w).all() for w in made.get_weights())
