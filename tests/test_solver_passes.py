"""A pass over the data serves a trial step, the log and the next iteration while it is true."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import bpcore as bp

L, O = bp.layers, bp.optimizers  # noqa: E741
LM = O.LevenbergMarquardt


def data(n):
    draw = np.random.default_rng(n)
    x = draw.uniform(-1, 1, (n, 2))
    return x, np.sin(3 * x[:, :1]) * x[:, 1:] + 0.1 * draw.normal(size=(n, 1))


def made(outputs=1, **options):
    decay = bp.regularizers.L2(1e-4)
    layers = [L.Dense(5, "tanh", kernel_regularizer=decay), L.Dense(outputs)]
    model = bp.Sequential([bp.Input((2,)), *layers], dtype="float64", seed=1)
    model.compile(LM(**options), "mse", metrics=["mae", "r2"])
    return model


class Between(bp.callbacks.Callback):
    """Code of the user's after an epoch; with it the core makes one iteration at a time."""

    def __init__(self, epoch=-1, do=None):
        self.epoch, self.do = epoch, do

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            self.do(self.model)


@pytest.mark.parametrize("n", [40, 600, 1500])
@pytest.mark.parametrize("outputs", [1, 2])
def test_iterations_by_themselves_have_the_same_bits(n, outputs):
    """Rows that are held at once, in two parts, and in more than one batch of the log."""
    x, y = data(n)
    y = np.tile(y, (1, outputs))
    one, other = made(outputs), made(outputs)
    together = one.fit(x, y, epochs=8, verbose=0).history
    apart = other.fit(x, y, epochs=8, verbose=0, callbacks=[Between()]).history
    assert together == apart
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("n", [40, 600, 1500])
def test_the_log_is_of_the_weights_after_the_iteration(n):
    x, y = data(n)
    model, seen = made(), []
    look = Between()
    look.on_epoch_end = lambda epoch, logs=None: seen.append(look.model.evaluate(x, y))
    history = model.fit(x, y, epochs=6, verbose=0, callbacks=[look]).history
    seen.append(model.evaluate(x, y))
    quiet = made().fit(x, y, epochs=6, verbose=0).history
    for k, expected in enumerate(seen[:6]):
        for name, value in expected.items():
            assert history[name][k] == pytest.approx(value, rel=1e-12)
            assert quiet[name][k] == pytest.approx(value, rel=1e-12)
    assert seen[-1]["loss"] == pytest.approx(quiet["loss"][-1], rel=1e-12)


@pytest.mark.parametrize("what", ["weights", "frozen", "x", "y"])
def test_an_iteration_begins_from_what_is_there(what):
    """A callback has changed the weights, those of a frozen layer, or the data in place: the next
    iteration is that of a model which begins there."""
    x, y = data(40)
    model = made(mu=10.0, mu_dec=1.0)  # an accepted step leaves mu as it is
    fresh = made(mu=10.0, mu_dec=1.0)
    if what == "frozen":
        for each in (model, fresh):
            each.layers[-1].trainable = False
            each.compile(LM(mu=10.0, mu_dec=1.0), "mse")
    begun = [1.5 * w for w in model.get_weights()]

    def change(own):
        if what in ("x", "y"):
            {"x": x, "y": y}[what][:] *= -0.5
            begun[:] = own.get_weights()
        elif what == "frozen":
            begun[:] = own.get_weights()
            begun[-2] = begun[-2] * 0.5
            own.set_weights(begun)
        else:
            own.set_weights(begun)

    history = model.fit(x, y, epochs=4, verbose=0, callbacks=[Between(2, change)]).history
    assert history["mu"] == [10.0] * 4
    fresh.set_weights(begun)
    expected = fresh.fit(x, y, epochs=1, verbose=0).history
    assert expected["mu"] == [10.0]
    assert history["loss"][3] == expected["loss"][0]
    for a, b in zip(model.get_weights(), fresh.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_a_step_that_was_refused_leaves_nothing_behind():
    """Overshooting tries between accepted steps: the same trail as with iterations apart."""
    x, y = data(40)
    one = made(mu=1e-9, mu_dec=1e-3)
    history = one.fit(x, y, epochs=15, verbose=0).history
    assert (np.diff(history["mu"]) > 0).any()  # some tries were refused
    other = made(mu=1e-9, mu_dec=1e-3)
    assert other.fit(x, y, epochs=15, verbose=0, callbacks=[Between()]).history == history


def test_what_an_optimizer_does_not_have_costs_no_search_for_a_likely_name(monkeypatch):
    """Suggestions are for users: fits and compilations make none."""
    x, y = data(20)
    model = made()
    model.fit(x, y, epochs=1, verbose=0)

    def refuse(*args):
        raise AssertionError("a suggestion was made")

    monkeypatch.setattr("bpcore.base.checks.suggest", refuse)
    model.compile(LM(), "mse")
    model.fit(x, y, epochs=1, verbose=0)
    with pytest.raises(AssertionError, match="suggestion"):
        model.optimizer.epsilon  # noqa: B018


@pytest.mark.parametrize("make", [O.LBFGS, O.ScaledConjugateGradient, lambda: LM(goal=0.5)])
def test_losses_of_steps_are_those_of_rows(make):
    """A cross entropy of each step is a mean over them, in trial steps and goals too: the path of
    the same steps as rows of their own. (Levenberg-Marquardt's damping is of sums: its goal.)"""
    draw = np.random.default_rng(2)
    x, y, found = draw.normal(size=(9, 4, 3)), draw.integers(0, 3, (9, 4)), []
    for rows in (False, True):
        shape, data = ((3,), (x.reshape(36, 3), y.reshape(36))) if rows else ((4, 3), (x, y))
        layers = [bp.Input(shape), L.Dense(4, "tanh"), L.Dense(3)]
        model = bp.Sequential(layers, dtype="float64", seed=1)
        model.compile(make(), "cross_entropy")
        found.append(model.fit(*data, epochs=20, verbose=0).history["loss"])
        if isinstance(model.optimizer, LM):
            assert model.optimizer.stopped == "goal"
            assert found[-1][-1] <= 0.5 < found[-1][-2]
        else:
            assert len(found[-1]) == 20
    if not isinstance(model.optimizer, LM):
        np.testing.assert_allclose(*found, rtol=1e-6)


MEMORY = """
import resource, sys
import numpy as np
import bpcore as bp

bp.set_num_threads(1)
rng = np.random.default_rng(0)
x = rng.normal(size=(200_000, 4))
y = np.repeat(np.sin(x[:, :1]), int(sys.argv[1]), axis=1)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def fitted(n):
    layers = [bp.layers.Dense(10, "tanh"), bp.layers.Dense(y.shape[1])]
    model = bp.Sequential([bp.Input((4,)), *layers], dtype="float64", seed=0)
    model.compile(bp.optimizers.LevenbergMarquardt(), "mse")
    model.fit(x[:n], y[:n], epochs=2, verbose=0)
    return peak()

before = fitted(2_000)
print(fitted(200_000) - before)
"""


@pytest.mark.parametrize("outputs", [1, 2])
def test_memory_does_not_grow_with_the_rows(outputs):
    """J of these would take 98 MB for each output."""
    command = [sys.executable, "-c", MEMORY, str(outputs)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(found.stdout) < 8 << 20
