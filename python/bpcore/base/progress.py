"""Progress of `fit`: one bar for the whole run with a line above it per epoch, or only lines."""

from __future__ import annotations

import sys
import time
from typing import Any

from . import checks

INTERVAL = 0.1  # seconds between refreshes: more often is only a slower fit (keras#102, #13351)
_LOSSES = ("loss", "val_loss")
_LINES = 1.0  # seconds between lines that stay above the bar: quick epochs would flood the screen
_SHOWN = 4  # numbers of a list
_BAR = 24  # columns that the share, the bar and the time take at least


def verbosity(value: Any) -> int:
    """0, 1 or 2 from the argument `verbose`."""
    if isinstance(value, str) and value == "auto":
        return 1 if progress_is_live() else 2
    if isinstance(value, bool) or not isinstance(value, int) or value not in (0, 1, 2):
        raise TypeError(f"verbose must be 'auto', 0, 1 or 2, got {checks.describe(value)}")
    return value


def number(value: float | list[float]) -> str:
    """Four significant digits; of a list the first numbers."""
    if isinstance(value, list):
        rest = " ..." if len(value) > _SHOWN else ""
        return f"[{' '.join(map(number, value[:_SHOWN]))}{rest}]"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.4g}"


def listed(logs: dict[str, Any], width: int | None = None) -> str:
    """Names and numbers, losses first; whole items that fit into `width` columns, at least one."""
    keys = sorted(logs, key=lambda key: _LOSSES.index(key) if key in _LOSSES else 2)
    text = ""
    for key in keys:
        item = f"{key} {number(logs[key])}"
        longer = f"{text}  {item}" if text else item
        if text and width is not None and len(longer) > width:
            break
        text = longer
    return text


def say(text: str) -> None:
    """Print a line above the bar, if there is one."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(text)
    else:
        print(text, flush=True)


class Progress:
    """What the loop tells; `verbose` decides what is seen.

    The bar's text begins with epoch and losses, so that a narrow terminal cuts the rest. Numbers of
    a validation stay in it until the next one. Above the bar stays a line for each epoch, but at
    most one a second, and always that of the last one.
    """

    def __init__(self, verbose: int, epochs: int, steps: int | None, last_epoch: int) -> None:
        self.verbose, self.steps, self.last_epoch = verbose, steps, last_epoch
        self.bar: Any = None
        self.last = self.last_line = 0.0
        self.pending = 0
        self.validation: dict[str, Any] = {}
        self.epoch_start = time.perf_counter()
        if verbose == 1 and epochs > 0:
            from tqdm.auto import tqdm

            self.bar = tqdm(
                total=None if steps is None else steps * epochs,
                unit="batch",
                mininterval=INTERVAL,
                leave=False,
                dynamic_ncols=True,
                bar_format="{desc} {percentage:3.0f}%|{bar}| {remaining}"
                if steps is not None
                else "{desc}  {n_fmt} batches, {elapsed}",
            )

    def epoch_begin(self) -> None:
        """Start the epoch's clock."""
        self.epoch_start = time.perf_counter()

    def due(self, batches: int) -> bool:
        """Count batches; whether the bar wants numbers now."""
        if self.bar is None:
            return False
        self.pending += batches
        return time.perf_counter() - self.last >= INTERVAL

    def show(self, epoch: int, logs: dict[str, Any]) -> None:
        """Refresh the bar."""
        name = f"epoch {epoch + 1}/{self.last_epoch}"
        columns = self.bar.format_dict["ncols"]
        width = None if not columns else max(columns - len(name) - _BAR, columns // 2)
        text = listed({**logs, **self.validation}, width)
        self.bar.set_description_str(f"{name}  {text}", refresh=False)
        self.bar.update(self.pending)
        self.bar.refresh()
        self.pending = 0
        self.last = time.perf_counter()

    def epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """The epoch's numbers."""
        if self.bar is None and self.verbose != 2:
            return
        now = time.perf_counter()
        self.validation.update((k, v) for k, v in logs.items() if k.startswith("val_"))
        line = (
            f"epoch {epoch + 1}/{self.last_epoch}  {listed(logs)}  ({now - self.epoch_start:.2f} s)"
        )
        if self.bar is None:
            print(line, flush=True)
        elif epoch + 1 == self.last_epoch or now - self.last_line >= _LINES:
            say(line)
            self.last_line = now
            self.show(epoch, logs)
        elif now - self.last >= INTERVAL:
            self.show(epoch, logs)

    def close(self) -> None:
        """Take the bar away; the epochs' lines stay."""
        if self.bar is not None:
            if self.pending:
                self.bar.update(self.pending)
                self.pending = 0
            self.bar.close()


def progress_is_live() -> bool:
    """A terminal or notebook, where a bar makes sense."""
    if "ipykernel" in sys.modules:
        return True
    stream = sys.stderr
    return bool(stream is not None and hasattr(stream, "isatty") and stream.isatty())
