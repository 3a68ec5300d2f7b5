"""Memory that training of images takes, beside PyTorch's: python -m bench.image_memory.

LeNet-5 and the residual network of bench/images.py, batches of 64, Adam, float32, one thread. Each
is trained in a process of its own, in which a small network was trained before; the most that was
resident meanwhile, less what was resident before, is compared with what a step has to hold:
weights, Adam's two numbers for each, the batch, and the value and the delta of each layer's output.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from .images import Lenet, Residual
from .limits.resident import reset_peak, status, trim

BATCH, STEPS, GOAL = 64, 5, 1.2
CASES = {"lenet": Lenet, "residual": Residual}


def needed(model, shape: tuple[int, ...]) -> int:
    """Bytes that training holds at least."""
    image = np.zeros((1, *shape), np.float32)
    outputs = sum(a.size for name, a in model.activations(image).items() if "flatten" not in name)
    weights = sum(w.value.size for w in model.weights)
    return 4 * (3 * weights + BATCH * (image.size + 2 * outputs))


def grown(train) -> int:
    """Bytes that were resident at most during train(), less those before."""
    trim()
    reset_peak()
    before = status("VmRSS")
    train()
    return status("VmHWM") - before


def ours(case, x, y) -> dict:
    import bpcore as bp

    def fit(model, x, y):
        model.compile(bp.optimizers.Adam(1e-3), "cross_entropy")
        model.fit(x, y, batch_size=BATCH, epochs=STEPS, verbose=0)

    bp.set_num_threads(1)
    fit(bp.Sequential([bp.Input((4,)), bp.layers.Dense(10)]), np.zeros((4, 4)), np.zeros(4, int))
    least = needed(case.ours(), case.shape)
    return {"grown": grown(lambda: fit(case.ours(), x, y)), "needed": least}


def theirs(case, x, y) -> dict:
    import torch

    torch.set_num_threads(1)

    def fit(net, x, y):
        optimizer = torch.optim.Adam(net.parameters(), 1e-3)
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()

    fit(torch.nn.Linear(4, 10), torch.zeros(4, 4), torch.zeros(4, dtype=torch.long))
    x, y = torch.tensor(x.transpose(0, 3, 1, 2).copy()), torch.tensor(y)
    return {"grown": grown(lambda: fit(case.theirs(), x, y))}


def main() -> None:
    if len(sys.argv) > 2:
        case = CASES[sys.argv[1]]()
        rng = np.random.default_rng(0)
        x = rng.normal(size=(BATCH, *case.shape)).astype(np.float32)
        work = ours if sys.argv[2] == "ours" else theirs
        return print(json.dumps(work(case, x, rng.integers(0, 10, BATCH))))
    for name, case in CASES.items():
        found = {}
        for who in ("ours", "theirs"):
            command = [sys.executable, "-m", "bench.image_memory", name, who]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[who] = json.loads(done.stdout)
        mine, least = found["ours"]["grown"], found["ours"]["needed"]
        print(f"{case.name} batch {BATCH}: {mine / 1e6:.1f} MB, {mine / least:.2f} of the "
              f"{least / 1e6:.1f} that a step holds (goal {GOAL}); PyTorch "
              f"{found['theirs']['grown'] / 1e6:.1f} MB", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
