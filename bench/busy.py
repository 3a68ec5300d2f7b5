"""Training beside processes that burn every core: `python -m bench.busy [--quick]`.

For each network `fit` and `train_on_batch` with as many threads as the machine allows, which is the
default, against one thread, under the same load and in turns: microseconds a step, medians, and
their ratio, which should be 1.3 at most. Then the load ends, and the time is taken until all
threads train again: a second at most. Whether they pay may change from one second to the next: a
virtual machine's cores are at times near to each other and at times far apart (90 and 290 ns for a
line to and fro on one of them). So where the threads are not back in time, a step is taken with an
exact number of them: there is nothing to come back to where all are no faster than one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from .networks import NETWORKS, Network, data_and_weights
from .rivals import Bpcore

SMALL = Network((4, 64, 64, 2), "relu", 64, "Adam", 1000, 1e-3)  # a step of 30 microseconds
TURN = 0.4  # seconds of one: longer than any neighbour's turn
BOUND, RETURN = 1.3, 1.0
PAYS = 0.97  # of the time of one thread: as docs/threads.md says
BURN = "while True: pass"


@contextlib.contextmanager
def load(processes: int) -> Iterator[None]:
    """Processes of normal priority that never wait."""
    burning = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(processes)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


def calls(run: Bpcore, network: Network) -> dict[str, tuple[Callable[[], object], int]]:
    """What is timed, and the steps of one call."""
    x, y = run.batch(0)
    return {
        "fit": (lambda: run.epochs(1), network.steps),
        "train_on_batch": (lambda: run.model.train_on_batch(x, y), 1),
    }


def turn(call: Callable[[], object], seconds: float) -> float:
    """Seconds of a call, over about as many seconds."""
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        call()
        count += 1
    return elapsed / count


def measure(network: Network, threads: int, rounds: int, seconds: float) -> list[dict]:
    """Medians of both, for `fit` and `train_on_batch`."""
    import bpcore as bp

    found = []
    data = data_and_weights(network, network.steps)
    runs = {n: Bpcore(network, *data) for n in (threads, 1)}
    for name in ("fit", "train_on_batch"):
        times: dict[int, list[float]] = {n: [] for n in runs}
        for _ in range(rounds + 1):  # the first is not counted
            for n, run in runs.items():
                call, steps = calls(run, network)[name]
                with bp.threads(n):
                    times[n].append(turn(call, seconds) / steps)
        default, alone = (statistics.median(times[n][1:]) * 1e6 for n in runs)
        found.append(
            {"network": network.name, "call": name, "default": default, "one thread": alone,
             "ratio": default / alone}
        )  # fmt: skip
    return found


def back(network: Network, threads: int, seconds: float) -> tuple[float | None, str]:
    """Seconds from the end of the load until all threads train, None where fewer are better; and
    what is to be said of it."""
    import bpcore as bp

    steps = network.steps // 10 or 1
    run = Bpcore(network, *data_and_weights(network, steps))

    def all_of_them() -> bool:
        run.epochs(1)
        return f"threads in use: {threads} of {threads}" in described()

    def described() -> str:
        model = run.model
        return str(model._engine.trainer("train", model._compilation).describe())

    def exactly(found: dict[int, list[float]]) -> tuple[float, float]:
        """Microseconds a step with one thread and with all, in turns."""
        for _ in range(5):
            for n in (1, threads):
                with bp.threads(n, exact=True):
                    found[n].append(turn(lambda: run.epochs(1), 0.1))
        one, all_ = (statistics.median(times) * 1e6 / steps for times in found.values())
        return one, all_

    with bp.threads(threads):
        turn(all_of_them, 1.0)
        if "threads in use" not in described():
            return None, "its size is not worth more than one"
        with load(threads):
            turn(all_of_them, seconds)
        start = time.perf_counter()
        while not all_of_them() and time.perf_counter() - start < RETURN:
            pass
        took = time.perf_counter() - start
        if took < RETURN:
            return took, f"{took:.2f} s"
    one, all_ = exactly({1: [], threads: []})
    said = f"one {one:.1f} us, {threads} threads {all_:.1f}"
    return (None, f"fewer are better just now ({said})") if all_ > PAYS * one else (took, said)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.busy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 rounds, short turns")
    parser.add_argument("--network", metavar="TEXT", help="only networks whose name contains TEXT")
    parser.add_argument("--processes", type=int, help="that burn (default: as many as CPUs)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures")
    arguments = parser.parse_args(argv)
    threads = len(os.sched_getaffinity(0))
    rounds, seconds = (3, TURN / 2) if arguments.quick else (7, TURN)
    chosen = [n for n in (SMALL, *NETWORKS) if (arguments.network or "") in n.name]
    figures = []
    print("us a step                                      default  one thread  ratio", flush=True)
    with load(arguments.processes or threads):
        for network in chosen:
            for line in measure(network, threads, rounds, seconds):
                figures.append(line)
                what = f"{line['network']}, {line['call']}"
                print(f"{what:<46} {line['default']:8.1f} {line['one thread']:11.1f} "
                      f"{line['ratio']:6.2f}", flush=True)  # fmt: skip
    late = []
    for network in chosen:
        after, told = back(network, threads, 3.0)
        print(f"{network.name}: all threads back after the load: {told}", flush=True)
        late += [network.name] * (after is not None and after >= RETURN)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    slow = [f"{f['network']}, {f['call']}" for f in figures if f["ratio"] > BOUND]
    print(f"over {BOUND}: {'; '.join(slow) or 'none'}; back late: {'; '.join(late) or 'none'}")
    return 1 if slow or late else 0


if __name__ == "__main__":
    sys.exit(main())
