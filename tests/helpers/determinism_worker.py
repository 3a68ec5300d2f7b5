"""Trains several models and prints one hash of everything; test_determinism.py runs it in processes
that differ in threads and instruction set."""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np

import bpcore as bp

from . import dags


def data(rows=500, width=37, classes=7):
    rng = np.random.default_rng(12)
    return rng.normal(size=(rows, width)).astype(np.float32), rng.integers(0, classes, rows)


def models():
    L = bp.layers
    yield (
        "relu_adam",
        [L.Dense(64, "relu"), L.Dense(33, "gelu"), L.Dense(7)],
        "adam",
        "cross_entropy",
    )
    yield (
        "softmax_sgd",
        [L.Dense(130, "tanh"), L.Dense(7, "softmax")],
        bp.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        "cross_entropy",
    )
    yield "narrow", [L.Dense(3, "mish"), L.Dense(7)], "rmsprop", "cross_entropy"
    # Classes that fill one tier's vector and not the other's.
    yield "classes", [L.Dense(20, "relu"), L.Dense(12)], "adam", "cross_entropy"
    yield "wide", [L.Dense(300, "silu"), L.Dense(300, "softplus"), L.Dense(7)], "adamw", \
        "cross_entropy"  # fmt: skip
    bound = {"kernel_regularizer": bp.regularizers.L1L2(1e-4, 1e-3),
             "kernel_constraint": "max_norm",
             "bias_constraint": bp.constraints.MinMaxNorm(rate=0.7)}  # fmt: skip
    yield "penalised", [L.Dense(600, "tanh", **bound), L.Dense(7, **bound)], "adam", \
        "cross_entropy"  # fmt: skip


def every_layer():
    L = bp.layers
    return [
        L.Dropout(0.1), L.Dense(130, "relu"), L.BatchNormalization(), L.Dropout(0.5),
        L.Dense(70), L.PReLU(), L.LayerNormalization(), L.GaussianNoise(0.1), L.Dense(64),
        L.GroupNormalization(8), L.Swish(), L.GaussianDropout(0.2), L.RMSNormalization(),
        L.AlphaDropout(0.1), L.Dense(7),
    ]  # fmt: skip


def digest(arrays):
    h = hashlib.sha256()
    for a in arrays:
        h.update(np.ascontiguousarray(a).tobytes())
    return h.hexdigest()[:20]


def trained(layers, optimizer, loss, x, y, dtype="float32", clip=None, **fit):
    model = bp.Sequential(layers, dtype=dtype, seed=5)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"], gradient_clip_norm=clip)
    history = model.fit(x, y, **{"batch_size": 48, "epochs": 2, "verbose": 0, **fit})
    return [*model.get_weights(), np.array(history.history["loss"]), model.predict(x)]


def run():
    x, y = data()
    found = {}
    for dtype in ("float32", "float64"):
        for name, layers, optimizer, loss in models():
            found[f"{name}-{dtype}"] = digest(trained(layers, optimizer, loss, x, y, dtype))
    for name, layers, optimizer, loss in models():
        arrays = trained(layers, optimizer, loss, x, y, clip=0.5, batch_size=None)
        found[f"{name}-clipped-full-batch"] = digest(arrays)
    found["every-layer"] = digest(trained(every_layer(), "adam", "cross_entropy", x, y))
    for seed in range(8):
        g, model = dags.build(bp, seed, dtype="float32")
        xs, ys = dags.data(g, rows=70)
        for _ in range(3):
            model.train_on_batch(xs if len(xs) > 1 else xs[0], ys if len(ys) > 1 else ys[0])
        found[f"dag-{seed}"] = digest(model.get_weights())
    return found


if __name__ == "__main__":
    bp.set_num_threads(bp.get_num_threads(), exact=True)
    print(json.dumps(run()))
    sys.exit(0)
