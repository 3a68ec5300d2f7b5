"""The part of Model that looks into a training: diagnose and profile."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .diagnosis import Diagnosis
    from .profiling import Profile


class Inspectable:
    """Base of `Trainable`."""

    def _need_compiled(self) -> Any:
        raise NotImplementedError

    def _busy(self, what: str) -> AbstractContextManager[None]:
        raise NotImplementedError

    def diagnose(
        self, x: Any, y: Any, *, sample_weight: Any = None, batch_size: int | None = None
    ) -> Diagnosis:
        """Why does it not learn? Findings in words with remedies, and the numbers by layer.

        A copy of the model goes over the sample once, then takes trial steps with its optimizer;
        the model itself is not touched: weights, optimizer, counters and random numbers stay.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`, some hundred rows or more. NaN and Inf are findings here, not errors.
        batch_size : int or None
            Rows of a trial step; None: up to 1024 rows of the sample as one batch.

        Returns
        -------
        Diagnosis
            ``findings``, ``healthy``, ``layers``; ``print`` shows a table, ``plot()`` draws it.

        Raises
        ------
        RuntimeError
            The model is not compiled.
        ValueError, TypeError
            For shapes and dtypes that `fit` would refuse.

        Notes
        -----
        Looked for: NaN and Inf, unscaled or constant inputs and targets, class imbalance, weights
        too large, saturated and dead units, gradients that vanish or explode on their way back
        (X. Glorot, Y. Bengio, 2010), and learning rates too large or too small: `TRIAL_STEPS`
        updates are tried, and compared with those at a tenth or ten times the rate.

        Examples
        --------
        >>> import bpcore as bp
        >>> (x, y), _ = bp.datasets.load_digits(split=True)
        >>> layers = [bp.layers.Dense(32, "relu"), bp.layers.Dense(10)]
        >>> model = bp.Sequential(layers, seed=0)
        >>> model.compile("adam", loss="cross_entropy")
        >>> model.diagnose(x, y).healthy
        True
        >>> [finding.kind for finding in model.diagnose(x * 1000, y).findings][0]
        'unscaled_input'
        """
        from .diagnosis import diagnose

        self._need_compiled()
        with self._busy("diagnose"):
            return diagnose(self, x, y, sample_weight, batch_size)

    def profile(self, x: Any, y: Any = None, *, batch_size: int = 32, repeats: int = 20) -> Profile:
        """Time and flops of a training step, layer by layer, on one thread, against the machine.

        A copy of the model is timed; the model itself is not touched.

        Parameters
        ----------
        x, y
            As in `fit`; without `y` zeros stand for it, as the time does not depend on it.
        batch_size : int
            The first so many rows are the batch.
        repeats : int
            Steps that are timed, after two that are not; their median is reported.

        Returns
        -------
        Profile

        Raises
        ------
        RuntimeError
            The model is not compiled.

        Examples
        --------
        >>> import bpcore as bp, numpy as np
        >>> model = bp.Sequential([bp.layers.Dense(8, "relu"), bp.layers.Dense(2)], seed=0)
        >>> model.compile("sgd", loss="mse")
        >>> profile = model.profile(np.ones((32, 4)), repeats=2)
        >>> [layer.forward_flops for layer in profile.layers]  # 2 N I O
        [2048, 1024]
        """
        from .profiling import profile

        self._need_compiled()
        with self._busy("profile"):
            return profile(self, x, y, batch_size, repeats)
