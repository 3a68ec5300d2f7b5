"""The model that a fit trains, as far as the fit knows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..base.counters import Counters
from .compilation import Compilation
from .engine import Engine


class Trainee(NamedTuple):
    """A built and compiled model with what it hands over.

    Attributes
    ----------
    model : Model
        Its public side.
    compilation : Compilation
    counters : Counters
    built : callable
        Gives the engine, which is another one when a checkpoint was taken up.
    renew : callable
        See `Model._renew`.
    evaluate : callable
        Loss and metrics of checked data.
    copied : callable
        See `inspection.parts.Parts`.
    """

    model: Any
    compilation: Compilation
    counters: Counters
    built: Callable[[], Engine]
    renew: Callable[[bool], None]
    evaluate: Callable[..., dict[str, Any]]
    copied: Callable[..., Any]
