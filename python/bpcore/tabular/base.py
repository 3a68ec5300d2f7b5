"""What the estimators for tables share: preparation, network, training and file in one object."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import callbacks as hooks
from .. import optimizers
from ..base import checks
from ..base.memory import Array
from ..callbacks.base import as_list
from ..data import arrays
from ..data.tables import Table, open_table
from ..files import container, save
from ..files.atomic import write_atomically
from ..model.model import Model
from . import networks, rows
from .preprocessor import Preprocessor


class Tabular:
    """Base of `TabularClassifier` and `TabularRegressor`."""

    _estimator_type = ""  # scikit-learn's word for what this is

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
        scaling: str = "auto",
        categories: str = "one-hot",
        members: int | None = None,
        model: Any = None,
        random_state: Any = None,
        verbose: int = 0,
        callbacks: Any = None,
    ) -> None:
        self.hidden, self.activation, self.dropout = hidden, activation, dropout
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
        self.weight_decay, self.validation_fraction = weight_decay, validation_fraction
        self.patience, self.scaling, self.categories = patience, scaling, categories
        self.members, self.model, self.random_state = members, model, random_state
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

    def __sklearn_tags__(self) -> Any:
        from sklearn import utils

        classes = self._estimator_type == "classifier"
        return utils.Tags(
            estimator_type=self._estimator_type,
            target_tags=utils.TargetTags(required=True),
            classifier_tags=utils.ClassifierTags() if classes else None,
            regressor_tags=None if classes else utils.RegressorTags(),
            input_tags=utils.InputTags(allow_nan=True, string=True, categorical=True),
        )

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
        self._check(source, values)
        y = self._encode(source.source, values)
        weight = None if sample_weight is None else _weights(sample_weight, len(y))
        prepare = Preprocessor(self.scaling).fit(source, (self.target_,) if named else ())
        if prepare.rows != len(y):
            raise ValueError(f"target has {len(y)} rows, the table {prepare.rows}")
        seed = _seed(self.random_state)
        self.preprocessor_ = prepare
        self._learn(source, y, weight, seed)
        return self

    def _check(self, source: Table, values: list[Any]) -> None:
        """Raise now what would end a fit after the table was read."""
        if source.rows not in (None, len(values)):
            raise ValueError(
                f"target has {len(values)} rows, the table {source.rows}; expected one value "
                "for each, or the name of a column"
            )
        share = {"low": 0.0, "high": 1.0, "open_high": True}
        checks.real("validation_fraction", self.validation_fraction, **share)  # type: ignore[arg-type]
        if self.dropout is not None:
            checks.real("dropout", self.dropout, **share)  # type: ignore[arg-type]
        if self.batch_size is not None:
            checks.integer("batch_size", self.batch_size)

    def _learn(self, source: Table, y: Array, weight: Any, seed: int | None) -> None:
        """Train the members, each without its held out rows, and join them."""
        n = len(y)
        width = self.preprocessor_.width
        members = 1 if self.model is not None else networks.count(self.members, n, width)
        held = networks.held_out(n, self.validation_fraction, seed, members)
        alone = held[0] if members == 1 else np.zeros(n, bool)
        x, test = rows.features(self.preprocessor_, source, alone)
        recipe = networks.Recipe(
            self.hidden, self.activation, self.dropout, self.categories, self._outputs()[0]
        )
        learned, self.histories_ = [], []
        total, times = np.zeros((n, recipe.outputs)), held.sum(axis=0)
        for k, chosen in enumerate(held):
            model, layers = self._network(recipe, None if seed is None else seed + k)
            part, kept = (x, test) if members == 1 else (x[~chosen], x[chosen])
            weights = None if weight is None else (weight[~chosen], weight[chosen])
            history = self._train(model, (part, kept), (y[~chosen], y[chosen]), weights)
            learned.append(layers)
            self.histories_.append(history)
            total[chosen] += self._predict(model, kept)
        self.history_ = self.histories_[0]
        self.n_iter_ = max(len(history.epoch) for history in self.histories_)
        self.model_ = model if members == 1 else self._joined(recipe, learned)
        known = times > 0
        outputs = total[known] / times[known, None]
        self.held_out_ = (self._decoded(y[known]), self._answers(outputs))

    def _network(self, recipe: networks.Recipe, seed: int | None) -> tuple[Model, list[Any]]:
        prepare = self.preprocessor_
        if self.model is None:
            model, layers = recipe.build(prepare, seed)
        else:
            model, layers = networks.made_by(self.model, recipe.outputs, prepare.width, seed), []
        if not model.compiled:
            self._compile(model)
        return model, layers

    def _joined(self, recipe: networks.Recipe, learned: list[list[Any]]) -> Model:
        model = recipe.joined(self.preprocessor_, learned)
        self._compile(model)
        return model

    def _compile(self, model: Model) -> None:
        rate = optimizers.AdamW(self.learning_rate, weight_decay=self.weight_decay)
        model.compile(rate, self._outputs()[1], metrics=self._monitor())

    def _train(
        self, model: Model, xs: tuple[Array, Array], ys: tuple[Array, Array], weights: Any
    ) -> Any:
        """Each is a pair: of the rows to train on, and of those that decide when to stop."""
        n = len(xs[0]) + len(xs[1])
        given, held = (None, None) if weights is None else weights
        size = self.batch_size or int(np.clip(2 ** np.floor(np.log2(max(n / 50, 1))), 16, 512))
        watch = as_list(self.callbacks)
        told: dict[str, Any] = {}
        if len(xs[1]) and (held is None or held.any()):
            rest = () if held is None else (held,)
            told["validation_data"] = (self._inputs(model, xs[1]), ys[1], *rest)
            watch.append(hooks.EarlyStopping(patience=self.patience))
        return model.fit(
            self._inputs(model, xs[0]), ys[0], batch_size=size, epochs=self.epochs,
            verbose=self.verbose, sample_weight=given, callbacks=watch, **told,
        )  # fmt: skip

    def _inputs(self, model: Model, x: Array) -> Any:
        """Features as the network takes them: whole, or a part for each of its inputs."""
        return networks.inputs(model, self.preprocessor_, x)

    def _predict(self, model: Model, x: Array) -> Array:
        if not len(x):
            return np.zeros((0, self._outputs()[0]), np.float32)
        return np.asarray(model.predict(self._inputs(model, x)))

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

    def _compared(self, source: Table, truth: Array) -> Array:
        """Answers for the rows of a table, one for each truth."""
        found = self._answers(self._raw(source))
        if len(found) != len(truth):
            raise ValueError(f"target has {len(truth)} rows, the table {len(found)}")
        return found

    # ---- use -------------------------------------------------------------------------------------
    def _need_fit(self) -> None:
        if not hasattr(self, "model_"):
            raise RuntimeError(f"{type(self).__name__} is not fitted; call fit(table, target)")

    def _raw(self, table: Any) -> Array:
        self._need_fit()
        none = self._predict(self.model_, np.zeros((0, self.preprocessor_.width), np.float32))
        return np.concatenate([none, *self._blocks(open_table(table))])

    def _blocks(self, source: Table) -> Iterator[Array]:
        self.preprocessor_.check_columns(source)
        for part in self.preprocessor_.parts(source):
            yield self._predict(self.model_, part)

    def answers(self, table: Any) -> Iterator[tuple[Array, Array | None]]:
        """Predictions block by block, for tables larger than memory.

        Yields
        ------
        tuple
            What `predict` gives for a block of rows and, of classes, what `predict_proba` gives.
        """
        for outputs in self._blocks(open_table(table)):
            yield self._told(outputs)

    def _told(self, outputs: Array) -> tuple[Array, Array | None]:
        return self._answers(outputs), None

    def _truth(self, table: Any, target: Any) -> tuple[Table, list[Any]]:
        self._need_fit()
        source = open_table(table)
        name = target if isinstance(target, str) else self.target_ if target is None else ""
        values = rows.column(source, name) if name else _as_values(target)
        rows.refuse_missing(source.source, values)
        return source, values

    # ---- files -----------------------------------------------------------------------------------
    def _learned(self) -> dict[str, Any]:
        """What else a file must hold, as JSON data."""
        return {}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write network, preparation and classes to one file, which `load` reads."""
        self._need_fit()
        params = {**self.get_params(), "callbacks": None, "model": None,
                  "hidden": networks.units(self.hidden), "random_state": None}  # fmt: skip
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


def _as_values(target: Any) -> list[Any]:
    array = np.asarray(target.to_numpy() if hasattr(target, "to_numpy") else target)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"target must be a column's name or values (N,), got {checks.describe(target)}"
        )
    return [None if v is None or v != v else v for v in array.tolist()]


def _weights(weight: Any, rows: int) -> Array:
    array = arrays.array("sample_weight", weight).astype(np.float64)
    if array.shape != (rows,):
        raise ValueError(f"sample_weight has shape {array.shape}, expected ({rows},), one a row")
    return array


def _seed(state: Any) -> int | None:
    """A seed for the order of the rows and the network; None draws one."""
    if isinstance(state, (np.random.Generator, np.random.RandomState)):
        draw = getattr(state, "integers", None) or state.randint  # type: ignore[union-attr]
        return int(draw(2**31 - 1))
    return None if state is None else checks.integer("random_state", state, 0, 2**63 - 1)
