"""Inputs of data as a model takes them, and outputs in the way in which its sequences came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..base.lengths import Keys, MaskKey
from ..base.memory import Array
from .dataset import Form, Valid
from .sequences import Steps


class Inputs(NamedTuple):
    """The inputs of data: arrays, with masks behind them, and the number of samples.

    `form`: of the network they are for; `valid`: by output, which steps count; `lengths`: of the
    sequences, where they came as such, and `each` by input; `steps`: what the network asks of them;
    `largest`: by input, no magnitude in it is above that, where somebody looked.
    """

    xs: list[Array]
    n: int
    form: Form | None = None
    valid: Sequence[Valid | None] = ()
    lengths: Array | None = None
    steps: Steps | None = None
    largest: Sequence[float] = ()
    each: Sequence[Array | None] = ()


def comes_in_list(found: Inputs, k: int) -> bool:
    """Whether the k-th output has the steps of sequences that came one by one."""
    return found.lengths is not None and found.steps is not None and found.steps.per_step[k]


def cut(y: Array, found: Inputs, k: int) -> Any:
    """Of sequences that came one by one the k-th output in the same way, if it has their steps."""
    if not comes_in_list(found, k):
        return y
    return _one_by_one(y, found.lengths if found.valid and found.valid[k] else None)


def lengths_of(keys: Iterable[MaskKey], each: Sequence[Array | None]) -> Array | None:
    """The steps of each sample of a value with these masks, by the inputs' own; None: no input came
    as sequences one by one. Of several of unlike lengths the one whose steps reach it tells."""
    order = [*(key.source for key in keys), *range(len(each))] if each else []
    return next((each[k] for k in order if each[k] is not None), None)


def in_sequences(y: Array, keys: Keys, each: Sequence[Array | None]) -> Any:
    """A value with the steps of open number, whose masks are `keys`, as its sequences came."""
    own = lengths_of(sorted(keys, key=repr), each)
    return y if own is None else _one_by_one(y, own if keys else None)


def gradients_as_given(dxs: Sequence[Array], each: Sequence[Array | None]) -> list[Any]:
    """dL/dx by input, in the way in which its sequences came."""
    if not each:
        return list(dxs)
    pairs = zip(dxs, each, strict=False)  # those of masks may follow
    return [dx if own is None else _one_by_one(dx, own) for dx, own in pairs]


def _one_by_one(y: Array, lengths: Array | None) -> list[Array]:
    """By sample; the first steps alone where they are told."""
    if lengths is None:
        return list(y)
    return [row[:n] for row, n in zip(y, lengths, strict=True)]
