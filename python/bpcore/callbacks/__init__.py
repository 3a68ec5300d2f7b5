"""Callbacks: what `fit` calls at its stations, and the History it returns."""

from __future__ import annotations

from .base import Callback, LambdaCallback
from .history import History

__all__ = ["Callback", "History", "LambdaCallback"]
