"""The table that `Model.summary` prints."""

from __future__ import annotations

from typing import Any


def summary(model: Any, engine: Any) -> str:
    """Layers, output shapes, parameters, connections, and the totals."""
    rows = [("layer (class)", "output shape", "parameters", "connected to")]
    seen: set[int] = set()
    for node in engine.nodes:
        layer = node.layer
        frozen = "" if layer.trainable or not layer.weights else " frozen"
        shared = id(layer) in seen
        seen.add(id(layer))
        count = "shared" if shared else f"{layer.count_params():,}{frozen}"
        shape = "(N, " + ", ".join(map(str, node.output.shape)) + ")"
        origin = ", ".join(t.name for t in node.inputs)
        rows.append((f"{layer.name} ({type(layer).__name__})", shape, count, origin))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
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
    line = "-" * max(map(len, lines))
    total = model.count_params()
    trainable = sum(int(p.value.size) for p in model.trainable_weights)
    size = sum(int(p.value.nbytes) for p in model.weights)
    products = f", products in {model.compute}" if model.compute != model.dtype else ""
    return "\n".join(
        [
            f"{type(model).__name__} {model.name!r}, {model.dtype}{products}",
            line,
            lines[0],
            line,
            *lines[1:],
            line,
            f"parameters: {total:,} ({size / 1024:,.1f} KiB), trainable: {trainable:,}, "
            f"forward: {int(engine.net.flops_per_sample):,} flops a sample",
        ]
    )
