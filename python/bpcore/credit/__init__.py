"""Other ways of credit assignment than backpropagation, for `Model.compile`'s ``credit``.

A rule says how the layers below the output learn of its error. It writes the network as it is
trained to the core's list of nodes (`wiring.Wiring`): there is no loop of its own, and layers,
optimizers, metrics, threads and checkpoints are the same as ever. What `predict` and `evaluate`
compute knows nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.lazy import names_of

if TYPE_CHECKING:
    from .alternating import AlternatingMinimization
    from .base import Rule
    from .bottleneck import HSICBottleneck
    from .feedback import DirectFeedbackAlignment, FeedbackAlignment
    from .synthetic import SyntheticGradients
    from .targets import DifferenceTargetPropagation
    from .wiring import Wiring

_NAMES = {
    "AlternatingMinimization": "alternating",
    "DifferenceTargetPropagation": "targets",
    "DirectFeedbackAlignment": "feedback",
    "FeedbackAlignment": "feedback",
    "HSICBottleneck": "bottleneck",
    "Rule": "base",
    "SyntheticGradients": "synthetic",
    "Wiring": "wiring",
}

__all__ = [
    "AlternatingMinimization",
    "DifferenceTargetPropagation",
    "DirectFeedbackAlignment",
    "FeedbackAlignment",
    "HSICBottleneck",
    "Rule",
    "SyntheticGradients",
    "Wiring",
    "get",
]

if not TYPE_CHECKING:  # to a type checker a name that is not there is an error
    __getattr__, __dir__ = names_of(__name__, __all__, _NAMES)


def get(identifier: Any) -> Rule | None:
    """A rule from what `compile` was given; None for backpropagation."""
    if identifier is None or identifier == "backprop":
        return None
    from .named import rule

    return rule(identifier)
