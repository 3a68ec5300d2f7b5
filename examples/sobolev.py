"""A function fitted by its values and its slopes at a few points, against its values alone.

The network's own derivative by its input is an output of the graph, so any loss may look at it
(W. Czarnecki et al., "Sobolev training for neural networks", 2017).
"""

import numpy as np

import bpcore as bp


def with_slope(hidden, last, x):
    """Values and derivatives by x of tanh layers and a linear one; a layer of 0 is its bias."""
    value, slope = x, x * 0.0 + 1.0
    for layer in hidden:
        rate = layer(slope) - layer(slope * 0.0)
        value = bp.layers.Activation("tanh")(layer(value))
        slope = (1.0 - value * value) * rate
    return last(value), last(slope) - last(slope * 0.0)


def f(x):
    return np.sin(4 * x) + x**2


def slope(x):
    return 4 * np.cos(4 * x) + 2 * x


x, dense = np.linspace(-1.5, 1.5, 8)[:, None], np.linspace(-1.5, 1.5, 400)[:, None]
errors = {}
for name, weights in (("values alone", [1.0, 0.0]), ("values and slopes", [1.0, 0.1])):
    point = bp.Input((1,))
    hidden, last = [bp.layers.Dense(12), bp.layers.Dense(12)], bp.layers.Dense(1)
    model = bp.Model(point, list(with_slope(hidden, last, point)), dtype="float64", seed=0)
    model.compile(bp.optimizers.LBFGS(), "mse", loss_weights=weights)
    history = model.fit(x, [f(x), slope(x)], epochs=500, verbose=0)
    errors[name] = float(np.abs(model.predict(dense)[0] - f(dense)).max())
    print(f"{name}: {len(history.history['loss'])} iterations, largest error {errors[name]:.4f}")
assert errors["values and slopes"] < 0.3 * errors["values alone"]
