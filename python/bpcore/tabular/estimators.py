"""One-liners for tables: preparation, network, training and file in one object."""

from __future__ import annotations

import inspect
import os
from typing import Any

import numpy as np

from .. import callbacks as hooks
from .. import layers, optimizers
from ..base import checks
from ..base.memory import Array
from ..errors import FormatError
from ..files import container, save
from ..files.atomic import write_atomically
from ..model.loading import rebuild
from ..model.sequential import Sequential
from . import rows
from .preprocessor import Preprocessor
from .reading import Table, open_table


class Tabular:
    """Base of `TabularClassifier` and `TabularRegressor`."""

    def __init__(
        self,
        hidden: Any = (128, 64),
        *,
        activation: Any = "relu",
        dropout: float = 0.1,
        epochs: int = 200,
        batch_size: int | None = None,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-3,
        validation_fraction: float = 0.15,
        patience: int = 20,
        scaling: str = "quantile",
        random_state: int | None = None,
        verbose: int = 0,
        callbacks: Any = None,
    ) -> None:
        self.hidden, self.activation, self.dropout = hidden, activation, dropout
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
        self.weight_decay, self.validation_fraction = weight_decay, validation_fraction
        self.patience, self.scaling, self.random_state = patience, scaling, random_state
        self.verbose, self.callbacks = verbose, callbacks

    # ---- what pipelines and searches ask for ---------------------------------------------------
    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments by name."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Any:
        """Change arguments; ValueError for an unknown one."""
        for name, value in params.items():
            if name not in self._names():
                raise checks.unknown("argument", name, self._names())
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        default = type(self)()
        told = {k: v for k, v in self.get_params().items() if v != getattr(default, k)}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in told.items())})"

    # ---- training --------------------------------------------------------------------------------
    def _outputs(self) -> tuple[int, str]:
        """Number of outputs and the loss."""
        raise NotImplementedError

    def _encode(self, source: str, values: list[Any]) -> Array:
        """Targets as the network takes them; learns classes or scale."""
        raise NotImplementedError

    def _truths(self, source: str, values: list[Any]) -> Array:
        """Values of a target's column in the terms of a report."""
        raise NotImplementedError

    def _monitor(self) -> list[str]:
        return []

    def fit(self, table: Any, target: Any, sample_weight: Any = None) -> Any:
        """Learn from a table.

        Parameters
        ----------
        table : path (csv, tsv, parquet, npz), pandas or polars frame, or dict of columns
        target : str or array (N,)
            The name of the target's column, or its values.
        sample_weight : array (N,), optional

        Returns
        -------
        The estimator itself.

        Raises
        ------
        ValueError
            With file, column and row, for what cannot be learned from; before training.
        """
        source = open_table(table)
        named = isinstance(target, str) and target in source.names
        if isinstance(target, str) and not named:
            rows.column(source, target)  # says what there is
        self.target_ = target if named else ""
        values = rows.column(source, target) if named else _as_values(target)
        y = self._encode(source.source, values)
        prepare = Preprocessor(self.scaling).fit(source, (self.target_,) if named else ())
        x = rows.features(prepare, source)
        if len(x) != len(y):
            raise ValueError(f"target has {len(y)} rows, the table {len(x)}")
        self.preprocessor_ = prepare
        self._train(x, y, sample_weight)
        return self

    def _train(self, x: Array, y: Array, weight: Any) -> None:
        outputs, loss = self._outputs()
        seed = None if self.random_state is None else int(self.random_state)
        stack: list[Any] = []
        for units in self.hidden:
            stack.append(layers.Dense(units, self.activation, kernel_initializer="he_normal"))
            if self.dropout:
                stack.append(layers.Dropout(self.dropout))
        model = Sequential([*stack, layers.Dense(outputs)], seed=seed)
        rate = optimizers.AdamW(self.learning_rate, weight_decay=self.weight_decay)
        model.compile(rate, loss, metrics=self._monitor())
        n = len(x)
        held = int(n * self.validation_fraction) if n >= 50 else 0
        order = np.random.default_rng(0 if seed is None else seed).permutation(n)
        train = np.sort(order[held:])
        size = self.batch_size or int(np.clip(2 ** np.floor(np.log2(max(n / 50, 1))), 16, 512))
        w = None if weight is None else np.asarray(weight, np.float64)
        watch = list(self.callbacks or [])
        told: dict[str, Any] = {}
        if held:
            test = np.sort(order[:held])
            told["validation_data"] = (x[test], y[test])
            watch.append(hooks.EarlyStopping(patience=self.patience))
        self.history_ = model.fit(
            x[train], y[train], batch_size=size, epochs=self.epochs, verbose=self.verbose,
            sample_weight=None if w is None else w[train], callbacks=watch, **told,
        )  # fmt: skip
        self.model_ = model
        test = np.sort(order[:held])
        found = model.predict(x[test]) if held else np.zeros((0, outputs))
        self.held_out_ = (self._decoded(y[test]), self._answers(found))

    def _decoded(self, y: Array) -> Array:
        """Targets of the network in the terms of a report: numbers of classes, or numbers."""
        raise NotImplementedError

    def _answers(self, outputs: Array) -> Array:
        """The network's outputs in the same terms."""
        raise NotImplementedError

    def compared(self, table: Any, values: list[Any]) -> tuple[Array, Array]:
        """Truth and answers for the rows of a table: numbers of classes, or numbers.

        Raises
        ------
        ValueError
            A target is missing, no number, or a class that was not trained with; with its row.
        """
        source = open_table(table)
        return self._truths(source.source, values), self._answers(self._raw(source))

    # ---- use -------------------------------------------------------------------------------------
    def _raw(self, table: Any) -> Array:
        if not hasattr(self, "model_"):
            raise RuntimeError(f"{type(self).__name__} is not fitted; call fit(table, target)")
        source = open_table(table)
        self.preprocessor_.check_columns(source)
        parts = [
            self.model_.predict(self.preprocessor_.features(block)) for block in source.blocks()
        ]
        return np.concatenate(parts)

    def _truth(self, table: Any, target: Any) -> tuple[Table, list[Any]]:
        source = open_table(table)
        name = target if isinstance(target, str) else self.target_ if target is None else ""
        return source, rows.column(source, name) if name else _as_values(target)

    # ---- files -----------------------------------------------------------------------------------
    def _learned(self) -> dict[str, Any]:
        """What else a file must hold, as JSON data."""
        return {}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write network, preparation and classes to one file, which `load` reads."""
        if not hasattr(self, "model_"):
            raise RuntimeError(f"{type(self).__name__} is not fitted; call fit(table, target)")
        params = {**self.get_params(), "callbacks": None, "hidden": list(self.hidden)}
        document = {
            "kind": "tabular",
            "class_name": type(self).__name__,
            "params": params,
            "target": self.target_,
            "preprocessor": self.preprocessor_.get_config(),
            "learned": self._learned(),
            "model": save.describe(self.model_),
        }
        packed = container.pack(document, save.arrays_of(self.model_), save.FORMAT)
        write_atomically(checks.path(path), packed)


class TabularClassifier(Tabular):
    """A network for the classes of a table's rows.

    Numbers are scaled, missing ones filled and flagged, categories get a column each
    (`Preprocessor`). A share of the rows is held out; training stops when their loss has not
    improved for `patience` epochs, and the best weights are kept.

    Parameters
    ----------
    hidden : sequence of int
        Units of the hidden layers.
    activation, dropout
        Of the hidden layers.
    epochs, batch_size, verbose, callbacks
        As in `bpcore.Model.fit`; the batch size follows from the number of rows by default.
    learning_rate, weight_decay : float
        Of AdamW.
    validation_fraction : float
    patience : int
    scaling : {"quantile", "standard"}
    random_state : int, optional

    Attributes
    ----------
    classes_ : ndarray of str
    preprocessor_ : Preprocessor
    model_ : bpcore.Sequential
    history_ : History
    held_out_ : tuple of ndarray
        Truth and answers (numbers of classes) of the rows that were held out.
    """

    def _encode(self, source: str, values: list[Any]) -> Array:
        classes, y = rows.labels(source, values)
        if len(classes) < 2:
            raise ValueError(
                f"{source}: the target has one class, {classes[0]!r}, in all rows; expected 2 or "
                "more"
            )
        self.classes_ = np.array(classes)
        return y

    def _outputs(self) -> tuple[int, str]:
        return len(self.classes_), "cross_entropy"

    def _monitor(self) -> list[str]:
        return ["accuracy"]

    def _decoded(self, y: Array) -> Array:
        return y

    def _answers(self, outputs: Array) -> Array:
        found: Array = outputs.argmax(axis=1)
        return found

    def _truths(self, source: str, values: list[Any]) -> Array:
        place = {name: k for k, name in enumerate(self.classes_.tolist())}
        result = np.empty(len(values), np.int64)
        for row, word in enumerate(rows.as_texts(values)):
            if word not in place:
                raise ValueError(
                    f"{source}: the target is {word!r} in row {row + 1}, expected one of "
                    f"{', '.join(place)}"
                )
            result[row] = place[word]
        return result

    def predict_proba(self, table: Any) -> Array:
        """Probabilities (N, K) in the order of `classes_`."""
        z = self._raw(table).astype(np.float64)
        e = np.exp(z - z.max(axis=1, keepdims=True))
        result: Array = e / e.sum(axis=1, keepdims=True)
        return result

    def predict(self, table: Any) -> Array:
        """Classes (N,), as text."""
        result: Array = self.classes_[self._raw(table).argmax(axis=1)]
        return result

    def score(self, table: Any, target: Any = None) -> float:
        """Accuracy; `target` is a column's name, values, or by default that of `fit`."""
        source, values = self._truth(table, target)
        known = {name: k for k, name in enumerate(self.classes_.tolist())}
        truth = np.array([known.get(word, -1) for word in rows.as_texts(values)])
        return float(np.mean(self._answers(self._raw(source)) == truth))

    def _learned(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist()}

    def _take(self, learned: dict[str, Any]) -> None:
        self.classes_ = np.array([str(name) for name in learned["classes"]])


class TabularRegressor(Tabular):
    """A network for a number in a table's rows; arguments as in `TabularClassifier`.

    Examples
    --------
    >>> from bpcore.tabular import TabularRegressor
    >>> table = {"a": [float(i % 10) for i in range(200)], "b": ["x", "y"] * 100}
    >>> price = [a * (2 if b == "x" else 1) for a, b in zip(table["a"], table["b"])]
    >>> model = TabularRegressor((32,), dropout=0.0, random_state=0).fit(table, price)
    >>> model.score(table, price) > 0.9
    True
    """

    def _encode(self, source: str, values: list[Any]) -> Array:
        y = rows.numbers(source, values)
        if float(np.ptp(y)) == 0:
            raise ValueError(f"{source}: the target is {y[0]:g} in all rows; nothing to learn")
        self.mean_, self.scale_ = float(y.mean()), float(y.std())
        return ((y - self.mean_) / self.scale_)[:, None]

    def _outputs(self) -> tuple[int, str]:
        return 1, "mse"

    def _decoded(self, y: Array) -> Array:
        return self._answers(y)

    def _answers(self, outputs: Array) -> Array:
        result: Array = outputs[:, 0].astype(np.float64) * self.scale_ + self.mean_
        return result

    def _truths(self, source: str, values: list[Any]) -> Array:
        return rows.numbers(source, values)

    def predict(self, table: Any) -> Array:
        """Numbers (N,)."""
        return self._answers(self._raw(table))

    def score(self, table: Any, target: Any = None) -> float:
        """R squared; `target` is a column's name, values, or by default that of `fit`."""
        source, values = self._truth(table, target)
        y = rows.numbers(source.source, values)
        return float(1 - np.square(y - self.predict(source)).sum() / np.square(y - y.mean()).sum())

    def _learned(self) -> dict[str, Any]:
        return {"mean": self.mean_, "scale": self.scale_}

    def _take(self, learned: dict[str, Any]) -> None:
        self.mean_, self.scale_ = float(learned["mean"]), float(learned["scale"])


_CLASSES = {cls.__name__: cls for cls in (TabularClassifier, TabularRegressor)}


def load(path: str | os.PathLike[str]) -> Any:
    """A `TabularClassifier` or `TabularRegressor` from the file that its `save` wrote.

    Raises
    ------
    FormatError
        The file is no such file, or damaged.
    """
    name = checks.path(path)
    content = container.read(name)
    document = content.document
    if document.get("kind") != "tabular":
        raise FormatError(f"{name}: is no tabular model; read a plain model with bpcore.load_model")
    try:
        made = _CLASSES[document["class_name"]](**document["params"])
        made.target_ = str(document["target"])
        made.preprocessor_ = Preprocessor.from_config(document["preprocessor"])
        made._take(document["learned"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{name}: does not fit together: {error}") from error
    model: Any = rebuild(document["model"], content.arrays, name)
    made.model_ = model
    return made


def _as_values(target: Any) -> list[Any]:
    array = np.asarray(target.to_numpy() if hasattr(target, "to_numpy") else target)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"target must be a column's name or values (N,), got shape {array.shape}")
    return [None if v is None or v != v else v for v in array.tolist()]
