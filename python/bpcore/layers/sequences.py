"""What sequences need besides recurrent layers: embeddings, masks, pooling over time."""

from __future__ import annotations

from typing import Any

from .. import graph
from ..base import checks
from ..base.lengths import shown
from ..base.memory import Shape
from ..errors import ShapeError
from .core import CoreLayer
from .dense import single


class Embedding(CoreLayer):
    """Whole numbers to vectors: y = table[id], a row of a table that is learned.

    Parameters
    ----------
    input_dim : int
        V, the number of ids: they are 0 to V - 1.
    output_dim : int
        D, the length of a vector.
    embeddings_initializer : str, Initializer, array or callable
        First values of the table (V, D).
    embeddings_regularizer, embeddings_constraint : optional
        See `bpcore.regularizers` and `bpcore.constraints`.
    mask_zero : bool
        Whether id 0 marks steps that do not count: layers behind pass them over.
    lazy : bool
        Whether an update moves the rows alone that a batch touches, and what the optimizer keeps
        of them (PyTorch's SparseAdam). Without it all rows follow the optimizer's formula.
    name, trainable, dtype
        As in `Layer`.

    Notes
    -----
    Ids (N, T), or of any shape (N, ...), give y (N, T, D). They stay integers on their way: none is
    rounded, however large. The gradient of a row is the sum of dy at the places of its id; ids have
    none. The gradient of a large table, and its clearing, cost what a batch touches. So does its
    update with `lazy`, and by formulas that leave a row without a gradient as it is: ``SGD``
    without momentum and ``Adagrad``, without decay. In ``apply_gradients`` of a lazy table the rows
    whose gradient is 0 are those that are not touched; a regularizer touches all rows.

    Examples
    --------
    >>> import bpcore as bp
    >>> layer = bp.layers.Embedding(3, 2, embeddings_initializer=[[0, 0], [1, 2], [3, 4]])
    >>> layer([[2, 1]]).tolist()
    [[[3.0, 4.0], [1.0, 2.0]]]
    """

    takes_any_length = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        lazy: bool = False,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        from .. import initializers

        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.input_dim = checks.integer("input_dim", input_dim)
        self.output_dim = checks.integer("output_dim", output_dim)
        if isinstance(embeddings_initializer, str) and embeddings_initializer == "uniform":
            embeddings_initializer = initializers.RandomUniform(-0.05, 0.05)  # Keras' default
        self._set_of_weights(
            embeddings=(embeddings_initializer, embeddings_regularizer, embeddings_constraint)
        )
        self.mask_zero = checks.boolean("mask_zero", mask_zero)
        self.lazy = checks.boolean("lazy", lazy)
        self.embeddings: Any = None

    def build(self, input_shape: Any) -> None:
        """Make the table (input_dim, output_dim)."""
        single(self, input_shape)
        self.embeddings = self._make_weight("embeddings", (self.input_dim, self.output_dim))

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return (*single(self, input_shape), self.output_dim)

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        low.read_ids(self.label, inputs[0], self.input_dim)
        y = low.add("embedding", inputs, shape, self.name, self._weights, lazy=self.lazy)
        if self.mask_zero:
            low.mask_by_value(self.label, inputs[0], y, 0.0)
        return y


class Masking(CoreLayer):
    """Steps all of whose values are `mask_value` do not count: layers behind pass them over.

    Parameters
    ----------
    mask_value : float

    Notes
    -----
    x (N, T, ...), data of the caller's: the layer stands behind an Input. Its values go on, with 0
    in the steps that do not count. What a mask does is said in docs/sequences.md.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.Masking(-1.0)([[[-1.0, -1.0], [-1.0, 2.0]]]).tolist()
    [[[0.0, 0.0], [-1.0, 2.0]]]
    """

    takes_any_length = True

    def __init__(
        self, mask_value: float = 0.0, *, name: str | None = None, dtype: str | None = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.mask_value = checks.real("mask_value", mask_value)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return single(self, input_shape)

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        y = low.add("masking", inputs, shape, self.name, value=self.mask_value)
        low.mask_by_value(self.label, inputs[0], y, self.mask_value)
        return y


class RepeatVector(CoreLayer):
    """(N, F) -> (N, n, F): the same vector at each of n steps.

    Parameters
    ----------
    n : int

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.RepeatVector(2)([[1.0, 2.0]]).tolist()
    [[[1.0, 2.0], [1.0, 2.0]]]
    """

    streams = False

    def __init__(self, n: int, *, name: str | None = None, dtype: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.n = checks.integer("n", n)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = single(self, input_shape)
        if len(shape) != 1:
            raise ShapeError(
                f"{self.label}: got x of shape {shown(shape)}, expected (N, F): one vector a "
                "sample, which it repeats; reduce the steps first, by a recurrent layer without "
                "return_sequences or by pooling over time"
            )
        return (self.n, *shape)

    def passes_mask(self, shapes: list[Shape], shape: Shape) -> bool:
        """Its steps are its own."""
        return False

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        return low.add("repeat", inputs, shape, self.name, count=self.n)


class TappedDelay(CoreLayer):
    """Each step beside earlier ones: y_t = (x_{t-l} for l in lags), zeros before the beginning.

    Parameters
    ----------
    lags : int or list of int
        The delays, 0 for the step itself; a number n stands for 0, 1, ..., n.

    Notes
    -----
    x (N, T, F) gives y (N, T, F L) for L lags, the delay line of time-delay networks (A. Waibel et
    al., 1989); dense layers behind it make a NARX model of a series.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.TappedDelay(1)([[[1.0], [2.0], [3.0]]]).tolist()
    [[[1.0, 0.0], [2.0, 1.0], [3.0, 2.0]]]
    """

    takes_any_length = True

    def __init__(self, lags: Any, *, name: str | None = None, dtype: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype)
        given = lags if isinstance(lags, (list, tuple)) else range(checks.integer("lags", lags) + 1)
        self.lags = [checks.integer("lags", lag, 0) for lag in given]
        if not self.lags:
            raise ValueError("lags must name at least one delay, got none")

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = single(self, input_shape)
        if len(shape) != 2:
            raise ShapeError(f"{self.label}: got x of shape {shown(shape)}, expected (N, T, F)")
        return (shape[0], shape[1] * len(self.lags))

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        (steps, features), most = shapes[0], max(self.lags)
        x = inputs[0]
        if most:
            x = low.add("history", (x,), (most + steps, features), self.name, steps=most)
        parts = []
        for lag in self.lags:
            told = {"begin": most - lag, "end": most - lag + steps}
            parts.append(low.add("rows", (x,), shapes[0], self.name, **told) if most else x)
        if len(parts) == 1:
            return low.add("reshape", parts, shape, self.name, shape=shape)
        return low.add("concatenate", parts, shape, self.name, axis=1)


class _GlobalPooling1D(CoreLayer):
    """Base: one number for each channel, from all steps that count."""

    streams = False
    most: bool

    def __init__(
        self, keepdims: bool = False, *, name: str | None = None, dtype: str | None = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.keepdims = checks.boolean("keepdims", keepdims)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        shape = single(self, input_shape)
        if len(shape) != 2:
            raise ShapeError(f"{self.label}: got x of shape {shown(shape)}, expected (N, T, C)")
        return (1, shape[1]) if self.keepdims else (shape[1],)

    def passes_mask(self, shapes: list[Shape], shape: Shape) -> bool:
        """Nothing is left to mask."""
        return False

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        mask = low.mask(inputs[0])
        given = inputs if mask is None else [*inputs, mask]
        y = low.add("pool_steps", given, shape[-1:], self.name, most=self.most)
        return low.add("reshape", (y,), shape, self.name, shape=shape) if self.keepdims else y


class GlobalAveragePooling1D(_GlobalPooling1D):
    """(N, T, C) -> (N, C): the mean over the steps, over those that count where there is a mask.

    Parameters
    ----------
    keepdims : bool
        Whether the axis of steps stays, with length 1.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.GlobalAveragePooling1D()([[[1.0], [2.0], [6.0]]]).tolist()
    [[3.0]]
    """

    most = False


class GlobalMaxPooling1D(_GlobalPooling1D):
    """(N, T, C) -> (N, C): the largest value over the steps, over those that count.

    Parameters
    ----------
    keepdims : bool
        Whether the axis of steps stays, with length 1.

    Notes
    -----
    Of equal values the first one takes the gradient.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.GlobalMaxPooling1D()([[[1.0], [6.0], [2.0]]]).tolist()
    [[6.0]]
    """

    most = True
