"""Training from a file that is mapped, not read: how much slower than from memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from .. import report
from ..networks import NETWORKS, data_and_weights
from ..rivals import Bpcore
from ..timing import alternate
from .options import Options, in_child
from .resident import status

TITLE = "Data in a mapped file"
INTRO = (
    "Shuffled epochs of `fit` on an `np.memmap` whose file is in the system's cache after the "
    "first epoch, over epochs on the same rows in memory: 0.85 and more of the speed. The weights "
    "after the first epoch are compared bit by bit. Growth is of memory that is not the file's, in "
    "that first epoch."
)
NETWORK = NETWORKS[1]


def write(path: Path, megabytes: int) -> np.ndarray:
    """A file of random rows, mapped."""
    width, rng = NETWORK.sizes[0], np.random.default_rng(0)
    rows = megabytes * 1_000_000 // (4 * width)
    with open(path, "wb") as file:
        for start in range(0, rows, 4096):
            rng.random((min(4096, rows - start), width), dtype=np.float32).tofile(file)
    return np.memmap(path, np.float32, "r", shape=(rows, width))


def work(megabytes: int, rounds: int) -> dict:
    _, _, kernels, biases = data_and_weights(NETWORK, 1)
    with tempfile.TemporaryDirectory() as folder:
        mapped = write(Path(folder) / "rows", megabytes)
        labels = np.random.default_rng(1).integers(0, 10, len(mapped)).astype(np.int32)
        warm = Bpcore(NETWORK, mapped[:1024], labels[:1024], kernels, biases)
        warm.epoch()
        before = status("RssAnon")
        runs = {"mapped": Bpcore(NETWORK, mapped, labels, kernels, biases)}
        runs["mapped"].epoch()
        growth = status("RssAnon") - before
        runs["memory"] = Bpcore(NETWORK, np.array(mapped), labels, kernels, biases)
        runs["memory"].epoch()
        pairs = zip(*(run.model.get_weights() for run in runs.values()), strict=True)
        if any((a != b).any() for a, b in pairs):
            raise AssertionError("other weights from the mapped file than from memory")
        timed = alternate({name: run.epoch for name, run in runs.items()}, rounds)
        rates = {name: len(mapped) / t["median"] for name, t in timed.items()}
        size = mapped.nbytes
        del mapped, warm, runs
    return {"network": NETWORK.name, "bytes": size, "rates": rates, "growth": growth}


def measure(options: Options) -> dict:
    megabytes = options.memmap_mb // 4 if options.quick else options.memmap_mb
    return in_child("memmap", megabytes=megabytes, rounds=options.rounds)


def table(found: dict) -> str:
    rates = found["rates"]
    cells = [
        found["network"], f"{found['bytes'] / 1e6:.0f}",
        *(f"{rates[k] / 1e3:.0f}" for k in ("mapped", "memory")),
        f"{rates['mapped'] / rates['memory']:.2f}", f"{found['growth'] / 1e6:.1f}",
    ]  # fmt: skip
    head = ["thousand rows a second", "file, MB", "mapped", "in memory", "ratio", "growth, MB"]
    return report.table(head, [cells])
