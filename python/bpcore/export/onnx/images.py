"""Windows that slide over sequences and images, in ONNX, where channels come first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...base.memory import Array
from .writer import Call, Kind, Writer


def _slid(w: Writer, call: Call, made: Callable[[str, dict[str, Any]], str]) -> str:
    """made(x, attributes), both with their channels first."""
    rank, pads = len(call.shape), call.attrs["padding"]
    x = w.transpose(call.inputs[0], [0, rank, *range(1, rank)])
    told = {"strides": list(call.attrs["strides"]), "pads": [*pads[::2], *pads[1::2]]}
    return w.transpose(made(x, told), [0, *range(2, rank + 1), 1])


def _convolution(w: Writer, call: Call) -> str:
    kernel, channels = call.weights[0].value, call.shapes[0][-1]
    groups = call.attrs.get("groups", 1)
    depthwise = bool(call.attrs.get("depthwise"))
    if depthwise:
        groups = channels

    def filters(kernel: Array) -> Array:
        """(R, S, C / G, K) as (K, C / G, R, S); depthwise (R, S, C, M) as (C M, 1, R, S)."""
        if depthwise:
            kernel = kernel.reshape(*kernel.shape[:-2], 1, -1)
        return np.moveaxis(kernel, (-1, -2), (0, 1))

    weights = [w.weight(call.weights[0], filters), *(w.weight(p) for p in call.weights[1:])]
    more = {"dilations": list(call.attrs["dilation"]), "group": groups}
    more["kernel_shape"] = list(kernel.shape[:-2])
    return _slid(w, call, lambda x, told: w.add("Conv", x, *weights, **told, **more))


def _pooling(w: Writer, call: Call) -> str:
    op = "MaxPool" if call.attrs["most"] else "AveragePool"
    window = list(call.attrs["window"])
    return _slid(w, call, lambda x, told: w.add(op, x, kernel_shape=window, **told))


def _pool_steps(w: Writer, call: Call) -> str:
    """Over all positions; with a mask over those that count, 0 of none."""
    most, (x, *mask), rank = call.attrs["most"], call.inputs, len(call.shapes[0]) + 1
    axes = list(range(1, rank - 1))
    if not mask:
        return _pooled(w, x, rank, most)
    counts = w.unsqueeze(mask[0], *range(2, rank))
    there = w.cast(counts, np.bool_)
    number = w.reduce("ReduceSum", counts, axes)  # (N, 1)
    if not most:
        total = w.reduce("ReduceSum", w.add("Where", there, x, w.constant(0.0)), axes)
        return w.add("Div", total, w.add("Max", number, w.constant(1.0)))
    largest = w.reduce("ReduceMax", w.add("Where", there, x, w.lowest()), axes)
    return w.add("Where", w.cast(number, np.bool_), largest, w.constant(0.0))


def _pooled(w: Writer, x: str, rank: int, most: bool) -> str:
    source, order = w.turned(x, rank)
    axes = list(order[1:-1])
    if order[-1] < order[0]:
        source, axes = x, list(range(1, rank - 1))
    return w.reduce("ReduceMax" if most else "ReduceMean", source, axes)


KINDS: dict[str, Kind] = {
    "convolution": _convolution,
    "pooling": _pooling,
    "pool_steps": _pool_steps,
}
