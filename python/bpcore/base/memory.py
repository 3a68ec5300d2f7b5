"""Arrays of the core's memory, and the types by which arrays and shapes are named everywhere."""

from __future__ import annotations

import itertools
import operator
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _core

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


def empty(shape: Shape, dtype: str | np.dtype[Any]) -> Array:
    """An array of zeros that begins on a cache line, where vectors of any width are aligned."""
    result: Array = _core.empty(shape, dtype)
    return result


def aligned_copy(value: Array) -> Array:
    """A copy in the core's memory, on a cache line."""
    result = empty(tuple(value.shape), value.dtype)
    result[...] = value
    return result


def physical() -> int:
    """Bytes of the machine's memory, 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def copy_all(targets: Sequence[Array], sources: Sequence[Array]) -> None:
    """Copy arrays into arrays, all of them or none: no Python code runs between two copies, so
    Ctrl-C comes before or after."""
    assign: Callable[[Any, Any, Any], None] = operator.setitem
    deque(map(assign, targets, itertools.repeat(...), sources), maxlen=0)
