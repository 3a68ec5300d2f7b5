"""The part of Model that is told how to train: compile, and what it leaves."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .. import _core
from ..errors import diverged
from ..graph.parameter import Parameter
from ..optimizers import Optimizer
from ..train.compilation import NO_LOSS, Compilation
from ..train.engine import Engine
from .differentiable import Differentiable


class Compilable(Differentiable):
    """Base of `Trainable`."""

    name: str
    _engine: Engine | None
    _compilation: Compilation | None

    def _busy(self, what: str) -> AbstractContextManager[Any]:
        raise NotImplementedError

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer given to `compile`."""
        return self._need_compilation(loss=False).optimizer

    @property
    def compiled(self) -> bool:
        """Whether `compile` was called, by the user or with what a file holds."""
        return self._compilation is not None

    def _need_compilation(self, loss: bool = True) -> Compilation:
        if self._compilation is None:
            raise RuntimeError(
                f"model {self.name!r} is not compiled; call compile(optimizer, loss) first"
            )
        if loss and not self._compilation.has_loss:
            raise RuntimeError(
                f"model {self.name!r} is compiled without a loss, expected one here; call "
                "compile(optimizer, loss), or use forward, backward and apply_gradients"
            )
        return self._compilation

    # ---- training -----------------------------------------------------------------------------
    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = NO_LOSS,
        metrics: Any = (),
        *,
        loss_weights: Any = None,
        gradient_clip_norm: float | None = None,
        gradient_clip_value: float | None = None,
        accumulate_steps: int = 1,
        parameter_groups: Any = None,
        weighted_metrics: Any = (),
        credit: Any = "backprop",
    ) -> None:
        """Choose optimizer, loss and metrics.

        Parameters
        ----------
        optimizer : str or Optimizer
        loss : str, loss, or list or dict of them by output
            See `bpcore.losses`; an object with ``value`` and ``gradient`` is a loss as well. May be
            left out for a loop of one's own: `forward`, `backward`, `apply_gradients`.
        metrics : list, or dict or list of lists by output
            See `bpcore.metrics`. They count every sample alike, whatever its weight in the loss.
        loss_weights : list or dict of float, optional
            By output; the total loss is the weighted sum.
        gradient_clip_norm : float, optional
            Scale all gradients so that their common norm is at most this.
        gradient_clip_value : float, optional
            Cut each gradient element to [-value, value].
        accumulate_steps : int
            Number of batches whose gradients are averaged for one update.
        parameter_groups : dict of str to dict, optional
            Rates and decay of some parameters, by patterns (`fnmatch`) of their names; the first
            pattern that fits a name counts, and one that fits no name is an error. Options:
            ``learning_rate_factor``, which multiplies the rate, and ``weight_decay``, in place of
            the optimizer's.
        weighted_metrics : list, or dict or list of lists by output
            As `metrics`, but a sample counts by the weight that it has in the loss: the product of
            its sample weight and the weight of its class; in validation and `evaluate` there are
            only the sample weights given for these, and a ``class_weight`` of the loss itself. One
            whose name is among `metrics` too is ``weighted_<name>`` in the logs.
        credit : "backprop" or a rule of `bpcore.credit`
            How the layers below the output learn of its error in `fit` and `train_on_batch`.
            `gradients`, `backward` and their kin are backpropagation's whatever it is.

        Examples
        --------
        A slower first layer, and no weight decay for biases:

        >>> import bpcore as bp
        >>> model = bp.Sequential([bp.layers.Dense(8, "relu"), bp.layers.Dense(1)], seed=0)
        >>> groups = {
        ...     "*/bias": {"weight_decay": 0.0},
        ...     "dense/*": {"learning_rate_factor": 0.1},
        ... }
        >>> model.compile(bp.optimizers.AdamW(0.01), "mse", parameter_groups=groups)
        """
        compilation = Compilation(
            optimizer,
            loss,
            metrics,
            loss_weights,
            gradient_clip_norm,
            gradient_clip_value,
            accumulate_steps,
            parameter_groups,
            weighted_metrics,
            credit,
        )
        with self._busy("compile"):
            if self._engine is not None:
                self._fit_to(self._engine, compilation)
            compilation.bind(self)
            self._compilation = compilation

    def _fit_to(self, engine: Engine, compilation: Compilation) -> None:
        """Resolve a compilation for the network; raises before anything is changed."""
        compilation.resolve(engine.ends(), engine.param_names)
        rule = compilation.credit
        if rule is not None:
            weights = {p.local_name: p for p in rule.weights}
            with _core.Restored([(rule, {**rule.__dict__, "_weights": weights})]):
                rule.bind(self)
                engine.trained(rule)

    @property
    def credit_weights(self) -> list[Parameter]:
        """Weights of the rule that was given to `compile` as ``credit``: feedback matrices,
        inverses, modules. They are not among `weights`; files hold them, too."""
        rule = None if self._compilation is None else self._compilation.credit
        return [] if rule is None else rule.weights

    def alignment(self, x: Any, y: Any, *, sample_weight: Any = None) -> dict[str, float]:
        """The angle between the update of the rule given to `compile` and backpropagation's.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`; one batch.

        Returns
        -------
        dict of str to float
            Degrees by layer, over all weights of it that are trained: 0 is the same direction, 90
            none of it, 180 the opposite one; NaN where one of the two is 0. Nothing is trained.

        Raises
        ------
        RuntimeError
            The model is not compiled with a loss.
        ValueError, TypeError
            For data that `fit` would refuse.

        Notes
        -----
        Of the gradients of the batch, before the optimizer makes steps of them. Random layers draw
        the same numbers for both.

        Examples
        --------
        >>> import bpcore as bp, numpy as np
        >>> model = bp.Sequential([bp.layers.Dense(8, "tanh"), bp.layers.Dense(2)], seed=0)
        >>> model.compile("sgd", "mse", credit=bp.credit.FeedbackAlignment())
        >>> angles = model.alignment(np.eye(4), np.eye(4)[:, :2])
        >>> round(angles["dense_1"], 3), 0 < angles["dense"] < 180  # the last layer knows its error
        (0.0, True)
        """
        compilation = self._need_compilation()
        with self._busy("alignment"):
            item = self._prepared(x, y, sample_weight)
            engine = self._built().of(item)
            by_rule = _by_layer(engine, compilation, "credit", item)
            by_backprop = _by_layer(engine, compilation, "gradients", item)
        return {name: _angle(g, by_backprop[name]) for name, g in by_rule.items()}


def _by_layer(
    engine: Engine, compilation: Compilation, purpose: str, item: Any
) -> dict[str, np.ndarray[Any, Any]]:
    """The gradients of a batch by layer, each as one vector."""
    trainer = engine.trainer(purpose, compilation)
    try:
        _, gradients, _ = trainer.gradients(item.xs, item.ys, item.told, False, True)
    except _core.Diverged as error:
        raise diverged(error, -1, None) from None
    params = engine.trained(compilation.credit if purpose == "credit" else None).params
    found: dict[str, list[Any]] = {}
    own = {id(p): g for p, g in zip(params, gradients, strict=True)}
    for p in engine.params:
        g = own.get(id(p))
        if p.trainable:
            found.setdefault(p.name.partition("/")[0], []).append(
                np.zeros(p.value.size) if g is None else g.ravel().astype(np.float64)
            )
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _angle(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Degrees between two vectors, accurate for small angles, too (W. Kahan, 2006)."""
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if not (0 < lengths[0] < math.inf and 0 < lengths[1] < math.inf):
        return math.nan
    a, b = a / lengths[0], b / lengths[1]
    return math.degrees(2 * math.atan2(float(np.linalg.norm(a - b)), float(np.linalg.norm(a + b))))
