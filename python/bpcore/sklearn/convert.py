"""Fitted networks between scikit-learn's classes and bpcore's, weights exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.utils.validation import check_is_fitted

from ..base import checks
from .mlp import MLPClassifier, MLPRegressor

_LEARNED = (
    "classes_", "_label_binarizer", "n_features_in_", "feature_names_in_", "n_outputs_",
    "n_layers_", "out_activation_", "n_iter_", "t_", "loss_", "best_loss_", "loss_curve_",
    "validation_scores_", "best_validation_score_", "_no_improvement_count",
)  # fmt: skip
_PAIRS = (
    (neural_network.MLPClassifier, MLPClassifier),
    (neural_network.MLPRegressor, MLPRegressor),
)


def from_sklearn(estimator: Any) -> Any:
    """A fitted `MLPClassifier` or `MLPRegressor` of bpcore from scikit-learn's.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or MLPRegressor, fitted

    Returns
    -------
    MLPClassifier or MLPRegressor
        With the same arguments and, to the last bit, the same weights.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neural_network import MLPRegressor
    >>> from bpcore.sklearn import from_sklearn
    >>> x = np.linspace(0, 1, 20)[:, None]
    >>> old = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", random_state=0).fit(x, x[:, 0])
    >>> bool(np.allclose(from_sklearn(old).predict(x), old.predict(x)))
    True
    """
    return _convert(estimator, dict(_PAIRS), "scikit-learn")


def to_sklearn(estimator: Any) -> Any:
    """A fitted estimator of scikit-learn from bpcore's `MLPClassifier` or `MLPRegressor`.

    Raises
    ------
    ValueError
        scikit-learn has no dropout, batch normalization, other losses or activations to take it.
    """
    strange = [
        name
        for name, plain in (("dropout", 0.0), ("batch_norm", False))
        if np.any(getattr(estimator, name, plain))
    ]
    if isinstance(estimator, (MLPClassifier, MLPRegressor)):
        names = ("identity", "logistic", "tanh", "relu")
        if estimator.activation not in names:
            strange.append("activation")
        if estimator.loss not in ("log_loss", "squared_error", "poisson"):
            strange.append("loss")
    if strange:
        raise ValueError(f"to_sklearn: scikit-learn has nothing like {', '.join(strange)}")
    return _convert(estimator, {new: old for old, new in _PAIRS}, "bpcore")


def _convert(estimator: Any, classes: dict[type, type], whose: str) -> Any:
    cls: Any = classes.get(type(estimator))
    if cls is None:
        raise TypeError(
            f"expected an MLPClassifier or MLPRegressor of {whose}, got "
            f"{checks.describe(estimator)}"
        )
    check_is_fitted(estimator)
    known = cls._get_param_names()
    given = estimator.get_params(deep=False)
    new = cls(**{key: value for key, value in given.items() if key in known})
    for name in _LEARNED:
        if hasattr(estimator, name):
            setattr(new, name, getattr(estimator, name))
    coefs = [np.array(w) for w in estimator.coefs_]
    intercepts = [np.array(b) for b in estimator.intercepts_]
    if isinstance(new, (MLPClassifier, MLPRegressor)):
        new._random = np.random.RandomState(0)
        new._build(coefs[0].shape[0], np.zeros((1, coefs[-1].shape[1])), str(coefs[0].dtype))
        for name in ("t_", "out_activation_"):
            setattr(new, name, getattr(estimator, name))
        new.coefs_, new.intercepts_ = coefs, intercepts
        new._take_weights()
    else:
        new.coefs_, new.intercepts_ = coefs, intercepts
    return new
