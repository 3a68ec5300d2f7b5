"""The learning-rate range test: a short run with growing rates on a copy of the model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import _core
from ..base import checks, drawing, seeding
from ..base.memory import Array
from ..data.batches import Batches, is_batches
from ..data.dataset import Dataset, batch_size_of, subset

_SMOOTHING = 0.9  # of the running loss that decides when to stop; bias-corrected
_EXPLODED = 4.0  # times the smallest running loss ends the run
_SETTLE = 0.1  # of the run: before it the averages are of too few batches to judge
_WINDOW = 0.06  # of the run: half the width of the window that smooths without a lag


class LearningRateFinder:
    """What `Model.find_learning_rate` returns.

    Attributes
    ----------
    rates : ndarray (k,)
        The rates tried, growing by a constant factor; fewer than asked for if the loss exploded.
    losses : ndarray (k,)
        The loss of each batch, before the update with that rate.
    smoothed : ndarray (k,)
        Their mean over a triangle of 6 % of the run to either side.
    suggestion : float
        The rate at which the smoothed loss falls fastest per factor of the rate; the first rate if
        it never falls.
    """

    def __init__(self, rates: Array, losses: Array, steps: int) -> None:
        self.rates, self.losses = rates, losses
        self.smoothed = smooth(losses, max(1, round(_WINDOW * steps)))
        self.suggestion = suggest(rates, self.smoothed, round(_SETTLE * steps))

    def plot(self, axes: Any = None) -> Any:
        """Draw the losses over the rates with the suggestion.

        Parameters
        ----------
        axes : matplotlib Axes, optional
            Where to draw; by default in a new figure.

        Returns
        -------
        list of matplotlib Axes
            One; ``found.plot()[0].figure.savefig("rates.png")`` writes the figure.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        (ax,) = drawn = drawing.panels("LearningRateFinder.plot", ["loss"], axes)
        ax.plot(self.rates, self.losses, color="0.8", label="loss of the batch")
        ax.plot(self.rates, self.smoothed, label="smoothed")
        ax.axvline(self.suggestion, linestyle="--", color="0.3", label=f"{self.suggestion:.2g}")
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
        # the explosion would flatten all that matters
        low, high = float(self.smoothed.min()), float(self.smoothed[0])
        margin = 0.2 * max(high - low, 1e-3 * abs(high))
        ax.set_ylim(low - margin, max(high, float(np.median(self.losses))) + 2.0 * margin)
        ax.legend()
        return drawn

    def __repr__(self) -> str:
        span = f"{self.rates[0]:.3g} to {self.rates[-1]:.3g}"
        return f"<LearningRateFinder {len(self.rates)} rates {span}: try {self.suggestion:.3g}>"


def smooth(losses: Array, half: int) -> Array:
    """Weights 1, 2, ..., half + 1, ..., 2, 1 around each loss; at the ends those that there are."""
    triangle = half + 1.0 - np.abs(np.arange(-half, half + 1))
    inside = slice(half, half + len(losses))
    weighted = np.convolve(losses, triangle)[inside]
    result: Array = weighted / np.convolve(np.ones(len(losses)), triangle)[inside]
    return result


def suggest(rates: Array, smoothed: Array, first: int) -> float:
    """Where d smoothed / d log(rate) is least, from `first` to the smallest smoothed loss."""
    end = int(smoothed.argmin()) + 1
    if end - first < 3:  # it never fell
        return float(rates[0])
    slopes = np.gradient(smoothed[:end], np.log(rates[:end]))[first:]
    return float(rates[first + int(slopes.argmin())])


def find(
    batches: Iterator[Dataset],
    trainer: Callable[[Dataset], Any],
    measures: Any,
    low: Any,
    high: Any,
    steps: Any,
) -> LearningRateFinder:
    """See `Model.find_learning_rate`; the model behind this is a copy.

    `trainer` gives the core's trainer for a batch, and `measures` are the metrics.
    """
    steps = checks.integer("steps", steps, 10)
    low = checks.real("low", low, 0.0, open_low=True)
    high = checks.real("high", high, 0.0, open_low=True)
    if low >= high:
        raise ValueError(f"low must be < high, got low={low:g} and high={high:g}")
    rates = low * (high / low) ** (np.arange(steps) / (steps - 1))
    losses: list[float] = []
    average, best = 0.0, math.inf
    for rate, part in zip(rates, batches, strict=False):
        core = trainer(part)
        measures.reset()
        try:
            core.train_step(part.xs, part.ys, part.told, float(rate), largest=part.largest)
        except _core.Diverged:
            break
        loss = float(core.results()["loss"])
        losses.append(loss)
        average = _SMOOTHING * average + (1.0 - _SMOOTHING) * loss
        smoothed = average / (1.0 - _SMOOTHING ** len(losses))
        best = min(best, smoothed)
        if len(losses) > _SETTLE * steps and smoothed > _EXPLODED * best > 0:
            break
    if len(losses) < 3:
        raise ValueError(
            f"{len(losses)} batches had a finite loss at rates from {low:g}, expected at least 3; "
            "scale the data, pass a lower value of low, or more batches than an iterator gave"
        )
    return LearningRateFinder(rates[: len(losses)], np.array(losses), steps)


def batches_of(
    x: Any,
    y: Any,
    batch_size: Any,
    seed: int,
    first: Callable[..., Dataset],
    read: Callable[..., Dataset],
) -> Iterator[Dataset]:
    """Batches without end, in a new order for each epoch; `first` reads the first data."""
    if is_batches(x, y):
        source = Batches(x, read)
        source.peek(first)
        while True:
            done = 0
            for part in source.epoch(None):
                yield part
                done += 1
            if not done:
                return
    data = first(x, y)
    size = batch_size_of(batch_size, data.n)
    for epoch in itertools.count():
        order = np.random.default_rng([seeding.mix(seed, seeding.SHUFFLE), epoch]).permutation(
            data.n
        )
        for start in range(0, data.n - data.n % size, size):
            rows = order[start : start + size]
            yield subset(data, rows)
