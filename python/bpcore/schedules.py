"""Learning rate schedules: functions of the optimizer's step, counted from 0.

Any callable of the step may stand where a schedule may. eta0 is `initial_learning_rate`,
s the step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .base import arguments, checks
from .base.memory import Array


def _rate(name: str, value: Any) -> float:
    return checks.real(name, value, 0.0, open_low=True)


class Schedule(arguments.Configured):
    """Base class: ``schedule(step) -> float``. A subclass defines `rates`, for many steps."""

    def rates(self, steps: Array) -> Array:
        """The rates at an array of steps (float64)."""
        raise NotImplementedError(f"{type(self).__name__} must define rates(steps)")

    def _origin(self) -> list[Any] | None:
        """What all of the rates follow from, to be compared; None where code of the user's has a
        part in them."""
        if _CLASSES.get(type(self).__name__) is not type(self):
            return None
        return [tuple(v) if type(v) is list else v for v in self.__dict__.values()]

    def __call__(self, step: int) -> float:
        """The rate at one step."""
        return float(self.rates(np.array([step], dtype=np.float64))[0])


class Constant(Schedule):
    """eta0 at every step.

    >>> Constant(0.1)(1000)
    0.1
    """

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = _rate("learning_rate", learning_rate)

    def rates(self, steps: Array) -> Array:
        return np.full(steps.shape, self.learning_rate)


class Step(Schedule):
    """eta0 gamma^floor(s / step_size).

    >>> Step(1.0, step_size=10, gamma=0.5)(25)
    0.25
    """

    def __init__(self, initial_learning_rate: float, step_size: int, gamma: float = 0.1) -> None:
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.step_size = checks.integer("step_size", step_size, 1, 2**62)
        self.gamma = _rate("gamma", gamma)

    def rates(self, steps: Array) -> Array:
        return self.initial_learning_rate * self.gamma ** np.floor(steps / self.step_size)


class Piecewise(Schedule):
    """values[i] while s <= boundaries[i], values[-1] after the last (as Keras' PiecewiseConstant).

    >>> [Piecewise([10, 20], [1.0, 0.5, 0.1])(s) for s in (0, 10, 11, 21)]
    [1.0, 1.0, 0.5, 0.1]
    """

    def __init__(self, boundaries: Sequence[int], values: Sequence[float]) -> None:
        self.boundaries = [checks.integer("boundary", b, 0, 2**62) for b in boundaries]
        self.values = [_rate("value", v) for v in values]
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"values must be one more than boundaries, got {len(self.values)} values and "
                f"{len(self.boundaries)} boundaries"
            )
        if any(a >= b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"boundaries must increase, got {self.boundaries}")

    def rates(self, steps: Array) -> Array:
        where = np.searchsorted(np.asarray(self.boundaries, dtype=np.float64), steps, side="left")
        result: Array = np.asarray(self.values)[where]
        return result


class _Decay(Schedule):
    """eta0, decay_steps, decay_rate; with staircase s / decay_steps is rounded down."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
    ) -> None:
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.decay_steps = checks.integer("decay_steps", decay_steps, 1, 2**62)
        self.decay_rate = _rate("decay_rate", decay_rate)
        self.staircase = checks.boolean("staircase", staircase)

    def _time(self, steps: Array) -> Array:
        t = steps / self.decay_steps
        return np.floor(t) if self.staircase else t


class Exponential(_Decay):
    """eta0 decay_rate^(s / decay_steps).

    >>> Exponential(1.0, decay_steps=10, decay_rate=0.5)(20)
    0.25
    """

    def rates(self, steps: Array) -> Array:
        return self.initial_learning_rate * self.decay_rate ** self._time(steps)


class InverseTime(_Decay):
    """eta0 / (1 + decay_rate s / decay_steps).

    >>> InverseTime(1.0, decay_steps=10, decay_rate=1.0)(10)
    0.5
    """

    def rates(self, steps: Array) -> Array:
        return self.initial_learning_rate / (1.0 + self.decay_rate * self._time(steps))


class Polynomial(Schedule):
    """(eta0 - end) (1 - s / decay_steps)^power + end, s cut at decay_steps.

    With ``cycle`` decay_steps grows to the next multiple of itself that is >= s instead.

    >>> Polynomial(1.0, decay_steps=10, end_learning_rate=0.5)(5)
    0.75
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 1e-4,
        power: float = 1.0,
        cycle: bool = False,
    ) -> None:
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.decay_steps = checks.integer("decay_steps", decay_steps, 1, 2**62)
        self.end_learning_rate = checks.real("end_learning_rate", end_learning_rate, 0.0)
        self.power = _rate("power", power)
        self.cycle = checks.boolean("cycle", cycle)

    def rates(self, steps: Array) -> Array:
        length = np.full(steps.shape, float(self.decay_steps))
        if self.cycle:
            length *= np.maximum(1.0, np.ceil(steps / self.decay_steps))
        left = 1.0 - np.minimum(steps, length) / length
        end = self.end_learning_rate
        result: Array = (self.initial_learning_rate - end) * left**self.power + end
        return result


class Cosine(Schedule):
    """Linear warm-up, then half a cosine (I. Loshchilov, F. Hutter, 2017).

    For s < warmup_steps: eta0 (s + 1) / warmup_steps. After it, with t = s - warmup_steps cut at
    decay_steps: eta0 ((1 - alpha) (1 + cos(pi t / decay_steps)) / 2 + alpha).

    >>> Cosine(1.0, decay_steps=10)(5)
    0.5
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.decay_steps = checks.integer("decay_steps", decay_steps, 1, 2**62)
        self.alpha = checks.real("alpha", alpha, 0.0, 1.0)
        self.warmup_steps = checks.integer("warmup_steps", warmup_steps, 0, 2**62)

    def rates(self, steps: Array) -> Array:
        warm = (steps + 1.0) / max(1, self.warmup_steps)
        t = np.clip(steps - self.warmup_steps, 0.0, self.decay_steps) / self.decay_steps
        wave = _half_cosine(t)
        falling = (1.0 - self.alpha) * wave + self.alpha
        return self.initial_learning_rate * np.where(steps < self.warmup_steps, warm, falling)


def _half_cosine(t: Array) -> Array:
    """(1 + cos(pi t)) / 2, exact at 0, 1/2 and 1."""
    wave = 0.5 * (1.0 + np.cos(math.pi * t))
    result: Array = np.where(t == 0.5, 0.5, wave)
    return result


class CosineRestarts(Schedule):
    """Cosine with warm restarts: periods grow by t_mul, heights shrink by m_mul (SGDR, 2017).

    >>> CosineRestarts(1.0, first_decay_steps=10)(10)
    1.0
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
    ) -> None:
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.first_decay_steps = checks.integer("first_decay_steps", first_decay_steps, 1, 2**62)
        self.t_mul = checks.real("t_mul", t_mul, 1.0)
        self.m_mul = _rate("m_mul", m_mul)
        self.alpha = checks.real("alpha", alpha, 0.0, 1.0)

    def rates(self, steps: Array) -> Array:
        t = steps / self.first_decay_steps
        if self.t_mul == 1.0:
            cycle = np.floor(t)
            fraction = t - cycle
        else:
            m = self.t_mul
            # 1e-12: at a restart the logarithm may fall just below the whole number it stands for.
            cycle = np.floor(np.log(1.0 + t * (m - 1.0)) / math.log(m) + 1e-12)
            start = (m**cycle - 1.0) / (m - 1.0)
            fraction = np.clip((t - start) / m**cycle, 0.0, 1.0)
        wave = self.m_mul**cycle * _half_cosine(fraction)
        return self.initial_learning_rate * ((1.0 - self.alpha) * wave + self.alpha)


class OneCycle(Schedule):
    """Up to max_learning_rate and down again (L. Smith, 2018; as PyTorch's, without momentum).

    Starts at max / div_factor, peaks after pct_start of total_steps, ends at
    max / div_factor / final_div_factor, and stays there. The pieces between are half cosines, or
    lines with ``anneal_strategy="linear"``. With ``three_phase`` the rate falls as fast as it rose,
    to where it began, and then to its end.

    >>> OneCycle(1.0, total_steps=100, pct_start=0.3)(29)
    1.0
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        anneal_strategy: str = "cos",
        three_phase: bool = False,
    ) -> None:
        self.max_learning_rate = _rate("max_learning_rate", max_learning_rate)
        self.total_steps = checks.integer("total_steps", total_steps, 2, 2**62)
        self.pct_start = checks.real("pct_start", pct_start, 0.0, 1.0)
        self.div_factor = checks.real("div_factor", div_factor, 1.0)
        self.final_div_factor = checks.real("final_div_factor", final_div_factor, 1.0)
        self.anneal_strategy = checks.choice("anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.three_phase = checks.boolean("three_phase", three_phase)
        if self.three_phase and self.pct_start > 0.5:
            raise ValueError(
                f"three_phase needs pct_start <= 0.5, got {self.pct_start}: the fall takes as long "
                "as the rise"
            )

    def rates(self, steps: Array) -> Array:
        top = self.max_learning_rate
        low = top / self.div_factor
        # PyTorch's phases end at step pct_start * total - 1 (a fraction), ..., total - 1.
        rise = self.pct_start * self.total_steps
        turns = [(0.0, low), (rise - 1.0, top)]
        if self.three_phase:
            turns.append((2.0 * rise - 2.0, low))
        turns.append((self.total_steps - 1.0, low / self.final_div_factor))
        result = np.full(steps.shape, turns[-1][1])
        for (first, start), (last, end) in reversed(list(itertools.pairwise(turns))):
            t = np.clip((steps - first) / max(last - first, 1e-300), 0.0, 1.0)
            share = t if self.anneal_strategy == "linear" else 1.0 - _half_cosine(t)
            result = np.where(steps <= last, start + (end - start) * share, result)
        return result


class Warmup(Schedule):
    """A linear rise to the first rate of any schedule, then that schedule from its own step 0.

    For s < steps: schedule(0) (start + (1 - start) s / steps); after it schedule(s - steps). With a
    number for the schedule it is PyTorch's LinearLR.

    Parameters
    ----------
    schedule : Schedule, callable or float
    steps : int
    start : float
        In [0, 1]: the share of the first rate to begin with.

    >>> [Warmup(Cosine(1.0, decay_steps=10), steps=4)(s) for s in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 0.5]
    """

    def __init__(
        self, schedule: Schedule | Callable[[int], float] | float, steps: int, start: float = 0.0
    ) -> None:
        self.schedule: Any = schedule
        if isinstance(schedule, Mapping):
            self.schedule = from_config(schedule)
        elif isinstance(schedule, (type, str)) or not callable(schedule):
            self.schedule = Constant(_rate("schedule", schedule))
        self.steps = checks.integer("steps", steps, 0, 2**62)
        self.start = checks.real("start", start, 0.0, 1.0)

    def rates(self, steps: Array) -> Array:
        after = self._inner(np.maximum(steps - self.steps, 0.0))
        warm = self.start + (1.0 - self.start) * np.minimum(steps / max(1, self.steps), 1.0)
        result: Array = np.where(steps < self.steps, after * warm, after)
        return result

    def _origin(self) -> list[Any] | None:
        inner = self.schedule._origin() if isinstance(self.schedule, Schedule) else None
        own = None if inner is None else super()._origin()
        return None if own is None else [*own, inner]

    def _inner(self, steps: Array) -> Array:
        if isinstance(self.schedule, Schedule):
            return self.schedule.rates(steps)
        found = np.full(steps.shape, np.nan)  # the optimizer takes the steps before the first NaN
        for i, step in enumerate(steps):
            if i and step == steps[i - 1]:
                found[i] = found[i - 1]
                continue
            try:
                found[i] = float(self.schedule(int(step)))
            except Exception:
                if i == 0:
                    raise
                break
        return found


_CLASSES: dict[str, type[Schedule]] = {
    cls.__name__: cls
    for cls in (
        Constant,
        Step,
        Piecewise,
        Exponential,
        InverseTime,
        Polynomial,
        Cosine,
        CosineRestarts,
        OneCycle,
        Warmup,
    )
}

__all__ = [*_CLASSES, "Schedule"]


def from_config(config: Mapping[str, Any]) -> Schedule:
    """A schedule from ``{"class_name": ..., "config": ...}``."""
    name = str(config.get("class_name"))
    if name not in _CLASSES:
        raise checks.unknown("schedule", name, _CLASSES)
    result: Schedule = _CLASSES[name].from_config(dict(config.get("config", {})))
    return result


def checked_rate(value: Any) -> Any:
    """A learning rate: a number > 0, or a schedule, of its configuration too."""
    if isinstance(value, Mapping):
        value = from_config(value)
    if isinstance(value, (type, str)) or not callable(value):
        value = checks.real("learning_rate", value, 0.0, open_low=True)
    return value
