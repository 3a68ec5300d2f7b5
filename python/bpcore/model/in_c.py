"""A model as C: what `Model.to_c` takes of it, and the files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .. import graph
from ..base import checks
from ..base.memory import Array
from ..export import c
from ..export.c.steps import Source
from ..files.atomic import write_atomically


def write(model: Any, engine: Any, path: Any, name: str, test_vectors: Any) -> None:
    """`Model.to_c` of a built model."""
    target = checks.path(path)
    stem, end = os.path.splitext(target)
    if end != ".c":
        raise ValueError(f"path is {target!r}, expected a file *.c, beside which *.h is written")
    name = c.identifier(name)
    parts = source(model, engine)
    rows = None if test_vectors is None else _answered(engine, test_vectors)
    made = c.files(parts, name, rows)
    write_atomically(f"{stem}.h", made.header.encode("ascii"))
    write_atomically(target, made.source.encode("ascii"))


def source(model: Any, engine: Any) -> Source:
    """The parts of a model that its C file is made of."""
    for t in engine.input_tensors:
        if graph.is_open(t.shape):
            raise ValueError(
                f"input {t.name!r} has shape {t.shape}, whose length is open, expected a fixed one "
                "because the buffers in C have fixed sizes; make the model again with a length, as "
                f"in bp.Input({(32, *t.shape[1:])}), and give it the weights by set_weights"
            )
    if engine.compute != engine.dtype:
        raise ValueError(
            f"the model computes in {engine.compute}, expected {engine.dtype}, in which C does; "
            "make the model again without compute=, and give it the weights by set_weights"
        )
    places = {id(node.layer): node.output.shape for node in engine.nodes}
    layers = [
        (layer.label, places[id(layer)], sum(p.value.size for p in layer.weights))
        for layer in engine.layers
    ]
    ends = engine.signature.inputs, engine.signature.outputs
    return Source(
        model.name, engine.low, engine.outputs, (ends[0].names, ends[1].names), layers,
        list(ends[0].columns),
    )  # fmt: skip


def _answered(engine: Any, x: Any) -> tuple[list[Array], list[Array]]:
    """Rows as the C file has them, and what the model makes of these."""
    signature = engine.signature
    found = signature.read_inputs(x, "test_vectors")
    ids = engine.low.ids
    xs = [
        np.ascontiguousarray(a, dtype=np.int32 if k in ids else engine.dtype)
        for k, a in enumerate(found.xs[: len(signature.inputs)])
    ]
    again = signature.read_inputs(xs if len(xs) > 1 else xs[0], "test_vectors")
    return xs, engine.net.forward(again.xs, False)
