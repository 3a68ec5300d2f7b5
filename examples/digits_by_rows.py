"""Handwritten digits read row by row: each image is a sequence of 8 steps of 8 pixels.

Usage: python digits_by_rows.py [--quick]
Three seeds, 40 epochs each: the mean of the test accuracies is above 97 %.
"""

import sys

import numpy as np

import bpcore as bp

quick = "--quick" in sys.argv
(x, y), (xt, yt) = bp.datasets.load_digits(split=True)
mean, deviation = x.mean(), x.std()
x, xt = ((a.reshape(-1, 8, 8) - mean) / deviation for a in (x, xt))
epochs, seeds = (4, 1) if quick else (40, 3)

found = []
for seed in range(seeds):
    model = bp.Sequential([bp.layers.LSTM(64), bp.layers.Dense(10)], seed=seed)
    rate = bp.schedules.Polynomial(1e-2, epochs * -(-len(x) // 32), end_learning_rate=0.0)
    model.compile(bp.optimizers.Adam(rate), "cross_entropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)
    found.append(model.evaluate(xt, yt)["accuracy"])
print(f"test accuracy {np.mean(found):.4f} in the mean of {seeds} seeds")
