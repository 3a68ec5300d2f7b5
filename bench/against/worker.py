"""One install's side: work to be timed, done on demand.

A line of JSON comes in on standard input, a line goes out. The requests: {"prepare": name} makes
the work and says the SHA-256 of its answer; {"save": path} writes the answer's arrays; {"count": n}
times n units of the work. Only what every release of bpcore has is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

from .. import forward, latency, networks, rivals
from ..limits import inference

ANSWER_STEPS = 6  # of an epoch, of which there are two, whose weights are compared
_ROW = f"one row of {'-'.join(map(str, latency.SIZES))}"
_MANY = f"{inference.ROWS:,} rows of {'-'.join(map(str, inference.SIZES))}"
CALL, PREDICT_ROW, PREDICT_MANY = f"model(x), {_ROW}", f"predict, {_ROW}", f"predict, {_MANY}"
LINES = (*(n.name for n in networks.NETWORKS), CALL, PREDICT_ROW, PREDICT_MANY)

# The answer, what does n units of the work, and the steps or calls in a unit.
Work = tuple[list[np.ndarray], Callable[[int], None], int]


def training(network: networks.Network) -> Work:
    """A unit is an epoch."""
    data = networks.data_and_weights(network, network.steps)
    few = ANSWER_STEPS * network.batch
    short = rivals.Bpcore(network, data[0][:few], data[1][:few], *data[2:])
    short.epochs(2)
    return short.model.get_weights(), rivals.Bpcore(network, *data).epochs, network.steps


def predictions(name: str) -> Work:
    """A unit is a call."""
    sizes, function, x = latency.SIZES, "tanh", latency.ROW
    if name == PREDICT_MANY:
        sizes, function = inference.SIZES, "relu"
        x = np.random.default_rng(5).random((inference.ROWS, sizes[0]), dtype=np.float32)
    model = forward.bpcore_model(forward.random_weights(sizes), function, 1)
    call = model if name == CALL else model.predict

    def work(count: int) -> None:
        for _ in range(count):
            call(x)

    return [call(x)], work, 1


def prepared(name: str) -> Work:
    for network in networks.NETWORKS:
        if network.name == name:
            return training(network)
    return predictions(name)


def digest(arrays: list[np.ndarray]) -> str:
    h = hashlib.sha256()
    for a in arrays:
        h.update(np.ascontiguousarray(a).tobytes())
    return h.hexdigest()


class Worker:
    def __init__(self) -> None:
        self.answer: list[np.ndarray] = []
        self.work: Callable[[int], None] = lambda count: None

    def reply(self, request: dict) -> dict:
        if "prepare" in request:
            self.answer, self.work, steps = prepared(request["prepare"])
            return {"digest": digest(self.answer), "steps": steps}
        if "save" in request:
            np.savez(request["save"], *self.answer)
            return {}
        self.work(max(1, request["count"] // 8))  # wakes the threads, warms the caches
        start = time.perf_counter()
        self.work(request["count"])
        return {"seconds": time.perf_counter() - start}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # for what anything else prints
    import bpcore

    with contextlib.suppress(TypeError):  # older releases know no other number than an exact one
        bpcore.set_num_threads(bpcore.get_num_threads(), exact=True)
    worker = Worker()
    print(json.dumps({"file": bpcore.__file__}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(worker.reply(json.loads(line))), file=answers, flush=True)
