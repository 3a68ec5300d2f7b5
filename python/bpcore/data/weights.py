"""What samples, or the parts of their losses, count: as users tell it, and by their classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base.memory import Array, Shape
from . import arrays, free_targets, sequences, targets
from .targets import Target


def by_output(
    name: str,
    value: Any,
    n: int,
    losses: Sequence[Any],
    shapes: Sequence[Shape],
    ends: Sequence[str],
    dtype: str,
    lengths: Array | None = None,
) -> list[Array | None]:
    """Weights of `n` samples by output, from one array for all, or a list or dict of them.

    Of sequences that came one by one, with these lengths, each may be a list alike.
    """
    if value is None:
        return [None] * len(ends)
    if isinstance(value, dict):
        strange = [key for key in value if key not in ends]
        if strange:
            raise ValueError(f"{name}: unknown output {strange[0]!r}, expected names of {ends}")
        parts = [value.get(key) for key in ends]
    elif isinstance(value, (list, tuple)) and len(value) == len(ends) > 1:
        parts = list(value)
    else:
        alike = lengths is not None and sequences.is_list(value)
        parts = [value if alike else arrays.array(name, value)] * len(ends)
    found: list[Array | None] = []
    for part, loss, shape, end in zip(parts, losses, shapes, ends, strict=True):
        if part is not None:
            part = sequences.nested(name, part, lengths, shape[0] if shape else 0)
            finest = targets.weight_shape(loss, shape)
            part = arrays.sample_weights(name, part, n, finest, end, dtype)
        found.append(part)
    return found


def by_class(
    name: str,
    table: Any,
    target: Target,
    shape: Shape,
    loss: Any,
    weights: Array | None,
    dtype: str,
) -> Array:
    """The weights of an output's samples by their classes, times those that they have."""
    if isinstance(target[0], free_targets.Rows):
        raise ValueError(
            f"{name} needs targets that are classes, got a loss with targets of any shape "
            "(target_shape = None); use sample_weight"
        )
    classes = 2 if shape[-1] == 1 else shape[-1]
    of_rows = targets.class_of_rows(target, shape, getattr(loss, "kind", ""))
    if name == "class_weight" and isinstance(table, str) and table == "balanced":
        of_class = targets.balanced(of_rows, classes)
    else:
        of_class = targets.class_weights(name, table, classes)
    result: Array = of_class[of_rows]
    if not result.any():
        raise ValueError(f"{name}: the weights of all samples are 0, expected one > 0")
    if weights is not None:
        result = arrays.weights_times(result, weights)
    arrays.finite(f"{name}: weights", result, dtype)
    return result
