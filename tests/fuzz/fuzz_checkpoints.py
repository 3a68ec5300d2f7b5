"""Fuzzing of resuming: `python -m tests.fuzz.fuzz_checkpoints COUNT [SEED] [FOLDER]`.

Checkpoints of runs that have every kind of state (`tests/helpers/runs.py`), changed with the hash
made to fit, are handed to the `fit` that wrote them. Each must be refused with CheckpointError
before anything of the run has changed, or be trained to the end, whose checkpoint is then read
again. A training that diverges has ended as trainings do: a number was changed into another that
could have been there. Anything else ends the fuzzing and leaves the file as `crash-...`; five
seconds of work count as a hang. The file being tried is `current` in the folder, so that it
survives a crash of the process.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import sys
import tempfile
import time
import warnings
from unittest import mock

import numpy as np

import bpcore as bp
from bpcore.errors import CheckpointError, CheckpointWarning
from bpcore.train import resume
from tests.fuzz import fuzz_files
from tests.helpers import files, runs, support

O = bp.optimizers  # noqa: E741
STOPS = (("batch", 2), ("batch", 3), ("epoch", 2), ("batch", 6), ("end", 1), None)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-300, 1e308, -1e308, 3.5e38, 1e-45, float("nan"), float("inf"))
SECONDS = 5.0


def _optimizer(make):
    def run(path=None, stop=None):
        model = bp.Sequential([bp.layers.Dense(2, "tanh"), bp.layers.Dense(2)], seed=0)
        model.compile(make(), "mse", ["mae"])
        return runs.fit(model, path, stop, runs.X, runs.REAL, batch_size=6)

    return run


def logged(path, stop=None):
    """Callbacks that write files, which a refused one must not have touched."""
    model = bp.Sequential([bp.layers.Dense(2)], seed=0)
    model.compile("sgd", "mse", ["mae"])
    callbacks = [
        bp.callbacks.CSVLogger(path + ".csv"),
        bp.callbacks.ModelCheckpoint(path + ".best", "loss", save_best_only=True),
        bp.callbacks.ModelCheckpoint(path + ".{batch}", save_freq=4),
    ]
    return runs.fit(model, path, stop, runs.X, runs.REAL, None, callbacks, batch_size=6)


RUNS = {
    **runs.RUNS,
    "logged": logged,
    **{
        make.__name__: _optimizer(make)
        for make in (O.SGD, O.Adagrad, O.AdamW, O.RMSprop, O.Lion, O.Nadam, O.Rprop, O.Adadelta)
    },
}


class Base:
    """A sound checkpoint of a run, and what it is made of."""

    def __init__(self, name, path):
        self.name = name
        self.document, self.held, self.arrays = files.taken_apart(path)
        self.paths = {
            key: [p for p in fuzz_files.places(part) if p]
            for key, part in (("held", self.held), ("document", self.document))
        }
        # the description of the run is compared as a whole: less often
        place = [p for p in self.paths["held"] if p[0] != "run"]
        self.places = place * 8 + self.paths["held"]

    def mutated(self, rng):
        """The bytes of a file with one or a few changes, under a hash that fits."""
        document, held, arrays = self.document, self.held, self.arrays
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            kind = rng.randrange(20)
            if kind < 8:
                held = self._values(rng, held, self.places)
            elif kind < 10:
                document = self._values(rng, document, self.paths["document"])
                first = {key: self.document[key] for key in ("format", "bpcore")}
                document = {**first, **{k: v for k, v in document.items() if k not in first}}
            elif kind < 19:
                arrays = _arrays(rng, arrays)
            else:
                text = fuzz_files.change_bytes(rng, files.dumps(held).encode())
                if self.document["format"] == 1:
                    return files.forged(self.document, arrays)  # without the part of fit
                return files.put_together(self.document, text, arrays)
        return files.put_together(document, held, arrays)

    @staticmethod
    def _values(rng, whole, paths):
        """One value replaced by one like it, or by anything; entries removed, added, exchanged."""
        if rng.random() < 0.3:
            return fuzz_files.change_document(rng, whole, paths)
        whole = copy.deepcopy(whole)
        path = rng.choice(paths)
        with contextlib.suppress(LookupError, TypeError):
            at = whole
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = _like(rng, at[path[-1]])
        return whole


def _like(rng, value):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, -value, *fuzz_files.NUMBERS[:14]))
    if isinstance(value, float):
        return rng.choice((-value, value * 1e3, 0.0, 1e300, -1e300, 1e-300, value + 1))
    if isinstance(value, str):
        return rng.choice((value[:-1], value + "x", "nan", "inf", "-1.0", "@array/0", ""))
    if isinstance(value, list):
        changed = list(value)
        kind = rng.randrange(5)
        if kind == 0 or not changed:
            changed.append(copy.deepcopy(rng.choice(changed)) if changed else 0)
        elif kind == 1:
            del changed[rng.randrange(len(changed))]
        elif kind == 2:
            rng.shuffle(changed)
        elif kind == 3:
            changed *= 2
        else:
            changed = []
        return changed
    if isinstance(value, dict) and value:
        changed = dict(value)
        a, b = rng.choice(list(changed)), rng.choice(list(changed))
        changed[a], changed[b] = changed[b], changed[a]
        return changed
    return rng.choice((0, 1.5, "x", [], {}, None))


def _arrays(rng, arrays):
    """Values, sizes, shapes, types and names of one or two arrays."""
    changed = dict(arrays)
    if not changed:
        return changed
    name = rng.choice(sorted(changed))
    array = changed[name]
    kind = rng.randrange(10)
    if kind < 3 and array.size:
        array = array.copy()
        flat = array.reshape(-1)
        value = rng.choice(FLOATS if array.dtype.kind == "f" else fuzz_files.NUMBERS[:10])
        with np.errstate(all="ignore"), contextlib.suppress(OverflowError):
            if kind == 0:
                flat[rng.randrange(flat.size)] = value
            elif kind == 1:
                flat[:] = value
            else:
                flat *= np.array(-1).astype(array.dtype)
    elif kind == 3:
        array = array.reshape(-1)[: rng.randrange(array.size + 1)]
    elif kind == 4:
        array = np.concatenate([array.reshape(-1)] * rng.choice((2, 3, 50)))
    elif kind == 5:
        array = rng.choice((array.reshape(-1), array[None], array.T, array[..., None]))
    elif kind == 6:
        with np.errstate(all="ignore"):
            array = array.astype(rng.choice((np.float64, np.float32, np.int64, np.uint8, bool)))
    elif kind == 7:
        other = rng.choice(sorted(changed))
        array, changed[other] = changed[other], array
    elif kind == 8:
        del changed[name]
        return changed
    else:
        others = ("@array/99", "@reals", "@integers", "@fit", "@x", "a/b", "@optimizer/mean/a/b")
        changed[rng.choice((*others, rng.choice(sorted(changed))))] = changed.pop(name)
        return changed
    changed[name] = np.ascontiguousarray(array)
    return changed


def everything(run):
    """All of a run that a refused file must leave alone, as text."""
    model, optimizer = run.model, run.model.optimizer
    slots = [[a.tobytes() for a in part] for part in optimizer.state(model.weights)["slots"]]
    counters = [
        optimizer.iterations, *model._counters.__reduce__()[1], model.seed,
        [getattr(layer, "_seed", None) for layer in model.layers], str(optimizer.learning_rate),
    ]  # fmt: skip
    states = []
    for item in run.items:
        state = item.get_state()
        state.pop("spent", None)  # of a TimeLimit
        states.append(str(state))
    history = run.loop.history
    return str([support.weights_hash(model), slots, counters, states, history.history])


class Watch:
    """Keeps what the last run was before its file was read."""

    def __enter__(self):
        real = resume.Run.read

        def read(run):
            self.run, self.before = run, everything(run)
            real(run)

        self.patch = mock.patch.object(resume.Run, "read", read)
        self.patch.start()
        return self

    def __exit__(self, *_):
        self.patch.stop()

    def check_refused(self, path, data):
        """Nothing of the run, and no file, has changed."""
        assert everything(self.run) == self.before, "the run has changed"
        with open(path, "rb") as stream:
            assert stream.read() == data, "the file has changed"
        assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)], "other files"


def tried(name, path, data, watch):
    """``"refused"``, ``"trained"`` or ``"diverged"``; AssertionError for what must not be."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            model, history, _ = RUNS[name](path)
        except CheckpointError as error:
            assert len(str(error)) < 5000, len(str(error))
            watch.check_refused(path, data)
            return "refused"
        except bp.TrainingDiverged:
            return "diverged"
        if any(w.category is CheckpointWarning for w in said):
            return "diverged"  # to what no checkpoint holds
        assert all(np.isfinite(w).all() for w in model.get_weights()), "weights are not finite"
        _, again, _ = RUNS[name](path)  # of the finished run
        assert repr(again.history) == repr(history.history), "another end"
        return "trained"


def empty(folder):
    """Remove what a run has left."""
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))


def bases(folder):
    """Checkpoints of all runs, at several places."""
    found = []
    for name, run in RUNS.items():
        for stop in STOPS:
            path = os.path.join(folder, "base")
            with contextlib.suppress(runs.Stop):
                run(path, stop)
            with contextlib.suppress(FileNotFoundError):  # before the first save
                found.append(Base(name, path))
            empty(folder)
    for path in sorted((support.FIXTURES / "formats").glob("run-1-*")):
        found.append(Base(path.name.split("-")[2], path))
    return found


def run(count, seed=0, folder=None, report=0):
    """Try `count` files; {"refused": ..., "trained": ..., "diverged": ..., "slowest": ...}."""
    rng = random.Random(seed)
    folder = folder or tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    inner = os.path.join(folder, "run")
    os.makedirs(inner, exist_ok=True)
    path = os.path.join(inner, "current")
    found = {"refused": 0, "trained": 0, "diverged": 0, "slowest": 0.0}
    begun = time.perf_counter()
    with mock.patch("os.fsync", lambda handle: None), Watch() as watch:
        sound = bases(inner)
        for i in range(count):
            base = rng.choice(sound)
            data = base.mutated(rng)
            with open(path, "wb") as stream:
                stream.write(data)
            start = time.process_time()
            try:
                found[tried(base.name, path, data, watch)] += 1
                if time.process_time() - start > SECONDS:
                    raise AssertionError(f"it took {time.process_time() - start:.1f} s")
            except BaseException as error:
                kept = os.path.join(folder, f"crash-{seed}-{i}-{base.name}")
                with open(kept, "wb") as stream:
                    stream.write(data)
                raise RuntimeError(f"file {i} of seed {seed}: {error!r}; kept as {kept}") from error
            found["slowest"] = max(found["slowest"], time.process_time() - start)
            empty(inner)
            if report and (i + 1) % report == 0:
                rate = (i + 1) / (time.perf_counter() - begun)
                print(f"{i + 1} files, {rate:.0f}/s, {json.dumps(found)}", flush=True)
    return found


if __name__ == "__main__":
    arguments = sys.argv[1:]
    total, first = int(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 0
    print(run(total, first, arguments[2] if len(arguments) > 2 else None, report=1000))
