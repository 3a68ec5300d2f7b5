"""How layers become part of a model: names, seeds, streams of random numbers, weights."""

from __future__ import annotations

import itertools
import unicodedata
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

from .. import _core, graph
from ..base import checks
from ..base.counters import Counters
from ..base.memory import Shape
from ..graph.parameter import Parameter
from ..layers.base import Layer, layers_of


def check_layer(what: str, item: Any) -> Layer:
    """A Layer instance, or an error that guesses what was meant."""
    if isinstance(item, Layer):
        return item
    if isinstance(item, type) and issubclass(item, Layer):
        name = item.__name__
        raise TypeError(
            f"{what} is the class {name}, not an instance; write "
            f"{name}({'units' if name == 'Dense' else '...'})"
        )
    hint = f"; did you mean Activation({item!r})?" if isinstance(item, str) else ""
    raise TypeError(f"{what} must be a Layer, got {checks.describe(item)}{hint}")


def owner_of(layer: Layer) -> Any:
    """The live model that the layer belongs to, or None."""
    reference = layer._owner
    return reference() if reference is not None else None


def own(layer: Layer, model: Any) -> None:
    """The layer belongs to this model, as long as the model lives."""
    layer._owner = weakref.ref(model)


def assign_names(layers: Sequence[Layer], model: Any) -> list[str]:
    """Unique names: given ones as they are, others numbered in order, as Keras does."""
    fixed: dict[str, int] = {}
    for i, layer in enumerate(layers):
        given = layer._given_name
        if given is None and owner_of(layer) not in (None, model):
            given = layer.name  # keeps the names its first model gave
        if given is None:
            continue
        if given in fixed:
            raise ValueError(
                f"duplicate layer name {given!r} at {fixed[given]} and {i}, expected unique names; "
                "pass name=... to one of them; of two models that are joined, name the layers or "
                "build the joined model first"
            )
        fixed[given] = i
    names: list[str] = []
    taken = set(fixed)
    counts: dict[str, Iterator[int]] = {}
    positions = {i: name for name, i in fixed.items()}
    for i, layer in enumerate(layers):
        if i in positions:
            names.append(positions[i])
            continue
        base = "input" if layer.is_input else layer._default_name()
        count = counts.setdefault(base, itertools.count())
        while True:
            k = next(count)
            name = base if k == 0 else f"{base}_{k}"
            if name not in taken:
                break
        taken.add(name)
        names.append(name)
    return names


def restored_on_error(layers: Sequence[Layer], *objects: Any) -> AbstractContextManager[Any]:
    """Put layers and objects back into their state if the block raises."""
    weights = [p for layer in layers for p in layer._weights]  # another dtype gives new arrays
    held = [(item, dict(item.__dict__)) for item in (*weights, *objects)]
    held += [(layer, {**layer.__dict__, "_weights": list(layer._weights)}) for layer in layers]
    return _core.Restored(held)


def dtype_of(nodes: Sequence[graph.Node]) -> str:
    """That of the layers which are in a model already, else float32."""
    layers = [cast(Layer, node.layer) for node in nodes]
    return next(
        (layer.dtype for layer in layers if layer._dtype and owner_of(layer) is not None),
        "float32",
    )


def adopt(layers: Sequence[Layer], model: Any, counters: Counters) -> None:
    """Check that the layers can belong to the model, then name them and give them its seed."""
    for layer in layers:
        if (
            layer._dtype is not None
            and layer._dtype != model.dtype
            and (
                layer._config_args.get("dtype") is not None or owner_of(layer) not in (None, model)
            )
        ):
            raise ValueError(
                f"{layer.label} has dtype {layer._dtype}, the model {model.dtype}, expected equal "
                "ones; make the model with the layer's dtype"
            )
    names = assign_names(layers, model)
    for layer, name in zip(layers, names, strict=True):
        layer._name = name
        if owner_of(layer) is None:
            own(layer, model)
        if layer._dtype != model.dtype:
            layer.convert(model.dtype)
        if not layer.built:
            layer._seed = model.seed
            layer._next_stream = counters.next_stream


def note_calls(nodes: Sequence[graph.Node], before: Sequence[graph.Node] = ()) -> None:
    """Tell the layers where in models they are called now; `before`: in the model's last graph."""
    gone = {id(node) for node in (*before, *nodes)}
    for layer in layers_of(nodes):
        calls = [(call, call()) for call in layer._calls]
        layer._calls = [c for c, n in calls if n is not None and id(n) not in gone]
    for node in nodes:
        cast(Layer, node.layer)._calls.append(weakref.ref(node))


def build_nodes(nodes: Sequence[graph.Node]) -> None:
    """Make the weights of all layers of a sorted graph."""
    for node in nodes:
        layer = cast(Layer, node.layer)
        if layer.is_input or not node.inputs:
            continue
        shapes = [t.shape for t in node.inputs]
        several = len(shapes) > 1 or isinstance(layer.input_shape, list)
        layer.ensure_built(shapes if several else shapes[0])


def check_parameters(layers: Sequence[Layer], used: Sequence[Parameter]) -> None:
    """Every parameter in use is a weight of the layers, of a name that files hold."""
    own = {id(p) for layer in layers for p in layer.weights}
    for p in used:
        if id(p) not in own:
            raise ValueError(
                f"the model uses {p.name!r}, whose layer is not one of the model's layers, "
                "expected that layer in the same model; make one model of both, and further "
                "models of its inner layers"
            )
    normal: dict[str, str] = {}
    for name in (p.name for layer in layers for p in layer.weights):
        flaw = checks.name_flaw(name)
        if flaw:
            raise ValueError(f"weight {name!r} {flaw}; give the layer another name")
        form = name if name.isascii() else unicodedata.normalize("NFC", name)
        other = normal.setdefault(form, name)
        if other is not name and not name.isascii():
            raise ValueError(
                f"weights {other!a} and {name!a} look the same (they are one in the "
                "normal form NFC of Unicode), expected names that differ; rename a layer"
            )


def chain(
    layers: Sequence[Layer], shape: Shape, name: str | None
) -> tuple[graph.Tensor, graph.Tensor]:
    """The graph of a Sequential: a new input, then layer after layer."""
    from ..layers.input import Input

    first = value = Input(shape, name=name)
    for i, layer in enumerate(layers):
        if layer.several_outputs:
            raise ValueError(
                f"layers[{i}] ({layer.label}) gives several outputs, expected one in a "
                "Sequential; connect them in a bpcore.Model"
            )
        try:
            value = graph.connect(layer, value)
        except ValueError as error:
            before = f"layer {layers[i - 1].name!r} gives {value.shape}" if i else f"input {shape}"
            raise type(error)(f"layers[{i}] ({layer.label}) after {before}: {error}") from error
    return first, value
