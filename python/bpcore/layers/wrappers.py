"""Layers around layers: Bidirectional and TimeDistributed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import graph
from ..base import checks
from ..base.lengths import shown
from ..base.memory import Shape
from ..errors import ShapeError
from .base import Layer
from .cells import adopt
from .core import CoreLayer
from .dense import single
from .merging import Add, Average, Concatenate, Multiply
from .recurrent_base import Recurrent


class Wrapper(CoreLayer):
    """Base: inner layers, whose weights are those of this layer."""

    @property
    def matrices(self) -> None:
        """None: they are those of the inner layers."""

    def _inner(self) -> list[tuple[str, Any]]:
        """The inner layers, each with what stands before the names of its weights."""
        raise NotImplementedError

    def _build_inner(self, input_shape: Any) -> None:
        for prefix, layer in self._inner():
            adopt(self, layer, input_shape, prefix)

    def convert(self, dtype: str) -> None:
        """Take another dtype, weights included."""
        super().convert(dtype)
        for _, layer in self._inner():
            layer._dtype, layer._brick = dtype, None

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; inner layers as class and arguments."""
        config: dict[str, Any] = {}
        for key, value in self._config_args.items():
            if isinstance(value, Layer):
                config[key] = {"class_name": type(value).__name__, "config": value.get_config()}
            else:
                config[key] = self._plain(key, value)
        config.update(name=self._given_name, trainable=self._trainable)
        return config


def _built_in(cls: type[Layer]) -> dict[str, type[Layer]]:
    """The package's layers on this class, by name."""
    found = {}
    for sub in cls.__subclasses__():
        if sub.__module__.startswith(__name__.partition(".")[0] + "."):
            found.update({sub.__name__: sub, **_built_in(sub)})
    return found


def _layer(what: str, value: Any) -> Layer:
    """A layer, or what `get_config` made of one."""
    if isinstance(value, Mapping):
        name = value.get("class_name")
        cls = _built_in(CoreLayer).get(str(name))
        if cls is None:
            raise ValueError(f"{what}: unknown layer {name!r} inside")
        found: Layer = cls.from_config(dict(value["config"]))
        return found
    if not isinstance(value, Layer) or value.is_input:
        raise TypeError(f"{what} must be a layer, got {checks.describe(value)}")
    if value.built:
        raise ValueError(f"{what} is built already, expected a new layer")
    return value


_MERGES: dict[str | None, type[CoreLayer]] = {
    "concat": Concatenate,
    "sum": Add,
    "mul": Multiply,
    "ave": Average,
}


class Bidirectional(Wrapper):
    """A recurrent layer in both directions of time.

    Parameters
    ----------
    layer : SimpleRNN, LSTM or GRU
        The forward layer; the backward one is its copy with `go_backwards`.
    merge_mode : {"concat", "sum", "mul", "ave", None}
        How the two results become one; None: they stay two, ``[forward, backward]``.
    backward_layer : SimpleRNN, LSTM or GRU, optional
        Another one for the way back, with ``go_backwards=True``.
    name, trainable, dtype
        As in `Layer`.

    Notes
    -----
    With `return_sequences` step t of both is at place t; of sequences with a mask the backward
    layer starts at the last step that counts (M. Schuster, K. Paliwal, 1997). Weights are called
    ``forward_kernel``, ``backward_kernel`` and so on.

    Examples
    --------
    >>> import bpcore as bp
    >>> layer = bp.layers.Bidirectional(bp.layers.LSTM(4, return_sequences=True))
    >>> layer(bp.Input((None, 3))).shape
    (None, 8)
    """

    takes_any_length = True
    streams = False

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        backward_layer: Any = None,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        if merge_mode not in (modes := (*_MERGES, None)):
            raise ValueError(f"merge_mode must be one of {modes}, got {merge_mode!r}")
        self.merge_mode = merge_mode
        self.forward_layer = self._recurrent("layer", layer)
        if backward_layer is None:
            config = {**self.forward_layer.get_config(), "name": None}
            config["go_backwards"] = not self.forward_layer.go_backwards
            self.backward_layer = type(self.forward_layer).from_config(config)
        else:
            self.backward_layer = self._recurrent("backward_layer", backward_layer)
        pair = self.forward_layer, self.backward_layer
        if pair[0].go_backwards == pair[1].go_backwards:
            raise ValueError("backward_layer must go the other way, with go_backwards=True")
        if any(pair[0].__dict__[key] != pair[1].__dict__[key] for key in
               ("return_sequences", "return_state")):  # fmt: skip
            raise ValueError("both layers must have the same return_sequences and return_state")
        for inner in pair:
            inner.at_places = True

    @staticmethod
    def _recurrent(what: str, value: Any) -> Recurrent:
        found = _layer(what, value)
        if not isinstance(found, Recurrent):
            raise TypeError(f"{what} must be a recurrent layer, got {found.label}")
        return found

    def _inner(self) -> list[tuple[str, Any]]:
        return [("forward_", self.forward_layer), ("backward_", self.backward_layer)]

    def build(self, input_shape: Any) -> None:
        """Make the weights of both for x (T, F)."""
        self._build_inner(input_shape)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        first = self.forward_layer.compute_output_shape(input_shape)
        second = self.backward_layer.compute_output_shape(input_shape)
        if self.merge_mode == "concat":
            return (*first[:-1], first[-1] + second[-1])
        if first != second:
            raise ShapeError(
                f"{self.label}: results of shapes {first} and {second} cannot be joined by "
                f"{self.merge_mode!r}; expected as many units"
            )
        return first

    @property
    def several_outputs(self) -> bool:  # type: ignore[override]
        """Without `merge_mode`, or of layers with `return_state`."""
        return self.merge_mode is None or self.forward_layer.several_outputs

    def __call__(self, x: Any, training: bool = False) -> Any:
        """y, or with ``merge_mode=None`` [forward, backward]; with `return_state` the states of
        the forward layer follow, then those of the backward one."""
        pair = self.forward_layer, self.backward_layer
        if self.merge_mode is not None and not pair[0].return_state:
            return super().__call__(x, training)
        if not graph.is_symbolic(x):
            raise TypeError(
                f"{self.label} with merge_mode=None or return_state works in a model; call it on a "
                "symbolic tensor"
            )
        results = [layer(x) for layer in pair]
        if not pair[0].return_state:
            return results
        ys = [result[0] for result in results]
        states = [state for result in results for state in result[1:]]
        return [*([_MERGES[self.merge_mode]()(ys)] if self.merge_mode else ys), *states]

    def passes_mask(self, shapes: list[Shape], shape: Shape) -> bool:
        """`core_lower` has said it."""
        return False

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        several = isinstance(self.input_shape, list)
        halves = []
        for _, layer in self._inner():
            own = layer.compute_output_shape(shapes if several else shapes[0])
            halves.append(layer.core_lower(low, inputs, shapes, own))
        merge = _MERGES[self.merge_mode](name=self.name)
        y = merge.core_lower(low, halves, [low.shapes[i] for i in halves], shape)
        low.set_masks(y, low.masks_of(halves[0]))
        return y


class TimeDistributed(Wrapper):
    """A layer on every step of (N, T, ...), with the same weights at each.

    Parameters
    ----------
    layer : Layer
        For the shape of one step.
    name, trainable, dtype
        As in `Layer`.

    Notes
    -----
    Layers of the last axis (`Dense`, `Activation`, ...) work on sequences as they are; around them
    this changes nothing but the names. Any other built-in layer is written down once for each step.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.TimeDistributed(bp.layers.Flatten())(bp.Input((5, 2, 3))).shape
    (5, 6)
    """

    def __init__(
        self,
        layer: Any,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.layer = _layer("layer", layer)
        if not isinstance(self.layer, CoreLayer) or isinstance(self.layer, Recurrent):
            raise TypeError(
                f"layer must be a built-in layer of single steps, got {self.layer.label}; "
                "a layer in Python can loop over the steps itself"
            )

    def _inner(self) -> list[tuple[str, Any]]:
        return [("", self.layer)]

    def build(self, input_shape: Any) -> None:
        """Make the weights for the shape of a step."""
        self._build_inner(self._step(input_shape))

    def _step(self, input_shape: Any) -> Shape:
        shape = single(self, input_shape)
        if len(shape) < 2:
            raise ShapeError(f"{self.label}: got x of shape {shown(shape)}, expected (N, T, ...)")
        return shape[1:]

    def compute_output_shape(self, input_shape: Any) -> Shape:
        step = self._step(input_shape)
        return (single(self, input_shape)[0], *self.layer.compute_output_shape(step))

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        if self.layer.of_last_axis:
            return self.layer.lower(low, inputs, shapes, shape)
        steps, own = shapes[0][0], shape[1:]
        parts = []
        for t in range(steps):
            told = {"begin": t, "end": t + 1, "drop": True}
            x = low.add("rows", inputs, shapes[0][1:], self.name, **told)
            y = self.layer.lower(low, [x], [shapes[0][1:]], own)
            one = (1, *own)
            parts.append(low.add("reshape", (y,), one, self.name, shape=one))
        return low.add("concatenate", parts, shape, self.name, axis=0)
