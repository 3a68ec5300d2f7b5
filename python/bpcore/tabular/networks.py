"""The networks behind the estimators for tables: their layers, inputs and outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import layers
from ..base import checks
from ..base.memory import Array
from ..layers.input import Input
from ..model.model import Model
from ..model.sequential import Sequential
from .preprocessor import Preprocessor

_FEW = 50  # rows; of fewer none are held out
_WIDEST = 16  # numbers for a level of a category


def held_out(n: int, fraction: float, seed: int | None) -> Array:
    """Which of n rows are held out, as bool (N,)."""
    result = np.zeros(n, bool)
    if n >= _FEW:
        order = np.random.default_rng(0 if seed is None else seed).permutation(n)
        result[order[: int(n * fraction)]] = True
    return result


def hidden(units: Any, activation: Any, dropout: float) -> list[Any]:
    """Hidden layers, each with its dropout."""
    stack: list[Any] = []
    for n in units:
        stack.append(layers.Dense(n, activation, kernel_initializer="he_normal"))
        if dropout:
            stack.append(layers.Dropout(dropout))
    return stack


def build(
    prepare: Preprocessor, categories: str, stack: list[Any], outputs: int, seed: int | None
) -> Model:
    """A network over the features of a table.

    With ``categories="embedding"`` it has an input for all that is no category, and one for each
    category, whose columns go through a linear layer without bias: a row of its kernel is what was
    learned for a level.
    """
    checks.choice("categories", categories, ("one-hot", "embedding"))
    stack = [*stack, layers.Dense(outputs)]
    parts = _parts(prepare)
    if categories == "one-hot" or not any(column for column, _ in parts):
        return Sequential(stack, seed=seed)
    entries, merged = [], []
    for column, places in parts:
        entries.append(Input((len(places),)))
        width = min(_WIDEST, (len(places) + 1) // 2)
        name = None if column is None else f"embedding_{len(entries)}"
        merged.append(
            entries[-1] if column is None
            else layers.Dense(width, use_bias=False, name=name)(entries[-1])
        )  # fmt: skip
    y = merged[0] if len(merged) == 1 else layers.Concatenate()(merged)
    for layer in stack:
        y = layer(y)
    return Model(entries, y, seed=seed)


def made_by(function: Callable[..., Any], outputs: int, features: int, seed: int | None) -> Model:
    """The network that a user's function makes."""
    if not callable(function) or isinstance(function, Model):
        raise TypeError(
            "model must be a function that makes one, because the width of the features is known "
            f"only when the table was read; got {checks.describe(function)}"
        )
    offered = {"n_outputs": outputs, "n_features": features, "seed": seed}
    names = inspect.signature(function).parameters
    made = function(**{name: value for name, value in offered.items() if name in names})
    if not isinstance(made, Model):
        raise TypeError(f"model: the function made {checks.describe(made)}, expected a Model")
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
    if not model.built or len(model.inputs) == 1:
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
