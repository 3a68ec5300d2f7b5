"""Full-batch rules with a step for each weight: the Rprop family and Quickprop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base import checks
from .base import Optimizer
from .solver import BatchSolver, positive


class _ByWeight(BatchSolver):
    """A rule with a step for each weight."""

    reports = ("gradient_norm", "step_norm")
    rule = 0

    def options(self) -> dict[str, float]:
        return {"rule": float(self.rule), "learning_rate": self._learning_rate}

    def arrays(self, size: int) -> dict[str, tuple[int, ...]]:
        return {"before": (size,), "sizes": (size,), "step": (size,), "loss": (2,)}


class Quickprop(_ByWeight):
    """For each weight the minimum of a parabola through its last two slopes.

    S = -g + decay w, step = S / (S' - S) last step, at most mu times the last one, plus rate S
    where the sign has stayed; rate S where there was no step (S. Fahlman, 1988; the rules of FANN,
    with g of the mean loss).

    Parameters
    ----------
    learning_rate : float
    mu : float
        Largest growth of a step.
    decay : float
        Of weights, <= 0.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> x = np.linspace(-1, 1, 41)[:, None]
    >>> model = bp.Sequential([bp.layers.Dense(1)], seed=0, dtype="float64")
    >>> model.compile(bp.optimizers.Quickprop(decay=0.0), "mse")
    >>> history = model.fit(x, 2 * x + 1, epochs=60, verbose=0)
    >>> history.history["loss"][-1] < 1e-3
    True
    """

    name = "quickprop"
    rule = 4

    def __init__(self, learning_rate: float = 0.05, mu: float = 1.75, decay: float = -1e-4) -> None:
        super().__init__()
        self._learning_rate = positive("learning_rate", learning_rate)
        self.mu = positive("mu", mu)
        self.decay = checks.real("decay", decay, high=0.0)

    def options(self) -> dict[str, float]:
        return {**super().options(), "mu": self.mu, "decay": self.decay}


class Rprop(Optimizer):
    """A step size for each weight, times 1.2 while its gradient's sign stays, else times 0.5.

    Meant for full batches: only signs of the gradient count, so the loss's scale does not matter
    (M. Riedmiller, H. Braun, 1993; C. Igel, M. Huesken, 2000). Steps stay in [1e-6, 50].

    Parameters
    ----------
    learning_rate : float or schedule
        The first step.
    variant : {"irprop-", "irprop+", "rprop-", "rprop+"}
        After a change of sign ``rprop-`` goes on by half a step, ``irprop-`` rests once, ``rprop+``
        takes the last step back, ``irprop+`` does so if the loss rose. ``irprop-`` trains any model
        with batches of any size; the others are batch solvers (`BatchSolver`), for float64.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.optimizers.Rprop(variant="irprop+").variant
    'irprop+'
    """

    name = "rprop"

    if not TYPE_CHECKING:

        def __new__(cls, *args: Any, **kwargs: Any) -> Rprop:
            variant = args[1] if len(args) > 1 else kwargs.get("variant", "irprop-")
            chosen = cls if cls is not Rprop or variant == "irprop-" else BatchRprop
            return super().__new__(chosen, *args, **kwargs)

    def __init__(self, learning_rate: Any = 0.01, variant: str = "irprop-") -> None:
        super().__init__(learning_rate)
        if variant not in _VARIANTS:
            raise ValueError(f"variant: got {variant!r}, expected one of {list(_VARIANTS)}")
        self.variant = variant

    def spec(self) -> dict[str, Any]:
        rate = self.learning_rate
        first = rate if isinstance(rate, float) else float(rate(0))
        return {"kind": "rprop", "learning_rate": first}


_VARIANTS = ("rprop-", "rprop+", "irprop-", "irprop+")  # in the order of the core's rules


class BatchRprop(_ByWeight, Rprop):
    """`Rprop` of a variant that looks at all of the data at once."""

    def __init__(self, learning_rate: Any = 0.01, variant: str = "irprop+") -> None:
        if variant not in _VARIANTS:
            raise ValueError(f"variant: got {variant!r}, expected one of {list(_VARIANTS)}")
        BatchSolver.__init__(self)
        self._learning_rate = positive("learning_rate", learning_rate)
        self.variant, self.rule = variant, _VARIANTS.index(variant)

    def spec(self) -> dict[str, Any]:
        return BatchSolver.spec(self)


BatchRprop.__name__ = "Rprop"  # in files and messages it is what the user called
