"""K-FAC's lengths by the exact quadratic model, against explicit Fisher matrices."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest

import bpcore as bp

from .helpers.stops import StopAt

KFAC, L = bp.optimizers.KFAC, bp.layers
RNG = np.random.default_rng(5)
X = RNG.normal(size=(40, 3))
Y = RNG.integers(0, 3, 40)
T = RNG.normal(size=(40, 2))
DAMPING, DECAY = 0.03, 0.02


def rule(rescale, rate=1.0, **options):
    options = {"momentum": 0.0, "trust": None, "damping": DAMPING, "targets": "expected", **options}
    return KFAC(rate, rescale=rescale, **options)


def classifier(optimizer, dtype="float64", extra=()):
    decay = bp.regularizers.L2(DECAY)
    layers = [L.Dense(4, "tanh", kernel_regularizer=decay), *extra, L.Dense(3, "softmax")]
    model = bp.Sequential([bp.Input((3,)), *layers], dtype=dtype, seed=1)
    model.compile(optimizer, "cross_entropy")
    return model


def flat(model):
    return np.concatenate([w.ravel() for w in model.get_weights()])


def proposal(model, x, y):
    """D of the next batch: the step that a copy without rescaling takes at the rate 1."""
    other = classifier(rule(None))
    other.set_weights(model.get_weights())
    numbers = {k: v for k, v in model.optimizer.numbers().items() if k != "last"}
    other.optimizer.set_numbers(numbers)
    before = flat(other)
    other.train_on_batch(x, y)
    return before - flat(other)


def quadratic(model, x, y):
    """The gradient with penalties, F, and F + damping + 2 l2, explicit."""
    decay = np.zeros(model.count_params())
    decay[: 3 * 4] = 2 * DECAY
    g = model.per_sample_gradients(x, y).mean(axis=0) + decay * flat(model)
    fisher = np.stack([model.fisher_vector(x, unit) for unit in np.eye(len(g))])
    return g, fisher, fisher + np.diag(DAMPING + decay)


def test_the_length_is_the_minimum_along_the_direction():
    model = classifier(rule("step"))
    for start in (0, 20):  # the second with averaged factors
        x, y = X[start : start + 20], Y[start : start + 20]
        g, _, curvature = quadratic(model, x, y)
        d, before = proposal(model, x, y), flat(model)
        model.train_on_batch(x, y)
        alpha = g @ d / (d @ curvature @ d)
        assert abs(alpha - 1) > 0.01  # it is not the same step
        np.testing.assert_allclose(before - flat(model), alpha * d, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_direction_and_last_step_are_the_minimum_in_their_plane(rate):
    model, last = classifier(rule("both", rate)), None
    for start in (0, 10, 20, 30):
        x, y = X[start : start + 10], Y[start : start + 10]
        g, _, c = quadratic(model, x, y)
        d, before = proposal(model, x, y), flat(model)
        model.train_on_batch(x, y)
        basis = -d[:, None] if last is None else np.stack([-d, last], axis=1)
        best = basis @ np.linalg.solve(basis.T @ c @ basis, -basis.T @ g)
        step = flat(model) - before
        np.testing.assert_allclose(step, rate * best, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(model.optimizer.numbers()["last"], step, rtol=1e-12, atol=1e-15)
        last = step


def test_trust_bounds_the_exact_divergence():
    bound, found = 1e-4, {}
    for trust in (None, bound):
        model = classifier(rule("both", trust=trust))
        _, fisher, _ = quadratic(model, X, Y)
        before = flat(model)
        model.train_on_batch(X, Y)
        found[trust] = flat(model) - before
        size = found[trust] @ fisher @ found[trust] / 2
        assert size > 10 * bound if trust is None else size == pytest.approx(bound, rel=1e-9)
    ratio = found[bound] / found[None]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


def test_where_the_factors_are_exact_the_length_is_one():
    """Linear regression, whose Fisher matrix is a product: the step solves it, undamped."""
    for rescale in ("step", "both"):
        model = bp.Sequential([L.Dense(2)], dtype="float64", seed=0)
        model.compile(rule(rescale, damping=0.0), "mse")
        model.train_on_batch(X, T)
        best = np.linalg.lstsq(np.c_[X, np.ones(40)], T, rcond=None)[0]
        np.testing.assert_allclose(np.vstack(model.get_weights()), best, atol=1e-12)
        model.train_on_batch(X, T)  # there is no direction left, and the last step leads nowhere
        np.testing.assert_allclose(np.vstack(model.get_weights()), best, atol=1e-12)


def test_several_outputs_and_positions_of_weights_count():
    """Two losses of which one weighs 3, weights of samples; factors as they come."""
    a = bp.Input((3,))
    h = L.Dense(4, "tanh")(a)
    model = bp.Model(a, [L.Dense(2)(h), L.Dense(3)(h)], dtype="float64", seed=0)
    losses = ["half_squared_error", "cross_entropy"]
    weights = [RNG.uniform(0.5, 2, 40), RNG.uniform(0.5, 2, 40)]

    def taken(rescale):
        own = copy.deepcopy(model)
        own.compile(rule(rescale), losses, loss_weights=[1.0, 3.0])
        before = flat(own)
        own.train_on_batch(X, [T, Y], sample_weight=weights)
        return before - flat(own)

    d, step = taken(None), taken("step")
    model.compile("sgd", losses, loss_weights=[1.0, 3.0])
    first, second = model.jacobian(X)
    z = model.predict(X)[1]
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    h_c = p[:, :, None] * np.eye(3) - p[:, :, None] * p[:, None, :]
    u, v = first @ d, second @ d
    curved = (weights[0][:, None] * u**2).sum() + 3 * np.einsum(
        "n,ni,nij,nj", weights[1], v, h_c, v
    )
    errors, delta = model.predict(X)[0] - T, p - np.eye(3)[Y]
    slope = (weights[0][:, None] * errors * u).sum() + 3 * (weights[1][:, None] * delta * v).sum()
    alpha = slope / 40 / (curved / 40 + DAMPING * d @ d)
    np.testing.assert_allclose(step, alpha * d, rtol=1e-9, atol=1e-13)


# ---- bits, state ---------------------------------------------------------------------------------


def wide(rescale, dtype="float32"):
    layers = [L.Dense(70, "tanh"), L.Dropout(0.1), L.Dense(65, "gelu"), L.Dense(10)]
    model = bp.Sequential(layers, seed=2, dtype=dtype)
    model.compile(KFAC(0.5, refresh=5, rescale=rescale), "cross_entropy")
    return model


@pytest.mark.parametrize("rescale", ["step", "both"])
def test_bits_do_not_depend_on_threads(rescale):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 66)), rng.integers(0, 10, 150)
    runs = []
    for n in (1, 2, 3):
        with bp.threads(n, exact=True):
            model = wide(rescale)
            model.fit(x, y, batch_size=32, epochs=2, verbose=0)
        runs.append([*model.get_weights(), *model.optimizer.numbers().values()])
    for other in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_a_resumed_run_has_the_same_bits(tmp_path):
    made = lambda: classifier(rule("both", 0.5, trust=1e-3, targets="sampled"))  # noqa: E731
    whole, path, stop = made(), tmp_path / "run.ckpt", StopAt(2)
    expected = whole.fit(X, Y, batch_size=8, epochs=6, verbose=0).history
    run = {"batch_size": 8, "epochs": 6, "verbose": 0, "checkpoint": path, "callbacks": [stop]}
    with pytest.raises(InterruptedError):
        made().fit(X, Y, **run)
    again, stop.epoch = made(), -1
    found = again.fit(X, Y, **run).history
    assert found["loss"] == expected["loss"]
    assert all(map(np.array_equal, whole.get_weights(), again.get_weights()))


def test_copies_go_on_alike_and_other_options_begin_without_a_last_step():
    model = classifier(rule("both"))
    model.fit(X, Y, batch_size=10, epochs=2, verbose=0)
    others = pickle.loads(pickle.dumps(model)), copy.deepcopy(model)
    for one in (model, *others):
        one.fit(X, Y, batch_size=10, epochs=1, shuffle=False, verbose=0)
    for other in others:
        assert all(map(np.array_equal, model.get_weights(), other.get_weights()))
    numbers = model.optimizer.numbers()
    plain = classifier(rule(None))
    plain.optimizer.set_numbers(numbers)
    plain.train_on_batch(X, Y)
    assert "last" not in plain.optimizer.numbers()


@pytest.mark.parametrize("rescale", ["step", "both"])
def test_accumulated_batches_make_a_step(rescale):
    """The gradient is of both; the curvature, in the model as in the factors, of what was seen."""
    model = classifier(rule(rescale))
    model.compile(model.optimizer, "cross_entropy", accumulate_steps=2)
    model.fit(X[:30], Y[:30], batch_size=10, epochs=1, shuffle=False, verbose=0)
    assert model.optimizer.iterations == 2  # the second of a single batch
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_float32_takes_the_steps_of_float64():
    runs = []
    for dtype in ("float32", "float64"):
        model = classifier(rule("both"), dtype)
        model.fit(X, Y, batch_size=10, epochs=1, shuffle=False, verbose=0)
        runs.append(flat(model))
    np.testing.assert_allclose(runs[0], runs[1], atol=2e-3)


def test_it_needs_no_rate_to_be_found():
    """At the rate 1, without a trust region: digits in fewer epochs than Adam's best rate."""
    x, y = bp.datasets.load_digits()[:2]
    losses = []
    exact = KFAC(1.0, damping=0.03, rescale="both", trust=None)
    for optimizer in (exact, bp.optimizers.Adam(3e-3), bp.optimizers.Adam(1e-2)):
        layers = [L.Dense(32, "tanh"), L.Dense(10, "softmax")]
        model = bp.Sequential(layers, seed=0)
        model.compile(optimizer, "cross_entropy")
        h = model.fit(x[:1024], y[:1024], epochs=3, batch_size=128, verbose=0).history["loss"]
        losses.append(h[-1])
    assert losses[0] < 0.5 * min(losses[1:]), losses


# ---- what is refused -----------------------------------------------------------------------------


def test_a_layer_without_derivatives_along_a_step_is_refused_before_any_work():
    model = bp.Sequential(
        [L.Dense(8, "tanh"), L.Reshape((4, 2)), L.MaxPooling1D(2), L.Flatten(), L.Dense(3)]
    )
    model.compile(rule("step"), "cross_entropy")
    with pytest.raises(ValueError, match=r"'max_pooling1d'.*rescale=None"):
        model.fit(X, Y, verbose=0)
    assert model.optimizer.factors == {}
    model.compile(rule(None), "cross_entropy")
    model.fit(X, Y, epochs=1, verbose=0)


@pytest.mark.parametrize("bad", ["exact", 1, True])
def test_a_bad_option(bad):
    with pytest.raises(ValueError, match=r"unknown rescale.*None, both, step"):
        KFAC(rescale=bad)


def test_a_last_step_of_another_size_is_refused(tmp_path):
    for bad in (np.zeros((2, 2)), np.zeros((3, 1))):
        with pytest.raises(ValueError, match="last must be a vector"):
            rule("both").set_numbers({"last": bad})


def test_the_configuration_says_it():
    again = bp.optimizers.get({"class_name": "KFAC", "config": rule("both").get_config()})
    assert again.rescale == "both"
    assert list(itertools.islice(rule(None).get_config(), 1)) == ["learning_rate"]
