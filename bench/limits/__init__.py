"""What the core promises beyond speed: each limit measured, after its answer was asserted.

A module of PARTS has TITLE and INTRO, measure(options) with figures that JSON can hold, and
table(figures) in Markdown.
"""

from __future__ import annotations

from . import bfloat16, calls, denormals, gain, inference, memmap, memory, sleeping
from .options import Options

PARTS = {
    "gain": gain,
    "inference": inference,
    "bfloat16": bfloat16,
    "calls": calls,
    "memory": memory,
    "memmap": memmap,
    "denormals": denormals,
    "sleeping": sleeping,
}


def limits(options: Options) -> dict:
    return {name: part.measure(options) for name, part in PARTS.items()}


def sections(figures: dict) -> list[str]:
    """Titles, explanations and tables of what was measured."""
    found = []
    for name, part in PARTS.items():
        if figures[name]:
            found += [f"### {part.TITLE}", part.INTRO, part.table(figures[name])]
    return found
