"""The training loop: epochs, validation, callbacks, progress. The steps themselves run in the core.

The core works in slices of at most 50 ms, so that Ctrl-C takes effect within 0.1 s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from .. import _core
from ..base import seeding
from ..base.memory import Array
from ..base.progress import Progress
from ..callbacks.base import CallbackList
from ..callbacks.history import History
from ..data.dataset import Dataset, Form, batch_size_of, subset
from ..errors import ScheduleWarning, TrainingDiverged, diverged, warn
from ..files import lock
from ..optimizers import BatchSolver
from ..schedules import Schedule
from . import solving, stretches, windows
from .evaluation import SLICE
from .options import Options
from .trainee import Trainee

_RATES = 4096  # rates computed ahead when there is a schedule
_UNHEARD = nullcontext()


class Loop:
    """One call of fit on a built and compiled model that is marked busy."""

    def __init__(
        self, trainee: Trainee, options: Options, hooks: CallbackList, form: Form | None = None
    ) -> None:
        """`form`: of the data, or of the first batch of them."""
        self.trainee, self.options = trainee, options
        self.model, self.compilation = trainee.model, trainee.compilation
        self.counters, self.engine = trainee.counters, trainee.built()
        self.optimizer = self.compilation.optimizer
        self.schedule = Rates(self.optimizer)
        self.fed: Any = None  # the trainer that has the data of the epochs
        self.history = History()
        self.start: dict[str, Any] = {}  # what tells the weights before any training
        if options.checkpoint is not None:
            from . import identity

            self.start = identity.weights_at_the_start(self.model, self.engine)
        self.form = form
        self.purpose = windows.purpose(options.bptt)
        self.trainer = self.engine.formed(form).trainer(self.purpose, self.compilation)
        self.hooks = hooks
        self.progress: Progress
        self.saver: Any = None  # a resume.Run
        self.solving: solving.Solving | None = None
        self.first_batch = 0
        self.passes: stretches.Passes | None = None  # of overlapping windows
        self.place: windows.Place | None = None  # of the last window
        self.rows: Any = None  # of x, in the batch that comes in windows

    def run_saved(self, train: Dataset, validation: Any) -> History:
        """All epochs, or those that the run's checkpoint leaves to do."""
        from .resume import Run

        self.saver = Run(self, train, validation)
        with self.saver.take() as held:
            try:
                self.saver.read()
                found = self.saver.finished()
                return self.run(train, None, validation) if found is None else found
            finally:
                lock.remove(held)

    def run(self, train: Dataset | None, batches: Any, validation: Any) -> History:
        """All epochs."""
        options, model = self.options, self.model
        first = options.initial_epoch
        steps = options.steps
        if isinstance(self.optimizer, BatchSolver):
            solving.refuse(self, train)
            self._solve()
            steps = 1
        elif train is not None:
            size = batch_size_of(options.batch_size, train.n)
            steps = -(-train.n // size) if steps is None else min(steps, -(-train.n // size))
        parameters = {
            "epochs": options.epochs,
            "steps": steps,
            "verbose": options.verbose,
            "validation": validation is not None,
            "validation_freq": options.validation_freq,
            "logs": [
                *self.compilation.measures.log_names(validation is not None),
                *self.optimizer.reports,
            ],
            "lists": self.compilation.measures.listed(),
        }
        if first and callable(self.optimizer.learning_rate) and not self.optimizer.iterations:
            warn(
                f"initial_epoch={first} with a learning-rate schedule and an optimizer that has "
                "made no update: the schedule begins at its first step; load the model from a file "
                "or checkpoint of the earlier epochs, or set model.optimizer.iterations",
                ScheduleWarning,
            )
        self.hooks.items.insert(0, self.history)  # first, so that callbacks see it complete
        self.progress = Progress(options.verbose, options.epochs - first, steps, options.epochs)
        model.stop_training = False
        with _core.Finally([self._let_go, *self.hooks.ends()], "on_train_exit"):
            self.hooks.begin(model, parameters, train, self.trainee.copied)
            if self.saver is not None:
                first = self._resume(steps)
            logs = {key: values[-1] for key, values in self.history.history.items()}
            unseen, epoch, done = self._is_unseen(validation), first, 0
            while epoch < options.epochs:
                if model.stop_training and self.first_batch == 0:
                    break
                try:
                    if unseen and train is not None:
                        logs, done = self._unseen_epochs(epoch, train)
                    else:
                        logs = self._epoch(epoch, train, batches, steps, validation)
                        done = 1
                except TrainingDiverged as error:
                    if not self.hooks.accept(error):
                        raise
                    break
                if self.saver is not None:
                    self.saver.after_epoch(epoch)
                epoch += done
            self.hooks.call("on_train_end", logs=logs)
        if self.saver is not None:
            self.saver.finish()
        return self.history

    def _let_go(self) -> None:
        """Data and the bar, however the training ended."""
        self.hooks.let_go()
        self.trainer.drop_data()
        self.progress.close()

    def _resume(self, steps: int | None) -> int:
        """Take up the run where its checkpoint is; the epoch to go on with."""
        options = self.options
        first, self.first_batch = self.saver.restore()
        self.engine = self.trainee.built()
        self.trainer = self.engine.formed(self.form).trainer(self.purpose, self.compilation)
        if self.solving is not None:
            self._solve()
        self.progress.due((first - options.initial_epoch) * (steps or 0))
        return int(first)

    def _solve(self) -> None:
        """Let a solver take the steps."""
        self.solving = solving.Solving(self.engine, self.compilation, self.trainer)

    def _epoch(
        self, epoch: int, train: Dataset | None, batches: Any, steps: int | None, validation: Any
    ) -> dict[str, float]:
        self.progress.epoch_begin()
        if self.first_batch == 0:  # else a resumed epoch
            self.hooks.call("on_epoch_begin", epoch)
        self.schedule.begin()
        self.compilation.measures.reset()
        report: dict[str, float] = {}
        results: dict[str, Any] | None = None  # of a solver's iteration
        last = None  # the number of the last batch, where the core has none
        if self.solving is not None:
            assert train is not None
            results, report = self._solver_epoch(epoch, self.solving, train)
        elif train is not None and self.options.bptt is not None:
            self._window_epoch(epoch, train, self.options.bptt)
        elif train is not None:
            self._array_epoch(epoch, train, steps)
        else:
            last = self._batch_epoch(epoch, batches, steps)
        if self.trainer.pending:  # gradients of a rest of accumulate_steps, or of a stop
            rate = float(self.optimizer.rates(self.optimizer.iterations, 1)[0])
            self._guarded(epoch, lambda: self.trainer.flush(rate), batch=last)
        self.counters.epochs_done += 1
        results = results or self.trainer.results()
        logs: dict[str, float] = {**self.compilation.measures.logs(results), **report}
        if validation is not None and (epoch + 1) % self.options.validation_freq == 0:
            options = self.options
            self.hooks.call("on_test_begin")
            with self.hooks.around_validation():
                size, most = options.validation_batch_size, options.validation_steps
                found = self.trainee.evaluate(validation, size, "val_", most)
                logs.update(found)
                self.hooks.call("on_test_end", logs=found)
                self._tell(epoch, logs)
        else:
            self._tell(epoch, logs)
        return logs

    def _tell(self, epoch: int, logs: dict[str, float]) -> None:
        self.progress.epoch_end(epoch, logs)
        self.hooks.call("on_epoch_end", epoch, logs=logs)
        if len(self.hooks.items) > 1:
            self.history.record(epoch, logs)  # what callbacks have added

    def _solver_epoch(
        self, epoch: int, solver: solving.Solving, train: Dataset
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """One iteration on all of the data; the last one stops the training."""
        with self._told(0):
            [(results, report)] = self._iterations(epoch, solver, train, 1)
        self._stops(epoch, 1)
        return results, report

    def _iterations(
        self, epoch: int, solver: solving.Solving, train: Dataset, most: int
    ) -> list[tuple[dict[str, Any], dict[str, float]]]:
        found: list[tuple[dict[str, Any], dict[str, float]]] = []
        self.trainer.set_data(train.xs, train.ys, train.told)
        self._guarded(epoch, lambda: found.extend(solver.iterations(train, most)))
        if solver.optimizer.stopped:
            self.model.stop_training = True
        return found

    def _is_unseen(self, validation: Any) -> bool:
        """Whether a solver's iterations are heard of by the History alone, when they are done."""
        alone = len(self.hooks.items) == 1 and not self.options.verbose and self.saver is None
        quiet = validation is None and not self.compilation.measures.states()
        return self.solving is not None and alone and quiet

    def _unseen_epochs(self, epoch: int, train: Dataset) -> tuple[dict[str, float], int]:
        """A slice of time full of such iterations: the last one's logs, and how many they are."""
        assert self.solving is not None
        begun = time.perf_counter()
        found = self._iterations(epoch, self.solving, train, self.options.epochs - epoch)
        each = (time.perf_counter() - begun) / len(found)
        logs: dict[str, float] = {}
        for k, (results, report) in enumerate(found):
            self.counters.epochs_done += 1
            logs = {**self.compilation.measures.logs(results), **report}
            self.history.add(epoch + k, logs, each)
        return logs, len(found)

    def _array_epoch(self, epoch: int, train: Dataset, steps: int | None) -> None:
        trainer, engine = self.trainer, self.engine.of(train)
        self._feed(trainer, train, self.first_batch)
        stop = False
        if self.first_batch:
            self.saver.restore_results(trainer)
            self.progress.due(self.first_batch)
            self.first_batch = 0
            stop = self.model.stop_training
        end = trainer.n_batches if steps is None else steps
        hooks, schedule = self.hooks.has_batch_hooks, self.schedule
        while trainer.batch < end and not stop:
            batch = int(trainer.batch)
            with self._told(batch):
                known = trainer
                trainer = engine.trainer(self.purpose, self.compilation)
                if trainer is not known:  # a callback has changed a setting
                    self._feed(trainer, train, batch)
                    trainer.take_results(known)
                    self.trainer = trainer
                rates = schedule.next(self.optimizer.iterations)
                # One rate means "for all steps" to the core; the last of a schedule is for one.
                single = hooks or (rates.size == 1 and not schedule.constant)
                limit = 1 if single else end - batch
                if self.saver is not None:
                    limit = min(limit, self.saver.batches_left())
                self._guarded(epoch, lambda t=trainer, r=rates, m=limit: t.run(r, m, SLICE))
            if self.saver is not None:
                self.saver.after_batches(epoch, int(trainer.batch) - batch, int(trainer.batch))
            stop = self._stops(epoch, int(trainer.batch) - batch)

    def _feed(self, trainer: Any, train: Dataset, first_batch: int) -> None:
        """An epoch on arrays goes on, from this batch on, in this trainer."""
        if self.fed is not trainer:
            trainer.set_data(train.xs, train.ys, train.told, train.largest)
            self.fed = trainer
        size = batch_size_of(self.options.batch_size, train.n)
        trainer.start_epoch(
            size,
            shuffle=self.options.shuffle,
            seed=seeding.mix(self.model.seed, seeding.SHUFFLE),
            epoch=self.counters.epochs_done,
            first_batch=first_batch,
            update=True,
        )
        windows.begin(self.engine, trainer, size)

    def _window_epoch(self, epoch: int, train: Dataset, told: windows.Truncation) -> None:
        """An update for each window of each batch; the states go on from window to window."""
        schedule, size = self.schedule, batch_size_of(self.options.batch_size, train.n)
        order = windows.order(self, train, self.counters.epochs_done)
        given = self.engine.trained(self.compilation.credit).given
        places = windows.places(train, order, size, told, bool(given))
        walk = windows.Walk(self.engine, self.compilation)
        self.passes = stretches.Passes(self, train, told) if told.overlaps else None
        done, self.first_batch = self.first_batch, 0
        end = len(places) if self.options.steps is None else min(self.options.steps, len(places))
        stop = False
        if done > 0:  # resumed
            self.progress.due(done)
            self.saver.restore_windows(self.trainer, walk, places[:done])
            stop = self.model.stop_training
        batch = rows = None
        while done < end and not stop:
            self.place = place = places[done]
            if batch is None or rows is not place.rows:
                rows, self.rows = place.rows, order[place.rows]
                batch = subset(train, self.rows)
            if self.passes is not None:
                self._pass(epoch, batch, place, schedule, done)
            else:
                part = windows.cut(batch, place.begin, place.end, place.counts_from)
                trainer = self._trainer_for(part, done > 0)
                if given:
                    given = self.engine.of(part).trained(self.compilation.credit).given
                    part.xs = walk.inputs(given, part, batch, place)
                walk.begin(trainer, batch, place)
                self._window(epoch, trainer, part, schedule, done)
                walk.end(place)
            done += 1
            if self.saver is not None:
                self.saver.after_batches(epoch, 1, done)
            stop = self._stops(epoch, 1)
        self.passes = None
        if not self.engine.stateful:
            self.counters.carried.set({})

    def _pass(
        self, epoch: int, batch: Dataset, place: windows.Place, schedule: Rates, done: int
    ) -> None:
        assert self.passes is not None
        run = self.passes.run
        with self._told(done):
            rate = float(schedule.next(self.optimizer.iterations)[0])
            self._guarded(epoch, lambda: run(batch, place, rate), batch=done)

    def _window(self, epoch: int, trainer: Any, part: Dataset, schedule: Rates, done: int) -> None:
        with self._told(done):
            rate = float(schedule.next(self.optimizer.iterations)[0])
            self._guarded(
                epoch,
                lambda: trainer.train_step(
                    part.xs, part.ys, part.told, rate, update=True, reset=done == 0, more=True
                ),
                batch=done,
            )

    def _trainer_for(self, item: Dataset, goes_on: bool) -> Any:
        """The trainer for a batch, which may be of another length than the one before."""
        trainer = self.engine.of(item).trainer(self.purpose, self.compilation)
        if trainer is not self.trainer:
            if goes_on:
                trainer.take_results(self.trainer)
            self.trainer = trainer
        return trainer

    def _batch_epoch(self, epoch: int, batches: Any, steps: int | None) -> int:
        """Returns the number of the last batch."""
        done, schedule = 0, self.schedule
        for item in batches.epoch(steps):
            with self._told(done):
                rate = float(schedule.next(self.optimizer.iterations)[0])
                reset = done == 0
                trainer = self._trainer_for(item, not reset)
                windows.begin(self.engine, trainer, item.n)
                self._guarded(
                    epoch,
                    lambda t=trainer, d=item, r=rate, f=reset: t.train_step(
                        d.xs, d.ys, d.told, r, update=True, reset=f, more=True, largest=d.largest
                    ),
                    batch=done,
                )
            done += 1
            if self._stops(epoch, 1):
                break
        if done == 0:
            raise ValueError(
                f"x gave no batch in epoch {epoch + 1}, expected at least 1: an iterator is used "
                "up when it is read; make it longer, or pass an object that starts anew at each "
                "iter()"
            )
        return done - 1

    def _stops(self, epoch: int, batches: int) -> bool:
        """After a slice or batch: refresh the bar, look at clocks; whether to stop now."""
        if self.progress.due(batches):
            self.progress.show(epoch, self._logs())
        for item in self.hooks.slice_hooks:
            item.on_train_slice_end()
        return bool(self.model.stop_training)

    def _logs(self) -> dict[str, float]:
        """Of the epoch so far."""
        return self.compilation.measures.logs(self.trainer.results(), final=False)

    def _told(self, batch: int) -> AbstractContextManager[None]:
        """Callbacks hear of a batch before and after it, if any wants to."""
        return self._heard(batch) if self.hooks.has_batch_hooks else _UNHEARD

    @contextmanager
    def _heard(self, batch: int) -> Iterator[None]:
        self.hooks.call("on_train_batch_begin", batch)
        yield
        self.hooks.call("on_train_batch_end", batch, logs=self._logs())

    def _guarded(self, epoch: int, work: Any, batch: int | None = None) -> None:
        try:
            work()
        except _core.Diverged as error:
            rate = self.optimizer.current_rate()
            raise diverged(error, epoch, rate, batch, self.rows) from None


class Rates:
    """Learning rates for the coming updates, computed ahead in one go for a schedule."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.constant = False
        self.of: Any = None  # the schedule, and the optimizer's factor
        self.origin: Any = None  # what the rates follow from; None: nobody can tell
        self.first = -1  # -1: none are known
        self.values = np.empty(0)  # of this rate, from step `first` on

    def begin(self) -> None:
        """An epoch: a callback may have changed what code of the user's goes by."""
        if self.origin is None:
            self.first = -1

    def next(self, step: int) -> Array:
        """Rates from `step` on, at least one; one alone is meant for all steps if constant."""
        optimizer = self.optimizer
        rate, factor = optimizer.learning_rate, optimizer._rate_factor  # which callbacks may change
        if isinstance(rate, float):
            rate *= factor
            if not self.constant or self.values[0] != rate:
                self.constant, self.first, self.values = True, -1, np.array([rate])
            return self.values
        self.constant = False
        offset = step - self.first
        origin = rate._origin() if isinstance(rate, Schedule) else None
        known = self.first >= 0 and 0 <= offset < len(self.values)
        if not known or self.of != (rate, factor) or self.origin != origin:
            self.of, self.origin = (rate, factor), origin
            self.first, offset = step, 0
            self.values = optimizer.rates(step, _RATES)
        return np.ascontiguousarray(self.values[offset:])
