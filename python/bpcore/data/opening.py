"""Files in place of arrays: the columns of a table as the x and y of a model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array
from . import frames
from .arrays import Table

_BOOLEANS = {"true": 1.0, "false": 0.0}
_ELSE = (
    "models take numbers alone; bpcore.tabular takes categories and missing values, or give arrays"
)


def opened(
    x: Any, y: Any, known: Sequence[str] | None, names: tuple[str, str] = ("x", "y")
) -> tuple[Any, Any]:
    """x and y of a call in which x may be a file, and y the name of a column of x.

    Parameters
    ----------
    x : path, or whatever a model takes
        A str always is one: of a csv, tsv, parquet or npz file of numbers and booleans;
        `bpcore.tabular.open_table` says how it is read.
    y : str, or whatever a model takes
        A column of the file or frame; the others are x.
    known : sequence of str, optional
        The columns with which the model was trained: of a file only these are read.
    names : tuple of two str
        By which messages call x and y.

    Returns
    -------
    tuple
        Both as they were, if x is no file and y no name.

    Raises
    ------
    TypeError
        x is a str and there is no such file; or y is a name, and the columns of x have none.
    ValueError
        A column is missing, there is none beside the target, two have one name, or one holds what
        is no number; with its row.
    """
    if is_path(x, names[0]):
        return _from_file(x, y, known)
    if not isinstance(y, str):
        return x, y
    x = frames.collected(x)
    columns = frames.columns(x)
    if columns is None:
        raise TypeError(
            f"{names[1]} is {y!r}, the name of a column, expected targets, because {names[0]} "
            f"({checks.describe(x)}) has no names of columns; pass the targets as an array, or as "
            f"{names[0]} a pandas or polars frame, or the path of a file, with that column"
        )
    frames.check_unlike(columns, names[0])
    labels = list(x.columns)
    target = labels.pop(place(list(columns), y, names[0]))
    refuse_alone(labels, y, names[0])
    return x[labels], x[target]


def is_path(x: Any, name: str = "x") -> bool:
    """Whether this names a file; TypeError for a str where there is none."""
    if isinstance(x, str):
        path = checks.path(x, name)
        if not os.path.exists(path):
            raise TypeError(
                f"{name} must be an array, a data frame, a list of rows or the path of a file, got "
                f"str {x!r}, and {checks.no_such_file(path)}"
            )
        return True
    return isinstance(x, os.PathLike)


def refuse_alone(others: Sequence[Any], target: str, source: str) -> None:
    """ValueError if there is no column beside that of the target."""
    if not others:
        raise ValueError(
            f"{source} has no column beside the target {target!r}, expected at least 1 to learn "
            "from"
        )


def _from_file(path: Any, y: Any, known: Sequence[str] | None) -> tuple[Table, Any]:
    from .tables import open_table  # what reads files is not needed to train on arrays

    return from_table(open_table(path), y, known)


def from_table(source: Any, y: Any, known: Sequence[str] | None) -> tuple[Table, Any]:
    """The same of a table of `bpcore.data.tables`."""
    target = y if isinstance(y, str) else None
    if target is not None:
        place(source.names, target, source.source)
    names = [name for name in known or source.names if name != target]
    if target is not None:
        refuse_alone(names, target, source.source)
    asked = names if target is None else [*names, target]
    whole = np.concatenate(list(blocks(source, asked)))
    if target is not None:
        values = whole[:, -1]
        y = values.astype(np.int64) if (values == np.floor(values)).all() else values
    return Table(whole[:, : len(names)], tuple(names)), y


def blocks(source: Any, names: Sequence[str]) -> Iterator[Array]:
    """Columns of a table as float64 (rows, columns), a block of rows at a time."""
    for name in names:
        place(source.names, name, source.source)
    start = 0
    for block in source.blocks(names):
        columns = [_numbers(source.source, name, block[name], start) for name in names]
        yield np.stack(columns, axis=1)
        start += len(columns[0])


def _numbers(source: str, name: str, values: Array, start: int) -> Array:
    """One block of a column as float64; what is missing or no number is an error with its row."""
    if values.dtype.kind == "b":
        return values.astype(np.float64)
    if values.dtype.kind != "f":
        found = [_number(value) for value in values]
        if None not in found:
            return np.array(found, np.float64)
        row = found.index(None)
        told = "has a missing value" if values[row] is None else f"holds {values[row]!r}"
        raise ValueError(f"{source}: column {name!r} {told} in row {start + row + 1}; {_ELSE}")
    gone = np.flatnonzero(np.isnan(values))
    if len(gone):
        raise ValueError(
            f"{source}: column {name!r} has a missing value in row {start + int(gone[0]) + 1}; "
            f"{_ELSE}"
        )
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        row = int(infinite[0])
        raise ValueError(
            f"{source}: column {name!r} holds {values[row]:g} in row {start + row + 1}, expected "
            "finite numbers; drop such rows"
        )
    return values


def _number(value: Any) -> float | None:
    """A number, or a boolean as text files have it; None of anything else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return _BOOLEANS.get(value.lower()) if isinstance(value, str) else None


def place(names: list[str], name: str, source: str) -> int:
    """Where a column stands; ValueError if there is none of this name."""
    if name not in names:
        raise ValueError(
            f"{source} has no column {name!r}{checks.suggest(name, names)}; it has "
            f"{', '.join(names[:20])}"
        )
    return names.index(name)
