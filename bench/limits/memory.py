"""Peak memory of training over what training cannot do without.

The sum: weights; the optimizer's slots; gradients where they are materialised (as big as the
weights; nowhere in these runs); and the values that live at the end of a backward pass, when no
weight has changed yet: the batch as float32, the output of every layer and its delta. The peak: the
most memory that was resident while the model was built and trained, less what was before, with the
data already there and the same code run once on a tiny model, and less the pages of files (code)
that came to it. Activations fused with their product, as relu is, keep one array. What the kernels
pack is not in the sum.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools

import numpy as np

from .. import report, roofline
from ..networks import NETWORKS, Network
from .options import Options, in_child
from .resident import reset_peak, status, trim

TITLE = "Memory of training"
INTRO = (
    "The most memory resident while a model is built and trained for an epoch, above that before, "
    "over the sum of weights, optimizer state and live activations (the batch, every layer's "
    "output and its delta): at most 1.15. Data of uint8 are converted batch by batch: the growth "
    "is that of float32 data, and a copy of all rows in float32 would be as large as in the last "
    "column."
)
MEDIUM, LARGE = NETWORKS[3], NETWORKS[6]
RUNS = (MEDIUM, LARGE, dataclasses.replace(LARGE, optimizer="Adam"))


def needed(sizes: tuple[int, ...], batch: int, slots: int, gradients: bool) -> int:
    """Bytes of the sum that the docstring above explains."""
    weights = sum(i * o + o for i, o in itertools.pairwise(sizes))
    values = batch * (sizes[0] + 2 * sum(sizes[1:]))
    return 4 * ((1 + slots + gradients) * weights + values)


def train(network: Network, x, y):
    import bpcore as bp

    layers = [bp.layers.Dense(u, network.activation) for u in network.sizes[1:-1]]
    model = bp.Sequential([*layers, bp.layers.Dense(network.sizes[-1])], seed=0)
    optimizer = getattr(bp.optimizers, network.optimizer)(1e-4)
    model.compile(optimizer, "cross_entropy")
    return model, model.fit(x, y, batch_size=network.batch, verbose=0)


def work(run: int, dtype: str, rows: int) -> dict:
    network = RUNS[run]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (rows, network.sizes[0]), np.uint8).astype(dtype)
    y = rng.integers(0, network.sizes[-1], rows).astype(np.int32)
    tiny = dataclasses.replace(network, sizes=(8, 8, 8, 2))
    train(tiny, x[:2048, :8], y[:2048] % 2)
    trim()
    reset_peak()
    before, code = status("VmRSS"), status("RssFile")
    model, history = train(network, x, y)
    peak = status("VmHWM") - before - (status("RssFile") - code)
    if not np.isfinite(history.history["loss"][0]):
        raise AssertionError(f"{network.name}: the loss is not finite")
    text = model._engine.trainer("train", model._compilation).describe()
    gradients = "gradients: materialised" in text
    slots = roofline.SLOTS[network.optimizer]
    digest = hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights()))
    return {
        "network": network.name,
        "data": dtype,
        "peak": peak,
        "needed": needed(network.sizes, network.batch, slots, gradients),
        "copy": 4 * x.size,
        "weights": digest.hexdigest(),
    }


def measure(options: Options) -> list[dict]:
    found = []
    for run, network in enumerate(RUNS):
        rows = network.batch * (50 if options.quick else 200)
        pair = [in_child("memory", run=run, dtype=d, rows=rows) for d in ("uint8", "float32")]
        if pair[0]["weights"] != pair[1]["weights"]:
            raise AssertionError(f"{network.name}: uint8 and float32 data give other weights")
        found += pair
    return found


def table(found: list[dict]) -> str:
    rows = [
        [r["network"], r["data"], *(f"{r[k] / 1e6:.1f}" for k in ("peak", "needed")),
         f"{r['peak'] / r['needed']:.2f}", f"{r['copy'] / 1e6:.0f}"]
        for r in found
    ]  # fmt: skip
    return report.table(["MB", "data", "peak", "sum", "ratio", "all rows in float32"], rows)
