"""What the recurrent layers have in common: weights, states in and out, the way of a mask."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .. import activations, graph
from ..base import checks, seeding
from ..base.lengths import shown
from ..base.memory import Shape
from ..errors import ShapeError
from .base import Layer
from .core import CoreLayer


class Recurrent(CoreLayer):
    """Base of the three: what they have in common."""

    takes_any_length = True
    op: ClassVar[str]
    gates: ClassVar[int]
    states: ClassVar[int] = 1
    units: int
    activation: str

    @property
    def matrices(self) -> None:
        """None: the way back through time reads the recurrent matrix at each step."""

    def _set(
        self,
        units: Any,
        functions: dict[str, Any],
        use_bias: Any,
        **weights: tuple[Any, Any, Any],
    ) -> None:
        """Check and keep the arguments: `functions` by their names, and what is told of weights."""
        self.units = checks.integer("units", units)
        for name, function in functions.items():
            setattr(self, name, _pointwise(name, function))
        self.use_bias = checks.boolean("use_bias", use_bias)
        self._set_of_weights(**weights)
        self.at_places = False  # whether y_t stands at place t where it goes backwards
        self.kernel: Any = None
        self.recurrent_kernel: Any = None
        self.bias: Any = None

    def _set_results(self, sequences: Any, state: Any, backwards: Any, stateful: Any) -> None:
        self.return_sequences = checks.boolean("return_sequences", sequences)
        self.return_state = checks.boolean("return_state", state)
        self.go_backwards = checks.boolean("go_backwards", backwards)
        self.stateful = checks.boolean("stateful", stateful)

    def _set_dropout(self, dropout: Any, recurrent: Any, seed: Any) -> None:
        self.dropout = checks.real("dropout", dropout, 0.0, 1.0, open_high=True)
        name = "recurrent_dropout"
        self.recurrent_dropout = checks.real(name, recurrent, 0.0, 1.0, open_high=True)
        self.seed = checks.seed(seed)
        self._stream = 0

    def _noise_seed(self, place: int) -> int:
        told = seeding.mix(self._seed or 0, seeding.NOISE + self._stream)
        return seeding.mix(told if self.seed is None else self.seed, place)

    @property
    def streams(self) -> bool:  # type: ignore[override]
        """Forward in time, it needs no later step."""
        return not self.go_backwards and not isinstance(self.input_shape, list)

    def build(self, input_shape: Any) -> None:
        """Make kernel (F, G units), recurrent_kernel (units, G units) and bias for x (T, F)."""
        features = self._steps_and_features(input_shape)[1]
        width = self.gates * self.units
        self.kernel = self._make_weight("kernel", (features, width))
        own = (self.units, width)
        self.recurrent_kernel = self._make_weight("recurrent_kernel", own, "recurrent")
        if self.use_bias:
            self.bias = self._make_weight("bias", self._bias_shape())
        if self.dropout or self.recurrent_dropout:
            self._stream = self._next_stream() if self._next_stream else len(self._weights)

    def _bias_shape(self) -> Shape:
        return (self.gates * self.units,)

    def _steps_and_features(self, input_shape: Any) -> tuple[int, int]:
        """Of x, after checks of it and of the initial states."""
        several = isinstance(input_shape, list)
        shape, *states = [tuple(s) for s in input_shape] if several else [tuple(input_shape)]
        if len(shape) != 2:
            raise ShapeError(
                f"{self.label}: got x of shape {shown(shape)}, expected (N, T, F): samples, steps "
                "in time, features; add an axis with Reshape"
            )
        if states and len(states) != self.states:
            raise ShapeError(
                f"{self.label}: got {len(states)} initial states, expected {self._named_states()}"
            )
        for name, state in zip("hc", states, strict=False):
            if state != (self.units,):
                raise ShapeError(
                    f"{self.label}: got the initial state {name} of shape {shown(state)}, expected "
                    f"(N, {self.units}), as the layer has {self.units} units"
                )
        return shape[0], shape[1]

    def _named_states(self) -> str:
        return "[h, c]" if self.states > 1 else "[h]"

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """With `return_state` h and c are rows behind those of y, which `Returned` takes apart."""
        steps = self._steps_and_features(input_shape)[0]
        rows = steps if self.return_sequences else 1
        if self.return_state:
            return (rows + self.states, self.units)
        return (rows, self.units) if self.return_sequences else (self.units,)

    @property
    def several_outputs(self) -> bool:  # type: ignore[override]
        """With `return_state`."""
        return bool(self.return_state)

    def __call__(self, x: Any, training: bool = False, *, initial_state: Any = None) -> Any:
        """y = layer(x), or with `return_state` [y, h] or [y, h, c].

        Parameters
        ----------
        x : Tensor or array (N, T, F)
        training : bool
            Of arrays only.
        initial_state : list of Tensor or array (N, units), optional
            [h], or [h, c] of an LSTM; zeros without it. Gradients flow into it.
        """
        if initial_state is not None:
            states = initial_state if isinstance(initial_state, (list, tuple)) else [initial_state]
            x = [x, *states]
        y = super().__call__(x, training)
        if not (self.return_state and graph.is_symbolic(y)):
            return y
        parts = range(1 + self.states)
        return [Returned(k, self.states, self.return_sequences)(y) for k in parts]

    def forward(self, x: Any, training: bool = False) -> Any:
        """y of (N, T, F), or with `return_state` [y, h] or [y, h, c]."""
        y = super().forward(x, training)
        if not self.return_state:
            return y
        own = y[:, : -self.states] if self.return_sequences else y[:, 0]
        return [own, *(y[:, k - self.states] for k in range(self.states))]

    def backward(self, dy: Any) -> Any:
        """dL/dx, or [dL/dx, dL/dh, ...] with initial states, from dL/dy or [dL/dy, dL/dh, ...]."""
        if self.return_state and isinstance(dy, (list, tuple)):
            first, *rest = [np.asarray(d) for d in dy]
            first = first if self.return_sequences else first[:, None]
            dy = np.concatenate([first, *(d[:, None] for d in rest)], axis=1)
        return super().backward(dy)

    def lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        if self._is_own():
            return Layer.lower(self, low, inputs, shapes, shape)
        return self.core_lower(low, inputs, shapes, shape)

    def _is_own(self) -> bool:
        """Whether a subclass says in Python what it computes."""
        own = type(self)
        return own.forward is not Recurrent.forward or own.backward is not Recurrent.backward

    @property
    def carries(self) -> bool:
        """Whether its states go on from window to window."""
        return self.streams and not self._is_own()

    def _attributes(self) -> dict[str, Any]:
        """What the core is told of the cell."""
        told: dict[str, Any] = {}
        for name, alpha in (("activation", "alpha"), ("recurrent_activation", "recurrent_alpha")):
            function = getattr(self, name, None)  # without gates there is only the first
            if function is not None:
                told |= {name: function, alpha: activations.alpha(function)}
        return told

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        y = self._write(low, inputs, shapes[0], shape, states=self.return_state)
        if self.return_sequences:
            if self.go_backwards and not self.at_places:
                y = self._reversed(low, y, inputs[0], shape)
            low.set_masks(y, low.masks_of(inputs[0]))
        return y

    def lower_from(self, low: graph.Lowering, x: int, begun: int, shape: Shape) -> tuple[int, int]:
        """As `lower` of one sequence, forward in time, which goes on from the carried states, value
        `begun` (states, units): y, and such a value of the states in which it ends."""
        given = [
            low.add("rows", (begun,), (self.units,), self.name, begin=k, end=k + 1, drop=True)
            for k in range(self.states)
        ]
        rows = 1 if len(shape) == 1 else shape[0] - (self.states if self.return_state else 0)
        all_rows = rows + self.states, self.units
        told = {"states": True, "carries": True}
        both = self._write(low, [x, *given], low.shapes[x], all_rows, **told)
        ends = {"begin": rows, "end": rows + self.states}
        end = low.add("rows", (both,), (self.states, self.units), self.name, **ends)
        y = both
        if not self.return_state:
            part = {"begin": 0, "end": rows, "drop": not self.return_sequences}
            y = low.add("rows", (both,), shape, self.name, **part)
        if self.return_sequences:
            low.set_masks(y, low.masks_of(x))
        return y, end

    def _write(
        self, low: graph.Lowering, inputs: list[int], x_shape: Shape, shape: Shape, **more: bool
    ) -> int:
        told = {
            "sequences": self.return_sequences,
            "backwards": self.go_backwards,
            "initial": len(inputs) > 1,
            "traced": low.traced,
            "stateful": self.stateful,
            **more,
        }
        x, mask = inputs[0], low.mask(inputs[0])
        calls = low.count(self.op, self.name)
        if self.dropout:
            noise = {"mode": "dropout", "rate": self.dropout, "shape": (1, x_shape[1])}
            seed = self._noise_seed(2 * calls)
            x = low.add("noise", (x,), x_shape, self.name, seed=seed, **noise)
        given = [x, *([] if mask is None else [mask]), *inputs[1:]]
        told["masked"] = mask is not None
        if self.recurrent_dropout:
            told["dropped"] = True
            given.append(self._factors(low, self._noise_seed(2 * calls + 1)))
        return low.add(
            self.op, given, shape, self.name, self._weights, **told, **self._attributes()
        )

    def _factors(self, low: graph.Lowering, seed: int) -> int:
        """What recurrent dropout multiplies h by, at all steps: noise on ones."""
        ones = low.add("constant", (), (self.units,), self.name, value=np.ones(self.units))
        noise = {"mode": "dropout", "rate": self.recurrent_dropout, "shape": (self.units,)}
        return low.add("noise", (ones,), (self.units,), self.name, seed=seed, **noise)

    def _reversed(self, low: graph.Lowering, y: int, x: int, shape: Shape) -> int:
        """The sequence in the order in which it was made; what does not count stays behind."""
        mask = low.mask(x, in_front=True)
        masks = () if mask is None else (mask,)
        if not self.return_state:
            return low.add("reverse", (y, *masks), shape, self.name)
        steps = shape[0] - self.states
        own = low.add("rows", (y,), (steps, self.units), self.name, begin=0, end=steps)
        ends = (self.states, self.units)
        rest = low.add("rows", (y,), ends, self.name, begin=steps, end=shape[0])
        own = low.add("reverse", (own, *masks), (steps, self.units), self.name)
        return low.add("concatenate", (own, rest), shape, self.name, axis=0)

    def passes_mask(self, shapes: list[Shape], shape: Shape) -> bool:
        """`core_lower` has said it."""
        return False


class Returned(CoreLayer):
    """One of the results of a recurrent layer with `return_state`: y (part 0), h or c."""

    def __init__(
        self,
        part: int,
        states: int,
        sequences: bool,
        *,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.states = checks.integer("states", states)
        self.part = checks.integer("part", part, 0, self.states)
        self.sequences = checks.boolean("sequences", sequences)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        rows, units = input_shape
        return (rows - self.states, units) if self._is_sequence() else (units,)

    def _is_sequence(self) -> bool:
        return self.part == 0 and self.sequences

    def passes_mask(self, shapes: list[Shape], shape: Shape) -> bool:
        """Of the sequence alone."""
        return self._is_sequence()

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        own = shapes[0][0] - self.states
        begin = 0 if self.part == 0 else own + self.part - 1
        end = own if self.part == 0 else begin + 1
        told = {"begin": begin, "end": end, "drop": not self._is_sequence()}
        return low.add("rows", inputs, shape, self.name, **told)


def _pointwise(name: str, function: Any) -> str:
    """An activation of single values, by name."""
    found = activations.get(function)
    if not isinstance(found, str) or found in activations.OF_LAST_AXIS:
        raise ValueError(
            f"{name} must be the name of an activation of single values, got "
            f"{checks.describe(function)}; other functions of a cell are written as a cell of RNN"
        )
    return found
