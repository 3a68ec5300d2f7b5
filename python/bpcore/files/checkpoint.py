"""Checkpoints: a model with its optimizer's state and counters, so that training goes on as it was.

The file is a container like a model's, with ``"kind": "checkpoint"``: the weights under their own
names, the optimizer's arrays as ``@optimizer/<slot>/<weight>``, and what `fit` adds: JSON in an
array of bytes, ``@fit``, whose size meets no limit, and the arrays of `files.values`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np

from .. import _core, schedules
from .._version import __version__
from ..base import arguments, checks, kinds
from ..base.counters import Counters
from ..base.memory import Array, aligned_copy
from ..errors import CheckpointError, FormatError
from ..graph.parameter import assign, check_writable
from ..layers.noise import RandomLayer
from . import container, products, save, values
from .atomic import write_atomically
from .container import shown

KIND = "checkpoint"
_STATE = {"seed", "stream", "epochs_done", "draws", "iterations", "learning_rate", "fma"}
_LATER = {"began", "random", products.ENTRY}  # not in the first files
FORMAT = 2  # of the files written
FIT = "@fit"
_SLOT = "@optimizer/"  # before <slot>/<layer>/<weight>
_SOLVER = "@optimizer/@solver/"  # before <name>: its state that is not by weight
_CARRIED = "@carried/"  # before <layer>/<number>: what a recurrent layer carries to the next batch
# before <begin>/<end>: what backward needs of these steps, of windows that overlap
STRETCH = "@stretch/"
_OTHERS = {FIT, values.REALS, values.INTEGERS}
_SEED = kinds.Integer(0, 2**64 - 1)


def held_by(model: Any, counters: Counters) -> tuple[dict[str, Any], dict[str, Array]]:
    """Document and arrays, which are copies, of `Model.save_checkpoint`; the model is built and
    compiled, and nobody trains it."""
    document = {"kind": KIND, "model": save.describe(model)}
    state, arrays = capture(model, counters)
    own = {key: a for key, a in arrays.items() if is_state(key)}
    try:
        arrays_kind(model, own).check(own, named_arrays(model))
        counters.carried.check(carried(arrays), model.dtype)
        kinds.Record(state_fields(model)).check(state, "state")
    except ValueError as error:
        raise ValueError(
            f"{error}, to go on with; nothing was written; to look into it write a file by "
            "model.save"
        ) from error
    copies = {key: array.copy() for key, array in arrays.items()}
    return {**document, "state": state}, copies


def packed(document: Mapping[str, Any], arrays: Mapping[str, Array]) -> Iterator[Any]:
    """The bytes of a file, in pieces; ValueError at once for what could not be read again."""
    return container.pack(document, arrays, FORMAT)


def write(name: str, pieces: Iterator[Any]) -> None:
    """To the file, as one."""
    write_atomically(name, pieces)


def packed_fit(held: Mapping[str, Any]) -> Array:
    """The part of fit as an array; ValueError for what `fit_of` would not take."""
    text = container.canonical(held).encode("ascii")
    container.check_nesting(text, "cannot save: the state of fit", bounded=False)
    return np.frombuffer(text, np.uint8)


def fit_of(content: container.Content, file: str) -> Any:
    """The part of fit, None if there is none."""
    if content.document["format"] < FORMAT:
        return content.document.get("fit")
    held = content.arrays.get(FIT)
    if held is None:
        return None
    where = f"{file}: {FIT}"
    try:
        text = _bytes_of(held).decode("ascii")
    except (TypeError, UnicodeDecodeError) as error:
        raise FormatError(f"{where}: got {error}, expected a row of bytes, ASCII") from error
    container.check_nesting(text.encode(), where, bounded=False)
    return container.parsed(text, where)


def _bytes_of(array: Array) -> bytes:
    if array.ndim != 1 or array.dtype != np.uint8:
        raise TypeError(checks.describe(array))
    return array.tobytes()


def checked_kind(content: container.Content, file: str) -> dict[str, Any]:
    """The document of a checkpoint, or an error that says what the file is instead."""
    document = content.document
    if document.get("kind") != KIND:
        raise CheckpointError(
            f"{file}: holds no optimizer state, expected a checkpoint; it is a model for "
            "bpcore.load_model"
        )
    known = {"format", "bpcore", "kind", "model", "state"}
    strange = sorted(set(document) - known - ({"fit"} if document["format"] < FORMAT else set()))
    state = document.get("state")
    if strange or not isinstance(state, dict) or set(state) - _LATER != _STATE:
        raise FormatError(
            f"{file}: state: got entries {shown(str(strange or state))}, expected {sorted(_STATE)}"
        )
    for key in content.arrays:
        own = key in _OTHERS or is_state(key) or key.startswith((_CARRIED, STRETCH))
        if not own and not values.ARRAY.fullmatch(key):
            raise FormatError(f"{file}: got array {shown(key)}, expected none of that name")
    return document


def is_weight(key: str) -> bool:
    """Whether a tensor is a weight, ``<layer>/<weight>``, whatever the layer is called."""
    return key.count("/") == 1 and not values.ARRAY.fullmatch(key)


def is_state(key: str) -> bool:
    """Whether a tensor is a weight or an array of the optimizer."""
    return is_weight(key) or key.startswith(_SLOT)


def warn_of_differences(document: Mapping[str, Any], file: str) -> None:
    """What does not forbid to go on, but may change bits."""
    fma = _core.has_fma()
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


def capture(model: Any, counters: Counters) -> tuple[dict[str, Any], dict[str, Array]]:
    """Counters as data, and the arrays of weights and optimizer; they are not copied."""
    optimizer = model.optimizer
    arrays = save.arrays_of(model)
    taken = next((name for name in arrays if not is_weight(name)), None)
    if taken is not None:
        raise ValueError(
            f"weight {taken!r} has a name that checkpoints need for themselves, expected another; "
            "rename the layer"
        )
    names = _slot_names(optimizer)
    for p in save.stored(model):
        for slot, array in zip(names, optimizer._slots.get(p, []), strict=False):
            arrays[slot_key(slot, p.name)] = array
    arrays |= {_SOLVER + name: array for name, array in optimizer.numbers().items()}
    arrays |= {_CARRIED + key: state for key, state in counters.carried.states().items()}
    state = {
        "seed": model.seed,
        "stream": counters.stream,
        "epochs_done": counters.epochs_done,
        "draws": counters.draws,
        "iterations": optimizer.iterations,
        "began": optimizer._began,
        "learning_rate": rate_as_data(optimizer),
        "fma": _core.has_fma(),
        "random": _random(model),
        **products.present(model),
    }
    return state, arrays


def carried(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Of a file's arrays the states of recurrent layers, by their keys (`base.carried`)."""
    return {k[len(_CARRIED) :]: a for k, a in arrays.items() if k.startswith(_CARRIED)}


def stretches(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Of a file's arrays what windows that overlap go on with, by their keys."""
    return {k[len(STRETCH) :]: a for k, a in arrays.items() if k.startswith(STRETCH)}


def whole(model: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """A state with what the first files have not: the seeds of random layers."""
    return {"random": _random(model), "began": 0, **products.present(model), **state}


def _random(model: Any) -> dict[str, list[Any]]:
    return {layer.name: list(layer.origin) for layer in random_layers(model)}


def slot_key(slot: str, weight: str) -> str:
    """The name of an optimizer's array in a file."""
    return f"{_SLOT}{slot}/{weight}"


def random_layers(model: Any) -> list[RandomLayer]:
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


def state_fields(model: Any) -> dict[str, kinds.Kind]:
    """What the state of a built and compiled model is made of."""
    count = kinds.Integer()
    random = {layer.name: kinds.Row(_SEED, count) for layer in random_layers(model)}
    fields: dict[str, kinds.Kind] = dict.fromkeys(("stream", "epochs_done", "draws"), count)
    return {
        **fields,
        "seed": _SEED,
        "iterations": count,
        "began": count,
        "learning_rate": rate_kind(model),
        "fma": kinds.Flag(),
        "random": kinds.Record(random),
        **{key: kinds.Same(value) for key, value in products.present(model).items()},
    }


def rate_kind(model: Any) -> kinds.Kind:
    """A learning rate that the optimizer takes; None if it has a function, which no file holds."""
    own = rate_as_data(model.optimizer)
    rate = kinds.Judged(
        lambda value: value == own or schedules.checked_rate(value), "a learning rate or schedule"
    )
    return kinds.Maybe(rate) if own is None else rate


def arrays_kind(
    model: Any, found: Mapping[str, Array], trained: Collection[str] = ()
) -> kinds.Record:
    """Weights and the optimizer's arrays: of the weights that are `trained`, and of others all or
    none."""
    fields: dict[str, kinds.Kind] = {}
    spec = model.optimizer.spec()
    count = range(_core.slot_count(spec))
    slots = [(_core.slot_name(spec, k), _core.slot_lowest(spec, k)) for k in count]
    for p in save.stored(model):
        low = 0.0 if p.local_name.endswith("variance") else -math.inf
        fields[p.name] = kinds.Values(p.shape, p.dtype, low)
        if p.name in trained or any(slot_key(slot, p.name) in found for slot, _ in slots):
            for slot, least in slots:
                fields[slot_key(slot, p.name)] = kinds.Values(p.shape, p.dtype, least)
    if any(key.startswith(_SOLVER) for key in found):
        for name, shape in model.optimizer.shapes(model.trainable_weights).items():
            fields[_SOLVER + name] = kinds.Values(shape, np.float64)
    return kinds.Record(fields)


def named_arrays(model: Any) -> str:
    """What `arrays_kind` is of, for messages."""
    return f"weights and state of optimizer {type(model.optimizer).__name__}"


def prepare(
    model: Any,
    counters: Counters,
    renew: Callable[[bool], None],
    state: Mapping[str, Any],
    arrays: Mapping[str, Array],
    file: str,
) -> Callable[[], None]:
    """Check everything against the model; the function returned puts it in, and cannot fail.

    Parameters
    ----------
    model : Model
    counters : Counters
        The model's.
    renew : callable
        The model's; with True its network is made anew.
    state, arrays
        As `capture` gives them.
    file : str
        For messages.
    """
    optimizer, layers = model.optimizer, random_layers(model)
    now, state = _random(model), whole(model, state)
    own, states = {key: a for key, a in arrays.items() if is_state(key)}, carried(arrays)
    try:
        kinds.Record(state_fields(model)).check(state, "state")
        arrays_kind(model, own).check(own, named_arrays(model))
        counters.carried.check(states, model.dtype)
        if state["began"] > state["iterations"]:
            raise ValueError(
                f"state.began is {state['began']}, expected at most iterations, "
                f"{state['iterations']}"
            )
        rate = state["learning_rate"]
        changed = rate is not None and rate != rate_as_data(optimizer)
        rate = schedules.checked_rate(rate) if changed else None
        check_writable(save.stored(model))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise FormatError(f"{file}: {error}") from error
    names = _slot_names(optimizer)
    slots = {
        p: [aligned_copy(own[slot_key(slot, p.name)]) for slot in names]
        for p in save.stored(model)
        if names and slot_key(names[0], p.name) in own
    }
    solver = {key[len(_SOLVER) :]: own[key] for key in own if key.startswith(_SOLVER)}
    stored = save.stored(model)
    numbers = {layer: tuple(state["random"][layer.name]) for layer in layers}

    def apply() -> None:
        was = model.seed, now
        if model.seed != state["seed"]:
            model.seed = state["seed"]
            for layer in model.layers:
                layer._seed = model.seed
        for layer, (seed, stream) in numbers.items():
            layer.origin = seed, stream
        renew(was != (model.seed, state["random"]))
        assign(stored, [own[p.name] for p in stored])
        optimizer._slots, optimizer._began = slots, state["began"]
        optimizer.iterations = state["iterations"]
        optimizer.set_numbers(solver)
        if changed:
            optimizer.learning_rate = rate
        counters.stream, counters.epochs_done = state["stream"], state["epochs_done"]
        counters.draws = state["draws"]
        counters.carried.set({key: state.copy() for key, state in states.items()})

    return apply
