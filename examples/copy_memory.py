"""Copy memory: ten symbols are to be said again after a long silence.

A sequence is ten of 8 symbols, blanks, a sign to begin, and ten blanks, T + 20 steps in all; the
target is blank until behind the sign, then the ten symbols. Who knows nothing of the past can do
no better than guess them: a mean cross entropy of 10 ln 8 / (T + 20). How far it gets below shows
what is remembered.

Usage: python copy_memory.py [--quick]
"""

import sys

import numpy as np

import bpcore as bp

quick = "--quick" in sys.argv
wait, batches = (10, 300) if quick else (10, 4000)
length = wait + 20
rng = np.random.default_rng(0)


def sequences(n):
    """Symbols 1 to 8, blank 0, the sign 9."""
    said = rng.integers(1, 9, (n, 10))
    x, y = np.zeros((n, length), np.int32), np.zeros((n, length), np.int32)
    x[:, :10], x[:, 9 + wait] = said, 9
    y[:, -10:] = said
    return x, y


L = bp.layers
layers = [L.Embedding(10, 10), L.GRU(64, return_sequences=True), L.Dense(9)]
model = bp.Sequential(layers, seed=0)
model.compile(bp.optimizers.Adam(5e-3), "cross_entropy", gradient_clip_norm=1.0)
model.fit(*sequences(32 * batches), batch_size=32, verbose=0)
loss = model.evaluate(*sequences(1000))["loss"]
print(f"cross entropy {loss:.4f}, by guessing {10 * np.log(8) / length:.4f}")
