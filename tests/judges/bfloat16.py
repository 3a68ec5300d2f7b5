"""MNIST with products in bfloat16: python -m tests.judges.bfloat16 [instruction].

784-512-512-10 relu, Adam from 1e-3 linearly to 0 over 3 epochs, batch 128: the mean accuracy of
three seeds on the test images is within 0.2 points of that in float32. The instruction is this
CPU's, or the one named; amx_bf16 is emulated where the CPU has no tiles, which takes a quarter of
an hour. MNIST comes from the folder that the environment variable BPCORE_DATA names.
"""

from __future__ import annotations

import contextlib
import sys

import numpy as np

import bpcore as bp
from bpcore import _core

from ..helpers import tiles

EPOCHS, BATCH, GOAL = 3, 128, 0.2


def data():
    (x, y), (xt, yt) = bp.datasets.load_mnist()
    return *((a.reshape(len(a), -1) / np.float32(255)) for a in (x, xt)), y, yt


def accuracy(compute, seed, x, xt, y, yt):
    """In percent, of the test images."""
    layers = [bp.layers.Dense(512, "relu"), bp.layers.Dense(512, "relu"), bp.layers.Dense(10)]
    model = bp.Sequential([bp.Input((784,)), *layers], seed=seed, compute=compute)
    rate = bp.schedules.Polynomial(1e-3, decay_steps=EPOCHS * -(-len(x) // BATCH))
    model.compile(bp.optimizers.Adam(rate), "cross_entropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return 100 * model.evaluate(xt, yt)["accuracy"]


def main(names) -> None:
    images = data()
    chosen = contextlib.nullcontext()
    if names == ["amx_bf16"]:
        chosen = tiles.in_use()
    elif names:
        _core.select_bfloat16(*names)
    means = {}
    for compute in ("float32", "bfloat16"):
        with chosen if compute == "bfloat16" else contextlib.nullcontext():
            found = [accuracy(compute, seed, *images) for seed in range(3)]
            by = _core.config()["bfloat16"] if compute == "bfloat16" else ""
            assert by or compute == "float32", "this process has no products in bfloat16"
        means[compute] = float(np.mean(found))
        each = ", ".join(f"{a:.2f}" for a in found)
        print(f"{compute} {by}: {each}; mean {means[compute]:.2f} %", flush=True)
    assert abs(means["bfloat16"] - means["float32"]) <= GOAL, means


if __name__ == "__main__":
    main(sys.argv[1:])
