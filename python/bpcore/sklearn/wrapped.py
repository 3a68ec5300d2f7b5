"""Any bpcore model as an estimator of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from .. import layers
from ..base import arguments, checks
from ..base.memory import Array
from ..model.model import Model
from ..model.sequential import Sequential
from ..optimizers import Optimizer
from .data import Batches, outputs_of, random_state
from .limits import limited


def _is_sequences(x: Any) -> bool:
    """A list of arrays of two axes is a list of sequences, which only the model can check."""
    return isinstance(x, (list, tuple)) and len(x) > 0 and getattr(x[0], "ndim", 0) == 2


def _own(optimizer: Any) -> Any:
    """An optimizer for one model: an argument of an estimator must stay as it was given."""
    if isinstance(optimizer, Optimizer):
        return type(optimizer).from_config(optimizer.get_config())
    return optimizer


class Wrapped(BaseEstimator):
    """Base of `Classifier` and `Regressor`."""

    _loss = ""
    _y_numeric = False

    def __init__(
        self,
        model: Any = None,
        *,
        epochs: int = 100,
        batch_size: int | None = 32,
        optimizer: Any = "adam",
        loss: Any = None,
        validation_split: float = 0.0,
        callbacks: Any = None,
        random_state: Any = None,
        verbose: int = 0,
        model_arguments: Any = None,
    ) -> None:
        self.model, self.epochs, self.batch_size = model, epochs, batch_size
        self.optimizer, self.loss, self.validation_split = optimizer, loss, validation_split
        self.callbacks, self.random_state, self.verbose = callbacks, random_state, verbose
        self.model_arguments = model_arguments

    def _validated(self, x: Any, y: Any) -> tuple[Any, Any]:
        if _is_sequences(x):
            return x, np.asarray(y)
        return validate_data(
            self, x, y, multi_output=True, allow_nd=True, y_numeric=self._y_numeric,
            dtype=(np.float32, np.float64), accept_sparse="csr",
        )  # fmt: skip

    def _made(self, outputs: int, features: Any) -> Model:
        """A model of the estimator's own: never the one that was given, which stays as it is."""
        seed = int(random_state(self.random_state).randint(2**31 - 1))
        given = self.model
        if given is None:
            made: Any = Sequential([layers.Dense(64, "relu"), layers.Dense(outputs)], seed=seed)
        elif isinstance(given, Model):
            made = type(given).from_config(given.get_config())
            if given.built:
                made.set_weights(given.get_weights())
        elif callable(given):
            offered = {"n_outputs": outputs, "n_features": features, "seed": seed}
            made = arguments.called(given, offered, **dict(self.model_arguments or {}))
        else:
            raise TypeError(
                "model must be a bpcore model, a function that makes one, or None, got "
                f"{checks.describe(given)}"
            )
        if not isinstance(made, Model):
            raise TypeError(f"model: the function made {checks.describe(made)}, expected a Model")
        if not made.compiled or self.loss is not None:
            made.compile(_own(self.optimizer), self.loss or self._loss)
        return made

    def _train(self, x: Any, y: Array, outputs: int, weight: Any) -> None:
        features = None if _is_sequences(x) else x.shape[1]
        if weight is not None:  # of mean 1, so that a row of weight 2 is as two rows
            weight = weight / weight.mean()
        model = self._made(outputs, features)
        data: dict[str, Any] = {"x": x, "y": y, "sample_weight": weight,
                                "batch_size": self.batch_size}  # fmt: skip
        if sparse.issparse(x):
            random = random_state(self.random_state)
            data = {"x": Batches(x, y, weight, self.batch_size or x.shape[0], random)}
        with limited(None):
            self.history_ = model.fit(
                **data, epochs=self.epochs, validation_split=self.validation_split,
                callbacks=self.callbacks, verbose=self.verbose,
            )  # fmt: skip
        self.model_ = model
        self.n_iter_ = len(self.history_.epoch)

    def _values(self, x: Any) -> Array:
        check_is_fitted(self)
        if not _is_sequences(x):
            x = validate_data(
                self, x, reset=False, allow_nd=True, dtype=(np.float32, np.float64),
                accept_sparse="csr",
            )  # fmt: skip
        found = outputs_of(self.model_, x) if sparse.issparse(x) else self.model_.predict(x)
        if not isinstance(found, np.ndarray):
            raise TypeError(f"the model has several outputs, {type(self).__name__} takes one")
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class Classifier(ClassifierMixin, Wrapped):
    """A bpcore model as a classifier of scikit-learn.

    Parameters
    ----------
    model : Model, function or None
        A model is copied before it is trained. A function is called for each fit, with those of
        the arguments ``n_outputs``, ``n_features`` and ``seed`` that it has, and returns a model,
        compiled or not. None is one hidden layer of 64 relu units.
    epochs, batch_size, validation_split, callbacks, verbose
        As in `bpcore.Model.fit`.
    optimizer, loss
        As in `bpcore.Model.compile`, for models that are not compiled yet.
    class_weight : dict, "balanced" or None
    random_state : int, RandomState or None
    model_arguments : dict, optional
        Further arguments of the function.

    Attributes
    ----------
    classes_, n_features_in_, n_iter_
    model_ : bpcore.Model
    history_ : History

    Examples
    --------
    >>> import bpcore as bp
    >>> from bpcore.sklearn import Classifier
    >>> def build(n_outputs, seed):
    ...     layers = [bp.layers.Dense(32, "tanh"), bp.layers.Dense(n_outputs)]
    ...     return bp.Sequential(layers, seed=seed)
    >>> (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    >>> Classifier(build, epochs=10, random_state=0).fit(x, y).score(xt, yt) > 0.9
    True
    """

    _loss = "cross_entropy"

    def __init__(
        self,
        model: Any = None,
        *,
        epochs: int = 100,
        batch_size: int | None = 32,
        optimizer: Any = "adam",
        loss: Any = None,
        validation_split: float = 0.0,
        callbacks: Any = None,
        class_weight: Any = None,
        random_state: Any = None,
        verbose: int = 0,
        model_arguments: Any = None,
    ) -> None:
        super().__init__(
            model, epochs=epochs, batch_size=batch_size, optimizer=optimizer, loss=loss,
            validation_split=validation_split, callbacks=callbacks, random_state=random_state,
            verbose=verbose, model_arguments=model_arguments,
        )  # fmt: skip
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Classifier:
        """Train a new model; X (N, ...), sparse or a list of sequences, y (N,) labels."""
        X, y = self._validated(X, y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        if self.class_weight is not None:
            by_class = compute_sample_weight(self.class_weight, y)
            sample_weight = by_class if sample_weight is None else by_class * sample_weight
        if len(self.classes_) < 2:
            raise ValueError(
                f"Classifier needs samples of at least 2 classes, but the data contains only one "
                f"class: {self.classes_[0]!r}"
            )
        self._train(X, labels, len(self.classes_), sample_weight)
        return self

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (N, K), in the order of `classes_`."""
        found = self._values(X)
        (end,) = self.model_.output_activations
        if found.shape[1] == 1:
            p = found if end == "sigmoid" else 1 / (1 + np.exp(-found))
            return np.concatenate([1 - p, p], axis=1)
        if end == "softmax":
            return found
        if end == "log_softmax":
            return np.exp(found)
        e = np.exp(found - found.max(axis=1, keepdims=True))
        result: Array = e / e.sum(axis=1, keepdims=True)
        return result

    def predict(self, X: Any) -> Any:
        """Labels (N,)."""
        found = self.predict_proba(X)
        return self.classes_[found.argmax(axis=1)]


class Regressor(RegressorMixin, Wrapped):
    """A bpcore model as a regressor of scikit-learn; see `Classifier` for the arguments.

    Examples
    --------
    >>> import numpy as np
    >>> import bpcore as bp
    >>> from bpcore.sklearn import Regressor
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> Regressor(epochs=100, random_state=0).fit(x, x[:, 0] ** 2).score(x, x[:, 0] ** 2) > 0.9
    True
    """

    _loss = "mse"
    _y_numeric = True

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Regressor:
        """Train a new model; X (N, ...), sparse or a list of sequences, y (N,) or (N, K)."""
        X, y = self._validated(X, y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        self._flat = y.ndim == 1
        targets = y[:, None] if y.ndim == 1 else y
        self._train(X, targets, targets.shape[-1], sample_weight)
        return self

    def predict(self, X: Any) -> Array:
        """Numbers, of the rank that `fit` was given."""
        found = self._values(X)
        return found[:, 0] if self._flat and found.shape[1:] == (1,) else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
