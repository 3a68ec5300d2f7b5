"""Which outputs are probabilities, what overflows in a weight's gradient, and who may pass through
a layer in Python while another thread trains."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import bpcore as bp

L = bp.layers


def labelled(rng, n=20, features=6, classes=3):
    return rng.normal(size=(n, features)), np.arange(n) % classes


def test_an_average_of_softmaxes_is_made_of_probabilities(rng):
    x, y = labelled(rng)
    a = bp.Input((6,))
    parts = [L.Dense(3, activation="softmax")(a) for _ in range(2)]
    model = bp.Model(a, L.Average()(parts), seed=0, dtype="float64")
    model.compile("sgd", "cross_entropy")
    p = model.predict(x)
    expected = -np.log(p[np.arange(20), y]).mean()
    assert model.evaluate(x, y)["loss"] == pytest.approx(expected, rel=1e-12)


def test_a_sum_with_a_linear_branch_is_logits(rng):
    x, y = labelled(rng)
    a = bp.Input((6,))
    model = bp.Model(
        a, L.Dense(3, activation="softmax")(a) + L.Dense(3)(a), seed=0, dtype="float64"
    )
    model.compile("sgd", "cross_entropy")
    z = model.predict(x)
    expected = (np.log(np.exp(z).sum(axis=1)) - z[np.arange(20), y]).mean()
    assert model.evaluate(x, y)["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("last", ["BatchNormalization", "LayerNormalization"])
def test_a_normalized_sigmoid_is_logits(last, rng):
    layers = [bp.layers.Dense(3, "sigmoid"), getattr(bp.layers, last)()]
    model = bp.Sequential(layers, dtype="float64", seed=0)
    model.compile("sgd", "binary_cross_entropy")
    x, t = rng.normal(size=(8, 4)), rng.integers(0, 2, size=(8, 3))
    model.build((4,))
    z = model.predict(x)  # of either sign; running statistics in both
    expected = np.mean(np.log1p(np.exp(z)) - t * z)
    assert abs(model.evaluate(x, t)["loss"] - expected) < 1e-12


def test_a_softmax_seen_through_a_reshape_is_made_of_probabilities(rng):
    x, y = labelled(rng)
    model = bp.Sequential(
        [L.Dense(3, activation="softmax"), L.Reshape((1, 3))], seed=0, dtype="float64"
    )
    model.build((6,))
    model.compile("sgd", "cross_entropy")
    p = model.predict(x)[:, 0]
    expected = -np.log(p[np.arange(20), y]).mean()
    assert model.evaluate(x, y[:, None])["loss"] == pytest.approx(expected, rel=1e-12)


def test_a_gradient_that_overflows_in_the_product_leaves_the_weights():
    """x, the loss and delta are finite; only x^T delta is not."""
    model = bp.Sequential([L.Dense(1, kernel_initializer="zeros")], seed=0)
    model.compile(bp.optimizers.SGD(1e-3), "mse")
    x, y = np.full((8, 4), 3e19, np.float32), np.full((8, 1), 1e19, np.float32)
    with pytest.raises(bp.errors.TrainingDiverged, match="gradient of a weight"):
        model.fit(x, y, batch_size=8, verbose=0)
    assert not model.weights[0].value.any()


def test_large_but_harmless_deltas_train(rng):
    model = bp.Sequential([L.Dense(1, kernel_initializer="zeros")], seed=0)
    model.compile(bp.optimizers.SGD(1e-12), "mse")
    model.fit(rng.normal(size=(8, 4)), np.full((8, 1), 1e10), batch_size=8, verbose=0)
    assert model.weights[0].value.any()


class Scale(L.Layer):
    def forward(self, x, training):
        self.x = x
        return 2 * x

    def backward(self, dy):
        return 2 * dy


def test_a_pass_through_a_python_layer_waits_for_the_training_thread(rng):
    model = bp.Sequential([L.Dense(4), Scale(), L.Dense(1)], seed=0)
    model.compile("sgd", "mse")
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 1))
    refused, inside = [], []

    class Other(bp.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            inside.append(model.predict(x).shape)  # the training thread itself may look

            def look():
                for call in (model.predict, model, lambda x: model.evaluate(x, y)):
                    with pytest.raises(bp.errors.BusyError, match="Python"):
                        call(x)
                    refused.append(True)

            thread = threading.Thread(target=look)
            thread.start()
            thread.join()

    model.fit(x, y, batch_size=8, verbose=0, callbacks=[Other()])
    assert len(refused) == 3 and inside == [(8, 1)]
    assert model.predict(x).shape == (8, 1)


def test_a_fit_on_fewer_rows_shuffles_them_alone(rng):
    """The order of a longer data set must not serve a shorter one."""

    def trained(rows):
        model = bp.Sequential([L.Dense(1)], seed=0, dtype="float64")
        model.build((3,))
        model.compile(bp.optimizers.SGD(1e-30), "mse")
        seen = []
        for n in rows:
            x = np.arange(n, dtype=float)[:, None] * np.ones(3)
            history = model.fit(x, np.zeros(n), batch_size=n, verbose=0)
            seen.append(model.evaluate(x, np.zeros(n))["loss"])
        return seen[-1], history.history["loss"][-1]

    evaluated, fitted = trained([100, 50])
    assert fitted == pytest.approx(evaluated, rel=1e-12)


@pytest.mark.parametrize("shift", [0, 1])
def test_out_that_overlaps_x_is_refused(rng, shift):
    model = bp.Sequential([L.Dense(4)], seed=0)
    model.build((4,))
    memory = rng.normal(size=(9, 4)).astype(np.float32)
    kept = memory.copy()
    with pytest.raises(ValueError, match="overlap"):
        model.predict(memory[:8], out=memory[shift : 8 + shift])
    assert (memory == kept).all()
