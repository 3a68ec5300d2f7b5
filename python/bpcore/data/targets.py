"""Targets: what a loss may be compared with, checked and brought into the core's forms.

Labels become int32 (N,) or (N, T); everything else stays as it is, dense, of the output's shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array, Shape
from ..errors import ShapeError
from ..losses import CoreLoss
from . import arrays

Target = tuple[Array, bool]
# Where losses are defined, by kind, if not everywhere.
RANGES = {
    "binary_cross_entropy": (0.0, 1.0),
    "poisson": (0.0, math.inf),
    "cross_entropy": (0.0, math.inf),
    "kl_divergence": (0.0, math.inf),
}
_CHUNK = 65536  # rows checked at a time, so that a memmap is not read as a whole


def prepare(
    name: str,
    value: Any,
    loss: Any,
    shape: Shape,
    n: int,
    layer: str,
    dtype: str,
    of: str = "x",
) -> Target:
    """(array, is_labels) for one output of per-sample `shape` made by `layer`; `of`: what has `n`
    rows."""
    y = arrays.array(name, value)
    if y.ndim == 0:
        raise ShapeError(f"{name} is a scalar, expected one target per sample")
    arrays.rows(name, y, of, n)
    kind = loss.kind if isinstance(loss, CoreLoss) else ""
    if kind:
        named = loss.label_shape(shape)
        shape = loss.target_shape(shape)
        if named is not None and not _is_distribution(y, named):
            return _labels(name, y, named, layer), True
    y = _dense(name, y, shape, layer)
    arrays.finite(name, y, dtype)
    if kind:
        y = _check_range(name, y, kind)
    return y, False


def prepare_steps(
    name: str,
    table: arrays.Table,
    loss: Any,
    shape: Shape,
    mask: Array,
    layer: str,
    dtype: str,
    lengths: Array | None,
) -> Target:
    """The same of an output whose steps do not all count: those that do are looked at, and the
    others are zeros. `mask`: (N, T) of 1 and 0; `lengths`: of the inputs' sequences."""
    counts, y = mask.astype(bool), table.array
    n, steps = counts.shape
    arrays.rows(name, y, "x", n)
    if table.lengths is not None and lengths is not None and (table.lengths != lengths).any():
        row = int(np.flatnonzero(table.lengths != lengths)[0])
        raise ShapeError(
            f"{name}[{row}] has {table.lengths[row]} steps, its sequence of x has {lengths[row]}; "
            "expected as many"
        )
    if y.ndim < 2:
        wanted = ", ".join(map(str, (n, *shape[:-1])))
        raise ShapeError(f"{name} has shape {y.shape}, expected a target for each step: ({wanted})")
    if y.shape[1] != steps:  # padded to another length
        longest = int(np.flatnonzero(counts.any(axis=0))[-1]) + 1
        if y.shape[1] < longest:
            raise ShapeError(
                f"{name} has {y.shape[1]} steps, the longest sequence of x {longest}; expected a "
                "target for each step"
            )
        wide = np.zeros((n, steps, *y.shape[2:]), y.dtype)
        some = min(steps, y.shape[1])
        wide[:, :some] = y[:, :some]
        y = wide
    flat = y[counts]
    found, labels = prepare(name, flat, loss, shape[1:], len(flat), layer, dtype, "steps")
    result = np.zeros((n, steps, *found.shape[1:]), found.dtype)
    result[counts] = found
    return result, labels


def weight_shape(loss: Any, shape: Shape) -> Shape:
    """The shape of one sample's weights at their finest; one that is written in Python says by its
    values how fine they may be."""
    return loss.weight_shape(shape) if isinstance(loss, CoreLoss) else shape


def _is_distribution(y: Array, shape: Shape) -> bool:
    return y.ndim == len(shape) + 1 and y.shape[1:] == shape and shape[-1] > 1


def _labels(name: str, y: Array, shape: Shape, layer: str) -> Array:
    classes = shape[-1]
    if classes == 1:
        raise ValueError(
            f"cross_entropy needs at least 2 outputs, but layer {layer!r} has 1; use "
            "binary_cross_entropy or Dense(2)"
        )
    n = y.shape[0]
    expected = (n, *shape[:-1])
    if y.shape == (*expected, 1):
        y = y.reshape(expected)
    if y.shape != expected:
        columns = f"{name} has {y.shape[1]} columns, " if y.ndim == 2 else ""
        raise ShapeError(
            f"{columns}output layer {layer!r} has {classes}: {name} of shape {y.shape}, expected "
            f"labels {expected} or distributions {(n, *shape)}"
        )
    if y.dtype.kind == "f":
        arrays.finite(name, y, "float64")
        where = arrays.fraction(y)
        if where:
            raise ValueError(
                f"{name} contains label {y[where]} at row {where[0]}, expected whole class numbers "
                f"0..{classes - 1}"
            )
    if y.size:  # before the cast to int32, which would wrap large numbers
        low, high = y.min(), y.max()
        if low < 0 or high >= classes:
            bad = np.argwhere((y < 0) | (y >= classes))[0]
            label = y[tuple(bad)]
            raise ValueError(
                f"{name} contains label {int(label)} at row {int(bad[0])}; output layer {layer!r} "
                f"has {classes} classes (0..{classes - 1})"
            )
    return np.require(y, np.int32, ["C_CONTIGUOUS", "ALIGNED"])


def _dense(name: str, y: Array, shape: Shape, layer: str) -> Array:
    n = y.shape[0]
    if y.shape[1:] == shape:
        return y
    if shape[-1] == 1 and y.shape == (n, *shape[:-1]):
        result: Array = y.reshape(n, *shape)
        return result
    if y.ndim == 1:
        got = f"{name} has shape {y.shape}"
    elif y.ndim == 2 and len(shape) == 1:
        got = f"{name} has {y.shape[1]} columns"
    else:
        got = f"{name} has shape {y.shape}"
    raise ShapeError(
        f"{got}, output layer {layer!r} takes {shape[0] if len(shape) == 1 else shape}: expected "
        f"{(n, *shape)}; change the units of the last layer, or for class labels use the loss "
        "'cross_entropy'"
    )


def _check_range(name: str, y: Array, kind: str) -> Array:
    """Targets outside of where a loss is defined."""
    if kind == "hinge":
        return _signs(name, y)
    if kind in RANGES:
        _between(name, y, *RANGES[kind], kind)
    if kind == "cross_entropy":
        _sums(name, y)
    return y


def _between(name: str, y: Array, low: float, high: float, kind: str) -> None:
    if y.dtype.kind == "b" or y.size == 0:
        return
    for start in range(0, y.shape[0], _CHUNK):
        part = y[start : start + _CHUNK]
        if part.min() >= low and part.max() <= high:
            continue
        bad = np.argwhere((part < low) | (part > high))[0]
        limit = f"in [{low:g}, {high:g}]" if high < math.inf else f">= {low:g}"
        raise ValueError(
            f"{name} contains {part[tuple(bad)]} at row {start + int(bad[0])}; {kind} expects "
            f"targets {limit}"
        )


def _sums(name: str, y: Array) -> None:
    for start in range(0, y.shape[0], _CHUNK):
        sums = y[start : start + _CHUNK].sum(axis=-1, dtype=np.float64)
        bad = np.argwhere(np.abs(sums - 1.0) > 1e-3)
        if len(bad):
            where = tuple(int(i) for i in bad[0])
            raise ValueError(
                f"{name} row {start + where[0]} sums to {sums[where]:g}; cross_entropy expects "
                "class labels, or distributions whose rows sum to 1 (binary_cross_entropy takes "
                "several labels per row)"
            )


def _signs(name: str, y: Array) -> Array:
    """Hinge: -1 and 1; 0 and 1 are read as these."""
    if ((y == 1) | (y == -1)).all():
        return y
    if ((y == 0) | (y == 1)).all():
        return np.where(y == 1, 1, -1).astype(np.int8)
    bad = np.argwhere(~((y == 0) | (y == 1) | (y == -1)))
    row = int(bad[0][0]) if len(bad) else 0
    raise ValueError(f"{name} row {row}: hinge expects targets -1 and 1 (or 0 and 1)")


def class_of_rows(target: Target, shape: Shape, kind: str) -> Array:
    """The class number of every row, for class weights; `kind` of the loss."""
    y, labels = target
    if labels:
        if y.ndim > 2:
            raise ValueError(
                "class_weight needs one label per sample or step, got labels of shape "
                f"{y.shape}; use sample_weight"
            )
        return y
    if len(shape) != 1:
        raise ValueError(
            f"class_weight needs one class per sample, got shape {y.shape}; use sample_weight"
        )
    if shape[-1] == 1:
        flat = y.reshape(-1)
        false = -1 if kind == "hinge" and (flat == -1).any() else 0
        if not ((flat == false) | (flat == 1)).all():
            raise ValueError(
                f"class_weight needs class targets, got values other than {false} and 1; use "
                "sample_weight"
            )
        second: Array = (flat == 1).astype(np.int32)
        return second
    if kind == "binary_cross_entropy":
        raise ValueError(
            f"class_weight weighs a row by its one class, but the {shape[-1]} outputs are labels "
            "of their own (binary_cross_entropy); weigh rows by sample_weight, or what is true of "
            "each label by losses.BinaryCrossEntropy(pos_weight=...), one number for each"
        )
    result: Array = y.argmax(axis=1).astype(np.int32)
    if kind not in ("cross_entropy", "kl_divergence"):  # whose targets are distributions
        for start in range(0, len(y), _CHUNK):
            part = y[start : start + _CHUNK]
            ties = (part == part.max(axis=1, keepdims=True)).sum(axis=1)
            values = np.unique(part)
            if (ties > 1).any() or len(values) > 2:
                row = int(np.flatnonzero(ties > 1)[0]) if (ties > 1).any() else 0
                raise ValueError(
                    "class_weight needs one class per row (one-hot targets), got "
                    f"{part[row].tolist()[:8]} at row {start + row}; use sample_weight"
                )
    return result


def balanced(of_rows: Array, classes: int) -> Array:
    """Weights by class (K,) that make all classes of the rows weigh alike: N / (classes that occur
    x rows of the class), as scikit-learn's "balanced"; 0 for one that does not occur."""
    counts = np.bincount(of_rows.ravel(), minlength=classes)
    shares = np.where(counts > 0, counts, np.inf) * np.count_nonzero(counts)
    result: Array = of_rows.size / shares
    return result


def class_weights(name: str, value: Any, classes: int) -> Array:
    """Weights by class (K,), from a dict that names every class, or K numbers."""
    if isinstance(value, (str, bytes)):
        more = "" if name != "class_weight" else "'balanced', "
        raise ValueError(
            f"{name} must be {more}a dict of class number to weight, or {classes} numbers, got "
            f"{checks.describe(value)}"
        )
    if not isinstance(value, Mapping):
        array = arrays.array(name, value)
        if array.shape != (classes,):
            raise ShapeError(f"{name}: got shape {array.shape}, expected ({classes},)")
        value = dict(enumerate(array.tolist()))
    result = np.zeros(classes)
    for key, weight in value.items():
        if isinstance(key, bool) or not hasattr(key, "__index__") or not 0 <= int(key) < classes:
            raise ValueError(
                f"{name}: unknown class {key!r}, expected class numbers 0..{classes - 1}"
            )
        result[int(key)] = checks.real(f"{name}[{key}]", weight, 0.0)
    missing = [k for k in range(classes) if k not in {int(key) for key in value}]
    if missing:
        raise ValueError(
            f"{name}: class {missing[0]} is missing, expected a weight for each of the {classes} "
            "classes"
        )
    return result
