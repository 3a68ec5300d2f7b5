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

import os
from typing import TYPE_CHECKING

from ._load import load_core as _load_core

_load_core()

from . import _core as _core  # noqa: E402
from ._version import __version__  # noqa: E402

_core.select_tier(os.environ.get("BPCORE_ISA", ""))
_core.select_bfloat16(os.environ.get("BPCORE_BFLOAT16", ""))

from .base import threads as _threads  # noqa: E402
from .base.lazy import names_of as _names_of  # noqa: E402
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
        plotting,
        regularizers,
        schedules,
        tabular,
    )
    from .base.config import show_config
    from .base.seeding import set_seed
    from .inspection.gradients import Gradients
    from .inspection.rate_finder import LearningRateFinder
    from .layers.input import Input
    from .model.loading import load_checkpoint, load_model
    from .model.model import Model
    from .model.sequential import Sequential

# The rest is imported at first use: half of an import's time is spent on what a program never asks.
_NAMES = {
    "Gradients": "inspection.gradients",
    "Input": "layers.input",
    "LearningRateFinder": "inspection.rate_finder",
    "Model": "model.model",
    "Sequential": "model.sequential",
    "load_checkpoint": "model.loading",
    "load_model": "model.loading",
    "set_seed": "base.seeding",
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
    "plotting",
    "regularizers",
    "schedules",
    "set_num_threads",
    "set_seed",
    "show_config",
    "tabular",
    "threads",
]


if not TYPE_CHECKING:  # to a type checker a name that is not there is an error
    __getattr__, __dir__ = _names_of(__name__, __all__, _NAMES)
