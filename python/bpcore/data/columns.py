"""Columns of frames, of files and of dicts as arrays of numbers, booleans or texts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array


class Name(str):
    """A level of a category, also where it looks like a number."""


def as_column(source: str, name: str, column: Any) -> Array:
    """A column as float64 with NaN, bool, or objects with None."""
    where = f"{source}: column {name!r}"
    kind = str(getattr(column, "dtype", "")).lower().partition("(")[0]  # without polars' levels
    if any(word in kind for word in ("date", "time", "duration", "period")):
        raise TypeError(
            f"{where} has dtype {column.dtype}: dates are not taken as they are; make "
            "columns of what matters (year, month, weekday, seconds since an event), or drop it"
        )
    if isinstance(column, np.ma.MaskedArray):
        column = column.tolist()  # None where it is masked
    if hasattr(column, "to_list") or hasattr(column, "tolist"):
        array = np.asarray(column)
    else:
        array = np.array(list(column), dtype=object)
    if array.ndim != 1 and array.dtype.kind != "O":  # arrays and structs of polars
        raise TypeError(
            f"{where} has dtype {getattr(column, 'dtype', array.dtype)}, expected a number, a text "
            "or a boolean in each row; make a column of each part"
        )
    if array.dtype.kind == "c":
        raise TypeError(f"{where} has dtype {array.dtype}: take its real part or absolute")
    if array.dtype.kind in "iuf":
        numbers = array.astype(np.float64)
        return _as_words(numbers) if _is_category(kind) else numbers
    if array.dtype.kind == "b":
        return array
    values = [None if _is_missing(value) else value for value in array.tolist()]
    present = [value for value in values if value is not None]
    _refuse_strange(where, present)
    if _is_category(kind):
        return np.array([v if v is None else _word(v) for v in values], dtype=object)
    if present and all(isinstance(value, bool) for value in present):
        return np.array(values, dtype=object)
    if present and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in present):
        return np.array([np.nan if v is None else float(v) for v in values])
    return np.array([None if v is None else str(v).strip() for v in values], dtype=object)


def _is_category(kind: str) -> bool:
    """Whether the library that made a column says that its values are names, numbers too."""
    return kind.startswith(("category", "categorical", "enum"))


def _as_words(numbers: Array) -> Array:
    return np.array([None if v != v else _word(v) for v in numbers.tolist()], dtype=object)


def _word(value: Any) -> Name:
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return Name(int(value) if whole else str(value).strip())


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _refuse_strange(where: str, values: list[Any]) -> None:
    """TypeError for what is no number, text or boolean, and would become one by its looks."""
    for kinds, advice in (
        ((list, tuple, dict, set, np.ndarray), "make a column of each part"),
        ((bytes,), "make texts of them: .str.decode('utf-8') of pandas, .astype(str) of NumPy"),
    ):
        strange = next((value for value in values if isinstance(value, kinds)), None)
        if strange is not None:
            raise TypeError(
                f"{where} holds a {checks.describe(strange)}, expected a number, a text or a "
                f"boolean in each row; {advice}"
            )
