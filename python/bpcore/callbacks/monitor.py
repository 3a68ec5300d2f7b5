"""Callbacks that watch one number of the logs: when to stop, what to keep, when to slow down."""

from __future__ import annotations

import math
import os
import string
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from ..base import checks, kinds
from ..base.memory import copy_all
from ..base.progress import number, say
from ..files import atomic
from ..graph.parameter import assign
from .base import Logs, Stateful

# Directions of what bpcore reports; a user's metric may have either, so `mode` must say it.
_FALLING = ("error", "loss", "mae", "mse", "rmse")
_RISING = ("accuracy", "precision", "recall", "f1", "auc", "r2")


def direction(monitor: Any, mode: str) -> str:
    """``"min"`` or ``"max"`` for a `mode` that may be ``"auto"``."""
    if not isinstance(monitor, str) or not monitor:
        raise TypeError(
            f"monitor must be a name in the logs like 'val_loss', got {checks.describe(monitor)}"
        )
    if mode != "auto":
        return mode
    word = monitor.removeprefix("val_").rsplit("_", 1)[-1]
    if word in _FALLING:
        return "min"
    if word in _RISING:
        return "max"
    known = [prefix + name for name in (*_FALLING, *_RISING) for prefix in ("", "val_")]
    raise ValueError(
        f"mode='auto' does not know whether {monitor!r} should fall or rise"
        f"{checks.suggest(monitor, known)}; pass mode='min' or mode='max'"
    )


class Monitor(Stateful):
    """Base of callbacks with `monitor`, `mode` and a best value."""

    def __init__(self, monitor: Any, mode: Any, min_delta: Any = 0.0, verbose: Any = 0) -> None:
        self.mode = direction(monitor, checks.choice("mode", mode, ("auto", "min", "max")))
        self.monitor: str = monitor
        self.min_delta = checks.real("min_delta", min_delta, 0.0)
        self.verbose = checks.integer("verbose", verbose, 0, 1)
        self.start_best: float | None = None
        Monitor.reset(self)

    def reset(self) -> None:
        worst = math.inf if self.mode == "min" else -math.inf
        self.best = worst if self.start_best is None else self.start_best
        self._seen = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        super().on_train_begin(logs)
        self.check_monitor()

    def check_monitor(self) -> None:
        """Raise ValueError if no epoch of the coming fit can have the monitored number."""
        params = getattr(self, "params", {})
        names = params.get("logs", ())
        if self.monitor in params.get("lists", ()):
            raise ValueError(
                f"{type(self).__name__} monitors {self.monitor!r}, which is a list of numbers "
                "because of average=None, expected one number; monitor a metric with "
                "average='macro'"
            )
        if self.monitor not in names and params.get("logs_complete", False):
            self._never_comes(f"the epochs of this fit have only {', '.join(names)}", names)

    def _never_comes(self, what: str, names: Iterable[str]) -> NoReturn:
        hint = ""
        if self.monitor.startswith("val_") and not any(k.startswith("val_") for k in names):
            hint = "; pass validation_data or validation_split to fit"
        raise ValueError(
            f"{type(self).__name__} monitors {self.monitor!r}, but {what}"
            f"{hint or checks.suggest(self.monitor, names)}; a callback that adds to the logs must "
            "come first in the list"
        )

    def improves(self, value: float, reference: float) -> bool:
        """Whether `value` is better than `reference` by more than `min_delta`."""
        if self.mode == "min":
            return value < reference - self.min_delta
        return value > reference + self.min_delta

    def value(self, epoch: int, logs: Logs | None) -> float | None:
        """The monitored number; None in an epoch that need not have it.

        Raises
        ------
        ValueError
            If the number has never come and this epoch should have it.
        """
        logs = logs or {}
        if self.monitor in logs:
            self._seen = True
            return float(logs[self.monitor])
        every = int(getattr(self, "params", {}).get("validation_freq", 1))
        if self._seen or (self.monitor.startswith("val_") and (epoch + 1) % every != 0):
            return None
        self._never_comes(f"epoch {epoch + 1} has only {', '.join(logs) or 'nothing'}", logs)

    def _fields(self, model: Any) -> dict[str, kinds.Kind]:
        return {"best": kinds.RealText(), "seen": kinds.Flag()}

    def get_state(self) -> dict[str, Any]:
        # as text: JSON has no infinity, which stands for "none yet"
        return {"best": repr(self.best), "seen": self._seen}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.best, self._seen = float(state["best"]), bool(state["seen"])


class EarlyStopping(Monitor):
    """Stop when a monitored number has not improved for some epochs.

    By default the model has the weights of the best epoch afterwards, whatever ended the fit: its
    last epoch, the stop, an exception or Ctrl-C.

    Parameters
    ----------
    monitor : str
        A name in the logs, like ``"val_loss"`` or ``"val_accuracy"``. Epochs without it (see
        ``validation_freq``) do not count.
    min_delta : float
        An improvement must be larger than this.
    patience : int
        Stop at the `patience`-th epoch in a row without improvement; 0 is as 1.
    verbose : {0, 1}
    mode : {"auto", "min", "max"}
        Whether the number should fall or rise; "auto" knows it from the names of bpcore's losses
        and metrics.
    baseline : float, optional
        Only an improvement that also beats this starts the patience anew.
    restore_best_weights : bool
    start_from_epoch : int
        Epochs before this one (from 0) are ignored.

    Attributes
    ----------
    best, best_epoch, stopped_epoch
        The best value, its epoch (None before) and the epoch of the stop (None if there was none).

    Raises
    ------
    ValueError
        In fit, before the first epoch, if no epoch can have the number; at the end of the first
        epoch without it, if a callback of yours might have added it.

    Notes
    -----
    Decisions are those of Keras 3; L. Prechelt, "Early stopping - but when?", 1998.

    Examples
    --------
    >>> import bpcore as bp
    >>> stop = bp.callbacks.EarlyStopping("val_accuracy", patience=5)
    >>> stop.mode
    'max'
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = True,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta, verbose)
        self.patience = checks.integer("patience", patience, 0)
        self.baseline = None if baseline is None else checks.real("baseline", baseline)
        self.restore_best_weights = checks.boolean("restore_best_weights", restore_best_weights)
        self.start_from_epoch = checks.integer("start_from_epoch", start_from_epoch, 0)
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.wait = 0
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._kept: list[np.ndarray[Any, Any]] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        current = self.value(epoch, logs)
        if current is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.improves(current, self.best):
            self._keep()
            self.best, self.best_epoch = current, epoch
            if self.baseline is None or self.improves(current, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _keep(self) -> None:
        if not self.restore_best_weights:
            return
        if self._kept:
            copy_all(self._kept, [p.value for p in self.model.weights])
        else:
            self._kept = self.model.get_weights()

    def on_train_exit(self) -> None:
        super().on_train_exit()
        if self._kept:
            assign(self.model.weights, self._kept)
            self._kept = []
        if not self.verbose or self.best_epoch is None:
            return
        if self.stopped_epoch is not None:
            say(f"epoch {self.stopped_epoch + 1}: early stopping")
        restored = "restored the weights" if self.restore_best_weights else "the best value is that"
        say(f"{restored} of epoch {self.best_epoch + 1}: {self.monitor} {number(self.best)}")

    _decides = (
        *("monitor", "min_delta", "patience", "mode", "baseline", "restore_best_weights"),
        "start_from_epoch",
    )

    def _fields(self, model: Any) -> dict[str, kinds.Kind]:
        epoch = kinds.Maybe(kinds.Integer())
        return {
            **super()._fields(model),
            "wait": kinds.Integer(),
            "best_epoch": epoch,
            "stopped_epoch": epoch,
            "weights": kinds.Copies(
                [p.value for p in model.weights] if self.restore_best_weights else []
            ),
        }

    def get_state(self) -> dict[str, Any]:
        return {
            **super().get_state(),
            "wait": self.wait,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "weights": {str(i): array for i, array in enumerate(self._kept)},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.wait = int(state["wait"])
        self.best_epoch, self.stopped_epoch = state["best_epoch"], state["stopped_epoch"]
        kept = state["weights"]
        self._kept = [np.array(kept[str(i)]) for i in range(len(kept))]


class ModelCheckpoint(Monitor):
    """Save the model, as `Model.save` does, at the end of epochs or every few batches.

    Parameters
    ----------
    filepath : str or path
        May have fields of the epoch (from 1), the batch (from 1) and the logs:
        ``"runs/{epoch:02d}-{val_loss:.4f}.safetensors"``. Folders are made. Without fields the file
        is replaced, atomically.
    monitor : str
        For `save_best_only`.
    verbose : {0, 1}
    save_best_only : bool
        Save only when the monitored number improves.
    save_weights_only : bool
        Taken for scripts of Keras, without effect: the file has weights and architecture in either
        case, and never the optimizer's state (``fit(checkpoint=...)`` writes that).
    mode : {"auto", "min", "max"}
    save_freq : "epoch" or int
        An int counts batches; it makes the loop call Python at each of them.
    initial_value_threshold : float, optional
        What the first saved model must beat.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.callbacks.ModelCheckpoint("best.safetensors", save_best_only=True).mode
    'min'
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: Any = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        self.save_best_only = checks.boolean("save_best_only", save_best_only)
        if not self.save_best_only and mode == "auto":
            mode = "min"  # of no consequence; a metric without known direction is no error then
        super().__init__(monitor, mode, 0.0, verbose)
        self.filepath = _template(filepath)
        self.save_weights_only = checks.boolean("save_weights_only", save_weights_only)
        self.save_freq = save_freq
        if isinstance(save_freq, str):
            checks.choice("save_freq", save_freq, ("epoch",))
        else:
            self.save_freq = checks.integer("save_freq", save_freq)
            self.on_train_batch_end = self._batch_end  # type: ignore[method-assign]
        if initial_value_threshold is not None:
            self.start_best = checks.real("initial_value_threshold", initial_value_threshold)
        self.reset()

    def reset(self) -> None:
        super().reset()
        self._batches = 0
        self._epoch = 0

    def check_monitor(self) -> None:
        if self.save_best_only:
            super().check_monitor()
        self._check_path()

    def _check_path(self) -> None:
        """Raise now what would end the fit at the first save: fields, format codes, folders."""
        params = getattr(self, "params", {})
        names = ["epoch", *params.get("logs", ())]
        if self.save_freq != "epoch":  # in the middle of an epoch there is no validation yet
            names = ["batch", *(name for name in names if not name.startswith("val_"))]
        for _, field, _, _ in string.Formatter().parse(self.filepath):
            if field and field not in names and params.get("logs_complete", False):
                hint = checks.suggest(field, names)
                raise ValueError(
                    f"filepath {self.filepath!r} has the field {field!r}, but the logs of this fit "
                    f"have only {', '.join(names)}{hint}"
                )
        numbers = {name: 1 if name in ("epoch", "batch") else 0.5 for name in names}
        if all(f in numbers for _, f, _, _ in string.Formatter().parse(self.filepath) if f):
            path = self._path(numbers)
            atomic.check_writable(path, f"filepath {self.filepath!r}", make_folders=True)

    def _path(self, fields: Mapping[str, float]) -> str:
        try:
            return checks.path(self.filepath.format(**fields), "filepath")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"filepath {self.filepath!r} cannot be filled in ({error}); known fields: "
                f"{', '.join(fields)}"
            ) from None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def _batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches += 1
        if self._batches % self.save_freq == 0:
            self._save(self._epoch, batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})

    def _save(self, epoch: int, batch: int | None, logs: Logs) -> None:
        if self.save_best_only:
            current = self.value(epoch, logs)
            if current is None or not self.improves(current, self.best):
                return
            self.best = current
        fields = {**logs, "epoch": epoch + 1}
        if batch is not None:
            fields["batch"] = batch + 1
        path = self._path(fields)
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        self.model.save(path)
        if self.verbose:
            best = f" ({self.monitor} {number(self.best)})" if self.save_best_only else ""
            say(f"epoch {epoch + 1}: saved {path}{best}")

    def _fields(self, model: Any) -> dict[str, kinds.Kind]:
        count = kinds.Integer()
        return {**super()._fields(model), "batches": count, "epoch": count}

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "batches": self._batches, "epoch": self._epoch}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._batches, self._epoch = int(state["batches"]), int(state["epoch"])


def _template(filepath: Any) -> str:
    """The path as str, its fields' syntax checked."""
    if not isinstance(filepath, (str, os.PathLike)) or not os.fspath(filepath):
        raise TypeError(
            f"filepath must be a path, for example 'best.safetensors', got "
            f"{checks.describe(filepath)}"
        )
    text = os.fspath(filepath)
    if not isinstance(text, str):
        raise TypeError(f"filepath must be a path of str, got {checks.describe(text)}")
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(text) if field is not None]
    except ValueError as error:
        raise ValueError(f"filepath {text!r} is not a format string: {error}") from None
    for field in fields:
        if not field.isidentifier():
            raise ValueError(
                f"filepath {text!r} has the field {field!r}, expected 'epoch', 'batch' or a name "
                "in the logs"
            )
    return text
