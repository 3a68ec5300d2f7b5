"""Words of the command line as values, for argparse."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..base import checks


def positive(text: str) -> int:
    """An int >= 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number >= 1")
    return value


def units(text: str) -> tuple[int, ...]:
    """Numbers of units, with commas between them."""
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers like 128,64")
    return found


def path(text: str) -> Path:
    """The path of a file, whose ``~`` no shell has put in place behind ``--out=``."""
    try:
        return Path(checks.path(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
