"""ONNX: a graph of layers as a model that ONNX Runtime and others run.

`model` walks the nodes that the layers wrote down and computes what `predict` does: random layers
do nothing, batch normalization takes its running statistics. Each kind of node has one function, in
the table of its file; a kind without one is refused by name before anything is written.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import graph
from ..._version import __version__
from ...base import checks, optional
from ...base.lengths import is_open
from .. import numbers
from . import images, pointwise, products, recurrent, sequences, shapes
from .writer import Call, Kind, Writer

LOWEST, HIGHEST = 17, 23  # of ONNX's operations: LayerNormalization is new in 17
MOST = 2**31 - 2**22  # bytes of weights: a message of protobuf ends below 2 GiB
KINDS: dict[str, Kind] = {
    **pointwise.KINDS, **products.KINDS, **shapes.KINDS, **images.KINDS, **sequences.KINDS,
    **recurrent.KINDS,
}  # fmt: skip
_STRANGE = {"python": "is written in Python"}
_LENGTHS = (61, 67)  # where any number of steps is allowed, these two have to give the same


def model(
    name: str,
    nodes: Sequence[graph.Node],
    ends: tuple[Sequence[graph.Tensor], Sequence[graph.Tensor]],
    names: tuple[Sequence[str], Sequence[str]],
    dtype: str,
    opset: int,
) -> bytes:
    """The content of an ONNX file.

    Parameters
    ----------
    name : str
        Of the model.
    nodes : list of Node
        Its graph, sorted.
    ends : (list of Tensor, list of Tensor)
        Inputs and outputs of the graph.
    names : (list of str, list of str)
        What they are called.
    dtype : {"float32", "float64"}
    opset : int
        The version of ONNX's operations.
    """
    onnx = optional.require("onnx", "onnx", "to_onnx")
    opset = checks.integer("opset", opset, LOWEST, min(HIGHEST, onnx.defs.onnx_opset_version()))
    names = names[0], _apart(names[1], names[0])
    writer, made = _drawn(onnx, nodes, ends, names, dtype, opset, _LENGTHS[0])
    if writer.open:
        other = _drawn(onnx, nodes, ends, names, dtype, opset, _LENGTHS[1])
        _compare((writer, made), other)
    return _file(writer, made, name, ends, names)


def _apart(names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Names of outputs, with a number where an input has that name."""
    found: list[str] = []
    for name in names:
        k, wish = 0, name
        while wish in (*taken, *found):
            k += 1
            wish = f"{name}_{k}"
        found.append(wish)
    return found


def _drawn(
    onnx: Any,
    nodes: Sequence[graph.Node],
    ends: tuple[Sequence[graph.Tensor], Sequence[graph.Tensor]],
    names: tuple[Sequence[str], Sequence[str]],
    dtype: str,
    opset: int,
    length: int,
) -> tuple[Writer, list[Any]]:
    """The graph in ONNX, for this number of steps where it is open."""
    lengths = [length if is_open(t.shape) else 0 for t in ends[0]]
    low, places = graph.lower(nodes, ends[0], dtype, dtype, lengths)
    found = [places[id(t.node)].a for t in ends[1]]
    writer = Writer(onnx, low, opset, names, found, any(lengths))
    values = list(names[0])
    for i in range(len(values), len(low.nodes)):
        values.append(_written(writer, i, values))
    return writer, writer.finish([values[i] for i in found], names[1])


def _written(writer: Writer, i: int, values: Sequence[str]) -> str:
    """Append node `i` of the lowered graph; the name of its value."""
    low = writer.low
    op, inputs, params, attrs, writer.label = low.nodes[i]
    kind = KINDS.get(op)
    if kind is None:
        raise ValueError(
            f"layer {writer.label!r} {_STRANGE.get(op, f'computes {op!r}')}, which has no "
            "counterpart in ONNX; export what is before and behind it as models of their own, and "
            "compute it between them"
        )
    given = [values[k] for k in inputs]
    shapes = [low.shapes[k] for k in inputs]
    weights = [low.params[k] for k in params]
    for p in weights:
        numbers.rounded(p.value, p.dtype, numbers.of_weight(writer.label, p.name))
    return kind(writer, Call(given, shapes, low.shapes[i], weights, attrs, i))


def _compare(one: tuple[Writer, list[Any]], other: tuple[Writer, list[Any]]) -> None:
    """Only where the graphs for two numbers of steps are the same it serves for any."""

    def told(writer: Writer, node: Any) -> list[bytes]:
        held = [writer.arrays[x] for x in node.input if x in writer.arrays]
        return [node.SerializeToString(), *(array.tobytes() for array in held)]

    for a, b in itertools.zip_longest(one[1], other[1]):
        if a is None or b is None or told(one[0], a) != told(other[0], b):
            layer = (a or b).name.rpartition("/")[0]
            raise ValueError(
                f"layer {layer!r} depends on the number of steps in a way that ONNX needs as a "
                "number; export the model with an Input of a fixed length"
            )


def _file(
    writer: Writer,
    made: list[Any],
    name: str,
    ends: tuple[Sequence[graph.Tensor], Sequence[graph.Tensor]],
    names: tuple[Sequence[str], Sequence[str]],
) -> bytes:
    size = sum(array.nbytes for array in writer.arrays.values())
    if size > MOST:
        raise ValueError(
            f"model {name!r} has {size:,} bytes of weights, expected at most {MOST:,}, as an ONNX "
            "file is smaller than 2 GiB; export parts of the model"
        )
    onnx = writer.onnx
    number, ids = map(onnx.helper.np_dtype_to_tensor_dtype, (writer.dtype, np.dtype("int64")))

    several = sum(is_open(t.shape) for t in ends[0]) > 1

    def told(t: graph.Tensor, key: str, steps: str | None) -> Any:
        sizes = ["N", *(steps if size is None else size for size in t.shape)]
        return onnx.helper.make_tensor_value_info(key, ids if key in writer.ids else number, sizes)

    pairs = zip(ends[0], names[0], strict=True)
    given = [told(t, key, f"T_{key}" if several else "T") for t, key in pairs]
    answers = [  # of as many steps as the input, or of another number
        told(t, key, "T" if writer.low.shapes[i][:1] == _LENGTHS[:1] and not several else None)
        for t, key, i in zip(ends[1], names[1], writer.ends, strict=True)
    ]
    weights = [onnx.numpy_helper.from_array(array, key) for key, array in writer.arrays.items()]
    drawn = onnx.helper.make_graph(made, name, given, answers, weights)
    opsets = [onnx.helper.make_opsetid("", writer.opset)]
    file = onnx.helper.make_model(
        drawn,
        opset_imports=opsets,
        ir_version=onnx.helper.find_min_ir_version_for(opsets),
        producer_name="bpcore",
        producer_version=__version__,
    )
    content: bytes = file.SerializeToString(deterministic=True)
    return content
