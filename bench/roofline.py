"""The floor of a training step: its flops at the machine's peak, its bytes at memory's pace."""

from __future__ import annotations

import itertools
import time

import numpy as np

from .networks import Network, forward_flops

SLOTS = {"Adam": 2, "SGD": 0}
PEAK_SECONDS = 0.5
CACHE = 32 << 20  # bytes of weights and state up to which they stay in a level-3 cache


def step_flops(network: Network) -> int:
    """Multiplications and additions of a step: forward, dx of all layers but the first, dw."""
    first = 2 * network.batch * network.sizes[0] * network.sizes[1]
    return 3 * forward_flops(network) - first


def step_bytes(network: Network) -> int:
    """To and from memory: the batch, and weights and state beyond the cache."""
    rows = 4 * network.batch * network.sizes[0]
    weights = 4 * sum(i * o + o for i, o in itertools.pairwise(network.sizes))
    slots = SLOTS[network.optimizer]
    held = (1 + slots) * weights
    # forward, backward, update: three reads and a write of w, a read and a write of each slot
    return rows + ((4 + 2 * slots) * weights if held > CACHE else 0)


def peaks(threads: int) -> dict[str, float]:
    """Flops a second of FMA chains in registers, on one thread and on all at once, float32; and
    bytes a second of a long copy, read and written."""
    from bpcore import _core

    source = np.zeros(1 << 25, np.float32)
    target = np.zeros_like(source)
    moved = 2 * source.nbytes / _best(lambda: np.copyto(target, source), 8)
    return {
        "flops_one": _core.fma_peak("float32", 1, PEAK_SECONDS),
        "flops": _core.fma_peak("float32", threads, PEAK_SECONDS),
        "bytes": moved,
    }


def floor(network: Network, peak: dict[str, float]) -> float:
    """Microseconds."""
    return 1e6 * max(step_flops(network) / peak["flops"], step_bytes(network) / peak["bytes"])


def _best(work, times: int) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
