"""A training run with a checkpoint: `python -m tests.crash.train PATH THREADS`.

It prints the hash of all that it ends with. Run it again after a kill and it goes on.
"""

from __future__ import annotations

import hashlib
import json
import sys
import warnings

import numpy as np

import bpcore as bp


class Memory(bp.callbacks.Callback):
    """Something of its own that must survive: the best loss, and the weights that had it."""

    def __init__(self):
        self.best, self.kept = float("inf"), None

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.best:
            self.best, self.kept = logs["val_loss"], self.model.get_weights()

    def get_state(self):
        return {"best": self.best, "kept": self.kept}

    def set_state(self, state):
        self.best, self.kept = state["best"], state["kept"]


def train(path, threads, every=20, epochs=3):
    """The hash of weights, optimizer, history and callback at the end."""
    bp.set_num_threads(threads, exact=True)
    (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    model = bp.Sequential([bp.layers.Dense(24, "tanh"), bp.layers.Dense(10)], seed=0)
    model.compile(
        bp.optimizers.Adam(bp.schedules.Cosine(0.01, 300, warmup_steps=20)),
        "cross_entropy",
        metrics=["accuracy", "f1"],
    )
    memory = Memory()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = model.fit(
            x, y, 16, epochs, 0, [memory], validation_data=(xt, yt),
            checkpoint=path, checkpoint_every=every if path else None,
        )  # fmt: skip
    digest = hashlib.sha256()
    arrays = [*model.get_weights(), *memory.kept, np.array([memory.best])]
    for slots in model.optimizer.state(model.weights)["slots"]:
        arrays += slots
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(json.dumps([history.history, history.epoch, model.optimizer.iterations]).encode())
    return digest.hexdigest()


if __name__ == "__main__":
    print(train(sys.argv[1], int(sys.argv[2])))
