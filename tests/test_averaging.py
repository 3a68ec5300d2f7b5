"""EMA and SWA: the documented operation in NumPy to the bit; the model's own weights untouched."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

C = bp.callbacks


def data(rows=80, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5))
    return x, (x @ rng.normal(size=(5, 3))).argmax(axis=1)


def network(dtype="float32", **options):
    model = bp.Sequential([bp.layers.Dense(7, "tanh"), bp.layers.Dense(3)], dtype=dtype, seed=1)
    model.compile(optimizer=bp.optimizers.SGD(0.2), loss="cross_entropy", **options)
    return model


class Record(C.Callback):
    """Weights after each batch and epoch, as training has them."""

    def __init__(self):
        self.batches, self.epochs = [], []

    def on_train_batch_end(self, batch, logs=None):
        step = self.model.optimizer.iterations
        if not self.batches or self.batches[-1][0] != step:
            self.batches.append((step, self.model.get_weights()))

    def on_test_begin(self, logs=None):
        self.epochs.append(self.model.get_weights())


def assert_same(a, b):
    assert len(a) == len(b) > 0
    assert all(support.same_bits(x, y) for x, y in zip(a, b, strict=True))


def averaged(terms, shares):
    """a <- a + share (w - a) in the weights' own dtype."""
    average = [w.copy() for w in terms[0]]
    for weights, share in zip(terms[1:], shares, strict=True):
        share = np.asarray(share, weights[0].dtype)
        average = [a + (w - a) * share for a, w in zip(average, weights, strict=True)]
    return average


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("every, start", [(1, 0), (3, 0), (2, 7), (1, 20)])
def test_ema_is_the_formula(dtype, every, start):
    x, y = data()
    model, record, ema = network(dtype), Record(), C.EMA(0.8, every=every, start=start)
    model.fit(x, y, batch_size=16, epochs=5, verbose=0, callbacks=[record, ema])
    first = max(start, 1)
    terms = [w for step, w in record.batches if step >= first and (step - first) % every == 0]
    assert ema.count == len(terms) >= 3
    expected = averaged(terms, [1.0 - 0.8] * (len(terms) - 1))
    assert_same(ema.get_weights(), expected)
    assert_same(model.get_weights(), expected)


@pytest.mark.parametrize("start, every", [(0, 1), (2, 1), (1, 2)])
def test_swa_is_the_mean_of_epochs(start, every):
    x, y = data()
    model, record, swa = network("float64"), Record(), C.SWA(start, every)
    model.fit(x, y, epochs=6, verbose=0, validation_data=(x, y), callbacks=[swa, record])
    terms = record.epochs[start::every]
    assert swa.count == len(terms)
    assert_same(swa.get_weights(), averaged(terms, [1.0 / (n + 1) for n in range(1, len(terms))]))
    for average, *weights in zip(swa.get_weights(), *terms, strict=True):
        np.testing.assert_allclose(average, np.mean(weights, axis=0), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("validated", [True, False])
def test_accumulated_batches_are_one_term(validated):
    """5 batches an epoch, updates of 2, 2 and the rest of 1 that comes when the epoch ends."""
    x, y = data()
    held = {"validation_data": (x, y)} if validated else {}
    model, ema = network(accumulate_steps=2), C.EMA(0.5)
    model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=[ema], **held)
    assert model.optimizer.iterations == ema.count == 9
    model.fit(x, y, batch_size=16, epochs=1, verbose=0, callbacks=[ema], **held)
    assert ema.count == 3


def test_training_is_not_touched():
    """With averages in validation and out of it, the raw weights take the same way to the bit."""
    x, y = data()
    plain, with_both = network(), network()
    options = {"batch_size": 16, "epochs": 4, "verbose": 0, "validation_data": (x, y)}
    plain.fit(x, y, **options)
    callbacks = [C.EMA(0.9, apply=False), C.SWA(1, apply=False)]
    with_both.fit(x, y, **options, callbacks=callbacks)
    assert support.weights_hash(plain) == support.weights_hash(with_both)
    assert all((a != b).any() for a, b in zip(callbacks[0].get_weights(), plain.get_weights(),
                                             strict=True))  # fmt: skip


def test_validation_sees_the_averages_and_others_keep_them():
    """val_loss is that of the averages; EarlyStopping's best weights give exactly that number."""
    x, y = data()
    xv, yv = data(40, 1)
    model, ema, stop = network(), C.EMA(0.9), C.EarlyStopping(patience=3)
    seen = []

    class See(C.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((self.model.get_weights(), ema.get_weights(), logs["val_loss"]))

        def on_epoch_begin(self, epoch, logs=None):
            if seen:
                assert not support.same_bits(self.model.get_weights()[0], seen[-1][0][0])

    model.fit(x, y, epochs=12, verbose=0, validation_data=(xv, yv), callbacks=[stop, ema, See()])
    for weights, averages, _ in seen:
        assert_same(weights, averages)
    best = min(seen, key=lambda item: item[2])
    assert_same(model.get_weights(), best[0])
    assert model.evaluate(xv, yv)["loss"] == stop.best == best[2]


def test_without_validate_validation_sees_the_weights_of_training():
    x, y = data()
    plain, with_ema = network(), network()
    options = {"epochs": 4, "verbose": 0, "validation_data": (x, y)}
    expected = plain.fit(x, y, **options).history
    assert with_ema.fit(x, y, **options, callbacks=[C.EMA(0.9, validate=False)]).history == expected
    swa = C.SWA(2, validate=True, apply=False)
    found = network().fit(x, y, **options, callbacks=[swa]).history["val_loss"]
    assert found[:3] == expected["val_loss"][:3] and found[3] != expected["val_loss"][3]


@pytest.mark.parametrize("where", ["validation", "epoch_end", "batch"])
def test_an_exception_leaves_the_weights_of_training(where):
    x, y = data()
    kept = []

    class Fail(C.Callback):
        def on_test_begin(self, logs=None):
            kept[:] = self.model.get_weights()

        def on_test_end(self, logs=None):
            if where == "validation":
                raise KeyboardInterrupt

        def on_epoch_end(self, epoch, logs=None):
            if where == "epoch_end":
                raise KeyboardInterrupt

        def on_train_batch_begin(self, batch, logs=None):
            if kept and where == "batch":
                raise KeyboardInterrupt

    model = network()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=3, verbose=0, validation_data=(x, y),
                  callbacks=[C.EMA(0.9), Fail(), C.SWA(0)])  # fmt: skip
    assert_same(model.get_weights(), kept)


def test_a_second_interrupt_while_the_weights_come_back():
    class Twice(C.EMA):
        interrupted = False

        def _take_out(self):
            if not self.interrupted:
                self.interrupted = True
                self.own = [w.copy() for w in self._held]
                raise KeyboardInterrupt
            super()._take_out()

    (x, y), model, ema = data(), network(), Twice(0.9)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=3, verbose=0, validation_data=(x, y), callbacks=[ema])
    assert_same(model.get_weights(), ema.own)


def test_frozen_layers_stay_as_they_are():
    x, y = data()
    model = network()
    model.build((5,))
    model.layers[0].trainable = False
    before = model.layers[0].weights[0].value.copy()
    model.fit(x, y, epochs=3, verbose=0, callbacks=[C.EMA(0.9)])
    assert support.same_bits(model.layers[0].weights[0].value, before)


def test_averages_make_noisy_training_better():
    """SGD with a rate that is too large wanders about the minimum; the mean is nearer to it."""
    x, _ = data(400)
    losses = {}
    for name, callbacks in {"last": [], "ema": [C.EMA(0.98)], "swa": [C.SWA(10)]}.items():
        rng = np.random.default_rng(5)
        model = bp.Sequential([bp.layers.Dense(1)], dtype="float64", seed=1)
        model.compile(optimizer=bp.optimizers.SGD(0.15), loss="mse")
        noisy = x[:, :1] * 2 + rng.normal(size=(400, 1))
        model.fit(x, noisy, batch_size=4, epochs=20, verbose=0, callbacks=callbacks)
        losses[name] = model.evaluate(x, noisy)["loss"]
    assert losses["ema"] < losses["last"] and losses["swa"] < losses["last"]
