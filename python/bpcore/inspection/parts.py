"""A model as those see it who look into it: its parts, which `Model` hands over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Parts(NamedTuple):
    """What a built and compiled model runs with.

    Attributes
    ----------
    engine : train.engine.Engine
        Network, data signature and trainers.
    compilation : train.compilation.Compilation
        Optimizer, losses and metrics.
    copied : callable
        Gives the parts of a copy of the model as it is then, which nobody else uses; what it is
        called with goes to the copy's `compile`.
    """

    engine: Any
    compilation: Any
    copied: Callable[..., Parts]
