"""TrainingDiverged names the first value that is not finite: layer, tensor, epoch, batch, rows."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

L = bp.layers
SAMPLE = 17


class Open(bp.callbacks.Callback):
    """From the second epoch on, the gate lets the large row through, whose exp is infinite."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.get_layer("gate").kernel.value[...] = np.eye(4) * (1e-3 if epoch == 0 else 1)


def spoiled(gate=1.0):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)).astype(np.float32), rng.integers(0, 3, 60)
    x[SAMPLE] = 1000
    model = bp.Sequential(
        [
            L.Dense(4, kernel_initializer=gate * np.eye(4), name="gate"),
            L.Activation("exponential", name="spoil"),
            L.Dense(3, name="last"),
        ],
        seed=0,
    )
    model.compile(bp.optimizers.SGD(1e-3), loss="cross_entropy")
    return model, x, y


def caught(model, x, y, **options):
    with pytest.raises(bp.TrainingDiverged) as info:
        model.fit(x, y, verbose=0, **options)
    return info.value


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shuffle", [False, True])
def test_output_of_a_layer(shuffle, threads):
    model, x, y = spoiled()
    with bp.threads(threads, exact=True):
        error = caught(model, x, y, batch_size=10, epochs=3, shuffle=shuffle, callbacks=[Open()])
    assert (error.layer, error.tensor, error.sample) == ("spoil", "output", SAMPLE)
    assert error.epoch == 1 and 0 <= error.row < 10
    if not shuffle:
        assert (error.batch, error.row) == (1, 7)
    text = str(error)
    for part in ("output of layer 'spoil'", "epoch 2", f"batch {error.batch}", f"row {error.row}",
                 f"row {SAMPLE} of x"):  # fmt: skip
        assert part in text
    assert error.where == "output of layer 'spoil'"
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_delta():
    """Only the row whose target is far off sends a delta back, through a weight of 1e30."""
    model = bp.Sequential([L.Dense(2, name="first"), L.Dense(1, name="last")], seed=0)
    model.build((4,))
    model.get_layer("last").kernel.value[...] = 1e30
    model.compile(bp.optimizers.SGD(1e-6), loss="mse")
    x, y = np.zeros((60, 4), np.float32), np.zeros((60, 1), np.float32)
    y[SAMPLE] = 1e15
    error = caught(model, x, y, batch_size=10)
    assert (error.layer, error.tensor, error.sample) == ("first", "delta", SAMPLE)
    assert "delta of layer 'first'" in str(error)


def test_weight():
    model, x, y = spoiled(1e-3)
    model.build((4,))
    model.get_layer("last").kernel.value[1, 2] = np.inf
    error = caught(model, x, y, batch_size=10)
    assert (error.layer, error.tensor, error.row, error.sample) == ("last", "weight", -1, -1)
    assert "weight of layer 'last'" in str(error) and "row" not in str(error)


def test_loss():
    x, y = np.ones((20, 4)), np.ones((20, 1))

    class Loss:
        def value(self, y_true, y_pred):
            return np.nan

        def gradient(self, y_true, y_pred):
            return np.zeros_like(y_pred)

    model = bp.Sequential([L.Dense(1, name="out")], seed=0)
    model.compile("sgd", loss=Loss())
    error = caught(model, x, y)
    assert (error.layer, error.tensor) == ("out", "loss") and "loss at output 'out'" in str(error)


def test_gradient_of_a_weight():
    """x, the loss and delta are finite; only x^T delta is not."""
    model = bp.Sequential([L.Dense(1, kernel_initializer="zeros", name="out")], seed=0)
    model.compile(bp.optimizers.SGD(1e-3), "mse")
    error = caught(model, np.full((8, 4), 3e19, np.float32), np.full((8, 1), 1e19, np.float32))
    assert (error.layer, error.tensor, error.row) == ("out", "gradient", -1)


def test_diagnose_names_it_too():
    model, x, y = spoiled()
    found = model.diagnose(x, y)
    (finding,) = [f for f in found.findings if f.kind == "overflow"]
    assert finding.layer == "spoil" and f"row {SAMPLE}" in finding.message


def test_batches_and_single_calls():
    model, x, y = spoiled()
    batches = [(x[k : k + 10], y[k : k + 10]) for k in range(0, 60, 10)]
    with pytest.raises(bp.TrainingDiverged) as info:
        model.fit(iter(batches), verbose=0)
    assert (info.value.batch, info.value.row, info.value.sample) == (1, 7, 7)
    for call in (model.train_on_batch, model.gradients, model.trace):
        with pytest.raises(bp.TrainingDiverged) as info:
            call(x, y)
        assert (info.value.layer, info.value.sample) == ("spoil", SAMPLE), call
        assert info.value.epoch == -1


def test_attributes_have_defaults():
    error = bp.TrainingDiverged("x")
    assert (error.layer, error.tensor, error.batch, error.row, error.sample) == ("", "", -1, -1, -1)


def test_a_gradient_that_would_overflow_is_seen_wherever_it_stands():
    """x of 1e25 times one delta of 1e18 is no float32: found at every place of the deltas, so the
    scan for the largest leaves none out. The loss itself, 1e36, is finite."""
    rows, columns = 3, 75
    model = bp.Sequential([L.Dense(columns, kernel_initializer="zeros", use_bias=False)], seed=0)
    model.compile(bp.optimizers.SGD(1e-9), loss="half_squared_error")
    x = np.full((rows, 2), 1e25, np.float32)
    with bp.threads(1, exact=True):
        for place in range(rows * columns):
            y = np.zeros((rows, columns), np.float32)
            y.flat[place] = 1e18
            with pytest.raises(bp.TrainingDiverged):
                model.train_on_batch(x, y)
            assert not model.get_weights()[0].any()
        model.train_on_batch(x, np.zeros((rows, columns), np.float32))
