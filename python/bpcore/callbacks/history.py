"""The History that `fit` returns: numbers per epoch, as lists, as a table, as a plot."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from ..base import checks, optional
from ..base.plain import Plain
from ..base.progress import number
from .base import Callback, Logs


class _Numbers(Plain):
    """What a callback has added to the logs, as JSON can hold it."""

    def other(self, value: Any, where: str) -> Any:
        if hasattr(value, "tolist"):  # arrays, and tensors of other libraries
            return self(value.tolist(), where)
        return float(value) if hasattr(value, "__float__") else str(value)


_numbers = _Numbers()


class History(Callback):
    """What `fit` returns.

    Attributes
    ----------
    history : dict of str to list of float
        ``"loss"``, metrics, ``"val_loss"``, ... and what callbacks add to `logs`: one number per
        epoch that had it, of a metric with ``average=None`` a list of numbers. All of it is JSON
        data: arrays that a callback adds become lists.
    epoch : list of int
        The epochs' numbers.
    epochs : dict of str to list of int
        Of each key the epochs that have it: validation may be rarer.
    seconds : list of float
        How long each epoch took, validation included; NaN for one that another process ran.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []
        self.params = {}
        self.epochs: dict[str, list[int]] = {}
        self._seconds: list[float] = []  # of the last ones
        self._began = 0.0

    @property
    def seconds(self) -> list[float]:
        """How long each epoch took; NaN for one that another process ran."""
        known = getattr(self, "_seconds", [])
        return [math.nan] * (len(self.epoch) - len(known)) + list(known)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.add(epoch, logs or {}, time.perf_counter() - self._began)

    def add(self, epoch: int, logs: Logs, seconds: float) -> None:
        """Take an epoch that is over."""
        self.epoch.append(epoch)
        self._seconds.append(seconds)
        self.record(epoch, logs)

    def record(self, epoch: int, logs: Logs) -> None:
        """Take what is new in `logs`; called again when other callbacks may have added to it."""
        for key, value in logs.items():
            epochs = self.epochs.setdefault(key, [])
            if not epochs or epochs[-1] != epoch:
                epochs.append(epoch)
                plain = value if type(value) is float else _numbers(value, key)
                self.history.setdefault(key, []).append(plain)

    def to_pandas(self) -> Any:
        """The history as a pandas DataFrame with the epoch as index; NaN where there is no number.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pd = optional.require("pandas", "pandas", "History.to_pandas")
        index = pd.Index(self.epoch, name="epoch")
        columns = {
            key: pd.Series(values, index=self.epochs[key]).reindex(self.epoch).to_numpy()
            for key, values in self.history.items()
        }
        return pd.DataFrame(columns, index=index)

    def plot(self, keys: Any = None, *, axes: Any = None) -> Any:
        """Draw loss and metrics over the epochs, training and validation in one panel each.

        Parameters
        ----------
        keys : str or list of str, optional
            Names without ``val_``; by default all.
        axes : matplotlib Axes or list of Axes, optional
            One per key; by default those of a new figure.

        Returns
        -------
        list of matplotlib Axes
            ``history.plot()[0].figure.savefig("loss.png")`` writes the figure.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from ..base import drawing

        known = list(dict.fromkeys(key.removeprefix("val_") for key in self.history))
        names = known if keys is None else [keys] if isinstance(keys, str) else list(keys)
        for name in names:
            if name not in known:
                raise checks.unknown("key of the history", name, known)
        if not names:
            raise ValueError("the history is empty, expected at least one finished epoch")
        axes = drawing.panels("History.plot", names, axes)
        for name, ax in zip(names, axes, strict=True):
            self._panel(name, ax)
        return axes

    def _panel(self, name: str, ax: Any) -> None:
        from ..base import drawing

        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in self.history:
                # a line of one point would not be seen
                marker = "o" if len(self.history[key]) == 1 else None
                epochs = [epoch + 1 for epoch in self.epochs[key]]
                ax.plot(epochs, self.history[key], label=label, marker=marker)
        drawing.epochs(ax, name)
        ax.legend()

    def _repr_html_(self) -> str:
        """For notebooks: a chart for each key, training and validation in one."""
        import html

        from ..base import svg

        names = list(dict.fromkeys(key.removeprefix("val_") for key in self.history))
        charts = []
        for name in names:
            lines: dict[str, Any] = {}
            for key, label in ((name, "training"), (f"val_{name}", "validation")):
                values = self.history.get(key, [])
                if values and all(isinstance(value, (int, float)) for value in values):
                    lines[label] = ([epoch + 1 for epoch in self.epochs[key]], values)
            if lines:
                charts.append(svg.curves(name, lines))
        return f"<div><p>{html.escape(repr(self))}</p>{''.join(charts)}</div>"

    def get_state(self) -> dict[str, Any]:
        return {
            # arrays, because JSON has no NaN or infinity
            "history": {key: np.array(values, float) for key, values in self.history.items()},
            "epoch": list(self.epoch),
            "epochs": {key: list(values) for key, values in self.epochs.items()},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self.history = {key: values.tolist() for key, values in state["history"].items()}
        self.epoch = list(state["epoch"])
        self.epochs = {key: list(values) for key, values in state["epochs"].items()}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "model": None}

    def __repr__(self) -> str:
        last = ", ".join(f"{k}={number(v[-1])}" for k, v in self.history.items() if v)
        n = len(self.epoch)
        return f"<History of {n} epoch{'' if n == 1 else 's'}{': ' if last else ''}{last}>"
