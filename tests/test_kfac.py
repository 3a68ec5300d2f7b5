"""K-FAC: against exact Fisher matrices, least squares, and its formulas in NumPy."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest

import bpcore as bp

KFAC, L = bp.optimizers.KFAC, bp.layers
STILL = 1e-300  # a rate that moves no weight
RNG = np.random.default_rng(4)
X = RNG.normal(size=(40, 3))
Y = RNG.integers(0, 3, 40)
T = RNG.normal(size=(40, 2))


def classifier(optimizer, dtype="float64", seed=0, loss="cross_entropy", **options):
    model = bp.Sequential([L.Dense(4, "tanh"), L.Dense(3, "softmax")], dtype=dtype, seed=seed)
    model.compile(optimizer, loss, **options)
    return model


def plain(rate=1.0, **options):
    return KFAC(rate, **{"momentum": 0.0, "trust": None, "targets": "expected", **options})


# ---- golden identities ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-14), ("float32", 2e-6)])
def test_the_last_layers_block_is_the_exact_fisher_matrix_of_one_sample(dtype, tolerance):
    model = classifier(KFAC(STILL, targets="expected"), dtype)
    model.train_on_batch(X[:1], Y[:1])
    a, s = model.optimizer.factors[model.layers[1].kernel.name]
    size, last = sum(w.size for w in model.get_weights()), 5 * 3
    exact = [model.fisher_vector(X[:1], e)[-last:] for e in np.eye(size, dtype=dtype)[-last:]]
    np.testing.assert_allclose(np.kron(a, s), exact, atol=tolerance)
    assert np.abs(exact).max() > 0.01


@pytest.mark.parametrize("loss", ["mse", "half_squared_error"])
def test_an_undamped_step_solves_linear_regression(loss):
    model = bp.Sequential([L.Dense(2)], dtype="float64", seed=0)
    model.compile(plain(damping=0.0), loss)
    model.train_on_batch(X, T)
    best = np.linalg.lstsq(np.c_[X, np.ones(40)], T, rcond=None)[0]
    np.testing.assert_allclose(np.vstack(model.get_weights()), best, atol=1e-13)


def test_undamped_steps_do_not_depend_on_the_inputs_coordinates():
    """x A + c in place of x, the first layer's weights accordingly: the same function after."""
    move, shift = np.array([[2.0, 0.3, -1.0], [0.0, 0.5, 1.0], [1.0, 0.2, 3.0]]), [1.0, -2.0, 0.5]
    functions, start = [], [RNG.normal(size=shape) for shape in ((3, 4), (4,), (4, 2), (2,))]
    for a, c in ((np.eye(3), np.zeros(3)), (move, np.array(shift))):
        model = bp.Sequential([bp.Input((3,)), L.Dense(4, "tanh"), L.Dense(2)], dtype="float64")
        first = np.linalg.solve(a, start[0])
        model.set_weights([first, start[1] - c @ first, *start[2:]])
        model.compile(plain(0.5, damping=0.0), "mse")
        for _ in range(2):
            model.train_on_batch(X @ a + c, T)
        functions.append(model.predict(X @ a + c))
    np.testing.assert_allclose(functions[1], functions[0], atol=1e-11)


# ---- the formulas, in NumPy ----------------------------------------------------------------------


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


class Twin:
    """A net tanh, softmax with the rules of the class's docstring, written down once more."""

    def __init__(self, weights, rate, damping, momentum, decay, trust, refresh, l2):
        self.w = [np.vstack([weights[0], weights[1]]), np.vstack([weights[2], weights[3]])]
        self.rate, self.damping, self.momentum = rate, damping, momentum
        self.decay, self.trust, self.refresh, self.l2 = decay, trust, refresh, l2
        self.v = [np.zeros_like(w) for w in self.w]
        self.k, self.a, self.s = 0, [0, 0], [0, 0]

    def step(self, x, y):
        n = len(x)
        a = [np.c_[x, np.ones(n)]]
        h = np.tanh(a[0] @ self.w[0])
        a.append(np.c_[h, np.ones(n)])
        p = softmax(a[1] @ self.w[1])
        delta = (p - np.eye(3)[y]) / n
        hidden = (delta @ self.w[1][:-1].T) * (1 - h**2)
        g = [a[0].T @ hidden, a[1].T @ delta]
        g[0][:-1] += 2 * self.l2 * self.w[0][:-1]
        s = [0, 0]
        for row in range(n):
            curvature = np.diag(p[row]) - np.outer(p[row], p[row])
            back = self.w[1][:-1] * (1 - h[row] ** 2)[:, None]
            s[0], s[1] = s[0] + back @ curvature @ back.T / n, s[1] + curvature / n
        self.k += 1
        keep = min(1 - 1 / self.k, self.decay)
        for i in range(2):
            self.a[i] = keep * self.a[i] + (1 - keep) * a[i].T @ a[i] / n
            self.s[i] = keep * self.s[i] + (1 - keep) * s[i]
        if self.k <= 3 or self.k % self.refresh == 0:
            self.inverses = [self.inverse(i) for i in range(2)]
        d = [ia @ g[i] @ si for i, (ia, si) in enumerate(self.inverses)]
        size = self.rate**2 / 2 * sum((x * y).sum() for x, y in zip(d, g, strict=True))
        for i in range(2):
            self.v[i] = self.momentum * self.v[i] + d[i] * min(1, np.sqrt(self.trust / size))
            self.w[i] = self.w[i] - self.rate * self.v[i]

    def inverse(self, i):
        a, s = self.a[i], self.s[i]
        pi = np.sqrt((np.trace(a) / len(a)) / (np.trace(s) / len(s)))
        g = np.sqrt(self.damping + (2 * self.l2 if i == 0 else 0))
        inverse = np.linalg.inv
        return inverse(a + pi * g * np.eye(len(a))), inverse(s + g / pi * np.eye(len(s)))


@pytest.mark.parametrize("trust", [1e9, 1e-3])
def test_steps_are_those_of_the_formulas(trust):
    regularizer = bp.regularizers.L2(0.01)
    layers = [L.Dense(4, "tanh", kernel_regularizer=regularizer), L.Dense(3, "softmax")]
    model = bp.Sequential([bp.Input((3,)), *layers], dtype="float64", seed=1)
    numbers = {"damping": 0.02, "momentum": 0.5, "decay": 0.7, "trust": trust, "refresh": 4}
    twin = Twin(model.get_weights(), 0.1, **numbers, l2=0.01)
    model.compile(KFAC(0.1, **numbers, targets="expected"), "cross_entropy")
    model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0)
    for _, start in itertools.product(range(3), range(0, 40, 8)):
        twin.step(X[start : start + 8], Y[start : start + 8])
    for found, expected in zip(model.get_weights()[::2], twin.w, strict=True):
        np.testing.assert_allclose(found, expected[:-1], rtol=1e-11, atol=1e-12)
    for found, expected in zip(
        model.optimizer.factors.values(), zip(twin.a, twin.s, strict=True), strict=True
    ):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "mse"])
def test_drawn_targets_have_the_curvature_of_expected_ones(loss):
    """Averages of 4,000 batches of 10: errors of about 1 %."""
    found = {}
    weights = RNG.uniform(0.5, 2.0, 10)
    end = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "mse": "linear"}[loss]
    targets = np.eye(3)[RNG.integers(0, 3, 10)]
    for how, epochs in (("expected", 1), ("sampled", 4000)):
        model = bp.Sequential([L.Dense(4, "tanh"), L.Dense(3, end)], dtype="float64", seed=3)
        model.compile(KFAC(STILL, decay=1 - 1e-9, refresh=10**6, targets=how), loss)
        model.fit(
            2 * X[:10], targets, sample_weight=weights, epochs=epochs, batch_size=10, verbose=0
        )
        found[how] = model.optimizer.factors
    for name, (a, s) in found["expected"].items():
        drawn_a, drawn_s = found["sampled"][name]
        np.testing.assert_allclose(drawn_a, a, rtol=1e-9)
        assert np.linalg.norm(drawn_s - s) < 0.03 * np.linalg.norm(s)


def test_draws_depend_on_the_seed_and_on_the_batch():
    def factors(seed, batches=1):
        model = classifier(KFAC(STILL, decay=0.0, seed=seed))
        for _ in range(batches):
            model.train_on_batch(X, Y)
        return model.optimizer.factors[model.layers[1].kernel.name][1]

    assert np.array_equal(factors(1), factors(1))
    assert not np.allclose(factors(1), factors(2))
    assert not np.allclose(factors(1), factors(1, 2))


# ---- bits, state ---------------------------------------------------------------------------------


def wide(dtype="float32", **options):
    layers = [L.Dense(70, "tanh"), L.Dropout(0.1), L.Dense(65, "relu"), L.Dense(10)]
    model = bp.Sequential(layers, seed=2, dtype=dtype)
    model.compile(KFAC(0.05, refresh=5, **options), "cross_entropy")
    return model


@pytest.mark.parametrize("targets", ["sampled", "expected"])
def test_bits_do_not_depend_on_threads(targets):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(150, 66)), rng.integers(0, 10, 150)
    runs = []
    for n in (1, 2, 3):
        with bp.threads(n, exact=True):
            model = wide(targets=targets)
            model.fit(x, y, batch_size=32, epochs=2, verbose=0)
        runs.append([*model.get_weights(), *model.optimizer.numbers().values()])
    for other in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_float32_is_promoted_where_it_matters():
    """The factors of a float32 model are float64; its steps are those of float64 but for the
    passes."""
    runs = []
    for dtype in ("float32", "float64"):
        model = wide(dtype)
        model.fit(np.tile(X, 4), Y, batch_size=20, epochs=1, verbose=0)
        runs.append(model)
        assert all(array.dtype == np.float64 for array in model.optimizer.numbers().values())
    for a, b in zip(runs[0].get_weights(), runs[1].get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_one_batch_after_the_other_is_fit():
    whole, parts = classifier(KFAC()), classifier(KFAC())
    whole.fit(X, Y, batch_size=10, epochs=2, shuffle=False, verbose=0)
    for _, start in itertools.product(range(2), range(0, 40, 10)):
        parts.train_on_batch(X[start : start + 10], Y[start : start + 10])
    assert all(
        np.array_equal(a, b) for a, b in zip(whole.get_weights(), parts.get_weights(), strict=True)
    )


@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_copies_go_on_alike(how):
    model = classifier(KFAC(refresh=3))
    model.fit(X, Y, batch_size=10, epochs=2, verbose=0)
    other = pickle.loads(pickle.dumps(model)) if how == "pickle" else copy.deepcopy(model)
    assert len(other.optimizer.factors) == 2
    for one in (model, other):
        one.fit(X, Y, batch_size=10, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_frozen_layers_are_left_out_and_averages_begin_anew():
    model = classifier(KFAC())
    model.fit(X, Y, epochs=1, verbose=0)
    first = model.get_weights()[0]
    model.layers[0].trainable = False
    model.compile(model.optimizer, "cross_entropy")
    model.fit(X, Y, epochs=1, verbose=0)
    assert list(model.optimizer.factors) == [model.layers[1].kernel.name]
    assert np.array_equal(model.get_weights()[0], first)


def test_accumulated_batches_are_all_seen():
    model = classifier(KFAC(), accumulate_steps=2)
    model.fit(X, Y, batch_size=10, epochs=1, verbose=0)
    assert model.optimizer.numbers()["batches"][0] == 4
    assert model.optimizer.iterations == 2


# ---- what it is for ------------------------------------------------------------------------------


def test_it_learns_in_fewer_epochs_than_adam():
    x, y = bp.datasets.load_digits()[:2]
    losses = {}
    for optimizer in (KFAC(), bp.optimizers.Adam(1e-3), bp.optimizers.Adam(1e-2)):
        layers = [L.Dense(64, "tanh"), L.Dense(64, "tanh"), L.Dense(10, "softmax")]
        model = bp.Sequential(layers, seed=0)
        model.compile(optimizer, "cross_entropy")
        h = model.fit(x[:1024], y[:1024], epochs=3, batch_size=64, verbose=0).history["loss"]
        losses[optimizer] = h[-1]
    own, *adams = losses.values()
    assert own < 0.8 * min(adams), losses


# ---- what is refused -----------------------------------------------------------------------------


def shared():
    dense = L.Dense(3, "tanh")
    inputs = bp.Input((3,))
    return bp.Model(inputs, L.Dense(3)(dense(dense(inputs))))


@pytest.mark.parametrize(
    "make, loss, words",
    [
        (lambda: bp.Sequential([L.Dense(2)]), "mae", "sum of squares"),
        (shared, "cross_entropy", "each used once"),
        (lambda: bp.Sequential([L.Reshape((3, 1)), L.Conv1D(2, 2), L.Flatten(), L.Dense(3)]),
         "cross_entropy", "conv1d/kernel"),
        (lambda: bp.Sequential([L.Dense(4), L.BatchNormalization(), L.Dense(3)]),
         "cross_entropy", "batch_normalization/"),
        (lambda: bp.Sequential([L.Dense(4), L.BatchNormalization(center=False, scale=False),
                                L.Dense(3)]), "cross_entropy", "do not depend on one another"),
    ],
)  # fmt: skip
def test_what_has_no_factors_is_refused_before_any_work(make, loss, words):
    model = make()
    model.compile(KFAC(), loss)
    with pytest.raises(ValueError, match=words):
        model.fit(X, T if loss == "mae" else Y, epochs=1, verbose=0)
    assert model.optimizer.factors == {}


def test_gradients_alone_are_refused():
    model = classifier(KFAC())
    gradients = dict(model.gradients(X, Y).parameters)
    with pytest.raises(ValueError, match="train_on_batch"):
        model.apply_gradients(gradients)


def test_a_factor_without_an_inverse_ends_the_training_and_changes_nothing():
    """The probabilities' curvature has a direction of 0."""
    model = classifier(plain(damping=0.0))
    model.build((3,))
    before = model.get_weights()
    with pytest.raises(bp.errors.TrainingDiverged, match=r"inverse of the curvature.*damping"):
        model.fit(X, Y, epochs=1, verbose=0)
    assert model.optimizer.factors == {} and model.optimizer.iterations == 0
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    "options",
    [{"damping": -1}, {"momentum": 1.0}, {"decay": 1.0}, {"trust": 0}, {"refresh": 0},
     {"targets": "labels"}, {"seed": -1}],
)  # fmt: skip
def test_bad_options(options):
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        KFAC(**options)
