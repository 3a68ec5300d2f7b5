"""A model as C: what `Model.to_c` takes of it, and the files."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from .. import graph
from ..base import checks
from ..base.memory import Array
from ..data.dataset import Form
from ..export import c
from ..export.c.steps import Source
from ..files.atomic import write_atomically
from . import stream

_BATCH = 1024  # rows of calibration at a time


def files(
    model: Any,
    engine: Any,
    path: Any,
    name: str,
    test_vectors: Any,
    int8: bool,
    calibration: Any,
) -> tuple[str, c.Files]:
    """Of `Model.to_c` of a built model: the path, and what goes there."""
    target = checks.path(path)
    stem, end = os.path.splitext(target)
    if end != ".c":
        raise ValueError(f"path is {target!r}, expected a file *.c, beside which *.h is written")
    name = c.identifier(name)
    parts = source(model, engine)
    if checks.boolean("int8", int8) != (calibration is not None):
        raise ValueError(
            "int8=True and calibration=x belong together: rows like those that will come tell "
            "which range each value has; got "
            + ("int8 without calibration" if int8 else "calibration without int8")
        )
    if int8 and parts.streams:
        raise ValueError("int8 is of models whose inputs have a fixed length; leave out int8")
    rows = None if test_vectors is None else _answered(engine, test_vectors)
    calibrate = _Calibration(engine, calibration) if int8 else None
    made = c.files(parts, name, rows, calibrate)
    _spare(f"{stem}.h")
    return target, made


def write(target: str, made: c.Files) -> None:
    """The file, and the header beside it."""
    write_atomically(target, made.source.encode("ascii"))  # the large one first, which may not fit
    write_atomically(f"{target[:-2]}.h", made.header.encode("ascii"))


def _spare(header: str) -> None:
    """Refuse to write over a header that nobody named and that is not one of these."""
    if not os.path.lexists(header):
        return
    if os.path.isfile(header):
        with open(header, "rb") as file:
            if c.MARK in file.readline(1000):
                return
    raise FileExistsError(
        f"{header!r} is beside the file to be written, where its header would be, and was not "
        "written by bpcore; move it, or write another file"
    )


def source(model: Any, engine: Any) -> Source:
    """The parts of a model that its C file is made of; of one whose input leaves its length open,
    those of one step of a stream."""
    opened = [t for t in engine.input_tensors if graph.is_open(t.shape)]
    if opened:
        try:
            stream.check(engine)
        except ValueError as error:
            t = opened[0]
            raise ValueError(
                f"input {t.name!r} has shape {t.shape}, whose length is open, so that C can have "
                f"no more than a function of one step; {error}; or give it a length, as in "
                f"bp.Input({(32, *t.shape[1:])}), in a model that gets the weights by set_weights"
            ) from None
    own = engine.formed(Form((1,), frozenset())) if opened else engine
    places = {id(node.layer): node.output.shape for node in engine.nodes}
    layers = [
        (layer.label, places[id(layer)], sum(p.value.size for p in layer.weights))
        for layer in engine.layers
    ]
    ends = engine.signature.inputs, engine.signature.outputs
    return Source(
        model.name, own.low, own.outputs, (ends[0].names, ends[1].names), layers,
        list(ends[0].columns), bool(opened),
    )  # fmt: skip


def _answered(engine: Any, x: Any) -> tuple[list[Array], list[Array]]:
    """Rows as the C file has them, and what the model makes of these."""
    signature = engine.signature
    found = signature.read_inputs(x, "test_vectors")
    if found.lengths is not None and np.ptp(found.lengths) > 0:
        raise ValueError("test_vectors: got sequences of several lengths, expected one length")
    ids = engine.low.ids
    xs = [
        np.ascontiguousarray(a, dtype=np.int32 if k in ids else engine.dtype)
        for k, a in enumerate(found.xs[: len(signature.inputs)])
    ]
    again = signature.read_inputs(xs if len(xs) > 1 else xs[0], "test_vectors")
    ys = engine.formed(again.form).net.forward(again.xs, False)
    for y in ys:
        right = np.isfinite(y).reshape(len(y), -1).all(axis=1)
        if not right.all():
            raise ValueError(
                f"test_vectors: the model's answer for row {right.argmin()} holds NaN or Inf, "
                "with which nothing can be compared; pass rows that the model answers"
            )
    return xs, ys


class _Calibration:
    """Ranges of values, from rows of data."""

    def __init__(self, engine: Any, x: Any) -> None:
        self.engine, self.found = engine, engine.signature.read_inputs(x, "calibration")

    def __call__(self, values: list[int]) -> dict[int, tuple[float, float]]:
        """The least and the largest number of each value, a node of the lowered graph."""
        inner = [v for v in values if v >= len(self.engine.signature.inputs)]
        ranges = dict.fromkeys(values, (math.inf, -math.inf))
        net = self.engine.low.network(inner) if inner else None
        for start in range(0, self.found.n, _BATCH):
            xs = [a[start : start + _BATCH] for a in self.found.xs]
            made = dict(zip(inner, net.forward(xs, False) if net else (), strict=True))
            for v in values:
                y = np.asarray(made[v] if v in made else xs[v])
                ranges[v] = min(ranges[v][0], float(y.min())), max(ranges[v][1], float(y.max()))
        for v, told in ranges.items():
            if not np.isfinite(told).all():
                raise ValueError(
                    f"calibration: layer {self.engine.low.nodes[v][-1]!r} gives infinity or NaN "
                    "for these rows; pass rows that the model answers"
                )
        return ranges
