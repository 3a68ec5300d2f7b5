"""LeNet-5 on MNIST, with PyTorch's beside it: python -m tests.judges.lenet [seed ...].

relu, max pooling, padding 2, 6-16-120-84, inputs normalised, Adam from 1e-3 linearly to 0 over 8
epochs, batch 64: at least 99.0 % of the test images at the end, for each seed (0, 1, 2). MNIST
comes from the folder that the environment variable BPCORE_DATA names. PyTorch, if installed, takes
an epoch from the same weights, for its time.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np
from bench import images as bench

import bpcore as bp

EPOCHS, BATCH, GOAL = 8, 64, 0.99


def data():
    """Training and test images around 0, as 28 x 28 x 1."""
    (x, y), (xt, yt) = bp.datasets.load_mnist()
    x, xt = (((a / np.float32(255)) - 0.1307) / 0.3081 for a in (x, xt))
    return tuple((a.astype(np.float32).reshape(-1, 28, 28, 1), b) for a, b in ((x, y), (xt, yt)))


def trained(seed, train, test):
    """Accuracy on the test images, and seconds of an epoch."""
    model = bench.Lenet().ours(seed)
    steps = EPOCHS * -(-len(train[0]) // BATCH)
    rate = bp.schedules.Polynomial(1e-3, decay_steps=steps)
    model.compile(bp.optimizers.Adam(rate), "cross_entropy", metrics=["accuracy"])
    start = time.perf_counter()
    model.fit(*train, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return model.evaluate(*test)["accuracy"], (time.perf_counter() - start) / EPOCHS


def pytorch(seed, train):
    """Seconds of an epoch, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(bp.get_num_threads())
    case = bench.Lenet()
    net = case.theirs()
    bench.give_weights(case.ours(seed), net)
    x, y = torch.tensor(train[0].transpose(0, 3, 1, 2)), torch.tensor(train[1]).long()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    start = time.perf_counter()
    for rows in torch.randperm(len(x)).split(BATCH):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
    return time.perf_counter() - start


def main(seeds):
    if os.environ.get("BPCORE_DATA") is None:
        print("lenet: BPCORE_DATA names no folder with MNIST")
        return
    train, test = data()
    for seed in seeds:
        accuracy, seconds = trained(seed, train, test)
        line = f"seed {seed}: {100 * accuracy:.2f} % of the test images, {seconds:.1f} s an epoch"
        rival = pytorch(seed, train) if seed == seeds[0] else None
        print(line + (f", PyTorch {rival:.1f} s" if rival else ""), flush=True)
        assert accuracy >= GOAL, line


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [0, 1, 2])
