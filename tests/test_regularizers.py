"""Regularizers against NumPy: values, gradients, whole runs, and what goes wrong."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

import bpcore as bp

from .helpers import support
from .helpers.penalised import OPTIMIZERS, Quartic, Run, assert_close, data, elastic, network
from .reference import mlp

L, R, C = bp.layers, bp.regularizers, bp.constraints


# ---- regularizers --------------------------------------------------------------------------------
def by_pairs(w, factor, mode):
    """Orthogonal by its definition, pair by pair."""
    v = w if mode == "rows" else w.T
    pairs = list(itertools.combinations(v, 2))
    cosines = [abs(a @ b) / np.sqrt((a @ a) * (b @ b)) for a, b in pairs]
    return factor * sum(cosines) / len(pairs)


def test_values_by_their_definitions(rng):
    w = rng.normal(size=(4, 3))
    assert R.L1(0.3)(w) == pytest.approx(0.3 * sum(abs(w.ravel())), rel=1e-15)
    assert R.L2(0.3)(w) == pytest.approx(0.3 * sum(w.ravel() ** 2), rel=1e-15)
    assert R.L1L2(0.3, 0.2)(w) == pytest.approx(R.L1(0.3)(w) + R.L2(0.2)(w), rel=1e-15)
    for mode in ("rows", "columns"):
        found = R.Orthogonal(0.7, mode)(w)
        assert found == pytest.approx(by_pairs(w, 0.7, mode), rel=1e-14)
    assert R.Orthogonal()(np.zeros((3, 2))) == 0 and R.Orthogonal()(np.ones((1, 5))) == 0


def test_defaults_and_names_are_keras():
    assert (R.L1().l1, R.L2().l2) == (0.01, 0.01)
    assert (R.L1L2().l1, R.L1L2().l2) == (0, 0)
    assert (R.Orthogonal().factor, R.Orthogonal().mode) == (0.01, "rows")
    assert [type(R.get(n)) for n in R.names()] == [R.L1, R.L2, R.L1L2, R.Orthogonal]
    assert (R.l1, R.l2, R.l1_l2, R.orthogonal) == (R.L1, R.L2, R.L1L2, R.Orthogonal)
    assert C.MaxNorm().get_config() == {"max_value": 2, "axis": 0}
    expected = {"min_value": 0, "max_value": 1, "rate": 1, "axis": 0}
    assert C.MinMaxNorm().get_config() == expected
    assert [type(C.get(n)) for n in C.names()] == [C.MaxNorm, C.NonNeg, C.UnitNorm, C.MinMaxNorm]
    assert (C.max_norm, C.non_neg, C.unit_norm, C.min_max_norm) == (
        C.MaxNorm, C.NonNeg, C.UnitNorm, C.MinMaxNorm)  # fmt: skip


REGULARIZERS = {
    "l1": lambda: R.L1(0.03),
    "l2": lambda: R.L2(0.03),
    "l1_l2": lambda: R.L1L2(0.02, 0.03),
    "rows": lambda: R.Orthogonal(0.5),
    "columns": lambda: R.Orthogonal(0.5, "columns"),
    "user": Quartic,
}


@pytest.mark.parametrize("name", REGULARIZERS)
def test_gradcheck(name):
    x, y = data()
    bias = None if "s" in name[-1:] else REGULARIZERS[name]()
    model = network(kernel_regularizer=REGULARIZERS[name](), last_bias_regularizer=bias)
    assert model.gradcheck(x, y).max_error <= 1e-7


def test_gradcheck_rejects_a_wrong_penalty():
    class Wrong(Quartic):
        def gradient(self, w):
            return 1.001 * super().gradient(w)

    result = network(kernel_regularizer=Wrong()).gradcheck(*data())
    assert result.max_error >= 1e-5 and result.worst == "dense/kernel"


@pytest.mark.parametrize("name", REGULARIZERS)
def test_every_loss_has_the_penalty(name):
    """gradients, train_on_batch, evaluate, fit and validation agree with data loss + penalty."""
    x, y = data()
    regularizer = REGULARIZERS[name]()
    model = network(kernel_regularizer=regularizer)
    plain = network().evaluate(x, y)["loss"]
    wanted = plain + regularizer(model.get_weights()[0])
    assert model.gradients(x, y).loss == pytest.approx(wanted, rel=1e-13)
    for size in (None, 4):
        assert model.evaluate(x, y, batch_size=size)["loss"] == pytest.approx(wanted, rel=1e-13)
    batches = [(x[:10], y[:10]), (x[10:], y[10:])]
    assert model.evaluate(iter(batches))["loss"] == pytest.approx(wanted, rel=1e-13)
    twin = copy.deepcopy(model)
    assert model.train_on_batch(x, y)["loss"] == pytest.approx(wanted, rel=1e-13)
    history = twin.fit(x, y, batch_size=None, validation_data=(x, y), verbose=0).history
    assert history["loss"][0] == pytest.approx(wanted, rel=1e-13)
    after = network()
    after.set_weights(twin.get_weights())
    wanted = after.evaluate(x, y)["loss"] + regularizer(twin.get_weights()[0])
    assert history["val_loss"][0] == pytest.approx(wanted, rel=1e-13)


def test_how_often_a_penalty_in_python_is_called():
    """Once a batch in training, once in an evaluation, whatever its batches."""
    calls = []

    class Counted(Quartic):
        def value(self, w):
            calls.append("value")
            return super().value(w)

        def gradient(self, w):
            calls.append("gradient")
            return super().gradient(w)

    x, y = data()
    model = network(kernel_regularizer=Counted())
    model.fit(x, y, batch_size=10, verbose=0)
    assert calls == ["value", "gradient"] * 3
    calls.clear()
    model.evaluate(x, y, batch_size=4)
    model.evaluate(iter([(x[:9], y[:9]), (x[9:], y[9:])]))
    assert calls == ["value"] * 2


def test_the_total_of_several_outputs():
    a = bp.Input((5,))
    h = L.Dense(4, "tanh", kernel_regularizer=R.L2(0.1))(a)
    model = bp.Model(a, [L.Dense(3, name="p")(h), L.Dense(2, name="q")(h)], dtype="float64", seed=0)
    model.compile("sgd", ["cross_entropy", "mse"], loss_weights=[1.0, 0.5])
    x, y = data()
    logs = model.evaluate(x, [y, np.ones((len(x), 2))])
    penalty = R.L2(0.1)(model.get_weights()[0])
    assert logs["loss"] == pytest.approx(logs["p_loss"] + 0.5 * logs["q_loss"] + penalty, rel=1e-14)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("how", ["batches", "accumulated", "clipped"])
def test_100_steps_as_numpy(name, how):
    x, y = data()
    make, reference = OPTIMIZERS[name]
    compiled = {"accumulated": {"accumulate_steps": 2}, "clipped": {"gradient_clip_norm": 0.5}}
    model = network(make(), compiled=compiled.get(how), kernel_regularizer=R.L1L2(0.01, 0.02),
                    last_bias_regularizer=R.L2(0.05))  # fmt: skip
    penalties = {0: elastic(0.01, 0.02), 3: elastic(0, 0.05)}
    run = Run(model, reference(), penalties, clip=0.5 if how == "clipped" else None)
    if how == "accumulated":  # two equal halves: the mean of their gradients is the whole's
        x, y = x[:22], y[:22]
        model.fit(x, y, batch_size=11, epochs=100, shuffle=False, verbose=0)
        run.fit(x, y, 22, 100)
    else:
        history = model.fit(x, y, batch_size=5, epochs=20, shuffle=False, verbose=0).history
        np.testing.assert_allclose(history["loss"], run.fit(x, y, 5, 20), rtol=1e-12)
    assert_close(model.get_weights(), run.weights, 1e-12)


@pytest.mark.parametrize("name", ["rows", "user"])
def test_a_run_with_penalties_in_python(name):
    x, y = data()
    regularizer = REGULARIZERS[name]()
    model = network("adam", kernel_regularizer=regularizer)
    run = Run(model, mlp.Adam(), {0: (regularizer, regularizer.gradient)})
    history = model.fit(x, y, batch_size=5, epochs=6, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"], run.fit(x, y, 5, 6), rtol=1e-12)
    assert_close(model.get_weights(), run.weights, 1e-12)


def test_the_core_agrees_with_the_same_penalty_in_python():
    class Slow(R.L1L2):
        pass

    x, y = data()
    found = []
    for make in (R.L1L2, Slow):
        model = network("adam", kernel_regularizer=make(0.02, 0.03))
        model.fit(x, y, batch_size=5, epochs=4, verbose=0)
        found.append(model.get_weights())
    assert_close(found[0], found[1], 1e-13)


def test_coupled_and_decoupled_decay():
    """L2(c) is weight_decay=2c of SGD and Adam; AdamW's is another thing."""
    x, y = data()
    both = {"kernel_regularizer": R.L2(0.05), "last_kernel_regularizer": R.L2(0.05),
            "bias_regularizer": R.L2(0.05), "last_bias_regularizer": R.L2(0.05)}  # fmt: skip
    O = bp.optimizers  # noqa: E741
    for make in (lambda d: O.SGD(0.1, weight_decay=d), lambda d: O.Adam(0.1, weight_decay=d)):
        one, other = network(make(0.1)), network(make(0.0), **both)
        for model in (one, other):
            model.fit(x, y, batch_size=5, epochs=4, shuffle=False, verbose=0)
        assert_close(one.get_weights(), other.get_weights(), 1e-12)
    decoupled = network(O.AdamW(0.1, weight_decay=0.1))
    decoupled.fit(x, y, batch_size=5, epochs=4, shuffle=False, verbose=0)
    worst = max(map(support.relative_error, decoupled.get_weights(), other.get_weights()))
    assert worst > 1e-2


def test_l1_is_silent_at_zero():
    model = bp.Sequential([L.Dense(4, use_bias=False, kernel_regularizer=R.L1(0.5))], seed=0)
    model.build((3,))
    model.set_weights([np.array([[0.0, -0.0, 2.0, -1.0]] * 3)])
    model.compile("sgd", "mse")
    found = model.gradients(np.zeros((2, 3)), np.zeros((2, 4))).parameters["dense/kernel"]
    assert found.tolist() == [[0.0, 0.0, 0.5, -0.5]] * 3


def test_frozen_counts_in_the_value_alone():
    x, y = data()
    for regularizer in (R.L1L2(0.1, 0.2), Quartic()):
        model = network("adam", trainable=False, kernel_regularizer=regularizer,
                        kernel_constraint=C.UnitNorm())  # fmt: skip
        before = model.get_weights()
        wanted = network().evaluate(x, y)["loss"] + regularizer(before[0])
        found = model.gradients(x, y)
        assert found.loss == pytest.approx(wanted, rel=1e-13)
        assert "dense/kernel" not in found.parameters
        assert model.train_on_batch(x, y)["loss"] == pytest.approx(wanted, rel=1e-13)
        assert support.same_bits(model.get_weights()[0], before[0])
        model.layers[0].trainable = True
        assert "dense/kernel" in model.gradients(x, y).parameters


def test_a_shared_layer_counts_once():
    a = bp.Input((4,))
    shared = L.Dense(4, "tanh", kernel_regularizer=R.L2(0.3))
    model = bp.Model(a, shared(shared(a)), dtype="float64", seed=0)
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(6, 4))
    wanted = np.square(model.predict(x)).mean() + R.L2(0.3)(model.get_weights()[0])
    assert model.evaluate(x, 0 * x)["loss"] == pytest.approx(wanted, rel=1e-13)
    assert model.gradcheck(x, 0 * x).max_error <= 1e-7


def test_a_layer_in_python_has_them_too():
    class Scale(L.Layer):
        def build(self, input_shape):
            self.s = self.add_weight("s", input_shape, "ones", regularizer="l2",
                                     constraint=lambda w: np.minimum(w, 0.9))  # fmt: skip

        def forward(self, x, training):
            self.x = x
            return x * self.s.value

        def backward(self, dy):
            self.s.grad += (dy * self.x).sum(axis=0)
            return dy * self.s.value

    model = bp.Sequential([Scale()], dtype="float64", seed=0)
    model.compile(bp.optimizers.SGD(1e-6), "mse")
    x = np.random.default_rng(0).normal(size=(6, 4))
    assert model.train_on_batch(x, x)["loss"] == pytest.approx(0.04, rel=1e-14)
    assert (model.get_weights()[0] == 0.9).all()
    assert model.gradcheck(x, 0 * x).max_error <= 1e-7


def test_a_changed_regularizer_counts_from_the_next_call():
    x, y = data()
    model = network(kernel_regularizer=R.L2(0.1))
    first = model.evaluate(x, y)["loss"]
    model.weights[0].regularizer.l2 = 0.3
    added = 0.2 * np.square(model.get_weights()[0]).sum()
    assert model.evaluate(x, y)["loss"] == pytest.approx(first + added, rel=1e-13)
    model.weights[0].regularizer = None
    plain = network().evaluate(x, y)["loss"]
    assert model.evaluate(x, y)["loss"] == pytest.approx(plain, rel=1e-14)
    model.weights[0].constraint = "non_neg"
    model.train_on_batch(x, y)
    assert (model.get_weights()[0] >= 0).all()


def test_float32_is_close():
    x, y = data()
    found = []
    for dtype in ("float32", "float64"):
        model = network("adam", dtype, kernel_regularizer=R.L1L2(0.01, 0.02),
                        last_kernel_constraint=C.MaxNorm(1.5))  # fmt: skip
        losses = model.fit(x, y, batch_size=5, epochs=4, verbose=0).history["loss"]
        found.append([*model.get_weights(), np.array(losses)])
    assert_close(found[0], found[1], 1e-5)


@pytest.mark.parametrize("shape", [(3, 5), (40, 1100), (700, 513), (1000, 1), (1, 9000)])
def test_penalty_of_any_tiling(shape):
    """Wide and narrow matrices are cut in different ways; the value and gradient are the same."""
    units = shape[1]
    model = bp.Sequential([L.Dense(units, kernel_regularizer=R.L1L2(0.25, 0.125))], seed=0)
    model.build((shape[0],))
    w = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    model.set_weights([w, np.zeros(units)])
    model.compile("sgd", "mse")
    x, y = np.zeros((2, shape[0])), np.zeros((2, units))
    wide = w.astype(np.float64)
    wanted = 0.25 * np.abs(wide).sum() + 0.125 * np.square(wide).sum()
    found = model.gradients(x, y)
    assert found.loss == pytest.approx(wanted, rel=1e-13)
    assert model.evaluate(x, y)["loss"] == pytest.approx(wanted, rel=1e-13)
    expected = 0.25 * np.sign(wide) + 0.25 * wide
    np.testing.assert_allclose(found.parameters["dense/kernel"], expected, rtol=3e-7)


# ---- what goes wrong -----------------------------------------------------------------------------
class Broken(R.Regularizer):
    def __init__(self, value=lambda w: 0.0, gradient=lambda w: 0 * w):
        self.value, self.gradient = value, gradient


def raises(w):
    raise KeyError("mine")


@pytest.mark.parametrize(
    "broken, error, pattern",
    [
        (Broken(value=raises), KeyError, "mine"),
        (Broken(gradient=raises), KeyError, "mine"),
        (Broken(value=lambda w: w), TypeError, "dense/kernel.*value.*number"),
        (Broken(value=lambda w: None), TypeError, "dense/kernel.*None"),
        (Broken(gradient=lambda w: w[0]), ValueError, r"dense/kernel.*\(5, 8\)"),
        (Broken(gradient=lambda w: w + 1j), ValueError, "dense/kernel.*complex"),
        (Broken(gradient=lambda w: w.fill(0)), ValueError, "read-only"),
        (Broken(value=lambda w: np.nan), bp.TrainingDiverged, "penalty of 'dense/kernel'"),
        (Broken(gradient=lambda w: w * np.inf), bp.TrainingDiverged, "penalty of 'dense/kernel'"),
    ],
)
def test_a_broken_penalty_changes_nothing(broken, error, pattern):
    x, y = data()
    model = network(kernel_regularizer=broken)
    before = model.get_weights()
    with pytest.raises(error, match=pattern):
        model.fit(x, y, verbose=0)
    assert all(map(support.same_bits, model.get_weights(), before))
    model.weights[0].regularizer = None
    model.fit(x, y, verbose=0)
