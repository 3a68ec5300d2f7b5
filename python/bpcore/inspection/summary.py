"""The table that `Model.summary` prints, and the same as a page with a picture."""

from __future__ import annotations

import html
from typing import Any

from .. import _core
from ..base import svg
from .picture import graph

_HEAD = ("layer (class)", "output shape", "parameters", "connected to")
_DRAWN = 60  # calls of layers: of more a page shows no picture


def rows(engine: Any) -> list[tuple[str, str, str, str]]:
    """A line of the table for each call of a layer, in the order of `_HEAD`."""
    found = []
    seen: set[int] = set()
    for node in engine.nodes:
        layer = node.layer
        frozen = "" if layer.trainable or not layer.weights else " frozen"
        shared = id(layer) in seen
        seen.add(id(layer))
        count = "shared" if shared else f"{layer.count_params():,}{frozen}"
        origin = ", ".join(t.name for t in node.inputs)
        found.append((f"{layer.name} ({type(layer).__name__})", _shape(node), count, origin))
    return found


def _shape(node: Any) -> str:
    return "(N, " + ", ".join(map(str, node.output.shape)) + ")"


def picture(model: Any, engine: Any) -> str:
    """The graph as SVG."""
    lines = dict(zip(map(id, engine.nodes), rows(engine), strict=True))

    def words(node: Any) -> tuple[str, str]:
        name, shape, count, _ = lines[id(node)]
        told = (
            "" if count == "0" else f", {count}" if count == "shared" else f", {count} parameters"
        )
        return name, shape + told

    return graph(f"{type(model).__name__} {model.name}", engine.nodes, words)


def page(model: Any, engine: Any) -> str:
    """Picture, table and totals as HTML, for notebooks."""
    drawn = picture(model, engine) if len(engine.nodes) <= _DRAWN else ""
    return (
        f"<div><p><b>{html.escape(_title(model))}</b></p>{drawn}"
        f"{svg.table(_HEAD, rows(engine))}"
        f"<p>{html.escape(_totals(model, engine))}</p></div>"
    )


def summary(model: Any, engine: Any) -> str:
    """Layers, output shapes, parameters, connections, and the totals."""
    lines = _text([_HEAD, *rows(engine)])
    line = "-" * max(map(len, lines))
    return "\n".join(
        [_title(model), line, lines[0], line, *lines[1:], line, _totals(model, engine)]
    )


def _text(rows: list[tuple[str, str, str, str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [
        "  ".join(
            (
                row[0].ljust(widths[0]),
                row[1].ljust(widths[1]),
                row[2].rjust(widths[2]),
                row[3],
            )
        ).rstrip()
        for row in rows
    ]


def _title(model: Any) -> str:
    return f"{type(model).__name__} {model.name!r}, {model.dtype}{_products(model)}"


def _products(model: Any) -> str:
    """In which numbers products are made, where the model lets them be rounded."""
    if model.compute == model.dtype:
        return ""
    instructions = sorted(set(model.rounded_products().values()))
    if instructions:
        return f", products in {model.compute} ({', '.join(instructions)})"
    why = "it pays for none" if _core.config()["bfloat16"] else "this process has no instruction"
    return f", products in {model.compute}: none, {why}"


def _totals(model: Any, engine: Any) -> str:
    total = model.count_params()
    trainable = sum(int(p.value.size) for p in model.trainable_weights)
    size = sum(int(p.value.nbytes) for p in model.weights)
    return (
        f"parameters: {total:,} ({size / 1024:,.1f} KiB), trainable: {trainable:,}, "
        f"forward: {int(engine.net.flops_per_sample):,} flops a sample"
    )
