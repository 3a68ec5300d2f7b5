"""Where the seeds of models come from, and how one seed serves several purposes."""

from __future__ import annotations

import os
import threading

from . import checks

_MASK = 2**64 - 1
_lock = threading.Lock()
_state: list[int] | None = None  # [seed, models made since]


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
    with _lock:
        _state = [value, 0]


def is_set() -> bool:
    """Whether seeds follow from a call of `set_seed`."""
    return _state is not None


def next_seed() -> int:
    """A new model's seed: from `set_seed`, else from the operating system."""
    with _lock:
        if _state is None:
            return int.from_bytes(os.urandom(6), "little")
        _state[1] += 1
        return mix(_state[0], _state[1])


def mix(seed: int, purpose: int) -> int:
    """Another seed for another purpose (SplitMix64's finaliser, S. Vigna 2015)."""
    z = (seed + 0x9E3779B97F4A7C15 * (purpose + 1)) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


SHUFFLE = 1  # purposes
NOISE = 2  # and on, one for each layer
