"""Sequential: a model that is a chain of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from .. import graph
from ..base import checks
from ..base.memory import Array, Shape
from ..layers.base import Layer
from ..layers.input import Input
from . import building
from .model import Model


class Sequential(Model):
    """Layers one after another; built at the first `fit`, by `build`, or by an Input in front.

    Parameters
    ----------
    layers : list of Layer, optional
        May begin with ``bp.Input(shape)``, whose name, if it has one, is the model's input's.
    name, dtype, compute, seed
        As in `Model`.

    Examples
    --------
    >>> import bpcore as bp
    >>> model = bp.Sequential([bp.layers.Dense(3, "relu"), bp.layers.Dense(1)], seed=0)
    >>> model.build((2,))
    >>> [layer.name for layer in model.layers]
    ['dense', 'dense_1']
    """

    _lists_inputs = False
    _STRUCTURE = frozenset({"input_shape", "input_name"})
    _input_name: str | None = None  # of the Input in front; old pickles have none

    if TYPE_CHECKING:  # one output, so one array

        def __call__(self, x: Any, training: bool = False, *, out: Any = None) -> Array: ...

        def predict(
            self,
            x: Any,
            *,
            batch_size: int | None = 1024,
            out: Any = None,
            check_finite: bool = True,
            mask: Any = None,
        ) -> Array: ...

    if not TYPE_CHECKING:  # editors and type checkers look at __init__

        def __new__(cls, *args: Any, **kwargs: Any) -> Sequential:
            if len(args) > 1:
                raise TypeError(
                    f"{cls.__name__} takes one list of layers, got {len(args)} arguments; give one "
                    f"list: {cls.__name__}([layer, layer])"
                )
            return super().__new__(cls, *args, **kwargs)  # type: ignore[return-value]

    def __init__(
        self,
        layers: Any = None,
        *,
        name: str | None = None,
        dtype: str = "float32",
        compute: str | None = None,
        seed: Any = None,
    ) -> None:
        self._start(name, dtype, compute, seed)
        self._given_shape: Shape | None = None
        items = [] if layers is None else layers
        if not isinstance(items, (list, tuple)):
            raise TypeError(f"layers must be a list of Layer, got {checks.describe(layers)}")
        self._extend(list(items))

    def add(self, layer: Any) -> None:
        """Append a layer."""
        with self._busy("add"):
            self._extend([layer])

    def _extend(self, items: list[Any]) -> None:
        before = len(self._layers)
        shape, name = self._given_shape, self._input_name
        new = list(self._layers)
        places = {id(layer): k for k, layer in enumerate(new)}
        for i, item in enumerate(items, start=before):
            if isinstance(item, graph.Tensor) and item.node.layer.is_input and not new:
                shape, name = item.shape, cast(Layer, item.node.layer)._given_name
                continue
            layer = building.check_layer(f"layers[{i}]", item)
            k = places.setdefault(id(layer), len(new))
            if k < len(new):
                raise ValueError(
                    f"layers[{i}] is the same object as layers[{k}]; to share weights use the "
                    "functional bpcore.Model, where a layer may be called twice"
                )
            owner = building.owner_of(layer)
            if owner is not None and owner is not self:
                raise ValueError(
                    f"layers[{i}] ({layer.label}) already belongs to model {owner.name!r}, "
                    "expected a new layer; create one, or share layers in a functional bpcore.Model"
                )
            new.append(layer)
        rebuild = shape if shape is not None else self._shape()
        with building.restored_on_error(new, self, self._counters):
            building.adopt(new, self, self._counters)
            self._layers, self._given_shape, self._input_name = new, shape, name
            if rebuild is not None and new:
                self._build(rebuild)

    def _shape(self) -> Shape | None:
        return self._engine.signature.inputs.shapes[0] if self._engine is not None else None

    def _takes_any_length(self) -> bool:
        return bool(self._layers) and self._layers[0].takes_any_length

    def _structure(self) -> dict[str, Any]:
        from ..files.architecture import layer_entry

        layers = [layer_entry(layer) for layer in self._layers]
        found: dict[str, Any] = {"input_shape": list(self._inputs[0].shape), "layers": layers}
        if self._input_name is not None:
            found["input_name"] = self._input_name
        return found

    @classmethod
    def _from_layers(
        cls, layers: list[Layer], config: Mapping[str, Any], options: dict[str, Any]
    ) -> Sequential:
        first = Input(tuple(config["input_shape"]), name=config.get("input_name"))
        return cls([first, *layers], **options)

    def build(self, input_shape: Any) -> None:
        """Make the weights for samples of this shape, batch axis left out."""
        super().build(input_shape)
        if self._engine is None:
            self._build(checks.shape("input_shape", input_shape, steps=True))

    def _build(self, shape: Shape) -> None:
        if not self._layers:
            raise ValueError("model needs at least one layer, got 0; add one with add(layer)")
        with building.restored_on_error(self._layers, self, self._counters):
            first, last = building.chain(self._layers, shape, self._input_name)
            self._build_graph(graph.sort([first], [last]), [first], [last])
