"""What a loop of one's own refuses: calls out of order, gradients that do not fit, two threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import BusyError, ShapeError, TrainingDiverged

from .helpers import support
from .test_own_loop import small

L = bp.layers


def test_bad_gradients_change_nothing(rng):
    model = small()
    model.compile("sgd")
    before = model.get_weights()
    good = {p.name: np.zeros(p.shape) for p in model.weights}
    with pytest.raises(ValueError, match=r"'dense/kernal'.*did you mean 'dense/kernel'"):
        model.apply_gradients({"dense/kernal": 0})
    with pytest.raises(ValueError, match="'dense_1/bias' is missing"):
        model.apply_gradients({k: v for k, v in good.items() if k != "dense_1/bias"})
    with pytest.raises(ShapeError, match="gradient of 'dense/bias'"):
        model.apply_gradients({**good, "dense/bias": np.zeros(3)})
    with pytest.raises(ValueError, match="gradients: got 2, expected 4"):
        model.apply_gradients([1, 2])
    with pytest.raises(TypeError, match="gradients must be"):
        model.apply_gradients(3)
    good["dense/bias"][2] = np.nan
    with pytest.raises(ValueError, match=r"gradient of 'dense/bias'.*nan at \[2\]"):
        model.apply_gradients(good)
    model.weights[3].grad[1] = np.inf
    with pytest.raises(ValueError, match=r"gradient of 'dense_1/bias' contains Inf at \[1\]"):
        model.apply_gradients()
    support.assert_same(dict(enumerate(model.get_weights())), dict(enumerate(before)))
    assert model.optimizer.iterations == 0


def test_misuse_is_named(rng):
    with pytest.raises(RuntimeError, match="no forward pass is kept"):
        bp.Sequential([L.Dense(3)]).backward(np.zeros((6, 3)))
    model = small()
    x, dy = rng.normal(size=(6, 5)), np.zeros((6, 3))
    with pytest.raises(RuntimeError, match=r"no forward pass is kept.*call y = forward\(x\) first"):
        model.backward(dy)
    model.forward(x)
    with pytest.raises(ShapeError, match=r"dy: got shape \(6, 2\), expected \(6, 3\)"):
        model.backward(np.zeros((6, 2)))
    with pytest.raises(ShapeError, match=r"dy: got shape \(5, 3\), expected \(6, 3\)"):
        model.backward(np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"dy contains NaN at \[4, 1\]"):
        model.backward(np.where(np.arange(18).reshape(6, 3) == 13, np.nan, dy))
    model.backward(dy)  # what was refused has used nothing up
    with pytest.raises(RuntimeError, match=r"used the forward pass up.*call forward\(x\) again"):
        model.backward(dy)
    with pytest.raises(RuntimeError, match="not compiled"):
        model.apply_gradients()
    with pytest.raises(ValueError, match="x contains NaN"):
        model.forward(np.full((6, 5), np.nan))


def change_by_set_weights(model, x, y):
    model.set_weights(model.get_weights())


def change_by_value(model, x, y):
    model.weights[0].value = model.weights[0].value


def change_by_fit(model, x, y):
    model.fit(x, y, verbose=0)


def change_by_train_on_batch(model, x, y):
    model.train_on_batch(x, y)


def change_by_apply(model, x, y):
    model.apply_gradients()


def change_by_vector(model, x, y):
    model.weights_vector = model.weights_vector


def change_by_polyak(model, x, y):
    model.polyak_update(model.clone(weights=False), 0.5)


def change_by_a_model_of_the_same_layers(model, x, y):
    other = bp.Model(model.inputs, model.outputs, dtype="float64", seed=0)
    other.compile("sgd", "mse")
    other.train_on_batch(x, y)


@pytest.mark.parametrize(
    "change", [f for name, f in sorted(globals().items()) if name.startswith("change_by_")]
)
def test_weights_changed_in_between(change, rng):
    model = small()
    model.compile("sgd", "mse")
    x, y = rng.normal(size=(6, 5)), np.zeros((6, 3))
    model.forward(x)
    change(model, x, y)
    with pytest.raises(RuntimeError, match="the weights were changed since"):
        model.backward(y)


def test_threads_are_kept_apart(rng):
    model = small()
    x, dy = rng.normal(size=(6, 5)), np.zeros((6, 3))
    thread = threading.Thread(target=model.forward, args=(x,))
    thread.start(), thread.join()
    with pytest.raises(RuntimeError, match="made in another thread"):
        model.backward(dy)
    inside = []

    class Meanwhile(L.Layer):
        def compute_output_shape(self, input_shape):
            return input_shape

        def forward(self, x, training=False):
            if training:
                done = threading.Thread(target=self.call)
                done.start(), done.join()
            return x

        def call(self):
            try:
                busy.forward(x)
            except BusyError as error:
                inside.append(error)

        def backward(self, dy):
            return dy

    busy = bp.Sequential([Meanwhile()], dtype="float64")
    busy.forward(x)
    assert len(inside) == 1


def test_a_pass_that_diverges_leaves_no_trace(rng):
    model = bp.Sequential([L.BatchNormalization(), L.Dense(2, "exponential")], seed=0)
    model.build((3,))
    model.weights[-1].value = np.array([0.0, 1e3])
    before = model.get_weights()
    with pytest.raises(TrainingDiverged, match="output of layer 'dense' became NaN or Inf"):
        model.forward(rng.normal(size=(4, 3)))
    support.assert_same(dict(enumerate(model.get_weights())), dict(enumerate(before)))
    with pytest.raises(RuntimeError, match="no forward pass"):
        model.backward(np.zeros((4, 2)))
    model.weights[-1].value = np.zeros(2)
    model.forward(rng.normal(size=(4, 3)))
    with pytest.raises(TrainingDiverged, match="dense"):
        model.backward(np.full((4, 2), 3e38))
    assert all((p.grad == 0).all() for p in model.weights)


def gives_nan(y):
    return np.full_like(y, np.nan)


def raises(y):
    raise KeyboardInterrupt


def gives_another_shape(y):
    return y[:2]


def gives_what_overflows(y):
    return np.full_like(y, 3e38)


@pytest.mark.parametrize("bad", [gives_nan, raises, gives_another_shape, gives_what_overflows])
def test_a_step_that_fails_leaves_no_trace(bad, rng):
    """Neither of weights nor of running statistics, carried states and the next draws."""
    layers = [L.GRU(3, stateful=True), L.BatchNormalization(), L.Dropout(0.5), L.Dense(2)]
    model = bp.Sequential([bp.Input((4, 3)), *layers], seed=0)
    model.compile(bp.optimizers.SGD(0.5))
    twin = model.clone()
    twin.compile(bp.optimizers.SGD(0.5))
    xs = rng.normal(size=(3, 6, 4, 3))
    for made in (model, twin):
        made.train_on_batch(xs[0], dy=np.ones((6, 2)))
    before = model.get_weights()
    with pytest.raises((ValueError, TrainingDiverged, KeyboardInterrupt)):
        model.train_on_batch(xs[1], dy=bad)
    support.assert_same(dict(enumerate(model.get_weights())), dict(enumerate(before)))
    ys = [made.train_on_batch(xs[2], dy=lambda y: y) for made in (model, twin)]
    np.testing.assert_array_equal(*ys)
    support.assert_same(dict(enumerate(model.get_weights())), dict(enumerate(twin.get_weights())))


def test_statistics_that_would_overflow_leave_no_trace(rng):
    model = bp.Sequential([bp.Input((3,)), L.BatchNormalization(), L.Dense(2)], seed=0)
    model.compile("sgd")
    before = model.get_weights()
    for call in (model.forward, lambda x: model.train_on_batch(x, dy=lambda y: y)):
        with pytest.raises(TrainingDiverged, match="running statistics of layer 'batch_norm"):
            call(1e25 * rng.normal(size=(6, 3)))
    support.assert_same(dict(enumerate(model.get_weights())), dict(enumerate(before)))


def test_loss_and_gradient_that_fails_leaves_the_weights(rng):
    model = small()
    model.compile("sgd", "mse")
    before = model.weights_vector
    x, y = rng.normal(size=(6, 5)), np.zeros((6, 3))
    for vector, data, error in [
        (np.full(before.size, 1e308), x, TrainingDiverged),
        (np.zeros(before.size), x[:, :2], ShapeError),
    ]:
        with pytest.raises(error):
            model.loss_and_gradient(vector, data, y)
        np.testing.assert_array_equal(model.weights_vector, before)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("length", [5, None])
def test_trainable_changed_in_between(first, length, rng):
    """Backward would leave out what was thawed since, and add to what was frozen."""
    layers = [L.GRU(3), L.Dense(3)]
    model = bp.Sequential([bp.Input((length, 2)), *layers], dtype="float64", seed=0)
    x = rng.normal(size=(2, 5, 2))
    layers[0].trainable = first
    model.forward(x)
    layers[0].trainable = not first
    with pytest.raises(RuntimeError, match="what is trainable was changed since forward"):
        model.backward(np.ones((2, 3)))
    model.forward(x)
    model.backward(np.ones((2, 3)))
    assert (model.weights[0].grad != 0).any() != first


def test_a_pass_outlives_predictions_of_many_lengths(rng):
    model = bp.Sequential([bp.Input((None, 1)), L.GRU(2)], dtype="float64", seed=0)
    xs = [rng.normal(size=(n, 1)) for n in (5, 3)]
    model.forward(xs)
    expected = model.backward(np.ones((2, 2)))
    model.forward(xs)
    for k in range(30):
        n = int(1.25**k) + 1
        model.predict([np.zeros((n, 1)), np.zeros((1, 1))])
    got = model.backward(np.ones((2, 2)))
    support.assert_same(dict(enumerate(got)), dict(enumerate(expected)))
