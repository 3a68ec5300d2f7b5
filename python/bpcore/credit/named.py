"""Rules by their names, as `compile` takes them."""

from __future__ import annotations

from typing import Any

from ..base import arguments, checks
from .alternating import AlternatingMinimization
from .base import Rule
from .bottleneck import HSICBottleneck
from .feedback import DirectFeedbackAlignment, FeedbackAlignment
from .synthetic import SyntheticGradients
from .targets import DifferenceTargetPropagation

RULES: dict[str, type[Rule]] = {
    rule.__name__: rule
    for rule in (
        FeedbackAlignment,
        DirectFeedbackAlignment,
        SyntheticGradients,
        DifferenceTargetPropagation,
        HSICBottleneck,
        AlternatingMinimization,
    )
}


def rule(identifier: Any) -> Rule:
    """A rule from a name, a configuration or a rule."""
    names = {arguments.snake_case(name): rule for name, rule in RULES.items()}
    if isinstance(identifier, str) and identifier not in names:
        raise checks.unknown("credit", identifier, ["backprop", *names])
    found = arguments.named("credit", identifier, Rule, names, RULES)
    if found is None:
        raise TypeError(
            f"credit must be 'backprop' or a rule of bpcore.credit, got "
            f"{checks.describe(identifier)}; give for example bpcore.credit.FeedbackAlignment()"
        )
    return found  # type: ignore[no-any-return]
