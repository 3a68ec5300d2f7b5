"""Parameter groups: rates and decay by name, against PyTorch's param_groups and NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

DATA = support.load("groups")
L, O = bp.layers, bp.optimizers  # noqa: E741


def network(optimizer, groups, build=True, **options):
    model = bp.Sequential([L.Dense(4, "tanh"), L.Dense(2)], dtype="float64", seed=0)
    if build:
        model.build((3,))
        model.set_weights([np.array(a) for a in DATA["start"]])
    model.compile(optimizer, "mse", parameter_groups=groups, **options)
    return model


def steps(model, n):
    x, y = np.array(DATA["x"]), np.array(DATA["y"])
    for _ in range(n):
        model.train_on_batch(x, y)
    return model.get_weights()


@pytest.mark.parametrize("row", DATA["rows"], ids=lambda row: row["class"])
def test_100_steps_as_pytorch(row):
    model, done = network(getattr(O, row["class"])(**row["arguments"]), row["groups"]), 0
    for step, expected in row["weights"].items():
        found = steps(model, int(step) - done)
        done = int(step)
        for a, b in zip(found, expected, strict=True):
            assert support.relative_error(a, b) <= 1e-12, f"step {step}"


@pytest.mark.parametrize("decoupled", [False, True])
def test_one_step_by_hand(decoupled):
    """With SGD: w - f eta (g + c w); with decoupled decay Lion's sign step, w (1 - f eta c)."""
    groups = {"dense/*": {"learning_rate_factor": 0.5, "weight_decay": 0.25}, "*": {}}
    optimizer = O.Lion(0.1, weight_decay=0.5) if decoupled else O.SGD(0.1, weight_decay=0.5)
    model = network(optimizer, groups)
    before = model.get_weights()
    g = model.gradients(np.array(DATA["x"]), np.array(DATA["y"])).parameters
    after = steps(model, 1)
    for p, w, found in zip(model.weights, before, after, strict=True):
        rate, decay = (0.05, 0.25) if p.name.startswith("dense/") else (0.1, 0.5)
        if decoupled:
            expected = w * (1 - rate * decay) - rate * np.sign(g[p.name])
        else:
            expected = w - rate * (g[p.name] + decay * w)
        np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-16)


def test_a_factor_goes_with_the_schedule():
    """Factor 0.5 of a schedule is the schedule of half the rates, for that parameter."""
    schedule = bp.schedules.Cosine(0.2, 20)
    found = network(O.SGD(schedule), {"*": {"learning_rate_factor": 0.5}})
    expected = network(O.SGD(bp.schedules.Cosine(0.1, 20)), None)
    for a, b in zip(steps(found, 20), steps(expected, 20), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_factor_zero_stands_still():
    model = network("adam", {"dense/*": {"learning_rate_factor": 0.0}})
    before, after = model.get_weights(), steps(model, 3)
    assert support.same_bits(before[0], after[0]) and support.same_bits(before[1], after[1])
    assert not np.array_equal(before[2], after[2])


def test_groups_that_change_nothing_give_the_same_bits():
    plain = steps(network(O.AdamW(0.01), None), 20)
    groups = {"*/bias": {"weight_decay": 0.01}, "dense*": {"learning_rate_factor": 1}}
    grouped = steps(network(O.AdamW(0.01), groups), 20)
    assert all(map(support.same_bits, plain, grouped))


def test_the_first_pattern_that_fits_counts():
    zero, one = {"learning_rate_factor": 0.0}, {"learning_rate_factor": 1.0}
    for groups, moves in (({"*/bias": one, "dense/*": zero}, True),
                          ({"dense/*": zero, "*/bias": one}, False)):  # fmt: skip
        model = network("sgd", groups)
        before = model.get_weights()[1]
        assert np.array_equal(steps(model, 1)[1], before) != moves


def test_the_optimizers_decay_may_change_later():
    model = network(O.SGD(0.1, weight_decay=0.0), {"*/bias": {"weight_decay": 0.0}})
    model.optimizer.weight_decay = 0.5
    other = network(O.SGD(0.1, weight_decay=0.5), {"*/bias": {"weight_decay": 0.0}})
    assert all(map(support.same_bits, steps(model, 3), steps(other, 3)))


def test_names_are_checked_when_they_are_known():
    model = network("sgd", {"dense_7/*": {}}, build=False)
    with pytest.raises(ValueError, match=r"'dense_7/\*'.*dense/kernel, dense/bias, dense_1/kernel"):
        model.fit(np.array(DATA["x"]), np.array(DATA["y"]), verbose=0)
    assert not model.built
    model.compile("sgd", "mse", parameter_groups={"dense_1/*": {}})
    model.fit(np.array(DATA["x"]), np.array(DATA["y"]), verbose=0)


def test_a_refused_compile_keeps_the_old_one():
    model = network("sgd", None)
    old = model.optimizer
    with pytest.raises(ValueError, match="fits no parameter"):
        model.compile("adam", "mse", parameter_groups={"kernel": {}})
    assert model.optimizer is old
    steps(model, 1)
