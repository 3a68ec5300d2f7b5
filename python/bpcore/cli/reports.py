"""What `train` and `evaluate` say of a model: as data, for people, and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import plotting
from ..base.memory import Array

_SHOWN = 20  # classes of a confusion matrix that fit a screen


def report(estimator: Any, truth: Array, found: Array) -> dict[str, Any]:
    """What is said of answers, as JSON data."""
    if hasattr(estimator, "classes_"):
        k = len(estimator.classes_)
        matrix = np.bincount(truth * k + found, minlength=k * k).reshape(k, k)
        hits, rows, columns = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        return {
            "accuracy": float(np.mean(truth == found)),
            "classes": {
                str(name): {
                    "precision": float(hit / column) if column else 0.0,
                    "recall": float(hit / row) if row else 0.0,
                    "rows": int(row),
                }
                for name, hit, row, column in zip(
                    estimator.classes_, hits, rows, columns, strict=True
                )
            },
            "confusion": matrix.tolist(),
        }
    apart = found - truth
    spread = float(np.square(truth - truth.mean()).sum())
    return {
        "mae": float(np.abs(apart).mean()),
        "rmse": float(np.sqrt(np.square(apart).mean())),
        "r2": 1 - float(np.square(apart).sum()) / spread if spread else 0.0,
        "residuals": {
            f"{q:.0%}": float(np.quantile(apart, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)
        },
    }


def show(report: dict[str, Any], say: Any) -> None:
    """Say a report to people."""
    if "accuracy" not in report:
        say(f"  mean absolute error {report['mae']:.4g}, root mean square {report['rmse']:.4g}, "
            f"R squared {report['r2']:.4f}")  # fmt: skip
        say("  prediction minus truth, quantiles: " + ", ".join(
            f"{name} {value:.4g}" for name, value in report["residuals"].items()))  # fmt: skip
        return
    say(f"  accuracy {100 * report['accuracy']:.2f} %")
    names = list(report["classes"])
    wide = max(len("class"), *(len(name[:24]) for name in names))
    say(f"  {'class':<{wide}}  precision  recall    rows")
    for name, row in report["classes"].items():
        say(
            f"  {name[:24]:<{wide}}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['rows']:6}"
        )
    if len(names) > _SHOWN:
        return
    say("  confusion matrix (row: the class, column: what was answered)")
    cell = max(6, *(len(name[:10]) + 1 for name in names))
    say(" " * (wide + 2) + "".join(f"{name[:10]:>{cell}}" for name in names))
    for name, line in zip(names, report["confusion"], strict=True):
        cells = "".join(f"{n if n else '.':>{cell}}" for n in line)
        say(f"  {name[:24]:<{wide}}{cells}")


def _pyplot() -> Any:
    from ..base import optional

    matplotlib = optional.require("matplotlib", "plot", "--plot")
    matplotlib.use("Agg")  # a file, not a window
    from matplotlib import pyplot

    return pyplot


def plot(path: Path, estimator: Any, truth: Array, found: Array) -> None:
    """The confusion matrix or the residuals, and of a training the losses over the epochs."""
    pyplot = _pyplot()
    classes = hasattr(estimator, "classes_")
    curves = hasattr(estimator, "history_")
    count = (1 if classes else 2) + curves
    figure, grid = pyplot.subplots(
        1, count, figsize=(5 * count, 4.5), layout="constrained", squeeze=False
    )
    panels = list(grid[0])
    if curves:
        estimator.history_.plot("loss", axes=panels.pop(0))
    if classes:
        names = estimator.classes_
        plotting.confusion_matrix(names[truth], names[found], names, axes=panels)
    else:
        plotting.residuals(truth, found, axes=panels)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def check_plot(path: Path) -> None:
    """Raise before long work if a plot cannot be written to a file of that name."""
    kinds = _pyplot().figure().canvas.get_supported_filetypes()
    _pyplot().close("all")
    if path.suffix[1:].lower() not in kinds:
        raise ValueError(
            f"--plot: got {str(path)!r}, expected a name that ends in one of {', '.join(kinds)}"
        )
