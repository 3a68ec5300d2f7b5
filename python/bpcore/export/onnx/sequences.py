"""Sequences in ONNX: ids, steps that do not count, recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...base.memory import Array
from .writer import Call, Kind, Writer

# What ONNX's recurrent operations call an activation, and its alpha and beta.
_CELLS: dict[str, tuple[str, float, float]] = {
    "linear": ("Affine", 1.0, 0.0),
    "tanh": ("Tanh", 0.0, 0.0),
    "sigmoid": ("Sigmoid", 0.0, 0.0),
    "relu": ("Relu", 0.0, 0.0),
    "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
    "softsign": ("Softsign", 0.0, 0.0),
    "softplus": ("Softplus", 0.0, 0.0),
    "leaky_relu": ("LeakyRelu", 0.2, 0.0),
    "elu": ("Elu", 1.0, 0.0),
}


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


def _cells(w: Writer, names: list[str]) -> dict[str, Any]:
    """The attributes that name activations."""
    for name in names:
        if name not in _CELLS:
            raise ValueError(
                f"layer {w.label!r} has the activation {name!r} in its cell, which ONNX's "
                f"recurrent operations do not know, expected one of {', '.join(_CELLS)}"
            )
    found = [_CELLS[name] for name in names]
    told: dict[str, Any] = {"activations": [op for op, *_ in found]}
    if any(alpha or beta for _, alpha, beta in found):
        told["activation_alpha"] = [alpha for _, alpha, _ in found]
        told["activation_beta"] = [beta for *_, beta in found]
    return told


def _gates(op: str, a: Array) -> Array:
    """The gates, along the last axis, in ONNX's order: of an LSTM i, o, f, c, here i, f, c, o."""
    if op != "LSTM":
        return a
    i, f, c, o = np.split(a, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)


def _recurrent(op: str, states: int, gated: bool) -> Kind:
    """A recurrent operation with so many states, and gates or not."""

    def written(w: Writer, call: Call) -> str:
        attrs, x = call.attrs, call.inputs[0]
        rest = list(call.inputs[1:])
        mask = rest.pop(0) if attrs["masked"] else None
        begun = [w.unsqueeze(h, 0) for h in rest[:states]] if attrs["initial"] else []
        kernel, recurrent, *bias = call.weights
        width, units = kernel.shape[1], recurrent.shape[0]
        gates = [attrs["recurrent_activation"]] if gated else []
        told = _cells(w, gates + [attrs["activation"]] * states)
        told["hidden_size"] = units
        told["direction"] = "reverse" if attrs["backwards"] else "forward"
        if op == "GRU":
            told["linear_before_reset"] = int(attrs["reset_after"])

        def turned(k: Array) -> Array:
            return np.transpose(_gates(op, k))[None]

        def biases(b: Array) -> Array:
            """Of both products; the second has none, but for reset_after."""
            both = np.zeros((2, width))
            both[: b.size // width] = b
            return _gates(op, both).reshape(1, -1)

        weights = [w.weight(p, turned) for p in (kernel, recurrent)]

        weights.append(w.weight(bias[0], biases) if bias else "")
        if mask is not None:
            x, places, lengths = _in_front(w, x, mask)
        else:
            places = lengths = ""
        given = [w.transpose(x, [1, 0, 2]), *weights, lengths, *begun]
        while not given[-1]:
            given.pop()
        y, *ends = w.add_several(op, given, 1 + states, **told)
        ends = [w.squeeze(h, 0) for h in ends]
        if not attrs["sequences"] and not attrs["states"]:
            return ends[0]
        if attrs["sequences"]:
            y = w.transpose(w.squeeze(y, 1), [1, 0, 2])
            if mask is not None:
                y = _back(w, y, places, units)
        else:
            y = w.unsqueeze(ends[0], 1)
        if not attrs["states"]:
            return y
        return w.add("Concat", y, *(w.unsqueeze(h, 1) for h in ends), axis=1)

    return written


def _in_front(w: Writer, x: str, mask: str) -> tuple[str, str, str]:
    """The steps that count in front of the others, each kind in its order; where they came from,
    (N, T); how many count. A step that does not count leaves the states as they are."""
    steps = w.add("CumSum", w.add("Add", w.add("Mul", mask, w.constant(0.0)), w.constant(1.0)),
                  w.integers(1))  # fmt: skip
    total = w.reduce("ReduceMax", steps, [1], keep=True)
    order = w.add("Sub", steps, w.add("Mul", mask, total))
    count = w.add("Gather", w.add("Shape", x), w.integers([1]))
    _, places = w.add_several("TopK", [order, count], 2, axis=1, largest=0, sorted=1)
    lengths = w.cast(w.reduce("ReduceSum", mask, [1]), np.int32)
    moved = w.add("GatherElements", x, _spread(w, places, x), axis=1)
    return moved, places, lengths


def _spread(w: Writer, places: str, x: str) -> str:
    """Places (N, T) as those of all features, of the shape of `x`."""
    return w.add("Expand", w.unsqueeze(places, 2), w.add("Shape", x))


def _back(w: Writer, y: str, places: str, units: int) -> str:
    """The steps at the places that they came from; those that do not count are zeros already."""
    return w.add("ScatterElements", y, _spread(w, places, y), y, axis=1)


KINDS: dict[str, Kind] = {
    "input": _input,
    "embedding": _embedding,
    "masking": _masking,
    "simple_rnn": _recurrent("RNN", 1, False),
    "lstm": _recurrent("LSTM", 2, True),
    "gru": _recurrent("GRU", 1, True),
}
