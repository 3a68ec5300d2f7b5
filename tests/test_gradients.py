"""Gradients in float64 against complex steps of the NumPy reference, and bpcore's own gradcheck.

A complex step has no cancellation, so the bounds are a few hundred roundings, not square roots.
"""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from . import cases
from .helpers import dags, support
from .reference import ACTIVATIONS, loss_of_graph
from .reference.pointwise import DEFAULT_ALPHA

RELATIVE = 1e-12


class Inner:
    """The loss <u, y> with u as target: its gradient is u, so a model's gradient is J^T u."""

    def value(self, y_true, y_pred):
        return (y_true * y_pred).reshape(len(y_pred), -1).sum(axis=1)

    def gradient(self, y_true, y_pred):
        return y_true + 0 * y_pred


def layer_model(case, dtype="float64"):
    inputs = [bp.Input(shape) for shape in case.shapes]
    layer = case.make(bp.layers)
    output = layer(inputs if len(inputs) > 1 else inputs[0])
    return layer, bp.Model(inputs, output, dtype=dtype, seed=3)


def randomize(weights, rng):
    for w in weights:
        w.value = rng.normal(size=w.shape) / max(1, w.shape[0]) ** 0.5


def single(arrays):
    return arrays if len(arrays) > 1 else arrays[0]


def listed(arrays):
    return list(arrays) if isinstance(arrays, (list, tuple)) else [arrays]


@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda c: c.id)
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_layer_forward_and_adjoint(case, rows, rng):
    """y as NumPy's; <u, J v> = <v, J^T u> for weights and inputs together."""
    _, model = layer_model(case)
    randomize(model.weights, rng)
    xs = [rng.normal(size=(rows, *shape)) for shape in case.shapes]
    weights = [w.value.copy() for w in model.weights]
    n = len(weights)
    forward = lambda *arrays: case.forward(arrays[:n], *arrays[n:])  # noqa: E731
    expected = forward(*weights, *xs)
    np.testing.assert_allclose(model.predict(single(xs)), expected, rtol=1e-12, atol=1e-14)
    u = rng.normal(size=expected.shape)
    model.compile(optimizer="sgd", loss=Inner())
    found = model.gradients(single(xs), u, wrt_inputs=True)
    gradients = [found.parameters[w.name] for w in model.weights] + listed(found.inputs)
    mean = lambda *arrays: (u * forward(*arrays)).sum() / rows  # noqa: E731
    assert found.loss == pytest.approx(float(mean(*weights, *xs)), rel=1e-12, abs=1e-13)
    support.assert_gradient(mean, weights + xs, gradients, rng, RELATIVE)


@pytest.mark.parametrize("case", [c for c in cases.LAYERS if len(c.shapes) == 1],
                         ids=lambda c: c.id)  # fmt: skip
def test_layer_alone(case, rng):
    """The same as a brick: build, forward, backward."""
    layer = case.make(bp.layers)
    layer.convert("float64")
    layer.build(case.shapes[0])
    randomize(layer.weights, rng)
    x = rng.normal(size=(4, *case.shapes[0]))
    weights = [w.value.copy() for w in layer.weights]
    n = len(weights)
    y = layer.forward(x, training=True)
    exact = case.forward(weights, x)
    np.testing.assert_allclose(y, exact, rtol=1e-12, atol=1e-14)
    u = rng.normal(size=exact.shape)
    assert all((w.grad == 0).all() for w in layer.weights)
    dx = layer.backward(u)
    gradients = [w.grad.copy() for w in layer.weights] + [dx]
    f = lambda *a: (u * case.forward(a[:n], a[n])).sum()  # noqa: E731
    support.assert_gradient(f, [*weights, x], gradients, rng, RELATIVE)
    layer.backward(u)  # adds
    for once, w in zip(gradients, layer.weights, strict=False):
        np.testing.assert_allclose(w.grad, 2 * once, rtol=1e-13)


@pytest.mark.parametrize("name", _core.activation_names())
def test_activation_derivative(name, rng):
    """f and f' of the core at many points, float64 near rounding and float32 near its own."""
    if name not in ACTIVATIONS:
        pytest.skip("rows, not points: tested as a layer")
    alpha = DEFAULT_ALPHA.get(name, 0.0)
    x = np.concatenate([rng.normal(size=3000) * 3, rng.uniform(-30, 30, 1000), np.logspace(-9, 1)])
    f = lambda z: ACTIVATIONS[name](z, alpha)  # noqa: E731
    slope = support.directional(f, [x], [np.ones_like(x)])
    dy = rng.normal(size=x.shape)
    np.testing.assert_allclose(_core.activation(name, x, alpha), f(x), rtol=2e-14, atol=1e-14)
    np.testing.assert_allclose(_core.activation_grad(name, x, dy, alpha), dy * slope,
                               rtol=1e-13, atol=3e-15)  # fmt: skip
    single_x, single_dy = x.astype(np.float32), dy.astype(np.float32)
    wide = single_x.astype(np.float64)
    slope = support.directional(f, [wide], [np.ones_like(wide)])
    scale = np.maximum(np.abs(f(wide)), 1)
    assert (np.abs(_core.activation(name, single_x, alpha) - f(wide)) <= 4e-7 * scale).all()
    scale = np.abs(single_dy) * np.maximum(np.abs(slope), 1)
    error = np.abs(_core.activation_grad(name, single_x, single_dy, alpha) - single_dy * slope)
    assert (error <= 2e-6 * scale).all(), (error / scale).max()


KINKS = {("relu", 0.0): 0.0, ("relu6", 0.0): 0.0, ("relu6", 6.0): 0.0, ("leaky_relu", 0.0): 0.2,
         ("hard_sigmoid", -3.0): 0.0, ("hard_sigmoid", 3.0): 0.0}  # fmt: skip


@pytest.mark.parametrize("name, x", KINKS)
def test_derivative_at_a_kink(name, x):
    found = _core.activation_grad(name, np.array([x]), np.array([1.0]), DEFAULT_ALPHA.get(name, 0))
    assert found[0] == KINKS[name, x]


def loss_model(case, rng, columns=5):
    last = bp.layers.Dense(columns * case.parts, activation=case.ending)
    model = bp.Sequential([bp.layers.Dense(4, activation="tanh"), last], dtype="float64", seed=1)
    model.build((3,))
    randomize(model.weights, rng)
    model.compile(optimizer="sgd", loss=getattr(bp.losses, case.kind)(**case.arguments))
    x = rng.normal(size=(7, 3))
    return model, x, cases.targets(case.target, len(x), columns, rng)


@pytest.mark.parametrize("case", cases.LOSSES, ids=lambda c: c.id)
def test_loss_value_and_gradient(case, rng):
    model, x, t = loss_model(case, rng)
    ending = cases.activation(case.ending)
    weights = [w.value.copy() for w in model.weights]

    def loss(w1, b1, w2, b2, x):
        return cases.numpy_loss(case, ending(np.tanh(x @ w1 + b1) @ w2 + b2), t)

    found = model.gradients(x, t, wrt_inputs=True)
    assert found.loss == pytest.approx(float(loss(*weights, x)), rel=1e-12)
    gradients = [found.parameters[w.name] for w in model.weights] + listed(found.inputs)
    support.assert_gradient(loss, [*weights, x], gradients, rng, RELATIVE)


def worst(result):
    """The largest relative error that gradcheck reports."""
    for name in ("max_error", "max_relative_error", "worst_error", "error"):
        if hasattr(result, name):
            return float(getattr(result, name))
    return float(result)


@pytest.mark.parametrize("case", cases.LOSSES, ids=lambda c: c.id)
def test_gradcheck_of_losses(case, rng):
    model, x, t = loss_model(case, rng)
    assert worst(model.gradcheck(x, t)) <= 1e-7


@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda c: c.id)
def test_gradcheck_of_layers(case, rng):
    _, model = layer_model(case)
    randomize(model.weights, rng)
    model.compile(optimizer="sgd", loss="mse")
    # Away from kinks, and from each other, by more than the differences' step.
    xs = [np.round(rng.normal(size=(3, *shape)), 2) + 0.005 for shape in case.shapes]
    xs = [x + np.linspace(-4e-3, 4e-3, x.size).reshape(x.shape) for x in xs]
    xs = [x + 0.37 * k for k, x in enumerate(xs)]
    y = rng.normal(size=np.shape(model.predict(single(xs))))
    assert worst(model.gradcheck(single(xs), y)) <= 1e-7


def graph_gradients(g, model, xs, ys):
    found = model.gradients(single(xs), single(ys), wrt_inputs=True)
    by_owner = []
    for layer, k in g.owners:
        by_owner.append(found.parameters[layer.weights[k].name])
    return found.loss, by_owner + listed(found.inputs)


@pytest.mark.filterwarnings("ignore::bpcore.errors.MismatchWarning")
@pytest.mark.parametrize("block", range(20))
def test_random_graphs(block):
    """200 graphs that branch, join, share and skip: loss and all gradients, rows 1 to 9."""
    for seed in range(10 * block, 10 * block + 10):
        g, model = dags.build(bp, seed)
        rng = np.random.default_rng(seed)
        xs, ys = dags.data(g, rows=1 + seed % 9)
        n = len(g.params)

        def loss(*arrays, g=g, n=n, ys=ys):
            return loss_of_graph(g.nodes, g.outputs, arrays[:n], arrays[n:], ys, g.losses)

        value, gradients = graph_gradients(g, model, xs, ys)
        assert value == pytest.approx(float(loss(*g.params, *xs)), rel=1e-11), f"seed {seed}"
        try:
            support.assert_gradient(loss, g.params + xs, gradients, rng, RELATIVE)
        except AssertionError as error:
            raise AssertionError(f"graph of seed {seed}: {error}") from None


@pytest.mark.filterwarnings("ignore::bpcore.errors.MismatchWarning")
@pytest.mark.parametrize("seed", range(200))
def test_gradcheck_of_random_graphs(seed):
    g, model = dags.build(bp, seed)
    xs, ys = dags.data(g, rows=3)
    assert worst(model.gradcheck(single(xs), single(ys))) <= 1e-7


def test_random_graphs_cover_what_they_claim():
    graphs = [dags.Builder(bp, seed).g for seed in range(200)]
    sources = lambda g: [i for node in g.nodes for i in node[1]]  # noqa: E731
    ids = lambda g: [i for node in g.nodes for i in node[2]]  # noqa: E731
    assert sum(len(sources(g)) > len(set(sources(g))) for g in graphs) > 150, "branching"
    assert sum(len(ids(g)) > len(set(ids(g))) for g in graphs) > 20, "shared layers"
    assert (
        sum(len(g.inputs) > 1 for g in graphs) > 50 and sum(len(g.outputs) > 1 for g in graphs) > 50
    )
    assert sum(any(i in sources(g) for i in g.outputs) for g in graphs) > 20, "losses inside"


class WrongDense(bp.layers.Layer):
    """y = x w, with a gradient of w that is too large by a ten-thousandth."""

    def __init__(self, units, factor, **arguments):
        super().__init__(**arguments)
        self.units, self.factor = units, factor

    def build(self, input_shape):
        self.w = self.add_weight("w", (input_shape[-1], self.units), "glorot_uniform")

    def forward(self, x, training):
        self.x = np.array(x)
        return self.x @ self.w.value

    def backward(self, dy):
        self.w.grad += self.factor * (self.x.T @ dy)
        return dy @ self.w.value.T


@pytest.mark.parametrize("factor, right", [(1.0, True), (1.0001, False)])
def test_gradcheck_sees_a_wrong_gradient(factor, right, rng):
    wrong = WrongDense(3, factor, name="wrong")
    model = bp.Sequential([bp.layers.Dense(4, activation="tanh"), wrong], dtype="float64", seed=0)
    model.build((5,))
    model.compile(optimizer="sgd", loss="mse")
    x, y = rng.normal(size=(6, 5)), rng.normal(size=(6, 3))
    result = model.gradcheck(x, y)
    if right:
        assert worst(result) <= 1e-7
    else:
        assert worst(result) >= 1e-5
        assert "wrong" in str(result), "the worst parameter is named"


@pytest.mark.parametrize("factor, right", [(1.0, True), (1.01, False)])
def test_gradcheck_on_a_kink(factor, right):
    """Empty parts of an image, over which fresh biases of 0 leave relu and equal maxima at 0."""
    L = bp.layers
    x = np.zeros((3, 6, 6, 1))
    x[:, 2:4, 3] = [[1.0], [2.0]]
    model = bp.Sequential(
        [bp.Input((6, 6, 1)), L.Conv2D(3, 3, padding="same", activation="relu"), L.MaxPooling2D(),
         L.Flatten(), L.Dense(4), WrongDense(2, factor)],
        seed=1,
    )  # fmt: skip
    model.compile("sgd", "mse")
    error = worst(model.gradcheck(x, np.ones((3, 2))))
    assert error <= 1e-7 if right else error >= 1e-3


class WrongAtZero(bp.layers.Layer):
    """y = x^2, with a gradient that is wrong where x is 0, which is no kink."""

    def forward(self, x, training):
        self.x = np.array(x)
        return self.x**2

    def backward(self, dy):
        return dy * np.where(self.x == 0, 1.0, 2 * self.x)


def test_gradcheck_looks_where_it_is_told_to():
    model = bp.Sequential([bp.Input((4,)), bp.layers.Dense(4), WrongAtZero()], seed=1)
    model.compile("sgd", "mse")
    assert worst(model.gradcheck(np.zeros((3, 4)), np.ones((3, 4)))) > 0.1


def test_float32_gradients_are_close_to_float64(rng):
    found = {}
    for dtype in ("float32", "float64"):
        model = bp.Sequential([bp.layers.Dense(32, activation="gelu"), bp.layers.Dense(5)],
                              dtype=dtype, seed=4)  # fmt: skip
        model.build((20,))
        model.compile(optimizer="sgd", loss="cross_entropy")
        r = np.random.default_rng(1)
        found[dtype] = model.gradients(r.normal(size=(50, 20)), r.integers(0, 5, 50))
    for name, wide in found["float64"].parameters.items():
        error = np.linalg.norm(found["float32"].parameters[name] - wide) / np.linalg.norm(wide)
        assert error <= 2e-6, (name, error)
