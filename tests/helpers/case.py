"""What a row of tests/cases.py holds of a layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ..reference import ACTIVATIONS, log_softmax, softmax
from ..reference.pointwise import DEFAULT_ALPHA


def activation(name):
    """The NumPy forward of an activation as a user gets it by name."""
    if name in ("softmax", "log_softmax"):
        return {"softmax": softmax, "log_softmax": log_softmax}[name]
    return lambda z: ACTIVATIONS[name](z, DEFAULT_ALPHA.get(name, 0.0))


@dataclasses.dataclass(frozen=True)
class Layer:
    """What test_gradients.py and test_rows.py check of a layer follows from its row.

    make(layers): the layer; shapes: per-sample input shapes; forward(weights, *xs) in NumPy, None
    where it is tested apart. The last axes may have any length that is a multiple of `multiple`,
    and make and forward fit each; 0: the shapes stand as they are.
    """

    id: str
    kind: str
    make: Callable
    shapes: tuple[tuple[int, ...], ...]
    forward: Callable | None
    multiple: int = 1

    def resized(self, length):
        """The shapes with this last axis; an operand that is repeated along it stays as it is."""
        one = len(self.shapes) == 1
        return tuple((*s[:-1], length if one or s[-1] > 1 else 1) for s in self.shapes)
