"""Dense: y = f(x W + b)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import activations, graph
from ..base import checks
from ..base.memory import Shape
from ..errors import NotBuiltError, ShapeError
from .activation import lower_activation
from .core import CoreLayer


class Dense(CoreLayer):
    """A fully connected layer, ``y = f(x @ kernel + bias)``, over the last axis.

    Parameters
    ----------
    units : int
        Number of outputs O.
    activation : str or object, optional
        f; a name of `bpcore.activations.names`, or an object with ``f(z)`` and ``df(z)``.
    use_bias : bool
        Whether there is a bias (O,).
    kernel_initializer, bias_initializer : str, Initializer, array or callable
        First values of kernel (I, O) and bias (O,).
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
        Penalties added to the loss; see `bpcore.regularizers`.
    kernel_constraint, bias_constraint : str or Constraint, optional
        What they are made to obey after each update; see `bpcore.constraints`.
    name, trainable, dtype
        As in `Layer`.

    Notes
    -----
    x (N, ..., I) gives y (N, ..., O). Backward, with delta = dy * f'(z):
    dW = x^T delta, db = sum of delta, dx = delta W^T (D. Rumelhart, G. Hinton, R. Williams, 1986).

    Examples
    --------
    >>> import bpcore as bp
    >>> layer = bp.layers.Dense(1, kernel_initializer="ones")
    >>> layer([[1.0, 2.0]]).tolist()
    [[3.0]]
    >>> layer.backward([[1.0]]).tolist(), layer.gradients["kernel"].tolist()
    ([[1.0, 1.0]], [[1.0], [2.0]])
    """

    of_last_axis = True
    _transposed = ("kernel",)

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.units = checks.integer("units", units)
        self.activation = activations.get(activation)
        self.use_bias = checks.boolean("use_bias", use_bias)
        self._set_of_weights(
            kernel=(kernel_initializer, kernel_regularizer, kernel_constraint),
            bias=(bias_initializer, bias_regularizer, bias_constraint),
        )
        self.kernel: Any = None
        self.bias: Any = None

    def build(self, input_shape: Any) -> None:
        """Make kernel and bias for inputs of this per-sample shape (only the last axis matters)."""
        shape = single(self, input_shape)
        self.kernel = self._make_weight("kernel", (shape[-1], self.units))
        if self.use_bias:
            self.bias = self._make_weight("bias", (self.units,))

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return (*single(self, input_shape)[:-1], self.units)

    def core_product(self) -> tuple[str, dict[str, Any]]:
        """The core's operation with the kernel, and its options; for tied layers, too."""
        return "dense", {}

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        operation, options = self.core_product()
        z = low.add(operation, inputs, shape, self.name, self._weights, **options)
        low.say(z, graph.Units(self.bias))
        return lower_activation(low, z, shape, self.name, self.activation)


class MaskedDense(Dense):
    """A dense layer in which some connections are missing: ``y = f(x @ (kernel * mask) + bias)``.

    A missing connection contributes 0, whatever its weight holds, and its gradient is exactly 0.
    The weight begins with 0 and stays there: penalties and constraints, also those in Python, see 0
    in its place, and gradients, also those given to `apply_gradients`, do not move it.

    Parameters
    ----------
    units : int
    mask : array (I, O) of bool, or of 0 and 1
        1 where there is a connection from input i to unit o.
    activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, \
    bias_regularizer, kernel_constraint, bias_constraint, name, trainable, dtype
        As in `Dense`.

    Raises
    ------
    ValueError
        The mask holds something else, or (`ShapeError`) does not fit the kernel.

    Examples
    --------
    Two inputs, each with a unit of its own:

    >>> import bpcore as bp, numpy as np
    >>> layer = bp.layers.MaskedDense(2, mask=np.eye(2), kernel_initializer="ones")
    >>> layer([[3.0, 5.0]]).tolist()
    [[3.0, 5.0]]
    """

    def __init__(
        self,
        units: int,
        mask: Any,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(
            units,
            activation,
            use_bias,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            bias_regularizer,
            kernel_constraint,
            bias_constraint,
            name,
            trainable,
            dtype,
        )
        try:
            self.mask = np.array(mask, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"mask must be an array of 0 and 1, got {checks.describe(mask)}"
            ) from error
        if not ((self.mask == 0) | (self.mask == 1)).all():
            raise ValueError("mask must hold 0 and 1 alone: whether there is a connection")

    def build(self, input_shape: Any) -> None:
        """Make kernel and bias; the kernel must have the mask's shape."""
        expected = (single(self, input_shape)[-1], self.units)
        if self.mask.shape != expected:
            raise ShapeError(
                f"{self.label}: got a mask of shape {self.mask.shape}, expected {expected}, the "
                "kernel's: inputs by units"
            )
        super().build(input_shape)
        drawn = self.kernel.by_chance
        self.kernel.present = self.mask == 1
        self.kernel.value = self.kernel.connected(self.kernel.value)
        if drawn:  # and so it is still: nobody has set it
            self.kernel.note_drawn()

    def core_product(self) -> tuple[str, dict[str, Any]]:
        return "masked_dense", {"mask": self.mask}


class TiedDense(CoreLayer):
    """``y = f(x @ kernel.T + bias)`` with the kernel of another `Dense`, as in a tied decoder.

    Parameters
    ----------
    tied_to : Dense
        The layer whose kernel (I, O) is used; x (N, ..., O) gives y (N, ..., I). It must be in the
        same model, before this one. Gradients of both uses add. What a `MaskedDense` lacks is
        missing here, too.
    activation : str or object, optional
    use_bias : bool
        Whether there is a bias (I,) of its own.
    bias_initializer
    name, trainable, dtype
        As in `Layer`; `trainable` is about the bias.

    Examples
    --------
    >>> import bpcore as bp
    >>> code = bp.layers.Dense(2)
    >>> model = bp.Sequential([code, bp.layers.TiedDense(code)], seed=0)
    >>> model.build((3,))
    >>> [p.name for p in model.weights]
    ['dense/kernel', 'dense/bias', 'tied_dense/bias']
    """

    def __init__(
        self,
        tied_to: Any,
        activation: Any = None,
        use_bias: bool = True,
        bias_initializer: Any = "zeros",
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        from .. import initializers

        super().__init__(name=name, trainable=trainable, dtype=dtype)
        if not isinstance(tied_to, (Dense, str)):
            raise TypeError(f"tied_to must be a Dense layer, got {checks.describe(tied_to)}")
        self.tied_to: Any = tied_to  # a name only while a saved model is being read
        self.activation = activations.get(activation)
        self.use_bias = checks.boolean("use_bias", use_bias)
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias: Any = None

    @property
    def matrices(self) -> None:
        """None: the matrix is another layer's."""

    def resolve(self, layers: Mapping[str, Any]) -> None:
        """Find the layer of a saved model by its name."""
        if isinstance(self.tied_to, str):
            self.tied_to = layers.get(self.tied_to, self.tied_to)
        if not isinstance(self.tied_to, Dense):
            raise ValueError(f"{self.label}: tied_to names no Dense layer of the model")

    def _kernel_shape(self, input_shape: Any) -> Shape:
        """(I, O) of the kernel, after the check that x fits."""
        shape = single(self, input_shape)
        seen = self.tied_to.seen_shape if isinstance(self.tied_to, Dense) else None
        if seen is None:
            raise NotBuiltError(
                f"{self.label}: the layer it is tied to has no input yet; put it before this one "
                "in the same model"
            )
        kernel: Shape = (seen[-1], self.tied_to.units)
        if shape[-1] != kernel[1]:
            raise ShapeError(
                f"{self.label}: got {shape[-1]} features, expected {kernel[1]} because the kernel "
                f"of {self.tied_to.name!r} is {kernel}"
            )
        return kernel

    def build(self, input_shape: Any) -> None:
        """Make the bias."""
        units = self._kernel_shape(input_shape)[0]
        if self.use_bias:
            self.bias = self._make_weight("bias", (units,))

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return (*single(self, input_shape)[:-1], self._kernel_shape(input_shape)[0])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the other layer by its name."""
        others = {key: value for key, value in self._config_args.items() if key != "tied_to"}
        plain = {key: self._plain(key, value) for key, value in others.items()}
        plain.update(name=self._given_name, trainable=self._trainable)
        return {"tied_to": getattr(self.tied_to, "name", self.tied_to), **plain}

    def core_lower(
        self, low: graph.Lowering, inputs: list[int], shapes: list[Shape], shape: Shape
    ) -> int:
        if self.tied_to.kernel is None:
            raise ValueError(
                f"{self.label} is tied to {self.tied_to.label}, which is not built, so not in this "
                "model, expected a layer of the same model; call that layer in it, before this one"
            )
        weights = [self.tied_to.kernel, *self._weights]
        operation, options = self.tied_to.core_product()
        z = low.add(operation, inputs, shape, self.name, weights, transposed=True, **options)
        low.say(z, graph.Units(self.bias))
        return lower_activation(low, z, shape, self.name, self.activation)


def single(layer: Any, input_shape: Any) -> Shape:
    """The shape of a layer's one input."""
    if isinstance(input_shape, list):
        raise TypeError(
            f"{layer.label}: got {len(input_shape)} inputs, expected one; join them first, for "
            "example with Concatenate()"
        )
    return tuple(input_shape)
