"""Synthetic gradients: modules predict what the layers above will send back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..base import checks
from ..base.memory import Shape
from ..graph import End, Node
from .base import Rule, own_rate
from .wiring import Wiring


class SyntheticGradients(Rule):
    """A module behind each hidden block predicts dL/dh, and the block learns by the prediction.

    Block and block are decoupled: each can be updated as soon as its own values are there, without
    waiting for those behind it. The module learns to give what then comes back from the next block
    and its module, from the loss at the top: |M(h) - dL/dh|^2, a mean over the batch (M. Jaderberg
    et al., 2017). As in any step of bpcore all blocks and modules are updated together, with the
    values from before the step.

    Where the model has recurrent layers, modules stand at the ends of the windows of `fit(bptt=k)`
    instead: each predicts for a layer's states there what the windows behind will send back, and
    learns from what arrives at the beginning of the next one. Within a window it is
    backpropagation.

    Parameters
    ----------
    context : bool
        Whether modules see the target, too (labels as ones); between windows they see states alone.
    hidden : sequence of int
        Units of the module's hidden layers, which are rectified linear ones; none: it is linear.
        Its last layer begins as 0.
    module_learning_rate : float, optional
        Of the modules, while the optimizer's is what it is at `compile` (of a schedule its
        ``initial_learning_rate``); where that changes they follow in proportion. By default the
        optimizer's.

    Raises
    ------
    ValueError
        By `compile`: the model is no chain of layers, or with context the target is not of the
        output's shape; a recurrent layer needs the whole sequence, or context is asked for beside
        one. By `fit` and kin: there are no windows, or they overlap.

    Examples
    --------
    >>> import bpcore as bp
    >>> layers = [bp.layers.Dense(8, "tanh"), bp.layers.Dense(8, "tanh"), bp.layers.Dense(3)]
    >>> model = bp.Sequential([bp.Input((4,)), *layers], seed=0)
    >>> model.compile("adam", "cross_entropy", credit=bp.credit.SyntheticGradients())
    >>> [(w.name, w.shape) for w in model.credit_weights][:2]  # of h and of the one-hot label
    [('credit/dense.0.kernel', (11, 8)), ('credit/dense.0.bias', (8,))]
    """

    def __init__(
        self,
        context: bool = True,
        hidden: Sequence[int] = (),
        module_learning_rate: float | None = None,
    ) -> None:
        super().__init__()
        self.context = checks.boolean("context", context)
        if isinstance(hidden, (str, bytes)) or not isinstance(hidden, Sequence):
            raise TypeError(
                f"hidden must be a sequence of units by layer, got {checks.describe(hidden)}"
            )
        self.hidden = [checks.integer("hidden", units) for units in hidden]
        self.module_learning_rate = own_rate("module_learning_rate", module_learning_rate)

    def check(self, losses: list[Any], ends: list[End]) -> None:
        if not self.context:
            return
        for loss, end in zip(losses, ends, strict=True):
            shape = getattr(loss, "target_shape", None)
            if shape is None or (callable(shape) and shape(end.shape) != end.shape):
                raise ValueError(
                    f"{self.label}: its modules see the target, and loss {loss!r} takes targets "
                    f"that are not of the output's shape {end.shape}; give context=False"
                )

    def wire(self, net: Wiring) -> None:
        if any(hasattr(node.layer, "lower_from") for node in net.nodes):
            return self._between_windows(net)
        *hidden, last = net.blocks()
        x = net.inputs[0]
        target = net.output_shape if self.context else None
        for block in hidden:
            h = net.run(block, x)
            guess = self._module(net, block.name, h, target)
            x = net.low.add("synthetic", (h, guess), net.low.shapes[h], block.name)
        net.outputs = [net.run(last, x)]

    def _between_windows(self, net: Wiring) -> None:
        """Modules at the ends of windows alone; within them it is backpropagation."""
        if self.context:
            raise ValueError(
                f"{self.label}: between windows of a recurrent model a module sees states alone, "
                "as there is no one target behind them, got context=True; give context=False"
            )

        def own(node: Node, x: int) -> int | None:
            if not hasattr(node.layer, "lower_from"):
                return None
            name, begun = net.begun(node)
            low, shape, bounds = net.low, net.low.shapes[begun], net.bounds()
            came, goes = (
                low.add("rows", (bounds,), (1,), self.name, begin=k, end=k + 1) for k in (0, 1)
            )
            guess = self._module(net, name, begun)
            guess = low.add("multiply", (guess, came), shape, self.name)
            y, end = net.run_from(node, x, low.add("synthetic", (begun, guess), shape, name))
            # The gradient of its product with the states is the prediction.
            guess = low.add("multiply", (self._module(net, name, end), goes), shape, self.name)
            net.minimise(low.add("multiply", (end, net.stop(guess)), shape, self.name))
            return y

        net.whole(own)

    def _module(self, net: Wiring, name: str, h: int, target: Shape | None = None) -> int:
        """What the module of this name predicts of value `h`, and perhaps of a target."""
        low, own = net.low, net.low.shapes[h]
        value = net.flat(net.stop(h))
        if target is not None:
            told = net.flat(net.target(target))
            size = low.shapes[value][0] + low.shapes[told][0]
            value = low.add("concatenate", (value, told), (size,), self.name, axis=0)
        units = [*self.hidden, math.prod(own)]
        for k, n in enumerate(units):
            first = "glorot_uniform" if k + 1 < len(units) else "zeros"
            sizes = low.shapes[value][0], n
            of = net.map(f"{name}.{k}", sizes, first, self.module_learning_rate)
            value = net.dense(value, of)
            if k + 1 < len(units):
                value = net.function(value, "relu")
        return net.shaped(value, own)
