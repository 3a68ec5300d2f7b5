"""A network as symbols and nodes: parameters, tensors, the order they run in, lowering."""

from __future__ import annotations

from .lowering import End, Lowering, Place, lower
from .parameter import Parameter
from .tensor import (
    Node,
    Tensor,
    connect,
    is_symbolic,
    sort,
    unique_layers,
)

__all__ = [
    "End",
    "Lowering",
    "Node",
    "Parameter",
    "Place",
    "Tensor",
    "connect",
    "is_symbolic",
    "lower",
    "sort",
    "unique_layers",
]
