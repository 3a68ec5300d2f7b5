"""A model that is fed one step of a sequence at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _core
from ..base import checks
from ..base.lengths import is_open
from ..base.memory import Array
from ..data import arrays
from ..data.dataset import Form
from ..errors import ShapeError
from ..train.engine import Engine, unique


class Stream:
    """One or several sequences that a model sees step by step; made by `Model.stream`.

    Notes
    -----
    Every output has the bits that the model gives for the whole sequence at this step. Streams of
    one model do not know one another; they read its weights as they are at each step.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> layers = [bp.Input((None, 2)), bp.layers.GRU(4, return_sequences=True)]
    >>> model = bp.Sequential(layers, seed=0)
    >>> x = np.ones((5, 2), "float32")
    >>> stream = model.stream()
    >>> ys = [stream.step(x_t) for x_t in x]
    >>> bool((np.stack(ys) == model.predict(x[None])[0]).all())
    True
    """

    def __init__(self, engine: Engine, batch: int) -> None:
        self.batch = batch
        self._engine = engine
        shape = engine.signature.inputs.shapes[0]
        self._sample: tuple[int, ...] = tuple(shape[1:])
        own = engine.formed(Form((1,), frozenset()))
        self._ids = engine.signature.ids.get(0)
        kind = _core.StreamFloat32 if engine.dtype == "float32" else _core.StreamFloat64
        self._core = kind(own.net, batch)
        out = own.low.shapes[own.outputs[0]]
        self._out = tuple(out[1:]) if is_open(engine.output_tensors[0].shape) else tuple(out)
        plain = len(self._sample) == 1 and len(self._out) == 1 and self._ids is None
        self._quick = self._core.quick if plain else None
        self._names = unique(self._core.names())

    def step(self, x: Any) -> Any:
        """The outputs for the next step.

        Parameters
        ----------
        x : array (F,) or (batch, F); of ids a whole number or (batch,)

        Returns
        -------
        ndarray (K,) or (batch, K)
            As x: without an axis of the batch if x has none.
        """
        if self._quick is not None:
            y = self._quick(x)
            if y is not None:
                return y
        return self._slow(x)

    def _slow(self, x: Any) -> Array:
        array = arrays.array("x", np.asarray(x) if np.ndim(x) == 0 else x)
        single = array.ndim == len(self._sample)
        if single:
            array = array[None]
        if array.shape != (self.batch, *self._sample):
            one = f"{self._sample}" if self.batch == 1 else f"{(self.batch, *self._sample)}"
            raise ShapeError(f"x has shape {np.shape(x)}, expected {one}: one step of the stream")
        if self._ids is not None:
            arrays.ids("x", array, self._ids, self._engine.signature.inputs.names[0])
        arrays.finite("x", array, self._engine.dtype)
        y: Array = self._core.step(array[:, None]).reshape(self.batch, *self._out)
        return y[0] if single else y

    def reset(self, i: int | None = None) -> None:
        """Begin anew, all sequences or the i-th."""
        self._core.reset(None if i is None else checks.integer("i", i, 0, self.batch - 1))

    @property
    def state(self) -> dict[str, Array]:
        """What layers carry, by layer: of a recurrent one (batch, U), of an LSTM (batch, 2 U), h
        and c; of one that looks back (batch, L F), the last L steps.

        Copies; assigning such a dict goes on from there. A layer that the model calls again has a
        number behind its name.
        """
        return dict(zip(self._names, self._core.states(), strict=True))

    @state.setter
    def state(self, new: dict[str, Any]) -> None:
        held = self.state
        if not isinstance(new, Mapping):
            raise TypeError(
                f"state must be a dict as stream.state gives it, got {checks.describe(new)}; to "
                "begin anew call stream.reset()"
            )
        if set(new) != set(held):
            raise ValueError(f"state: got {sorted(map(str, new))}, expected {sorted(held)}")
        given = []
        for name, own in held.items():
            array = np.asarray(new[name], dtype=own.dtype)
            if array.shape != own.shape:
                raise ShapeError(f"state[{name!r}] has shape {array.shape}, expected {own.shape}")
            arrays.finite(f"state[{name!r}]", array, self._engine.dtype)
            given.append(array)
        self._core.set_states(given)

    def copy(self) -> Stream:
        """Another stream that goes on from the same states."""
        other = Stream(self._engine, self.batch)
        other._core.set_states(self._core.states())
        return other

    def __copy__(self) -> Stream:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Stream:
        """Of the states; the weights are the model's."""
        return self.copy()

    def __reduce__(self) -> Any:
        raise TypeError(
            "a stream belongs to its model and is not pickled; save the model and stream.state"
        )

    def __repr__(self) -> str:
        return f"<Stream of {self.batch} sequences>"


def make(engine: Engine, batch: Any) -> Stream:
    """See `Model.stream`."""
    count = checks.integer("batch", batch)
    check(engine)
    return Stream(engine, count)


def check(engine: Engine) -> None:
    """Refuse a model that needs more than one step at a time."""
    inputs, outputs = engine.signature.inputs, engine.signature.outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"a stream needs a model with one input and one output, got {len(inputs)} and "
            f"{len(outputs)}"
        )
    if not is_open(inputs.shapes[0]):
        raise ValueError(
            f"a stream needs a model whose input leaves the number of steps open, got "
            f"{inputs.shapes[0]}; make it with Input((None, ...))"
        )
    for node in engine.nodes:
        if not node.takes_steps:
            raise ValueError(
                f"{node.layer.label} needs the whole sequence, expected layers that go forward in "
                "time"
            )
