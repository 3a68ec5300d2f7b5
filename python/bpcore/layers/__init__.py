"""Layers. Each works alone, and as part of `bpcore.Sequential` and `bpcore.Model`."""

from __future__ import annotations

from .activation import Activation
from .base import Layer
from .dense import Dense
from .input import Input, InputLayer
from .merging import Add, Average, Concatenate, Constant, Divide, Maximum, Multiply, Subtract
from .reshaping import Flatten, Reshape

__all__ = [
    "Activation",
    "Add",
    "Average",
    "Concatenate",
    "Dense",
    "Flatten",
    "Input",
    "Layer",
    "Maximum",
    "Multiply",
    "Reshape",
    "Subtract",
]

# All that a saved model may name, by class name.
CLASSES: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        Activation,
        Add,
        Average,
        Concatenate,
        Constant,
        Dense,
        Divide,
        Flatten,
        InputLayer,
        Maximum,
        Multiply,
        Reshape,
        Subtract,
    )
}
