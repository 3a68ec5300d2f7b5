"""Jacobians, gradients of samples, and products with curvature, against complex steps and sums."""

from __future__ import annotations

import itertools
import weakref

import numpy as np
import pytest

import bpcore as bp

from . import cases
from .helpers import dags, support

# Layers that must have second derivatives; others may say that they have none.
EXACT = ("Dense", "Activation", "Softmax", "LeakyReLU", "ELU", "PReLU", "Swish", "Scale",
         "Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average", "Concatenate",
         "Flatten", "Reshape",
         "BatchNormalization", "LayerNormalization", "RMSNormalization", "GroupNormalization",
         "Normalization", "SimpleRNN", "LSTM", "GRU", "Bidirectional")  # fmt: skip


def built(case, rng, dtype="float64"):
    inputs = [bp.Input(shape) for shape in case.shapes]
    layer = case.make(bp.layers)
    output = layer(inputs if len(inputs) > 1 else inputs[0])
    model = bp.Model(inputs, output, dtype=dtype, seed=3)
    for w in model.weights:
        w.value = rng.normal(size=w.shape) / max(1, w.shape[0]) ** 0.5
        if w.name.endswith("variance"):
            w.value = np.abs(w.value) + 0.5
    return model, [rng.normal(size=(5, *shape)) for shape in case.shapes]


def single(arrays):
    return arrays if len(arrays) > 1 else arrays[0]


def listed(value):
    return value if isinstance(value, list) else [value]


def parts(model, v):
    """A vector of all trained numbers as arrays, zeros for the others."""
    found, at = [], 0
    for w in model.weights:
        if w.trainable:
            found.append(v[at : at + w.value.size].reshape(w.shape))
            at += w.value.size
        else:
            found.append(np.zeros(w.shape))
    return found


def count(model):
    return sum(w.value.size for w in model.trainable_weights)


@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda c: c.id)
def test_jacobians_of_every_layer(case, rng):
    model, xs = built(case, rng)
    weights = [w.value.copy() for w in model.weights]
    n, v = len(weights), rng.normal(size=count(model))
    forward = lambda *a: case.forward(a[:n], *a[n:])  # noqa: E731
    y = forward(*weights, *xs)
    still = [np.zeros_like(x) for x in xs]
    if len(v):
        found = model.jacobian(single(xs))
        assert found.shape == (5, y[0].size, len(v))
        expected = support.directional(forward, [*weights, *xs], [*parts(model, v), *still])
        np.testing.assert_allclose((found @ v).reshape(y.shape), expected, rtol=1e-11, atol=1e-12)
    directions = [rng.normal(size=x.shape) for x in xs]
    found = listed(model.input_jacobian(single(xs)))
    moved = sum(
        np.einsum("noi,ni->no", j, d.reshape(5, -1)) for j, d in zip(found, directions, strict=True)
    )
    zeros = [np.zeros(w.shape) for w in model.weights]
    expected = support.directional(forward, [*weights, *xs], [*zeros, *directions])
    np.testing.assert_allclose(moved.reshape(y.shape), expected, rtol=1e-11, atol=1e-12)


def differences(model, x, y, v, step=1e-4):
    """d gradient / d w along v: central differences, extrapolated twice; errors below 1e-10."""
    start = model.get_weights()

    def gradient(t):
        moved = [w + t * d for w, d in zip(start, parts(model, v), strict=True)]
        model.set_weights(moved)
        found = model.gradients(x, y).parameters
        return np.concatenate([found[w.name].ravel() for w in model.trainable_weights])

    slopes = [(gradient(h) - gradient(-h)) / (2 * h) for h in (step, step / 2, step / 4)]
    model.set_weights(start)
    once = [(4 * b - a) / 3 for a, b in itertools.pairwise(slopes)]
    return (16 * once[1] - once[0]) / 15


def trained_behind(case, rng, loss="mse"):
    """The layer between two Dense layers, so that its input depends on weights too."""
    inputs = [bp.Input(shape) for shape in case.shapes]
    before = [bp.layers.Dense(t.shape[-1], "tanh")(t) for t in inputs]
    output = case.make(bp.layers)(before if len(before) > 1 else before[0])
    model = bp.Model(inputs, bp.layers.Dense(2, "tanh")(output), dtype="float64", seed=3)
    for w in model.weights:
        w.value = rng.normal(size=w.shape) / max(1, w.shape[0]) ** 0.5
        if w.name.endswith("variance"):
            w.value = np.abs(w.value) + 0.5
    xs = [rng.normal(size=(5, *shape)) for shape in case.shapes]
    y = rng.normal(size=model.predict(single(xs)).shape)
    model.compile("sgd", loss)
    return model, single(xs), y


@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda c: c.id)
def test_hessian_products_of_every_layer(case, rng):
    model, x, y = trained_behind(case, rng)
    v = rng.normal(size=count(model))
    if case.kind not in EXACT:
        try:
            model.hessian_vector(x, y, v)
        except ValueError as error:
            assert "no second derivative" in str(error)
            return
    if case.kind == "BatchNormalization":
        for layer in model.layers:  # gradients() are of training, products of use
            layer.trainable = not isinstance(layer, bp.layers.BatchNormalization)
        v = rng.normal(size=count(model))
    found = model.hessian_vector(x, y, v)
    expected = differences(model, x, y, v)
    kinks = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8 * max(1, kinks))


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_hessian_products_go_through_states(kind, rng):
    """The states of one layer begin another, and join the output."""
    layer, inputs = getattr(bp.layers, kind), bp.Input((4, 2))
    ys, *states = layer(3, return_sequences=True, return_state=True)(inputs)
    last = layer(3, go_backwards=True)(ys, initial_state=states)
    output = bp.layers.Dense(2)(last * states[-1])
    model = bp.Model(inputs, output, dtype="float64", seed=3)
    model.set_weights([rng.normal(size=w.shape) * 0.7 for w in model.weights])
    model.compile("sgd", "mse")
    x, y, v = rng.normal(size=(5, 4, 2)), rng.normal(size=(5, 2)), rng.normal(size=count(model))
    expected = differences(model, x, y, v)
    np.testing.assert_allclose(model.hessian_vector(x, y, v), expected, rtol=1e-8, atol=1e-9)


def ended(case, rng, units=4):
    """A net of two layers whose end and targets are those of a loss."""
    k = units * case.parts
    end = case.ending if case.ending != "exponential" else "softplus"
    layers = [bp.Input((3,)), bp.layers.Dense(5, "tanh"), bp.layers.Dense(k, end)]
    model = bp.Sequential(layers, dtype="float64", seed=1)
    model.compile("sgd", getattr(bp.losses, case.kind)(**case.arguments))
    return model, rng.normal(size=(6, 3)), cases.targets(case.target, 6, units, rng)


@pytest.mark.parametrize("case", cases.LOSSES, ids=lambda c: c.id)
def test_hessian_products_of_every_loss(case, rng):
    model, x, y = ended(case, rng)
    v = rng.normal(size=count(model))
    expected = differences(model, x, y, v)
    np.testing.assert_allclose(model.hessian_vector(x, y, v), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("case", cases.LOSSES, ids=lambda c: c.id)
def test_gauss_newton_is_the_hessian_of_a_linear_model(case, rng):
    """Where what the loss reads is linear in the weights."""
    if case.ending not in ("linear", "softmax", "log_softmax", "sigmoid"):
        return
    if case.name not in ("cross_entropy", "binary_cross_entropy") and case.ending != "linear":
        return
    _, x, y = ended(case, rng)
    flat = bp.Sequential([bp.Input((3,)), bp.layers.Dense(4 * case.parts, case.ending)],
                         dtype="float64", seed=2)  # fmt: skip
    flat.compile("sgd", getattr(bp.losses, case.kind)(**case.arguments))
    v = rng.normal(size=count(flat))
    np.testing.assert_allclose(
        flat.gauss_newton_vector(x, y, v), flat.hessian_vector(x, y, v), rtol=1e-12, atol=1e-15
    )


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_matrices_of_a_softmax_net_are_the_explicit_ones(rng):
    """G = J^T (diag p - p p^T) J / N; F = E over x and over y ~ p of g g^T; equal to 1e-14."""
    x, y = rng.normal(size=(9, 3)), rng.integers(0, 4, 9)
    layers = [bp.Input((3,)), bp.layers.Dense(4, "tanh"), bp.layers.Dense(4)]
    model = bp.Sequential(layers, dtype="float64", seed=1)
    model.compile("sgd", "cross_entropy")
    j, p = model.jacobian(x), softmax(model.predict(x))
    h = p[:, :, None] * np.eye(4) - p[:, :, None] * p[:, None, :]
    explicit = np.einsum("nop,noq,nqr->pr", j, h, j) / 9
    fisher = np.zeros_like(explicit)
    for k in range(4):
        g = model.per_sample_gradients(x, np.full(9, k))
        fisher += np.einsum("n,np,nq->pq", p[:, k], g, g) / 9
    size = count(model)
    units = np.eye(size)
    gauss = np.stack([model.gauss_newton_vector(x, y, unit) for unit in units])
    found = np.stack([model.fisher_vector(x, unit) for unit in units])
    np.testing.assert_allclose(gauss, explicit, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(found, fisher, rtol=1e-10, atol=1e-15)
    assert np.abs(found - gauss).max() <= 1e-14


@pytest.mark.filterwarnings("ignore::bpcore.errors.MismatchWarning")
@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed):
    """J^T J v of any graph: several inputs, outputs, shared layers, ranks, merges."""
    g, model = dags.build(bp, seed)
    xs, _ = dags.data(g)
    outputs = len(g.outputs)
    model.compile("sgd", ["half_squared_error"] * outputs if outputs > 1 else "half_squared_error")
    x = single(xs)
    ys = [np.zeros_like(y) for y in listed(model.predict(x))]
    rng = np.random.default_rng(seed)
    v = rng.normal(size=count(model))
    js = listed(model.jacobian(x))
    weights = model._compilation.weights
    expected = sum(
        w * np.einsum("nop,no->p", j, j @ v) / len(ys[0]) for w, j in zip(weights, js, strict=True)
    )
    found = model.gauss_newton_vector(x, single(ys), v)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())
    y_t = [rng.normal(size=y.shape) for y in ys]
    hessian = model.hessian_vector(x, single(y_t), v)
    gradients = model.per_sample_gradients(x, single(y_t))
    whole = model.gradients(x, single(y_t)).parameters
    flat = np.concatenate([whole[w.name].ravel() for w in model.trainable_weights])
    np.testing.assert_allclose(gradients.mean(axis=0), flat, rtol=1e-10, atol=1e-13)
    u = rng.normal(size=len(v))  # the Hessian is symmetric
    other = model.hessian_vector(x, single(y_t), u)
    scale = np.abs(hessian).max() * np.abs(u).sum()
    assert abs(hessian @ u - other @ v) <= 1e-12 * max(scale, 1)


class Square(bp.layers.Layer):
    """y = a x^2, in Python."""

    def build(self, input_shape):
        self.a = self.add_weight("a", (input_shape[-1],), "ones")

    def compute_output_shape(self, input_shape):
        return input_shape

    def forward(self, x, training):
        self.x = x
        return self.a.value * x**2

    def backward(self, dy):
        self.a.grad += (dy * self.x**2).sum(axis=0)
        return 2 * self.a.value * self.x * dy


def test_a_layer_in_python_has_jacobians_but_no_hessian(rng):
    layers = [bp.Input((2,)), bp.layers.Dense(3), Square(), bp.layers.Dense(2)]
    model = bp.Sequential(layers, dtype="float64", seed=0)
    model.compile("sgd", "half_squared_error")
    x, y, v = rng.normal(size=(4, 2)), rng.normal(size=(4, 2)), rng.normal(size=count(model))
    k, b, a, k2, _ = model.get_weights()
    z = x @ k + b
    inner = np.einsum("ih,nh,ho->nohi", k, 2 * a * z, k2)
    np.testing.assert_allclose(model.input_jacobian(x), inner.sum(axis=2), rtol=1e-12)
    j = model.jacobian(x)
    expected = np.einsum("nop,no->p", j, j @ v) / 4
    np.testing.assert_allclose(model.gauss_newton_vector(x, y, v), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="no second derivative"):
        model.hessian_vector(x, y, v)


def test_a_layer_in_python_before_two_outputs(rng):
    """G = 1/N sum of J^T H J over both losses, whose H are 1 and 2, the second weighed by 3."""
    a = bp.Input((2,))
    h = Square()(bp.layers.Dense(3)(a))
    model = bp.Model(a, [bp.layers.Dense(2)(h), bp.layers.Dense(1)(h)], dtype="float64", seed=0)
    model.compile("sgd", ["half_squared_error", "mse"], loss_weights=[1.0, 3.0])
    x, v = rng.normal(size=(4, 2)), rng.normal(size=count(model))
    ys = [rng.normal(size=(4, 2)), rng.normal(size=(4, 1))]
    first, second = model.jacobian(x)
    explicit = np.einsum("nop,noq->pq", first, first) + 6 * np.einsum("nop,noq->pq", second, second)
    np.testing.assert_allclose(model.gauss_newton_vector(x, ys, v), explicit @ v / 4, rtol=1e-12)


def test_many_rows_are_the_sum_of_their_parts(rng):
    """Rows beyond those that are held at once: results by row are those of the parts, products
    with matrices of the mean loss their mean."""
    layers = [bp.Input((2,)), bp.layers.Dense(3, "tanh"), bp.layers.Dense(2)]
    model = bp.Sequential(layers, dtype="float64", seed=0)
    model.compile("sgd", "mse")
    n, cut = 701, 90
    x, y, v = rng.normal(size=(n, 2)), rng.normal(size=(n, 2)), rng.normal(size=count(model))
    parts = [slice(i, i + cut) for i in range(0, n, cut)]
    for by_row in (model.jacobian, model.input_jacobian):
        apart = np.concatenate([by_row(x[part]) for part in parts])
        np.testing.assert_allclose(by_row(x), apart, rtol=1e-12)
    apart = np.concatenate([model.per_sample_gradients(x[part], y[part]) for part in parts])
    np.testing.assert_allclose(model.per_sample_gradients(x, y), apart, rtol=1e-12)
    for product in (model.gauss_newton_vector, model.hessian_vector):
        apart = sum(len(x[part]) * product(x[part], y[part], v) for part in parts) / n
        np.testing.assert_allclose(product(x, y, v), apart, rtol=1e-11, atol=1e-14)
    apart = sum(len(x[part]) * model.fisher_vector(x[part], v) for part in parts) / n
    np.testing.assert_allclose(model.fisher_vector(x, v), apart, rtol=1e-11, atol=1e-14)


def test_penalties_are_in_the_hessian(rng):
    layer = bp.layers.Dense(2, kernel_regularizer=bp.regularizers.L2(0.3))
    model = bp.Sequential([bp.Input((3,)), layer], dtype="float64", seed=0)
    model.compile("sgd", "half_squared_error")
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    found = model.hessian(x, y)
    a = np.hstack([x, np.ones((5, 1))])
    expected = np.kron(a.T @ a / 5, np.eye(2)) + 0.6 * np.diag([1.0] * 6 + [0.0] * 2)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_one_natural_step_solves_linear_regression(rng):
    """The Fisher matrix of a squared error is its Hessian: w - F^-1 g is the best there is."""
    model = bp.Sequential([bp.Input((3,)), bp.layers.Dense(1)], dtype="float64", seed=0)
    model.compile("sgd", "mse")
    x, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 1))
    fisher = np.stack([model.fisher_vector(x, unit) for unit in np.eye(4)])
    gradient = model.per_sample_gradients(x, y).mean(axis=0)
    w = np.concatenate([a.ravel() for a in model.get_weights()])
    best = np.linalg.lstsq(np.hstack([x, np.ones((30, 1))]), y, rcond=None)[0].ravel()
    np.testing.assert_allclose(w - np.linalg.solve(fisher, gradient), best, rtol=1e-12)


@pytest.mark.parametrize("threads", [2, 3])
def test_bits_do_not_depend_on_threads(threads, rng):
    layers = [bp.Input((20,)), bp.layers.Dense(64, "tanh"), bp.layers.Dense(3)]
    model = bp.Sequential(layers, seed=0)
    model.compile("sgd", "cross_entropy")
    x, y = rng.normal(size=(600, 20)), rng.integers(0, 3, 600)
    v = rng.normal(size=count(model))

    def all_of(n):
        with bp.threads(n, exact=True):
            return [model.jacobian(x), model.input_jacobian(x), model.per_sample_gradients(x, y),
                    model.gauss_newton_vector(x, y, v), model.hessian_vector(x, y, v),
                    model.fisher_vector(x, v)]  # fmt: skip

    for a, b in zip(all_of(1), all_of(threads), strict=True):
        assert a.dtype == np.float32 and np.array_equal(a, b)


def test_bad_vectors_and_losses_are_refused(rng):
    model = bp.Sequential([bp.Input((2,)), bp.layers.Dense(1)], dtype="float64", seed=0)
    with pytest.raises(RuntimeError, match="not compiled"):
        model.hessian_vector([[1.0, 2.0]], [[1.0]], np.ones(3))
    model.compile("sgd", "mae")
    x, y = np.ones((2, 2)), np.ones((2, 1))
    with pytest.raises(ValueError, match=r"shape \(4,\), expected \(3,\)"):
        model.hessian_vector(x, y, np.ones(4))
    with pytest.raises(ValueError, match=r"shape \(3, 1\), expected \(3,\)"):
        model.hessian_vector(x, y, np.ones((3, 1)))
    with pytest.raises(TypeError, match=r"complex128, expected real"):
        model.hessian_vector(x, y, np.ones(3) + 1j)
    with pytest.raises(TypeError, match="expected real"):
        model.fisher_vector(x, ["1", "2", "3"])
    with pytest.raises(ValueError, match="NaN"):
        model.gauss_newton_vector(x, y, [np.nan, 0, 0])
    with pytest.raises(ValueError, match="no likelihood"):
        model.fisher_vector(x, np.ones(3))


def test_steps_that_do_not_count_are_refused():
    layers = [bp.layers.Embedding(5, 2, mask_zero=True), bp.layers.GRU(2)]
    model = bp.Sequential([bp.Input((None,)), *layers], seed=0)
    for call in (model.jacobian, model.input_jacobian):
        with pytest.raises(ValueError, match="x holds steps that do not count"):
            call([[1, 2, 0]])


def test_frozen_layers_are_left_out(rng):
    layers = [bp.Input((2,)), bp.layers.Dense(3, "tanh"), bp.layers.Dense(1)]
    model = bp.Sequential(layers, dtype="float64", seed=0)
    model.compile("sgd", "mse")
    x, y = rng.normal(size=(4, 2)), rng.normal(size=(4, 1))
    whole, j = model.hessian(x, y), model.jacobian(x)
    model.layers[1 if len(model.layers) == 3 else 0].trainable = False
    np.testing.assert_allclose(model.jacobian(x), j[:, :, 9:], rtol=1e-14)
    np.testing.assert_allclose(model.hessian(x, y), whole[9:, 9:], rtol=1e-12, atol=1e-15)


def test_a_hessian_that_is_refused_lets_go_of_the_data():
    model = bp.Sequential([bp.Input((101,)), bp.layers.Dense(200)], seed=0)
    model.compile(loss="mse")
    x = np.ones((2, 101), np.float32)
    held = weakref.ref(x)
    with pytest.raises(ValueError, match="at most 20000"):
        model.hessian(x, np.ones((2, 200), np.float32))
    del x
    assert held() is None
