"""The interpreter ends while a daemon thread is in a call: `python -m tests.crash.exits COUNT`.

Each time in a process of its own, at a random moment, on one thread or two: it must end by itself,
with status 0 and without a word.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WORKER = """
import itertools, os, sys, threading, time
import numpy as np, bpcore as bp

what, delay = sys.argv[1], float(sys.argv[2])
rng = np.random.default_rng(0)
x, y = rng.normal(size=(1000, 64)), rng.integers(0, 5, 1000)

class Same(bp.layers.Layer):
    def forward(self, x, training=False):
        return sum([x * 0.5 for _ in range(2)])
    def backward(self, dy):
        return sum([dy * 0.5 for _ in range(2)])

class Loss:
    def value(self, y, p):
        return float(np.square(p - y).mean())
    def gradient(self, y, p):
        return 2 * (p - y) / p.size

layers = [bp.layers.Dense(64, "relu"), bp.layers.Dense(5)]
model = bp.Sequential(layers[:1] + [Same()] * (what == "layer") + layers[1:], seed=0)
loss = Loss() if what == "loss" else "cross_entropy"
target = np.eye(5)[y] if what == "loss" else y
mean = lambda t, p: float(np.mean(p))
model.compile("adam", loss, metrics=[mean] if what == "metric" else [])
model.fit(x[:64], target[:64], verbose=0)
hooks = [bp.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)]
path = (os.path.join(sys.argv[3], f"{os.getpid()}-{k}") for k in itertools.count())
calls = {
    "evaluate": lambda: model.evaluate(x, target),
    "predict": lambda: model.predict(x),
    "gradients": lambda: model.gradients(x, target),
    "train_on_batch": lambda: model.train_on_batch(x, target),
    "callback": lambda: model.fit(x, target, verbose=0, callbacks=hooks),
    "checkpoint": lambda: model.fit(x, target, verbose=0, checkpoint=next(path)),
    "save": lambda: model.save(next(path)),
}
call = calls.get(what, lambda: model.fit(x, target, epochs=100, verbose=0))

def work():
    while True:
        call()

for _ in range(2 if what in ("evaluate", "predict") else 1):
    threading.Thread(target=work, daemon=True).start()
time.sleep(delay)
"""
KINDS = (
    "fit", "layer", "loss", "metric", "callback", "evaluate", "predict", "gradients",
    "train_on_batch", "checkpoint", "save",
)  # fmt: skip


def leave(kind, delay, threads, folder):
    """What a process did that should have ended quietly; "" if it has."""
    env = {**os.environ, "BPCORE_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", WORKER, kind, str(delay), folder]
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            command, env=env, cwd=root, capture_output=True, text=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        return f"{kind}: it did not end"
    said = done.stdout + done.stderr
    return f"{kind}: status {done.returncode}: {said[-500:]}" if done.returncode or said else ""


def run(count, folder, seed=0, at_once=2):
    """What went wrong, of a number of exits, all kinds in turn."""
    rng = random.Random(seed)
    jobs = [
        (KINDS[k % len(KINDS)], rng.uniform(0.02, 0.2), rng.choice((1, 2)), folder)
        for k in range(count)
    ]
    with ThreadPoolExecutor(at_once) as pool:
        return [said for said in pool.map(lambda job: leave(*job), jobs) if said]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        wrong = run(int(sys.argv[1]), place)
    print("\n".join(wrong) or f"{sys.argv[1]} exits, all quiet")
    sys.exit(bool(wrong))
