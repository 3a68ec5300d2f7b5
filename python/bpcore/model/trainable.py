"""The part of Model that trains: fit, evaluate and their kin."""

from __future__ import annotations

import functools
import os
from contextlib import AbstractContextManager
from typing import Any

from .. import _core
from ..base.counters import Counters
from ..callbacks.base import CallbackList
from ..callbacks.history import History
from ..data.batches import Batches, is_batches, validation_parts
from ..data.dataset import Dataset, batch_size_of
from ..data.opening import opened
from ..data.signature import Names
from ..errors import BusyError, diverged
from ..layers.base import Layer
from ..train import evaluation, loop, windows
from ..train.compilation import Compilation
from ..train.engine import Engine
from ..train.options import Options
from ..train.trainee import Trainee
from . import building
from .adjustable import Adjustable
from .compilable import Compilable
from .copying import Copying


class Trainable(Adjustable, Copying, Compilable):
    """Base of `Model`: what needs a loss."""

    name: str
    seed: int
    stop_training: bool = False
    _layers: list[Layer]
    _engine: Engine | None
    _compilation: Compilation | None
    _training: _core.Gate
    _evaluation: _core.Gate
    _counters: Counters

    def _build_for(self, x: Any) -> Any:
        raise NotImplementedError

    def _renew(self, anew: bool) -> None:
        raise NotImplementedError

    def _busy(self, what: str) -> AbstractContextManager[Any]:
        # No name for the turn: where Ctrl-C comes before the caller's `with`, it ends unheld.
        return self._training.enter() or self._refuse(what)

    def _refuse(self, what: str) -> Any:
        raise BusyError(
            f"model {self.name!r} is training, got a call of {what} meanwhile; wait for fit to "
            "end, or use another model (predict and save work during fit)"
        )

    def _evaluating(self) -> AbstractContextManager[Any]:
        """A turn, after the evaluations in other threads."""
        return self._evaluation.wait() or self._refuse_within()

    def _refuse_within(self) -> Any:
        raise BusyError(
            f"model {self.name!r} is in the middle of an evaluation, which has called evaluate, or "
            "a signal's handler has, expected one to end before the next begins; call predict "
            "there, or evaluate another model"
        )

    def _check_pass(self, what: str) -> None:
        """Refuse a pass beside another thread's training if what both use keeps a state."""
        if self._engine is None or not self._training.held or self._training.mine:
            return
        if self._engine.has_python:
            kept = "layers written in Python, which keep what backward needs"
        elif what == "evaluate" and self._need_compilation().measures.states():
            kept = "metrics written in Python, which gather the numbers of the epoch"
        else:
            return
        raise BusyError(
            f"model {self.name!r} is training in another thread and has {kept}, got a call of "
            f"{what} meanwhile; wait for fit to end"
        )

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = 32,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        *,
        mask: Any = None,
        bptt: Any = None,
    ) -> History:
        """Train.

        Parameters
        ----------
        x : array (N, ...), frame, or list, tuple or dict for several inputs; or batches
            Any real dtype; converted batch by batch. Batches: an iterable of (x, y[, weight]).
            Or the path of a csv, tsv, parquet or npz file of numbers.
        y : array, or list, tuple or dict for several outputs; or the name of a column of x
            Labels (N,) for ``cross_entropy``, else the outputs' shape.
        batch_size : int or None
            None is the full batch.
        epochs, initial_epoch : int
            Epochs `initial_epoch` to `epochs` - 1 are run.
        verbose : {"auto", 0, 1, 2}
            0 silent, 1 a progress bar, 2 a line per epoch; "auto": 1 on a terminal, else 2.
        callbacks : list of Callback
        validation_split : float
            This fraction of the rows, the last ones, is held out.
        validation_data : (x, y), (x, y, sample_weight) or (.., .., .., mask), or batches
            Of an iterator `validation_steps` batches are taken each time.
        shuffle : bool
            A new order for each epoch, from the model's seed.
        class_weight : dict of class to weight, array (K,), or "balanced"
            Multiplies the sample weights, in training alone. "balanced": N over the number of
            classes that occur times the rows of the class. For several labels in a row there is
            ``losses.BinaryCrossEntropy(pos_weight=...)``.
        sample_weight : array (N,), or (N, ...) with leading axes of the targets
            What each part of the loss counts, whose mean is over all parts: (N, T) weighs the
            steps of outputs (N, T, F), and (N, K) the K columns of a loss that is a sum or mean
            over them, as all are but ``cross_entropy``. For several outputs a list or dict of such.
        checkpoint : path, optional
            Where to save the run, safely, so that the same call in a new process goes on where this
            one stopped, to the same bits. Of a finished run it returns the History at once.
        checkpoint_every : int, optional
            Number of batches between two saves (where no gradients wait for `accumulate_steps`);
            None: after every epoch.
        mask : array of bool (N, T), optional
            Which steps of `x` count; by input where there are several.
        bptt : int or (h, h'), optional
            Truncated backpropagation through time: an update every `bptt`, or h', steps, through
            the last `bptt`, or h, with the activations as they were computed.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError, BusyError
            Before any work, with the model unchanged; or it is training already.
        TrainingDiverged
            The loss or a gradient became NaN or Inf; weights are those before the batch.
        CheckpointError
            The file at `checkpoint` is damaged, in use, or of another run: model, data, arguments,
            weights at the start, code. Nothing has been changed.

        Warns
        -----
        CheckpointWarning
            A checkpoint was not written, because the next process would not take it.
        CodeWarning
            The run goes on with code that cannot be compared, or with a changed callback.
        """
        options = Options(
            batch_size, epochs, verbose, validation_split, shuffle, initial_epoch, steps_per_epoch,
            validation_steps, validation_batch_size, validation_freq, checkpoint, checkpoint_every,
            bptt,
        )  # fmt: skip
        hooks = CallbackList(callbacks)
        with self._busy("fit"):
            compilation = self._need_compilation()
            train = batches = None
            validation: Dataset | Batches | None = None
            if is_batches(x, y):
                options.refuse_with_batches(sample_weight, class_weight, mask)
                batches = options.lasting(Batches(x, functools.partial(self._read, part=True)))
            with self._undone_on_error():
                if batches is not None:
                    batches.peek(functools.partial(self._first, part=True))
                else:
                    train = self._first(x, y, sample_weight, mask)
                    if validation_data is None and options.split:
                        train, validation = train.divided(options.split)
                    windows.check_fit(self._built(), compilation, options, train)
                    if class_weight is not None:
                        signature = self._built().signature
                        signature.weigh_classes(train, class_weight, compilation.losses)
                if validation_data is not None:
                    validation = self._validation(validation_data, options)
                if train is not None:
                    self._advise(train, options.batch_size)
                elif batches is not None:
                    self._advise(batches.first[0], None)
                if isinstance(validation, Dataset):
                    compilation.look_at(validation.ys, "validation y")
            trainee = Trainee(
                self,
                compilation,
                self._counters,
                self._built,
                self._renew,
                functools.partial(self._evaluate, compilation),
                self._copied,
            )
            form = train.form if train is not None else batches.first[0].form if batches else None
            run = loop.Loop(trainee, options, hooks, form)
            if options.checkpoint is not None and train is not None:
                return run.run_saved(train, validation)
            return run.run(train, batches, validation)

    def _read(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        mask: Any = None,
        names: Names = ("x", "y"),
        part: bool = False,
    ) -> Dataset:
        """Data for this model, checked; `part`: a batch of larger data."""
        signature = self._built().signature
        return self._need_compilation().read(signature, x, y, sample_weight, mask, names, part)

    def _validation(self, value: Any, options: Options) -> Dataset | Batches:
        """`validation_data`, checked; of batches the first, and the others when they come."""
        names = ("validation x", "validation y")
        if is_batches(value):
            read = functools.partial(self._read, names=names, part=True)
            return options.lasting(Batches(value, read, "validation_data"), True).peek()
        return self._read(*validation_parts(value), names=names)

    def _first(
        self, x: Any, y: Any, sample_weight: Any = None, mask: Any = None, part: bool = False
    ) -> Dataset:
        """The first data of a call that may train: the model is built from them if it has to be,
        and changes of `trainable` are taken up."""
        if self._engine is None:
            if isinstance(y, str) or isinstance(x, (str, os.PathLike)):
                x, y = opened(x, y, None)  # a model that is built leaves it to its signature
            x = self._build_for(x)
        engine = self._built()
        engine.refresh()
        data = self._read(x, y, sample_weight, mask, part=part)
        if data.columns[0] or data.columns[1]:
            engine.signature.learn(data.columns)
        return data

    def _advise(self, item: Dataset, batch_size: int | None) -> None:
        """Warn of what cannot train well with such data and batches."""
        compilation, engine = self._need_compilation(), self._built()
        compilation.refuse_weights(item.ws)
        compilation.look_at(item.ys)
        compilation.look_at_training(engine.low, self._layers, batch_size_of(batch_size, item.n))

    def _undone_on_error(self) -> AbstractContextManager[None]:
        """A failure leaves the model as it was, unbuilt too."""
        if self._engine is not None:
            return self._engine.signature.restored_on_error()
        return building.restored_on_error(self._layers, self, self._counters)

    def _prepared(self, x: Any, y: Any, sample_weight: Any = None, mask: Any = None) -> Dataset:
        """Build if needed and check all data; a failure leaves the model as it was."""
        if self._engine is None:
            with self._undone_on_error():
                return self._first(x, y, sample_weight, mask)
        return self._first(x, y, sample_weight, mask)  # nothing changes before all is checked

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        dy: Any = None,
        mask: Any = None,
    ) -> Any:
        """One update from one batch: forward, loss, backward, accumulate, update.

        Parameters
        ----------
        x, y, sample_weight, mask
            As in `fit`; all samples are one batch.
        dy : array of the outputs' shape, list or dict of them by output, or callable, optional
            In place of `y` and the compiled loss: dL/dy as `backward` takes it, or a function of
            the outputs that returns it. All ``grad`` are set to 0 first, and hold the gradients
            afterwards. If the function raises, or gives what does not fit, all but ``grad`` is as
            before: weights, running statistics, carried states and the next random numbers.

        Returns
        -------
        dict of str to float
            Loss and metrics of the batch, before the update. With `dy`: the outputs before it.

        Examples
        --------
        The mean squared error by hand:

        >>> import bpcore as bp, numpy as np
        >>> model = bp.Sequential([bp.layers.Dense(1)], seed=0)
        >>> model.compile(bp.optimizers.SGD(0.1))
        >>> x, t = np.ones((4, 2)), np.ones((4, 1))
        >>> for _ in range(50):
        ...     y = model.train_on_batch(x, dy=lambda y: 2 * (y - t) / y.size)
        >>> model(x).round(3).ravel().tolist()
        [1.0, 1.0, 1.0, 1.0]
        """
        if dy is not None and (y is not None or sample_weight is not None):
            raise ValueError(
                "dy stands for targets and loss, got y or sample_weight, too; give one of them"
            )
        with self._busy("train_on_batch"):
            if dy is not None:
                return self._step_by(x, dy, mask)
            compilation = self._need_compilation()
            item = self._prepared(x, y, sample_weight, mask)
            compilation.refuse_weights(item.ws)
            if not compilation.looked:  # at the first batch only, for the sake of speed
                self._advise(item, None)
            trainer = self._built().of(item).trainer("train", compilation)
            windows.begin(self._built(), trainer, item.n)
            rate = compilation.optimizer.core_rate()
            compilation.measures.reset()
            try:
                trainer.train_step(item.xs, item.ys, item.told, rate, largest=item.largest)
            except _core.Diverged as error:
                raise diverged(error, -1, rate) from None
            return compilation.measures.logs(trainer.results())

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, Any]:
        """Loss and metrics of one batch, without training: `evaluate` with all rows at once.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`.

        Returns
        -------
        dict of str to float
        """
        return self.evaluate(x, y, batch_size=None, sample_weight=sample_weight)

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int | None = 1024,
        sample_weight: Any = None,
        mask: Any = None,
    ) -> dict[str, float]:
        """Loss and metrics on data, without training.

        Parameters
        ----------
        x, y, sample_weight, mask
            As in `fit`, batches too.
        batch_size : int or None
            Of it the result does not depend but for rounding; None is all rows at once.

        Returns
        -------
        dict of str to float
            ``"loss"`` and the metrics by name; of a metric with ``average=None`` a list.

        Warns
        -----
        NonFiniteWarning
            The loss is NaN or Inf; it says where that begins.
        """
        self._check_pass("evaluate")
        compilation = self._need_compilation()
        signature = self._built().signature
        batch_size_of(batch_size, 1)
        item: Dataset | Batches
        if is_batches(x, y):  # not the model's _read: another thread may compile meanwhile
            item = Batches(x, functools.partial(compilation.read, signature, part=True))
        else:
            item = compilation.read(signature, x, y, sample_weight, mask)
            compilation.look_at(item.ys)
        # Inside of a fit's callback, the fit's metrics must not lose what they have gathered.
        held = compilation.measures.states() if self._training.held else []
        try:
            return self._evaluate(compilation, item, batch_size)
        finally:
            for metric, state in held:
                metric.set_state(state)

    def _evaluate(
        self,
        compilation: Compilation,  # what the data were read for
        item: Dataset | Batches,
        batch_size: int | None,
        prefix: str = "",
        steps: int | None = None,
    ) -> dict[str, Any]:
        engine = self._built()
        with self._evaluating():
            if isinstance(item, Batches):
                return evaluation.of_batches(engine, compilation, item, prefix, steps)
            return evaluation.of_arrays(engine, compilation, item, batch_size, prefix, steps)
