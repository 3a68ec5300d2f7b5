"""Pictures of how good answers are. Needs the extra ``plot`` (matplotlib).

Curves of a training are drawn by `History.plot`, a model's graph by `Model.plot`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import drawing
from .base.memory import Array

__all__ = ["confusion_matrix", "residuals"]

_WRITTEN = 20  # classes; of more the counts would not be legible


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
