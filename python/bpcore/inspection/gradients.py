"""The gradients of a batch, as `Model.gradients` returns them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..base.memory import Array


class Gradients:
    """What `Model.gradients` returns.

    Attributes
    ----------
    loss : float
        The batch's mean loss, penalties included.
    parameters : dict of str to ndarray
        dL/dw by parameter name; frozen parameters are left out.
    inputs : ndarray, list or dict of ndarray, or None
        dL/dx in the form in which x was given, if it was asked for.
    """

    def __init__(self, loss: float, parameters: dict[str, Array], inputs: Any) -> None:
        self.loss, self.parameters, self.inputs = loss, parameters, inputs

    def __iter__(self) -> Iterator[Any]:
        return iter((self.loss, self.parameters, self.inputs))

    def __repr__(self) -> str:
        return f"<Gradients loss={self.loss:.6g} of {len(self.parameters)} parameters>"
