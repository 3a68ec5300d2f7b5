"""The learning-rate finder: the rates it tries, what it suggests, and the model it leaves alone."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import bpcore as bp

from .helpers import support


def data(rows=256, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6))
    return x, (x @ rng.normal(size=(6, 4))).argmax(axis=1)


def network(optimizer=None, **options):
    model = bp.Sequential([bp.layers.Dense(16, "tanh"), bp.layers.Dense(4)], seed=3)
    model.compile(optimizer=optimizer or bp.optimizers.Adam(0.01), loss="cross_entropy", **options)
    return model


def test_rates_are_a_geometric_row():
    found = network().find_learning_rate(*data(), low=1e-6, high=1e-2, steps=41)
    np.testing.assert_allclose(found.rates, 10 ** np.linspace(-6, -2, 41), rtol=1e-12)
    assert len(found.losses) == len(found.smoothed) == 41
    assert "41 rates" in repr(found)


def test_the_first_losses_are_of_batches_in_an_order():
    """At rates of nothing the loss of each batch is the untrained model's on some rows."""
    x, y = data(64)
    model = network(bp.optimizers.SGD(0.1))
    model.build((6,))
    found = model.find_learning_rate(x, y, batch_size=16, low=1e-30, high=1e-20, steps=12)
    for k in range(0, 12, 4):  # an epoch visits every row once
        mean = np.mean(found.losses[k : k + 4])
        assert mean == pytest.approx(model.evaluate(x, y)["loss"], rel=1e-6)
    assert not np.array_equal(found.losses[:4], found.losses[4:8])


@pytest.mark.parametrize("built", [False, True])
def test_the_model_is_untouched(built):
    x, y = data()
    model = network(bp.optimizers.Adam(bp.schedules.Cosine(0.01, 100)), accumulate_steps=2)
    if built:
        model.fit(x, y, epochs=2, verbose=0)
    twin = copy.deepcopy(model)
    before = pickle.dumps(model.optimizer.state(model.weights)) if built else None
    first = model.find_learning_rate(x, y)
    assert model.built == built
    if built:
        assert support.weights_hash(model) == support.weights_hash(twin)
        assert pickle.dumps(model.optimizer.state(model.weights)) == before
    second = model.find_learning_rate(x, y)
    assert support.same_bits(first.losses, second.losses)
    model.fit(x, y, epochs=2, verbose=0)
    twin.fit(x, y, epochs=2, verbose=0)
    assert support.weights_hash(model) == support.weights_hash(twin)


def test_every_batch_is_an_update():
    one = network().find_learning_rate(*data())
    assert support.same_bits(network(accumulate_steps=4).find_learning_rate(*data()).losses,
                             one.losses)  # fmt: skip


def test_it_stops_when_the_loss_explodes(monkeypatch):
    x, y = data()
    targets = np.eye(4)[y]
    model = bp.Sequential([bp.layers.Dense(16, "relu"), bp.layers.Dense(4)], seed=3)
    model.compile(optimizer=bp.optimizers.SGD(0.1), loss="mse")
    found = model.find_learning_rate(100 * x, targets, high=1e4)
    assert 10 <= len(found.losses) < 100 and np.isfinite(found.losses).all()
    assert found.suggestion < found.rates[-1]
    monkeypatch.setattr("bpcore.inspection.rate_finder._EXPLODED", np.inf)
    assert len(model.find_learning_rate(100 * x, targets, high=1e4).losses) > len(found.losses)


def test_the_suggestion_is_where_it_falls_fastest():
    """A made-up curve: flat, a logistic fall about 1e-3, an explosion."""
    from bpcore.inspection.rate_finder import LearningRateFinder

    rates = 10 ** np.linspace(-7, 1, 200)
    t = np.log10(rates)
    losses = 2 / (1 + np.exp(3 * (t + 3))) + 0.3 + np.exp(4 * t)
    found = LearningRateFinder(rates, losses, 200)
    assert 10**-3.3 < found.suggestion < 10**-2.7
    np.testing.assert_allclose(found.smoothed[50], np.average(
        losses[38:63], weights=[*range(1, 14), *range(12, 0, -1)]), rtol=1e-13)  # fmt: skip
    rising = LearningRateFinder(rates, np.linspace(1, 2, 200), 200)
    assert rising.suggestion == rates[0]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_the_suggestion_trains_well(optimizer):
    """In five epochs better than a hundredth or a hundred times of it."""
    x, y = data(512)
    made = {"sgd": bp.optimizers.SGD, "adam": bp.optimizers.Adam,
            "rmsprop": bp.optimizers.RMSprop}[optimizer]  # fmt: skip
    rate = network(made(1.0)).find_learning_rate(x, y).suggestion

    def loss(rate):
        return network(made(rate)).fit(x, y, epochs=5, verbose=0).history["loss"][-1]

    assert loss(rate) < 0.6 and loss(rate) < min(loss(rate / 100), loss(rate * 100))


def test_batches_and_several_inputs():
    x, y = data(96)

    class Halves:
        def __iter__(self):
            yield x[:48], y[:48]
            yield x[48:], y[48:]

    found = network().find_learning_rate(Halves(), steps=20)
    assert len(found.losses) == 20
    with pytest.raises(ValueError, match=r"2 batches.*iterator"):
        network().find_learning_rate(iter(Halves()))
    a, b = bp.Input((6,)), bp.Input((6,))
    model = bp.Model([a, b], bp.layers.Dense(4)(a + b), seed=0)
    model.compile("sgd", "cross_entropy")
    assert len(model.find_learning_rate([x, x], y, steps=15).rates) == 15


def test_a_loss_that_is_never_finite():
    model = bp.Sequential([bp.layers.Dense(1)], seed=0)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="0 batches had a finite loss"):
        model.find_learning_rate(np.full((64, 2), 1e30), np.full((64, 1), -1e30))


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    found = network().find_learning_rate(*data())
    (ax,) = found.plot()
    assert ax.get_xscale() == "log"
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), found.losses)
    assert found.plot(ax) == found.plot(axes=[ax]) == [ax]
    plt.close("all")
