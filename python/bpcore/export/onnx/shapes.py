"""What moves values in ONNX: constants, shapes, joins and cuts, steps and pixels."""

from __future__ import annotations

import numpy as np

from .writer import LAST, Call, Kind, Writer

# Where a batch of 1 goes with any other.
_MERGES = {"add", "subtract", "multiply", "divide", "maximum", "minimum"}


def _constant(w: Writer, call: Call) -> str:
    """The same for all samples: a batch of 1 where every reader merges it with what is not, else
    repeated to the size of the batch."""
    value = w.constant(call.attrs["value"].reshape(1, *call.shape))
    nodes = w.low.nodes

    def varies(k: int) -> bool:
        return k < len(w.inputs) or bool(nodes[k][1])

    readers = [node for node in nodes if call.number in node[1]]
    merged = all(node[0] in _MERGES and any(map(varies, node[1])) for node in readers)
    if merged and call.number not in w.ends:
        return value
    return w.add("Expand", value, w.batch_of(len(call.shape)))


def _reshape(w: Writer, call: Call) -> str:
    x = call.inputs[0]
    if call.shape == call.shapes[0]:
        return x
    y = w.reshape(x, call.shape)
    if x in w.ids:
        w.ids.add(y)
    return y


def _exchange(w: Writer, call: Call) -> str:
    split, rank = call.attrs["split"], len(call.shape)
    return w.transpose(call.inputs[0], [0, *range(split + 1, rank + 1), *range(1, split + 1)])


def _concatenate(w: Writer, call: Call) -> str:
    axis = call.attrs["axis"] + 1
    return w.before_turns(
        call.inputs, len(call.shape) + 1, lambda xs, order: w.add("Concat", *xs, axis=order[axis])
    )


def _slice(w: Writer, call: Call) -> str:
    start, step = call.attrs["start"], call.attrs["step"]
    stop = start + step * call.attrs["count"]
    return w.cut(call.inputs[0], call.attrs["axis"] + 1, start, stop if stop >= 0 else -LAST, step)


def _rows(w: Writer, call: Call) -> str:
    """Of the first axis. Where it is of any length, an end in its second half is counted from the
    end: `onnx.model` compares two lengths."""
    size = call.shapes[0][0]
    begin, end = (
        n - size if w.open and 2 * n > size else n for n in (call.attrs["begin"], call.attrs["end"])
    )
    y = w.cut(call.inputs[0], 1, begin, end or LAST)
    return w.squeeze(y, 1) if call.attrs.get("drop") else y


def _reverse(w: Writer, call: Call) -> str:
    x = call.inputs[0]
    if len(call.inputs) == 1:
        return w.reverse(x, 1)
    lengths = w.cast(w.reduce("ReduceSum", call.inputs[1], [1]), np.int64)
    return w.add("ReverseSequence", x, lengths, batch_axis=0, time_axis=1)


def _history(w: Writer, call: Call) -> str:
    rank = len(call.shape) + 1
    pads = np.zeros(2 * rank)
    pads[1] = call.attrs["steps"]
    return w.add("Pad", call.inputs[0], w.integers(pads))


def _repeat(w: Writer, call: Call) -> str:
    times = [1, call.attrs["count"], *[1] * (len(call.shape) - 1)]
    return w.add("Tile", w.unsqueeze(call.inputs[0], 1), w.integers(times))


def _place(w: Writer, call: Call) -> str:
    """Zeros around, a part, or each position several times, by axis of positions."""
    x, channels = call.inputs[0], call.shape[-1]
    axes = zip(*(call.attrs[key] for key in ("out", "before", "repeat")), strict=True)
    pads = [[0, 0] for _ in range(len(call.shape) + 1)]
    now = list(call.shapes[0][:-1])
    for k, (out, before, repeat) in enumerate(axes):
        if repeat > 1:
            times = [1] * (len(now) + 3)
            times[k + 2] = repeat
            x = w.add("Tile", w.unsqueeze(x, k + 2), w.integers(times))
            now[k] *= repeat
            shape = [-1 if i == k else 0 for i in range(k + 1)] + [*now[k + 1 :], channels]
            x = w.add("Reshape", x, w.integers([0, *shape]))
        after = out - before - now[k]
        if before < 0 or after < 0:
            x = w.cut(x, k + 1, max(-before, 0), min(after, 0) or LAST)
        pads[k + 1] = [max(before, 0), max(after, 0)]
    if not np.any(pads):
        return x
    return w.add("Pad", x, w.integers(np.transpose(pads).ravel()))


KINDS: dict[str, Kind] = {
    "constant": _constant,
    "reshape": _reshape,
    "exchange": _exchange,
    "concatenate": _concatenate,
    "slice": _slice,
    "rows": _rows,
    "reverse": _reverse,
    "history": _history,
    "repeat": _repeat,
    "place": _place,
}
