"""Why does it not learn? `Model.diagnose`, its result, and the callback that records it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from ..base import checks
from ..data.dataset import Dataset
from ..inspection.parts import Parts
from . import rules, sample
from .measure import Measurement
from .probe import probe
from .report import KINDS, Diagnosis, Finding, LayerReport

_CAUSES = {"unscaled_input", "exploding_gradients", "unscaled_target"}


def diagnose(
    twin: Parts,
    x: Any,
    y: Any,
    sample_weight: Any,
    batch_size: Any,
    validation: tuple[Any, Any, Any, Any] | None = None,
) -> Diagnosis:
    """See `Model.diagnose`; `twin` is a copy of the model."""
    if batch_size is not None:
        batch_size = checks.integer("batch_size", batch_size)
    item, findings = sample.prepare(twin, x, y, sample_weight)
    if item is None:
        return Diagnosis(findings, [])
    held = math.nan
    if validation is not None:
        rest, of_rest = sample.prepare(twin, *validation, prefix="validation ")
        findings = [*findings, *of_rest]
        held = math.nan if rest is None else Measurement(twin, rest, None, brief=True).loss
    return examine(twin, item, batch_size, findings, held)


def examine(
    twin: Parts,
    item: Dataset,
    batch_size: int | None,
    findings: list[Finding],
    held: float = math.nan,
) -> Diagnosis:
    """The diagnosis of a model that may be changed, on rows that are finite.

    `held` is the loss of a validation, nan without one.
    """
    inputs, of_inputs = sample.inputs(twin, item)
    targets, of_targets, guess = sample.targets(twin, item)
    measured = Measurement(twin, item, batch_size)
    if measured.loss < rules.LEARNED * guess:  # it has coped with the scale of its data
        of_targets = [f for f in of_targets if f.kind != "unscaled_target"]
    findings = [*findings, *of_inputs, *of_targets, *rules.find(measured, guess)]
    findings += rules.overfitting(measured.loss, held, guess)
    if not any(f.severity == "critical" for f in findings):
        found = probe(measured, lambda part: sample.targets(twin, part)[2])
        findings += rules.of_probe(measured, guess, found)
    if not findings:
        findings = rules.above_guess(measured, guess)
    return Diagnosis(
        _with_causes(findings),
        measured.layers,
        inputs=inputs,
        targets=targets,
        loss=measured.loss,
        guess_loss=guess,
        rows=item.n,
    )


def _with_causes(findings: list[Finding]) -> list[Finding]:
    """What may be harmless is critical where it explains something critical."""
    last = max((KINDS.index(f.kind) for f in findings if f.severity == "critical"), default=-1)
    return [
        dataclasses.replace(f, severity="critical")
        if f.kind in _CAUSES and KINDS.index(f.kind) < last
        else f
        for f in findings
    ]


__all__ = ["Diagnosis", "Finding", "LayerReport", "diagnose", "examine"]
