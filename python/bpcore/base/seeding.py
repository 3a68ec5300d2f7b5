"""Where the seeds of models come from, and how one seed serves several purposes."""

from __future__ import annotations

import itertools
import os

import numpy as np

from . import checks
from .memory import Array

_MASK = 2**64 - 1
# The seed and a counter of models made since; no lock, which Ctrl-C or a fork could leave held.
_state: tuple[int, itertools.count[int]] | None = None


def set_seed(seed: int) -> None:
    """Make everything after this call reproducible: models with ``seed=None`` take theirs from it.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.set_seed(7)
    >>> a = bp.Sequential([bp.layers.Dense(2)])
    >>> bp.set_seed(7)
    >>> b = bp.Sequential([bp.layers.Dense(2)])
    >>> a.seed == b.seed
    True
    """
    global _state
    value = checks.seed(seed)
    if value is None:
        raise TypeError("seed must be an int in [0, 2^64), got None")
    _state = value, itertools.count(1)


def is_set() -> bool:
    """Whether seeds follow from a call of `set_seed`."""
    return _state is not None


def next_seed() -> int:
    """A new model's seed: from `set_seed`, else from the operating system."""
    if _state is None:
        return int.from_bytes(os.urandom(6), "little")
    seed, made = _state
    return mix(seed, next(made))


def mix(seed: int, purpose: int) -> int:
    """Another seed for another purpose (SplitMix64's finaliser, S. Vigna 2015)."""
    z = (seed + 0x9E3779B97F4A7C15 * (purpose + 1)) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def mixed(places: Array, purpose: int) -> Array:
    """`mix` of an array of uint64."""
    z = places + np.uint64((0x9E3779B97F4A7C15 * (purpose + 1)) & _MASK)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: Array = z ^ (z >> np.uint64(31))
    return result


SHUFFLE = 1  # purposes
NOISE = 2  # and on, one for each layer
CURVATURE = 2**32  # targets that K-FAC draws
