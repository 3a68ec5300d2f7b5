"""Checkpoints: a model with its optimizer's state and counters, so that training goes on as it was.

The file is a container like a model's, with ``"kind": "checkpoint"``: the weights under their own
names, the optimizer's arrays as ``@optimizer/<slot>/<weight>``, and what `fit` adds.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import _core
from .._version import __version__
from ..base import arguments, checks
from ..base.memory import Array
from ..base.plain import Plain
from ..errors import BusyError, CheckpointError, FormatError
from ..graph.parameter import assign, check_writable
from ..layers.noise import RandomLayer
from . import container, save
from .atomic import write_atomically
from .container import shown

KIND = "checkpoint"
_STATE = {"seed", "stream", "epochs_done", "draws", "iterations", "learning_rate", "fma"}
_LATER = {"random"}  # not in the first files
_MAX_COUNT = 2**62
_SLOT = "@optimizer/"  # before <slot>/<layer>/<weight>
_ARRAY = re.compile("@array/[0-9]+")  # what `encode` puts aside


def save_checkpoint(model: Any, path: str | os.PathLike[str]) -> None:
    """Write weights, optimizer state and counters to one file, atomically.

    `load_checkpoint` gives a model whose next `fit` computes the same bits as this one's would.
    During a `fit`, which keeps its own place only in files of its ``checkpoint`` argument, what is
    written is the state after the last batch.

    Raises
    ------
    NotBuiltError, RuntimeError
        The model has no weights, or is not compiled.
    BusyError
        Another thread is training it.
    ValueError
        A weight is NaN or infinite.
    TypeError
        A layer, loss, metric or schedule is a Python object that is not data.
    OSError
        The file could not be written; an existing one is unchanged.
    """
    name = checks.path(path)
    compiled = model._need_compiled()
    model._built(": nothing to save")
    if model._training.held and not model._training.mine:
        raise BusyError(
            f"model {model.name!r} is training in another thread, so that weights and optimizer "
            "state would be those of different moments; call save_checkpoint in a callback, or "
            "pass checkpoint= to fit"
        )
    compiled.get_config()  # raises what model.get_config() leaves out
    flawed = flawed_weight(model)
    if flawed:
        raise ValueError(
            f"weight {flawed!r} holds NaN or Inf, expected finite numbers to go on with; nothing "
            "was written; to look into it write a file by model.save"
        )
    document = {"kind": KIND, "model": save.describe(model)}
    state, arrays = capture(model)
    write(name, {**document, "state": state}, arrays)


def write(name: str, document: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """To the file, as one."""
    write_atomically(name, container.pack(document, arrays))


def is_weight(key: str) -> bool:
    """Whether a tensor is a weight, ``<layer>/<weight>``, whatever the layer is called."""
    return key.count("/") == 1 and not _ARRAY.fullmatch(key)


def checked_kind(content: container.Content, file: str) -> dict[str, Any]:
    """The document of a checkpoint, or an error that says what the file is instead."""
    document = content.document
    if document.get("kind") != KIND:
        raise CheckpointError(
            f"{file}: holds no optimizer state, expected a checkpoint; it is a model for "
            "bpcore.load_model"
        )
    strange = sorted(set(document) - {"format", "bpcore", "kind", "model", "state", "fit"})
    state = document.get("state")
    if strange or not isinstance(state, dict) or set(state) - _LATER != _STATE:
        raise FormatError(
            f"{file}: state: got entries {shown(str(strange or state))}, expected {sorted(_STATE)}"
        )
    return document


def warn_of_differences(document: Mapping[str, Any], file: str) -> None:
    """What does not forbid to go on, but may change bits."""
    fma = bool(_core.config()["fma"])
    if document["state"]["fma"] is not fma:
        was, now = ("FMA", "no FMA") if not fma else ("no FMA", "FMA")
        warnings.warn(
            f"{file}: was written on a CPU (or BPCORE_ISA) with {was}, this one has {now}; the "
            "training goes on, but bit-exact continuation is not guaranteed",
            stacklevel=4,
        )
    if document["bpcore"] != __version__:
        warnings.warn(
            f"{file}: was written by bpcore {document['bpcore']}, this is {__version__}; the "
            "training goes on, but bit-exact continuation is not guaranteed",
            stacklevel=4,
        )


# ---- the state of a model ------------------------------------------------------------------------


def capture(model: Any) -> tuple[dict[str, Any], dict[str, Array]]:
    """Counters as data, and the arrays of weights and optimizer; they are not copied."""
    optimizer = model._need_compiled().optimizer
    arrays = save.arrays_of(model)
    taken = next((name for name in arrays if not is_weight(name)), None)
    if taken is not None:
        raise ValueError(
            f"weight {taken!r} has a name that checkpoints need for themselves, expected another; "
            "rename the layer"
        )
    names = _slot_names(optimizer)
    for p in model.weights:
        for slot, array in zip(names, optimizer._slots.get(p, []), strict=False):
            arrays[f"{_SLOT}{slot}/{p.name}"] = array
    state = {
        "seed": model.seed,
        "stream": model._stream,
        "epochs_done": model._epochs_done,
        "draws": model._draws,
        "iterations": optimizer.iterations,
        "learning_rate": rate_as_data(optimizer),
        "fma": bool(_core.config()["fma"]),
        "random": {layer.name: [layer._seed, layer._stream] for layer in _random_layers(model)},
    }
    return state, arrays


def flawed_weight(model: Any) -> str | None:
    """The name of a weight that is not finite."""
    return next((p.name for p in model.weights if not np.isfinite(p.value).all()), None)


def _random_layers(model: Any) -> list[RandomLayer]:
    """Those with numbers of their own; they may have begun in another model, or alone."""
    return [layer for layer in model.layers if isinstance(layer, RandomLayer)]


def _slot_names(optimizer: Any) -> list[str]:
    spec = optimizer.spec()
    return [_core.slot_name(spec, k) for k in range(_core.slot_count(spec))]


def rate_as_data(optimizer: Any) -> Any:
    """The learning rate: a number, a schedule's configuration, or None for a Python function."""
    try:
        return arguments.plain(optimizer.learning_rate, "learning_rate")
    except TypeError:
        return None


def prepare(
    model: Any, state: Mapping[str, Any], arrays: Mapping[str, Array], file: str
) -> Callable[[], None]:
    """Check everything against the model; the function returned puts it in, and cannot fail."""
    optimizer = model._need_compiled().optimizer
    weights = {key: a for key, a in arrays.items() if is_weight(key)}
    save.check_weights(model, weights, file)
    check_writable(model.weights)
    slots = _checked_slots(model, optimizer, arrays, file)
    try:
        seed = checks.seed(state["seed"])
        counts = {
            key: checks.integer(key, state[key], 0, _MAX_COUNT)
            for key in ("stream", "epochs_done", "draws", "iterations")
        }
        random = _checked_streams(model, state.get("random"))
        rate = state["learning_rate"]
        changed = rate is not None and rate != rate_as_data(optimizer)
        trial = type(optimizer)(rate) if changed else optimizer
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise FormatError(f"{file}: state: {error}") from error

    def apply() -> None:
        assign(model.weights, [weights[p.name] for p in model.weights])
        optimizer.set_state(model.weights, {"iterations": counts["iterations"], "slots": slots})
        if changed:
            optimizer.learning_rate = trial.learning_rate
        model._stream, model._epochs_done = counts["stream"], counts["epochs_done"]
        model._draws = counts["draws"]
        was = model.seed, [(layer._seed, layer._stream) for layer in random]
        if seed != model.seed:
            model.seed = seed
            for layer in model.layers:
                layer._seed = seed
        for layer, own in random.items():
            layer._seed, layer._stream = own
        if was != (seed, list(random.values())):
            model._make_engine()  # random layers have it in their nodes
        model._engine.trainers.clear()  # they hold the optimizer's former arrays

    return apply


def _checked_streams(model: Any, value: Any) -> dict[RandomLayer, tuple[int, int]]:
    """Seed and stream of random numbers by layer."""
    layers = _random_layers(model)
    if value is None:
        return {}
    if set(value) != {layer.name for layer in layers}:
        raise ValueError(f"random: got layers {sorted(value)}")
    found = {}
    for layer in layers:
        seed, stream = value[layer.name]
        stream = checks.integer("stream", stream, 0, _MAX_COUNT)
        found[layer] = checks.integer("seed", seed, 0, 2**64 - 1), stream
    return found


def _checked_slots(
    model: Any, optimizer: Any, arrays: Mapping[str, Array], file: str
) -> list[list[Array]]:
    """The optimizer's arrays by parameter: of each all or none."""
    names = _slot_names(optimizer)
    rest = {key for key in arrays if key.startswith(_SLOT) and not is_weight(key)}
    result = []
    for p in model.weights:
        keys = [f"{_SLOT}{slot}/{p.name}" for slot in names]
        here = [key for key in keys if key in arrays]
        if here and len(here) < len(keys):
            lost = next(key for key in keys if key not in arrays)
            raise FormatError(f"{file}: {lost!r} is missing, expected all of {names} or none")
        for key in here:
            if arrays[key].shape != p.shape or arrays[key].dtype != p.dtype:
                raise FormatError(
                    f"{file}: {key!r} is {arrays[key].dtype} {arrays[key].shape}, expected "
                    f"{p.dtype} {p.shape}"
                )
        rest -= set(here)
        result.append([arrays[key] for key in here])
    if rest:
        raise FormatError(
            f"{file}: got {shown(min(rest))}, expected state of optimizer "
            f"{type(optimizer).__name__}: {names}"
        )
    return result


# ---- states of callbacks and metrics as data -----------------------------------------------------


class _Encoder(Plain):
    """Arrays are put aside, numbers that are not finite marked."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.arrays = arrays

    def key(self, key: Any, where: str) -> str:
        if not isinstance(key, str) or key.startswith("$"):
            raise TypeError(f"{where}: key {key!r} must be a str that does not start with '$'")
        return key

    def number(self, value: float, where: str) -> Any:
        if isinstance(value, int):
            return checks.integer(where, value, -_MAX_COUNT, 2**64)
        return value if math.isfinite(value) else {"$float": str(value)}

    def other(self, value: Any, where: str) -> Any:
        if isinstance(value, np.ndarray):
            name = f"@array/{len(self.arrays)}"
            self.arrays[name] = value
            return {"$array": name}
        raise TypeError(
            f"{where} is {checks.describe(value)}, expected numbers, strings, arrays, lists and "
            "dicts, which a checkpoint can hold"
        )


def encode(value: Any, arrays: dict[str, Array], where: str) -> Any:
    """`value` as JSON data, its arrays put aside; TypeError with the place for anything else."""
    return _Encoder(arrays)(value, where)


def decode(value: Any, arrays: Mapping[str, Array]) -> Any:
    """What `encode` was given, tuples as lists; the arrays are their own."""
    if isinstance(value, list):
        return [decode(item, arrays) for item in value]
    if isinstance(value, dict):
        if set(value) == {"$float"}:
            return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[value["$float"]]
        if set(value) == {"$array"}:
            return arrays[value["$array"]].copy()  # not to keep all of the file
        return {key: decode(item, arrays) for key, item in value.items()}
    return value
