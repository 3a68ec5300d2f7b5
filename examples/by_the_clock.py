"""Second-order against first-order training by the clock: who is where after the same seconds.

300 rows of a smooth function of four inputs with a little noise, a net of 4-10-1, one start for
all; then digits with mini-batches, where K-FAC takes Adam's place.
"""

import time

import numpy as np

import bpcore as bp

O = bp.optimizers  # noqa: E741
rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (300, 4))
y = np.sin(2 * x[:, :1]) * x[:, 1:2] + x[:, 2:3] ** 2 - x[:, 3:] + rng.normal(0, 0.01, (300, 1))
SECONDS = 0.5


def race(layers, optimizer, loss, x, y, seconds, batch_size, dtype):
    """The smallest loss on all rows that was reached in that time of training."""
    model = bp.Sequential(layers, seed=0, dtype=dtype)
    model.compile(optimizer, loss)
    model.fit(x, y, epochs=1, batch_size=batch_size, verbose=0)  # builds it
    limit = bp.callbacks.TimeLimit(seconds)
    begin = time.perf_counter()
    history = model.fit(x, y, epochs=10**6, batch_size=batch_size, verbose=0, callbacks=[limit])
    spent = time.perf_counter() - begin
    return min(history.history["loss"]), len(history.history["loss"]), spent


found = {}
print(f"300 rows, after {SECONDS} s:")
for name, optimizer, size in (
    ("Levenberg-Marquardt", O.LevenbergMarquardt(), None),
    ("L-BFGS", O.LBFGS(), None),
    ("scaled conjugate gradients", O.ScaledConjugateGradient(), None),
    ("iRprop+", O.Rprop(0.01, variant="irprop+"), None),
    ("Adam, full batch", O.Adam(0.01), None),
    ("Adam, batches of 32", O.Adam(0.01), 32),
):
    layers = [bp.layers.Dense(10, "tanh"), bp.layers.Dense(1)]
    found[name], epochs, spent = race(layers, optimizer, "mse", x, y, SECONDS, size, "float64")
    print(f"  {name:27} {found[name]:.2e}  {epochs:6} epochs, {spent:.2f} s")
assert found["Levenberg-Marquardt"] < found["Adam, batches of 32"]
assert found["L-BFGS"] < found["Adam, full batch"]

images, digits = bp.datasets.load_digits()[:2]
print(f"digits, after {SECONDS} s:")
for name, optimizer in (
    ("K-FAC", O.KFAC()),
    ("K-FAC, exact lengths", O.KFAC(1.0, damping=0.03, rescale="both", trust=None)),
    ("Adam", O.Adam(0.003)),
    ("SGD", O.SGD(0.1, 0.9)),
):
    layers = [bp.layers.Dense(64, "tanh"), bp.layers.Dense(64, "tanh"), bp.layers.Dense(10)]
    loss, epochs, _ = race(
        layers, optimizer, "cross_entropy", images, digits, SECONDS, 64, "float32"
    )
    print(f"  {name:27} {loss:.2e}  {epochs:6} epochs")
