"""Sequences: lists of arrays of unequal lengths, and masks that say which steps count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..base import checks
from ..base.lengths import Keys, MaskKey
from ..base.memory import Array, Shape
from ..errors import ShapeError
from . import arrays
from .dataset import Valid


class Steps(NamedTuple):
    """What a network asks of sequences: shapes of its outputs, masks that are its last inputs,
    masks of its outputs, and those whose steps that count must be the first ones; by output
    whether its first axis is that of steps of open number."""

    shapes: list[Shape]
    inputs: list[MaskKey]
    outputs: list[Keys]
    in_front: Keys
    per_step: list[bool]


class Padded(NamedTuple):
    """Sequences as one array (N, T, ...), zeros behind their ends, and their lengths (N,)."""

    array: Array
    lengths: Array


def is_list(value: Any) -> bool:
    """Whether data for an input of open length are sequences one by one, not an array."""
    if isinstance(value, np.ndarray):
        return value.dtype == object and value.ndim == 1
    return isinstance(value, (list, tuple))


def are_batches(value: Any) -> bool:
    """Whether a list looks like batches: pairs or more of arrays, as tuples."""
    if not isinstance(value, (list, tuple)) or not len(value):
        return False
    return all(isinstance(part, tuple) and len(part) in (2, 3, 4) for part in value)


def bucket(length: int) -> int:
    """The length that sequences of up to `length` steps are padded to: four in each octave, so
    that few plans serve all. Padding changes no bit of a result."""
    if length <= 8:
        return length
    step = 1 << (int(length - 1).bit_length() - 3)
    return -(-length // step) * step


def read_list(name: str, value: Sequence[Any], shape: Shape) -> Padded:
    """A list of (T_i, \\*shape) as one array; `shape` is that of a step. One axis less is one value
    a step, where a step has one, or a label."""
    if len(shape) == 1 and len(value) and np.ndim(value[0]) == 1:
        shape = ()
    parts = [_one(name, i, part, shape) for i, part in enumerate(value)]
    if not parts:
        return Padded(np.zeros((0, 1, *shape)), np.zeros(0, np.int64))
    lengths = np.array([len(part) for part in parts], np.int64)
    return Padded(padded(parts, lengths, _padded_length(lengths)), lengths)


def _padded_length(lengths: Array) -> int:
    longest = int(lengths.max())
    return longest if (lengths == longest).all() else bucket(longest)


def padded(parts: Sequence[Array], lengths: Array, steps: int) -> Array:
    """The parts (T_i, ...) as one array (N, steps, ...)."""
    kind = np.result_type(*{part.dtype for part in parts})
    result: Array = np.zeros((len(parts), steps, *parts[0].shape[1:]), kind)
    for row, part, n in zip(result, parts, lengths, strict=True):
        row[:n] = part
    return result


def _one(name: str, i: int, value: Any, shape: Shape) -> Array:
    label = f"{name}[{i}]"
    part = arrays.array(label, value)
    wanted = ", ".join(map(str, ("T", *shape))) + ("" if shape else ",")
    if part.ndim == 0 or part.shape[1:] != shape:
        raise ShapeError(
            f"{label} has shape {part.shape}, expected ({wanted}): a sequence of steps"
            + (f" of {shape[0]} features" if len(shape) == 1 else "")
            + f"; {name} is read as a list of sequences because the model's input leaves its "
            "length open"
        )
    if len(part) == 0:
        raise ValueError(f"{label} has no step: got shape {part.shape}, expected at least 1 step")
    return part


def nested(name: str, value: Any, lengths: Array | None, steps: int) -> Any:
    """A list of (T_i, ...) beside sequences that came one by one, as one array (N, steps, ...); any
    other value as it is."""
    if lengths is None or not is_list(value) or not len(value) or not np.ndim(value[0]):
        return value
    parts = [arrays.array(f"{name}[{i}]", part) for i, part in enumerate(value)]
    if all(len(part) == steps for part in parts) or len(parts) != len(lengths):
        return np.stack(parts) if len({part.shape for part in parts}) == 1 else value
    for i, (part, n) in enumerate(zip(parts, lengths, strict=True)):
        if len(part) != n:
            raise ShapeError(
                f"{name}[{i}] has {len(part)} steps, its sequence of x has {n}; give one value for "
                "each step"
            )
    return padded(parts, lengths, steps)


def read_mask(name: str, value: Any, n: int, steps: int) -> Array:
    """A user's mask (N, T) as bool, or an error."""
    mask = np.asarray(value)
    if mask.dtype.kind != "b":
        if mask.dtype.kind not in "iuf" or not ((mask == 0) | (mask == 1)).all():
            raise TypeError(
                f"{name} must hold True and False, got {checks.describe(value)} of dtype "
                f"{mask.dtype}"
            )
        mask = mask.astype(bool)
    if mask.shape != (n, steps):
        raise ShapeError(
            f"{name} has shape {mask.shape}, expected ({n}, {steps}): one value for each step of "
            "each sample"
        )
    return mask


def up_to(lengths: Array, steps: int) -> Array:
    """True for the first `lengths` steps of each sample."""
    result: Array = np.arange(steps) < lengths[:, None]
    return result


def by_value(x: Array, value: float, mask: Array | None) -> Array:
    """The steps that have another value than this one, among those that count anyway."""
    other = x != value
    if other.ndim > 2:
        other = other.any(axis=tuple(range(2, other.ndim)))
    result: Array = other if mask is None else other & mask
    return result


def check(name: str, mask: Array, *, in_front: bool) -> None:
    """Refuse a sample without a step that counts, and, where it matters, gaps between them."""
    some = mask.any(axis=1)
    if not some.all():
        row = int(np.flatnonzero(~some)[0])
        raise ValueError(
            f"{name}: no step of row {row} counts, expected at least one; leave the row out"
        )
    if in_front:
        gap = (mask[:, 1:] & ~mask[:, :-1]).any(axis=1)
        if gap.any():
            row = int(np.flatnonzero(gap)[0])
            step = int(np.flatnonzero(mask[row, 1:] & ~mask[row, :-1])[0]) + 1
            raise ValueError(
                f"{name}: step {step} of row {row} counts and the one before it does not, expected "
                "the steps that count in front, because a layer goes backwards over them"
            )


def valid(masks: Sequence[Array]) -> Valid | None:
    """What all of these masks leave; None for none."""
    if not masks:
        return None
    mask = masks[0]
    for other in masks[1:]:
        mask = mask & other
    return Valid(mask.view(np.uint8), mask.sum(axis=1, dtype=np.int64))
