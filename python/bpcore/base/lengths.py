"""Axes of steps in time: of no fixed length (None in a shape), and steps that do not count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from ..errors import ShapeError
from .memory import Shape


class _Tried(int):
    """A length that stands for any; messages say None, as the user did."""

    def __repr__(self) -> str:
        return "None"


# Two lengths that are tried in turn: what differs in the results are the steps.
_TRIED = (_Tried(61), _Tried(67))


class MaskKey(NamedTuple):
    """Which steps of an input count: those that the data say, and of them, for a layer that tells
    by values, those with a value that is not `value`."""

    source: int
    value: float | None = None


Keys = frozenset[MaskKey]


def is_open(shape: Any) -> bool:
    """Whether a shape, or one of a list of shapes, leaves the length open."""
    if isinstance(shape, list):
        return any(is_open(one) for one in shape)
    return shape is not None and None in tuple(shape)


def closed(shape: Any, length: int) -> Any:
    """The shape, or list of shapes, for this length."""
    if isinstance(shape, list):
        return [closed(one, length) for one in shape]
    return tuple(length if size is None else size for size in shape)


def fits(told: Any, shape: Any) -> bool:
    """Whether a shape is what was told, where None stands for any length."""
    if isinstance(told, list) or isinstance(shape, list):
        return (
            isinstance(told, list)
            and isinstance(shape, list)
            and len(told) == len(shape)
            and all(fits(a, b) for a, b in zip(told, shape, strict=True))
        )
    if told is None or shape is None:
        return told is shape
    a, b = tuple(told), tuple(shape)
    return len(a) == len(b) and all(
        m == n or m is None or n is None for m, n in zip(a, b, strict=True)
    )


def inferred(label: str, compute: Callable[[Any], Shape], input_shape: Any) -> Shape:
    """What `compute` makes of a shape that may be open; None where the steps are.

    Raises
    ------
    ShapeError
        Another axis than the first depends on the number of steps.
    """
    if not is_open(input_shape):
        return compute(input_shape)
    short, long = (compute(closed(input_shape, n)) for n in _TRIED)
    more = _TRIED[1] - _TRIED[0]
    kept = len(short) == len(long) and short[1:] == long[1:]
    if not kept or long[0] - short[0] not in (0, more):
        raise ShapeError(
            f"{label}: an input of shape {shown(input_shape)} has no fixed number of steps, but "
            "the shape of the result depends on it in more than its first axis; give the Input a "
            "fixed length, or reduce the steps first, by a recurrent layer or pooling over time"
        )
    first: Any = short[0] if short[0] == long[0] else None
    return cast(Shape, (first, *short[1:]))


def shown(shape: Any) -> str:
    """A shape or several, with the batch in front, for messages."""
    shapes: Sequence[Any] = shape if isinstance(shape, list) else [shape]
    return " and ".join(f"({', '.join(map(str, ('N', *one)))})" for one in shapes)
