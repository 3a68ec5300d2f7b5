"""What a node makes of its input, as its layer says: for whoever follows values through a graph.

Nobody asks a node for the name of its operation. A layer that wants to be understood (as the way
from a dense layer to an output whose bias is set from the targets) says with `Lowering.say` which
of these steps its node is; a node without one is a step that nobody looks through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..base.memory import Array
from .parameter import Parameter


class Given(NamedTuple):
    """Data of the caller."""


class Fixed(NamedTuple):
    """The same values for every sample."""

    value: Array


class View(NamedTuple):
    """The input's values in another shape."""


class Joined(NamedTuple):
    """All inputs one after the other along an axis of the sample."""

    axis: int


class Units(NamedTuple):
    """A linear layer over the last axis, whose bias is added at the end; None: it has no bias."""

    bias: Parameter | None


class Function(NamedTuple):
    """An activation, by its name, with its slope or scale."""

    name: str
    alpha: float = 0.0


class Affine(NamedTuple):
    """y = scale x + offset, x one of the inputs by number; scale and offset fit y's shape."""

    source: int
    terms: Callable[[], tuple[Array, Array]]


Step = Given | Fixed | View | Joined | Units | Function | Affine
