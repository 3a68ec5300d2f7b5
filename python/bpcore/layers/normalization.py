"""Normalization by batch, layer, group and root mean square."""

from __future__ import annotations

from typing import Any

from .. import graph
from ..base import checks
from ..base.lengths import shown
from ..base.memory import Shape
from .core import CoreLayer
from .dense import single


def _epsilon(value: Any) -> float:
    return checks.real("epsilon", value, 0.0, open_low=True)


class _Affine(CoreLayer):
    """Base: gamma and beta, both optional."""

    def __init__(
        self,
        epsilon: Any,
        center: Any,
        scale: Any,
        beta_initializer: Any,
        gamma_initializer: Any,
        **arguments: Any,
    ) -> None:
        from .. import initializers

        super().__init__(**arguments)
        self.epsilon = _epsilon(epsilon)
        self.center = checks.boolean("center", center)
        self.scale = checks.boolean("scale", scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.gamma: Any = None
        self.beta: Any = None

    def _add_affine(self, shape: Shape) -> None:
        if self.scale:
            self.gamma = self._make_weight("gamma", shape)
        if self.center:
            self.beta = self._make_weight("beta", shape)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return single(self, input_shape)

    def _lowered(
        self, low: graph.Lowering, op: str, inputs: list[int], shape: Shape, **more: Any
    ) -> int:
        more.update(epsilon=self.epsilon, scale=self.scale, center=self.center)
        return low.add(op, inputs, shape, self.name, self._weights, **more)


class BatchNormalization(_Affine):
    """y = gamma (x - mu) / sqrt(v + epsilon) + beta, per channel: by default the last axis.

    Parameters
    ----------
    axis : int
        The channels' axis, the batch's being 0: the last one (-1), or 1 behind layers whose
        data_format is "channels_first".
    momentum : float
        Of the running statistics, in [0, 1).
    epsilon : float
    center, scale : bool
        Whether there are beta and gamma, of shape (C,).
    beta_initializer, gamma_initializer
        By default zeros and ones.
    moving_mean_initializer, moving_variance_initializer
        By default zeros and ones.

    Notes
    -----
    x (N, ..., C) or (N, C, ...) of any rank. In training mu and v are mean and (biased) variance
    over the batch and all axes but the channels', M values a channel; afterwards ``moving_mean =
    momentum moving_mean + (1 - momentum) mu``, and the same for ``moving_variance`` with
    v M / (M - 1), as PyTorch does (its momentum is 1 - ours). With M = 1 y is beta and the running
    variance stays. Otherwise, and when the layer is not trainable, mu and v are the running
    statistics (S. Ioffe, C. Szegedy, 2015). Of sequences with a mask, or of unequal lengths, the
    steps that count are all that mean, variance and M are of.

    With ``compile(accumulate_steps=k)`` each of the k batches is normalized by its own statistics
    and moves the running ones once, so k batches of 32 are not one batch of 32 k.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> layer = bp.layers.BatchNormalization()
    >>> y = layer(np.float32([[1.0], [3.0]]), training=True)
    >>> y.round(2).tolist()
    [[-1.0], [1.0]]
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        from .. import initializers

        super().__init__(
            epsilon,
            center,
            scale,
            beta_initializer,
            gamma_initializer,
            name=name,
            trainable=trainable,
            dtype=dtype,
        )
        self.axis = _whole("axis", axis)
        self.momentum = checks.real("momentum", momentum, 0.0, 1.0, open_high=True)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.moving_mean: Any = None
        self.moving_variance: Any = None

    def build(self, input_shape: Any) -> None:
        """Make gamma, beta, moving_mean and moving_variance of shape (C,)."""
        shape = single(self, input_shape)
        first = self._channels_first(shape)
        if not first:
            _last_axis(self, self.axis, shape, " or the first one behind the batch (1)")
        channels = shape[:1] if first else shape[-1:]
        self._add_affine(channels)
        self.moving_mean = self._make_weight("moving_mean", channels, trainable=False)
        self.moving_variance = self._make_weight("moving_variance", channels, trainable=False)

    def _channels_first(self, shape: Shape) -> bool:
        return self.axis in (1, -len(shape)) and len(shape) > 1

    def mixes_steps(self, shapes: list[Shape], shape: Shape) -> bool:
        """Whether it takes steps for channels."""
        return self._channels_first(shape)

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        if not self._channels_first(shape):
            return self._normalized(low, inputs, shape)
        last = (*shape[1:], shape[0])
        x = low.add("exchange", inputs, last, self.name, split=1)
        y = self._normalized(low, [x], last)
        return low.add("exchange", (y,), shape, self.name, split=len(shape) - 1)

    def _normalized(self, low: graph.Lowering, inputs: list[int], shape: Shape) -> int:
        mask = low.mask(inputs[0])
        inputs = inputs if mask is None else [*inputs, mask]
        i = self._lowered(low, "batch_normalization", inputs, shape, momentum=self.momentum)
        low.set_mode(i, self, "batch", "frozen")
        return i


class LayerNormalization(_Affine):
    """y = gamma (x - m) / sqrt(v + epsilon) + beta, m and v of each sample's last axes.

    Parameters
    ----------
    axis : int or list of int
        The axes normalized together: the last one, or the last few.
    epsilon : float
    center, scale : bool
        Whether there are beta and gamma, of the normalized axes' shape.
    beta_initializer, gamma_initializer

    Notes
    -----
    v is the biased variance (J. L. Ba, J. Kiros, G. Hinton, 2016). The same in training and after.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.LayerNormalization()([[0.0, 8.0, 16.0]]).round().tolist()
    [[-1.0, 0.0, 1.0]]
    """

    centred = True

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(
            epsilon,
            center,
            scale,
            beta_initializer,
            gamma_initializer,
            name=name,
            trainable=trainable,
            dtype=dtype,
        )
        given = list(axis) if isinstance(axis, (list, tuple)) else [axis]
        if not given:
            raise ValueError("axis must name at least one axis, got none")
        self.axis = [_whole("axis", a) for a in given]

    def build(self, input_shape: Any) -> None:
        """Make gamma and beta of the normalized axes' shape."""
        shape = single(self, input_shape)
        self._add_affine(shape[len(shape) - self._count(shape) :])

    def _count(self, shape: Shape) -> int:
        """How many last axes; axis numbers count the batch axis as 0, as in Keras."""
        rank = len(shape)
        places = sorted(a + rank if a < 0 else a - 1 for a in self.axis)
        if places != list(range(rank - len(places), rank)):
            raise ValueError(
                f"{self.label}: axis {self.axis} of inputs of shape {shown(shape)}, expected "
                "the last axis or the last few"
            )
        return len(places)

    def mixes_steps(self, shapes: list[Shape], shape: Shape) -> bool:
        """Whether they are normalized together."""
        return self._count(shape) == len(shape)

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        axes = self._count(shape)
        return self._lowered(low, "normalization", inputs, shape, axes=axes, centred=self.centred)


class RMSNormalization(LayerNormalization):
    """y = gamma x / sqrt(mean of x^2 + epsilon) over each sample's last axes.

    Parameters
    ----------
    axis, epsilon, scale, gamma_initializer
        As of `LayerNormalization`.

    Notes
    -----
    B. Zhang, R. Sennrich, 2019.
    """

    centred = False

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-6,
        scale: bool = True,
        gamma_initializer: Any = "ones",
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(
            axis,
            epsilon,
            False,
            scale,
            "zeros",
            gamma_initializer,
            name=name,
            trainable=trainable,
            dtype=dtype,
        )


class GroupNormalization(_Affine):
    """y = gamma (x - m) / sqrt(v + epsilon) + beta over groups of channels and all positions.

    Parameters
    ----------
    groups : int
        Divides the number of channels; -1 is one group per channel (instance normalization).
    axis : int
        The channels' axis; the last one only.
    epsilon : float
    center, scale : bool
        Whether there are beta and gamma, of shape (C,).
    beta_initializer, gamma_initializer

    Notes
    -----
    x (N, ..., C). m and v of each sample and group, over the positions too (Y. Wu, K. He, 2018).
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(
            epsilon,
            center,
            scale,
            beta_initializer,
            gamma_initializer,
            name=name,
            trainable=trainable,
            dtype=dtype,
        )
        self.groups = checks.integer("groups", groups, -1)
        if self.groups == 0:
            raise ValueError("groups must be at least 1, or -1 for one per channel, got 0")
        self.axis = _whole("axis", axis)

    def build(self, input_shape: Any) -> None:
        """Make gamma and beta of shape (C,)."""
        shape = single(self, input_shape)
        _last_axis(self, self.axis, shape)
        if self.groups > 0 and shape[-1] % self.groups:
            raise ValueError(
                f"{self.label}: groups={self.groups} does not divide the {shape[-1]} channels"
            )
        self._add_affine(shape[-1:])

    def mixes_steps(self, shapes: list[Shape], shape: Shape) -> bool:
        """They are normalized together."""
        return True

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        groups = shape[-1] if self.groups == -1 else self.groups
        return self._lowered(low, "normalization", inputs, shape, groups=groups, centred=True)


def _whole(name: str, value: Any) -> int:
    return checks.integer(name, value, -(2**31), 2**31)


def _last_axis(layer: Any, axis: int, shape: Shape, other: str = "") -> None:
    if axis not in (-1, len(shape)):
        raise ValueError(
            f"{layer.label}: axis={axis} of inputs of shape {shown(shape)}, "
            f"expected the last axis (-1){other}; put the channels there"
        )
