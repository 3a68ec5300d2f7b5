"""Trains one network of images in every way that must not matter; test_images.py runs it.

Prints a hash of weights, losses and predictions for each way. Then it trains with checkpoints in a
file: the first process, which finds none, is killed in the middle, and the second goes on.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys

import numpy as np

import bpcore as bp

from .determinism_worker import digest

L = bp.layers
ROWS, SHAPE, BATCH = 30, (17, 15, 3), 13


def layers(told=None):
    """Runs of every kind: padding, strides, dilation, groups, pixels, few channels, lanes."""
    told = told or {}
    return [
        L.Rescaling(1 / 128, -1.0), L.Conv2D(6, (5, 4), padding="same", activation="relu", **told),
        L.MaxPooling2D(padding="same", **told), L.SpatialDropout2D(0.2, **told),
        L.Conv2D(17, 3, padding=1, use_bias=False, **told),
        L.BatchNormalization(axis=1 if told else -1), L.Activation("gelu"),
        L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu", **told),
        L.AveragePooling2D(3, 2, **told), L.Conv2D(8, 1, activation="tanh", **told),
        L.SeparableConv2D(9, 2, **told),
        L.Conv2D(6, 2, padding=1, dilation_rate=2, groups=3, **told),
        L.GlobalAveragePooling2D(**told), L.Dense(4),
    ]  # fmt: skip


def data():
    rng = np.random.default_rng(8)
    x = rng.integers(0, 256, (ROWS, *SHAPE), dtype=np.uint8)
    return x, rng.integers(0, 4, ROWS)


def trained(x, y, told=None, **fit):
    model = bp.Sequential([bp.Input(x.shape[1:]), *layers(told)], seed=5)
    model.compile("adam", "cross_entropy")
    history = model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0, **fit)
    return digest([*model.get_weights(), np.array(history.history["loss"]), model.predict(x)])


def layouts(x):
    yield "float32", x.astype(np.float32)
    yield "big endian", x.astype(">f8")
    yield "Fortran", np.asfortranarray(x)
    wide = np.zeros((ROWS, 2 * SHAPE[0], SHAPE[1], 2 * SHAPE[2]), np.uint8)
    wide[:, ::2, :, ::2] = x
    yield "strided", wide[:, ::2, :, ::2]
    yield "backwards", np.ascontiguousarray(x[::-1, ::-1, :, ::-1])[::-1, ::-1, :, ::-1]
    odd = np.empty(x.size * 4 + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    odd[...] = x
    yield "misaligned", odd


class Kill(bp.callbacks.Callback):
    wanted = False

    def on_train_batch_end(self, batch, logs=None):
        if Kill.wanted and self.model.optimizer.iterations >= 4:
            os._exit(9)


def main(threads, checkpoint):
    x, y = data()
    found = {}
    for n in threads:
        bp.set_num_threads(n, exact=True)
        found[f"{n} threads"] = trained(x, y)
    bp.set_num_threads(2, exact=True)
    for name, other in layouts(x):
        found[name] = trained(other, y)
    turned = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    found["channels first"] = trained(turned, y, {"data_format": "channels_first"})
    print(json.dumps(found), flush=True)
    Kill.wanted = not pathlib.Path(checkpoint).exists()
    print(trained(x, y, checkpoint=checkpoint, checkpoint_every=1, callbacks=[Kill()]))


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1].split(",")], sys.argv[2])
