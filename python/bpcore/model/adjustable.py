"""The part of Model that sets weights from data without training."""

from __future__ import annotations

from typing import Any

from ..base.counters import Counters
from ..data import arrays
from ..data.dataset import Dataset, batch_size_of
from . import output_bias, statistics
from .inspectable import Inspectable


class Adjustable(Inspectable):
    """Base of `Trainable`."""

    name: str
    _counters: Counters

    def refresh_statistics(self, x: Any, *, batch_size: int | None = 32) -> None:
        """Set the running statistics of BatchNormalization to their means over the batches of `x`.

        For weights that no batch was trained with, as after averaging them (P. Izmailov et al.,
        2018). The forward passes are those of training, in order, without updates.

        Parameters
        ----------
        x : array (N, ...), or list, tuple or dict for several inputs
        batch_size : int or None
            None is all rows at once.

        Raises
        ------
        ValueError
            No BatchNormalization layer of the model is trainable.
        TrainingDiverged
            A statistic would be NaN or Inf; nothing was changed.
        """
        with self._busy("refresh_statistics"):
            engine = self._built()
            engine.refresh()
            found = engine.signature.read_inputs(x)
            size = batch_size_of(batch_size, found.n)
            own = engine.formed(found.form)
            if not statistics.refresh(own, found.xs, size, self._counters.draws):
                raise ValueError(f"model {self.name!r} has no trainable BatchNormalization layer")

    def set_output_bias(
        self, y: Any, *, class_weight: Any = None, sample_weight: Any = None
    ) -> None:
        """Set the biases of the last Dense layers to the best constant prediction of `y`.

        With a kernel of zeros the initial loss of a cross entropy is then the entropy of the class
        priors, and early training need not learn them first. Only these biases change.

        Parameters
        ----------
        y, class_weight, sample_weight
            As in `fit`.

        Raises
        ------
        ValueError
            If an output does not end in Dense layers with a bias (activations, reshapes,
            ``Concatenate``, ``Normalization(invert=True)`` and arithmetic with constants may
            follow), or the loss has no best constant.

        Notes
        -----
        Through the inverse of what follows the layer: the logarithm of each class's share
        (``cross_entropy``, ``kl_divergence``), the logit of the rate (``binary_cross_entropy``),
        the median (``mean_absolute_error``), the quantiles (``quantile``), mean and log-variance
        (``gaussian_nll``), the mean (``mean_squared_error``, ``half_squared_error``, ``poisson``,
        and near enough ``huber``, ``log_cosh``). A class without a sample counts as half of one.

        Examples
        --------
        >>> import bpcore as bp, numpy as np
        >>> model = bp.Sequential([bp.layers.Dense(2, kernel_initializer="zeros")])
        >>> model.build((3,))
        >>> model.compile(loss="cross_entropy")
        >>> model.set_output_bias([0, 1, 1, 1])
        >>> np.exp(model.weights[1].value).round(6).tolist()
        [0.25, 0.75]
        """
        with self._busy("set_output_bias"):
            compilation, engine = self._need_compilation(), self._built(" (set_output_bias)")
            ys, ws = engine.signature.read_targets(
                y,
                sample_weight,
                compilation.losses,
                check_labels=compilation.measures.refuse_labels,
            )
            arrays.some_weight("sample_weight", ws)
            item = Dataset(len(ys[0][0]), [], ys, ws)
            if class_weight is not None:
                engine.signature.weigh_classes(item, class_weight, compilation.losses)
            output_bias.set_output_bias(engine, compilation.losses, item.ys, item.ws)
