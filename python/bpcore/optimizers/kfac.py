"""K-FAC: natural gradient steps for mini-batches. The mathematics is in the core, `cpp/solve`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _core
from ..base import checks, seeding
from ..base.memory import Array
from ..graph.parameter import Parameter
from .base import Optimizer

_TARGETS = ("sampled", "expected")
_RESCALES = (None, "step", "both")  # in the order of the core's


class KFAC(Optimizer):
    """Natural gradient with Kronecker-factored curvature, for mini-batches of dense layers.

    The Fisher matrix of a dense layer is taken for a product of two small ones (J. Martens,
    R. Grosse, "Optimizing neural networks with Kronecker-factored approximate curvature", 2015):

    F = A (x) S, with A = E[a a^T] of the layer's inputs a = (x, 1) and S = E[s s^T] of the
    gradients s of a sample's loss in the layer's sums, for targets that the model itself gives.
    Of the layer's gradient G (I + 1, O) the direction is

    D = (A + pi g I)^-1 G (S + g / pi I)^-1, g = sqrt(damping), pi^2 = mean diag A / mean diag S,

    then v = momentum v + D and w -= learning_rate v. A layer's l2 penalty adds 2 l2 to its damping.
    D is made shorter where learning_rate^2 / 2 times the sum of D G is above `trust`: that is how
    far the step would move the model's distributions, by their divergence to second order (J. Ba,
    R. Grosse, J. Martens, "Distributed second-order optimization using Kronecker-factored
    approximations", 2017).

    With `rescale` the lengths are those of the exact quadratic model of the batch, whose curvature
    is C = F + damping I + 2 l2, F the batch's exact Fisher matrix (sections 6.4 and 7 of the
    paper): the step is -a D + b d, d the last one, a = G D / D C D and b = 0, or both numbers from

    (D C D, -D C d; -D C d, d C d) (a; b) = (G D; -G d).

    Parameters
    ----------
    learning_rate : float or schedule
        With `rescale` 1.0 takes the step that the model proposes, a smaller one a part of it.
    damping : float
        >= 0, in units of the loss's curvature. Large values give shorter steps, closer to the
        gradient's direction. 0 is for tests: a factor that has no inverse then ends the training.
    momentum : float
        In [0, 1). Not looked at with ``rescale="both"``.
    decay : float
        In [0, 1). A and S are exponential averages: batch k counts 1 - min(1 - 1/k, decay).
    trust : float or None
        > 0; None: steps of any length.
    refresh : int
        The inverses are renewed at the first three batches, then every so many.
    targets : {"sampled", "expected"}
        Whether s is of one target drawn from the model for each sample (a normal one of variance
        1 / curvature for squared errors, a class, a coin for each output), at the cost of a
        backward pass; or of all in expectation, at a backward pass for each output. Never the
        targets of the data, which would give the empirical Fisher matrix.
    rescale : {None, "step", "both"}
        None: D as it is. "step": a D, at the cost of a pass forward; `momentum` follows as ever.
        "both": -a D + b d, at a second one. `trust` then bounds the exact divergence.
    seed : int or None
        Of the draws, which depend on it and on the count of batches; None: the model's.

    Notes
    -----
    Losses: sums of squares (``mean_squared_error``, ``half_squared_error``) and cross entropies of
    logits, softmax or sigmoid. All trained weights must be of `Dense` layers of inputs (N, I), each
    used once; others are refused: freeze them. Layers without weights may be any, but for those
    whose samples depend on one another; the curvature is that of inference mode, so dropout does
    not touch it. Models of either dtype: A, S, their inverses and their products with G are in
    float64, forward and backward in the model's own.

    A clipped norm is that of the gradient before its product with the inverses.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> x = np.random.default_rng(0).normal(size=(256, 3))
    >>> model = bp.Sequential([bp.layers.Dense(1)], seed=0, dtype="float64")
    >>> kfac = bp.optimizers.KFAC(1.0, damping=0.0, momentum=0.0, trust=None, targets="expected")
    >>> model.compile(kfac, "mse")
    >>> history = model.fit(x, x @ [[1.0], [2.0], [3.0]], epochs=1, batch_size=256, verbose=0)
    >>> model.evaluate(x, x @ [[1.0], [2.0], [3.0]])["loss"] < 1e-12
    True
    """

    name = "kfac"

    def __init__(
        self,
        learning_rate: Any = 0.05,
        damping: float = 0.01,
        momentum: float = 0.9,
        decay: float = 0.95,
        trust: float | None = 1e-3,
        refresh: int = 20,
        targets: str = "sampled",
        seed: int | None = None,
        rescale: str | None = None,
    ) -> None:
        super().__init__(learning_rate)
        self.damping = checks.real("damping", damping, 0.0)
        self.momentum = checks.real("momentum", momentum, 0.0, 1.0, open_high=True)
        self.decay = checks.real("decay", decay, 0.0, 1.0, open_high=True)
        self.trust = None if trust is None else checks.real("trust", trust, 0.0, open_low=True)
        self.refresh = checks.integer("refresh", refresh, 1)
        if targets not in _TARGETS:
            raise checks.unknown("targets", targets, _TARGETS)
        self.targets = targets
        self.seed = checks.seed(seed)
        if rescale not in _RESCALES:
            raise checks.unknown("rescale", rescale, map(str, _RESCALES))
        self.rescale = rescale
        self._core_factors = _core.Factors()

    @property
    def factors(self) -> dict[str, tuple[Array, Array]]:
        """A and S of each layer, by the name of its first trained weight; {} before any batch."""
        found = self._core_factors.state()
        names = [key[:-2] for key in found if key.endswith("/A")]
        return {name: (found[name + "/A"], found[name + "/S"]) for name in names}

    def spec(self) -> dict[str, Any]:
        momentum = 0.0 if self.rescale == "both" else self.momentum
        return {"kind": "momentum" if momentum else "sgd", "momentum": momentum}

    def preconditioner(self) -> dict[str, Any]:
        seed = self.seed
        if seed is None:
            seed = seeding.mix(self._owner().seed, seeding.CURVATURE)
        return {
            "factors": self._core_factors,
            "damping": self.damping,
            "decay": self.decay,
            "trust": math.inf if self.trust is None else self.trust,
            "refresh": self.refresh,
            "rescale": _RESCALES.index(self.rescale),
            "expected": self.targets == "expected",
            "seed": seed,
        }

    def numbers(self) -> dict[str, Array]:
        return dict(self._core_factors.state())

    def set_numbers(self, numbers: Mapping[str, Array]) -> None:
        self._core_factors.set_state({k: np.asarray(v, np.float64) for k, v in numbers.items()})

    def shapes(self, parameters: list[Parameter]) -> dict[str, tuple[int, ...]]:
        layers: dict[int, list[Parameter]] = {}
        for p in parameters:
            layers.setdefault(id(p._owner), []).append(p)
        found: dict[str, tuple[int, ...]] = {"batches": (1,)}
        for own in layers.values():
            name, out = own[0].name, own[0].shape[-1]
            rows = sum(p.value.size for p in own) // max(out, 1)
            found |= {f"{name}/A": (rows, rows), f"{name}/A-1": (rows, rows)}
            found |= {f"{name}/S": (out, out), f"{name}/S-1": (out, out)}
        if self.rescale == "both":
            found["last"] = (sum(p.value.size for p in parameters),)
        return found

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {**state, "_core_factors": self.numbers()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        numbers = state.pop("_core_factors")
        super().__setstate__(state)
        self._core_factors = _core.Factors()
        self.set_numbers(numbers)
