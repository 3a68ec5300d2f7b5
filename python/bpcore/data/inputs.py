"""Inputs of data as a model takes them, and outputs in the way in which its sequences came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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
    if not comes_in_list(found, k) or found.lengths is None:
        return y
    if not found.valid or found.valid[k] is None:
        return list(y)
    return [row[:n] for row, n in zip(y, found.lengths, strict=True)]
