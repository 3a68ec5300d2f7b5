"""Pooling of sequences and images."""

from __future__ import annotations

from typing import Any

from .. import graph
from ..base import checks
from ..base.memory import Shape
from .sliding import PositionLayer, SlidingLayer, read_format, sizes


class _Pooling(SlidingLayer):
    """Base: a number for each window and channel."""

    most: bool

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.window = self.pool_size = sizes("pool_size", pool_size, self.rank)
        self.strides = self.window if strides is None else sizes("strides", strides, self.rank)
        self.dilation = (1,) * self.rank
        self.padding = self.read_padding(padding, ("valid", "same"))
        if not isinstance(self.padding, str):
            for n, size in zip(self.padding, self.window, strict=True):
                if n >= size:
                    raise ValueError(
                        f"padding must be smaller than pool_size, got {n} and {size}: a window "
                        "would see nothing but padding"
                    )
        self.data_format = read_format(data_format)

    def _output(self, shape: Shape) -> Shape:
        return (*self.windows_over(shape), shape[-1])

    def _append(self, low: graph.Lowering, x: int, x_shape: Shape, y_shape: Shape) -> int:
        told: dict[str, Any] = {"window": list(self.window), "most": self.most}
        return self.slide(low, "pooling", x, (x_shape, y_shape), **told)


class MaxPooling2D(_Pooling):
    """The largest value of each window of an image, channel by channel.

    Parameters
    ----------
    pool_size : int or pair of int
        Height and width of a window.
    strides : int or pair of int, optional
        From one window to the next; by default `pool_size`.
    padding : {"valid", "same"}, int or pair of int
        As in `Conv2D`. What lies outside of x is no value at all.
    data_format : {"channels_last", "channels_first"}
        x (N, H, W, C), the default, or (N, C, H, W), and the output alike.
    name, dtype
        As in `Layer`.

    Notes
    -----
    Of equal values in a window the first one, in C order, takes the gradient.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> bp.layers.MaxPooling2D()(np.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """

    rank = 2
    most = True


class AveragePooling2D(_Pooling):
    """The mean of each window of an image, channel by channel, over what lies in the image.

    Parameters
    ----------
    pool_size, strides, padding, data_format, name, dtype
        As in `MaxPooling2D`. Padding is not counted, as in Keras; PyTorch counts it unless told
        otherwise (``count_include_pad=False``).

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> bp.layers.AveragePooling2D()(np.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
    [2.5, 4.5, 10.5, 12.5]
    """

    rank = 2
    most = False


class MaxPooling1D(_Pooling):
    """The largest value of each window of a sequence, channel by channel.

    Parameters
    ----------
    pool_size, strides, padding, data_format, name, dtype
        As in `MaxPooling2D`; x (N, T, C) or (N, C, T).

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.MaxPooling1D()([[[1.0], [3.0], [2.0], [0.0]]]).tolist()
    [[[3.0], [2.0]]]
    """

    rank = 1
    most = True


class AveragePooling1D(_Pooling):
    """The mean of each window of a sequence, channel by channel, over what lies in it.

    Parameters
    ----------
    pool_size, strides, padding, data_format, name, dtype
        As in `AveragePooling2D`; x (N, T, C) or (N, C, T).

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.AveragePooling1D()([[[1.0], [3.0], [2.0], [0.0]]]).tolist()
    [[[2.0], [1.0]]]
    """

    rank = 1
    most = False


class _GlobalPooling2D(PositionLayer):
    """Base: one number for each channel of an image."""

    rank = 2
    most: bool

    def __init__(
        self,
        data_format: str | None = None,
        keepdims: bool = False,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.data_format = read_format(data_format)
        self.keepdims = checks.boolean("keepdims", keepdims)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        channels = self.channels_last(input_shape)[-1]
        return self.as_given((1, 1, channels)) if self.keepdims else (channels,)

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        x_shape = self.channels_last(shapes[0])
        x = self.bring_last(low, inputs[0], x_shape)
        y = low.add("pool_steps", (x,), x_shape[-1:], self.name, most=self.most)
        return low.add("reshape", (y,), shape, self.name, shape=shape) if self.keepdims else y


class GlobalAveragePooling2D(_GlobalPooling2D):
    """(N, H, W, C) -> (N, C): the mean of each channel over the image.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}
        x (N, H, W, C), the default, or (N, C, H, W).
    keepdims : bool
        Whether the axes of positions stay, with length 1.
    name, dtype
        As in `Layer`.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> bp.layers.GlobalAveragePooling2D()(np.arange(4.0).reshape(1, 2, 2, 1)).tolist()
    [[1.5]]
    """

    most = False


class GlobalMaxPooling2D(_GlobalPooling2D):
    """(N, H, W, C) -> (N, C): the largest value of each channel over the image.

    Parameters
    ----------
    data_format, keepdims, name, dtype
        As in `GlobalAveragePooling2D`. Of equal values the first one takes the gradient.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> bp.layers.GlobalMaxPooling2D()(np.arange(4.0).reshape(1, 2, 2, 1)).tolist()
    [[3.0]]
    """

    most = True
