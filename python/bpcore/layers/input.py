"""The place where data enters a functional model."""

from __future__ import annotations

from typing import Any

from .. import graph
from ..base import checks
from ..base.memory import Shape
from .core import CoreLayer


class InputLayer(CoreLayer):
    """Made by `Input`; a node without inputs."""

    is_input = True

    def __init__(self, shape: Any, name: str | None = None) -> None:
        super().__init__(name=name)
        if name is None:
            self._name = "input"
        self.shape = checks.shape("Input shape", shape, steps=True)
        self._input_shape = self.shape

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return self.shape

    def get_config(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "name": self._given_name}


def Input(shape: Any, *, name: str | None = None) -> graph.Tensor:
    """A symbolic tensor for data of this per-sample shape, without the batch axis.

    Parameters
    ----------
    shape : tuple of int
        ``(784,)``, ``(28, 28, 1)``, ...
    name : str, optional
        For models with several inputs that are given as a dict.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import bpcore as bp
    >>> a = bp.Input((4,))
    >>> model = bp.Model(a, bp.layers.Dense(2)(a))
    >>> model.count_params()
    10
    """
    layer = InputLayer(shape, name=name)
    return graph.Node(layer, (), layer.shape).output
