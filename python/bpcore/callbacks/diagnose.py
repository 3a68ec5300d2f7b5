"""A callback that diagnoses the model while it trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..base import checks, kinds
from ..data.dataset import Dataset, subset
from ..diagnosis import diagnose, examine
from ..diagnosis.report import Diagnosis
from ..inspection.parts import Parts
from .base import Callback, Logs

_ROWS = 1024  # of the training data, if no sample is given


class Diagnose(Callback):
    """Record `Model.diagnose` before training and every few epochs.

    Parameters
    ----------
    every : int
        Epochs between records.
    x, y : optional
        The sample; by default up to 1024 rows, evenly spaced, of what `fit` trains on.

    Attributes
    ----------
    epochs : list of int
        How many epochs were done at each record; the first is that before training.
    records : list of Diagnosis
    last : Diagnosis or None
        The last record; it stays when a fit fails (`bpcore.TrainingDiverged`).

    Raises
    ------
    ValueError
        When `fit` begins: it gets batches instead of arrays, and there is no sample.

    Examples
    --------
    >>> import bpcore as bp
    >>> (x, y), _ = bp.datasets.load_digits(split=True)
    >>> layers = [bp.layers.Dense(16, "relu"), bp.layers.Dense(10)]
    >>> model = bp.Sequential(layers, seed=0)
    >>> model.compile("adam", loss="cross_entropy")
    >>> watch = bp.callbacks.Diagnose(every=2)
    >>> history = model.fit(x, y, epochs=4, verbose=0, callbacks=[watch])
    >>> watch.epochs, watch.last.healthy
    ([0, 2, 4], True)
    """

    def __init__(self, every: int = 1, x: Any = None, y: Any = None) -> None:
        self.every = checks.integer("every", every)
        if (x is None) != (y is None):
            missing = "y" if y is None else "x"
            raise TypeError(f"Diagnose: {missing} is missing, expected x and y, or neither")
        self.x, self.y = x, y
        self.epochs: list[int] = []
        self.records: list[Diagnosis] = []
        self._set_data(None, None)

    @property
    def last(self) -> Diagnosis | None:
        """The last record."""
        return self.records[-1] if self.records else None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self.x is None and self._train is None:
            raise ValueError(
                "Diagnose: fit got batches instead of arrays, expected a sample to look at; pass "
                "Diagnose(x=..., y=...)"
            )
        if not self.epochs:
            self._record(0, math.nan)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if (epoch + 1) % self.every == 0:
            self._record(epoch + 1, (logs or {}).get("val_loss", math.nan))

    def _record(self, epochs: int, held: float) -> None:
        self.records.append(self._look(held))
        self.epochs.append(epochs)

    def _look(self, held: float) -> Diagnosis:
        if self.x is not None:
            return diagnose(self._copied(), self.x, self.y, None, None)
        rows = slice(None, None, max(1, -(-self._train.n // _ROWS)))
        return examine(self._copied(), subset(self._train, rows), None, [], held)

    def _set_data(self, train: Dataset | None, copied: Callable[[], Parts] | None) -> None:
        self._train: Any = train
        self._copied: Any = copied

    def to_pandas(self) -> Any:
        """All records by layer, as a pandas DataFrame indexed by epochs done and layer."""
        try:
            import pandas as pd  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            raise ImportError("to_pandas needs pandas; run pip install pandas") from error
        frames = [record.to_pandas() for record in self.records]
        return pd.concat(frames, keys=self.epochs, names=["epochs", "layer"])

    def _fields(self, model: Any) -> dict[str, kinds.Kind]:
        record = kinds.Judged(Diagnosis.from_dict, "a diagnosis")
        return {"epochs": kinds.Items(kinds.Integer()), "records": kinds.Items(record)}

    def get_state(self) -> dict[str, Any]:
        """For checkpoints."""
        return {
            "epochs": list(self.epochs),
            "records": [record.to_dict() for record in self.records],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` gave."""
        self.epochs = [int(epoch) for epoch in state["epochs"]]
        self.records = [Diagnosis.from_dict(record) for record in state["records"]]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "model": None, "_train": None, "_copied": None}


__all__ = ["Diagnose"]
