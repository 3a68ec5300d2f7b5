"""Bad paths, files and checkpoints: tables H to J of the reliability catalogue.

Rows as in bad_inputs.py; `e.tmp` is an empty folder. Files of hostile content are in
hostile_files.py.
"""

from __future__ import annotations

import os

import numpy as np

import bpcore as bp
from bpcore.errors import CheckpointError, FormatError

from . import files
from .bad_inputs import TYPE, UNBUILT, VALUE, Returns

L, S = bp.layers, bp.Sequential


def at(e, *parts):
    return os.path.join(str(e.tmp), *parts)


def written(e, data, name="m"):
    with open(at(e, name), "wb") as stream:
        stream.write(data)
    return at(e, name)


def model_file(e):
    return written(e, files.forged(*files.model_parts()))


def checkpoint_file(e):
    return written(e, files.forged(*files.checkpoint_parts()))


def pipe(e):
    os.mkfifo(at(e, "pipe"))
    return at(e, "pipe")


def folder(e):
    os.mkdir(at(e, "folder"))
    return at(e, "folder")


def with_python_layer():
    m = S([Returns(lambda x: np.array(x)), L.Dense(3)], seed=0)
    m.build((4,))
    return m


H = [
    ("112-none", lambda e: e.model.save(None), TYPE, "path must be a str or PathLike, got None"),
    ("112-int", lambda e: e.model.save(3), TYPE, "path must be.*int 3"),
    ("112-bytes", lambda e: e.model.save(b"a\0b"), TYPE, "path must be.*bytes"),
    ("112-nul", lambda e: e.model.save("a\0b"), VALUE, "without NUL"),
    ("112-empty", lambda e: e.model.save(""), VALUE, "non-empty"),
    ("112-folder", lambda e: e.model.save(folder(e)), IsADirectoryError, "is a directory"),
    ("113", lambda e: e.model.save(at(e, "no", "m")), FileNotFoundError, "no directory.*no"),
    ("116", lambda e: S([L.Dense(2)]).save(at(e, "m")), UNBUILT, "without weights.*build"),
    ("117-pipe", lambda e: e.model.save(pipe(e)), VALUE, "not a regular file"),
    ("117-device", lambda e: e.model.save("/dev/full"), VALUE, "not a regular file"),
    ("118", lambda e: with_python_layer().save(at(e, "m")), TYPE, "value.*cannot be saved"),
    ("119-long", lambda e: e.model.save(at(e, "x" * 300)), OSError, "too long"),
    ("checkpoint-none", lambda e: e.model.save_checkpoint(None), TYPE, "path must be"),
    (
        "checkpoint-uncompiled",
        lambda e: with_python_layer().save_checkpoint(at(e, "m")),
        RuntimeError,
        "not compiled",
    ),
]

I = [  # noqa: E741
    ("121", lambda e: bp.load_model(at(e, "m")), FileNotFoundError, "m"),
    ("122", lambda e: bp.load_model(folder(e)), IsADirectoryError, "directory"),
    ("124", lambda e: bp.load_model(written(e, b"")), FormatError, "0 bytes.*at least"),
    (
        "125",
        lambda e: bp.load_model(written(e, b"<!DOCTYPE html>" * 9)),
        FormatError,
        "not a bpcore model but an HTML",
    ),
    (
        "125-text",
        lambda e: bp.load_model(written(e, b"a,b\n" * 99)),
        FormatError,
        "starts with b'a,b",
    ),
    (
        "127",
        lambda e: bp.load_model(
            written(e, files.forged({"format": 3, "bpcore": "9.0", "model": {}}, {}))
        ),
        FormatError,
        "written in format 3.*reads formats up to 2.*upgrade",
    ),
    ("128-object", lambda e: bp.load_model(3), TYPE, "path must be a str or PathLike, got int"),
    ("130", lambda e: bp.load_model(pipe(e)), VALUE, "not a regular file"),
    ("130-device", lambda e: bp.load_model("/dev/zero"), VALUE, "not a regular file"),
    (
        "133",
        lambda e: bp.load_model(model_file(e), sha256="0" * 64),
        FormatError,
        "SHA-256 of the file: got [0-9a-f]{64}, expected 0{64}",
    ),
    ("133-type", lambda e: bp.load_model(model_file(e), sha256=1), TYPE, "sha256 must be a str"),
    ("133-short", lambda e: bp.load_model(model_file(e), sha256="ab"), VALUE, "64 hexadecimal"),
    (
        "max_bytes",
        lambda e: bp.load_model(model_file(e), max_bytes=100),
        FormatError,
        "at most 100",
    ),
    ("max_bytes-0", lambda e: bp.load_model(model_file(e), max_bytes=0), VALUE, "max_bytes"),
    (
        "allow_nonfinite",
        lambda e: bp.load_model(model_file(e), allow_nonfinite=1),
        TYPE,
        "allow_nonfinite must be True or False",
    ),
    (
        "custom_objects",
        lambda e: bp.load_model(model_file(e), custom_objects=[L.Dense]),
        TYPE,
        "custom_objects must be a dict",
    ),
    (
        "a-checkpoint",
        lambda e: bp.load_model(checkpoint_file(e)),
        FormatError,
        "checkpoint.*load_checkpoint",
    ),
]


def run(e, path=None, model=None, **options):
    """A short fit with a checkpoint of another model than e's."""
    model = model or files.small_model()
    options = {"verbose": 0, "checkpoint": path or at(e, "run"), **options}
    return model.fit(e.x, e.y % 2, **options)


def twice(**options):
    """A run, and then a different one on its file."""

    def call(e):
        run(e)
        run(e, **options)

    return call


def locked(e):
    from bpcore.files import lock

    with lock.take(at(e, "run")):
        run(e)


J = [
    ("134", lambda e: run(e, model_file(e)), CheckpointError, "holds no optimizer state"),
    (
        "134-load",
        lambda e: bp.load_checkpoint(model_file(e)),
        CheckpointError,
        "no optimizer state",
    ),
    (
        "135",
        lambda e: twice(model=files.small_model(seed=1))(e),
        CheckpointError,
        "seed was '0'",
    ),
    ("138", twice(epochs=2), CheckpointError, "epochs was '1', is '2'.*delete the file"),
    ("138-rows", twice(batch_size=5), CheckpointError, "batch_size was"),
    ("140", lambda e: bp.load_checkpoint(folder(e)), IsADirectoryError, "directory"),
    ("140-none", lambda e: bp.load_checkpoint(at(e, "x")), FileNotFoundError, "x"),
    (
        "141",
        lambda e: run(e, written(e, b"x" * 99)),
        CheckpointError,
        "starts with.*delete the file",
    ),
    ("143", lambda e: run(e, os.path.join(model_file(e), "x")), NotADirectoryError, "m/x"),
    ("144-0", lambda e: run(e, checkpoint_every=0), VALUE, "checkpoint_every must be >= 1, got 0"),
    ("144-nan", lambda e: run(e, checkpoint_every=float("nan")), TYPE, "checkpoint_every.*float"),
    ("144-alone", lambda e: e.fit(checkpoint_every=3), VALUE, "checkpoint_every needs checkpoint"),
    ("146", locked, CheckpointError, "another fit works with this checkpoint.*process"),
    ("path", lambda e: run(e, 3), TYPE, "path must be"),
    (
        "batches",
        lambda e: e.model.fit(iter([(e.x, e.y)]), checkpoint=at(e, "run"), verbose=0),
        VALUE,
        "checkpoint needs arrays",
    ),
]

TABLES = {"H": H, "I": I, "J": J}
