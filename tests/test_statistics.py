"""`Normalization`: statistics of awkward data, and large offsets that float32 would round away."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import bpcore as bp

L = bp.layers
NOW = 1_700_000_000  # seconds since 1970; float32 has steps of 128 there


def standard(x):
    x = np.asarray(x, np.float64)
    x = x - x[0]
    return (x - x.mean(axis=0)) / x.std(axis=0)


def adapted(x, **options):
    layer = L.Normalization(**options)
    layer.adapt(x)
    return layer


# ---- what statistics are taken -------------------------------------------------------------------


@pytest.mark.parametrize("deviation", [1e-15, 1e-9, 1.0, 1e9, 1e15])
@pytest.mark.parametrize("mean", [0.0, 1.0, -3.0])
def test_small_and_large_deviations(deviation, mean, rng):
    """There was a limit of 1e-12 to the variance, whatever the data."""
    x = mean * deviation + deviation * rng.normal(size=(500, 3))
    np.testing.assert_allclose(adapted(x)(x), standard(x), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e12 / 3, -1e12 / 3, 1e-30, 1e30, 2**60 + 1])
@pytest.mark.parametrize("n", [1, 7, 1000, 70000])
def test_constants_become_0(value, n):
    """Whatever a sum of them rounds to."""
    x = np.full((n, 2), value)
    layer = adapted(x)
    assert (layer(x[:3]) == 0).all() and (layer.variance.value == 1).all()


def test_what_arithmetic_on_a_constant_leaves_is_no_deviation(rng):
    x = 0.1 * rng.integers(1, 9, (1000, 1)) / rng.integers(1, 9, (1000, 1))
    noisy = (x + 0.3) - x  # 0.3, but for the last digits
    assert 0 < noisy.std() < 1e-15
    assert (adapted(noisy)(noisy) == 0).all()
    assert adapted(noisy * 1e9).variance.value == 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int32",
                                   "uint64", "bool"])  # fmt: skip
def test_every_dtype(dtype, rng):
    x = rng.integers(0, 2 if dtype == "bool" else 99, (300, 2)).astype(dtype)
    np.testing.assert_allclose(adapted(x)(x), standard(x), rtol=1e-6, atol=1e-6)


def test_many_rows_in_pieces(rng):
    x = rng.normal(size=(70001, 2)) * [1, 1e6] + [5, 1e9]
    layer = adapted(x, dtype="float64")
    np.testing.assert_allclose(layer.mean.value, x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(layer.variance.value, x.var(axis=0), rtol=1e-10)


def test_deviations_that_the_dtype_cannot_square(rng):
    x = rng.normal(size=(50, 2)) * [1.0, 1e-25]
    with pytest.raises(ValueError, match=r"feature 1 .* too small for float32.*float64"):
        adapted(x)
    with pytest.raises(ValueError, match="too small for float32"):
        L.Normalization([0.0], [1e-45]).build((3,))
    np.testing.assert_allclose(adapted(x, dtype="float64")(x), standard(x), rtol=1e-9)
    with pytest.raises(ValueError, match="overflow"):
        adapted(x * 1e200, dtype="float64")


# ---- large offsets -------------------------------------------------------------------------------


def times(deviation, rng, n=400):
    return NOW + deviation * rng.normal(size=(n, 2)) * [1, 10]


def net(layer, dtype="float32"):
    model = bp.Sequential([layer, L.Dense(1, use_bias=False)], seed=0, dtype=dtype)
    model.build((2,))
    model.layers[1].kernel.value = [[1.0], [-2.0]]
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def wanted(x):
    return standard(x) @ [[1.0], [-2.0]]


@pytest.mark.parametrize("deviation", [1.0, 300.0, 1e5])
def test_seconds_in_a_model_of_float32(deviation, rng):
    """They became one value: the cast came before the subtraction. By every door."""
    x = times(deviation, rng)
    model, y = net(adapted(x)), wanted(x)
    near = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(model.predict(x), y, **near)
    np.testing.assert_allclose(model.predict(x, batch_size=7), y, **near)
    for n in (1, 3, 200):
        np.testing.assert_allclose(model(x[:n]), y[:n], **near)
    np.testing.assert_allclose(model.layers[0](x), standard(x), **near)
    assert model.evaluate(x, y)["mae"] < 1e-5
    assert model.evaluate(iter([(x[:5], y[:5]), (x[5:], y[5:])]))["mae"] < 1e-5
    assert model.train_on_batch(x, y)["mae"] < 1e-5
    found = model.gradients(x, y + 1, wrt_inputs=True)
    scale = x.std(axis=0) * len(x)
    np.testing.assert_allclose(found.inputs, -2 * np.array([[1.0, -2.0]] * len(x)) / scale,
                               rtol=1e-4)  # fmt: skip
    seen = model.trace(x[:5], y[:5])["normalization"]
    np.testing.assert_allclose(seen.inputs, x[:5].astype(np.float32), rtol=1e-7)
    np.testing.assert_allclose(seen.a, standard(x)[:5], **near)


def test_it_learns_from_seconds(rng):
    """The half of a day, from a day's seconds."""
    x = NOW + rng.uniform(0, 86_400, (2000, 1))
    y = (x - NOW > 43_200) * 1
    model = bp.Sequential([adapted(x), L.Dense(8, "tanh"), L.Dense(1, "sigmoid")], seed=0)
    model.compile(bp.optimizers.Adam(0.05), "binary_cross_entropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=10, verbose=0, validation_split=0.2).history
    assert history["accuracy"][-1] > 0.97 and history["val_accuracy"][-1] > 0.97


@pytest.mark.parametrize("form", ["float64", ">f8", "int64", "uint32", ">i8", "fortran", "strided",
                                  "reversed", "transposed", "memmap", "frame"])  # fmt: skip
def test_any_memory_layout_has_the_bits_of_its_contiguous_copy(form, rng, tmp_path):
    whole = np.round(times(500.0, rng, 64))
    x = whole
    if form == "fortran":
        x = np.asfortranarray(whole)
    elif form == "strided":
        x = np.repeat(np.repeat(whole, 2, axis=0), 3, axis=1)[::2, ::3]
    elif form == "reversed":
        x = whole[::-1, ::-1].copy()[::-1, ::-1]
    elif form == "transposed":
        x = whole.T.copy().T
    elif form == "memmap":
        x = np.memmap(tmp_path / "x", "f8", "w+", shape=whole.shape)
        x[...] = whole
    elif form == "frame":
        pandas = pytest.importorskip("pandas")
        x = pandas.DataFrame(whole, columns=["a", "b"])
    else:
        x = whole.astype(form)
    model = net(adapted(whole))
    expected = model.predict(whole)
    np.testing.assert_array_equal(model.predict(x), expected)
    np.testing.assert_allclose(expected, wanted(whole), rtol=1e-5, atol=1e-5)


def test_through_reshapes_and_in_each_of_several_inputs(rng):
    x = NOW + rng.normal(size=(50, 3, 4)) * 100
    flat = bp.Sequential([bp.Input((3, 4)), L.Flatten(), adapted(x.reshape(50, 12))])
    np.testing.assert_allclose(flat.predict(x), standard(x.reshape(50, 12)), rtol=1e-4, atol=1e-5)
    by_column = bp.Sequential([bp.Input((3, 4)), adapted(x)])
    np.testing.assert_allclose(by_column.predict(x).reshape(-1, 4), standard(x.reshape(-1, 4)),
                               rtol=1e-4, atol=1e-5)  # fmt: skip
    a, b = bp.Input((2,)), bp.Input((2,))
    xs = [times(10.0, rng, 50), -3 * times(7.0, rng, 50)]
    both = bp.Model([a, b], [adapted(xs[0])(a), adapted(xs[1])(b)])
    for y, part in zip(both.predict(xs), xs, strict=True):
        np.testing.assert_allclose(y, standard(part), rtol=1e-4, atol=1e-5)
    shared = adapted(xs[0])
    twice = bp.Model([a, b], [shared(a), shared(b)])
    first, second = twice.predict([xs[0], xs[0][::-1]])
    np.testing.assert_array_equal(first, second[::-1])
    np.testing.assert_allclose(first, standard(xs[0]), rtol=1e-4, atol=1e-5)


def test_an_input_that_others_read_is_not_shifted(rng):
    x = rng.normal(size=(20, 2)) + 7
    a = bp.Input((2,))
    layer = adapted(x)
    model = bp.Model(a, [layer(a), L.Activation("linear")(a) * 1.0])
    y, same = model.predict(x)
    np.testing.assert_allclose(y, standard(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(same, x.astype(np.float32))
    alone = bp.Model(a, [layer(a), a])  # an input that is an output, too
    np.testing.assert_array_equal(alone.predict(x)[1], x.astype(np.float32))


def test_what_keeps_the_digits(rng, tmp_path):
    """Files, copies and weights taken over by name; a new adapt and assigned numbers count."""
    x = times(1.0, rng)
    model = net(adapted(x))
    expected = model.predict(x)
    model.save(tmp_path / "m.safetensors")
    model.save_checkpoint(tmp_path / "m.ckpt")
    other = net(adapted(x - 1e6))
    other.copy_weights(model)
    others = {
        "file": bp.load_model(tmp_path / "m.safetensors"),
        "checkpoint": bp.load_checkpoint(tmp_path / "m.ckpt"),
        "deepcopy": copy.deepcopy(model),
        "pickle": pickle.loads(pickle.dumps(model)),
        "configuration": net(L.Normalization.from_config(model.layers[0].get_config())),
        "copy_weights": other,
    }
    for name, found in others.items():
        assert np.array_equal(found.predict(x), expected), name
    model.layers[0].adapt(x + 5000)
    np.testing.assert_allclose(model.predict(x + 5000), wanted(x), rtol=1e-4, atol=1e-4)
    model.layers[0].mean.value = np.float32([NOW + 128, NOW - 256])  # that float32 holds
    y = (x - np.float32([NOW + 128, NOW - 256])) / x.std(axis=0) @ [[1.0], [-2.0]]
    np.testing.assert_allclose(model.predict(x), y, rtol=1e-4, atol=1e-4)
    model.save(tmp_path / "m.safetensors")
    again = bp.load_model(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_ordinary_statistics_stay_out_of_the_configuration(rng):
    """Their weights say all; a file of many features has no second copy of them as text."""
    x = rng.normal(size=(100, 3)) * [1, 1e-1, 1e5] + [10, -1, 3e6]
    layer = adapted(x)
    assert set(layer.get_config()) == {"name"}


def test_given_statistics_and_other_dtypes(rng):
    x = times(1.0, rng)
    mean, variance = x.mean(axis=0), x.var(axis=0)
    given = net(L.Normalization(mean, variance))
    np.testing.assert_allclose(given.predict(x), wanted(x), rtol=1e-4, atol=1e-4)
    late = L.Normalization()  # float32 by itself, then a part of a float64 model
    late.adapt(x)
    np.testing.assert_allclose(net(late, "float64").predict(x), wanted(x), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(late.mean.value, mean, rtol=1e-14)


def test_training_is_the_same_for_shifted_float32(rng):
    """Of data that are float32 already, and means that are too, no bit changes."""
    x = rng.normal(size=(64, 2)).astype(np.float32)
    mean, variance = np.float32([0.25, -1.5]), np.float32([4.0, 0.5])
    model = net(L.Normalization(mean, variance))
    y = (x - mean) * (np.float32(1) / np.sqrt(variance))
    np.testing.assert_array_equal(model.layers[0](x), y)


# ---- normalization of very large values ----------------------------------------------------------


@pytest.mark.parametrize("dtype, factor", [("float32", 3e30), ("float32", 3e37), ("float64", 1e200),
                                           ("float64", 1e307), ("float32", 1e19)])  # fmt: skip
@pytest.mark.parametrize("kind", ["layer", "rms", "group"])
@pytest.mark.parametrize("width", [4, 37, 600])
def test_squares_that_overflow(kind, dtype, factor, width, rng):
    """They were 1.98 standard deviations off: all of a row was 0."""
    u = rng.uniform(-1, 1, size=(5, width))
    make = {"layer": L.LayerNormalization, "rms": L.RMSNormalization,
            "group": lambda **k: L.GroupNormalization(1, **k)}[kind]  # fmt: skip
    layer = make(dtype=dtype)
    centred = u - u.mean(axis=1, keepdims=True) if kind != "rms" else u
    expected = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True))
    x = (u * factor).astype(dtype)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=tolerance, atol=tolerance)
    dx = layer.backward(np.ones_like(x))
    assert np.isfinite(dx).all()
