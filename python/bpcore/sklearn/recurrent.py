"""Recurrent networks for sequences, as estimators of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split

from .. import layers, optimizers
from ..base import checks
from ..base.memory import Array
from ..callbacks.base import as_list
from ..callbacks.monitor import EarlyStopping
from ..data import frames
from ..layers.input import Input
from ..model.model import Model
from ..model.sequential import Sequential
from .data import random_state
from .models import Classes, Estimator, Numbers
from .sequences import Scored, are_sequences, taken

_CELLS = {"lstm": layers.LSTM, "gru": layers.GRU, "simple": layers.SimpleRNN}


class Recurrent(Estimator):
    """Base of `RNNClassifier` and `RNNRegressor`."""

    _loss = ""
    _stratified = False

    def __init__(
        self,
        hidden_layer_sizes: Any = (64,),
        cell: str = "lstm",
        *,
        bidirectional: bool = False,
        embedding: int = 32,
        n_ids: int | None = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        batch_size: int | None = 32,
        learning_rate_init: float = 0.001,
        max_iter: int = 100,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        loss: Any = None,
        callbacks: Any = None,
        random_state: Any = None,
        verbose: int = 0,
        n_threads: int | None = None,
    ) -> None:
        self.hidden_layer_sizes, self.cell, self.bidirectional = (
            hidden_layer_sizes, cell, bidirectional)  # fmt: skip
        self.embedding, self.n_ids, self.dropout = embedding, n_ids, dropout
        self.recurrent_dropout, self.batch_size = recurrent_dropout, batch_size
        self.learning_rate_init, self.max_iter = learning_rate_init, max_iter
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.n_iter_no_change, self.loss, self.callbacks = n_iter_no_change, loss, callbacks
        self.random_state, self.verbose, self.n_threads = random_state, verbose, n_threads

    def _validated(self, x: Any, y: Any) -> tuple[Any, Any]:
        x = _formed(x, None)
        first = x[0] if isinstance(x, list) else x
        steps = first.ndim - (0 if isinstance(x, list) else 1)
        self._ids = None if steps != 1 else _count(x) if self.n_ids is None else self.n_ids
        self.n_features_in_ = first.shape[-1] if steps == 2 else 1
        return x, y

    def _rows(self, x: Any) -> Any:
        return _formed(x, self._ids is not None)

    def _made(self, x: Any, outputs: int, in_steps: bool) -> Model:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if not sizes:
            raise ValueError("hidden_layer_sizes is empty, expected units of at least 1 layer")
        checks.choice("cell", self.cell, tuple(_CELLS))
        checks.boolean("bidirectional", self.bidirectional)
        stack: list[Any]
        if self._ids is None:
            stack = [Input((None, self.n_features_in_))]
        else:
            stack = [Input((None,)), layers.Embedding(self._ids, self.embedding)]
        for k, units in enumerate(sizes):
            layer = _CELLS[self.cell](
                checks.integer("hidden_layer_sizes", units), dropout=self.dropout,
                recurrent_dropout=self.recurrent_dropout,
                return_sequences=in_steps or k + 1 < len(sizes),
            )  # fmt: skip
            stack.append(layers.Bidirectional(layer) if self.bidirectional else layer)
        first = x[0] if isinstance(x, list) else x
        seed = int(random_state(self.random_state).randint(2**31 - 1))
        model = Sequential(
            [*stack, layers.Dense(outputs)], seed=seed,
            dtype="float64" if first.dtype == np.float64 else "float32",
        )  # fmt: skip
        rate = checks.real("learning_rate_init", self.learning_rate_init, 0.0, open_low=True)
        model.compile(optimizers.Adam(rate), self.loss or self._loss)
        return model

    def _options(self, x: Any, y: Any, weight: Any) -> dict[str, Any]:
        watch = as_list(self.callbacks)
        held = {}
        if checks.boolean("early_stopping", self.early_stopping):
            share = checks.real(
                "validation_fraction", self.validation_fraction, 0.0, 1.0, open_low=True,
                open_high=True,
            )  # fmt: skip
            train, test = train_test_split(
                np.arange(len(x)), test_size=share,
                random_state=random_state(self.random_state),
                stratify=y if self._stratified and isinstance(y, np.ndarray) and y.ndim == 1
                else None,
            )  # fmt: skip
            rest = () if weight is None else (taken(weight, test),)
            held["validation_data"] = (taken(x, test), taken(y, test), *rest)
            x, y = taken(x, train), taken(y, train)
            weight = None if weight is None else taken(weight, train)
            watch.append(EarlyStopping(patience=self.n_iter_no_change))
        return {
            "x": x, "y": y, "sample_weight": weight, "batch_size": self.batch_size,
            "epochs": checks.integer("max_iter", self.max_iter), "callbacks": watch,
            "verbose": self.verbose, **held,
        }  # fmt: skip

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse, tags.input_tags.three_d_array = False, True
        return tags


def _formed(x: Any, ids: bool | None) -> Any:
    """An array (N, T, F) of numbers or (N, T) of ids, or a list of such without N.

    `ids`: whether one number for each step is an id and no value of a series; None: if all that
    there are are whole.
    """
    if not are_sequences(x) and not isinstance(x, (list, tuple)):
        item = _numbers(x, 2, "X")
        return _steps(item, 2, item.dtype.kind != "f" if ids is None else ids, "X")
    items = [_numbers(item, 1, f"sequence {k}") for k, item in enumerate(x)]
    if ids is None:
        ids = all(item.dtype.kind != "f" for item in items if item.ndim == 1 and item.size)
    return _alike([_steps(item, 1, ids, f"sequence {k}") for k, item in enumerate(items)])


def _numbers(item: Any, axes: int, name: str) -> Array:
    """An array with `axes` for samples and steps, and perhaps one for the numbers of a step."""
    array = np.asarray(item)
    if array.dtype.kind in "fiub" and array.ndim in (axes, axes + 1):
        return array
    shape = "(N, T, F) or (N, T)" if axes == 2 else "(T, F) or (T,)"
    advice = "a table of rows is for MLPClassifier and MLPRegressor"
    if frames.columns(item) is not None:
        advice = f"of a frame pass the column of sequences, as in {name}[{item.columns[0]!r}]"
    elif array.dtype.kind in "USO":
        advice = "give a list of arrays; words and letters as whole numbers, which are ids"
    raise ValueError(
        f"{name} has dtype {array.dtype} and shape {array.shape}, expected numbers {shape}; "
        f"{advice}"
    )


def _steps(item: Array, axes: int, ids: bool, name: str) -> Array:
    """Numbers of steps, one or more for each, as floats; or ids."""
    if item.ndim == axes and ids:
        if item.dtype.kind == "f" and item.size:
            raise ValueError(
                f"{name} has dtype {item.dtype}, expected whole numbers, which are ids as in fit"
            )
        return item.astype(np.int64) if item.dtype.kind == "f" else item
    item = item[..., None] if item.ndim == axes else item  # a series: one number for each step
    return item if item.dtype in (np.float32, np.float64) else item.astype(np.float32)


def _alike(items: list[Array]) -> list[Array]:
    """Sequences that are all series, or all ids, with as many numbers for each step."""
    if not items:
        raise ValueError("X has no sequences, expected at least 1")
    for k, item in enumerate(items):
        if item.shape[1:] != items[0].shape[1:]:
            expected = f"(T, {items[0].shape[1]})" if items[0].ndim == 2 else "(T,)"
            raise ValueError(
                f"sequence {k} has shape {item.shape}, expected {expected} as sequence 0"
            )
    return items


def _count(x: Any) -> int:
    """How many ids there are: the largest, and 0."""
    largest = max((int(item.max()) for item in x if item.size), default=0)
    return largest + 1


class RNNClassifier(Scored, ClassifierMixin, Recurrent, Classes):
    """Recurrent layers that name the class of a sequence, or of each of its steps.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Units of the recurrent layers, one behind another.
    cell : {"lstm", "gru", "simple"}
    bidirectional : bool
        Whether each layer goes through the steps in both directions.
    embedding : int
        Numbers that are learned for each id, where X holds ids.
    n_ids : int, optional
        How many ids there may be, 0 to n_ids - 1; by default those up to the largest in X.
    dropout, recurrent_dropout : float
        Of the recurrent layers.
    batch_size, max_iter, learning_rate_init
        Sequences of a batch, epochs, and the rate of Adam.
    early_stopping : bool
        Hold out `validation_fraction` of the sequences, stop when their loss has not improved for
        `n_iter_no_change` epochs, and keep the best weights.
    loss : loss of `bpcore.losses`, optional
    class_weight : dict, "balanced" or None
    callbacks, verbose
        As in `bpcore.Model.fit`.
    random_state : int, RandomState, Generator or None
    n_threads : int, optional
        At most this number of threads.

    Attributes
    ----------
    classes_, n_features_in_, n_iter_
    model_ : bpcore.Sequential
    history_ : History

    Notes
    -----
    X is a list or series of sequences of any lengths, or an array: (T, F) numbers for each step,
    (T,) floats of a curve, or (T,) whole numbers: ids, which an `Embedding` takes. After a fit to a
    curve whole numbers are values, too. Targets of sequences (N,) are learned from the last state,
    targets of steps (a list of (T,), or (N, T)) at each step.

    Examples
    --------
    >>> import numpy as np
    >>> from bpcore.sklearn import RNNClassifier
    >>> rng = np.random.default_rng(0)
    >>> x = [rng.normal(size=(rng.integers(3, 9), 2)) for _ in range(200)]
    >>> y = ["up" if s[:, 0].sum() > 0 else "down" for s in x]
    >>> net = RNNClassifier(16, "gru", learning_rate_init=0.01, max_iter=30, random_state=0)
    >>> net.fit(x, y).score(x, y) > 0.9
    True
    """

    _loss = "cross_entropy"
    _stratified = True
    _metric = staticmethod(accuracy_score)

    def __init__(
        self,
        hidden_layer_sizes: Any = (64,),
        cell: str = "lstm",
        *,
        bidirectional: bool = False,
        embedding: int = 32,
        n_ids: int | None = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        batch_size: int | None = 32,
        learning_rate_init: float = 0.001,
        max_iter: int = 100,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        loss: Any = None,
        class_weight: Any = None,
        callbacks: Any = None,
        random_state: Any = None,
        verbose: int = 0,
        n_threads: int | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes, cell, bidirectional=bidirectional, embedding=embedding,
            n_ids=n_ids, dropout=dropout, recurrent_dropout=recurrent_dropout,
            batch_size=batch_size, learning_rate_init=learning_rate_init, max_iter=max_iter,
            early_stopping=early_stopping, validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change, loss=loss, callbacks=callbacks,
            random_state=random_state, verbose=verbose, n_threads=n_threads,
        )  # fmt: skip
        self.class_weight = class_weight


class RNNRegressor(Scored, RegressorMixin, Recurrent, Numbers):
    """Recurrent layers that give numbers for a sequence, or for each of its steps.

    See `RNNClassifier` for arguments and data; `y` is (N,) or (N, K), or for steps a list of (T,)
    or (T, K), or (N, T, K).

    Examples
    --------
    >>> import numpy as np
    >>> from bpcore.sklearn import RNNRegressor
    >>> series = np.sin(0.3 * np.arange(300))
    >>> x = np.lib.stride_tricks.sliding_window_view(series[:-1], 8)
    >>> net = RNNRegressor(16, "gru", learning_rate_init=0.01, max_iter=30, random_state=0)
    >>> net.fit(x, series[8:]).score(x, series[8:]) > 0.9
    True
    """

    _loss = "mse"
    _metric = staticmethod(r2_score)
