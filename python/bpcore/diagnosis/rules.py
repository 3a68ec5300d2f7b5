"""From measurements to findings. Every threshold has a name and says what set it.

"Measured" below: on the healthy variants and the graded faults of tests/test_diagnosis.py.
"""

from __future__ import annotations

import math
from typing import Any

from .measure import TRIAL_STEPS, Measurement
from .report import Finding, LayerReport

# Kernels: rms times root of fan-in. 1 to 1.4 by Glorot's and He's rules; trained nets reach 3;
# standard normal weights reach root of fan-in, which saturation names.
PARALYSIS_GAIN = 15.0
# delta of the median row, first layer over last. A healthy net of 10 layers keeps it within a
# factor of 10 (measured); a sigmoid multiplies by at most 1/4 a layer, so three hidden ones may
# fall to 1/64 and still train.
VANISHING = 3e-3
VANISHING_CRITICAL = 1e-5
EXPLODING = 100.0
EXPLODING_CRITICAL = 1e4
# Fraction of values past 95 % of the slope's fall. Gaussian z of variance 1: 3 % for tanh.
SATURATION = 0.2
SATURATION_CRITICAL = 0.7
# He's initializer leaves up to a tenth of the units dead on small samples (measured).
DEAD = 0.4
DEAD_CRITICAL = 0.9
DEAD_ROWS = 32  # on fewer rows a healthy unit may rest by chance
# A model whose loss is below this share of a constant guess's is learning: its saturated and dead
# units are what it has learned.
LEARNED = 0.5
RISE = 1.5  # loss of the trial steps' second half over that at the start, or of a constant guess
GAIN = 0.98  # what a smaller or larger rate must reach, as a share of the loss at the start
SLOW_STEPS = 1e4  # to lower the loss by a tenth at the pace of the trial
ABOVE_GUESS = 10.0  # He's initializer at the output gives up to 3 (measured)


def find(m: Measurement, guess: float) -> list[Finding]:
    """All findings on weights, signals and steps."""
    findings = [*_overflow(m), *_paralysis(m, guess), *_through_depth(m)]
    if not m.loss < LEARNED * guess:
        findings += [*_saturation(m), *_dead(m)]
    if m.flaw is None:
        findings += _rate(m, guess)
    if not findings and m.loss > ABOVE_GUESS * guess > 0:
        findings.append(_above_guess(m, guess))
    return findings


def _overflow(m: Measurement) -> list[Finding]:
    if m.flaw is None:
        return []
    layer, tensor, row = str(m.flaw["layer"]), m.flaw["tensor"], m.flaw["row"]
    where = f" in row {row}" if row >= 0 else ""
    message = f"the {tensor} of {layer!r} is NaN or Inf{where}, and no value before it."
    if tensor == "weight":
        remedy = "Load or make the weights anew; a NaN in a weight never goes away."
        return [Finding("non_finite", "critical", message, remedy, layer)]
    remedy = "Make the weights and inputs of the layers before it smaller, or use dtype='float64'."
    return [Finding("overflow", "critical", message, remedy, layer)]


def _worst(layers: list[LayerReport], name: str) -> LayerReport | None:
    """The layer where a number is largest; None if it is nowhere known."""
    known = [layer for layer in layers if not math.isnan(getattr(layer, name))]
    return max(known, key=lambda layer: float(getattr(layer, name)), default=None)


def _paralysis(m: Measurement, guess: float) -> list[Finding]:
    worst = _worst(m.layers, "weight_gain")
    if worst is None or worst.weight_gain < PARALYSIS_GAIN:
        return []
    shut = [x.saturated for x in m.layers if not math.isnan(x.saturated)]
    saturated = max(shut, default=0.0)
    if saturated < SATURATION and m.loss < ABOVE_GUESS * guess:
        return []
    loss = f"the loss is {m.loss:.4g}" + (f", a constant guess gets {guess:.4g}"
                                          if not math.isnan(guess) else "")  # fmt: skip
    message = (
        f"weights are too large: rms times root of fan-in is {worst.weight_gain:.3g}, expected "
        f"about 1; {f'{saturated:.0%} of a layer is saturated, ' if shut else ''}{loss}."
    )
    remedy = (
        "Initialize with 'glorot_uniform' (tanh, sigmoid) or 'he_normal' (relu); against growth "
        "in training use a smaller learning rate, weight decay or max_norm."
    )
    return [Finding("paralysis", "critical", message, remedy, worst.layer)]


def _through_depth(m: Measurement) -> list[Finding]:
    known = [x for x in m.layers if math.isfinite(x.delta_ratio)]
    if len(known) < 2:
        return []
    small = min(known, key=lambda x: x.delta_ratio)
    large = max(known, key=lambda x: x.delta_ratio)
    factor = f"over {len(known)} layers"
    if large.delta_ratio > EXPLODING:
        severity = "critical" if large.delta_ratio > EXPLODING_CRITICAL else "warning"
        message = (
            f"delta grows to {large.delta_ratio:.3g} times its size at the output on its way back "
            f"{factor} to {large.layer!r}."
        )
        remedy = (
            "Initialize with gain 1 ('glorot_uniform', 'he_normal', 'orthogonal'), normalize "
            "between layers, add skip connections, or set gradient_clip_norm in compile."
        )
        return [Finding("exploding_gradients", severity, message, remedy, large.layer)]
    saturated = max((x.saturated for x in m.layers if x.saturated == x.saturated), default=0.0)
    if small.delta_ratio < VANISHING:
        severity = "critical" if small.delta_ratio < VANISHING_CRITICAL else "warning"
        slopes = f"; up to {saturated:.0%} of a layer is saturated" if saturated > SATURATION else ""
        message = (
            f"delta shrinks to {small.delta_ratio:.3g} of its size at the output on its way back "
            f"{factor} to {small.layer!r}{slopes}."
        )
        remedy = (
            "Use relu or tanh with 'he_normal' or 'glorot_uniform' instead of sigmoid, normalize "
            "between layers, add skip connections, or use fewer layers."
        )
        return [Finding("vanishing_gradients", severity, message, remedy, small.layer)]
    return []


def _saturation(m: Measurement) -> list[Finding]:
    worst = _worst(m.layers, "saturated")
    if worst is None or worst.saturated < SATURATION:
        return []
    severity = "critical" if worst.saturated >= SATURATION_CRITICAL else "warning"
    gain = "" if math.isnan(worst.weight_gain) else f" (weights' rms times root of fan-in is {worst.weight_gain:.3g})"
    message = (
        f"{worst.saturated:.0%} of the values of {worst.activation} are where its slope is below "
        f"5 % of the largest{gain}."
    )
    remedy = (
        "Make the weights smaller ('glorot_uniform'), scale the inputs to size 1, normalize before "
        f"{worst.activation}, or use relu."
    )
    return [Finding("saturation", severity, message, remedy, worst.layer)]


def _dead(m: Measurement) -> list[Finding]:
    worst = _worst(m.layers, "dead")
    if worst is None or worst.dead < DEAD or (worst.dead < 1 and m.item.n < DEAD_ROWS):
        return []
    severity = "critical" if worst.dead >= DEAD_CRITICAL else "warning"
    message = (
        f"{worst.dead:.0%} of the {worst.units} units of {worst.activation} give 0 and get no "
        f"gradient in all {m.item.n:,} rows: they cannot come back."
    )
    remedy = (
        "Lower the learning rate, initialize with 'he_normal' and biases of 0 or a little more, or "
        "use leaky_relu or elu."
    )
    return [Finding("dead_units", severity, message, remedy, worst.layer)]


# ---- the learning rate -------------------------------------------------------------------------
def _end(losses: list[float]) -> float:
    """Mean of the second half of a trial."""
    half = losses[len(losses) // 2 :]
    return math.fsum(half) / len(half) if all(map(math.isfinite, half)) else math.inf


def _rate(m: Measurement, guess: float) -> list[Finding]:
    if not m.gradients:
        return []
    losses = m.trial(1.0)
    start = losses[0]
    if not math.isfinite(start):
        return []
    floor = start if math.isnan(guess) else max(start, LEARNED * guess)
    rate = float(m.compiled.optimizer.current_rate())
    if _end(losses) > RISE * floor:
        return _too_high(m, rate, losses)
    if start > LEARNED * guess or math.isnan(guess):
        return _too_low(m, losses)
    return []


def _too_high(m: Measurement, rate: float, losses: list[float]) -> list[Finding]:
    """Only if a smaller rate does better, or the fault is another."""
    start, end = losses[0], _end(losses)
    for factor in (0.1, 0.01, 1e-3, 1e-4):
        smaller = _end(m.trial(factor))
        if smaller < start:
            got = f"to {end:.4g}" if math.isfinite(end) else "beyond all numbers"
            message = (
                f"in {TRIAL_STEPS} steps at learning rate {rate:.3g} the loss went from "
                f"{start:.4g} {got}; at {factor * rate:.3g} to {smaller:.4g}."
            )
            remedy = f"Begin with a learning rate of about {factor * rate:.2g}."
            return [Finding("learning_rate_too_high", "critical", message, remedy)]
    return []


def _too_low(m: Measurement, losses: list[float]) -> list[Finding]:
    """Nothing moves, and at a much larger rate it would."""
    start = losses[0]
    pace = (start - losses[-1]) / TRIAL_STEPS
    rate = m.peak_rate()
    warming = rate > 2 * m.compiled.optimizer.current_rate()
    if warming:
        tried = m.trial(1.0, rate)
        pace = (start - tried[-1]) / TRIAL_STEPS
    if pace * SLOW_STEPS > 0.1 * start:
        return []
    for factor in (10.0, 100.0, 1e3, 1e4, 1e5, 1e6):
        larger = _end(m.trial(factor, rate))
        if larger > start * RISE:
            return []
        if larger < GAIN * start and factor > 10:
            message = (
                f"in {TRIAL_STEPS} steps at learning rate {rate:.3g} the loss went from "
                f"{start:.6g} to {losses[-1]:.6g}; at {factor * rate:.3g} to {larger:.4g}."
            )
            remedy = f"Begin with a learning rate of about {factor * rate:.2g}."
            return [Finding("learning_rate_too_low", "warning", message, remedy)]
    return []


def _above_guess(m: Measurement, guess: float) -> Finding:
    message = f"the loss is {m.loss:.4g}, the best constant guess gets {guess:.4g}."
    remedy = (
        "Make the last layer's weights smaller and its bias the targets' mean (or the logarithm of "
        "the classes' shares)."
    )
    return Finding("loss_above_guess", "warning", message, remedy, m.engine.out_names[0])


