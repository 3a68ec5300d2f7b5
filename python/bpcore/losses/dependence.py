"""A loss that compares the rows of a batch with each other: how much two arrays depend."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array, Shape
from ..errors import ShapeError
from .base import CoreLoss


class HSIC(CoreLoss):
    """L = scale nHSIC(p, t): how much the outputs of a batch's rows say of their targets.

    nHSIC(p, t) = tr(R_p R_t), R = K H (K H + epsilon m I)^-1, K_ij = exp(-abs(u_i - u_j)^2 /
    (2 sigma^2 d)), H = I - 1/m: u_i is row i of m, with d values. It is 0 where p and t are
    independent as far as the kernel sees, and at most m - 1. There is no loss of a single row: an
    `evaluate` or `fit` with batches of another size gives another value, and sample weights have no
    meaning. With L = epsilon m, Q = I - R of the centred kernel H K H and G = Q R_t Q / L:
    dL/dp_i = -2 scale / (sigma^2 d) sum_j G_ij K_ij (p_i - p_j).

    Parameters
    ----------
    sigma : float or sequence of float
        Width of the kernel, of p and t alike, in units of a value's own spread: distances are
        divided by d. Several: the sum over them.
    classes : int, optional
        Targets are then labels (N,) from 0 to classes - 1, or rows (N, classes), and a label stands
        for the row with a 1 in its place. Without it they have the shape of the output.
    scale : float
        Below 0 the loss falls as p and t come to depend on each other.
    epsilon : float
        What each eigenvalue of the centred kernel is compared with, times m.

    Notes
    -----
    A batch of m rows takes about 6 m^3 floating point operations and 6 m^2 numbers of memory, on
    one thread. K. Fukumizu and others, Kernel measures of conditional dependence, NIPS 2007; as a
    loss: W.-D. K. Ma, J. P. Lewis, W. B. Kleijn, The HSIC bottleneck, AAAI 2020, whose kernel and
    defaults these are.

    Examples
    --------
    >>> x = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    >>> round(HSIC(sigma=1.0, classes=2).value([0, 0, 1, 1], x), 9)
    0.999847528
    """

    kind = "hsic"
    together = True

    def __init__(
        self,
        sigma: Any = 5.0,
        classes: int | None = None,
        scale: float = 1.0,
        epsilon: float = 1e-5,
    ) -> None:
        self.sigmas = sigmas(sigma)
        self.sigma = self.sigmas[0] if np.ndim(sigma) == 0 else tuple(self.sigmas)
        self.classes = None if classes is None else checks.integer("classes", classes, 2)
        self.scale = checks.real("scale", scale)
        self.epsilon = checks.real("epsilon", epsilon, 0.0, open_low=True)

    def spec(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "sigmas": self.sigmas,
            "epsilon": self.epsilon,
            "scale": self.scale,
            "target_width": self.classes or 0,
        }

    def target_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise ShapeError(
                f"hsic: got an output of shape {shape}, expected (K,), one row of numbers for each "
                "sample; put a Flatten before it"
            )
        return (self.classes,) if self.classes is not None else shape

    def label_shape(self, shape: Shape) -> Shape | None:
        return (self.classes,) if self.classes is not None else None

    def weight_shape(self, shape: Shape) -> Shape:
        raise ValueError(
            "sample_weight: the loss 'hsic' compares the rows of a batch with each other, and no "
            "row has a loss that could be weighted; leave the weights out"
        )

    def rows(self, t: Array, p: Array) -> Array:
        """The rows of the trace, m times over: their mean is the loss."""
        parts = [
            (_ratio(p, s, self.epsilon) * _ratio(t, s, self.epsilon)).sum(axis=1)
            for s in self.sigmas
        ]
        result: Array = self.scale * len(p) * np.sum(parts, axis=0)
        return result

    def slope(self, t: Array, p: Array) -> Array:
        m, total = len(p), np.zeros_like(p)
        for s in self.sigmas:
            q = _complement(p, s, self.epsilon)
            g = q @ _ratio(t, s, self.epsilon) @ q / (self.epsilon * m) * _similarities(p, s)
            total -= 2 / (s**2 * p.shape[1]) * (g.sum(axis=1)[:, None] * p - g @ p)
        result: Array = self.scale * m * total
        return result

    def _pair(self, y_true: Any, y_pred: Any) -> tuple[Array, Array]:
        if self.classes is None:
            return super()._pair(y_true, y_pred)
        t, p = np.asarray(y_true), np.asarray(y_pred, dtype=np.float64)
        if t.ndim == 1:
            t = np.eye(self.classes)[t.astype(np.int64)]
        if t.shape != (len(p), self.classes):
            raise ShapeError(
                f"hsic: got y_true of shape {t.shape}, expected {(len(p), self.classes)} or labels "
                f"{(len(p),)}"
            )
        return t.astype(np.float64), p


def sigmas(value: Any) -> list[float]:
    """Widths of kernels, from one or several."""
    given = [value] if np.ndim(value) == 0 else list(value)
    if not given:
        raise ValueError("sigma is empty, expected a number > 0, or several")
    return [checks.real("sigma", s, 0.0, open_low=True) for s in given]


def _similarities(u: Array, sigma: float) -> Array:
    u = u - u.mean(axis=0)
    square = ((u[:, None, :] - u[None, :, :]) ** 2).sum(axis=-1)
    result: Array = np.exp(-square / (2.0 * sigma**2 * u.shape[1]))
    return result


def _centred(u: Array, sigma: float) -> tuple[Array, float]:
    """H K H, and the mean of K."""
    k = _similarities(u, sigma)
    mean = k.mean(axis=0)
    centred: Array = k - mean - mean[:, None] + mean.mean()
    return centred, float(mean.mean())


def _ratio(u: Array, sigma: float, epsilon: float) -> Array:
    """R of the centred kernel, which is symmetric."""
    centred, _ = _centred(u, sigma)
    ridge = epsilon * len(u) * np.eye(len(u))
    half = np.linalg.solve(centred + ridge, centred) / 2.0
    result: Array = half + half.T
    return result


def _complement(u: Array, sigma: float, epsilon: float) -> Array:
    """Q = I - R but for its 1 at the constant, of which no R sees anything, and which would take
    the digits of all else."""
    centred, mean = _centred(u, sigma)
    ridge = epsilon * len(u) * np.eye(len(u))
    result: Array = np.linalg.inv(centred + mean + ridge) * epsilon * len(u)
    return result
