"""Initializers: the first values of weights, as pure functions of (seed, stream, shape).

All randomness comes from the core's counter-based generator in float64 and is rounded to the
parameter's dtype at the end: a float32 and a float64 model with one seed start at the same point.
Formulas and defaults are those of Keras 3, unless a docstring names another source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from . import _core
from .base import checks
from .base.arguments import snake_case
from .base.memory import Array, Shape, aligned_copy, empty
from .base.sampling import fans, normal, orthonormalise_rows, truncated_normal, uniform

# The standard deviation of a unit normal cut at +-2: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)).
_TRUNCATED_STDDEV = 0.87962566103423978


class Initializer:
    """Base class: ``initializer(shape, dtype="float32", seed=0, stream=0) -> ndarray``.

    Parameters of the call
    ----------------------
    shape : tuple of int
        Shape of the parameter; a kernel is (..., inputs, outputs).
    dtype : dtype
        Of the result; the values are computed in float64.
    seed, stream : int
        Which random numbers; two parameters of one model have different streams.
    """

    def __call__(self, shape: Any, dtype: Any = "float32", seed: int = 0, stream: int = 0) -> Array:
        dims = tuple(int(n) for n in np.atleast_1d(np.asarray(shape, dtype=np.int64)))
        return np.asarray(self.values(dims, seed, stream), np.dtype(dtype), order="C")

    def _parameter(self, shape: Shape, dtype: str, seed: int, stream: int) -> Array:
        """What a call gives, in memory of the core's that nobody else holds."""
        return aligned_copy(self(shape, dtype, seed=seed, stream=stream))

    def values(self, shape: Shape, seed: int, stream: int) -> Array:
        """The values in float64; what a subclass defines."""
        raise NotImplementedError(f"{type(self).__name__} must define values(shape, seed, stream)")

    def _pick(self, seed: int) -> int:
        """The initializer's own seed takes the place of the model's."""
        own: int | None = getattr(self, "seed", None)
        return seed if own is None else own

    _fixed = False  # whether any seed gives the same values

    @property
    def repeats(self) -> bool:
        """Whether the values are the same in every process, also of a model without a seed."""
        return self._fixed or getattr(self, "seed", None) is not None

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Initializer:
        """The initializer that `get_config` described."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class Zeros(Initializer):
    """All 0."""

    _fixed = True

    def values(self, shape: Shape, seed: int, stream: int) -> Array:
        return np.zeros(shape)


class Ones(Initializer):
    """All 1."""

    _fixed = True

    def values(self, shape: Shape, seed: int, stream: int) -> Array:
        return np.ones(shape)


class Constant(Initializer):
    """All `value`."""

    _fixed = True

    def __init__(self, value: float = 0.0) -> None:
        self.value = checks.real("value", value)

    def values(self, shape: Shape, seed: int, stream: int) -> Array:
        return np.full(shape, self.value)


class _Drawn(Initializer):
    """Of numbers drawn one by one. A parameter gets them in blocks, with no array of float64."""

    def _blocks(self, shape: Shape, seed: int, stream: int) -> Iterator[Array]:
        raise NotImplementedError

    def values(self, shape: Shape, seed: int, stream: int) -> Array:
        return self._drawn(np.empty(shape), seed, stream)

    def _parameter(self, shape: Shape, dtype: str, seed: int, stream: int) -> Array:
        cls = type(self)
        if cls.values is not _Drawn.values or cls.__call__ is not Initializer.__call__:
            return super()._parameter(shape, dtype, seed, stream)  # a subclass has its own
        return self._drawn(empty(shape, dtype), seed, stream)

    def _drawn(self, out: Array, seed: int, stream: int) -> Array:
        flat, done = out.reshape(-1), 0
        for block in self._blocks(out.shape, self._pick(seed), stream):
            flat[done : done + block.size] = block
            done += block.size
        return out


class Uniform(_Drawn):
    """Uniform in [minval, maxval)."""

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None
    ) -> None:
        self.minval = checks.real("minval", minval)
        self.maxval = checks.real("maxval", maxval)
        self.seed = checks.seed(seed)
        if self.minval > self.maxval:
            raise ValueError(f"minval must be <= maxval, got {minval} > {maxval}")

    def _blocks(self, shape: Shape, seed: int, stream: int) -> Iterator[Array]:
        for u in uniform(math.prod(shape), seed, stream):
            yield self.minval + (self.maxval - self.minval) * u


class Normal(_Drawn):
    """Normal with `mean` and standard deviation `stddev`."""

    _draw = staticmethod(normal)

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = checks.real("mean", mean)
        self.stddev = checks.real("stddev", stddev, 0.0)
        self.seed = checks.seed(seed)

    def _blocks(self, shape: Shape, seed: int, stream: int) -> Iterator[Array]:
        for z in self._draw(math.prod(shape), seed, stream):
            yield self.mean + self.stddev * z


class TruncatedNormal(Normal):
    """Normal, drawn again where it falls outside of two `stddev` around `mean`.

    As in Keras, `stddev` is that of the normal before the cut; the result's is 0.8796 of it.
    """

    _draw = staticmethod(truncated_normal)


class VarianceScaling(_Drawn):
    """Zero mean and variance ``scale / n``, where n is chosen by `mode`.

    Parameters
    ----------
    scale : float
        > 0.
    mode : {"fan_in", "fan_out", "fan_avg"}
        n = inputs of a unit, outputs, or their mean.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
        ``uniform`` is on +-sqrt(3 scale / n). ``truncated_normal`` is cut at two standard
        deviations and stretched so that the variance is right after the cut.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        self.scale = checks.real("scale", scale, 0.0, open_low=True)
        self.mode = checks.choice("mode", mode, ("fan_in", "fan_out", "fan_avg"))
        kinds = ("truncated_normal", "untruncated_normal", "uniform")
        self.distribution = checks.choice("distribution", distribution, kinds)
        self.seed = checks.seed(seed)

    def _blocks(self, shape: Shape, seed: int, stream: int) -> Iterator[Array]:
        n, (fan_in, fan_out) = math.prod(shape), fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": 0.5 * (fan_in + fan_out)}
        variance = self.scale / max(1.0, fan[self.mode])
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return (limit * (2.0 * u - 1.0) for u in uniform(n, seed, stream))
        if self.distribution == "untruncated_normal":
            stddev = math.sqrt(variance)
            return (stddev * z for z in normal(n, seed, stream))
        stddev = math.sqrt(variance) / _TRUNCATED_STDDEV
        return (stddev * z for z in truncated_normal(n, seed, stream))


class _FixedScaling(VarianceScaling):
    """A named case of VarianceScaling: scale, mode and distribution are the class's."""

    _case: tuple[float, str, str]

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(*self._case, seed=seed)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


class GlorotUniform(_FixedScaling):
    """Uniform on +-sqrt(6 / (fan_in + fan_out)) (X. Glorot, Y. Bengio, 2010)."""

    _case = (1.0, "fan_avg", "uniform")


class GlorotNormal(_FixedScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out) (X. Glorot, Y. Bengio, 2010)."""

    _case = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_FixedScaling):
    """Uniform on +-sqrt(6 / fan_in), for relu (K. He et al., 2015)."""

    _case = (2.0, "fan_in", "uniform")


class HeNormal(_FixedScaling):
    """Truncated normal of variance 2 / fan_in, for relu (K. He et al., 2015)."""

    _case = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_FixedScaling):
    """Uniform on +-sqrt(3 / fan_in) (Y. LeCun et al., Efficient BackProp, 1998)."""

    _case = (1.0, "fan_in", "uniform")


class LecunNormal(_FixedScaling):
    """Truncated normal of variance 1 / fan_in (Y. LeCun et al., 1998); for selu."""

    _case = (1.0, "fan_in", "truncated_normal")


class Orthogonal(Initializer):
    """`gain` times a random matrix with orthonormal columns, or rows if there are fewer rows.

    The Q factor, with positive diagonal of R, of a matrix of unit normals, so it is distributed
    uniformly over the orthogonal matrices (F. Mezzadri, 2007). A kernel of more than two axes is
    flattened to (product of the first axes, last axis).
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = checks.real("gain", gain)
        self.seed = checks.seed(seed)

    def values(self, shape: Shape, seed: int, stream: int) -> Array:
        if len(shape) < 2:
            raise ValueError(
                f"orthogonal: got shape {shape}, expected at least two axes because the columns of "
                "a matrix are made orthogonal; use another initializer for this parameter"
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        long, short = max(rows, columns), min(rows, columns)
        q = np.asarray(_core.normal(self._pick(seed), stream, short * long)).reshape(short, long)
        orthonormalise_rows(q)
        return self.gain * (q.T if rows >= columns else q).reshape(shape)


class Identity(Initializer):
    """`gain` on the main diagonal of a matrix, 0 elsewhere; the matrix may be oblong."""

    _fixed = True

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = checks.real("gain", gain)

    def values(self, shape: Shape, seed: int, stream: int) -> Array:
        if len(shape) != 2:
            raise ValueError(f"identity: got shape {shape}, expected two axes")
        return self.gain * np.eye(*shape)


class NguyenWidrow(Initializer):
    """Spread the active regions of H units evenly over the input space.

    Kernel (N, H): directions uniform in [-1, 1), each column scaled to length
    ``G = 0.7 H**(1/N)``. Bias (H,): uniform on [-G, G); it has no fan-in of its own, so pass
    `inputs` = N there.

    D. Nguyen, B. Widrow: Improving the learning speed of 2-layer neural networks by choosing
    initial values of the adaptive weights, IJCNN 1990. Meant for inputs in [-1, 1] and tanh.
    """

    def __init__(self, inputs: int | None = None, seed: int | None = None) -> None:
        self.inputs = None if inputs is None else checks.integer("inputs", inputs)
        self.seed = checks.seed(seed)

    def values(self, shape: Shape, seed: int, stream: int) -> Array:
        if len(shape) not in (1, 2) or (len(shape) == 1 and self.inputs is None):
            raise ValueError(
                f"nguyen_widrow: got shape {shape}, expected a kernel (inputs, units), or a bias "
                "(units,) with the number of inputs given: NguyenWidrow(inputs=...)"
            )
        inputs, units = (self.inputs or shape[0]), shape[-1]
        length: float = 0.7 * units ** (1.0 / inputs)
        values = np.asarray(_core.uniform(self._pick(seed), stream, math.prod(shape)))
        values = values.reshape(shape)
        values *= 2.0
        values -= 1.0
        if len(shape) == 1:
            return length * values
        squares = np.zeros(units)
        for row in values:  # in order, so that the sum has the same bits everywhere
            squares += row * row
        return values * (length / np.sqrt(np.where(squares > 0, squares, 1.0)))


class FromArray(Initializer):
    """The given values, which must have exactly the parameter's shape and be finite."""

    _fixed = True

    def __init__(self, value: Any) -> None:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"initializer array has dtype {array.dtype}, expected real numbers")
        self.value: Array = array.astype(np.float64)
        if not np.isfinite(self.value).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(self.value))[0])
            raise ValueError(
                f"initializer array holds {self.value[where]} at {list(where)}; all must be finite"
            )

    def values(self, shape: Shape, seed: int, stream: int) -> Array:
        if self.value.shape != shape:
            raise ValueError(
                f"initializer array has shape {self.value.shape}, expected {shape}, the parameter's"
            )
        return np.array(self.value)

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value.tolist()}


class FromCallable(Initializer):
    """The result of ``function(shape, dtype)``, or of ``function(shape)``, checked."""

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise TypeError(f"initializer must be callable, got {type(function).__name__}")
        self.function = function

    def values(self, shape: Shape, seed: int, stream: int) -> Array:
        result = self._call(shape)
        return FromArray(result).values(shape, seed, stream)

    def _call(self, shape: Shape) -> Any:
        import inspect

        try:
            takes_dtype = len(inspect.signature(self.function).parameters) >= 2
        except (TypeError, ValueError):  # some built-in functions have no signature
            takes_dtype = False
        return self.function(shape, "float64") if takes_dtype else self.function(shape)

    def get_config(self) -> dict[str, Any]:
        raise TypeError(
            f"initializer {getattr(self.function, '__name__', self.function)!r} is a Python "
            "function and cannot be saved; use a named initializer, or an array of its values"
        )


_CLASSES: tuple[type[Initializer], ...] = (
    Zeros,
    Ones,
    Constant,
    Uniform,
    Normal,
    TruncatedNormal,
    VarianceScaling,
    GlorotUniform,
    GlorotNormal,
    HeUniform,
    HeNormal,
    LecunUniform,
    LecunNormal,
    Orthogonal,
    Identity,
    NguyenWidrow,
    FromArray,
)
RandomUniform, RandomNormal = Uniform, Normal  # Keras' class names

__all__ = [cls.__name__ for cls in _CLASSES] + [
    "FromCallable",
    "Initializer",
    "RandomNormal",
    "RandomUniform",
    "get",
    "names",
    "serialize",
]


_BY_NAME: dict[str, type[Initializer]] = {snake_case(c.__name__): c for c in _CLASSES}
del _BY_NAME["from_array"]  # needs an argument
_BY_NAME["random_uniform"], _BY_NAME["random_normal"] = Uniform, Normal
_BY_CLASS_NAME = {c.__name__: c for c in (*_CLASSES, RandomUniform, RandomNormal)}


def names() -> list[str]:
    """The names that `get` knows.

    >>> "glorot_uniform" in names()
    True
    """
    return sorted(_BY_NAME)


def get(identifier: Any) -> Initializer:
    """An initializer from a name, an object, a class, an array, a number, a function or a config.

    >>> get("he_normal")
    HeNormal(seed=None)
    >>> get([[1.0, 0.0], [0.0, 1.0]])((2, 2), "float64").tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if isinstance(identifier, Initializer):
        return identifier
    if isinstance(identifier, str):
        return _lookup(identifier, _BY_NAME)()
    if isinstance(identifier, Mapping):
        return _from_config(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Initializer):
        return identifier()
    if isinstance(identifier, (int, float, np.number)) and not isinstance(identifier, bool):
        return Constant(float(identifier))
    if isinstance(identifier, (list, tuple)) or hasattr(identifier, "__array__"):
        return FromArray(identifier)
    if callable(identifier):
        return FromCallable(identifier)
    raise TypeError(
        "initializer must be a name, an Initializer, an array or a function, got "
        f"{checks.describe(identifier)}"
    )


def serialize(initializer: Initializer) -> dict[str, Any]:
    """A JSON-able description from which `get` makes an equal initializer."""
    return {"class_name": type(initializer).__name__, "config": initializer.get_config()}


def _from_config(config: Mapping[str, Any]) -> Initializer:
    name, arguments = config.get("class_name"), config.get("config", {})
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise ValueError(
            f"initializer config needs 'class_name' and 'config', got {dict(config)!r}"
        )
    return _lookup(name, _BY_CLASS_NAME).from_config(arguments)


def _lookup(name: str, table: Mapping[str, type[Initializer]]) -> type[Initializer]:
    if name not in table:
        raise checks.unknown("initializer", name, table)
    return table[name]
