"""Why bpcore may end elsewhere than its twin: each reason is tried on the twin, none is trusted.

A difference is explained if

- **floors**: the twin agrees once it holds probabilities where the core does (docs/numerics.md: in
  [1e-15, 1 - 1e-15], for KL divergence in [1e-15, 1]), which matters where a softmax or sigmoid
  gives less than that and the target is not 0;
- **diverged**: bpcore stopped with TrainingDiverged, and the twin's numbers are not finite either;
- **rounding**: the twin alone, its weights and gradients changed in their last places, ends about
  as far from itself. That is so where the sign of a number is taken which is 0 but for rounding
  (Lion, Rprop; the slopes of abs, relu and kin at 0), or where a gradient that is 0 but for
  rounding is divided by its own size (Adadelta, Adagrad and kin behind a batch normalization). The
  first gradients, which nothing has amplified yet, must agree all the same.
"""

from __future__ import annotations

import math

import numpy as np

from .ours import Result, Weights
from .spec import Spec
from .twin import Twin

SAME, SAME_GRADIENT = 1e-6, 1e-9
TRIALS, FAR_ENOUGH = 8, 0.1  # of last places, and the share of the difference that must be reached


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, over the largest magnitude of b or 1; inf where one is not finite."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if not b.size:
        return 0.0
    found = float(np.abs(a - b).max() / max(1.0, float(np.abs(b).max())))
    return found if math.isfinite(found) else math.inf


def beginning(a: Result, b: Result) -> float:
    """How far loss and gradients of the first batch are apart."""
    pairs = [(a.first_loss, b.first_loss)]
    pairs += [(a.first_gradients[key], b.first_gradients[key]) for key in b.first_gradients]
    return max(apart(*pair) for pair in pairs)


def ending(a: Result, b: Result) -> float:
    """How far losses of the epochs, weights, predictions and evaluation are apart."""
    pairs = [(a.losses, b.losses), (a.evaluated, b.evaluated)]
    pairs += [(a.weights[key], b.weights[key]) for key in b.weights]
    pairs += list(zip(a.predictions, b.predictions, strict=True))
    return max(apart(*pair) for pair in pairs)


def agree(a: Result, b: Result) -> bool:
    return beginning(a, b) <= SAME_GRADIENT and ending(a, b) <= SAME


def perturbed(weights: Weights, rng: np.random.Generator) -> Weights:
    """Every weight changed by one unit in its last place, up, down or not at all."""
    return {
        key: value * (1 + 2.0**-52 * rng.integers(-1, 2, value.shape))
        for key, value in weights.items()
    }


def sensitivity(spec: Spec, weights: Weights, base: Result) -> float:
    """How far the twin's end moves with the last places of its beginning."""
    rng = np.random.default_rng([23, spec.seed])
    return max(
        ending(Twin(spec, perturbed(weights, rng), floors=True, last_places=rng).run(), base)
        for _ in range(TRIALS)
    )


def explanation(spec: Spec, weights: Weights, found: Result, twin: Result) -> str | None:
    """'' if they agree, the name of the rule that explains the difference, or None."""
    if agree(found, twin):
        return ""
    held = Twin(spec, weights, floors=True).run()
    if agree(found, held):
        return "floors"
    difference = ending(found, held)
    sound = beginning(found, held) <= SAME_GRADIENT and math.isfinite(difference)
    if sound and sensitivity(spec, weights, held) >= FAR_ENOUGH * difference:
        return "rounding"
    return None


def diverged(twin: Result) -> str | None:
    """For a training that bpcore stopped."""
    numbers = [*twin.losses, twin.evaluated, *(np.sum(w) for w in twin.weights.values())]
    return None if np.isfinite(numbers).all() else "diverged"
