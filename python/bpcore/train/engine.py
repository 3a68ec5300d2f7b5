"""A built model's compiled graph, and the core's trainers that run on it."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import _core, constraints, credit, graph, regularizers
from ..base.counters import Counters
from ..base.memory import Array
from ..credit.wiring import Filling
from ..data.dataset import Dataset, Form
from ..data.free_targets import is_free
from ..data.inputs import Inputs
from ..data.sequences import Steps
from ..data.signature import Ends, Signature
from ..graph.parameter import Edition, Parameter
from .compilation import Compilation

# The length for which a model of open length is lowered before it has seen any, and how many
# lengths' plans it keeps.
_NOMINAL, _KEPT = 64, 24


class Trained(NamedTuple):
    """A network as it is trained: the model's own, or what a rule of `bpcore.credit` made of it.

    Attributes
    ----------
    net : _core.Network
    params : list of Parameter
        In the core's order.
    rates : dict of Parameter to float
        Of weights of the rule: by what the learning rate is multiplied.
    more : dict
        For the core's trainer.
    given : list of credit.wiring.Filling
        Its inputs that windows fill.
    """

    net: Any
    params: list[Parameter]
    rates: dict[Parameter, float]
    more: dict[str, Any]
    given: list[Filling]


class Engine:
    """The lowered graph of a built model; made anew when layers are frozen or thawed.

    Where inputs leave their length open there is one for each length (`of`), with the same weights.
    """

    def __init__(
        self,
        nodes: list[graph.Node],
        inputs: list[graph.Tensor],
        outputs: list[graph.Tensor],
        dtype: str,
        compute: str,
        counters: Counters,
        form: Form | None = None,
        signature: Signature | None = None,
        *,
        traced: bool = False,
    ) -> None:
        """`traced`: recurrent layers keep what a look at their gradients needs."""
        self.dtype, self.compute = dtype, compute
        self.nodes, self.input_tensors, self.output_tensors = nodes, inputs, outputs
        lengths = tuple(_NOMINAL if graph.is_open(t.shape) else 0 for t in inputs)
        self.form = form or Form(lengths, frozenset())
        self.low, self.places = graph.lower(
            nodes, inputs, dtype, compute, *self.form, traced=traced
        )
        values = [self.places[id(t.node)].a for t in outputs]
        self.outputs: list[int] = self._own_nodes(self.low, values)
        self.signature = signature or Signature(
            Ends([t.name for t in inputs], [t.shape for t in inputs]),
            Ends(unique([t.name for t in outputs]), [t.shape for t in outputs]),
            dtype,
            lambda: (p.value for p in self.params),
            self._steps,
            self.low.ids,
        )
        if signature is None:
            for node in nodes:
                for k in (k for k, t in enumerate(inputs) if any(t is u for u in node.inputs)):
                    self.signature.inputs.adapted[k].append(node.layer)
        self.forms: dict[Form, Engine] = {}
        self.params: list[Parameter] = self.low.params
        self.incomplete = [k for k, p in enumerate(self.params) if p.present is not None]
        self.edition = Edition.number
        self.flags = self.low.flags()
        # the edition, parameters, and those of them that have a penalty or a constraint
        self._obliged: tuple[int, list[Parameter], list[Parameter]] = (-1, [], [])
        self.net = self.low.network(self.outputs)
        if form is None:  # that of the model; its own network, not the engine: no circle
            counters.carried.told = self.net.carried
        # Layers in Python keep what backward needs in themselves: one pass at a time.
        self.has_python = bool(self.low.python_nodes)
        self.by_chance = False  # whether nobody gave the model's seed
        self.counters, self.draws = counters, counters.core  # training batches so far
        # Each with what it was made for, and the edition (of weights, layers and the optimizer) in
        # which nothing of that can have changed.
        self.trainers: dict[str, tuple[Any, Any, int]] = {}
        self.stateful = any(node.layer.stateful for node in nodes)
        self._trained: tuple[Any, Trained | None] = (None, None)  # and by which rule
        self._passes: Any = None
        self._outdated = False  # whether `trainable` has changed since the last forward pass
        # Of the last forward pass that was kept: its inputs, without arrays, and the engine of
        # their form, None where it is this one.
        self.passing: Inputs | None = None
        self._passing_by: Engine | None = None
        self.tapped: Any = None  # a network whose outputs are those of all layers
        self._kept: list[Any] = []  # by layer in Python: what it keeps for `backward`

    def _own_nodes(self, low: graph.Lowering, values: list[int]) -> list[int]:
        """The outputs' values; the core wants a node of its own for each."""
        found: list[int] = []
        for i, t in zip(values, self.output_tensors, strict=True):
            if low.holds_ids(i):
                raise ValueError(
                    f"output {t.name!r} takes numbers, and its input holds ids, which go to an "
                    "Embedding alone; give the model a second input with the same data"
                )
            if i < len(self.input_tensors) or i in found:
                source, shape = i, low.shapes[i]
                i = low.add("reshape", (source,), shape, t.name, shape=shape)
                low.say(i, graph.View())
                low.set_masks(i, low.masks_of(source))
            found.append(i)
        return found

    def _steps(self, form: Form) -> Steps:
        """What the network of this form asks of data: shapes of its outputs, and masks."""
        low = self.formed(form).low
        outputs = self.formed(form).outputs
        return Steps(
            [low.shapes[i] for i in outputs],
            list(low.mask_inputs),
            [low.masks_of(i) for i in outputs],
            low.in_front,
            [graph.is_open(t.shape) for t in self.output_tensors],
        )

    def of(self, item: Dataset) -> Engine:
        """The engine for the lengths of these data, and for masks as they have them."""
        return self.formed(item.form)

    def formed(self, form: Form | None) -> Engine:
        """The engine for data of this form."""
        if form is None or form == self.form:
            return self
        found = self.forms.pop(form, None)
        if found is None:
            found = self._other(form)
            found.by_chance = self.by_chance
        self.forms[form] = found  # the last one used is the last one
        while len(self.forms) > _KEPT:
            del self.forms[next(iter(self.forms))]
        found.refresh()
        return found

    def traced(self, form: Form | None) -> Engine:
        """Another engine of the same weights, to look into recurrent layers."""
        return self._other(form, traced=True)

    def _other(self, form: Form | None, traced: bool = False) -> Engine:
        ends = self.input_tensors, self.output_tensors
        own = self.nodes, *ends, self.dtype, self.compute, self.counters
        return Engine(*own, form, self.signature, traced=traced)

    def ends(self) -> list[graph.End]:
        """The outputs, as losses and metrics ask for them."""
        names = self.signature.outputs.names
        return [self.low.end(*pair) for pair in zip(names, self.outputs, strict=True)]

    @property
    def layers(self) -> list[graph.tensor.Layer]:
        """Those of the graph, each once."""
        return graph.unique_layers(self.nodes)

    @property
    def param_names(self) -> list[str]:
        """Names of the parameters, in the core's order."""
        return [p.name for p in self.params]

    def refresh(self) -> None:
        """Take up changes of `trainable`; cheap when there are none."""
        edition = Edition.number
        if edition == self.edition:
            return
        flags = self.low.flags()
        if flags != self.flags:
            self.net = self.low.network(self.outputs)
            self.trainers.clear()
            self._outdated = self._passes is not None
            self._passes = self.tapped = None
            self._trained = None, None
            self.flags = flags
        self.edition = edition  # last: if Ctrl-C comes before, all is done again

    def _obliged_of(self, params: list[Parameter]) -> list[Parameter]:
        """Those that have a penalty or a constraint."""
        edition, of, found = self._obliged
        if edition != Edition.number or of is not params:
            edition = Edition.number
            found = [p for p in params if p.regularizer is not None or p.constraint is not None]
            self._obliged = edition, params, found
        return found

    def _losses(self, compilation: Compilation) -> list[dict[str, Any]]:
        """What the core is told of the losses; those of outputs with steps are of each step."""
        told = []
        losses = zip(compilation.losses, compilation.core_losses(self.dtype), strict=True)
        ends = zip(losses, self.outputs, self.output_tensors, strict=True)
        for (loss, spec), i, t in ends:
            in_steps = graph.is_open(t.shape) or self.low.masks_of(i)
            if in_steps and not is_free(loss):
                spec = {**spec, "steps": self.low.shapes[i][0]}
            told.append(spec)
        return told

    def trained(self, rule: credit.Rule | None) -> Trained:
        """The network as the rule trains it; an error if it cannot."""
        if rule is None:
            return Trained(self.net, self.params, {}, {}, [])
        by, found = self._trained
        if found is None or by != (rule, rule.depends):
            low = graph.Lowering(self.dtype, self.compute, self.form[1])
            ends = self.input_tensors, self.output_tensors
            net = credit.Wiring(rule, self.nodes, ends, low, self.form[0])
            rule.wire(net)
            rule.keep(net.names)
            outputs = self._own_nodes(low, net.outputs)
            made = low.network(outputs)
            net.check_carried(made.carried())
            found = Trained(made, low.params, net.rates, net.told(), net.given)
            self._trained = (rule, rule.depends), found
        return found

    # ---- the parts of a step ------------------------------------------------------------------
    @property
    def passes(self) -> Any:
        """The core's passes forward and backward, made on first use."""
        if self._passes is None or self._passes.deserted:
            kind = _core.PassesFloat32 if self.dtype == "float32" else _core.PassesFloat64
            self._passes = kind(self.net, self.draws)
        return self._passes

    def keep(self, passing: Inputs) -> Engine:
        """The engine for a forward pass of these inputs, which is to be kept."""
        own = self.formed(passing.form)
        self.passing, self._passing_by = passing, None if own is self else own
        return own

    def kept(self) -> Engine:
        """The engine of the forward pass that is kept, whatever others were used since."""
        own = self._passing_by or self
        own.refresh()
        return own

    @property
    def obstacle(self) -> str:
        """Why `backward` may not come, or ""."""
        return "trainable" if self._outdated else str(self.passes.obstacle)

    def forward(self, xs: list[Array], training: bool, settled: bool = True) -> list[Array]:
        """A pass that is kept: the outputs. One in training that is not settled moves nothing
        (statistics, draws, carried states) until `passes.settle()`."""
        ys: list[Array] = self.passes.forward(xs, training, settled)
        self._outdated = False
        if self.has_python:
            self._kept = [node.kept() for node in self.low.python_nodes]
        return ys

    def backward(self, dys: list[Array], parameters: bool, inputs: bool) -> list[Array]:
        """Back through the pass that was kept: the inputs' gradients, if they are wanted."""
        if self.has_python:
            for node, state in zip(self.low.python_nodes, self._kept, strict=True):
                node.restore(state)
        grads = [p.grad for p in self.params] if parameters else None
        dxs: list[Array] | None = self.passes.backward(dys, grads, inputs)
        return dxs or []

    def drop_trainers(self) -> None:
        """Trainers hold arrays that are no longer the optimizer's: all are made anew."""
        self.counters.carried.fetch()
        self.trainers.clear()
        self.forms.clear()

    # ---- trainers -----------------------------------------------------------------------------
    def trainer(self, purpose: str, compilation: Compilation) -> Any:
        """The trainer for "train", "windows" (which carry states), "stretches" (which keep what
        backward needs as well), "eval", "gradients", "passes" (which carry states), "credit" (the
        gradients of a rule), "trace" or "apply", made on first use."""
        found, made_for, known = self.trainers.get(purpose, (None, (None,), -1))
        optimizer = compilation.optimizer
        # Both only grow. Read before what they stand for, which another thread may change.
        edition = Edition.number + optimizer._assigned
        if known == edition and made_for[0] is compilation and not found.deserted:
            return found
        by_rule = purpose in ("train", "windows", "stretches", "credit")
        trained = self.trained(compilation.credit if by_rule else None)
        if trained.given and purpose != "windows":
            raise ValueError(
                f"{compilation.credit!r} of a recurrent model learns what comes from the windows "
                "behind a window, got sequences as a whole; train by fit(bptt=k), or by "
                "credit='backprop'"
            )
        net, params = trained.net, trained.params
        alone = purpose == "apply"
        updates = purpose in ("train", "windows", "stretches", "apply")
        spec = {**optimizer.spec(), "began": optimizer._began} if updates else None
        obliged = self._obliged_of(params)
        duties = [(p, regularizers.spec(p)[0], constraints.spec(p)[0]) for p in obliged]
        kfac = optimizer.preconditioner() if updates else {}
        key = (compilation, spec, kfac, duties)
        told = compilation.credit is None and not kfac and not duties  # all that matters is
        if not told or not (spec is None or optimizer._settled):
            edition = -1
        if found is not None and made_for == key and not found.deserted:
            self.trainers[purpose] = found, key, edition
            return found
        active: list[list[Array]] = [[] for _ in self.params]
        if spec:
            active = compilation.optimizer.slots(params, [p.trainable for p in params])
        metrics = (
            compilation.measures.specs
            if purpose in ("train", "windows", "stretches", "eval")
            else [[] for _ in self.outputs]
        )
        ends: tuple[list[Any], list[float], list[Any]] = [], [], []  # of an update alone
        if not alone:
            ends = self._losses(compilation), compilation.weights, metrics
        parameters: dict[str, Any] = dict(trained.more)
        if purpose in ("windows", "stretches", "passes"):
            parameters["carries"] = "windows"
            parameters["in_stretches"] = purpose == "stretches"
        elif purpose == "train" and self.stateful:
            parameters["carries"] = "stateful"
        if any(penalty is not None for _, penalty, _ in duties):
            parameters["penalties"] = [regularizers.spec(p)[1]() for p in params]
        if spec and any(bound is not None for *_, bound in duties):
            parameters["constraints"] = [constraints.spec(p)[1]() for p in params]
        if kfac:
            parameters["kfac"] = kfac
        options: dict[str, Any] = {}
        if spec is not None:
            names, rates = [p.name for p in params], [trained.rates.get(p, 1.0) for p in params]
            parameters.update(compilation.core_groups(names, rates))
            options = {
                "clip_norm": compilation.clip_norm,
                "clip_value": compilation.clip_value,
                "accumulate_steps": 1 if alone else compilation.accumulate_steps,
                "steps": compilation.optimizer._iterations,
            }
        made = _core.Trainer(
            net,
            *ends,
            spec,
            active,
            fuse=purpose != "trace",
            parameters=parameters,
            draws=self.draws,
            **options,
        )
        if spec is not None:
            for p in params:
                if getattr(p._owner, "trainable", True):  # moving statistics as well
                    p.note_trained(self.by_chance)
        self.trainers[purpose] = made, key, edition
        return made


def unique(names: list[str]) -> list[str]:
    """Names, those that were there before with a number: of a layer that makes two outputs, say."""
    result: list[str] = []
    for name in names:
        k, candidate = 1, name
        while candidate in result:
            candidate = f"{name}_{k}"
            k += 1
        result.append(candidate)
    return result
