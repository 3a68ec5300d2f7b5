"""L-BFGS, scaled conjugate gradients, the Rprop family and Quickprop, each against another source.

L-BFGS against SciPy's; the others against transcripts of their published rules in NumPy.
"""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp


class Function:
    """A function of the weights as a loss: the model's one output row is the weights."""

    def __init__(self, value, gradient):
        self.f, self.g = value, gradient

    def value(self, y_true, y_pred):
        return np.array([self.f(y_pred[0])])

    def gradient(self, y_true, y_pred):
        return self.g(y_pred[0])[None]


def minimise(optimizer, loss, start, epochs):
    n = len(start)
    model = bp.Sequential([bp.Input((1,)), bp.layers.Dense(n, use_bias=False)], dtype="float64")
    model.set_weights([np.array(start, float)[None]])
    model.compile(optimizer, loss)
    trail, counts = [], []

    class Trail(bp.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            trail.append(self.model.get_weights()[0][0])
            counts.append(logs.get("evaluations", 0))

    model.fit([[1.0]], np.zeros((1, n)), epochs=epochs, verbose=0, callbacks=[Trail()])
    model.evaluations = sum(counts)
    return np.array(trail), model


A = np.array([3.0, 0.5, 40.0])
B = np.array([1.0, -2.0, 0.3])


def quadratic():
    return Function(lambda w: 0.5 * (A * (w - B) ** 2).sum(), lambda w: A * (w - B))


def rprop(variant, w, steps, first):
    """The rules of Riedmiller & Braun and of Igel & Huesken, weight by weight."""
    w = np.array(w, float)
    d, before, last = np.full(len(w), first), np.zeros(len(w)), np.zeros(len(w))
    loss, trail, f = np.inf, [], quadratic()
    for _ in range(steps):
        g, value = f.g(w), f.f(w)
        for i in range(len(w)):
            s = before[i] * g[i]
            if s > 0:
                d[i] = min(1.2 * d[i], 50)
            if s < 0:
                d[i] = max(0.5 * d[i], 1e-6)
            if s < 0 and variant == "irprop-":
                g[i] = 0
            if s < 0 and variant in ("rprop+", "irprop+"):
                back = variant == "rprop+" or value > loss
                move, g[i] = -last[i] if back else 0.0, 0
            else:
                move = -np.sign(g[i]) * d[i]
            w[i] += move
            last[i], before[i] = move, g[i]
        loss = value
        trail.append(w.copy())
    return np.array(trail)


@pytest.mark.parametrize("variant", ["irprop-", "irprop+", "rprop-", "rprop+"])
def test_trajectories_of_the_rprop_family(variant):
    expected = rprop(variant, [5.0, 4.0, -3.0], 60, 0.1)
    found, _ = minimise(
        bp.optimizers.Rprop(0.1, variant=variant), quadratic(), [5.0, 4.0, -3.0], 60
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variant", ["irprop+", "rprop-", "rprop+"])
def test_rprop_does_not_see_the_scale_of_the_loss(variant):
    q = quadratic()
    thousand = Function(lambda w: 1000 * q.f(w), lambda w: 1000 * q.g(w))
    one, _ = minimise(bp.optimizers.Rprop(0.1, variant=variant), quadratic(), [5.0, 4.0, -3.0], 40)
    other, _ = minimise(bp.optimizers.Rprop(0.1, variant=variant), thousand, [5.0, 4.0, -3.0], 40)
    assert np.array_equal(one, other)


def quickprop(w, steps, rate, mu, decay):
    w = np.array(w, float)
    last, before, trail, f = np.zeros(len(w)), np.zeros(len(w)), [], quadratic()
    for _ in range(steps):
        slopes = decay * w - f.g(w)
        for i, s in enumerate(slopes):
            was, m = before[i], mu / (1 + mu)
            if abs(last[i]) > 1e-3:
                up = np.sign(last[i])
                move = rate * s if up * s > 0 else 0.0
                move += mu * last[i] if up * s > up * m * was else last[i] * s / (was - s)
            else:
                move = rate * s
            w[i] += move
            last[i], before[i] = move, s
        trail.append(w.copy())
    return np.array(trail)


@pytest.mark.parametrize("decay", [0.0, -1e-4])
def test_trajectory_of_quickprop(decay):
    expected = quickprop([5.0, 4.0, -3.0], 40, 0.02, 1.75, decay)
    optimizer = bp.optimizers.Quickprop(0.02, decay=decay)
    found, _ = minimise(optimizer, quadratic(), [5.0, 4.0, -3.0], 40)
    np.testing.assert_allclose(found, expected[: len(found)], rtol=1e-12, atol=1e-12)
    assert len(found) == 40 or optimizer.stopped == "flat"
    if decay == 0:  # a parabola is solved exactly once it is bracketed
        np.testing.assert_allclose(found[-1], B, atol=1e-3)


def test_quickprop_grows_at_most_by_mu():
    """Along a gentle slope a step is mu times the last one, never the far minimum at once."""
    rate, mu, start = 0.001, 1.75, np.array([900.0, -700.0, 500.0])
    expected = quickprop(start, 40, rate, mu, 0.0)
    steps = np.diff(expected, axis=0, prepend=start[None])
    assert (np.abs(steps[1:4]) > 1.2 * np.abs(steps[:3])).any()  # the rule has a part in it
    found, _ = minimise(bp.optimizers.Quickprop(rate, mu=mu, decay=0.0), quadratic(), start, 40)
    np.testing.assert_allclose(found, expected[: len(found)], rtol=1e-11, atol=1e-11)


def chained(w):
    return (100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2).sum()


def chained_gradient(w):
    g = np.zeros_like(w)
    inner = w[1:] - w[:-1] ** 2
    g[:-1] = -400 * w[:-1] * inner - 2 * (1 - w[:-1])
    g[1:] += 200 * inner
    return g


def conditioned(n, condition):
    a = np.logspace(0, np.log10(condition), n)
    return lambda w: 0.5 * (a * (w - 1) ** 2).sum(), lambda w: a * (w - 1)


def beale(w):
    x, y = w
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def beale_gradient(w):
    x, y = w
    t = [c - x + x * y**k for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))]
    return np.array(
        [
            sum(2 * r * (y**k - 1) for k, r in enumerate(t, 1)),
            sum(2 * r * k * x * y ** (k - 1) for k, r in enumerate(t, 1)),
        ]
    )


def booth(w):
    return (w[0] + 2 * w[1] - 7) ** 2 + (2 * w[0] + w[1] - 5) ** 2


def booth_gradient(w):
    a, b = w[0] + 2 * w[1] - 7, 2 * w[0] + w[1] - 5
    return np.array([2 * a + 4 * b, 4 * a + 2 * b])


def powell(w):
    a, b, c, d = w
    return (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4


def powell_gradient(w):
    a, b, c, d = w
    p, q, r, s = 2 * (a + 10 * b), 10 * (c - d), 4 * (b - 2 * c) ** 3, 40 * (a - d) ** 3
    return np.array([p + s, 10 * p + r, q - 2 * r, -q - s])


def wood(w):
    a, b, c, d = w
    return (100 * (b - a**2) ** 2 + (1 - a) ** 2 + 90 * (d - c**2) ** 2 + (1 - c) ** 2
            + 10.1 * ((b - 1) ** 2 + (d - 1) ** 2) + 19.8 * (b - 1) * (d - 1))  # fmt: skip


def wood_gradient(w):
    a, b, c, d = w
    return np.array(
        [
            -400 * a * (b - a**2) - 2 * (1 - a),
            200 * (b - a**2) + 20.2 * (b - 1) + 19.8 * (d - 1),
            -360 * c * (d - c**2) - 2 * (1 - c),
            180 * (d - c**2) + 20.2 * (d - 1) + 19.8 * (b - 1),
        ]
    )


def logistic(seed):
    draw = np.random.default_rng(seed)
    x, t = draw.normal(size=(60, 8)), draw.integers(0, 2, 60)

    def f(w):
        z = x @ w
        return np.logaddexp(0, z).sum() - t @ z + 0.05 * w @ w

    return f, lambda w: x.T @ (1 / (1 + np.exp(-x @ w)) - t) + 0.1 * w


def sums(power):
    return lambda w: (
        np.abs(w) ** power
    ).sum(), lambda w: power * np.sign(w) * np.abs(w) ** (power - 1)


PROBLEMS = [
    (chained, chained_gradient, [-1.2, 1.0]),
    (chained, chained_gradient, [-1.2, 1.0] * 3),
    (chained, chained_gradient, [2.0] * 10),
    (chained, chained_gradient, list(np.linspace(-1, 1, 20))),
    (beale, beale_gradient, [1.0, 1.0]),
    (booth, booth_gradient, [0.0, 0.0]),
    (powell, powell_gradient, [3.0, -1.0, 0.0, 1.0]),
    (wood, wood_gradient, [-3.0, -1.0, -3.0, -1.0]),
    (*conditioned(5, 10), [3.0] * 5),
    (*conditioned(20, 100), [-2.0] * 20),
    (*conditioned(50, 1000), [0.0] * 50),
    (*conditioned(10, 1e4), [5.0] * 10),
    *[(*logistic(seed), [0.0] * 8) for seed in range(5)],
    (*sums(2), [1.0, -3.0, 5.0]),
    (*sums(4), [1.0, -3.0, 5.0]),
    (lambda w: np.logaddexp(w, -w).sum() + 0.1 * w @ w, lambda w: np.tanh(w) + 0.2 * w, [4.0] * 6),
]


def test_lbfgs_reaches_scipys_minima_with_as_many_evaluations():
    """On 20 convex or standard problems, to the same bound of the gradient."""
    scipy = pytest.importorskip("scipy.optimize")
    ours = theirs = 0
    assert len(PROBLEMS) == 20
    for value, gradient, start in PROBLEMS:
        best = scipy.minimize(value, start, jac=gradient, method="L-BFGS-B",
                              options={"maxcor": 10, "gtol": 1e-6, "ftol": 0, "maxiter": 1000,
                                       "maxfun": 10000})  # fmt: skip
        loss = Function(value, gradient)
        _, model = minimise(bp.optimizers.LBFGS(tol=1e-6), loss, start, 1000)
        w = model.get_weights()[0][0]
        assert np.abs(gradient(w)).max() <= 1e-5 or value(w) <= best.fun + 1e-12
        assert value(w) <= best.fun + 1e-8 * max(1, abs(best.fun))
        ours, theirs = ours + model.evaluations, theirs + best.nfev
    assert ours <= 1.2 * theirs, (ours, theirs)


def test_conjugate_gradients_solve_a_quadratic_in_as_many_steps_as_it_has_weights():
    trail, _ = minimise(bp.optimizers.ScaledConjugateGradient(), quadratic(), [5.0, 4.0, -3.0], 6)
    np.testing.assert_allclose(trail[-1], B, atol=1e-5)


def moller(f, g, w, steps):
    """The nine steps of M. Moller, "A scaled conjugate gradient algorithm", 1993."""
    w, n = np.array(w, float), len(w)
    scale, raised, success, k = 5e-7, 0.0, True, 1
    r = p = -g(w)
    trail, restarts, failures = [], 0, 0
    for _ in range(steps):
        square = p @ p
        if success:
            sigma = 5e-5 / np.sqrt(square)
            delta = p @ (g(w + sigma * p) - g(w)) / sigma
        delta += (scale - raised) * square
        if delta <= 0:
            raised = 2 * (scale - delta / square)
            delta = -delta + scale * square
            scale = raised
        mu = p @ r
        alpha = mu / delta
        fit = 2 * delta * (f(w) - f(w + alpha * p)) / mu**2
        success = fit >= 0
        if success:
            w = w + alpha * p
            new, raised = -g(w), 0.0
            p = new if k % n == 0 else new + (new @ new - new @ r) / mu * p
            restarts += k % n == 0
            r, k = new, k + 1
            if fit >= 0.75:
                scale /= 4
        else:
            raised, failures = scale, failures + 1
        if fit < 0.25:
            scale += delta * (1 - fit) / square
        trail.append(w)
    return np.array(trail), restarts, failures


@pytest.mark.parametrize("start", [[-1.2, 1.0, 0.5], [2.0, -1.0, 1.5]])
def test_trajectory_of_scaled_conjugate_gradients(start):
    """Of a function that is no quadratic, beyond restarts and failed steps."""
    gradient = chained_gradient
    expected, restarts, failures = moller(chained, gradient, start, 14)
    assert restarts >= 2 and failures >= 1
    found, _ = minimise(
        bp.optimizers.ScaledConjugateGradient(), Function(chained, gradient), start, 14
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("memory", [1, 2, 5])
def test_lbfgs_remembers_as_many_pairs_as_it_is_told(memory):
    """Iteration by iteration SciPy's weights, which another number of pairs has not."""
    scipy = pytest.importorskip("scipy.optimize")
    value, gradient = conditioned(20, 100)
    start = [-2.0] * 20

    def theirs(pairs):
        trail = []
        options = {"maxcor": pairs, "gtol": 0, "ftol": 0, "maxiter": 12}
        scipy.minimize(value, start, jac=gradient, method="L-BFGS-B", options=options,
                       callback=lambda w: trail.append(w.copy()))  # fmt: skip
        return np.array(trail)

    found, _ = minimise(
        bp.optimizers.LBFGS(memory=memory, tol=0.0), Function(value, gradient), start, 12
    )
    np.testing.assert_allclose(found, theirs(memory), rtol=1e-6, atol=1e-6)
    assert np.abs(found - theirs(memory + 1)).max() > 1e-3


X = np.linspace(-1, 1, 41)[:, None]
Y = np.sin(np.pi * X)
MAKERS = {
    "lbfgs": lambda: bp.optimizers.LBFGS(),
    "conjugate": lambda: bp.optimizers.ScaledConjugateGradient(),
    "irprop+": lambda: bp.optimizers.Rprop(0.1, variant="irprop+"),
    "rprop+": lambda: bp.optimizers.Rprop(0.1, variant="rprop+"),
    "quickprop": lambda: bp.optimizers.Quickprop(),
}


def sine(optimizer, seed=1):
    layers = [bp.Input((1,)), bp.layers.Dense(8, "tanh"), bp.layers.Dense(1)]
    model = bp.Sequential(layers, dtype="float64", seed=seed)
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize("name", MAKERS)
def test_a_net_learns(name):
    model = sine(MAKERS[name]())
    history = model.fit(X, Y, epochs=300, verbose=0).history
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert set(model.optimizer.reports) <= set(history)


def test_names_configurations_and_copies():
    for name in ("lbfgs", "scaled_conjugate_gradient", "quickprop", "levenberg_marquardt"):
        assert bp.optimizers.get(name).name == name
    rule = bp.optimizers.Rprop(variant="irprop+")
    assert isinstance(rule, bp.optimizers.Rprop) and isinstance(rule, bp.optimizers.BatchSolver)
    again = bp.optimizers.get({"class_name": type(rule).__name__, "config": rule.get_config()})
    assert again.variant == "irprop+" and isinstance(again, bp.optimizers.BatchSolver)
    assert not isinstance(bp.optimizers.Rprop(), bp.optimizers.BatchSolver)
    for bad in (
        lambda: bp.optimizers.Rprop(variant="rprop"),
        lambda: bp.optimizers.LBFGS(line_search="armijo"),
    ):
        with pytest.raises(ValueError, match="expected"):
            bad()


def test_lbfgs_takes_penalties_and_refuses_dropout():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(30, 3)), draw.normal(size=(30, 1))
    layer = bp.layers.Dense(1, use_bias=False, kernel_regularizer=bp.regularizers.L2(0.2))
    model = bp.Sequential([bp.Input((3,)), layer], dtype="float64", seed=0)
    model.compile(bp.optimizers.LBFGS(tol=1e-10), "mse")
    model.fit(x, y, epochs=100, verbose=0)
    best = np.linalg.solve(x.T @ x / 30 + 0.2 * np.eye(3), x.T @ y / 30)
    np.testing.assert_allclose(model.get_weights()[0], best, rtol=1e-7)
    assert model.optimizer.stopped in ("flat", "tolerance")
    random = bp.Sequential([bp.Input((3,)), bp.layers.Dropout(0.5), bp.layers.Dense(1)],
                           dtype="float64", seed=0)  # fmt: skip
    random.compile(bp.optimizers.LBFGS(), "mse")
    with pytest.raises(ValueError, match="random layer 'dropout'"):
        random.fit(x, y, verbose=0)


@pytest.mark.parametrize("make", [bp.optimizers.LBFGS, bp.optimizers.LevenbergMarquardt])
def test_many_rows_are_least_squares(make):
    """More rows than are held at once, against the normal equations."""
    draw = np.random.default_rng(4)
    x, y = draw.normal(size=(1201, 4)), draw.normal(size=(1201, 2))
    y += x[:, :2] * np.linspace(0, 5, 1201)[:, None]  # the last rows differ from the first
    model = bp.Sequential(
        [bp.Input((4,)), bp.layers.Dense(2, use_bias=False)], dtype="float64", seed=0
    )
    model.compile(make(), "mse")
    history = model.fit(x, y, epochs=60, verbose=0).history
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    np.testing.assert_allclose(model.get_weights()[0], best, rtol=1e-5, atol=1e-6)
    assert history["loss"][-1] == pytest.approx(np.square(x @ best - y).mean(), rel=1e-9)
