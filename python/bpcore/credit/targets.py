"""Difference target propagation: each layer has a target, which inverse maps find for it."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import graph
from ..base import checks
from .base import Rule, own_rate
from .wiring import Block, Wiring


class _Hidden(NamedTuple):
    """A hidden block: its value, before a sign that stands at its end."""

    block: Block
    nodes: tuple[Any, ...]  # without that sign
    signed: Any  # the sign's node, or None
    made_by: graph.Function  # what makes its values, of those of the matrix
    h: int


class DifferenceTargetPropagation(Rule):
    """Layers learn to reach targets t, which go down by inverse maps g and not by derivatives.

    The top hidden value has t = h - target_rate dL/dh, of each sample's own loss; those below have
    t_{l-1} = h_{l-1} - g_l(h_l) + g_l(t_l). A block minimises |h - t|^2 with t held fixed, the
    output layer the loss; an inverse minimises |g_l(f_l(u)) - u|^2 with u = h_{l-1} + noise. All
    are sums over units and means over the batch (D.-H. Lee et al., 2015). No gradient crosses more
    than one block. As in any step of bpcore weights and inverses are updated together, with the
    values from before the step.

    A hidden block is a Dense layer and pointwise activations. An `Activation("sign")` at its end
    makes it discrete: the signs are sent on, and are what the inverse takes.

    Parameters
    ----------
    target_rate : float
    noise : float
        Standard deviation of the noise.
    inverse_learning_rate : float, optional
        Of the inverses, while the optimizer's is what it is at `compile` (of a schedule its
        ``initial_learning_rate``); where that changes they follow in proportion. By default the
        optimizer's.

    Raises
    ------
    ValueError
        By `compile`: the model is no chain of Dense layers and activations.

    Examples
    --------
    >>> import bpcore as bp
    >>> layers = [bp.layers.Dense(8, "tanh"), bp.layers.Dense(6, "tanh"), bp.layers.Dense(3)]
    >>> model = bp.Sequential([bp.Input((4,)), *layers], seed=0)
    >>> rule = bp.credit.DifferenceTargetPropagation(target_rate=0.1, noise=0.3)
    >>> model.compile("adam", "cross_entropy", credit=rule)
    >>> [(w.name, w.shape) for w in model.credit_weights]
    [('credit/dense_1.kernel', (6, 8)), ('credit/dense_1.bias', (8,))]
    """

    def __init__(
        self,
        target_rate: float = 0.1,
        noise: float = 0.3,
        inverse_learning_rate: float | None = None,
    ) -> None:
        super().__init__()
        self.target_rate = checks.real("target_rate", target_rate, 0.0, open_low=True)
        self.noise = checks.real("noise", noise, 0.0)
        self.inverse_learning_rate = own_rate("inverse_learning_rate", inverse_learning_rate)

    def wire(self, net: Wiring) -> None:
        *hidden, last = net.blocks()
        if not hidden:
            net.outputs = [net.run(last, net.inputs[0])]
            return
        below = self._hidden(net, hidden[0], net.inputs[0], first=True)
        for k, block in enumerate(hidden[1:]):
            here = self._hidden(net, block, self._sent(net, below, net.stop(below.h)))
            below = self._behind(net, below, here, k)
        top = net.stop(below.h, 2 * self.target_rate)  # d|h - t|^2 = 2 (h - t)
        net.outputs = [net.run(last, self._sent(net, below, top))]

    def _hidden(self, net: Wiring, block: Block, x: int, first: bool = False) -> _Hidden:
        nodes, signed = block.nodes, None
        last = nodes[-1].layer
        function = getattr(last, "activation", None)
        if function == "sign" and not last.weights:
            nodes, signed = nodes[:-1], nodes[-1]
        for node in nodes:
            start = len(net.low.nodes)
            x = graph.lower_node(net.low, node, [x]).a
            steps = [net.low.steps.get(i) for i in range(start, len(net.low.nodes))]
            if not first and not all(isinstance(s, (graph.Units, graph.Function)) for s in steps):
                raise net.refuse(node.layer, "hidden blocks are Dense layers with activations")
        if len(net.low.shapes[x]) != 1:
            raise net.refuse(block.layer, "its values are not one row of units")
        step = net.low.steps.get(x)
        made_by = step if isinstance(step, graph.Function) else graph.Function("linear")
        return _Hidden(block, nodes, signed, made_by, x)

    def _sent(self, net: Wiring, hidden: _Hidden, h: int) -> int:
        """What the block above sees of value `h` of a block."""
        if hidden.signed is None:
            return h
        return graph.lower_node(net.low, hidden.signed, [h]).a

    def _behind(self, net: Wiring, below: _Hidden, here: _Hidden, k: int) -> _Hidden:
        """The block's value, whose target the block below hears of; trains the inverse."""
        low, name = net.low, here.block.name
        shape, size = low.shapes[below.h], low.shapes[below.h][0]
        function, alpha = below.made_by
        if function in ("softmax", "log_softmax"):
            raise net.refuse(
                below.nodes[-1].layer, "an inverse ends in a function of single values"
            )

        noisy = low.add(
            "noise", (net.stop(below.h),), shape, self.name, mode="gaussian", shape=shape,
            rate=self.noise, seed=net.seed(k),
        )  # fmt: skip
        x = self._sent(net, below, noisy)
        for node in here.nodes:
            x = graph.lower_node(low, node, [x]).a
        sizes = low.shapes[here.h][0], size
        inverse = net.map(name, sizes, "orthogonal", self.inverse_learning_rate)
        back = net.dense(self._sent(net, here, net.stop(x)), inverse)
        if function != "linear":
            back = net.function(back, function, alpha)
        error = low.add("subtract", (back, noisy), shape, self.name)
        net.minimise(low.add("function", (error,), shape, self.name, function="square"))

        h = low.add(
            "difference", (below.h, here.h), low.shapes[here.h], name, inverse,
            function=function, alpha=float(alpha), by_sign=here.signed is not None,
        )  # fmt: skip
        return here._replace(h=h)
