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
    with bp.threads(1):
        found = model.gradcheck(x, t)
    assert found.max_error <= 1e-7, found


@pytest.mark.parametrize("kind", MAKERS)
def test_a_batch_in_parts_has_the_sum_of_its_gradients(kind, rng):
    """accumulate_steps: one update with the mean of what gradients() says of each part."""
    model = branched(MAKERS[kind], rng)
    model.compile(bp.optimizers.SGD(1.0), "half_squared_error", accumulate_steps=3)
    x, t = rng.normal(size=(12, 2, WIDTH)), rng.normal(size=(12, 2))
    before = {w.name: w.value.copy() for w in model.weights}
    total = {name: 0.0 for name in before}
    for k in range(3):
        model._draws = k
        part = slice(4 * k, 4 * k + 4)
        for name, g in model.gradients(x[part], t[part]).parameters.items():
            total[name] = total[name] + g / 3
    model._draws = 0
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
