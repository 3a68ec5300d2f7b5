"""Callbacks: what `fit` calls at its stations, and the History it returns."""

from __future__ import annotations

from .averaging import EMA, SWA
from .base import Callback, LambdaCallback
from .diagnose import Diagnose
from .history import History
from .limits import Goal, TerminateOnNaN, TimeLimit
from .monitor import EarlyStopping, ModelCheckpoint
from .rates import LearningRateScheduler, ReduceLROnPlateau
from .writers import CSVLogger, TensorBoard

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
