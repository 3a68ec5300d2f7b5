"""The networks behind the estimators for tables: their layers, inputs and outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import layers
from ..base import arguments, checks
from ..base.memory import Array
from ..errors import ShapeError
from ..layers.input import Input
from ..model.model import Model
from ..model.sequential import Sequential
from .preprocessor import Preprocessor

_FEW = 50  # rows; of fewer none are held out
_MEMBERS = 16  # networks whose mean answers, of small tables
_MOST = 1000  # networks that are trained one after another
_SHARED = 40_000  # rows, or columns, times members: of 2,500 rows 16, of 40,000 and more one
_WIDEST = 16  # numbers for a level of a category


def count(members: int | None, rows: int, features: int) -> int:
    """How many networks share the work: what was asked for, else 16, and fewer for large tables."""
    if members is not None:
        return checks.integer("members", members, 1, _MOST)
    return int(np.clip(_SHARED // max(rows, features), 1, _MEMBERS))


def held_out(n: int, fraction: float, seed: int | None, members: int) -> Array:
    """Which of n rows each member holds out, as bool (members, N)."""
    result = np.zeros((members, n), bool)
    if n >= _FEW:
        order = np.random.default_rng(0 if seed is None else seed).permutation(n)
        for k in range(members):
            result[k, np.roll(order, -k * n // members)[: int(n * fraction)]] = True
    return result


def units(hidden: Any) -> list[int]:
    """The units of hidden layers, of which there may be one alone."""
    if isinstance(hidden, str) or not hasattr(hidden, "__iter__"):
        hidden = [hidden]
    return [checks.integer("hidden", n) for n in hidden]


@dataclasses.dataclass
class Recipe:
    """What the network of an estimator is made of."""

    units: Any
    activation: Any
    dropout: float
    categories: str
    outputs: int

    def __post_init__(self) -> None:
        checks.choice("categories", self.categories, ("one-hot", "embedding"))
        self.units = units(self.units)

    def stack(self) -> list[Any]:
        """Hidden layers, each with its dropout, and the last one."""
        stack: list[Any] = []
        for n in self.units:
            stack.append(layers.Dense(n, self.activation, kernel_initializer="he_normal"))
            if self.dropout:
                stack.append(layers.Dropout(self.dropout))
        return [*stack, layers.Dense(self.outputs)]

    def build(self, prepare: Preprocessor, seed: int | None) -> tuple[Model, list[Any]]:
        """A network over the features of a table, and its layers that learn.

        With ``categories="embedding"`` it has an input for all that is no category, and one for
        each category, whose columns go through a linear layer without bias: a row of its kernel is
        what was learned for a level.
        """
        if self._is_plain(prepare):
            stack = self.stack()
            model: Model = Sequential(stack, seed=seed)
            model.build((prepare.width,))
            return model, stack
        entries = self._entries(prepare)
        y, learned = self._branch(entries, prepare)
        return Model(entries, y, seed=seed), learned

    def joined(self, prepare: Preprocessor, members: list[list[Any]]) -> Model:
        """One network whose output is the mean of those of its members."""
        entries = self._entries(prepare)
        ends, branches = zip(*(self._branch(entries, prepare) for _ in members), strict=True)
        model = Model(entries, layers.Average()(list(ends)), seed=0)
        for branch, trained in zip(branches, members, strict=True):
            for new, old in zip(branch, trained, strict=True):
                for weight, value in zip(new.weights, old.weights, strict=True):
                    weight.value = value.value
        return model

    def _is_plain(self, prepare: Preprocessor) -> bool:
        return self.categories == "one-hot" or not any(column for column, _ in _parts(prepare))

    def _entries(self, prepare: Preprocessor) -> list[Any]:
        if self._is_plain(prepare):
            return [Input((prepare.width,))]
        return [Input((len(places),)) for _, places in _parts(prepare)]

    def _branch(self, entries: list[Any], prepare: Preprocessor) -> tuple[Any, list[Any]]:
        """The output of new layers over the entries, and these layers."""
        learned: list[Any] = []
        merged = list(entries)
        if not self._is_plain(prepare):
            for k, (column, places) in enumerate(_parts(prepare)):
                if column is not None:
                    width = min(_WIDEST, (len(places) + 1) // 2)
                    learned.append(layers.Dense(width, use_bias=False))
                    merged[k] = learned[-1](entries[k])
        y = merged[0] if len(merged) == 1 else layers.Concatenate()(merged)
        for layer in self.stack():
            learned.append(layer)
            y = layer(y)
        return y, learned


def made_by(function: Callable[..., Any], outputs: int, features: int, seed: int | None) -> Model:
    """The network that a user's function makes."""
    if not callable(function) or isinstance(function, Model):
        raise TypeError(
            "model must be a function that makes one, because the width of the features is known "
            f"only when the table was read; got {checks.describe(function)}"
        )
    offered = {"n_outputs": outputs, "n_features": features, "seed": seed}
    made = arguments.called(function, offered)
    if not isinstance(made, Model):
        raise TypeError(f"model: the function made {checks.describe(made)}, expected a Model")
    if not made.built:
        made.build((features,))
    ends = [t.shape for t in made.inputs], [t.shape for t in made.outputs]
    if ends != ([(features,)], [(outputs,)]):
        raise ShapeError(
            f"model: the function made a network from {ends[0]} to {ends[1]}, expected one from "
            f"[({features},)], n_features, to [({outputs},)], n_outputs"
        )
    return made


def _parts(prepare: Preprocessor) -> list[tuple[Any, list[int]]]:
    """Places of the features: those of no category, then those of each category."""
    plain: list[int] = []
    found: list[tuple[Any, list[int]]] = []
    at = 0
    for column in prepare.columns:
        places = list(range(at, at + column.width))
        at += column.width
        if column.kind == "category":
            found.append((column, places))
        else:
            plain += places
    return [(None, plain), *found] if plain else found


def inputs(model: Model, prepare: Preprocessor, x: Array) -> Any:
    """Features (N, width) as the model takes them."""
    if len(model.inputs) == 1:
        return x
    return [x[:, places] for _, places in _parts(prepare)]


def shares(model: Model, outputs: Array) -> Array:
    """Probabilities (N, K) from the outputs of a network for classes."""
    outputs = outputs.astype(np.float64)
    (end,) = model.output_activations
    if end == "softmax":
        return outputs
    e = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    result: Array = e / e.sum(axis=1, keepdims=True)
    return result
