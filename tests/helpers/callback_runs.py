"""A model for callbacks, and sequences of values with what callbacks must make of them."""

from __future__ import annotations

import types

import numpy as np

import bpcore as bp


def data(rows=96, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6))
    return x, (x @ rng.normal(size=(6, 4))).argmax(axis=1)


def network(optimizer=None, **options):
    model = bp.Sequential([bp.layers.Dense(8, "tanh"), bp.layers.Dense(4)], dtype="float64", seed=3)
    model.compile(optimizer=optimizer or bp.optimizers.Adam(0.02), loss="cross_entropy",
                  metrics=["accuracy"], **options)  # fmt: skip
    return model


class Fake:
    """Just what hooks touch: one weight, a rate, the wish to stop."""

    def __init__(self):
        self.stop_training = False
        self.optimizer = types.SimpleNamespace(learning_rate=1.0, iterations=0)
        layer = bp.layers.Scale()
        layer.build((1,))
        self.weights = layer.weights

    def get_weights(self):
        return [p.value.copy() for p in self.weights]


def feed(callback, values, key="val_loss", **params):
    """An epoch per value (None: without the key) until the stop; the weight is the epoch."""
    model = Fake()
    callback.set_model(model)
    callback.set_params({"epochs": len(values), **params})
    callback.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        model.weights[0].value[0] = epoch
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"loss": 0.0} if value is None else {"loss": 0.0, key: value})
        rates.append(model.optimizer.learning_rate)
        if model.stop_training:
            break
    callback.on_train_end()
    callback.on_train_exit()
    return epoch, model.weights[0].value[0], rates


# arguments, values, epoch of the stop (None: ran to the end), best epoch, best value
STOPS = [
    ({"patience": 2}, [5, 4, 4.5, 4.2, 1], 3, 1, 4),
    ({"patience": 0}, [5, 4, 4, 1], 2, 1, 4),
    ({"patience": 1}, [5, 4, 4, 1], 2, 1, 4),
    ({"patience": 3}, [5, 6, 6, 4, 5, 5, 3, 9], None, 6, 3),
    ({"patience": 2, "min_delta": 0.5}, [5, 4.6, 4.4, 4.3, 4.1, 0], 4, 2, 4.4),
    ({"patience": 2, "baseline": 3.0}, [5, 4, 3.5, 3.6, 0], 3, 2, 3.5),
    ({"patience": 2, "baseline": 3.0}, [5, 2.9, 3.5, 2.8, 2.9, 3], 5, 3, 2.8),
    ({"patience": 2, "start_from_epoch": 2}, [1, 5, 4, 3, 3.5, 3.6, 0], 5, 3, 3),
    ({"patience": 2, "mode": "max"}, [1, 2, 1, 1.5, 9], 3, 1, 2),
    ({"patience": 2}, [5, np.inf, np.nan, 1], 2, 0, 5),
    ({"patience": 2, "mode": "max"}, [5, -np.inf, np.nan, 9], 2, 0, 5),
    ({"patience": 2, "mode": "max"}, [5, np.inf, np.inf, 7, 9], 3, 1, np.inf),
    ({"patience": 2, "mode": "max", "min_delta": 0.1}, [1, 1.05, 1.2, 1.25, 1.3, 9], 4, 2, 1.2),
    ({"patience": 2}, [5, None, 4, None, 4.5, None, None, 4.2, 1], 7, 2, 4),
]


# arguments, values, rate after each epoch
RATES = [
    ({"patience": 2}, [5, 5, 5, 5, 5], [1, 1, 0.1, 0.1, 0.01]),
    ({"patience": 1, "factor": 0.5}, [5, 4, 4, 3, 3, 3], [1, 1, 0.5, 0.5, 0.25, 0.125]),
    ({"patience": 1, "factor": 0.5, "cooldown": 2}, [5, 5, 5, 5, 5, 5, 5],
     [1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
    ({"patience": 1, "factor": 0.5, "cooldown": 3}, [5, 5, 5, 5, 5, 5],
     [1, 0.5, 0.5, 0.5, 0.25, 0.25]),
    ({"patience": 1, "factor": 0.1, "min_lr": 0.05}, [5, 5, 5, 5], [1, 0.1, 0.05, 0.05]),
    ({"patience": 1, "min_delta": 1.0}, [5, 4.5, 3.9, 3], [1, 0.1, 0.1, 0.01]),
    ({"patience": 1, "mode": "max"}, [1, 2, 3, 3], [1, 1, 1, 0.1]),
    ({"patience": 1}, [5, None, 5], [1, 1, 0.1]),
]  # fmt: skip
