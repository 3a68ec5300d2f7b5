"""What batch solvers and derivatives refuse: which layer or output, why, and the way out."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

L, O = bp.layers, bp.optimizers  # noqa: E741
RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(40, 2)), RNG.normal(size=(40, 1))
SOLVERS = {
    "LevenbergMarquardt": O.LevenbergMarquardt,
    "LBFGS": O.LBFGS,
    "ScaledConjugateGradient": O.ScaledConjugateGradient,
    "Rprop": lambda: O.Rprop(variant="irprop+"),
    "Quickprop": O.Quickprop,
}


def net(*between, dtype="float64", **options):
    layers = [L.Dense(3, "tanh", **options), *between, L.Dense(1)]
    return bp.Sequential([bp.Input((2,)), *layers], dtype=dtype, seed=0)


def batches():
    yield X, Y


# By what goes wrong: the model, what compile and fit are told, and what the error says.
BAD = {
    "dropout": (lambda: net(L.Dropout(0.5)), {}, {}, r"random layer 'dropout'.*'adam'"),
    "noise": (lambda: net(L.GaussianNoise(0.1)), {}, {}, r"random layer 'gaussian_noise'.*'adam'"),
    "batch normalization": (
        lambda: net(L.BatchNormalization()),
        {},
        {},
        r"layer 'batch_normalization'.*freeze it.*'adam'",
    ),
    "mini-batches": (
        net,
        {},
        {"batch_size": 10},
        r"batch_size=10 for 40 rows; leave it out.*'adam'",
    ),
    "a constraint": (
        lambda: net(kernel_constraint=bp.constraints.MaxNorm(1.0)),
        {},
        {},
        r"no constraints, got one on .*kernel; leave it out",
    ),
    "clipping": (net, {"gradient_clip_norm": 1.0}, {}, r"gradient_clip_norm=1.*compile without"),
    "values clipped": (net, {"gradient_clip_value": 1.0}, {}, r"gradient_clip_value=1"),
    "accumulation": (net, {"accumulate_steps": 2}, {}, r"accumulate_steps=2.*compile without it"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("solver", SOLVERS)
def test_what_does_not_go_is_refused_before_any_work(solver, what):
    make, told, given, words = BAD[what]
    model = make()
    model.compile(SOLVERS[solver](), "mse", **told)
    before = model.get_weights()
    with pytest.raises(ValueError, match=words) as caught:
        model.fit(X, Y, verbose=0, **given)
    assert str(caught.value).startswith(solver)
    assert all(map(np.array_equal, before, model.get_weights()))


def test_groups_of_rates_are_refused():
    groups = {"*/bias": {"learning_rate_factor": 0.5}}
    for solver in (O.LevenbergMarquardt, O.LBFGS, O.ScaledConjugateGradient, O.Quickprop):
        model = net()
        model.compile(solver(), "mse", parameter_groups=groups)
        with pytest.raises(ValueError, match="got parameter_groups="):
            model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_float32_is_refused(solver):
    with pytest.raises(ValueError, match=rf"{solver}.*float64"):
        net(dtype="float32").compile(SOLVERS[solver](), "mse")


@pytest.mark.parametrize("solver", SOLVERS)
def test_batches_of_an_iterable_are_refused(solver):
    model = net()
    model.compile(SOLVERS[solver](), "mse")
    with pytest.raises(ValueError, match=rf"{solver} takes all of the data.*arrays.*'adam'"):
        model.fit(batches(), epochs=1, verbose=0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_single_steps_are_refused(solver):
    """They were plain gradient steps at the rate 1."""
    model = net()
    model.compile(SOLVERS[solver](), "mse")
    before, gradients = model.get_weights(), dict(model.gradients(X, Y).parameters)
    for call in (
        lambda: model.train_on_batch(X, Y),
        lambda: model.train_on_batch(X, dy=lambda y: y - Y),
        lambda: model.apply_gradients(gradients),
        lambda: model.find_learning_rate(X, Y),
    ):
        with pytest.raises(ValueError, match=rf"{solver} takes its steps in fit.*'adam'"):
            call()
    assert all(map(np.array_equal, before, model.get_weights()))
    assert model.optimizer.iterations == 0
    assert model.test_on_batch(X, Y)["loss"] > 0  # which takes no step


@pytest.mark.parametrize("solver", SOLVERS)
def test_what_cuts_an_epoch_is_refused(solver):
    model = net()
    model.compile(SOLVERS[solver](), "mse")
    with pytest.raises(ValueError, match=rf"{solver} .*got steps_per_epoch; leave it out"):
        model.fit(X, Y, steps_per_epoch=3, verbose=0)
    layers = [bp.Input((None, 2)), L.SimpleRNN(2, return_sequences=True), L.Dense(1)]
    model = bp.Sequential(layers, dtype="float64", seed=0)
    model.compile(SOLVERS[solver](), "mse")
    x, y = RNG.normal(size=(5, 6, 2)), RNG.normal(size=(5, 6, 1))
    with pytest.raises(ValueError, match=rf"{solver} .*got bptt; leave it out"):
        model.fit(x, y, bptt=2, verbose=0)
    model.fit(x, y, epochs=2, verbose=0)


def test_a_single_batch_that_holds_all_rows_is_none():
    model = net()
    model.compile(O.LBFGS(), "mse")
    for size in (None, 40, 32, 1000):
        model.fit(X, Y, batch_size=size, epochs=1, verbose=0)


def test_levenberg_marquardt_says_what_its_losses_are_and_how_much_memory_it_takes():
    model = net()
    for loss in ("mae", "huber", "log_cosh"):
        model.compile(O.LevenbergMarquardt(), loss)
        with pytest.raises(ValueError, match=r"the loss .*expected a sum of squares.*LBFGS"):
            model.fit(X, np.abs(Y), verbose=0)
    wide = bp.Sequential([bp.Input((2,)), L.Dense(50_000)], dtype="float64", seed=0)
    wide.compile(O.LevenbergMarquardt(), "mse")
    need = 4 * 8 * 150_000**2 / 2**30  # J^T J and its factors
    with pytest.raises(ValueError, match=rf"150000 trained parameters.* {need:.3g} GiB.*LBFGS"):
        wide.fit(X, np.zeros((40, 50_000)), verbose=0)
    model.compile(O.LevenbergMarquardt(regularization="bayesian"), "binary_cross_entropy")
    with pytest.raises(ValueError, match=r"weighs sums of squares, got a cross entropy.*l2"):
        model.fit(X, (Y > 0) * 1.0, verbose=0)


# ---- steps that do not count ---------------------------------------------------------------------


def masked():
    layers = [L.Embedding(5, 2, mask_zero=True), L.LSTM(2, return_sequences=True), L.Dense(1)]
    return bp.Sequential([bp.Input((None,)), *layers], dtype="float64", seed=0)


IDS, TARGETS = [[1, 2, 0], [1, 2, 3]], np.zeros((2, 3, 1))


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_names_the_output_whose_steps_do_not_count(solver):
    model = masked()
    model.compile(SOLVERS[solver](), "mse")
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"output 'dense'.*a mask.*one length.*'adam'"):
        model.fit(IDS, TARGETS, verbose=0)
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.parametrize("call", ["per_sample_gradients", "gauss_newton_vector"])
def test_derivatives_do_not_advise_an_optimizer_where_nothing_is_fitted(call):
    model = masked()
    model.compile("sgd", "mse")
    v = () if call == "per_sample_gradients" else (np.zeros(model.count_params()),)
    with pytest.raises(ValueError, match=r"output 'dense'.*a mask.*sequences of one length") as it:
        getattr(model, call)(IDS, TARGETS, *v)
    assert "adam" not in str(it.value)


def test_derivatives_name_the_layer_that_has_none_and_say_what_goes():
    layers = [L.Dense(12, "tanh"), L.Reshape((6, 2)), L.MaxPooling1D(2), L.Flatten(), L.Dense(1)]
    model = bp.Sequential([bp.Input((2,)), *layers], dtype="float64", seed=0)
    model.compile("sgd", "mse")
    v = RNG.normal(size=model.count_params())
    for call in (lambda: model.hessian_vector(X, Y, v), lambda: model.hessian(X, Y)):
        with pytest.raises(ValueError, match=r"layer 'max_pooling1d'.*gauss_newton_vector") as it:
            call()
        assert "adam" not in str(it.value)
    j = model.jacobian(X)[:, 0]  # the way out is one: G = 2 J^T J / N of a mean of one square
    np.testing.assert_allclose(
        model.gauss_newton_vector(X, Y, v), 2 * j.T @ (j @ v) / 40, rtol=1e-10
    )


def test_losses_and_penalties_without_curvature_are_named():
    class Own(bp.losses.Loss):
        def value(self, y_true, y_pred):
            return ((y_true - y_pred) ** 2).sum(axis=1)

        def gradient(self, y_true, y_pred):
            return 2 * (y_pred - y_true)

    model = net()
    v = np.zeros(model.count_params())
    model.compile("sgd", Own())
    with pytest.raises(ValueError, match=r"the loss is .*no second derivative; use another"):
        model.hessian_vector(X, Y, v)
    model = net(kernel_regularizer=bp.regularizers.Orthogonal(0.1))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"penalty on '.*kernel'.*no second derivative; use L1"):
        model.hessian_vector(X, Y, v)
