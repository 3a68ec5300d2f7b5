"""The part of Model that runs forward: calls and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import data, graph
from ..base import checks
from ..base.memory import Array, Shape
from ..data.batches import inputs_of, is_batches
from ..data.dataset import batch_size_of, hold
from ..data.inputs import cut
from ..errors import ShapeError
from ..train.engine import Engine
from .stream import Stream
from .stream import make as make_stream
from .trainable import Trainable


class Runnable(Trainable):
    """Base of `Model`: from arrays to arrays, without a loss."""

    dtype: str
    _fast: Any
    _sampled = 0  # with training=True, so far

    def _set_fast(self) -> None:
        engine = self._engine
        self._fast = None
        if (
            engine
            and not engine.has_python
            and len(engine.signature.inputs) == 1
            and len(engine.outputs) == 1
            and not self._out_kind
        ):
            self._fast = engine.net.call

    def __call__(self, x: Any, training: bool = False, *, out: Any = None) -> Any:
        """The forward pass at the lowest latency: arrays in, arrays out.

        NaN and Inf pass through; `predict` reports them. `out` is as in `predict`. Many threads may
        call at once.

        With ``training=True`` random layers draw and BatchNormalization takes the batch's
        statistics, as for Monte Carlo dropout (Y. Gal, Z. Ghahramani, 2016): the numbers of such
        calls are of their own and counted from the model's making, so that training is not
        touched. No running statistics move.
        """
        fast = self._fast
        if training:
            checks.boolean("training", training)
            return self._sample(self._build_for(x), out)
        if fast is not None:
            y = fast(x, out, False)
            if y is not None:
                return y
        if graph.is_symbolic(x):
            raise TypeError(
                f"model {self.name!r} got a symbolic tensor, expected arrays; to join graphs call "
                "its layers on the tensor"
            )
        return self._run(self._build_for(x), None, out, False)

    @property
    def feature_names(self) -> list[str] | None:
        """The columns of the frame or file that the model was trained on; None if it was neither.

        Examples
        --------
        >>> import bpcore as bp
        >>> bp.Sequential([bp.Input((2,)), bp.layers.Dense(1)], seed=0).feature_names is None
        True
        """
        known = self._built().signature.known
        return None if known is None else list(known)

    def predict(
        self,
        x: Any,
        *,
        batch_size: int | None = 1024,
        out: Any = None,
        check_finite: bool = True,
        mask: Any = None,
    ) -> Any:
        """Outputs for all rows of `x`, in batches; row i does not depend on the other rows.

        May be called while `fit` runs, from a callback or another thread; in the latter case the
        weights it sees may be those of different steps.

        Parameters
        ----------
        x : array (N, ...), frame, or list, tuple or dict for several inputs; or batches
            N may be 0. Batches: an iterable of x, or of (x, y) whose y is passed over. Or the path
            of a file, as in `fit`: its other columns are passed over.
        batch_size : int or None
        out : ndarray, optional
            Where to write the output of a model with one output.
        check_finite : bool
            Refuse NaN and Inf in `x`.
        mask : array of bool (N, T), optional
            Which steps count; for several inputs a list or dict of such.
        """
        fast = self._fast
        if fast is not None and check_finite is True and batch_size == 1024 and mask is None:
            y = fast(x, out, True)  # a few rows
            if y is not None:
                return y
        engine = self._built()
        checks.boolean("check_finite", check_finite)
        batch_size_of(batch_size, 1)
        if is_batches(x) and not isinstance(x, Sequence):  # a deque of rows is data
            if out is not None:
                raise ValueError("out needs an array of known size, got batches; leave out out")
            parts = inputs_of(x, engine.signature.inputs.shapes)
            return _joined([self._run(part, batch_size, None, check_finite) for part in parts])
        return self._run(x, batch_size, out, check_finite, mask)

    def _sample(self, x: Any, out: Any) -> Any:
        """All rows as one training batch, but for what that leaves behind."""
        self._check_pass("a call")
        engine = self._built()
        found = engine.signature.read_inputs(x, finite=False, empty=True)
        own = engine.formed(found.form)
        shape = own.low.shapes[own.outputs[0]]
        outs = None if out is None else [self._check_out(engine, out, (found.n, *shape), found.xs)]
        self._sampled += 1
        draw = 2**63 + self._sampled  # no training batch has such a number
        ys = own.net.forward(found.xs, True, outs, draw, False)
        if out is not None:
            return out
        return self._outputs_as_given([cut(y, found, k) for k, y in enumerate(ys)])

    def stream(self, batch: int = 1) -> Stream:
        """Sequences that are fed step by step, with outputs at once.

        Parameters
        ----------
        batch : int
            Sequences side by side.

        Returns
        -------
        Stream
            With ``step(x_t)``, ``reset(i=None)``, ``state`` and ``copy()``.

        Raises
        ------
        ValueError
            The input has a fixed number of steps, or a layer needs the whole sequence.
        """
        return make_stream(self._built(" (stream)"), batch)

    def _run(self, x: Any, batch_size: int | None, out: Any, finite: bool, mask: Any = None) -> Any:
        self._check_pass("predict")
        engine = self._built()
        found = engine.signature.read_inputs(x, finite=finite, empty=True, mask=mask)
        xs, n, steps = found.xs, found.n, found.steps
        outputs = engine.signature.outputs
        size = batch_size_of(batch_size, n)
        shapes = outputs.shapes if steps is None else steps.shapes
        if out is not None:
            outs = [self._check_out(engine, out, (n, *shapes[0]), xs)]
        else:
            outs = [np.empty((n, *shape), dtype=self.dtype) for shape in shapes]
        _held = hold([*xs, *outs])  # between two batches, too
        net = engine.formed(found.form).net
        if n and size >= n:
            net.forward(xs, False, outs)
        else:
            for start in range(0, n, size):
                rows = slice(start, min(start + size, n))
                net.forward([a[rows] for a in xs], False, [a[rows] for a in outs])
        if out is not None:
            return out
        return self._outputs_as_given([cut(y, found, k) for k, y in enumerate(outs)])

    def _check_out(self, engine: Engine, out: Any, shape: Shape, xs: list[Array]) -> Array:
        if len(engine.outputs) > 1:
            names = engine.signature.outputs.names
            raise ValueError(f"out needs a model with one output, this one has {names}")
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out must be an ndarray, got {checks.describe(out)}")
        if out.shape != shape:
            raise ShapeError(f"out has shape {out.shape}, expected {shape}")
        if out.dtype != np.dtype(self.dtype):
            raise ValueError(f"out has dtype {out.dtype}, expected {self.dtype}, the model's")
        if not out.flags.writeable or not out.flags.c_contiguous or not out.flags.aligned:
            raise ValueError("out must be writable, C-contiguous and aligned; pass np.empty(...)")
        if any(data.overlaps(out, a) for a in (*xs, *(p.value for p in engine.params))):
            raise ValueError("out overlaps x or the weights; pass an array of its own")
        return out


def _joined(parts: list[Any]) -> Any:
    """Outputs of batches as those of all rows, alike in structure."""
    if not parts:
        raise ValueError("x gave no batch, expected at least 1")
    first = parts[0]
    if isinstance(first, dict):
        return {key: np.concatenate([part[key] for part in parts]) for key in first}
    if isinstance(first, list):
        return [np.concatenate(same) for same in zip(*parts, strict=True)]
    return np.concatenate(parts)
