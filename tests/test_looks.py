"""What a model shows of itself: activations, trace, sensitivity, edges; goals, seconds, inertia."""

from __future__ import annotations

import math

import numpy as np
import pytest

import bpcore as bp

L = bp.layers


def made(dtype="float64", **options):
    layers = [L.Dense(6, "tanh"), L.BatchNormalization(), L.Dense(3, "softmax")]
    model = bp.Sequential(layers, seed=1, dtype=dtype)
    model.build((4,))
    return model


def test_activations_of_all_layers(rng):
    """Those of sub-models that end there, to the bit; a shared layer's calls are numbered."""
    shared, a = L.Dense(4, "relu", name="s"), bp.Input((4,))
    first = shared(a)
    second = shared(first)
    model = bp.Model(a, L.Dense(2, name="end")(second + first), seed=0)
    x = rng.normal(size=(70, 4))
    found = model.activations(x)
    assert list(found) == ["s", "s:1", "add", "end"]
    for key, tensor in (("s", first), ("s:1", second)):
        np.testing.assert_array_equal(found[key], bp.Model(a, tensor)(x))
    np.testing.assert_array_equal(found["add"], found["s:1"] + found["s"])
    np.testing.assert_array_equal(found["end"], model.predict(x))


def test_trace_without_a_target(rng):
    model = made()
    x = rng.normal(size=(5, 4))
    found = model.trace(x)
    np.testing.assert_array_equal(found["dense_1"].a, model.predict(x))
    np.testing.assert_allclose(np.tanh(found["dense"].z), found["dense"].a, rtol=1e-14)
    np.testing.assert_array_equal(found["dense"].inputs, x)
    assert found["dense"].delta is None and found["dense"].da is None
    with pytest.raises(ValueError, match="got no y"):
        model.trace(x, sample_weight=np.ones(5))


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("weighted", [False, True])
def test_trace_has_the_gradient_by_a(loss, weighted, rng):
    """delta = dL/da times the derivative, of the hidden layer and of the last one."""
    model = made()
    model.compile("sgd", loss)
    x, y = rng.normal(size=(7, 4)), np.eye(3)[rng.integers(0, 3, 7)]
    weights = rng.uniform(size=7) if weighted else None
    found = model.trace(x, y, sample_weight=weights)
    hidden, last = found["dense"], found["dense_1"]
    np.testing.assert_allclose(hidden.delta, hidden.da * (1 - hidden.a**2), rtol=1e-12)
    through = last.a * (last.da - (last.da * last.a).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(last.delta, through, rtol=1e-10, atol=1e-14)


def test_sensitivity(rng):
    """By the chain rule; the caller's pass is left alone."""
    a, b = bp.Input((2,)), bp.Input((3,))
    h = L.Dense(5, "tanh")(L.Concatenate()([a, b]))
    model = bp.Model([a, b], [L.Dense(2)(h), L.Dense(1)(h)], dtype="float64", seed=0)
    xs = [rng.normal(size=(3000, 2)), rng.normal(size=(3000, 3))]
    model.forward([x[:4] for x in xs])
    found = model.sensitivity(xs)
    model.backward([np.zeros((4, 2)), np.zeros((4, 1))])
    assert found.shape == (3000, 3, 5)
    w = [p.value for p in model.weights]
    z = np.tanh(np.concatenate(xs, axis=1) @ w[0] + w[1])
    out = np.concatenate([w[2], w[4]], axis=1)
    expected = np.einsum("ho,nh,ih->noi", out, 1 - z**2, w[0])
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


def test_edges_and_dot():
    a = bp.Input((3,), name="a")
    h = L.Dense(3, name="h")(a)
    model = bp.Model(a, L.Add(name='the "sum"')([h, a]), name="m")
    assert model.edges == [("a", "h", 0), ("h", 'the "sum"', 0), ("a", 'the "sum"', 1)]
    text = model.to_dot()
    assert text.startswith('digraph "m" {') and text.count("->") == 3
    assert '\\"sum\\"' in text and text.count("{") == text.count("}")


def test_a_goal_ends_the_fit(rng):
    x = rng.normal(size=(64, 3))
    model = bp.Sequential([L.Dense(1)], seed=0)
    model.compile("adam", "mse", metrics=["mae"])
    goal = bp.callbacks.Goal("val_loss", 0.5)
    y = x @ np.ones((3, 1))
    history = model.fit(x, y, epochs=500, validation_data=(x, y), callbacks=[goal], verbose=0)
    losses = history.history["val_loss"]
    assert goal.reached and losses[-1] <= 0.5 < min(losses[:-1])
    never = bp.callbacks.Goal("mae", -1.0)
    model.fit(x, y, epochs=2, callbacks=[never], verbose=0)
    assert not never.reached
    with pytest.raises(ValueError, match=r"'lost'.*did you mean 'loss'"):
        model.fit(x, y, callbacks=[bp.callbacks.Goal("lost", 1)], verbose=0)
    assert bp.callbacks.Goal("val_accuracy", 0.9).mode == "max"
    for monitor in (1, "", None):
        with pytest.raises(TypeError, match="monitor must be a name in the logs"):
            bp.callbacks.Goal(monitor, 1)


def test_a_goal_is_reached_when_it_is_met():
    """At a rate of nothing the loss is 1/2 in each epoch, and so is the share of right answers."""
    model = bp.Sequential([L.Dense(1, kernel_initializer="zeros")], seed=0)
    model.compile(bp.optimizers.SGD(1e-30), "mse", metrics=["binary_accuracy"])
    x, y = np.ones((4, 1)), np.array([[0.0], [0.0], [1.0], [1.0]])
    for monitor, value, mode, epochs in (
        ("loss", 0.5, "auto", 1), ("loss", 0.4, "auto", 3),
        ("binary_accuracy", 0.5, "max", 1), ("binary_accuracy", 0.6, "max", 3),
    ):  # fmt: skip
        goal = bp.callbacks.Goal(monitor, value, mode)
        found = model.fit(x, y, epochs=3, callbacks=[goal], verbose=0)
        assert len(found.epoch) == epochs and goal.reached == (epochs == 1)


def test_seconds_of_epochs(rng, tmp_path):
    import time

    class Slow(bp.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            time.sleep(0.02)

    x, y = rng.normal(size=(20, 4)), np.eye(3)[rng.integers(0, 3, 20)]
    model = made()
    model.compile("adam", "cross_entropy")
    start = time.perf_counter()
    history = model.fit(x, y, epochs=3, callbacks=[Slow()], verbose=0)
    assert len(history.seconds) == 3 and all(s > 0 for s in history.seconds)
    assert sum(history.seconds) <= time.perf_counter() - start
    path = tmp_path / "run.ckpt"
    runs = [made(), made()]
    for run in runs:
        run.compile("adam", "cross_entropy")
    runs[0].fit(x, y, epochs=2, verbose=0, checkpoint=path)
    again = runs[1].fit(x, y, epochs=2, verbose=0, checkpoint=path)
    assert len(again.seconds) == 2 and all(map(math.isnan, again.seconds))


@pytest.mark.parametrize("nesterov", [False, True])
def test_inertia(nesterov, rng):
    """v = m v + (1 - m) g from the first step on, w -= eta v (or the look-ahead of it)."""
    x, y, m, eta = rng.normal(size=(10, 2)), rng.normal(size=(10, 1)), 0.9, 0.1
    model = bp.Sequential([L.Dense(1)], seed=0, dtype="float64")
    model.build((2,))
    model.compile(bp.optimizers.SGD(eta, m, nesterov, inertia=True), "half_squared_error")
    w, b = (p.copy() for p in model.get_weights())
    v = [np.zeros_like(w), np.zeros_like(b)]
    for _ in range(6):
        error = (x @ w + b - y) / 10
        g = [x.T @ error, error.sum(axis=0)]
        v = [m * vi + (1 - m) * gi for vi, gi in zip(v, g, strict=True)]
        d = [m * vi + (1 - m) * gi for vi, gi in zip(v, g, strict=True)] if nesterov else v
        w, b = w - eta * d[0], b - eta * d[1]
        model.train_on_batch(x, y)
    np.testing.assert_allclose(model.weights[0].value, w, rtol=1e-12)
    np.testing.assert_allclose(model.weights[1].value, b, rtol=1e-12)
    assert model.optimizer.learning_rate == eta
    model.fit(x, y, batch_size=None, epochs=1, verbose=0)
    error = (x @ w + b - y) / 10
    v = [m * vi + (1 - m) * gi for vi, gi in zip(v, [x.T @ error, error.sum(axis=0)], strict=True)]
    step = m * v[0] + (1 - m) * (x.T @ error) if nesterov else v[0]
    np.testing.assert_allclose(model.weights[0].value, w - eta * step, rtol=1e-12)


def test_lasso_on_orthonormal_columns(rng):
    """min |y - x w|^2 / (2 N) + l |w|_1 with x^T x = N: w = soft(x^T y / N, l), zeros exact."""
    n, l1 = 64, 0.3
    x = np.linalg.qr(rng.normal(size=(n, 8)))[0] * np.sqrt(n)
    y = x @ np.array([[2.0], [-1.5], [0.1], [0.0], [-0.2], [0.5], [1.0], [0.25]])
    y += 0.01 * rng.normal(size=y.shape)
    penalty = bp.regularizers.L1(l1, proximal=True)
    layer = L.Dense(1, use_bias=False, kernel_regularizer=penalty)
    model = bp.Sequential([layer], dtype="float64", seed=0)
    model.compile(bp.optimizers.SGD(0.5), "half_squared_error")
    model.fit(x, y, batch_size=None, epochs=100, verbose=0)
    least = x.T @ y / n
    expected = np.sign(least) * np.maximum(np.abs(least) - l1, 0)
    w = model.weights[0].value
    np.testing.assert_allclose(w, expected, rtol=0, atol=1e-8)
    assert ((w == 0) == (expected == 0)).all() and (w == 0).sum() == 4
    loss = 0.5 * ((x @ w - y) ** 2).mean() + l1 * np.abs(w).sum()
    np.testing.assert_allclose(model.evaluate(x, y)["loss"], loss, rtol=1e-12)
    by_hand = bp.Sequential(
        [L.Dense(1, use_bias=False, kernel_regularizer=penalty)], dtype="float64", seed=0
    )
    by_hand.compile(bp.optimizers.SGD(0.5))
    for _ in range(100):
        by_hand.train_on_batch(x, dy=lambda p: (p - y) / n)
    np.testing.assert_allclose(by_hand.weights[0].value, w, rtol=1e-12)
    assert bp.regularizers.L1(**penalty.get_config()).proximal
