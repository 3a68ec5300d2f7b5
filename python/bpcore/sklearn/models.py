"""What estimators around models of bpcore share: data, training, answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from ..base.memory import Array
from ..errors import ShapeError
from ..model.model import Model
from .data import Batches, outputs_of, random_state, sample_weights
from .limits import limited
from .sequences import Targets, are_sequences, each, width

_FLOATS = (np.float32, np.float64)


class Estimator(BaseEstimator):
    """Base of `Classes` and `Numbers`."""

    _y_numeric = False
    n_threads: int | None = None

    # ---- what a kind of estimator says -------------------------------------------------------
    def _opened(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        """X and y, of files too; see `FromFiles`."""
        raise NotImplementedError

    def _learned(self, x: Any, y: Any, anew: bool) -> tuple[Any, Any]:
        """The same to train on."""
        raise NotImplementedError

    def _made(self, x: Any, outputs: int, in_steps: bool) -> Model:
        """A new compiled model for such samples."""
        raise NotImplementedError

    def _options(self, x: Any, y: Any, weight: Any) -> dict[str, Any]:
        """The arguments of `Model.fit`."""
        raise NotImplementedError

    # ---- data --------------------------------------------------------------------------------
    def _validated(self, x: Any, y: Any) -> tuple[Any, Any]:
        """X as rows or as a list of sequences, and y."""
        if are_sequences(x):
            x = [np.asarray(item) for item in x]
            features = width(x)
            if features is not None:
                self.n_features_in_ = features
            return x, y
        checked = {"allow_nd": True, "dtype": _FLOATS, "accept_sparse": "csr"}
        if are_sequences(y) or getattr(y, "ndim", 0) == 3:
            return validate_data(self, x, **checked), y
        return validate_data(self, x, y, multi_output=True, y_numeric=self._y_numeric, **checked)

    def _rows(self, x: Any) -> Any:
        """X of a call after `fit`, in the same form."""
        if are_sequences(x):
            return [np.asarray(item) for item in x]
        return validate_data(
            self, x, reset=False, allow_nd=True, dtype=_FLOATS, accept_sparse="csr"
        )

    def _weighed(self, targets: Targets, x: Any, weight: Any) -> Any:
        """A weight for each value of the targets, or None."""
        if weight is None:
            return None
        if targets.in_steps:
            return sample_weights(targets.weights(weight), targets.values, "step")
        return sample_weights(weight, x)

    # ---- fit and use -------------------------------------------------------------------------
    def _train(self, x: Any, y: Array, targets: Targets, weight: Any) -> None:
        """`y`: what the model is to learn of each value of the targets, (M,) classes or (M, K)."""
        if weight is not None:  # of mean 1, so that a row of weight 2 is as two rows
            weight = targets.formed(weight / weight.mean())
        outputs = y.shape[1] if y.ndim > 1 else len(self.classes_)
        model = self._made(x, outputs, targets.in_steps)
        with limited(self.n_threads):
            self.history_ = model.fit(**self._options(x, targets.formed(y), weight))
        self._check_outputs(model, outputs)
        self.model_ = model
        self.n_iter_ = len(self.history_.epoch)

    def _check_outputs(self, model: Model, outputs: int) -> None:
        """Raise if the outputs of a user's model are more or fewer than what is learned."""

    def _values(self, x: Any) -> Any:
        """The model's outputs: an array, or a list of arrays for each step of sequences."""
        check_is_fitted(self)
        x, _ = self._opened(x)
        x = self._rows(x)
        with limited(self.n_threads):
            found = outputs_of(self.model_, x) if sparse.issparse(x) else self.model_.predict(x)
        if len(self.model_.output_activations) != 1:
            raise TypeError(f"the model has several outputs, {type(self).__name__} takes one")
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def batches_of(x: Any, y: Any, weight: Any, size: int | None, state: Any) -> dict[str, Any]:
    """Data of a fit: sparse rows are made dense a batch at a time."""
    if sparse.issparse(x):
        return {"x": Batches(x, y, weight, size or x.shape[0], random_state(state))}
    return {"x": x, "y": y, "sample_weight": weight, "batch_size": size}


class Classes(Estimator):
    """Classes of samples, or of each step of samples."""

    class_weight: Any = None

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train a new model.

        Parameters
        ----------
        X : {array, frame, sparse matrix} (N, ...), path, or list of sequences (T_i, F) or (T_i,)
        y : array (N,), the name of a column of X, or labels of steps: (N, T), list of (T_i,)
        sample_weight : array (N,), or of steps like y, optional
        """
        X, y = self._validated(*self._learned(X, y, True))
        targets = Targets(y, X, classes=True)
        flat = column_or_1d(targets.values, warn=True)
        check_classification_targets(flat)
        self.classes_, labels = np.unique(flat, return_inverse=True)
        weight = self._weighed(targets, X, sample_weight)
        if self.class_weight is not None:
            by_class = compute_sample_weight(self.class_weight, flat)
            weight = by_class if weight is None else by_class * weight
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes, but the data contains "
                f"only one class: {self.classes_.tolist()[0]!r}"
            )
        self._train(X, labels, targets, weight)
        return self

    def _check_outputs(self, model: Model, outputs: int) -> None:
        found = model.outputs[0].shape[-1]
        if found != outputs and (found, outputs) != (1, 2):
            raise ShapeError(
                f"model has {found} outputs, expected {outputs}, one for each class in y; make its "
                "last layer of n_outputs units"
            )

    def predict_proba(self, X: Any) -> Any:
        """Probabilities (N, K) in the order of `classes_`; of steps (N, T, K) or a list of
        (T_i, K)."""
        found = self._values(X)
        (end,) = self.model_.output_activations
        return each(lambda part: _shares(part, end), found)

    def predict(self, X: Any) -> Any:
        """Labels (N,); of steps (N, T) or a list of (T_i,)."""
        return each(lambda part: self.classes_[part.argmax(axis=-1)], self.predict_proba(X))


def _shares(found: Array, end: str) -> Array:
    """Probabilities (..., K) from outputs (..., K) or, of two classes, (..., 1)."""
    if found.shape[-1] == 1:
        p = found if end == "sigmoid" else 1 / (1 + np.exp(-found))
        return np.concatenate([1 - p, p], axis=-1)
    if end == "softmax":
        return found
    if end == "log_softmax":
        return np.exp(found)
    e = np.exp(found - found.max(axis=-1, keepdims=True))
    result: Array = e / e.sum(axis=-1, keepdims=True)
    return result


class Numbers(Estimator):
    """Numbers for samples, or for each step of samples."""

    _y_numeric = True

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train a new model.

        Parameters
        ----------
        X : {array, frame, sparse matrix} (N, ...), path, or list of sequences (T_i, F) or (T_i,)
        y : array (N,) or (N, K), the name of a column of X, or numbers for steps: (N, T, K), list \
of (T_i,) or (T_i, K)
        sample_weight : array (N,), or of steps like y, optional
        """
        X, y = self._validated(*self._learned(X, y, True))
        targets = Targets(y, X, classes=False)
        values = targets.values
        self._flat = values.ndim == 1
        values = values[:, None] if self._flat else values
        self._train(X, values, targets, self._weighed(targets, X, sample_weight))
        return self

    def predict(self, X: Any) -> Any:
        """Numbers, of the rank that `fit` was given."""
        found = self._values(X)
        return each(
            lambda part: part[..., 0] if self._flat and part.shape[-1] == 1 else part, found
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
