"""A model as JSON data, and a model from it: `Model.get_config` and `Model.from_config`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base import checks
from ..data.frames import Names as Columns
from ..files import architecture

# of all models; those of the structure come to them
_ENTRIES = {"name", "dtype", "compute", "seed", "layers", "compile", "columns"}


def model_config(model: Any) -> dict[str, Any]:
    """The whole model: layers, connections, inputs, outputs, what it was compiled with."""
    engine = model._built()
    for key, used in (("dtype", engine.dtype), ("compute", engine.low.compute)):
        if getattr(model, key) != used:
            raise ValueError(
                f"model.{key} is {checks.describe(getattr(model, key))}, but the model was built "
                f"with {used!r}; make a new model for another {key}"
            )
    config: dict[str, Any] = {
        "name": checks.object_name("model", model.name),
        "dtype": model.dtype,
        "seed": checks.seed(model.seed),
    }
    if model.compute != model.dtype:
        config["compute"] = model.compute
    config.update(model._structure())
    if any(columns is not None for end in model._columns for columns in end):
        listed = [[c if c is None else list(c) for c in end] for end in model._columns]
        config["columns"] = dict(zip(("inputs", "outputs"), listed, strict=True))
    architecture.check_counts(config)
    if model._compilation is not None:
        try:
            config["compile"] = model._compilation.get_config()
        except TypeError:  # a loss or metric in Python: the loaded model is to be compiled anew
            config["compile"] = None
    return config


def model_from_config(cls: Any, config: Mapping[str, Any], custom: Any, plain: Any) -> Any:
    """A model from `model_config`'s data, built and compiled, with new weights; `plain`: the class
    of one that is part of a layer."""
    architecture.only("model", config, _ENTRIES | cls._STRUCTURE)
    architecture.check_counts(config)
    entries = list(config["layers"])

    def inner(part: Mapping[str, Any], own: Any) -> Any:
        return model_from_config(plain, part, own, plain)

    layers = architecture.make_layers(entries, dict(custom or {}), inner)
    options = {key: config[key] for key in ("name", "dtype", "seed")}
    if "compute" in config:  # a class of the user's may not know it
        options["compute"] = config["compute"]
    model = cls._from_layers(layers, config, options)
    architecture.restore_names(layers, entries)
    if "columns" in config:
        model._columns = _checked_columns(config["columns"], model)
    model._make_engine()  # inputs and outputs go by the layers' names
    if config.get("compile"):
        told = dict(config["compile"])
        if told["loss"] is None:
            del told["loss"]
        model.compile(**told)
    return model


def _checked_columns(value: Any, model: Any) -> list[list[Columns | None]]:
    """Columns of frames by input and by output."""
    if not isinstance(value, Mapping) or set(value) != {"inputs", "outputs"}:
        raise ValueError(f"columns: got {checks.describe(value)}, expected inputs and outputs")
    found: list[list[Columns | None]] = []
    for key, tensors in (("inputs", model.inputs), ("outputs", model.outputs)):
        listed = value[key]
        if not isinstance(listed, list) or len(listed) != len(tensors):
            raise ValueError(f"columns: {key}: got {checks.describe(listed)}, of {len(tensors)}")
        for columns in listed:
            if columns is not None and not (
                isinstance(columns, list) and all(isinstance(name, str) for name in columns)
            ):
                raise ValueError(f"columns: got {checks.describe(columns)}, expected names")
        found.append([None if columns is None else tuple(columns) for columns in listed])
    return found
