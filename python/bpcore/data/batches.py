"""Data that come in batches, and data that are divided into a part to train on and one held out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..base import checks
from . import arrays


class Batches:
    """An iterable of batches (x, y) or (x, y, sample_weight)."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.once = iter(source) is source
        self.iterator = iter(source)
        self.peeked: list[Any] = []

    def peek(self) -> tuple[Any, Any, Any]:
        """The first batch, which will come again."""
        if not self.peeked:
            try:
                self.peeked.append(next(self.iterator))
            except StopIteration:
                raise ValueError("x gave no batch, expected at least 1") from None
        return self._parts(self.peeked[0])

    def epoch(self, steps: int | None) -> Iterator[tuple[Any, Any, Any]]:
        """The batches of an epoch."""
        done = 0
        restarted = False
        while steps is None or done < steps:
            if self.peeked:
                item = self.peeked.pop()
            else:
                try:
                    item = next(self.iterator)
                except StopIteration:
                    if self.once or (steps is None and done) or restarted:
                        break
                    self.iterator = iter(self.source)
                    restarted = True
                    continue
            restarted = False
            yield self._parts(item)
            done += 1
        if steps is None and not self.once:
            self.iterator = iter(self.source)

    @staticmethod
    def _parts(item: Any) -> tuple[Any, Any, Any]:
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
            raise TypeError(
                f"each batch must be (x, y) or (x, y, sample_weight), got {checks.describe(item)}"
            )
        return item[0], item[1], item[2] if len(item) == 3 else None


def is_batches(x: Any, y: Any) -> bool:
    """Whether fit gets batches instead of arrays."""
    return y is None and _yields_batches(x)


def _yields_batches(value: Any) -> bool:
    """Whether `value` yields batches: an iterator, or an iterable that is no container of data."""
    if isinstance(value, (np.ndarray, list, tuple, dict, str, bytes, set, frozenset)):
        return False
    if hasattr(value, "__array__") or hasattr(value, "toarray") or hasattr(value, "to_numpy"):
        return False
    return hasattr(value, "__iter__")


def sized(value: Any) -> bool:
    """Whether `value` has rows to divide."""
    if isinstance(value, (str, bytes, set, frozenset)) or not hasattr(value, "__getitem__"):
        return False
    return hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0


def split(x: Any, y: Any, weight: Any, fraction: float) -> tuple[Any, Any, Any, Any]:
    """Training part and (x, y[, weight]) of the last rows, as Keras has it."""

    def first(value: Any) -> Any:
        if isinstance(value, dict):
            return next(iter(value.values()), None)
        return value[0] if several(value) else value

    def several(value: Any) -> bool:
        if isinstance(value, tuple):
            return len(value) > 0
        return isinstance(value, list) and len(value) > 0 and hasattr(value[0], "shape")

    if not sized(first(x)):
        arrays.array("x", first(x))  # says what is wrong with most of what has no rows
        raise TypeError(f"x must be an array or a list of rows, got {checks.describe(x)}")
    n = len(first(x))
    cut = int(n * (1.0 - fraction))
    if cut < 1 or cut >= n:
        raise ValueError(
            f"validation_split={fraction} of {n} samples leaves {cut} for training and {n - cut} "
            "for validation, expected at least 1 each"
        )

    def part(value: Any, rows: slice) -> Any:
        if value is None:
            return None
        if isinstance(value, dict):
            return {key: part(item, rows) for key, item in value.items()}
        if several(value):
            return type(value)(part(item, rows) for item in value)
        if not sized(value):
            return value  # the checks of the training part refuse it
        return value.iloc[rows] if hasattr(value, "iloc") else value[rows]

    head, tail = slice(None, cut), slice(cut, None)
    held = (part(x, tail), part(y, tail))
    if weight is not None:
        held = (*held, part(weight, tail))  # type: ignore[assignment]
    return part(x, head), part(y, head), part(weight, head), held


def validation_parts(value: Any) -> tuple[Any, Any, Any]:
    """(x, y, sample_weight or None) from `validation_data`."""
    if not isinstance(value, (tuple, list)) or len(value) not in (2, 3):
        got = f"{len(value)} items" if isinstance(value, (tuple, list)) else checks.describe(value)
        raise ValueError(f"validation_data must be (x, y) or (x, y, sample_weight), got {got}")
    return value[0], value[1], value[2] if len(value) == 3 else None
