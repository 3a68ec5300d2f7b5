"""The base of the built-in layers, whose mathematics is in the core, and their use alone.

A built-in layer writes itself down as nodes of the compiled graph (`CoreLayer.core_lower`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core, data, graph
from ..base.memory import Array, Shape
from ..errors import NotBuiltError, ShapeError, diverged
from ..graph.parameter import Parameter
from .base import Layer

_OF_WEIGHTS = ("initializer", "regularizer", "constraint")


class Brick:
    """A network of one built-in layer, for `CoreLayer.forward` and `backward`."""

    def __init__(self, layer: Any, length: int) -> None:
        """`length`: steps, where the layer was built for any number of them."""
        self.layer, self.length = layer, length
        self.several = isinstance(layer.input_shape, list)
        shape = graph.closed(layer.input_shape, length)
        self.shapes: list[Shape] = shape if self.several else [shape]
        self.dtype = layer.dtype
        self.out_shape = layer.compute_output_shape(shape)
        low = graph.Lowering(self.dtype, self.dtype)
        inputs = []
        for k, s in enumerate(self.shapes):
            inputs.append(low.add_input(s, f"input_{k}"))
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
        self.draws = _core.Counter()  # the same for the trainer
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
            array = data.array(f"{self.layer.label}: x", a)
            if array.ndim != len(s) + 1 or array.shape[1:] != s:
                raise ShapeError(
                    f"{self.layer.label}: got x of shape {array.shape}, expected (N, "
                    f"{', '.join(map(str, s))}), for which it was built"
                )
            # A copy, for backward, in its own dtype: the core reads it as `predict` does.
            wide = array.dtype.itemsize > 8
            xs.append(array.astype(self.dtype) if wide else array.copy())
        if training:
            self.draw += 1
        try:
            y: Array = self.net.forward(xs, training, draw=max(self.draw, 0))[0]
        except _core.Diverged as error:
            raise diverged(error, -1, None) from None
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
            self.trainer = _core.Trainer(
                self.net, [loss], [1.0], [[]], None, slots, draws=self.draws
            )
        zeros = np.zeros(expected, dtype=self.dtype)
        self.draws.value = max(self.draw, 0)
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


class CoreLayer(Layer):
    """A layer whose mathematics is in the core; alone it runs as a network of one layer."""

    _transposed: tuple[str, ...] = ()  # weights that are matrices from inputs to outputs

    @property
    def matrices(self) -> list[Parameter] | None:
        if self._is_users():
            return super().matrices
        return [p for p in self._weights if p.local_name in self._transposed]

    def _is_users(self) -> bool:
        """Whether a subclass has its own mathematics."""
        custom = type(self).forward is not CoreLayer.forward
        return custom or type(self).backward is not CoreLayer.backward

    def _set_of_weights(self, **weights: tuple[Any, Any, Any]) -> None:
        """Check and keep of weights, for `_make_weight`, what stands behind the name in
        ``kernel_initializer``, ``kernel_regularizer``, ``kernel_constraint``."""
        from .. import constraints, initializers, regularizers

        for part, told in weights.items():
            readers = (initializers.get, regularizers.get, constraints.get)
            for key, read, value in zip(_OF_WEIGHTS, readers, told, strict=True):
                setattr(self, f"{part}_{key}", read(value))

    def _make_weight(
        self, name: str, shape: Any, part: str | None = None, trainable: bool = True
    ) -> Parameter:
        """`add_weight` with the arguments ``<part>_initializer``, and ``<part>_regularizer`` and
        ``<part>_constraint`` if the layer has them; `part` is the weight's name if not given."""
        told = {key: getattr(self, f"{part or name}_{key}", None) for key in _OF_WEIGHTS}
        return self.add_weight(name, shape, trainable=trainable, **told)

    def forward(self, x: Any, training: bool = False) -> Array:
        """y = f(x) for x of shape (N, \\*input_shape), or a list of such arrays."""
        if not self.built:
            raise NotBuiltError(f"{self.label} is not built; call build(input_shape) first")
        y: Array = self._get_brick(x).forward(x, training)
        return y

    def backward(self, dy: Any) -> Any:
        """dL/dx from dL/dy (of the output's shape); adds dL/dw to `gradients`."""
        if self._brick is None:
            raise RuntimeError(f"{self.label}: call forward(x) before backward(dy)")
        return self._brick.backward(dy)

    def _get_brick(self, x: Any = None) -> Any:
        """The network of this layer alone, for inputs as long as those of `x`."""
        if graph.is_open(self.input_shape):
            several = isinstance(self.input_shape, list)
            length = next((int(n) for n in np.shape(x[0] if several else x)[1:2]), 1)
            if self._brick is None or self._brick.length != length:
                self._brick = Brick(self, length)
        if self._brick is None:
            self._brick = Brick(self, 0)
        return self._brick

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        """Append this layer's nodes; the number of its output."""
        raise NotImplementedError(f"{type(self).__name__} must define core_lower")

    def lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        if self._is_users():
            return super().lower(low, inputs, shapes, shape)
        return self.core_lower(low, inputs, shapes, shape)
