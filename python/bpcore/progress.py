"""Progress of `fit`: one bar for the whole run, or one line per epoch."""

from __future__ import annotations

import sys
import time
from typing import Any

from . import checks, data

INTERVAL = 0.1  # seconds between refreshes: more often is only a slower fit (keras#102, #13351)


def verbosity(value: Any) -> int:
    """0, 1 or 2 from the argument `verbose`."""
    if isinstance(value, str) and value == "auto":
        return 1 if data.progress_is_live() else 2
    if isinstance(value, bool) or not isinstance(value, int) or value not in (0, 1, 2):
        raise TypeError(f"verbose must be 'auto', 0, 1 or 2, got {checks.describe(value)}")
    return value


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.4g}"


def say(text: str) -> None:
    """Print a line above the bar, if there is one."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(text)
    else:
        print(text, flush=True)


class Progress:
    """What the loop tells; `verbose` decides what is seen."""

    def __init__(self, verbose: int, epochs: int, steps: int | None, last_epoch: int) -> None:
        self.verbose, self.steps, self.last_epoch = verbose, steps, last_epoch
        self.bar: Any = None
        self.last = 0.0
        self.pending = 0
        self.epoch_start = time.perf_counter()
        if verbose == 1 and epochs > 0:
            from tqdm.auto import tqdm

            total = None if steps is None else steps * epochs
            self.bar = tqdm(total=total, unit="batch", mininterval=INTERVAL, leave=True)

    def epoch_begin(self) -> None:
        """Start the epoch's clock."""
        self.epoch_start = time.perf_counter()

    def due(self, batches: int) -> bool:
        """Count batches; whether the bar wants numbers now."""
        if self.bar is None:
            return False
        self.pending += batches
        return time.perf_counter() - self.last >= INTERVAL

    def show(self, epoch: int, logs: dict[str, float]) -> None:
        """Refresh the bar."""
        listed = "  ".join(f"{key} {number(value)}" for key, value in logs.items())
        self.bar.set_postfix_str(f"epoch {epoch + 1}/{self.last_epoch}  {listed}", refresh=False)
        self.bar.update(self.pending)
        self.bar.refresh()
        self.pending = 0
        self.last = time.perf_counter()

    def epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """The epoch's numbers."""
        if self.bar is not None:
            last = self.steps is not None and epoch + 1 == self.last_epoch
            if last or time.perf_counter() - self.last >= INTERVAL:
                self.show(epoch, logs)
        elif self.verbose == 2:
            seconds = time.perf_counter() - self.epoch_start
            listed = "  ".join(f"{key} {number(value)}" for key, value in logs.items())
            print(f"epoch {epoch + 1}/{self.last_epoch}  {listed}  ({seconds:.2f} s)", flush=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            if self.pending:
                self.bar.update(self.pending)
                self.pending = 0
            self.bar.close()
