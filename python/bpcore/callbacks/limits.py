"""Callbacks that end a fit: after a time, or quietly when it diverges."""

from __future__ import annotations

import time
from typing import Any

from ..base import checks, kinds
from ..base.progress import say
from ..errors import TrainingDiverged
from .base import Logs, Stateful
from .monitor import direction


class TimeLimit(Stateful):
    """Stop training after some seconds.

    Looked at between slices of at most 50 ms, or batches that take longer, without making the loop
    any slower. The epoch then ends early: validation and `on_epoch_end` still come. The time spent
    is part of a checkpoint, so that a run which is killed and resumed has one limit in all.

    Parameters
    ----------
    seconds : float
    verbose : {0, 1}

    Examples
    --------
    >>> import bpcore as bp
    >>> limit = bp.callbacks.TimeLimit(3600)
    """

    def __init__(self, seconds: float, verbose: int = 0) -> None:
        self.seconds = checks.real("seconds", seconds, 0.0, open_low=True)
        self.verbose = checks.integer("verbose", verbose, 0, 1)
        self.reset()

    def reset(self) -> None:
        self._start = time.monotonic()
        self.stopped = False

    def on_train_slice_end(self) -> None:
        if not self.stopped and time.monotonic() - self._start >= self.seconds:
            self.stopped = self.model.stop_training = True
            if self.verbose:
                say(f"time limit of {self.seconds:g} s reached")

    def _fields(self, model: Any) -> dict[str, kinds.Kind]:
        return {"spent": kinds.Real(0.0)}

    def get_state(self) -> dict[str, Any]:
        return {"spent": time.monotonic() - self._start}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._start -= float(state["spent"])


class Goal(Stateful):
    """Stop training when a number of the logs has reached a goal.

    Parameters
    ----------
    monitor : str
        Its name in the logs: ``"loss"``, ``"val_accuracy"``, ...
    value : float
        The goal.
    mode : {"auto", "min", "max"}
        Whether the number is to fall to the goal or to rise to it; "auto" goes by its name, as in
        `EarlyStopping`.
    verbose : {0, 1}

    Attributes
    ----------
    reached : bool
        Whether the last fit reached it.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> model = bp.Sequential([bp.layers.Dense(1)], seed=0)
    >>> model.compile(bp.optimizers.SGD(0.1), "mse")
    >>> goal = bp.callbacks.Goal("loss", 1e-3)
    >>> history = model.fit(np.ones((8, 1)), np.ones(8), epochs=999, callbacks=[goal], verbose=0)
    >>> goal.reached, history.history["loss"][-1] <= 1e-3 < history.history["loss"][-2]
    (True, True)
    """

    _decides = ("monitor", "value", "mode")

    def __init__(self, monitor: str, value: float, mode: str = "auto", *, verbose: int = 0) -> None:
        self.monitor = monitor
        self.value = checks.real("value", value)
        self.mode = direction(monitor, checks.choice("mode", mode, ("auto", "min", "max")))
        self.verbose = checks.integer("verbose", verbose, 0, 1)
        self.reset()

    def reset(self) -> None:
        self.reached = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        known = self.params.get("logs", ())
        if self.params.get("logs_complete", False) and self.monitor not in known:
            raise checks.unknown("monitor of Goal:", self.monitor, known)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = (logs or {}).get(self.monitor)
        if value is None:  # validation may be rarer
            return
        if value <= self.value if self.mode == "min" else value >= self.value:
            self.reached = self.model.stop_training = True
            if self.verbose:
                say(f"{self.monitor} = {value:.4g} has reached {self.value:g} in epoch {epoch + 1}")


class TerminateOnNaN(Stateful):
    """End the fit quietly when a loss, activation or gradient becomes NaN or infinite.

    Without it `fit` raises `TrainingDiverged`. With it the failing epoch is given up: the weights
    are those before the failing batch (or the best ones, beside an `EarlyStopping`), the History
    has the epochs before, `on_train_end` is called, and `error` holds the exception.

    Parameters
    ----------
    verbose : {0, 1}
        Whether to print what happened.

    Attributes
    ----------
    error : TrainingDiverged or None

    Examples
    --------
    >>> import bpcore as bp
    >>> guard = bp.callbacks.TerminateOnNaN()
    """

    def __init__(self, verbose: int = 1) -> None:
        self.verbose = checks.integer("verbose", verbose, 0, 1)
        self.reset()

    def reset(self) -> None:
        self.error: TrainingDiverged | None = None

    def on_train_diverged(self, error: TrainingDiverged) -> bool:
        self.error = error
        self.model.stop_training = True
        if self.verbose:
            say(str(error))
        return True
