"""Callbacks that end a fit: after a time, or quietly when it diverges."""

from __future__ import annotations

import time
from typing import Any

from ..base import checks, kinds
from ..base.progress import say
from ..errors import TrainingDiverged
from .base import Stateful


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
