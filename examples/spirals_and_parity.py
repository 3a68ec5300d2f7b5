"""Two spirals and parity: tasks that gradient descent needs thousands of epochs for."""

import itertools
import time

import numpy as np

import bpcore as bp


class Right(bp.callbacks.Callback):
    """Stop when no sign is wrong."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def on_epoch_end(self, epoch, logs=None):
        if (np.sign(self.model.predict(self.x)) == np.sign(self.y)).all():
            self.model.stop_training = True


def solve(name, units, x, y):
    layers = [bp.layers.Dense(n, "tanh") for n in units]
    model = bp.Sequential([*layers, bp.layers.Dense(1)], dtype="float64", seed=0)
    model.compile(bp.optimizers.LevenbergMarquardt(), "mse")
    begin = time.perf_counter()
    history = model.fit(x, y, epochs=300, verbose=0, callbacks=[Right(x, y)])
    seconds = time.perf_counter() - begin
    print(f"{name}: {len(history.history['loss'])} iterations in {seconds:.2f} s")
    assert (np.sign(model.predict(x)) == np.sign(y)).all()


k = np.arange(97)
angle, radius = k * np.pi / 16, (104 - k) / 104
one = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
side = np.r_[np.full((97, 1), 0.9), np.full((97, 1), -0.9)]
solve("two spirals", (15, 15), np.r_[one, -one], side)

corners = np.array(list(itertools.product([-1.0, 1.0], repeat=6)))
solve("parity of 6", (12,), corners, np.prod(corners, axis=1, keepdims=True))
