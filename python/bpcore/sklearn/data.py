"""Rows of dense and sparse matrices for the estimators, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight

from ..base.memory import Array

BLOCK = 1024  # rows of a sparse matrix that are made dense at once


def dense(x: Any) -> Array:
    """A block of rows as an ndarray."""
    result: Array = x.toarray() if sparse.issparse(x) else np.asarray(x)
    return result


def blocks(x: Any) -> Iterator[slice]:
    """Slices of rows: all of a dense matrix, or a block of a sparse one."""
    n = x.shape[0]
    size = BLOCK if sparse.issparse(x) else n
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def random_state(given: Any) -> np.random.RandomState:
    """What `random_state` means: as everywhere in scikit-learn, or a Generator of NumPy's."""
    if isinstance(given, np.random.Generator):
        return np.random.RandomState(given.bit_generator)
    result: np.random.RandomState = check_random_state(given)
    return result


def sample_weights(weight: Any, x: Any, place: str = "row", **options: Any) -> Array:
    """Weights (N,) as scikit-learn checks them, of which none may be negative."""
    found: Array = _check_sample_weight(weight, x, **options)
    if (found < 0).any():
        row = int((found < 0).argmax())
        raise ValueError(
            f"sample_weight contains {found[row]:g} at {place} {row}, expected finite weights >= 0"
        )
    return found


def outputs_of(model: Any, x: Any) -> Array:
    """What a model with one output says to rows that were checked before."""
    found = [model.predict(dense(x[rows]), check_finite=False) for rows in blocks(x)]
    result: Array = found[0] if len(found) == 1 else np.concatenate(found)
    return result


class Batches:
    """The batches of a sparse matrix, each dense, in a new order for each epoch.

    Parameters
    ----------
    x : sparse matrix (N, F)
    y : ndarray (N, ...)
    weight : ndarray (N,) or None
    size : int
        Rows of a batch.
    random : numpy.random.RandomState or None
        Shuffles; None keeps the order.
    """

    def __init__(self, x: Any, y: Array, weight: Array | None, size: int, random: Any) -> None:
        self.x, self.y, self.weight = sparse.csr_matrix(x), y, weight
        self.size, self.random = size, random

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        n = self.x.shape[0]
        order = np.arange(n)
        if self.random is not None:
            self.random.shuffle(order)
        for start in range(0, n, self.size):
            rows = order[start : start + self.size]
            batch = (dense(self.x[rows]), self.y[rows])
            yield batch if self.weight is None else (*batch, self.weight[rows])
