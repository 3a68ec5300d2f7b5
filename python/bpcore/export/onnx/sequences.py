"""Ids, and steps that do not count, in ONNX."""

from __future__ import annotations

import numpy as np

from .writer import Call, Kind, Writer


def _embedding(w: Writer, call: Call) -> str:
    return w.add("Gather", w.weight(call.weights[0]), call.inputs[0], axis=0)


def _input(w: Writer, call: Call) -> str:
    """One behind the model's own is a mask: 1 where a step's values are not all the one that says
    that it does not count."""
    key = w.low.mask_inputs[w.masks]
    w.masks += 1
    x = w.inputs[key.source]
    shape = w.low.shapes[key.source]
    if x in w.ids:
        counts = w.add("Not", w.add("Equal", x, w.integers(int(key.value or 0))))
    else:
        counts = w.add("Not", w.add("Equal", x, w.constant(key.value)))
    counts = w.cast(counts)
    return w.reduce("ReduceMax", counts, range(2, len(shape) + 1)) if len(shape) > 1 else counts


def _masking(w: Writer, call: Call) -> str:
    x, axes = call.inputs[0], range(2, len(call.shape) + 1)
    counts = w.cast(w.add("Not", w.add("Equal", x, w.constant(call.attrs["value"]))))
    if axes:
        counts = w.reduce("ReduceMax", counts, axes, keep=True)
    return w.add("Where", w.cast(counts, np.bool_), x, w.constant(0.0))


KINDS: dict[str, Kind] = {"input": _input, "embedding": _embedding, "masking": _masking}
