"""The curves of docs/solvers.md: the loss after so many iterations, and how long these take.

``python -m bench.solver_curves`` prints the table; run it with ``BPCORE_NUM_THREADS=1``. 300 rows
of a smooth function of four inputs with noise of 0.01 (a mean squared error of 1e-4 is the noise),
a net of 4-10-1, the same ten starts for all; medians.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import bpcore as bp

MARKS = (3, 10, 30, 100, 300, 1000)
STARTS = 10
SOLVERS = {
    "Levenberg-Marquardt": bp.optimizers.LevenbergMarquardt,
    "L-BFGS": lambda: bp.optimizers.LBFGS(tol=0.0),
    "scaled conjugate gradients": lambda: bp.optimizers.ScaledConjugateGradient(tol=0.0),
    "iRprop+": lambda: bp.optimizers.Rprop(0.01, variant="irprop+"),
    "Quickprop": bp.optimizers.Quickprop,
    "Adam, full batch": lambda: bp.optimizers.Adam(0.01),
}


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (300, 4))
    y = np.sin(2 * x[:, :1]) * x[:, 1:2] + x[:, 2:3] ** 2 - x[:, 3:]
    return x, y + rng.normal(0, 0.01, (300, 1))


def curve(make: Any, seed: int) -> tuple[list[float], float]:
    """The smallest loss so far at each mark, and seconds of an iteration."""
    x, y = data()
    layers = [bp.layers.Dense(10, "tanh"), bp.layers.Dense(1)]
    model = bp.Sequential([bp.Input((4,)), *layers], dtype="float64", seed=seed)
    model.compile(make(), "mse")
    begin = time.process_time()
    loss = model.fit(x, y, batch_size=None, epochs=MARKS[-1], verbose=0).history["loss"]
    each = (time.process_time() - begin) / len(loss)
    best = np.minimum.accumulate(loss)
    return [float(best[min(mark, len(best)) - 1]) for mark in MARKS], each


def table() -> str:
    lines = ["| after iterations | " + " | ".join(map(str, MARKS)) + " | us each |"]
    lines.append("|---" * (len(MARKS) + 2) + "|")
    for name, make in SOLVERS.items():
        curves = [curve(make, seed) for seed in range(STARTS)]
        losses = np.median([losses for losses, _ in curves], axis=0)
        each = np.median([each for _, each in curves]) * 1e6
        lines.append(f"| {name} | " + " | ".join(f"{v:.1e}" for v in losses) + f" | {each:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
