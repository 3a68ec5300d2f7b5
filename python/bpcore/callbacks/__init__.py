"""Callbacks: what `fit` calls at its stations, and the History it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.lazy import names_of

if TYPE_CHECKING:
    from .averaging import EMA, SWA
    from .base import Callback, LambdaCallback
    from .diagnose import Diagnose
    from .history import History
    from .limits import Goal, TerminateOnNaN, TimeLimit
    from .monitor import EarlyStopping, ModelCheckpoint
    from .rates import LearningRateScheduler, ReduceLROnPlateau
    from .writers import CSVLogger, TensorBoard

_NAMES = {
    "EMA": "averaging",
    "SWA": "averaging",
    "CSVLogger": "writers",
    "Callback": "base",
    "Diagnose": "diagnose",
    "EarlyStopping": "monitor",
    "Goal": "limits",
    "History": "history",
    "LambdaCallback": "base",
    "LearningRateScheduler": "rates",
    "ModelCheckpoint": "monitor",
    "ReduceLROnPlateau": "rates",
    "TensorBoard": "writers",
    "TerminateOnNaN": "limits",
    "TimeLimit": "limits",
}

__all__ = [
    "EMA",
    "SWA",
    "CSVLogger",
    "Callback",
    "Diagnose",
    "EarlyStopping",
    "Goal",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
    "TimeLimit",
]

if not TYPE_CHECKING:  # to a type checker a name that is not there is an error
    __getattr__, __dir__ = names_of(__name__, __all__, _NAMES)
