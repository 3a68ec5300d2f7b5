"""Models from files: `bpcore.load_model` and `bpcore.load_checkpoint`."""

from __future__ import annotations

import hashlib  # noqa: F401  before any file is opened: reading one imports nothing
import os
import re
from collections.abc import Mapping
from contextvars import copy_context
from typing import Any

from ..base import checks
from ..base.memory import Array
from ..errors import CheckpointError, FormatError, NotCompiledWarning, warn
from ..files import checkpoint, container, products, save
from ..files.container import shown
from ..graph.parameter import Reserve, assign, reserve
from . import describing as describing  # here, so that reading a file imports nothing
from .model import Model
from .sequential import Sequential

_SLACK = 2**16  # elements beyond those of the file, for a message that names what is missing

__all__ = ["load_checkpoint", "load_model"]

# What reads files that are no models.
_WAYS = {
    "checkpoint": "bpcore.load_checkpoint",
    "tabular": "bpcore.tabular.load",
    "weights": "load_weights of a model that has them",
}


def load_model(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    *,
    compute: str | None = None,
    sha256: str | None = None,
    allow_nonfinite: bool = False,
    max_bytes: int | None = None,
) -> Model:
    """Read a model that `save_model` wrote.

    Nothing in the file is trusted: sizes are compared with the file before anything is allocated,
    names of classes come from a closed list, the SHA-256 inside finds damage, and every value goes
    through the checks of the constructors. Memory stays within twice the file and a constant.

    Parameters
    ----------
    path : path
    custom_objects : dict of name to class, optional
        Layer classes of your own that the model uses.
    compute : str, optional
        As in `Model`, in place of what the file says.
    sha256 : str, optional
        The file's own SHA-256 in hexadecimal, as ``sha256sum`` prints it, from whom you trust: the
        hash inside a file says nothing about who wrote it.
    allow_nonfinite : bool
        Accept weights that are NaN or Inf.
    max_bytes : int, optional
        The largest file to read; 8 GiB by default.

    Raises
    ------
    FormatError
        (a ValueError) The file is not a bpcore model, is damaged, or does not fit together.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> import bpcore as bp, tempfile, os
    >>> model = bp.Sequential([bp.Input((2,)), bp.layers.Dense(1)], seed=0)
    >>> path = os.path.join(tempfile.mkdtemp(), "m.safetensors")
    >>> model.save(path)
    >>> bool((bp.load_model(path).predict([[1.0, 2.0]]) == model.predict([[1.0, 2.0]])).all())
    True
    """
    name = checks.path(path)
    custom = _checked_objects(custom_objects)
    finite = not checks.boolean("allow_nonfinite", allow_nonfinite)
    _check_compute(compute)
    if max_bytes is not None:
        max_bytes = checks.integer("max_bytes", max_bytes, 1, 2**62)
    content = container.read(name, sha256=_checked_hash(sha256), max_bytes=max_bytes)
    file = shown(name, 1000)
    if "kind" in content.document:
        kind = str(content.document["kind"])
        way = _WAYS.get(kind, "the version of bpcore that wrote it")
        raise FormatError(f"{file}: holds a {shown(kind)}, expected a model; read it with {way}")
    if content.document["format"] > save.FORMAT:
        raise FormatError(
            f"{file}: got format {content.document['format']}, expected a model of format "
            f"{save.FORMAT}; other formats are those of checkpoints"
        )
    strange = sorted(set(content.document) - {"format", "bpcore", "model", "updates"})
    if strange:
        raise FormatError(f"{file}: unknown entry {shown(strange[0])}, expected 'model' alone")
    if (content.document["format"] > 1) != ("updates" in content.document):
        raise FormatError(
            f"{file}: got format {content.document['format']}, expected 2 with an entry 'updates' "
            "or 1 without"
        )
    model: Model = _rebuild(content.document.get("model"), content.arrays, custom, file, compute)
    _fill(model, content.arrays, file, finite)
    _note_updates(model, content.document, file)
    return model


def _note_updates(model: Model, document: Mapping[str, Any], file: str) -> None:
    """How far the optimizer's schedule is; its other state is new."""
    updates = document.get("updates", 0)
    if type(updates) is not int or not 0 <= updates < 2**62:
        raise FormatError(f"{file}: updates is {shown(str(updates))}, expected a count")
    if updates and not model.compiled:
        raise FormatError(f"{file}: updates is {updates}, but the model is not compiled")
    if updates:
        optimizer = model.optimizer
        optimizer.iterations = optimizer._began = updates
    if "compile" in document["model"]["config"] and not model.compiled:
        warn(
            f"{file}: the loss, a metric or the schedule was Python code, which no file holds; "
            "call compile before fit or evaluate (predict works as it is)",
            NotCompiledWarning,
        )


def load_checkpoint(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    *,
    compute: str | None = None,
    max_bytes: int | None = None,
) -> Any:
    """Read a model that `Model.save_checkpoint`, or `fit` with ``checkpoint=``, wrote.

    It is built and compiled; optimizer state and counters are those of the moment, so that the next
    `fit` goes on with the same bits. The file is checked as `load_model` checks one.

    Parameters
    ----------
    path : path
    custom_objects : dict of name to class, optional
    compute : str, optional
        As in `Model`, in place of what the file says: to go on with other products, and other bits.
    max_bytes : int, optional
        The largest file to read; 8 GiB by default.

    Raises
    ------
    CheckpointError
        The file holds a model without optimizer state, or one with parts in Python; or one whose
        products in bfloat16 this process makes otherwise (see `compute`).
    FormatError
        It is damaged or does not fit together.

    Examples
    --------
    >>> import bpcore as bp, tempfile, os
    >>> model = bp.Sequential([bp.Input((2,)), bp.layers.Dense(1)], seed=0)
    >>> model.compile("adam", "mse")
    >>> logs = model.train_on_batch([[1.0, 2.0]], [[1.0]])
    >>> path = os.path.join(tempfile.mkdtemp(), "m.ckpt")
    >>> model.save_checkpoint(path)
    >>> bp.load_checkpoint(path).optimizer.iterations
    1
    """
    name = checks.path(path)
    custom = _checked_objects(custom_objects)
    _check_compute(compute)
    if max_bytes is not None:
        max_bytes = checks.integer("max_bytes", max_bytes, 1, 2**62)
    content, file = container.read(name, max_bytes=max_bytes), shown(name, 1000)
    document = checkpoint.checked_kind(content, file)
    if document.get("model") is None:
        raise CheckpointError(
            f"{file}: of a model with a layer, loss, metric or schedule in Python that a file "
            "cannot describe; make the model and call fit with checkpoint= this path"
        )
    own = {key: a for key, a in content.arrays.items() if checkpoint.is_weight(key)}
    model = _rebuild(document["model"], own, custom, file, compute)
    if model._compilation is None:
        raise CheckpointError(f"{file}: the model is not compiled, expected optimizer and loss")
    state = document["state"]
    if compute is None:
        products.compare(model, state, file)
    else:
        state.pop(products.ENTRY, None)
    checkpoint.prepare(model, model._counters, model._renew, state, content.arrays, file)()
    return model


def rebuild(document: Any, arrays: Mapping[str, Array], file: str) -> Model:
    """A model from its part of a file that holds more than a model.

    Parameters
    ----------
    document : dict
        What `files.save.describe` gave.
    arrays : dict of str to ndarray
        The weights by name.
    file : str
        The file's name, for errors.

    Raises
    ------
    FormatError
        They do not fit together.
    """
    model: Model = _rebuild(document, arrays, {}, file)
    _fill(model, arrays, file)
    return model


def _checked_objects(custom_objects: Any) -> dict[str, Any]:
    """`custom_objects` as a dict of names to classes."""
    if custom_objects is None:
        return {}
    if not isinstance(custom_objects, Mapping):
        raise TypeError(
            "custom_objects must be a dict of names to classes, got "
            f"{checks.describe(custom_objects)}"
        )
    return dict(custom_objects)


def _check_compute(compute: Any) -> None:
    if compute not in (None, "float32", "float64", "bfloat16"):
        raise ValueError(f"compute must be None, a dtype or 'bfloat16', got {compute!r}")


def _checked_hash(sha256: Any) -> str | None:
    if sha256 is None:
        return None
    if not isinstance(sha256, str):
        raise TypeError(f"sha256 must be a str, got {checks.describe(sha256)}")
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, got {checks.describe(sha256)}")
    return sha256.lower()


def _rebuild(
    document: Any,
    arrays: Mapping[str, Array],
    custom: dict[str, Any],
    file: str,
    compute: str | None = None,
) -> Any:
    """A model as the document describes it, with weights of zero until `_fill`."""
    if not isinstance(document, dict) or set(document) != {"class_name", "config"}:
        raise FormatError(f"{file}: the architecture lacks 'class_name' or 'config'")
    class_name, config = document["class_name"], document["config"]
    if not isinstance(class_name, str) or not isinstance(config, dict):
        raise FormatError(f"{file}: the architecture lacks 'class_name' or 'config'")
    known = {"Sequential": Sequential, "Model": Model, **custom}
    if class_name not in known:
        raise FormatError(
            f"{file}: unknown model class {shown(class_name)}; known: {', '.join(sorted(known))}; "
            f"pass custom_objects={{{shown(class_name)}: ...}} if it is your own"
        )
    if compute is not None:
        config = {**config, "compute": compute}

    def build() -> Any:
        reserve.set(Reserve(sum(array.size for array in arrays.values()) + _SLACK))
        return known[class_name].from_config(config, custom_objects=custom)

    try:
        return copy_context().run(build)  # with which the reserve ends, whatever comes
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        reason = str(error)[:500]
        if not reason.isprintable():
            reason = ascii(reason)
        raise FormatError(f"{file}: the architecture cannot be built: {reason}") from error


def _fill(model: Any, arrays: Mapping[str, Array], file: str, finite: bool = True) -> None:
    """Check every array against its parameter, then copy all of them."""
    save.check_weights(model, arrays, file, finite)
    parameters = save.stored(model)
    assign(parameters, [arrays[parameter.name] for parameter in parameters])
