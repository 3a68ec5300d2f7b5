"""Models as single files: safetensors for the numbers, architecture as JSON in its metadata.

Nothing in a file is ever run: the architecture names layer classes from a closed list (the
package's own, and what the caller passes as `custom_objects`), and there is no pickle anywhere. A
SHA-256 over architecture and numbers finds damage; it does not prove who wrote the file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import initializers
from ..base import checks
from ..base.plain import Plain
from ..errors import FormatError, NotBuiltError
from ..graph.parameter import Parameter
from . import container
from .atomic import write_atomically

FORMAT = 2  # of files of models that were trained; of others 1

__all__ = ["save_model"]


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Write `model` (architecture, dtype and weights) to one safetensors file, atomically.

    The file can be read by every safetensors reader; the tensors are named as the parameters.
    What was given to `compile` is stored too if it is data; with a loss, metric or schedule of
    your own in Python it is left out, and the model read back has to be compiled again, which
    `load_model` says. Of the optimizer's state the number of updates is stored, from which
    schedules go on; the rest belongs to checkpoints. Saving the same model again gives the same
    bytes.

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
    for layer in model.layers:
        if layer.unsaved is not None:
            raise TypeError(f"cannot save the model: {layer.label}: {layer.unsaved}")
    document: dict[str, Any] = {"model": describe(model)}
    compiled = document["model"]["config"].get("compile") is not None
    # A fit in another thread, which may begin at any time, would change them under the hash.
    arrays = {key: array.copy() for key, array in arrays_of(model, rule=compiled).items()}
    updates = model.optimizer.iterations if document["model"]["config"].get("compile") else 0
    if updates:  # where schedules go on
        document["updates"] = updates
    write_atomically(name, container.pack(document, arrays, FORMAT if updates else 1))


# ---- model <-> document ------------------------------------------------------------------------


def describe(model: Any) -> dict[str, Any]:
    """Class and configuration as data; TypeError if a layer is not."""
    try:
        config = _Description()(model.get_config(), "config")
    except RecursionError as error:
        raise TypeError(
            "cannot save the model: its description is nested without end, expected plain data"
        ) from error
    return {"class_name": type(model).__name__, "config": config}


def stored(model: Any) -> list[Parameter]:
    """The weights of a model, and those of the rule of `bpcore.credit` that trains it."""
    return [*model.weights, *model.credit_weights]


def arrays_of(model: Any, *, rule: bool = True) -> dict[str, np.ndarray]:
    """The weights by name, not copied; with those of the rule that trains it or without."""
    arrays: dict[str, np.ndarray] = {}
    for parameter in stored(model) if rule else model.weights:
        if parameter.name in arrays:
            raise ValueError(f"two parameters are named {parameter.name!r}; give the layers names")
        arrays[parameter.name] = np.asarray(parameter.value)
    return arrays


def check_weights(
    model: Any, arrays: Mapping[str, np.ndarray], file: str, finite: bool = True
) -> None:
    """Refuse arrays that are not exactly what a file of the model holds."""
    parameters = {parameter.name: parameter for parameter in stored(model)}
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
        if isinstance(value, int):
            if abs(value) >= 10**container.MAX_DIGITS:
                raise TypeError(
                    f"cannot save the model: {where} is an int of more than "
                    f"{container.MAX_DIGITS} digits, which files do not hold; give it as a str"
                )
        elif not math.isfinite(value):
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
