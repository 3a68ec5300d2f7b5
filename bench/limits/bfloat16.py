"""Training with products in bfloat16 beside training in float32, and beside PyTorch's."""

from __future__ import annotations

import numpy as np

from .. import report
from ..networks import NETWORKS, data_and_weights
from ..rivals import Bpcore, BpcoreBfloat16, PyTorchBfloat16
from ..timing import alternate
from .options import Options

TITLE = "Products in bfloat16"
INTRO = (
    'A training step with `compute="bfloat16"` beside one in float32, and beside PyTorch\'s under '
    "`torch.autocast`, in turns, after their first losses were compared. The layers in bfloat16 "
    "are those whose weights are large enough for it to pay, by the instruction named; where there "
    "are none the two columns do the same work and should differ by noise only (3 %). On the "
    "largest network at least 1.4 times as fast, and 2 times with AMX."
)
TOLERANCE = 2e-2  # of a loss; a step that trains something else gives more within three steps


def one(network, options: Options) -> dict:
    steps = max(3, network.steps // (10 if options.quick else 1))
    data = data_and_weights(network, steps)
    kinds = (Bpcore, BpcoreBfloat16, PyTorchBfloat16)
    runs = [rival(network, *data) for rival in kinds if rival.available()]
    rounding = runs[1].rounding()
    found = {run.name: run.losses(3) for run in runs}
    full = found[Bpcore.name]
    for name, losses in found.items():
        same = name == Bpcore.name or (name == BpcoreBfloat16.name and not rounding)
        if not np.allclose(full, losses, rtol=TOLERANCE) or (full == losses) != same:
            raise AssertionError(f"{network.name}: losses {full} in float32, {losses} of {name}")
    timed = alternate({run.name: lambda run=run: run.epochs(2) for run in runs}, options.rounds)
    times = {name: {k: v / (2 * steps) * 1e6 for k, v in t.items()} for name, t in timed.items()}
    return {"network": network.name, "rounding": rounding, "microseconds": times}


def measure(options: Options) -> list[dict]:
    return [one(network, options) for network in NETWORKS]


def table(found: list[dict]) -> str:
    rows = []
    for row in found:
        times = row["microseconds"]
        full, rounded = times[Bpcore.name], times[BpcoreBfloat16.name]
        rival = times.get(PyTorchBfloat16.name)
        rows.append(
            [
                row["network"],
                row["rounding"] or "float32",
                *(report.number(t["median"]) for t in (full, rounded)),
                *(f"{full[k] / rounded[k]:.2f}x" for k in ("median", "min")),
                report.number(rival["median"]) if rival else "",
                f"{rival['median'] / rounded['median']:.2f}x" if rival else "",
            ]
        )
    head = [
        "one training step, microseconds", "by", "float32", "bfloat16", "gain", "at best",
        "PyTorch bfloat16", "over ours",
    ]  # fmt: skip
    return report.table(head, rows)
