"""What makes a run the same run: model, data and arguments, weights at the start, the user's code.

`describe` says it as data, which a checkpoint holds; `compare` says in words what differs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..base import arguments, code, digests, seeding
from ..base.memory import Array
from ..callbacks.base import HOOKS, Callback, LambdaCallback
from ..data.dataset import Dataset
from ..data.free_targets import Rows
from ..files import save
from ..files.container import shown
from ..layers.base import Layer
from .compilation import Compilation
from .engine import Engine

_SAMPLE = 2**26  # bytes of an array that are hashed; of a larger one evenly spaced rows
_CHUNK = 2**22
START = "weights at the start"
_BLOCK = 2**14  # elements of a weight that share their coefficients but for a factor
_SKETCHES = 4
APART = (START, "code", "code of callbacks")  # not compared value by value
_ALIKE = 1e-5  # of a weight's norm: what other CPUs and rounding may make of one start


def describe(
    loop: Any, items: Sequence[Callback], train: Dataset, validation: Dataset | None
) -> dict[str, Any]:
    """All that must be alike, of a `train.loop.Loop` that has not begun."""
    model, compilation, counters = loop.model, loop.compilation, loop.counters
    return {
        "model": _architecture(model, loop.engine),
        "compile": _compilation(compilation),
        "counters": [compilation.optimizer.iterations, counters.epochs_done, counters.draws],
        **({} if counters.carried.rows is None else {"states held": counters.carried.rows}),
        "arguments": _arguments(loop.options),
        "callbacks": [type(item).__name__ for item in items],
        "data": fingerprint(train),
        "validation data": None if validation is None else fingerprint(validation),
        START: dict(loop.start),
        "arguments of callbacks": [_decisions(item) for item in items],
        "code": _signatures(_code_of_the_run(model, compilation, items)),
        "code of callbacks": _signatures(_code_around_it(model, items)),
    }


def compare(was: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What differs, in words, and what of the code cannot be compared or may have been mended.

    Callbacks look on; a run may go on with one in which a flaw was mended, and what objects they
    use is theirs. All other code decides its numbers.
    """
    differing = list(differences(_by_value(was), _by_value(now)))
    differing += _other_weights(was.get(START), now[START])
    said = []
    for part, decides in (("code", True), ("code of callbacks", False)):
        held = was.get(part)
        held = held if isinstance(held, Mapping) else {}
        for place in [*now[part], *(place for place in held if place not in now[part])]:
            found = code.compare(held.get(place), now[part].get(place, {}))
            if found == "changed" and decides:
                differing.append(f"code of {shown(str(place), 80)} was changed")
            elif found == "changed":
                said.append(f"code of {shown(str(place), 80)} was changed")
            elif found and (decides or not found.startswith(code.USES)):
                said.append(f"code of {shown(str(place), 80)}: {shown(found, 200)}")
    return differing, said


def _by_value(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key not in APART}


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


# ---- model and compilation -----------------------------------------------------------------------


class _Told(arguments.PlainArguments):
    """What a constructor or `compile` was told; what is no data by its name."""

    def number(self, value: float, where: str) -> Any:
        return value if isinstance(value, int) or math.isfinite(value) else str(value)

    def other(self, value: Any, where: str) -> Any:
        try:
            return super().other(value, where)
        except TypeError:
            return code.name_of(value)


def _architecture(model: Any, engine: Engine) -> dict[str, Any]:
    """Layers and connections; seeds only if they are given ones."""
    try:
        config = save.describe(model)
    except TypeError:  # a layer that is no data: all the others are compared all the same
        config = {"class_name": type(model).__name__, "config": _in_part(model, engine)}
    inner = config["config"]
    inner.pop("compile", None)
    inner.pop("columns", None)  # of the data, which are compared by themselves
    if engine.by_chance:
        inner.pop("seed", None)
    for entry, layer in zip(inner["layers"], model.layers, strict=True):
        for argument, part in layer._models().items():
            if not part.seed_is_given and "config" in entry:
                entry["config"][argument]["config"].pop("seed")
    return config


def _in_part(model: Any, engine: Engine) -> dict[str, Any]:
    nodes = engine.nodes
    place = {id(node): i for i, node in enumerate(nodes)}
    return {
        "name": model.name,
        "dtype": model.dtype,
        "compute": model.compute,
        "seed": model.seed,
        "layers": [
            {
                "class_name": type(layer).__name__,
                "name": layer.name,
                "trainable": layer.trainable,
                "arguments": _Told()(layer._config_args, layer.label),
            }
            for layer in model.layers
        ],
        "nodes": [[n.layer.name, *(place[id(t.node)] for t in n.inputs)] for n in nodes],
        "outputs": [place[id(t.node)] for t in engine.output_tensors],
    }


def _compilation(compilation: Any) -> dict[str, Any]:
    plain, weighted = _Told(), compilation.measures.weighted
    return {
        "optimizer": [
            type(compilation.optimizer).__name__,
            plain(compilation.optimizer._config_args),
        ],
        "loss": plain(compilation.loss),
        "metrics": plain(compilation.measures.plain),
        **({"weighted_metrics": plain(weighted)} if weighted else {}),  # not in the first files
        "loss_weights": plain(compilation.loss_weights),
        "gradient_clip_norm": compilation.clip_norm,
        "gradient_clip_value": compilation.clip_value,
        "accumulate_steps": compilation.accumulate_steps,
        "parameter_groups": compilation.groups.get_config(),
        **({"credit": plain(compilation.credit, "credit")} if compilation.credit else {}),
    }


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
        **({} if options.bptt is None else {"bptt": list(options.bptt)}),
    }


def _decisions(item: Callback) -> dict[str, Any]:
    """Of bpcore's callbacks the arguments that decide what the run does."""
    plain = _Told()
    return {name: plain(getattr(item, name), name) for name in item._decides}


# ---- code ----------------------------------------------------------------------------------------


def _signatures(parts: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {place: code.signature(value) for place, value in parts}


def _code_of_the_run(
    model: Any, compilation: Compilation, items: Sequence[Callback]
) -> Iterator[tuple[str, Any]]:
    """The user's code that takes part in the run's numbers."""
    for layer in model.layers:
        yield from _own(f"layer {layer.name}", layer)
    for p in model.weights:
        yield from _own(f"regularizer of {p.name}", p.regularizer)
        yield from _own(f"constraint of {p.name}", p.constraint)
    for place, value in (
        ("loss", compilation.loss),
        ("metrics", compilation.measures.plain),
        ("weighted_metrics", compilation.measures.weighted),
        ("optimizer", compilation.optimizer),
        ("credit", compilation.credit),
    ):
        yield from _own(place, value)
    for i, item in enumerate(items):
        for name in item._decides:
            yield from _own(f"callbacks[{i}] {name}", getattr(item, name))


def _code_around_it(model: Any, items: Sequence[Callback]) -> Iterator[tuple[str, Any]]:
    """The user's code that looks on."""
    if not code.is_installed(type(model)):
        yield "model", type(model)
    for i, item in enumerate(items):
        place = f"callbacks[{i}] {type(item).__name__}"
        if not code.is_installed(type(item)):
            yield place, type(item)
        if isinstance(item, LambdaCallback):
            for name in HOOKS:
                yield from _own(f"{place} {name}", vars(item).get(name))


def _own(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The code of the user's in a value, and in what objects of bpcore were made with."""
    if value is None or isinstance(value, (bool, int, float, str, bytes, np.ndarray, np.generic)):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _own(f"{place} {key}", item)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _own(f"{place}[{i}]", item)
    elif isinstance(value, arguments.Configured):
        if not code.is_installed(type(value)):
            yield place, type(value)
        for key, item in value._config_args.items():
            if not isinstance(item, Layer):
                yield from _own(f"{place} {key}", item)
    else:
        inner = value.func if isinstance(value, functools.partial) else value
        if not code.is_installed(inner if hasattr(inner, "__qualname__") else type(inner)):
            yield place, value


# ---- weights at the start ------------------------------------------------------------------------


def weights_at_the_start(model: Any, engine: Engine) -> dict[str, list[float] | None]:
    """A sketch of each weight; None where it follows from chance, which no script repeats.

    Of a model with a seed that was given nothing follows from chance, but for parts that are models
    without one. Of these only what the user has set himself, or what every model begins with, does
    not.
    """
    parts = [part for layer in model.layers for part in layer._models().values()]
    drawn = {id(p) for part in parts if not part.seed_is_given for p in part.weights}
    return {
        p.name: None if (engine.by_chance or id(p) in drawn) and p.by_chance else sketch(p.value)
        for p in save.stored(model)
    }


def sketch(value: Array) -> list[float]:
    """The norm and four sums r . w, with coefficients r in [-1, 1) that depend on the place.

    w is in C order; r[k] = a[k mod B] b[k div B] of fixed pseudo-random numbers a and b. Another
    order of the elements gives other sums, where sums of powers would be equal. Where w differs by
    d, the sums differ by about 0.3 |d|.
    """
    flat = value.reshape(-1)
    rows = -(-flat.size // _BLOCK)
    sums = np.zeros(_SKETCHES)
    square = 0.0
    near, far = _near(), _coefficients(1, max(rows, 1))
    for i in range(rows):
        part = flat[i * _BLOCK : (i + 1) * _BLOCK].astype(np.float64)
        square += float(part @ part)
        sums += far[:, i] * (near[:, : part.size] @ part)
    return [math.sqrt(square), *map(float, sums)]


@functools.lru_cache(maxsize=1)
def _near() -> Array:
    return _coefficients(0, _BLOCK)


def _coefficients(purpose: int, count: int) -> Array:
    """Numbers in [-1, 1) of shape (4, count), the same everywhere: SplitMix64 of their places."""
    place = np.arange(_SKETCHES, dtype=np.uint64)[:, None] << np.uint64(48)
    numbers = seeding.mixed(place + np.arange(count, dtype=np.uint64), purpose)
    result: Array = numbers.astype(np.float64) * 2.0**-63 - 1.0
    return result


def _other_weights(was: Any, now: Mapping[str, Any]) -> Iterator[str]:
    """Names of weights that begin otherwise than they did, with how far they are apart."""
    if not isinstance(was, Mapping) or set(was) != set(now):
        yield f"{START} was {shown(str(was), 60)}"
        return
    for name, ours in now.items():
        theirs = was[name]
        if theirs is None and ours is None:
            continue
        where = f"{START} {shown(name, 80)}"
        if theirs is None or ours is None:
            drawn, given = "drawn without a seed", "given"
            yield f"{where} was {drawn if theirs is None else given}, is " + (
                drawn if ours is None else given
            )
        elif not _numbers(theirs, len(ours)):
            yield f"{where} was {shown(str(theirs), 60)}"
        else:
            most = max(abs(theirs[0]), ours[0])
            apart = max(abs(a - b) for a, b in zip(theirs, ours, strict=True))
            if not apart <= _ALIKE * most + 1e-30:
                yield f"{where} differs by about {3 * apart:.2g}, its norm being {ours[0]:.6g}"


def _numbers(value: Any, count: int) -> bool:
    if not isinstance(value, list) or len(value) != count:
        return False
    return all(isinstance(item, float) and math.isfinite(item) for item in value)


# ---- data ----------------------------------------------------------------------------------------


def fingerprint(dataset: Dataset) -> dict[str, Any]:
    """What tells data apart: shapes, types and hashes of inputs, targets and weights."""
    return {
        "x": [_array(a) for a in dataset.xs],
        "y": [_array(part) for a, _ in dataset.ys for part in _parts(a)],
        "sample_weight": [None if w is None else _array(w) for w in dataset.ws],
    }


def _parts(y: Array) -> list[Array]:
    return y.parts() if isinstance(y, Rows) else [y]


def _array(array: Array) -> dict[str, Any]:
    digest = digests.sha256()
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
