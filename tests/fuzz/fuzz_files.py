"""Fuzzing of the loader: `python -m tests.fuzz.fuzz_files COUNT [SEED] [FOLDER]`.

Mutated files, half of them of single bytes and ranges, half of the structure with the hash made to
fit, so that what lies behind it is reached. A file must be refused with FormatError, or load into a
model that predicts. Anything else ends the run and leaves the file as `crash-...`; a second of work
counts as a hang. The file being tried is `current` in the folder, so that it survives
a crash of the process.
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

import numpy as np

import bpcore as bp
from tests.helpers import files

NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    10**30,
    0.5,
    -0.0,
    1e-300,
    1e308,
)
WORDS = (
    "",
    "a",
    "b",
    "Dense",
    "relu",
    "softmax",
    "adam",
    "mse",
    "Model",
    "__class__",
    "../x",
    "%n%s",
    "\x00",
    "\u202e",
    "a" * 300,
    "float64",
    "Activation",
    "Flatten",
    "InputLayer",
    "Add",
    "0",
)


def graph_parts():
    from bpcore.files import save

    a, b = bp.Input((4,), name="a"), bp.Input((4,), name="b")
    h = bp.layers.Concatenate()([bp.layers.Dense(3, "tanh", name="d")(a), b * 2.0])
    model = bp.Model([a, b], [bp.layers.Dense(2, name="e")(h), h], seed=1)
    model.compile("sgd", "mse", loss_weights=[1.0, 0.5])
    document = {"format": 1, "bpcore": bp.__version__, "model": save.describe(model)}
    arrays = {k: v.copy() for k, v in save.arrays_of(model).items()}
    return json.loads(json.dumps(document)), arrays


def places(value, path=()):
    """Paths of all values in a document."""
    yield path
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


def some(rng):
    """Any JSON value."""
    kind = rng.randrange(7)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind == 1:
        return rng.choice(WORDS)
    if kind == 2:
        return rng.choice((None, True, False, [], {}))
    if kind == 3:
        return [some(rng) for _ in range(rng.randrange(4))]
    if kind == 4:
        return {rng.choice(WORDS): some(rng) for _ in range(rng.randrange(3))}
    if kind == 5:
        return rng.randrange(-5, 50)
    return {"class_name": rng.choice(WORDS), "config": {}}


def change_document(rng, document, paths):
    """One value of the document replaced, removed, doubled or moved."""
    body = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path = rng.choice(paths)
        try:
            at = body
            for key in path[:-1]:
                at = at[key]
            key = path[-1]
            kind = rng.randrange(6)
            if kind == 0:
                del at[key]
            elif kind == 1 and isinstance(at, list):
                at.insert(rng.randrange(len(at) + 1), copy.deepcopy(rng.choice(at)))
            elif kind == 2 and isinstance(at, dict):
                at[rng.choice(WORDS)] = at.pop(key) if rng.random() < 0.5 else some(rng)
            elif kind == 3:
                other = document
                for step in rng.choice(paths):
                    other = other[step]
                at[key] = copy.deepcopy(other)
            else:
                at[key] = some(rng)
        except (LookupError, TypeError):
            continue
    return body


def change_arrays(rng, arrays):
    """Names, shapes, types and values of arrays."""
    changed = dict(arrays)
    name = rng.choice(list(changed))
    kind = rng.randrange(6)
    if kind == 0:
        del changed[name]
    elif kind == 1:
        changed[rng.choice(WORDS).replace("\0", "n") or "x"] = changed.pop(name)
    elif kind == 2:
        changed[name] = np.zeros([rng.randrange(4) for _ in range(rng.randrange(4))], np.float32)
    elif kind == 3:
        changed[name] = changed[name].astype(rng.choice((np.float64, np.int64, np.uint8, bool)))
    elif kind == 4:
        changed[name] = np.full_like(changed[name], rng.choice((np.nan, np.inf, 3e38, -0.0, 1e-45)))
    else:
        changed[name] = changed[name].reshape(-1)
    return changed


def change_table(rng, arrays):
    """Rows of the tensors' table, whatever the data are."""
    rows = files.entries(arrays)
    for _ in range(rng.choice((1, 1, 2))):
        i, kind = rng.randrange(len(rows)), rng.randrange(6)
        if kind == 0:
            rows[i][rng.randrange(3, 5)] += rng.choice((-4, -1, 1, 4, 2**32, 2**63, 2**64))
        elif kind == 1:
            rows[i][2] = [rng.choice(NUMBERS[:16]) for _ in range(rng.randrange(10))]
        elif kind == 2:
            rows[i][1] = rng.choice(("F64", "F16", "I64", "BOOL", "", "F32 "))
        elif kind == 3:
            rows[i], rows[0] = rows[0], rows[i]
        elif kind == 4:
            rows[i][0] = rng.choice((*WORDS, rows[0][0]))
        else:
            rows.insert(i, list(rows[i]))
    return rows


def change_bytes(rng, data):
    """Bytes changed, removed, doubled or put in."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        i = rng.randrange(len(data) or 1)
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[i % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[i % len(data)] = rng.choice(b'{}[]",:\\ 0019\x00\xff')
        elif kind == 2:
            del data[i : i + rng.randrange(1, 40)]
        elif kind == 3:
            data[i:i] = data[i : i + rng.randrange(1, 40)]
        elif kind == 4:
            data[i:i] = rng.randbytes(rng.randrange(1, 9))
        else:
            data[0:8] = (rng.choice(NUMBERS[:16]) % 2**64).to_bytes(8, "little")
    return bytes(data)


class Base:
    """A sound file and what it is made of."""

    def __init__(self, parts, load):
        self.document, self.arrays = parts
        self.load = load
        self.data = files.forged(*parts)
        self.paths = [p for p in places(self.document) if p]

    def mutated(self, rng):
        kind = rng.randrange(10)
        if kind < 4:
            return change_bytes(rng, self.data)
        if kind < 7:
            return files.forged(change_document(rng, self.document, self.paths), self.arrays)
        if kind < 8:
            return files.forged(self.document, change_arrays(rng, self.arrays))
        if kind < 9:
            text = files.sealed(self.document, self.arrays)
            head = files.header(text, change_table(rng, self.arrays))
            return files.joined(head, files.data_of(self.arrays))
        text = files.dumps(self.document)  # bytes of the document, under a hash that fits
        body = change_bytes(rng, text.encode()).decode("latin-1")
        return files.forged(body, self.arrays)


def tried(model):
    """A loaded model must work."""
    model.summary()
    for t in model._inputs:
        if np.prod(t.shape, dtype=float) > 1e6:
            return
    xs = [np.ones((3, *t.shape)) for t in model._inputs]
    with np.errstate(all="ignore"):
        outputs = model.predict(xs if len(xs) > 1 else xs[0])
        if model._compilation is not None and not isinstance(outputs, (list, dict)):
            with contextlib.suppress(ValueError, TypeError, bp.TrainingDiverged):
                # of a checkpoint with the optimizer's state; its loss may take no such targets
                model.train_on_batch(xs if len(xs) > 1 else xs[0], np.full_like(outputs, 0.25))


def run(count, seed=0, folder=None, report=0):
    """Try `count` files; {"refused": ..., "loaded": ...}."""
    rng = random.Random(seed)
    bases = [
        Base(files.model_parts(), bp.load_model),
        Base(graph_parts(), bp.load_model),
        Base(files.checkpoint_parts(1), bp.load_checkpoint),
        Base(files.checkpoint_parts(), bp.load_checkpoint),
    ]
    found = {"refused": 0, "loaded": 0, "slowest": 0.0}
    folder = folder or tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    path = os.path.join(folder, "current")
    sys_stdout, begun = sys.stdout, time.perf_counter()
    with open(os.devnull, "w") as nowhere:
        for i in range(count):
            base = rng.choice(bases)
            data = base.mutated(rng)
            with open(path, "wb") as stream:
                stream.write(data)
            start = time.process_time()
            try:
                model = base.load(path)
                sys.stdout = nowhere
                tried(model)
                found["loaded"] += 1
            except bp.FormatError as error:
                assert len(str(error)) < 5000 and str(error).isprintable(), repr(error)
                found["refused"] += 1
            except BaseException as error:
                os.rename(path, os.path.join(folder, f"crash-{seed}-{i}"))
                raise RuntimeError(
                    f"file {i} of seed {seed}: {error!r}; kept in {folder}"
                ) from error
            finally:
                sys.stdout = sys_stdout
            elapsed = time.process_time() - start
            found["slowest"] = max(found["slowest"], elapsed)
            if elapsed > 1:
                raise RuntimeError(
                    f"file {i} of seed {seed} took {elapsed:.1f} s; kept in {folder}"
                )
            if report and (i + 1) % report == 0:
                rate = (i + 1) / (time.perf_counter() - begun)
                print(f"{i + 1} files, {rate:.0f}/s, {found}", flush=True)
    return found


if __name__ == "__main__":
    arguments = sys.argv[1:]
    total, first = int(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 0
    print(run(total, first, arguments[2] if len(arguments) > 2 else None, report=20_000))
