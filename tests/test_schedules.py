"""Schedules: PyTorch's rates in float64, warm-up of anything, configs, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

ROWS = {row["name"]: row for row in support.load("schedules")["rows"]}
S = bp.schedules


def make(row):
    return getattr(S, row["class"])(**row["arguments"])


@pytest.mark.parametrize("name", ROWS)
def test_rates_as_pytorch(name):
    """PyTorch's are recurrences with rounding errors of their own: 1e-12 of the largest rate."""
    row = ROWS[name]
    schedule, expected = make(row), np.array(row["rates"])
    found = np.array([schedule(step) for step in range(len(expected))])
    assert np.abs(found - expected).max() <= 1e-12 * expected.max()
    assert np.ptp(expected) > 0 and len(expected) > 10


@pytest.mark.parametrize("name", ROWS)
def test_many_steps_are_as_one_by_one(name):
    schedule = make(ROWS[name])
    steps = np.arange(150.0)
    together = schedule.rates(steps)
    assert support.same_bits(together, np.array([schedule(int(s)) for s in steps]))


@pytest.mark.parametrize("name", ROWS)
def test_configs_give_the_same_schedule(name):
    schedule = make(ROWS[name])
    config = {"class_name": type(schedule).__name__, "config": schedule.get_config()}
    again = S.from_config(config)
    steps = np.arange(100.0)
    assert support.same_bits(schedule.rates(steps), again.rates(steps))


def test_cosine_with_its_own_warm_up():
    """eta0 (s + 1) / warmup_steps, then the half cosine: fixed numbers."""
    schedule = S.Cosine(2.0, decay_steps=4, alpha=0.5, warmup_steps=2)
    found = [schedule(s) for s in range(8)]
    bend = (2**-0.5 + 1) / 2
    expected = [1.0, 2.0, 2.0, 1 + bend, 1.5, 1 + 1 - bend, 1.0, 1.0]
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_polynomial_with_cycles():
    schedule = S.Polynomial(1.0, decay_steps=4, end_learning_rate=0.0, cycle=True)
    np.testing.assert_allclose([schedule(s) for s in (0, 3, 4, 5, 8, 9)],
                               [1, 1 / 4, 0, 3 / 8, 0, 1 / 4], rtol=1e-15)  # fmt: skip


def test_restarts_with_smaller_heights():
    schedule = S.CosineRestarts(1.0, first_decay_steps=2, t_mul=1.0, m_mul=0.5)
    assert [schedule(s) for s in (0, 1, 2, 3, 4)] == [1.0, 0.5, 0.5, 0.25, 0.25]


def test_warm_up_of_a_function_sees_its_own_steps():
    seen = []

    def halves(step):
        seen.append(step)
        return 0.5**step

    schedule = S.Warmup(halves, steps=2, start=0.5)
    assert [schedule(s) for s in range(5)] == [0.5, 0.75, 1.0, 0.5, 0.25]
    assert all(isinstance(step, int) for step in seen) and set(seen) == {0, 1, 2}
    seen.clear()
    S.Warmup(halves, steps=100).rates(np.arange(103.0))
    assert seen == [0, 1, 2]  # a warm-up does not ask again and again


def test_warm_up_of_nothing_is_the_schedule():
    plain = S.Exponential(0.1, 10, 0.5)
    assert support.same_bits(S.Warmup(plain, 0).rates(np.arange(9.0)), plain.rates(np.arange(9.0)))


def line(optimizer, steps):
    """Weight of a model whose gradient is always 1: minus the sum of the rates."""
    model = bp.Sequential([bp.layers.Dense(1, use_bias=False)], dtype="float64", seed=0)
    model.build((1,))
    model.set_weights([[[0.0]]])
    model.compile(optimizer=optimizer, loss="mae")
    x, y = np.ones((steps, 1)), np.full((steps, 1), -100.0)
    try:
        model.fit(x, y, batch_size=1, shuffle=False, verbose=0)
    finally:
        line.weight = model.get_weights()[0][0, 0]
    return line.weight


def test_warm_up_is_followed_by_fit():
    schedule = S.Warmup(lambda step: 0.5 / (1 + step), steps=3)
    total = -(0.5 / 3 + 2 * 0.5 / 3 + 0.5 + 0.25)
    assert line(bp.optimizers.SGD(schedule), 5) == pytest.approx(total, rel=1e-13)


def test_a_function_that_fails_later_fails_at_its_step():
    """The steps before it are taken: rates are computed ahead."""

    def schedule(step):
        if step == 4:
            raise KeyError("four")
        return 0.25

    with pytest.raises((KeyError, ValueError)):
        line(bp.optimizers.SGD(S.Warmup(schedule, steps=0)), 9)
    assert line.weight == -1.0


@pytest.mark.parametrize("call, error, pattern", [
    (lambda: S.Warmup(-0.1, steps=3), ValueError, "schedule.*-0.1"),
    (lambda: S.Warmup("cosine", steps=3), TypeError, "schedule.*'cosine'"),
    (lambda: S.Warmup(S.Cosine, steps=3), TypeError, "schedule"),
    (lambda: S.Warmup(0.1, steps=-1), ValueError, "steps.*-1"),
    (lambda: S.Warmup(0.1, steps=1.5), TypeError, "steps.*1.5"),
    (lambda: S.Warmup(0.1, steps=3, start=1.5), ValueError, "start.*1.5"),
    (lambda: S.OneCycle(0.1, 100, anneal_strategy="cosine"), ValueError, "'cosine'.*'cos'"),
    (lambda: S.OneCycle(0.1, 100, pct_start=0.6, three_phase=True), ValueError, "pct_start.*0.6"),
    (lambda: S.OneCycle(0.1, 1), ValueError, "total_steps.*1"),
    (lambda: S.Piecewise([3, 3], [1, 2, 3]), ValueError, "increase"),
    (lambda: S.Piecewise([3], [1, 2, 3]), ValueError, "3 values"),
    (lambda: S.Step(0.1, 0), ValueError, "step_size"),
    (lambda: S.Cosine(0.0, 10), ValueError, "initial_learning_rate"),
    (lambda: S.Cosine(0.1, 10, warmup=3), TypeError, "warmup.*warmup_steps"),
    (lambda: S.from_config({"class_name": "Cosin", "config": {}}), ValueError, "Cosin"),
])  # fmt: skip
def test_bad_arguments(call, error, pattern):
    with pytest.raises(error, match=pattern):
        call()
