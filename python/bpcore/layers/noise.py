"""Layers that are random in training and the identity otherwise: Dropout and its kin, noise."""

from __future__ import annotations

from typing import Any

from .. import graph
from ..base import checks, seeding
from ..base.memory import Shape
from .core import CoreLayer
from .sliding import FORMATS, read_format


class RandomLayer(CoreLayer):
    """Base: a seed of its own, so that its numbers depend on nothing but the batch's number."""

    mode = ""

    def __init__(self, rate: float, seed: int | None, name: str | None, dtype: str | None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.rate = rate
        self.seed = checks.seed(seed)
        self._stream = 0

    def build(self, input_shape: Any) -> None:
        """Take a stream of random numbers of the model's, unless a seed was given."""
        self._stream = self._next_stream() if self._next_stream else 0
        if self._seed is None:
            self._seed = seeding.next_seed()

    @property
    def origin(self) -> tuple[int | None, int]:
        """Seed and stream of the model's that its numbers follow from; may be assigned."""
        return self._seed, self._stream

    @origin.setter
    def origin(self, value: tuple[int, int]) -> None:
        self._seed, self._stream = value

    @property
    def seed_in_use(self) -> int:
        """The given seed, or one from the model's."""
        return (
            seeding.mix(self._seed or 0, seeding.NOISE + self._stream)
            if self.seed is None
            else self.seed
        )

    def mask_shape(self, shape: Shape) -> Shape:
        """Shape of the random numbers of a sample: ones in front where they repeat."""
        return shape

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return tuple(input_shape)

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        calls = low.count("noise", self.name)
        return low.add(
            "noise",
            inputs,
            shape,
            self.name,
            mode=self.mode,
            shape=self.mask_shape(shape),
            rate=self.rate,
            seed=seeding.mix(self.seed_in_use, calls),  # a shared layer draws anew at each place
        )


def _rate(value: Any) -> float:
    return checks.real("rate", value, 0.0, 1.0, open_high=True)


class Dropout(RandomLayer):
    """In training each value is 0 with probability `rate`, else divided by 1 - rate; else y = x.

    Parameters
    ----------
    rate : float
        In [0, 1).
    noise_shape : tuple of int, optional
        Per-sample shape of the mask: leading axes of 1 share their random numbers. A None in front
        stands for the batch and is left out.
    seed : int, optional
        By default from the model's seed.

    Notes
    -----
    "Inverted" dropout (N. Srivastava et al., 2014). The mask is a function of seed, number of the
    training batch, row and position: the same for any number of threads.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> layer = bp.layers.Dropout(0.5, seed=0)
    >>> y = layer(np.ones((1, 1000)), training=True)
    >>> sorted(set(y.ravel().tolist())), bool(abs(y.mean() - 1) < 0.1)
    ([0.0, 2.0], True)
    """

    mode = "dropout"

    def __init__(
        self,
        rate: float,
        noise_shape: Any = None,
        seed: int | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(_rate(rate), seed, name, dtype)
        if isinstance(noise_shape, (tuple, list)) and len(noise_shape) > 1:
            noise_shape = noise_shape[noise_shape[0] is None :]
        self.noise_shape = None if noise_shape is None else checks.shape("noise_shape", noise_shape)

    def mask_shape(self, shape: Shape) -> Shape:
        if self.noise_shape is None:
            return shape
        ones = 0
        while ones < len(shape) and self.noise_shape[ones : ones + 1] == (1,):
            ones += 1
        if len(self.noise_shape) != len(shape) or self.noise_shape[ones:] != shape[ones:]:
            raise ValueError(
                f"{self.label}: noise_shape {self.noise_shape} for inputs of shape {shape}, "
                f"expected ones for the leading axes and then the input's own sizes"
            )
        return self.noise_shape


class _SpatialDropout(Dropout):
    """Whole feature maps at once: the mask has one number per sample and channel."""

    rank = 0

    @classmethod
    def _default_name(cls) -> str:
        """spatial_dropout2_d: the checkpoints of earlier versions name it so."""
        return super()._default_name().removesuffix("d") + "_d"

    def __init__(
        self,
        rate: float,
        seed: int | None = None,
        *,
        data_format: str | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(rate, None, seed, name=name, dtype=dtype)
        self.data_format = read_format(data_format)

    def mask_shape(self, shape: Shape) -> Shape:
        return (1,) * (self.rank - 1) + shape[-1:]

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = tuple(input_shape)
        if len(shape) != self.rank:
            raise ValueError(
                f"{self.label}: got inputs of shape {shape} a sample, expected {self.rank} axes, "
                f"{self.data_format.replace('_', ' ')}"
            )
        return shape

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        if self.data_format == FORMATS[0]:
            return super().core_lower(low, inputs, shapes, shape)
        last = (*shape[1:], shape[0])
        x = low.add("exchange", inputs, last, self.name, split=1)
        y = super().core_lower(low, [x], [last], last)
        return low.add("exchange", (y,), shape, self.name, split=self.rank - 1)


class SpatialDropout1D(_SpatialDropout):
    """`Dropout` of whole channels of (N, T, C): all T values of a channel together.

    Parameters
    ----------
    rate : float
        In [0, 1).
    seed : int, optional
        By default from the model's seed.
    data_format : {"channels_last", "channels_first"}, optional
        Where the channels are, as in `Conv2D`.

    Notes
    -----
    J. Tompson et al., 2015. A channel has the same number wherever it lies.
    """

    rank = 2


class SpatialDropout2D(_SpatialDropout):
    """`Dropout` of whole channels of (N, H, W, C), or of (N, C, H, W): see `SpatialDropout1D`."""

    rank = 3


class SpatialDropout3D(_SpatialDropout):
    """`Dropout` of whole channels of (N, D, H, W, C): see `SpatialDropout1D`."""

    rank = 4


class _MaskedLayer(RandomLayer):
    """Base of what takes a rate and a seed."""

    def __init__(
        self,
        rate: float,
        seed: int | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(_rate(rate), seed, name, dtype)


class AlphaDropout(_MaskedLayer):
    """Dropout for `selu` networks: keeps mean 0 and variance 1 of its input.

    Dropped values become selu's limit -1.7581, then y = a x + b (G. Klambauer et al., 2017).

    Parameters
    ----------
    rate : float
        Probability of dropping a value, in [0, 1).
    seed : int, optional
    """

    mode = "alpha_dropout"


class GaussianDropout(_MaskedLayer):
    """In training y = x m with m ~ N(1, rate / (1 - rate)); else y = x.

    The mean and variance of m are those of `Dropout`'s mask (N. Srivastava et al., 2014).

    Parameters
    ----------
    rate : float
        In [0, 1).
    seed : int, optional
    """

    mode = "gaussian_dropout"


class GaussianNoise(RandomLayer):
    """In training y = x + e with e ~ N(0, stddev^2); else y = x.

    Parameters
    ----------
    stddev : float
        At least 0.
    seed : int, optional

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> y = bp.layers.GaussianNoise(2.0, seed=1)(np.zeros((100, 100)), training=True)
    >>> bool(abs(y.std() - 2) < 0.1)
    True
    """

    mode = "gaussian"

    def __init__(
        self,
        stddev: float,
        seed: int | None = None,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(checks.real("stddev", stddev, 0.0), seed, name, dtype)
        self.stddev = self.rate
