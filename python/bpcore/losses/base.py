"""What all built-in losses share."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import arguments, checks
from ..base.memory import Array, Shape
from ..errors import ShapeError


class Loss(arguments.Configured):
    """Base of all losses, and the way to write one's own.

    A subclass must define ``value(self, y_true, y_pred)`` and ``gradient(self, y_true, y_pred)``:
    the losses of the rows, (N,), and the gradient of each row's own loss, of y_pred's shape. Their
    means, and sample weights, are taken by the caller: nothing is divided by N. A `value` that is
    one number is the batch's mean, and `gradient` the gradient of that.

    Attributes
    ----------
    target_shape
        Set it to None in the class, and ``y`` may be anything with a row for each sample: an array
        of any width and dtype, or a dict of such arrays. It is not converted, and `value` and
        `gradient` get the rows of the batch. Otherwise ``y`` has the shape of the output, and comes
        in the model's dtype.

    Examples
    --------
    Policy gradients, of actions and advantages:

    >>> import bpcore as bp, numpy as np
    >>> class PolicyGradient(bp.losses.Loss):
    ...     target_shape = None
    ...
    ...     def value(self, y_true, y_pred):  # one loss for each row
    ...         rows = np.arange(len(y_pred))
    ...         return -y_true["advantage"] * np.log(y_pred[rows, y_true["action"]])
    ...
    ...     def gradient(self, y_true, y_pred):  # of each row's loss
    ...         rows, dy = np.arange(len(y_pred)), np.zeros_like(y_pred)
    ...         chosen = y_pred[rows, y_true["action"]]
    ...         dy[rows, y_true["action"]] = -y_true["advantage"] / chosen
    ...         return dy
    >>> model = bp.Sequential([bp.layers.Dense(2, "softmax", kernel_initializer="zeros")], seed=0)
    >>> model.compile("sgd", PolicyGradient())
    >>> y = {"action": np.array([0, 1, 1]), "advantage": np.array([1.0, 2.0, 3.0])}
    >>> round(model.train_on_batch(np.ones((3, 4)), y)["loss"], 4)  # 6 log(2) / 3
    1.3863
    """

    target_shape: Any = ()

    def __init__(self) -> None:
        pass

    def value(self, y_true: Any, y_pred: Any) -> Any:
        """The batch's mean loss, or an array (N,) of the losses of the rows."""
        raise NotImplementedError(f"{type(self).__name__} must define value(self, y_true, y_pred)")

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        """Of y_pred's shape: the gradient of the mean, or of each row's loss."""
        raise NotImplementedError(
            f"{type(self).__name__} must define gradient(self, y_true, y_pred)"
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the code of one's own is not saved."""
        raise TypeError(f"loss {type(self).__name__} is a Python object and cannot be saved")


class CoreLoss(Loss):
    """Base of the built-in losses.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        What becomes of the losses of a batch: their mean, over rows (or steps) and over the values
        of a row where the formula says so; or the sum over all of these, as PyTorch has it. With
        "sum" a step grows with the batch, and the loss that `fit` and `evaluate` tell is the sum
        over all of the data.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.losses.MeanSquaredError(reduction="sum").value([[0.0, 0.0]], [[1.0, 3.0]])
    10.0
    """

    kind = ""  # the core's name
    option_name = ""
    takes_labels = False
    parts = 1  # values of the output for each value of the target
    together = False  # a row's loss depends on the other rows of the batch
    point: int | None = 0  # the part that metrics compare with the target, None: there is none
    reduction = "mean"

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = checks.choice("reduction", reduction, ("mean", "sum"))

    @property
    def name(self) -> str:
        """Name in logs and configurations."""
        return self.kind

    def get_config(self) -> dict[str, Any]:
        return arguments.Configured.get_config(self)

    def spec(self) -> dict[str, Any]:
        """For the core."""
        told = {"kind": self.kind, "options": self._options(), "point": self.point or 0}
        return told if self.reduction == "mean" else {**told, "sum": True}

    def _options(self) -> list[float]:
        return [float(getattr(self, self.option_name))] if self.option_name else []

    def target_shape(self, shape: Shape) -> Shape:
        """Of one sample of y, for an output of per-sample `shape`."""
        if shape[-1] % self.parts:
            raise ShapeError(
                f"{self.name}: got an output of shape {shape}, expected its last axis to be a "
                f"multiple of {self.parts}, {self._layout()}"
            )
        return (*shape[:-1], shape[-1] // self.parts)

    def label_shape(self, shape: Shape) -> Shape | None:
        """What y may name by labels, the last axis counting the classes; None: y has no labels."""
        return shape if self.takes_labels else None

    def weight_shape(self, shape: Shape) -> Shape:
        """Of the weights of one sample, at their finest, for an output of per-sample `shape`.

        The loss is a sum over all these axes; any number of the leading ones may have weights.
        """
        return self.target_shape(shape)

    def _layout(self) -> str:
        return ""

    def rows(self, t: Array, p: Array) -> Array:
        """L_i, shape (N,)."""
        raise NotImplementedError

    def slope(self, t: Array, p: Array) -> Array:
        """dL_i/dp, of p's shape."""
        raise NotImplementedError

    def terms(self, p: Array) -> int:
        """How many values of predictions of one row L_i is the mean over; 1 where it is a sum."""
        return size(p)

    def value(self, y_true: Any, y_pred: Any) -> float:
        """Mean of L_i over the rows, or the sum over rows and values."""
        t, p = self._pair(y_true, y_pred)
        losses = self.rows(t, p)
        return float(losses.mean() if self.reduction == "mean" else losses.sum() * self.terms(p))

    def gradient(self, y_true: Any, y_pred: Any) -> Array:
        """Gradient of `value` with respect to `y_pred`."""
        t, p = self._pair(y_true, y_pred)
        slope = self.slope(t, p)
        return slope / p.shape[0] if self.reduction == "mean" else slope * self.terms(p)

    def _hold(self, p: Array, eps: Any) -> Array:
        """Predictions as the core takes them: probabilities away from where L is infinite."""
        return p

    def _pair(self, y_true: Any, y_pred: Any) -> tuple[Array, Array]:
        t, p = np.asarray(y_true), np.asarray(y_pred)
        if p.dtype.kind != "f" or p.dtype.itemsize != 4:
            p = p.astype(np.float64)
        # In the predictions' own dtype, which may have no 1 - eps and round it.
        p = self._hold(p, p.dtype.type(1e-7 if p.dtype.itemsize == 4 else 1e-15))
        p = p.astype(np.float64)
        if self.takes_labels and t.ndim == p.ndim - 1:
            t = np.eye(p.shape[-1])[t.astype(np.int64)]
        t = t.astype(np.float64)
        expected = self.target_shape(p.shape)
        if self.parts == 1:
            if t.shape != p.shape:
                raise ShapeError(
                    f"{self.name}: got y_true of shape {t.shape}, expected {p.shape}, y_pred's"
                )
            return t, p
        if expected[-1] == 1 and t.shape == expected[:-1]:
            t = t[..., None]
        if t.shape != expected:
            raise ShapeError(
                f"{self.name}: got y_true of shape {t.shape}, expected {expected} for y_pred of "
                f"shape {p.shape}, {self._layout()}"
            )
        return t, p


def mean(x: Array) -> Array:
    """Over all axes but the first."""
    result: Array = x.reshape(x.shape[0], -1).mean(axis=1)
    return result


def size(x: Array) -> int:
    """Values of one row."""
    return int(np.prod(x.shape[1:]))
