"""The base of all layers: names, weights, building, and use alone as a brick.

A layer in plain Python subclasses `Layer` and defines ``forward`` and ``backward``; the built-in
ones subclass `CoreLayer` of `layers/core.py`.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from .. import _core, graph
from ..base import arguments, checks, seeding
from ..base.memory import Array, Shape, empty
from ..errors import ShapeError
from ..graph.parameter import Edition, Parameter, assign, assigned, reserve
from .python_node import PythonNode, call_forward


class GradientDict(dict[str, Array]):
    """Gradients by the weight's name in the layer; the full name ``layer/weight`` works too."""

    def __missing__(self, key: str) -> Array:
        short = key.rpartition("/")[2]
        if short in self:
            return self[short]
        raise KeyError(key)


class Layer(arguments.Configured):
    """A differentiable function with weights; subclass it to write one in plain Python.

    Parameters
    ----------
    name : str, optional
        By default the class name in snake case, numbered within its model.
    trainable : bool
        False freezes all of its weights.
    dtype : {"float32", "float64"}, optional
        By default the model's; float32 for a layer used alone.

    Notes
    -----
    A subclass defines ``build(self, input_shape)``, where it calls `add_weight`;
    ``forward(self, x, training)``, x of shape (N, ...input_shape), or a list of arrays when it is
    called on a list; and ``backward(self, dy)``, which returns dL/dx (a list for several inputs)
    and adds dL/dw to each ``weight.grad``. Arrays passed in are read-only. Results have the layer's
    dtype.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> class Scale(bp.layers.Layer):
    ...     def build(self, input_shape):
    ...         self.s = self.add_weight("s", input_shape, "ones")
    ...     def forward(self, x, training=False):
    ...         self.x = x
    ...         return x * self.s.value
    ...     def backward(self, dy):
    ...         self.s.grad += (dy * self.x).sum(axis=0)
    ...         return dy * self.s.value
    >>> layer = Scale()
    >>> layer.build((2,))
    >>> layer.forward(np.float32([[1, 2]])).tolist()
    [[1.0, 2.0]]
    """

    is_input = False
    # Whether, first in a Sequential without an Input, it leaves the number of steps open.
    takes_any_length = False
    # Whether it works on the last axis alone, and so on each step of a sequence by itself.
    of_last_axis = False
    # Whether its result at a step needs no later one, so that it can work on a stream.
    streams = True
    # Whether it goes on from batch to batch of a training.
    stateful = False
    columns: tuple[str, ...] | None = None  # of the frame that the layer was adapted to
    # Whether a call gives a list, which a Sequential cannot hand on.
    several_outputs: bool = False
    # Why a file cannot hold it, if so.
    unsaved: str | None = None
    _given_name: str | None
    _name: str
    _trainable: bool
    _dtype: str | None
    _weights: list[Parameter]
    _input_shape: Any
    _seen_shape: Any
    _building: bool
    _seed: int | None
    _next_stream: Callable[[], int] | None
    _owner: Any
    _calls: list[Callable[[], graph.Node | None]]  # weak references
    _brick: Any

    if not TYPE_CHECKING:  # editors and type checkers look at __init__

        def __new__(cls, *args: Any, **kwargs: Any) -> Layer:
            self: Layer = super().__new__(cls, *args, **kwargs)
            # Set here, so that a subclass which forgets super().__init__() works all the same.
            self._given_name = None
            self._name = cls._default_name()
            self._trainable = True
            self._dtype = None
            self._weights = []
            self._input_shape = self._seen_shape = None
            self._building = False
            self._seed = None
            self._next_stream = None
            self._owner = None  # weak reference to the model
            self._calls = []
            self._brick = None
            return self

    def __init__(
        self, *, name: str | None = None, trainable: bool = True, dtype: str | None = None
    ) -> None:
        self._given_name = checks.object_name("layer", name)
        if name is not None:
            self._name = name
        self._trainable = checks.boolean("trainable", trainable)
        self._dtype = None if dtype is None else checks.dtype(dtype)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in cls.__dict__:
            cls.build = _guarded_build(cls.__dict__["build"])  # type: ignore[method-assign]

    @classmethod
    def _default_name(cls) -> str:
        """Where none is given; a model adds a number to those that are there already."""
        return arguments.snake_case(cls.__name__)

    # ---- names and weights --------------------------------------------------------------------
    @property
    def name(self) -> str:
        """The layer's name; unique in its model."""
        return self._name

    @property
    def label(self) -> str:
        """Class and name, for messages."""
        return f"{type(self).__name__} {self._name!r}"

    @property
    def trainable(self) -> bool:
        """Whether optimizers change the weights; read at the start of each `fit`."""
        return self._trainable

    @trainable.setter
    def trainable(self, flag: bool) -> None:
        Edition.assign(self, "_trainable", checks.boolean("trainable", flag))

    @property
    def dtype(self) -> str:
        """``"float32"`` or ``"float64"``."""
        return self._dtype or "float32"

    @property
    def built(self) -> bool:
        """Whether the weights exist."""
        return self._input_shape is not None

    @property
    def input_shape(self) -> Any:
        """Per-sample shape of the input, or a list of them; None before `build`."""
        return self._input_shape

    @property
    def seen_shape(self) -> Any:
        """`input_shape`, or before `build` the shape that the last call in a graph will bring."""
        return self._input_shape if self.built else self._seen_shape

    def resolve(self, layers: Mapping[str, Any]) -> None:
        """Replace names of other layers by the layers; called when a saved model is read."""

    @property
    def output(self) -> graph.Tensor:
        """The symbolic output of its one call in a model: the end of a sub-model to this layer.

        Raises
        ------
        ValueError
            The layer is not in a model, or is called at several places there.

        Examples
        --------
        >>> import bpcore as bp
        >>> model = bp.Sequential([bp.layers.Dense(8, name="code"), bp.layers.Dense(2)], seed=0)
        >>> model.build((4,))
        >>> encoder = bp.Model(model.inputs, model.get_layer("code").output)
        >>> encoder.outputs[0].shape
        (8,)
        """
        nodes = {id(n): n for n in (reference() for reference in self._calls) if n is not None}
        if len(nodes) != 1:
            raise ValueError(
                f"{self.label} has {len(nodes)} outputs in a model, expected one; keep the tensor "
                "that its call returns"
            )
        return next(iter(nodes.values())).output

    @property
    def weights(self) -> list[Parameter]:
        """All parameters, in order of creation."""
        return list(self._weights)

    @property
    def trainable_weights(self) -> list[Parameter]:
        """The parameters that optimizers change."""
        return [p for p in self._weights if p.trainable]

    @property
    def matrices(self) -> list[Parameter] | None:
        """The parameters whose transposes `backward` reads, for rules of `bpcore.credit`.

        None where nobody knows: in code of the user's, and where layers are made of others.
        """
        return None if self._weights else []

    @property
    def gradients(self) -> dict[str, Array]:
        """Gradients that `backward` has added up, by weight name; `zero_gradients` clears them."""
        return GradientDict({p.local_name: p.grad for p in self._weights})

    def zero_gradients(self) -> None:
        """Set all gradients to 0."""
        for p in self._weights:
            p.grad[...] = 0

    def count_params(self) -> int:
        """Number of scalar weights."""
        return sum(int(p.value.size) for p in self._weights)

    def get_weights(self) -> list[Array]:
        """Copies of all weights."""
        return [p.value.copy() for p in self._weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Assign all weights; shapes and dtypes are checked before any is changed."""
        set_weights(self.label, self._weights, weights)

    def add_weight(
        self,
        name: str,
        shape: Any,
        initializer: Any = "glorot_uniform",
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
    ) -> Parameter:
        """Make a parameter of this layer; to be called in `build`.

        Parameters
        ----------
        name : str
            In the layer; the parameter's name is ``"<layer>/<name>"``.
        shape : tuple of int
            May be ``()`` for a scalar.
        initializer : str, Initializer, array or callable
            See `bpcore.initializers`.
        trainable : bool
            Whether optimizers change it.
        regularizer : str or Regularizer, optional
            Adds a penalty to the loss; see `bpcore.regularizers`.
        constraint : str or Constraint, optional
            What it obeys after each update; see `bpcore.constraints`.
        """
        from .. import initializers

        local = checks.object_name("weight", name)
        if local is None or any(p.local_name == local for p in self._weights):
            raise ValueError(f"{self.label}: weight name {name!r} is missing or used twice")
        if self.built:
            raise RuntimeError(
                f"{self.label}: weight {name!r} is added after build, when models no longer take "
                "it up; call add_weight in build"
            )
        what = f"{self.label}: weight {name!r}"
        sizes = checks.weight_shape(what, shape, int(self.dtype[-2:]) // 8)
        stream = self._next_stream() if self._next_stream else len(self._weights)
        if self._seed is None:
            self._seed = seeding.next_seed()
        told, held = initializers.get(initializer), reserve.get()
        try:
            if held is not None:
                held.take(local, sizes)
                value = empty(sizes, self.dtype)
            else:
                value = told._parameter(sizes, self.dtype, self._seed, stream)
            if value.shape != sizes:
                raise ValueError(f"{told!r} gave values of shape {value.shape}, expected {sizes}")
        except ValueError as error:
            raise type(error)(f"{self.label}: weight {name!r}: {error}") from error
        except MemoryError as error:  # NumPy's own takes other arguments
            what = f"{sizes}, {math.prod(sizes) * np.dtype(self.dtype).itemsize} bytes"
            raise MemoryError(f"{self.label}: weight {name!r}: no memory for {what}") from error
        parameter = Parameter(self, local, value, trainable=trainable)
        parameter.regularizer, parameter.constraint = regularizer, constraint
        if held is None and not told.repeats:
            parameter.note_drawn()
        self._weights.append(parameter)
        return parameter

    def _models(self) -> dict[str, Any]:
        """Models that are part of it, by the constructor's argument."""
        return {}

    # ---- building -----------------------------------------------------------------------------
    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of this per-sample shape (no batch axis)."""

    def ensure_built(self, input_shape: Any) -> None:
        """Build unless built for this very shape."""
        if not self.built:
            self.build(input_shape)
        elif not graph.fits(self._input_shape, input_shape):
            raise ShapeError(
                f"{self.label} was built for inputs of shape {self._input_shape}, got "
                f"{input_shape}; a shared layer needs equal shapes, or create a new layer"
            )

    def convert(self, dtype: str) -> None:
        """Take another dtype, weights included."""
        self._dtype = dtype
        self._brick = None
        for p in self._weights:
            p.convert(dtype)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Per-sample output shape; found by a trial run on a copy unless a subclass says it."""
        probe = copy.deepcopy(self)
        probe._dtype, probe._seed = probe._dtype or "float32", 0
        held = reserve.get()
        left = held.left if held is not None else 0
        probe.ensure_built(input_shape)
        if held is not None:
            held.left = left  # the copy's weights end with it
        several = isinstance(input_shape, list)
        shapes = input_shape if several else [input_shape]
        arrays = [np.full((2, *s), 0.5, dtype=probe.dtype) for s in shapes]
        with np.errstate(all="ignore"):
            y = call_forward(probe, arrays if several else arrays[0], False)
        if not isinstance(y, np.ndarray) or y.ndim < 2 or y.shape[0] != 2:
            raise ShapeError(
                f"{type(self).__name__}.forward returned {checks.describe(y)} for a batch of 2, "
                "expected an ndarray of shape (2, ...): one row per sample, at least 2-D"
            )
        return tuple(int(n) for n in y.shape[1:])

    def infer_shape(self, input_shape: Any) -> Shape:
        """`compute_output_shape` after the checks that all layers share."""
        if self.built:
            self.ensure_built(input_shape)
        self._seen_shape = input_shape
        return graph.inferred(self.label, self.compute_output_shape, input_shape)

    def passes_mask(self, shapes: list[Shape], shape: Shape) -> bool:
        """Whether the steps of the result, its first axis, are those of masked inputs."""
        if self.mixes_steps(shapes, shape):
            return self.refuse_mask()
        return len(shape) > 0 and any(len(s) > 0 and s[0] == shape[0] for s in shapes)

    def mixes_steps(self, shapes: list[Shape], shape: Shape) -> bool:
        """Whether a step of the result, its first axis, is made of others than its own, of which
        nothing is kept: then it knows no mask, and needs the whole sequence."""
        return False

    def refuse_mask(self) -> bool:
        """For layers that mix steps, as their `passes_mask`."""
        raise ValueError(
            f"{self.label} mixes the steps of its input and knows no mask, got sequences of "
            "unequal lengths or a mask; reduce the steps first, by a recurrent layer or pooling "
            "over time"
        )

    # ---- running ------------------------------------------------------------------------------
    def forward(self, x: Any, training: bool = False) -> Any:
        """y = f(x), x of shape (N, \\*input_shape)."""
        raise TypeError(
            f"{type(self).__name__} has no forward method; define forward(self, x, training)"
        )

    def backward(self, dy: Any) -> Any:
        """dL/dx from dL/dy of the last `forward`; adds dL/dw to each weight's ``grad``."""
        raise TypeError(f"{type(self).__name__} has no backward method; define backward(self, dy)")

    @overload
    def __call__(
        self, x: graph.Tensor | Sequence[graph.Tensor], training: bool = False
    ) -> graph.Tensor: ...

    @overload
    def __call__(self, x: Any, training: bool = False) -> Any: ...

    def __call__(self, x: Any, training: bool = False) -> Any:
        if graph.is_symbolic(x):
            return graph.connect(self, x)
        several = isinstance(x, (list, tuple)) and len(x) > 0 and hasattr(x[0], "shape")
        if not self.built:
            shapes = [tuple(np.shape(a)[1:]) for a in (x if several else [x])]
            self.ensure_built(shapes if several else shapes[0])
        return self.forward(x, training)

    def lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        """Write this call down; by default as a node that calls forward and backward."""
        node = PythonNode(self, shapes, shape, low.dtype, shared=id(self) in low.shared_layers)
        low.python_nodes.append(node)
        return low.add("python", inputs, shape, self.name, self._weights, shape=shape, layer=node)

    # ---- configuration ------------------------------------------------------------------------
    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as far as JSON can hold them."""
        config = super().get_config()
        if "name" in config:
            config["name"] = self._given_name
        if "trainable" in config:
            config["trainable"] = self._trainable
        return config

    def _plain(self, key: str, value: Any) -> Any:
        """An argument as data; what an initializer may be given as is more than data."""
        scalars = (bool, int, float, str, np.generic)
        if key.endswith("initializer") and value is not None and not isinstance(value, scalars):
            from .. import initializers

            return initializers.serialize(initializers.get(value))
        return super()._plain(key, value)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {"_brick": None, "_next_stream": None, "_owner": None, "_calls": []}
        return {**self.__dict__, **state}

    def __repr__(self) -> str:
        shape = f" input_shape={self._input_shape}" if self.built else " not built"
        return f"<{self.label}{shape}>"


def _guarded_build(method: Callable[..., None]) -> Callable[..., None]:
    """Check the shape, refuse to build twice, and take back a build that failed."""

    @functools.wraps(method)
    def build(self: Layer, input_shape: Any) -> None:
        if self._building:  # a subclass calls super().build()
            method(self, input_shape)
            return
        where = f"{self.label}: input_shape"
        several = isinstance(input_shape, list) and all(
            isinstance(s, (tuple, list)) for s in input_shape
        )
        if several and input_shape:
            shape: Any = [checks.shape(where, s, steps=True) for s in input_shape]
        else:
            shape = checks.shape(where, input_shape, steps=True)
        if self.built:
            if graph.fits(self._input_shape, shape):
                return
            raise RuntimeError(
                f"{self.label} is already built for inputs of shape {self._input_shape}, got "
                f"{shape}; create a new layer"
            )
        with _core.Restored([(self, {**self.__dict__, "_weights": list(self._weights)})]):
            self._building = True
            method(self, shape)
            self._building = False
            self._input_shape = shape
            self._next_stream = None  # it would keep the model alive

    return build


Layer.build = _guarded_build(Layer.__dict__["build"])  # type: ignore[method-assign]


def layers_of(nodes: Sequence[graph.Node]) -> list[Layer]:
    """The layers of nodes, each once, in order of first use."""
    return cast(list[Layer], graph.unique_layers(nodes))


def set_weights(label: str, parameters: Sequence[Parameter], weights: Sequence[Any]) -> None:
    """Assign several parameters, or none of them if one does not fit."""
    if isinstance(weights, (str, bytes)) or not hasattr(weights, "__len__"):
        raise TypeError(f"{label}: expected a list of arrays, got {checks.describe(weights)}")
    if len(weights) != len(parameters):
        raise ShapeError(f"{label}: expected {len(parameters)} arrays, got {len(weights)}")
    if type(weights) in (list, tuple) and assigned(parameters, weights):
        return  # nothing was to be converted, and nothing to be refused
    new = [
        p.check(w, f"weights[{i}] ({p.name})")
        for i, (p, w) in enumerate(zip(parameters, weights, strict=True))
    ]
    assign(parameters, new)
