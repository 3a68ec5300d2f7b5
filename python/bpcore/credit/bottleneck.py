"""The HSIC bottleneck: each block is trained alone, by what it says of the input and the label."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array
from ..graph import End
from ..losses import CoreLoss
from ..losses.dependence import sigmas
from .base import Rule
from .wiring import Wiring


class HSICBottleneck(Rule):
    """Every block before the last Dense makes nHSIC(z, x) - beta nHSIC(z, y) small, alone.

    z are the block's values, x the model's input, y the target (a label as a 1 in its place): a
    block forgets of the input what does not tell of the label. nHSIC is that of `losses.HSIC`, over
    the rows of a batch. No gradient goes from block to block, or from the output to a block: the
    last layer, the head, learns by the compiled loss on features that are data to it, in the same
    step (W.-D. K. Ma, J. P. Lewis, W. B. Kleijn, The HSIC bottleneck, AAAI 2020, there
    "format-trained").

    A block is a layer with a matrix and the layers behind it, up to the next: Dense,
    BatchNormalization and relu for example.

    Parameters
    ----------
    sigma : float or sequence of float
        Width of the kernels, in units of a value's own spread; several: the sum over them. A small
        one sees neighbours only, a large one what is linear.
    beta : float
        How much the label counts beside the input.
    unformatted : bool
        There is no head: the last layer is a block, too, its units take up classes in an order that
        nobody told them, and the loss is only looked at. `match` finds the class of each unit from
        training data, `classify` uses it. It wants an end like softmax or tanh: linear units do not
        take up classes.
    epsilon : float
        See `losses.HSIC`.

    Attributes
    ----------
    classes : ndarray (K,) of int
        With ``unformatted``: the class of each output, as `match` found it; kept in files.

    Raises
    ------
    ValueError
        By `compile`: the model is no chain, or its outputs are not one row for each sample; the
        targets of the loss are not of the output's shape.

    Notes
    -----
    A step takes about 4.3 m^3 operations a block beside the layers' own, and 2.3 m^3 for the input
    and for the label, with m rows a batch, on one thread. Batches of a few hundred rows are meant:
    of a few rows every pair is far apart, and the blocks learn nothing.

    Examples
    --------
    >>> import bpcore as bp
    >>> (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    >>> layers = [bp.layers.Dense(64, "tanh"), bp.layers.Dense(64, "tanh"), bp.layers.Dense(10)]
    >>> model = bp.Sequential(layers, seed=0)
    >>> model.compile("adam", "cross_entropy", ["accuracy"], credit=bp.credit.HSICBottleneck())
    >>> history = model.fit(x, y, batch_size=128, epochs=10, verbose=0)
    >>> model.evaluate(xt, yt)["accuracy"] > 0.85
    True
    """

    together, weighs = True, False

    def __init__(
        self,
        sigma: Any = 5.0,
        beta: float = 50.0,
        unformatted: bool = False,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.sigmas = sigmas(sigma)
        self.sigma = self.sigmas[0] if np.ndim(sigma) == 0 else tuple(self.sigmas)
        self.beta = checks.real("beta", beta, 0.0)
        self.unformatted = checks.boolean("unformatted", unformatted)
        self.epsilon = checks.real("epsilon", epsilon, 0.0, open_low=True)

    def check(self, losses: list[Any], ends: list[End]) -> None:
        """Targets must be rows that can be compared with each other."""
        for loss, end in zip(losses, ends, strict=True):
            alike = isinstance(loss, CoreLoss) and loss.target_shape(end.shape) == end.shape
            if not alike:
                raise ValueError(
                    f"{self.label} needs targets of the output's shape, or labels, got the loss "
                    f"{getattr(loss, 'name', type(loss).__name__)!r}, whose targets are others; "
                    "take 'cross_entropy' or 'mse'"
                )

    def wire(self, net: Wiring) -> None:
        blocks = net.blocks()
        heads = [] if self.unformatted else blocks[-1:]
        trained = blocks[: len(blocks) - len(heads)]
        if len(net.output_shape) != 1:
            raise net.refuse(
                blocks[-1].layer, "targets are compared sample by sample, one row of numbers each"
            )
        if not trained:
            net.outputs = [net.run(blocks[-1], net.inputs[0])]
            return
        x = h = net.inputs[0]
        values = []
        for block in trained:
            h = net.run(block, h)
            values.append(h)
            h = net.stop(h)
        for block in heads:
            h = net.run(block, h)
        net.outputs = [h]
        told = {
            "count": len(values),
            "weights": np.array([1.0, -self.beta]),
            "sigmas": np.array(self.sigmas),
            "epsilon": self.epsilon,
        }
        y = net.target(net.low.shapes[h])
        net.minimise(net.low.add("hsic", (*values, x, y), (1,), self.name, **told))
        if self.unformatted:
            net.weight("classes", net.low.shapes[h], "zeros")

    @property
    def classes(self) -> Array:
        """The class of each output."""
        found = self._weights.get("classes")
        if found is None:
            raise ValueError(
                f"{self.label}: outputs are matched with classes for unformatted=True, after "
                "compile; otherwise the head names them"
            )
        return found.value.astype(np.int64)

    def match(self, y_pred: Any, y: Any) -> Array:
        """Find the class of each output from the training data.

        It is the class that most of the rows have where the output is the largest; of an output
        that is nowhere the largest, the one for which its mean is.

        Parameters
        ----------
        y_pred : ndarray (N, K)
            What `Model.predict` says of the training data.
        y : ndarray (N,) or (N, K)
            Their labels, or targets of which the largest names the class.

        Returns
        -------
        ndarray (K,) of int
            The same as `classes` from now on.

        Examples
        --------
        >>> import bpcore as bp, numpy as np
        >>> (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
        >>> layers = [bp.layers.Dense(64, "tanh"), bp.layers.Dense(10, "softmax")]
        >>> model = bp.Sequential(layers, seed=0)
        >>> rule = bp.credit.HSICBottleneck(beta=200.0, unformatted=True)
        >>> model.compile(bp.optimizers.Adam(0.01), "cross_entropy", credit=rule)
        >>> history = model.fit(x, y, batch_size=128, epochs=10, verbose=0)
        >>> len(rule.match(model.predict(x), y))
        10
        >>> float(np.mean(rule.classify(model.predict(xt)) == yt)) > 0.7
        True
        """
        k = len(self.classes)
        p, t = self._read(y_pred), np.asarray(y)
        t = t.argmax(axis=1) if t.ndim == 2 else t
        whole = t.dtype.kind in "iub" or (t.dtype.kind == "f" and bool((t == np.floor(t)).all()))
        if t.shape != p.shape[:1] or not whole or len(t) == 0 or t.min() < 0:
            raise ValueError(
                f"{self.label}.match: got y of shape {np.shape(y)}, expected {len(p)} labels >= 0, "
                f"or targets {p.shape}, and at least one row"
            )
        labels = t.astype(np.int64)
        hot = np.eye(int(labels.max()) + 1)[labels]
        counts = np.eye(k)[p.argmax(axis=1)].T @ hot
        means = p.T @ hot / np.maximum(hot.sum(axis=0), 1.0)
        found = np.where(counts.any(axis=1), counts.argmax(axis=1), means.argmax(axis=1))
        self._weights["classes"].value = found.astype(self._weights["classes"].dtype)
        return self.classes

    def classify(self, y_pred: Any) -> Array:
        """Labels (N,) of what `Model.predict` said, (N, K): the class of the largest output."""
        result: Array = self.classes[self._read(y_pred).argmax(axis=1)]
        return result

    def _read(self, y_pred: Any) -> Array:
        p, k = np.asarray(y_pred, dtype=np.float64), len(self.classes)
        if p.ndim != 2 or p.shape[1] != k:
            raise ValueError(
                f"{self.label}: got predictions of shape {p.shape}, expected (N, {k}), what "
                "predict() returns"
            )
        return p
