"""Alternating measurements: every round times each candidate once, so drift hits all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable

# OpenBLAS's threads spin for 2^26 cycles after a product, others for milliseconds: a library timed
# while another's threads burn the second core looks ten times slower than it is.
PAUSE = 0.1


def alternate(
    candidates: dict[Hashable, Callable[[], object]],
    rounds: int,
    wake: dict[Hashable, Callable[[], object]] | None = None,
) -> dict[Hashable, dict]:
    """Seconds per call: {"median", "min", "max"} for each name. One untimed round comes first.

    Each turn starts with a pause and an untimed call, or with its call of `wake`."""
    seconds: dict[Hashable, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + 1):
        for name, call in candidates.items():
            time.sleep(PAUSE)
            (wake or candidates)[name]()  # this library's own threads
            start = time.perf_counter()
            call()
            elapsed = time.perf_counter() - start
            if turn:
                seconds[name].append(elapsed)
    return {
        name: {"median": statistics.median(s), "min": min(s), "max": max(s)}
        for name, s in seconds.items()
    }


def repeated(call: Callable[[], object], seconds: float = 0.02) -> tuple[Callable[[], None], int]:
    """A function that makes `call` about `seconds` long, and how many calls that is."""
    call()
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        n += 1
    count = max(1, n)

    def loop() -> None:
        for _ in range(count):
            call()

    return loop, count
