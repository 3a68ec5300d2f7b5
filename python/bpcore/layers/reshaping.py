"""Flatten and Reshape: another view of the same numbers, in C order."""

from __future__ import annotations

import math
from typing import Any

from .. import graph
from ..base import checks
from ..base.memory import Shape
from ..errors import ShapeError
from .core import CoreLayer
from .dense import single


class Flatten(CoreLayer):
    """(N, a, b, ...) -> (N, a b ...).

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.Flatten()(bp.Input((28, 28))).shape
    (784,)
    """

    def __init__(self, *, name: str | None = None, dtype: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return (math.prod(single(self, input_shape)),)

    def mixes_steps(self, shapes: list[Shape], shape: Shape) -> bool:
        """All are in one row."""
        return True

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        i = low.add("reshape", inputs, shape, self.name, shape=shape)
        return low.say(i, graph.View())


class Reshape(CoreLayer):
    """(N, ...) -> (N, \\*shape) with as many numbers; one size may be -1.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.Reshape((4, -1))(bp.Input((12,))).shape
    (4, 3)
    """

    def __init__(self, shape: Any, *, name: str | None = None, dtype: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype)
        sizes = (shape,) if isinstance(shape, int) else shape
        if not isinstance(sizes, (tuple, list)) or not sizes:
            raise TypeError(f"shape must be a tuple of ints, got {checks.describe(shape)}")
        self.shape = tuple(checks.integer("shape", n, -1) for n in sizes)
        if self.shape.count(-1) > 1 or 0 in self.shape:
            raise ValueError(f"shape must hold sizes >= 1 and at most one -1, got {self.shape}")

    def compute_output_shape(self, input_shape: Any) -> Shape:
        count = math.prod(single(self, input_shape))
        known = math.prod(n for n in self.shape if n != -1)
        fits = count % known == 0 if -1 in self.shape else count == known
        if not fits:
            raise ShapeError(
                f"{self.label}: got input of shape {tuple(input_shape)} with {count} numbers, "
                f"expected as many as {self.shape} holds"
            )
        return tuple(count // known if n == -1 else n for n in self.shape)

    def mixes_steps(self, shapes: list[Shape], shape: Shape) -> bool:
        """Unless each keeps its own numbers."""
        return shape[0] != shapes[0][0]

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        i = low.add("reshape", inputs, shape, self.name, shape=shape)
        return low.say(i, graph.View())
