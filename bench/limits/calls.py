"""Calls with one row: how long, how evenly, and whether they leave anything behind."""

from __future__ import annotations

import statistics
import time

import numpy as np

from .. import forward, report
from ..latency import ROW, SIZES
from .options import Options, in_child
from .resident import status

TITLE = "One row, call by call"
INTRO = (
    "`model(x)` of 8-64-64-4 tanh, each call between two readings of the clock, whose own time "
    "(the median of empty pairs) is taken off. `predict` does the same work on the way that takes "
    "any input. Growth is that of the process's resident memory."
)


def microseconds(call, times: int) -> np.ndarray:
    clock, row = time.perf_counter_ns, ROW
    found = [0] * times
    for i in range(times):
        start = clock()
        call(row)
        found[i] = clock() - start
    return np.array(found) / 1e3


def nothing(x) -> None:
    pass


def work(calls: int, repeats: int) -> dict:
    model = forward.calls(forward.random_weights(SIZES), "tanh", 1, ROW)["bpcore"]
    if (model(ROW) != model.predict(ROW)).any():
        raise AssertionError("predict and call differ")
    for warm in (nothing, model, model.predict):
        microseconds(warm, 10_000)
    empty = float(np.median(microseconds(nothing, calls // 10)))
    turns: dict = {"call": [], "predict": []}
    for _ in range(5):
        turns["call"].append(microseconds(model, calls // 5) - empty)
        turns["predict"].append(microseconds(model.predict, calls // 50) - empty)
    times = np.concatenate(turns["call"])
    before = status("VmRSS")
    for _ in range(repeats):
        model(ROW)
    growth = status("VmRSS") - before  # before NumPy copies the times to sort them
    return {
        "calls": calls,
        "clock": empty,
        "median": float(np.median(times)),
        "p99": float(np.percentile(times, 99)),
        "predict": statistics.median(float(np.median(t)) for t in turns["predict"]),
        "repeats": repeats,
        "growth": growth,
    }


def measure(options: Options) -> dict:
    calls = 20_000 if options.quick else 200_000
    repeats = 10_000_000 if options.long else 100_000 if options.quick else 1_000_000
    return in_child("calls", calls=calls, repeats=repeats)


def table(found: dict) -> str:
    cells = [
        *(f"{found[k]:.2f}" for k in ("median", "p99")),
        f"{found['p99'] / found['median']:.2f}",
        f"{found['predict']:.2f}",
        f"{found['clock']:.2f}",
        f"{found['growth'] / 1024:.0f} KiB",
    ]
    head = [
        f"{found['calls']:,} calls, microseconds: median", "99th percentile", "ratio",
        "predict, median", "clock, taken off", f"growth in {found['repeats']:,} calls",
    ]  # fmt: skip
    return report.table(head, [cells])
