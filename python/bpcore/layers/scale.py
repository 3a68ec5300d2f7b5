"""Learnable scales: Scale, and activations with a slope that is trained."""

from __future__ import annotations

from typing import Any

from .. import graph
from ..base import checks
from ..base.memory import Shape
from .core import CoreLayer
from .dense import single


class Scale(CoreLayer):
    """y = x * w with trainable w of the last axis, or one number for all.

    Parameters
    ----------
    initializer
        First values of w; by default ones. Small ones start a residual branch near 0 (LayerScale,
        H. Touvron et al., 2021).
    shared : bool
        Whether w is one number.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.Scale(initializer=[2.0, 3.0])([[1.0, 1.0]]).tolist()
    [[2.0, 3.0]]
    """

    weight = "scale"

    def __init__(
        self,
        initializer: Any = "ones",
        shared: bool = False,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        from .. import initializers

        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.initializer = initializers.get(initializer)
        self.shared = checks.boolean("shared", shared)

    def build(self, input_shape: Any) -> None:
        """Make w, of shape (C,) or (1,)."""
        shape = single(self, input_shape)
        self.add_weight(self.weight, (1,) if self.shared else shape[-1:], self.initializer)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return single(self, input_shape)

    def _scaled(self, low: graph.Lowering, i: int, shape: Shape) -> int:
        return low.add("scale", (i,), shape, self.name, self._weights)

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        return self._scaled(low, inputs[0], shape)


class PReLU(Scale):
    """y = max(0, x) + alpha min(0, x) with trainable alpha per channel (the last axis).

    Parameters
    ----------
    alpha_initializer
        By default 0.25 (K. He et al., 2015, and PyTorch).
    shared : bool
        Whether all channels share one alpha.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.layers.PReLU()([[-4.0, 4.0]]).tolist()
    [[-1.0, 4.0]]
    """

    weight = "alpha"

    def __init__(
        self,
        alpha_initializer: Any = 0.25,
        shared: bool = False,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        start = _constant(alpha_initializer)
        super().__init__(start, shared, name=name, trainable=trainable, dtype=dtype)
        self.alpha_initializer = self.initializer

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        positive = low.add("activation", inputs, shape, self.name, function="relu", alpha=0.0)
        negative = low.add("subtract", (inputs[0], positive), shape, self.name)
        return low.add("add", (positive, self._scaled(low, negative, shape)), shape, self.name)


class Swish(Scale):
    """y = x sigmoid(beta x) with trainable beta per channel (P. Ramachandran et al., 2017).

    Parameters
    ----------
    beta_initializer
        By default 1, where y is `silu`.
    shared : bool
        Whether all channels share one beta.
    """

    weight = "beta"

    def __init__(
        self,
        beta_initializer: Any = "ones",
        shared: bool = False,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        start = _constant(beta_initializer)
        super().__init__(start, shared, name=name, trainable=trainable, dtype=dtype)
        self.beta_initializer = self.initializer

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        scaled = self._scaled(low, inputs[0], shape)
        gate = low.add("activation", (scaled,), shape, self.name, function="sigmoid", alpha=0.0)
        return low.add("multiply", (inputs[0], gate), shape, self.name)


def _constant(value: Any) -> Any:
    """A number as an initializer."""
    from .. import initializers

    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return initializers.Constant(value)
    return value
