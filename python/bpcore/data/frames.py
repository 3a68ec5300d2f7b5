"""Data frames of pandas and polars as arrays, and their columns, without importing either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base.memory import Array

Names = tuple[str, ...]


def library(value: Any) -> str:
    """``"pandas"`` or ``"polars"`` for what is of theirs, else another module's name."""
    return type(value).__module__.partition(".")[0]


def collected(value: Any) -> Any:
    """A lazy frame of polars as the frame that it stands for; any other value as it is."""
    lazy = library(value) == "polars" and hasattr(value, "collect")
    return value.collect() if lazy else value


def columns(value: Any) -> Names | None:
    """The labels of a frame's columns as text; None for all that has no columns."""
    if library(value) not in ("pandas", "polars") or not hasattr(value, "columns"):
        return None
    return tuple(str(label) for label in value.columns)


def from_pandas(name: str, frame: Any) -> Array:
    """The values of a frame (N, columns) or a series (N,), copied at most once."""
    series = [frame] if not hasattr(frame, "columns") else [c for _, c in frame.items()]
    dtypes = [_numpy_dtype(name, column) for column in series]
    if not hasattr(frame, "columns"):
        return np.asarray(frame.to_numpy(dtype=dtypes[0]))
    if len(set(dtypes)) == 1 and all(isinstance(c.dtype, np.dtype) for c in series):
        return np.asarray(frame.to_numpy(dtype=dtypes[0]))  # often a view
    values = np.empty((len(frame), len(series)), np.result_type(*dtypes) if dtypes else float)
    for k, (column, dtype) in enumerate(zip(series, dtypes, strict=True)):
        values[:, k] = column.to_numpy(dtype=dtype)
    return values


def _numpy_dtype(name: str, column: Any) -> np.dtype[Any]:
    """The dtype of a column's numbers, of which none may be missing."""
    dtype = column.dtype
    told = "the series" if column.name is None else f"column {column.name!r}"
    if getattr(dtype, "kind", "O") not in "fiub":
        raise TypeError(
            f"{name}: {told} has dtype {dtype}; expected a real number dtype; encode or drop it"
        )
    if isinstance(dtype, np.dtype):
        return dtype
    if column.isna().any():
        row = int(np.flatnonzero(column.isna().to_numpy())[0])
        raise ValueError(f"{name}: {told} has a missing value (NA) at row {row}; fill or drop it")
    found = getattr(dtype, "numpy_dtype", None) or getattr(dtype, "subtype", None)
    return np.dtype(found) if found is not None else np.dtype(f"{dtype.kind}{dtype.itemsize}")


def from_polars(name: str, frame: Any) -> Array:
    """The values of a frame (N, columns) or a series (N,)."""
    series = frame.get_columns() if hasattr(frame, "get_columns") else [frame]
    for column in series:
        if str(column.dtype).startswith("Decimal"):
            raise TypeError(
                f"{name}: column {column.name!r} has dtype {column.dtype}; expected a real number "
                "dtype; cast it to Float64"
            )
        if not (column.dtype.is_numeric() or str(column.dtype) == "Boolean"):
            raise TypeError(
                f"{name}: column {column.name!r} has dtype {column.dtype}; expected a real number "
                "dtype; encode or drop it"
            )
        if column.null_count():
            raise ValueError(
                f"{name}: column {column.name!r} has {column.null_count()} null values; "
                "fill or drop them"
            )
    return np.asarray(frame.to_numpy())


def sequences(value: Any) -> Any:
    """A series that holds a sequence in each row as a list of them; any other value as it is."""
    if library(value) not in ("pandas", "polars") or hasattr(value, "columns"):
        return value
    first = next(iter(value), None)
    text = isinstance(first, (str, bytes))
    return list(value) if hasattr(first, "__len__") and not text else value


def counts(columns: Names) -> bool:
    """Whether the labels only count the columns, as those of a frame made of an array do."""
    return columns == tuple(map(str, range(len(columns))))


def listed(columns: Sequence[str]) -> str:
    """The labels for a message."""
    text = ", ".join(map(repr, columns[:20])) or "none"
    return text if len(columns) <= 20 else f"{text}, ... ({len(columns)} in all)"


def check_names(names: Sequence[str], source: str) -> None:
    """ValueError if a column has no name, or two columns have the same."""
    for i, name in enumerate(names, start=1):
        if not name:
            raise ValueError(
                f"{source}: column {i} has no name, expected one for each column; name it, or "
                "leave it out, as to_csv(index=False) does with the row numbers of pandas"
            )
    check_unlike(names, source)


def check_unlike(names: Sequence[str], source: str) -> None:
    """ValueError if two columns have the same name, which may be an empty one."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{source}: two columns are named {name!r}; rename one of them")
        seen.add(name)
