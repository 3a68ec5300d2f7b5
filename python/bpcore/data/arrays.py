"""From what a user has (arrays, frames, lists, dicts) to arrays that the core reads in place.

Nothing is converted as a whole here except lists and frames: the core gathers and converts batch by
batch, whatever the strides, byte order and real dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from .. import _core
from ..base import checks
from ..base.memory import Array, Shape
from ..errors import ShapeError
from . import frames


class Table:
    """An array that was converted from what a user gave, and the columns of a frame; or of
    sequences the lengths, whose first axes are (N, T)."""

    __slots__ = ("array", "columns", "lengths")

    def __init__(
        self, array: Array, columns: frames.Names | None = None, lengths: Array | None = None
    ) -> None:
        self.array, self.columns, self.lengths = array, columns, lengths


def table(name: str, value: Any) -> Table:
    """`value` after conversion; one that was converted before stays as it is."""
    if isinstance(value, Table):
        return value
    value = frames.collected(value)
    return Table(array(name, value), frames.columns(value))


def array(name: str, value: Any) -> Array:
    """`value` as an ndarray of a real dtype that the core reads; not copied if it is one."""
    if type(value) is not np.ndarray:
        value = _to_array(name, value)
    kind = value.dtype.kind
    if kind not in "fiub" or value.dtype.itemsize > 8:
        hint = {
            "c": "use .real or .imag",
            "O": "convert it to numbers: np.asarray(..., dtype=float)",
            "f": "convert it to float64",
            "M": "convert it to numbers, for example seconds since a date",
            "m": "convert it to numbers, for example seconds",
            "V": f"use {name}.astype(np.float32)"
            if _is_extension(value.dtype)
            else "select the numeric fields"
            if value.dtype.names
            else "say what the bytes mean with view()",
        }.get(kind, "encode it as numbers first")
        raise TypeError(
            f"{name} has dtype {_dtype_name(value.dtype)}; expected a real number dtype "
            f"(bool, int, uint, float16, float32, float64); {hint}"
        )
    if value.size > checks.MAX_ELEMENTS:
        raise MemoryError(
            f"{name} has shape {value.shape} and dtype {value.dtype}: "
            f"{value.nbytes / 2**40:.4g} TiB ({value.nbytes / 2**50:.3g} PiB), "
            "more than any machine holds"
        )
    result: Array = value
    return result


def _dtype_name(dtype: np.dtype[Any]) -> str:
    named = dtype.kind not in "USV" or _is_extension(dtype)
    return str(dtype) if named else repr(dtype.str)


def _is_extension(dtype: np.dtype[Any]) -> bool:
    """A dtype that another package has brought into NumPy: bfloat16 and its kin."""
    return dtype.isbuiltin == 2


def _to_array(name: str, value: Any) -> Array:
    if value is None:
        raise TypeError(f"{name} is None, expected an array of numbers")
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.getmaskarray(value).any():
            raise TypeError(f"{name}: masked values are not supported; fill them first")
        return np.asarray(value.data)
    if isinstance(value, np.ndarray):  # memmap, matrix, user subclasses
        return value.view(np.ndarray)
    module = frames.library(value)
    if module == "pandas":
        return frames.from_pandas(name, value)
    if module == "polars":
        return frames.from_polars(name, value)
    if _is_sparse(value):
        raise TypeError(f"{name}: sparse input is not supported; use {name}.toarray()")
    if isinstance(value, (list, tuple)):
        return _from_list(name, value)
    if isinstance(value, (str, bytes, dict, set, frozenset)) or (
        hasattr(value, "__next__") and not hasattr(value, "__array__")
    ):
        raise TypeError(
            f"{name} must be an array, a data frame or a list of rows, got {checks.describe(value)}"
        )
    try:
        result = np.asarray(value)
    except Exception as error:
        strange = hasattr(value, "float") and "ScalarType" in str(error)  # PyTorch's bfloat16
        hint = f"; its dtype is {value.dtype}: use {name}.float()" if strange else ""
        raise TypeError(
            f"{name}: {type(value).__name__} cannot be converted to an array: {error}{hint}"
        ) from error
    if result.dtype.kind == "O":
        raise TypeError(
            f"{name} must be an array of numbers, got {checks.describe(value)} (dtype object)"
        )
    return result


def _is_sparse(value: Any) -> bool:
    return hasattr(value, "toarray") and hasattr(value, "nnz")


def _from_list(name: str, value: Sequence[Any]) -> Array:
    if len(value) and _is_sparse(value[0]):
        raise TypeError(
            f"{name}: sparse input is not supported, got a list of it; use .toarray() of each"
        )
    try:
        result = np.asarray(value)
    except ValueError as error:
        lengths = [len(row) if hasattr(row, "__len__") else -1 for row in value]
        other = next((i for i, n in enumerate(lengths) if n != lengths[0]), None)
        if other is not None:
            raise ValueError(
                f"{name}: rows have different lengths (row 0: {lengths[0]}, row {other}: "
                f"{lengths[other]}), expected equal ones; pad or cut them"
            ) from error
        raise ValueError(f"{name}: rows differ in shape, expected equal ones") from error
    except Exception as error:
        raise TypeError(f"{name}: the list cannot be converted to an array: {error}") from error
    return result if result.size or result.ndim > 1 else result.astype(np.float64)


def features(name: str, x: Array, shape: Shape, layer: str) -> Array:
    """One model input: (N, \\*shape)."""
    if x.ndim == len(shape) + 1 and _fits(x.shape[1:], shape):
        return x
    wanted = "(N, " + ", ".join(map(str, shape)) + ")"
    if x.ndim == 0:
        raise ShapeError(f"{name} is a scalar, expected shape {wanted}")
    if len(shape) == 1:
        if x.ndim == 1:
            raise ShapeError(
                f"{name} must be 2-D (n_samples, n_features), got shape {x.shape}, expected "
                f"{wanted}; use {name}.reshape(-1, 1) for one feature or "
                f"{name}.reshape(1, -1) for one sample"
            )
        if x.ndim == 2:
            raise ShapeError(
                f"{name} has {x.shape[1]} features, model expects {shape[0]}: got shape {x.shape}, "
                f"expected {wanted} at input {layer!r}"
            )
    raise ShapeError(
        f"{name}: got shape {x.shape}, expected {wanted} at input {layer!r}, for which the "
        "model was built; reshape the data or add Flatten() or Reshape() as first layer"
    )


def _fits(found: tuple[int, ...], shape: Shape) -> bool:
    """None stands for any length, of one step at least."""
    pairs = zip(found, shape, strict=True)
    return all(n == size or (size is None and n > 0) for n, size in pairs)


def fraction(x: Array) -> tuple[int, ...]:
    """The place of the first number that is not whole, or ()."""
    parts: Any = np.argwhere(x != np.floor(x)) if x.dtype.kind == "f" else ()
    return tuple(int(i) for i in parts[0]) if len(parts) else ()


def ids(name: str, x: Array, count: int, layer: str) -> None:
    """Refuse what is no whole number from 0 to count - 1."""
    where = fraction(x)
    if where:
        raise ValueError(
            f"{name} contains {x[where]} at {list(where)}, expected whole numbers: ids of the "
            f"Embedding behind input {layer!r}"
        )
    if x.size and (x.min() < 0 or x.max() >= count):
        where = tuple(int(i) for i in np.argwhere((x < 0) | (x >= count))[0])
        raise ValueError(
            f"{name} contains id {int(x[where])} at {list(where)}, expected 0 to {count - 1}, the "
            f"input_dim of the Embedding behind input {layer!r}"
        )


def first_shape(name: str, x: Any, *, open_length: bool) -> tuple[Any, Shape]:
    """Data that an unbuilt model is to be built from, as it may read them, and the shape of a
    sample; `open_length`: its first layer takes any number of steps, and so lists of sequences."""
    x = frames.sequences(x) if open_length else x
    if open_length and isinstance(x, (list, tuple)) and len(x) and np.ndim(x[0]) in (1, 2):
        first = array(f"{name}[0]", x[0])
        return x, cast(Shape, (None, *first.shape[1:]))
    found = table(name, x)
    shape = sample_shape(name, found.array)
    return (found, cast(Shape, (None, *shape[1:]))) if open_length else (found, shape)


def sample_shape(name: str, x: Array) -> Shape:
    """Per-sample shape of data that an unbuilt model is to be built for."""
    if x.ndim < 2:
        raise ShapeError(
            f"{name} must be 2-D (n_samples, n_features), got shape {x.shape}; use "
            f"{name}.reshape(-1, 1) for one feature or {name}.reshape(1, -1) for one sample"
        )
    if 0 in x.shape[1:]:
        raise ValueError(f"{name} has 0 features: got shape {x.shape}, expected at least 1")
    return tuple(int(n) for n in x.shape[1:])


def finite(name: str, x: Array, dtype: str) -> float:
    """Refuse NaN, Inf and values that overflow `dtype`, named by place; no magnitude is above the
    result."""
    if x.size == 0:
        return 0.0
    if x.dtype.kind != "f":
        return float(256**x.dtype.itemsize)
    flaw = _core.scan(x, dtype)
    if isinstance(flaw, float):
        return flaw
    where = ", ".join(str(int(i)) for i in flaw["index"])
    others = int(flaw["count"]) - 1
    more = f" (and {others} more)" if others else ""
    if flaw["kind"] == "overflow":
        raise ValueError(
            f"{name}[{where}] = {flaw['value']:g} overflows {dtype}{more}; scale the data or use "
            "dtype='float64'"
        )
    word = "NaN" if flaw["kind"] == "nan" else "Inf" if flaw["value"] > 0 else "-Inf"
    raise ValueError(
        f"{name} contains {word} at [{where}]{more}; expected finite numbers; fill or "
        "drop these rows"
    )


def rows(name: str, x: Array, other: str, n: int) -> None:
    """Equal numbers of samples."""
    if x.ndim == 0 or x.shape[0] != n:
        got = x.shape[0] if x.ndim else "no"
        raise ShapeError(f"{other} has {n} samples, {name} has {got}; expected as many in both")


def sample_weights(name: str, value: Any, n: int, finest: Shape, layer: str, dtype: str) -> Array:
    """Weights (N,), or (N, ...) with leading axes of `finest`: finite, in `dtype` too, and not
    negative."""
    w = array(name, value)
    if w.ndim == 0 or w.shape != (n, *finest)[: w.ndim]:
        shapes = [str((n, *finest[:axes])) for axes in range(len(finest) + 1)]
        parts = ", or for each part of its loss" if finest else ", whose loss has no parts: 1-D"
        raise ShapeError(
            f"{name} has shape {w.shape}, expected {' or '.join(shapes)}: a weight for each of the "
            f"{n} samples of output {layer!r}{parts}"
        )
    w = np.ascontiguousarray(w, dtype=np.float64)
    sound = np.isfinite(w)
    if sound.all():
        finite(name, w, dtype)
        sound = w >= 0
    if not sound.all():
        where = tuple(int(i) for i in np.argwhere(~sound)[0])
        place = f"row {where[0]}" if w.ndim == 1 else str(list(where))
        raise ValueError(f"{name} contains {w[where]} at {place}, expected finite weights >= 0")
    return w


def weights_times(a: Array, b: Array) -> Array:
    """The product of weights, one of which may have more axes than the other."""
    few, many = (a, b) if a.ndim < b.ndim else (b, a)
    result: Array = few.reshape(few.shape + (1,) * (many.ndim - few.ndim)) * many
    return result


def some_weight(name: str, weights: Sequence[Array | None]) -> None:
    """Refuse data none of whose rows counts; a batch of larger data may be such."""
    for w in weights:
        if w is not None and len(w) and not w.any():
            raise ValueError(f"{name} sums to 0, expected at least one weight > 0")


def overlaps(a: Array, b: Array) -> bool:
    """Whether writing to `a` may change `b`."""
    return bool(np.may_share_memory(a, b))
