"""Batch solvers: optimizers whose step looks at all of the data, with state beyond slots.

In `fit` an epoch is one iteration on the full batch. The mathematics is in the core, `cpp/solve`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array
from ..graph.parameter import Parameter
from .base import Optimizer


class BatchSolver(Optimizer):
    """Base of the optimizers that take all of the data at once.

    Attributes
    ----------
    stopped : str
        Why the last iteration was the last: ``"goal"``, ``"flat"`` (the gradient is below its
        bound), ``"stuck"`` (no step lowers the loss), ``"tolerance"``; empty while there is more to
        do.
    """

    stopped = ""
    curvature = False  # whether the losses must have a Gauss-Newton matrix
    _core_solver: Any = None  # holds the state while there is one
    _numbers: dict[str, Array] | None = None  # else here

    def __init__(self) -> None:
        self._learning_rate = 1.0  # no step takes it

    @property
    def learning_rate(self) -> Any:
        """1.0: a solver finds the length of its steps."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        raise AttributeError(
            f"{type(self).__name__} has no learning rate, got {value!r}: it finds the length of "
            "its steps; leave out the callback or assignment that sets it"
        )

    def core_rate(self) -> float:
        raise ValueError(
            f"{type(self).__name__} takes its steps in fit, where it has all of the data, got a "
            "call for a single step, or for a learning rate; call fit, or compile with a "
            "mini-batch optimizer such as 'adam'"
        )

    def spec(self) -> dict[str, Any]:
        return {"kind": "sgd"}  # no state by parameter

    def options(self) -> dict[str, float]:
        """For the core's solver."""
        raise NotImplementedError

    def arrays(self, size: int) -> dict[str, tuple[int, ...]]:
        """The shapes of its state's arrays, for `size` trained numbers."""
        raise NotImplementedError

    def shapes(self, parameters: list[Parameter]) -> dict[str, tuple[int, ...]]:
        return self.arrays(sum(p.value.size for p in parameters))

    def numbers(self) -> dict[str, Array]:
        if self._core_solver is not None:
            return dict(self._core_solver.state())
        return dict(self._numbers or {})

    def set_numbers(self, numbers: Mapping[str, Array]) -> None:
        self._core_solver = None
        self._numbers = {key: np.array(value, np.float64) for key, value in numbers.items()}

    def attach(self, solver: Any) -> Any:
        """Hand the state over to a solver of the core; one of another size begins anew."""
        numbers = self.numbers()
        if numbers:
            with contextlib.suppress(ValueError):  # layers were frozen or thawed
                solver.set_state(numbers)
        self._core_solver, self._numbers = solver, None
        return solver

    def bind(self, model: Any) -> None:
        super().bind(model)
        if model.dtype != "float64":
            raise ValueError(
                f"{type(self).__name__}: got a model of dtype {model.dtype}, expected float64, as "
                "second-order steps and line searches compare losses closer than float32 tells "
                "apart; make the model with dtype='float64'"
            )

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state["_numbers"], state["_core_solver"] = self.numbers() or None, None
        return state


def positive(name: str, value: Any) -> float:
    return checks.real(name, value, 0.0, open_low=True)


class LevenbergMarquardt(BatchSolver):
    """Gauss-Newton steps with damping: (J^T J + mu I) d = -J^T e (MATLAB's ``trainlm``).

    For nets of up to some thousand weights and a loss that is a sum of squares
    (``mean_squared_error``, ``half_squared_error``); with ``cross_entropy`` and
    ``binary_cross_entropy`` of logits, softmax or sigmoid, J^T J is the generalised Gauss-Newton
    matrix. A step that lowers the loss is taken and mu *= mu_dec; else mu *= mu_inc and it is
    tried again. mu -> 0 is Gauss-Newton, mu -> inf gradient descent.

    Parameters
    ----------
    mu, mu_dec, mu_inc, mu_max : float
        The damping at the start, its factors after success and failure, and where to give up.
    min_grad : float
        Stop when the norm of the mean loss's gradient is below this.
    goal : float
        Stop when the loss is at most this.
    scaling : None or "marquardt"
        Damp by mu diag(J^T J) instead of mu I.
    regularization : None or "bayesian"
        Weigh the squares of errors and of weights by their evidence, as ``trainbr`` does; the
        effective number of parameters is reported.

    Raises
    ------
    ValueError
        For numbers out of range; in `compile`, for a float32 model.

    Notes
    -----
    `fit` logs ``mu``, ``gradient_norm`` (before the step), ``step_norm`` (0: none was taken) and
    with Bayesian regularisation ``effective_parameters``. J^T J and its factors take up to 32 P^2
    bytes. L2 penalties are part of the objective; other penalties are refused.

    References
    ----------
    M. Hagan, M. Menhaj, "Training feedforward networks with the Marquardt algorithm", 1994.
    D. MacKay, "Bayesian interpolation", 1992. F. D. Foresee, M. Hagan, "Gauss-Newton approximation
    to Bayesian learning", 1997.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> x = np.linspace(-1, 1, 41)[:, None]
    >>> layers = [bp.layers.Dense(5, "tanh"), bp.layers.Dense(1)]
    >>> model = bp.Sequential(layers, seed=0, dtype="float64")
    >>> model.compile(bp.optimizers.LevenbergMarquardt(goal=0.002), "mse")
    >>> history = model.fit(x, np.sin(np.pi * x), epochs=100, verbose=0)
    >>> model.optimizer.stopped, history.history["loss"][-1] <= 0.002
    ('goal', True)
    """

    name = "levenberg_marquardt"
    curvature = True

    def __init__(
        self,
        mu: float = 1e-3,
        mu_dec: float = 0.1,
        mu_inc: float = 10.0,
        mu_max: float = 1e10,
        min_grad: float = 1e-7,
        goal: float = 0.0,
        scaling: str | None = None,
        regularization: str | None = None,
    ) -> None:
        super().__init__()
        self.mu, self.mu_max = positive("mu", mu), positive("mu_max", mu_max)
        self.mu_dec = checks.real("mu_dec", mu_dec, 0.0, 1.0, open_low=True)
        self.mu_inc = checks.real("mu_inc", mu_inc, 1.0, open_low=True)
        self.min_grad = checks.real("min_grad", min_grad, 0.0)
        self.goal = checks.real("goal", goal, 0.0)
        self.scaling = _choice("scaling", scaling, "marquardt")
        self.regularization = _choice("regularization", regularization, "bayesian")

    @property
    def reports(self) -> tuple[str, ...]:  # type: ignore[override]
        """What an iteration says of itself, in the logs."""
        more = ("effective_parameters",) if self.regularization else ()
        return ("mu", "gradient_norm", "step_norm", *more)

    def options(self) -> dict[str, float]:
        return {
            "mu": self.mu,
            "mu_dec": self.mu_dec,
            "mu_inc": self.mu_inc,
            "mu_max": self.mu_max,
            "min_grad": self.min_grad,
            "goal": self.goal,
            "marquardt": float(self.scaling is not None),
            "bayesian": float(self.regularization is not None),
        }

    def arrays(self, size: int) -> dict[str, tuple[int, ...]]:
        return {"mu": (1,), "evidence": (4,)}


def _choice(name: str, value: Any, only: str) -> str | None:
    if value is None or value == only:
        return value  # type: ignore[no-any-return]
    raise ValueError(f"{name}: got {value!r}, expected None or {only!r}")


class LBFGS(BatchSolver):
    """Limited-memory BFGS with a strong Wolfe line search, for any smooth loss and penalties.

    The direction comes from the last `memory` pairs of steps and changes of the gradient (D. Liu,
    J. Nocedal, 1989), the step length from More and Thuente's search (1994). Memory and work grow
    with the parameters alone: of full-batch methods the one for many weights.

    Parameters
    ----------
    memory : int
        Pairs that are kept.
    line_search : {"strong_wolfe"}
    tol : float
        Stop when no element of the gradient is larger.

    Notes
    -----
    `fit` logs ``gradient_norm`` (after the step), ``step_norm`` and ``evaluations`` of loss and
    gradient. Layers in Python and losses with value and gradient are fine; random layers are not.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> x = np.linspace(-1, 1, 41)[:, None]
    >>> layers = [bp.layers.Dense(8, "tanh"), bp.layers.Dense(1)]
    >>> model = bp.Sequential(layers, seed=0, dtype="float64")
    >>> model.compile(bp.optimizers.LBFGS(), "mse")
    >>> history = model.fit(x, x**2, epochs=100, verbose=0)
    >>> history.history["loss"][-1] < 1e-4
    True
    """

    name = "lbfgs"
    reports = ("gradient_norm", "step_norm", "evaluations")

    def __init__(
        self, memory: int = 10, line_search: str = "strong_wolfe", tol: float = 1e-7
    ) -> None:
        super().__init__()
        self.memory = checks.integer("memory", memory, 1)
        if line_search != "strong_wolfe":
            raise ValueError(f"line_search: got {line_search!r}, expected 'strong_wolfe'")
        self.line_search = line_search
        self.tol = checks.real("tol", tol, 0.0)

    def options(self) -> dict[str, float]:
        return {"memory": float(self.memory), "tol": self.tol}

    def arrays(self, size: int) -> dict[str, tuple[int, ...]]:
        return {"count": (1,), "s": (self.memory * size,), "y": (self.memory * size,)}


class ScaledConjugateGradient(BatchSolver):
    """Conjugate gradients with step lengths from curvature, without a line search.

    Two or three evaluations of loss and gradient an iteration (M. Moller, "A scaled conjugate
    gradient algorithm for fast supervised learning", 1993; MATLAB's ``trainscg``).

    Parameters
    ----------
    tol : float
        Stop when no element of the gradient is larger.

    Notes
    -----
    `fit` logs ``gradient_norm`` (before the step), ``step_norm`` (0: none was taken) and
    ``lambda``, the damping.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> x = np.linspace(-1, 1, 41)[:, None]
    >>> model = bp.Sequential([bp.layers.Dense(1)], seed=0, dtype="float64")
    >>> model.compile(bp.optimizers.ScaledConjugateGradient(), "mse")
    >>> history = model.fit(x, 2 * x + 1, epochs=20, verbose=0)
    >>> history.history["loss"][-1] < 1e-12
    True
    """

    name = "scaled_conjugate_gradient"
    reports = ("gradient_norm", "step_norm", "lambda")

    def __init__(self, tol: float = 1e-7) -> None:
        super().__init__()
        self.tol = checks.real("tol", tol, 0.0)

    def options(self) -> dict[str, float]:
        return {"tol": self.tol}

    def arrays(self, size: int) -> dict[str, tuple[int, ...]]:
        return {"direction": (size,), "scales": (6,)}
