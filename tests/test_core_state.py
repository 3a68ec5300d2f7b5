"""State handed to the core: counters, places in an epoch, gathered results; clean errors."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .helpers import runs

GATHERED = {
    "regression": [[8, 2, 2]],  # r2 of two outputs; mse and rmse share their sums
    "wide": [[8, 2]],  # r2 of two targets, of four outputs
    "binary": [[3 * 6, 6, 2]],  # auc: score, weight, class of 6 predictions
    "labels": [[2, 2, 9]],  # counts: hits, predicted and true of three classes
    "pairs": [[3 * 8, 2]],
    "several": [[8], [2, 9]],
}


DATA = {
    "regression": (runs.X, runs.REAL),
    "wide": (runs.X, runs.REAL, np.linspace(0.0, 2.0, 12)),
    "binary": (runs.X, runs.BITS),
    "labels": (runs.X, runs.THREE),
    "pairs": (runs.X, runs.THREE % 2),
    "several": ([runs.X, runs.X[::-1]], [runs.REAL, runs.THREE]),
}


def started(name, batches=2):
    """A trainer in the middle of an epoch, and what it has gathered."""
    model = runs.RUNS[name]()[0]
    trainer = model._engine.trainer("train", model._compilation)
    data = model._read(*DATA[name])
    trainer.set_data(data.xs, data.ys, data.ws)
    trainer.start_epoch(3 if name == "binary" else 4)
    assert trainer.n_batches == (4 if name == "binary" else 3)
    assert trainer.run(np.array([1e-3]), batches, 10.0) == batches
    return model, trainer


def plain(gathered):
    metrics = [[list(values) for values in of_output] for of_output in gathered["metrics"]]
    lists = {key: list(gathered[key]) for key in ("loss", "terms")}
    return {**gathered, **lists, "metrics": metrics}


@pytest.mark.parametrize("name", GATHERED)
def test_gathered_results_go_back_to_the_bit_and_in_no_other_size(name):
    _, trainer = started(name)
    state = plain(trainer.gathered())
    sizes = [[len(values) for values in of_output] for of_output in state["metrics"]]
    assert sizes == trainer.gathered_sizes() == GATHERED[name]
    trainer.set_gathered(state)
    assert plain(trainer.gathered()) == state
    flawed = [
        {**state, "samples": state["samples"] + 1},
        {**state, "samples": -1},
        {**state, "loss": [*state["loss"], 0.0]},
        {**state, "loss": []},
        {**state, "terms": []},
        {**state, "terms": [*state["terms"], 1.0]},
        {**state, "metrics": state["metrics"][1:]},
        {**state, "metrics": [*state["metrics"], []]},
    ]
    for k, of_output in enumerate(state["metrics"]):
        for i, values in enumerate(of_output):
            for other in ([], values[:-1], [*values, 0.0], values[:-4], values * 2, values * 500):
                metrics = [list(part) for part in state["metrics"]]
                metrics[k][i] = other
                flawed.append({**state, "metrics": metrics})
        metrics = [list(part) for part in state["metrics"]]
        metrics[k] = metrics[k][:-1]
        flawed.append({**state, "metrics": metrics})
    for other in flawed:
        with pytest.raises(ValueError, match=r"gathered: .*got .*expected"):
            trainer.set_gathered(other)
        assert plain(trainer.gathered()) == state
    trainer.run(np.array([1e-3]), -1, 10.0)  # and the epoch goes on


def test_results_before_data_and_place_are_known():
    _, trainer = started("regression")
    state = trainer.gathered()
    model = bp.Sequential([bp.Input((4,)), bp.layers.Dense(2)], seed=0)
    model.compile("sgd", "mse", ["r2", "mae", "mse", "rmse"])
    fresh = model._engine.trainer("train", model._compilation)
    assert fresh.gathered_sizes() == GATHERED["regression"]
    with pytest.raises(ValueError, match="got 8 samples, expected 0"):
        fresh.set_gathered(state)


def test_places_in_an_epoch():
    _, trainer = started("regression", 1)
    for first in (-1, 4, 2**62, -(2**62)):
        with pytest.raises(ValueError, match=f"first_batch: got {first}, expected 0 to 3"):
            trainer.start_epoch(4, shuffle=True, first_batch=first)
    trainer.start_epoch(4, shuffle=True, first_batch=3)
    assert trainer.run(np.array([1e-3]), -1, 10.0) == 0


def test_without_data_there_is_no_batch():
    model, trainer = started("regression", 1)
    trainer.drop_data()
    assert trainer.run(np.array([1e-3]), -1, 10.0) == 0
    trainer.start_epoch(4, shuffle=True)
    assert trainer.run(np.array([1e-3]), -1, 10.0) == 0
    model.fit(*DATA["regression"], verbose=0)


def test_other_data_end_the_epoch():
    """The order of the rows of an epoch is that of its data: of fewer it would lead beyond them."""
    model, trainer = started("regression", 1)
    trainer.start_epoch(4, shuffle=True, seed=3)
    trainer.set_data([np.ones((2, 4))], [(np.ones((2, 2)), False)], [None])
    assert trainer.run(np.array([1e-3]), -1, 10.0) == 0
    assert np.isfinite(np.concatenate([w.ravel() for w in model.get_weights()])).all()


def test_counters():
    counter = _core.Counter()
    for value in (-1, 2**62 + 1, -(2**63)):
        with pytest.raises(ValueError, match=f"got {value}, expected 0 to"):
            counter.value = value
    with pytest.raises((TypeError, OverflowError)):
        counter.value = 2**70
    assert counter.value == 0
    counter.value = 2**62
    assert counter.value == 2**62


def test_an_area_of_scores_that_are_nan():
    _, trainer = started("binary")
    state = plain(trainer.gathered())
    scores = np.random.default_rng(0).uniform(size=(6, 3))
    scores[::2, 0] = np.nan
    metrics = [[scores.ravel().tolist(), *state["metrics"][0][1:]]]
    trainer.set_gathered({**state, "metrics": metrics})
    assert np.isnan(trainer.results()["metrics"][0][0][0])


def test_slots_that_an_optimizer_has():
    """Mean squares and norms are not negative, means and velocities may be."""
    found = {}
    for make in (bp.optimizers.SGD, bp.optimizers.Adam, bp.optimizers.Adamax, bp.optimizers.Rprop):
        spec = make(0.1).spec()
        for k in range(_core.slot_count(spec)):
            found[make.__name__, _core.slot_name(spec, k)] = _core.slot_lowest(spec, k)
        for k in (-1, _core.slot_count(spec), 99):
            for fact in (_core.slot_name, _core.slot_lowest, _core.slot_initial_value):
                with pytest.raises(ValueError, match=f"slot: got {k}, expected 0 to"):
                    fact(spec, k)
    low = -np.inf
    assert found == {
        ("Adam", "mean"): low, ("Adam", "square"): 0.0, ("Adamax", "mean"): low,
        ("Adamax", "norm"): 0.0, ("Rprop", "gradient"): low, ("Rprop", "step"): 0.0,
    }  # fmt: skip


def test_nadam_after_very_many_steps():
    """The product of its momenta is 0 by then, and need not be multiplied to the end."""
    model = bp.Sequential([bp.layers.Dense(1)], seed=0)
    model.compile(bp.optimizers.Nadam(0.01), "mse")
    model.train_on_batch(np.ones((2, 2)), np.ones((2, 1)))
    model.optimizer.iterations = 2**60
    logs = model.train_on_batch(np.ones((2, 2)), np.ones((2, 1)))
    assert np.isfinite(logs["loss"]) and np.isfinite(model.get_weights()[0]).all()
