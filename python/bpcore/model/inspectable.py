"""The part of Model that looks into a training: gradients, trace, diagnose and their kin."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from .. import _core, activations
from ..base import checks
from ..base.memory import Array
from ..data.batches import validation_parts
from ..data.dataset import Dataset, batch_size_of
from ..data.inputs import gradients_as_given
from ..errors import diverged
from ..graph.parameter import take_gradients
from ..inspection.gradients import Gradients
from ..inspection.parts import Parts
from ..layers.recurrent_base import Recurrent
from ..train import windows
from ..train.engine import Engine
from .looks import Looks

if TYPE_CHECKING:
    from ..base.svg import Picture
    from ..diagnosis import Diagnosis
    from ..graph.parameter import Parameter
    from ..inspection.profiling import Profile
    from ..inspection.rate_finder import LearningRateFinder
    from ..train.compilation import Compilation


class Inspectable(Looks):
    """Base of `Trainable`."""

    name: str
    dtype: str
    _in_keys: list[str] | None
    _out_kind: Any

    @property
    def built(self) -> bool:
        """Whether the model has weights."""
        raise NotImplementedError

    def _built(self, what: str = "") -> Engine:
        raise NotImplementedError

    def _need_compilation(self, loss: bool = True) -> Compilation:
        raise NotImplementedError

    def _build_for(self, x: Any) -> Any:
        raise NotImplementedError

    def _check_pass(self, what: str) -> None:
        raise NotImplementedError

    def _undone_on_error(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    @property
    def trainable_weights(self) -> list[Parameter]:
        """The parameters that training changes."""
        raise NotImplementedError

    def _prepared(self, x: Any, y: Any, sample_weight: Any = None, mask: Any = None) -> Dataset:
        raise NotImplementedError

    def _parts(self) -> Parts:
        """What the model hands to those who look into it."""
        return Parts(self._built(), self._need_compilation(), self._copied)

    def _copied(self, *told: Any, **more: Any) -> Parts:
        """The parts of a copy; with arguments of `compile` it is compiled with them."""
        twin: Any = copy.deepcopy(self)
        if told or more:
            twin.compile(*told, **more)
        parts: Parts = twin._parts()
        return parts

    def _busy(self, what: str) -> AbstractContextManager[Any]:
        raise NotImplementedError

    @property
    def output_activations(self) -> list[str]:
        """The last activation of each output, ``"linear"`` without one.

        Raises
        ------
        NotBuiltError
            The model has no weights yet.

        Examples
        --------
        >>> import bpcore as bp
        >>> layers = [bp.layers.Dense(2), bp.layers.Activation("softmax")]
        >>> bp.Sequential([bp.Input((3,)), *layers], seed=0).output_activations
        ['softmax']
        """
        found = [end.function for end in self._built().ends()]
        return [name if name in activations.names() else "linear" for name in found]

    def plot(self, path: Any = None) -> Picture:
        """Draw the graph: a box for each call of a layer, an arrow for each value.

        Parameters
        ----------
        path : path, optional
            Where the picture is also written, as SVG.

        Returns
        -------
        Picture
            Its ``svg`` is the text; notebooks show it.

        Raises
        ------
        NotBuiltError
            The model has no weights yet.
        ValueError
            The path does not end in ``.svg``.

        Examples
        --------
        >>> import bpcore as bp
        >>> model = bp.Sequential([bp.Input((3,)), bp.layers.Dense(2)], seed=0)
        >>> "(N, 2), 8 parameters" in model.plot().svg
        True
        """
        from ..base.svg import Picture
        from ..files.atomic import write_atomically
        from ..inspection.summary import picture

        drawn = picture(self, self._built())
        if path is not None:
            name = checks.path(path)
            if not name.lower().endswith(".svg"):
                raise ValueError(f"path: got {name!r}, expected a name that ends in .svg")
            write_atomically(name, drawn.encode())
        return Picture(drawn)

    def _repr_html_(self) -> str | None:
        """For notebooks; None, which is the plain text, of a model without weights yet."""
        from ..inspection.summary import page

        return page(self, self._built()) if self.built else None

    def gradients(
        self,
        x: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        wrt_inputs: bool = False,
        mask: Any = None,
        bptt: Any = None,
    ) -> Gradients:
        """Gradients of the batch's mean loss plus penalties; nothing is updated.

        They are also left in each trainable parameter's ``grad``.

        Parameters
        ----------
        x, y, sample_weight, mask
            As in `fit`; all samples are one batch.
        wrt_inputs : bool
            Whether to compute dL/dx too: of sequences that are given as a list a list, each as long
            as its own.
        bptt : int or (h, h'), optional
            The sum of truncated passes: one every h' steps, over the last h steps, with the losses
            of the last h' (R. Williams, J. Peng, 1990); k is (k, k). (K, 1) is the truncation of
            each step's loss to K steps. Needs targets for each step.
        """
        checks.boolean("wrt_inputs", wrt_inputs)
        with self._busy("gradients"):
            return self._gradients(x, y, sample_weight, wrt_inputs, mask, windows.truncation(bptt))

    def _gradients(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        wrt_inputs: bool,
        mask: Any = None,
        bptt: windows.Truncation | None = None,
    ) -> Gradients:
        compilation = self._need_compilation()
        item = self._prepared(x, y, sample_weight, mask)
        engine = self._built()
        dxs: list[Any] = []
        try:
            if bptt is None:
                trainer = engine.of(item).trainer("gradients", compilation)
                loss, grads, dxs = trainer.gradients(
                    item.xs, item.ys, item.told, wrt_inputs=wrt_inputs
                )
            else:
                windows.check(engine, item, "y")
                loss, grads = windows.gradients(engine, compilation, item, bptt)
        except _core.Diverged as error:
            raise diverged(error, -1, None) from None
        dxs = gradients_as_given(dxs[: len(engine.signature.inputs)], item.each)  # masks follow
        pairs = [(p, g) for p, g in zip(engine.params, grads, strict=True) if g is not None]
        take_gradients([p for p, _ in pairs], [g for _, g in pairs])
        found = {p.name: g for p, g in pairs}
        return Gradients(float(loss), found, self._inputs_as_given(dxs) if wrt_inputs else None)

    def _inputs_as_given(self, parts: list[Any]) -> Any:
        """Arrays by input in the form in which the model takes them."""
        if self._in_keys:
            return dict(zip(self._in_keys, parts, strict=True))
        return parts[0] if len(parts) == 1 else list(parts)

    def _outputs_as_given(self, parts: list[Array]) -> Any:
        """Arrays by output in the form in which the model gives them."""
        if self._out_kind is dict:
            return dict(zip(self._built().signature.outputs.names, parts, strict=True))
        return parts[0] if self._out_kind is None else list(parts)

    def gradient_norms_over_time(
        self,
        x: Any,
        y: Any,
        *,
        layer: str | None = None,
        sample_weight: Any = None,
        mask: Any = None,
    ) -> Array:
        """By step t the norm of dL/dh_t, over samples and units: does the gradient vanish or
        explode on its way back?

        Parameters
        ----------
        x, y, sample_weight, mask
            As in `fit`; all samples are one batch, whose mean loss L is.
        layer : str, optional
            A recurrent layer; by default the last one.

        Returns
        -------
        ndarray (T,)
            Where samples are of unequal lengths, as many as the longest has, or a few more.

        Examples
        --------
        With a linear recurrence h_t = 0.9 h_{t-1} + x_t the gradient shrinks by 0.9 a step:

        >>> import bpcore as bp, numpy as np
        >>> rnn = bp.layers.SimpleRNN(1, "linear", recurrent_initializer=[[0.9]])
        >>> model = bp.Sequential([bp.Input((None, 1)), rnn], seed=0)
        >>> model.compile("sgd", "mse")
        >>> norms = model.gradient_norms_over_time(np.ones((1, 5, 1)), np.zeros((1, 1)))
        >>> (norms[:-1] / norms[1:]).round(3).tolist()
        [0.9, 0.9, 0.9, 0.9]
        """
        from ..inspection.through_time import gradient_norms

        with self._busy("gradient_norms_over_time"):
            compilation = self._need_compilation()
            item = self._prepared(x, y, sample_weight, mask)
            found = [
                node.layer
                for node in self._built().nodes
                if isinstance(node.layer, Recurrent) and layer in (None, node.layer.name)
            ]
            if not found:
                named = "" if layer is None else f" {layer!r}"
                raise ValueError(f"model {self.name!r} has no recurrent layer{named}")
            engine = self._built().traced(item.form)
            return gradient_norms(engine, compilation, item, found[-1])

    def trace(
        self, x: Any, y: Any = None, *, sample_weight: Any = None, mask: Any = None
    ) -> dict[str, Any]:
        """Every layer's inputs, weighted input z, activation a, and dL/da and delta = dL/dz.

        As in textbooks; L is the batch's mean loss: for a single sample, its loss. Without `y` the
        forward pass alone, as `predict` computes it: no loss is needed then. Of sequences that are
        given as a list, what has their steps is a list, each as long as its own.
        """
        from ..inspection.trace import forward_trace, trace

        if y is None:
            if sample_weight is not None:
                raise ValueError("sample_weight is for the loss, got no y; leave it out")
            self._check_pass("trace")
            x = self._build_for(x)
            engine = self._built()
            return forward_trace(engine, engine.signature.read_inputs(x, mask=mask))
        with self._busy("trace"):
            compilation = self._need_compilation()
            item = self._prepared(x, y, sample_weight, mask)
            try:
                return trace(self._built(), compilation, item)
            except _core.Diverged as error:
                raise diverged(error, -1, None) from None

    def gradcheck(
        self,
        x: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        seed: int = 0,
        mask: Any = None,
    ) -> Any:
        """Compare all gradients with differences of the loss in float64; see `GradCheck`."""
        from ..inspection.gradcheck import gradcheck

        self._need_compilation()
        with self._busy("gradcheck"):
            item = self._prepared(x, y, sample_weight, mask)
        twin = _doubled(self)
        return gradcheck(twin._built(), twin._need_compilation(), item, checks.seed(seed) or 0)

    def find_learning_rate(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int | None = 32,
        low: float = 1e-7,
        high: float = 10.0,
        steps: int = 100,
    ) -> LearningRateFinder:
        """Try growing learning rates on a copy of the model; the model itself is not changed.

        Batch k is trained with rate low (high / low)^(k / (steps - 1)), until the smoothed loss is
        four times its smallest value or not finite (L. Smith, "Cyclical learning rates for training
        neural networks", 2015).

        Parameters
        ----------
        x, y
            As in `fit`.
        batch_size : int or None
        low, high : float
        steps : int
            Batches, at least 10.

        Returns
        -------
        LearningRateFinder
            With ``rates``, ``losses``, ``suggestion`` and ``plot()``.

        Raises
        ------
        ValueError
            For bad arguments, or if the loss is not finite from the beginning.

        Examples
        --------
        >>> import bpcore as bp
        >>> x, y = bp.datasets.load_digits()
        >>> model = bp.Sequential([bp.layers.Dense(32, "relu"), bp.layers.Dense(10)], seed=0)
        >>> model.compile("adam", "cross_entropy")
        >>> found = model.find_learning_rate(x, y)
        >>> 1e-4 < found.suggestion < 1.0
        True
        """
        from ..inspection import rate_finder

        self._need_compilation()
        batch_size_of(batch_size, 1)
        with self._busy("find_learning_rate"):
            twin: Any = copy.deepcopy(self)
        compilation = twin._need_compilation()
        compilation.optimizer.core_rate()  # which some have not
        batches = rate_finder.batches_of(x, y, batch_size, twin.seed, twin._prepared, twin._read)
        return rate_finder.find(
            batches,
            lambda item: twin._built().of(item).trainer("train", compilation),
            compilation.measures,
            low,
            high,
            steps,
        )

    def diagnose(
        self,
        x: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        batch_size: int | None = None,
        validation_data: Any = None,
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
        validation_data : (x, y) or (x, y, sample_weight), optional
            Rows that the model was not trained with, for a finding on overfitting.

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
        (X. Glorot, Y. Bengio, 2010), units that stay alike, and learning rates too large or too
        small: `TRIAL_STEPS` updates are tried, and compared with those at a tenth or ten times the
        rate. Then a copy with new weights is trained for 400 steps on three quarters of the sample:
        it shows a linear model that cannot bend, targets with no signal, and a plateau.

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
        from ..diagnosis import diagnose

        self._need_compilation()
        with self._busy("diagnose"):
            parts = None if validation_data is None else validation_parts(validation_data)
            twin: Any = copy.deepcopy(self)
            x = twin._build_for(x)
            return diagnose(twin._parts(), x, y, sample_weight, batch_size, parts)

    def profile(self, x: Any, y: Any = None, *, batch_size: int = 32, repeats: int = 20) -> Profile:
        """Time and flops of a training step, layer by layer, on one thread, against the machine.

        A copy of the model is timed; the model itself is not touched.

        Parameters
        ----------
        x, y
            As in `fit`; without `y` zeros stand for it, as the time does not depend on it.
        batch_size : int
            The batch is this number of rows, the first ones.
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
        from ..inspection.profiling import profile

        self._need_compilation()
        with self._busy("profile"):
            twin: Any = copy.deepcopy(self)
            x = twin._build_for(x)
            return profile(twin._built(), twin._need_compilation(), x, y, batch_size, repeats)


def _doubled(model: Any) -> Any:
    """A copy in float64, optimizer state left out."""
    twin = copy.deepcopy(model)
    twin.dtype = twin.compute = "float64"
    for layer in twin.layers:
        layer.convert("float64")
    twin._make_engine()
    return twin
