"""Data that come in batches, and what `validation_data` may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Shape
from .dataset import Dataset


class Batches:
    """An iterable of batches (x, y) or (x, y, sample_weight).

    Parameters
    ----------
    source : iterable
    read : callable (x, y, sample_weight) -> Dataset
        What checks a batch.
    name : str
        By which messages call the source.
    """

    def __init__(
        self, source: Any, read: Callable[[Any, Any, Any], Dataset], name: str = "x"
    ) -> None:
        if _is_indexed(source):
            source = _Indexed(source)
        self.source, self.read, self.name = source, read, name
        self.once = hasattr(source, "__next__")
        self.iterator: Iterator[Any] | None = None  # None: to begin
        self.first: list[Dataset] = []  # read before it was asked for

    def peek(self, read: Callable[[Any, Any, Any], Dataset] | None = None) -> Batches:
        """Look at the first batch, maybe in a way of its own; `epoch` will begin with it."""
        try:
            item = self._next()
        except StopIteration:
            raise ValueError(f"{self.name} gave no batch, expected at least 1") from None
        self.first.append((read or self.read)(*self._parts(item)))
        return self

    def restart(self) -> None:
        """Begin with the first batch again, if there is a way and a need."""
        if not self.once and not self.first:
            self.iterator = None

    def _next(self) -> Any:
        if self.iterator is None:
            self.iterator = iter(self.source)
        return next(self.iterator)

    def epoch(self, steps: int | None) -> Iterator[Dataset]:
        """The batches of an epoch."""
        done = 0
        restarted = False
        while steps is None or done < steps:
            if self.first:
                batch = self.first.pop()
            else:
                try:
                    item = self._next()
                except StopIteration:
                    if self.once or (steps is None and done) or restarted:
                        break
                    self.restart()
                    restarted = True
                    continue
                batch = self.read(*self._parts(item))
            restarted = False
            yield batch
            done += 1
        if steps is None:
            self.restart()

    @staticmethod
    def _parts(item: Any) -> tuple[Any, ...]:
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3, 4):
            raise TypeError(
                "each batch must be (x, y), (x, y, sample_weight) or (x, y, sample_weight, mask), "
                f"got {checks.describe(item)}"
            )
        return tuple(item)


class _Indexed:
    """Batches by number, as Keras' Sequence has them, as an iterable."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __iter__(self) -> Iterator[Any]:
        for i in range(len(self.source)):
            yield self.source[i]
        ended = getattr(self.source, "on_epoch_end", None)
        if callable(ended):
            ended()


def _is_indexed(value: Any) -> bool:
    """Whether `value` has batches by number: a length and items, and no other way to be read."""
    others = ("__iter__", "__array__", "toarray")
    if isinstance(value, type) or any(hasattr(value, name) for name in others):
        return False
    return hasattr(value, "__getitem__") and hasattr(value, "__len__")


def is_batches(x: Any, y: Any = None) -> bool:
    """Whether a call gets batches instead of arrays.

    Raises
    ------
    TypeError
        `x` gives samples one by one, as a torch Dataset does; or batches, and `y` is there too.
    """
    if type(x) is np.ndarray:  # which most calls bring
        return False
    kinds = {f"{c.__module__.partition('.')[0]}.{c.__name__}" for c in type(x).__mro__}
    if "torch.Dataset" in kinds:
        raise TypeError(
            f"x is a {type(x).__name__}, which gives samples one by one; pass a "
            "torch.utils.data.DataLoader over it, or its arrays"
        )
    if _is_indexed(x) and y is not None:
        raise TypeError(
            f"x is a {type(x).__name__} of batches, which hold their targets; leave y out"
        )
    return y is None and (_yields_batches(x) or _is_indexed(x))


def inputs_of(batches: Any, shapes: Sequence[Shape]) -> Iterator[Any]:
    """The x of batches for `predict`: each is x, or (x, y) or (x, y, sample_weight).

    With several inputs a tuple or list is the inputs, as everywhere; and with one, a list of what
    has fewer axes than a batch is rows.
    """
    for item in _Indexed(batches) if _is_indexed(batches) else batches:
        several = len(shapes) > 1 or not isinstance(item, (tuple, list)) or len(item) > 4
        yield item if several or not len(item) or not _is_x(item, len(shapes[0]) + 1) else item[0]


def _is_x(item: Any, axes: int) -> bool:
    """Whether the first part of a tuple or list is a batch, and not a row."""
    first = item[0]
    if hasattr(first, "shape"):
        return len(first.shape) >= axes
    return isinstance(item, tuple) and hasattr(first, "__len__")


def _yields_batches(value: Any) -> bool:
    """Whether `value` yields batches: an iterator, or an iterable that is no container of data."""
    if isinstance(value, (np.ndarray, list, tuple, dict, str, bytes, set, frozenset)):
        return False
    if hasattr(value, "__array__") or hasattr(value, "toarray") or hasattr(value, "to_numpy"):
        return False
    return hasattr(value, "__iter__")


def validation_parts(value: Any) -> tuple[Any, Any, Any, Any]:
    """(x, y, sample_weight or None, mask or None) from `validation_data`."""
    if not isinstance(value, (tuple, list)) or len(value) not in (2, 3, 4):
        got = f"{len(value)} items" if isinstance(value, (tuple, list)) else checks.describe(value)
        raise ValueError(
            "validation_data must be (x, y), (x, y, sample_weight) or (x, y, sample_weight, mask), "
            f"or batches of them, got {got}"
        )
    x, y, weight, mask = (*value, None, None)[:4]
    return x, y, weight, mask
