"""Callbacks that write the numbers of a fit to files."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

from ..base import checks, kinds, optional
from ..files import atomic
from .base import Logs, Stateful

_MISSING = "NA"


class CSVLogger(Stateful):
    """Write a line per epoch to a CSV file: the epoch (from 0), then the logs by name.

    Numbers are written so that reading them gives the same bits, lists of them in brackets; what an
    epoch lacks is ``NA``.
    Each line is in the file when its epoch ends. A run that is resumed from a checkpoint goes on
    after the line of that checkpoint's last epoch.

    Parameters
    ----------
    filename : str or path
    separator : str
        One character.
    append : bool
        Whether to go on with an existing file; else it is replaced at the first epoch's end.

    Raises
    ------
    FileNotFoundError
        In fit, before the first epoch, if there is no such folder.

    Examples
    --------
    >>> import bpcore as bp
    >>> log = bp.callbacks.CSVLogger("training.csv")
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        if not isinstance(separator, str) or len(separator) != 1 or separator in '\r\n"':
            raise ValueError(
                f"separator must be one character like ',', got {checks.describe(separator)}"
            )
        self.filename = checks.path(filename, "filename")
        self.separator = separator
        self.append = checks.boolean("append", append)
        self.reset()

    def reset(self) -> None:
        self._rows = 0  # below the header
        self._columns: list[str] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        atomic.check_writable(self.filename, "CSVLogger")
        if self.append and not self._resumed and os.path.exists(self.filename):
            self._rows = max(0, len(self._read()) - 1)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        atomic.check_writable(self.filename, "CSVLogger")  # a pipe in its place would block
        self._open()
        known = self._columns
        new = [key for key in (logs if known else self._expected(logs)) if key not in known]
        if new or not known:
            self._widen([*(known or ["epoch"]), *new])
        row = {**{key: _cell(value) for key, value in logs.items()}, "epoch": str(epoch)}
        line = self._lines([[row.get(key, _MISSING) for key in self._columns]])
        with open(self.filename, "a", newline="", encoding="utf-8") as file:
            file.write(line)
        self._rows += 1

    def _expected(self, logs: Logs) -> list[str]:
        """Columns, with those of a validation that only later epochs have."""
        names = list(logs)
        later = getattr(self, "params", {}).get("validation", False)
        if later and not any(name.startswith("val_") for name in names):
            names += [f"val_{name}" for name in names if name != "learning_rate"]
        return names

    def _open(self) -> None:
        """Make the file what it was after the last line: of this fit, or of the one resumed."""
        if self._columns or not os.path.exists(self.filename):
            return
        rows = self._read()
        kept = rows[: self._rows + 1] if self._rows or self.append else []
        if kept != rows:
            atomic.write_atomically(self.filename, self._lines(kept).encode())
        self._columns = kept[0] if kept else []

    def _read(self) -> list[list[str]]:
        with open(self.filename, newline="", encoding="utf-8") as file:
            return list(csv.reader(file, delimiter=self.separator))

    def _lines(self, rows: list[list[str]]) -> str:
        text = io.StringIO()
        csv.writer(text, delimiter=self.separator, lineterminator="\n").writerows(rows)
        return text.getvalue()

    def _widen(self, columns: list[str]) -> None:
        """Write the header; rows that are there get NA in the new columns."""
        rows = self._read()[1:] if self._columns else []
        rows = [row + [_MISSING] * (len(columns) - len(row)) for row in rows]
        text = self._lines([columns, *rows])
        atomic.write_atomically(self.filename, text.encode())
        self._columns = columns

    def _fields(self, model: Any) -> dict[str, kinds.Kind]:
        return {"rows": kinds.Integer()}

    def get_state(self) -> dict[str, Any]:
        return {"rows": self._rows}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._rows = int(state["rows"])


def _cell(value: Any) -> str:
    """A number of the logs, or a list of them."""
    several = isinstance(value, list)
    return repr([float(v) for v in value]) if several else repr(float(value))


def _scalars(logs: Logs) -> dict[str, float]:
    """The logs with lists taken apart, as TensorBoard wants them."""
    scalars = {}
    for key, value in logs.items():
        if isinstance(value, list):
            scalars.update({f"{key}_{k}": v for k, v in enumerate(value)})
        else:
            scalars[key] = value
    return scalars


class TensorBoard(Stateful):
    """Write losses, metrics and weights for TensorBoard, through the package tensorboardX.

    Scalars ``epoch_loss``, ``epoch_<metric>`` and ``epoch_learning_rate`` go to the folders
    ``train`` and ``validation`` of `log_dir`, as Keras has it. Needs the extra ``tensorboard``;
    look at them with ``tensorboard --logdir logs``.

    Parameters
    ----------
    log_dir : str or path
    histogram_freq : int
        Epochs between histograms of all weights; 0 for none.
    update_freq : "epoch" or int
        An int n adds ``batch_loss`` and ``batch_<metric>``, means over the epoch so far, every n
        batches; it makes the loop call Python at each of them.

    Raises
    ------
    ImportError
        If tensorboardX is not installed.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        update_freq: Any = "epoch",
    ) -> None:
        self.log_dir = checks.path(log_dir, "log_dir")
        self.histogram_freq = checks.integer("histogram_freq", histogram_freq, 0)
        self.update_freq = update_freq
        if isinstance(update_freq, str):
            checks.choice("update_freq", update_freq, ("epoch",))
        else:
            self.update_freq = checks.integer("update_freq", update_freq)
            self.on_train_batch_end = self._batch_end  # type: ignore[method-assign]
        optional.require("tensorboardX", "tensorboard", "TensorBoard")
        self._writers: dict[str, Any] = {}
        self.reset()

    def reset(self) -> None:
        self._next = 0
        self._batches = 0
        self._first_batch = 1

    def _writer(self, name: str) -> Any:
        if name not in self._writers:
            module = optional.require("tensorboardX", "tensorboard", "TensorBoard")
            # after a resume, what the killed run wrote beyond the checkpoint is to be ignored; of
            # epochs among batches it comes again at the same steps
            by_batch = name == "train" and self.update_freq != "epoch"
            first = self._first_batch if by_batch else self._next
            purge = {"purge_step": first} if self._resumed else {}
            self._writers[name] = module.SummaryWriter(os.path.join(self.log_dir, name), **purge)
        return self._writers[name]

    def _batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self._batches % self.update_freq == 0:
            for key, value in _scalars(logs or {}).items():
                self._writer("train").add_scalar(f"batch_{key}", value, self._batches)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        for key, value in _scalars(logs or {}).items():
            name = "validation" if key.startswith("val_") else "train"
            if key != "learning_rate":
                tag = f"epoch_{key.removeprefix('val_')}"
                self._writer(name).add_scalar(tag, value, epoch)
        train = self._writer("train")
        optimizer = self.model.optimizer
        train.add_scalar("epoch_learning_rate", optimizer.current_rate(), epoch)
        if self.histogram_freq and (epoch + 1) % self.histogram_freq == 0:
            for p in self.model.weights:
                train.add_histogram(p.name, p.value, epoch)
        for writer in self._writers.values():
            writer.flush()
        self._next = epoch + 1

    def on_train_exit(self) -> None:
        super().on_train_exit()
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _fields(self, model: Any) -> dict[str, kinds.Kind]:
        return {"next": kinds.Integer(), "batches": kinds.Integer()}

    def get_state(self) -> dict[str, Any]:
        return {"next": self._next, "batches": self._batches}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._next, self._batches = int(state["next"]), int(state["batches"])
        self._first_batch = self._batches + 1

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_writers": {}}
