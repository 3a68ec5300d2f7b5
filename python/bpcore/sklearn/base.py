"""What MLPClassifier and MLPRegressor share: building, the two ways of training, prediction."""

from __future__ import annotations

import itertools
import math
import operator
import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import activations, layers, optimizers, regularizers
from ..base import checks
from ..base.memory import Array
from ..callbacks.base import as_list
from ..errors import TrainingDiverged
from ..graph.parameter import assign
from ..model.sequential import Sequential
from .data import Batches, blocks, dense, outputs_of, random_state, sample_weights
from .limits import limited
from .stopping import Watch

_ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid"}  # scikit-learn's names
_SOLVERS = ("lbfgs", "sgd", "adam")
_RATES = ("constant", "invscaling", "adaptive")
_FEW = 4096  # elements of a matrix that is checked faster than by validate_data
_NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


class MLP(BaseEstimator):
    """Base of the estimators; the public classes list the arguments."""

    # ---- what a kind of estimator says -------------------------------------------------------
    def _opened(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        """X and y, of files too; see `FromFiles`."""
        raise NotImplementedError

    def _learned(self, x: Any, y: Any, anew: bool) -> tuple[Any, Any]:
        """The same to train on."""
        raise NotImplementedError

    def _targets(self, y: Any, first: bool, incremental: bool) -> Array:
        """Targets as the model takes them; learns the classes when `first`."""
        raise NotImplementedError

    def _taught(self, y: Array) -> Array:
        """Targets as the loss takes them at the least cost."""
        return y

    def _outputs(self, y: Array) -> tuple[int, str, Any, float]:
        """Number of outputs, last activation, loss and its weight."""
        raise NotImplementedError

    def _reported(self, y: Array) -> Any:
        """A function from the logs to the loss that scikit-learn reports."""
        return operator.itemgetter("loss")

    def _score_of(self, x: Any, y: Any, weight: Any) -> float:
        """The score that early stopping watches."""
        raise NotImplementedError

    # ---- arguments ---------------------------------------------------------------------------
    def _check_arguments(self) -> None:
        if self.solver not in _SOLVERS:
            raise checks.unknown("solver", self.solver, _SOLVERS)
        checks.choice("learning_rate", self.learning_rate, _RATES)
        checks.real("alpha", self.alpha, 0.0)
        checks.real("learning_rate_init", self.learning_rate_init, 0.0, open_low=True)
        checks.real("tol", self.tol, 0.0)
        checks.real("momentum", self.momentum, 0.0, 1.0)
        checks.real("validation_fraction", self.validation_fraction, 0.0, 1.0, open_high=True)
        checks.integer("max_iter", self.max_iter)
        if self.n_iter_no_change != math.inf:
            checks.integer("n_iter_no_change", self.n_iter_no_change)
        if not (isinstance(self.batch_size, str) and self.batch_size == "auto"):
            checks.integer("batch_size", self.batch_size)
        for name in ("shuffle", "warm_start", "early_stopping", "nesterovs_momentum", "batch_norm"):
            checks.boolean(name, getattr(self, name))

    def _hidden(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        listed = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(not isinstance(n, Integral) or n <= 0 for n in listed):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {listed}.")
        return [checks.integer("hidden_layer_sizes", n) for n in listed]

    def _activations(self, count: int) -> list[Any]:
        given = self.activation
        listed = list(given) if isinstance(given, (list, tuple)) else [given] * count
        if len(listed) != count:
            raise ValueError(
                f"activation: got {len(listed)}, expected one, or one for each of the {count} "
                "hidden layers"
            )
        return [
            activations.get(_ACTIVATIONS.get(name, name) if isinstance(name, str) else name)
            for name in listed
        ]

    # ---- the model ---------------------------------------------------------------------------
    def _build(self, n_features: int, y: Array, dtype: str) -> None:
        """A new model with scikit-learn's first weights, and the attributes of a new fit."""
        hidden = self._hidden()
        outputs, end, _, _ = self._outputs(y)
        rates = self.dropout if isinstance(self.dropout, Sequence) else [self.dropout] * len(hidden)
        if len(rates) != len(hidden):
            raise ValueError(f"dropout: got {len(rates)} rates, expected {len(hidden)}")
        drawn = self._first_weights([n_features, *hidden, outputs])
        stack: list[Any] = []
        for units, f, rate in zip(hidden, self._activations(len(hidden)), rates, strict=True):
            if self.batch_norm:
                stack += [layers.Dense(units), layers.BatchNormalization(), layers.Activation(f)]
            else:
                stack.append(layers.Dense(units, f))
            if rate:
                stack.append(layers.Dropout(rate))
        stack.append(layers.Dense(outputs, end))
        self.model_ = Sequential(stack, dtype=dtype, seed=int(self._random.randint(2**31 - 1)))
        self.model_.build((n_features,))
        for layer, (kernel, bias) in zip(self._dense_layers(), drawn, strict=True):
            layer.kernel.value, layer.bias.value = kernel.astype(dtype), bias.astype(dtype)
        self.n_layers_ = len(hidden) + 2
        self.n_outputs_ = outputs
        self.out_activation_ = {"linear": "identity", "sigmoid": "logistic"}.get(end, end)
        if end == "exponential":
            self.out_activation_ = "exp"
        self.t_ = 0
        self._optimizer: Any = None
        self._point_at_weights()

    def _first_weights(self, units: list[int]) -> list[tuple[Array, Array]]:
        """Kernels and biases as scikit-learn draws them, before anything else is drawn."""
        factor = 2.0 if self.activation == "logistic" else 6.0
        drawn = []
        for fan_in, fan_out in itertools.pairwise(units):
            bound = math.sqrt(factor / (fan_in + fan_out))
            kernel = self._random.uniform(-bound, bound, (fan_in, fan_out))
            drawn.append((kernel, self._random.uniform(-bound, bound, fan_out)))
        return drawn

    def _dense_layers(self) -> list[Any]:
        return [layer for layer in self.model_.layers if isinstance(layer, layers.Dense)]

    def _point_at_weights(self) -> None:
        self._kept = [layer.kernel.value for layer in self._dense_layers()]
        self._kept_biases = [layer.bias.value for layer in self._dense_layers()]
        self.coefs_, self.intercepts_ = list(self._kept), list(self._kept_biases)
        self._dtype = np.dtype(self.model_.dtype)

    def _take_weights(self) -> None:
        """Weights that a user assigned to `coefs_` or `intercepts_` become the model's."""
        found = []
        for layer, kernel, bias in zip(
            self._dense_layers(), self.coefs_, self.intercepts_, strict=True
        ):
            for p, array in ((layer.kernel, kernel), (layer.bias, bias)):
                if array is not p.value:
                    found.append((p, p.check(np.asarray(array, p.dtype).reshape(p.shape))))
        assign([p for p, _ in found], [array for _, array in found])
        self._point_at_weights()

    def _compile(self, y: Array, rows: int, mean_weight: float) -> None:
        """Optimizer, loss and a penalty of alpha / 2 per row of a batch."""
        _, _, loss, scale = self._outputs(y)
        if self._optimizer is None:
            rate = self.learning_rate_init
            if self.solver == "sgd":
                self._optimizer = optimizers.SGD(
                    rate, momentum=self.momentum,
                    nesterov=bool(self.nesterovs_momentum and self.momentum > 0),
                )  # fmt: skip
            else:
                self._optimizer = optimizers.Adam(
                    rate, beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon
                )
        strength = 0.5 * self.alpha / (rows * mean_weight)
        for layer in self._dense_layers():
            layer.kernel.regularizer = regularizers.L2(strength) if strength else None
        self.model_.compile(
            self._optimizer, loss, loss_weights=[scale],
            weighted_metrics=["mse"] if loss == "half_squared_error" else [],
        )  # fmt: skip

    # ---- fit ---------------------------------------------------------------------------------
    def _fit(
        self, x: Any, y: Any, weight: Any, incremental: bool, x_val: Any = None, y_val: Any = None
    ) -> Any:
        self._check_arguments()
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        if (x_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together")
        if incremental and self.early_stopping and x_val is None:
            raise ValueError(
                "partial_fit does not support early_stopping=True without rows to watch; give "
                "X_val and y_val"
            )
        x, y = self._validated(*self._learned(x, y, not incremental), first)
        y = self._targets(y, first, incremental)
        held = None if x_val is None else self._watched(x_val, y_val, y)
        weight = self._weights(x, y, weight)
        self._random = random_state(self.random_state)
        set_by_hand = first is False and not hasattr(self, "model_")
        if first or set_by_hand:
            given = (self.coefs_, self.intercepts_) if set_by_hand else None
            self._build(x.shape[1], y, str(x.dtype))
            if given is not None:
                self.coefs_, self.intercepts_ = given
        self._take_weights()
        if first:
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            self.validation_scores_: Any = [] if self._watches(held) else None
            self.best_validation_score_: Any = -np.inf if self._watches(held) else None
            self.best_loss_: Any = None if self._watches(held) else np.inf
            self.stopped_ = False
        with limited(self.n_threads):
            if self.solver == "lbfgs":
                self._fit_lbfgs(x, y, weight)
            else:
                self._fit_stochastic(x, y, weight, incremental, held)
        self._point_at_weights()
        if not all(np.isfinite(w).all() for w in [*self.coefs_, *self.intercepts_]):
            raise ValueError(_NOT_FINITE)
        return self

    def _validated(self, x: Any, y: Any, first: bool) -> tuple[Any, Any]:
        x, y = validate_data(
            self, x, y, accept_sparse=["csr", "csc"], multi_output=True, reset=first,
            dtype=(np.float64, np.float32), y_numeric=self._y_numeric,
        )  # fmt: skip
        return (x.tocsr() if sparse.issparse(x) else x), y

    def _watched(self, x: Any, y: Any, targets: Array) -> tuple[Any, Array]:
        """Rows of the user's own that decide when to stop, checked like those to train on."""
        x, y = self._validated(*self._opened(x, y), False)
        return x, self._held_targets(y, targets)

    def _held_targets(self, y: Array, targets: Array) -> Array:
        """Targets of such rows as predictions are given; ValueError if they do not fit."""
        raise NotImplementedError

    def _weights(self, x: Any, y: Array, weight: Any) -> Any:
        if self.class_weight is not None:
            by_class = compute_sample_weight(self.class_weight, self._class_of(y))
            weight = by_class if weight is None else by_class * sample_weights(weight, x)
        return None if weight is None else sample_weights(weight, x, dtype=x.dtype)

    def _class_of(self, y: Array) -> Array:
        raise ValueError(f"class_weight: {type(self).__name__} has no classes; use sample_weight")

    def _watches(self, held: Any) -> bool:
        return bool(self.early_stopping or held is not None) and self.solver != "lbfgs"

    def _held_out(self, x: Any, y: Array, weight: Any) -> tuple[Any, ...]:
        """Training rows and those that early stopping watches, split as scikit-learn does."""
        parts = [x, y] if weight is None else [x, y, weight]
        split = train_test_split(
            *parts, random_state=self._random, test_size=self.validation_fraction,
            stratify=self._strata(y),
        )  # fmt: skip
        if split[1].shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        weights = (None, None) if weight is None else (split[4], split[5])
        return split[0], split[2], weights[0], (split[1], self._labels(split[3]), weights[1])

    def _strata(self, y: Array) -> Array | None:
        return None

    def _labels(self, y: Array) -> Array:
        """Targets as predictions are given."""
        return y

    def _fit_stochastic(
        self, x: Any, y: Array, weight: Any, incremental: bool, held: tuple[Any, Any] | None
    ) -> None:
        validation: Any = None
        if held is not None:
            validation = (*held, None)
        elif self.early_stopping:
            x, y, weight, validation = self._held_out(x, y, weight)
        n = x.shape[0]
        size = min(200, n) if self.batch_size == "auto" else self.batch_size
        if size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. "
                "It is going to be clipped",
                stacklevel=4,
            )
            size = n
        self._compile(y, size, 1.0 if weight is None else float(weight.mean()))
        if weight is not None:
            weight = weight / weight.mean()
        self.n_iter_ = 0
        if not (incremental and hasattr(self, "_best")):
            self._best = self.model_.get_weights()
        watch = Watch(self, validation, n, self._reported(y))
        taught = self._taught(y)
        data: Any = {"x": x, "y": taught, "sample_weight": weight, "batch_size": size}
        if sparse.issparse(x):
            data = {"x": Batches(x, taught, weight, size, self._random if self.shuffle else None)}
        try:
            self.model_.fit(
                **data, epochs=1 if incremental else self.max_iter,
                verbose=1 if self.verbose == "bar" else 0,
                shuffle=bool(self.shuffle), callbacks=[watch, *as_list(self.callbacks)],
            )  # fmt: skip
        except TrainingDiverged as error:
            raise ValueError(f"{_NOT_FINITE} ({error})") from None
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
            watch.converged = True
        if not incremental and not watch.converged and self.n_iter_ == self.max_iter:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.stopped_ = watch.converged
        if validation is not None and (watch.converged or not incremental):
            self.model_.set_weights(self._best)

    def _fit_lbfgs(self, x: Any, y: Array, weight: Any) -> None:
        """SciPy's L-BFGS-B over loss and gradient of all rows."""
        from scipy.optimize import minimize
        from sklearn.utils.optimize import _check_optimize_result

        for option in ("dropout", "batch_norm"):
            if getattr(self, option, None):
                raise ValueError(
                    f"solver='lbfgs' needs one loss for all its evaluations, got {option}="
                    f"{getattr(self, option)!r}; use solver='adam' or 'sgd' with it"
                )
        n = x.shape[0]
        mean = 1.0 if weight is None else float(weight.mean())
        self._compile(y, n, mean)
        weight = None if weight is None else weight / mean
        model, report = self.model_, self._reported(y)

        def function(vector: Array) -> tuple[float, Array]:
            loss, total = 0.0, np.zeros(vector.size)
            for rows in blocks(x):
                w = None if weight is None else weight[rows]
                part, slope = model.loss_and_gradient(
                    vector, dense(x[rows]), y[rows], sample_weight=w
                )
                share = (rows.stop - rows.start) / n
                loss += share * part
                total += share * slope
            return loss, total

        first = model.weights_vector.astype(np.float64)
        found = minimize(
            function, first, method="L-BFGS-B", jac=True,
            options={"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol},
        )  # fmt: skip
        self.n_iter_ = _check_optimize_result("lbfgs", found, self.max_iter)
        model.weights_vector = found.x
        logs = {"loss": float(found.fun)}
        if y.shape[1] > 1 and self._y_numeric:
            apart = np.square(self._outputs_of(x) - y)
            logs["mse"] = float(np.average(apart, axis=0, weights=weight).mean())
        self.loss_ = report(logs)

    # ---- prediction --------------------------------------------------------------------------
    def _forward(self, x: Any) -> Array:
        """The model's outputs for rows that are checked here; one row takes a few microseconds."""
        known = self.__dict__
        if (
            type(x) is np.ndarray
            and x.ndim == 2
            and 0 < x.size <= _FEW
            and "_kept" in known
            and x.dtype == known["_dtype"]
            and x.shape[1] == known["n_features_in_"]
            and x.flags.c_contiguous
            and "feature_names_in_" not in known
            and np.vdot(x, x) < math.inf  # neither NaN nor Inf is in it
            and all(map(operator.is_, known["coefs_"], known["_kept"]))
            and all(map(operator.is_, known["intercepts_"], known["_kept_biases"]))
        ):
            return known["model_"](x)
        check_is_fitted(self)
        self._take_weights()
        x, _ = self._opened(x)
        x = validate_data(
            self, x, accept_sparse=["csr", "csc"], reset=False, dtype=(np.float64, np.float32)
        )
        return self._outputs_of(x.tocsr() if sparse.issparse(x) else x)

    def _outputs_of(self, x: Any) -> Array:
        """The same for rows that were checked before."""
        with limited(self.n_threads):
            return outputs_of(self.model_, x)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
