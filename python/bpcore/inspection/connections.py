"""What is connected to what: edges, and the graph in Graphviz's language."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Node

Edge = tuple[str, str, int]


def edges(nodes: Sequence[Node]) -> list[Edge]:
    """(from, to, index): layers by name, and which input of the second the edge is."""
    return [(t.name, node.layer.name, i) for node in nodes for i, t in enumerate(node.inputs)]


def to_dot(name: str, nodes: Sequence[Node]) -> str:
    """The graph for ``dot``: a box for each call of a layer, with class and output shape."""
    place = {id(node): i for i, node in enumerate(nodes)}
    lines = [f"digraph {_quoted(name)} {{", "  rankdir=TB;", "  node [shape=box];"]
    for i, node in enumerate(nodes):
        shape = ", ".join(map(str, node.output.shape))
        label = f"{node.layer.name}\\n{type(node.layer).__name__} (N, {shape})"
        lines.append(f"  n{i} [label={_quoted(label)}];")
    for i, node in enumerate(nodes):
        lines += [f"  n{place[id(t.node)]} -> n{i};" for t in node.inputs]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
