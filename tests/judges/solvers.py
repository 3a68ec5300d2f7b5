"""What the batch solvers reach, over many starts: published benchmarks in small.

``python -m pytest tests/judges/solvers.py -s``; some minutes. Starts are
``default_rng(seed).uniform(-1, 1)`` over the weights in order.
"""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

import bpcore as bp

LM = bp.optimizers.LevenbergMarquardt


def net(inputs, units, seed, end=None):
    layers = [bp.layers.Dense(n, "tanh") for n in units]
    model = bp.Sequential([bp.Input((inputs,)), *layers, bp.layers.Dense(1, end)], dtype="float64")
    draw = np.random.default_rng(seed)
    model.set_weights([draw.uniform(-1, 1, w.shape) for w in model.get_weights()])
    return model


def runs(make, optimizer, x, y, epochs, seeds, callbacks=()):
    """The iterations of each start that ended at its goal, None of the others; seconds of all."""
    counts, begin = [], time.perf_counter()
    for seed in seeds:
        model = make(seed)
        model.compile(optimizer(), "mse")
        hooks = [make_hook() for make_hook in callbacks]
        history = model.fit(x, y, batch_size=None, epochs=epochs, verbose=0, callbacks=hooks)
        done = getattr(model.optimizer, "stopped", "") == "goal" or (
            callbacks and model.stop_training
        )
        counts.append(len(history.history["loss"]) if done else None)
    return counts, time.perf_counter() - begin


def solved(counts):
    return [n for n in counts if n is not None]


X = np.linspace(-1, 1, 41)[:, None]
Y = np.sin(np.pi * X)


def test_sine():
    """SIN 1-5-1 to a mean squared error of 0.002: all of 30 starts, a median of at most 10."""
    counts, seconds = runs(lambda s: net(1, [5], s), lambda: LM(goal=0.002), X, Y, 1000, range(30))
    print(f"SIN: {len(solved(counts))} of 30, median {np.median(solved(counts))}, {seconds:.2f} s")
    assert len(solved(counts)) == 30 and np.median(solved(counts)) <= 10


class Goal(bp.callbacks.Callback):
    """Stop at SIN's goal."""

    def on_epoch_end(self, epoch, logs=None):
        if logs["loss"] <= 0.002:
            self.model.stop_training = True


def test_levenberg_marquardt_takes_the_fewest_iterations_on_sine():
    makers = {
        "LBFGS": bp.optimizers.LBFGS,
        "SCG": bp.optimizers.ScaledConjugateGradient,
        "iRprop+": lambda: bp.optimizers.Rprop(0.1, variant="irprop+"),
        "iRprop-": lambda: bp.optimizers.Rprop(0.1, variant="irprop-"),
        "Quickprop": bp.optimizers.Quickprop,
    }
    own, seconds = runs(lambda s: net(1, [5], s), lambda: LM(goal=0.002), X, Y, 3000, range(10))
    print(f"\nLM: median {np.median(own)}, {seconds:.2f} s")
    for name, make in makers.items():
        found, seconds = runs(lambda s: net(1, [5], s), make, X, Y, 3000, range(10), [Goal])
        counts = [3000 if n is None else n for n in found]
        print(f"{name}: {len(solved(found))} of 10, median {np.median(counts)}, {seconds:.2f} s")
        assert np.median(counts) > np.median(own)


def parity(n):
    x = np.array(list(itertools.product([-1.0, 1.0], repeat=n)))
    return x, np.prod(x, axis=1, keepdims=True)


def test_xor():
    x, y = parity(2)
    make = lambda s: net(2, [2], s, "tanh")  # noqa: E731
    counts, _ = runs(make, lambda: LM(goal=1e-4), x, y, 1000, range(100))
    print(f"XOR: {len(solved(counts))} of 100, median {np.median(solved(counts))}")
    assert len(solved(counts)) >= 70


@pytest.mark.parametrize(("n", "least"), [(3, 28), (4, 27), (5, 28)])
def test_parity(n, least):
    x, y = parity(n)
    make = lambda s: net(n, [n], s)  # noqa: E731
    counts, _ = runs(make, lambda: LM(goal=1e-3), x, y, 1000, range(30))
    print(f"parity {n}: {len(solved(counts))} of 30, median {np.median(solved(counts))}")
    assert len(solved(counts)) >= least


def spirals():
    """193 points of two spirals, inputs in [-1, 1], targets +-0.9."""
    k = np.arange(97)
    angle, radius = k * np.pi / 16, 6.5 * (104 - k) / 104
    one = np.c_[radius * np.sin(angle), radius * np.cos(angle)]
    x, y = np.r_[one, -one[:96]], np.r_[np.full((97, 1), 0.9), np.full((96, 1), -0.9)]
    return x / np.abs(x).max(), y


def test_two_spirals():
    x, y = spirals()

    class Right(bp.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if (np.sign(self.model.predict(x)) == np.sign(y)).all():
                self.model.stop_training = True

    counts, seconds = runs(lambda s: net(2, [15, 15], s), LM, x, y, 1000, range(10), [Right])
    print(f"spirals: {len(solved(counts))} of 10, median {np.median(solved(counts))}, "
          f"{seconds:.1f} s")  # fmt: skip
    assert len(solved(counts)) == 10 and np.median(solved(counts)) <= 100


def error_of(regularization, l2, seed, train, test):
    """On new points, and the log of the training."""
    penalty = bp.regularizers.L2(l2) if l2 else None
    own = {"kernel_regularizer": penalty, "bias_regularizer": penalty}
    layers = [bp.layers.Dense(20, "tanh", **own), bp.layers.Dense(1, **own)]
    model = bp.Sequential([bp.Input((1,)), *layers], dtype="float64")
    start = np.random.default_rng(seed)
    model.set_weights([start.uniform(-1, 1, w.shape) for w in model.get_weights()])
    model.compile(LM(regularization=regularization), "mse")
    history = model.fit(*train, epochs=300, verbose=0).history
    return float(np.mean((model.predict(test[0]) - test[1]) ** 2)), history


def test_bayesian_regularisation_needs_no_search():
    """A noisy sine: within 10 % of the test error of the best l2 found by search."""
    ratios = []
    for seed in range(5):
        draw = np.random.default_rng(100 + seed)
        x, other = draw.uniform(-1, 1, (60, 1)), draw.uniform(-1, 1, (2000, 1))
        train, test = ((a, np.sin(np.pi * a) + 0.2 * draw.normal(size=a.shape)) for a in (x, other))
        best = min(error_of(None, l2, seed, train, test)[0] for l2 in np.logspace(-6, 0, 13))
        found, history = error_of("bayesian", 0, seed, train, test)
        ratios.append(found / best)
        print(f"seed {seed}: {ratios[-1]:.3f} of the best l2's, "
              f"{history['effective_parameters'][-1]:.1f} of 61 parameters")  # fmt: skip
    assert np.median(ratios) <= 1.1
