"""Data that were checked against a model: inputs, targets and weights as the core takes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import _core
from ..base import checks
from ..base.memory import Array
from .frames import Names
from .targets import Target


def hold(arrays: Iterable[Array]) -> list[Any]:
    """What keeps NumPy from resizing the arrays, or those they are views of, as long as it lives.

    ``resize(refcheck=False)`` frees the memory under a view; only a weak reference stops it.
    """
    held: list[Any] = _core.hold(list(arrays))
    return held


class Form(NamedTuple):
    """What a network is made for: by input the steps, 0 where its shape is fixed; and the inputs
    whose data say which of their steps count."""

    lengths: tuple[int, ...]
    masked: frozenset[int]


class Valid(NamedTuple):
    """Which steps of an output count, as 1 and 0 (N, T), and how many of each sample (N,)."""

    mask: Array
    counts: Array


class Dataset:
    """Inputs, targets and weights as the core takes them.

    Attributes
    ----------
    n : int
        Samples.
    xs : list of ndarray (N, ...)
        By input.
    ys : list of (ndarray, bool)
        By output: targets, and whether they are class labels.
    ws : list of (ndarray (N,) or (N, ...), or None)
        By output: weights of the samples, or of the parts of their losses.
    columns : two lists of (tuple of str, or None)
        By input and by output: the columns, where it was a frame.
    form : Form or None
        Of the network they are for, where its inputs leave their length open. Masks then follow the
        inputs in `xs`.
    valid : list of (Valid or None)
        By output: the steps that count; None: all of them.
    lengths : ndarray (N,) or None
        The steps of each sample, where the inputs came as sequences.
    largest : list of float
        By input: no magnitude in it is above that. Empty where nobody has looked.
    each : list of (ndarray (N,) or None)
        By input: the steps of each sample, where it came as sequences. Empty where none did.
    """

    __slots__ = (
        *("_held", "columns", "each", "form", "largest"),
        *("lengths", "n", "valid", "ws", "xs", "ys"),
    )

    def __init__(
        self,
        n: int,
        xs: list[Array],
        ys: list[Target],
        ws: list[Array | None],
        columns: tuple[list[Names | None], list[Names | None]] = ([], []),
        form: Form | None = None,
        valid: list[Valid | None] | None = None,
        lengths: Array | None = None,
        largest: Sequence[float] = (),
        held: list[Any] | None = None,
        each: Sequence[Array | None] = (),
    ) -> None:
        """`held`: what `hold` gives for the arrays, where it has been asked."""
        self.n, self.xs, self.ys, self.ws, self.columns = n, xs, ys, ws, columns
        self.form, self.lengths, self.each = form, lengths, each
        self.largest = list(largest)
        self.valid: list[Valid | None] = [None] * len(ys) if valid is None else valid
        self._held = _core.hold([*xs, *[y for y, _ in ys], *ws]) if held is None else held

    @property
    def told(self) -> list[Any]:
        """By output what the core is told of weights: them, or with them which steps count."""
        if not any(self.valid):
            return self.ws
        pairs = zip(self.ws, self.valid, strict=True)
        return [w if valid is None else (w, valid.mask, valid.counts) for w, valid in pairs]

    def divided(self, fraction: float) -> tuple[Dataset, Dataset]:
        """The first rows, and the last `fraction` of all, as Keras divides them.

        Raises ValueError if a part has no row, or weights that are all 0.
        """
        cut = int(self.n * (1.0 - fraction))
        if cut < 1 or cut >= self.n:
            raise ValueError(
                f"validation_split={fraction} of {self.n} samples leaves {cut} for training and "
                f"{self.n - cut} for validation, expected at least 1 each"
            )
        parts = subset(self, slice(None, cut)), subset(self, slice(cut, None))
        for part, what in zip(parts, ("first", "last"), strict=True):
            if any(w is not None and not w.any() for w in part.ws):
                raise ValueError(
                    f"the weights are 0 for all of the {what} {part.n} samples, into which "
                    "validation_split divides, expected one > 0 in each part"
                )
        return parts


def subset(item: Dataset, rows: Any) -> Dataset:
    """Some rows of a data set: a slice or indices."""
    return Dataset(
        len(range(item.n)[rows]) if isinstance(rows, slice) else len(rows),
        [x[rows] for x in item.xs],
        [(_labels(y[rows]) if labels else y[rows], labels) for y, labels in item.ys],
        [None if w is None else np.ascontiguousarray(w[rows]) for w in item.ws],
        item.columns,
        item.form,
        [
            None if v is None else Valid(v.mask[rows], np.ascontiguousarray(v.counts[rows]))
            for v in item.valid
        ],
        None if item.lengths is None else item.lengths[rows],
        item.largest,
        each=[None if own is None else own[rows] for own in item.each],
    )


def _labels(y: Array) -> Array:
    result: Array = np.require(y, requirements="C")  # which keeps the class of free targets
    return result


def batch_size_of(value: Any, n: int) -> int:
    """`batch_size` as an int in [1, n]; None is the full batch."""
    if value is None:
        return max(1, n)
    return min(checks.integer("batch_size", value, 1, 2**62), max(1, n))
