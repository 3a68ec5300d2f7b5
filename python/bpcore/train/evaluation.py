"""Loss and metrics on data, without training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..data.batches import Batches
from ..data.dataset import Dataset, batch_size_of
from ..errors import NonFiniteWarning, flawed, warn
from .compilation import Compilation
from .engine import Engine
from .measures import Logs

SLICE = 0.05  # seconds in the core between looks at signals, and at the bar


def of_arrays(
    engine: Engine,
    compilation: Compilation,
    item: Dataset,
    batch_size: int | None,
    prefix: str = "",
    steps: int | None = None,
) -> Logs:
    """All of a data set, or its first `steps` batches."""
    trainer = engine.of(item).trainer("eval", compilation)
    compilation.measures.reset()
    size = batch_size_of(batch_size, item.n)
    if size == item.n:  # one batch
        trainer.train_step(item.xs, item.ys, item.told, 0.0, update=False)
        return _logs(compilation, trainer, prefix)
    trainer.set_data(item.xs, item.ys, item.told)
    trainer.start_epoch(size, shuffle=False, update=False)
    end = trainer.n_batches if steps is None else min(steps, trainer.n_batches)
    rate = np.array([0.0])
    try:
        while trainer.batch < end:
            trainer.run(rate, end - trainer.batch, SLICE)
    finally:
        trainer.drop_data()
    return _logs(compilation, trainer, prefix)


def of_batches(
    engine: Engine,
    compilation: Compilation,
    batches: Batches,
    prefix: str = "",
    steps: int | None = None,
) -> Logs:
    """Of batches that come one by one: all, or the next `steps` of them."""
    trainer: Any = None
    compilation.measures.reset()
    first = True
    batches.restart()  # each evaluation sees the same batches, where that is possible
    for item in batches.epoch(steps):
        if not compilation.looked:
            compilation.look_at(item.ys)
        before, trainer = trainer, engine.of(item).trainer("eval", compilation)
        if before is not None and trainer is not before:
            trainer.take_results(before)
        trainer.train_step(item.xs, item.ys, item.told, 0.0, update=False, reset=first)
        first = False
    if first:
        raise ValueError(
            f"{batches.name} gave no batch, expected at least 1: an iterator is used up "
            "when it is read; make it longer, or pass an object that starts anew at each iter()"
        )
    return _logs(compilation, trainer, prefix)


def _logs(compilation: Compilation, trainer: Any, prefix: str) -> Logs:
    """The numbers, and a word where they are none."""
    results = trainer.results()
    logs = compilation.measures.logs(results, prefix)
    if not math.isfinite(logs[f"{prefix}loss"]):
        where = "validation x" if prefix else "x"
        warn(f"{prefix}loss is not finite: {flawed(results.get('flaw'), where)}", NonFiniteWarning)
    return logs
