"""Convolution of images in two parts: of each channel by itself, then across channels."""

from __future__ import annotations

from typing import Any

from .. import graph
from ..base import checks
from ..base.memory import Shape
from ..errors import ShapeError
from .activation import lower_activation
from .convolution import FilterLayer


class SeparableConv2D(FilterLayer):
    """A depthwise convolution, then one of single pixels: ``y = f((x * depthwise) pointwise + b)``.

    Parameters
    ----------
    filters : int
        Number of filters K of the second part, the output's channels.
    kernel_size, strides, padding, data_format, dilation_rate
        As in `Conv2D`, of the first part.
    depth_multiplier : int
        M filters for each channel in the first part.
    activation, use_bias
        As in `Conv2D`, of the second part; the first has none.
    depthwise_initializer, pointwise_initializer, bias_initializer : str, Initializer, array or \
callable
        First values of the kernels (R, S, C, M) and (1, 1, C M, K) and of the bias (K,).
    depthwise_regularizer, pointwise_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties added to the loss; see `bpcore.regularizers`.
    depthwise_constraint, pointwise_constraint, bias_constraint : str or Constraint, optional
        What they are made to obey after each update; see `bpcore.constraints`.
    name, trainable, dtype
        As in `Layer`.

    Raises
    ------
    ShapeError
        As `Conv2D`.

    Notes
    -----
    x (N, H, W, C) gives y (N, P, Q, K). A filter of R x S over C channels costs R S C K products
    a position; in two parts they are R S C M + C M K (F. Chollet, 2017).

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> ones = {"depthwise_initializer": "ones", "pointwise_initializer": "ones"}
    >>> layer = bp.layers.SeparableConv2D(1, 2, **ones)
    >>> layer(np.arange(8.0).reshape(1, 2, 2, 2)).ravel().tolist()
    [28.0]
    """

    rank = 2
    _transposed = ("depthwise_kernel", "pointwise_kernel")

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.filters = checks.integer("filters", filters)
        self.depth_multiplier = checks.integer("depth_multiplier", depth_multiplier)
        self._set(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            depthwise=(depthwise_initializer, depthwise_regularizer, depthwise_constraint),
            pointwise=(pointwise_initializer, pointwise_regularizer, pointwise_constraint),
            bias=(bias_initializer, bias_regularizer, bias_constraint),
        )  # fmt: skip
        self.depthwise_kernel: Any = None
        self.pointwise_kernel: Any = None

    def build(self, input_shape: Any) -> None:
        """Make kernels and bias for inputs of this per-sample shape."""
        graph.inferred(self.label, self.compute_output_shape, input_shape)  # before weights
        channels = self.channels_last(input_shape)[-1]
        across = channels * self.depth_multiplier
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.depthwise_kernel = self._make_weight("depthwise_kernel", shape, "depthwise")
        shape = (1, 1, across, self.filters)
        self.pointwise_kernel = self._make_weight("pointwise_kernel", shape, "pointwise")
        if self.use_bias:
            self.bias = self._make_weight("bias", (self.filters,))

    def channels_last(self, input_shape: Any) -> Shape:
        """As of all layers with positions, after a check of the kernel too."""
        shape = super().channels_last(input_shape)
        if self.depthwise_kernel is not None and self.depthwise_kernel.shape[2] != shape[-1]:
            raise ShapeError(
                f"{self.label}: got x with {shape[-1]} channels, expected "
                f"{self.depthwise_kernel.shape[2]} because the depthwise kernel is "
                f"{self.depthwise_kernel.shape}; pass as many, or make another layer"
            )
        return shape

    def _between(self, shape: Shape) -> Shape:
        """What the first part makes of x."""
        return (*self.windows_over(shape), shape[-1] * self.depth_multiplier)

    def _output(self, shape: Shape) -> Shape:
        checks.elements(f"{self.label}: depthwise convolution", self._between(shape))
        result = (*self.windows_over(shape), self.filters)
        checks.elements(f"{self.label}: output", result)
        return result

    def _append(self, low: graph.Lowering, x: int, x_shape: Shape, y_shape: Shape) -> int:
        shapes = (x_shape, self._between(x_shape))
        h = self.slide(low, "convolution", x, shapes, [self.depthwise_kernel], depthwise=True)
        weights = [self.pointwise_kernel, *([self.bias] if self.use_bias else [])]
        pixel: dict[str, Any] = {"strides": [1, 1], "dilation": [1, 1], "padding": [0] * 4}
        z = low.add("convolution", (h,), y_shape, self.name, weights, **pixel)
        low.say(z, graph.Units(self.bias))
        return lower_activation(low, z, y_shape, self.name, self.activation)
