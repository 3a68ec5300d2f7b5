"""SimpleRNN, LSTM and GRU: cells along time, trained by backpropagation through time."""

from __future__ import annotations

from typing import Any

from ..base import checks
from ..base.memory import Array, Shape
from .recurrent_base import Recurrent


class SimpleRNN(Recurrent):
    """h_t = f(x_t kernel + h_{t-1} recurrent_kernel + bias), from h_0 = 0.

    Parameters
    ----------
    units : int
        U, the size of the state h.
    activation : str
        f, an activation of single values.
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer
        Of kernel (F, U), recurrent_kernel (U, U) and bias (U,).
    kernel_regularizer, recurrent_regularizer, bias_regularizer : optional
        Penalties; see `bpcore.regularizers`.
    kernel_constraint, recurrent_constraint, bias_constraint : optional
        See `bpcore.constraints`.
    dropout, recurrent_dropout : float
        Of x, and of h in the products with recurrent_kernel: in training each of their values is 0
        with this probability, else scaled up, with one mask for all steps and gates of a sample (Y.
        Gal, Z. Ghahramani, 2016).
    return_sequences : bool
        Whether y is h of every step, (N, T, U), and not the last one, (N, U).
    return_state : bool
        Whether the states after the last step are returned too: ``[y, h]``.
    go_backwards : bool
        Start with the last step; the sequence returned then starts with it too.
    stateful : bool
        Whether in `fit` sample i of a batch goes on from the state of sample i of the batch before,
        until ``model.reset_states()``; with ``shuffle=False``.
    seed : int, optional
        Of dropout; by default from the model's seed.
    name, trainable, dtype
        As in `Layer`.

    Notes
    -----
    x (N, T, F). Gradients are those of the unrolled network: delta_t = (dL/dh_t) * f', dL/dh_{t-1}
    gets delta_t recurrent_kernel^T, and the sums over t are the gradients of the weights (P.
    Werbos, "Backpropagation through time: what it does and how to do it", 1990; J. Elman, 1990).

    Examples
    --------
    >>> import bpcore as bp
    >>> layer = bp.layers.SimpleRNN(1, "linear", kernel_initializer="ones",
    ...                             recurrent_initializer="ones", return_sequences=True)
    >>> layer([[[1.0], [2.0], [3.0]]]).tolist()  # running sums
    [[[1.0], [3.0], [6.0]]]
    """

    op, gates = "simple_rnn", 1

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        *,
        seed: int | None = None,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self._set(
            units,
            {"activation": activation},
            use_bias,
            kernel=(kernel_initializer, kernel_regularizer, kernel_constraint),
            recurrent=(recurrent_initializer, recurrent_regularizer, recurrent_constraint),
            bias=(bias_initializer, bias_regularizer, bias_constraint),
        )
        self._set_results(return_sequences, return_state, go_backwards, stateful)
        self._set_dropout(dropout, recurrent_dropout, seed)


class LSTM(Recurrent):
    """Long short-term memory: a cell c that gates write, keep and read.

    Parameters
    ----------
    units : int
        U, the size of h and of c.
    activation, recurrent_activation : str
        f and s below, activations of single values.
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer
        Of kernel (F, 4 U), recurrent_kernel (U, 4 U) and bias (4 U,).
    unit_forget_bias : bool
        Whether the forget gate's bias starts at 1, so that the cell keeps what it has (R.
        Jozefowicz et al., 2015).
    kernel_regularizer, recurrent_regularizer, bias_regularizer : optional
    kernel_constraint, recurrent_constraint, bias_constraint : optional
    dropout, recurrent_dropout, return_sequences, return_state, go_backwards
        As in `SimpleRNN`; the states are ``[y, h, c]``.
    stateful : bool
        Whether in `fit` sample i of a batch goes on from the state of sample i of the batch before,
        until ``model.reset_states()``; with ``shuffle=False``.
    seed : int, optional
        Of dropout; by default from the model's seed.
    name, trainable, dtype
        As in `Layer`.

    Notes
    -----
    With z = x_t kernel + h_{t-1} recurrent_kernel + bias in four parts of U columns, in the order
    i, f, c, o as in Keras:

        i = s(z_i), f = s(z_f), g = f(z_c), o = s(z_o)
        c_t = f c_{t-1} + i g,  h_t = o f(c_t)

    S. Hochreiter, J. Schmidhuber, "Long short-term memory", 1997; the forget gate is of F. Gers,
    J. Schmidhuber, F. Cummins, 2000.

    Examples
    --------
    >>> import bpcore as bp
    >>> layer = bp.layers.LSTM(2)
    >>> layer.build((5, 3))
    >>> [(p.local_name, p.shape) for p in layer.weights]
    [('kernel', (3, 8)), ('recurrent_kernel', (2, 8)), ('bias', (8,))]
    >>> layer.bias.value.tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """

    op, gates, states = "lstm", 4, 2

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        *,
        seed: int | None = None,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.unit_forget_bias = checks.boolean("unit_forget_bias", unit_forget_bias)
        self._set(
            units,
            {"activation": activation, "recurrent_activation": recurrent_activation},
            use_bias,
            kernel=(kernel_initializer, kernel_regularizer, kernel_constraint),
            recurrent=(recurrent_initializer, recurrent_regularizer, recurrent_constraint),
            bias=(bias_initializer, bias_regularizer, bias_constraint),
        )
        self._set_results(return_sequences, return_state, go_backwards, stateful)
        self._set_dropout(dropout, recurrent_dropout, seed)

    recurrent_activation: str

    def build(self, input_shape: Any) -> None:
        """Make kernel (F, 4 units), recurrent_kernel (units, 4 units) and bias for x (T, F)."""
        super().build(input_shape)
        if self.use_bias and self.unit_forget_bias:
            value: Array = self.bias.value.copy()
            value[self.units : 2 * self.units] = 1
            self.bias.value = value


class GRU(Recurrent):
    """Gated recurrent unit: a state that is kept and renewed in parts.

    Parameters
    ----------
    units : int
        U, the size of h.
    activation, recurrent_activation : str
        f and s below, activations of single values.
    use_bias : bool
    kernel_initializer, recurrent_initializer, bias_initializer
        Of kernel (F, 3 U), recurrent_kernel (U, 3 U) and bias: (3 U,), or with `reset_after`
        (2, 3 U): that of x, then that of h.
    reset_after : bool
        Whether the reset gate comes after the product with recurrent_kernel.
    kernel_regularizer, recurrent_regularizer, bias_regularizer : optional
    kernel_constraint, recurrent_constraint, bias_constraint : optional
    dropout, recurrent_dropout, return_sequences, return_state, go_backwards
        As in `SimpleRNN`.
    stateful : bool
        Whether in `fit` sample i of a batch goes on from the state of sample i of the batch before,
        until ``model.reset_states()``; with ``shuffle=False``.
    seed : int, optional
        Of dropout; by default from the model's seed.
    name, trainable, dtype
        As in `Layer`.

    Notes
    -----
    With a = x_t kernel + bias and b = h_{t-1} recurrent_kernel in three parts of U columns, in the
    order z, r, h as in Keras:

        z = s(a_z + b_z), r = s(a_r + b_r)
        g = f(a_h + r b_h) with reset_after (b has a bias of its own), the form of cuDNN, PyTorch
        g = f(a_h + (r h_{t-1}) recurrent_kernel_h) without it, the form of the paper
        h_t = z h_{t-1} + (1 - z) g

    K. Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014.

    Examples
    --------
    >>> import bpcore as bp
    >>> layer = bp.layers.GRU(2)
    >>> layer.build((5, 3))
    >>> [(p.local_name, p.shape) for p in layer.weights]
    [('kernel', (3, 6)), ('recurrent_kernel', (2, 6)), ('bias', (2, 6))]
    """

    op, gates = "gru", 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        reset_after: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        *,
        seed: int | None = None,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.reset_after = checks.boolean("reset_after", reset_after)
        self._set(
            units,
            {"activation": activation, "recurrent_activation": recurrent_activation},
            use_bias,
            kernel=(kernel_initializer, kernel_regularizer, kernel_constraint),
            recurrent=(recurrent_initializer, recurrent_regularizer, recurrent_constraint),
            bias=(bias_initializer, bias_regularizer, bias_constraint),
        )
        self._set_results(return_sequences, return_state, go_backwards, stateful)
        self._set_dropout(dropout, recurrent_dropout, seed)

    recurrent_activation: str

    def _bias_shape(self) -> Shape:
        width = 3 * self.units
        return (2, width) if self.reset_after else (width,)

    def _attributes(self) -> dict[str, Any]:
        return {**super()._attributes(), "reset_after": self.reset_after}
