"""A network as symbols and nodes: parameters, tensors, the order they run in, lowering."""

from __future__ import annotations

from .tensor import (
    Lowering,
    Node,
    Place,
    Tensor,
    connect,
    is_symbolic,
    lower,
    sort,
    unique_layers,
)

__all__ = [
    "Lowering",
    "Node",
    "Place",
    "Tensor",
    "connect",
    "is_symbolic",
    "lower",
    "sort",
    "unique_layers",
]
