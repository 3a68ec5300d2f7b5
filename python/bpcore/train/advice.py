"""What goes together: ends of a network, losses, metrics, targets and batches.

What is not defined is an error. What is, but means nothing, is said once for a compiled model, as a
`MismatchWarning` with the remedy; training goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import activations, metrics
from ..base.memory import Array
from ..graph import End, Lowering
from ..layers import Normalization
from ..losses import CoreLoss

# Ends of a network whose values cannot be the probabilities a cross entropy takes logarithms of.
_RECTIFIERS = {"relu", "leaky_relu", "relu6", "elu", "selu", "celu", "gelu", "gelu_tanh", "silu"}
_NO_PROBABILITY = _RECTIFIERS | {"mish", "softplus", "softsign", "tanh", "exponential"}
_UNFIT = {
    "cross_entropy": _NO_PROBABILITY | {"hard_sigmoid", "sigmoid"},
    "binary_cross_entropy": _NO_PROBABILITY | {"log_softmax"},
}
# Losses whose best output is the target itself, and those whose targets are distributions.
_POINTWISE = {"mean_squared_error", "half_squared_error", "mean_absolute_error", "huber"}
_POINTWISE |= {"log_cosh", "poisson", "quantile", "gaussian_nll"}
_DISTRIBUTIONS = {"cross_entropy", "kl_divergence"}
_ROUNDING = 1e-6  # by how much a target may be out of reach: as far as rounding takes it
_CHUNK = 65536  # rows looked at a time, so that a memmap is not read as a whole


def kind_of(loss: Any) -> str:
    """The name of a built-in loss; nothing for one in Python."""
    return loss.kind if isinstance(loss, CoreLoss) else ""


def refuse(loss: Any, end: End) -> None:
    """Raise for a loss that takes logarithms of what are no probabilities."""
    kind = kind_of(loss)
    if end.op in _UNFIT.get(kind, ()):
        wanted = "softmax" if kind == "cross_entropy" else "sigmoid"
        raise ValueError(
            f"loss {kind!r} does not fit output {end.name!r}, which ends in {end.op!r}: expected "
            f"{wanted}, or a linear output (logits); change the last activation or the loss"
        )


Advice = tuple[str, str]  # what it is about, which is said once, and the words


# ---- ends and losses -----------------------------------------------------------------------------


def of_end(loss: Any, end: End) -> Iterator[Advice]:
    """What a loss makes of an end that it was not meant for."""
    for words in _of_end(loss, end):
        yield f"end {end.name}", words


def _of_end(loss: Any, end: End) -> Iterator[str]:
    kind, what = kind_of(loss), f"output {end.name!r} ends in {_words(end)}"
    low, high = bounds(end)
    known = end.function in activations.NAMES
    if end.function == "softmax" and end.shape[-1] == 1:
        yield (
            f"{what} of one unit, which is always 1; end in a sigmoid with the loss "
            "'binary_cross_entropy', or in two units"
        )
    elif kind == "binary_cross_entropy" and end.function == "softmax":
        yield (
            f"{what}, whose values sum to 1, but the loss {kind!r} takes each for a label of its "
            "own; use the loss 'cross_entropy' for one class a row, or end in a sigmoid"
        )
    elif kind == "kl_divergence" and known and end.function != "softmax":
        yield (
            f"{what}, but the loss {kind!r} compares distributions, whose values are positive and "
            "sum to 1; end in a softmax"
        )
    elif kind == "poisson" and known and low < 0:
        yield (
            f"{what}, which may be negative, but the loss {kind!r} takes the logarithm of a rate; "
            "end in 'exponential' or 'softplus'"
        )
    elif kind == "hinge" and (low > -1 or high < 1):
        yield (
            f"{what}, between {low:g} and {high:g}, but the loss {kind!r} pushes values beyond -1 "
            "and 1; end in a linear layer, or use 'binary_cross_entropy'"
        )


def _words(end: End) -> str:
    return "a linear layer" if end.function == "linear" else repr(end.function)


def bounds(end: End) -> tuple[float, float]:
    """Between which numbers the values of an output lie."""
    low, high = activations.bounds(end.function)
    return (-end.alpha if end.function in ("elu", "celu") else low), high


# ---- targets -------------------------------------------------------------------------------------


def of_targets(
    loss: Any,
    end: End,
    context: metrics.Context,
    asked: list[metrics.CoreMetric],
    y: Array,
    name: str,
) -> Iterator[Advice]:
    """What targets (no class labels) mean to loss and metrics; `name`: what the user calls them."""
    kind = kind_of(loss)
    if kind in _POINTWISE:
        yield from _reach(end, y, name)
    if kind == "binary_cross_entropy" or kind in _DISTRIBUTIONS:
        return  # refused already, or soft
    for metric in asked:
        if metric.classifies:
            columns = metric.dense_target or context.labels or context.width == 1
            flaw = _no_bits(y, kind, name) if columns else _no_class(y, name)
            if flaw:
                yield f"classes {end.name}", f"metric {metric.name!r} {flaw}"
                return


def watches(loss: Any, end: End, asked: list[metrics.CoreMetric]) -> bool:
    """Whether `of_targets` may have something to say of any targets."""
    bounded = kind_of(loss) in _POINTWISE and bounds(end) != (-math.inf, math.inf)
    return bounded or any(metric.classifies for metric in asked)


def _reach(end: End, y: Array, name: str) -> Iterator[Advice]:
    low, high = bounds(end)
    if y.size == 0 or (low == -math.inf and high == math.inf):
        return
    least, most = float(y.min()), float(y.max())
    if least >= low - _ROUNDING and most <= high + _ROUNDING * max(1.0, abs(high)):
        return
    words = (
        f"{name} lies between {least:g} and {most:g}, but output {end.name!r} ends in "
        f"{end.function!r}, which gives {low:g} to {high:g}; end in a linear layer, or scale the "
        "targets into that range"
    )
    yield f"reach {end.name}", words


def _parts(y: Array) -> Iterator[tuple[int, Array]]:
    for start in range(0, len(y), _CHUNK):
        yield start, y[start : start + _CHUNK]


def _no_bits(y: Array, kind: str, name: str) -> str:
    """Why the targets are not true or false, if they are not."""
    false = -1 if kind == "hinge" else 0
    for start, part in _parts(y):
        other = (part != false) & (part != 1)
        if other.any():
            where = tuple(np.argwhere(other)[0])
            return (
                f"asks of each target whether it is {false} or 1, but {name} holds {part[where]} "
                f"at row {start + int(where[0])}; use 'mae', 'rmse' or 'r2' for a regression, or "
                f"encode the classes as {false} and 1"
            )
    return ""


def _no_class(y: Array, name: str) -> str:
    """Why the rows have no class each, if they have none: one-hot, or a distribution."""
    for start, part in _parts(y):
        largest = part.max(axis=-1, keepdims=True)
        several = (part == largest).sum(axis=-1) > 1
        two_valued = ((part == largest) | (part == part.min(axis=-1, keepdims=True))).all(axis=-1)
        sums = part.sum(axis=-1, dtype=np.float64)
        shares = (part.min(axis=-1) >= 0) & (np.abs(sums - 1) < 1e-3)
        flawed = several | ~((two_valued & (largest[..., 0] == 1)) | shares)
        if flawed.any():
            row = start + int(np.argwhere(flawed)[0][0])
            size = y.shape[-1]
            shown = np.array2string(y[row], precision=4, threshold=8, edgeitems=3)
            return (
                f"takes the largest of {size} targets for the class of a row, but {name} is "
                f"{shown} at row {row}; use 'mae', 'rmse' or 'r2' for a regression, and for "
                "several labels at once the loss 'binary_cross_entropy' behind a sigmoid"
            )
    return ""


# ---- layers and batches --------------------------------------------------------------------------


def of_training(low: Lowering, layers: list[Any], rows: int) -> Iterator[Advice]:
    """What a training with batches of `rows` rows makes of the layers."""
    nodes = zip(low.nodes, low.shapes, strict=True) if rows == 1 else ()
    for (*_, attrs, name), shape in nodes:
        if attrs.get("mode") == "batch" and math.prod(shape[:-1]) == 1:
            words = (
                f"layer {name!r} normalizes batches of one row, which makes 0 (then beta) of "
                "whatever the row is: nothing gets through; use batches of 16 rows or more, or "
                "LayerNormalization"
            )
            yield f"one row {name}", words
    for layer in layers:
        if isinstance(layer, Normalization) and not layer.adapted:
            words = (
                f"layer {layer.name!r} has no statistics and hands values on as they are; call its "
                "adapt(x) with the training data before fit, or give it mean and variance"
            )
            yield f"adapt {layer.name}", words
