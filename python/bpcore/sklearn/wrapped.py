"""Any bpcore model as an estimator of scikit-learn."""

from __future__ import annotations

from typing import Any

from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score

from .. import layers
from ..base import arguments, checks
from ..model.model import Model
from ..model.sequential import Sequential
from ..optimizers import Optimizer
from .data import random_state
from .models import Classes, Estimator, Numbers, batches_of
from .sequences import Scored, width


def _own(optimizer: Any) -> Any:
    """An optimizer for one model: an argument of an estimator must stay as it was given."""
    if isinstance(optimizer, Optimizer):
        return type(optimizer).from_config(optimizer.get_config())
    return optimizer


class Wrapped(Estimator):
    """Base of `Classifier` and `Regressor`."""

    _loss = ""

    def __init__(
        self,
        model: Any = None,
        *,
        epochs: int = 100,
        batch_size: int | None = 32,
        optimizer: Any = "adam",
        loss: Any = None,
        validation_split: float = 0.0,
        callbacks: Any = None,
        random_state: Any = None,
        verbose: int = 0,
        model_arguments: Any = None,
    ) -> None:
        self.model, self.epochs, self.batch_size = model, epochs, batch_size
        self.optimizer, self.loss, self.validation_split = optimizer, loss, validation_split
        self.callbacks, self.random_state, self.verbose = callbacks, random_state, verbose
        self.model_arguments = model_arguments

    def _made(self, x: Any, outputs: int, in_steps: bool) -> Model:
        """A model of the estimator's own: never the one that was given, which stays as it is."""
        seed = int(random_state(self.random_state).randint(2**31 - 1))
        given = self.model
        if given is None:
            made: Any = Sequential([layers.Dense(64, "relu"), layers.Dense(outputs)], seed=seed)
        elif isinstance(given, Model):
            made = type(given).from_config(given.get_config())
            if given.built:
                made.set_weights(given.get_weights())
        elif callable(given):
            offered = {"n_outputs": outputs, "n_features": width(x), "seed": seed}
            made = arguments.called(given, offered, **dict(self.model_arguments or {}))
        else:
            raise TypeError(
                "model must be a bpcore model, a function that makes one, or None, got "
                f"{checks.describe(given)}"
            )
        if not isinstance(made, Model):
            raise TypeError(f"model: the function made {checks.describe(made)}, expected a Model")
        if not made.compiled or self.loss is not None:
            made.compile(_own(self.optimizer), self.loss or self._loss)
        return made

    def _options(self, x: Any, y: Any, weight: Any) -> dict[str, Any]:
        return {
            **batches_of(x, y, weight, self.batch_size, self.random_state),
            "epochs": self.epochs,
            "validation_split": self.validation_split,
            "callbacks": self.callbacks,
            "verbose": self.verbose,
        }


class Classifier(Scored, ClassifierMixin, Wrapped, Classes):
    """A bpcore model as a classifier of scikit-learn.

    Parameters
    ----------
    model : Model, function or None
        A model is copied before it is trained. A function is called for each fit, with those of
        the arguments ``n_outputs``, ``n_features`` (of a row, or of a step) and ``seed`` that it
        has, and returns a model, compiled or not. None is one hidden layer of 64 relu units.
    epochs, batch_size, validation_split, callbacks, verbose
        As in `bpcore.Model.fit`.
    optimizer, loss
        As in `bpcore.Model.compile`, for models that are not compiled yet.
    class_weight : dict, "balanced" or None
    random_state : int, RandomState or None
    model_arguments : dict, optional
        Further arguments of the function.

    Attributes
    ----------
    classes_, n_features_in_, n_iter_
    model_ : bpcore.Model
    history_ : History

    Examples
    --------
    >>> import bpcore as bp
    >>> from bpcore.sklearn import Classifier
    >>> def build(n_outputs, seed):
    ...     layers = [bp.layers.Dense(32, "tanh"), bp.layers.Dense(n_outputs)]
    ...     return bp.Sequential(layers, seed=seed)
    >>> (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    >>> Classifier(build, epochs=10, random_state=0).fit(x, y).score(xt, yt) > 0.9
    True
    """

    _loss = "cross_entropy"
    _metric = staticmethod(accuracy_score)

    def __init__(
        self,
        model: Any = None,
        *,
        epochs: int = 100,
        batch_size: int | None = 32,
        optimizer: Any = "adam",
        loss: Any = None,
        validation_split: float = 0.0,
        callbacks: Any = None,
        class_weight: Any = None,
        random_state: Any = None,
        verbose: int = 0,
        model_arguments: Any = None,
    ) -> None:
        super().__init__(
            model, epochs=epochs, batch_size=batch_size, optimizer=optimizer, loss=loss,
            validation_split=validation_split, callbacks=callbacks, random_state=random_state,
            verbose=verbose, model_arguments=model_arguments,
        )  # fmt: skip
        self.class_weight = class_weight


class Regressor(Scored, RegressorMixin, Wrapped, Numbers):
    """A bpcore model as a regressor of scikit-learn; see `Classifier` for the arguments.

    Examples
    --------
    >>> import numpy as np
    >>> import bpcore as bp
    >>> from bpcore.sklearn import Regressor
    >>> x = np.linspace(-1, 1, 200)[:, None]
    >>> Regressor(epochs=100, random_state=0).fit(x, x[:, 0] ** 2).score(x, x[:, 0] ** 2) > 0.9
    True
    """

    _loss = "mse"
    _metric = staticmethod(r2_score)
