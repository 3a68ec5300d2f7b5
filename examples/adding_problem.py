"""The adding problem: two numbers far apart in a long sequence are to be added.

A sequence has T steps of two values: a number from [0, 1), and a mark that is 1 at two steps. The
target is the sum of the two marked numbers; who answers always 1 has an error of 1/6 = 0.1667. An
LSTM learns it; a plain recurrent network, whose gradients vanish on their way back through the
steps, stays near that (S. Hochreiter, J. Schmidhuber, 1997).

Usage: python adding_problem.py [--quick]
With T = 100 the LSTM needs some 40,000 to 60,000 sequences, a few minutes on two cores; --quick
takes T = 12.
"""

import sys

import numpy as np

import bpcore as bp

quick = "--quick" in sys.argv
steps, most, plain_most = (12, 20_000, 4_000) if quick else (100, 80_000, 55_000)
chunk = 2_000


def sequences(n, rng):
    """Samples (n, steps, 2) and targets (n, 1)."""
    x = np.zeros((n, steps, 2), np.float32)
    x[..., 0] = rng.random((n, steps))
    first = rng.integers(0, steps // 2, n)
    second = rng.integers(steps // 2, steps, n)
    rows = np.arange(n)
    x[rows, first, 1] = x[rows, second, 1] = 1
    return x, (x[rows, first, 0] + x[rows, second, 0])[:, None]


test = sequences(2_000, np.random.default_rng(1))


def trained(layer, limit):
    """The error after `limit` sequences, or when it is below 0.01."""
    model = bp.Sequential([bp.Input((steps, 2)), layer, bp.layers.Dense(1)], seed=0)
    model.compile(bp.optimizers.Adam(5e-3), "mse", gradient_clip_norm=1.0)
    rng, seen, error = np.random.default_rng(0), 0, np.inf
    while seen < limit and error >= 0.01:
        model.fit(*sequences(chunk, rng), batch_size=32, verbose=0)
        seen += chunk
        error = model.evaluate(*test)["loss"]
    return seen, error


for name, layer, limit in (
    ("LSTM", bp.layers.LSTM(32), most),
    ("plain", bp.layers.SimpleRNN(32), plain_most),
):
    seen, error = trained(layer, limit)
    print(f"{name}: error {error:.4f} after {seen} sequences of {steps} steps")
