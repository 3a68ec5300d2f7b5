"""Small pictures as SVG, and tables as HTML, without another package.

Text and lines take the colour of the page around them, so that they show on light and dark ones.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

LINES = ("#1f77b4", "#d95f02", "#2a9d5c", "#9467bd")  # told apart by colour-blind eyes too
_FONT = "font-family='system-ui, sans-serif' font-size='12'"
_SHORT = 30  # characters of a cell that is not broken into lines


class Picture:
    """A picture as SVG text; notebooks show it.

    Attributes
    ----------
    svg : str
        The document.
    """

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<Picture: {len(self.svg):,} characters of SVG>"


def document(width: float, height: float, parts: Sequence[str], title: str) -> str:
    """A whole SVG document."""
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' height='{height:.0f}' "
        f"viewBox='0 0 {width:.0f} {height:.0f}' {_FONT} fill='currentColor' role='img' "
        "style='max-width:100%;height:auto'>"  # a wide one shrinks to its column
        f"<title>{html.escape(title)}</title>{''.join(parts)}</svg>"
    )


def text(x: float, y: float, words: str, *, anchor: str = "middle", weight: str = "normal") -> str:
    """One line of text; `y` is its base line."""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-weight='{weight}'>"
        f"{html.escape(words)}</text>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as HTML: columns of numbers are aligned to the right, others to the left."""
    columns = list(zip(*rows, strict=True)) or [()] * len(head)
    sides = ["right" if all(map(_is_number, column)) else "left" for column in columns]

    def line(tag: str, cells: Sequence[str]) -> str:
        told = [
            f"<{tag} style='text-align:{side};padding:2px 8px"
            f"{';white-space:nowrap' if len(cell) < _SHORT else ''}'>{html.escape(cell)}</{tag}>"
            for side, cell in zip(sides, cells, strict=True)
        ]
        return f"<tr>{''.join(told)}</tr>"

    body = "".join(line("td", row) for row in rows)
    return (
        "<table style='border-collapse:collapse'><thead>"
        f"{line('th', head)}</thead><tbody>{body}</tbody></table>"
    )


def _is_number(cell: str) -> bool:
    """Whether a cell holds a number as these tables write them, or nothing."""
    try:
        float(cell.rstrip("%").replace(",", "") or 0)
    except ValueError:
        return False
    return True


def curves(title: str, lines: dict[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """A chart of a line for each name: (xs, ys); points that are not finite are left out.

    Parameters
    ----------
    title : str
    lines : dict of str to (xs, ys)

    Returns
    -------
    str
        SVG.
    """
    width, height, left, top, low = 340, 200, 62, 26, 36
    points = {
        name: [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
        for name, (xs, ys) in lines.items()
    }
    xs = [x for line in points.values() for x, _ in line]
    ys = [y for line in points.values() for _, y in line]
    if not xs:
        return document(width, 40, [text(width / 2, 24, f"{title}: no finite value")], title)
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x0) / (x1 - x0) if x1 > x0 else 0.5
        up = (y - y0) / (y1 - y0) if y1 > y0 else 0.5
        return left + across * (width - left - 12), height - low - up * (height - low - top)

    parts = [
        text(width / 2, 16, title, weight="bold"),
        f"<path d='M{left} {top}V{height - low}H{width - 12}' fill='none' stroke='currentColor'/>",
    ]
    for y in dict.fromkeys((y0, y1)):  # at the height of its points
        parts.append(text(left - 6, place(x0, y)[1] + 4, f"{y:.3g}", anchor="end"))
    for x in dict.fromkeys((x0, x1)):
        parts.append(text(place(x, y0)[0], height - low + 14, f"{x:g}"))
    for k, (name, line) in enumerate(points.items()):
        color = LINES[k % len(LINES)]
        places = [place(x, y) for x, y in line]
        if len(places) == 1:
            parts.append(
                f"<circle cx='{places[0][0]:.1f}' cy='{places[0][1]:.1f}' r='3' fill='{color}'/>"
            )
        route = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(
            f"<polyline points='{route}' fill='none' stroke='{color}' stroke-width='1.5'/>"
            f"<rect x='{left + 110 * k}' y='{height - 12}' width='14' height='3' fill='{color}'/>"
        )
        parts.append(text(left + 110 * k + 18, height - 7, name, anchor="start"))
    return document(width, height, parts, title)
