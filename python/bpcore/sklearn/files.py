"""Paths of files in place of X, and names of columns in place of y, for all estimators."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import optional
from ..base.memory import Array
from ..data import frames, opening
from ..data.tables import Table, open_table

_WHOLE = 2.0**53  # up to this a float64 holds every whole number


class FromFiles:
    """Base of the estimators, before scikit-learn's: what `fit`, `predict` and `score` may be given
    besides arrays.

    A path of a csv, tsv, parquet or npz file is the frame that it holds, so scikit-learn keeps and
    checks the names of its columns. The target's column is left out of it.
    """

    _target_column: str | None = None

    def _learned(self, x: Any, y: Any, anew: bool) -> tuple[Any, Any]:
        """What `_opened` gives, for `fit`: the target's column is the one to leave out from now on.

        `anew`: what an earlier fit has learned counts no more, although y is no name.
        """
        if isinstance(y, str) or anew:
            self._target_column = y if isinstance(y, str) else None
        return self._opened(x, y)

    def _opened(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        """X and y as scikit-learn takes them; both as they were if X is no file, and y no name."""
        if opening.is_path(x, "X"):
            return self._from_file(open_table(x), y)
        return opening.opened(frames.collected(x), y, None, ("X", "y"))

    def _from_file(self, source: Table, y: Any) -> tuple[Any, Any]:
        pd = optional.require("pandas", "pandas", "an estimator of bpcore.sklearn with a file")
        target = self._target_column
        if isinstance(y, str):
            opening.place(source.names, y, source.source)
            target, y = y, _target(source, y)
        names = [name for name in source.names if name != target]
        if target is not None:
            opening.refuse_alone(names, target, source.source)
        whole = np.concatenate(list(opening.blocks(source, names)))
        return pd.DataFrame(whole, columns=names), y

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of a classifier, R squared of a regressor, as scikit-learn counts them.

        Parameters
        ----------
        X, y
            As in `fit`: arrays, or a file or frame and the name of a column.
        sample_weight : array (N,), optional
        """
        X, y = self._opened(X, y)
        result: float = super().score(X, y, sample_weight)  # type: ignore[misc]
        return result


def _target(source: Table, name: str) -> Array:
    """A column as targets: whole numbers, numbers, booleans or texts; no value may be missing."""
    parts = [block[name] for block in source.blocks([name])]
    if not parts:
        raise ValueError(f"{source.source} has no rows, expected at least 1")
    if len({part.dtype.kind for part in parts}) > 1:
        raise ValueError(
            f"{source.source}: the target {name!r} holds numbers in some blocks of rows and other "
            "things in others; write all of it as numbers or as texts"
        )
    values = np.concatenate(parts)
    numbers = values.dtype.kind == "f"
    gone = np.isnan(values) if numbers else np.array([value is None for value in values])
    if gone.any():
        raise ValueError(
            f"{source.source}: the target {name!r} is missing in row {int(gone.argmax()) + 1}; "
            "drop such rows"
        )
    if numbers:
        whole = (values == np.floor(values)) & (np.abs(values) <= _WHOLE)
        return values.astype(np.int64) if whole.all() else values
    return values if values.dtype.kind == "b" else values.astype(str)
