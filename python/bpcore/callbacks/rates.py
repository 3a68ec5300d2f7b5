"""Callbacks that set the optimizer's learning rate between epochs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..base import checks, kinds
from ..base.progress import say
from .base import Logs, Stateful
from .monitor import Monitor


def rate_of(callback: Any) -> float:
    """The learning rate of the callback's model, which must be a number and no schedule."""
    rate = callback.model.optimizer.learning_rate
    if not isinstance(rate, float):
        raise TypeError(
            f"{type(callback).__name__} sets the learning rate, but the optimizer has the schedule "
            f"{checks.describe(rate)}; give it a number, or leave out this callback"
        )
    return rate


class ReduceLROnPlateau(Monitor):
    """Multiply the learning rate by `factor` when a monitored number has stopped improving.

    eta <- max(factor eta, min_lr), after `patience` epochs without improvement; then `cooldown`
    epochs are not counted. ``"learning_rate"`` is added to the logs.

    Parameters
    ----------
    monitor : str
    factor : float
        In (0, 1).
    patience : int
    verbose : {0, 1}
    mode : {"auto", "min", "max"}
    min_delta : float
        An improvement must be larger than this.
    cooldown : int
    min_lr : float

    Raises
    ------
    TypeError
        In fit, before the first epoch, if the optimizer has a schedule.

    Notes
    -----
    Decisions are those of Keras 3.

    Examples
    --------
    >>> import bpcore as bp
    >>> slower = bp.callbacks.ReduceLROnPlateau(factor=0.5, patience=3)
    """

    adds = ("learning_rate",)

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, verbose)
        self.factor = checks.real("factor", factor, 0.0, 1.0, open_low=True, open_high=True)
        self.patience = checks.integer("patience", patience, 0)
        self.cooldown = checks.integer("cooldown", cooldown, 0)
        self.min_lr = checks.real("min_lr", min_lr, 0.0)
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.wait = 0
        self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        rate_of(self)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        rate = rate_of(self)
        if logs is not None:
            logs["learning_rate"] = rate
        current = self.value(epoch, logs)
        if current is None:
            return
        self.cooldown_counter = max(0, self.cooldown_counter - 1)
        if self.improves(current, self.best):
            self.best, self.wait = current, 0
        elif not self.cooldown_counter:
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                self._reduce(epoch, rate)

    def _reduce(self, epoch: int, rate: float) -> None:
        new = max(rate * self.factor, self.min_lr)
        if new == 0.0:  # after some 300 reductions; an optimizer's rate must be > 0
            return
        self.model.optimizer.learning_rate = new
        self.cooldown_counter, self.wait = self.cooldown, 0
        if self.verbose:
            say(f"epoch {epoch + 1}: learning rate reduced to {new:.4g}")

    _decides = ("monitor", "factor", "patience", "mode", "min_delta", "cooldown", "min_lr")
    _sets_rate = True

    def _fields(self, model: Any) -> dict[str, kinds.Kind]:
        count = kinds.Integer()
        return {**super()._fields(model), "wait": count, "cooldown": count}

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "wait": self.wait, "cooldown": self.cooldown_counter}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.wait, self.cooldown_counter = int(state["wait"]), int(state["cooldown"])


class LearningRateScheduler(Stateful):
    """Set the learning rate at the beginning of each epoch.

    ``"learning_rate"`` is added to the logs. For a rate per step give the optimizer a schedule of
    `bpcore.schedules` instead.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, rate) -> float`` of the epoch from 0 and the present rate, or
        ``schedule(epoch)``.
    verbose : {0, 1}

    Raises
    ------
    TypeError
        In fit, before the first epoch, if the optimizer has a schedule.
    ValueError
        In fit, if the schedule gives something else than a number > 0.

    Examples
    --------
    >>> import bpcore as bp
    >>> halve = bp.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)
    """

    adds = ("learning_rate",)

    _decides = ("schedule",)
    _sets_rate = True

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(
                f"schedule must be a function of epoch and rate, got {checks.describe(schedule)}"
            )
        self.schedule = schedule
        self.verbose = checks.integer("verbose", verbose, 0, 1)
        self._takes_rate = _arguments(schedule) != 1

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        rate_of(self)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        rate = rate_of(self)
        value = self.schedule(epoch, rate) if self._takes_rate else self.schedule(epoch)
        try:
            new = checks.real("learning rate", value, 0.0, open_low=True)
        except (TypeError, ValueError) as error:
            raise ValueError(f"schedule at epoch {epoch}: {error}") from None
        self.model.optimizer.learning_rate = new
        if self.verbose:
            say(f"epoch {epoch + 1}: learning rate {new:.4g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = rate_of(self)


def _arguments(function: Callable[..., Any]) -> int:
    """Number of positional arguments without a default; 2 where it is not known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 2
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 2
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in positional if p.default is p.empty]
    return len(needed) if needed else len(positional)
