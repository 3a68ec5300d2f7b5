"""An iteration of Levenberg-Marquardt against SciPy's trust region and a loop in NumPy.

``python -m bench.solvers``: each line is a net, its rows, milliseconds an iteration of bpcore, of
`scipy.optimize.least_squares(method="trf")` with an exact NumPy Jacobian, of a vectorised NumPy
Levenberg-Marquardt, and the two ratios. Run it with ``BPCORE_NUM_THREADS=1 OMP_NUM_THREADS=1``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import bpcore as bp

NETS = {"8-20-20-2": ((8, 20, 20, 2), 400), "4-10-1": ((4, 10, 1), 300)}
ROUNDS, STEPS = 5, 200  # iterations a fit, so that little of one is its beginning


def unpacked(flat: Any, units: tuple[int, ...]) -> list[Any]:
    parts, at = [], 0
    for a, b in itertools.pairwise(units):
        parts += [flat[at : at + a * b].reshape(a, b), flat[at + a * b : at + (a + 1) * b]]
        at += (a + 1) * b
    return parts


def values(flat: Any, units: tuple[int, ...], x: Any) -> list[Any]:
    found, weights = [x], unpacked(flat, units)
    for k in range(0, len(weights), 2):
        z = found[-1] @ weights[k] + weights[k + 1]
        found.append(np.tanh(z) if k + 2 < len(weights) else z)
    return found


def jacobian(flat: Any, units: tuple[int, ...], x: Any) -> Any:
    """Exact, (N O, P), by a backward pass for all outputs at once."""
    found, weights = values(flat, units, x), unpacked(flat, units)
    n, outputs = len(x), units[-1]
    delta = np.broadcast_to(np.eye(outputs), (n, outputs, outputs))
    parts: list[Any] = []
    for k in reversed(range(0, len(weights), 2)):
        before = found[k // 2]
        kernel = (before[:, None, :, None] * delta[:, :, None, :]).reshape(n, outputs, -1)
        parts = [kernel, delta, *parts]
        if k:
            delta = (delta @ weights[k].T) * (1 - before**2)[:, None, :]
    return np.concatenate(parts, axis=2).reshape(n * outputs, -1)


def numpy_steps(flat: Any, units: tuple[int, ...], x: Any, y: Any, steps: int) -> float:
    mu = 1e-3
    for _ in range(steps):
        e = (values(flat, units, x)[-1] - y).ravel()
        j = jacobian(flat, units, x)
        q, g, now = j.T @ j, j.T @ e, e @ e
        while True:
            trial = flat - np.linalg.solve(q + mu * np.eye(len(flat)), g)
            after = float(((values(trial, units, x)[-1] - y) ** 2).sum())
            if after < now or mu > 1e10:
                flat, mu = trial, mu * 0.1
                break
            mu *= 10
    return after


def seconds(work: Callable[[], int]) -> float:
    """Of the one thread, an iteration: the best of some rounds; `work` returns how many it made."""
    best = np.inf
    for _ in range(ROUNDS):
        begin = time.process_time()
        done = work()
        best = min(best, (time.process_time() - begin) / max(done, 1))
    return float(best)


def measure(name: str) -> str:
    from scipy.optimize import least_squares

    units, rows = NETS[name]
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(rows, units[0])), draw.normal(size=(rows, units[-1]))
    layers: list[Any] = [bp.layers.Dense(n, "tanh") for n in units[1:-1]]
    model = bp.Sequential([bp.Input((units[0],)), *layers, bp.layers.Dense(units[-1])],
                          dtype="float64", seed=0)  # fmt: skip
    start = model.get_weights()
    flat = np.concatenate([w.ravel() for w in start])
    if not np.allclose(jacobian(flat, units, x), model.jacobian(x).reshape(-1, len(flat))):
        raise AssertionError("the two Jacobians differ")

    def ours() -> int:
        model.set_weights(start)
        model.compile(bp.optimizers.LevenbergMarquardt(), "mse")
        return len(model.fit(x, y, epochs=STEPS, verbose=0).history["loss"])

    def scipys() -> int:
        residual = lambda w: (values(w, units, x)[-1] - y).ravel()  # noqa: E731
        exact = lambda w: jacobian(w, units, x)  # noqa: E731
        found = least_squares(residual, flat, exact, method="trf", max_nfev=STEPS)
        return int(found.njev)

    def numpys() -> int:
        numpy_steps(flat, units, x, y, STEPS)
        return STEPS

    own, theirs, loop = seconds(ours), seconds(scipys), seconds(numpys)
    return (f"{name:>10}  {rows} rows  {own * 1e3:8.3f} ms  scipy {theirs * 1e3:8.3f} ms  "
            f"numpy {loop * 1e3:8.3f} ms  {theirs / own:6.1f} x  {loop / own:6.1f} x")  # fmt: skip


if __name__ == "__main__":
    for net in NETS:
        print(measure(net))
