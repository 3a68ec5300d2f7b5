"""Layers beside others on one value, and called twice: gradients that add, by differences."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

L = bp.layers
WIDTH = 6
MAKERS = {
    "batch": lambda: L.BatchNormalization(),
    "frozen": lambda: L.BatchNormalization(trainable=False),
    "layer": lambda: L.LayerNormalization(epsilon=0.1),
    "group": lambda: L.GroupNormalization(3, epsilon=0.1),
    "rms": lambda: L.RMSNormalization(epsilon=0.1),
    "dropout": lambda: L.Dropout(0.4),
    "alpha": lambda: L.AlphaDropout(0.3),
    "gaussian": lambda: L.GaussianDropout(0.3),
    "noise": lambda: L.GaussianNoise(0.5),
    "prelu": lambda: L.PReLU(),
    "swish": lambda: L.Swish(shared=True),
    "scale": lambda: L.Scale(0.7),
    "scale_one": lambda: L.Scale(0.7, shared=True),
    "statistics": lambda: L.Normalization(0.5, 2.0),
    "inverse": lambda: L.Normalization(0.5, 2.0, invert=True),
}


def branched(make, rng, shape=(2, WIDTH)):
    """h goes into the layer twice, once more after another layer, and past it."""
    a = bp.Input(shape)
    h = L.Dense(WIDTH, "tanh")(a)
    layer = make()
    first = layer(h)
    y = first * layer(L.Dense(WIDTH, "tanh")(first) + h) + h
    model = bp.Model(a, L.Dense(2)(L.Flatten()(y)), dtype="float64", seed=4)
    model.compile("sgd", "half_squared_error")
    for weight in layer.weights:
        if weight.local_name in ("gamma", "beta", "moving_mean", "alpha"):
            weight.value = rng.normal(0.6, 0.3, size=weight.shape)
    return model


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("rows", [1, 9])
def test_gradients_of_branches_and_second_calls(kind, rows, rng):
    model = branched(MAKERS[kind], rng)
    x, t = rng.normal(size=(rows, 2, WIDTH)), rng.normal(size=(rows, 2))
    with bp.threads(1, exact=True):
        found = model.gradcheck(x, t)
    assert found.max_error <= 1e-7, found


@pytest.mark.parametrize("kind", MAKERS)
def test_a_batch_in_parts_has_the_sum_of_its_gradients(kind, rng):
    """accumulate_steps: one update with the mean of what gradients() says of each part."""
    model = branched(MAKERS[kind], rng)
    model.compile(bp.optimizers.SGD(1.0), "half_squared_error", accumulate_steps=3)
    x, t = rng.normal(size=(12, 2, WIDTH)), rng.normal(size=(12, 2))
    before = {w.name: w.value.copy() for w in model.weights}
    total = dict.fromkeys(before, 0.0)
    for k in range(3):
        model._counters.draws = k
        part = slice(4 * k, 4 * k + 4)
        for name, g in model.gradients(x[part], t[part]).parameters.items():
            total[name] = total[name] + g / 3
    model._counters.draws = 0
    model.fit(x, t, batch_size=4, shuffle=False, verbose=0)
    for weight in model.trainable_weights:
        expected = before[weight.name] - total[weight.name]
        np.testing.assert_allclose(weight.value, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["gaussian", "noise", "alpha", "dropout"])
def test_noise_is_new_in_each_batch_and_absent_outside_of_training(kind, rng):
    layer = MAKERS[kind]()
    layer.build((40,))
    x, dy = rng.normal(size=(2, 5, 40)).astype(np.float32)
    first, second = layer.forward(x, training=True), layer.forward(x, training=True)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(layer.forward(x, training=False), x)
    np.testing.assert_array_equal(layer.backward(dy), dy)


SUMS = [
    (lambda: L.Scale(), (WIDTH,), "scale"),
    (lambda: L.BatchNormalization(), (WIDTH,), "batch"),
    (lambda: L.LayerNormalization(), (WIDTH,), "layer"),
    (lambda: L.Scale(), (9001,), "scale"),  # beyond one tile of a vector
    (lambda: L.BatchNormalization(), (9001,), "batch"),
    (lambda: L.BatchNormalization(), (2, 8300), "batch"),
    (lambda: L.LayerNormalization(), (9001,), "layer"),
    (lambda: L.LayerNormalization(axis=[-2, -1]), (40, 1100), "layer"),  # slabs of a matrix
]


@pytest.mark.parametrize("make, shape, kind", SUMS)
@pytest.mark.parametrize("rows", [3, 2049])
def test_sums_over_chunks_of_the_batch_and_tiles_of_parameters(make, shape, kind, rows, rng):
    if rows > 3 and shape != (WIDTH,):
        rows = 2
    layer = make()
    layer.convert("float64")
    layer.build(shape)
    x, dy = rng.normal(size=(2, rows, *shape))
    layer.forward(x, training=True)
    layer.backward(dy)
    others = tuple(range(x.ndim - 1)) if kind == "batch" else tuple(range(1, x.ndim))
    mean, deviation = 0.0, 1.0
    if kind != "scale":
        mean = x.mean(axis=others, keepdims=True)
        deviation = np.sqrt(x.var(axis=others, keepdims=True) + 1e-3)
    over = others if kind == "batch" else (0,)
    expected = (dy * (x - mean) / deviation).sum(axis=over)
    close = {"rtol": 1e-10, "atol": 1e-10}
    name = "scale" if kind == "scale" else "gamma"
    np.testing.assert_allclose(layer.gradients[name], expected, **close)
    if kind != "scale":
        np.testing.assert_allclose(layer.gradients["beta"], dy.sum(axis=over), **close)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_an_iterators_batches_accumulate_as_an_arrays(count, rng):
    """Updates in the middle of the epoch, and of what is left at its end."""
    x, t = rng.normal(size=(4 * count, 5)), rng.normal(size=(4 * count, 2))
    found = []
    for stream in (False, True):
        layers = [L.Dense(6, "tanh", kernel_regularizer="l2"), L.BatchNormalization(), L.Dense(2)]
        model = bp.Sequential(layers, seed=0)
        model.build((5,))
        model.compile("adam", "mse", accumulate_steps=3)
        if stream:
            model.fit(((x[i : i + 4], t[i : i + 4]) for i in range(0, len(x), 4)), verbose=0)
        else:
            model.fit(x, t, batch_size=4, shuffle=False, verbose=0)
        assert model.optimizer.iterations == -(-count // 3)
        found.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_a_step_tells_its_loss_with_penalties(rng):
    model = bp.Sequential([L.Dense(2, kernel_regularizer="l2")], seed=0, dtype="float64")
    model.build((5,))
    model.compile("sgd", "mse")
    x, t = rng.normal(size=(4, 5)), rng.normal(size=(4, 2))
    expected = model.gradients(x, t).loss
    plain = np.mean((model.predict(x) - t) ** 2)
    engine = model._engine
    item = engine.signature.read(x, t, None, model._compilation.losses)
    trainer = engine.trainer("train", model._compilation)
    assert trainer.train_step(item.xs, item.ys, item.ws, 0.0) == expected > plain + 1e-4


def test_masks_differ_after_four_billion_batches():
    layer = L.Dropout(0.5, seed=1)
    model = bp.Sequential([layer, L.Dense(1, kernel_initializer="ones")], seed=0)
    model.build((64,))
    model.compile("sgd", "mse")
    x, found = np.ones((4, 64)), []
    for draws in (5, 5 + 2**32):
        model._counters.draws = draws
        found.append(model.gradients(x, np.zeros((4, 1)), wrt_inputs=True).inputs)
    assert not np.array_equal(*found)


def test_single_precision_keeps_the_variance_of_many_rows(rng):
    x = rng.random((400_000, 1), dtype=np.float32)
    layer = L.BatchNormalization(momentum=0.0)
    layer.build((1,))
    layer.forward(x, training=True)
    np.testing.assert_allclose(layer.moving_variance.value, x.var(dtype=np.float64), rtol=6e-6)
