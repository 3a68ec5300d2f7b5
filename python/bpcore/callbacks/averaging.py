"""Averages of the weights along training: exponential (EMA) and of epochs' ends (SWA)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..base import checks, kinds
from ..base.memory import Array
from ..graph.parameter import assign
from .base import Logs, Stateful


class _Averaging(Stateful):
    """What both share: the average and its way in and out of the model."""

    def __init__(self, validate: Any, apply: Any) -> None:
        self.validate = checks.boolean("validate", validate)
        self.apply = checks.boolean("apply", apply)
        self.reset()

    def reset(self) -> None:
        self.count = 0
        self._average: list[Array] = []
        self._scratch: list[Array] = []
        self._held: list[Array] = []

    def get_weights(self) -> list[Array]:
        """Copies of the averages in the order of `Model.weights`; [] before the first."""
        return [array.copy() for array in self._average]

    def _add(self, share: float) -> None:
        """average += share (w - average), in the weights' dtype; the first time average = w."""
        weights = [p.value for p in self.model.weights]
        if not self._average:
            self._average = [np.array(w) for w in weights]
            self._scratch = [np.empty_like(w) for w in weights]
        else:
            for average, w, scratch in zip(self._average, weights, self._scratch, strict=True):
                np.subtract(w, average, out=scratch)
                np.multiply(scratch, share, out=scratch)
                np.add(average, scratch, out=average)
        self.count += 1

    def _catch_up(self) -> None:
        """Take what has to be in the average by now, while the model has its own weights."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._catch_up()

    @contextmanager
    def around_validation(self) -> Iterator[None]:
        if not (self.validate and self._average):
            yield
            return
        self._held = self.model.get_weights()
        try:
            self._put()
            yield
        finally:
            self._take_out()

    def _take_out(self) -> None:
        """The model's own weights come back; a second time nothing happens."""
        if self._held:
            assign(self.model.weights, self._held)
            self._held = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._catch_up()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.apply and self._average:
            self._put()

    def _put(self) -> None:
        assign(self.model.weights, self._average)

    def on_train_exit(self) -> None:
        self._take_out()  # if Ctrl-C came just when validation's context was being left
        super().on_train_exit()

    def _fields(self, model: Any) -> dict[str, kinds.Kind]:
        average = kinds.Copies([p.value for p in model.weights])
        return {"count": kinds.Integer(), "average": average}

    def get_state(self) -> dict[str, Any]:
        arrays = {str(i): array for i, array in enumerate(self._average)}
        return {"count": self.count, "average": arrays}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        arrays = state["average"]
        self.count = int(state["count"])
        self._average = [np.array(arrays[str(i)]) for i in range(len(arrays))]
        self._scratch = [np.empty_like(array) for array in self._average]


class EMA(_Averaging):
    """Exponential moving average of the weights.

    At the updates start, start + every, ...: a <- a + (1 - decay) (w - a), in the weights' dtype;
    at the first of them a = w. Every weight of the model is averaged, moving statistics too.

    Parameters
    ----------
    decay : float
        In [0, 1): the average reaches back about every / (1 - decay) updates.
    every : int
        Updates between two terms. The loop calls Python after each batch, and a term costs three
        passes over the weights; for large models take more than 1.
    start : int
        The optimizer's iteration (from 1 after the first update) before which nothing is averaged.
    validate : bool
        Whether validation sees the averages. They are then in the model until all callbacks have
        had `on_epoch_end`, so that EarlyStopping and ModelCheckpoint keep what was validated; after
        it the model has its own weights again, to the bit.
    apply : bool
        Whether the model has the averages after a fit that came to its end or was stopped. After an
        exception it has its own weights.

    Attributes
    ----------
    count : int
        Terms in the average.

    Notes
    -----
    B. Polyak, A. Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control
    and Optimization 30, 1992.

    Examples
    --------
    >>> import bpcore as bp
    >>> ema = bp.callbacks.EMA(decay=0.99)
    """

    def __init__(
        self,
        decay: float = 0.999,
        every: int = 1,
        start: int = 0,
        validate: bool = True,
        apply: bool = True,
    ) -> None:
        self.decay = checks.real("decay", decay, 0.0, 1.0, open_high=True)
        self.every = checks.integer("every", every)
        self.start = checks.integer("start", start, 0)
        super().__init__(validate, apply)

    def reset(self) -> None:
        super().reset()
        self._last = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        if not self._resumed:
            self._last = int(self.model.optimizer.iterations)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._catch_up()

    def _catch_up(self) -> None:
        step = int(self.model.optimizer.iterations)
        if step == self._last:  # accumulate_steps: no update in this batch
            return
        self._last = step
        first = max(self.start, 1)
        if step >= first and (step - first) % self.every == 0:
            self._add(1.0 - self.decay)

    _decides = ("decay", "every", "start", "validate", "apply")

    def _fields(self, model: Any) -> dict[str, kinds.Kind]:
        return {**super()._fields(model), "last": kinds.Integer()}

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "last": self._last}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._last = int(state["last"])


class SWA(_Averaging):
    """Stochastic weight averaging: the mean of the weights at the ends of epochs.

    After the epochs e = start_epoch, start_epoch + every, ...: a <- a + (w - a) / (n + 1), n the
    terms so far, in the weights' dtype. Every weight is averaged, moving statistics too; those of a
    batch normalization only approximate the averaged network's: `Model.refresh_statistics`
    measures them anew.

    Parameters
    ----------
    start_epoch : int
        From 0; the first quarter to three quarters of the run is usual, with a constant or cyclic
        rate after it.
    every : int
        Epochs between two terms.
    validate, apply : bool
        As in `EMA`.

    Attributes
    ----------
    count : int
        Terms in the average.

    Notes
    -----
    P. Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018.

    Examples
    --------
    >>> import bpcore as bp
    >>> swa = bp.callbacks.SWA(start_epoch=15)
    """

    def __init__(
        self, start_epoch: int, every: int = 1, validate: bool = True, apply: bool = True
    ) -> None:
        self.start_epoch = checks.integer("start_epoch", start_epoch, 0)
        self.every = checks.integer("every", every)
        super().__init__(validate, apply)

    def reset(self) -> None:
        super().reset()
        self._epoch = self._last = -1

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch
        super().on_epoch_end(epoch, logs)

    def _catch_up(self) -> None:
        epoch = self._epoch
        if epoch == self._last:
            return
        self._last = epoch
        if epoch >= self.start_epoch and (epoch - self.start_epoch) % self.every == 0:
            self._add(1.0 / (self.count + 1))

    _decides = ("start_epoch", "every", "validate", "apply")

    def _fields(self, model: Any) -> dict[str, kinds.Kind]:
        epoch = kinds.Integer(-1)
        return {**super()._fields(model), "epoch": epoch, "last": epoch}

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "epoch": self._epoch, "last": self._last}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._epoch, self._last = int(state["epoch"]), int(state["last"])
