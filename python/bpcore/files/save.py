"""Models as single files: safetensors for the numbers, architecture as JSON in its metadata.

Nothing in a file is ever run: the architecture names layer classes from a closed list (the
package's own, and what the caller passes as `custom_objects`), and there is no pickle anywhere. A
SHA-256 over architecture and numbers finds damage; it does not prove who wrote the file.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import initializers
from ..base import checks
from ..base.plain import Plain
from ..errors import FormatError, NotBuiltError
from ..graph.parameter import Reserve, reserve
from ..model.model import Model
from ..model.sequential import Sequential
from . import architecture as architecture  # here, so that reading a file imports nothing
from . import container
from .atomic import write_atomically
from .container import FORMAT_VERSION, shown

_SLACK = 2**16  # elements beyond those of the file, for a message that names what is missing

__all__ = ["FORMAT_VERSION", "load_model", "save_model"]


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Write `model` (architecture, dtype and weights) to one safetensors file, atomically.

    The file can be read by every safetensors reader; the tensors are named as the parameters.
    What was given to `compile` is stored too if it is data; with a loss, metric or schedule of
    your own in Python it is left out, and the model read back has to be compiled again. The
    optimizer's state belongs to checkpoints. Saving the same model again gives the same bytes.

    Raises
    ------
    NotBuiltError
        The model has no weights yet.
    TypeError
        The path is not a path, or a part of the model cannot be written as data.
    OSError
        The file could not be written; an existing one is unchanged.
    """
    name = checks.path(path)
    if not getattr(model, "built", True):
        raise NotBuiltError(
            "cannot save a model without weights; call build(input_shape) or fit first"
        )
    arrays = arrays_of(model)
    if model._lock.locked():  # a fit in another thread would change them under the hash
        arrays = {key: array.copy() for key, array in arrays.items()}
    write_atomically(name, container.pack({"model": describe(model)}, arrays))


def load_model(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    *,
    compute: str | None = None,
    sha256: str | None = None,
    allow_nonfinite: bool = False,
    max_bytes: int | None = None,
) -> Any:
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
        As in `Model`, in place of what the file says: ``"float32"`` where the CPU has no bfloat16.
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
    custom = checked_objects(custom_objects)
    finite = not checks.boolean("allow_nonfinite", allow_nonfinite)
    if compute not in (None, "float32", "float64", "bfloat16"):
        raise ValueError(f"compute must be None, a dtype or 'bfloat16', got {compute!r}")
    if max_bytes is not None:
        max_bytes = checks.integer("max_bytes", max_bytes, 1, 2**62)
    content = container.read(name, sha256=_checked_hash(sha256), max_bytes=max_bytes)
    file = shown(name, 1000)
    if "kind" in content.document:
        raise FormatError(
            f"{file}: holds a {shown(str(content.document['kind']))}, expected a model; read a "
            "checkpoint with bpcore.load_checkpoint"
        )
    strange = sorted(set(content.document) - {"format", "bpcore", "model"})
    if strange:
        raise FormatError(f"{file}: unknown entry {shown(strange[0])}, expected 'model' alone")
    model = rebuild(content.document.get("model"), content.arrays, custom, file, compute)
    fill(model, content.arrays, file, finite)
    return model


def checked_objects(custom_objects: Any) -> dict[str, Any]:
    """`custom_objects` as a dict of names to classes."""
    if custom_objects is None:
        return {}
    if not isinstance(custom_objects, Mapping):
        raise TypeError(
            "custom_objects must be a dict of names to classes, got "
            f"{checks.describe(custom_objects)}"
        )
    return dict(custom_objects)


def _checked_hash(sha256: Any) -> str | None:
    if sha256 is None:
        return None
    if not isinstance(sha256, str):
        raise TypeError(f"sha256 must be a str, got {checks.describe(sha256)}")
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, got {checks.describe(sha256)}")
    return sha256.lower()


# ---- model <-> document ------------------------------------------------------------------------


def describe(model: Any) -> dict[str, Any]:
    """Class and configuration as data; TypeError if a layer is not."""
    config = _Description()(model.get_config(), "config")
    return {"class_name": type(model).__name__, "config": config}


def arrays_of(model: Any) -> dict[str, np.ndarray]:
    """The weights by name, not copied."""
    arrays: dict[str, np.ndarray] = {}
    for parameter in model.weights:
        if parameter.name in arrays:
            raise ValueError(f"two parameters are named {parameter.name!r}; give the layers names")
        arrays[parameter.name] = np.asarray(parameter.value)
    return arrays


def rebuild(
    document: Any,
    arrays: Mapping[str, np.ndarray],
    custom: dict[str, Any],
    file: str,
    compute: str | None = None,
) -> Any:
    """A model as the document describes it, with weights of zero until `fill`."""
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
    held = reserve.set(Reserve(sum(array.size for array in arrays.values()) + _SLACK))
    try:
        return known[class_name].from_config(config, custom_objects=custom)
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        MemoryError,
        RuntimeError,
    ) as error:
        reason = str(error)[:500]
        if not reason.isprintable():
            reason = ascii(reason)
        raise FormatError(f"{file}: the architecture cannot be built: {reason}") from error
    finally:
        reserve.reset(held)


def fill(model: Any, arrays: Mapping[str, np.ndarray], file: str, finite: bool = True) -> None:
    """Check every array against its parameter, then copy all of them."""
    check_weights(model, arrays, file, finite)
    for parameter in model.weights:
        parameter.value[...] = arrays[parameter.name]


def check_weights(
    model: Any, arrays: Mapping[str, np.ndarray], file: str, finite: bool = True
) -> None:
    """Refuse arrays that are not exactly the model's weights."""
    parameters = {parameter.name: parameter for parameter in model.weights}
    missing = sorted(set(parameters) - set(arrays))
    unknown = sorted(set(arrays) - set(parameters))
    if missing or unknown:
        raise FormatError(
            f"{file}: the weights do not fit the architecture; missing: {missing[:5] or 'none'}, "
            f"not expected: {unknown[:5] or 'none'}"
        )
    for key, parameter in parameters.items():
        array = arrays[key]
        if array.shape != tuple(parameter.shape) or array.dtype != np.dtype(parameter.dtype):
            raise FormatError(
                f"{file}: weight {key!r} is {array.dtype} {array.shape}, expected "
                f"{np.dtype(parameter.dtype)} {tuple(parameter.shape)}"
            )
        if finite and not np.isfinite(array).all():
            raise FormatError(
                f"{file}: weight {key!r} holds NaN or Inf, expected finite numbers; pass "
                "allow_nonfinite=True to load it all the same"
            )
        if parameter.local_name.endswith("variance") and (array < 0).any():
            raise FormatError(f"{file}: weight {key!r} holds a variance < 0, expected >= 0")


class _Description(Plain):
    """A model's configuration; everything is finite, since JSON has no other numbers."""

    def number(self, value: float, where: str) -> Any:
        if not math.isfinite(value):
            raise TypeError(f"cannot save the model: {where} is {value}, expected a finite number")
        return value

    def other(self, value: Any, where: str) -> Any:
        if isinstance(value, initializers.Initializer):
            return self(initializers.serialize(value), where)
        if isinstance(value, np.ndarray):
            return self(value.tolist(), where)
        raise TypeError(
            f"cannot save the model: {where} is a {type(value).__name__}, which is not data; give "
            "the layer a get_config() that describes it with numbers, strings, lists and dicts"
        )
