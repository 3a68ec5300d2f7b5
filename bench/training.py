"""One training step of each network: microseconds, after the first losses were found equal."""

from __future__ import annotations

import numpy as np

from .networks import NETWORKS, Network, data_and_weights
from .rivals import Rival, rivals
from .timing import alternate

EPOCHS = 5  # of a run: what it does once, as looking through the data for NaN, is shared among them

# Losses of the first three steps in float32 from equal weights. Sums differ in order, scikit-learn
# adds Adam's epsilon before the bias correction, and Adam turns the smallest gradients into full
# steps of either sign: 3e-4 was seen. Another formula or another batch gives 1e-2 and more.
TOLERANCE = 1e-3


def assert_equal_losses(network: Network, runs: list[Rival], steps: int = 3) -> None:
    """Raises where a library's first losses differ from the NumPy reference's."""
    found = {run.name: run.losses(steps) for run in runs}
    expected = found["NumPy"]
    for name, losses in found.items():
        if not np.allclose(losses, expected[: len(losses)], rtol=TOLERANCE):
            raise AssertionError(
                f"{network.name}: {name} gives losses {losses}, NumPy {expected}; "
                "the libraries do not do the same work"
            )


def measure(network: Network, rounds: int, quick: bool, compiled: bool) -> dict:
    steps = max(3, network.steps // 10) if quick else network.steps
    data = data_and_weights(network, steps)
    runs = [rival(network, *data) for rival in rivals(compiled)]
    assert_equal_losses(network, runs)
    timed = alternate(
        {run.name: lambda run=run: run.epochs(EPOCHS) for run in runs}, rounds,
        {run.name: run.epoch for run in runs},
    )  # fmt: skip
    microseconds = {
        name: {key: value / (EPOCHS * steps) * 1e6 for key, value in t.items()}
        for name, t in timed.items()
    }
    return {"network": network.name, "steps": steps, "microseconds": microseconds}


def training(rounds: int, quick: bool, compiled: bool, only: str | None = None) -> list[dict]:
    chosen = [n for n in NETWORKS if not only or only in n.name]
    return [measure(network, rounds, quick, compiled) for network in chosen]
