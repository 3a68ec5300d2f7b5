"""Convolution over sequences and images."""

from __future__ import annotations

from typing import Any

from .. import activations, graph
from ..base import checks
from ..base.memory import Shape
from ..errors import ShapeError
from .activation import lower_activation
from .sliding import SlidingLayer, read_format, sizes


class FilterLayer(SlidingLayer):
    """Base: windows with weights and an activation."""

    words: tuple[str, ...] = ("valid", "same")

    def _set(
        self,
        kernel_size: Any,
        strides: Any,
        padding: Any,
        data_format: Any,
        dilation_rate: Any,
        activation: Any,
        use_bias: Any,
        **weights: tuple[Any, Any, Any],
    ) -> None:
        """Check and keep the arguments, and what is told of weights."""
        self.window = self.kernel_size = sizes("kernel_size", kernel_size, self.rank)
        self.strides = sizes("strides", strides, self.rank)
        self.padding = self.read_padding(padding, self.words)
        self.data_format = read_format(data_format)
        self.dilation = self.dilation_rate = sizes("dilation_rate", dilation_rate, self.rank)
        self.activation = activations.get(activation)
        self.use_bias = checks.boolean("use_bias", use_bias)
        self._set_of_weights(**weights)
        self.bias: Any = None


class _Convolution(FilterLayer):
    """Base of Conv1D and Conv2D."""

    _transposed = ("kernel",)

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.filters = checks.integer("filters", filters)
        self.groups = checks.integer("groups", groups)
        if self.filters % self.groups:
            raise ValueError(
                f"groups must divide filters, got {self.groups} groups and {self.filters} filters"
            )
        self._set(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            kernel=(kernel_initializer, kernel_regularizer, kernel_constraint),
            bias=(bias_initializer, bias_regularizer, bias_constraint),
        )  # fmt: skip
        self.kernel: Any = None

    def build(self, input_shape: Any) -> None:
        """Make kernel and bias for inputs of this per-sample shape."""
        graph.inferred(self.label, self.compute_output_shape, input_shape)  # before weights
        channels = self.channels_last(input_shape)[-1]
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self._make_weight("kernel", shape)
        if self.use_bias:
            self.bias = self._make_weight("bias", (self.filters,))

    def channels_last(self, input_shape: Any) -> Shape:
        """As of all layers with positions, after a check of groups and kernel too."""
        shape = super().channels_last(input_shape)
        if shape[-1] % self.groups:
            raise ShapeError(
                f"{self.label}: got x with {shape[-1]} channels, expected a multiple of "
                f"{self.groups}, the number of its groups; change groups, or the channels of x"
            )
        if self.kernel is not None and self.kernel.shape[-2] * self.groups != shape[-1]:
            raise ShapeError(
                f"{self.label}: got x with {shape[-1]} channels, expected "
                f"{self.kernel.shape[-2] * self.groups} because the kernel is {self.kernel.shape}"
            )
        return shape

    def _output(self, shape: Shape) -> Shape:
        result = (*self.windows_over(shape), self.filters)
        checks.elements(f"{self.label}: output", result)
        return result

    def _append(self, low: graph.Lowering, x: int, x_shape: Shape, y_shape: Shape) -> int:
        z = self.slide(low, "convolution", x, (x_shape, y_shape), self._weights, groups=self.groups)
        low.say(z, graph.Units(self.bias))
        return lower_activation(low, z, y_shape, self.name, self.activation)


class Conv2D(_Convolution):
    """Convolution of images, ``y = f(x * kernel + bias)``: filters that slide over two axes.

    Parameters
    ----------
    filters : int
        Number of filters K, the output's channels.
    kernel_size : int or pair of int
        Height R and width S of a filter.
    strides : int or pair of int
        From one position of the filter to the next.
    padding : {"valid", "same"}, int or pair of int
        ``"valid"``: none. ``"same"``: zeros so that the output has ceil(size / stride) positions
        along each axis; of an odd number the larger part comes behind, as in Keras. A number: as
        many zeros before and behind an axis, as in PyTorch.
    data_format : {"channels_last", "channels_first"}
        x (N, H, W, C), the default, or (N, C, H, W), and the output alike.
    dilation_rate : int or pair of int
        From one value that a filter sees to the next.
    groups : int
        G parts of the channels, each with K / G filters of its own.
    activation : str or object, optional
        f, as in `Dense`. A softmax is over the channels.
    use_bias : bool
        Whether there is a bias (K,).
    kernel_initializer, bias_initializer : str, Initializer, array or callable
        First values of kernel (R, S, C / G, K) and bias (K,).
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties added to the loss; see `bpcore.regularizers`.
    kernel_constraint, bias_constraint : str or Constraint, optional
        What they are made to obey after each update; see `bpcore.constraints`.
    name, trainable, dtype
        As in `Layer`.

    Raises
    ------
    ShapeError
        If x has another rank, if its channels cannot be divided into the groups, or if a filter
        reaches over more than x and its padding.

    Notes
    -----
    y (N, P, Q, K), where P = (H + padding - (R - 1) dilation - 1) // stride + 1. The filter is not
    flipped, as in all libraries: a cross-correlation (Y. LeCun et al., 1998). Kernels are as in
    Keras; PyTorch's are (K, C / G, R, S): ``kernel.transpose(3, 2, 0, 1)``.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> edges = np.float32([[-1, 1]]).reshape(1, 2, 1, 1)
    >>> layer = bp.layers.Conv2D(1, (1, 2), kernel_initializer=edges)
    >>> layer(np.float32([[0, 0, 5, 5]]).reshape(1, 1, 4, 1)).ravel().tolist()
    [0.0, 5.0, 0.0]
    """

    rank = 2


class Conv1D(_Convolution):
    """Convolution of sequences, ``y = f(x * kernel + bias)``: filters that slide over the steps.

    Parameters
    ----------
    filters : int
        Number of filters K, the output's channels.
    kernel_size : int
        Steps S that a filter sees.
    strides : int
        From one position of the filter to the next.
    padding : {"valid", "same", "causal"} or int
        As in `Conv2D`. ``"causal"``: zeros before the first step alone, so that an output sees no
        later step (A. van den Oord et al., 2016).
    data_format : {"channels_last", "channels_first"}
        x (N, T, C), the default, or (N, C, T), and the output alike.
    dilation_rate : int
        From one step that a filter sees to the next.
    groups, activation, use_bias
        As in `Conv2D`.
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer
        As in `Conv2D`; the kernel is (S, C / G, K).
    kernel_constraint, bias_constraint, name, trainable, dtype
        As in `Conv2D`.

    Raises
    ------
    ShapeError
        As `Conv2D`.

    Notes
    -----
    y (N, Q, K), where Q = (T + padding - (S - 1) dilation - 1) // stride + 1.

    Examples
    --------
    >>> import bpcore as bp
    >>> layer = bp.layers.Conv1D(1, 2, padding="causal", kernel_initializer="ones")
    >>> layer([[[1.0], [2.0], [3.0]]]).tolist()
    [[[1.0], [3.0], [5.0]]]
    """

    rank = 1
    words = ("valid", "same", "causal")


class DepthwiseConv2D(FilterLayer):
    """Convolution of each channel of an image by filters of its own.

    Parameters
    ----------
    kernel_size, strides, padding
        As in `Conv2D`.
    depth_multiplier : int
        M filters for each channel.
    data_format, dilation_rate, activation, use_bias
        As in `Conv2D`.
    depthwise_initializer, bias_initializer : str, Initializer, array or callable
        First values of kernel (R, S, C, M) and bias (C M,).
    depthwise_regularizer, bias_regularizer, depthwise_constraint, bias_constraint
        As those of the kernel in `Conv2D`.
    name, trainable, dtype
        As in `Layer`.

    Notes
    -----
    x (N, H, W, C) gives y (N, P, Q, C M), in which channel c M + m is that of filter m of channel c
    (F. Chollet, 2017).

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> layer = bp.layers.DepthwiseConv2D(2, depthwise_initializer="ones")
    >>> layer(np.arange(8.0).reshape(1, 2, 2, 2)).ravel().tolist()
    [12.0, 16.0]
    """

    rank = 2
    _transposed = ("kernel",)

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.depth_multiplier = checks.integer("depth_multiplier", depth_multiplier)
        self._set(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias,
            depthwise=(depthwise_initializer, depthwise_regularizer, depthwise_constraint),
            bias=(bias_initializer, bias_regularizer, bias_constraint),
        )  # fmt: skip
        self.kernel: Any = None

    def build(self, input_shape: Any) -> None:
        """Make kernel and bias for inputs of this per-sample shape."""
        graph.inferred(self.label, self.compute_output_shape, input_shape)  # before weights
        channels = self.channels_last(input_shape)[-1]
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self._make_weight("kernel", shape, "depthwise")
        if self.use_bias:
            self.bias = self._make_weight("bias", (channels * self.depth_multiplier,))

    def _output(self, shape: Shape) -> Shape:
        result = (*self.windows_over(shape), shape[-1] * self.depth_multiplier)
        checks.elements(f"{self.label}: output", result)
        return result

    def _append(self, low: graph.Lowering, x: int, x_shape: Shape, y_shape: Shape) -> int:
        z = self.slide(low, "convolution", x, (x_shape, y_shape), self._weights, depthwise=True)
        low.say(z, graph.Units(self.bias))
        return lower_activation(low, z, y_shape, self.name, self.activation)
