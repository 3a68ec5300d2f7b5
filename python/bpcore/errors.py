"""The exceptions of bpcore; every one is also a built-in exception, so both kinds of handler work.

Each message says what came, what was expected and why, and what to do.
"""

from __future__ import annotations


class ShapeError(ValueError):
    """An array's shape does not fit the model, the layer or another argument."""


class NotBuiltError(RuntimeError):
    """The model or layer has no weights yet, because its input shape is not known."""


class BusyError(RuntimeError):
    """The model is training (in another thread, or a callback called it from inside `fit`)."""


class TrainingDiverged(RuntimeError):
    """A loss, activation or gradient became NaN or infinite; weights are as before the batch.

    Attributes
    ----------
    batch : int
        The failing batch, counted in its epoch from 0.
    epoch : int
        The failing epoch, from 0; -1 outside of `fit`.
    where : str
        ``"loss"``, a layer's name, or ``"gradient of <layer>"``.
    """

    def __init__(self, message: str, *, batch: int = -1, epoch: int = -1, where: str = "") -> None:
        super().__init__(message)
        self.batch = batch
        self.epoch = epoch
        self.where = where


class FormatError(ValueError):
    """A file is not a bpcore model, or is damaged."""


class CheckpointError(FormatError):
    """A checkpoint does not fit the model, the data or the arguments."""


__all__ = [
    "BusyError",
    "CheckpointError",
    "FormatError",
    "NotBuiltError",
    "ShapeError",
    "TrainingDiverged",
]
