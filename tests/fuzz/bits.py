"""One result, whatever the way: `python -m tests.fuzz.bits COUNT [FIRST]`, COUNT trainings.

Each random model (`spec.py`, larger than for comparisons with others) is trained once plainly, on
one thread, and then in other ways that must give the same bits of weights, optimizer, history,
predictions: other numbers of threads, the other instruction set, other memory layouts and types of
the data, predictions of parts, materialised gradients, and stops at random batches with resumes by
another process, thread number and instruction set. A process for each instruction set takes the
orders. The first difference of each model is printed, and makes the exit code 1.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import bpcore as bp

from ..helpers import support
from . import ours, spec

THREADS = (1, 2, 3, 5)
EIGHTHS = 8  # data are multiples of 1/8 in [-8, 8), or small whole numbers: exact in every type


class LargeMaker(spec.Maker):
    """Wide enough, and with enough rows, that several threads have work."""

    widths = (1, 3, 8, 15, 16, 17, 31, 33, 64, 65, 100, 130, 257)
    units = (1, 8, 17, 33)

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.rng = np.random.default_rng([30, seed])

    def spec(self) -> spec.Spec:
        made = super().spec()
        made.rows = int(self.rng.integers(20, 400))
        if made.fit["batch_size"] is not None:
            made.fit["batch_size"] = int(self.one((3, 8, 29, 32, 64, 127, 128, 200, 300)))
        made.fit["epochs"] = int(self.rng.integers(1, 3))
        return made


@dataclasses.dataclass(frozen=True)
class Way:
    """How one training is done."""

    tier: str
    threads: int = 1
    layout: int = -1  # seed of the layouts; -1: C order in the model's dtype
    parts: int = 0  # seed of how predictions are split; 0: not
    materialised: bool = False
    stop: int = 0  # the batch after which the run is stopped; 0: not
    kill: bool = (
        False  # by a signal to a forked process, whose team is one thread; else an exception
    )
    every: int = 1  # batches between saves
    after: tuple[str, int] = ("", 1)  # tier and threads of the resume


def random_way(rng: random.Random, tiers: list[str], batches: int) -> Way:
    stop = rng.randrange(1, batches + 1) if batches > 1 and rng.random() < 0.4 else 0
    return Way(
        tier=rng.choice(tiers),
        threads=rng.choice(THREADS),
        layout=rng.randrange(10**6) if rng.random() < 0.6 else -1,
        parts=rng.randrange(1, 10**6) if rng.random() < 0.6 else 0,
        materialised=rng.random() < 0.2,
        stop=stop,
        kill=rng.random() < 0.3,
        every=rng.randrange(1, 6),
        after=(rng.choice(tiers), rng.choice(THREADS)),
    )


# ---- data ----------------------------------------------------------------------------------------
def laid_out(a: np.ndarray, rng: random.Random) -> Any:
    """The same numbers in another order, type or place of memory."""
    kinds = [
        np.asfortranarray,
        lambda x: np.ascontiguousarray(x[::-1])[::-1],
        lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
        lambda x: np.repeat(x, 3, axis=-1)[..., ::3],
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x.astype(x.dtype.newbyteorder()),
        lambda x: x.astype(np.float64 if x.dtype.kind == "f" else np.int64),
        lambda x: x.astype(np.float32 if x.dtype.kind == "f" else np.int16),
        lambda x: x.astype(">f8" if x.dtype.kind == "f" else ">i4"),
        misaligned,
        read_only,
        lambda x: np.asfortranarray(np.repeat(x, 2, axis=0))[::2],
    ]
    if a.dtype.kind == "f":
        kinds.append(lambda x: x.astype(np.float16))
        if (a == np.round(a)).all() and a.size and np.abs(a).max() < 127:
            kinds += [lambda x: x.astype(np.int8), lambda x: x.astype(np.int64)]
    return rng.choice(kinds)(a)


def misaligned(x: np.ndarray) -> np.ndarray:
    raw = np.zeros(x.nbytes + 1, np.uint8)
    y = raw[1:].view(x.dtype).reshape(x.shape)
    y[...] = x
    return y


def read_only(x: np.ndarray) -> np.ndarray:
    y = x.copy()
    y.flags.writeable = False
    return y


def exact_data(model: spec.Spec) -> tuple[list[np.ndarray], list[np.ndarray], Any]:
    """Numbers that float16 holds; float64 arrays, labels int64."""
    xs, ys, ws = spec.data(model)

    def rounded(a: np.ndarray) -> np.ndarray:
        return np.clip(np.round(a * EIGHTHS) / EIGHTHS, -8, 7.875) if a.dtype.kind == "f" else a

    for k, head in enumerate(model.heads):
        if head.target == "distribution":  # sums to 1 exactly
            t = np.zeros_like(ys[k])
            t[..., 0], t[..., -1] = 0.25, 0.75
            ys[k] = t
    xs = [np.round(x * 20) if model.seed % 3 == 0 else rounded(x) for x in xs]
    return xs, [rounded(y) for y in ys], None if ws is None else rounded(ws)


# ---- one training --------------------------------------------------------------------------------
class Stopped(Exception):
    """The end of a run from outside."""


class Stop(bp.callbacks.Callback):
    """Ends the run after a batch; of a run that is resumed it is there, and does nothing."""

    def __init__(self, batch: int, kill: bool) -> None:
        self.left, self.kill = batch, kill

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left == 0:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Stopped


def dtype_of(seed: int) -> str:
    return ("float32", "float64")[seed % 2]


def in_parts(model: Any, xs: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Predictions of runs of rows, each by `predict` with some batch size or by the call."""
    rng, n, start, found = random.Random(seed), len(xs[0]), 0, []
    while start < n:
        end = min(n, start + rng.choice((1, 2, 7, 33, 100, n)))
        part = [x[start:end] for x in xs]
        x = part if len(part) > 1 else part[0]
        y = model(x) if rng.random() < 0.3 else model.predict(x, batch_size=rng.randrange(1, 130))
        found.append(y if isinstance(y, list) else [y])
        start = end
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def trained(seed: int, way: Way, path: str | None, stops: bool) -> list[np.ndarray]:
    """All that the training of a spec leaves behind."""
    made, dtype = LargeMaker(seed).spec(), dtype_of(seed)
    if way.materialised and not {"gradient_clip_norm"} & made.compiled.keys():
        made.compiled["gradient_clip_norm"] = 1e300  # nothing is as long
    model = ours.Ours(made, dtype).model
    xs, ys, ws = exact_data(made)
    plain = [x if x.dtype.kind == "i" else x.astype(dtype) for x in xs]
    rng = random.Random(way.layout)
    if way.layout >= 0:
        xs, ys = [laid_out(x, rng) for x in plain], [laid_out(y, rng) for y in ys]
        ws = None if ws is None else laid_out(ws, rng)
    else:
        xs = plain
    x, y = (v if len(v) > 1 else v[0] for v in (xs, ys))
    options: dict[str, Any] = {**made.fit, "shuffle": seed % 4 != 0}
    if path is not None:
        options |= {"checkpoint": path, "checkpoint_every": way.every}
        options["callbacks"] = [Stop(way.stop if stops else -1, way.kill)]
    history = model.fit(
        x, y, verbose=0, sample_weight=ws, class_weight=made.class_weight, **options
    )
    predictions = model.predict(x)
    predictions = predictions if isinstance(predictions, list) else [predictions]
    if way.parts:
        split = in_parts(model, plain, way.parts)
        assert all(map(support.same_bits, split, predictions)), "predictions of parts differ"
    slots = [a for arrays in model.optimizer.state(model.weights)["slots"] for a in arrays]
    seen = model.evaluate(x, y, sample_weight=ws, batch_size=50)
    numbers = [np.array(history.history["loss"]), np.array(list(seen.values()))]
    return [*model.get_weights(), *slots, *numbers, *predictions]


def digest(arrays: list[np.ndarray]) -> str:
    h = hashlib.sha256()
    for a in arrays:
        h.update(np.ascontiguousarray(a).tobytes())
    return h.hexdigest()


def answer(seed: int, way: Way, threads: int, path: str | None, stops: bool) -> str:
    """The digest, or why there is none."""
    with bp.threads(threads, exact=True), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return digest(trained(seed, way, path, stops))
        except Stopped:
            return "stopped"
        except bp.errors.TrainingDiverged as error:
            return f"diverged: {error}"
        except Exception as error:  # of a layer in Python, which bpcore passes on
            return f"{type(error).__name__}: {error}"


def forked(*arguments: Any) -> str:
    """`answer` in a child that may be killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.write(writer, answer(*arguments).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        said = stream.read().decode()
    _, status = os.waitpid(child, 0)
    return "stopped" if os.WIFSIGNALED(status) else said or "failed"


def serve() -> None:
    """Orders from standard input, one a line, answered on standard output."""
    for line in sys.stdin:
        order = json.loads(line)
        way = Way(**{**order["way"], "after": tuple(order["way"]["after"])})
        call = forked if way.kill and order["stops"] else answer
        said = call(order["seed"], way, order["threads"], order["path"], order["stops"])
        print(json.dumps(said), flush=True)


# ---- the whole -----------------------------------------------------------------------------------
class Worker:
    """A process of one instruction set."""

    def __init__(self, tier: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from tests.fuzz.bits import serve; serve()"],
            cwd=support.ROOT, env={**os.environ, "BPCORE_ISA": tier}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, seed: int, way: Way, threads: int, path: str | None, stops: bool) -> str:
        order = {"seed": seed, "way": dataclasses.asdict(way), "threads": threads, "path": path}
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({**order, "stops": stops}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return str(json.loads(line)) if line else "the process ended"

    def close(self) -> None:
        self.process.communicate(timeout=60)


class Fuzzer:
    def __init__(self, tiers: list[str]) -> None:
        self.workers = {tier: Worker(tier) for tier in tiers}
        self.counts: collections.Counter[str] = collections.Counter()
        self.folder = tempfile.TemporaryDirectory()

    def train(self, seed: int, way: Way) -> str:
        self.counts["trainings"] += 1
        if not way.stop:
            return self.workers[way.tier].ask(seed, way, way.threads, None, False)
        path = str(Path(self.folder.name, "run"))
        said = self.workers[way.tier].ask(seed, way, way.threads, path, True)
        if said == "stopped":
            tier, threads = way.after
            self.counts["resumes"] += os.path.exists(path)
            said = self.workers[tier].ask(seed, way, threads, path, False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return said

    def check(self, seed: int, ways: int) -> bool:
        """Whether all ways give one result; one that diverges must do so in the same words."""
        made, rng = LargeMaker(seed).spec(), random.Random(seed)
        tiers = list(self.workers)
        size = made.fit["batch_size"] or made.rows
        batches = -(-made.rows // size) * made.fit["epochs"]
        first = self.train(seed, Way(tiers[0]))
        finite = len(first) == 64
        self.counts["without an end"] += not finite
        for _ in range(ways):
            way = random_way(rng, tiers, batches)
            if not finite:  # gradients that any limit cuts
                way = dataclasses.replace(way, materialised=False)
            said = self.train(seed, way)
            if said != first:
                print(f"seed {seed}: {first!r}, but {said!r} with {way}", flush=True)
                return False
        return True

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()
        self.folder.cleanup()


def run(count: int, first: int = 0, ways: int = 4, report: int = 0) -> tuple[dict, list[int]]:
    """At least `count` trainings; counts, and the seeds of models with more than one result."""
    fuzzer, different, seed = Fuzzer(support.fma_tiers()), [], first
    begun = time.perf_counter()
    try:
        while fuzzer.counts["trainings"] < count:
            if not fuzzer.check(seed, ways):
                different.append(seed)
            seed += 1
            if report and (seed - first) % report == 0:
                rate = fuzzer.counts["trainings"] / (time.perf_counter() - begun)
                print(f"{dict(fuzzer.counts)}, {rate:.0f}/s", flush=True)
    finally:
        fuzzer.close()
    few = (seed - first) // 10 + 1
    assert fuzzer.counts["without an end"] <= few, "models that train are what is looked at"
    return dict(fuzzer.counts), different


if __name__ == "__main__":
    arguments = [int(a) for a in sys.argv[1:]]
    totals, wrong = run(*arguments, *[0] * (2 - len(arguments)), report=50)
    print(f"{totals}; other bits: {wrong or 'none'}")
    sys.exit(bool(wrong))
