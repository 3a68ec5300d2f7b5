"""Networks in C with dense layers of 8 bits: the formulas to the last bit, and their accuracy."""

import re

import numpy as np
import pytest

import bpcore as bp

from .helpers import compiled

L = bp.layers
needs_compiler = pytest.mark.skipif(
    compiled.COMPILER is None, reason="no C compiler; the session c_export of nox wants one"
)


def answers(folder, model, xs, calibration, name="net", **options):
    """Of the compiled network, for rows of all inputs."""
    given = calibration if len(calibration) > 1 else calibration[0]
    model.to_c(folder / f"{name}.c", name=name, int8=True, calibration=given, **options)
    return compiled.Library(folder, {name: model}, "-O2", write=False).predict(name, xs)


# ---- the formulas, written down once more (B. Jacob et al., 2018, and TFLite's quantization) -----
def scale(least, most):
    least, most = min(least, 0.0), max(most, 0.0)
    step = (most - least) / 255
    return step, int(np.clip(np.rint(-128 - least / step), -128, 127))


def quantized(x, step, zero):
    return np.clip(np.floor(x / step + x.dtype.type(0.5)) + zero, -128, 127).astype(np.int64)


def products(q, zero, x_step, w, b):
    """The sums of 32 bits, as the numbers of 8 bits mean them, and what 1 in them is."""
    steps = np.abs(w).max(axis=0) / 127
    whole = np.rint(w / steps).astype(np.int64)
    return (q - zero) @ whole + np.rint(b / (steps * x_step)).astype(np.int64), steps * x_step


def rescaled(sums, factors, zero):
    """By exact fractions: half goes away from 0."""
    made = np.sign(sums) * np.floor(np.abs(sums) * factors + 0.5)
    return np.clip(made + zero, -128, 127).astype(np.int64)


def expected(model, x, calibration, dtype):
    """A chain 5-9-7-3 with relu, then tanh, then nothing."""
    w = [weight.value.astype(np.float64) for weight in model.weights]
    cuts = [calibration.min(), calibration.max()]
    h1 = np.maximum(calibration @ w[0] + w[1], 0)
    z2 = h1 @ w[2] + w[3]
    x_scale, h_scale = scale(*cuts), scale(0, h1.max())
    z_scale = scale(max(z2.min(), -4), min(z2.max(), 4))
    a_scale = scale(np.tanh(z2).min(), np.tanh(z2).max())
    q = quantized(x.astype(dtype), dtype(x_scale[0]), x_scale[1])
    sums, steps = products(q, x_scale[1], x_scale[0], w[0], w[1])
    q = rescaled(sums, steps / h_scale[0], h_scale[1])
    sums, steps = products(q, h_scale[1], h_scale[0], w[2], w[3])
    q = rescaled(sums, steps / z_scale[0], z_scale[1])
    q = quantized(np.tanh((q - z_scale[1]) * z_scale[0]), *a_scale)
    sums, steps = products(q, a_scale[1], a_scale[0], w[4], w[5])
    return sums * steps


@needs_compiler
def test_the_formulas(tmp_path):
    layers = [bp.Input((5,)), L.Dense(9, "relu"), L.Dropout(0.3), L.Dense(7, "tanh"), L.Dense(3)]
    rng = np.random.default_rng(0)
    model = bp.Sequential(layers, dtype="float64", seed=0)
    for weight in model.weights:
        weight.value = rng.normal(size=weight.shape)
    calibration = rng.normal(size=(500, 5))
    x = 1.3 * rng.normal(size=(200, 5))  # some beyond the range
    (found,) = answers(tmp_path, model, [x], [calibration])
    right = expected(model, x, calibration, np.float64)
    assert compiled.difference(found, right) <= 1e-14
    assert 1e-4 < compiled.difference(found, model.predict(x)) < 0.2  # it is not the other one
    text = (tmp_path / "net.c").read_text()
    body = text[text.index("void net_predict(const double *x, double *y) {") :]
    assert re.findall(r"net_(\w+)\(", body[: body.index("\n}")])[1:] == [
        "quantize", "dense_eight", "dense_eight", "table", "dense_float"]  # fmt: skip


@needs_compiler
def test_digits(tmp_path):
    """A trained classifier keeps its accuracy, in about a quarter of the memory."""
    (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    layers = [L.Rescaling(2.0, -0.5), L.Dense(64, "relu"), L.Dense(32, "gelu"), L.Dense(10)]
    model = bp.Sequential([*layers, L.Activation("softmax")], seed=0)
    model.compile("adam", "cross_entropy")
    model.fit(x, y, epochs=8, verbose=0)
    (found,) = answers(tmp_path, model, [xt], [x], test_vectors=xt[:50])
    right = model.predict(xt)
    assert (found.argmax(1) == yt).mean() > (right.argmax(1) == yt).mean() - 0.01
    assert np.abs(found - right).max() < 0.1 and np.abs(found - right).mean() < 0.002
    sizes = re.search(r"Flash: ([\d,]+) bytes", (tmp_path / "net.c").read_text())[1]
    assert int(sizes.replace(",", "")) < 0.33 * 4 * model.count_params()


def branches():
    """Dense layers of 8 bits among what stays in float: values that both read, outputs in the
    middle, masked and tied weights, weights of one value, several positions, constant values."""
    a, b = bp.Input((4, 6)), bp.Input((6,))
    first = L.Dense(5, "sigmoid")
    h = first(a)
    both = L.Dense(5, "relu6")(b)
    mask = np.random.default_rng(0).random((6, 4)) < 0.5
    nothing = L.Dense(3, kernel_initializer="zeros", bias_initializer="ones")(b)
    outputs = [
        L.TiedDense(first)(h), both,
        L.Dense(3)(both) + L.Dense(3, "elu")(L.LayerNormalization()(both)),
        L.MaskedDense(4, mask)(b), L.Dense(2)(nothing), L.LSTM(3)(L.Dense(4)(L.Dense(4)(a))),
        L.Dense(2)(L.Activation("leaky_relu")(L.Activation("relu")(L.Dense(4)(b)))),
        L.Dense(2)(L.Flatten()(L.Dense(3, "gelu")(h))),
    ]  # fmt: skip
    rng = np.random.default_rng(4)
    xs = [rng.normal(size=(40, 4, 6)), rng.normal(size=(40, 6))]
    return bp.Model([a, b], outputs, seed=5), xs


@needs_compiler
def test_branches_and_sanitizers(tmp_path):
    model, xs = branches()
    found, right = answers(tmp_path, model, xs, xs), compiled.answers(model, xs)
    for k, pair in enumerate(zip(found, right, strict=True)):
        assert compiled.difference(*pair) < 0.05, k
    compiled.run_self_tests(
        tmp_path, {"branches": (model, xs)}, compiled.COMPILER, "-O1", *compiled.SANITIZED,
        int8=True, calibration=xs,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"int8": True}, "int8 without calibration"),
        ({"calibration": np.zeros((2, 5))}, "calibration without int8"),
        ({"int8": True, "calibration": np.zeros((2, 4))}, "calibration"),
        ({"int8": True, "calibration": np.zeros((0, 5))}, "calibration"),
    ],
)
def test_bad_arguments(options, message, tmp_path):
    model = bp.Sequential([bp.Input((5,)), L.Dense(2)], seed=0)
    with pytest.raises(ValueError, match=message):
        model.to_c(tmp_path / "net.c", **options)
    assert not list(tmp_path.iterdir())


def test_models_that_do_not_fit(tmp_path):
    for layers, width, message in (
        ([L.Activation("relu")], 5, "int8 is of dense layers"),
        ([L.Dense(1)], 40_000, "40000 inputs"),
    ):
        model = bp.Sequential([bp.Input((width,)), *layers], seed=0)
        with pytest.raises(ValueError, match=message):
            model.to_c(tmp_path / "net.c", int8=True, calibration=np.ones((2, width)))
    assert not list(tmp_path.iterdir())
