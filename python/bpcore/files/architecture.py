"""Architectures as JSON data: `Model.get_config` and `from_config`. Weights are not part of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import graph
from ..base import checks
from ..layers.base import Layer, layers_of

MAX_LAYERS = 10_000  # of a file
_ENTRY = {"class_name", "name", "named", "trainable", "frozen", "config"}
_NODE = {"layer", "inputs", "list"}
_COMMON = {"name", "dtype", "compute", "seed", "layers", "compile"}
_SEQUENTIAL, _GRAPH = _COMMON | {"input_shape"}, _COMMON | {"nodes", "inputs", "outputs"}


def _only(what: str, config: Mapping[str, Any], known: set[str]) -> None:
    """Refuse entries that mean nothing to this version."""
    strange = sorted(set(config) - known)
    if strange:
        raise ValueError(f"{what}: unknown entry {strange[0][:80]!r}, expected {sorted(known)}")


def layer_entry(layer: Layer) -> dict[str, Any]:
    """One layer: class, its name in the model, and the constructor's arguments."""
    return {
        "class_name": type(layer).__name__,
        "name": layer.name,
        "named": layer._given_name is not None,
        "trainable": layer.trainable,
        "frozen": [p.local_name for p in layer.weights if not p._trainable],
        "config": layer.get_config(),
    }


def model_config(model: Any) -> dict[str, Any]:
    """The whole model: layers, connections, inputs, outputs, what it was compiled with."""
    from ..model.sequential import Sequential

    config: dict[str, Any] = {"name": model.name, "dtype": model.dtype, "seed": model.seed}
    if model.compute != model.dtype:
        config["compute"] = model.compute
    if isinstance(model, Sequential):
        config["input_shape"] = list(model._inputs[0].shape)
        config["layers"] = [layer_entry(layer) for layer in model.layers]
    else:
        layers = layers_of(model._nodes)
        number = {id(layer): i for i, layer in enumerate(layers)}
        place = {id(node): i for i, node in enumerate(model._nodes)}
        config["layers"] = [layer_entry(layer) for layer in layers]
        config["nodes"] = [
            {
                "layer": number[id(node.layer)],
                "inputs": [place[id(t.node)] for t in node.inputs],
                "list": isinstance(node.layer.input_shape, list),
            }
            for node in model._nodes
        ]
        inputs = [place[id(t.node)] for t in model._inputs]
        config["inputs"] = _ends(model._in_keys, inputs, model._in_kind)
        outputs = [place[id(t.node)] for t in model._outputs]
        config["outputs"] = _ends(model._out_keys, outputs, model._out_kind)
    if model._compiled is not None:
        try:
            config["compile"] = model._compiled.get_config()
        except TypeError:  # a loss or metric in Python: the loaded model is to be compiled anew
            config["compile"] = None
    return config


def _ends(keys: list[str] | None, places: list[int], kind: Any) -> Any:
    if keys is not None:
        return dict(zip(keys, places, strict=True))
    return places if kind is not None or len(places) > 1 else places[0]


def make_layer(entry: Mapping[str, Any], custom: Mapping[str, Any]) -> Layer:
    """A layer from its entry; its class from the package's closed list or `custom`."""
    from ..layers import CLASSES

    known = {**CLASSES, **custom}
    name = entry["class_name"]
    _only("layer", entry, _ENTRY)
    if name not in known:
        raise ValueError(
            f"unknown layer class {name!r}, expected one of {', '.join(sorted(known))}; pass "
            f"custom_objects={{{name!r}: ...}} if it is your own"
        )
    config = {key: _own(key, value, custom) for key, value in entry["config"].items()}
    layer = known[name].from_config(config)
    if not isinstance(layer, Layer):
        raise TypeError(f"custom_objects[{name!r}] made {checks.describe(layer)}, expected a Layer")
    layer._given_name = checks.object_name("layer", entry["name"]) if entry.get("named") else None
    layer._trainable = checks.boolean("trainable", entry.get("trainable", True))
    return layer


def _own(key: str, value: Any, custom: Mapping[str, Any]) -> Any:
    """A regularizer or constraint of the caller's made from its entry; all else as it is."""
    if not key.endswith(("regularizer", "constraint")) or not isinstance(value, Mapping):
        return value
    name = value.get("class_name")
    if not isinstance(name, str) or name not in custom:
        return value
    make = getattr(custom[name], "from_config", None)
    options = dict(value["config"])
    return make(options) if make is not None else custom[name](**options)


def model_from_config(cls: Any, config: Mapping[str, Any], custom: Any) -> Any:
    """A model from `model_config`'s data, built and compiled, with new weights."""
    from ..model.sequential import Sequential

    objects = dict(custom or {})
    entries = list(config["layers"])
    if len(entries) > MAX_LAYERS:
        raise ValueError(f"{len(entries)} layers, expected at most {MAX_LAYERS}")
    _only("model", config, _SEQUENTIAL if issubclass(cls, Sequential) else _GRAPH)
    layers = [make_layer(entry, objects) for entry in entries]
    by_name = {entry["name"]: layer for entry, layer in zip(entries, layers, strict=True)}
    for layer in layers:
        layer.resolve(by_name)
    options = {key: config[key] for key in ("name", "dtype", "seed")}
    if "compute" in config:  # a class of the user's may not know it
        options["compute"] = config["compute"]
    if issubclass(cls, Sequential):
        model = cls(layers, **options)
        model.build(tuple(config["input_shape"]))
    else:
        model = cls(*_connect(config, layers), **options)
    for layer, entry in zip(layers, entries, strict=True):
        layer._name = checks.object_name("layer", entry["name"]) or layer.name
        frozen = set(entry.get("frozen", []))
        if not frozen <= {p.local_name for p in layer.weights}:
            raise ValueError(
                f"layer {layer.name!r}: frozen names {sorted(map(str, frozen))[:3]}, "
                f"expected names of {[p.local_name for p in layer.weights]}"
            )
        for p in layer.weights:
            p.trainable = p.local_name not in frozen
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        raise ValueError("two layers have the same name, expected unique names")
    model._make_engine()  # inputs and outputs go by the layers' names
    if config.get("compile"):
        told = dict(config["compile"])
        model.compile(told.pop("optimizer"), told.pop("loss"), told.pop("metrics"), **told)
    return model


def _connect(config: Mapping[str, Any], layers: list[Layer]) -> tuple[Any, Any]:
    """The graph's inputs and outputs, in the structure they had."""
    tensors: list[graph.Tensor] = []
    if len(config["nodes"]) > 10 * MAX_LAYERS:
        raise ValueError(f"{len(config['nodes'])} nodes, expected at most {10 * MAX_LAYERS}")
    for entry in config["nodes"]:
        _only("node", entry, _NODE)
        layer = layers[checks.integer("layer", entry["layer"], 0, len(layers) - 1)]
        inputs = [tensors[checks.integer("node", i, 0, len(tensors) - 1)] for i in entry["inputs"]]
        if not inputs:
            tensors.append(graph.Node(layer, (), layer.compute_output_shape(None)).output)
        else:
            several = entry.get("list") or len(inputs) > 1
            tensors.append(graph.connect(layer, inputs if several else inputs[0]))

    def at(i: Any) -> graph.Tensor:
        return tensors[checks.integer("node", i, 0, len(tensors) - 1)]

    def pick(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: at(i) for key, i in value.items()}
        return [at(i) for i in value] if isinstance(value, list) else at(value)

    return pick(config["inputs"]), pick(config["outputs"])
