"""The part of Model with derivatives beyond the gradient: Jacobians and products with curvature."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import _core
from ..base.memory import Array
from ..data.dataset import Dataset
from ..errors import ShapeError
from ..train import solving
from ..train.engine import Engine
from .inspectable import Inspectable

_LARGEST = 20_000  # numbers of a model whose Hessian fits: 3 GiB


class Differentiable(Inspectable):
    """Base of `Trainable`.

    P is the number of trained parameters, in the order of `trainable_weights`, each in C order;
    O and I are the values of an output or input, flat for each sample. All layers are in inference
    mode.
    """

    def jacobian(self, x: Any) -> Any:
        """dy/dw of each sample: outputs, after the last activation, by the trained parameters.

        Parameters
        ----------
        x : as in `predict`

        Returns
        -------
        ndarray (N, O, P) of the model's dtype, or a list of them for several outputs

        Notes
        -----
        One backward pass for each output value (M. Hagan, M. Menhaj, 1994), in parallel over
        samples.

        Examples
        --------
        >>> import bpcore as bp
        >>> model = bp.Sequential([bp.Input((2,)), bp.layers.Dense(1)], seed=0)
        >>> model.jacobian([[3.0, 4.0]]).tolist()  # of kernel (2, 1) and bias (1,)
        [[[3.0, 4.0, 1.0]]]
        """
        with self._busy("jacobian"):
            engine, xs = self._read_x(x)
            offsets, _ = solving.places(engine)
            return _one(_core.jacobian(engine.net, xs, offsets))

    def input_jacobian(self, x: Any) -> Any:
        """dy/dx of each sample.

        Parameters
        ----------
        x : as in `predict`

        Returns
        -------
        ndarray (N, O, I) of the model's dtype, or lists of them: by output, by input

        Examples
        --------
        >>> import bpcore as bp
        >>> model = bp.Sequential([bp.Input((2,)), bp.layers.Dense(1)], seed=0)
        >>> model.set_weights([[[5.0], [6.0]], [0.0]])
        >>> model.input_jacobian([[3.0, 4.0]]).tolist()
        [[[5.0, 6.0]]]
        """
        with self._busy("input_jacobian"):
            engine, xs = self._read_x(x)
            return _one([_one(row) for row in _core.input_jacobian(engine.net, xs)])

    def per_sample_gradients(self, x: Any, y: Any) -> Array:
        """The gradient of each sample's own loss: not divided by N, without penalties.

        Parameters
        ----------
        x, y : as in `fit`

        Returns
        -------
        ndarray (N, P) of the model's dtype

        Examples
        --------
        >>> import bpcore as bp
        >>> model = bp.Sequential([bp.Input((1,)), bp.layers.Dense(1)], seed=0)
        >>> model.set_weights([[[1.0]], [0.0]])
        >>> model.compile(loss="half_squared_error")
        >>> model.per_sample_gradients([[2.0], [3.0]], [[1.0], [5.0]]).tolist()  # e (x, 1)
        [[2.0, 1.0], [-6.0, -2.0]]
        """
        for loss in self._need_compilation().losses:
            if getattr(loss, "together", False):
                raise ValueError(
                    f"per_sample_gradients: the loss {loss.name!r} compares the rows of a batch "
                    "with each other, and no sample has a loss of its own; use another loss"
                )
        with self._busy("per_sample_gradients"), self._with_data(x, y) as (engine, trainer):
            offsets, _ = solving.places(engine)
            found: Array = _core.sample_gradients(trainer, offsets)
            return found

    def gauss_newton_vector(self, x: Any, y: Any, v: Any) -> Array:
        """The generalised Gauss-Newton matrix of the batch's mean loss, times `v`.

        G = 1/N sum of J^T H J: J is the Jacobian of what the loss reads, H the loss's Hessian there
        (N. Schraudolph, 2002). What it reads are the logits where a cross entropy follows softmax
        or sigmoid, else the outputs. Without penalties.

        Parameters
        ----------
        x, y : as in `fit`
        v : array (P,)

        Returns
        -------
        ndarray (P,) of the model's dtype

        Examples
        --------
        >>> import bpcore as bp
        >>> model = bp.Sequential([bp.Input((1,)), bp.layers.Dense(1)], seed=0)
        >>> model.compile(loss="half_squared_error")
        >>> model.gauss_newton_vector([[2.0]], [[0.0]], [1.0, 0.0]).tolist()  # x x^T v
        [4.0, 2.0]
        """
        with self._busy("gauss_newton_vector"), self._with_data(x, y) as (engine, trainer):
            return _product(engine, trainer, v, _core.gauss_newton_vector, False)

    def fisher_vector(self, x: Any, v: Any) -> Array:
        """The Fisher matrix of the model as a distribution of y given x, times `v`.

        F = 1/N sum over samples of the expectation of g g^T over targets y that the model itself
        gives (S. Amari, 1998), g the gradient of its loss, computed exactly. The loss must be the
        logarithm of a likelihood: cross entropies, ``kl_divergence``, squared errors (a normal
        distribution of fixed variance), ``poisson``, ``gaussian_nll``. Of outputs that are natural
        parameters, as logits are, it is the Gauss-Newton matrix.

        Parameters
        ----------
        x : as in `predict`
        v : array (P,)

        Returns
        -------
        ndarray (P,) of the model's dtype
        """
        with self._busy("fisher_vector"):
            engine, xs = self._read_x(x)
            compilation = self._need_compilation()
            compilation.refuse_sums("the Fisher matrix")
            trainer = engine.trainer("gradients", compilation)
            ys = []
            shapes = [engine.low.shapes[i] for i in engine.outputs]
            for loss, shape in zip(compilation.losses, shapes, strict=True):
                wanted = loss.target_shape(shape) if hasattr(loss, "target_shape") else shape
                zero = np.zeros(1, engine.dtype)
                ys.append((np.broadcast_to(zero, (len(xs[0]), *wanted)), False))
            with _holding(trainer, xs, ys, [None] * len(ys)):
                return _product(engine, trainer, v, _core.gauss_newton_vector, True)

    def hessian_vector(self, x: Any, y: Any, v: Any) -> Array:
        """The Hessian of the batch's mean loss plus penalties, times `v`, exactly.

        By derivatives of the forward and backward pass in the direction of v (B. Pearlmutter,
        1994): about four times the work of a gradient.

        Parameters
        ----------
        x, y : as in `fit`
        v : array (P,)

        Returns
        -------
        ndarray (P,) of the model's dtype

        Raises
        ------
        ValueError
            A layer, loss or penalty has no second derivative; it is named.

        Examples
        --------
        >>> import bpcore as bp, numpy as np
        >>> layers = [bp.Input((1,)), bp.layers.Dense(2, "tanh"), bp.layers.Dense(1)]
        >>> model = bp.Sequential(layers, seed=0, dtype="float64")
        >>> model.compile(loss="mse")
        >>> x, y, v = np.ones((4, 1)), np.zeros((4, 1)), np.arange(7.0)
        >>> product = model.hessian_vector(x, y, v)
        >>> np.allclose(product, model.hessian(x, y) @ v)
        True
        """
        with self._busy("hessian_vector"), self._with_data(x, y) as (engine, trainer):
            return _product(engine, trainer, v, _core.hessian_vector)

    def hessian(self, x: Any, y: Any) -> Array:
        """The Hessian of the batch's mean loss plus penalties, of small nets: P products.

        Parameters
        ----------
        x, y : as in `fit`

        Returns
        -------
        ndarray (P, P) of the model's dtype
        """
        with self._busy("hessian"), self._with_data(x, y) as (engine, trainer):
            offsets, size = solving.places(engine)
            if size > _LARGEST:
                raise ValueError(
                    f"hessian: got {size} trained parameters, expected at most {_LARGEST}, as it "
                    f"has {size} x {size} numbers; use hessian_vector"
                )
            unit = np.zeros(size, engine.dtype)
            result = np.empty((size, size), engine.dtype)
            for i in range(size):
                unit[:] = 0
                unit[i] = 1
                result[i] = _core.hessian_vector(trainer, offsets, unit)
            return result

    def _read_x(self, x: Any) -> tuple[Engine, list[Array]]:
        engine = self._built()
        engine.refresh()
        found = engine.signature.read_inputs(x)
        if len(found.xs) > len(engine.signature.inputs):
            raise ValueError(
                "x holds steps that do not count, of lists or by a layer's mask, got a call for "
                "the derivatives of all outputs; give sequences of one length as an array"
            )
        return engine.formed(found.form), found.xs

    @contextmanager
    def _with_data(self, x: Any, y: Any) -> Iterator[tuple[Engine, Any]]:
        """The engine for these data, and a trainer that holds them meanwhile."""
        compilation = self._need_compilation()
        compilation.refuse_sums("a second derivative, or one of each sample,")
        item: Dataset = self._prepared(x, y)
        engine = self._built().of(item)
        trainer = engine.trainer("gradients", compilation)
        with _holding(trainer, item.xs, item.ys, item.told):
            yield engine, trainer


def _one(items: list[Any]) -> Any:
    return items[0] if len(items) == 1 else items


@contextmanager
def _holding(trainer: Any, xs: list[Array], ys: Any, told: Any) -> Iterator[None]:
    trainer.set_data(xs, ys, told)
    try:
        yield
    finally:
        trainer.drop_data()


def _product(engine: Engine, trainer: Any, v: Any, of: Any, *told: Any) -> Array:
    """What `of` makes of the trainer's data and `v`, after a check of it."""
    offsets, size = solving.places(engine)
    given = np.asarray(v)
    if given.dtype.kind not in "fiub":
        raise TypeError(
            f"v: got dtype {given.dtype}, expected real numbers; of complex ones take the products "
            "with v.real and v.imag"
        )
    if given.shape != (size,):
        raise ShapeError(
            f"v: got shape {given.shape}, expected ({size},), a number for each trained parameter, "
            "in the order of model.weights_vector"
        )
    vector = np.ascontiguousarray(given, engine.dtype)
    if not np.isfinite(vector).all():
        raise ValueError("v: got NaN or Inf in it, expected finite numbers")
    product: Array = of(trainer, offsets, vector, *told)
    return product
