"""A layer in plain Python as a node of the core: its methods, and checks of what they return."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import arguments, checks
from ..base.memory import Array, Shape, empty
from ..errors import ShapeError
from ..graph.parameter import gathering


def call_forward(layer: Any, x: Any, training: bool) -> Any:
    """Call a user's forward, whether or not it takes `training`."""
    if arguments.takes(type(layer).forward, "training"):
        return layer.forward(x, training)
    return layer.forward(x)


def check_result(what: str, result: Any, shape: tuple[int, ...], dtype: str) -> Array:
    """What a Python method returned: an ndarray of this shape and dtype, without NaN or Inf."""
    if not isinstance(result, np.ndarray):
        raise TypeError(
            f"{what} returned {checks.describe(result)}, expected an ndarray of shape {shape} and "
            f"dtype {dtype}"
        )
    if result.shape != shape:
        raise ShapeError(f"{what} returned shape {result.shape}, expected {shape}")
    if result.dtype != np.dtype(dtype):
        raise TypeError(
            f"{what} returned dtype {result.dtype}, expected {dtype}, the model's; "
            f"return y.astype({dtype!r})"
        )
    if not np.isfinite(result).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
        raise ValueError(
            f"{what} returned {result[where]} at {list(where)}, expected finite values; "
            "check for divisions by 0, logarithms and overflow"
        )
    return np.ascontiguousarray(result)


class PythonNode:
    """One call of a Python layer in a compiled graph."""

    def __init__(
        self, layer: Any, shapes: list[Shape], shape: Shape, dtype: str, *, shared: bool
    ) -> None:
        self.layer, self.shapes, self.shape, self.dtype = layer, shapes, shape, dtype
        self.several = isinstance(layer.input_shape, list)
        self.shared = shared
        # Own arrays for this call: the core reads them after all backward passes are done.
        self.grads = [empty(p.shape, dtype) for p in layer.weights]
        self._saved: dict[str, Any] = {}
        self._n = 0

    def kept(self) -> Any:
        """What the last forward left for backward, whoever calls the layer in between."""
        return dict(self.layer.__dict__), self._saved, self._n

    def restore(self, state: Any) -> None:
        """Take back what `kept` gave."""
        found, self._saved, self._n = state
        settings = ("_trainable", "_name", "_owner", "_calls", "_weights")
        self.layer.__dict__.update({k: v for k, v in found.items() if k not in settings})

    def forward(self, xs: list[Array], training: bool) -> Array:
        """For the core: the layer's forward, its result checked."""
        self._n = int(xs[0].shape[0])
        y = call_forward(self.layer, list(xs) if self.several else xs[0], training)
        what = f"{self.layer.label}: {type(self.layer).__name__}.forward"
        y = check_result(what, y, (self._n, *self.shape), self.dtype)
        if self.shared:  # the next call overwrites what this one keeps for backward
            self._saved = dict(self.layer.__dict__)
        return y

    def backward(self, dy: Array) -> list[Array | None]:
        """For the core: the layer's backward; leaves this call's weight gradients in `grads`."""
        layer = self.layer
        if self.shared:
            layer.__dict__.update(self._saved)
        with gathering(layer.weights, self.grads):  # what callers keep in grad is not to be touched
            layer.zero_gradients()
            dx = layer.backward(dy)
        what = f"{layer.label}: {type(layer).__name__}.backward"
        for p, own in zip(layer.weights, self.grads, strict=True):
            check_result(f"{what}: {p.local_name}.grad", own, p.shape, self.dtype)
        results = list(dx) if self.several and isinstance(dx, (list, tuple)) else [dx]
        if len(results) != len(self.shapes):
            raise ShapeError(f"{what} returned {len(results)} arrays, expected {len(self.shapes)}")
        return [
            check_result(what, d, (self._n, *s), self.dtype)
            for d, s in zip(results, self.shapes, strict=True)
        ]
