"""`fit` with ``checkpoint=``: reading, comparing, resuming and saving a run.

A file belongs to one run (`train.identity`), and holds nothing but what this run's states can be
(`train.expected`). Both are looked at before anything is changed, and again before anything is
written.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from .. import metrics
from ..base.memory import Array
from ..callbacks.base import Stateful
from ..callbacks.history import History
from ..data.dataset import Dataset
from ..errors import CheckpointError, CheckpointWarning, CodeWarning, FormatError, warn
from ..files import checkpoint, container, lock, products, save
from ..files.container import shown
from ..files.values import Decoder, Encoder
from . import format_1, identity, windows
from .expected import Expected

_ANY = 2**62
_FIT = {"run", "position", "finished", "stopped", "gathered", "metrics", "history", "callbacks"}
_SPARE = 2**16  # bytes by which the description of a run may grow


class Run:
    """One run of `fit` and its file; `take` and `read` it before, and tell it of every batch."""

    def __init__(self, loop: Any, train: Dataset, validation: Dataset | None) -> None:
        self.loop, self.model, self.options = loop, loop.model, loop.options
        self.path = self.options.checkpoint
        self.file = shown(self.path, 1000)
        self.items = list(loop.hooks.items)  # the user's callbacks
        self.since = 0  # batches since the last save
        self.every = self.options.checkpoint_every
        self.expected = Expected(loop, train)
        self.told = identity.describe(loop, self.items, train, validation)
        self.held: Any = None  # the part of fit in the file, None if there is no file
        self.apply: Any = None
        self.stretches: dict[str, Array] = {}  # of the file: steps that overlapping windows need
        self.unwritten = ""  # why the last save was left out
        self._try()

    def _try(self) -> None:
        """Say before the first epoch what no file can hold, of all that is known by then."""
        begin = [self.expected.first, 0]
        try:
            document, arrays, held = self._moment(begin, False, with_metrics=self.every is not None)
        except RecursionError as error:
            raise ValueError(
                f"{self.file}: the state of a callback or metric is nested too deep, or is part of "
                "itself; give it a get_state of numbers, strings, arrays, lists and dicts"
            ) from error
        text = checkpoint.packed_fit(held).tobytes().decode()
        container.parsed(text, "cannot save: the description of the run")
        more = sum(item._state_kind(self.model).arrays() for item in self.items)
        arrays |= {f"@array/{10**9 + i}": np.empty(0) for i in range(more)}
        container.check(document, arrays, _SPARE)

    def take(self) -> io.FileIO:
        """Hold the path until the file returned is closed, which is what ``with`` does."""
        try:
            return lock.take(self.path)
        except BlockingIOError as error:
            raise CheckpointError(
                f"{self.file}: another fit works with this checkpoint ({error}); wait for it, or "
                "pass another path"
            ) from error
        except FileExistsError as error:
            raise CheckpointError(
                f"{self.file}: cannot be locked: {error}; move that file away, or pass another path"
            ) from error

    # ---- reading --------------------------------------------------------------------------------
    def read(self) -> None:
        """Read the file if it is there; nothing of the model is changed."""
        try:
            self._compare(container.read(self.path, max_bytes=_ANY))  # it was written by a fit
        except FileNotFoundError:
            pass  # a new run
        except CheckpointError:
            raise
        except FormatError as error:
            raise CheckpointError(
                f"{error}; to start afresh delete the file, or pass another path"
            ) from error

    def _compare(self, content: container.Content) -> None:
        """Refuse the file of another run; check all of one's own."""
        document = checkpoint.checked_kind(content, self.file)
        held = checkpoint.fit_of(content, self.file)
        if not isinstance(held, dict) or set(held) != _FIT or not isinstance(held["run"], dict):
            raise CheckpointError(
                f"{self.file}: was not written by fit, expected a checkpoint of a fit; delete it, "
                "pass another path, or read it with bpcore.load_checkpoint"
            )
        earlier = document["format"] == 1
        if earlier:
            changed, said = format_1.compare(self.model, self.loop.engine, held["run"], self.told)
        else:
            changed, said = identity.compare(held["run"], self.told)
        if changed:
            more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
            raise CheckpointError(
                f"{self.file}: is the checkpoint of another run: {'; '.join(changed[:5])}{more}; "
                "to start afresh delete the file, or pass another path"
            )
        products.compare(self.model, document["state"], self.file)
        try:
            self.held = self._checked(held, document["state"], Decoder(content.arrays), earlier)
        except (ValueError, TypeError, LookupError) as error:
            raise FormatError(f"{self.file}: {error}") from error
        self.apply = checkpoint.prepare(
            self.model,
            self.loop.counters,
            self.loop.trainee.renew,
            document["state"],
            content.arrays,
            self.file,
        )
        checkpoint.warn_of_differences(document, self.file)
        if self.loop.engine.stateful and not checkpoint.carried(content.arrays):
            self._warn_of_states(held["position"])
        if earlier:
            format_1.warn_of_metrics(self.file, held["gathered"], self.told)
        if said:
            warn(
                f"{self.file}: whether this is the run of the file cannot be told of all code: "
                f"{'; '.join(said[:5])}; the training goes on: make sure that the code is the one "
                "it began with, or that the change is meant",
                CodeWarning,
            )

    def _warn_of_states(self, position: list[int]) -> None:
        if position != [self.expected.first, 0]:
            warn(
                f"{self.file}: was written before files held the states of stateful layers; the "
                "training goes on with zeros, and not to the bits of a run that was not stopped",
                CheckpointWarning,
            )

    def _checked(
        self, held: dict[str, Any], state: Any, decoder: Decoder, earlier: bool
    ) -> dict[str, Any]:
        """The part of fit, decoded, if all of it is what this run can have written."""
        expected = self.expected
        expected.check_place(held)
        epoch, batch = held["position"]
        if batch:
            expected.begin(batch)
        expected.state().check(checkpoint.whole(self.model, state), "state")
        expected.epochs_done = state["epochs_done"]
        expected.check_carried(checkpoint.carried(decoder.arrays), epoch, batch)
        self.stretches = checkpoint.stretches(decoder.arrays)
        expected.check_stretches(self.stretches, batch)
        plain = {key: decoder(held[key]) for key in sorted(_FIT - {"run"})}
        if earlier:
            specs, sizes = self.loop.compilation.measures.specs, self.loop.trainer.gathered_sizes()
            plain["gathered"] = format_1.gathered(plain["gathered"], specs, sizes)
        gathered = plain["gathered"]
        if isinstance(gathered, dict) and "terms" not in gathered:  # from before there were steps
            count = batch * expected.batch_size
            rows = np.full(len(gathered.get("loss", ())), min(count, expected.train.n), np.float64)
            plain["gathered"] = {**gathered, "terms": rows}
        expected.fit(epoch, batch).check(plain, "fit")
        decoder.check_all_used()
        own = {key: a for key, a in decoder.arrays.items() if checkpoint.is_state(key)}
        expected.arrays(own).check(own, checkpoint.named_arrays(self.model))
        return plain

    # ---- resuming -------------------------------------------------------------------------------
    def finished(self) -> History | None:
        """The History, and model and callbacks as they were at the end, of a finished run."""
        if self.held is None or not self.held["finished"]:
            return None
        for item in self.items:
            item.set_model(self.model)
        self.restore()
        for item in self.items:
            if isinstance(item, Stateful):
                item._resumed = False  # there is no fit to go on with: the next one is new
        history: History = self.loop.history
        history.model = self.model
        return history

    def restore(self) -> tuple[int, int]:
        """Put all of the file in, or nothing; the epoch and the batch to go on with."""
        if self.held is None:
            return self.options.initial_epoch, 0
        self._restore_callbacks()
        self.apply()
        history, held = self.loop.history, self.held["history"]
        history.epoch, history.history, history.epochs = (
            held["epoch"],
            held["history"],
            held["epochs"],
        )
        self.model.stop_training = self.held["stopped"]
        epoch, batch = self.held["position"]
        if self.options.verbose and not self.held["finished"]:
            print(f"resuming {self.file} at epoch {epoch + 1}, batch {batch}", flush=True)
        return epoch, batch

    def _restore_callbacks(self) -> None:
        before = [(item, dict(vars(item))) for item in self.items]
        for item, entry in zip(self.items, self.held["callbacks"], strict=True):
            try:
                item.set_state(entry["state"])
            except BaseException as error:
                for other, attributes in before:
                    vars(other).clear()
                    vars(other).update(attributes)
                if not isinstance(error, Exception):  # Ctrl-C
                    raise
                raise CheckpointError(
                    f"{self.file}: {type(item).__name__} does not take its state: "
                    f"{type(error).__name__}: {error}; nothing was changed; to start afresh delete "
                    "the file, or pass another path"
                ) from error

    def restore_windows(self, trainer: Any, walk: Any, done: list[windows.Place]) -> None:
        """After these windows of an epoch."""
        trainer.reset_results()
        self.restore_results(trainer, windows.samples(done))
        if self.loop.passes is None:
            walk.resume(done[-1])
        else:
            rows = windows.samples(done[-1:])
            self.loop.passes.resume(rows, self.stretches)

    def restore_results(self, trainer: Any, samples: int = -1) -> None:
        """What the epoch in progress had gathered, of so many samples if they came in windows."""
        trainer.set_gathered(self.held["gathered"], samples)
        states = self.held["metrics"]
        for (metric, _), state in zip(self._python_metrics(), states, strict=True):
            metric.set_state(tuple(state))

    def _python_metrics(self) -> list[tuple[metrics.PythonMetric, Any]]:
        states: list[tuple[metrics.PythonMetric, Any]] = self.loop.compilation.measures.states()
        return states

    # ---- saving ---------------------------------------------------------------------------------
    def batches_left(self) -> int:
        """How many batches may run before the next save."""
        return 2**62 if self.every is None else max(1, self.every - self.since)

    def after_batches(self, epoch: int, count: int, batch: int) -> None:
        """Save if it is time, and no gradients wait for others to make an update."""
        self.since += count
        if self.every is not None and self.since >= self.every and self.loop.trainer.pending == 0:
            self._save([epoch, batch])

    def after_epoch(self, epoch: int) -> None:
        """Save if that is the interval."""
        if self.every is None:
            self._save([epoch + 1, 0])

    def finish(self) -> None:
        """The run is complete: a later one returns its History at once."""
        self._save([self.options.epochs, 0], finished=True)

    def _save(self, position: list[int], finished: bool = False) -> None:
        """Write what can be read again; else say why it is not, and keep the file of before."""
        self.since = 0
        try:
            document, arrays, held = self._moment(position, finished)
            self._check(document, arrays, held)
            arrays[checkpoint.FIT] = checkpoint.packed_fit(held)
            pieces = checkpoint.packed(document, arrays)
        except (TypeError, ValueError, LookupError, RecursionError) as error:
            if not self.unwritten:
                self.unwritten = str(error)
                warn(
                    f"{self.file}: the checkpoint of epoch {position[0] + (position[1] > 0)}, "
                    f"batch {position[1]}, was not written: {error}; the training goes on, and the "
                    "file stays as it is until one can be written",
                    CheckpointWarning,
                )
            return
        checkpoint.write(self.path, pieces)
        self.unwritten = ""

    def _check(self, document: Any, arrays: dict[str, Array], held: dict[str, Any]) -> None:
        """ValueError for what the next process would not take."""
        expected, decoder = self.expected, Decoder(arrays, copy=False)
        own = {k: a for k, a in arrays.items() if checkpoint.is_state(k)}
        expected.arrays(own).check(own, checkpoint.named_arrays(self.model))
        expected.state().check(document["state"], "state")
        expected.check_place(held)
        expected.epochs_done = self.loop.counters.epochs_done
        expected.check_carried(checkpoint.carried(arrays), *held["position"])
        expected.check_stretches(checkpoint.stretches(arrays), held["position"][1])
        plain = {key: decoder(held[key]) for key in sorted(_FIT - {"run"})}
        expected.fit(*held["position"]).check(plain, "fit")

    def _moment(
        self, position: list[int], finished: bool, *, with_metrics: bool = False
    ) -> tuple[dict[str, Any], dict[str, Array], dict[str, Any]]:
        """Document, arrays and part of fit as they are now."""
        loop, model = self.loop, self.model
        state, arrays = checkpoint.capture(model, loop.counters)
        encode = Encoder(arrays)
        begun = position[1] > 0
        if begun and loop.passes is not None:
            kept = loop.passes.kept(loop.place)
            arrays |= {checkpoint.STRETCH + key: array for key, array in kept.items()}
        states = [s for _, s in self._python_metrics()] if begun or with_metrics else []
        names = ("epoch", "history", "epochs")
        held = {
            "run": self.told,
            "position": position,
            "finished": finished,
            "stopped": bool(model.stop_training),
            "gathered": encode(loop.trainer.gathered() if begun else None, "gathered"),
            "metrics": encode(states, "state of a metric"),
            "history": encode({name: getattr(loop.history, name) for name in names}, "history"),
            "callbacks": [
                {
                    "class_name": type(item).__name__,
                    "state": encode(item.get_state(), f"state of callback {type(item).__name__}"),
                }
                for item in self.items
            ],
        }
        encode.close()
        return {"kind": checkpoint.KIND, "model": self._model(), "state": state}, arrays, held

    def _model(self) -> Any:
        """The description for `load_checkpoint`, None if a part of the model is not data."""
        try:
            self.loop.compilation.get_config()
            return save.describe(self.model)
        except TypeError:
            return None
