"""Numbers as a file holds them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.memory import Array


def rounded(values: Any, dtype: Any, what: str) -> Array:
    """`values` in this dtype; ValueError, which begins with `what`, for what is no number there."""
    with np.errstate(over="ignore"):
        found = np.asarray(values, dtype)
    if not np.isfinite(found).all():
        raise ValueError(
            f"{what} holds NaN or Inf, expected finite numbers of {np.dtype(dtype)}; train the "
            "model anew, or set what is no number"
        )
    return found


def of_weight(layer: str, name: str) -> str:
    """How errors call a weight."""
    return f"layer {layer!r}: weight {name!r}"
