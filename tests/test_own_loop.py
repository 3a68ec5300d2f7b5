"""A training loop of one's own: forward, backward, apply_gradients and their kin."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import ShapeError

from .helpers import dags, support
from .reference.graph import forward as reference_forward

L = bp.layers
odd_ends = pytest.mark.filterwarnings("ignore::bpcore.errors.MismatchWarning")  # random ones


class Handed:
    """A loss whose gradient is a given array: what `gradients` then finds is J^T of it."""

    def __init__(self, delta):
        self.delta = delta

    def value(self, y_true, y_pred):
        return 0.0

    def gradient(self, y_true, y_pred):
        return self.delta.astype(y_pred.dtype)


def listed(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def small(dtype="float64", **options):
    layers = [L.Dense(8, "tanh", **options), L.Dense(3)]
    model = bp.Sequential(layers, seed=2, dtype=dtype)
    model.build((5,))
    return model


def grads_of(model):
    return {p.name: p.grad.copy() for p in model.trainable_weights}


@odd_ends
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_have_the_bits_of_gradients(dtype):
    """On graphs with branches, shared layers, several inputs and outputs."""
    for seed in range(40):
        g, model = dags.build(bp, seed, dtype)
        xs, _ = dags.data(g, rows=1 + seed % 9)
        rng = np.random.default_rng(seed)
        us = [rng.normal(size=(len(xs[0]), *g.shapes[i])).astype(dtype) for i in g.outputs]
        model.compile("sgd", loss=[Handed(u) for u in us])
        expected = model.gradients(xs, [np.zeros_like(u) for u in us], wrt_inputs=True)
        ys = model.forward(xs)
        for y, again in zip(listed(ys), listed(model.predict(xs)), strict=True):
            np.testing.assert_array_equal(y, again)
        model.zero_gradients()
        dxs = model.backward(us)
        for name, grad in grads_of(model).items():
            np.testing.assert_array_equal(grad, expected.parameters[name], err_msg=f"{seed} {name}")
        for dx, other in zip(listed(dxs), listed(expected.inputs), strict=True):
            np.testing.assert_array_equal(dx, other)


@odd_ends
def test_halves_left_out():
    """Without inputs the same weights' gradients, without parameters the same inputs'."""
    for seed in range(20):
        g, model = dags.build(bp, seed)
        xs, _ = dags.data(g)
        us = [np.ones((len(xs[0]), *g.shapes[i])) for i in g.outputs]
        model.forward(xs)
        whole = model.backward(us)
        grads = grads_of(model)
        model.zero_gradients()
        model.forward(xs)
        assert model.backward(us, inputs=False) is None
        support.assert_same(grads_of(model), grads)
        model.forward(xs)
        for dx, other in zip(
            listed(model.backward(us, parameters=False)), listed(whole), strict=True
        ):
            np.testing.assert_array_equal(dx, other)
        support.assert_same(grads_of(model), grads)


@odd_ends
def test_against_complex_steps():
    """d<u, y>/dx by complex steps of the NumPy reference, to rounding."""
    for seed in range(10):
        g, model = dags.build(bp, seed)
        xs, _ = dags.data(g)
        rng = np.random.default_rng(seed)
        us = [rng.normal(size=(len(xs[0]), *g.shapes[i])) for i in g.outputs]
        model.forward(xs)
        dxs = listed(model.backward(us))
        vs = [rng.normal(size=x.shape) for x in xs]
        moved = [x + 1e-30j * v for x, v in zip(xs, vs, strict=True)]
        values = reference_forward(g.nodes, g.params, moved)
        slope = sum((u * values[i].imag).sum() for i, u in zip(g.outputs, us, strict=True)) / 1e-30
        found = sum((dx * v).sum() for dx, v in zip(dxs, vs, strict=True))
        scale = sum(np.abs(dx * v).sum() for dx, v in zip(dxs, vs, strict=True))
        assert abs(found - slope) <= 1e-13 * max(scale, 1.0), seed


def test_traced_delta_gives_the_gradients_of_the_loss(rng):
    model = small()
    model.compile("sgd", "mse")
    x, y = rng.normal(size=(32, 5)), rng.normal(size=(32, 3))
    expected = model.gradients(x, y, wrt_inputs=True)
    delta = model.trace(x, y)["dense_1"].delta
    model.zero_gradients()
    out = model.forward(x)
    dx = model.backward(delta)
    np.testing.assert_array_equal(out, model.predict(x))
    support.assert_same(grads_of(model), expected.parameters)
    np.testing.assert_array_equal(dx, expected.inputs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "optimizer", ["sgd", "adam", "adamw", "lion", "rprop", bp.optimizers.SGD(0.1, momentum=0.9)]
)
def test_steps_in_parts_have_the_bits_of_whole_ones(dtype, optimizer, rng):
    """With dropout, running statistics, penalties, constraints, clipping, groups, a schedule."""

    def made():
        model = bp.Sequential(
            [
                L.Dense(16, "tanh", kernel_regularizer="l2", kernel_constraint="max_norm"),
                L.Dropout(0.3),
                L.BatchNormalization(),
                L.Dense(3, kernel_regularizer="l1"),
            ],
            seed=1,
            dtype=dtype,
        )
        model.build((5,))
        how = copy.deepcopy(optimizer)
        groups = None if how == "rprop" else {"*/bias": {"learning_rate_factor": 0.5}}
        model.compile(
            how,
            "half_squared_error",
            gradient_clip_norm=0.5,
            gradient_clip_value=0.2,
            parameter_groups=groups,
        )
        return model

    one, parts, handed = made(), made(), made()
    for _ in range(4):
        x, t = rng.normal(size=(40, 5)), rng.normal(size=(40, 3)).astype(dtype)

        def dy(y, t=t):
            return (y - t) * np.dtype(dtype).type(1 / 40)

        one.train_on_batch(x, t)
        y = parts.forward(x)
        parts.zero_gradients()
        parts.backward(dy(y), inputs=False)
        parts.apply_gradients()
        np.testing.assert_array_equal(handed.train_on_batch(x, dy=dy), y)
        for p, q, r in zip(one.weights, parts.weights, handed.weights, strict=True):
            np.testing.assert_array_equal(p.value, q.value, err_msg=p.name)
            np.testing.assert_array_equal(p.value, r.value, err_msg=p.name)
    assert one.optimizer.iterations == parts.optimizer.iterations == 4
    # they mix: optimizer state and random numbers are the same ones
    one.train_on_batch(x, t), parts.train_on_batch(x, t)
    support.assert_same(
        {p.name: p.value for p in parts.weights}, {p.name: p.value for p in one.weights}
    )


def test_grad_adds_up_and_stays(rng):
    model = small()
    model.compile(bp.optimizers.SGD(1.0))
    x, dy = rng.normal(size=(6, 5)), rng.normal(size=(6, 3))
    model.forward(x)
    model.backward(dy)
    once = grads_of(model)
    model.forward(x)
    model.backward(dy)
    twice = grads_of(model)
    for name in once:
        np.testing.assert_array_equal(twice[name], 2 * once[name])
    before = model.get_weights()
    model.apply_gradients()
    support.assert_same(grads_of(model), twice)
    for p, w in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(p.value, w - twice[p.name])
    model.zero_gradients()
    assert all((p.grad == 0).all() for p in model.weights)


def test_given_gradients(rng):
    """By name or in order; None is `grad`; theirs are not changed."""
    model = small()
    model.compile(bp.optimizers.SGD(0.5))
    given = {p.name: rng.normal(size=p.shape) for p in model.weights}
    kept = copy.deepcopy(given)
    before = model.get_weights()
    model.apply_gradients(given)
    for p, w in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(p.value, w - 0.5 * given[p.name])
    support.assert_same(given, kept)
    model.apply_gradients([-given[p.name] for p in model.trainable_weights])
    for p, w in zip(model.weights, before, strict=True):
        np.testing.assert_allclose(p.value, w, rtol=0, atol=1e-15)
    model.layers[0].trainable = False
    frozen = model.layers[0].get_weights()
    model.apply_gradients([np.ones(p.shape) for p in model.trainable_weights])
    for p, w in zip(model.layers[0].weights, frozen, strict=True):
        np.testing.assert_array_equal(p.value, w)


def test_other_calls_leave_the_pass_alone(rng):
    """And so do the weights of another model."""
    model, other = small(), small()
    model.compile("sgd", "mse", metrics=["mae"])
    x, dy = rng.normal(size=(6, 5)), rng.normal(size=(6, 3))
    model.forward(x)
    expected = model.backward(dy)
    model.forward(x)
    model.predict(rng.normal(size=(300, 5)))
    model(rng.normal(size=(1, 5)))
    model.evaluate(x, np.zeros((6, 3)))
    model.gradients(rng.normal(size=(9, 5)), np.zeros((9, 3)))
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(model.backward(dy), expected)


def test_python_layers_keep_theirs(rng):
    class Square(L.Layer):
        def compute_output_shape(self, input_shape):
            return input_shape

        def forward(self, x, training=False):
            self.x = x
            return x * x

        def backward(self, dy):
            return 2 * self.x * dy

    square = Square()
    a = bp.Input((4,))
    model = bp.Model(a, square(square(a)), dtype="float64", seed=0)
    x, dy = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    y = model.forward(x)
    model.predict(rng.normal(size=(7, 4)))
    dx = model.backward(dy)
    np.testing.assert_allclose(y, x**4, rtol=1e-14)
    np.testing.assert_allclose(dx, 4 * x**3 * dy, rtol=1e-14)


class PythonDense(L.Layer):
    """y = x w + b as a user writes it."""

    def build(self, input_shape):
        self.w = self.add_weight("w", (input_shape[-1], 3))
        self.b = self.add_weight("b", (3,), "normal")

    def compute_output_shape(self, input_shape):
        return (3,)

    def forward(self, x):
        self.x = x
        return x @ self.w.value + self.b.value

    def backward(self, dy):
        self.w.grad += self.x.T @ dy
        self.b.grad += dy.sum(axis=0)
        return dy @ self.w.value.T


def test_gradients_of_layers_in_python_add_up_like_others(rng):
    """dW = x^T delta and db = sum of delta once for each call of backward, on top of what is there;
    a pass without parameters, and training, leave ``grad`` as it is."""
    layer = PythonDense()
    model = bp.Sequential([bp.Input((4,)), layer, L.Dense(2)], dtype="float64", seed=0)
    model.compile("sgd", "mse")
    x, dy = rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    delta = dy @ model.layers[-1].kernel.value.T
    for calls in (1, 2):
        model.forward(x)
        np.testing.assert_allclose(model.backward(dy), delta @ layer.w.value.T, rtol=1e-12)
        np.testing.assert_allclose(layer.w.grad, calls * (x.T @ delta), rtol=1e-12)
        np.testing.assert_allclose(layer.b.grad, calls * delta.sum(axis=0), rtol=1e-12)
    before = [p.grad.copy() for p in model.weights]
    model.forward(x)
    model.backward(dy, parameters=False)
    model.fit(x, dy, verbose=0)
    for p, g in zip(model.weights, before, strict=True):
        assert support.same_bits(p.grad, g)
    found = model.gradients(x, dy).parameters
    assert support.same_bits(layer.w.grad, found["python_dense/w"])


def test_without_training(rng):
    """Dropout is the identity, statistics are the running ones and stay, no draw is used."""
    model = bp.Sequential([L.Dropout(0.5), L.BatchNormalization(), L.Dense(2)], seed=0)
    x, dy = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    model.build((3,))
    before = model.get_weights()
    np.testing.assert_array_equal(model.forward(x, training=False), model.predict(x))
    dx = model.backward(dy)
    support.assert_same(dict(enumerate(model.get_weights())), dict(enumerate(before)))
    scale = 1 / np.sqrt(1 + 1e-3)
    np.testing.assert_allclose(dx, dy @ model.weights[-2].value.T * scale, rtol=1e-5, atol=1e-6)
    assert model.forward(x).std() > 0  # and training draws the first batch's mask
    twin = bp.Sequential([L.Dropout(0.5), L.BatchNormalization(), L.Dense(2)], seed=0)
    twin.build((3,))
    model.set_weights(before)
    model.forward(x)
    assert not np.array_equal(model.forward(x), twin.forward(x))  # draws 2 and 0


def test_forms_of_several_inputs_and_outputs(rng):
    a, b = bp.Input((2,)), bp.Input((3,))
    h = L.Concatenate()([a, b])
    outputs = {"value": L.Dense(1)(h), "policy": L.Dense(4)(h)}
    model = bp.Model({"left": a, "right": b}, outputs, seed=0)
    x = {"left": rng.normal(size=(5, 2)), "right": rng.normal(size=(5, 3))}
    y = model.forward(x)
    assert {key: part.shape for key, part in y.items()} == {"value": (5, 1), "policy": (5, 4)}
    dx = model.backward({"policy": np.ones((5, 4)), "value": np.ones((5, 1))})
    assert {key: part.shape for key, part in dx.items()} == {"left": (5, 2), "right": (5, 3)}
    kernels = [p.value for p in model.weights if p.local_name == "kernel"]
    both = sum(k.sum(axis=1) for k in kernels)
    np.testing.assert_allclose(dx["left"], np.tile(both[:2], (5, 1)), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="dy: got keys"):
        model.forward(x), model.backward({"value": np.ones((5, 1))})


def test_an_input_that_nothing_reads_and_a_doubled_output(rng):
    a, b = bp.Input((2,)), bp.Input((2,))
    double = L.Activation("linear")(a) * 2.0
    model = bp.Model([a, b], [double, double, b], dtype="float64")
    x = rng.normal(size=(3, 2))
    model.forward([x, x])
    dx, other = model.backward([x, 3 * x, 5 * x])
    np.testing.assert_array_equal(dx, 8 * x)
    np.testing.assert_array_equal(other, 5 * x)


def test_data_of_any_layout(rng):
    model = small("float32")
    x, dy = rng.normal(size=(6, 5)), rng.normal(size=(6, 3)).astype(np.float32)
    y = model.forward(x.astype(np.float32))
    dx = model.backward(dy)
    np.testing.assert_array_equal(model.forward(np.asfortranarray(x.astype(">f4"))), y)
    np.testing.assert_array_equal(model.backward(np.asfortranarray(dy.astype(">f8"))), dx)


def test_threads_do_not_change_bits(rng):
    x, dy = rng.normal(size=(700, 40)), rng.normal(size=(700, 30))
    found = []
    for n in (1, 3):
        model = bp.Sequential([L.Dense(200, "relu"), L.BatchNormalization(), L.Dense(30)], seed=3)
        model.compile("adam")
        with bp.threads(n, exact=True):
            for _ in range(3):
                model.train_on_batch(x, dy=dy)
        found.append(model.get_weights())
    support.assert_same(dict(enumerate(found[0])), dict(enumerate(found[1])))


def test_compiled_without_a_loss(rng, tmp_path):
    model = small()
    model.compile(bp.optimizers.Adam(0.01))
    x, y = rng.normal(size=(6, 5)), np.zeros((6, 3))
    model.train_on_batch(x, dy=y)
    with pytest.raises(RuntimeError, match="compiled without a loss"):
        model.fit(x, y)
    with pytest.raises(ValueError, match="metrics are counted beside a loss"):
        model.compile("adam", metrics=["mae"])
    with pytest.raises(ValueError, match="dy stands for targets and loss"):
        model.train_on_batch(x, y, dy=y)
    model.save_checkpoint(tmp_path / "run.ckpt")
    other = bp.load_checkpoint(tmp_path / "run.ckpt")
    model.train_on_batch(x, dy=y + 1), other.train_on_batch(x, dy=y + 1)
    support.assert_same(dict(enumerate(model.get_weights())), dict(enumerate(other.get_weights())))


def test_weights_as_one_vector(rng):
    model = small()
    vector = model.weights_vector
    np.testing.assert_array_equal(vector, np.concatenate([w.ravel() for w in model.get_weights()]))
    vector[0] = 7.0
    assert model.weights[0].value[0, 0] != 7.0
    model.weights_vector = vector
    assert model.weights[0].value[0, 0] == 7.0
    with pytest.raises(ShapeError, match=r"weights_vector: got shape \(3,\), expected \(75,\)"):
        model.weights_vector = np.zeros(3)
    with pytest.raises(ValueError, match=r"weights_vector contains NaN at \[5\]"):
        model.weights_vector = np.where(np.arange(75) == 5, np.nan, 0)
    np.testing.assert_array_equal(model.weights_vector, vector)
    model.layers[0].trainable = False
    np.testing.assert_array_equal(model.weights_vector, vector[48:])


def test_the_vector_of_one_weight_is_a_copy():
    model = bp.Sequential([bp.Input((2,)), L.Dense(1, use_bias=False)], seed=0)
    before = model.get_weights()[0]
    vector = model.weights_vector
    vector[:] = 9
    assert support.same_bits(model.weights[0].value, before)


def test_loss_and_gradient_at_a_vector(rng):
    """Against differences, and a minimizer's own loop: the solution of least squares."""
    model = bp.Sequential([L.Dense(2)], seed=0, dtype="float64")
    x, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 2))
    model.compile("sgd", "half_squared_error")
    model.build((3,))
    vector = rng.normal(size=model.weights_vector.size)
    loss, gradient = model.loss_and_gradient(vector, x, y)
    assert loss == model.gradients(x, y).loss and gradient.shape == vector.shape
    step = rng.normal(size=vector.shape)
    low, high = (model.loss_and_gradient(vector + h * step, x, y)[0] for h in (-1e-4, 1e-4))
    np.testing.assert_allclose((high - low) / 2e-4, gradient @ step, rtol=1e-8)  # a quadratic
    for _ in range(2000):
        vector = vector - 0.3 * model.loss_and_gradient(vector, x, y)[1]
    ones = np.column_stack([x, np.ones(30)])
    expected = np.linalg.lstsq(ones, y, rcond=None)[0]
    np.testing.assert_allclose(vector, expected.ravel(), atol=1e-8)
