"""Data that come in batches, and what `validation_data` may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..base import checks
from .dataset import Dataset


class Batches:
    """An iterable of batches (x, y) or (x, y, sample_weight).

    Parameters
    ----------
    source : iterable
    read : callable (x, y, sample_weight) -> Dataset
        What checks a batch.
    """

    def __init__(self, source: Any, read: Callable[[Any, Any, Any], Dataset]) -> None:
        self.source, self.read = source, read
        self.once = iter(source) is source
        self.iterator = iter(source)
        self.first: list[Dataset] = []  # read before it was asked for

    def peek(self, read: Callable[[Any, Any, Any], Dataset]) -> None:
        """Look at the first batch, in a way of its own; `epoch` will begin with it."""
        try:
            item = next(self.iterator)
        except StopIteration:
            raise ValueError("x gave no batch, expected at least 1") from None
        self.first.append(read(*self._parts(item)))

    def epoch(self, steps: int | None) -> Iterator[Dataset]:
        """The batches of an epoch."""
        done = 0
        restarted = False
        while steps is None or done < steps:
            if self.first:
                batch = self.first.pop()
            else:
                try:
                    item = next(self.iterator)
                except StopIteration:
                    if self.once or (steps is None and done) or restarted:
                        break
                    self.iterator = iter(self.source)
                    restarted = True
                    continue
                batch = self.read(*self._parts(item))
            restarted = False
            yield batch
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


def validation_parts(value: Any) -> tuple[Any, Any, Any]:
    """(x, y, sample_weight or None) from `validation_data`."""
    if not isinstance(value, (tuple, list)) or len(value) not in (2, 3):
        got = f"{len(value)} items" if isinstance(value, (tuple, list)) else checks.describe(value)
        raise ValueError(f"validation_data must be (x, y) or (x, y, sample_weight), got {got}")
    return value[0], value[1], value[2] if len(value) == 3 else None
