"""bpcore beside torch, scikit-learn and lightgbm in one process, and in children of all kinds.

``python -m tests.judges.neighbours``: every order of import, training in each library, and how long
bpcore's own training takes before and a second after the others'; then a fit in a forked and a
spawned child, in threads and in joblib's processes. A crash, a hang, another result or a median
slow-down of more than 15 % ends with 1. Needs a machine that has nothing else to do.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys

LIBRARIES = ("bpcore", "torch", "sklearn", "lightgbm")
SLOWER = 1.15
SECONDS = 600  # of one child, before it counts as hanging

CHILD = r"""
import multiprocessing, os, sys, threading, time
order = sys.argv[1].split(",")
for name in order:
    __import__(name)
import numpy as np
import bpcore as bp

rng = np.random.default_rng(0)
x = rng.normal(size=(4000, 40)).astype(np.float32)
y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)

def fit(epochs=3):
    model = bp.Sequential([bp.layers.Dense(256, "relu"), bp.layers.Dense(2)], seed=0)
    model.compile("adam", "cross_entropy")
    model.fit(x, y, batch_size=128, epochs=epochs, verbose=0)
    return float(np.abs(model.predict(x[:50])).sum())

def seconds():
    found, turns = [], int(sys.argv[2])
    for _ in range(turns):
        start = time.perf_counter()
        fit()
        found.append(time.perf_counter() - start)
    return sorted(found)[turns // 2]

def torch_trains():
    import torch
    net = torch.nn.Sequential(torch.nn.Linear(40, 256), torch.nn.ReLU(), torch.nn.Linear(256, 2))
    steps = torch.optim.Adam(net.parameters())
    xs, ys = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(100):
        steps.zero_grad()
        torch.nn.functional.cross_entropy(net(xs), ys).backward()
        steps.step()

def sklearn_trains():
    from sklearn.ensemble import HistGradientBoostingClassifier
    HistGradientBoostingClassifier(max_iter=30).fit(x, y)

def lightgbm_trains():
    import lightgbm
    data = lightgbm.Dataset(x, y)
    lightgbm.train({"objective": "binary", "verbose": -1}, data, 30)

def spawned(queue):
    queue.put(fit())

if __name__ == "__main__":
    expected = fit()
    fit()
    before = seconds()
    for name in order:
        if name != "bpcore":
            globals()[f"{name}_trains"]()
            assert fit() == expected, name
    time.sleep(1)
    print(f"{before:.6f} {seconds():.6f}", flush=True)
    if "children" in sys.argv:
        for kind in ("fork", "spawn"):
            if kind not in multiprocessing.get_all_start_methods():
                continue
            context = multiprocessing.get_context(kind)
            queue = context.Queue()
            child = context.Process(target=spawned, args=(queue,))
            child.start()
            assert queue.get(timeout=100) == expected, kind
            child.join()
            assert child.exitcode == 0, kind
        found = []
        workers = [threading.Thread(target=lambda: found.append(fit())) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert found == [expected] * 3, "threads"
        from joblib import Parallel, delayed
        assert Parallel(n_jobs=2)(delayed(fit)() for _ in range(4)) == [expected] * 4, "loky"
        counts = Parallel(n_jobs=2)(delayed(bp.get_num_threads)() for _ in range(4))
        assert 2 * max(counts) <= max(2, len(os.sched_getaffinity(0))), counts
        print("children", flush=True)
"""


def run(order: tuple[str, ...], folder: str, children: bool, turns: int = 9) -> tuple[float, float]:
    """Seconds of a fit before and after the others' training; raises if the child does not end."""
    path = os.path.join(folder, "child.py")  # a spawned child imports a file
    with open(path, "w", encoding="utf-8") as file:
        file.write(CHILD)
    command = [sys.executable, path, ",".join(order), str(turns), *["children"] * children]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    env.pop("BPCORE_NUM_THREADS", None)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode or children != ("children" in done.stdout):
        raise RuntimeError(f"{order}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    before, after = done.stdout.split()[:2]
    return float(before), float(after)


def main(argv: list[str]) -> int:
    import tempfile

    orders = list(itertools.permutations(LIBRARIES))
    if "--quick" in argv:
        orders = [LIBRARIES, LIBRARIES[::-1]]
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for k, order in enumerate(orders):
            before, after = run(order, folder, children=k % 6 == 0)
            ratios.append(after / before)
            print(
                f"{' '.join(order):<36} {1e3 * before:7.1f} ms, then {1e3 * after:7.1f} ms "
                f"({100 * (ratios[-1] - 1):+.0f} %)",
                flush=True,
            )
    slow = statistics.median(ratios)
    print(f"{len(orders)} orders, median slow-down {100 * (slow - 1):+.1f} %")
    return int(slow > SLOWER)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
