"""The curves of docs/solvers.md: the loss after so many iterations, and after so much time.

``python -m bench.solver_curves [PICTURE]`` prints two tables and draws the curves, by default into
``docs/solvers.svg`` (that needs matplotlib); run it with ``BPCORE_NUM_THREADS=1``. 300 rows of a
smooth function of four inputs with noise of 0.01 (a mean squared error of 1e-4 is the noise), a net
of 4-10-1, the same ten starts for all; medians. Time is that of the process, so that others on the
machine do not count.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import bpcore as bp

MARKS = (3, 10, 30, 100, 300, 1000)  # iterations, or epochs
MILLISECONDS = (0.3, 1, 3, 10, 20)
STARTS = 10
SOLVERS: dict[str, tuple[Any, int | None]] = {  # and their batches
    "Levenberg-Marquardt": (bp.optimizers.LevenbergMarquardt, None),
    "L-BFGS": (lambda: bp.optimizers.LBFGS(tol=0.0), None),
    "scaled conjugate gradients": (lambda: bp.optimizers.ScaledConjugateGradient(tol=0.0), None),
    "iRprop+": (lambda: bp.optimizers.Rprop(0.01, variant="irprop+"), None),
    "Quickprop": (bp.optimizers.Quickprop, None),
    "Adam, full batch": (lambda: bp.optimizers.Adam(0.01), None),
    "Adam, batches of 32": (lambda: bp.optimizers.Adam(0.01), 32),
}
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "solvers.svg"


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (300, 4))
    y = np.sin(2 * x[:, :1]) * x[:, 1:2] + x[:, 2:3] ** 2 - x[:, 3:]
    return x, y + rng.normal(0, 0.01, (300, 1))


def curve(make: Any, batch: int | None, seed: int) -> tuple[Any, float]:
    """The smallest loss so far after each iteration, and seconds of an iteration."""
    x, y = data()
    layers = [bp.layers.Dense(10, "tanh"), bp.layers.Dense(1)]
    model = bp.Sequential([bp.Input((4,)), *layers], dtype="float64", seed=seed)
    model.compile(make(), "mse")
    start = model.get_weights()
    model.fit(x, y, batch_size=batch, epochs=2, verbose=0)  # what the first fit makes is there
    model.set_weights(start)
    model.compile(make(), "mse")
    begin = time.process_time()
    loss = model.fit(x, y, batch_size=batch, epochs=MARKS[-1], verbose=0).history["loss"]
    each = (time.process_time() - begin) / len(loss)
    best = np.minimum.accumulate(loss)
    return np.append(best, np.full(MARKS[-1] - len(best), best[-1])), each


def measured() -> dict[str, tuple[Any, float]]:
    found = {}
    for name, (make, batch) in SOLVERS.items():
        curves = [curve(make, batch, seed) for seed in range(STARTS)]
        each = float(np.median([each for _, each in curves]))
        found[name] = np.median([loss for loss, _ in curves], axis=0), each
    return found


def tables(found: dict[str, tuple[Any, float]]) -> str:
    lines = ["| after iterations | " + " | ".join(map(str, MARKS)) + " | us each |"]
    lines.append("|---" * (len(MARKS) + 2) + "|")
    for name, (loss, each) in found.items():
        values = " | ".join(f"{loss[mark - 1]:.1e}" for mark in MARKS)
        lines.append(f"| {name} | {values} | {each * 1e6:.0f} |")
    lines += ["", "| after milliseconds | " + " | ".join(map(str, MILLISECONDS)) + " |"]
    lines.append("|---" * (len(MILLISECONDS) + 1) + "|")
    for name, (loss, each) in found.items():
        done = [int(ms * 1e-3 / each) for ms in MILLISECONDS]
        values = [f"{loss[k - 1]:.1e}" if 1 <= k <= len(loss) else "" for k in done]
        lines.append(f"| {name} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def draw(found: dict[str, tuple[Any, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "bpcore"  # the same file from the same numbers
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.5, 3.6), sharey=True)
    for name, (loss, each) in found.items():
        done = np.arange(1, len(loss) + 1)
        shown = np.unique(np.geomspace(1, len(loss), 120).astype(int)) - 1
        left.plot(done[shown], loss[shown], label=name)
        right.plot(done[shown] * each * 1e3, loss[shown], label=name)
    for axes, label in ((left, "iterations"), (right, "milliseconds")):
        axes.set(xscale="log", yscale="log", xlabel=label)
        axes.axhline(1e-4, color="gray", linewidth=0.8, linestyle=":")
    left.set_ylabel("mean squared error")
    right.set_xlim(left=0.05)
    right.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1))
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    results = measured()
    print(tables(results))
    draw(results, Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
