"""Cells in plain Python: a recurrent layer whose step is the user's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from .. import graph
from ..base import checks
from ..base.lengths import shown
from ..base.memory import Array, Shape
from ..errors import ShapeError
from .base import Layer
from .python_node import PythonNode


def adopt(owner: Layer, part: Layer, shape: Any, prefix: str = "") -> None:
    """Build a layer as a part of another, whose weights its own become, with longer names."""
    part._dtype, part._seed, part._next_stream = owner._dtype, owner._seed, owner._next_stream
    part.build(shape)
    for p in part._weights:
        p._owner, p.local_name = owner, prefix + p.local_name
    owner._weights += part._weights


def check_cell(what: str, cell: Any) -> None:
    """A layer with what a cell needs."""
    if not isinstance(cell, Layer):
        raise TypeError(f"{what} must be a subclass of bpcore.layers.Layer, got "
                        f"{checks.describe(cell)}")  # fmt: skip
    if not hasattr(cell, "state_size"):
        raise TypeError(
            f"{what}: {type(cell).__name__} has no state_size, expected the size of its state, or "
            "a tuple of sizes of several"
        )


def state_sizes(cell: Any) -> tuple[int, ...]:
    """The sizes of a cell's states."""
    told = cell.state_size
    sizes = told if isinstance(told, (tuple, list)) else (told,)
    return tuple(checks.integer("state_size", n) for n in sizes)


class RNN(Layer):
    """A recurrent layer from a cell that is written in Python.

    Parameters
    ----------
    cell : Layer
        With ``state_size`` (an int, or a tuple of them for several states), ``build(input_shape)``
        for the shape (F,) of a step, ``forward(x_t, states) -> (y_t, states)`` and
        ``backward(dy_t, dstates) -> (dx_t, dstates)``, which adds to each weight's ``grad``. What
        ``forward`` keeps in attributes of the cell is there again when ``backward`` goes through
        that step.
    return_sequences : bool
        Whether y is y_t of every step, (N, T, K), and not the last one, (N, K).
    go_backwards : bool
        Start with the last step.
    name, trainable, dtype
        As in `Layer`.

    Notes
    -----
    It runs in Python, step by step, on one thread: for ideas, not for speed. Over steps that do not
    count the states are held, and y_t is 0.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> class Sum(bp.layers.Layer):
    ...     state_size = 1
    ...     def forward(self, x, states):
    ...         return states[0] + x, [states[0] + x]
    ...     def backward(self, dy, dstates):
    ...         return dy + dstates[0], [dy + dstates[0]]
    >>> bp.layers.RNN(Sum(), return_sequences=True)([[[1.0], [2.0], [3.0]]]).tolist()
    [[[1.0], [3.0], [6.0]]]
    """

    takes_any_length = True
    streams = False

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        go_backwards: bool = False,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        check_cell("cell", cell)
        self.cell = cell
        self.return_sequences = checks.boolean("return_sequences", return_sequences)
        self.go_backwards = checks.boolean("go_backwards", go_backwards)
        self._steps: list[dict[str, Any]] = []
        self._counts: Array | None = None

    def build(self, input_shape: Any) -> None:
        """Make the cell's weights."""
        adopt(self, self.cell, self._step_shape(input_shape))

    def _step_shape(self, input_shape: Any) -> Shape:
        shape = tuple(input_shape)
        if len(shape) < 2:
            raise ShapeError(f"{self.label}: got x of shape {shown(shape)}, expected (N, T, F)")
        return shape[1:]

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """By a trial step of a copy of the cell."""
        cell = copy.deepcopy(self.cell)
        if not cell.built:
            cell._dtype, cell._seed = self.dtype, 0
            cell.build(self._step_shape(input_shape))
        x = np.full((2, *self._step_shape(input_shape)), 0.5, self.dtype)
        y, _ = cell.forward(x, [np.zeros((2, n), self.dtype) for n in state_sizes(cell)])
        own = tuple(np.shape(y)[1:])
        return (input_shape[0], *own) if self.return_sequences else own

    def forward(self, x: Any, training: bool = False, mask: Array | None = None) -> Array:
        """y, step by step."""
        x = np.asarray(x, dtype=self.dtype)
        n, steps = x.shape[:2]
        order = range(steps)[:: -1 if self.go_backwards else 1]
        states = [np.zeros((n, size), self.dtype) for size in state_sizes(self.cell)]
        self._counts = None if mask is None else np.asarray(mask) != 0
        self._steps, ys, last = [], [], None
        for t in order:
            y, new = self.cell.forward(x[:, t], states)
            y, new = np.asarray(y, self.dtype), [np.asarray(s, self.dtype) for s in new]
            if self._counts is not None:
                counts = self._counts[:, t, None]
                new = [np.where(counts, a, b) for a, b in zip(new, states, strict=True)]
                held = last if last is not None else np.zeros_like(y)
                last = np.where(counts, y, held)
                y = np.where(counts, y, 0)
            else:
                last = y
            states = new
            ys.append(y)
            self._steps.append(dict(self.cell.__dict__))
        assert last is not None
        return np.stack(ys, axis=1) if self.return_sequences else last

    def backward(self, dy: Any) -> Any:
        """dL/dx, back through the steps."""
        dy = np.asarray(dy)
        steps = len(self._steps)
        order = list(range(steps)[:: -1 if self.go_backwards else 1])
        n = len(dy)
        dstates = [np.zeros((n, size), self.dtype) for size in state_sizes(self.cell)]
        rest = np.zeros_like(dy[:, 0]) if self.return_sequences else dy.copy()
        dx: list[Any] = [None] * steps
        for k in reversed(range(steps)):
            t = order[k]
            d = dy[:, k] if self.return_sequences else rest
            counts = None if self._counts is None else self._counts[:, t, None]
            if counts is not None:
                d = np.where(counts, d, 0)
            self.cell.__dict__.update(self._steps[k])
            given = dstates if counts is None else [np.where(counts, s, 0) for s in dstates]
            dx[t], new = self.cell.backward(d, given)
            if counts is not None:
                dx[t] = np.where(counts, dx[t], 0)
                new = [np.where(counts, a, b) for a, b in zip(new, dstates, strict=True)]
            if not self.return_sequences:
                rest = np.zeros_like(rest) if counts is None else np.where(counts, 0, rest)
            dstates = [np.asarray(s, self.dtype) for s in new]
        return np.stack([np.asarray(d, self.dtype) for d in dx], axis=1)

    def lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        mask = low.mask(inputs[0])
        if mask is None:
            return super().lower(low, inputs, shapes, shape)
        if self.return_sequences and self.go_backwards:
            raise ValueError(
                f"{self.label} with go_backwards gives the sequence from its last step on, and "
                "knows no mask there; take return_sequences=False, or a built-in layer"
            )
        masked: Any = _Masked(self)
        given = [*shapes, low.shapes[mask]]
        node = PythonNode(masked, given, shape, low.dtype, shared=False)
        low.python_nodes.append(node)
        told = {"shape": shape, "layer": node}
        i = low.add("python", [*inputs, mask], shape, self.name, self._weights, **told)
        if self.return_sequences:
            low.set_masks(i, low.masks_of(inputs[0]))
        return i

    def passes_mask(self, shapes: list[Shape], shape: Shape) -> bool:
        """`lower` has said it."""
        return False


class _Masked:
    """A layer and its mask, for the core."""

    def __init__(self, layer: RNN) -> None:
        self.layer = layer
        self.input_shape: list[Any] = [None, None]
        self.label, self.weights = layer.label, layer.weights
        self.zero_gradients = layer.zero_gradients

    def forward(self, xs: list[Array], training: bool = False) -> Array:
        return self.layer.forward(xs[0], training, xs[1])

    def backward(self, dy: Array) -> list[Array]:
        counts = self.layer._counts
        assert counts is not None
        return [self.layer.backward(dy), np.zeros(counts.shape, self.layer.dtype)]
