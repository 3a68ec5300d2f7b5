"""A built model's compiled graph and trainers, and data prepared for them."""

from __future__ import annotations

from typing import Any

from .. import _core, constraints, data, graph, regularizers
from ..base.memory import Array
from ..data import targets
from ..data.dataset import Dataset
from ..graph.parameter import Parameter
from ..losses import BinaryCrossEntropy, CrossEntropy
from .compiled import Compiled


class Engine:
    """The lowered graph of a built model; made anew when layers are frozen or thawed."""

    def __init__(
        self,
        nodes: list[graph.Node],
        inputs: list[graph.Tensor],
        outputs: list[graph.Tensor],
        dtype: str,
        compute: str,
    ) -> None:
        self.dtype = dtype
        self.low, self.places = graph.lower(nodes, inputs, dtype, compute)
        self.in_shapes = [t.shape for t in inputs]
        self.in_names = [t.name for t in inputs]
        self.out_shapes = [t.shape for t in outputs]
        self.out_names = _unique([t.name for t in outputs])
        self.in_listed = self.out_listed = False  # whether made with a list of one
        self.outputs: list[int] = []
        n_inputs = len(inputs)
        for t in outputs:
            i = self.places[id(t.node)].a
            if i < n_inputs or i in self.outputs:  # the core wants a node of its own per output
                i = self.low.add("reshape", (i,), t.shape, t.name, shape=t.shape)
            self.outputs.append(i)
        self.params: list[Parameter] = self.low.params
        self.flags = self.low.flags()
        self.net = self.low.network(self.outputs)
        # Layers in Python keep what backward needs in themselves: one pass at a time.
        self.has_python = any(node[0] == "python" for node in self.low.nodes)
        self.trainers: dict[str, Any] = {}
        self._specs: dict[str, Any] = {}

    def ends(self) -> list[graph.End]:
        """The outputs, as losses and metrics ask for them."""
        return [self.low.end(*pair) for pair in zip(self.out_names, self.outputs, strict=True)]

    @property
    def param_names(self) -> list[str]:
        """Names of the parameters, in the core's order."""
        return [p.name for p in self.params]

    def refresh(self) -> None:
        """Take up changes of `trainable`; cheap when there are none."""
        flags = self.low.flags()
        if flags != self.flags:
            self.flags = flags
            self.net = self.low.network(self.outputs)
            self.trainers.clear()

    def trainer(self, purpose: str, compiled: Compiled) -> Any:
        """The trainer for "train", "eval", "gradients" or "trace", made on first use."""
        spec = compiled.optimizer.spec() if purpose == "train" else None
        penalties = [regularizers.spec(p) for p in self.params]
        bounds = [constraints.spec(p) for p in self.params] if spec else []
        key = (compiled, spec, [item[0] for item in penalties], [item[0] for item in bounds])
        found = self.trainers.get(purpose)
        if found is not None and self._specs.get(purpose) == key:
            return found
        active: list[list[Array]] = [[] for _ in self.params]
        if spec:
            active = compiled.optimizer.slots(self.params, self.flags[: len(self.params)])
        metrics = (
            compiled.measures.specs if purpose in ("train", "eval") else [[] for _ in self.outputs]
        )
        parameters: dict[str, Any] = {}
        if any(item[0] is not None for item in penalties):
            parameters["penalties"] = [make() for _, make in penalties]
        if any(item[0] is not None for item in bounds):
            parameters["constraints"] = [make() for _, make in bounds]
        options: dict[str, Any] = {}
        if spec is not None:
            parameters.update(compiled.core_groups(self.param_names))
            options = {
                "clip_norm": compiled.clip_norm,
                "clip_value": compiled.clip_value,
                "accumulate_steps": compiled.accumulate_steps,
            }
        made = _core.Trainer(
            self.net,
            compiled.core_losses(self.dtype),
            compiled.weights,
            metrics,
            spec,
            active,
            fuse=purpose != "trace",
            parameters=parameters,
            **options,
        )
        self.trainers[purpose], self._specs[purpose] = made, key
        return made

    # ---- data ---------------------------------------------------------------------------------
    def inputs(
        self, x: Any, name: str = "x", *, finite: bool = True, empty: bool = False
    ) -> tuple[list[Array], int]:
        """The checked input arrays and the number of samples."""
        parts = data.structure(name, x, self.in_names, self.in_listed)
        xs: list[Array] = []
        for part, shape, layer in zip(parts, self.in_shapes, self.in_names, strict=True):
            label = name if len(parts) == 1 else f"{name}[{layer!r}]"
            array = data.features(label, part, shape, layer)
            if xs:
                data.rows(label, array, name, xs[0].shape[0])
            xs.append(array)
        n = int(xs[0].shape[0])
        if n == 0 and not empty:
            raise ValueError(f"{name} has 0 samples, expected at least 1: got shape {xs[0].shape}")
        if finite:
            for array, layer in zip(xs, self.in_names, strict=True):
                label = name if len(parts) == 1 else f"{name}[{layer!r}]"
                data.finite(label, array, self.dtype)
        return [self._detached(a) for a in xs], n

    def _detached(self, array: Array) -> Array:
        """A copy if the data is a view of weights, which a step would change under its feet."""
        if array.base is not None or not array.flags.owndata:
            for p in self.params:
                if data.overlaps(array, p.value):
                    result: Array = array.copy()
                    return result
        return array

    def dataset(
        self,
        compiled: Compiled,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Any = None,
        names: tuple[str, str] = ("x", "y"),
    ) -> Dataset:
        """Everything checked; nothing of the model is changed."""
        xs, n = self.inputs(x, names[0])
        return Dataset(n, xs, *self.targets_of(compiled, y, n, sample_weight, class_weight, names))

    def targets_of(
        self,
        compiled: Compiled,
        y: Any,
        n: int | None = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        names: tuple[str, str] = ("x", "y"),
    ) -> tuple[list[targets.Target], list[Array | None]]:
        """Targets and weights by output, checked; without `n` the first output's rows count."""
        if y is None:
            raise TypeError(f"{names[1]} is None, expected targets of shape (N, ...)")
        parts = data.structure(names[1], y, self.out_names, self.out_listed)
        if n is None:
            n = len(data.array(names[1], parts[0]))
            if n == 0:
                raise ValueError(f"{names[1]} has 0 samples, expected at least 1")
        ys = []
        for part, loss, shape, out in zip(
            parts, compiled.losses, self.out_shapes, self.out_names, strict=True
        ):
            label = names[1] if len(parts) == 1 else f"{names[1]}[{out!r}]"
            target = targets.prepare(label, part, loss, shape, n, out, self.dtype)
            ys.append((self._detached(target[0]), target[1]))
            if target[1]:
                compiled.measures.refuse_labels(len(ys) - 1, label)
        weight_name = "sample_weight" if names[0] == "x" else f"{names[0]}'s sample_weight"
        ws = self._weights(weight_name, sample_weight, n)
        for k, loss in enumerate(compiled.losses):
            table = getattr(loss, "class_weight", None)
            if table is not None and isinstance(loss, (CrossEntropy, BinaryCrossEntropy)):
                ws[k] = self._by_class("class_weight of the loss", table, ys[k], k, ws[k])
        if class_weight is not None:
            if len(ys) > 1:
                raise ValueError("class_weight needs a model with one output; use sample_weight")
            ws[0] = self._by_class("class_weight", class_weight, ys[0], 0, ws[0])
        return ys, ws

    def _weights(self, name: str, value: Any, n: int) -> list[Array | None]:
        count = len(self.outputs)
        if value is None:
            return [None] * count
        if isinstance(value, dict):
            strange = [key for key in value if key not in self.out_names]
            if strange:
                raise ValueError(
                    f"{name}: unknown output {strange[0]!r}, expected names of {self.out_names}"
                )
            parts = [value.get(key) for key in self.out_names]
        elif isinstance(value, (list, tuple)) and count > 1 and len(value) == count:
            parts = list(value)
        else:
            parts = [value] * count
        return [None if p is None else data.sample_weights(name, p, n) for p in parts]

    def _by_class(
        self, name: str, table: Any, target: targets.Target, k: int, weights: Array | None
    ) -> Array:
        shape = self.out_shapes[k]
        classes = 2 if shape[-1] == 1 else shape[-1]
        by_class = targets.class_weights(name, table, classes)
        result: Array = by_class[targets.class_of_rows(target, shape)]
        if not result.any():
            raise ValueError(f"{name}: the weights of all samples are 0, expected one > 0")
        return result if weights is None else result * weights


def _unique(names: list[str]) -> list[str]:
    """Names of outputs: a layer that makes two of them gives the second a number."""
    result: list[str] = []
    for name in names:
        k, candidate = 1, name
        while candidate in result:
            candidate = f"{name}_{k}"
            k += 1
        result.append(candidate)
    return result
