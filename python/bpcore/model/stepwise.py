"""The part of Model for loops of one's own: the parts of a training step, one call each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _core
from ..base import checks
from ..base.counters import Counters
from ..base.memory import Array
from ..data import arrays, sequences
from ..data.inputs import Inputs, comes_in_list, cut, gradients_as_given
from ..errors import NotBuiltError, ShapeError, diverged
from ..graph.parameter import Parameter, assign, zero_gradients
from ..train import windows
from ..train.compilation import Compilation
from ..train.engine import Engine
from .inspectable import Inspectable

_OBSTACLES = {
    "none": "no forward pass is kept, got a call of backward; call y = forward(x) first",
    "used": "backward has used the forward pass up, got another call of it; call forward(x) again",
    "changed": "the weights were changed since forward(x), got a call of backward, which needs "
    "those of then; call forward(x) again",
    "trainable": "what is trainable was changed since forward(x), got a call of backward, which "
    "would give gradients to what was trainable then; call forward(x) again",
    "foreign": "the forward pass that is kept was made in another thread, got a call of backward; "
    "call both in one thread, or use a model for each",
}


class Stepwise(Inspectable):
    """Base of `Trainable`."""

    _counters: Counters

    # ---- the parts of a step ------------------------------------------------------------------
    def forward(self, x: Any, training: bool = True, *, mask: Any = None) -> Any:
        """The outputs for `x`; what `backward` needs is kept.

        One pass is kept: a second call drops the first. `predict`, `evaluate` and ``model(x)``
        leave it alone.

        Parameters
        ----------
        x : array (N, ...), frame, or list, tuple or dict for several inputs; or sequences
            All rows are one batch. A list of sequences gives lists, and takes dy as such.
        training : bool
            True: as `fit` does it, a training batch whose random numbers are the next ones, and
            BatchNormalization takes the batch's statistics, and moves the running ones. False: as
            `predict`; `backward` works then, too.
        mask : array of bool (N, T), optional
            Which steps count, as in `fit`.

        Returns
        -------
        ndarray (N, ...), or list or dict of them as the model was made
            The model's outputs, of its dtype; copies.

        Raises
        ------
        ValueError, TypeError
            Before any work, for an x that `fit` would refuse.
        TrainingDiverged
            An output became NaN or Inf; nothing is kept then, and nothing has moved.
        BusyError
            The model is training, in another thread or around this call.

        Examples
        --------
        The loss ½ Σ (y - t)² by hand:

        >>> import bpcore as bp, numpy as np
        >>> model = bp.Sequential([bp.layers.Dense(1, kernel_initializer="ones")], seed=0)
        >>> model.compile(bp.optimizers.SGD(0.1))
        >>> x, t = np.array([[1.0, 2.0]]), np.array([[1.0]])
        >>> y = model.forward(x)
        >>> model.zero_gradients()
        >>> dx = model.backward(y - t)
        >>> model.apply_gradients()
        >>> round(float(model(x)[0, 0]), 4)
        1.8
        """
        checks.boolean("training", training)
        with self._busy("forward"):
            return self._outputs_as_given(self._forward(x, training, mask))

    def backward(self, dy: Any, *, parameters: bool = True, inputs: bool = True) -> Any:
        """From dL/dy to the gradients of weights and inputs, through the last `forward`.

        Parameters
        ----------
        dy : array of y's shape, or list, tuple or dict by output
            dL/dy, where L is the loss of the batch in all: nothing is divided by N here. For the
            mean over the batch divide dy by N.
        parameters : bool
            Whether the gradients of trainable weights are added to their ``grad``, without
            penalties. Without them a pass back to the inputs is shorter.
        inputs : bool
            Whether the gradients of the inputs are found.

        Returns
        -------
        ndarray of x's shape, or list or dict of them as the inputs; or None
            dL/dx, if `inputs`.

        Raises
        ------
        RuntimeError
            There is no forward pass to go back through: none was made, it was used, it was made in
            another thread, or the weights, or what of them is trainable, were changed since by a
            call (assignments in place, ``value[...] =``, are not seen).
        ValueError
            dy has another shape than y, or NaN or Inf in it; the pass is still there.
        TrainingDiverged
            A delta became NaN or Inf on the way; no ``grad`` was changed.
        """
        checks.boolean("parameters", parameters)
        checks.boolean("inputs", inputs)
        with self._busy("backward"):
            dxs = self._backward(dy, parameters, inputs)
            return self._inputs_as_given(dxs) if inputs else None

    def reset_states(self) -> None:
        """Stateful layers begin the next training batch, or `forward` in training, with zeros."""
        with self._busy("reset_states"):
            self._counters.carried.set({})

    def zero_gradients(self) -> None:
        """Set the ``grad`` of all weights to 0."""
        zero_gradients(self._built().params)

    def apply_gradients(self, gradients: Any = None) -> None:
        """One update of the weights by given gradients.

        Penalties (regularizers) are added, the gradients are clipped as `compile` was told, the
        optimizer makes its step, and constraints hold thereafter: as in `train_on_batch`, but for
        ``accumulate_steps``, which do not count here: gradients add up in ``grad`` until
        `zero_gradients`.

        Parameters
        ----------
        gradients : None, dict of str to array, or list of array
            None: the ``grad`` of each trainable weight. A dict goes by the names of all trainable
            weights, a list in the order of `trainable_weights`. They are not changed.

        Raises
        ------
        RuntimeError
            The model is not compiled.
        ValueError
            A name or shape that does not fit, or NaN or Inf; no weight was changed.
        TrainingDiverged
            The update would make a weight, or a number of the optimizer's state, NaN or Inf; all of
            them are as before.
        BusyError
            The model is training.
        """
        with self._busy("apply_gradients"):
            self._apply(self._need_compilation(loss=False), gradients)

    def _step_by(self, x: Any, dy: Any, mask: Any) -> Any:
        """A step with dL/dy, or a function that gives it."""
        compilation = self._need_compilation(loss=False)
        ys = self._forward(x, True, mask, settled=False)  # until the update has succeeded
        settle = self._built().kept().passes.settle
        y = self._outputs_as_given(ys)
        given = dy(y) if callable(dy) else dy
        self.zero_gradients()
        self._backward(given, True, False)
        self._apply(compilation, None, settle)
        return y

    def _forward(self, x: Any, training: bool, mask: Any = None, settled: bool = True) -> list[Any]:
        """By output; of sequences that came one by one a list where it has their steps."""
        if self.built:
            engine, found = self._read_pass(x, mask)
        else:
            with self._undone_on_error():
                engine, found = self._read_pass(self._build_for(x), mask)
        own = engine.keep(found)
        if training:
            windows.begin(own, own.passes, found.n)
        try:
            ys = own.forward(found.xs, training, settled)
        except _core.Diverged as error:
            raise diverged(error, -1, None) from None
        finally:
            found.xs.clear()  # nobody needs them any longer
        return [cut(y, found, k) for k, y in enumerate(ys)]

    def _read_pass(self, x: Any, mask: Any) -> tuple[Engine, Inputs]:
        engine = self._built()
        engine.refresh()
        return engine, engine.signature.read_inputs(x, mask=mask)

    def _backward(self, dy: Any, parameters: bool, inputs: bool) -> list[Any]:
        if not self.built:
            raise NotBuiltError(f"model {self.name!r}: {_OBSTACLES['none']}")
        base = self._built()
        made: Inputs | None = base.passing
        engine = base.kept()
        obstacle = engine.obstacle
        if obstacle:
            raise RuntimeError(f"model {self.name!r}: {_OBSTACLES[obstacle]}")
        plain = engine.signature.plain
        dys = None if plain is None else plain.read_deltas(dy, engine.passes.rows)
        if dys is None or (made is not None and any(made.valid)):
            dys = self._read_deltas(dy, engine, made)
        try:
            dxs = engine.backward(dys, parameters, inputs)[: len(engine.input_tensors)]
        except _core.Diverged as error:
            raise diverged(error, -1, None) from None
        return dxs if made is None else gradients_as_given(dxs, made.each)

    @staticmethod
    def _read_deltas(dy: Any, engine: Engine, made: Inputs | None) -> list[Array]:
        """dL/dy by output, checked, for the pass of these inputs."""
        ends = engine.signature.outputs
        dys = []
        shapes = [engine.low.shapes[i] for i in engine.outputs]
        for k, ((label, part), shape) in enumerate(zip(ends.parts("dy", dy), shapes, strict=True)):
            listed = made is not None and comes_in_list(made, k)
            array = _joined(label, part, made, shape[0]) if listed else arrays.array(label, part)
            expected = (engine.passes.rows, *shape)
            if array.shape != expected:
                raise ShapeError(
                    f"{label}: got shape {array.shape}, expected {expected}, that of y; pass "
                    "dL/dy for every output of every row"
                )
            arrays.finite(label, array, engine.dtype)
            valid = made.valid[k] if made is not None and made.valid else None
            if valid is not None:  # a step that does not count has no part in L
                counts = valid.mask.reshape(*valid.mask.shape, *[1] * (array.ndim - 2))
                array = np.where(counts, array, 0)
            dys.append(array)
        return dys

    def _apply(self, compilation: Compilation, gradients: Any, then: Any = None) -> None:
        engine = self._built()
        engine.refresh()
        given = None if gradients is None else self._checked_gradients(gradients)
        active = zip(engine.params, engine.flags, strict=False)
        if given is None:
            found = [p.grad if moves else None for p, moves in active]
        else:
            found = [given[p] if moves else None for p, moves in active]
        for k in engine.incomplete:
            gradient = found[k]
            found[k] = None if gradient is None else engine.params[k].connected(gradient)
        trainer = engine.trainer("apply", compilation)
        rate = compilation.optimizer.core_rate()
        try:
            flaw = trainer.apply(found, rate, then)
        except _core.Diverged as error:
            raise diverged(error, -1, rate) from None
        if flaw is None:
            return
        if isinstance(flaw, str):
            raise ValueError(
                f"penalty of {flaw!r} is NaN or Inf, expected a finite one; no weight was changed"
            )
        p = engine.params[flaw]
        arrays.finite(f"gradient of {p.name!r}", found[flaw], engine.dtype)

    def _checked_gradients(self, gradients: Any) -> dict[Parameter, Array]:
        weights = self.trainable_weights
        names = [p.name for p in weights]
        if isinstance(gradients, Mapping):
            for name in gradients:
                if name not in names:
                    raise checks.unknown("trainable weight", name, names)
            missing = [name for name in names if name not in gradients]
            if missing:
                raise ValueError(
                    f"gradients: {missing[0]!r} is missing, expected one for each of the "
                    f"{len(names)} trainable weights; give zeros, or freeze what is not to move"
                )
            values = [gradients[name] for name in names]
        elif isinstance(gradients, (list, tuple)):
            values = list(gradients)
            if len(values) != len(weights):
                raise ValueError(
                    f"gradients: got {len(values)}, expected {len(weights)}, one for each of "
                    "trainable_weights"
                )
        else:
            raise TypeError(
                "gradients must be None, a dict by name or a list as trainable_weights, got "
                f"{checks.describe(gradients)}"
            )
        pairs = zip(weights, values, strict=True)
        return {p: p.check(value, f"gradient of {p.name!r}") for p, value in pairs}

    # ---- weights as one vector ----------------------------------------------------------------
    @property
    def weights_vector(self) -> Array:
        """The trainable weights as one flat array, in the order of `trainable_weights`.

        A copy, of the model's dtype; assigning checks length and values, and sets them all.

        Examples
        --------
        >>> import bpcore as bp, numpy as np
        >>> model = bp.Sequential([bp.Input((2,)), bp.layers.Dense(1)], seed=0)
        >>> model.weights_vector = [1.0, 2.0, 3.0]
        >>> [p.value.ravel().tolist() for p in model.weights]
        [[1.0, 2.0], [3.0]]
        """
        self._built()
        return _flat([p.value for p in self.trainable_weights], self.dtype)

    @weights_vector.setter
    def weights_vector(self, vector: Any) -> None:
        with self._busy("weights_vector"):
            self._set_vector(vector)

    def _set_vector(self, vector: Any) -> None:
        self._built()
        weights = self.trainable_weights
        array = arrays.array("weights_vector", vector)
        size = sum(p.value.size for p in weights)
        if array.shape != (size,):
            raise ShapeError(
                f"weights_vector: got shape {array.shape}, expected ({size},), the elements of all "
                "trainable weights"
            )
        arrays.finite("weights_vector", array, self.dtype)
        parts, start = [], 0
        for p in weights:
            parts.append(array[start : start + p.value.size].reshape(p.shape))
            start += p.value.size
        assign(weights, parts)

    def loss_and_gradient(
        self, vector: Any, x: Any, y: Any, *, sample_weight: Any = None
    ) -> tuple[float, Array]:
        """The loss at given weights and its gradient, for `scipy.optimize.minimize` and kin.

        The weights are set to `vector` and stay so; `gradients` is then taken. After an error they
        are as they were.

        Parameters
        ----------
        vector : array (P,)
            As `weights_vector`.
        x, y, sample_weight
            As in `fit`; all samples are one batch.

        Returns
        -------
        float
            The batch's mean loss plus penalties.
        ndarray (P,)
            Its gradient, of the model's dtype.

        Examples
        --------
        ::

            from scipy.optimize import minimize

            found = minimize(
                model.loss_and_gradient, model.weights_vector, (x, y), method="BFGS", jac=True
            )
            model.weights_vector = found.x
        """
        self._need_compilation()
        with self._busy("loss_and_gradient"):
            weights = self.trainable_weights if self.built else []
            before = [p.value.copy() for p in weights]
            self._set_vector(vector)
            try:
                loss, grads, _ = self._gradients(x, y, sample_weight, False)
            except BaseException:
                assign(weights, before)
                raise
        return loss, _flat([grads[p.name] for p in self.trainable_weights], self.dtype)


def _joined(label: str, dy: Any, made: Inputs | None, steps: int) -> Array:
    """dL/dy of sequences that came one by one, as one array."""
    assert made is not None and made.lengths is not None
    if not sequences.is_list(dy) or len(dy) != made.n:
        raise TypeError(
            f"{label}: got {checks.describe(dy)}, expected a list of {made.n} arrays, as forward "
            "gave them"
        )
    array: Array = np.asarray(sequences.nested(label, dy, made.lengths, steps))
    return array


def _flat(parts: list[Array], dtype: str) -> Array:
    """All elements in order, in an array of their own."""
    return np.concatenate([part.ravel() for part in parts] or [np.empty(0, dtype)])
