"""The measurements of a diagnosis: passes over the sample, and trial steps, on a copy of the model.

The copy may be trained, and may diverge; the user's model is not touched.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _core
from ..base.memory import Array
from ..data.dataset import Dataset, subset
from ..inspection.parts import Parts
from ..inspection.trace import calls_of
from .report import LayerReport

# |z| from which a slope f' is below 5 % of its largest; "low": only on the negative side.
_SATURATED = {"sigmoid": 4.36, "hard_sigmoid": 3.0, "tanh": 2.18, "softsign": 3.47}
_SATURATED_LOW = {"elu": 3.0, "selu": 3.0, "celu": 3.0}  # f' = exp(z)
# Activations with a side where output and slope are 0, or decay to it.
_MORTAL = {"relu", "relu6", "gelu", "gelu_tanh", "silu", "mish", "softplus", "exponential"}
_DEAD = 1e-4  # an output this small, and such a share of the layer's largest delta, counts as none
_VALUES = 2**23  # of a block's activations: 64 MB in float64
TRIAL_STEPS = 20  # enough for a rate 100 times too large to show, few enough to wait for
TRIAL_ROWS = 1024
CONSTANT = 0.01  # a standard deviation over rows, as a share of an output's size or of 1


class Tally:
    """Running sums of one call of a layer."""

    def __init__(self, report: LayerReport) -> None:
        self.report = report
        self.count = 0
        self.total = self.squares = 0.0
        self.saturated = 0
        self.largest: Array = np.zeros(report.units)
        self.largest_delta: Array = np.zeros(report.units)
        self.row_norms: list[Array] = []

    def add(self, z: Array, a: Array, delta: Array | None) -> None:
        """A block of rows; delta is that of the mean loss of the whole sample."""
        a64 = a.astype(np.float64)
        self.count += a64.size
        self.total += float(a64.sum())
        self.squares += float(np.square(a64).sum())
        by_unit = np.abs(a64).reshape(-1, self.report.units)
        np.maximum(self.largest, by_unit.max(axis=0), out=self.largest)
        f = self.report.activation
        if f in _SATURATED:
            self.saturated += int((np.abs(z) > _SATURATED[f]).sum())
        elif f in _SATURATED_LOW:
            self.saturated += int((z < -_SATURATED_LOW[f]).sum())
        if delta is None:
            return
        d = np.abs(delta.astype(np.float64))
        self.row_norms.append(np.sqrt(np.square(d).reshape(len(d), -1).sum(axis=1)))
        if delta.shape == a.shape:
            by_unit = d.reshape(-1, self.report.units).max(axis=0)
            np.maximum(self.largest_delta, by_unit, out=self.largest_delta)

    def finish(self) -> Array | None:
        """Write the report's numbers; the norms of delta by row."""
        report = self.report
        report.activation_mean = self.total / self.count
        mean_square = self.squares / self.count
        report.activation_variance = max(mean_square - report.activation_mean**2, 0.0)
        if report.activation in _SATURATED or report.activation in _SATURATED_LOW:
            report.saturated = self.saturated / self.count
        if report.activation in _MORTAL:
            still = self.largest <= _DEAD
            quiet = self.largest_delta <= _DEAD * self.largest_delta.max(initial=0.0)
            report.dead = float((still & quiet).mean())
        if not self.row_norms:
            return None
        norms: Array = np.concatenate(self.row_norms)
        report.delta_norm = float(np.sqrt(np.square(norms).sum()))
        return norms


class Measurement:
    """Passes over a sample with a copy of the model.

    Attributes
    ----------
    layers : list of LayerReport
    loss : float
        Mean over the sample.
    flaw : dict or None
        Where the first value was not finite: ``layer``, ``tensor``, ``row`` of the sample.
    """

    def __init__(
        self, twin: Parts, item: Dataset, batch_size: int | None, *, brief: bool = False
    ) -> None:
        self.twin, self.item = twin, item
        self.engine, self.compilation = twin.engine.of(item), twin.compilation
        self.loss = math.nan
        self.flaw: dict[str, Any] | None = None
        self.gradients: dict[str, Array] = {}
        self.layers: list[LayerReport] = []
        self._ends: set[str] = set()
        order = np.random.default_rng(0).permutation(item.n)[: max(TRIAL_ROWS, batch_size or 0)]
        self._order = order
        self.batch = len(order) if batch_size is None else min(batch_size, len(order))
        with np.errstate(all="ignore"):
            self._pass()
            if brief:  # the loss alone is wanted
                return
            self._weights()
            if self.flaw is None:
                self._next_step()

    def hidden(self) -> list[LayerReport]:
        """The layers without outputs whose sigmoid is one step with its loss: delta = p - t."""
        fused = {"binary_cross_entropy", "cross_entropy"}
        if not any(getattr(loss, "kind", "") in fused for loss in self.compilation.losses):
            return self.layers
        return [layer for layer in self.layers if layer.layer not in self._ends]

    # ---- one pass over the sample -------------------------------------------------------------
    def _pass(self) -> None:
        tallies = self._tallies()
        n = self.item.n
        trainer = self.engine.trainer("trace", self.compilation)
        sizes = sum(math.prod(shape) for shape in self.engine.low.shapes)
        block = max(1, min(1024, _VALUES // max(sizes, 1)))
        self.loss = 0.0
        for start in range(0, n, block):
            part = subset(self.item, slice(start, min(start + block, n)))
            share = part.n / n
            try:
                loss, grads, _ = trainer.gradients(part.xs, part.ys, part.told, wrt_inputs=True)
            except _core.Diverged as error:
                if self.flaw is None:
                    info = dict(error.args[1])
                    row = int(info["row"])
                    self.flaw = {**info, "row": row if row < 0 else start + row}
                self.loss = math.nan
            else:
                self.loss += float(loss) * share
                self._add_gradients(grads, share)
            for tally, place in tallies:
                try:
                    delta = trainer.delta(place.z) * share
                except ValueError:  # made of constants: no gradient flows there
                    delta = None
                tally.add(trainer.value(place.z), trainer.value(place.a), delta)
        self._ratios([(tally.report, tally.finish()) for tally, _ in tallies])

    def _tallies(self) -> list[tuple[Tally, Any]]:
        result = []
        for name, node, place in calls_of(self.engine):
            f = self.engine.low.activation(place.a) or "linear"
            shape = node.output.shape
            report = LayerReport(name, type(node.layer).__name__, f, shape[-1] if shape else 1)
            self.layers.append(report)
            if any(t is node.output for t in self.engine.output_tensors):
                self._ends.add(name)
            result.append((Tally(report), place))
        return result

    def _add_gradients(self, grads: list[Array | None], share: float) -> None:
        for p, g in zip(self.engine.params, grads, strict=True):
            if g is not None:
                part = g.astype(np.float64) * share
                self.gradients[p.name] = self.gradients.get(p.name, 0.0) + part

    @staticmethod
    def _ratios(pairs: list[tuple[LayerReport, Array | None]]) -> None:
        last = next((norms for _, norms in reversed(pairs) if norms is not None), None)
        if last is None:
            return
        counts = last > 0  # rows that the loss has no use for (weight 0, hinge) say nothing
        for report, norms in pairs:
            if norms is not None and counts.any():
                report.delta_ratio = float(np.median(norms[counts] / last[counts]))

    def before_ends(self, xs: list[Array], like: Dataset) -> list[Array]:
        """What the last activations get for the rows of `xs`; targets are those of `like`."""
        trainer = self.engine.trainer("trace", self.compilation)
        trainer.gradients(xs, like.ys, like.told, wrt_inputs=False)
        return [
            trainer.value(place.z).astype(np.float64)
            for name, _, place in calls_of(self.engine)
            if name in self._ends
        ]

    def has_zero_kernel(self) -> bool:
        """Whether some kernel is all 0, as that of a last layer or a residual branch may begin."""
        return any(p.value.ndim >= 2 and not p.value.any() for p in self.engine.params)

    def outputs_are_constant(self) -> bool:
        """Whether what the last activations get hardly differs from row to row."""
        part = subset(self.item, slice(0, TRIAL_ROWS))
        values = self.before_ends(part.xs, part)
        return all(float(v.std(axis=0).max()) <= CONSTANT * max(1.0, float(np.abs(v).max()))
                   for v in values)  # fmt: skip

    # ---- weights and the optimizer's step -----------------------------------------------------
    def _by_layer(self, arrays: dict[str, Array]) -> dict[str, list[tuple[Array, Array | None]]]:
        return {
            layer.name: [(p.value.astype(np.float64), arrays.get(p.name)) for p in layer.weights]
            for layer in self.engine.layers
        }

    def _weights(self) -> None:
        by_layer = self._by_layer(self.gradients)
        for report in self.layers:
            pairs = by_layer.get(report.layer.partition(":")[0], [])
            kernels = [w for w, _ in pairs if w.ndim >= 2 and w.size]
            if kernels:
                report.weight_norm = _norm(kernels)
                report.weight_gain = max(
                    math.sqrt(float(np.mean(np.square(w))) * (w.size // w.shape[-1]))
                    for w in kernels
                )
            found = [g for _, g in pairs if g is not None]
            if found:
                report.gradient_norm = _norm(found)

    def _next_step(self) -> None:
        before = {p.name: p.value.astype(np.float64) for p in self.engine.params}
        held = self._hold()
        try:
            self._steps(1, 1.0)
            after = {p.name: p.value.astype(np.float64) for p in self.engine.params}
        finally:
            self._restore(held)
        moved = {name: after[name] - value for name, value in before.items()}
        for report in self.layers:
            layer = report.layer.partition(":")[0]
            names = [
                p.name for p in self.engine.params
                if p.name.rpartition("/")[0] == layer and p.value.ndim >= 2 and p.trainable
            ]  # fmt: skip
            if names and report.weight_norm > 0:
                report.update_ratio = _norm([moved[name] for name in names]) / report.weight_norm

    def _hold(self) -> tuple[int, list[tuple[Array, Array]]]:
        optimizer = self.compilation.optimizer
        arrays = [p.value for p in self.engine.params]
        self.engine.trainer("train", self.compilation)  # makes the slots
        arrays += [slot for slots in optimizer._slots.values() for slot in slots]
        return optimizer.iterations, [(array, array.copy()) for array in arrays]

    def _restore(self, held: tuple[int, list[tuple[Array, Array]]]) -> None:
        self.compilation.optimizer.iterations, arrays = held
        for array, copy in arrays:
            array[...] = copy

    def _steps(
        self, count: int, factor: float, rate: float | None = None, batch: int = 0
    ) -> list[float]:
        """Losses of batches before each of `count` updates; stops after inf: a divergence."""
        trainer = self.engine.trainer("train", self.compilation)
        optimizer = self.compilation.optimizer
        rates = optimizer.rates(optimizer.iterations, count)
        losses: list[float] = []
        for k in range(count):
            size = batch or self.batch
            rows = np.take(self._order, range(k * size, (k + 1) * size), mode="wrap")
            part = subset(self.item, rows)
            eta = factor * float(rates[min(k, len(rates) - 1)] if rate is None else rate)
            try:
                loss = trainer.train_step(part.xs, part.ys, part.told, eta, update=True, reset=True)
            except _core.Diverged:
                return [*losses, math.inf]
            losses.append(float(loss))
        return losses

    def trial(self, factor: float, rate: float | None = None) -> list[float]:
        """Losses of `TRIAL_STEPS` updates at `factor` times the rate, then undone; inf if lost."""
        held = self._hold()
        try:
            with np.errstate(all="ignore"):
                return self._steps(TRIAL_STEPS + 1, factor, rate)
        finally:
            self._restore(held)

    def pace(self, rate: float) -> float:
        """How far a step with all rows lowers the loss, to first order: -<gradient, step>."""
        before = {p.name: p.value.astype(np.float64) for p in self.engine.params}
        held = self._hold()
        try:
            self._steps(1, 1.0, rate, len(self._order))
            return -sum(
                float((self.gradients[p.name] * (p.value - before[p.name])).sum())
                for p in self.engine.params
                if p.name in self.gradients
            )
        finally:
            self._restore(held)

    def peak_rate(self) -> float:
        """The largest rate of the coming updates: a schedule may still be warming up."""
        optimizer = self.compilation.optimizer
        return float(optimizer.rates(optimizer.iterations, 4096).max())


def _norm(arrays: list[Array]) -> float:
    return math.sqrt(sum(float(np.square(a).sum()) for a in arrays))
