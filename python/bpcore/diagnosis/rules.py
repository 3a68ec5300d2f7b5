"""From measurements to findings. Every threshold has a name and says what set it.

"Measured" below: on the healthy variants and the graded faults of tests/test_diagnosis.py.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..errors import place
from ..layers import BatchNormalization
from ..layers.noise import RandomLayer
from .measure import TRIAL_STEPS, Measurement
from .probe import Probe
from .report import Finding, LayerReport

# Kernels: rms times root of fan-in. 1 to 1.4 by Glorot's and He's rules; trained nets reach 3;
# standard normal weights reach root of fan-in, which saturation names.
PARALYSIS_GAIN = 15.0
# delta of the median row, over that of the last layer. Healthy nets of 10 layers begin between
# 0.06 (gelu) and 6 (residual; measured); a sigmoid multiplies by at most 1/4 a layer, so three
# hidden ones may fall to 1/64 and still train.
VANISHING = 3e-3
VANISHING_CRITICAL = 1e-5
VANISHING_SATURATED = 0.1  # where saturated units are the cause: few samples' deltas get through
EXPLODING = 100.0
EXPLODING_CRITICAL = 1e4
# Fraction of values past 95 % of the slope's fall. Gaussian z of variance 1: 3 % for tanh.
SATURATION = 0.2
SATURATION_CRITICAL = 0.7
# He's initializer leaves up to a tenth of the units dead, near a half if all features are positive
# and rows are alike (measured: 44 % of 16 units on unscaled irises).
DEAD = 0.6
DEAD_CRITICAL = 0.9
DEAD_ROWS = 32  # on fewer rows a healthy unit may rest by chance
# A model whose loss is below this share of a constant guess's is learning: its saturated and dead
# units are what it has learned.
LEARNED = 0.5
RISE = 1.5  # peak of the trial steps' loss over that at the start, or LEARNED of a guess's
PEAK_ROWS = 256  # a peak in the loss must last over this number of rows
FARTHER = 1.2  # the loss after a trial at a smaller rate must be lower by this factor
GAIN = 0.98  # what a smaller or larger rate must reach, as a share of the loss at the start
SLOW_STEPS = (
    3e3  # to lower the loss by a tenth; SGD at 0.001 takes 300, Adam at 0.001 10 (measured)
)
SAME_WEIGHTS = 1e-6  # units of a layer whose weights and gradients differ by less stay alike
HEAVY_DROPOUT = 0.8  # N. Srivastava and others, 2014, find 0.5 to 0.8 kept best, and 0.1 far worse
AT_GUESS = 0.01  # a loss this close to a constant guess's, as a share of it
LEARNS = 0.95  # a short training ends below this share of a constant guess's loss if it learns
APART = 0.5  # the training loss over that of validation; healthy nets stay above it
ABOVE_GUESS = 30.0  # a regression through two relu layers may begin at 10 (measured)
TAME = (
    "Initialize with gain 1 ('glorot_uniform', 'he_normal', 'orthogonal'), normalize between "
    "layers, add skip connections, or set gradient_clip_norm in compile."
)


def find(m: Measurement, guess: float) -> list[Finding]:
    """All findings on weights, signals and steps."""
    findings = [*_single_rows(m), *_heavy_dropout(m), *_overflow(m)]
    alike = _symmetric(m)
    if alike:  # what else there is to see follows from it
        return [*findings, *alike]
    findings += [*_paralysis(m, guess), *_through_depth(m)]
    if not m.loss < LEARNED * guess:
        findings += [*_saturation(m), *_dead(m)]
    rate = _rate(m, guess) if m.flaw is None else []
    exploding = [f for f in findings if f.kind == "exploding_gradients"]
    if exploding and rate and rate[0].kind == "learning_rate_too_high":
        findings.remove(exploding[0])  # no rate is small enough: it is the gradients
        return [*findings, dataclasses.replace(exploding[0], severity="critical")]
    return [*findings, *rate]


def _single_rows(m: Measurement) -> list[Finding]:
    if m.batch > 1:
        return []
    for layer in m.engine.layers:
        if isinstance(layer, BatchNormalization) and layer.trainable:
            message = (
                f"a batch is one row, whose values {layer.name!r} normalizes to 0: its variance is "
                "0 in training, and no input gets through."
            )
            remedy = "Use batches of 16 rows or more, or LayerNormalization."
            return [Finding("single_row_batches", "critical", message, remedy, layer.name)]
    return []


def _heavy_dropout(m: Measurement) -> list[Finding]:
    rates = [
        (float(getattr(x, "rate", 0.0)), x.name)
        for x in m.engine.layers
        if isinstance(x, RandomLayer)
    ]
    rate, layer = max(rates, default=(0.0, ""))
    if rate <= HEAVY_DROPOUT:
        return []
    message = f"{layer!r} drops {rate:.0%} of its inputs in training: too few are left to learn by."
    remedy = "Use a rate of 0.2 to 0.5; the rate is what is dropped, not what is kept."
    return [Finding("heavy_dropout", "warning", message, remedy, layer)]


def _symmetric(m: Measurement) -> list[Finding]:
    """Units with the same weights and the same gradient: they stay the same for ever."""
    for p in m.engine.params:
        g = m.gradients.get(p.name)
        if g is None or p.value.ndim < 2 or p.shape[-1] < 2:
            continue
        alike = all(
            float(np.ptp(a, axis=-1).max()) <= SAME_WEIGHTS * float(np.abs(a).max())
            for a in (p.value.astype(np.float64), g)
        )
        if alike:
            layer = p.name.rpartition("/")[0]
            what = "are 0" if not p.value.any() else "are equal"
            message = (
                f"the weights of all {p.shape[-1]} units of {layer!r} {what} and get the same "
                "gradient: the units stay alike, as if there were only one."
            )
            remedy = "Draw first weights at random: 'glorot_uniform', or 'he_normal' for relu."
            return [Finding("symmetric_weights", "critical", message, remedy, layer)]
    return []


def _overflow(m: Measurement) -> list[Finding]:
    if m.flaw is None:
        return []
    layer, tensor, row = str(m.flaw["layer"]), m.flaw["tensor"], m.flaw["row"]
    where = f" in row {row}" if row >= 0 else ""
    message = f"the {place(layer, tensor)} is NaN or Inf{where}, and no value before it."
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
    shut = [x.saturated for x in m.hidden() if not math.isnan(x.saturated)]
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
        return _growing(m)
    small = min(known, key=lambda x: x.delta_ratio)
    large = max(known, key=lambda x: x.delta_ratio)
    factor = f"over {len(known)} layers"
    if large.delta_ratio > EXPLODING:
        severity = "critical" if large.delta_ratio > EXPLODING_CRITICAL else "warning"
        message = (
            f"delta grows to {large.delta_ratio:.3g} times its size at the output on its way back "
            f"{factor} to {large.layer!r}."
        )
        return [Finding("exploding_gradients", severity, message, TAME, large.layer)]
    if small.delta_ratio == 0 and m.has_zero_kernel():  # gone after the first update
        return []
    shut = [x.saturated for x in m.hidden() if not math.isnan(x.saturated)]
    saturated = max(shut, default=0.0)
    if small.delta_ratio < (VANISHING_SATURATED if saturated > SATURATION else VANISHING):
        severity = "critical" if small.delta_ratio < VANISHING_CRITICAL else "warning"
        slopes = (
            f"; up to {saturated:.0%} of a layer is saturated" if saturated > SATURATION else ""
        )
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


def _growing(m: Measurement) -> list[Finding]:
    """Of a pass that overflowed, so that there are no deltas: activations that grow with depth."""
    sizes = [(math.hypot(x.activation_mean, math.sqrt(x.activation_variance)), x.layer)
             for x in m.layers if math.isfinite(x.activation_variance)]  # fmt: skip
    if len(sizes) < 2 or not sizes[-1][0] > EXPLODING_CRITICAL * sizes[0][0]:
        return []
    message = (
        f"activations grow from rms {sizes[0][0]:.3g} at {sizes[0][1]!r} to {sizes[-1][0]:.3g} at "
        f"{sizes[-1][1]!r}, and deltas as much on their way back."
    )
    return [Finding("exploding_gradients", "critical", message, TAME, sizes[-1][1])]


def _saturation(m: Measurement) -> list[Finding]:
    worst = _worst(m.hidden(), "saturated")
    if worst is None or worst.saturated < SATURATION:
        return []
    severity = "critical" if worst.saturated >= SATURATION_CRITICAL else "warning"
    gain = (
        ""
        if math.isnan(worst.weight_gain)
        else f" (weights' rms times root of fan-in is {worst.weight_gain:.3g})"
    )
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
def _smooth(losses: list[float], width: int) -> list[float]:
    """Means over `width` neighbours, because the loss of one small batch says little."""
    return [math.fsum(losses[k : k + width]) / width for k in range(len(losses) - width + 1)]


def _end(losses: list[float]) -> float:
    """Mean of the last quarter of a trial."""
    last = losses[-(TRIAL_STEPS // 4) :]
    return math.fsum(last) / len(last)


def _rate(m: Measurement, guess: float) -> list[Finding]:
    if not m.gradients:
        message = "no weight is trainable: there is nothing to learn with."
        remedy = "Set trainable = True on some layers."
        return [Finding("nothing_trainable", "critical", message, remedy)]
    losses = m.trial(1.0)
    start = m.loss
    floor = start if math.isnan(guess) else max(start, LEARNED * guess)
    width = min(-(-PEAK_ROWS // m.batch), TRIAL_STEPS // 2)
    if losses[-1] == math.inf or max(_smooth(losses, width)) > RISE * floor:
        return _too_high(m, losses)
    if start > LEARNED * guess or math.isnan(guess):
        return _too_low(m)
    return []


def _too_high(m: Measurement, losses: list[float]) -> list[Finding]:
    """Only if a smaller rate gets farther in as many steps; else the fault is another."""
    rate, end = m.compilation.optimizer.current_rate(), _end(losses)
    best, factor = math.inf, 1.0
    for smaller in (10.0**-k for k in range(1, 10)):
        reached = _end(m.trial(smaller))
        if reached >= best and best < m.loss:
            break
        if reached < best:
            best, factor = reached, smaller
    if not (best < m.loss and FARTHER * best < end):
        return []
    peak = max(losses)
    top = f"rose to {peak:.4g} and was {end:.4g}" if math.isfinite(peak) else "grew beyond numbers"
    message = (
        f"in {TRIAL_STEPS} steps at learning rate {rate:.3g} the loss, {m.loss:.4g} before, {top} "
        f"at the end; at {factor * rate:.3g} it fell to {best:.4g}."
    )
    remedy = f"Begin with a learning rate of about {factor * rate:.2g}."
    return [Finding("learning_rate_too_high", "critical", message, remedy)]


def _too_low(m: Measurement) -> list[Finding]:
    """Nothing moves, and at a much larger rate it would."""
    rate = m.peak_rate()
    if rate == 0:
        message = "the learning rate is 0, and stays so for the coming updates."
        remedy = "Look at the schedule's arguments, and at the optimizer's iterations."
        return [Finding("learning_rate_too_low", "critical", message, remedy)]
    pace = m.pace(rate)
    if abs(pace) * SLOW_STEPS > 0.1 * m.loss:
        return []
    for factor in (100.0, 1e3, 1e4, 1e5, 1e6):
        larger = _end(m.trial(factor, rate))
        if not larger < RISE * m.loss:
            return []
        if larger < GAIN * m.loss:
            message = (
                f"at learning rate {rate:.3g} the loss, {m.loss:.4g}, falls by {pace:.2g} a step; "
                f"at {factor * rate:.3g} it is {larger:.4g} after {TRIAL_STEPS} steps."
            )
            remedy = f"Begin with a learning rate of about {factor * rate:.2g}."
            return [Finding("learning_rate_too_low", "warning", message, remedy)]
    return []


# ---- what the data allow ----------------------------------------------------------------------
def of_probe(m: Measurement, guess: float, found: Probe | None) -> list[Finding]:
    """What a short training from new weights says; `m` is as it was before that."""
    if found is None:
        return []
    numbers = (
        f"a short training from new weights reached {found.train:.4g} on {found.rows:,} rows"
        + (f" and {found.held:.4g} on {found.held_rows:,} others" if found.held_rows else "")
        + f"; a constant guess gets {found.guess:.4g}"
    )
    if found.held < LEARNS * found.guess or (found.signal and not found.linear):
        return _plateau(m, guess, numbers)
    if found.signal:
        message = f"{numbers}: the outputs are a straight line of the inputs, the targets are not."
        remedy = "Put a hidden layer with an activation ('relu', 'tanh') before the last one."
        return [Finding("linear_model", "critical", message, remedy)]
    ends = (
        "training and held-out loss go apart, it learned the rows by heart"
        if found.train < LEARNS * found.guess
        else "both stay at the constant guess"
    )
    message = f"{numbers}: {ends}. Neither neighbours nor a line predict held-out targets."
    remedy = (
        "Look whether rows of x and y belong together (shuffled apart, sorted, joined wrongly), "
        "and whether the inputs can tell the targets at all; more rows may show a weak signal."
    )
    return [Finding("no_signal", "warning", message, remedy)]


def _plateau(m: Measurement, guess: float, numbers: str) -> list[Finding]:
    """The loss is that of a constant, the outputs are constant, and steps do not change it."""
    if not abs(m.loss - guess) <= AT_GUESS * guess or not m.outputs_are_constant():
        return []
    if abs(m.pace(m.peak_rate())) * SLOW_STEPS > 0.1 * m.loss:
        return []
    message = (
        f"the loss, {m.loss:.4g}, is that of a constant guess, the outputs are the same for all "
        f"rows, and steps hardly change them; {numbers}."
    )
    remedy = (
        "Lower penalties and weight decay, start from new weights, warm the rate up, and look at "
        "the layers' numbers before the loss gets there."
    )
    return [Finding("plateau", "critical", message, remedy)]


def overfitting(loss: float, held: float, guess: float) -> list[Finding]:
    """Training far below validation."""
    if not (loss < APART * held and held - loss > (1 - LEARNS) * guess):
        return []
    worse = f", more than a constant guess's {guess:.4g}" if held > guess else ""
    message = f"the loss is {loss:.4g} in training and {held:.4g} in validation{worse}."
    remedy = (
        "Stop earlier (EarlyStopping), use dropout or weight decay, a smaller network, more data; "
        + ("look whether x and y belong together." if worse else "augment the data you have.")
    )
    return [Finding("overfitting", "warning", message, remedy)]


def above_guess(m: Measurement, guess: float) -> list[Finding]:
    """What is left to say when nothing else explains a bad start."""
    if not m.loss > ABOVE_GUESS * guess > 0:
        return []
    message = f"the loss is {m.loss:.4g}, the best constant guess gets {guess:.4g}."
    remedy = (
        "Make the last layer's weights smaller and its bias the targets' mean (or the logarithm of "
        "the classes' shares)."
    )
    name = m.engine.signature.outputs.names[0]
    return [Finding("loss_above_guess", "warning", message, remedy, name)]
