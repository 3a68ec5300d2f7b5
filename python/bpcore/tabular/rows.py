"""Features and targets of a table, in memory or in a temporary file, ready for `Model.fit`."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array
from ..data.tables import Table
from .preprocessor import Preprocessor, check_size, texts

IN_MEMORY = 1 << 28  # bytes of features; more go to a temporary file that is mapped


class Store:
    """Blocks of features of one width, in memory or, when they are large, in a temporary file."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.parts: list[Array] = []
        self.rows = 0
        self.file: Any = None

    def add(self, part: Array) -> None:
        """More rows (n, width), float32."""
        self.rows += len(part)
        if self.file is None and self.rows * self.width * 4 > IN_MEMORY:
            self.file = _temporary()
            for earlier in self.parts:
                self.file.write(earlier.data)
            self.parts = []
        if self.file is None:
            self.parts.append(part)
        elif len(part):
            self.file.write(np.ascontiguousarray(part).data)

    def array(self) -> Array:
        """All rows (N, width); of a file they are mapped."""
        if self.file is None:
            whole, end = np.empty((self.rows, self.width), np.float32), self.rows
            while self.parts:  # each goes when it was copied, so that nothing is there twice
                part = self.parts.pop()
                whole[end - len(part) : end] = part
                end -= len(part)
            return whole
        with self.file as file:  # the mapping keeps the file after it is closed
            file.flush()
            return np.memmap(file, np.float32, "r", shape=(self.rows, self.width))


def _temporary() -> Any:
    """A file without a name, which is gone with the last array that maps it."""
    return tempfile.TemporaryFile()


def features(prepare: Preprocessor, source: Table, held: Array) -> tuple[Array, Array]:
    """Rows of a table as features: those to train on, and those where `held` (N,) is true."""
    prepare.check_columns(source)
    train, test = Store(prepare.width), Store(prepare.width)
    start = 0
    for part in prepare.parts(source):
        chosen = held[start : start + len(part)]
        train.add(part[~chosen])
        test.add(part[chosen])
        start += len(part)
    return train.array(), test.array()


def column(source: Table, name: str) -> list[Any]:
    """All values of one column, None where one is missing."""
    if name not in source.names:
        hint = checks.suggest(name, source.names)
        raise ValueError(
            f"{source.source} has no column {name!r}{hint}; it has {', '.join(source.names[:20])}"
        )
    values: list[Any] = []
    for block in source.blocks([name]):
        values += as_list(block[name])
    return values


def as_list(values: Array) -> list[Any]:
    """Numbers, booleans or texts, None where one is missing."""
    if values.dtype.kind == "f":
        return [None if v != v else v for v in values.tolist()]
    return list(values.tolist())


def labels(source: str, values: list[Any]) -> tuple[list[Any], Array]:
    """Sorted classes and the number of each row's class; ValueError for a missing one.

    Classes are what they were: whole numbers, numbers, booleans or texts.
    """
    words = as_texts(values)
    refuse_missing(source, words)
    first = {str(word): value for word, value in zip(words, values, strict=True)}
    names = sorted(first, key=_order)
    place = {name: k for k, name in enumerate(names)}
    classes = [first[name] for name in names]
    if all(type(value) is bool for value in classes):
        pass
    elif _are_numbers(classes):
        classes = [int(v) if float(v).is_integer() else v for v in classes]
    else:
        classes = names
    return classes, np.array([place[str(word)] for word in words], dtype=np.int32)


def as_texts(values: list[Any]) -> list[str | None]:
    """Classes as text: numbers in their shortest form."""
    floats = _are_numbers(values) and any(type(value) is float for value in values)
    return texts(np.array(values, dtype=np.float64 if floats else object))


def numbers(source: str, values: list[Any]) -> Array:
    """Targets of a regression as float64; ValueError with the row for what is no number."""
    refuse_missing(source, values)
    result = np.empty(len(values))
    for row, value in enumerate(values):
        try:
            result[row] = float(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"{source}: the target holds {value!r} in row {row + 1}, expected numbers"
            ) from None
    check_size(source, "the target", result, 0)
    return result


def is_classes(values: list[Any]) -> bool:
    """Whether a target looks like classes: texts, booleans, or few whole numbers."""
    present = [value for value in values if value is not None]
    if not _are_numbers(present):
        return True
    distinct = set(present)
    few = len(distinct) <= min(20, max(2, len(present) // 10))
    return few and all(float(value).is_integer() for value in distinct)


def _are_numbers(values: list[Any]) -> bool:
    return all(type(value) in (int, float) or value is None for value in values)


def refuse_missing(source: str, values: list[Any]) -> None:
    """ValueError with the row if a value of a target is missing, or if there are none."""
    if not values:
        raise ValueError(f"{source} has no rows, expected at least 1")
    gone = [row for row, value in enumerate(values, start=1) if value is None]
    if gone:
        raise ValueError(
            f"{source}: the target is missing in row {gone[0]}"
            + (f" and {len(gone) - 1} others" if len(gone) > 1 else "")
            + "; drop these rows"
        )


def _order(text: str) -> tuple[int, float, str]:
    """Numbers by size, then texts."""
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)
