"""Pooling against PyTorch; padding, cropping, enlarging, scaling; LeNet-5; bad input."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import layers as L
from bpcore.errors import ShapeError

from .fixtures.make_images import numbers
from .helpers import support
from .test_convolution import assert_along, brick

CASES = support.load("images")["pooling"]


@pytest.mark.parametrize("told", CASES, ids=lambda c: f"{c['kind']}_{c['seed']}")
def test_pooling_is_pytorchs(told):
    words = {"max": "MaxPooling", "average": "AveragePooling"}[told["kind"]]
    layer = getattr(L, f"{words}{len(told['pool_size'])}D")(
        told["pool_size"], told["strides"], told["padding"]
    )
    brick(layer, told["x"][1:])
    y = layer.forward(numbers(told["x"], told["seed"]), training=True)
    assert list(y.shape) == told["output"]
    assert_along(y, told["y"], told["seed"] + 10)
    dx = layer.backward(numbers(y.shape, told["seed"] + 3))
    assert_along(dx, told["dx"], told["seed"] + 20)


def test_of_equal_values_the_first_takes_the_gradient():
    layer = brick(L.MaxPooling2D(), (2, 2, 1))
    layer.forward(np.ones((1, 2, 2, 1)), training=True)
    assert layer.backward(np.full((1, 1, 1, 1), 3.0)).ravel().tolist() == [3.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("size", [2, 3])
def test_nan_is_the_largest_value_wherever_it_stands(size):
    layer = brick(L.MaxPooling2D(size), (size, size, 1))
    for at in range(size * size):
        x = np.arange(size * size, dtype=np.float64)
        x[at] = np.nan
        assert np.isnan(layer.forward(x.reshape(1, size, size, 1))).all(), at


def test_what_no_window_sees_has_no_gradient():
    """Also in the second pass, when the first one has left something there."""
    x = bp.Input((5, 5, 2))
    h = L.Conv2D(2, 1)(x)
    seen = L.Flatten()(L.Conv2D(2, 3, padding="same")(h))
    model = bp.Model(x, L.Concatenate()([seen, L.Flatten()(L.MaxPooling2D()(h))]), seed=1)
    model.compile("sgd", "mse")
    data, target = numbers((6, 5, 5, 2), 1), numbers((6, 58), 2)
    once, again = (model.gradients(data, target).parameters for _ in range(2))
    for name, gradient in once.items():
        assert support.same_bits(again[name], gradient), name


def test_same_counts_what_lies_inside():
    """Keras' mean with padding: over 2, then over 1."""
    y = L.AveragePooling1D(2, padding="same")([[[2.0], [4.0], [6.0]]])
    assert y.ravel().tolist() == [3.0, 6.0]


def test_uint8_images_are_scaled_batch_by_batch():
    images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    model = bp.Sequential([bp.Input((8, 8, 1)), L.Rescaling(1 / 128, -1.0)])
    exact = images.astype(np.float32) / 128 - 1
    assert (model.predict(images) == exact).all()  # powers of two: no rounding


def lenet(format_="channels_last"):
    told = {"data_format": format_}
    return [
        L.Rescaling(1 / 16),
        L.ZeroPadding2D(10, **told),
        L.Conv2D(6, 5, activation="relu", **told),
        L.MaxPooling2D(**told),
        L.Conv2D(16, 5, activation="relu", **told),
        L.MaxPooling2D(**told),
        L.Flatten(),
        L.Dense(120, "relu"),
        L.Dense(84, "relu"),
        L.Dense(10, "softmax"),
    ]


def trained(threads, samples=150, epochs=1):
    (x, y), test = bp.datasets.load_digits(split=True)
    with bp.threads(threads):
        model = bp.Sequential(lenet(), seed=2)
        model.compile(bp.optimizers.Adam(3e-3), "cross_entropy", metrics=["accuracy"])
        x = np.reshape(x[:samples], (-1, 8, 8, 1))
        model.fit(x, y[:samples], batch_size=32, epochs=epochs, verbose=0)
        return model, (np.reshape(test[0], (-1, 8, 8, 1)), test[1])


def test_lenet_has_the_bits_of_one_thread():
    (one, test), (three, _) = trained(1), trained(3)
    for a, b in zip(one.get_weights(), three.get_weights(), strict=True):
        assert support.same_bits(a, b)
    assert support.same_bits(one.predict(test[0][:9]), three.predict(test[0][:9]))


def test_files(tmp_path, rng):
    x = bp.Input((6, 7, 2))
    h = L.UpSampling2D((2, 1))(L.Cropping2D(((1, 0), (2, 2)))(L.ZeroPadding2D((1, 2))(x)))
    h = L.AveragePooling2D(3, 2, "same")(L.MaxPooling2D((2, 1), padding=(1, 0))(h))
    model = bp.Model(x, [L.GlobalAveragePooling2D()(h), L.GlobalMaxPooling2D(keepdims=True)(h)])
    model.save(tmp_path / "net.safetensors")
    again = bp.load_model(tmp_path / "net.safetensors")
    data = rng.normal(size=(3, 6, 7, 2)).astype(np.float32)
    for a, b in zip(model.predict(data), again.predict(data), strict=True):
        assert support.same_bits(a, b)


@pytest.mark.parametrize("make, error, words", [
    (lambda: L.MaxPooling2D(5)(bp.Input((4, 9, 1))), ShapeError, "at least 5 along axis 1"),
    (lambda: L.MaxPooling2D(2)(bp.Input((4, 9))), ShapeError, "expected (N, H, W, C)"),
    (lambda: L.MaxPooling2D(2, padding=2), ValueError, "smaller than pool_size, got 2 and 2"),
    (lambda: L.AveragePooling1D(0), ValueError, "pool_size must be >= 1"),
    (lambda: L.Cropping2D(2)(bp.Input((4, 9, 1))), ShapeError, "the output would have 0 x 5"),
    (lambda: L.ZeroPadding2D((1, 2, 3)), ValueError, "padding must be an int, a pair, or a pair"),
    (lambda: L.ZeroPadding1D(-1), ValueError, "padding must be >= 0"),
    (lambda: L.UpSampling1D(0), ValueError, "size must be >= 1"),
    (lambda: L.UpSampling2D(2**20)(bp.Input((9, 9, 9))), ValueError, "elements"),
    (lambda: L.Rescaling("a"), TypeError, "scale must be a finite number"),
    (lambda: L.GlobalMaxPooling2D()(bp.Input((4, 9))), ShapeError, "expected (N, H, W, C)"),
])  # fmt: skip
def test_what_does_not_fit(make, error, words):
    with pytest.raises(error) as found:
        make()
    assert words in str(found.value), found.value
