"""Data frames of pandas and polars as arrays; neither library is imported here."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.memory import Array


def from_pandas(name: str, frame: Any) -> Array:
    columns = frame.items() if hasattr(frame, "columns") else [(frame.name, frame)]
    parts = []
    for label, column in columns:
        if getattr(column.dtype, "kind", "O") not in "fiub":
            raise TypeError(
                f"{name}: column {label!r} has dtype {column.dtype}; expected a real number dtype; "
                "encode or drop it"
            )
        if not isinstance(column.dtype, np.dtype) and column.isna().any():
            row = int(np.flatnonzero(column.isna().to_numpy())[0])
            raise ValueError(
                f"{name}: column {label!r} has a missing value (NA) at row {row}; fill or drop it"
            )
        parts.append(column.to_numpy(dtype=getattr(column.dtype, "numpy_dtype", None)))
    if not hasattr(frame, "columns"):
        return np.asarray(parts[0])
    if not parts:
        return np.empty((len(frame), 0))
    if len({p.dtype for p in parts}) == 1:
        return np.asarray(frame.to_numpy(dtype=parts[0].dtype))
    return np.column_stack(parts)


def from_polars(name: str, frame: Any) -> Array:
    columns = frame.get_columns() if hasattr(frame, "get_columns") else [frame]
    for column in columns:
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
