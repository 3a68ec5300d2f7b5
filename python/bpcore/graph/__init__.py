"""A network as symbols and nodes: parameters, tensors, the order they run in, lowering."""

from __future__ import annotations

from .lowering import End, Lowering, Place, lower
from .parameter import Parameter
from .steps import Affine, Fixed, Function, Given, Joined, Units, View
from .tensor import (
    Node,
    Tensor,
    connect,
    is_symbolic,
    sort,
    unique_layers,
)

__all__ = [
    "Affine",
    "End",
    "Fixed",
    "Function",
    "Given",
    "Joined",
    "Lowering",
    "Node",
    "Parameter",
    "Place",
    "Tensor",
    "Units",
    "View",
    "connect",
    "is_symbolic",
    "lower",
    "sort",
    "unique_layers",
]
