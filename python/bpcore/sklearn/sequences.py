"""Lists of sequences in place of rows, and targets for each of their steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ..base.memory import Array
from ..data import frames
from .files import FromFiles


def are_sequences(x: Any) -> bool:
    """Whether these are sequences, which only the model can check, and no rows of a table.

    They are a list, tuple or object array of arrays (T_i, F), or of (T_i,) of unlike lengths.
    """
    if isinstance(x, np.ndarray):
        return x.dtype.kind == "O" and x.ndim == 1 and len(x) > 0 and _length(x[0]) is not None
    if not isinstance(x, (list, tuple)) or not x:
        return False
    if any(getattr(item, "ndim", 0) == 2 for item in x):
        return True
    lengths = {_length(item) for item in x}
    return None not in lengths and len(lengths) > 1


def _is_list(x: Any) -> bool:
    return isinstance(x, (list, tuple)) or (isinstance(x, np.ndarray) and x.dtype.kind == "O")


def _length(item: Any) -> int | None:
    """Of a sequence; None of what is none, such as an array of no axes."""
    one = isinstance(item, (str, bytes)) or getattr(item, "ndim", 1) == 0
    return len(item) if hasattr(item, "__len__") and not one else None


def _have_steps(x: Any, n: int) -> bool:
    """Whether samples have steps: a list with n in each, an array (N, T, F), or (N, T) of ids."""
    if _is_list(x):
        return all(_length(item) == n for item in x)
    return x.ndim == 3 or (x.ndim == 2 and x.dtype.kind in "iub")


def _are_of_steps(y: Any, x: Any) -> bool:
    """Whether a list has a target for each step: of as many as each sequence of a list has."""
    if not _is_list(x):
        return are_sequences(y)
    if not _is_list(y):
        return False
    lengths = [(_length(s), _length(t)) for s, t in zip(x, y, strict=True)]
    apart = next((k for k, (s, t) in enumerate(lengths) if s != t), None)
    if apart is not None and are_sequences(y):
        raise ValueError(
            f"y[{apart}] has {lengths[apart][1]} targets, expected {lengths[apart][0]}, one for "
            f"each step of X[{apart}]; targets of whole sequences are an array (N,)"
        )
    return apart is None


def taken(x: Any, rows: Any) -> Any:
    """Some samples of an array or of a list."""
    return [x[i] for i in rows] if isinstance(x, list) else x[rows]


def width(x: Any) -> int | None:
    """Features of a row, or of a step; None of sequences of numbers (T_i,)."""
    if not isinstance(x, list):
        return int(x.shape[-1])
    return int(x[0].shape[1]) if x[0].ndim == 2 else None


class Targets:
    """Targets, one for each sample or one for each step, as one array over all of them.

    Parameters
    ----------
    y : array (N,), (N, K), (N, T) or (N, T, K), or list of arrays (T_i,) or (T_i, K)
    x : array or list of sequences
    classes : bool
        An array (N, T) holds a class for each step of samples that have steps, but several numbers
        for each sample: numbers for each step are an array (N, T, K).

    Attributes
    ----------
    values : ndarray
        Those of steps stand one after another.
    in_steps : bool
    """

    def __init__(self, y: Any, x: Any, classes: bool) -> None:
        self._cuts: Array | None = None
        self._shape: tuple[int, ...] | None = None
        if y is None:
            raise ValueError("y is None, expected the targets that X is to be trained or scored on")
        check_consistent_length(x, y)
        if _are_of_steps(y, x):
            parts = [np.asarray(part) for part in y]
            self._cuts = np.cumsum([len(part) for part in parts])[:-1]
            self.values: Any = np.concatenate(parts)
        else:
            self.values = y = np.asarray(y)
            of_steps = classes and y.ndim == 2 and y.shape[1] > 1 and _have_steps(x, y.shape[1])
            if y.ndim == 3 or of_steps:
                self._shape = y.shape[:2]
                self.values = y.reshape(-1, *y.shape[2:])
        self.in_steps = self._cuts is not None or self._shape is not None

    def formed(self, values: Any) -> Any:
        """Values like these targets, in the form in which they were given."""
        if values is None:
            return None
        if self._cuts is not None:
            return np.split(values, self._cuts)
        return values if self._shape is None else values.reshape(*self._shape, *values.shape[1:])

    def weights(self, weight: Any) -> Any:
        """Weights of samples, or of steps, as one for each value."""
        if weight is None or not self.in_steps:
            return weight
        weight, steps = frames.sequences(weight), self._steps()
        if are_sequences(weight):
            found = np.concatenate([np.asarray(part) for part in weight])
        else:
            weight = np.asarray(weight)
            alone = weight.shape == (len(steps),)
            found = np.repeat(weight, steps) if alone else weight.reshape(-1)
        if len(found) != len(self.values):
            raise ValueError(
                f"sample_weight has {len(found)} values, expected {len(steps)}, one for each "
                f"sequence, or {len(self.values)}, one for each step, in the form of y"
            )
        if are_sequences(weight) or weight.ndim > 1:
            _check_lengths(weight, steps)
        return found

    def _steps(self) -> Array:
        """How many targets each sequence has."""
        if self._shape is not None:
            return np.full(self._shape[0], self._shape[1])
        return np.diff([0, *self._cuts, len(self.values)])  # type: ignore[misc]


def _check_lengths(weight: Any, steps: Array) -> None:
    """ValueError for weights of a sequence that are more or fewer than its steps."""
    if len(weight) != len(steps):
        raise ValueError(f"sample_weight has {len(weight)} parts, expected {len(steps)}, like y")
    for i, (part, n) in enumerate(zip(weight, steps, strict=True)):
        if len(part) != n:
            raise ValueError(
                f"sample_weight[{i}] has {len(part)} values, expected {n}, one for each step"
            )


def each(function: Callable[[Array], Array], found: Any) -> Any:
    """A function of outputs (..., K), of an array or of each array of a list."""
    return [function(part) for part in found] if isinstance(found, list) else function(found)


class Scored(FromFiles):
    """Base of estimators that may answer for each step: a score counts the steps alike."""

    _metric: Callable[..., Any]

    def _opened(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        x, y = super()._opened(x, y)
        return frames.sequences(x), frames.sequences(y)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of a classifier, R squared of a regressor; over all steps if there is a target
        for each.

        Parameters
        ----------
        X, y
            As in `fit`.
        sample_weight : array (N,), or list of arrays (T_i,), optional
        """
        X, y = self._opened(X, y)
        classes = getattr(self, "_estimator_type", "") == "classifier" or hasattr(self, "classes_")
        check_is_fitted(self)
        rows = self._rows(X)  # type: ignore[attr-defined]
        targets = Targets(y, rows, classes)
        if not targets.in_steps:
            return super().score(X, y, sample_weight)
        found = Targets(self.predict(X), rows, classes)  # type: ignore[attr-defined]
        weight = targets.weights(sample_weight)
        return float(type(self)._metric(targets.values, found.values, sample_weight=weight))
