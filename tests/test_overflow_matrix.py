"""Whatever the optimizer, the dtype, the options and the number of threads: a batch whose gradient
or update overflows leaves weights, optimizer and running statistics as they were, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

L = bp.layers
O = bp.optimizers  # noqa: E741
WIDE, N, BATCH = 340, 48, 16  # this many inputs are passed on from thread to thread
OPTIMIZERS = {
    "SGD": O.SGD,
    "momentum": lambda rate: O.SGD(rate, momentum=0.9),
    "nesterov": lambda rate: O.SGD(rate, momentum=0.9, nesterov=True),
    "weight decay": lambda rate: O.SGD(rate, weight_decay=1e-3),
    "Adagrad": O.Adagrad,
    "RMSprop": O.RMSprop,
    "Adadelta": O.Adadelta,
    "Adam": O.Adam,
    "AMSGrad": lambda rate: O.Adam(rate, amsgrad=True),
    "AdamW": O.AdamW,
    "Adamax": O.Adamax,
    "Nadam": O.Nadam,
    "Lion": O.Lion,
    "Rprop": O.Rprop,
}
SQUARES = ["Adagrad", "RMSprop", "Adadelta", "Adam", "AMSGrad", "AdamW", "Nadam"]  # in a slot
SETTINGS = {
    "plain": {},
    "loaded": {"gradient_clip_norm": 1e3, "gradient_clip_value": 10.0},
    "accumulating": {"accumulate_steps": 2},
}


def network(name, setting, dtype, rate):
    """A first layer of zeros, so that a large input alone does no harm to what comes behind."""
    loaded = setting != "plain"
    first = L.Dense(
        64,
        kernel_initializer="zeros",
        kernel_regularizer=bp.regularizers.L1L2(1e-4, 1e-3) if loaded else None,
        kernel_constraint=bp.constraints.MaxNorm(2.0) if loaded else None,
        name="first",
    )
    layers = [bp.Input((WIDE,)), first, L.BatchNormalization(), L.Dense(5)]
    model = bp.Sequential(layers, seed=0, dtype=dtype)
    model.compile(OPTIMIZERS[name](rate), "half_squared_error", **SETTINGS[setting])
    return model


def data(dtype, large, target):
    """The third batch has one input and targets that are large, of signs that go together."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(N, WIDE)).astype(dtype), rng.normal(size=(N, 5)).astype(dtype)
    sign = np.where(np.arange(N) % 2, 1, -1)[2 * BATCH :]
    x[2 * BATCH :, 7], y[2 * BATCH :] = large * sign, target * sign[:, None]
    return x, y


def state(model):
    """Weights, running statistics, slots and the count of updates, as bytes."""
    slots = [slot for p in model.weights for slot in model.optimizer._slots.get(p, [])]
    arrays = [a.tobytes() for a in (*model.get_weights(), *slots)]
    return [*arrays, model.optimizer.iterations]


def check(name, setting, dtype, rate, x, y):
    """What the flaw is, in a fit, and in one batch more."""
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    model, twin = (network(name, setting, dtype, rate) for _ in range(2))
    twin.fit(x[: 2 * BATCH], y[: 2 * BATCH], **options)
    with pytest.raises(bp.TrainingDiverged) as told:
        model.fit(x, y, **options)
    before = state(twin)
    assert before[-1] == (1 if setting == "accumulating" else 2)
    assert state(model) == before
    assert (told.value.epoch, told.value.batch, told.value.layer) == (0, 2, "first")
    with pytest.raises(bp.TrainingDiverged, match="the weights are those before this batch"):
        model.train_on_batch(x[2 * BATCH :], y[2 * BATCH :])
    assert state(model) == before
    model.train_on_batch(x[:BATCH], y[:BATCH])  # and it goes on
    twin.train_on_batch(x[:BATCH], y[:BATCH])
    assert state(model) == state(twin) != before
    return told.value.tensor


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_gradient_that_overflows(threads_restored, threads, setting, dtype):
    bp.set_num_threads(threads)
    large, target, rate = (3e29, 1e18, 1e-30) if dtype == "float32" else (1e180, 1e140, 1e-190)
    x, y = data(dtype, large, target)
    for name in OPTIMIZERS:
        # Rprop's first steps are larger than its rate, and the statistics overflow before that.
        found = check(name, setting, dtype, rate, x, y)
        assert found == ("delta" if name == "Rprop" else "gradient"), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_slot_that_overflows(threads_restored, threads, dtype):
    """Gradients are finite, and their squares are not."""
    bp.set_num_threads(threads)
    large, target, rate = (1e17, 1e3, 1e-30) if dtype == "float32" else (1e150, 1e10, 1e-190)
    x, y = data(dtype, large, target)
    for name in SQUARES:
        assert check(name, "plain", dtype, rate, x, y) == "update", name
