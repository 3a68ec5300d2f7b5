"""A net of 1D convolutions hears whether a tone in noise rises or falls, wherever it is."""

import sys

import numpy as np

import bpcore as bp
from bpcore import layers as L

LENGTH, BURST = 128, 40
rng = np.random.default_rng(0)


def signals(n):
    """Noise with a burst at a random place whose frequency rises (1) or falls (0)."""
    y = rng.integers(0, 2, n)
    t = np.arange(BURST) / BURST
    rising = np.sin(2 * np.pi * (2 * t + 4 * t**2) + rng.uniform(0, 2 * np.pi, (n, 1)))
    bursts = np.where(y[:, None] == 1, rising, rising[:, ::-1]) * np.hanning(BURST)
    x = 0.3 * rng.normal(size=(n, LENGTH))
    for row, burst, start in zip(x, bursts, rng.integers(0, LENGTH - BURST, n), strict=True):
        row[start : start + BURST] += burst
    return x[..., None].astype("float32"), y


def trained(*layers, epochs):
    model = bp.Sequential([bp.Input((LENGTH, 1)), *layers, L.Dense(2)], seed=0)
    model.compile(bp.optimizers.Adam(3e-3), "cross_entropy", metrics=["accuracy"])
    model.fit(*signals(2000), epochs=epochs, verbose=0)
    return model


epochs, test = 8 if "--quick" in sys.argv else 20, signals(1000)
linear = trained(L.Flatten(), epochs=epochs)
net = trained(
    L.Conv1D(16, 9, strides=2, padding="same", activation="relu"),
    L.Conv1D(16, 5, padding="same", dilation_rate=2, activation="relu"),
    L.MaxPooling1D(2),
    L.Conv1D(16, 5, padding="same", activation="relu"),
    L.GlobalMaxPooling1D(),
    epochs=epochs,
)
net.summary()
for name, model in (("linear", linear), ("convolutions", net)):
    print(f"{name}: test accuracy {model.evaluate(*test)['accuracy']:.4f}")
