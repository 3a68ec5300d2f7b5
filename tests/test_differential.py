"""Some models of the fuzzer against PyTorch (`nox -s differential`: 2,000), and its own checks."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

pytest.importorskip("torch")

from .fuzz import differential, formulas, rules, spec, twin
from .fuzz.ours import Ours

SEEDS = range(20)


def test_random_models_end_as_in_pytorch():
    """Or one of the rules says why not."""
    counts, unexplained = differential.run(len(SEEDS))
    assert not unexplained
    assert counts["agree"] >= len(SEEDS) - 2, counts


def test_each_rule_explains_what_it_is_for():
    """Seeds where a floor, a sign of what is 0 but for rounding, and an overflow were met; others
    have to be looked for if spec.py draws in another order."""
    assert [differential.check(seed) for seed in (1037, 2270, 1419)] == [
        "floors",
        "rounding",
        "diverged",
    ]


def found_with(patch, name, wrong):
    """Whether some model is left that nothing explains once a formula is changed a little."""
    right = getattr(formulas, name)
    patch.setattr(formulas, name, lambda *a, **k: wrong(right, *a, **k))
    return any(differential.check(seed) is None for seed in SEEDS)


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("penalty_value", lambda f, w, *a: f(w, *a) * (1 + 1e-5)),
        ("schedule", lambda f, *a: f(*a) * (1 + 1e-5)),
        ("constrained", lambda f, w, *a: f(w, *a) * (1 + 1e-5)),
        ("row_losses", lambda f, *a: f(*a) * (1 + 1e-7)),
        ("standardised", lambda f, x, axes, eps, *a: f(x, axes, eps + 1e-6, *a)),
    ],
)
def test_a_formula_that_is_a_little_wrong_is_found(monkeypatch, name, wrong):
    assert found_with(monkeypatch, name, wrong)


def test_a_difference_at_the_end_is_not_called_rounding():
    """The first gradients are right, and one weight at the end is not."""
    model = spec.make(0)
    mine = Ours(model)
    weights = mine.weights()
    found, other = mine.run(), twin.Twin(model, weights).run()
    assert rules.explanation(model, weights, found, other) == ""
    key = next(iter(found.weights))
    found.weights[key] = found.weights[key] + 1e-5
    assert rules.explanation(model, weights, found, other) is None
    found.weights[key] = found.weights[key] * np.nan
    assert rules.explanation(model, weights, found, other) is None


def test_what_the_fuzzer_does_not_know_is_said(monkeypatch):
    assert "layer Dense" not in differential.uncovered()
    monkeypatch.setattr(bp.layers, "__all__", [*bp.layers.__all__, "Unheard"])
    monkeypatch.setattr(bp.losses, "__all__", [*bp.losses.__all__, "Unmoved"])
    assert {"layer Unheard", "loss Unmoved"} <= set(differential.uncovered())
