"""What goes together: ends of a network, losses, metrics, targets and batches."""

from __future__ import annotations

from typing import Any

from ..graph import End
from ..losses import Loss

# Ends of a network whose values cannot be the probabilities a cross entropy takes logarithms of.
_RECTIFIERS = {"relu", "leaky_relu", "relu6", "elu", "selu", "celu", "gelu", "gelu_tanh", "silu"}
_NO_PROBABILITY = _RECTIFIERS | {"mish", "softplus", "softsign", "tanh", "exponential"}
_UNFIT = {
    "cross_entropy": _NO_PROBABILITY | {"hard_sigmoid", "sigmoid"},
    "binary_cross_entropy": _NO_PROBABILITY | {"log_softmax"},
}


def refuse(loss: Any, end: End) -> None:
    """Raise for a loss that takes logarithms of what are no probabilities."""
    kind = loss.kind if isinstance(loss, Loss) else ""
    if end.op in _UNFIT.get(kind, ()):
        wanted = "softmax" if kind == "cross_entropy" else "sigmoid"
        raise ValueError(
            f"loss {kind!r} does not fit output {end.name!r}, which ends in {end.op!r}: expected "
            f"{wanted}, or a linear output (logits); change the last activation or the loss"
        )
