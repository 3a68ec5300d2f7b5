"""One-liners for tables: a classifier, a regressor, and the reader of their files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array
from ..errors import FormatError
from ..files import container
from ..model.loading import rebuild
from . import networks, rows
from .base import Tabular
from .preprocessor import Preprocessor

_FEW = 50  # classes; of more, some have to come again


class TabularClassifier(Tabular):
    """A network for the classes of a table's rows.

    Numbers are scaled, missing ones filled and flagged, categories get a column each
    (`Preprocessor`). A share of the rows is held out; training stops when their loss has not
    improved for `patience` epochs, and the best weights are kept. Of small tables several networks
    are trained, each without other rows, and their mean answers: `model_` is one network again.

    Parameters
    ----------
    hidden : int or sequence of int
        Units of the hidden layers.
    activation, dropout
        Of the hidden layers.
    epochs, batch_size, verbose, callbacks
        As in `bpcore.Model.fit`; the batch size follows from the number of rows by default.
    learning_rate, weight_decay : float
        Of AdamW.
    validation_fraction : float
    patience : int
    scaling : {"auto", "quantile", "standard"}
        See `Preprocessor`.
    categories : {"one-hot", "embedding"}
        Whether the first layer sees a category's columns, or a few numbers learned for each level.
    members : int, optional
        Networks whose mean answers; by default 16 for up to 2,500 rows, fewer for more, and 1 from
        20,001 on. More than one hold all features in memory.
    model : function, optional
        Makes the one network in place of `hidden`; it is called with those of the arguments
        ``n_outputs``, ``n_features`` and ``seed`` that it has, and returns a model with one input
        (N, n_features), compiled or not.
    random_state : int, RandomState or Generator, optional

    Attributes
    ----------
    classes_ : ndarray
        What the target holds: texts, numbers or booleans.
    preprocessor_ : Preprocessor
    model_ : bpcore.Model
    history_ : History
        Of the first member; `histories_` of all.
    n_iter_ : int
    held_out_ : tuple of ndarray
        Truth and answers (numbers of classes) of the rows that were held out, by those members
        that did not train on them.
    """

    _estimator_type = "classifier"

    def _encode(self, source: str, values: list[Any]) -> Array:
        classes, y = rows.labels(source, values)
        if len(classes) < 2:
            raise ValueError(
                f"{source}: the target has one class, {classes[0]!r}, in all rows; expected 2 or "
                "more"
            )
        fractions = any(isinstance(value, float) for value in classes)
        if len(classes) > max(_FEW, len(y) / 2 if fractions else len(y) - 1):
            raise ValueError(
                f"{source}: the target holds {len(classes):,} values in {len(y):,} rows, expected "
                "classes that come again in other rows; a number is for TabularRegressor "
                "(--task regression)"
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
        place = self._places()
        result = np.empty(len(values), np.int64)
        words = rows.as_texts(values)
        rows.refuse_missing(source, words)
        for row, word in enumerate(words):
            if word not in place:
                raise ValueError(
                    f"{source}: the target is {word!r} in row {row + 1}, expected one of "
                    f"{', '.join(map(str, place))}"
                )
            result[row] = place[word]
        return result

    def _places(self) -> dict[str | None, int]:
        """The number of a class by its text."""
        return {name: k for k, name in enumerate(rows.as_texts(self.classes_.tolist()))}

    def predict_proba(self, table: Any) -> Array:
        """Probabilities (N, K) in the order of `classes_`."""
        outputs = self._raw(table)
        return networks.shares(self.model_, outputs)

    def _told(self, outputs: Array) -> tuple[Array, Array | None]:
        shares = networks.shares(self.model_, outputs)
        return self.classes_[shares.argmax(axis=1)], shares

    def predict(self, table: Any) -> Array:
        """Classes (N,), as the target holds them."""
        outputs = self._raw(table)
        result: Array = self.classes_[outputs.argmax(axis=1)]
        return result

    def score(self, table: Any, target: Any = None) -> float:
        """Accuracy; `target` is a column's name, values, or by default that of `fit`."""
        source, values = self._truth(table, target)
        known = self._places()
        truth = np.array([known.get(word, -1) for word in rows.as_texts(values)])
        return float(np.mean(self._compared(source, truth) == truth))

    def _learned(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist()}

    def _take(self, learned: dict[str, Any]) -> None:
        self.classes_ = np.array(learned["classes"])


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

    _estimator_type = "regressor"

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
        apart = y - self._compared(source, y)
        return float(1 - np.square(apart).sum() / np.square(y - y.mean()).sum())

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
