"""Constraints against NumPy; penalties and constraints over threads and in files."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .helpers import support
from .helpers.penalised import (
    OPTIMIZERS,
    Halved,
    Quartic,
    Run,
    assert_close,
    data,
    max_norm,
    network,
)

L, R, C = bp.layers, bp.regularizers, bp.constraints


# ---- constraints ---------------------------------------------------------------------------------
CONSTRAINTS = {
    "max": (C.MaxNorm(0.9), max_norm(0.9)),
    "max_rows": (C.MaxNorm(0.7, axis=1), max_norm(0.7, 1)),
    "max_last": (C.MaxNorm(0.7, axis=-1), max_norm(0.7, 1)),
    "max_all": (C.MaxNorm(1.7, axis=[0, 1]), max_norm(1.7, (0, 1))),
    "unit": (C.UnitNorm(), lambda w: w / (1e-7 + np.sqrt((w * w).sum(axis=0, keepdims=True)))),
    "non_neg": (C.NonNeg(), lambda w: w * (w >= 0)),
    "user": (Halved(), lambda w: w / 2),
}


def min_max(low, high, rate, axis):
    def bound(w):
        norm = np.sqrt((w * w).sum(axis=axis, keepdims=True))
        factor = (rate * np.clip(norm, low, high) + (1 - rate) * norm) / (1e-7 + norm)
        return w * np.where((norm >= low) & (norm <= high), 1.0, factor)

    return bound


CONSTRAINTS["min_max"] = (C.MinMaxNorm(0.5, 0.8, 0.3), min_max(0.5, 0.8, 0.3, 0))


@pytest.mark.parametrize("name", CONSTRAINTS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_constrained_runs_as_numpy(name, optimizer):
    x, y = data()
    make, reference = OPTIMIZERS[optimizer]
    constraint, bound = CONSTRAINTS[name]
    model = network(make(), kernel_constraint=constraint)
    run = Run(model, reference(), bounds={0: bound})
    model.fit(x, y, batch_size=5, epochs=5, shuffle=False, verbose=0)
    run.fit(x, y, 5, 5)
    assert_close(model.get_weights(), run.weights, 1e-11)
    w = model.get_weights()[0]
    np.testing.assert_allclose(constraint(w.copy()), bound(w), rtol=1e-13)


WITHIN = {
    "max": C.MaxNorm(2.0),
    "max of all": C.MaxNorm(9.0, axis=[0, 1]),
    "max of rows": C.MaxNorm(5.0, axis=-1),
    "between": C.MinMaxNorm(0.1, 2.0),
    "partly": C.MinMaxNorm(0.1, 2.0, rate=0.3),
    "without effect": C.MinMaxNorm(7.0, 9.0, rate=0.0),
}


@pytest.mark.parametrize("name", WITHIN)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_within_the_bounds_stays_to_the_bit(name, dtype):
    """It shrank by 1e-7 of its norm with each update: to 0.88 after a million."""
    model = bp.Sequential([L.Dense(5, kernel_constraint=WITHIN[name])], dtype=dtype, seed=0)
    model.build((6,))
    model.compile(bp.optimizers.SGD(1e-300 if dtype == "float64" else 1e-40), "mse")
    before = model.get_weights()[0] + 0.0
    model.fit(np.ones((4, 6)), np.ones((4, 5)), epochs=50, verbose=0)
    assert support.same_bits(model.get_weights()[0], before)
    assert support.same_bits(WITHIN[name](before.copy()), before)


@pytest.mark.parametrize("make", [lambda: C.MaxNorm(0.5), C.UnitNorm, lambda: C.MinMaxNorm(2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_was_brought_there_does_not_drift(make, dtype):
    """A thousand updates that change nothing leave the norm where the first ones put it."""
    model = bp.Sequential([L.Dense(5, kernel_constraint=make())], dtype=dtype, seed=0)
    model.compile(bp.optimizers.SGD(1e-300 if dtype == "float64" else 1e-40), "mse")
    x, y = np.ones((2, 6)), np.ones((2, 5))
    norms = []
    for epochs in (2, 1000):
        model.fit(x, y, epochs=epochs, verbose=0)
        norms.append(np.linalg.norm(model.get_weights()[0].astype(np.float64), axis=0))
    np.testing.assert_allclose(norms[1], norms[0], rtol=3e-7)


@pytest.mark.parametrize("shape", [(30, 7), (5, 64), (9, 1100), (1, 3), (300, 65)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_norms_hold_after_each_step(shape, dtype):
    """Steps that would leave the ball: every column stays in it, to a few roundings."""
    model = bp.Sequential(
        [L.Dense(shape[1], kernel_constraint=C.MaxNorm(0.5), bias_constraint=C.NonNeg())],
        dtype=dtype, seed=0,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    model.build(shape[:1])
    model.compile(bp.optimizers.SGD(1.0), "half_squared_error")
    for _ in range(5):
        logs = model.train_on_batch(rng.normal(size=(4, shape[0])), rng.normal(size=(4, shape[1])))
        kernel, bias = (w.astype(np.float64) for w in model.get_weights())
        norms = np.sqrt(np.square(kernel).sum(axis=0))
        assert norms.max() <= 0.5 * (1 + 2 * np.finfo(dtype).eps) and (bias >= 0).all()
        assert norms.max() > 0.4 and np.isfinite(logs["loss"])


@pytest.mark.parametrize(
    "shape, axis, view",
    [
        ((3, 4), 0, (1, 3, 4)),
        ((3, 4), -1, (3, 4, 1)),
        ((3, 3, 8, 16), [0, 1, 2], (1, 72, 16)),
        ((3, 3, 8, 16), [1, 2], (3, 24, 16)),
        ((6,), 0, (1, 6, 1)),
        ((2, 3), [-1, 0], (1, 6, 1)),
    ],
)
def test_axes_of_any_shape(shape, axis, view, rng):
    """What NumPy says of these axes, and the core does it too."""
    constraint = C.MaxNorm(0.8, axis=axis)
    assert constraint.view("w", shape) == view
    w = rng.normal(size=shape)
    bound = max_norm(0.8, tuple(axis) if isinstance(axis, list) else axis)
    np.testing.assert_allclose(constraint(w), bound(w), rtol=1e-14)

    class Holder(L.Layer):
        def build(self, input_shape):
            self.w = self.add_weight("w", shape, w, constraint=constraint)

        def forward(self, x, training):
            return np.array(x)

        def backward(self, dy):
            return dy

    model = bp.Sequential([Holder()], dtype="float64", seed=0)
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((2, 2)), np.ones((2, 2)))
    np.testing.assert_allclose(model.get_weights()[0], bound(w), rtol=1e-13)


@pytest.mark.parametrize("value", [lambda w: w[0], lambda w: None, lambda w: w * 1j])
def test_a_broken_constraint_is_named(value):
    model = network(kernel_constraint=value)
    with pytest.raises(ValueError, match=r"constraint of 'dense/kernel'.*\(5, 8\)"):
        model.fit(*data(), verbose=0)
    model.weights[0].constraint = None
    model.fit(*data(), verbose=0)


def test_an_update_at_the_end_of_an_epoch_is_constrained_too():
    """Gradients that still wait when the batches end are flushed: penalties, update, constraint."""
    x, y = data()
    found = []
    for steps in (1, 2):
        model = network(
            bp.optimizers.SGD(1.0),
            compiled={"accumulate_steps": steps},
            kernel_regularizer=R.L2(0.1),
            kernel_constraint=C.MaxNorm(0.5),
        )
        model.fit(iter([(x, y)]), verbose=0)
        found.append(model.get_weights())
    assert_close(found[1], found[0], 1e-14)
    assert np.sqrt(np.square(found[1][0]).sum(axis=0)).max() <= 0.5


# ---- threads, files ------------------------------------------------------------------------------
def penalised(python=False):
    """Layers cut into tiles of every kind, all of them penalised and bound."""
    return [
        L.Dense(700, "tanh", kernel_regularizer=R.L1L2(1e-5, 1e-4), kernel_constraint="max_norm"),
        L.Dense(130, "tanh", kernel_regularizer=Quartic(1e-3) if python else R.L1(1e-5),
                kernel_constraint=C.MinMaxNorm(0.2, 0.9, 0.5, axis=1),
                bias_regularizer=R.L2(0.1), bias_constraint=C.MaxNorm(0.1)),
        L.Dense(7, kernel_constraint=Halved() if python else C.NonNeg()),
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"gradient_clip_norm": 0.3, "accumulate_steps": 2}])
@pytest.mark.parametrize("python", [False, True])
def test_same_bits_for_any_number_of_threads(dtype, options, python, threads_restored):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(300, 60)), rng.integers(0, 7, 300)
    found = set()
    for n in (1, 2, 3, 8):
        bp.set_num_threads(n, exact=True)
        model = bp.Sequential(penalised(python), dtype=dtype, seed=5)
        groups = {"*/bias": {"weight_decay": 0.0}, "dense/*": {"learning_rate_factor": 0.5}}
        model.compile("adamw", "cross_entropy", parameter_groups=groups, **options)
        history = model.fit(x, y, batch_size=128, epochs=1, validation_data=(x, y), verbose=0)
        losses = np.array([history.history["loss"], history.history["val_loss"]])
        found.add((support.weights_hash(model), losses.tobytes()))
    assert len(found) == 1


def described(model):
    return [(repr(p.regularizer), repr(p.constraint)) for p in model.weights]


def test_saved_and_loaded(tmp_path):
    x, y = data()
    model = network("adam", kernel_regularizer="l1_l2", bias_regularizer=R.L1(0.5),
                    last_kernel_regularizer=R.Orthogonal(mode="columns"),
                    kernel_constraint=C.MinMaxNorm(0.1, axis=[0, 1]), last_bias_constraint=C.NonNeg,
                    compiled={"parameter_groups": {"*/bias": {"weight_decay": 0.0}}})  # fmt: skip
    model.save(tmp_path / "m.safetensors")
    again = bp.load_model(tmp_path / "m.safetensors")
    for twin in (again, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [type(p.regularizer) for p in twin.weights] == [
            R.L1L2,
            R.L1,
            R.Orthogonal,
            type(None),
        ]
        assert twin.weights[0].constraint.get_config() == model.weights[0].constraint.get_config()
        assert (
            twin.weights[1].regularizer.l1 == 0.5 and type(twin.weights[3].constraint) is C.NonNeg
        )
        assert twin.get_config()["compile"] == model.get_config()["compile"]
        assert twin.get_config()["compile"]["parameter_groups"] == {"*/bias": {"weight_decay": 0.0}}
        assert twin.evaluate(x, y) == model.evaluate(x, y)
    first, second = model.fit(x, y, verbose=0), again.fit(x, y, verbose=0)
    assert first.history == second.history
    assert all(map(support.same_bits, model.get_weights(), again.get_weights()))


def test_custom_ones_are_saved_by_name(tmp_path):
    model = network(kernel_regularizer=Quartic(0.25), kernel_constraint=Halved())
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(bp.errors.FormatError, match="Quartic"):
        bp.load_model(tmp_path / "m.safetensors")
    own = {"Quartic": Quartic, "Halved": Halved}
    again = bp.load_model(tmp_path / "m.safetensors", custom_objects=own)
    assert type(again.weights[0].regularizer) is Quartic
    assert again.weights[0].regularizer.factor == 0.25
    assert type(again.weights[0].constraint) is Halved
    with pytest.raises(TypeError, match="kernel_constraint"):
        network(kernel_constraint=lambda w: w).save(tmp_path / "n.safetensors")


def test_the_trainer_says_that_it_constrains():
    model = network(kernel_constraint="unit_norm")
    model.train_on_batch(*data())
    text = model._engine.trainers["train"][0].describe()
    assert "constraints" in text and "constraints" not in network()._engine.net.describe()


def test_the_core_checks_what_it_is_given():
    model = network()
    parts = (
        model._engine.net,
        model._compilation.core_losses("float64"),
        [1.0],
        [[]],
        None,
        [[]] * 4,
    )
    for parameters in ({"penalties": [None]}, {"groups": [(1.0, 0.0)], "group_of": [0, 0, 0, 1]},
                       {"constraints": [("norm", 0.0, 1.0, 1.0, 1, 5, 9), None, None, None]},
                       {"groups": [(1.0, 0.0)]}):  # fmt: skip
        with pytest.raises(ValueError):
            _core.Trainer(*parts, parameters=parameters)
