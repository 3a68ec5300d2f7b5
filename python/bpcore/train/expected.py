"""What the state of a run can be: the one description that its checkpoints are held against.

The run itself makes it, of its model, data and arguments: names, shapes, types and ranges of all
that a checkpoint hands back. A file is held against it before anything of the run is changed, and
so is what is to be written, so that what is written can be read.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import metrics, schedules
from ..base import checks, kinds
from ..base.memory import Array
from ..data.dataset import Dataset, batch_size_of
from ..files import checkpoint, save
from . import stretches, windows

_RATES = 2**16  # steps of a schedule that are tried at a time


class Expected:
    """The description of one run's states, made before it begins."""

    def __init__(self, loop: Any, train: Dataset) -> None:
        model, options, compilation = loop.model, loop.options, loop.compilation
        self.loop, self.model, self.train, self.options = loop, model, train, options
        self.optimizer = compilation.optimizer
        self.batch_size = batch_size_of(options.batch_size, train.n)
        self.n_batches = -(-train.n // self.batch_size)
        if options.bptt is not None:  # windows at most; how many depends on what counts in them
            assert train.form is not None
            self.n_batches *= -(-train.form.lengths[0] // options.bptt.every)
        self.draws = self.n_batches  # of an epoch, at most
        if options.bptt is not None and options.bptt.overlaps:
            cut = len(stretches.cuts(windows.steps_of(train), options.bptt)) - 1
            self.draws = cut * -(-train.n // self.batch_size)
        self.steps = min(self.n_batches if options.steps is None else options.steps, self.n_batches)
        self.first = min(options.initial_epoch, options.epochs)
        self.accumulate = int(compilation.accumulate_steps)
        self.callbacks = list(loop.hooks.items)
        self.epochs_done = (
            loop.counters.epochs_done
        )  # of the epoch in progress; a file may tell more
        self.counters = (self.optimizer.iterations, loop.counters.epochs_done, loop.counters.draws)
        self.rate = checkpoint.rate_as_data(self.optimizer)  # None: a Python function
        measures = compilation.measures
        self.numbers = set(measures.log_names(True)) - set(measures.listed())
        self.numbers |= set(self.optimizer.reports)
        self.trained = {p.name for p in save.stored(model) if p.trainable}
        self.python_metrics = [metric for metric, _ in measures.states()]

    def state(self) -> kinds.Record:
        """What `files.checkpoint.capture` gives, with the bounds that this run sets."""
        epochs = self.options.epochs - self.first
        iterations, done, draws = self.counters
        batches = epochs * self.steps
        fields = checkpoint.state_fields(self.model) | {
            "epochs_done": kinds.Integer(done, done + epochs),
            "draws": kinds.Integer(draws, draws + epochs * self.draws),
            "iterations": kinds.Integer(0, iterations + batches),  # a callback may set it back
            "learning_rate": self._rate(),
        }
        if not self.loop.engine.by_chance:
            fields["seed"] = kinds.Same(self.model.seed)
        return kinds.Record(fields)

    def _rate(self) -> kinds.Kind:
        if any(item._sets_rate for item in self.callbacks):
            return kinds.Judged(_positive, "a number > 0, since a callback sets the learning rate")
        rate = kinds.Judged(self._serves, "a learning rate, or a schedule for all of the run")
        return kinds.Maybe(rate) if self.rate is None else rate

    def _serves(self, value: Any) -> None:
        """A rate of the file: the run's own, or one that is sound at every update to come."""
        if value == self.rate:
            return
        rate = schedules.checked_rate(value)
        if isinstance(rate, schedules.Schedule):
            first, count = self.counters[0], (self.options.epochs - self.first) * self.steps
            for start in range(first, first + count, _RATES):
                steps = np.arange(start, min(start + _RATES, first + count), dtype=np.float64)
                with np.errstate(all="ignore"):
                    rates = np.asarray(rate.rates(steps))
                if rates.shape != steps.shape or not (np.isfinite(rates) & (rates >= 0)).all():
                    raise ValueError("it gives rates that are no finite numbers >= 0")

    def arrays(self, found: Mapping[str, Any]) -> kinds.Record:
        """Weights, and the optimizer's arrays of those that are trained."""
        return checkpoint.arrays_kind(self.model, found, self.trained)

    # ---- the place of fit -----------------------------------------------------------------------
    def place(self) -> kinds.Record:
        """Where the run stands; `check_place` looks at how these go together."""
        epoch = kinds.Integer(self.first, self.options.epochs)
        batch = kinds.Integer(0, self.steps)
        flag = kinds.Flag()
        return kinds.Record(
            {"position": kinds.Row(epoch, batch), "finished": flag, "stopped": flag}, open=True
        )

    def check_place(self, held: dict[str, Any]) -> None:
        """ValueError for a place where no checkpoint is written."""
        self.place().check(held, "fit")
        (epoch, batch), last = held["position"], self.options.epochs
        if held["finished"] and (epoch, batch) != (last, 0):
            raise ValueError(f"fit.position: got {[epoch, batch]} of a finished run of {last}")
        if batch and epoch == last:
            raise ValueError(f"fit.position: got batch {batch} after the last epoch, expected 0")
        ends = self.n_batches if self.options.bptt is None else 0  # the windows of an epoch
        if batch % self.accumulate and batch != ends:
            raise ValueError(
                f"fit.position: got batch {batch}, where gradients wait, expected a multiple of "
                f"accumulate_steps {self.accumulate}"
            )

    def fit(self, epoch: int, batch: int) -> kinds.Record:
        """All that fit adds, at a place; what an epoch has gathered is None at its beginning."""
        begun = batch > 0
        return kinds.Record(
            {
                **self.place().fields,
                "gathered": self._gathered(batch) if begun else kinds.Same(None),
                "metrics": kinds.Row(*self._metrics()) if begun else kinds.Same([]),
                "history": Log(self.first, epoch - 1, self.numbers),
                "callbacks": kinds.Row(
                    *(
                        kinds.Record(
                            {
                                "class_name": kinds.Same(type(item).__name__),
                                "state": item._state_kind(self.model),
                            }
                        )
                        for item in self.callbacks
                    )
                ),
            }
        )

    def begin(self, batch: int) -> None:
        """Put the trainer, which begins its epochs anew in any case, to a place in an epoch."""
        trainer, train = self.loop.trainer, self.train
        if self.options.bptt is not None:
            return  # it is told how many samples its windows had
        trainer.set_data(train.xs, train.ys, train.told)
        trainer.start_epoch(self.batch_size, first_batch=batch)

    def _samples(self, batch: int) -> int:
        """Those of the batches of an epoch so far, which may be windows."""
        if self.options.bptt is None:
            return min(batch * self.batch_size, self.train.n)
        return windows.samples(self._places()[:batch])

    def _places(self) -> list[windows.Place]:
        """The windows of the epoch in progress."""
        order = windows.order(self.loop, self.train, self.epochs_done)
        given = self.loop.engine.trained(self.loop.compilation.credit).given
        told = self.batch_size, self.options.bptt, bool(given)
        return windows.places(self.train, order, *told)

    def check_carried(self, states: Mapping[str, Array], epoch: int, batch: int) -> None:
        """ValueError for states of recurrent layers that nothing has left at this place."""
        engine, rows = self.loop.engine, self.batch_size
        told = self.options.bptt
        windowed = told is not None and not told.overlaps and batch > 0
        if windowed:
            rows = windows.samples([self._place(batch)])
        if states and not (engine.stateful or windowed):
            raise ValueError(f"states: got those of {sorted(states)}, expected none")
        self.loop.counters.carried.check(states, engine.dtype, rows)
        if windowed and set(states) != set(self.loop.counters.carried.told()):
            raise ValueError(
                f"states: got {sorted(states)}, expected those of all recurrent layers"
            )

    def check_stretches(self, found: Mapping[str, Array], batch: int) -> None:
        """ValueError for what overlapping windows cannot have left after so many of an epoch."""
        told, places = self.options.bptt, dict[str, int]()
        if told is not None and told.overlaps and batch > 0:
            place = self._place(batch)
            passes = stretches.Passes(self.loop, self.train, told)
            places = passes.expected(place, windows.samples([place]))
        stretches.check(places, found, self.loop.engine.dtype)

    def _place(self, batch: int) -> windows.Place:
        """The last of so many windows of the epoch in progress."""
        places = self._places()
        if batch > len(places):
            raise ValueError(
                f"fit.position: got window {batch}, expected at most {len(places)}, which the "
                "epoch has"
            )
        return places[batch - 1]

    def _gathered(self, batch: int) -> kinds.Kind:
        """Sums that the core has added up; any numbers, since they may overflow.

        Their sizes are those of the place where the trainer is.
        """
        number = kinds.Real(finite=False)
        samples = self._samples(batch)
        sizes = self.loop.trainer.gathered_sizes(samples)

        def numbers(count: int) -> kinds.Kind:
            return kinds.Values((count,), np.float64, finite=False)

        return Gathered(
            self.loop.trainer,
            samples,
            {
                "loss": numbers(len(sizes)),
                "terms": kinds.Values((len(sizes),), np.float64),
                "penalty": number,
                "samples": kinds.Same(samples),
                "last_loss": number,
                "metrics": kinds.Row(*(kinds.Row(*map(numbers, row)) for row in sizes)),
            },
        )

    def _metrics(self) -> list[kinds.Kind]:
        number = kinds.Real(finite=False)
        return [kinds.Row(number, number, Attributes(m)) for m in self.python_metrics]


class Gathered(kinds.Record):
    """Sums of an epoch in progress; the trainer judges what can be one."""

    def __init__(self, trainer: Any, samples: int, fields: dict[str, kinds.Kind]) -> None:
        super().__init__(fields)
        self.trainer, self.samples = trainer, samples

    def check(self, value: Any, where: str) -> None:
        super().check(value, where)
        self.trainer.check_gathered(value, self.samples)


class Attributes(kinds.Kind):
    """What a metric of the user's has gathered: attributes like those it has, no methods."""

    wanted = "attributes of the metric"

    def __init__(self, metric: metrics.PythonMetric) -> None:
        self.target = metric.target
        self.example = dict(getattr(metric.target, "__dict__", {})) if metric.is_object else None

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, dict) or (value and self.example is None):
            return False
        cls = type(self.target)
        return all(k.isidentifier() and not callable(getattr(cls, k, None)) for k in value)

    def check(self, value: Any, where: str) -> None:
        super().check(value, where)
        for key, example in (self.example or {}).items():
            if key in value:
                kinds.Like(example).check(value[key], f"{where}.{key}")


class Log(kinds.Kind):
    """A History: its epochs, and of each column the numbers and the epochs that have them."""

    wanted = "epoch, history and epochs of a History"

    def __init__(self, first: int, last: int, numbers: set[str]) -> None:
        self.epochs = kinds.Items(kinds.Integer(first, last))
        self.numbers = numbers  # columns that hold nothing else; others are what callbacks add

    def accepts(self, value: Any) -> bool:
        return isinstance(value, dict) and set(value) == {"epoch", "history", "epochs"}

    def check(self, value: Any, where: str) -> None:
        super().check(value, where)
        self._ascending(value["epoch"], f"{where}.epoch")
        columns, places, known = value["history"], value["epochs"], set(value["epoch"])
        if not isinstance(columns, dict) or not isinstance(places, dict):
            raise ValueError(f"{where}: got {checks.describe(columns)}, expected columns by name")
        if set(columns) != set(places):
            raise ValueError(f"{where}: got epochs of {checks.describe(list(places))}, no columns")
        for name, column in columns.items():
            self._ascending(places[name], f"{where}.epochs.{name}")
            if not isinstance(column, list) or not column or len(column) != len(places[name]):
                got = checks.describe(column)
                raise ValueError(
                    f"{where}.history.{name}: got {got}, expected a number for each of its epochs"
                )
            if name in self.numbers and not set(map(type, column)) <= {int, float}:
                raise ValueError(f"{where}.history.{name}: got {checks.describe(column)}")
            if not known.issuperset(places[name]):
                raise ValueError(f"{where}.epochs.{name}: got epochs that the history has not")

    def _ascending(self, epochs: Any, where: str) -> None:
        self.epochs.check(epochs, where)
        if any(a >= b for a, b in itertools.pairwise(epochs)):
            raise ValueError(f"{where}: got {checks.describe(epochs)}, expected ascending epochs")


def _positive(value: Any) -> float:
    return checks.real("learning_rate", value, 0.0, open_low=True)
