"""How each operation of the core is written in C: one row of a table for each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...base.memory import Array, Shape
from . import functions
from .cells import ROOM
from .kernels import MOST_AXES
from .steps import Kind, Step
from .writer import Writer


def _always(step: Step) -> bool:
    return True


def _full(step: Step) -> bool:
    return math.prod(step.seen[0]) == math.prod(step.shape)


def _rows(shape: Shape) -> tuple[int, int]:
    """Positions, and the length of the last axis."""
    return math.prod(shape[:-1]), shape[-1]


def _around(shape: Shape, axis: int) -> tuple[int, int, int]:
    """Axes before, the axis, axes behind."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


# ---- layers with weights --------------------------------------------------------------------
def _dense(c: Writer, s: Step) -> str:
    w = s.params[0]
    n, count = _rows(s.seen[0])
    bias = c.weight(s.params[1]) if len(s.params) > 1 else c.null
    if s.attrs.get("transposed"):  # the weights of another layer, as that one reads them
        kernel, size = "dense_turned", s.shape[-1]
    else:
        kernel, size = "dense", s.shape[-1]
    told = f"{c.x(0)}, {c.weight(w, _turned)}, {bias}, {c.y}, {n}, {count}, {size}"
    return f"@{kernel}({told});"


def _turned(w: Array) -> Array:
    turned: Array = w.T
    return turned


def _matrix(s: Step) -> tuple[Array, Array]:
    w = s.params[0].value.astype(np.float64)
    return (w.T if s.attrs.get("transposed") else w), _bias(s)


def _masked_matrix(s: Step) -> tuple[Array, Array]:
    w, bias = _matrix(s)
    mask = np.asarray(s.attrs["mask"])
    return np.where(mask.T if s.attrs.get("transposed") else mask, w, 0.0), bias


def _bias(s: Step) -> Array:
    if len(s.params) > 1:
        return s.params[1].value.astype(np.float64)
    return np.zeros(s.shape[-1])


def _masked_dense(c: Writer, s: Step) -> str:
    kernel = c.array(_masked_matrix(s)[0].T)
    bias = c.weight(s.params[1]) if len(s.params) > 1 else c.null
    n, count = _rows(s.seen[0])
    return f"@dense({c.x(0)}, {kernel}, {bias}, {c.y}, {n}, {count}, {s.shape[-1]});"


def _embedding(c: Writer, s: Step) -> str:
    table = s.params[0]
    count, width = table.shape
    n = math.prod(s.seen[0])
    return f"@embedding({c.x(0)}, {c.weight(table)}, {c.y}, {n}, {count}, {width});"


def _windows(c: Writer, s: Step, taps: Shape, groups: int) -> str:
    x, y = s.seen[0], s.shape
    pads, strides, dilation = (list(s.attrs[k]) for k in ("padding", "strides", "dilation"))
    if len(x) == 2:  # a sequence is an image of height 1
        x, y, taps = (1, *x), (1, *y), (1, *taps)
        pads, strides, dilation = [0, 0, *pads], [1, *strides], [1, *dilation]
    told = [*x, *taps[:2], *y, *strides, *dilation, pads[0], pads[2], groups]
    return c.table("@windows", told)


def _convolution(c: Writer, s: Step) -> str:
    w = s.params[0]
    bias = c.weight(s.params[1]) if len(s.params) > 1 else c.null
    depthwise = bool(s.attrs.get("depthwise"))
    groups = s.seen[0][-1] if depthwise else int(s.attrs.get("groups", 1))
    g = _windows(c, s, w.shape[:-2], groups)
    kernel = c.weight(w, _by_channel if depthwise else _by_filter)
    return f"@convolution(&{g}, {c.x(0)}, {kernel}, {bias}, {c.y});"


def _by_filter(w: Array) -> Array:
    return np.moveaxis(w, -1, 0)


def _by_channel(w: Array) -> Array:
    return np.moveaxis(w, (-2, -1), (0, 1))


def _cell(s: Step) -> str:
    return f"{s.op}_after" if s.attrs.get("reset_after") else s.op


def _units(s: Step) -> int:
    return int(s.params[1].shape[0])


def _states(s: Step) -> int:
    return ROOM[_cell(s)][0] * _units(s)


def _room(s: Step, streams: bool) -> int:
    return ROOM[_cell(s)][1] * _units(s) + (0 if streams else _states(s))


def _without_factors(inputs: list[int], attrs: Mapping[str, Any]) -> list[int]:
    """Those of recurrent dropout are 1 after training."""
    return inputs[:-1] if attrs.get("dropped") else inputs


def _recurrent(c: Writer, s: Step) -> str:
    units = _units(s)
    steps, features = s.seen[0]
    masked, initial = bool(s.attrs.get("masked")), bool(s.attrs.get("initial"))
    told = [steps, features, units, bool(s.attrs["backwards"]), bool(s.attrs["sequences"])]
    g = c.table("@sequence", [int(v) for v in (*told, bool(s.attrs.get("states")))])
    h = c.carried or c.scratch(ROOM[_cell(s)][1] * units)
    lines = []
    if initial:
        for k in range(ROOM[_cell(s)][0]):
            lines.append(f"@copy({c.x(1 + masked + k)}, {h} + {k * units}, {units});")
    elif not c.carried:
        lines.append(f"@zero({h}, {_states(s)});")
    w, r = (c.weight(p, _turned) for p in s.params[:2])
    b = c.weight(s.params[2]) if len(s.params) > 2 else c.null
    f = [c.function(s.attrs["activation"], s.attrs.get("alpha", 0.0))]
    if "recurrent_activation" in s.attrs:
        f.append(c.function(s.attrs["recurrent_activation"], s.attrs.get("recurrent_alpha", 0.0)))
    mask = c.x(1) if masked else c.null
    last = f"{', '.join(f)}, {h}, {c.scratch(0)}, {c.y}"
    lines.append(f"@{_cell(s)}(&{g}, {c.x(0)}, {mask}, {w}, {r}, {b}, {last});")
    return "\n".join(lines)


# ---- normalization ----------------------------------------------------------------------------
def _batch_normalization(c: Writer, s: Step) -> str:
    attrs = s.attrs
    params = list(s.params)
    gamma = params.pop(0).value.astype(np.float64) if attrs.get("scale") else 1.0
    beta = c.weight(params.pop(0)) if attrs.get("center") else c.null
    mean, variance = params
    deviation = np.sqrt(variance.value.astype(np.float64) + attrs.get("epsilon", 0.0))
    n, channels = math.prod(s.shape), s.shape[-1]
    if attrs["mode"] == "inverse":
        told = f"{c.null}, {c.null}, {c.array(deviation)}, {c.weight(mean)}"
    else:
        rest = c.null
        if attrs.get("shifted"):  # `predict` subtracts the mean before it rounds x
            rest = c.array(mean.unrounded() - mean.value.astype(np.float64))
        told = f"{c.weight(mean)}, {rest}, {c.array(gamma / deviation)}, {beta}"
    return f"@standardize({c.x(0)}, {told}, {c.y}, {n}, {channels});"


def _normalization(c: Writer, s: Step) -> str:
    attrs, x = s.attrs, s.seen[0]
    groups = int(attrs.get("groups", 0))
    if groups:
        outer, positions, width = 1, math.prod(x[:-1]), x[-1] // groups
    else:
        width = math.prod(x[len(x) - int(attrs["axes"]) :])
        outer, positions, groups = math.prod(x) // width, 1, 1
    params = list(s.params)
    gamma = c.weight(params.pop(0)) if attrs.get("scale") else c.null
    beta = c.weight(params.pop(0)) if attrs.get("center") else c.null
    sizes = f"{outer}, {positions}, {groups}, {width}, {int(bool(attrs.get('centred')))}"
    epsilon = c.number(attrs["epsilon"])
    return f"@normalize({c.x(0)}, {gamma}, {beta}, {c.y}, {sizes}, {epsilon});"


def _scale(c: Writer, s: Step) -> str:
    w = s.params[0]
    n = math.prod(s.shape)
    return f"@scale({c.x(0)}, {c.weight(w)}, {c.y}, {n}, {w.shape[0]});"


# ---- functions --------------------------------------------------------------------------------
def _map(c: Writer, s: Step) -> str:
    f = c.function(s.attrs["function"], s.attrs.get("alpha", 0.0))
    return f"@map({f}, {c.x(0)}, {c.y}, {math.prod(s.shape)});"


def _softmax(c: Writer, s: Step) -> str:
    n, length = _rows(s.shape)
    return f"@{s.op}({c.x(0)}, {c.y}, {n}, {length});"


def _merge(c: Writer, s: Step, op: str = "") -> str:
    if len(s.inputs) == 1:
        return _copy(c, s)
    two = c.two(op or s.op)
    lines, left, seen = [], c.x(0), s.seen[0]
    for k in range(1, len(s.inputs)):
        lines.append(_pair(c, s, two, (left, seen), (c.x(k), s.seen[k])))
        left, seen = c.y, s.shape
    return "\n".join(lines)


def _average(c: Writer, s: Step) -> str:
    n = math.prod(s.shape)
    share = c.array([1 / len(s.inputs)])
    lines = [_merge(c, s, "add"), f"@scale({c.y}, {share}, {c.y}, {n}, 1);"]
    return "\n".join(lines)


def _pair(c: Writer, s: Step, two: str, a: tuple[str, Shape], b: tuple[str, Shape]) -> str:
    if math.prod(a[1]) == math.prod(b[1]) == math.prod(s.shape):
        return f"@pair({two}, {a[0]}, {b[0]}, {c.y}, {math.prod(s.shape)});"
    axes = _axes(s.shape, a[1], b[1])
    return f"@broadcast({two}, {a[0]}, {b[0]}, {c.y}, {c.triples(axes)}, {len(axes)});"


def _axes(shape: Shape, *operands: Shape) -> list[list[int]]:
    """The length of each axis, and by how much the place in each operand moves along it; axes
    that may be walked as one are one."""
    moves: list[list[int]] = []
    for own in operands:
        filled, step = (1,) * (len(shape) - len(own)) + tuple(own), 1
        moves.append([])
        for n in filled[::-1]:
            moves[-1].insert(0, step if n > 1 else 0)
            step *= n
    merged: list[list[int]] = []
    for n, *told in zip(shape, *moves, strict=True):
        if n == 1 and merged:
            continue
        if merged and all(p == q * n for p, q in zip(merged[-1][1:], told, strict=True)):
            merged[-1] = [merged[-1][0] * n, *told]
        elif merged and merged[-1][0] == 1:
            merged[-1] = [n, *told]
        else:
            merged.append([n, *told])
    if len(merged) > MOST_AXES:
        raise ValueError(
            f"got shapes {operands} whose broadcasting takes {len(merged)} axes in C, expected at "
            f"most {MOST_AXES}; reshape an input"
        )
    return merged


def _dot(c: Writer, s: Step) -> str:
    a, b = (_around(x, axis) for x, axis in zip(s.seen, s.attrs["axes"], strict=True))
    told = f"{a[1]}, {a[0]}, {a[2]}, {b[0]}, {b[2]}, {int(bool(s.attrs.get('normalize')))}"
    return f"@dot({c.x(0)}, {c.x(1)}, {c.y}, {told});"


# ---- moves --------------------------------------------------------------------------------------
def _constant(c: Writer, s: Step) -> str:
    return c.fix(c.array(s.attrs["value"]))


def _copy(c: Writer, s: Step) -> str:
    return f"@copy({c.x(0)}, {c.y}, {math.prod(s.shape)});"


def _concatenate(c: Writer, s: Step) -> str:
    axis = int(s.attrs["axis"])
    rows, _, inner = _around(s.shape, axis)
    total, offset, lines = s.shape[axis] * inner, 0, []
    for k, x in enumerate(s.seen):
        n = x[axis] * inner
        lines.append(f"@put({c.x(k)}, {c.y} + {offset}, {rows}, {n}, {total});")
        offset += n
    return "\n".join(lines)


def _slice(c: Writer, s: Step) -> str:
    a = s.attrs
    outer, n, inner = _around(s.seen[0], int(a["axis"]))
    told = f"{outer}, {n}, {inner}, {a['start']}, {a['step']}, {a['count']}"
    return f"@slice({c.x(0)}, {c.y}, {told});"


def _part(c: Writer, s: Step) -> str:
    inner = math.prod(s.seen[0][1:])
    return f"@copy({c.x(0)} + {s.attrs['begin'] * inner}, {c.y}, {math.prod(s.shape)});"


def _exchange(c: Writer, s: Step) -> str:
    x, split = s.seen[0], int(s.attrs["split"])
    return f"@exchange({c.x(0)}, {c.y}, {math.prod(x[:split])}, {math.prod(x[split:])});"


def _reverse(c: Writer, s: Step) -> str:
    mask = c.x(1) if len(s.inputs) > 1 else c.null
    return f"@reverse({c.x(0)}, {mask}, {c.y}, {s.shape[0]}, {math.prod(s.shape[1:])});"


def _history(c: Writer, s: Step) -> str:
    told = f"{c.y}, {_before(s)}, {math.prod(s.seen[0])}"
    return f"@history({c.x(0)}, {c.carried or c.null}, {told});"


def _before(s: Step) -> int:
    return int(s.attrs["steps"]) * math.prod(s.shape[1:])


def _repeat(c: Writer, s: Step) -> str:
    return f"@repeat({c.x(0)}, {c.y}, {math.prod(s.seen[0])}, {s.attrs['count']});"


def _place(c: Writer, s: Step) -> str:
    x = s.seen[0]
    out, before, repeat = (list(s.attrs[k]) for k in ("out", "before", "repeat"))
    if len(x) == 2:
        x, out, before, repeat = (1, *x), [1, *out], [0, *before], [1, *repeat]
    told = ", ".join(map(str, [*x, *out, *before, *repeat]))
    return f"@place({c.x(0)}, {c.y}, {told});"


# ---- over positions ---------------------------------------------------------------------------
def _sum(c: Writer, s: Step) -> str:
    outer, n, inner = _around(s.seen[0], int(s.attrs["axis"]))
    return f"@sum({c.x(0)}, {c.y}, {outer}, {n}, {inner}, {c.number(s.attrs.get('scale', 1.0))});"


def _pooling(c: Writer, s: Step) -> str:
    g = _windows(c, s, tuple(s.attrs["window"]), 1)
    return f"@pooling(&{g}, {c.x(0)}, {c.y}, {int(bool(s.attrs.get('most')))});"


def _pool_steps(c: Writer, s: Step) -> str:
    steps, channels = _rows(s.seen[0])
    mask = c.x(1) if len(s.inputs) > 1 else c.null
    most = int(bool(s.attrs.get("most")))
    return f"@pool_steps({c.x(0)}, {mask}, {c.y}, {steps}, {channels}, {most});"


def _masking(c: Writer, s: Step) -> str:
    steps, n = s.seen[0][0], math.prod(s.seen[0][1:])
    return f"@masking({c.x(0)}, {c.y}, {steps}, {n}, {c.number(s.attrs['value'])});"


def _mask(c: Writer, s: Step) -> str:
    steps, n = s.seen[0][0], math.prod(s.seen[0][1:])
    ids = s.inputs[0] in c.program.ids
    value = str(int(s.attrs["value"])) if ids else c.number(s.attrs["value"])
    return f"@{'mask_ids' if ids else 'mask'}({c.x(0)}, {c.y}, {steps}, {n}, {value});"


KINDS: dict[str, Kind] = {
    "activation": Kind(_map, in_place=_always, is_pointwise=True),
    "average": Kind(_average, in_place=_full),
    "batch_normalization": Kind(
        _batch_normalization, in_place=_always, reads=lambda inputs, attrs: inputs[:1]
    ),
    "concatenate": Kind(_concatenate),
    "constant": Kind(_constant, is_fixed=True),
    "convolution": Kind(_convolution),
    "copy": Kind(_copy),
    "dense": Kind(_dense, matrix=_matrix),
    "dot": Kind(_dot),
    "embedding": Kind(_embedding),
    "exchange": Kind(_exchange),
    "function": Kind(_map, in_place=_always, is_pointwise=True),
    "history": Kind(_history, carried=_before),
    "input": Kind(is_source=True),
    "log_softmax": Kind(_softmax, in_place=_always),
    "mask": Kind(_mask),
    "masked_dense": Kind(_masked_dense, matrix=_masked_matrix),
    "masking": Kind(_masking),
    "noise": Kind(is_same=True),
    "normalization": Kind(_normalization),
    "place": Kind(_place),
    "pool_steps": Kind(_pool_steps),
    "pooling": Kind(_pooling),
    "repeat": Kind(_repeat),
    "reshape": Kind(is_same=True),
    "reverse": Kind(_reverse),
    "rows": Kind(_part),
    "scale": Kind(_scale, in_place=_always),
    "slice": Kind(_slice),
    "softmax": Kind(_softmax, in_place=_always),
    "stop": Kind(is_same=True),
    "sum": Kind(_sum),
    **dict.fromkeys(
        ("simple_rnn", "lstm", "gru"), Kind(_recurrent, _room, _states, reads=_without_factors)
    ),
    **{op: Kind(_merge, in_place=_full) for op in functions.TWO},
}


_PYTHON = (
    "it is computed in Python, which C does not have; build the model of built-in layers and "
    "functions of bpcore.ops"
)
_UNKNOWN = "it has no counterpart in C; leave the layer out, or compute it outside"


def obstacle(step: Step) -> str | None:
    """What is in the way of a step in C; None if it can be written."""
    if step.op not in KINDS:
        return _PYTHON if "layer" in step.attrs else _UNKNOWN
    for key in ("function", "activation", "recurrent_activation"):
        name = step.attrs.get(key, "linear")
        if name not in functions.ONE:
            return f"the function {name!r} has no counterpart in C; choose another activation"
    return None
