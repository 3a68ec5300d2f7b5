"""Activation: y = f(z), elementwise (softmax and log_softmax: over the last axis)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import activations, graph
from ..base.memory import Array, Shape
from .base import Layer
from .core import CoreLayer


class FunctionLayer(Layer):
    """y = f(z) for a Python object with ``f(z)`` and ``df(z)``; used inside of other layers."""

    def __init__(self, function: Any, name: str | None = None) -> None:
        super().__init__(name=name)
        self.function = function
        self._z: Array | None = None

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return tuple(input_shape)

    def forward(self, x: Any, training: bool = False) -> Any:
        self._z = x
        return np.asarray(self.function.f(x))

    def backward(self, dy: Any) -> Any:
        return dy * np.asarray(self.function.df(self._z))


def lower_activation(
    low: graph.Lowering, i: int, shape: Shape, name: str, function: Any, alpha: float | None = None
) -> int:
    """Append f to value `i`; nothing for linear."""
    if not isinstance(function, str):
        layer = FunctionLayer(function, name=name)
        layer._dtype = low.dtype
        layer.build(shape)
        return layer.lower(low, [i], [shape], shape)
    if function == "linear":
        return i
    if function in activations.THRESHOLDS:
        return low.add("function", (i,), shape, name, function=function)
    if function in activations.OF_LAST_AXIS:
        return low.say(low.add(function, (i,), shape, name), graph.Function(function))
    slope = activations.alpha(function, alpha)
    made = low.add("activation", (i,), shape, name, function=function, alpha=slope)
    return low.say(made, graph.Function(function, slope))


class Activation(CoreLayer):
    """An activation as a layer of its own.

    Parameters
    ----------
    activation : str or object
        A name of `bpcore.activations.names`, or an object with elementwise ``f(z)`` and ``df(z)``.
    alpha : float, optional
        Slope of ``leaky_relu`` (0.2), scale of ``elu`` and ``celu`` (1.0).

    Examples
    --------
    >>> import bpcore as bp
    >>> layer = bp.layers.Activation("relu")
    >>> layer([[-1.0, 2.0]]).tolist()
    [[0.0, 2.0]]
    """

    of_last_axis = True

    def __init__(
        self,
        activation: Any,
        alpha: float | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.activation = activations.get(activation)
        self.alpha = None if alpha is None else activations.alpha(self.activation, alpha)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return tuple(input_shape)

    def mixes_steps(self, shapes: list[Shape], shape: Shape) -> bool:
        """Whether the last axis, over which softmax goes, is theirs."""
        return len(shape) == 1 and self.activation in activations.OF_LAST_AXIS

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        return lower_activation(low, inputs[0], shape, self.name, self.activation, self.alpha)
