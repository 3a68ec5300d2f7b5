"""Optimizers: names, hyperparameters and state. The updates run in the core, on tiles in cache.

Formulas and defaults are PyTorch's for the optimizer of that name, argument names Keras'. g is the
gradient of the batch's mean loss, w a weight, eta the learning rate, t the step from 1.
"""

from __future__ import annotations

from typing import Any

from ..base import arguments, checks
from .base import Optimizer
from .by_weight import Quickprop, Rprop
from .kfac import KFAC
from .solver import LBFGS, BatchSolver, LevenbergMarquardt, ScaledConjugateGradient


def _decay(value: Any) -> float:
    return checks.real("weight_decay", value, 0.0)


def _beta(name: str, value: Any, *, zero: bool = True) -> float:
    return checks.real(name, value, 0.0, 1.0, open_low=not zero, open_high=True)


def _epsilon(value: Any) -> float:
    return checks.real("epsilon", value, 0.0, open_low=True)


class SGD(Optimizer):
    """Gradient descent: w -= eta v, with v = momentum v + g; v = g without momentum.

    Nesterov: w -= eta (g + momentum v). weight_decay adds weight_decay w to g.

    With ``inertia=True`` momentum is a coefficient of inertia, and v an average of gradients from
    the first step on: v = momentum v + (1 - momentum) g, w -= eta v. That is the same as momentum
    with the rate (1 - momentum) eta, and is computed so.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.optimizers.SGD(0.1, momentum=0.9).learning_rate
    0.1
    """

    name = "sgd"

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        inertia: bool = False,
    ) -> None:
        super().__init__(learning_rate)
        self.momentum = _beta("momentum", momentum)
        self.nesterov = checks.boolean("nesterov", nesterov)
        self.inertia = checks.boolean("inertia", inertia)
        self.weight_decay = _decay(weight_decay)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum > 0, got momentum=0")

    @property
    def _rate_factor(self) -> float:  # type: ignore[override]
        return 1.0 - self.momentum if self.inertia else 1.0

    def spec(self) -> dict[str, Any]:
        kind = "nesterov" if self.nesterov else "momentum" if self.momentum else "sgd"
        return {"kind": kind, "momentum": self.momentum, "weight_decay": self.weight_decay}


class Adagrad(Optimizer):
    """h += g^2; w -= eta g / (sqrt(h) + epsilon) (J. Duchi, E. Hazan, Y. Singer, 2011)."""

    name = "adagrad"

    def __init__(
        self, learning_rate: Any = 0.01, epsilon: float = 1e-10, weight_decay: float = 0.0
    ) -> None:
        super().__init__(learning_rate)
        self.epsilon = _epsilon(epsilon)
        self.weight_decay = _decay(weight_decay)

    def spec(self) -> dict[str, Any]:
        return {"kind": "adagrad", "epsilon": self.epsilon, "weight_decay": self.weight_decay}


class _Rho(Optimizer):
    """rho, epsilon, weight_decay."""

    def _set(self, rho: float, epsilon: float, weight_decay: float) -> None:
        self.rho = _beta("rho", rho)
        self.epsilon = _epsilon(epsilon)
        self.weight_decay = _decay(weight_decay)

    def spec(self) -> dict[str, Any]:
        return {
            "kind": self.name,
            "rho": self.rho,
            "epsilon": self.epsilon,
            "weight_decay": self.weight_decay,
        }


class RMSprop(_Rho):
    """h = rho h + (1 - rho) g^2; w -= eta g / (sqrt(h) + epsilon) (T. Hinton, 2012)."""

    name = "rmsprop"

    def __init__(
        self,
        learning_rate: Any = 0.01,
        rho: float = 0.99,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate)
        self._set(rho, epsilon, weight_decay)


class Adadelta(_Rho):
    """h = rho h + (1 - rho) g^2; d = g sqrt(u + eps) / sqrt(h + eps); u = rho u + (1 - rho) d^2.

    w -= eta d (M. Zeiler, 2012).
    """

    name = "adadelta"

    def __init__(
        self,
        learning_rate: Any = 1.0,
        rho: float = 0.9,
        epsilon: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate)
        self._set(rho, epsilon, weight_decay)


class _Betas(Optimizer):
    """beta_1, beta_2, epsilon, weight_decay; the defaults are those of Adamax and Nadam."""

    def __init__(
        self,
        learning_rate: Any = 0.002,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate)
        self._set(beta_1, beta_2, epsilon, weight_decay)

    def _set(self, beta_1: float, beta_2: float, epsilon: float, weight_decay: float) -> None:
        self.beta_1 = _beta("beta_1", beta_1)
        self.beta_2 = _beta("beta_2", beta_2, zero=False)
        self.epsilon = _epsilon(epsilon)
        self.weight_decay = _decay(weight_decay)

    def spec(self) -> dict[str, Any]:
        return {
            "kind": self.name,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "weight_decay": self.weight_decay,
        }


class Adam(_Betas):
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2 (D. Kingma, J. Ba, 2015).

    w -= eta (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon); with ``amsgrad`` the largest v so
    far stands for v (S. Reddi, 2018). weight_decay adds weight_decay w to g.
    """

    name = "adam"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        amsgrad: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate)
        self._set(beta_1, beta_2, epsilon, weight_decay)
        self.amsgrad = checks.boolean("amsgrad", amsgrad)

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "kind": "amsgrad" if self.amsgrad else "adam"}


class AdamW(Adam):
    """Adam with decoupled decay: w *= 1 - eta weight_decay first (I. Loshchilov et al., 2019)."""

    name = "adamw"

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay)

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "decoupled": True}


class Adamax(_Betas):
    """u = max(b2 u, abs(g) + epsilon); w -= eta / (1 - b1^t) m / u (D. Kingma, J. Ba, 2015)."""

    name = "adamax"


class Nadam(_Betas):
    """Adam with Nesterov's momentum (T. Dozat, 2016); momentum decay 0.004, as in PyTorch."""

    name = "nadam"


class Lion(Optimizer):
    """w -= eta (sign(b1 m + (1 - b1) g) + weight_decay w); m = b2 m + (1 - b2) g (Chen 2023)."""

    name = "lion"

    def __init__(
        self,
        learning_rate: Any = 1e-4,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate)
        self.beta_1 = _beta("beta_1", beta_1)
        self.beta_2 = _beta("beta_2", beta_2, zero=False)
        self.weight_decay = _decay(weight_decay)

    def spec(self) -> dict[str, Any]:
        return {
            "kind": "lion",
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "weight_decay": self.weight_decay,
            "decoupled": True,
        }


_CLASSES: tuple[type[Optimizer], ...] = (
    SGD,
    Adagrad,
    RMSprop,
    Adadelta,
    Adam,
    AdamW,
    Adamax,
    Nadam,
    Lion,
    Rprop,
    LevenbergMarquardt,
    LBFGS,
    ScaledConjugateGradient,
    Quickprop,
    KFAC,
)
_BY_NAME = {cls.name: cls for cls in _CLASSES}
_BY_CLASS = {cls.__name__: cls for cls in _CLASSES}

__all__ = [*_BY_CLASS, "BatchSolver", "Optimizer", "get", "names"]


def names() -> list[str]:
    """The names that `get` knows.

    >>> "adam" in names()
    True
    """
    return list(_BY_NAME)


def get(identifier: Any) -> Optimizer:
    """An optimizer from a name, class, object or configuration.

    >>> get("sgd")
    SGD(learning_rate=0.01)
    """
    found = arguments.named("optimizer", identifier, Optimizer, _BY_NAME, _BY_CLASS)
    if isinstance(found, Optimizer):
        return found
    raise TypeError(f"optimizer must be a name or an Optimizer, got {checks.describe(identifier)}")
