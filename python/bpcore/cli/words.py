"""Words of the command line as values, for argparse."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
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


def seed(text: str) -> int:
    """A seed."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected a whole number from 0 to 2^63 - 1"
        )
    return value


def share(text: str) -> float:
    """A number in [0, 1)."""
    return _real(text, "a number in [0, 1)", lambda value: 0 <= value < 1)


def rate(text: str) -> float:
    """A finite number > 0."""
    return _real(text, "a number > 0", lambda value: 0 < value < math.inf)


def _real(text: str, wanted: str, fits: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected {wanted}")
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
