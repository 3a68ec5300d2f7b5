"""Pictures of how good answers are. Needs the extra ``plot`` (matplotlib).

Curves of a training are drawn by `History.plot`, a model's graph by `Model.plot`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import checks, drawing
from .base.memory import Array
from .callbacks import Callback

__all__ = ["PredictionRecorder", "confusion_matrix", "residuals"]

_WRITTEN = 20  # classes; of more the counts would not be legible
_LINES = 10  # predictions; of more a picture would not be legible


def confusion_matrix(truth: Any, answers: Any, labels: Any = None, *, axes: Any = None) -> Any:
    """Draw how often each class was answered for each class.

    Parameters
    ----------
    truth : array (N,)
        Classes, of any type.
    answers : array (N,) or (N, K)
        Classes, or scores of the K classes, the largest of which is the answer.
    labels : sequence, optional
        The K classes in the order of rows and columns; by default all that occur, sorted, and of
        scores 0 to K - 1.
    axes : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        Truth and answers are not of one length, or hold what is not in `labels`.

    Examples
    --------
    >>> from bpcore.plotting import confusion_matrix
    >>> ax = confusion_matrix(["a", "b", "b"], ["a", "b", "a"])
    >>> [text.get_text() for text in ax.texts]
    ['1', '.', '1', '1']
    """
    found, true = np.asarray(answers), np.asarray(truth).ravel()
    scores = found.ndim == 2 and found.shape[1] > 1
    if labels is None:
        labels = np.arange(found.shape[1]) if scores else np.unique(np.append(true, found.ravel()))
    names = np.asarray(labels)
    if scores:
        if found.shape[1] != len(names):
            raise ValueError(f"answers: got {found.shape[1]} scores, expected {len(names)} classes")
        found = names[found.argmax(axis=1)]
    found = found.ravel()
    _same_length(true, found)
    k = len(names)
    counts = np.bincount(_places(true, names) * k + _places(found, names), minlength=k * k)
    (ax,) = drawing.panels("confusion_matrix", ["confusion matrix"], axes)
    matrix = counts.reshape(k, k)
    ax.imshow(matrix, cmap="Blues")
    ax.set(xlabel="answered", ylabel="class", title="confusion matrix")
    if k <= _WRITTEN:
        ax.set_xticks(range(k), names, rotation=60 if max(map(len, map(str, names))) > 3 else 0)
        ax.set_yticks(range(k), names)
        dark = matrix > matrix.max() / 2
        for i, j in np.ndindex(k, k):
            color = "white" if dark[i, j] else "black"
            ax.text(j, i, str(matrix[i, j] or "."), ha="center", va="center", color=color)
    return ax


def residuals(truth: Any, answers: Any, *, axes: Any = None) -> Any:
    """Draw answers against the truth, and how what is left over is distributed.

    Parameters
    ----------
    truth, answers : array (N,) or (N, 1)
        Numbers.
    axes : list of two matplotlib Axes, optional

    Returns
    -------
    list of two matplotlib Axes

    Examples
    --------
    >>> from bpcore.plotting import residuals
    >>> left, right = residuals([1.0, 2.0, 3.0], [1.1, 2.0, 2.8])
    >>> right.get_xlabel()
    'prediction - truth'
    """
    true = np.asarray(truth, np.float64).ravel()
    found = np.asarray(answers, np.float64).ravel()
    _same_length(true, found)
    if not (np.isfinite(true).all() and np.isfinite(found).all()):
        raise ValueError(
            "truth or answers hold NaN or Inf, expected finite numbers; drop such rows"
        )
    left, right = drawing.panels("residuals", ["answers", "residuals"], axes)
    left.scatter(true, found, s=6, alpha=0.5)
    ends = [min(true.min(), found.min()), max(true.max(), found.max())]
    left.plot(ends, ends, color="0.4", linewidth=1)
    left.set(xlabel="truth", ylabel="prediction", title="answers")
    apart = found - true
    middle = (apart.min() + apart.max()) / 2
    half = max(np.ptp(apart) / 2, 1e-6 * abs(middle), 1e-30)  # bins of equal answers have a width
    bins = min(60, max(10, int(np.sqrt(len(true)))))
    right.hist(apart, bins=bins, range=(middle - half, middle + half))
    right.axvline(0, color="0.4", linewidth=1)
    right.set(xlabel="prediction - truth", ylabel="rows", title="residuals")
    return [left, right]


def _same_length(truth: Array, answers: Array) -> None:
    if not len(truth) or len(truth) != len(answers):
        raise ValueError(
            f"got {len(truth)} truths and {len(answers)} answers, expected as many, at least one"
        )


def _places(values: Array, names: Array) -> Array:
    """The number of each value's class."""
    place = {name: k for k, name in enumerate(names.tolist())}
    try:
        return np.array([place[value] for value in values.tolist()], np.int64)
    except KeyError as error:
        raise ValueError(f"labels lacks the class {error}, expected all that occur") from None


class PredictionRecorder(Callback):
    """A callback that keeps what the model answers to some rows, and draws it against the epoch.

    Parameters
    ----------
    x : array (N, ...)
        A few rows, in the form that `Model.predict` takes.
    y : array (N,) or (N, K), optional
        Their targets, for the errors.
    every : int
        Epochs from one record to the next.

    Attributes
    ----------
    epochs : list of int
        From 1.
    predictions : list of ndarray
        What `Model.predict` gave after each of these epochs.

    Examples
    --------
    >>> import numpy as np
    >>> import bpcore as bp
    >>> from bpcore.plotting import PredictionRecorder
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> model = bp.Sequential([bp.layers.Dense(1)], seed=0)
    >>> model.compile("sgd", "mse")
    >>> recorder = PredictionRecorder(x[::10], 3 * x[::10])
    >>> history = model.fit(x, 3 * x, epochs=4, verbose=0, callbacks=[recorder])
    >>> recorder.epochs, recorder.predictions[0].shape
    ([1, 2, 3, 4], (2, 1))
    """

    def __init__(self, x: Any, y: Any = None, every: int = 1) -> None:
        self.x, self.every = x, checks.integer("every", every)
        self.y = None if y is None else np.asarray(y)
        self.epochs: list[int] = []
        self.predictions: list[Array] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.epochs, self.predictions = [], []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch % self.every == 0:
            self.epochs.append(epoch + 1)
            self.predictions.append(np.array(self.model.predict(self.x)))

    def errors(self) -> Array:
        """Root of the mean squared difference from the targets, for each record.

        Raises
        ------
        ValueError
            No targets were given, or they are not of the predictions' size.
        """
        if self.y is None:
            raise ValueError("PredictionRecorder has no targets; give y")
        found = np.array(self.predictions, np.float64).reshape(len(self.epochs), -1)
        if found.shape[1] != self.y.size:
            raise ValueError(
                f"y holds {self.y.size} numbers, the predictions {found.shape[1]}; expected as many"
            )
        result: Array = np.sqrt(np.square(found - self.y.ravel()).mean(axis=1))
        return result

    def plot(self, *, axes: Any = None) -> Any:
        """Draw the predictions against the epoch, and the error if there are targets.

        A line for each number that is predicted; of more than ten, ten that are evenly apart. The
        error is that of all.

        Parameters
        ----------
        axes : matplotlib Axes, or list of two where there are targets, optional

        Returns
        -------
        list of matplotlib Axes
        """
        if not self.epochs:
            raise ValueError("PredictionRecorder holds no record; give it to fit as a callback")
        names = ["prediction"] + ["error"] * (self.y is not None)
        panels = drawing.panels("PredictionRecorder.plot", names, axes)
        found = np.array(self.predictions).reshape(len(self.epochs), -1)
        shown = np.unique(np.linspace(0, found.shape[1] - 1, _LINES).round().astype(int))
        lines = panels[0].plot(self.epochs, found[:, shown])
        drawing.epochs(panels[0], "prediction")
        if self.y is not None:
            for line, target in zip(lines, self.y.ravel()[shown], strict=True):
                panels[0].axhline(target, color=line.get_color(), linestyle=":", linewidth=1)
            panels[1].plot(self.epochs, self.errors())
            drawing.epochs(panels[1], "root mean squared error")
        return list(panels)
