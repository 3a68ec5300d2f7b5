"""FixedPoint: golden numbers of recurrent backpropagation, solvers, rows on their own."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

L = bp.layers
# h = tanh(W h + U x + b), L = 1/2 of the squared distances of units 0 and 1 from t, worked out in
# float64 for this project: the fixed point, z = (I - J^T)^-1 dL/dh, and the gradients.
W = np.array([[0.2, -0.3, 0.1], [0.4, 0.1, -0.2], [-0.1, 0.3, 0.25]])
U = np.array([[0.5, -0.4], [0.3, 0.2], [-0.6, 0.1]])
B, X, T = np.array([0.1, -0.2, 0.05]), np.array([[0.7, -0.3]]), np.array([0.5, -0.5])
H = [0.498204416614574, 0.259125670560815, -0.449882911013244]
RADIUS = 0.385577926153137
DW = [
    [0.122421280596174, 0.063673655566845, -0.110547478600905],
    [0.334509951271443, 0.173985040159803, -0.302065388467479],
    [-0.054455498962237, -0.028323349239254, 0.049173788061302],
]
DU = [
    [0.172007500454613, -0.073717500194834],
    [0.470001786578221, -0.201429337104952],
    [-0.076512467578254, 0.032791057533538],
]
DB = [0.245725000649448, 0.671431123683173, -0.109303525111792]
DX = [0.389873952496751, 0.025065871965676]
# The relative error of z after K terms of the Neumann series.
NEUMANN = {0: 0.4465, 1: 0.1492, 2: 0.0587, 5: 3.72e-3, 10: 3.16e-5}


def cell(units=3, features=2, seed=0, dtype="float64"):
    h, x = bp.Input((units,)), bp.Input((features,))
    z = L.Dense(units)(h) + L.Dense(units, use_bias=False)(x)
    return bp.Model([h, x], L.Activation("tanh")(z), dtype=dtype, seed=seed)


def golden(**told):
    f = cell()
    f.set_weights([W.T, B, U.T])
    layer = L.FixedPoint(f, dtype="float64", **{"tol": 1e-14, "backward_tol": 1e-14, **told})
    h = layer(X)
    dh = np.where([True, True, False], h - [*T, 0.0], 0.0)
    return layer, h, dh


@pytest.mark.parametrize("solver", ["iterate", "anderson"])
@pytest.mark.parametrize("backward", ["iterate", "direct"])
def test_golden_numbers(solver, backward):
    layer, h, dh = golden(solver=solver, backward=backward, backward_iter=100)
    np.testing.assert_allclose(h[0], H, rtol=0, atol=1e-12)
    dx = layer.backward(dh)
    dw, db, du = layer.gradients.values()
    for found, expected in ((dw.T, DW), (db, DB), (du.T, DU), (dx[0], DX)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    if solver == "iterate":
        assert layer.report.spectral_radius[0] == pytest.approx(RADIUS, rel=0.2)


@pytest.mark.parametrize("k", NEUMANN)
def test_neumann_terms(k):
    """As many terms as steps of the iteration, and the error that is left after them."""
    exact = golden(backward="direct")
    exact[0].backward(exact[2])
    layer, _, dh = golden(backward="neumann", backward_iter=k)
    layer.backward(dh)
    db, full = (item.gradients["dense_bias"] for item in (layer, exact[0]))
    d = 1 - np.array(H) ** 2
    error = np.linalg.norm((db - full) / d) / np.linalg.norm(full / d)
    assert error == pytest.approx(NEUMANN[k], rel=0.01)


def test_gradient_is_that_of_the_unrolled_limit(rng):
    """200 steps from 0 by backpropagation through time, in one model with a layer before and one
    behind."""
    f = cell(6, 4, seed=3)
    f.weights[0].value *= 0.5
    weights = f.get_weights()
    a = bp.Input((3,))
    model = bp.Model(a, L.Dense(2)(L.FixedPoint(f, tol=1e-13, backward_tol=1e-13, backward_iter=300,
                                                max_iter=300)(L.Dense(4)(a))),
                     dtype="float64", seed=1)  # fmt: skip
    model.compile("sgd", "mse")
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    found = model.gradients(x, y, wrt_inputs=True)
    b = bp.Input((3,))
    front, back = L.Dense(4), L.Dense(2)
    again = L.RepeatVector(200)(front(b))
    rnn = L.SimpleRNN(6)
    unrolled = bp.Model(b, back(rnn(again)), dtype="float64", seed=1)
    dense, out = model.get_layer("dense").get_weights(), model.layers[-1].get_weights()
    front.set_weights(dense), back.set_weights(out)
    rnn.set_weights([weights[2], weights[0], weights[1]])
    unrolled.compile("sgd", "mse")
    expected = unrolled.gradients(x, y, wrt_inputs=True)
    np.testing.assert_allclose(found.inputs, expected.inputs, rtol=1e-8, atol=1e-12)
    by_name = {k.rpartition("/")[2]: v for k, v in expected.parameters.items() if "rnn" in k}
    ours = {k.rpartition("/")[2]: v for k, v in found.parameters.items() if "fixed" in k}
    pairs = [
        ("dense_kernel", "recurrent_kernel"),
        ("dense_bias", "bias"),
        ("dense_1_kernel", "kernel"),
    ]
    for p, q in pairs:
        np.testing.assert_allclose(ours[p], by_name[q], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("solver", ["iterate", "anderson"])
def test_a_row_does_not_see_its_neighbours(solver, rng):
    layer = L.FixedPoint(cell(5, 2, dtype="float32"), solver=solver)
    x = rng.normal(size=(9, 2)).astype("float32")
    whole = layer(x)
    dx = layer.backward(np.ones_like(whole))
    for i in range(9):
        assert support.same_bits(layer(x[i : i + 1])[0], whole[i])
        assert support.same_bits(layer.backward(np.ones((1, 5), "float32"))[0], dx[i])
    assert len(set(layer.report.iterations.tolist())) == 1


def test_rows_that_do_not_rest_are_named():
    f = cell(2, 1)
    f.set_weights([np.array([[0.0, -9.0], [9.0, 0.0]]), np.full(2, 0.3), np.zeros((1, 2))])
    with pytest.raises(bp.errors.ConvergenceError, match="forward: row 0 did not converge"):
        L.FixedPoint(f, dtype="float64")([[1.0]])
    f = cell(2, 1)
    f.set_weights([np.array([[0.0, -9.0], [9.0, 0.0]]), np.full(2, 0.3), np.zeros((1, 2))])
    layer = L.FixedPoint(f, on_fail="warn", max_iter=7, dtype="float64")
    with pytest.warns(bp.errors.ConvergenceWarning, match="row 0"):
        assert layer([[1.0]]).shape == (1, 2)
    assert layer.report.iterations.tolist() == [7]


def test_a_cell_in_python(rng):
    class Cell(L.Layer):
        state_size = 3

        def build(self, input_shape):
            self.w = self.add_weight("w", (3, 3), 0.2 * np.eye(3))

        def forward(self, x, states):
            self.before = states[0]
            self.h = np.tanh(self.before @ self.w.value + x)
            return self.h, [self.h]

        def backward(self, dy, dstates):
            delta = (dy + dstates[0]) * (1 - self.h**2)
            self.w.grad += self.before.T @ delta
            return delta, [delta @ self.w.value.T]

    a = bp.Input((3,))
    model = bp.Model(
        a, L.FixedPoint(Cell(), tol=1e-13, backward_tol=1e-13)(a), dtype="float64", seed=0
    )
    model.compile("sgd", "mse")
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    assert model.gradcheck(x, y).max_error < 1e-7


class Line(L.Layer):
    """h' = -1.5 h + x, which runs away unless it is damped; keeps the states it is asked about."""

    state_size = 1

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, x, states):
        self.asked.append(float(states[0][0, 0]))
        return -1.5 * states[0] + x, [-1.5 * states[0] + x]

    def backward(self, dy, dstates):
        return dy + dstates[0], [-1.5 * (dy + dstates[0])]


def test_damping_is_the_share_of_the_old_state():
    """h <- 0.3 F(h) + 0.7 h goes to x / 2.5 by a factor of 0.3 * -1.5 + 0.7 = 0.25 a step."""
    line = Line()
    layer = L.FixedPoint(line, damping=0.7, tol=1e-9, backward="direct", dtype="float64")
    assert layer([[5.0]])[0, 0] == pytest.approx(2.0, rel=1e-8)
    told = line.asked[np.flatnonzero(np.isclose(line.asked, 1.5))[0] :]
    np.testing.assert_allclose(np.subtract(2, told[:8]), 0.5 * 0.25 ** np.arange(8), rtol=1e-6)
    assert layer.backward(np.array([[1.0]]))[0, 0] == pytest.approx(1 / 2.5)
    line = Line()
    layer = L.FixedPoint(line, solver="anderson", damping=0.7, backward="direct", dtype="float64")
    assert layer([[5.0]])[0, 0] == pytest.approx(2.0, rel=1e-4)
    assert np.isclose(line.asked, 1.5).any()  # the first step, when there is nothing to combine


# ---- copies --------------------------------------------------------------------------------------

COPIES = {
    "clone": lambda model: model.clone(),
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("way", COPIES)
def test_copies_with_a_model_as_the_cell(way, rng):
    """They answer alike, train alike, and each has weights and a cell of its own."""
    x, y = rng.normal(size=(6, 2)), rng.normal(size=(6, 1))
    model = run_with_a_cell(3)
    model.layers[0].map.model.weights[0].value = np.full((3, 3), 0.1)
    twin = COPIES[way](model)
    assert support.same_bits(twin.predict(x), model.predict(x))
    assert twin.layers[0].get_config() == model.layers[0].get_config()
    twin.compile(bp.optimizers.SGD(0.1), "mse")
    before = model.get_weights()
    twin.fit(x, y, epochs=2, verbose=0)
    for w, old in zip(model.get_weights(), before, strict=True):
        assert support.same_bits(w, old)
    model.compile(bp.optimizers.SGD(0.1), "mse")
    model.fit(x, y, epochs=2, verbose=0)
    for a, b in zip(twin.get_weights(), model.get_weights(), strict=True):
        assert support.same_bits(a, b)
    assert support.same_bits(twin.predict(x), model.predict(x))


# ---- runs that go on -----------------------------------------------------------------------------


def run_with_a_cell(seed):
    layer = L.FixedPoint(cell(seed=seed, dtype="float32"), on_fail="warn", max_iter=30)
    model = bp.Sequential([bp.Input((2,)), layer, L.Dense(1)], seed=0)
    model.compile(bp.optimizers.SGD(1e-3), "mse")
    return model


def fit_saved(model, path, stop=False):
    x, y = np.linspace(-1, 1, 24).reshape(12, 2), np.ones((12, 1))

    def end(epoch, logs=None):
        if stop and epoch == 1:
            raise KeyboardInterrupt

    look = bp.callbacks.LambdaCallback(on_epoch_end=end)
    return model.fit(x, y, batch_size=4, epochs=3, verbose=0, checkpoint=path, callbacks=[look])


@pytest.mark.filterwarnings("ignore::bpcore.errors.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::bpcore.errors.CodeWarning")
def test_a_run_whose_cell_has_no_seed_goes_on(tmp_path):
    """A cell that is drawn anew in each process: the file has the weights that count."""
    first = run_with_a_cell(None)
    whole = run_with_a_cell(None)
    whole.set_weights(first.get_weights())
    fit_saved(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit_saved(first, tmp_path / "run", stop=True)
    second = run_with_a_cell(None)
    assert fit_saved(second, tmp_path / "run").epoch == [0, 1, 2]
    for a, b in zip(second.get_weights(), whole.get_weights(), strict=True):
        assert support.same_bits(a, b)
    other = run_with_a_cell(None)
    other.weights[0].value = np.full((3, 3), 0.1)  # by the user's own hand: that is another run
    with pytest.raises(bp.errors.CheckpointError, match="weights at the start"):
        fit_saved(other, tmp_path / "run")
    with pytest.raises(bp.errors.CheckpointError, match="seed"):
        fit_saved(run_with_a_cell(1), tmp_path / "run")
