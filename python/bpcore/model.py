"""Model and Sequential: what a user builds, trains and runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import _core, arguments, building, checks, data, graph, seeding
from . import fit as fitting
from .callbacks import CallbackList, History
from .compiled import Compiled
from .engine import Dataset, Engine, batch_size_of, diverged
from .errors import BusyError, NotBuiltError, ShapeError
from .layers.base import Layer, set_weights
from .parameter import Array, Parameter

Shape = checks.Shape


class Gradients:
    """What `Model.gradients` returns.

    Attributes
    ----------
    loss : float
        The batch's mean loss.
    parameters : dict of str to ndarray
        dL/dw by parameter name; frozen parameters are left out.
    inputs : ndarray, list of ndarray or None
        dL/dx, if it was asked for.
    """

    def __init__(self, loss: float, parameters: dict[str, Array], inputs: Any) -> None:
        self.loss, self.parameters, self.inputs = loss, parameters, inputs

    def __iter__(self) -> Iterator[Any]:
        return iter((self.loss, self.parameters, self.inputs))

    def __repr__(self) -> str:
        return f"<Gradients loss={self.loss:.6g} of {len(self.parameters)} parameters>"


class Model:
    """A network of any acyclic connectivity, from symbolic inputs to outputs.

    Parameters
    ----------
    inputs, outputs : Tensor, or list, tuple or dict of Tensor
        Inputs made by `bpcore.Input`. A dict's keys name the parts of `x`, and of `y`.
    name : str, optional
    dtype : {"float32", "float64"}
        Of all weights and computations.
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

    stop_training: bool = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Model:
        arguments.bind(cls, args, kwargs)  # the nearest name for a misspelt argument
        return super().__new__(cls)

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        *,
        name: str | None = None,
        dtype: str = "float32",
        seed: Any = None,
    ) -> None:
        self._start(name, dtype, seed)
        self._in_keys, ins = _tensors("inputs", inputs)
        self._out_keys, outs = _tensors("outputs", outputs)
        self._out_kind = type(outputs) if isinstance(outputs, (list, tuple, dict)) else None
        for i, t in enumerate(ins):
            if not t.node.layer.is_input:
                raise ValueError(
                    f"inputs[{i}] is the output of layer {t.name!r}, expected a tensor made by "
                    "bpcore.Input"
                )
            if any(t is other for other in ins[:i]):
                raise ValueError(f"inputs[{i}] is given twice")
        nodes = graph.sort(ins, outs)
        self._build_graph(nodes, ins, outs)

    def _start(self, name: str | None, dtype: Any, seed: Any) -> None:
        given = checks.object_name("model", name)
        self.name = given or arguments.snake_case(type(self).__name__)
        self.dtype = checks.dtype(dtype)
        value = checks.seed(seed)
        self.seed: int = seeding.next_seed() if value is None else value
        self._stream = 0
        self._epochs_done = 0
        self._nodes: list[graph.Node] = []
        self._inputs: list[graph.Tensor] = []
        self._outputs: list[graph.Tensor] = []
        self._in_keys: list[str] | None = None
        self._out_keys: list[str] | None = None
        self._out_kind: Any = None
        self._layers: list[Layer] = []
        self._engine: Engine | None = None
        self._compiled: Compiled | None = None
        self._unlock()

    def _unlock(self) -> None:
        self._lock = threading.Lock()
        self._eval_lock = threading.Lock()
        self._fast: Any = None

    def _next_stream(self) -> int:
        self._stream += 1
        return self._stream - 1

    # ---- building -----------------------------------------------------------------------------
    def _build_graph(
        self, nodes: list[graph.Node], ins: list[graph.Tensor], outs: list[graph.Tensor]
    ) -> None:
        layers = graph.unique_layers(nodes)
        inner = [layer for layer in layers if not layer.is_input]
        with building.restored_on_error(layers, self):
            building.adopt(layers, self)
            building.build_nodes(nodes)
            self._nodes, self._inputs, self._outputs = nodes, list(ins), list(outs)
            self._layers = inner if isinstance(self, Sequential) else layers
            self._make_engine()

    def _make_engine(self) -> None:
        engine = Engine(self._nodes, self._inputs, self._outputs, self.dtype)
        if self._in_keys is not None:
            engine.in_names = list(self._in_keys)
        if self._out_keys is not None:
            engine.out_names = list(self._out_keys)
        if self._compiled is not None:
            self._compiled.resolve(engine.out_names, engine.out_shapes, engine.ends)
        self._engine = engine
        self._set_fast()

    def _set_fast(self) -> None:
        engine = self._engine
        self._fast = None
        if engine and len(engine.in_shapes) == 1 and len(engine.outputs) == 1 and not self._out_kind:
            self._fast = engine.net.call
            self._fast_shape = engine.in_shapes[0]
            self._fast_ndim = len(self._fast_shape) + 1

    @property
    def built(self) -> bool:
        """Whether the weights exist."""
        return self._engine is not None

    def build(self, input_shape: Any) -> None:
        """Make the weights; a functional model is built from the start."""
        shape = checks.shape("input_shape", input_shape)
        if self._engine is not None and [shape] != self._engine.in_shapes:
            raise RuntimeError(
                f"model {self.name!r} is already built for inputs {self._engine.in_shapes}, got "
                f"{shape}; create a new model"
            )

    def _built(self, what: str = "") -> Engine:
        if self._engine is None:
            raise NotBuiltError(
                f"model {self.name!r} is not built{what}; call build(input_shape) or fit first"
            )
        return self._engine

    def _build_for(self, x: Any) -> None:
        """Build a Sequential from data."""
        if self._engine is None:
            array = data.array("x", x)
            self.build(data.sample_shape("x", array))

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

    def count_params(self) -> int:
        """Number of scalar weights."""
        self._built()
        return sum(int(p.value.size) for p in self.weights)

    def summary(self) -> str:
        """Print, and return, a table of layers, shapes and parameters."""
        from .summary import summary

        self._built()
        text = summary(self)
        print(text)
        return text

    @property
    def optimizer(self) -> Any:
        """The optimizer given to `compile`."""
        return self._need_compiled().optimizer

    def _need_compiled(self) -> Compiled:
        if self._compiled is None:
            raise RuntimeError(
                f"model {self.name!r} is not compiled; call compile(optimizer, loss) first"
            )
        return self._compiled

    # ---- training -----------------------------------------------------------------------------
    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        metrics: Any = (),
        *,
        loss_weights: Any = None,
        gradient_clip_norm: float | None = None,
        gradient_clip_value: float | None = None,
        accumulate_steps: int = 1,
    ) -> None:
        """Choose optimizer, loss and metrics.

        Parameters
        ----------
        optimizer : str or Optimizer
        loss : str, loss, or list or dict of them by output
            See `bpcore.losses`; an object with ``value`` and ``gradient`` is a loss as well.
        metrics : list, or dict or list of lists by output
            See `bpcore.metrics`.
        loss_weights : list or dict of float, optional
            By output; the total loss is the weighted sum.
        gradient_clip_norm : float, optional
            Scale all gradients so that their common norm is at most this.
        gradient_clip_value : float, optional
            Cut each gradient element to [-value, value].
        accumulate_steps : int
            Average the gradients of so many batches for one update.
        """
        compiled = Compiled(
            optimizer,
            loss,
            metrics,
            loss_weights,
            gradient_clip_norm,
            gradient_clip_value,
            accumulate_steps,
        )
        with self._busy("compile"):
            if self._engine is not None:
                compiled.resolve(
                    self._engine.out_names, self._engine.out_shapes, self._engine.ends
                )
            compiled.optimizer.bind(self)
            self._compiled = compiled
            if self._engine is not None:
                self._engine.trainers.clear()

    @contextmanager
    def _busy(self, what: str) -> Iterator[None]:
        if not self._lock.acquire(blocking=False):
            raise BusyError(
                f"model {self.name!r} is training, got a call of {what} meanwhile; wait for fit to "
                "end, or use another model (predict and save work during fit)"
            )
        try:
            yield
        finally:
            self._lock.release()

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = 32,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> History:
        """Train.

        Parameters
        ----------
        x : array (N, ...), frame, or list, tuple or dict for several inputs; or batches
            Any real dtype; converted batch by batch. Batches: an iterable of (x, y[, weight]).
        y : array, or list, tuple or dict for several outputs
            Labels (N,) for ``cross_entropy``, else the outputs' shape.
        batch_size : int or None
            None is the full batch.
        epochs, initial_epoch : int
            Epochs `initial_epoch` to `epochs` - 1 are run.
        verbose : {"auto", 0, 1, 2}
            0 silent, 1 a progress bar, 2 a line per epoch; "auto": 1 on a terminal, else 2.
        callbacks : list of Callback
        validation_split : float
            This fraction of the rows, the last ones, is held out.
        validation_data : (x, y) or (x, y, sample_weight)
        shuffle : bool
            A new order for each epoch, from the model's seed.
        class_weight : dict of class to weight
            Multiplies the sample weights.
        sample_weight : array (N,)

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError
            Before any work, with the model unchanged.
        TrainingDiverged
            The loss or a gradient became NaN or Inf; weights are those before the batch.
        BusyError
            The model is already training.
        """
        options = fitting.Options(
            batch_size,
            epochs,
            verbose,
            validation_split,
            shuffle,
            initial_epoch,
            steps_per_epoch,
            validation_steps,
            validation_batch_size,
            validation_freq,
        )
        hooks = CallbackList(callbacks)
        compiled = self._need_compiled()
        with self._busy("fit"):
            batches = fitting.Batches(x) if fitting.is_batches(x, y) else None
            if batches is not None:
                if options.split or sample_weight is not None or class_weight is not None:
                    raise ValueError(
                        "validation_split, sample_weight and class_weight need arrays; give weights "
                        "as the third item of each batch"
                    )
                train = None
                first = batches.peek()
                self._prepared(compiled, first[0], first[1], first[2])
            else:
                if options.split and validation_data is None:
                    x, y, sample_weight, validation_data = fitting.split(
                        x, y, sample_weight, options.split
                    )
                train = self._prepared(
                    compiled, x, y, sample_weight, class_weight, check=validation_data
                )
            validation = None
            if validation_data is not None:
                validation = self._validation(compiled, validation_data)
            return fitting.Loop(self, options, hooks).run(train, batches, validation)

    def _validation(self, compiled: Compiled, value: Any) -> Dataset:
        vx, vy, vw = fitting.validation_parts(value)
        return self._built().dataset(compiled, vx, vy, vw, names=("validation x", "validation y"))

    def _prepared(
        self,
        compiled: Compiled,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Any = None,
        check: Any = None,
    ) -> Dataset:
        """Build if needed and check all data; a failure leaves the model as it was, unbuilt too."""
        engine = self._engine
        if engine is not None:
            engine.refresh()
            return engine.dataset(compiled, x, y, sample_weight, class_weight)
        with building.restored_on_error(self._layers, self):
            self._build_for(x)
            dataset = self._built().dataset(compiled, x, y, sample_weight, class_weight)
            if check is not None:
                self._validation(compiled, check)
            return dataset

    def train_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, float]:
        """One update from one batch: forward, loss, backward, accumulate, update.

        Returns
        -------
        dict of str to float
            Loss and metrics of the batch, before the update.
        """
        compiled = self._need_compiled()
        with self._busy("train_on_batch"):
            item = self._prepared(compiled, x, y, sample_weight)
            engine = self._built()
            trainer = engine.trainer("train", compiled)
            optimizer = compiled.optimizer
            trainer.step = optimizer.iterations
            rate = optimizer.current_rate()
            compiled.reset_metrics()
            try:
                trainer.train_step(item.xs, item.ys, item.ws, rate, update=True, reset=True)
            except _core.Diverged as error:
                raise diverged(error, -1, rate) from None
            finally:
                optimizer.iterations = int(trainer.step)
            return compiled.logs(trainer.results())

    def gradients(
        self, x: Any, y: Any, *, sample_weight: Any = None, wrt_inputs: bool = False
    ) -> Gradients:
        """Gradients of the batch's mean loss; nothing is updated.

        They are also left in each trainable parameter's ``grad``.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`; all samples are one batch.
        wrt_inputs : bool
            Whether to compute dL/dx too.
        """
        checks.boolean("wrt_inputs", wrt_inputs)
        compiled = self._need_compiled()
        with self._busy("gradients"):
            item = self._prepared(compiled, x, y, sample_weight)
            engine = self._built()
            trainer = engine.trainer("gradients", compiled)
            try:
                loss, grads, dxs = trainer.gradients(
                    item.xs, item.ys, item.ws, wrt_inputs=wrt_inputs
                )
            except _core.Diverged as error:
                raise diverged(error, -1, None) from None
            found: dict[str, Array] = {}
            for p, g in zip(engine.params, grads, strict=True):
                if g is not None and p.trainable:
                    found[p.name] = g
                    p.grad[...] = g
            inputs = None
            if wrt_inputs:
                inputs = dxs[0] if len(dxs) == 1 and not self._in_keys else list(dxs)
                if self._in_keys:
                    inputs = dict(zip(self._in_keys, dxs, strict=True))
            return Gradients(float(loss), found, inputs)

    def trace(self, x: Any, y: Any, *, sample_weight: Any = None) -> dict[str, Any]:
        """Every layer's inputs, weighted input z, activation a and delta = dL/dz, as in textbooks.

        L is the batch's mean loss: for a single sample, its loss.
        """
        from .trace import trace

        compiled = self._need_compiled()
        with self._busy("trace"):
            item = self._prepared(compiled, x, y, sample_weight)
            return trace(self, compiled, item)

    def gradcheck(self, x: Any, y: Any, *, sample_weight: Any = None, seed: int = 0) -> Any:
        """Compare all gradients with differences of the loss in float64; see `GradCheck`."""
        from .gradcheck import gradcheck

        self._need_compiled()
        with self._busy("gradcheck"):
            self._prepared(self._need_compiled(), x, y, sample_weight)
        return gradcheck(self, x, y, sample_weight, checks.seed(seed) or 0)

    # ---- running ------------------------------------------------------------------------------
    def evaluate(
        self, x: Any, y: Any = None, *, batch_size: int | None = 1024, sample_weight: Any = None
    ) -> dict[str, float]:
        """Loss and metrics on data, without training."""
        compiled = self._need_compiled()
        engine = self._built()
        batch_size_of(batch_size, 1)
        if fitting.is_batches(x, y):
            return self._evaluate_batches(fitting.Batches(x))
        item = engine.dataset(compiled, x, y, sample_weight)
        return self._evaluate(item, batch_size, "", None)

    def _evaluate(
        self, item: Dataset, batch_size: int | None, prefix: str, steps: int | None
    ) -> dict[str, float]:
        compiled, engine = self._need_compiled(), self._built()
        with self._eval_lock:
            trainer = engine.trainer("eval", compiled)
            compiled.reset_metrics()
            trainer.set_data(item.xs, item.ys, item.ws)
            trainer.start_epoch(batch_size_of(batch_size, item.n), shuffle=False, update=False)
            end = trainer.n_batches if steps is None else min(steps, trainer.n_batches)
            rate = np.array([0.0])
            try:
                while trainer.batch < end:
                    trainer.run(rate, end - trainer.batch, fitting.SLICE)
            except _core.Diverged as error:
                raise diverged(error, -1, None) from None
            return compiled.logs(trainer.results(), prefix)

    def _evaluate_batches(self, batches: fitting.Batches) -> dict[str, float]:
        compiled, engine = self._need_compiled(), self._built()
        with self._eval_lock:
            trainer = engine.trainer("eval", compiled)
            compiled.reset_metrics()
            first = True
            for part in batches.epoch(None):
                item = engine.dataset(compiled, part[0], part[1], part[2])
                trainer.train_step(item.xs, item.ys, item.ws, 0.0, update=False, reset=first)
                first = False
            if first:
                raise ValueError("x gave no batch, expected at least 1")
            return compiled.logs(trainer.results())

    def __call__(self, x: Any) -> Any:
        """The forward pass at the lowest latency: arrays in, arrays out.

        NaN and Inf pass through; `predict` reports them.
        """
        fast = self._fast
        if (
            fast is not None
            and type(x) is np.ndarray
            and x.ndim == self._fast_ndim
            and x.shape[1:] == self._fast_shape
            and x.dtype.kind in "fiub"
            and x.dtype.itemsize <= 8
        ):
            return fast(x)
        if graph.is_symbolic(x):
            raise TypeError(
                f"model {self.name!r} got a symbolic tensor, expected arrays; to join graphs call "
                "its layers on the tensor"
            )
        if self._engine is None:
            self._build_for(x)
        return self._run(x, None, None, False)

    def predict(
        self,
        x: Any,
        *,
        batch_size: int | None = 1024,
        out: Any = None,
        check_finite: bool = True,
    ) -> Any:
        """Outputs for all rows of `x`, in batches; row i does not depend on the other rows.

        Parameters
        ----------
        x : array (N, ...), frame, or list, tuple or dict for several inputs
            N may be 0.
        batch_size : int or None
        out : ndarray, optional
            Where to write the output of a model with one output.
        check_finite : bool
            Refuse NaN and Inf in `x`.
        """
        self._built()
        checks.boolean("check_finite", check_finite)
        batch_size_of(batch_size, 1)
        return self._run(x, batch_size, out, check_finite)

    def _run(self, x: Any, batch_size: int | None, out: Any, finite: bool) -> Any:
        engine = self._built()
        xs, n = engine.inputs(x, finite=finite, empty=True)
        size = batch_size_of(batch_size, n)
        if out is not None:
            outs = [self._check_out(engine, out, n, xs)]
        else:
            outs = [np.empty((n, *shape), dtype=self.dtype) for shape in engine.out_shapes]
        net = engine.net
        if n and size >= n:
            net.forward(xs, False, outs)
        else:
            for start in range(0, n, size):
                rows = slice(start, min(start + size, n))
                net.forward([a[rows] for a in xs], False, [a[rows] for a in outs])
        if out is not None:
            return out
        if self._out_kind is dict:
            return dict(zip(engine.out_names, outs, strict=True))
        if self._out_kind is None:
            return outs[0]
        return list(outs)

    def _check_out(self, engine: Engine, out: Any, n: int, xs: list[Array]) -> Array:
        if len(engine.outputs) > 1:
            raise ValueError(f"out needs a model with one output, this one has {engine.out_names}")
        shape = (n, *engine.out_shapes[0])
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out must be an ndarray, got {checks.describe(out)}")
        if out.shape != shape:
            raise ShapeError(f"out has shape {out.shape}, expected {shape}")
        if out.dtype != np.dtype(self.dtype):
            raise ValueError(f"out has dtype {out.dtype}, expected {self.dtype}, the model's")
        if not out.flags.writeable or not out.flags.c_contiguous or not out.flags.aligned:
            raise ValueError("out must be writable, C-contiguous and aligned; pass np.empty(...)")
        if any(data.overlaps(out, a) for a in (*xs, *(p.value for p in engine.params))):
            raise ValueError("out overlaps x or the weights; pass an array of its own")
        return out

    # ---- copying and saving -------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write architecture and weights to one safetensors file; see `bpcore.load_model`."""
        from .save import save_model

        save_model(self, path)

    def get_config(self) -> dict[str, Any]:
        """The architecture as JSON data."""
        from .serialize import model_config

        self._built()
        return model_config(self)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Model:
        """A model of the architecture that `get_config` described, with new weights."""
        from .serialize import model_from_config

        return model_from_config(cls, config, custom_objects)

    def __getstate__(self) -> dict[str, Any]:
        # The sorted nodes come first, so that pickle meets every node after its inputs and need
        # not recurse through a deep graph.
        state = {"_nodes": self._nodes, **self.__dict__, "_engine": None}
        for key in ("_lock", "_eval_lock", "_fast"):
            state.pop(key, None)
        return {**state, "was_built": self.built}

    def __setstate__(self, state: dict[str, Any]) -> None:
        built = state.pop("was_built")
        self.__dict__.update(state)
        self._unlock()
        for layer in self._layers:
            building.own(layer, self)
            layer._next_stream = self._next_stream
        if self._compiled is not None:
            self._compiled.optimizer.bind(self)
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


class Sequential(Model):
    """Layers one after another; built at the first `fit`, by `build`, or by an Input in front.

    Parameters
    ----------
    layers : list of Layer, optional
        May begin with ``bp.Input(shape)``.
    name, dtype, seed
        As in `Model`.

    Examples
    --------
    >>> import bpcore as bp
    >>> model = bp.Sequential([bp.layers.Dense(3, "relu"), bp.layers.Dense(1)], seed=0)
    >>> model.build((2,))
    >>> [layer.name for layer in model.layers]
    ['dense', 'dense_1']
    """

    def __init__(
        self,
        layers: Any = None,
        *,
        name: str | None = None,
        dtype: str = "float32",
        seed: Any = None,
    ) -> None:
        self._start(name, dtype, seed)
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
        shape = self._given_shape
        new = list(self._layers)
        for i, item in enumerate(items, start=before):
            if isinstance(item, graph.Tensor) and item.node.layer.is_input and not new:
                shape = item.shape
                continue
            layer = building.check_layer(f"layers[{i}]", item)
            for k, other in enumerate(new):
                if other is layer:
                    raise ValueError(
                        f"layers[{i}] is the same object as layers[{k}]; to share weights use the "
                        "functional bpcore.Model, where a layer may be called twice"
                    )
            owner = building.owner_of(layer)
            if owner is not None and owner is not self:
                raise ValueError(
                    f"layers[{i}] ({layer.label}) already belongs to model {owner.name!r}, expected "
                    "a new layer; create one, or share layers in a functional bpcore.Model"
                )
            new.append(layer)
        rebuild = shape if shape is not None else self._shape()
        with building.restored_on_error(new, self):
            building.adopt(new, self)
            self._layers, self._given_shape = new, shape
            if rebuild is not None and new:
                self._build(rebuild)

    def _shape(self) -> Shape | None:
        return self._engine.in_shapes[0] if self._engine is not None else None

    def build(self, input_shape: Any) -> None:
        """Make the weights for samples of this shape, batch axis left out."""
        super().build(input_shape)
        if self._engine is None:
            self._build(checks.shape("input_shape", input_shape))

    def _build(self, shape: Shape) -> None:
        if not self._layers:
            raise ValueError("model needs at least one layer, got 0; add one with add(layer)")
        with building.restored_on_error(self._layers, self):
            first, last = building.chain(self._layers, shape)
            self._build_graph(graph.sort([first], [last]), [first], [last])
