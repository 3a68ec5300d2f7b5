"""Other ways of credit assignment than backpropagation, for `Model.compile`'s ``credit``.

A rule says how the layers below the output learn of its error. It writes the network as it is
trained to the core's list of nodes (`wiring.Wiring`): there is no loop of its own, and layers,
optimizers, metrics, threads and checkpoints are the same as ever. What `predict` and `evaluate`
compute knows nothing of it.
"""

from __future__ import annotations

from typing import Any

from ..base import arguments, checks
from .alternating import AlternatingMinimization as AlternatingMinimization
from .base import Rule as Rule
from .bottleneck import HSICBottleneck as HSICBottleneck
from .feedback import DirectFeedbackAlignment as DirectFeedbackAlignment
from .feedback import FeedbackAlignment as FeedbackAlignment
from .synthetic import SyntheticGradients as SyntheticGradients
from .targets import DifferenceTargetPropagation as DifferenceTargetPropagation
from .wiring import Wiring as Wiring

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

__all__ = [*RULES, "Rule", "Wiring", "get"]


def get(identifier: Any) -> Rule | None:
    """A rule from what `compile` was given; None for backpropagation."""
    if identifier is None or identifier == "backprop":
        return None
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
