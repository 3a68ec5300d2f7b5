"""A chaotic series ahead: Mackey-Glass, beside what a linear model of the same past can do.

dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x, 1,000 points taken every 6th time unit. Taken at
every unit the series is so smooth that a linear autoregression of 20 steps has an error of 0.0006
of its deviation, which proves nothing about a network.

Usage: python mackey_glass.py [--quick]
"""

import sys

import numpy as np

import bpcore as bp

quick = "--quick" in sys.argv
every, length = 6, 20


def series(n, tau=17, substeps=10):
    """By Runge and Kutta's fourth-order rule; the delayed value is linear between grid points."""
    h, delay = 1 / substeps, tau * substeps
    x = [1.2] * (delay + 1)

    def slope(value, late):
        return 0.2 * late / (1 + late**10) - 0.1 * value

    for _ in range((n + 100) * every * substeps):
        now, a, b = x[-1], x[-1 - delay], x[-delay]
        middle = (a + b) / 2
        k1 = slope(now, a)
        k2 = slope(now + h / 2 * k1, middle)
        k3 = slope(now + h / 2 * k2, middle)
        k4 = slope(now + h * k3, b)
        x.append(now + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return np.array(x[:: every * substeps])[-n:]


values = series(1000)
values = (values - values[:700].mean()) / values[:700].std()
x, y = bp.datasets.windows(values, length)
cut = 700 - length
train, test = (x[:cut], y[:cut]), (x[cut:], y[cut:])


def error(prediction):
    """The root of the mean square over the targets' deviation."""
    return float(np.sqrt(((prediction - test[1]) ** 2).mean()) / test[1].std())


design = np.hstack([train[0][..., 0], np.ones((cut, 1))])
weights = np.linalg.lstsq(design, train[1], rcond=None)[0]
linear = error(np.hstack([test[0][..., 0], np.ones((len(test[0]), 1))]) @ weights)

layers = [bp.layers.LSTM(32), bp.layers.Dense(1)]
model = bp.Sequential(layers, seed=0)
epochs = 40 if quick else 400
rate = bp.schedules.Cosine(1e-2, epochs * -(-cut // 32))
model.compile(bp.optimizers.Adam(rate), "mse", gradient_clip_norm=1.0)
model.fit(*train, epochs=epochs, verbose=0)
print(f"one step of {every} ahead, error over deviation: linear {linear:.3f}, "
      f"LSTM {error(model.predict(test[0])):.3f}")  # fmt: skip
