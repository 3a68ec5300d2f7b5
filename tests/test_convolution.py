"""Convolution against PyTorch and whole numbers; formats, memory layouts, files, bad input."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import layers as L
from bpcore.errors import ShapeError

from .fixtures.make_images import along, numbers
from .helpers import support
from .reference.images import convolution

CASES = support.load("images")["convolution"]
ARGUMENTS = (
    "filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "use_bias",
)  # fmt: skip


def brick(layer, shape, *weights, dtype="float64"):
    layer.convert(dtype)
    layer.build(shape)
    for w, value in zip(layer.weights, weights, strict=True):
        w.value = value
    return layer


def conv(told, **more):
    kind = L.Conv1D if len(told["kernel_size"]) == 1 else L.Conv2D
    return kind(**{name: told[name] for name in ARGUMENTS}, **more)


def assert_along(found, expected, seed):
    """The results' sums along directions, by the norms that they have."""
    for value, number, i in zip(along(found, seed), expected, range(3), strict=True):
        scale = support.norm([found]) * support.norm([numbers(found.shape, seed + i)])
        assert abs(value - number) <= 1e-12 * max(scale, 1e-300), (value, number)


@pytest.mark.parametrize("some", range(10))
def test_convolution_is_pytorchs(some):
    for told in CASES[some::10]:
        seed = told["seed"]
        layer = conv(told)
        kernel = (*layer.kernel_size, told["x"][-1] // layer.groups, layer.filters)
        values = [numbers(kernel, seed + 1), numbers((layer.filters,), seed + 2)]
        brick(layer, told["x"][1:], *values[: 1 + told["use_bias"]])
        y = layer.forward(numbers(told["x"], seed), training=True)
        assert list(y.shape) == told["output"], told
        dx = layer.backward(numbers(y.shape, seed + 3))
        assert_along(y, told["y"], seed + 10)
        assert_along(dx, told["dx"], seed + 20)
        assert_along(layer.gradients["kernel"], told["dw"], seed + 30)
        if told["use_bias"]:
            assert_along(layer.gradients["bias"], told["db"], seed + 40)


ALONE = [c for c in CASES if c["groups"] == c["x"][-1] and len(c["kernel_size"]) == 2]


@pytest.mark.parametrize("some", range(5))
def test_channels_one_by_one_are_pytorchs(some):
    """The cases of as many groups as channels; the 1 x 1 filters of SeparableConv2D are ones."""
    for told in ALONE[some::5]:
        seed, channels, filters = told["seed"], told["x"][-1], told["filters"]
        kernel = numbers((*told["kernel_size"], channels, filters // channels), seed + 1)
        bias = [numbers((filters,), seed + 2)] if told["use_bias"] else []
        more = {name: told[name] for name in ("strides", "padding", "dilation_rate", "use_bias")}
        more["depth_multiplier"] = filters // channels
        depthwise = L.DepthwiseConv2D(told["kernel_size"], **more)
        separable = L.SeparableConv2D(filters, told["kernel_size"], **more)
        for layer, weights in ((depthwise, [kernel]), (separable, [kernel, np.eye(filters)])):
            if layer is separable:
                weights[1] = weights[1].reshape(1, 1, filters, filters)
            brick(layer, told["x"][1:], *weights, *bias)
            y = layer.forward(numbers(told["x"], seed), training=True)
            dx = layer.backward(numbers(y.shape, seed + 3))
            assert_along(y, told["y"], seed + 10)
            assert_along(dx, told["dx"], seed + 20)
            dw = layer.gradients[layer.weights[0].name.split("/")[-1]]
            assert_along(dw.reshape(*dw.shape[:2], 1, filters), told["dw"], seed + 30)
            if bias:
                assert_along(layer.gradients["bias"], told["db"], seed + 40)


def test_the_fixtures_hold_what_is_hard():
    reach = [[(w - 1) * d + 1 for w, d in zip(c["kernel_size"], c["dilation_rate"], strict=True)]
             for c in CASES]  # fmt: skip
    assert sum(any(r > n for r, n in zip(rs, c["x"][1:], strict=False))
               for rs, c in zip(reach, CASES, strict=True)) > 30  # fmt: skip
    assert sum(c["groups"] > 1 for c in CASES) > 60
    same = [c for c in CASES if c["padding"] == "same" and max(c["strides"]) > 1]
    assert sum(any(w % 2 == 0 for w in c["kernel_size"]) for c in same) > 10
    assert {c["kernel_size"][0] for c in CASES} >= {1, 9}
    assert sum(c["filters"] > c["groups"] > 1 for c in ALONE) > 10
    for name, least in (("strides", 3), ("dilation_rate", 3)):
        assert max(max(c[name]) for c in CASES) == max(max(c[name]) for c in ALONE) == least


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("padding, strides, dilation", [("same", 1, 1), (2, 2, 1), ("valid", 1, 2)])
def test_whole_numbers_are_exact(padding, strides, dilation, groups, rng):
    """Sums of few small whole numbers are exact in float32, in whatever order."""
    whole = lambda *shape: rng.integers(-4, 5, shape).astype(np.float64)  # noqa: E731
    x, kernel, bias = whole(11, 12, 13, 4), whole(3, 4, 4 // groups, 6), whole(6)
    told = {"strides": strides, "padding": padding, "groups": groups}
    layer = L.Conv2D(6, (3, 4), dilation_rate=dilation, **told)
    brick(layer, x.shape[1:], kernel, bias, dtype="float32")
    forward = lambda k, a: convolution([k, bias], a, dilation=dilation, **told)  # noqa: E731
    y = layer.forward(x, training=True)
    assert (y == forward(kernel, x)).all()
    dy = whole(*y.shape)
    dx = layer.backward(dy)
    v, u = whole(*x.shape), whole(*kernel.shape)
    y_0 = forward(0 * kernel, x)  # y is linear in x and in the kernel, the bias apart
    assert (dx * v).sum() == (dy * (forward(kernel, v) - y_0)).sum()
    assert (layer.gradients["kernel"] * u).sum() == (dy * (forward(u, x) - y_0)).sum()
    assert (layer.gradients["bias"] == dy.sum(axis=(0, 1, 2))).all()


def results(kernel, x, seed, dtype, **told):
    """y, dx and the gradient of the kernel, without a bias; deltas are the same in all filters."""
    layer = L.Conv2D(kernel.shape[-1], kernel.shape[:2], use_bias=False, **told)
    brick(layer, x.shape[1:], kernel, dtype=dtype)
    y = layer.forward(x, training=True)
    dy = np.repeat(numbers((*y.shape[:-1], 1), seed), y.shape[-1], axis=-1)
    return y, layer.backward(dy), layer.gradients["kernel"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("window, channels, padding", [
    ((5, 5), 1, 2), ((20, 3), 1, "same"), ((1, 9), 1, "valid"), ((3, 3), 4, 1),
])  # fmt: skip
def test_few_filters_have_the_bits_of_many(window, channels, padding, dtype):
    """A filter's chains are its own, also where positions fill the vectors, not filters."""
    x = numbers((10, 21, 150, channels), 1).astype(dtype)
    kernel = numbers((*window, channels, 13), 2).astype(dtype)
    y, _, dw = results(kernel, x, 3, dtype, padding=padding)
    for few in (1, 3, 6, 8):
        a, _, b = results(kernel[..., :few], x, 3, dtype, padding=padding)
        assert support.same_bits(a, y[..., :few].copy()), few
        assert support.same_bits(b, dw[..., :few].copy()), few


def test_few_channels_have_the_bits_of_many():
    """The same on the way back: of one filter, whose deltas are neighbours."""
    x, kernel = numbers((3, 21, 150, 13), 1), numbers((5, 5, 13, 1), 2)
    _, dx, _ = results(kernel, x, 3, "float64", padding="same")
    for few in (1, 3, 5):
        _, a, _ = results(kernel[:, :, :few], x[..., :few], 3, "float64", padding="same")
        assert support.same_bits(a, dx[..., :few].copy()), few


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("channels, groups, dilation", [(3, 1, 1), (6, 1, 1), (4, 2, 1), (3, 1, 2)])
def test_windows_give_in_the_order_of_positions(channels, groups, dilation, strides):
    """dx has the bits of one addition after the other, a position at a time.

    Of 24 filters one is 1 and the others are 0, so that what a position gives is exact."""
    x = np.zeros((1, 11, 12, channels), np.float32)
    kernel = np.zeros((5, 4, channels // groups, 24), np.float32)
    kernel[..., :: 24 // groups] = 1
    layer = L.Conv2D(24, (5, 4), strides, groups=groups, dilation_rate=dilation, use_bias=False)
    brick(layer, x.shape[1:], kernel, dtype="float32")
    y = layer.forward(x, training=True)
    dy = numbers(y.shape, 7).astype(np.float32)
    expected = np.zeros_like(x)
    for i, j in np.ndindex(*y.shape[1:3]):
        for r, s in np.ndindex(5, 4):
            seen = expected[0, i * strides + r * dilation, j * strides + s * dilation]
            seen += np.repeat(dy[0, i, j, :: 24 // groups], channels // groups)
    assert support.same_bits(layer.backward(dy), expected)


@pytest.mark.parametrize("make, channels", [
    (lambda: L.Conv2D(3, (3, 2), padding="same"), 3),  # by panels
    (lambda: L.Conv2D(24, 3, padding="same"), 24),
    (lambda: L.Conv2D(24, 2, padding="same", groups=2), 24),
    (lambda: L.DepthwiseConv2D(3, padding="same"), 5),
    (lambda: L.SeparableConv2D(5, 3, padding="same", depth_multiplier=2), 5),
    (lambda: L.MaxPooling2D(3, 1, "same"), 5),
    (lambda: L.AveragePooling2D(3, 1, "same"), 5),
])  # fmt: skip
def test_what_reaches_an_input_twice_is_added(make, channels):
    """y = x + f(x), and dx = dy + what f alone gives."""
    shape = (7, 9, channels)
    x, dy = numbers((4, *shape), 1), numbers((4, *shape), 2)
    image, layer = bp.Input(shape), make()
    model = bp.Model(image, L.Add()([image, layer(image)]), dtype="float64", seed=3)
    alone = brick(make(), shape, *[w.value for w in layer.weights])
    alone.forward(x, training=True)
    model.forward(x, training=True)
    np.testing.assert_allclose(model.backward(dy), dy + alone.backward(dy), rtol=0, atol=1e-14)


def trained(threads=1, rows=20, order="C"):
    """Weights and predictions of a small net on 10 x 9 images."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(rows, 10, 9, 3)).astype(np.float32)
    y = rng.normal(size=(rows, 4)).astype(np.float32)
    x = np.asarray(x, order=order)
    with bp.threads(threads):
        model = bp.Sequential(
            [
                L.Conv2D(5, 3, activation="relu", padding="same"),
                L.Conv2D(6, (4, 3), strides=2, dilation_rate=1),
                L.Flatten(),
                L.Dense(4),
            ],
            seed=5,
        )
        model.compile("adam", "mse")
        model.fit(x, y, batch_size=9, epochs=2, verbose=0)
        return [*model.get_weights(), model.predict(x)]


def test_bits_do_not_depend_on_threads_and_layout():
    expected = trained()
    for other in (
        trained(threads=2),
        trained(threads=3),
        trained(order="F"),
    ):
        for a, b in zip(expected, other, strict=True):
            assert support.same_bits(a, b)


@pytest.mark.parametrize("kind, shape", [("Conv1D", (40, 9, 4)), ("Conv2D", (11, 12, 13, 4))])
def test_channels_first_has_the_bits_of_channels_last(kind, shape, rng):
    x = rng.normal(size=shape).astype(np.float32)
    told = {
        "padding": "same",
        "strides": 2,
        "activation": "gelu",
        "kernel_initializer": "he_normal",
    }
    last = getattr(L, kind)(6, 3, **told)
    last.build(shape[1:])
    first = getattr(L, kind)(6, 3, data_format="channels_first", **told)
    turned = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    first.build(turned.shape[1:])
    first.set_weights(last.get_weights())
    y, turned_y = last.forward(x, training=True), first.forward(turned, training=True)
    assert support.same_bits(np.moveaxis(turned_y, 1, -1).copy(), y)
    dy = rng.normal(size=y.shape).astype(np.float32)
    dx = last.backward(dy)
    turned_dx = first.backward(np.ascontiguousarray(np.moveaxis(dy, -1, 1)))
    assert support.same_bits(np.moveaxis(turned_dx, 1, -1).copy(), dx)
    for name, g in last.gradients.items():
        assert support.same_bits(first.gradients[name], g), name


def test_a_row_has_its_bits_alone(rng):
    layer = L.Conv2D(7, 3, padding="same")
    x = rng.normal(size=(9, 20, 21, 5)).astype(np.float32)
    y = layer(x)
    for i in (0, 4, 8):
        assert support.same_bits(layer(x[i : i + 1])[0], y[i])


def test_positions_behind_the_end_change_no_bit(rng):
    """A longer sequence whose further deltas are zero, as of any layer (test_chunks.py)."""
    x = rng.normal(size=(20, 150, 3)).astype(np.float32)
    dy = rng.normal(size=(20, 150, 4)).astype(np.float32)
    found = []
    for more in (0, 200):
        layer = L.Conv1D(4, 3, padding="causal", kernel_initializer="ones")
        longer = [np.pad(a, ((0, 0), (0, more), (0, 0))) for a in (x, dy)]
        layer.build(longer[0].shape[1:])
        layer.forward(longer[0], training=True)
        layer.backward(longer[1])
        found.append(layer.gradients)
    for name, g in found[0].items():
        assert support.same_bits(found[1][name], g), name


def test_files_and_residuals(tmp_path, rng):
    """A net with a residual connection learns, passes its own gradient check, and is kept."""
    x = bp.Input((6, 6, 3))
    h = L.Conv2D(4, 3, padding="same", activation="tanh")(x)
    h = L.Add()([h, L.Conv2D(4, 3, padding=1, groups=2)(h)])
    h = L.SpatialDropout2D(0.1, seed=1)(L.BatchNormalization()(h))
    y = L.Dense(2)(L.Flatten()(L.Conv2D(3, (2, 1), strides=(2, 1), dilation_rate=2)(h)))
    model = bp.Model(x, y, seed=1)
    model.compile(bp.optimizers.Adam(0.01), "mse")
    data = rng.normal(size=(40, 6, 6, 3)).astype(np.float32)
    target = data[:, 2, 2, :2]
    losses = model.fit(data, target, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    model.save(tmp_path / "net.safetensors")
    again = bp.load_model(tmp_path / "net.safetensors")
    assert support.same_bits(again.predict(data), model.predict(data))
    assert [layer.get_config() for layer in again.layers] == [
        layer.get_config() for layer in model.layers
    ]


def test_names_are_keras():
    model = bp.Sequential([bp.Input((9, 9, 1)), L.Conv2D(2, 3), L.Conv2D(2, 3), L.Flatten()])
    assert [w.name for w in model.weights][::2] == ["conv2d/kernel", "conv2d_1/kernel"]


def test_gradcheck(rng):
    model = bp.Sequential(
        [L.Conv1D(4, 3, padding="causal", activation="tanh"), L.Flatten(), L.Dense(2)],
        dtype="float64", seed=1,
    )  # fmt: skip
    x, y = rng.normal(size=(5, 7, 3)), rng.normal(size=(5, 2))
    model.compile("sgd", "mse")
    model.fit(x, y, epochs=1, verbose=0)
    assert model.gradcheck(x, y).max_error < 1e-7


@pytest.mark.parametrize("make, shape, words", [
    (lambda: L.Conv2D(2, 5), (3, 9, 1), "3 x 9 positions, expected at least 5 along axis 1"),
    (lambda: L.Conv2D(2, 3, dilation_rate=3), (9, 6, 1), "at least 7 along axis 2"),
    (lambda: L.Conv1D(2, 4, padding=1), (1, 1), "1 positions, expected at least 4"),
    (lambda: L.Conv2D(4, 3, groups=2), (9, 9, 3), "3 channels, expected a multiple of 2"),
    (lambda: L.Conv2D(4, 3), (9, 9), "(N, 9, 9), expected (N, H, W, C)"),
    (lambda: L.Conv2D(4, 3, data_format="channels_first"), (9, 9), "expected (N, C, H, W)"),
    (lambda: L.Conv1D(4, 3), (9, 9, 1), "expected (N, T, C)"),
    (lambda: L.DepthwiseConv2D(5), (9, 3, 2), "9 x 3 positions, expected at least 5 along axis 2"),
    (lambda: L.DepthwiseConv2D(3), (9, 9), "(N, 9, 9), expected (N, H, W, C)"),
    (lambda: L.SeparableConv2D(4, 5), (3, 9, 2), "3 x 9 positions, expected at least 5 along"),
    (lambda: L.SeparableConv2D(4, 3), (9, 9), "(N, 9, 9), expected (N, H, W, C)"),
])  # fmt: skip
def test_shapes_that_do_not_fit(make, shape, words):
    for use in (lambda: make().build(shape), lambda: make().compute_output_shape(shape),
                lambda: make()(bp.Input(shape))):  # fmt: skip
        with pytest.raises(ShapeError) as error:
            use()
        assert words in str(error.value), error.value


@pytest.mark.parametrize("told, words", [
    ({"filters": 5, "groups": 2}, "groups must divide filters, got 2 groups and 5 filters"),
    ({"padding": "full"}, "padding must be one of valid, same, got 'full'"),
    ({"padding": "causal"}, "padding must be one of valid, same"),
    ({"padding": -1}, "padding must be >= 0, got -1"),
    ({"padding": (1, 2, 3)}, "padding must be an int or 2 of them"),
    ({"padding": 1.5}, "padding must be one of valid, same, an int or 2 of them"),
    ({"strides": 0}, "strides must be >= 1, got 0"),
    ({"kernel_size": (3, 0)}, "kernel_size must be >= 1"),
    ({"dilation_rate": (1,)}, "dilation_rate must be an int or 2 of them"),
    ({"data_format": "NHWC"}, "data_format must be one of channels_last, channels_first"),
])  # fmt: skip
def test_arguments_that_do_not_fit(told, words):
    with pytest.raises((TypeError, ValueError)) as error:
        L.Conv2D(**{"filters": 4, "kernel_size": 3, **told})
    assert words in str(error.value), error.value


def test_sizes_that_overflow():
    with pytest.raises(ValueError, match="elements"):
        L.Conv2D(2**31 - 1, 3).build((2**15, 2**15, 1))
    with pytest.raises(ValueError, match="elements"):
        L.Conv2D(1, 1, padding=2**31 - 1).compute_output_shape((4, 4, 1))
    with pytest.raises(ShapeError, match="at least"):
        L.Conv2D(1, 2, dilation_rate=2**31 - 1).build((4, 4, 1))


def test_a_mask_is_refused():
    with pytest.raises(ValueError, match="mixes the steps"):
        bp.Sequential([bp.Input((None, 2)), L.Masking(), L.Conv1D(2, 3)])


@pytest.mark.parametrize("layer", [
    lambda: L.Conv2D(1, 2, kernel_initializer="ones"),
    lambda: L.DepthwiseConv2D(2, depthwise_initializer="ones"),
])  # fmt: skip
def test_images_of_any_height(layer):
    """Sums of four ones, whatever the height is."""
    model = bp.Sequential([bp.Input((None, 4, 1)), layer(), L.GlobalAveragePooling2D()])
    assert model(np.ones((1, 3, 4, 1))).tolist() == model(np.ones((1, 5, 4, 1))).tolist() == [[4.0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_stream_of_groups_has_the_bits_of_the_batch(dtype, rng):
    """Groups of several channels, of one, with several filters each; dilation; a residual."""
    x = bp.Input((None, 3))
    h = L.Conv1D(6, 3, padding="causal", activation="relu", bias_initializer="ones")(x)
    h = L.Conv1D(6, 2, padding="causal", dilation_rate=4, activation="tanh")(h) + h
    h = L.Conv1D(12, 3, padding="causal", groups=2, dilation_rate=2, activation="gelu")(h)
    h = L.Conv1D(24, 4, padding="causal", groups=12, use_bias=False)(h)
    model = bp.Model(x, L.Conv1D(2, 1, padding="causal")(h), seed=4, dtype=dtype)
    data = rng.normal(size=(3, 40, 3)).astype(dtype)
    whole, stream = model.predict(data), model.stream(batch=3)
    for t in range(40):
        assert support.same_bits(stream.step(data[:, t]), whole[:, t]), t
