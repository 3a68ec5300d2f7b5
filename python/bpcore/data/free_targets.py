"""Targets that only a loss of the user's looks at: of any width and dtype, or a dict of arrays.

The core gets the numbers of their rows as it gets class labels, shuffles and divides these, and
asks for the rows when the loss is called.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array
from ..errors import ShapeError


class Rows(np.ndarray[Any, Any]):
    """Numbers of rows (N,), int32, of `source`; what is cut from them keeps it."""

    source: Any = None

    def __array_finalize__(self, other: Any) -> None:
        self.source = getattr(other, "source", None)

    def take_rows(self, numbers: Array) -> Any:
        """The rows of these numbers, each part in its own dtype."""
        if isinstance(self.source, dict):
            return {key: part[numbers] for key, part in self.source.items()}
        return self.source[numbers]

    def parts(self) -> list[Array]:
        """All arrays behind it, the rows that it names."""
        found = self.take_rows(np.asarray(self))
        return list(found.values()) if isinstance(found, dict) else [found]


def is_free(loss: Any) -> bool:
    """Whether a loss takes targets of any shape."""
    return loss is not None and getattr(loss, "target_shape", ()) is None


def rows_of(name: str, value: Any, n: int) -> Rows:
    """The numbers of all rows of checked targets."""
    if value is None:
        raise TypeError(f"{name} is None, expected targets with a row for each sample")
    if isinstance(value, dict):
        if not value:
            raise ValueError(f"{name} is an empty dict, expected arrays with a row for each sample")
        source: Any = {key: _array(f"{name}[{key!r}]", part, n) for key, part in value.items()}
    else:
        source = _array(name, value, n)
    numbers = np.arange(n, dtype=np.int32).view(Rows)
    numbers.source = source
    return numbers


def check_valid(name: str, valid: Any) -> None:
    """Refuse such targets for an output of whose steps some do not count."""
    if valid is not None:
        raise ValueError(
            f"{name}: a loss with targets of any shape (target_shape = None) knows no mask, got "
            "sequences of unequal lengths or a mask for an output with steps; use forward and "
            "backward, which take them one by one"
        )


def _array(name: str, value: Any, n: int) -> Array:
    array = np.asarray(value)
    if array.ndim == 0 or array.shape[0] != n:
        got = array.shape[0] if array.ndim else f"no ({checks.describe(value)})"
        raise ShapeError(f"x has {n} samples, {name} has {got}; expected as many in both")
    return array
