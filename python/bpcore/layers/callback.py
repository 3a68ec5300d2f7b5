"""Between the core and Python: layers in plain Python as nodes, and built-in layers alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core, graph
from ..base import checks
from ..base.memory import Array, Shape, empty
from ..errors import ShapeError
from . import base


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
        self, layer: base.Layer, shapes: list[Shape], shape: Shape, dtype: str, *, shared: bool
    ) -> None:
        self.layer, self.shapes, self.shape, self.dtype = layer, shapes, shape, dtype
        self.several = isinstance(layer.input_shape, list)
        self.shared = shared
        # Own arrays for this call: the core reads them after all backward passes are done.
        self.grads = [empty(p.shape, dtype) for p in layer.weights]
        self._saved: dict[str, Any] = {}
        self._n = 0

    def forward(self, xs: list[Array], training: bool) -> Array:
        """For the core: the layer's forward, its result checked."""
        self._n = int(xs[0].shape[0])
        y = base.call_forward(self.layer, list(xs) if self.several else xs[0], training)
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
        layer.zero_gradients()
        dx = layer.backward(dy)
        what = f"{layer.label}: {type(layer).__name__}.backward"
        for p, own in zip(layer.weights, self.grads, strict=True):
            own[...] = check_result(f"{what}: {p.local_name}.grad", p.grad, p.shape, self.dtype)
        results = list(dx) if self.several and isinstance(dx, (list, tuple)) else [dx]
        if len(results) != len(self.shapes):
            raise ShapeError(f"{what} returned {len(results)} arrays, expected {len(self.shapes)}")
        return [
            check_result(what, d, (self._n, *s), self.dtype)
            for d, s in zip(results, self.shapes, strict=True)
        ]


class Brick:
    """A network of one built-in layer, for `CoreLayer.forward` and `backward`."""

    def __init__(self, layer: base.CoreLayer) -> None:
        self.layer = layer
        self.several = isinstance(layer.input_shape, list)
        self.shapes: list[Shape] = layer.input_shape if self.several else [layer.input_shape]
        self.dtype = layer.dtype
        self.out_shape = layer.compute_output_shape(layer.input_shape)
        low = graph.Lowering(self.dtype, self.dtype)
        inputs = []
        for k, s in enumerate(self.shapes):
            inputs.append(low.add("input", (), s, f"input_{k}", shape=s))
        out = layer.core_lower(low, inputs, self.shapes, self.out_shape)
        if out in inputs:  # a linear activation: the core wants a node of its own
            out = low.add("reshape", (out,), self.out_shape, layer.name, shape=self.out_shape)
        self.params = low.params
        # All weights count as trainable here: frozen ones have gradients too.
        self.net = low.network([out], [True] * len(low.params))
        self.trainer: Any = None
        self.xs: list[Array] | None = None
        self.training = False
        self.draw = -1  # training passes so far, less one
        self.dy: Array | None = None

    def forward(self, x: Any, training: bool) -> Array:
        """Checks, runs and keeps the input for backward."""
        arrays = list(x) if self.several else [x]
        if len(arrays) != len(self.shapes):
            raise ShapeError(
                f"{self.layer.label}: got {len(arrays)} inputs, expected {len(self.shapes)}"
            )
        xs = []
        for a, s in zip(arrays, self.shapes, strict=True):
            array = np.asarray(a)
            if array.dtype.kind not in "fiub":
                raise TypeError(
                    f"{self.layer.label}: x has dtype {array.dtype}, expected a real number dtype"
                )
            if array.ndim != len(s) + 1 or array.shape[1:] != s:
                raise ShapeError(
                    f"{self.layer.label}: got x of shape {array.shape}, expected (N, "
                    f"{', '.join(map(str, s))}), for which it was built"
                )
            xs.append(array.astype(self.dtype))
        if training:
            self.draw += 1
        y: Array = self.net.forward(xs, training, draw=max(self.draw, 0))[0]
        self.xs, self.training = xs, training
        return y

    def backward(self, dy: Any) -> Any:
        """Runs forward and backward in the core, with `dy` as the gradient at the output."""
        if self.xs is None:
            raise RuntimeError(f"{self.layer.label}: call forward(x) before backward(dy)")
        array = np.asarray(dy)
        expected = (self.xs[0].shape[0], *self.out_shape)
        if array.shape != expected:
            raise ShapeError(
                f"{self.layer.label}: got dy of shape {array.shape}, expected {expected}"
            )
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{self.layer.label}: dy has dtype {array.dtype}, expected numbers")
        self.dy = np.ascontiguousarray(array, dtype=self.dtype)
        if self.trainer is None:
            loss = {"kind": "python", "call": self._loss}
            slots: list[list[Array]] = [[] for _ in self.params]
            self.trainer = _core.Trainer(self.net, [loss], [1.0], [[]], None, slots)
        zeros = np.zeros(expected, dtype=self.dtype)
        self.trainer.draw = max(self.draw, 0)
        _, grads, dxs = self.trainer.gradients(
            self.xs, [(zeros, False)], [None], True, self.training
        )
        for p, g in zip(self.params, grads, strict=True):
            if g is not None:
                p.grad[...] += g
        return list(dxs) if self.several else dxs[0]

    def _loss(self, y: Array, p: Array, w: Any) -> tuple[Array, Array]:
        assert self.dy is not None
        return np.zeros(p.shape[0]), self.dy
