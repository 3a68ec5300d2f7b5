"""Arrays that change while a call reads them: an error, weights as before the batch, no crash."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

METRICS = ["accuracy", "precision", "recall", "f1", "auc", bp.metrics.TopK(2)]
WIDE = 340  # inputs: a first layer as wide as this is passed on from thread to thread


def data(width=8, rows=90):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, width)), rng.integers(0, 5, rows).astype(np.int32)


ENDS = {"poisson": "exponential", "kl_divergence": "softmax"}


def network(loss="cross_entropy", metrics=(), units=5):
    end = bp.layers.Dense(units, ENDS.get(loss))
    model = bp.Sequential([bp.layers.Dense(64, "relu"), end], seed=0)
    model.compile("adam", loss, metrics=list(metrics))
    return model


class Writes(bp.callbacks.Callback):
    """After the third batch, which is the state to be in when the error has come."""

    def __init__(self, array, value):
        self.array, self.value = array, value

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            self.array[...] = self.value
            self.state = support.weights_hash(self.model)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("width", [8, WIDE])
@pytest.mark.parametrize("label", [-1, 5, 1_000_000, -(2**31), 2**31 - 1])
def test_labels(threads_restored, threads, width, label):
    bp.set_num_threads(threads, exact=True)
    x, y = data(width)
    good, model = y.copy(), network(metrics=METRICS)
    writes = Writes(y, label)
    with pytest.raises(
        ValueError, match=rf"'dense_1': got label {label} at row \d+, expected 0 to"
    ):
        model.fit(x, y, batch_size=18, epochs=2, verbose=0, callbacks=[writes])
    assert support.weights_hash(model) == writes.state and model.optimizer.iterations == 3
    model.fit(x, good, verbose=0)


def test_the_row_is_told():
    x, y = data()
    model = network()
    writes = Writes(y[70:71], 9)
    with pytest.raises(ValueError, match="got label 9 at row 70, expected 0 to 4"):
        model.fit(x, y, batch_size=18, shuffle=False, verbose=0, callbacks=[writes])


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, -0.5])
def test_sample_weights(weight):
    x, y = data()
    w = np.ones(len(x))
    model = network()
    writes = Writes(w, weight)
    with pytest.raises(ValueError, match=f"got sample weight {weight:g} at row"):
        model.fit(x, y, 18, 2, 0, callbacks=[writes], sample_weight=w)
    assert support.weights_hash(model) == writes.state


def test_sample_weights_that_overflow_are_refused_before_any_work():
    x, y = data()
    model = network()
    model.build((8,))
    before = support.weights_hash(model)
    for weights in ({"sample_weight": np.full(90, 1e300)}, {"class_weight": [1e300] * 5}):
        with pytest.raises(ValueError, match="overflows float32"):
            model.fit(x, y, verbose=0, **weights)
    assert support.weights_hash(model) == before


@pytest.mark.parametrize("loss, sound, value", [
    ("binary_cross_entropy", 1.0, 1.5), ("binary_cross_entropy", 0.0, -1.0),
    ("poisson", 3.0, -1.0), ("kl_divergence", 1.0, -0.5), ("hinge", 1, 3), ("hinge", -1, -2),
    ("cross_entropy", [1, 0, 0, 0, 0], -1.0),
])  # fmt: skip
def test_targets_outside_of_a_loss(loss, sound, value):
    x, _ = data()
    y = np.tile(np.asarray(sound, np.float64), (90, 1)) * np.ones((90, 5))
    model = network(loss)
    writes = Writes(y, value)
    with pytest.raises(ValueError, match=f"got target {value:g} at row"):
        model.fit(x, y, batch_size=18, epochs=2, verbose=0, callbacks=[writes])
    assert support.weights_hash(model) == writes.state


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_targets_that_become_nan(loss):
    x, _ = data()
    y = np.full((90, 5), 0.2)
    model = network(loss)
    writes = Writes(y, np.nan)
    with pytest.raises(bp.TrainingDiverged):
        model.fit(x, y, batch_size=18, epochs=2, verbose=0, callbacks=[writes])
    assert support.weights_hash(model) == writes.state


def test_rates_are_the_optimizers_own():
    """A schedule may give an array that it keeps; what it does to it later is not read."""

    class Kept(bp.schedules.Schedule):
        def __init__(self):
            self.values = np.full(10_000, 1e-3)

        def rates(self, steps):
            return self.values[: len(steps)]

    schedule = Kept()
    x, y = data()
    model = bp.Sequential([bp.layers.Dense(5)], seed=0)
    model.compile(bp.optimizers.SGD(schedule), "cross_entropy")
    model.fit(x, y, 18, 1, 0, callbacks=[Writes(schedule.values, np.nan)])
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_labels_of_every_call_that_reads_them():
    """A thread writes to them all the time: an error or a result, and always finite weights."""
    x, y = data(WIDE, 300)
    good, bad = y.copy(), np.where(np.arange(300) % 7, y, 1_000_000)
    model = network(metrics=METRICS)
    model.fit(x, good, verbose=0)
    end = threading.Event()

    def write():
        while not end.is_set():
            y[...] = bad
            y[...] = good

    thread = threading.Thread(target=write)
    thread.start()
    calls = [
        lambda: model.fit(x, y, epochs=2, verbose=0),
        lambda: model.fit(x, good, verbose=0, validation_data=(x, y)),
        lambda: model.train_on_batch(x, y),
        lambda: model.evaluate(x, y),
        lambda: model.gradients(x, y),
        lambda: model.trace(x[:9], y[:9]),
        lambda: model.set_output_bias(y),
        lambda: model.fit(x, y, class_weight=[1, 2, 1, 1, 1], verbose=0),
    ]
    refused, interval = 0, sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for k in range(2000):
            try:
                calls[k % len(calls)]()
            except (ValueError, IndexError) as error:
                refused += "arrays are read in place" in str(error)
            if k > 40 and refused:
                break
    finally:
        sys.setswitchinterval(interval)
        end.set()
        thread.join()
    assert refused and all(np.isfinite(w).all() for w in model.get_weights())
    model.evaluate(x, good)


def test_memory_that_is_read_is_not_freed():
    """resize() with refcheck=False is refused while a call reads the array, and fine afterwards."""
    x, y, w = *data(), np.ones(90)
    x, y = np.array(x), np.array(y)
    model = network()
    seen = []

    class Resizes(bp.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            for array in (x, y, w):
                with pytest.raises(ValueError, match="resize"):
                    array.resize(10_000_000, refcheck=False)
                seen.append(array.shape)

    model.fit(x, y, 18, 1, 0, callbacks=[Resizes()], sample_weight=w)
    assert len(seen) == 15
    model.evaluate(x, y)
    model.predict(x)
    model.gradients(x, y)
    for array in (x, y, w):
        array.resize(5, refcheck=False)


@pytest.mark.parametrize(
    "hook", ["on_train_begin", "on_epoch_begin", "on_epoch_end", "on_test_end"]
)
def test_memory_of_a_fit_is_held_from_its_beginning(hook):
    """Parts of the data are views of it, which resize would leave on freed memory."""
    x, y = np.ones((30_000, 20)), np.ones((30_000, 3))
    vx, vy = x.copy(), y.copy()
    model, seen, held = network("mse", units=3), [], [x, y]

    class Resizes(bp.callbacks.Callback):
        def resize(self, *arguments, **options):
            for array in held:
                with pytest.raises(ValueError, match="resize"):
                    array.resize((0, array.shape[1]), refcheck=False)
            seen.append(len(x))

    setattr(Resizes, hook, Resizes.resize)
    model.fit(x, y, 500, 2, 0, callbacks=[Resizes()], validation_split=0.2)
    held += [vx, vy]
    model.fit(x, y, 500, 1, 0, callbacks=[Resizes()], validation_data=(vx[1:], vy[1:]))
    assert len(seen) >= 2
    for array in held:
        array.resize((0, array.shape[1]), refcheck=False)


def test_memory_is_held_between_two_batches_of_predict(monkeypatch):
    owner, model = np.ones((60, 8)), network()
    model.build((8,))
    refused = []

    class Net:
        """As another thread may come between two batches."""

        def forward(self, *arguments):
            with pytest.raises(ValueError, match="resize"):
                owner.resize((0, 8), refcheck=False)
            refused.append(True)
            return real.forward(*arguments)

    real = model._engine.net
    monkeypatch.setattr(model._engine, "net", Net())
    model.predict(owner[1:], batch_size=10)
    assert len(refused) == 6
    owner.resize((0, 8), refcheck=False)


def test_data_are_let_go_after_a_call():
    """The model does not keep the arrays of its last call alive."""
    import weakref

    x, y = np.array(data()[0]), np.array(data()[1])
    model = network()
    model.fit(x, y, verbose=0)
    model.evaluate(x, y)
    model.train_on_batch(x, y)
    gone = weakref.ref(x), weakref.ref(y)
    del x, y
    assert gone[0]() is None and gone[1]() is None


def test_labels_at_odd_addresses():
    memory = np.zeros(4 * 90 + 1, np.uint8)
    y = memory[1:].view(np.int32)
    y[...] = data()[1]
    assert not y.flags.aligned
    models = network(), network()
    models[0].fit(data()[0], y, verbose=0)
    models[1].fit(data()[0], data()[1], verbose=0)
    assert support.weights_hash(models[0]) == support.weights_hash(models[1])
