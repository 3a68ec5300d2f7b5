"""Loads the core with OpenMP's threads told to sleep soon after their work.

GCC's OpenMP spins for milliseconds before it sleeps and reads its wishes from the environment when
it is loaded. 1000 rounds of its loop are 20 to 50 us: longer than the gap between two calls in a
loop, and too short to be felt by neighbours. What the user has set is left alone, and what is set
here is taken back: child processes and other libraries need not know.
"""

from __future__ import annotations

import os

_WISHES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_ROUNDS = "1000"


def load_core() -> None:
    """Import _core for the first time."""
    wishes = any(name in os.environ for name in _WISHES)
    if not wishes:
        os.environ["GOMP_SPINCOUNT"] = _ROUNDS
    try:
        from . import _core  # noqa: F401
    finally:
        if not wishes:
            del os.environ["GOMP_SPINCOUNT"]
