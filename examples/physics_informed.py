"""A differential equation solved by a network: L-BFGS makes its residual, an output, small.

u'' = -u on [0, 3] with u(0) = 0, u'(0) = 1, whose solution is sin(x). No u inside is given.
"""

import numpy as np

import bpcore as bp


def derivatives(hidden, last, x):
    """u, u' and u'' by x of tanh layers and a linear one; a layer of 0 is its bias alone."""
    value, first, second = x, x * 0.0 + 1.0, x * 0.0
    for layer in hidden:
        zero = layer(value * 0.0)
        slope, bend = layer(first) - zero, layer(second) - zero
        value = bp.layers.Activation("tanh")(layer(value))
        rate = 1.0 - value * value
        first, second = rate * slope, rate * bend - 2.0 * value * rate * slope * slope
    zero = last(value * 0.0)
    return last(value), last(first) - zero, last(second) - zero


hidden = [bp.layers.Dense(16), bp.layers.Dense(16)]
last = bp.layers.Dense(1)
inside, start = bp.Input((1,), name="inside"), bp.Input((1,), name="start")
u, _, bend = derivatives(hidden, last, inside)
at_start, rate_at_start, _ = derivatives(hidden, last, start)
model = bp.Model([inside, start], [bend + u, at_start, rate_at_start], dtype="float64", seed=0)
model.compile(bp.optimizers.LBFGS(), "mse")

x = np.linspace(0, 3, 40)[:, None]
zeros, ones = np.zeros_like(x), np.ones_like(x)
history = model.fit([x, zeros], [zeros, zeros, ones], epochs=400, verbose=0)
solution = bp.Model(inside, u, dtype="float64")
error = float(np.abs(solution.predict(x) - np.sin(x)).max())
print(f"{len(history.history['loss'])} iterations, largest error {error:.1e}")
assert error < 5e-3
