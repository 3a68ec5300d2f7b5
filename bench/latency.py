"""Forward pass of 8-64-64-4 tanh on one row, NumPy in and NumPy out: microseconds."""

from __future__ import annotations

import numpy as np

from . import forward
from .timing import alternate, repeated

SIZES = (8, 64, 64, 4)
ROW = np.linspace(-1, 1, SIZES[0], dtype=np.float32)[None]


def latency(rounds: int) -> dict:
    calls = forward.calls(forward.random_weights(SIZES), "tanh", 1, ROW)
    loops = {name: repeated(lambda call=call: call(ROW)) for name, call in calls.items()}
    timed = alternate({name: loop for name, (loop, _) in loops.items()}, rounds)
    return {name: t["median"] / loops[name][1] * 1e6 for name, t in timed.items()}
