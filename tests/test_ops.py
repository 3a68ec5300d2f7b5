"""Functions on symbolic tensors against NumPy; gradients by gradcheck and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import ShapeError

from .helpers import support

L, ops = bp.layers, bp.ops

# name: (on tensors, in NumPy, lowest argument)
UNARY = {
    "sin": (ops.sin, np.sin, -4.0),
    "cos": (ops.cos, np.cos, -4.0),
    "exp": (ops.exp, np.exp, -2.0),
    "log": (ops.log, np.log, 0.2),
    "sqrt": (ops.sqrt, np.sqrt, 0.2),
    "square": (ops.square, np.square, -2.0),
    "cube": (lambda t: t**3, lambda x: x**3, -2.0),
    "inverse_square": (lambda t: ops.power(t, -2), lambda x: x**-2.0, 0.3),
    "power": (lambda t: t**1.7, lambda x: x**1.7, 0.2),
    "root": (lambda t: t**0.5, np.sqrt, 0.2),
    "power_of_a_tensor": (lambda t: ops.power(t, t), lambda x: x**x, 0.3),
    "power_of_two_tensors": (lambda t: t**t, lambda x: x**x, 0.3),
    "power_of_a_number": (lambda t: 2**t, lambda x: 2**x, -2.0),
    "abs_built_in": (abs, np.abs, -2.0),
    "abs": (ops.abs, np.abs, -2.0),
    "tanh": (ops.tanh, np.tanh, -2.0),
    "sigmoid": (ops.sigmoid, lambda x: 1 / (1 + np.exp(-x)), -2.0),
    "relu": (ops.relu, lambda x: np.maximum(x, 0), -2.0),
    "minus": (lambda t: -t, np.negative, -2.0),
    "minimum": (lambda t: ops.minimum(t, 0.5), lambda x: np.minimum(x, 0.5), -2.0),
    "maximum": (lambda t: ops.maximum(t, -t), lambda x: np.maximum(x, -x), -2.0),
    "sum": (ops.sum, lambda x: x.sum(axis=(1, 2))[:, None], -2.0),
    "sum_axis": (lambda t: ops.sum(t, 1), lambda x: x.sum(1), -2.0),
    "mean": (lambda t: ops.mean(t, -1, True), lambda x: x.mean(-1, keepdims=True), -2.0),
    "mean_axes": (lambda t: ops.mean(t, (1, 2)), lambda x: x.mean((1, 2))[:, None], -2.0),
    "mean_all": (ops.mean, lambda x: x.mean(axis=(1, 2))[:, None], -2.0),
    "matmul": (
        lambda t: ops.matmul(t, L.Reshape((4, 3))(t)),
        lambda x: x @ x.reshape(-1, 4, 3),
        -2.0,
    ),
    "slice": (lambda t: t[..., :3], lambda x: x[..., :3], -2.0),
    "slice_back": (lambda t: t[:, ::-2, 1], lambda x: x[:, ::-2, 1], -2.0),
    "index": (lambda t: t[:, -1], lambda x: x[:, -1], -2.0),
}


def model_of(name):
    a = bp.Input((3, 4))
    return bp.Model(a, UNARY[name][0](a), dtype="float64", seed=0)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(name, dtype, rng):
    _, reference, low = UNARY[name]
    a = bp.Input((3, 4))
    model = bp.Model(a, UNARY[name][0](a), dtype=dtype)
    x = rng.uniform(low, 2, size=(5, 3, 4)).astype(dtype)
    expected = reference(x.astype(np.float64))
    found = model(x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(
        found, expected, rtol=40 * np.finfo(dtype).eps, atol=1e-6 if dtype == "float32" else 1e-14
    )


@pytest.mark.parametrize("name", UNARY)
def test_gradcheck(name, rng):
    """Weights before and after: gradients flow to the function and through it."""
    function, _, low = UNARY[name]
    a = bp.Input((3, 4))
    # values between low and 2, whatever the weights
    span = ops.sigmoid(L.Dense(4)(a)) * (2 - low) + low
    y = L.Dense(2)(L.Flatten()(function(span)))
    model = bp.Model(a, y, dtype="float64", seed=1)
    model.compile("sgd", "half_squared_error")
    found = model.gradcheck(rng.normal(size=(4, 3, 4)), rng.normal(size=(4, 2)))
    assert found.max_error < 1e-7, found


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_large_angles(name):
    x = np.concatenate([np.linspace(-50, 50, 20001), np.linspace(9e8, 1e9, 1001)])[:, None]
    a = bp.Input((1,))
    model = bp.Model(a, getattr(ops, name)(a), dtype="float64")
    np.testing.assert_allclose(model(x), getattr(np, name)(x), rtol=0, atol=3e-16)
    single = np.linspace(-3000, 3000, 60001).astype(np.float32)[:, None]
    model = bp.Model(a, getattr(ops, name)(a))
    exact = getattr(np, name)(single.astype(np.float64))
    np.testing.assert_allclose(model(single), exact, rtol=0, atol=2e-7)
    assert np.isnan(model(np.float32([[np.nan], [np.inf]]))).all()


def test_two_tensors_and_arrays(rng):
    a, b = bp.Input((3,)), bp.Input((3,))
    table = rng.normal(size=3)
    outputs = [ops.minimum(a, b), ops.maximum(table, b), ops.matmul(a, b)]
    model = bp.Model([a, b], outputs, dtype="float64")
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    low, high, product = model([x, y])
    np.testing.assert_array_equal(low, np.minimum(x, y))
    np.testing.assert_array_equal(high, np.maximum(table, y))
    np.testing.assert_allclose(product, (x * y).sum(axis=1)[:, None], rtol=1e-13)


def test_of_equal_numbers_the_first_takes_the_gradient(rng):
    x = rng.normal(size=(4, 3))
    y = np.where(rng.random((4, 3)) > 0.5, x, x + 1)
    dy = rng.normal(size=(4, 3))
    for of, wins in ((bp.ops.minimum, x <= y), (bp.ops.maximum, x >= y)):
        a, b = bp.Input((3,)), bp.Input((3,))
        model = bp.Model([a, b], of(a, b), dtype="float64")
        model.forward([x, y])
        da, db = model.backward(dy)
        np.testing.assert_array_equal(da, np.where(wins, dy, 0))
        np.testing.assert_array_equal(db, np.where(wins, 0, dy))


def test_no_gradient_through_a_stop(rng):
    """d/dx (stop(x) x) = x, and weights behind a stop have none."""
    a = bp.Input((3,))
    model = bp.Model(a, ops.stop_gradient(a) * a, dtype="float64")
    x, dy = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    np.testing.assert_array_equal(model.forward(x), x * x)
    np.testing.assert_array_equal(model.backward(dy), dy * x)
    front, back = L.Dense(3), L.Dense(2)
    model = bp.Model(a, back(ops.stop_gradient(front(a))), dtype="float64", seed=0)
    model.compile("sgd", "mse")
    found = model.gradients(x, np.ones((4, 2)), wrt_inputs=True)
    assert (found.parameters["dense/kernel"] == 0).all()
    assert (found.parameters["dense_1/kernel"] != 0).any()
    assert (found.inputs == 0).all()


@pytest.mark.parametrize("name", ["step", "sign"])
def test_hard_thresholds(name, rng):
    """Values of NumPy, and a gradient that goes straight through where |z| <= 1."""
    z = np.array([[-2.0, -1.0, -0.3, 0.0, 0.4, 1.0, 1.5]])
    expected = np.sign(z) if name == "sign" else (z > 0).astype(float)
    for layer in (L.Activation(name), L.Dense(7, name, kernel_initializer="identity")):
        model = bp.Sequential([layer], dtype="float64", seed=0)
        np.testing.assert_array_equal(model.forward(z), expected)
        np.testing.assert_array_equal(model.backward(np.full((1, 7), 3.0)), 3.0 * (np.abs(z) <= 1))
    assert np.isnan(model(np.full((1, 7), np.nan))).all()


def test_a_perceptron_of_steps_learns_xor(rng):
    x = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    y = np.array([0.0, 1, 1, 0])
    model = bp.Sequential([L.Dense(16, "step"), L.Dense(1, "sigmoid")], seed=3)
    model.compile(bp.optimizers.Adam(0.05), "binary_cross_entropy")
    model.fit(x, y, epochs=400, verbose=0)
    np.testing.assert_array_equal(model.predict(x).ravel() > 0.5, y > 0.5)


def test_missing_connections(rng):
    mask = rng.integers(0, 2, size=(5, 4))
    model = bp.Sequential([L.MaskedDense(4, mask, "tanh"), L.Dense(1)], dtype="float64", seed=0)
    model.compile("adam", "mse")
    x, y = rng.normal(size=(20, 5)), rng.normal(size=(20, 1))
    found = model.gradients(x, y)
    assert (found.parameters["masked_dense/kernel"][mask == 0] == 0).all()
    assert (found.parameters["masked_dense/kernel"][mask == 1] != 0).all()
    assert model.gradcheck(x, y).max_error < 1e-7
    kernel = model.weights[0]
    assert (kernel.value[mask == 0] == 0).all()
    kernel.value = kernel.value + 1e6 * (1 - mask)  # what is missing counts nowhere
    np.testing.assert_array_equal(model.gradients(x, y).loss, found.loss)
    whole = bp.Sequential([L.Dense(4, "tanh"), L.Dense(1)], dtype="float64", seed=0)
    whole.build((5,))
    whole.set_weights([kernel.value * mask, *model.get_weights()[1:]])
    np.testing.assert_array_equal(model(x), whole(x))
    with pytest.raises(ValueError, match="mask must hold 0 and 1"):
        L.MaskedDense(2, [[0.5, 1]])
    with pytest.raises(
        bp.errors.ShapeError, match=r"got a mask of shape \(5, 4\), expected \(3, 4\)"
    ):
        L.MaskedDense(4, mask).build((3,))


@pytest.mark.parametrize("own", [False, True])
def test_a_run_without_a_seed_goes_on_with_missing_connections(own, tmp_path):
    """Which weights are missing is not set by the user's hand: drawn ones are still drawn."""
    x, y = np.ones((8, 3)), np.ones((8, 2))

    def fit(number):
        layer = L.MaskedDense(2, [[1, 0], [0, 1], [1, 1]])
        model = bp.Sequential([bp.Input((3,)), layer])
        if own:
            layer.kernel.value = np.full((3, 2), float(number))
        model.compile("sgd", "mse")
        model.fit(x, y, epochs=2, verbose=0, steps_per_epoch=1, checkpoint=tmp_path / "run")

    fit(1)
    if own:
        with pytest.raises(bp.errors.CheckpointError, match="weights at the start"):
            fit(2)
    else:
        fit(2)


def test_penalties_and_constraints_are_about_the_connections_there_are(rng):
    mask = rng.integers(0, 2, size=(5, 4))
    mask[0] = 1  # none is without any
    x, y = rng.normal(size=(20, 5)), rng.normal(size=(20, 4))
    options = {"kernel_regularizer": bp.regularizers.L2(0.5), "use_bias": False}
    model = bp.Sequential([L.MaskedDense(4, mask, **options)], dtype="float64", seed=0)
    model.compile(bp.optimizers.AdamW(0.1, weight_decay=0.1), "mse")
    found = model.gradients(x, y)
    w = model.weights[0].value
    expected = ((x @ (w * mask) - y) ** 2).mean() + 0.5 * ((w * mask) ** 2).sum()
    np.testing.assert_allclose(found.loss, expected, rtol=1e-14)
    assert (found.parameters["masked_dense/kernel"][mask == 0] == 0).all()
    model.fit(x, y, epochs=3, verbose=0)
    assert (w[mask == 0] == 0).all()
    options = {"kernel_constraint": bp.constraints.UnitNorm()}
    model = bp.Sequential([L.MaskedDense(4, mask, **options)], dtype="float64", seed=0)
    model.compile("sgd", "mse")
    model.train_on_batch(x, y)
    norms = np.linalg.norm(model.weights[0].value * mask, axis=0)
    np.testing.assert_allclose(norms, 1, atol=1e-6)


class Around(bp.regularizers.Regularizer):
    """Draws all weights to 1."""

    def value(self, w):
        return ((w - 1) ** 2).sum()

    def gradient(self, w):
        return 2 * (w - 1)


TRAINED = ["adam", "sgd", "lion", "rprop", "lbfgs", "quickprop", "own loop", "own gradients"]


@pytest.mark.parametrize("penalty", ["orthogonal", Around()])
@pytest.mark.parametrize("way", TRAINED)
def test_missing_connections_stay_so_in_every_way_of_training(way, penalty, rng):
    mask = np.tri(5, 4)
    x, y = rng.normal(size=(20, 5)), rng.normal(size=(20, 1))
    own, solver = way.startswith("own"), way in ("lbfgs", "quickprop")
    options = {"kernel_regularizer": penalty, "kernel_initializer": "orthogonal"}
    if not solver:
        options["kernel_constraint"] = lambda w: w + 0.1
    layer = L.MaskedDense(4, mask, "tanh", **options)
    model = bp.Sequential([layer, L.Dense(1)], dtype="float64", seed=0)
    model.compile(bp.optimizers.SGD(0.01) if own else way, "mse")
    model.gradients(x, y)
    kernel, missing = layer.kernel, mask == 0
    before = kernel.value.copy()
    assert (before[missing] == 0).all() and (before[~missing] != 0).all()
    if own:
        d = model.predict(x) - y
        model.zero_gradients()
        model.forward(x)
        model.backward(2 * d / d.size)
        assert (kernel.grad[missing] == 0).all()
        kernel.grad += way == "own gradients"
        model.apply_gradients()
        model.apply_gradients([np.ones(p.shape) for p in model.weights])
    else:
        model.fit(x, y, epochs=2, verbose=0)
        if not solver:
            model.train_on_batch(x, y)
    assert (kernel.value[missing] == 0).all()
    assert (kernel.value[~missing] != before[~missing]).all()
    kernel.value = kernel.value + 7.0 * missing  # assigned, it counts nowhere
    found = model.gradients(x, y)
    told = found.parameters["masked_dense/kernel"]
    assert ((told == 0) == missing).all() and model.gradcheck(x, y).max_error < 1e-6
    seen = bp.regularizers.get(penalty)(kernel.value * mask)
    error = ((model.predict(x) - y) ** 2).mean()
    np.testing.assert_allclose(found.loss, error + seen, rtol=1e-12)


@pytest.mark.parametrize("shape", [(5,), (2, 5)])
def test_what_is_tied_lacks_the_same_connections(shape, rng, tmp_path):
    mask = rng.integers(0, 2, size=(5, 3))
    code = L.MaskedDense(3, mask, "tanh")
    model = bp.Sequential([bp.Input(shape), code, L.TiedDense(code)], dtype="float64", seed=0)
    model.compile("sgd", "mse")
    kernel, bias, tied_bias = (p.value for p in model.weights)
    kernel[mask == 0] = 7.0
    x, y = rng.normal(size=(2, 20, *shape))
    w = kernel * mask
    expected = np.tanh(x @ w + bias) @ w.T + tied_bias
    np.testing.assert_allclose(model.predict(x), expected, atol=1e-14)
    found = model.gradients(x, y).parameters["masked_dense/kernel"]
    assert ((found == 0) == (mask == 0)).all()
    assert model.gradcheck(x, y).max_error < 1e-7
    model.save(tmp_path / "m.safetensors")
    loaded = bp.load_model(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))


def test_saved_and_read_back(rng, tmp_path):
    a = bp.Input((3, 4))
    h = ops.sin(a[..., :2]) ** 2 + ops.mean(a, -1, keepdims=True) - ops.stop_gradient(a[:, :, 0:1])
    y = L.MaskedDense(3, np.eye(6, 3))(L.Flatten()(h))
    model = bp.Model(a, y, seed=0)
    model.save(tmp_path / "m.safetensors")
    x = rng.normal(size=(5, 3, 4))
    np.testing.assert_array_equal(bp.load_model(tmp_path / "m.safetensors")(x), model(x))


def test_what_is_refused():
    a = bp.Input((3, 4))
    with pytest.raises(IndexError, match=r"first index must be : or \.\.\."):
        a[0]
    with pytest.raises(IndexError, match="takes nothing of axis 2"):
        a[..., 4:]
    with pytest.raises(IndexError, match="4 indices for a tensor of 3 axes"):
        a[:, 0, 0, 0]
    with pytest.raises(ValueError, match="index must be"):
        a[:, 3]
    with pytest.raises(TypeError, match="slices, whole numbers and"):
        a[:, [0, 1]]
    with pytest.raises(ValueError, match="batch axis"):
        ops.sum(a, axis=0)
    with pytest.raises(ValueError, match="names one axis twice"):
        ops.sum(a, axis=(1, -2))
    with pytest.raises(TypeError, match="takes symbolic tensors"):
        ops.sin(np.ones(3))
    with pytest.raises(ValueError, match="vectors and matrices"):
        ops.matmul(bp.Input((2, 3, 4)), a)
    for exponent in ("2", 1j, np.ones(4), None):
        with pytest.raises(TypeError, match="exponent must be a"):
            a**exponent
    with pytest.raises(ValueError, match="base must be a finite number > 0"):
        (-2) ** a


def test_features_of_steps_of_any_length(rng):
    """Slices, functions and sums of what a step has; each sequence for itself."""
    a = bp.Input((None, 3))
    waves = ops.sin(a[..., 1:]) * ops.sum(a, axis=-1, keepdims=True) - a[..., 0:2] ** 2
    model = bp.Model(a, [waves, a[..., 2], a[:, 0]], dtype="float64", seed=0)
    xs = [rng.normal(size=(n, 3)) for n in (4, 2, 5)]
    got = model.forward(xs)
    for i, x in enumerate(xs):
        expected = np.sin(x[:, 1:]) * x.sum(-1, keepdims=True) - x[:, :2] ** 2
        np.testing.assert_allclose(got[0][i], expected, rtol=0, atol=1e-14)
        np.testing.assert_array_equal(got[1][i], x[:, 2])
        np.testing.assert_array_equal(got[2][i], x[0])
    zeros = [np.zeros((len(x), 2)) for x in xs]
    dx = model.backward([zeros, [np.ones(len(x)) for x in xs], np.zeros((3, 3))])
    for part in dx:
        np.testing.assert_array_equal(part, np.tile([0.0, 0.0, 1.0], (len(part), 1)))


def test_a_state_for_each_step_goes_through_a_reshape(rng):
    a = bp.Input((None, 4))
    pairs = L.Reshape((-1, 2, 2))(a)[:, :, 0]
    model = bp.Model(a, L.GRU(3)(pairs), dtype="float64", seed=0)
    xs = [rng.normal(size=(n, 4)) for n in (4, 2)]
    support.assert_same(dict(enumerate(model.predict(xs))), {
        i: model.predict(x[None])[0] for i, x in enumerate(xs)
    })  # fmt: skip


def test_what_steps_of_any_length_refuse(rng):
    a = bp.Input((None, 3))
    for index in (-1, slice(1, None), slice(2)):
        with pytest.raises(IndexError, match="axis 1 has no fixed number of steps, got index"):
            a[:, index]
    xs = [rng.normal(size=(n, 3)) for n in (4, 2)]
    third = bp.Model(a, a[:, 2])
    np.testing.assert_array_equal(third.predict(xs[:1])[0], xs[0][2].astype("float32"))
    with pytest.raises(ShapeError, match=r"got places 2 to 2 of axis 1, expected 0 to 1"):
        third.predict(xs[1:])


@pytest.mark.parametrize("mixed", [
    lambda v: v - ops.mean(v, axis=1, keepdims=True),
    lambda v: v * L.Reshape((1, 3))(v[:, 0]),
    lambda v: v * L.Reshape((-1, 1))(L.Activation("softmax")(v[..., 0])),
    lambda v: ops.matmul(v, L.Dot((1, 1))([v, v])),
    lambda v: L.GroupNormalization(1)(v),
])  # fmt: skip
def test_what_mixes_steps_takes_no_stream_and_no_windows(mixed, rng):
    v = bp.Input((None, 3))
    model = bp.Model(v, mixed(v), seed=0)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="needs the whole sequence"):
        model.stream()
    x = rng.normal(size=(2, 6, 3))
    model.fit(x, x, verbose=0)
    with pytest.raises(ValueError, match=r"bptt: .* needs the whole sequence"):
        model.fit(x, x, bptt=2, verbose=0)
    state = L.GRU(4)(v)  # behind the last state there are no steps to mix
    last = bp.Model(v, ops.sum(state[:, 1:], axis=-1, keepdims=True) + ops.mean(state), seed=0)
    stream = last.stream()
    y = [stream.step(step) for step in x[0]][-1]
    np.testing.assert_array_equal(y, last.predict(x[:1])[0])
