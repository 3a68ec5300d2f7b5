"""What files of format 1 have otherwise, which version 0.1.0 wrote and which are read for ever.

They have code by its name alone, two moments of each weight in place of a sketch, and sums of
metrics as they were gathered then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array
from ..errors import warn
from ..files import save
from .engine import Engine
from .identity import APART, START, differences

_FORM = 2  # of what an epoch has gathered; without the number it is the first


def compare(
    model: Any, engine: Engine, was: Mapping[str, Any], now: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """As `identity.compare`, of what such a file has."""
    later = (*APART, "arguments of callbacks")
    told = {key: value for key, value in now.items() if key not in later}
    try:
        save.describe(model)
    except TypeError:
        labels = [layer.label for layer in model.layers]
        told["model"] = {"layers": labels, "compute": model.compute}
    if not engine.by_chance and was.get(START) is not None:
        told[START] = {p.name: _moments(p.value) for p in model.weights}
    else:
        was = {key: value for key, value in was.items() if key != START}
    said = [f"code of {place}: it stands in no file of format 1" for place in now["code"]]
    return list(differences(dict(was), told)), said


def _moments(value: Array) -> list[float]:
    """Mean and mean square."""
    wide = value.astype(np.float64)
    return [float(wide.mean()), float((wide * wide).mean())] if value.size else [0.0, 0.0]


def gathered(value: Any, specs: Sequence[Any], sizes: list[list[int]]) -> Any:
    """What an epoch had gathered, as it is gathered now; ValueError for what cannot be that."""
    if not isinstance(value, dict):
        return value
    if "form" in value:
        if value["form"] != _FORM:
            raise ValueError(f"gathered: form {checks.describe(value['form'])}, expected {_FORM}")
        return {key: item for key, item in value.items() if key != "form"}
    pairs = zip(value["metrics"], specs, sizes, strict=True)
    rows = [[_of_today(*item) for item in zip(*row, strict=True)] for row in pairs]
    return {**value, "metrics": rows}


def _of_today(state: Any, spec: tuple[str, dict[str, Any]], size: int) -> Any:
    """Running sums of a metric as the first files have them, as they are now."""
    kind, options = spec
    if kind == "counts":  # [true, predicted] by class: hits, predicted and true
        classes = math.isqrt(np.size(state))
        square = np.reshape(state, (classes, classes))
        return np.concatenate([np.diag(square), square.sum(axis=0), square.sum(axis=1)])
    if kind == "auc" and np.size(state) != size and np.size(state) % 6 == 0:
        # each of two columns by itself: score, weight, positive
        a, weight, first, b, _, second = np.reshape(state, (-1, 6)).T
        both = [a, b, weight, first, second] if options["labels"] else [b - a, weight, second]
        return np.stack(both, axis=1).ravel()
    return state


def warn_of_metrics(file: str, value: Any, told: Mapping[str, Any]) -> None:
    """In the first form all metrics were weighted."""
    weighted = any(told["data"]["sample_weight"])
    if value and "form" not in value and weighted and any(value["metrics"]):
        warn(
            f"{file}: the metrics of the epoch in progress were weighted up to there, and are not "
            "from now on: compile has weighted_metrics for those that are to be; this epoch's are "
            "of both kinds",
            UserWarning,
        )
