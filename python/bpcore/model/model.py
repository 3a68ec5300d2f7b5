"""Model: what a user builds, trains and runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from .. import _core, data, graph
from ..base import arguments, checks, seeding
from ..base.counters import Counters
from ..base.memory import Array
from ..data.frames import Names as Columns
from ..errors import BusyError, NotBuiltError
from ..graph.parameter import Parameter
from ..layers.base import Layer, layers_of, set_weights
from ..train.engine import Engine
from . import building
from .runnable import Runnable


class Model(Runnable):
    """A network of any acyclic connectivity, from symbolic inputs to outputs.

    Parameters
    ----------
    inputs, outputs : Tensor, or list, tuple or dict of Tensor
        Inputs made by `bpcore.Input`. A dict's keys name the parts of `x`, and of `y`.
    name : str, optional
    dtype : {"float32", "float64"}
        Of all weights and computations; by default that of the layers which belong to a model
        already, else "float32".
    compute : {None, "bfloat16"}
        What the operands of matrix products are rounded to: nothing by default. With "bfloat16"
        products, forward and backward, may multiply operands of 8 bits of mantissa and sum in
        float32; this is done with weights so large that it pays, by an instruction that the CPU
        has for it, so it may be done nowhere: `summary` says it (docs/numerics.md says how it is
        chosen). Weights, optimizer, everything else, and the layers' own `forward` and `backward`
        stay float32. Needs dtype "float32".
    seed : int, optional
        Of first weights and shuffles; by default from `bpcore.set_seed`, else from the system.

    Examples
    --------
    >>> import bpcore as bp
    >>> a = bp.Input((8,))
    >>> h = bp.layers.Dense(8, activation="relu")(a)
    >>> model = bp.Model(a, bp.layers.Dense(2)(h + a), seed=0)
    >>> model.count_params()
    90
    """

    _lists_inputs = True  # among its layers
    _STRUCTURE = frozenset({"nodes", "inputs", "outputs"})  # entries of `_structure`
    __signature__ = arguments.ShownSignature()
    _out_keys: list[str] | None
    _in_kind: Any
    _out_kind: Any

    if not TYPE_CHECKING:  # editors and type checkers look at __init__

        def __new__(cls, *args: Any, **kwargs: Any) -> Model:
            arguments.bind(cls, args, kwargs)  # the nearest name for a misspelt argument
            return super().__new__(cls)

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        *,
        name: str | None = None,
        dtype: str | None = None,
        compute: str | None = None,
        seed: Any = None,
    ) -> None:
        self._in_keys, ins = _tensors("inputs", inputs)
        self._out_keys, outs = _tensors("outputs", outputs)
        nodes = graph.sort(ins, outs)
        keys = self._in_keys, self._out_keys
        self._start(name, dtype or building.dtype_of(nodes), compute, seed)
        self._in_keys, self._out_keys = keys
        self._in_kind = type(inputs) if isinstance(inputs, (list, tuple, dict)) else None
        self._out_kind = type(outputs) if isinstance(outputs, (list, tuple, dict)) else None
        for i, t in enumerate(ins):
            if not t.node.layer.is_input:
                raise ValueError(
                    f"inputs[{i}] is the output of layer {t.name!r}, expected a tensor made by "
                    "bpcore.Input"
                )
            if any(t is other for other in ins[:i]):
                raise ValueError(f"inputs[{i}] is given twice")
        self._build_graph(nodes, ins, outs)

    def _start(self, name: str | None, dtype: Any, compute: Any, seed: Any) -> None:
        given = checks.object_name("model", name)
        self.name = given or arguments.snake_case(type(self).__name__)
        self.dtype = checks.dtype(dtype)
        self.compute = checks.compute(compute, self.dtype)
        value = checks.seed(seed)
        self._seed_told = value is not None or seeding.is_set()  # the next run will have it too
        self.seed: int = seeding.next_seed() if value is None else value
        self._counters = Counters()
        self._nodes: list[graph.Node] = []
        self._inputs: list[graph.Tensor] = []
        self._outputs: list[graph.Tensor] = []
        self._in_keys: list[str] | None = None
        self._out_keys = None
        self._in_kind = None
        self._out_kind = None
        self._columns: list[list[Columns | None]] = []  # of frames, by input and by output
        self._layers: list[Layer] = []
        self._engine = None
        self._compilation = None
        self._start_calls()

    def _start_calls(self) -> None:
        self._training = _core.Gate()
        self._evaluation = _core.Gate()
        self._fast: Any = None

    # ---- building -----------------------------------------------------------------------------
    def _build_graph(
        self, nodes: list[graph.Node], ins: list[graph.Tensor], outs: list[graph.Tensor]
    ) -> None:
        layers = layers_of(nodes)
        inner = [layer for layer in layers if not layer.is_input]
        before = self._nodes
        with building.restored_on_error(layers, self, self._counters):
            building.adopt(layers, self, self._counters)
            building.build_nodes(nodes)
            self._nodes, self._inputs, self._outputs = nodes, list(ins), list(outs)
            self._columns = self._columns[:1]  # those of the outputs were of the former ones
            self._layers = layers if self._lists_inputs else inner
            self._make_engine()
            building.check_parameters(layers, self._built().params)
            building.note_calls(nodes, before)

    def _make_engine(self) -> None:
        told = self.dtype, self.compute, self._counters
        engine = Engine(self._nodes, self._inputs, self._outputs, *told)
        ends = engine.signature.inputs, engine.signature.outputs
        keys, kinds = (self._in_keys, self._out_keys), (self._in_kind, self._out_kind)
        for end, names, kind in zip(ends, keys, kinds, strict=True):
            end.listed = kind in (list, tuple)
            if names is not None:
                end.names = list(names)
        for end, columns in zip(ends, self._columns, strict=False):
            end.columns = columns
        self._columns = [end.columns for end in ends]
        engine.by_chance = not self._seed_told
        if self._compilation is not None:
            self._fit_to(engine, self._compilation)
        self._engine = engine
        self._set_fast()

    def _renew(self, anew: bool) -> None:
        """After a change of the optimizer's arrays, which trainers hold, and `anew` of the seeds of
        random layers, which the network has in its nodes."""
        if anew:
            self._make_engine()
        self._built().drop_trainers()

    @property
    def seed_is_given(self) -> bool:
        """Whether a script that runs again has the same `seed`: it was an argument, or drawn after
        `bpcore.set_seed`."""
        return self._seed_told

    @property
    def built(self) -> bool:
        """Whether the weights exist."""
        return self._engine is not None

    def build(self, input_shape: Any) -> None:
        """Make the weights; a functional model is built from the start."""
        shape = checks.shape("input_shape", input_shape, steps=True)
        built = None if self._engine is None else self._engine.signature.inputs.shapes
        if built is not None and not graph.fits(built, [shape]):
            raise RuntimeError(
                f"model {self.name!r} is already built for inputs {built}, got {shape}; create a "
                "new model"
            )

    def _built(self, what: str = "") -> Engine:
        if self._engine is None:
            raise NotBuiltError(
                f"model {self.name!r} is not built{what}; call build(input_shape) or fit first"
            )
        return self._engine

    def _build_for(self, x: Any) -> Any:
        """Build a Sequential from data; x as the model is to read it."""
        if self._engine is None:
            x, shape = data.first_shape("x", x, open_length=self._takes_any_length())
            self.build(shape)
        return x

    def _takes_any_length(self) -> bool:
        """Whether, built from data, it leaves the number of steps open."""
        return False

    # ---- what is in it ------------------------------------------------------------------------
    @property
    def layers(self) -> list[Layer]:
        """The layers, inputs first, in the order they run."""
        return list(self._layers)

    def get_layer(self, name: str) -> Layer:
        """The layer of this name."""
        for layer in self._layers:
            if layer.name == name:
                return layer
        raise checks.unknown("layer", name, [layer.name for layer in self._layers])

    @property
    def inputs(self) -> list[graph.Tensor]:
        """The symbolic inputs."""
        self._built()
        return list(self._inputs)

    @property
    def outputs(self) -> list[graph.Tensor]:
        """The symbolic outputs, to build further layers on."""
        self._built()
        return list(self._outputs)

    @property
    def weights(self) -> list[Parameter]:
        """All parameters, in the order of the layers."""
        return [p for layer in self._layers for p in layer.weights]

    @property
    def trainable_weights(self) -> list[Parameter]:
        """The parameters that training changes."""
        return [p for p in self.weights if p.trainable]

    @property
    def trainable(self) -> bool:
        """Whether any layer is trainable; assigning sets all layers."""
        return any(layer.trainable for layer in self._layers)

    @trainable.setter
    def trainable(self, flag: bool) -> None:
        for layer in self._layers:
            layer.trainable = flag

    def get_weights(self) -> list[Array]:
        """Copies of all weights."""
        self._built()
        return [p.value.copy() for p in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Assign all weights; every shape and dtype is checked before one is changed."""
        self._built()
        set_weights(f"model {self.name!r}", self.weights, weights)

    def copy_weights(self, other: Model, *, skip_mismatch: bool = False) -> list[str]:
        """Take the weights that another model has under the same names; returns those names.

        Parameters
        ----------
        other : Model
        skip_mismatch : bool
            Leave out weights whose shapes differ, instead of raising ShapeError.

        Raises
        ------
        ValueError
            No name fits, or a shape differs; nothing is changed then.
        """
        self._built()
        checks.boolean("skip_mismatch", skip_mismatch)
        if not isinstance(other, Model):
            raise TypeError(f"other must be a Model, got {checks.describe(other)}")
        own, theirs = ({p.name: p for p in model.weights} for model in (self, other))
        shared = [name for name in own if name in theirs]
        if skip_mismatch:
            shared = [name for name in shared if own[name].shape == theirs[name].shape]
        if not shared:
            raise ValueError(
                f"models {self.name!r} and {other.name!r} share no weight, expected equal names: "
                f"{list(own)[:3]} and {list(theirs)[:3]}"
            )
        targets, sources = [own[name] for name in shared], [theirs[name] for name in shared]
        for p, q in zip(targets, sources, strict=True):
            if p.exact is not None:
                p.exact[...] = q.unrounded()
        set_weights(f"model {self.name!r}", targets, [q.held()[0] for q in sources])
        return shared

    def count_params(self) -> int:
        """Number of scalar weights."""
        self._built()
        return sum(int(p.value.size) for p in self.weights)

    def summary(self) -> str:
        """Print, and return, a table of layers, shapes and parameters."""
        from ..inspection.summary import summary

        text = summary(self, self._built())
        print(text)
        return text

    # ---- copying and saving -------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write architecture and weights to one safetensors file; see `bpcore.load_model`."""
        from ..files.save import save_model

        save_model(self, path)

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write weights, optimizer state and counters too, atomically.

        `bpcore.load_checkpoint` gives a model whose next `fit` computes the same bits as this one's
        would. During a `fit`, which keeps its own place only in files of its ``checkpoint``
        argument, what is written is the state after the last batch.

        Parameters
        ----------
        path : path

        Raises
        ------
        NotBuiltError, RuntimeError
            The model has no weights, or is not compiled.
        BusyError
            Another thread is training it.
        ValueError
            A weight is NaN or infinite.
        TypeError
            The path is none, or a layer, loss, metric or schedule is a Python object that is not
            data.
        OSError
            The file could not be written; an existing one is unchanged.
        """
        from ..files import checkpoint

        name = checks.path(path)
        compilation = self._need_compilation(loss=False)
        self._built(": nothing to save")
        compilation.get_config()  # raises what get_config of the model leaves out
        with self._training.enter() or self._own_moment():
            held = checkpoint.held_by(self, self._counters)
        checkpoint.write(name, checkpoint.packed(*held))

    def _own_moment(self) -> AbstractContextManager[Any]:
        """In a callback of this thread's fit nothing changes; BusyError if another one trains."""
        if self._training.mine:
            return contextlib.nullcontext()
        raise BusyError(
            f"model {self.name!r} is training in another thread, so that weights and optimizer "
            "state would be those of different moments; call save_checkpoint in a callback, or "
            "pass checkpoint= to fit"
        )

    def get_config(self) -> dict[str, Any]:
        """The architecture as JSON data."""
        from .describing import model_config

        self._built()
        return model_config(self)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Model:
        """A model of the architecture that `get_config` described, with new weights."""
        from .describing import model_from_config

        result: Model = model_from_config(cls, config, custom_objects, Model)
        return result

    def _structure(self) -> dict[str, Any]:
        """Layers and connections as data."""
        from ..files.architecture import structure

        return structure(
            self._nodes,
            (self._in_keys, self._inputs, self._in_kind),
            (self._out_keys, self._outputs, self._out_kind),
        )

    @classmethod
    def _from_layers(
        cls, layers: list[Layer], config: Mapping[str, Any], options: dict[str, Any]
    ) -> Model:
        """A model of these layers, connected as `_structure` told."""
        from ..files.architecture import connect

        return cls(*connect(config, layers), **options)

    def __getstate__(self) -> dict[str, Any]:
        # The sorted nodes come first, so that pickle meets every node after its inputs and need
        # not recurse through a deep graph.
        state = {"_nodes": self._nodes, **self.__dict__, "_engine": None}
        for key in ("_training", "_evaluation", "_fast"):
            state.pop(key, None)
        return {**state, "was_built": self.built}

    def __setstate__(self, state: dict[str, Any]) -> None:
        built = state.pop("was_built")
        state["compute"] = checks.compute(state.get("compute"), state["dtype"])
        state.setdefault("_columns", [])
        self.__dict__.update(state)
        self._start_calls()
        for layer in self._layers:
            building.own(layer, self)
            layer._next_stream = self._counters.next_stream
        if self._compilation is not None:
            self._compilation.bind(self)
        building.note_calls(self._nodes)
        if built:
            self._make_engine()

    def __reduce__(self) -> Any:
        return _blank, (type(self),), self.__getstate__()

    def __copy__(self) -> Model:
        import copy

        return copy.deepcopy(self)

    def __repr__(self) -> str:
        state = f"{self.count_params()} parameters" if self.built else "not built"
        return f"<{type(self).__name__} {self.name!r}: {len(self._layers)} layers, {state}>"


def _blank(cls: type) -> Any:
    return object.__new__(cls)


def _tensors(name: str, value: Any) -> tuple[list[str] | None, list[graph.Tensor]]:
    """The tensors, and their keys if they came as a dict."""
    if isinstance(value, dict):
        keys: list[str] | None = [checks.object_name(name, key) or "" for key in value]
        parts = list(value.values())
    else:
        keys = None
        parts = list(value) if isinstance(value, (list, tuple)) else [value]
    if not parts:
        raise ValueError(f"{name} must hold at least one tensor, got {value!r}")
    for i, part in enumerate(parts):
        if not isinstance(part, graph.Tensor):
            raise TypeError(
                f"{name}[{i}] must be a symbolic tensor, got {checks.describe(part)}; start from "
                "bpcore.Input(shape) and call layers on it"
            )
    return keys, parts
