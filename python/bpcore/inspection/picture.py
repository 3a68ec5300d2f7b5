"""The graph of a model as a picture: layers in rows by depth, arrows for values.

Rows are the longest way from an input (Sugiyama's layering); within a row boxes stand near those
that they are connected to (the barycentre rule, a few sweeps up and down). An arrow over several
rows keeps a narrow place free in each, so that it does not cross boxes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..base import svg

_HIGH, _GAP, _ROW = 40, 24, 40  # pixels: a box, between boxes, between rows
_CHARACTER = 7.2  # pixels of a character of 12 px, rather too many
_SWEEPS = 6


@dataclasses.dataclass(eq=False)
class Box:
    """A call of a layer, or the place of an arrow that goes by (no lines)."""

    lines: tuple[str, ...]
    rank: int
    above: list[Box] = dataclasses.field(default_factory=list)
    below: list[Box] = dataclasses.field(default_factory=list)
    center: float = 0.0

    @property
    def wide(self) -> float:
        """Pixels."""
        if not self.lines:
            return 8.0
        return 20 + _CHARACTER * max(map(len, self.lines))


def graph(title: str, nodes: Any, words: Any) -> str:
    """SVG of a graph.

    Parameters
    ----------
    title : str
    nodes : list of Node
        Each after those whose outputs it takes.
    words : callable
        From a node to its lines of text.
    """
    rows = _rows(nodes, words)
    _order(rows)
    width = 2 * _GAP + max(_width(row) for row in rows)
    for row in rows:
        at = (width - _width(row)) / 2
        for box in row:
            box.center = at + box.wide / 2
            at += box.wide + _GAP
    parts = []
    for row in rows:
        for box in row:
            if box.lines:
                parts += [_arrow(above, box) for above in box.above]
                parts.append(_drawn(box))
    height = len(rows) * (_HIGH + _ROW)
    return svg.document(width, height, parts, title)


def _rows(nodes: Any, words: Any) -> list[list[Box]]:
    """Boxes by depth, with a place in each row that an arrow passes."""
    made: dict[int, Box] = {}
    rows: list[list[Box]] = []

    def put(box: Box) -> Box:
        while len(rows) <= box.rank:
            rows.append([])
        rows[box.rank].append(box)
        return box

    for node in nodes:
        sources = [made[id(t.node)] for t in node.inputs]
        box = put(Box(tuple(words(node)), 1 + max((s.rank for s in sources), default=-1)))
        made[id(node)] = box
        for source in sources:
            last = source
            for rank in range(source.rank + 1, box.rank):
                place = put(Box((), rank, [last]))
                last.below.append(place)
                last = place
            last.below.append(box)
            box.above.append(last)
    return rows


def _order(rows: list[list[Box]]) -> None:
    """Sort each row by the mean place of its neighbours, down and up in turns."""
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            for k, box in enumerate(row):
                near = box.above if down else box.below
                box.center = sum(b.center for b in near) / len(near) if near else k / len(row)
            row.sort(key=lambda box: box.center)
            for k, box in enumerate(row):
                box.center = (k + 0.5) / len(row)


def _width(row: list[Box]) -> float:
    return sum(box.wide for box in row) + _GAP * (len(row) - 1)


def _top(box: Box) -> float:
    return _ROW / 2 + box.rank * (_HIGH + _ROW)


def _drawn(box: Box) -> str:
    left, top = box.center - box.wide / 2, _top(box)
    words = [
        svg.text(box.center, top + 16 + 16 * k, line, weight="bold" if k == 0 else "normal")
        for k, line in enumerate(box.lines)
    ]
    return (
        f"<rect x='{left:.1f}' y='{top:.1f}' width='{box.wide:.1f}' height='{_HIGH}' rx='5' "
        f"fill='none' stroke='currentColor'/>{''.join(words)}"
    )


def _arrow(above: Box, box: Box) -> str:
    """From the box where the value comes from, through the places that were kept free."""
    route = [box, above]
    while not route[-1].lines:
        route.append(route[-1].above[0])
    route.reverse()
    x, y = route[0].center, _top(route[0]) + _HIGH
    path = f"M{x:.1f} {y:.1f}"
    for place in route[1:]:
        to_x, to_y = place.center, _top(place) - (5 if place.lines else 0)
        middle = (y + to_y) / 2
        path += f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
        if not place.lines:
            y += _HIGH
            path += f"V{y:.1f}"
    head = f"M{x - 4:.1f} {y:.1f}h8l-4 5z"
    return f"<path d='{path}' fill='none' stroke='currentColor'/><path d='{head}'/>"
