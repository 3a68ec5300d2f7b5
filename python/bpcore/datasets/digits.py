"""The UCI optical digits, shipped inside the package: a real problem that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]

_FILE = Path(__file__).with_name("digits.npz")
_TEST_EVERY = 5  # of each class, in the order of the file, every fifth sample is a test sample


@overload
def load_digits(
    split: Literal[False] = False,
    *,
    images: bool = False,
    dtype: Any = "float32",
    scale: bool = True,
) -> Pair: ...


@overload
def load_digits(
    split: Literal[True], *, images: bool = False, dtype: Any = "float32", scale: bool = True
) -> tuple[Pair, Pair]: ...


def load_digits(
    split: bool = False, *, images: bool = False, dtype: Any = "float32", scale: bool = True
) -> Any:
    """Load 1,797 handwritten digits of 8 x 8 pixels.

    Each pixel counts the dark dots of a 4 x 4 cell of the scanned digit, 0 to 16.

    Parameters
    ----------
    split : bool
        False: ``(x, y)``. True: ``((x, y), (x_test, y_test))``, always the same stratified
        80/20 split of 1,442 and 355 samples: of each class every fifth sample, in the order of
        the file, is for testing. The same 13 writers are in both parts.
    images : bool
        False: x of shape (N, 64), row by row. True: (N, 8, 8).
    dtype : dtype
        Of x: "float32" or another real dtype.
    scale : bool
        Divide by 16, so that x lies in [0, 1]. Needs a floating-point dtype.

    Returns
    -------
    x : ndarray of shape (N, 64) or (N, 8, 8); y : int64 ndarray of shape (N,), labels 0 to 9.

    Notes
    -----
    E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0.

    Examples
    --------
    >>> from bpcore.datasets import load_digits
    >>> (x, y), (xt, yt) = load_digits(split=True)
    >>> x.shape, xt.shape, x.dtype.name, y.dtype.name
    ((1442, 64), (355, 64), 'float32', 'int64')
    """
    if not isinstance(split, (bool, np.bool_)):
        raise TypeError(f"split must be True or False, got {type(split).__name__} {split!r}")
    kind = np.dtype(dtype)
    if kind.kind not in "fiu":
        raise TypeError(f"dtype must be a real number type such as 'float32', got {kind.name!r}")
    if scale and kind.kind != "f":
        raise ValueError(
            f"dtype {kind.name!r} cannot hold pixels scaled to [0, 1]; "
            "pass scale=False for 0..16 or a floating-point dtype"
        )
    with np.load(_FILE, allow_pickle=False) as archive:
        x = archive["x"].astype(kind)
        y = archive["y"].astype(np.int64)
    if scale:
        x /= kind.type(16)
    if images:
        x = x.reshape(-1, 8, 8)
    if not split:
        return x, y
    test = _test_rows(y)
    return (x[~test], y[~test]), (x[test], y[test])


def _test_rows(y: np.ndarray) -> np.ndarray:
    """Boolean (N,): the rows of the test part."""
    test = np.zeros(len(y), dtype=bool)
    for label in range(10):
        test[np.flatnonzero(y == label)[_TEST_EVERY - 1 :: _TEST_EVERY]] = True
    return test
