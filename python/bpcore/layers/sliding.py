"""What layers share whose windows slide over sequences or images: axes, strides, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import graph
from ..base import checks
from ..base.lengths import shown
from ..base.memory import Shape
from ..errors import ShapeError
from .core import CoreLayer
from .dense import single

FORMATS = ("channels_last", "channels_first")


def sizes(name: str, value: Any, rank: int, low: int = 1) -> Shape:
    """An int for all axes, or one for each."""
    if isinstance(value, (tuple, list)):
        if len(value) != rank:
            raise ValueError(f"{name} must be an int or {rank} of them, got {value!r}")
        return tuple(checks.integer(name, n, low) for n in value)
    return (checks.integer(name, value, low),) * rank


def read_format(value: Any) -> str:
    """Where the channels are; None is Keras' word for the default."""
    return FORMATS[0] if value is None else checks.choice("data_format", value, FORMATS)


class PositionLayer(CoreLayer):
    """Base: x (N, T, C) or (N, H, W, C), or with the channels first; `rank` axes of positions."""

    rank: int
    data_format: str
    streams = False

    def passes_mask(self, shapes: list[Shape], shape: Shape) -> bool:
        """It mixes steps."""
        return self.refuse_mask()

    def channels_last(self, input_shape: Any) -> Shape:
        """The shape of a sample with its channels last, after the check of its rank."""
        shape = single(self, input_shape)
        first = self.data_format == FORMATS[1]
        if len(shape) != self.rank + 1 or (first and shape[0] is None):
            letters = "TC" if self.rank == 1 else "HWC"
            if first:
                letters = letters[-1] + letters[:-1]
            raise ShapeError(
                f"{self.label}: got x of shape {shown(shape)}, expected "
                f"(N, {', '.join(letters)}) because its data_format is {self.data_format!r}; "
                "reshape x, for example with Reshape"
            )
        return (*shape[1:], shape[0]) if first else shape

    def as_given(self, shape: Shape) -> Shape:
        """A shape with its channels last, as the user has it."""
        return (shape[-1], *shape[:-1]) if self.data_format == FORMATS[1] else shape

    def bring_last(self, low: graph.Lowering, x: int, shape: Shape) -> int:
        """The value x with its channels last, where `shape` is with the channels last."""
        if self.data_format == FORMATS[0]:
            return x
        return low.add("exchange", (x,), shape, self.name, split=1)

    def bring_back(self, low: graph.Lowering, y: int, shape: Shape) -> int:
        """The value y, whose channels are last, as the user has it."""
        if self.data_format == FORMATS[0]:
            return y
        return low.add("exchange", (y,), self.as_given(shape), self.name, split=self.rank)

    def _output(self, shape: Shape) -> Shape:
        """The output's shape, both with their channels last."""
        raise NotImplementedError

    def _append(self, low: graph.Lowering, x: int, x_shape: Shape, y_shape: Shape) -> int:
        """Append the nodes that make y of x, both with their channels last."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return self.as_given(self._output(self.channels_last(input_shape)))

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        x_shape = self.channels_last(shapes[0])
        y_shape = self._output(x_shape)
        x = self.bring_last(low, inputs[0], x_shape)
        y = self._append(low, x, x_shape, y_shape)
        return self.bring_back(low, y, y_shape)


class SlidingLayer(PositionLayer):
    """Base: windows of `window` values, `strides` apart, over positions with padding."""

    window: Shape
    strides: Shape
    dilation: Shape
    padding: Any

    @property
    def streams(self) -> bool:  # type: ignore[override]
        """A causal window that moves by one step at a time needs no later one."""
        return self.padding == "causal" and self.strides == (1,)

    def read_padding(self, value: Any, words: tuple[str, ...]) -> Any:
        """One of the words, or zeros before and after each axis."""
        if isinstance(value, str):
            return checks.choice("padding", value, words)
        if not isinstance(value, (tuple, list)) and not hasattr(value, "__index__"):
            raise TypeError(
                f"padding must be one of {', '.join(words)}, an int or {self.rank} of them, got "
                f"{checks.describe(value)}"
            )
        return sizes("padding", value, self.rank, 0)

    def paddings(self, positions: Shape) -> list[tuple[int, int]]:
        """Zeros before and after each axis of this many positions."""
        result = []
        for i, n in enumerate(positions):
            reach = (self.window[i] - 1) * self.dilation[i] + 1
            if self.padding == "valid":
                result.append((0, 0))
            elif self.padding == "causal":
                result.append((reach - 1, 0))
            elif self.padding == "same":  # as Keras: the odd one behind
                more = max((-(-n // self.strides[i]) - 1) * self.strides[i] + reach - n, 0)
                result.append((more // 2, more - more // 2))
            else:
                result.append((self.padding[i], self.padding[i]))
        return result

    def windows_over(self, shape: Shape) -> Shape:
        """How many windows there are along each axis of a sample with its channels last."""
        result = []
        for i, (n, pads) in enumerate(zip(shape, self.paddings(shape[:-1]), strict=False)):
            reach = (self.window[i] - 1) * self.dilation[i] + 1
            count = (n + sum(pads) - reach) // self.strides[i] + 1
            if count < 1:
                raise ShapeError(
                    f"{self.label}: got x of {' x '.join(map(str, shape[:-1]))} positions, expected"
                    f" at least {reach} along axis {i + 1} with its padding of {sum(pads)}, because"
                    f" a window of {self.window[i]} with dilation {self.dilation[i]} reaches over "
                    f"{reach}: the output would have {count} positions"
                    "; use a smaller window, or padding='same'"
                )
            result.append(count)
        return tuple(result)

    def slide(
        self,
        low: graph.Lowering,
        op: str,
        x: int,
        shapes: tuple[Shape, Shape],
        weights: Sequence[Any] = (),
        **more: Any,
    ) -> int:
        """Append a node that slides, from and to shapes with their channels last."""
        pads = [n for pair in self.paddings(shapes[0][:-1]) for n in pair]
        if self.streams and pads[0]:  # steps of before, in place of zeros where there are some
            (steps, channels), before = shapes[0], pads[0]
            x = low.add("history", (x,), (before + steps, channels), self.name, steps=before)
            pads = [0, 0]
        more |= {"strides": list(self.strides), "dilation": list(self.dilation), "padding": pads}
        return low.add(op, (x,), shapes[1], self.name, weights, **more)
