"""What a user has, as the core takes it: arrays, frames, batches, targets, weights."""

from __future__ import annotations

from .arrays import (
    array,
    features,
    finite,
    first_shape,
    overlaps,
    rows,
    sample_shape,
    sample_weights,
    table,
)

__all__ = [
    "array",
    "features",
    "finite",
    "first_shape",
    "overlaps",
    "rows",
    "sample_shape",
    "sample_weights",
    "table",
]
