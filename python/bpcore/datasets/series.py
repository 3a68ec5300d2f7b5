"""A time series cut into samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_Array = np.ndarray[Any, Any]


def windows(series: Any, length: int, horizon: int = 1, stride: int = 1) -> tuple[_Array, _Array]:
    """Windows of a series, and what comes `horizon` steps after each.

    Parameters
    ----------
    series : array (T,) or (T, F)
        One value, or F of them, at each step.
    length : int
        Steps in a window.
    horizon : int
        How far ahead the target lies: 1 is the step right behind the window.
    stride : int
        Steps from the beginning of a window to that of the next.

    Returns
    -------
    x : ndarray (N, length, F)
        A view of the series where its memory allows; nothing is copied.
    y : ndarray (N, F)
        ``y[i]`` is the step ``i * stride + length - 1 + horizon`` of the series.

    Raises
    ------
    ValueError
        The series is shorter than one window and its target.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> x, y = bp.datasets.windows(np.arange(6), length=3)
    >>> x[..., 0].tolist(), y[:, 0].tolist()
    ([[0, 1, 2], [1, 2, 3], [2, 3, 4]], [3, 4, 5])
    """
    values = np.asarray(series)
    if values.ndim not in (1, 2):
        raise ValueError(f"series has shape {values.shape}, expected (T,) or (T, F)")
    for name, value in (("length", length), ("horizon", horizon), ("stride", stride)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} must be an int >= 1, got {value!r}")
    if values.ndim == 1:
        values = values[:, None]
    count = len(values) - length - horizon + 1
    if count < 1:
        raise ValueError(
            f"series has {len(values)} steps, expected at least {length + horizon}: a window of "
            f"{length} and a target {horizon} behind it"
        )
    x = sliding_window_view(values, length, axis=0).swapaxes(1, 2)[:count:stride]
    y = values[length - 1 + horizon :][:count:stride]
    return x, y
