"""The metrics of a compiled model, by output: their names in the logs, and their running sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import metrics
from ..base import arguments
from ..data.free_targets import is_free
from ..errors import UndefinedMetricWarning, warn
from ..graph import End
from ..losses import CoreLoss, Loss

Logs = dict[str, Any]  # by name a number, or a list of them for a metric of many columns
Spec = tuple[str, dict[str, Any]]
# Ends of a network whose columns are probabilities of their own.
_SIGMOIDS = ("sigmoid", "hard_sigmoid")


class Measure(NamedTuple):
    """A metric of one output."""

    metric: metrics.CoreMetric
    key: str  # its name in the logs
    place: int  # among the core's of the output


class Measures:
    """What was given to `compile` as ``metrics`` and ``weighted_metrics``."""

    def __init__(self, plain: Any, weighted: Any) -> None:
        self.plain, self.weighted = arguments.kept(plain), arguments.kept(weighted)
        for item in (*leaves(plain), *leaves(weighted)):
            metrics.get(item)  # an unknown name is an error at once
        self.names: list[str] = []
        self.ends: list[End] = []
        self.contexts: list[metrics.Context] = []
        self.of: list[list[Measure]] = []
        self.specs: list[list[Spec]] = []  # for the core; metrics with the same sums share one

    def resolve(self, ends: list[End], chosen: list[Any]) -> None:
        """Fit them to the outputs and their losses; nothing is changed where that fails."""
        names = [end.name for end in ends]
        contexts, of, specs = [], [], []
        told = (
            _lists("metrics", self.plain, names),
            _lists("weighted_metrics", self.weighted, names),
        )
        for k, (end, loss) in enumerate(zip(ends, chosen, strict=True)):
            context = _context(end, loss)
            made: list[Measure] = []
            sums: list[Spec] = []
            prefix = f"{end.name}_" if len(ends) > 1 else ""
            for weighted, lists in enumerate(told):
                for metric in map(metrics.get, lists[k]):
                    _check_parts(loss, metric)
                    if is_free(loss) and not isinstance(metric, metrics.PythonMetric):
                        raise ValueError(
                            f"metric {metric.name!r} compares with targets of the output's shape, "
                            "but the loss takes any (target_shape = None); use a metric of your own"
                        )
                    key = _key(prefix, metric.name, bool(weighted), [m.key for m in made])
                    made.append(
                        Measure(metric, key, _place(metric.spec(context), bool(weighted), sums))
                    )
            contexts.append(context)
            of.append(made)
            specs.append(sums)
        self.names, self.ends = names, ends
        self.contexts, self.of, self.specs = contexts, of, specs

    def refuse_weights(self, k: int, axes: int) -> None:
        """Raise if a metric of output `k` cannot weigh the values of a row by themselves, and the
        weights have an axis for them."""
        end = self.ends[k]
        if axes <= len(end.shape) or end.shape[-1] == 1:
            return
        for metric, key, place in self.of[k]:
            kind, options = self.specs[k][place]
            one = kind in ("accuracy", "top_k", "auc") or (
                kind == "counts" and not options["labels"]
            )
            if options["weighted"] and one:
                raise ValueError(
                    f"weighted_metrics: {key!r} takes one weight for each row of the output "
                    f"{end.name!r}, got one for each of its {end.shape[-1]} values; put "
                    f"{metric.name!r} among metrics, or weigh rows"
                )

    def all(self) -> list[Measure]:
        """Of all outputs, in order."""
        return [measure for items in self.of for measure in items]

    def refuse_labels(self, k: int, name: str) -> None:
        """Raise if a metric of output `k` cannot compare its predictions with class labels."""
        for metric, _, place in self.of[k]:
            if metric.dense_target or self.specs[k][place][1].get("labels", False):
                raise ValueError(
                    f"metric {metric.name!r} compares values, but {name} holds class labels; "
                    "expected one-hot targets (N, K), or use 'accuracy'"
                )

    def reset(self) -> None:
        """Metrics in Python start anew; the core's do by themselves."""
        for metric, _, _ in self.all() if any(self.of) else ():
            if isinstance(metric, metrics.PythonMetric):
                metric.reset()

    def states(self) -> list[tuple[metrics.PythonMetric, Any]]:
        """What the metrics in Python have gathered, to be given back with `set_state`."""
        found = [m.metric for m in self.all() if isinstance(m.metric, metrics.PythonMetric)]
        return [(metric, metric.state()) for metric in found]

    def logs(self, results: Mapping[str, Any], prefix: str = "", final: bool = True) -> Logs:
        """The numbers of an epoch by name; `final` is False for a part, which may lack a class."""
        logs: Logs = {f"{prefix}loss": float(results["loss"])}
        if len(self.names) > 1:
            for name, value in zip(self.names, results["losses"], strict=True):
                logs[f"{prefix}{name}_loss"] = float(value)
        if not any(self.of):
            return logs
        for items, states, context in zip(self.of, results["metrics"], self.contexts, strict=True):
            for metric, key, place in items:
                logs[prefix + key] = metric.compute(states[place], context)
                reason = metric.undefined(states[place], context) if final else ""
                if reason:
                    warn(f"{prefix + key} is not defined: {reason}", UndefinedMetricWarning)
        return logs

    def log_names(self, validation: bool) -> list[str]:
        """The keys of an epoch's logs, those of a validation behind the others."""
        names = ["loss", *(f"{name}_loss" for name in self.names if len(self.names) > 1)]
        names += [measure.key for measure in self.all()]
        return names + [f"val_{name}" for name in names] if validation else names

    def listed(self) -> list[str]:
        """The keys whose values are lists, of the training's logs and the validation's."""
        pairs = zip(self.of, self.contexts, strict=True)
        keys = [m.key for items, context in pairs for m in items if m.metric.listed(context)]
        return keys + [f"val_{key}" for key in keys]

    def get_config(self) -> dict[str, Any]:
        """The arguments, as far as they were given; TypeError if one is a Python object."""
        config = {"metrics": arguments.plain(named(self.plain), "metrics")}
        if leaves(self.weighted):
            config["weighted_metrics"] = arguments.plain(named(self.weighted), "weighted_metrics")
        return config


def _context(end: End, loss: Any) -> metrics.Context:
    width, binary = end.shape[-1], getattr(loss, "kind", "") == "binary_cross_entropy"
    labels = width > 1 and (binary or end.function in _SIGMOIDS)
    return metrics.Context(width, binary or width == 1, labels)


def _check_parts(loss: Any, metric: metrics.CoreMetric) -> None:
    """Whether a metric goes with a loss whose outputs are not each like a target."""
    if isinstance(loss, CoreLoss) and loss.together:
        raise ValueError(
            f"metric {metric.name!r} compares outputs with their targets, which need not be alike "
            f"for the loss {loss.name!r}; leave it out"
        )
    several = isinstance(loss, CoreLoss) and loss.parts > 1
    if not several or isinstance(metric, metrics.PythonMetric):
        return
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


def _key(prefix: str, name: str, weighted: bool, taken: list[str]) -> str:
    """The name in the logs; as in Keras a weighted metric whose name is taken gets a prefix."""
    if weighted and prefix + name in taken:
        name = f"weighted_{name}"
    if prefix + name in taken:
        raise ValueError(
            f"metrics: {name!r} is given twice; give one of them a name of its own, for example "
            f"name='{name}_2'"
        )
    return prefix + name


def _place(spec: Spec, weighted: bool, specs: list[Spec]) -> int:
    """Where a metric's sums are; they are added to `specs` if they are not there."""
    spec = spec[0], {**spec[1], "weighted": weighted}
    if spec not in specs or spec[0] == "python":
        specs.append(spec)
        return len(specs) - 1
    return specs.index(spec)


def named(value: Any) -> Any:
    """Classes as names."""
    if isinstance(value, type):
        own = issubclass(value, (Loss, metrics.Metric))
        if own and not issubclass(value, (CoreLoss, metrics.CoreMetric)):
            raise TypeError(f"{value.__name__} is a class of one's own and cannot be saved")
        known = getattr(value, "kind", "") or getattr(value, "name", "")
        return known or {"class_name": value.__name__, "config": {}}
    if isinstance(value, (list, tuple)):
        return [named(item) for item in value]
    if isinstance(value, dict):
        return {key: named(item) for key, item in value.items()}
    return value


def is_config(value: Any) -> bool:
    """Whether `value` describes an object, and is no dict by output."""
    return isinstance(value, Mapping) and set(value) == {"class_name", "config"}


def leaves(value: Any) -> list[Any]:
    """What stands in lists and dicts by output."""
    if value is None:
        return []
    if isinstance(value, Mapping) and not is_config(value):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def _lists(what: str, value: Any, names: list[str]) -> list[list[Any]]:
    """Metrics by output: a list for all outputs, a list of lists, or a dict by output name."""
    if value is None:
        return [[] for _ in names]
    if isinstance(value, Mapping) and not is_config(value):
        strange = [key for key in value if key not in names]
        if strange:
            raise ValueError(f"{what}: unknown output {strange[0]!r}, expected names of {names}")
        return [_as_list(value.get(name)) for name in names]
    items = _as_list(value)
    if items and any(isinstance(item, (list, tuple)) for item in items):
        if len(items) != len(names):
            raise ValueError(
                f"{what}: got {len(items)} lists, expected {len(names)}, one per output"
            )
        return [_as_list(item) for item in items]
    return [list(items) for _ in names]


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
