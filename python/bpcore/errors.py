"""The exceptions of bpcore; every one is also a built-in exception, so both kinds of handler work.
Warnings are classes of their own, to be filtered by.

Each message says what came, what was expected and why, and what to do.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class ShapeError(ValueError):
    """An array's shape does not fit the model, the layer or another argument."""


class NotBuiltError(RuntimeError):
    """The model or layer has no weights yet, because its input shape is not known."""


class BusyError(RuntimeError):
    """The model is training (in another thread, or a callback called it from inside `fit`)."""


_PLACES = {
    "input": "input {!r}",
    "loss": "loss at output {!r}",
    "gradient": "gradient of a weight of layer {!r}",
    "penalty": "penalty of {!r}",
    "statistics": "running statistics of layer {!r}",
    "update": "update of layer {!r}",
    "curvature": "inverse of the curvature of layer {!r}",
}


def place(layer: str, tensor: str) -> str:
    """Layer and tensor in words."""
    return _PLACES.get(tensor, f"{tensor} of layer {{!r}}").format(layer) if layer else tensor


class TrainingDiverged(RuntimeError):
    """A number of the training became NaN or infinite; weights are as before the batch.

    The optimizer's state and running statistics are those of before the batch, too. It names the
    first such value in the order of computation: inputs, layer by layer weights and outputs, the
    loss, then backward delta by delta, the weights' gradients, and what the update would have
    left.

    Attributes
    ----------
    layer : str
        The layer's name; of an input or of the loss, the input's or output's name.
    tensor : {"input", "weight", "output", "loss", "penalty", "delta", "gradient", "statistics",\
 "update"}
        delta is dL/dz of the layer, gradient that of one of its weights; statistics are running
        ones, update stands for a weight (after its constraint) or a state of the optimizer; of a
        penalty, `layer` is the parameter.
    epoch : int
        The failing epoch, from 0; -1 outside of `fit`.
    batch : int
        The failing batch, counted in its epoch from 0.
    row : int
        The row of the batch; -1 for weights and their gradients, which have none.
    sample : int
        The row of the user's ``x`` that stood there, whatever the shuffle; -1 without one. For
        batches from an iterator it is the row of that batch.
    """

    def __init__(
        self,
        message: str,
        *,
        batch: int = -1,
        epoch: int = -1,
        layer: str = "",
        tensor: str = "",
        row: int = -1,
        sample: int = -1,
    ) -> None:
        super().__init__(message)
        self.batch, self.epoch = batch, epoch
        self.layer, self.tensor = layer, tensor
        self.row, self.sample = row, sample

    @property
    def where(self) -> str:
        """The place in words: ``"output of layer 'dense'"``."""
        return place(self.layer, self.tensor)


def flawed(info: Mapping[str, Any] | None, name: str = "x") -> str:
    """The core's report of an evaluation in words, with a remedy; `name`: what x is called."""
    if not info:
        return "a penalty of the weights is NaN or Inf"
    sample = int(info["sample"])
    where = f" at row {sample} of {name}" if sample >= 0 else ""
    words = f"the {place(str(info['layer']), str(info['tensor']))} is NaN or Inf{where}"
    return f"{words}; {_remedy(str(info['tensor']), None)}"


def _remedy(tensor: str, rate: float | None) -> str:
    if tensor == "weight":
        return (
            "it came with the weights and not from the data: give finite ones (set_weights, "
            "load_model), or make the model anew"
        )
    if tensor == "curvature":
        return f"raise KFAC's damping, or lower the learning rate (now {rate:.4g})"
    if rate is None or tensor == "statistics":
        return "scale the data there or the weights, or use dtype='float64'"
    return (
        f"lower the learning rate (now {rate:.4g}), scale the data, or clip gradients with "
        "compile(gradient_clip_norm=...)"
    )


def diverged(
    error: RuntimeError,
    epoch: int,
    rate: float | None,
    batch: int | None = None,
    rows: Sequence[int] | None = None,
) -> TrainingDiverged:
    """The core's report as an exception with a remedy; `batch`: its number, if the core has not,
    and `rows`: of x, those that it was given; `rate` is None where nothing is updated."""
    info = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], dict) else {}
    batch = int(info.get("batch", -1)) if batch is None else batch
    layer, tensor = str(info.get("layer", "")), str(info.get("tensor", "loss"))
    row, sample = int(info.get("row", -1)), int(info.get("sample", -1))
    if rows is not None and sample >= 0:
        sample = int(rows[sample])
    where = f"batch {batch}" if batch >= 0 else "the batch"
    if epoch >= 0:
        where = f"epoch {epoch + 1}, {where}"
    if row >= 0:
        where += f", row {row}" + (f" (row {sample} of x)" if sample >= 0 else "")
    what = "not finite" if rate is None else "training diverged"
    state = "nothing was changed" if rate is None else "the weights are those before this batch"
    became = f"became NaN or Inf in {where}, expected finite numbers"
    return TrainingDiverged(
        f"{what}: the {place(layer, tensor)} {became}; {state}; {_remedy(tensor, rate)}",
        batch=batch,
        epoch=epoch,
        layer=layer,
        tensor=tensor,
        row=row,
        sample=sample,
    )


class ConvergenceError(RuntimeError):
    """An iteration did not come to rest where it should have."""


class FormatError(ValueError):
    """A file is not a bpcore model, or is damaged."""


class CheckpointError(FormatError):
    """A checkpoint does not fit the model, the data or the arguments."""


class CheckpointWarning(UserWarning):
    """A checkpoint of a run could not be written; the last one stays, the training goes on."""


class CodeWarning(UserWarning):
    """A run goes on from a checkpoint with code that cannot be compared, or a changed callback."""


class MismatchWarning(UserWarning):
    """Parts that do not mean anything together: an end of the network, a loss, metrics, targets.

    Training goes on. Each is said once for a compiled model.
    """


class NotCompiledWarning(UserWarning):
    """A model was read from a file without what `compile` was told, because that was code."""


class ConvergenceWarning(UserWarning):
    """An iteration did not come to rest, and its last values are used."""


class ScheduleWarning(UserWarning):
    """A fit begins at a later epoch with a schedule that begins at its first update."""


class UndefinedMetricWarning(UserWarning):
    """A metric has no value for the data it saw, and is NaN."""


class NonFiniteWarning(RuntimeWarning):
    """`Model.evaluate`, or the validation of a fit, met NaN or Inf."""


def warn(message: str, category: type[Warning]) -> None:
    """A warning whose place is the line of the user's that called into the package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


__all__ = [
    "BusyError",
    "CheckpointError",
    "CheckpointWarning",
    "CodeWarning",
    "FormatError",
    "MismatchWarning",
    "NonFiniteWarning",
    "NotBuiltError",
    "NotCompiledWarning",
    "ScheduleWarning",
    "ShapeError",
    "TrainingDiverged",
    "UndefinedMetricWarning",
]
