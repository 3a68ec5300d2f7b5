"""Online alternating minimisation: codes for hidden layers first, then weights that reach them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..base import checks
from ..graph import End
from ..losses import CoreLoss
from .base import Rule
from .wiring import Block, Wiring

_MOMENTUM = 0.9  # Nesterov's, of the codes
_FUNCTIONS = ("activation", "function", "softmax", "log_softmax")  # operations that end a block

# By loss what an output may end in, so that its gradient before that end is a multiple of p - t.
_ENDS = {
    "cross_entropy": ("softmax", "linear"),
    "binary_cross_entropy": ("sigmoid", "linear"),
    "mean_squared_error": ("linear",),
    "half_squared_error": ("linear",),
}


class _Written(NamedTuple):
    """A block as it was written: values before and after the function at its end."""

    z: int
    a: int


class AlternatingMinimization(Rule):
    """Hidden layers get codes c, which the loss and the layer above pull; then weights follow them.

    A code is what a block's matrix gives, with all that follows but the activation at the end: c_l
    ~ F_l(a(c_{l-1})), F a Dense layer, perhaps batch-normalised. For each batch the codes start at
    the values of a forward pass, c', and the last one goes `code_steps` steps down

        1/mu loss(F_{L+1}(a(c_L)), y) + mean (c_L - c'_L)^2

    then those below, from the last to the first, down

        mean (F_{l+1}(a(c_l)) - c_{l+1})^2 + mean (c_l - c'_l)^2

    by Nesterov's momentum 0.9 with rate `code_rate`; means go over the batch and the units. With
    codes held fixed every hidden block then minimises mean (F_l(a(c_{l-1})) - c_l)^2, the output
    layer the loss of F_{L+1}(a(c_L)), all at once, by the optimizer of `compile`: with Adam this is
    AM-Adam of A. Choromanska et al., Beyond backprop: online alternating minimization with
    auxiliary variables, ICML 2019, whose settings are the defaults. No gradient of a weight crosses
    more than one layer.

    The loss and the metrics that `fit` reports are those of the forward pass, before the codes.

    Parameters
    ----------
    code_steps : int
    code_rate : float
    mu : float
        How closely codes are held where they were; a small one lets the loss pull harder.

    Raises
    ------
    ValueError
        By `compile`: the model is no chain, or has a layer that draws random numbers; the loss is
        none of "cross_entropy" (softmax or logits), "binary_cross_entropy" (sigmoid or logits),
        "mse" and "half_squared_error" (linear outputs), all without options.

    Notes
    -----
    The steps of a batch of 200 rows are those of the source; codes of smaller batches go further.
    A step takes about ``2 code_steps + 3`` products for each layer but the first, where
    backpropagation has 3. Batch normalization moves its running statistics by the forward pass.

    Examples
    --------
    >>> import bpcore as bp
    >>> (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    >>> layers = [bp.layers.Dense(64, "relu"), bp.layers.Dense(64, "relu"), bp.layers.Dense(10)]
    >>> model, rule = bp.Sequential(layers, seed=0), bp.credit.AlternatingMinimization()
    >>> model.compile(bp.optimizers.Adam(0.008), "cross_entropy", ["accuracy"], credit=rule)
    >>> history = model.fit(x, y, epochs=5, verbose=0)
    >>> model.evaluate(xt, yt)["accuracy"] > 0.85
    True
    """

    weighs = False

    def __init__(self, code_steps: int = 5, code_rate: float = 0.3, mu: float = 0.003) -> None:
        super().__init__()
        self.code_steps = checks.integer("code_steps", code_steps, 1)
        self.code_rate = checks.real("code_rate", code_rate, 0.0, open_low=True)
        self.mu = checks.real("mu", mu, 0.0, open_low=True)

    def check(self, losses: list[Any], ends: list[End]) -> None:
        """The gradient of the loss must be a value that the codes can follow."""
        for loss, end in zip(losses, ends, strict=True):
            kind = loss.kind if isinstance(loss, CoreLoss) else type(loss).__name__
            if kind not in _ENDS or end.function not in _ENDS[kind]:
                raise ValueError(
                    f"{self.label} has no meaning for the loss {kind!r} of output {end.name!r}, "
                    f"which ends in {end.function!r}: expected 'cross_entropy' of a softmax or "
                    "logits, 'binary_cross_entropy' of a sigmoid or logits, or 'mse' or "
                    "'half_squared_error' of a linear output"
                )
            plain = type(loss)()
            if loss.get_config() != plain.get_config():
                raise ValueError(
                    f"{self.label} follows the plain loss {kind!r}, got {loss!r}; leave its "
                    "options out"
                )
            self.depends = kind

    def wire(self, net: Wiring) -> None:
        *hidden, head = net.blocks()
        if not hidden:
            net.outputs = [net.run(head, net.inputs[0])]
            return
        forward, x = [], net.inputs[0]
        for block in [*hidden, head]:
            forward.append(self._write(net, block, x))
            x = forward[-1].a
        drawing = {name for *_, attrs, name in net.low.nodes if "seed" in attrs}
        for node in net.nodes:
            if node.layer.name in drawing:
                raise net.refuse(
                    node.layer,
                    "it draws random numbers, and codes run a layer several times a step, each "
                    "time as the same function",
                )
        net.outputs = [net.stop(x)]
        codes = self._codes(net, [*hidden, head], forward)
        for k, block in enumerate(hidden):
            above = self._active(net, forward[k - 1], codes[k - 1]) if k else None
            z = forward[0].z if above is None else self._again(net, block, above).z
            error = self._difference(net, z, codes[k])
            square = net.low.add(
                "function", (error,), net.low.shapes[z], self.name, function="square"
            )
            net.minimise(square, 1 / self._size(net, z))
        z = self._again(net, head, self._active(net, forward[-2], codes[-1])).z
        # A product with a gradient that is held fixed has that gradient.
        held = net.stop(self._slope(net, z))
        product = net.low.add("multiply", (z, held), net.low.shapes[z], self.name)
        net.minimise(product, self._share(net, z))

    def _codes(self, net: Wiring, blocks: list[Block], forward: list[_Written]) -> list[int]:
        codes = [written.z for written in forward[:-1]]
        for k in reversed(range(len(codes))):
            start = codes[k]
            last = k + 2 == len(blocks)
            told = {
                "rate": self.code_rate,
                "momentum": _MOMENTUM,
                "gain": self._share(net, forward[-1].z) / self.mu
                if last
                else 2 / self._size(net, forward[k + 1].z),
                "pull": 2 / self._size(net, start),
            }
            speed: tuple[int, ...] = ()
            for step in range(self.code_steps):
                z = forward[k + 1].z
                if step:
                    z = self._again(net, blocks[k + 1], self._active(net, forward[k], codes[k])).z
                wrong = self._slope(net, z) if last else self._difference(net, z, codes[k + 1])
                pulled = (codes[k], start, net.derivative(codes[k], z, wrong), *speed)
                shape = net.low.shapes[start]
                if step + 1 < self.code_steps:
                    made = net.low.add("descend", pulled, shape, self.name, part="velocity", **told)
                    speed = (made,)
                codes[k] = net.low.add("descend", pulled, shape, self.name, part="value", **told)
        return codes

    def _write(self, net: Wiring, block: Block, x: int) -> _Written:
        a = net.run(block, x)
        op, inputs, *_ = net.low.nodes[a]
        return _Written(inputs[0] if op in _FUNCTIONS else a, a)

    def _again(self, net: Wiring, block: Block, x: int) -> _Written:
        """Once more, of another value; running statistics stay."""
        first = len(net.low.nodes)
        written = self._write(net, block, x)
        net.still(first)
        return written

    def _active(self, net: Wiring, written: _Written, code: int) -> int:
        """The block's value where its code is this one."""
        return code if written.z == written.a else net.behind(written.z, written.a, code)

    def _slope(self, net: Wiring, z: int) -> int:
        """The gradient of a sample's loss by the values before the end, z, but for `_share`."""
        p = z
        if self.depends == "cross_entropy":
            p = net.low.add("softmax", (z,), net.low.shapes[z], self.name)
        elif self.depends == "binary_cross_entropy":
            p = net.function(z, "sigmoid")
        return self._difference(net, p, net.target(net.output_shape))

    def _share(self, net: Wiring, z: int) -> float:
        """By what p - t is to be multiplied."""
        of_all = {"binary_cross_entropy": 1.0, "mean_squared_error": 2.0}
        kind = str(self.depends)
        return of_all[kind] / self._size(net, z) if kind in of_all else 1.0

    def _difference(self, net: Wiring, a: int, b: int) -> int:
        return net.low.add("subtract", (a, b), net.low.shapes[a], self.name)

    @staticmethod
    def _size(net: Wiring, i: int) -> int:
        return math.prod(net.low.shapes[i])
