"""Functions on symbolic tensors, elementwise but for sums, products and slices.

Axes count the batch axis, as in Keras: 1 is a sample's first axis, and axis 0 is refused. What they
return goes on into layers, arithmetic and `bpcore.Model`; gradients flow through all but
`stop_gradient`. Numbers and arrays may stand in place of one of two tensors.

>>> import bpcore as bp, numpy as np
>>> x = bp.Input((3,))
>>> y = bp.ops.sin(x[..., :2]) ** 2 + bp.ops.cos(x[..., 1:]) ** 2
>>> model = bp.Model(x, bp.ops.sum(y, axis=-1, keepdims=True), dtype="float64")
>>> float(model(np.array([[0.5, 0.5, 0.5]]))[0, 0])
2.0
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import graph, layers
from .base import checks
from .layers import functions
from .layers.functions import Function, ReduceMean, ReduceSum, StopGradient

__all__ = [
    "abs",
    "cos",
    "exp",
    "log",
    "matmul",
    "maximum",
    "mean",
    "minimum",
    "power",
    "relu",
    "sigmoid",
    "sin",
    "sqrt",
    "square",
    "stop_gradient",
    "sum",
    "tanh",
]


def _tensor(name: str, value: Any) -> graph.Tensor:
    if not isinstance(value, graph.Tensor):
        raise TypeError(
            f"bpcore.ops.{name} takes symbolic tensors (bpcore.Input), got "
            f"{checks.describe(value)}; for arrays use NumPy"
        )
    return value


def _function(function: str, x: Any) -> graph.Tensor:
    return Function(function)(_tensor(function, x))


def sin(x: graph.Tensor) -> graph.Tensor:
    """sin x; gradient cos x. Digits are lost beyond |x| of 1e4 in float32, 1e9 in float64."""
    return _function("sin", x)


def cos(x: graph.Tensor) -> graph.Tensor:
    """cos x; gradient -sin x. As exact as `sin`."""
    return _function("cos", x)


def exp(x: graph.Tensor) -> graph.Tensor:
    """e^x; gradient e^x."""
    return layers.Activation("exponential")(_tensor("exp", x))


def log(x: graph.Tensor) -> graph.Tensor:
    """The natural logarithm, NaN below 0; gradient 1 / x."""
    return _function("log", x)


def sqrt(x: graph.Tensor) -> graph.Tensor:
    """The square root, NaN below 0; gradient 1 / (2 sqrt x), infinite at 0."""
    return _function("sqrt", x)


def square(x: graph.Tensor) -> graph.Tensor:
    """x^2; gradient 2 x."""
    return _function("square", x)


def power(x: Any, exponent: Any) -> graph.Tensor:
    """x^exponent, which ``**`` stands for too; gradient exponent x^(exponent - 1).

    A whole exponent takes any x, another one x >= 0. An exponent that is a tensor takes x > 0, a
    tensor or a number, and the power is e^(exponent log x).
    """
    if not isinstance(exponent, graph.Tensor):
        _tensor("power", x)
    return functions.power(x, exponent)


def abs(x: graph.Tensor) -> graph.Tensor:
    """|x|; gradient the sign of x, 0 at 0."""
    return _function("abs", x)


def tanh(x: graph.Tensor) -> graph.Tensor:
    """The hyperbolic tangent."""
    return layers.Activation("tanh")(_tensor("tanh", x))


def sigmoid(x: graph.Tensor) -> graph.Tensor:
    """1 / (1 + e^-x)."""
    return layers.Activation("sigmoid")(_tensor("sigmoid", x))


def relu(x: graph.Tensor) -> graph.Tensor:
    """max(x, 0); gradient 0 at 0."""
    return layers.Activation("relu")(_tensor("relu", x))


def _pair(name: str, x: Any, y: Any) -> list[graph.Tensor]:
    if not isinstance(x, graph.Tensor) and not isinstance(y, graph.Tensor):
        _tensor(name, x)
    return [
        v if isinstance(v, graph.Tensor) else layers.Constant(np.asarray(v)).tensor()
        for v in (x, y)
    ]


def minimum(x: Any, y: Any) -> graph.Tensor:
    """The smaller of each two, with broadcasting; where equal, the gradient goes to x."""
    return layers.Minimum()(_pair("minimum", x, y))


def maximum(x: Any, y: Any) -> graph.Tensor:
    """The larger of each two, with broadcasting; where equal, the gradient goes to x."""
    return layers.Maximum()(_pair("maximum", x, y))


def sum(x: graph.Tensor, axis: Any = None, keepdims: bool = False) -> graph.Tensor:
    """The sum along axes of each sample.

    Parameters
    ----------
    x : Tensor
    axis : None, int, or tuple of int
        None is all axes but the batch's.
    keepdims : bool
        Keep them with size 1. Where no axis of a sample is left, the result is (N, 1) all the same.
    """
    return ReduceSum(axis, keepdims)(_tensor("sum", x))


def mean(x: graph.Tensor, axis: Any = None, keepdims: bool = False) -> graph.Tensor:
    """The mean along axes of each sample; as `sum`."""
    return ReduceMean(axis, keepdims)(_tensor("mean", x))


def matmul(x: graph.Tensor, y: graph.Tensor) -> graph.Tensor:
    """The matrix product of each sample: (N, M, K) and (N, K, P) give (N, M, P).

    A vector (N, K) on either side is a row on the left and a column on the right, as in NumPy; of
    two vectors the result is (N, 1).
    """
    ranks = [len(_tensor("matmul", v).shape) for v in (x, y)]
    if any(rank > 2 for rank in ranks):
        raise ValueError(
            f"matmul takes vectors and matrices by sample, got {x.shape} and {y.shape}; reshape "
            "them, or use layers.Dot"
        )
    return layers.Dot(axes=(ranks[0], 1))([x, y])


def stop_gradient(x: graph.Tensor) -> graph.Tensor:
    """x itself, as data: no gradient goes back through it."""
    return StopGradient()(_tensor("stop_gradient", x))
