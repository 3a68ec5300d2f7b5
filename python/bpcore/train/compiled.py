"""What `Model.compile` was told, resolved against the model's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import losses, metrics, optimizers
from ..base import checks
from ..base.memory import Shape
from ..losses import Loss
from .groups import Groups
from .python_loss import PythonLoss

# Ends of a network whose values cannot be the probabilities a cross entropy takes logarithms of.
_RECTIFIERS = {"relu", "leaky_relu", "relu6", "elu", "selu", "celu", "gelu", "gelu_tanh", "silu"}
_NO_PROBABILITY = _RECTIFIERS | {"mish", "softplus", "softsign", "tanh", "exponential"}
_UNFIT = {
    "cross_entropy": _NO_PROBABILITY | {"hard_sigmoid", "sigmoid"},
    "binary_cross_entropy": _NO_PROBABILITY | {"log_softmax"},
}


class Compiled:
    """Optimizer, losses, metrics and options; `resolve` makes the lists by output."""

    def __init__(
        self,
        optimizer: Any,
        loss: Any,
        metric_list: Any,
        loss_weights: Any,
        clip_norm: Any,
        clip_value: Any,
        accumulate_steps: Any,
        parameter_groups: Any = None,
    ) -> None:
        if loss is None:
            raise TypeError(
                "loss must be a name or a loss, got None; give for example loss='cross_entropy' or "
                "loss='mse'"
            )
        self.optimizer = optimizers.get(optimizer)
        self.loss, self.metrics, self.loss_weights = loss, metric_list, loss_weights
        self.clip_norm = self._clip("gradient_clip_norm", clip_norm)
        self.clip_value = self._clip("gradient_clip_value", clip_value)
        self.accumulate_steps = checks.integer("accumulate_steps", accumulate_steps)
        self.groups = Groups(parameter_groups, self.optimizer)
        self._check_names()
        self.losses: list[Any] = []
        self.weights: list[float] = []
        self.output_metrics: list[list[metrics.Metric]] = []
        self.names: list[str] = []
        self.contexts: list[metrics.Context] = []
        self._specs: list[list[tuple[str, dict[str, Any]]]] = []
        self._places: list[list[int]] = []

    @staticmethod
    def _clip(name: str, value: Any) -> float:
        return 0.0 if value is None else checks.real(name, value, 0.0, open_low=True)

    def _check_names(self) -> None:
        """Unknown names are errors at once, even while the outputs are not known."""
        for item in _leaves(self.loss):
            losses.get(item)
        for item in _leaves(self.metrics):
            metrics.get(item)

    def resolve(
        self,
        names: list[str],
        shapes: list[Shape],
        ends: list[str],
        parameters: list[str],
    ) -> None:
        """Fit losses, metrics and groups to the model; raises before anything is changed."""
        self.groups.check(parameters)
        chosen = [losses.get(item) for item in _per_output("loss", self.loss, names)]
        for loss, end, name in zip(chosen, ends, names, strict=True):
            kind = loss.kind if isinstance(loss, Loss) else ""
            if end in _UNFIT.get(kind, ()):
                wanted = "softmax" if kind == "cross_entropy" else "sigmoid"
                raise ValueError(
                    f"loss {kind!r} does not fit output {name!r}, which ends in {end!r}: expected "
                    f"{wanted}, or a linear output (logits); change the last activation or the loss"
                )
        weights = self._weights(names)
        contexts, lists = [], []
        for loss, shape, items in zip(
            chosen, shapes, _metric_lists(self.metrics, names), strict=True
        ):
            binary = shape[-1] == 1 or getattr(loss, "kind", "") == "binary_cross_entropy"
            contexts.append(metrics.Context(shape[-1], binary))
            lists.append([metrics.get(item) for item in items])
            if isinstance(loss, Loss) and loss.parts > 1:
                _check_parts(loss, shape, lists[-1])
        specs, places = [], []
        for context, wanted_metrics in zip(contexts, lists, strict=True):
            spec, place = _core_metrics(wanted_metrics, context)
            specs.append(spec)
            places.append(place)
        self.names, self.losses, self.weights = list(names), chosen, weights
        self.contexts, self.output_metrics, self._specs, self._places = (
            contexts,
            lists,
            specs,
            places,
        )

    def _weights(self, names: list[str]) -> list[float]:
        value = self.loss_weights
        if value is None:
            return [1.0] * len(names)
        if isinstance(value, Mapping):
            strange = [key for key in value if key not in names]
            if strange:
                raise ValueError(
                    f"loss_weights: unknown output {strange[0]!r}, expected names of {names}"
                )
            value = [value.get(name, 1.0) for name in names]
        if not isinstance(value, (list, tuple)) or len(value) != len(names):
            raise ValueError(
                f"loss_weights must be a list or dict of {len(names)} numbers, got "
                f"{checks.describe(value)}"
            )
        return [checks.real("loss_weights", v, 0.0) for v in value]

    # ---- for the core -------------------------------------------------------------------------
    def core_losses(self, dtype: str) -> list[dict[str, Any]]:
        """One dict per output."""
        return [
            loss.spec()
            if isinstance(loss, Loss)
            else {"kind": "python", "call": PythonLoss(loss, dtype)}
            for loss in self.losses
        ]

    def core_metrics(self) -> list[list[tuple[str, dict[str, Any]]]]:
        """One list per output; metrics with the same running sums share an entry."""
        return self._specs

    def core_groups(self, parameters: list[str]) -> dict[str, Any]:
        """Rate factor and decay of each group, and each parameter's group; {} if there are none."""
        return self.groups.core(parameters, float(getattr(self.optimizer, "weight_decay", 0.0)))

    def check_metrics(self, k: int, name: str, labels: bool) -> None:
        """Refuse metrics of output `k` that cannot compare predictions with class labels."""
        for metric in self.output_metrics[k]:
            if labels and metric.dense_target:
                raise ValueError(
                    f"metric {metric.name!r} compares values, but {name} holds class labels; "
                    "expected one-hot targets (N, K), or use 'accuracy'"
                )

    def reset_metrics(self) -> None:
        """Metrics in Python start anew; the core's do by themselves."""
        for items in self.output_metrics:
            for metric in items:
                if isinstance(metric, metrics.PythonMetric):
                    metric.reset()

    def metric_states(self) -> list[tuple[metrics.PythonMetric, Any]]:
        """What the metrics in Python have gathered, to be given back with `set_state`."""
        return [
            (metric, metric.state())
            for items in self.output_metrics
            for metric in items
            if isinstance(metric, metrics.PythonMetric)
        ]

    def logs(self, results: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
        """The numbers of an epoch (or of a part) by name."""
        logs = {f"{prefix}loss": float(results["loss"])}
        several = len(self.names) > 1
        if several:
            for name, value in zip(self.names, results["losses"], strict=True):
                logs[f"{prefix}{name}_loss"] = float(value)
        states = results["metrics"]
        for k, name in enumerate(self.names):
            for metric, place in zip(self.output_metrics[k], self._places[k], strict=True):
                key = f"{name}_{metric.name}" if several else metric.name
                logs[prefix + key] = metric.compute(states[k][place], self.contexts[k])
        return logs

    def log_names(self, validation: bool) -> list[str]:
        """The keys of an epoch's logs, those of a validation behind the others."""
        names = ["loss"]
        several = len(self.names) > 1
        if several:
            names += [f"{name}_loss" for name in self.names]
        for name, items in zip(self.names, self.output_metrics, strict=True):
            names += [f"{name}_{m.name}" if several else m.name for m in items]
        return names + [f"val_{name}" for name in names] if validation else names

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs; TypeError if something is a Python object."""
        from ..base import arguments

        return {
            "optimizer": {
                "class_name": type(self.optimizer).__name__,
                "config": self.optimizer.get_config(),
            },
            "loss": arguments.plain(_named(self.loss), "loss"),
            "metrics": arguments.plain(_named(self.metrics), "metrics"),
            "loss_weights": arguments.plain(self.loss_weights, "loss_weights"),
            "gradient_clip_norm": self.clip_norm or None,
            "gradient_clip_value": self.clip_value or None,
            "accumulate_steps": self.accumulate_steps,
            "parameter_groups": self.groups.get_config(),
        }


def _check_parts(loss: Loss, shape: Shape, items: list[metrics.Metric]) -> None:
    """Whether output and metrics go with a loss that has several outputs for each target."""
    loss.target_shape(shape)
    for metric in items:
        if isinstance(metric, metrics.PythonMetric):
            continue
        if not metric.point:
            raise ValueError(
                f"metric {metric.name!r} does not go with the loss {loss.name!r}, whose outputs "
                "are several numbers for each target; use mae, mse, rmse, r2, or a function"
            )
        if loss.point is None:
            raise ValueError(
                f"metric {metric.name!r} compares the targets with the quantile 0.5, which is not "
                "among those of the loss; add 0.5 to its quantiles, or use a function"
            )


def _named(value: Any) -> Any:
    """Classes as names."""
    if isinstance(value, type):
        return getattr(value, "kind", "") or getattr(value, "name", value.__name__)
    if isinstance(value, (list, tuple)):
        return [_named(item) for item in value]
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    return value


def _is_config(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"class_name", "config"}


def _leaves(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, Mapping) and not _is_config(value):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _per_output(what: str, value: Any, names: list[str]) -> list[Any]:
    """One value for all outputs, or a list or dict of one each."""
    if isinstance(value, Mapping) and not _is_config(value):
        if set(value) != set(names):
            raise ValueError(
                f"{what}: got keys {sorted(map(str, value))}, expected the outputs {sorted(names)}"
            )
        return [value[name] for name in names]
    if isinstance(value, (list, tuple)):
        if len(value) != len(names):
            raise ValueError(f"{what}: got {len(value)}, expected {len(names)}, one per output")
        return list(value)
    return [value] * len(names)


def _metric_lists(value: Any, names: list[str]) -> list[list[Any]]:
    """Metrics by output: a list for all outputs, a list of lists, or a dict by output name."""
    if value is None:
        return [[] for _ in names]
    if isinstance(value, Mapping) and not _is_config(value):
        strange = [key for key in value if key not in names]
        if strange:
            raise ValueError(f"metrics: unknown output {strange[0]!r}, expected names of {names}")
        return [_as_list(value.get(name)) for name in names]
    items = _as_list(value)
    if items and any(isinstance(item, (list, tuple)) for item in items):
        if len(items) != len(names):
            raise ValueError(
                f"metrics: got {len(items)} lists, expected {len(names)}, one per output"
            )
        return [_as_list(item) for item in items]
    return [list(items) for _ in names]


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _core_metrics(
    items: list[Any], context: Any
) -> tuple[list[tuple[str, dict[str, Any]]], list[int]]:
    specs: list[tuple[str, dict[str, Any]]] = []
    places: list[int] = []
    names: set[str] = set()
    for metric in items:
        if metric.name in names:
            raise ValueError(f"metrics: {metric.name!r} is given twice")
        names.add(metric.name)
        spec = metric.spec(context)
        if spec not in specs or spec[0] == "python":
            specs.append(spec)
        places.append(specs.index(spec))
    return specs, places
