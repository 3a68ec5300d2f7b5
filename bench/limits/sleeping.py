"""CPU time that the threads use after their work is done: they must sleep, not spin."""

from __future__ import annotations

import statistics
import time

import numpy as np

from .. import report
from ..networks import NETWORKS, data_and_weights
from ..rivals import Bpcore
from .options import Options, in_child

TITLE = "Asleep after work"
INTRO = (
    "CPU time of the whole process in the second after a call that used all threads, the call's "
    "own end included: below 1 ms. Median and most of the rounds."
)
NETWORK = NETWORKS[3]


def after(call, rounds: int) -> dict:
    milliseconds, busy = [], []
    for _ in range(rounds):
        before, start = time.process_time(), time.perf_counter()
        call()
        end = time.process_time()
        busy.append((end - before) / (time.perf_counter() - start))
        time.sleep(1)
        milliseconds.append((time.process_time() - end) * 1e3)
    return {
        "median": statistics.median(milliseconds),
        "most": max(milliseconds),
        "threads": statistics.median(busy),
    }


def work(rounds: int) -> dict:
    run = Bpcore(NETWORK, *data_and_weights(NETWORK, NETWORK.steps))
    y = run.model.predict(run.x)
    if not np.isfinite(y).all():
        raise AssertionError("predictions are not finite")
    calls = {"fit": run.epoch, "predict": lambda: run.model.predict(run.x)}
    return {name: after(call, rounds) for name, call in calls.items()}


def measure(options: Options) -> dict:
    return in_child("sleeping", rounds=min(options.rounds, 5))


def table(found: dict) -> str:
    rows = [
        [f"{name}, {NETWORK.name}", f"{r['threads']:.1f}", f"{r['median']:.2f}", f"{r['most']:.2f}"]
        for name, r in found.items()
    ]
    return report.table(["after", "CPUs busy in the call", "ms of CPU in 1 s", "most"], rows)
