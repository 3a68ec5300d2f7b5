"""bpcore: train and run neural networks on a CPU, fast and to the same bits.

>>> import bpcore as bp
>>> (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
>>> model = bp.Sequential([bp.layers.Dense(32, activation="relu"), bp.layers.Dense(10)], seed=0)
>>> model.compile(optimizer="adam", loss="cross_entropy", metrics=["accuracy"])
>>> history = model.fit(x, y, epochs=5, verbose=0)
>>> model.evaluate(xt, yt)["accuracy"] > 0.8
True
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from ._load import load_core as _load_core

_load_core()

from . import _core as _core  # noqa: E402
from ._version import __version__  # noqa: E402

_core.select_tier(os.environ.get("BPCORE_ISA", ""))

from .base import threads as _threads  # noqa: E402
from .base.seeding import set_seed  # noqa: E402
from .base.threads import get_num_threads, set_num_threads, threads  # noqa: E402
from .errors import (  # noqa: E402
    BusyError,
    CheckpointError,
    CheckpointWarning,
    CodeWarning,
    FormatError,
    NotBuiltError,
    ShapeError,
    TrainingDiverged,
)
from .inspection.gradients import Gradients  # noqa: E402
from .layers.input import Input  # noqa: E402
from .model.model import Model  # noqa: E402
from .model.sequential import Sequential  # noqa: E402

_threads.start()

if TYPE_CHECKING:
    from . import (
        activations,
        callbacks,
        constraints,
        credit,
        datasets,
        diagnosis,
        errors,
        initializers,
        interop,
        layers,
        losses,
        metrics,
        ops,
        optimizers,
        regularizers,
        schedules,
    )
    from .base.config import show_config
    from .inspection.rate_finder import LearningRateFinder
    from .model.loading import load_checkpoint, load_model

_MODULES = (
    "activations",
    "callbacks",
    "constraints",
    "credit",
    "datasets",
    "diagnosis",
    "errors",
    "initializers",
    "interop",
    "layers",
    "losses",
    "metrics",
    "ops",
    "optimizers",
    "regularizers",
    "schedules",
)
_NAMES = {
    "LearningRateFinder": "inspection.rate_finder",
    "load_checkpoint": "model.loading",
    "load_model": "model.loading",
    "show_config": "base.config",
}

__all__ = [
    "BusyError",
    "CheckpointError",
    "CheckpointWarning",
    "CodeWarning",
    "FormatError",
    "Gradients",
    "Input",
    "LearningRateFinder",
    "Model",
    "NotBuiltError",
    "Sequential",
    "ShapeError",
    "TrainingDiverged",
    "__version__",
    "activations",
    "callbacks",
    "constraints",
    "credit",
    "datasets",
    "diagnosis",
    "errors",
    "get_num_threads",
    "initializers",
    "interop",
    "layers",
    "load_checkpoint",
    "load_model",
    "losses",
    "metrics",
    "ops",
    "optimizers",
    "regularizers",
    "schedules",
    "set_num_threads",
    "set_seed",
    "show_config",
    "threads",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _NAMES:
        value = getattr(importlib.import_module(f".{_NAMES[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
