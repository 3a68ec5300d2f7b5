"""Zeros around sequences and images, parts of them, larger ones, and values on another scale."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import graph
from ..base import checks
from ..base.memory import Shape
from ..errors import ShapeError
from .core import CoreLayer
from .dense import single
from .sliding import PositionLayer, read_format, sizes


class _Placed(PositionLayer):
    """Base: positions of the result that take values of x."""

    def _axes(self, positions: Shape) -> list[tuple[int, int, int]]:
        """Of each axis how long it becomes, where x begins, how often a value is taken."""
        raise NotImplementedError

    def _output(self, shape: Shape) -> Shape:
        result = (*(axis[0] for axis in self._axes(shape[:-1])), shape[-1])
        if min(result) < 1:
            raise ShapeError(
                f"{self.label}: got x of {' x '.join(map(str, shape[:-1]))} positions, expected "
                f"more: the output would have {' x '.join(map(str, result[:-1]))}; crop less"
            )
        checks.elements(f"{self.label}: output", result)
        return result

    def _append(self, low: graph.Lowering, x: int, x_shape: Shape, y_shape: Shape) -> int:
        out, before, repeat = (list(told) for told in zip(*self._axes(x_shape[:-1]), strict=True))
        return low.add("place", (x,), y_shape, self.name, out=out, before=before, repeat=repeat)


def _ends(name: str, value: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """Before and behind each axis: an int for all, or as Keras' nested tuples."""
    forms = "an int, a pair" if rank == 1 else "an int, a pair, or a pair of pairs"
    if not isinstance(value, (tuple, list)):
        n = checks.integer(name, value, 0)
        return ((n, n),) * rank
    if len(value) != 2:
        raise ValueError(f"{name} must be {forms}, got {value!r}")
    if rank == 1:
        return ((checks.integer(name, value[0], 0), checks.integer(name, value[1], 0)),)
    result = []
    for part in value:
        if not isinstance(part, (tuple, list)):
            part = (part, part)
        if len(part) != 2:
            raise ValueError(f"{name} must be {forms}, got {value!r}")
        result.append((checks.integer(name, part[0], 0), checks.integer(name, part[1], 0)))
    return tuple(result)


class _ZeroPadding(_Placed):
    """Base: zeros before and behind each axis."""

    def __init__(
        self,
        padding: Any = 1,
        data_format: str | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.padding = _ends("padding", padding, self.rank)
        self.data_format = read_format(data_format)

    def _axes(self, positions: Shape) -> list[tuple[int, int, int]]:
        ends = zip(positions, self.padding, strict=True)
        return [(n + before + behind, before, 1) for n, (before, behind) in ends]


class ZeroPadding2D(_ZeroPadding):
    """Zeros around an image.

    Parameters
    ----------
    padding : int, pair or pair of pairs of int
        Rows above and below, columns left and right: one number for all, one for each axis, or
        ``((above, below), (left, right))``.
    data_format : {"channels_last", "channels_first"}
        x (N, H, W, C), the default, or (N, C, H, W), and the output alike.
    name, dtype
        As in `Layer`.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.ZeroPadding2D(((0, 1), (1, 0)))([[[[5.0]]]])[0, :, :, 0].tolist()
    [[0.0, 5.0], [0.0, 0.0]]
    """

    rank = 2


class ZeroPadding1D(_ZeroPadding):
    """Zeros before and behind a sequence.

    Parameters
    ----------
    padding : int or pair of int
        Steps before and behind.
    data_format, name, dtype
        As in `ZeroPadding2D`; x (N, T, C) or (N, C, T).

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.ZeroPadding1D((1, 0))([[[5.0]]]).tolist()
    [[[0.0], [5.0]]]
    """

    rank = 1


class _Cropping(_Placed):
    """Base: `usual` is Keras' default."""

    usual: int

    def __init__(
        self,
        cropping: Any = None,
        data_format: str | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.cropping = _ends("cropping", self.usual if cropping is None else cropping, self.rank)
        self.data_format = read_format(data_format)

    def _axes(self, positions: Shape) -> list[tuple[int, int, int]]:
        ends = zip(positions, self.cropping, strict=True)
        return [(n - before - behind, -before, 1) for n, (before, behind) in ends]


class Cropping2D(_Cropping):
    """An image without some rows and columns at its edges.

    Parameters
    ----------
    cropping : int, pair or pair of pairs of int
        Rows above and below, columns left and right, as `padding` of `ZeroPadding2D`; 0 by default.
    data_format, name, dtype
        As in `ZeroPadding2D`.

    Raises
    ------
    ShapeError
        If nothing of x is left.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> bp.layers.Cropping2D(1)(np.arange(9.0).reshape(1, 3, 3, 1)).ravel().tolist()
    [4.0]
    """

    rank = 2
    usual = 0


class Cropping1D(_Cropping):
    """A sequence without some of its first and last steps.

    Parameters
    ----------
    cropping : int or pair of int
        Steps at the beginning and at the end, 1 by default.
    data_format, name, dtype
        As in `ZeroPadding1D`.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.Cropping1D((1, 0))([[[4.0], [5.0]]]).tolist()
    [[[5.0]]]
    """

    rank = 1
    usual = 1


class _UpSampling(_Placed):
    """Base: each position several times."""

    def __init__(
        self,
        size: Any = 2,
        data_format: str | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.size = sizes("size", size, self.rank)
        self.data_format = read_format(data_format)

    def _axes(self, positions: Shape) -> list[tuple[int, int, int]]:
        return [(n * times, 0, times) for n, times in zip(positions, self.size, strict=True)]


class UpSampling2D(_UpSampling):
    """An image in which each position is repeated (the nearest neighbour's value).

    Parameters
    ----------
    size : int or pair of int
        How often along each axis.
    data_format, name, dtype
        As in `ZeroPadding2D`.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.UpSampling2D((1, 2))([[[[1.0], [2.0]]]]).ravel().tolist()
    [1.0, 1.0, 2.0, 2.0]
    """

    rank = 2


class UpSampling1D(_UpSampling):
    """A sequence in which each step is repeated.

    Parameters
    ----------
    size : int
        How often.
    data_format, name, dtype
        As in `ZeroPadding1D`.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.UpSampling1D(2)([[[1.0], [2.0]]]).ravel().tolist()
    [1.0, 1.0, 2.0, 2.0]
    """

    rank = 1


class Rescaling(CoreLayer):
    """``y = scale x + offset``, for example pixels to [0, 1] as the first layer.

    Parameters
    ----------
    scale : float
    offset : float
    name, dtype
        As in `Layer`.

    Notes
    -----
    Images of uint8 stay so in memory: each batch is converted on its way in, then scaled.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> bp.layers.Rescaling(0.5, 1)(np.uint8([[0, 1, 255]])).tolist()
    [[1.0, 1.5, 128.5]]
    """

    of_last_axis = True

    def __init__(
        self,
        scale: float,
        offset: float = 0.0,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.scale = checks.real("scale", scale)
        self.offset = checks.real("offset", offset)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return single(self, input_shape)

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        ones = np.ones((1,) * len(shape))
        y = inputs[0]
        for op, value in (("multiply", self.scale), ("add", self.offset)):
            number = low.add("constant", (), ones.shape, self.name, value=value * ones)
            y = low.add(op, (y, number), shape, self.name)
        return y
