"""MLPClassifier and MLPRegressor with scikit-learn's arguments, attributes and stopping rules."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import xlogy
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import column_or_1d

from .. import losses
from ..base.memory import Array
from .base import MLP
from .files import FromFiles


def _is_stochastic(estimator: Any) -> bool:
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    return True


class MLPClassifier(FromFiles, ClassifierMixin, MLP):
    """Multi-layer perceptron classifier: scikit-learn's, trained by bpcore.

    Arguments, attributes, losses and stopping rules are scikit-learn's, and its documentation
    holds; first weights are the same for the same `random_state`, the order of the rows is not.
    Data in float32 are trained in float32. `warm_start` keeps the optimizer's state.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, \
power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, \
early_stopping, validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As in scikit-learn. `activation` may be any of `bpcore.activations`, or a list of one for
        each hidden layer; ``verbose="bar"`` shows a progress bar.
    loss : {"log_loss"} or loss of `bpcore.losses`
    dropout : float or list of float
        Rates behind the hidden layers.
    batch_norm : bool
        Whether hidden layers are normalized over the batch before their activation.
    class_weight : dict, "balanced" or None
        Multiplies the sample weights, as in other classifiers of scikit-learn.
    callbacks : list of Callback, optional
        Of `bpcore.callbacks`, called while `fit` runs.
    n_threads : int, optional
        At most this number of threads; by default as `bpcore.set_num_threads` says.

    Attributes
    ----------
    classes_, coefs_, intercepts_, loss_, best_loss_, loss_curve_, validation_scores_, \
best_validation_score_, n_iter_, t_, n_layers_, n_outputs_, out_activation_, n_features_in_, \
feature_names_in_
        As in scikit-learn.
    model_ : bpcore.Sequential
        The network itself.
    stopped_ : bool
        Whether the rule for stopping ended the training.

    Examples
    --------
    >>> import bpcore as bp
    >>> from bpcore.sklearn import MLPClassifier
    >>> (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    >>> net = MLPClassifier((32,), early_stopping=True, dropout=0.1, random_state=0).fit(x, y)
    >>> net.predict_proba(xt[:1]).shape
    (1, 10)
    """

    _y_numeric = False

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        dropout: Any = 0.0,
        batch_norm: bool = False,
        class_weight: Any = None,
        callbacks: Any = None,
        n_threads: int | None = None,
    ) -> None:
        self.hidden_layer_sizes, self.activation, self.solver = (
            hidden_layer_sizes, activation, solver)  # fmt: skip
        self.alpha, self.batch_size, self.learning_rate = alpha, batch_size, learning_rate
        self.learning_rate_init, self.power_t, self.max_iter = learning_rate_init, power_t, max_iter
        self.shuffle, self.random_state, self.tol = shuffle, random_state, tol
        self.verbose, self.warm_start, self.momentum = verbose, warm_start, momentum
        self.nesterovs_momentum, self.early_stopping = nesterovs_momentum, early_stopping
        self.validation_fraction, self.beta_1, self.beta_2 = validation_fraction, beta_1, beta_2
        self.epsilon, self.n_iter_no_change, self.max_fun = epsilon, n_iter_no_change, max_fun
        self.loss, self.dropout, self.batch_norm = loss, dropout, batch_norm
        self.class_weight, self.callbacks, self.n_threads = class_weight, callbacks, n_threads

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None
    ) -> MLPClassifier:
        """Train.

        Parameters
        ----------
        X : {array, frame, sparse matrix} (N, F), or path
            A sparse matrix is made dense a batch at a time. A csv, tsv, parquet or npz file of
            numbers is taken for the frame that it holds (needs pandas).
        y : array (N,) or (N, K), or str
            Labels, or indicators of several labels, or the column of X that holds labels.
        sample_weight : array (N,), optional
        X_val, y_val : optional
            Rows whose accuracy decides when to stop, in place of a split of X.

        Returns
        -------
        MLPClassifier
        """
        self._fit(X, y, sample_weight, False, X_val, y_val)
        return self

    @available_if(_is_stochastic)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        X_val: Any = None,
        y_val: Any = None,
    ) -> MLPClassifier:
        """One epoch over the given rows.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array (K,)
            All classes; needed in the first call.
        X_val, y_val : optional
            Rows whose accuracy is added to `validation_scores_`. Once it has not improved for
            `n_iter_no_change` calls, the best weights come back and `stopped_` is True: the sign
            for your own loop to end. `early_stopping=True` needs them here.
        """
        X, y = self._learned(X, y, False)
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer.fit(y if multilabel else classes)
        self._fit(X, y, sample_weight, True, X_val, y_val)
        return self

    def _targets(self, y: Any, first: bool, incremental: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            classes = unique_labels(y)
            if self.warm_start and not incremental and set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the "
                    f"previous call to fit. Previously got {self.classes_}, `y` has {classes}"
                )
            if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                    f"'y' has {classes}."
                )
        return self._indicators(y)

    def _indicators(self, y: Array) -> Array:
        """A column for each class (one for two classes) or label: what the binarizer transforms to,
        without its checks of labels that were checked before."""
        if self._label_binarizer.y_type_.startswith("multilabel"):
            result: Array = self._label_binarizer.transform(y).astype(bool)
            return result
        place = np.searchsorted(self.classes_, y)
        columns = np.arange(len(self.classes_)) if len(self.classes_) > 2 else np.array([1])
        return place[:, None] == columns

    def _taught(self, y: Array) -> Array:
        if self._multiclass and isinstance(self.loss, str) and self.loss == "log_loss":
            return y.argmax(axis=1)  # a loss of labels costs less than one of indicators
        return y

    @property
    def _multiclass(self) -> bool:
        return bool(self._label_binarizer.y_type_ == "multiclass")

    def _outputs(self, y: Array) -> tuple[int, str, Any, float]:
        k = y.shape[1]
        end = "softmax" if self._multiclass else "sigmoid"
        if not (isinstance(self.loss, str) and self.loss == "log_loss"):
            return k, end, losses.get(self.loss), 1.0
        return (
            k,
            end,
            "cross_entropy" if self._multiclass else "binary_cross_entropy",
            (1.0 if self._multiclass else float(k)),
        )

    def _class_of(self, y: Array) -> Array:
        if not self._multiclass and y.shape[1] > 1:
            raise ValueError("class_weight: several labels have no one class; use sample_weight")
        return np.asarray(self._label_binarizer.inverse_transform(y))

    def _held_targets(self, y: Array, targets: Array) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        multilabel = not self._multiclass and targets.shape[1] > 1
        unknown = np.setdiff1d(unique_labels(y), self.classes_)
        if len(unknown) or multilabel != (y.ndim == 2):
            raise ValueError(
                f"y_val has classes {unique_labels(y)} and shape {y.shape}, expected "
                f"{self.classes_} and targets like those to train on"
            )
        return y

    def _strata(self, y: Array) -> Array | None:
        return y if y.shape[1] == 1 else None

    def _labels(self, y: Array) -> Array:
        return np.asarray(self._label_binarizer.inverse_transform(y))

    def _score_of(self, x: Any, y: Any, weight: Any) -> float:
        found = self._outputs_of(x)
        if not np.isfinite(found).all():
            return float("nan")
        return float(accuracy_score(y, self._decide(found), sample_weight=weight))

    def _decide(self, found: Array) -> Any:
        if self._multiclass:
            return self.classes_[found.argmax(axis=1)]
        if found.shape[1] == 1 and len(self.classes_) == 2:
            return self.classes_[(found[:, 0] > 0.5).astype(np.intp)]
        return self._label_binarizer.inverse_transform(found)

    def predict(self, X: Any) -> Any:
        """Labels (N,), or indicators (N, K)."""
        return self._decide(self._forward(X))

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (N, K) in the order of `classes_`; of several labels one each."""
        found = self._forward(X)
        if found.shape[1] == 1:
            return np.concatenate([1 - found, found], axis=1)
        return found

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`."""
        found = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            result: Array = np.log(found)
        return result

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(FromFiles, RegressorMixin, MLP):
    """Multi-layer perceptron regressor: scikit-learn's, trained by bpcore.

    See `MLPClassifier` for what is the same and what is new.

    Parameters
    ----------
    loss : {"squared_error", "poisson"} or loss of `bpcore.losses`
        For example ``"mae"``, ``"huber"`` or ``bpcore.losses.Quantile``.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, \
power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, \
early_stopping, validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As in scikit-learn.
    dropout, batch_norm, callbacks, n_threads
        As in `MLPClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from bpcore.sklearn import MLPRegressor
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> net = MLPRegressor(hidden_layer_sizes=(20,), solver="lbfgs", random_state=0)
    >>> net = net.fit(x, np.sin(3 * x[:, 0]))
    >>> net.score(x, np.sin(3 * x[:, 0])) > 0.99
    True
    """

    _y_numeric = True

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        batch_norm: bool = False,
        callbacks: Any = None,
        n_threads: int | None = None,
    ) -> None:
        self.loss, self.hidden_layer_sizes, self.activation = loss, hidden_layer_sizes, activation
        self.solver, self.alpha, self.batch_size = solver, alpha, batch_size
        self.learning_rate, self.learning_rate_init = learning_rate, learning_rate_init
        self.power_t, self.max_iter, self.shuffle = power_t, max_iter, shuffle
        self.random_state, self.tol, self.verbose = random_state, tol, verbose
        self.warm_start, self.momentum = warm_start, momentum
        self.nesterovs_momentum, self.early_stopping = nesterovs_momentum, early_stopping
        self.validation_fraction, self.beta_1, self.beta_2 = validation_fraction, beta_1, beta_2
        self.epsilon, self.n_iter_no_change, self.max_fun = epsilon, n_iter_no_change, max_fun
        self.dropout, self.batch_norm = dropout, batch_norm
        self.callbacks, self.n_threads = callbacks, n_threads

    class_weight = None  # of classifiers

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None
    ) -> MLPRegressor:
        """Train; arguments as in `MLPClassifier.fit`, `y` (N,) or (N, K) numbers or
        the name of a column."""
        self._fit(X, y, sample_weight, False, X_val, y_val)
        return self

    @available_if(_is_stochastic)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None
    ) -> MLPRegressor:
        """One epoch over the given rows; arguments as in `MLPClassifier.partial_fit`."""
        self._fit(X, y, sample_weight, True, X_val, y_val)
        return self

    def _targets(self, y: Any, first: bool, incremental: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        y = np.asarray(y, np.float64)
        if isinstance(self.loss, str) and self.loss == "poisson" and y.min() < 0:
            raise ValueError("loss='poisson' needs targets >= 0")
        return y.reshape(len(y), -1)

    def _outputs(self, y: Array) -> tuple[int, str, Any, float]:
        k = y.shape[1]
        if isinstance(self.loss, str) and self.loss == "squared_error":
            return k, "linear", "half_squared_error", 1.0
        if isinstance(self.loss, str) and self.loss == "poisson":
            return k, "exponential", "poisson", float(k)
        return k, "linear", losses.get(self.loss), 1.0

    def _reported(self, y: Array) -> Any:
        k = y.shape[1]
        kind = self.loss if isinstance(self.loss, str) else ""
        if kind == "poisson":
            constant = float((xlogy(y, y) - y).mean(axis=0).sum())
            return lambda logs: logs["loss"] + constant
        if kind == "squared_error" and k > 1:  # the loss is a sum over outputs, reported as a mean
            return lambda logs: logs["loss"] - 0.5 * (k - 1) * logs["mse"]
        return super()._reported(y)

    def _score_of(self, x: Any, y: Any, weight: Any) -> float:
        found = self._outputs_of(x)
        if not np.isfinite(found).all():
            return float("nan")
        return float(r2_score(y, found, sample_weight=weight))

    def _held_targets(self, y: Array, targets: Array) -> Array:
        y = np.asarray(y, np.float64).reshape(len(y), -1)
        if y.shape[1] != targets.shape[1]:
            raise ValueError(
                f"y_val has {y.shape[1]} outputs, expected {targets.shape[1]} as those to train on"
            )
        return y

    def predict(self, X: Any) -> Array:
        """Numbers (N,), or (N, K) for several outputs."""
        found = self._forward(X)
        return found.ravel() if found.shape[1] == 1 else found
