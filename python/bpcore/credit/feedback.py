"""Feedback alignment: fixed random matrices in place of the transposed weights."""

from __future__ import annotations

import math
from typing import Any

from .. import initializers
from ..base import checks
from ..base.memory import Array, Shape
from .base import Rule
from .wiring import Wiring


class Feedback(initializers.Initializer):
    """Uniform numbers of mean 0 and a standard deviation, some of them 0."""

    def __init__(self, deviation: float, density: float = 1.0) -> None:
        self.deviation, self.density = deviation, density

    def values(self, shape: Shape, seed: int, stream: int) -> Array:
        limit = math.sqrt(3.0 / self.density) * self.deviation
        drawn = initializers.Uniform(-limit, limit).values(shape, seed, 2 * stream)
        if self.density < 1.0:
            drawn *= initializers.Uniform(0.0, 1.0).values(shape, seed, 2 * stream + 1) < (
                self.density
            )
        return drawn


class FeedbackAlignment(Rule):
    """Deltas go back through fixed random matrices B: delta_l = (delta_{l+1} B^T) f'(z_l).

    Everything else is as in backpropagation, on any graph of layers; the layers' transposed weights
    are never read. Training turns the weights towards the transposes of B, so that the deltas come
    to point where backpropagation's do (T. Lillicrap et al., 2016); see `Model.alignment`.

    Parameters
    ----------
    scale : float
        Of B, which is drawn uniformly with standard deviation ``scale / sqrt(outputs)``, outputs
        those of the layer whose matrix it stands for.
    density : float in (0, 1]
        The part of B that is not 0; the rest of it is larger, so that deltas keep their size.
    sign_symmetric : bool
        Whether B has the signs of the weights at every moment, and sizes of its own: only the signs
        of the weights are known on the way back (Q. Liao et al., 2016).

    Examples
    --------
    >>> import bpcore as bp
    >>> (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    >>> layers = [bp.layers.Dense(64, "tanh"), bp.layers.Dense(64, "tanh"), bp.layers.Dense(10)]
    >>> model = bp.Sequential(layers, seed=0)
    >>> model.compile("adam", "cross_entropy", ["accuracy"], credit=bp.credit.FeedbackAlignment())
    >>> history = model.fit(x, y, epochs=5, verbose=0)
    >>> model.evaluate(xt, yt)["accuracy"] > 0.85
    True
    >>> [w.name for w in model.credit_weights]  # none where no delta goes on to weights
    ['credit/dense_1.kernel', 'credit/dense_2.kernel']
    """

    def __init__(
        self, scale: float = 1.0, density: float = 1.0, sign_symmetric: bool = False
    ) -> None:
        super().__init__()
        self.sign_symmetric = checks.boolean("sign_symmetric", sign_symmetric)
        self.scale = checks.real("scale", scale, 0.0, open_low=True)
        self.density = checks.real("density", density, 0.0, 1.0, open_low=True)

    def feedback(self, net: Wiring, name: str, shape: tuple[int, ...]) -> Any:
        """A matrix of feedback, of the shape of a layer's own."""
        outputs = math.prod(shape) / shape[-2]
        told = Feedback(self.scale / math.sqrt(outputs), self.density)
        return net.weight(name, shape, told)

    def wire(self, net: Wiring) -> None:
        for node in net.nodes:
            matrices = net.matrices(node.layer)
            if not net.reaches(node):
                continue
            for matrix in matrices:
                name = f"{node.layer.name}.{matrix.local_name}"
                feedback = self.feedback(net, name, matrix.shape)
                net.send_back(matrix, feedback)
                if self.sign_symmetric:
                    net.take_signs(feedback, matrix)
        net.whole()


class DirectFeedbackAlignment(FeedbackAlignment):
    """Each hidden layer gets the output's error itself: delta_l = (e B_l^T) f'(z_l).

    e is the gradient of the loss at the last matrix's values, B_l a fixed random matrix for each
    hidden block, a layer with a matrix and what stands behind it. All blocks have their deltas as
    soon as e is known, whatever their number (A. Nokland, 2016).

    Parameters
    ----------
    scale : float
        Of B_l, which is drawn uniformly with standard deviation ``scale / sqrt(outputs)``, outputs
        those of the model.
    density : float in (0, 1]
        The part of B_l that is not 0.

    Raises
    ------
    ValueError
        By `compile`: the model is no chain of layers, or its last matrix is not that of a Dense
        layer with one row of outputs.

    Examples
    --------
    >>> import bpcore as bp
    >>> layers = [bp.layers.Dense(8, "tanh"), bp.layers.Dense(8, "tanh"), bp.layers.Dense(3)]
    >>> model = bp.Sequential([bp.Input((4,)), *layers], seed=0)
    >>> model.compile("adam", "mse", credit=bp.credit.DirectFeedbackAlignment())
    >>> [(w.name, w.shape) for w in model.credit_weights]
    [('credit/dense', (8, 3)), ('credit/dense_1', (8, 3))]
    """

    def __init__(self, scale: float = 1.0, density: float = 1.0) -> None:
        super().__init__(scale, density)

    def wire(self, net: Wiring) -> None:
        *hidden, last = net.blocks()
        x, values = net.inputs[0], []
        for block in hidden:
            values.append(net.run(block, x))
            x = net.stop(values[-1])
        first = len(net.low.nodes)
        y = net.run(last, x)
        z = net.units(last, first, y)
        error = z
        size = net.low.shapes[z][-1]
        for block, h in zip(hidden, values, strict=True):
            shape = math.prod(net.low.shapes[h]), size
            b = self.feedback(net, block.name, shape)
            error = net.low.add("feedback", (error, h), net.low.shapes[z], self.name, (b,))
        net.outputs = [net.behind(z, y, error)]
