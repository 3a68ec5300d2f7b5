"""Architectures as JSON data: the layers and connections of a graph, without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from .. import graph
from ..base import checks
from ..layers import CLASSES
from ..layers.base import Layer, layers_of

MAX_LAYERS = 10_000  # of a file
_ENTRY = {"class_name", "name", "named", "trainable", "frozen", "config"}
_NODE = {"layer", "inputs", "list"}


def only(what: str, config: Mapping[str, Any], known: set[str]) -> None:
    """Refuse entries that mean nothing to this version."""
    strange = sorted(set(config) - known)
    if strange:
        raise ValueError(f"{what}: unknown entry {strange[0][:80]!r}, expected {sorted(known)}")


def layer_entry(layer: Layer) -> dict[str, Any]:
    """One layer: class, its name in the model, and the constructor's arguments."""
    config = layer.get_config()
    if not isinstance(config, Mapping):
        raise TypeError(
            f"{layer.label}: get_config() gave {checks.describe(config)}, expected a dict of the "
            "constructor's arguments"
        )
    return {
        "class_name": type(layer).__name__,
        "name": layer.name,
        "named": layer._given_name is not None,
        "trainable": layer.trainable,
        "frozen": [p.local_name for p in layer.weights if not p._trainable],
        "config": config,
    }


def check_counts(config: Mapping[str, Any]) -> None:
    """Refuse to describe, and to make, a model of more parts than a file may ask for."""
    for part, most in (("layers", MAX_LAYERS), ("nodes", 10 * MAX_LAYERS)):
        count = len(config.get(part, ()))
        if count > most:
            raise ValueError(f"the model has {count} {part}, a file describes at most {most}")


def structure(
    nodes: Sequence[graph.Node],
    inputs: tuple[list[str] | None, list[graph.Tensor], Any],
    outputs: tuple[list[str] | None, list[graph.Tensor], Any],
) -> dict[str, Any]:
    """The layers and connections of a sorted graph.

    Of inputs and outputs: the keys if they were given as a dict, the tensors, and the type of what
    held them (None: one tensor alone).
    """
    layers = layers_of(nodes)
    number = {id(layer): i for i, layer in enumerate(layers)}
    place = {id(node): i for i, node in enumerate(nodes)}

    def ends(keys: list[str] | None, tensors: list[graph.Tensor], kind: Any) -> Any:
        places = [place[id(t.node)] for t in tensors]
        if keys is not None:
            return dict(zip(keys, places, strict=True))
        return places if kind is not None or len(places) > 1 else places[0]

    return {
        "layers": [layer_entry(layer) for layer in layers],
        "nodes": [
            {
                "layer": number[id(node.layer)],
                "inputs": [place[id(t.node)] for t in node.inputs],
                "list": isinstance(cast(Layer, node.layer).input_shape, list),
            }
            for node in nodes
        ],
        "inputs": ends(*inputs),
        "outputs": ends(*outputs),
    }


def make_layers(
    entries: Sequence[Mapping[str, Any]],
    custom: Mapping[str, Any],
    model: Callable[..., Any] | None = None,
) -> list[Layer]:
    """All layers of a model; `model` makes one that is part of a layer, from what `get_config` of
    it gave and `custom`."""
    layers = [_make_layer(entry, custom, model) for entry in entries]
    by_name = {entry["name"]: layer for entry, layer in zip(entries, layers, strict=True)}
    for layer in layers:
        layer.resolve(by_name)
    return layers


def _make_layer(
    entry: Mapping[str, Any], custom: Mapping[str, Any], model: Callable[..., Any] | None
) -> Layer:
    """A layer from its entry; its class from the package's closed list or `custom`."""
    known = {**CLASSES, **custom}
    name = entry["class_name"]
    only("layer", entry, _ENTRY)
    if name not in known:
        raise ValueError(
            f"unknown layer class {name!r}; pass custom_objects={{{name!r}: ...}} if it is your "
            f"own, expected one of {', '.join(sorted(known))}"
        )
    config = {key: _own(key, value, custom) for key, value in entry["config"].items()}
    cell = config.get("cell")
    if isinstance(cell, Mapping) and cell.get("class_name") == "Model" and model is not None:
        only("cell", cell, {"class_name", "config"})
        config["cell"] = model(cell["config"], custom)
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


def connect(config: Mapping[str, Any], layers: list[Layer]) -> tuple[Any, Any]:
    """The graph's inputs and outputs, in the structure they had."""
    tensors: list[graph.Tensor] = []
    for entry in config["nodes"]:
        only("node", entry, _NODE)
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


def restore_names(layers: Sequence[Layer], entries: Sequence[Mapping[str, Any]]) -> None:
    """Names and frozen weights of layers that are built."""
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
