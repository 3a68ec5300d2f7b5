"""Models as single files: safetensors for the numbers, architecture as JSON in its metadata.

Nothing in a file is ever run: the architecture names layer classes from a closed list (the
package's own, and what the caller passes as `custom_objects`), and there is no pickle anywhere. A
SHA-256 over architecture and numbers finds damage; it does not prove who wrote the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._version import __version__
from .atomic import write_atomically
from .errors import FormatError, NotBuiltError

__all__ = ["FORMAT_VERSION", "load_model", "save_model"]

FORMAT_VERSION = 1
_MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors format
_MAX_NESTING = 64
_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float64": np.dtype("<f8")}

# What the first bytes of files that people pass by mistake look like.
_FOREIGN = (
    (b"\x80", "a Python pickle"),
    (b"PK\x03\x04", "a zip archive (.npz, .keras or .pt)"),
    (b"\x89HDF", "an HDF5 file (.h5)"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"GGUF", "a GGUF file"),
    (b"<", "an HTML or XML page"),
    (b"version https://git-lfs", "a Git LFS pointer; run git lfs pull"),
)


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
    name = _checked_path(path)
    if not getattr(model, "built", True):
        raise NotBuiltError(
            "cannot save a model without weights; call build(input_shape) or fit first"
        )
    write_atomically(name, pack(_describe(model), _arrays(model)))


def load_model(
    path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None
) -> Any:
    """Read a model that `save_model` wrote.

    Parameters
    ----------
    path : path
    custom_objects : dict of name to class, optional
        Layer classes of your own that the model uses.

    Raises
    ------
    FormatError
        (a ValueError) The file is not a bpcore model, is damaged, or does not fit together.
    """
    name = _checked_path(path)
    document, arrays = unpack(_read(name), name)
    model = _rebuild(document, dict(custom_objects or {}), name)
    _fill(model, arrays, name)
    return model


# ---- model <-> document ------------------------------------------------------------------------


def _describe(model: Any) -> dict[str, Any]:
    return {"class_name": type(model).__name__, "config": to_json(model.get_config(), "config")}


def _arrays(model: Any) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for parameter in model.weights:
        if parameter.name in arrays:
            raise ValueError(f"two parameters are named {parameter.name!r}; give the layers names")
        arrays[parameter.name] = np.asarray(parameter.value)
    return arrays


def _rebuild(document: Mapping[str, Any], custom_objects: dict[str, Any], name: str) -> Any:
    from . import model as models

    class_name, config = document.get("class_name"), document.get("config")
    if not isinstance(class_name, str) or not isinstance(config, dict):
        raise FormatError(f"{name}: the architecture lacks 'class_name' or 'config'")
    known = {"Sequential": models.Sequential, "Model": models.Model, **custom_objects}
    if class_name not in known:
        raise FormatError(
            f"{name}: unknown model class {class_name!r}; known: {', '.join(sorted(known))}; pass "
            f"custom_objects={{{class_name!r}: ...}} if it is your own"
        )
    try:
        return known[class_name].from_config(config, custom_objects=custom_objects)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise FormatError(f"{name}: the architecture cannot be built: {error}") from error


def _fill(model: Any, arrays: Mapping[str, np.ndarray], name: str) -> None:
    """Check every array against its parameter, then copy all of them."""
    parameters = {parameter.name: parameter for parameter in model.weights}
    missing = sorted(set(parameters) - set(arrays))
    unknown = sorted(set(arrays) - set(parameters))
    if missing or unknown:
        raise FormatError(
            f"{name}: the weights do not fit the architecture; missing: {missing or 'none'}, "
            f"not expected: {unknown or 'none'}"
        )
    for key, parameter in parameters.items():
        array = arrays[key]
        if array.shape != tuple(parameter.shape) or array.dtype != np.dtype(parameter.dtype):
            raise FormatError(
                f"{name}: weight {key!r} is {array.dtype} {array.shape}, expected "
                f"{np.dtype(parameter.dtype)} {tuple(parameter.shape)}"
            )
        if not np.isfinite(array).all():
            raise FormatError(f"{name}: weight {key!r} holds NaN or Inf")
    for key, parameter in parameters.items():
        parameter.value = arrays[key]


def to_json(value: Any, where: str) -> Any:
    """`value` as JSON data; TypeError with the place for what is not data."""
    from .initializers import Initializer, serialize

    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, np.generic):
        return to_json(value.item(), where)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"cannot save the model: {where} is {value}, expected a finite number")
        return value
    if isinstance(value, Initializer):
        return to_json(serialize(value), where)
    if isinstance(value, np.ndarray):
        return to_json(value.tolist(), where)
    if isinstance(value, Mapping):
        return {str(key): to_json(part, f"{where}.{key}") for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(part, f"{where}[{i}]") for i, part in enumerate(value)]
    raise TypeError(
        f"cannot save the model: {where} is a {type(value).__name__}, which is not data; give the "
        "layer a get_config() that describes it with numbers, strings, lists and dicts"
    )


# ---- document and arrays <-> bytes ---------------------------------------------------------------


def pack(document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file's bytes: canonical, so that equal models give equal files."""
    from safetensors.numpy import save

    body = {"format": FORMAT_VERSION, "bpcore": __version__, "model": document}
    tensors = {
        key: np.ascontiguousarray(array, dtype=_DTYPES[array.dtype.name])
        for key, array in arrays.items()
    }
    header = {**body, "sha256": _digest(body, tensors)}
    data: bytes = save(tensors, metadata={"bpcore": _canonical(header)})
    return data


def unpack(data: bytes, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(document, arrays) from a file's bytes, checked; `name` is for the messages."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    body = _metadata(data, name)
    version = body.get("format")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise FormatError(f"{name}: format number {version!r}, expected a whole number >= 1")
    if version > FORMAT_VERSION:
        raise FormatError(
            f"{name}: written in format {version} by bpcore {body.get('bpcore')!r}; this bpcore "
            f"{__version__} reads formats up to {FORMAT_VERSION}; upgrade it"
        )
    try:
        arrays = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{name}: damaged safetensors file: {error}") from error
    stated = body.pop("sha256", None)
    if stated != _digest(body, arrays):
        raise FormatError(f"{name}: the SHA-256 does not fit the content; the file is damaged")
    model = body.get("model")
    if not isinstance(model, dict):
        raise FormatError(f"{name}: the metadata holds no architecture")
    return model, arrays


def _metadata(data: bytes, name: str) -> dict[str, Any]:
    """bpcore's own JSON in the header of a safetensors file."""
    for start, what in _FOREIGN:
        if data.startswith(start) and data[8:9] != b"{":
            raise FormatError(f"{name}: not a bpcore model but {what}")
    if len(data) < 10:
        raise FormatError(f"{name}: {len(data)} bytes; a bpcore model has more than 100")
    length = int.from_bytes(data[:8], "little")
    if data[8:9] != b"{" or length > min(_MAX_HEADER, len(data) - 8):
        raise FormatError(f"{name}: not a bpcore model; it starts with {data[:16]!r}")
    header = _parse(data[8 : 8 + length], name)
    metadata = header.get("__metadata__")
    text = metadata.get("bpcore") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise FormatError(f"{name}: a safetensors file, but not of a bpcore model (no metadata)")
    return _parse(text.encode(), name)


def _parse(text: bytes, name: str) -> dict[str, Any]:
    """Strict JSON: an object, no key twice, no NaN, bounded nesting."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key appears twice")
        return result

    def refuse(token: str) -> Any:
        raise ValueError(f"{token} is not JSON")

    try:
        value = json.loads(text.decode(), object_pairs_hook=once, parse_constant=refuse)
        depth = _depth(value)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name}: damaged header: {error}") from error
    if not isinstance(value, dict) or depth > _MAX_NESTING:
        raise FormatError(f"{name}: damaged header: expected an object nested <= {_MAX_NESTING}")
    return value


def _depth(value: Any) -> int:
    """Nesting of lists and dicts, 0 for a scalar."""
    parts = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, parts), default=0) if isinstance(value, (dict, list)) else 0


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _digest(body: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the architecture and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(_canonical(body).encode())
    for key in sorted(arrays):
        array = arrays[key]
        digest.update(
            _canonical({"name": key, "type": array.dtype.str, "shape": array.shape}).encode()
        )
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


# ---- the path ------------------------------------------------------------------------------------


def _checked_path(path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or PathLike, got {type(path).__name__} {path!r}")
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path must be text, got {type(name).__name__}")
    if not name or "\0" in name:
        raise ValueError(f"path must be a non-empty string without NUL, got {name!r}")
    return name


def _read(name: str) -> bytes:
    """All bytes of a regular file, opened once."""
    handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    try:
        kind = os.fstat(handle).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(f"cannot load {name!r}: it is a directory")
        if not stat.S_ISREG(kind):  # a pipe would block, a device may never end
            raise ValueError(f"cannot load {name!r}: it is not a regular file")
        with os.fdopen(handle, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(handle)
