"""What `Model.compile` was told, resolved against the model's outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .. import credit as rules
from .. import losses, optimizers
from ..base import arguments, checks
from ..base.memory import Array
from ..data import arrays
from ..data.dataset import Dataset
from ..data.signature import Names, Signature
from ..data.targets import Target
from ..errors import MismatchWarning, warn
from ..graph import End, Lowering
from ..losses import CoreLoss
from ..optimizers.kfac import KFAC
from . import advice
from .groups import Groups
from .measures import Measures, is_config, leaves, named
from .python_loss import PythonLoss


class _NoLoss:
    def __repr__(self) -> str:
        return "None"


NO_LOSS = _NoLoss()  # what is compiled for a loop of one's own


class Compilation:
    """Optimizer, losses, metrics and options; `resolve` makes the lists by output."""

    def __init__(
        self,
        optimizer: Any,
        loss: Any,
        metrics: Any,
        loss_weights: Any,
        clip_norm: Any,
        clip_value: Any,
        accumulate_steps: Any,
        parameter_groups: Any = None,
        weighted_metrics: Any = (),
        credit: Any = "backprop",
    ) -> None:
        if loss is None:
            raise TypeError(
                "loss must be a name or a loss, got None; give for example loss='cross_entropy' or "
                "loss='mse', or leave it out for a loop of your own"
            )
        if loss is NO_LOSS and (leaves(metrics) or leaves(weighted_metrics)):
            raise ValueError(
                "metrics are counted beside a loss, got metrics and no loss; give a loss, too"
            )
        self.has_loss = loss is not NO_LOSS
        loss = loss if self.has_loss else None
        self.optimizer = optimizers.get(optimizer)
        self.loss, self.loss_weights = arguments.kept(loss), arguments.kept(loss_weights)
        self.clip_norm = self._clip("gradient_clip_norm", clip_norm)
        self.clip_value = self._clip("gradient_clip_value", clip_value)
        self.accumulate_steps = checks.integer("accumulate_steps", accumulate_steps)
        self.groups = Groups(parameter_groups, self.optimizer)
        self.credit = rules.get(credit)
        if self.credit is not None:
            self._check_rule(self.credit)
        for item in leaves(loss):  # an unknown name is an error at once
            losses.get(item)
        self.measures = Measures(metrics, weighted_metrics)
        self.losses: list[Any] = []
        self.weights: list[float] = []
        self.names: list[str] = []
        self.ends: list[End] = []
        self._watched: list[int] = []  # outputs of whose targets there may be something to say
        self.looked = False  # at any targets
        self._said: set[str] = set()

    def _check_rule(self, rule: rules.Rule) -> None:
        if not self.has_loss:
            raise ValueError(
                f"credit={rule!r} assigns the error of a loss, got no loss; give one, or leave "
                "credit out for a loop of your own"
            )
        if isinstance(self.optimizer, (optimizers.BatchSolver, KFAC)):
            raise ValueError(
                f"optimizer {type(self.optimizer).__name__} needs the derivatives of the loss "
                f"itself, got credit={rule!r}; take an optimizer that steps along a direction, "
                "such as 'adam'"
            )

        rate = getattr(self.optimizer.learning_rate, "initial_learning_rate", None)  # of a schedule
        rule.begin(float(self.optimizer.current_rate() if rate is None else rate))

    @staticmethod
    def _clip(name: str, value: Any) -> float:
        return 0.0 if value is None else checks.real(name, value, 0.0, open_low=True)

    def bind(self, model: Any) -> None:
        """Belong to one model, as optimizer and rule do."""
        self.optimizer.bind(model)
        if self.credit is not None:
            self.credit.bind(model)

    def resolve(self, ends: list[End], parameters: list[str]) -> None:
        """Fit losses, metrics and groups to the model; raises before anything is changed."""
        names = [end.name for end in ends]
        self.groups.check(parameters)
        if not self.has_loss:
            self.names, self.ends = names, ends
            return
        chosen = [losses.get(item) for item in _per_output("loss", self.loss, names)]
        for loss, end in zip(chosen, ends, strict=True):
            advice.refuse(loss, end)
            if isinstance(loss, CoreLoss):
                loss.target_shape(end.shape)
        weights = self._weights(names)
        if self.credit is not None:
            self.credit.check(chosen, ends)
        self.measures.resolve(ends, chosen)
        self.names, self.losses, self.weights = names, chosen, weights
        self.ends = ends
        of = [[measure.metric for measure in items] for items in self.measures.of]
        told = enumerate(zip(chosen, ends, of, strict=True))
        self._watched = [k for k, what in told if advice.watches(*what)]
        for loss, end in zip(chosen, ends, strict=True):
            self._say(advice.of_end(loss, end))

    def look_at(self, ys: list[Target], name: str = "y") -> None:
        """Say what checked targets mean to losses and metrics, as far as it is news; `name`: what
        the user calls them."""
        self.looked = True
        for k in self._watched:
            end, (y, labels) = self.ends[k], ys[k]
            asked = [measure.metric for measure in self.measures.of[k]]
            called = name if len(self.ends) == 1 else f"{name}[{end.name!r}]"
            if not labels:
                context = self.measures.contexts[k]
                self._say(advice.of_targets(self.losses[k], end, context, asked, y, called))

    def look_at_training(self, low: Lowering, layers: list[Any], rows: int) -> None:
        """The same of a training with batches of `rows` rows."""
        self._refuse_one_row(rows)
        self._say(advice.of_training(low, layers, rows))

    def _say(self, found: Iterable[advice.Advice]) -> None:
        for about, words in found:
            if about not in self._said:
                self._said.add(about)
                warn(words, MismatchWarning)

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

    def refuse_sums(self, what: str) -> None:
        """Raise for what takes the mean of the losses over the batch, if one is a sum."""
        for loss in self.losses:
            if isinstance(loss, CoreLoss) and loss.reduction == "sum":
                raise ValueError(
                    f"{what} takes the mean of the losses over the batch, got {loss!r}; compile "
                    "with reduction='mean'"
                )

    # ---- for the core -------------------------------------------------------------------------
    def core_losses(self, dtype: str) -> list[dict[str, Any]]:
        """One dict per output."""
        return [
            loss.spec()
            if isinstance(loss, CoreLoss)
            else {"kind": "python", "call": PythonLoss(loss, dtype)}
            for loss in self.losses
        ]

    def read(
        self,
        signature: Signature,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        mask: Any = None,
        names: Names = ("x", "y"),
        part: bool = False,
    ) -> Dataset:
        """Data for a model of this signature, checked for these losses and metrics.

        `part`: they are a batch of larger data, of which no row may count.
        """
        check = self.measures.refuse_labels
        data = signature.read(
            x, y, sample_weight, self.losses, names=names, check_labels=check, mask=mask
        )
        for k, weights in enumerate(data.ws):
            if weights is not None:
                self.measures.refuse_weights(k, weights.ndim)
        if not part:
            self._refuse_one_row(data.n)
            arrays.some_weight("sample_weight", data.ws)
        return data

    def refuse_weights(self, ws: list[Array | None]) -> None:
        """Raise for weights of samples, or of classes, that a rule cannot follow."""
        if self.credit is not None and not self.credit.weighs and any(w is not None for w in ws):
            raise ValueError(
                f"{self.credit.label} takes all samples of a batch alike, got weights of samples "
                "or classes; leave them out, or train by credit='backprop'"
            )

    def _refuse_one_row(self, rows: int) -> None:
        if rows != 1:
            return
        together = [
            f"the loss {loss.name!r}"
            for loss in self.losses
            if isinstance(loss, CoreLoss) and loss.together
        ]
        if self.credit is not None and self.credit.together:
            together.append(self.credit.label)
        if together:
            raise ValueError(
                f"{together[0]} compares the rows of a batch with each other, got batches of 1 "
                "row; give more rows, and batches of 16 or more"
            )

    def core_groups(self, parameters: list[str], rates: list[float]) -> dict[str, Any]:
        """Rate factor and decay of each group, and each parameter's group; {} if there are none.

        `rates`: by parameter, a factor that is not the groups' own.
        """
        decay = float(vars(self.optimizer).get("weight_decay", 0.0))
        return self.groups.core(parameters, decay, rates)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs; TypeError if something is a Python object."""
        return {
            "optimizer": {
                "class_name": type(self.optimizer).__name__,
                "config": self.optimizer.get_config(),
            },
            "loss": arguments.plain(named(self.loss), "loss"),
            **self.measures.get_config(),
            "loss_weights": arguments.plain(self.loss_weights, "loss_weights"),
            "gradient_clip_norm": self.clip_norm or None,
            "gradient_clip_value": self.clip_value or None,
            "accumulate_steps": self.accumulate_steps,
            "parameter_groups": self.groups.get_config(),
            **({"credit": arguments.plain(self.credit, "credit")} if self.credit else {}),
        }


def _per_output(what: str, value: Any, names: list[str]) -> list[Any]:
    """One value for all outputs, or a list or dict of one each."""
    if isinstance(value, Mapping) and not is_config(value):
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
