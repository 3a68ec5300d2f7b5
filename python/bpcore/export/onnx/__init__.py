"""ONNX: a graph of layers as a model that ONNX Runtime and others run.

`model` walks the nodes that the layers wrote down and computes what `predict` does: random layers
do nothing, batch normalization takes its running statistics. Each kind of node has one function, in
the table of its file; a kind without one is refused by name before anything is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import graph
from ..._version import __version__
from ...base import checks, optional
from ...base.memory import Shape
from . import pointwise, products
from .writer import Call, Kind, Writer

LOWEST, HIGHEST = 17, 23  # of ONNX's operations: LayerNormalization is new in 17
KINDS: dict[str, Kind] = {**pointwise.KINDS, **products.KINDS}


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
    low, places = graph.lower(nodes, ends[0], dtype, dtype)
    writer = Writer(onnx, low, opset, [*names[0], *names[1]])
    values = list(names[0])
    for i in range(len(values), len(low.nodes)):
        values.append(_written(writer, i, values))
    made = writer.finish([values[places[id(t.node)].a] for t in ends[1]], names[1])
    return _file(onnx, writer, made, name, ends, names)


def _written(writer: Writer, i: int, values: Sequence[str]) -> str:
    """Append node `i` of the lowered graph; the name of its value."""
    low = writer.low
    op, inputs, numbers, attrs, writer.label = low.nodes[i]
    kind = KINDS.get(op)
    if kind is None:
        raise ValueError(
            f"layer {writer.label!r} computes {op!r}, which has no counterpart in ONNX; export the "
            "layers before and behind it as models of their own, and compute it between them"
        )
    shapes = [low.shapes[k] for k in inputs]
    weights = [low.params[k] for k in numbers]
    call = Call([values[k] for k in inputs], shapes, low.shapes[i], weights, attrs, i)
    return kind(writer, call)


def _file(
    onnx: Any,
    writer: Writer,
    made: list[Any],
    name: str,
    ends: tuple[Sequence[graph.Tensor], Sequence[graph.Tensor]],
    names: tuple[Sequence[str], Sequence[str]],
) -> bytes:
    size = sum(array.nbytes for array in writer.arrays.values())
    if size >= 2**31 - 2**20:
        raise ValueError(
            f"model {name!r} has {size:,} bytes of weights, expected less than 2 GiB, the most "
            "that an ONNX file holds; export parts of the model"
        )
    kind = onnx.helper.np_dtype_to_tensor_dtype(writer.dtype)

    def told(tensors: Sequence[graph.Tensor], called: Sequence[str]) -> list[Any]:
        return [
            onnx.helper.make_tensor_value_info(called[k], kind, _sizes(t.shape))
            for k, t in enumerate(tensors)
        ]

    weights = [onnx.numpy_helper.from_array(array, key) for key, array in writer.arrays.items()]
    drawn = onnx.helper.make_graph(made, name, *map(told, ends, names), weights)
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


def _sizes(shape: Shape) -> list[Any]:
    return ["N", *("T" if size is None else size for size in shape)]
