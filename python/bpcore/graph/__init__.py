"""A network as symbols and nodes: parameters, tensors, the order they run in, lowering."""

from __future__ import annotations

from ..base.lengths import Keys, MaskKey, closed, fits, inferred, is_open
from .lowering import End, Lowering, Place, begin, lower, lower_node
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
    "Keys",
    "Lowering",
    "MaskKey",
    "Node",
    "Parameter",
    "Place",
    "Tensor",
    "Units",
    "View",
    "begin",
    "closed",
    "connect",
    "fits",
    "inferred",
    "is_open",
    "is_symbolic",
    "lower",
    "lower_node",
    "sort",
    "unique_layers",
]
