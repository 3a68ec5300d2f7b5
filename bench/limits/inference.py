"""Predictions for many rows: GFLOP/s."""

from __future__ import annotations

import itertools

import numpy as np

from .. import forward, report, roofline
from ..timing import alternate
from .options import Options

TITLE = "Predictions"
SIZES, ROWS, BLOCK = (784, 512, 512, 10), 10_000, 1024
INTRO = (
    f"{ROWS:,} float32 rows through {'-'.join(map(str, SIZES))} relu by `model.predict`, from "
    "NumPy to NumPy, and the share of the machine's peak. The other libraries get all rows at "
    f"once and in blocks of {BLOCK:,}; the faster counts."
)


def flops() -> int:
    return 2 * ROWS * sum(i * o for i, o in itertools.pairwise(SIZES))


def in_blocks(call, x):
    def blocks():
        return np.concatenate([call(x[i : i + BLOCK]) for i in range(0, len(x), BLOCK)])

    return blocks


def measure(options: Options) -> dict:
    x = np.random.default_rng(5).random((ROWS, SIZES[0]), dtype=np.float32)
    calls = forward.calls(forward.random_weights(SIZES), "relu", options.threads, x)
    model = calls.pop("bpcore")
    if (model.predict(x) != model(x)).any():
        raise AssertionError("predict and call differ")
    candidates = {("bpcore", ""): lambda: model.predict(x)}
    for name, call in calls.items():
        candidates[name, ""] = lambda call=call: call(x)
        candidates[name, "blocks"] = in_blocks(call, x)
    timed = alternate(candidates, options.rounds)
    gflops: dict[str, float] = {}
    for (name, _), t in timed.items():
        gflops[name] = max(gflops.get(name, 0.0), flops() / t["median"] / 1e9)
    return {"gflops": gflops, "peak": roofline.peaks(options.threads)["flops"] / 1e9}


def table(found: dict) -> str:
    rows = [
        [name, report.number(rate), f"{rate / found['peak']:.0%}"]
        for name, rate in found["gflops"].items()
    ]
    return report.table(["predict", "GFLOP/s", f"of {found['peak']:.0f} GFLOP/s"], rows)
