"""A model as JSON data, and a model from it: `Model.get_config` and `Model.from_config`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base import checks
from ..files import architecture

_ENTRIES = {"name", "dtype", "compute", "seed", "layers", "compile"}  # and those of the structure


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
    architecture.check_counts(config)
    if model._compiled is not None:
        try:
            config["compile"] = model._compiled.get_config()
        except TypeError:  # a loss or metric in Python: the loaded model is to be compiled anew
            config["compile"] = None
    return config


def model_from_config(cls: Any, config: Mapping[str, Any], custom: Any) -> Any:
    """A model from `model_config`'s data, built and compiled, with new weights."""
    architecture.only("model", config, _ENTRIES | cls._STRUCTURE)
    architecture.check_counts(config)
    entries = list(config["layers"])
    layers = architecture.make_layers(entries, dict(custom or {}))
    options = {key: config[key] for key in ("name", "dtype", "seed")}
    if "compute" in config:  # a class of the user's may not know it
        options["compute"] = config["compute"]
    model = cls._from_layers(layers, config, options)
    architecture.restore_names(layers, entries)
    model._make_engine()  # inputs and outputs go by the layers' names
    if config.get("compile"):
        told = dict(config["compile"])
        model.compile(told.pop("optimizer"), told.pop("loss"), told.pop("metrics"), **told)
    return model
