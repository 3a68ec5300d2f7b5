"""Training with products in bfloat16 beside training in float32."""

from __future__ import annotations

import numpy as np

from .. import report
from ..networks import NETWORKS, data_and_weights
from ..rivals import Bpcore, BpcoreBfloat16
from ..timing import alternate
from .options import Options

TITLE = "Products in bfloat16"
INTRO = (
    'A training step with `compute="bfloat16"` beside one in float32, in turns, after their first '
    "losses were compared; at least 1.4 times as fast on the largest network."
)
TOLERANCE = 2e-2  # of a loss; a step that trains something else gives more within three steps


def one(network, options: Options) -> dict:
    steps = max(3, network.steps // (10 if options.quick else 1))
    data = data_and_weights(network, steps)
    runs = [rival(network, *data) for rival in (Bpcore, BpcoreBfloat16)]
    full, rounded = (run.losses(3) for run in runs)
    if not np.allclose(full, rounded, rtol=TOLERANCE) or full == rounded:
        raise AssertionError(f"{network.name}: losses {full} in float32, {rounded} in bfloat16")
    timed = alternate({run.name: lambda run=run: run.epochs(2) for run in runs}, options.rounds)
    times = [{k: v / (2 * steps) * 1e6 for k, v in timed[run.name].items()} for run in runs]
    return {"network": network.name, "microseconds": times}


def measure(options: Options) -> list[dict]:
    from bpcore import _core

    return [one(network, options) for network in NETWORKS] if _core.config()["bfloat16"] else []


def table(found: list[dict]) -> str:
    rows = []
    for row in found:
        full, rounded = row["microseconds"]
        gains = [f"{full[k] / rounded[k]:.2f}x" for k in ("median", "min")]
        times = [report.number(t["median"]) for t in (full, rounded)]
        rows.append([row["network"], *times, *gains])
    head = ["one training step, microseconds", "float32", "bfloat16", "gain", "at best"]
    return report.table(head, rows)
