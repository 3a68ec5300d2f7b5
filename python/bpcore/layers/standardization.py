"""Normalization of the data themselves, by statistics that the model keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import data, graph
from ..base import checks
from ..base.memory import Array, Shape
from .core import CoreLayer
from .dense import single

_ROUNDING = 8  # of eps times the mean: what arithmetic on a constant leaves of it as deviation
_LARGE = 64  # deviations: from there on the core subtracts the mean in float64


class Normalization(CoreLayer):
    """y = (x - mean) / sqrt(variance) with the statistics of the data, stored in the model.

    Parameters
    ----------
    mean, variance : float or array, optional
        Known statistics of the last axis; otherwise call `adapt`.
    invert : bool
        y = mean + x sqrt(variance) instead: at the end of a network it gives a regression's outputs
        the scale of its targets, so that the network itself works on standardized values.

    Notes
    -----
    Not trained. A variance of 0 counts as 1, so that constant features become 0, and so does, in
    `adapt`, one that rounding alone explains.

    Right behind an input the mean is subtracted in float64 while the data are read: numbers that
    are large and close together, like seconds since 1970, keep what tells them apart in a model of
    float32 too. Between other layers, or where something else reads the same input, values have
    been rounded before.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> layer = bp.layers.Normalization()
    >>> layer.adapt(np.array([[1.0, 10.0], [3.0, 30.0]]))
    >>> layer([[1.0, 30.0]]).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(
        self,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, trainable=False, dtype=dtype)
        if (mean is None) != (variance is None):
            raise ValueError("mean and variance must be given together, or neither")
        self.invert = checks.boolean("invert", invert)
        self._given = None if mean is None else (_statistic(mean), _statistic(variance))
        if self._given is not None and (self._given[1] < 0).any():
            raise ValueError(f"variance must not be negative, got {self._given[1].min()}")
        self.mean: Any = None
        self.variance: Any = None

    def build(self, input_shape: Any) -> None:
        """Make mean and variance of the last axis."""
        shape = single(self, input_shape)[-1:]
        mean, variance = self._given if self._given is not None else (np.zeros(1), np.ones(1))
        mean, variance = (_fitted(self, a, shape) for a in (mean, variance))
        variance = np.where(variance > 0, variance, 1.0)
        self._check_range(variance)
        self.mean = self.add_weight("mean", shape, mean, trainable=False)
        self.variance = self.add_weight("variance", shape, variance, trainable=False)
        self.mean.exact, self.variance.exact = np.array(mean), np.array(variance)

    def _check_range(self, variance: Array) -> None:
        """Refuse deviations whose square the dtype cannot hold."""
        small = np.flatnonzero(variance < np.finfo(self.dtype).tiny)
        if small.size:
            k = int(small[0])
            raise ValueError(
                f"{self.label}: feature {k} has a standard deviation of {variance[k] ** 0.5:g}, "
                f"whose square is too small for {self.dtype}; scale the data, or use a model of "
                "dtype='float64'"
            )

    @property
    def adapted(self) -> bool:
        """Whether there are statistics: given, taken from data, or assigned."""
        if self._given is not None or not self.built:
            return self._given is not None
        return bool(self.mean.value.any() or (self.variance.value != 1).any())

    def adapt(self, x: Any) -> None:
        """Take mean and variance of the last axis from data, an array (N, ...) of real numbers.

        Sums are in float64. Builds the layer if it is not built. The columns of a frame are kept:
        a model that has the layer right behind an input brings frames into their order.
        """
        table = data.table("x", x)
        array = table.array
        if array.ndim < 2 or array.shape[0] == 0:
            raise ValueError(f"{self.label}.adapt: got x of shape {array.shape}, expected (N, ...)")
        mean, variance = _statistics(array.reshape(-1, array.shape[-1]))
        if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
            raise ValueError(
                f"{self.label}.adapt: x holds NaN, Inf or numbers whose squares overflow, expected "
                "finite numbers; fill or scale them"
            )
        if not self.built:
            self.build(array.shape[1:])
        if self.mean.shape != mean.shape:
            raise ValueError(
                f"{self.label}.adapt: got {len(mean)} features, expected {self.mean.shape[0]}"
            )
        self._check_range(variance)
        self.mean.exact[...], self.variance.exact[...] = mean, variance
        self.set_weights([mean, variance])
        self._given, self.columns = (mean, variance), table.columns

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.built:
            mean, rounded = self.mean.unrounded(), self.mean.value.astype(np.float64)
            deviation = np.sqrt(self.variance.value.astype(np.float64))
            if (mean != rounded)[np.abs(rounded) > _LARGE * deviation].any():
                # Digits that count, and that the weights in a file do not have.
                statistics = {"mean": mean, "variance": self.variance.unrounded()}
                config.update({key: value.tolist() for key, value in statistics.items()})
        return config

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return single(self, input_shape)

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        mode = "inverse" if self.invert else "frozen"
        i = low.add("batch_normalization", inputs, shape, self.name, self._weights, mode=mode)
        if self.invert:
            return low.say(i, graph.Affine(0, lambda: self._inverse(shape)))
        low.set_shift(i, self.mean, self.variance)
        return i

    def _inverse(self, shape: Shape) -> tuple[Array, Array]:
        """Scale and offset, for each value of a sample."""
        mean, variance = (w.value.astype(np.float64) for w in (self.mean, self.variance))
        return np.broadcast_to(np.sqrt(variance), shape), np.broadcast_to(mean, shape)


def _statistic(value: Any) -> Array:
    array = np.atleast_1d(np.asarray(value, dtype=np.float64))
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError("mean and variance must be finite numbers or vectors of the last axis")
    return array


def _statistics(x: Array) -> tuple[Array, Array]:
    """Mean and variance of the columns, in float64, of differences from the first row: a constant
    column has no variance whatever its value rounds to."""
    chunk = 65536  # rows at a time: no float64 copy of everything
    first = x[0].astype(np.float64)
    total, squares = np.zeros_like(first), np.zeros_like(first)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by the caller
        for start in range(0, len(x), chunk):
            total += (x[start : start + chunk] - first).sum(axis=0)
        centre = total / len(x)
        for start in range(0, len(x), chunk):
            squares += ((x[start : start + chunk] - first - centre) ** 2).sum(axis=0)
    mean, variance = first + centre, squares / len(x)
    noise = _ROUNDING * np.finfo(np.float64).eps * np.abs(mean)
    return mean, np.where(np.sqrt(variance) > noise, variance, 1.0)


def _fitted(layer: Any, value: Array, shape: Shape) -> Array:
    if value.shape not in ((1,), shape):
        raise ValueError(
            f"{layer.label}: got {value.size} statistics, expected {shape[0]}, the last axis"
        )
    return np.array(np.broadcast_to(value, shape))
