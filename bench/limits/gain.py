"""Whether a second thread helps, or is left asleep where it would not."""

from __future__ import annotations

import dataclasses
import re

from .. import report, roofline
from ..networks import NETWORKS, Network, data_and_weights
from ..rivals import Bpcore, NumPy
from ..timing import alternate
from ..training import assert_equal_losses
from .options import Options

TITLE = "More threads help or are not used"
INTRO = (
    "A training step through `fit` with one thread allowed and with all, in turns; and how many "
    "the core took. The last columns are the ratios of the medians and of the best times: never "
    "below 0.97, and 1.8 and more on two cores for the two largest networks at their batch size."
)
POLICY = Network((4, 120, 84, 2), "relu", 32, "Adam", 0, 1e-3)


def networks() -> list[Network]:
    found = []
    for network in NETWORKS:
        found += [network, dataclasses.replace(network, batch=1)]
    return [*found, POLICY]


def steps(network: Network, seconds: float) -> int:
    """Training steps in about this number of seconds on one thread.

    By counts: 1e11 flops and 2e10 bytes of weights and state a second, and 3 microseconds a step.
    """
    weights = 4 * sum(i * o for i, o in zip(network.sizes, network.sizes[1:], strict=False))
    moved = weights * (4 + 2 * roofline.SLOTS[network.optimizer])
    return max(4, int(seconds / (roofline.step_flops(network) / 1e11 + moved / 2e10 + 3e-6)))


def threads_taken(model) -> int:
    text = model._engine.trainer("train", model._compilation).describe()
    return int(re.search(r"threads at batch \d+: (\d+)", text).group(1))


def one(network: Network, options: Options) -> dict:
    import bpcore as bp

    n = steps(network, 0.02 if options.quick else 0.05)
    data = data_and_weights(network, n)
    runs = {threads: Bpcore(network, *data) for threads in (1, options.threads)}
    assert_equal_losses(network, [Bpcore(network, *data), NumPy(network, *data)])

    def epoch(threads: int):
        with bp.threads(threads, exact=True):
            runs[threads].epoch()

    for threads in runs:
        epoch(threads)
    alone, together = (run.model.get_weights() for run in runs.values())
    if any((a != b).any() for a, b in zip(alone, together, strict=True)):
        raise AssertionError(f"{network.name}: other weights with {options.threads} threads")
    with bp.threads(options.threads, exact=True):
        taken = threads_taken(runs[options.threads].model)
    timed = alternate({t: lambda t=t: epoch(t) for t in runs}, options.rounds)
    return {
        "network": network.name,
        "threads": taken,
        "microseconds": [{k: v / n * 1e6 for k, v in timed[t].items()} for t in runs],
    }


def measure(options: Options) -> list[dict]:
    return [one(network, options) for network in networks()] if options.threads > 1 else []


def table(found: list[dict]) -> str:
    rows = []
    for row in found:
        alone, together = row["microseconds"]
        gains = [f"{alone[k] / together[k]:.2f}x" for k in ("median", "min")]
        times = [report.number(t["median"]) for t in (alone, together)]
        rows.append([row["network"], *times, str(row["threads"]), *gains])
    head = ["one training step, microseconds", "one thread", "all", "taken", "gain", "at best"]
    return report.table(head, rows)
