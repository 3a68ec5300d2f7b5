"""Recurrent layers in ONNX: its own operations, or a Scan with the cell written out.

Its operations know few activations, and ONNX Runtime has them in float32 alone; for the rest there
is `_scanned`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...base.memory import Array
from .pointwise import ACTIVATIONS
from .writer import Call, Kind, Writer

# What ONNX's recurrent operations call an activation; of those with a slope runtimes differ in how
# they read it.
_CELLS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "softsign": "Softsign",
          "softplus": "Softplus"}  # fmt: skip


class _Op(NamedTuple):
    """What ONNX calls a cell, how many states it has, whether it has gates; one step of it:
    ``step(w, call, z, states)``, z being what comes of x, gives the next states."""

    name: str
    states: int
    gated: bool
    step: Callable[[Writer, Call, str, list[str]], list[str]]


def _recurrent(op: _Op) -> Kind:
    def written(w: Writer, call: Call) -> str:
        attrs, (x, *rest) = call.attrs, call.inputs
        mask = rest.pop(0) if attrs["masked"] else None
        begun = rest[: op.states] if attrs["initial"] else []
        names = [attrs["recurrent_activation"]] if op.gated else []
        names += [attrs["activation"]] * op.states
        plain = not w.is_double and all(name in _CELLS for name in names)
        if plain:
            y, ends = _as_one(op, w, call, x, mask, begun, names)
        else:
            y, ends = _scanned(op, w, call, x, mask, begun)
        if not attrs["states"]:
            return y if attrs["sequences"] else ends[0]
        rows = [y] if attrs["sequences"] else [w.unsqueeze(ends[0], 1)]
        return w.add("Concat", *rows, *(w.unsqueeze(h, 1) for h in ends), axis=1)

    return written


# ---- as one operation of ONNX ------------------------------------------------------------------
def _as_one(
    op: _Op, w: Writer, call: Call, x: str, mask: str | None, begun: list[str], names: list[str]
) -> tuple[str, list[str]]:
    """All steps (N, T, U), and the states behind the last."""
    kernel, recurrent, *bias = call.weights
    width, units = kernel.shape[1], recurrent.shape[0]

    def turned(k: Array) -> Array:
        return np.transpose(_gates(op, k))[None]

    def biases(b: Array) -> Array:
        """Of both products; the second has none, but for reset_after."""
        both = np.zeros((2, width))
        both[: b.size // width] = b
        return _gates(op, both).reshape(1, -1)

    weights = [w.weight(p, turned) for p in (kernel, recurrent)]
    weights.append(w.weight(bias[0], biases) if bias else "")
    places = lengths = ""
    if mask is not None:
        x, places, lengths = _in_front(w, x, mask)
    given = [w.transpose(x, [1, 0, 2]), *weights, lengths, *(w.unsqueeze(h, 0) for h in begun)]
    while not given[-1]:
        given.pop()
    told: dict[str, Any] = {"activations": [_CELLS[name] for name in names], "hidden_size": units}
    told["direction"] = "reverse" if call.attrs["backwards"] else "forward"
    if "reset_after" in call.attrs:
        told["linear_before_reset"] = int(call.attrs["reset_after"])
    y, *ends = w.add_several(op.name, given, 1 + op.states, **told)
    y = w.transpose(w.squeeze(y, 1), [1, 0, 2])
    if mask is not None:  # what does not count is zeros already
        y = w.add("ScatterElements", y, _spread(w, places, y), y, axis=1)
    return y, [w.squeeze(h, 0) for h in ends]


def _gates(op: _Op, a: Array) -> Array:
    """The gates, along the last axis, in ONNX's order: of an LSTM i, o, f, c, here i, f, c, o."""
    if op.name != "LSTM":
        return a
    i, f, c, o = np.split(a, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)


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


# ---- written out -------------------------------------------------------------------------------
def _scanned(
    op: _Op, w: Writer, call: Call, x: str, mask: str | None, begun: list[str]
) -> tuple[str, list[str]]:
    """The same, step by step; one that does not count leaves the states as they are, and is 0."""
    kernel, recurrent, *bias = call.weights
    zero = w.constant(np.zeros((1, recurrent.shape[0])))
    given = begun or [w.add("Expand", zero, w.batch_of(1))] * op.states
    z = w.add("MatMul", w.transpose(x, [1, 0, 2]), w.weight(kernel))
    if bias:
        z = w.add("Add", z, w.weight(bias[0], lambda b: b.reshape(-1, kernel.shape[1])[0]))
    series = [z]
    if mask is not None:
        series.append(w.cast(w.unsqueeze(w.transpose(mask, [1, 0]), 2), np.bool_))

    def body(states: list[str], now: list[str]) -> tuple[list[str], str]:
        made = op.step(w, call, now[0], states)
        if mask is None:
            return made, made[0]
        pairs = zip(made, states, strict=True)
        kept = [w.add("Where", now[1], new, old) for new, old in pairs]
        return kept, w.add("Where", now[1], made[0], w.constant(0.0))

    backwards = bool(call.attrs["backwards"])
    if backwards:
        series = [w.reverse(part, 0) for part in series]
    *ends, y = w.scan(given, series, body)
    y = w.reverse(y, 0) if backwards else y
    return w.transpose(y, [1, 0, 2]), ends


def _activated(w: Writer, call: Call, x: str, gate: bool = False) -> str:
    """By the activation of gates, or the other one."""
    name, alpha = ("recurrent_activation", "recurrent_alpha") if gate else ("activation", "alpha")
    f = ACTIVATIONS.get(call.attrs[name])
    return x if f is None else f(w, x, call.attrs[alpha])  # None: linear


def _parts(w: Writer, call: Call, z: str, count: int) -> list[str]:
    """The gates of z, one after the other."""
    sizes = w.integers([call.weights[1].shape[0]] * count)
    return w.add_several("Split", [z, sizes], count, axis=-1)


def _simple_step(w: Writer, call: Call, z: str, states: list[str]) -> list[str]:
    """h' = f(z + h R)."""
    own = w.add("MatMul", states[0], w.weight(call.weights[1]))
    return [_activated(w, call, w.add("Add", z, own))]


def _lstm_step(w: Writer, call: Call, z: str, states: list[str]) -> list[str]:
    """i, f, g, o of z + h R; c' = f c + i g; h' = o f(c')."""
    h, c = states
    z = w.add("Add", z, w.add("MatMul", h, w.weight(call.weights[1])))
    i, f, g, o = _parts(w, call, z, 4)
    i, f, o = (_activated(w, call, gate, gate=True) for gate in (i, f, o))
    c = w.add("Add", w.add("Mul", f, c), w.add("Mul", i, _activated(w, call, g)))
    return [w.add("Mul", o, _activated(w, call, c)), c]


def _gru_step(w: Writer, call: Call, z: str, states: list[str]) -> list[str]:
    """u, r of z + h R; n = f(z_n + r (h R_n + b')), or f(z_n + (r h) R_n); h' = u h + (1 - u) n."""
    (h,), recurrent, units = states, call.weights[1], call.weights[1].shape[0]
    after = bool(call.attrs["reset_after"])
    u, r, n = _parts(w, call, z, 3)
    if after:
        own = w.add("MatMul", h, w.weight(recurrent))
        if len(call.weights) > 2:
            own = w.add("Add", own, w.weight(call.weights[2], lambda b: b[1]))
        own_u, own_r, own_n = _parts(w, call, own, 3)
    else:
        own = w.add("MatMul", h, w.weight(recurrent, lambda k: k[:, : 2 * units]))
        own_u, own_r = _parts(w, call, own, 2)
    u = _activated(w, call, w.add("Add", u, own_u), gate=True)
    r = _activated(w, call, w.add("Add", r, own_r), gate=True)
    if after:
        reset = w.add("Mul", r, own_n)
    else:
        last = w.weight(recurrent, lambda k: k[:, 2 * units :])
        reset = w.add("MatMul", w.add("Mul", r, h), last)
    n = _activated(w, call, w.add("Add", n, reset))
    rest = w.add("Mul", w.add("Sub", w.constant(1.0), u), n)
    return [w.add("Add", w.add("Mul", u, h), rest)]


KINDS: dict[str, Kind] = {
    "simple_rnn": _recurrent(_Op("RNN", 1, False, _simple_step)),
    "lstm": _recurrent(_Op("LSTM", 2, True, _lstm_step)),
    "gru": _recurrent(_Op("GRU", 1, True, _gru_step)),
}
