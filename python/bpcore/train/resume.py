"""`fit` with ``checkpoint=``: what makes a run the same run, and saving and resuming it.

A file belongs to one run: model, data and arguments. They are compared before anything is changed.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import metrics
from ..base import arguments, checks
from ..base.memory import Array
from ..callbacks import History
from ..callbacks.base import Stateful
from ..data.dataset import Dataset, batch_size_of
from ..errors import CheckpointError, FormatError
from ..files import checkpoint, container, lock, save
from ..files.checkpoint import decode, encode
from ..files.container import shown

_SAMPLE = 2**26  # bytes of an array that are hashed; of a larger one evenly spaced rows
_CHUNK = 2**22
_ANY = 2**62
_FORM = 2  # of what an epoch has gathered; without the number it is the first
_FIT = {"run", "position", "finished", "stopped", "gathered", "metrics", "history", "callbacks"}


class Run:
    """One run of `fit` and its file; `open` it before, and tell it of every batch and epoch."""

    def __init__(self, loop: Any, train: Dataset, validation: Dataset | None) -> None:
        self.loop, self.model, self.options = loop, loop.model, loop.options
        self.train = train
        self.path = self.options.checkpoint
        self.file = shown(self.path, 1000)
        self.items = list(loop.hooks.items)  # the user's callbacks
        self.since = 0  # batches since the last save
        self.every = self.options.checkpoint_every
        self.told = {**_described(self.model), "arguments": _arguments(self.options)}
        self.told["callbacks"] = [type(item).__name__ for item in self.items]
        self.told["data"] = fingerprint(train)
        self.told["validation data"] = None if validation is None else fingerprint(validation)
        self.held: Any = None  # the part of fit in the file, None if there is no file
        self.arrays: dict[str, Array] = {}
        self.apply: Any = None
        for item in self.items:  # what cannot be saved is better known before the first epoch
            encode(item.get_state(), {}, f"state of callback {type(item).__name__}")

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

    def read(self) -> None:
        """Read the file if it is there; nothing of the model is changed."""
        try:
            content = container.read(self.path, max_bytes=_ANY)  # it was written by a fit
            self.arrays = content.arrays
            self._compare(checkpoint.checked_kind(content, self.file))
        except FileNotFoundError:
            pass  # a new run
        except CheckpointError:
            raise
        except FormatError as error:
            raise CheckpointError(
                f"{error}; to start afresh delete the file, or pass another path"
            ) from error

    def _compare(self, document: dict[str, Any]) -> None:
        """Refuse the file of another run; check all of one's own."""
        held = document.get("fit")
        if not isinstance(held, dict) or set(held) != _FIT or not isinstance(held["run"], dict):
            raise CheckpointError(
                f"{self.file}: was not written by fit, expected a checkpoint of a fit; delete it, "
                "pass another path, or read it with bpcore.load_checkpoint"
            )
        changed = list(differences(held["run"], self.told))
        if changed:
            more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
            raise CheckpointError(
                f"{self.file}: is the checkpoint of another run: {'; '.join(changed[:5])}{more}; "
                "to start afresh delete the file, or pass another path"
            )
        self._check_position(held)
        state = document["state"]
        self.apply = checkpoint.prepare(self.model, state, self.arrays, self.file)
        self.held = held
        checkpoint.warn_of_differences(document, self.file)
        self._warn_of_old_metrics(held["gathered"])

    def _warn_of_old_metrics(self, gathered: Any) -> None:
        """In the first form all metrics were weighted."""
        weighted = any(self.told["data"]["sample_weight"])
        if gathered and "form" not in gathered and weighted and any(gathered["metrics"]):
            warnings.warn(
                f"{self.file}: the metrics of the epoch in progress were weighted up to there, and "
                "are not from now on: compile has weighted_metrics for those that are to be; this "
                "epoch's are of both kinds",
                stacklevel=4,
            )

    def _check_position(self, held: dict[str, Any]) -> None:
        options = self.options
        try:
            epoch, batch = held["position"]
            first = min(options.initial_epoch, options.epochs)
            checks.integer("epoch", epoch, first, options.epochs)
            checks.integer("batch", batch, 0, 2**62)
            checks.boolean("finished", held["finished"])
            checks.boolean("stopped", held["stopped"])
            self.history = _checked_history(self._decoded(held["history"]))
            names = [item["class_name"] for item in held["callbacks"]]
            if names != self.told["callbacks"]:
                raise ValueError(f"states of callbacks {names}")
            for item in held["callbacks"]:
                self._decoded(item["state"])
            if batch:
                self._check_results(held, batch)
            elif held["gathered"] is not None or held["metrics"] != []:
                raise ValueError("results of an epoch that has not begun")
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise FormatError(f"{self.file}: fit: {reason}") from error

    def _check_results(self, held: dict[str, Any], batch: int) -> None:
        """A trial on the trainer, which begins its epochs anew in any case."""
        trainer, train = self.loop.trainer, self.train
        trainer.set_data(train.xs, train.ys, train.ws)
        trainer.start_epoch(batch_size_of(self.options.batch_size, train.n), first_batch=batch)
        trainer.set_gathered(self._gathered(held, trainer.gathered_sizes()))
        states = self._decoded(held["metrics"])
        kinds = [[type(part) for part in state] for state in states]
        if kinds != [[float, float, dict]] * len(self._python_metrics()):
            raise ValueError(f"states of metrics in Python: {checks.describe(states)}")

    def _decoded(self, value: Any) -> Any:
        return decode(value, self.arrays)

    def _gathered(self, held: dict[str, Any], sizes: list[list[int]]) -> Any:
        """What the core had gathered of the epoch."""
        gathered = self._decoded(held["gathered"])
        if "form" not in gathered:
            specs = self.loop.compiled.measures.specs
            for states, kinds, counts in zip(gathered["metrics"], specs, sizes, strict=True):
                for i, (state, spec, size) in enumerate(zip(states, kinds, counts, strict=True)):
                    states[i] = _of_today(spec, state, size)
        elif gathered["form"] != _FORM:
            raise ValueError(f"gathered: form {checks.describe(gathered['form'])}")
        return gathered

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
        """Put all of the file in; the epoch and the batch to go on with."""
        if self.held is None:
            return self.options.initial_epoch, 0
        for item, entry in zip(self.items, self.held["callbacks"], strict=True):
            try:
                item.set_state(self._decoded(entry["state"]))
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                raise CheckpointError(
                    f"{self.file}: {type(item).__name__} does not take its state: {error}"
                ) from error
        self.apply()
        history = self.loop.history
        history.epoch, history.history, history.epochs = self.history
        self.model.stop_training = self.held["stopped"]
        epoch, batch = self.held["position"]
        if self.options.verbose and not self.held["finished"]:
            print(f"resuming {self.file} at epoch {epoch + 1}, batch {batch}", flush=True)
        return epoch, batch

    def restore_results(self, trainer: Any) -> None:
        """What the epoch in progress had gathered."""
        trainer.set_gathered(self._gathered(self.held, trainer.gathered_sizes()))
        states = self._decoded(self.held["metrics"])
        for (metric, _), state in zip(self._python_metrics(), states, strict=True):
            metric.set_state(tuple(state))

    def _python_metrics(self) -> list[tuple[metrics.PythonMetric, Any]]:
        states: list[tuple[metrics.PythonMetric, Any]] = self.loop.compiled.measures.states()
        return states

    # ---- saving ---------------------------------------------------------------------------------
    def batches_left(self) -> int:
        """How many batches may run before the next save."""
        return 2**62 if self.every is None else max(1, self.every - self.since)

    def after_batches(self, epoch: int, count: int) -> None:
        """Save if it is time, and no gradients wait for others to make an update."""
        self.since += count
        trainer = self.loop.trainer
        if self.every is not None and self.since >= self.every and trainer.pending == 0:
            self._save((epoch, int(trainer.batch)))

    def after_epoch(self, epoch: int) -> None:
        """Save if that is the interval."""
        if self.every is None:
            self._save((epoch + 1, 0))

    def finish(self) -> None:
        """The run is complete: a later one returns its History at once."""
        self._save((self.options.epochs, 0), finished=True)

    def _save(self, position: tuple[int, int], finished: bool = False) -> None:
        loop, model = self.loop, self.model
        if checkpoint.flawed_weight(model):  # the next batch will say so; the last good file stays
            return
        state, arrays = checkpoint.capture(model)
        gathered = {**loop.trainer.gathered(), "form": _FORM} if position[1] else None
        states = [state for _, state in self._python_metrics()] if position[1] else []
        names = ("epoch", "history", "epochs")
        history = {name: getattr(loop.history, name) for name in names}
        held = {
            "run": self.told,
            "position": list(position),
            "finished": finished,
            "stopped": bool(model.stop_training),
            "gathered": encode(gathered, arrays, "gathered"),
            "metrics": encode(states, arrays, "state of a metric"),
            "history": encode(history, arrays, "history"),
            "callbacks": [
                {
                    "class_name": type(item).__name__,
                    "state": encode(
                        item.get_state(), arrays, f"state of callback {type(item).__name__}"
                    ),
                }
                for item in self.items
            ],
        }
        document = {"kind": checkpoint.KIND, "model": _model(model), "state": state, "fit": held}
        checkpoint.write(self.path, document, arrays)
        self.since = 0


def _of_today(spec: tuple[str, dict[str, Any]], state: Any, size: int) -> Any:
    """Running sums of a metric as the first files have them, as they are now."""
    kind, options = spec
    if kind == "counts":  # [true, predicted] by class: hits, predicted and true
        classes = math.isqrt(np.size(state))
        square = np.reshape(state, (classes, classes))
        return np.concatenate([np.diag(square), square.sum(axis=0), square.sum(axis=1)])
    if kind == "auc" and np.size(state) != size and np.size(state) % 6 == 0:
        # each of two columns by itself: score, weight, positive
        a, weight, first, b, _, second = np.reshape(state, (-1, 6)).T
        both = [a, b, weight, first, second] if options["labels"] else [b - a, weight, second]
        return np.stack(both, axis=1).ravel()
    return state


def _checked_history(
    value: Any,
) -> tuple[list[int], dict[str, list[float]], dict[str, list[int]]]:
    """Epochs, their numbers, and of each column the epochs that have it."""
    if not isinstance(value, dict) or set(value) != {"epoch", "history", "epochs"}:
        raise ValueError(
            f"history: got {checks.describe(value)}, expected epoch, history and epochs"
        )
    epochs = [checks.integer("history: epoch", epoch, 0) for epoch in value["epoch"]]
    columns, places = dict(value["history"]), dict(value["epochs"])
    if set(columns) != set(places):
        raise ValueError(f"history: epochs of {shown(str(list(places)))}, not of its columns")
    for name, column in columns.items():
        if not isinstance(column, list):
            raise ValueError(f"history: {name} is {checks.describe(column)}, expected a list")
        flat = [v for item in column for v in (item if isinstance(item, list) else [item])]
        if not all(isinstance(v, (int, float)) for v in flat):
            raise ValueError(f"history: {name} is {checks.describe(column)}, expected numbers")
        if len(column) != len(places[name]) or not set(places[name]) <= set(epochs):
            raise ValueError(f"history: {name} has epochs {shown(str(places[name]))}")
    return epochs, columns, places


# ---- what makes a run the same run ---------------------------------------------------------------


def _model(model: Any) -> Any:
    """The description for `load_checkpoint`, None if a part of the model is not data."""
    try:
        model._compiled.get_config()
        return save.describe(model)
    except TypeError:
        return None


def _described(model: Any) -> dict[str, Any]:
    """Model and compilation; parts in Python by their names, the seed only if it is a given one."""
    try:
        config = save.describe(model)
    except TypeError:
        config = {"layers": [layer.label for layer in model.layers], "compute": model.compute}
    inner = config.get("config", config)
    inner.pop("compile", None)
    trained = model.optimizer.iterations > 0
    if not model._seed_told:
        inner.pop("seed", None)
    compiled = model._compiled
    plain = _Told()
    told = {
        "optimizer": [type(compiled.optimizer).__name__, plain(compiled.optimizer._config_args)],
        "loss": plain(compiled.loss),
        "metrics": plain(compiled.measures.plain),
        "loss_weights": plain(compiled.loss_weights),
        "gradient_clip_norm": compiled.clip_norm,
        "gradient_clip_value": compiled.clip_value,
        "accumulate_steps": compiled.accumulate_steps,
        "parameter_groups": compiled.groups.get_config(),
    }
    if compiled.measures.weighted:  # not in the first files
        told["weighted_metrics"] = plain(compiled.measures.weighted)
    start = None
    if model._seed_told or trained:
        start = {p.name: _moments(p.value) for p in model.weights}
    counters = [model.optimizer.iterations, model._epochs_done, model._draws]
    return {"model": config, "compile": told, "counters": counters, "weights at the start": start}


class _Told(arguments.PlainArguments):
    """What `compile` was told; a Python object that is no data by its name."""

    def other(self, value: Any, where: str) -> Any:
        try:
            return super().other(value, where)
        except TypeError:
            owner = value if hasattr(value, "__qualname__") else type(value)
            return f"{owner.__module__}.{owner.__qualname__}"


def _moments(value: Array) -> list[float]:
    """Mean and mean square: equal on every CPU but for the last digits."""
    wide = value.astype(np.float64)
    return [float(wide.mean()), float((wide * wide).mean())] if value.size else [0.0, 0.0]


def _arguments(options: Any) -> dict[str, Any]:
    return {
        "batch_size": None if options.batch_size is None else int(options.batch_size),
        "epochs": options.epochs,
        "initial_epoch": options.initial_epoch,
        "shuffle": options.shuffle,
        "steps_per_epoch": options.steps,
        "validation_split": options.split,
        "validation_steps": options.validation_steps,
        "validation_freq": options.validation_freq,
        "validation_batch_size": options.validation_batch_size,
    }


def fingerprint(dataset: Dataset) -> dict[str, Any]:
    """What tells data apart: shapes, types and hashes of inputs, targets and weights."""
    return {
        "x": [_array(a) for a in dataset.xs],
        "y": [_array(a) for a, _ in dataset.ys],
        "sample_weight": [None if w is None else _array(w) for w in dataset.ws],
    }


def _array(array: Array) -> dict[str, Any]:
    digest = hashlib.sha256()
    n = array.shape[0]
    row = max(1, array.nbytes // max(n, 1))
    kind = array.dtype.newbyteorder("<")
    if array.nbytes <= _SAMPLE:
        step = max(1, _CHUNK // row)
        parts: Any = (array[i : i + step] for i in range(0, n, step))
    else:
        rows = np.linspace(0, n - 1, max(2, _SAMPLE // row)).astype(np.int64)
        parts = (array[rows[i : i + 256]] for i in range(0, len(rows), 256))
    for part in parts:
        digest.update(np.ascontiguousarray(part, dtype=kind).reshape(-1).view(np.uint8).data)
    return {
        "shape": [int(k) for k in array.shape],
        "dtype": array.dtype.name,
        "sha256": digest.hexdigest(),
    }


def differences(was: Any, now: Any, place: str = "") -> Iterator[str]:
    """What differs between two descriptions, in words."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in [*now, *(key for key in was if key not in now)]:
            name = f"{place} {key}".strip()
            yield from differences(was.get(key), now.get(key), name)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for i, (a, b) in enumerate(zip(was, now, strict=True)):
            yield from differences(a, b, f"{place}[{i}]")
    elif isinstance(was, float) and isinstance(now, float):
        if not math.isclose(was, now, rel_tol=1e-5, abs_tol=1e-8):
            yield f"{place} was {was:.6g}, is {now:.6g}"
    elif was != now or isinstance(was, bool) is not isinstance(now, bool):
        yield f"{place} was {shown(str(was), 60)}, is {shown(str(now), 60)}"
