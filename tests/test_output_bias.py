"""model.set_output_bias: the best constant prediction, for every loss and ending."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

L = bp.layers


def blank(units, loss, ending="linear", width=3, *, use_bias=True):
    """A model of a zero kernel, whose output is a constant."""
    layers = [
        L.Dense(4, activation="tanh"),
        L.Dense(units, ending, use_bias, kernel_initializer="zeros", name="last"),
    ]
    model = bp.Sequential(layers, dtype="float64", seed=0)
    model.build((width,))
    model.compile("sgd", loss)
    return model


def loss_at(model, y, **options):
    """The loss on inputs that do not matter."""
    x = np.random.default_rng(0).normal(size=(len(y), *model.layers[0].input_shape))
    return model.evaluate(x, y, **options)["loss"]


@pytest.mark.parametrize("ending", ["linear", "softmax", "log_softmax"])
def test_the_first_loss_is_the_entropy_of_the_classes(ending, rng):
    y = rng.choice(5, 400, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    share = np.bincount(y, minlength=5) / 400
    entropy = -(share * np.log(share)).sum()
    for targets in (y, y[:, None], np.eye(5)[y]):
        model = blank(5, "cross_entropy", ending)
        before = [w.copy() for w in model.get_weights()]
        model.set_output_bias(targets)
        assert loss_at(model, targets) == pytest.approx(entropy, rel=1e-14)
        after = model.get_weights()
        for a, b in zip(before[:3], after[:3], strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(after[3], np.log(share), rtol=1e-14)


@pytest.mark.parametrize("ending", ["linear", "sigmoid"])
def test_the_first_loss_is_the_entropy_of_the_rates(ending, rng):
    y = (rng.random((300, 3)) < [0.1, 0.5, 0.8]) * 1.0
    p = y.mean(axis=0)
    model = blank(3, "binary_cross_entropy", ending)
    model.set_output_bias(y)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).mean()
    assert loss_at(model, y) == pytest.approx(entropy, rel=1e-14)
    single = blank(1, "binary_cross_entropy", ending)
    single.set_output_bias(y[:, 0].astype(int))
    np.testing.assert_allclose(single.weights[3].value, [np.log(p[0] / (1 - p[0]))], rtol=1e-13)


# loss, ending, targets, the constant that the model must predict (None: checked by search only)
REAL = [
    ("mse", "linear", "real", lambda t: t.mean(axis=0)),
    ("half_squared_error", "linear", "real", lambda t: t.mean(axis=0)),
    ("mse", "sigmoid", "unit", lambda t: t.mean(axis=0)),
    ("mse", "tanh", "unit", lambda t: t.mean(axis=0)),
    ("mae", "linear", "real", lambda t: np.median(t, axis=0)),
    (bp.losses.Quantile(0.9), "linear", "real", lambda t: np.quantile(t, 0.9, axis=0)),
    ("poisson", "exponential", "count", lambda t: t.mean(axis=0)),
    ("poisson", "softplus", "count", lambda t: t.mean(axis=0)),
    ("poisson", "linear", "count", lambda t: t.mean(axis=0)),
    ("kl_divergence", "softmax", "share", lambda t: t.mean(axis=0)),
    (bp.losses.CrossEntropy(label_smoothing=0.2), "softmax", "share", None),
    (bp.losses.BinaryCrossEntropy(label_smoothing=0.1), "sigmoid", "unit", None),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::bpcore.errors.MismatchWarning")
@pytest.mark.parametrize("loss, ending, kind, expected", REAL)
def test_no_other_constant_has_a_smaller_loss(loss, ending, kind, expected, rng):
    n = 201
    y = {
        "real": rng.normal(size=(n, 3)) * [1, 5, 0.1] + [3, -20, 0],
        "unit": rng.beta(2, 5, (n, 3)),
        "count": rng.poisson([0.3, 2, 9], (n, 3)) * 1.0,
        "share": rng.dirichlet([1, 2, 3], n),
    }[kind]
    model = blank(3, loss, ending)
    model.set_output_bias(y)
    if expected is not None:
        np.testing.assert_allclose(model.predict(np.ones((1, 3)))[0], expected(y), rtol=1e-10)
    best, bias = loss_at(model, y), model.weights[3]
    start = bias.value.copy()
    for step in [*np.eye(3) * 0.01, *np.eye(3) * -0.01, [0.02, -0.03, 0.01]]:
        bias.value = start + step
        assert loss_at(model, y) > best - 1e-9
    assert np.isfinite(best)


def test_mean_and_variance_of_two_heads(rng):
    y = rng.normal(size=(500, 2)) * [0.1, 30] + [5, -100]
    a = bp.Input((3,))
    heads = [L.Dense(2, kernel_initializer="zeros")(a) for _ in range(2)]
    model = bp.Model(a, L.Concatenate()(heads), dtype="float64", seed=0)
    model.compile("sgd", "gaussian_nll")
    model.set_output_bias(y)
    mean, s = np.split(model.predict(np.ones((1, 3)))[0], 2)
    np.testing.assert_allclose(mean, y.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(np.exp(s), y.var(axis=0), rtol=1e-10)
    expected = 0.5 * (np.log(y.var(axis=0)) + 1).mean()
    assert loss_at(model, y) == pytest.approx(expected, rel=1e-12)


def test_quantiles_each_get_theirs(rng):
    y = rng.exponential(size=(1000, 2))
    model = blank(6, bp.losses.Quantile([0.1, 0.5, 0.9]))
    model.set_output_bias(y)
    expected = np.quantile(y, [0.1, 0.5, 0.9], axis=0, method="inverted_cdf").ravel()
    np.testing.assert_array_equal(model.weights[3].value, expected)


def test_weights_of_samples_and_classes_count(rng):
    y, w = rng.integers(0, 3, 100), rng.uniform(0, 2, 100)
    share = np.bincount(y, w, 3) / w.sum()
    model = blank(3, "cross_entropy")
    model.set_output_bias(y, sample_weight=w)
    np.testing.assert_allclose(model.weights[3].value, np.log(share), rtol=1e-12)
    model.set_output_bias(y, class_weight={0: 1.0, 1: 2.0, 2: 0.5})
    share = np.bincount(y) * [1, 2, 0.5]
    np.testing.assert_allclose(model.weights[3].value, np.log(share / share.sum()), rtol=1e-12)
    real = rng.normal(size=(100, 1))
    model = blank(1, "mse")
    model.set_output_bias(real, sample_weight=w)
    assert model.weights[3].value[0] == pytest.approx(w @ real[:, 0] / w.sum(), rel=1e-12)
    model = blank(1, "mae")
    model.set_output_bias(np.array([1.0, 2, 3, 4]), sample_weight=np.array([1.0, 1, 1, 9]))
    assert model.weights[3].value[0] == 4


def test_a_class_without_samples_counts_as_half_of_one():
    model = blank(3, "cross_entropy")
    model.set_output_bias([0, 0, 1, 1])
    p = np.exp(model.weights[3].value)
    np.testing.assert_allclose(p, [0.5, 0.5, 0.125], rtol=1e-14)
    single = blank(1, "binary_cross_entropy")
    single.set_output_bias(np.zeros(10))
    assert single.weights[3].value[0] == pytest.approx(np.log(0.05 / 0.95), rel=1e-12)


def test_arithmetic_and_reshapes_after_the_layer_are_undone(rng):
    y = rng.uniform(100, 300, (50, 2, 2))
    a = bp.Input((3,))
    z = L.Reshape((2, 2))(L.Dense(4, kernel_initializer="zeros")(a))
    y_hat = 600.0 - (50.0 * z / np.array([1.0, 2.0]) + 20.0 - 1.0)
    model = bp.Model(a, y_hat, dtype="float64", seed=0)
    model.compile("sgd", "mse")
    model.set_output_bias(y)
    np.testing.assert_allclose(model.predict(np.ones((1, 3)))[0], y.mean(axis=0), rtol=1e-12)
    undone = bp.Model(a, [1.0 / (z + 3.0), z * np.array([1.0, 0.0])], dtype="float64", seed=0)
    undone.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"cannot be given a bias: it ends in .* \(divide\)"):
        undone.set_output_bias([y, y])


def test_the_scale_that_normalization_gives_the_outputs_is_undone(rng):
    y = rng.normal(size=(80, 2)) * [3, 400] + [10, -5000]
    scaling = L.Normalization(invert=True)
    scaling.adapt(y[:40])
    last = L.Dense(2, kernel_initializer="zeros")
    model = bp.Sequential([last, scaling], dtype="float64")
    model.build((3,))
    model.compile("sgd", "mse")
    model.set_output_bias(y)
    np.testing.assert_allclose(model.predict(np.ones((1, 3)))[0], y.mean(axis=0), rtol=1e-12)
    expected = (y.mean(axis=0) - y[:40].mean(axis=0)) / y[:40].std(axis=0)
    np.testing.assert_allclose(last.bias.value, expected, rtol=1e-9)


def test_sequences_share_a_bias_over_their_positions(rng):
    """Dense (2) over (T, 3): labels (N, T), whose positions are one population."""
    y = rng.integers(0, 2, (60, 4))
    y[:, 0] = 0
    model = bp.Sequential([L.Dense(2, kernel_initializer="zeros")], dtype="float64")
    model.build((4, 3))
    model.compile("sgd", "cross_entropy")
    model.set_output_bias(y)
    share = np.bincount(y.ravel()) / y.size
    np.testing.assert_allclose(np.exp(model.weights[1].value), share, rtol=1e-13)
    flat = bp.Sequential([L.Dense(1, kernel_initializer="zeros"), L.Flatten()], dtype="float64")
    flat.build((4, 3))
    flat.compile("sgd", "mse")
    t = rng.normal(size=(60, 4))
    flat.set_output_bias(t)
    assert flat.weights[1].value[0] == pytest.approx(t.mean(), rel=1e-12)


def test_several_outputs(rng):
    a = bp.Input((3,))
    model = bp.Model(a, [L.Dense(2, name="one")(a), L.Dense(3, "softmax", name="two")(a)], seed=0)
    model.compile("sgd", ["mse", "cross_entropy"])
    y, labels = rng.normal(size=(90, 2)), rng.integers(0, 3, 90)
    model.set_output_bias([y, labels])
    np.testing.assert_allclose(model.weights[1].value, y.mean(axis=0), rtol=1e-5)
    share = np.bincount(labels) / 90
    np.testing.assert_allclose(np.exp(model.weights[3].value), share, rtol=1e-6)
    model.fit(rng.normal(size=(90, 3)), [y, labels], epochs=1, verbose=0)


def shared_bias():
    a, b = bp.Input((3,)), bp.Input((3,))
    dense = L.Dense(2)
    model = bp.Model([a, b], [dense(a), dense(b)])
    model.compile("sgd", "mse")
    return model


def scaled_apart():
    """One unit at two positions, scaled differently."""
    a = bp.Input((2, 3))
    model = bp.Model(a, L.Dense(1)(a) * np.array([[1.0], [2.0]]))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("make, y, message", [
    (lambda: blank(2, "mse", use_bias=False), np.ones((4, 2)), "cannot be given a bias.*'last'"),
    (lambda: blank(2, "hinge", "tanh"), np.ones((4, 2)), "no best constant"),
    (lambda: blank(2, "mse", "gelu"), np.ones((4, 2)), "'gelu', which has no inverse"),
    (lambda: blank(2, "mse", "exponential"), -np.ones((4, 2)), r"in \(0, inf\).*unit 0 ask for -1"),
    (lambda: blank(2, "mse"), np.ones((4, 3)), "expected \\(4, 2\\)"),
    (lambda: blank(2, "mse"), np.full((4, 2), np.nan), "NaN"),
    (lambda: blank(2, "mse"), np.ones((0, 2)), "0 samples"),
    (shared_bias, [np.ones((4, 2)), np.ones((4, 2))], "bias of several outputs"),
    (scaled_apart, np.ones((4, 2, 1)), "scaled differently"),
])  # fmt: skip
def test_what_cannot_be_set_is_refused_and_changes_nothing(make, y, message):
    model = make()
    before = [w.copy() for w in model.get_weights()]
    with pytest.raises(ValueError, match=message):
        model.set_output_bias(y)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_needs_a_built_and_compiled_model():
    model = bp.Sequential([L.Dense(2)])
    with pytest.raises(RuntimeError, match="not compiled"):
        model.set_output_bias([0, 1])
    model.compile("sgd", "cross_entropy")
    with pytest.raises(bp.errors.NotBuiltError, match="not built"):
        model.set_output_bias([0, 1])
    model.build((3,))
    with pytest.raises(TypeError, match="y is None"):
        model.set_output_bias(None)
