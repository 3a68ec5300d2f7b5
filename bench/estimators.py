"""bpcore's MLPClassifier and MLPRegressor against scikit-learn's, in one process.

``python -m bench.estimators [--quick] [--only digits ...]``. Same data, same settings, and the same
number of epochs for both (their rows come in another order, so their stopping rules would end at
different ones). Answers are compared first: the losses must be alike. MNIST is the real one where
`load_mnist` has it, else noise of its shape, which costs the same and is said.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from . import timing

FIT, ROW = 4.0, 15.0  # times that bpcore is to be faster: fits, predictions of one row
APART = 0.15  # by which the losses may differ, as rows come in another order


@dataclasses.dataclass
class Case:
    """Data, what differs from the defaults, and epochs."""

    data: Callable[[], tuple[Any, Any]]
    classes: bool
    epochs: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def _digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x / 16, y


def _cancer() -> tuple[Any, Any]:
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return (x - x.mean(axis=0)) / x.std(axis=0), y


def _table() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200_000, 8))
    return x, np.sin(x[:, 0]) + x[:, 1] * x[:, 2] + 0.1 * rng.normal(size=len(x))


def _mnist() -> tuple[Any, Any]:
    import bpcore as bp

    try:
        (x, y), _ = bp.datasets.load_mnist()
        return x.reshape(len(x), -1).astype(np.float64) / 255, y
    except (OSError, ValueError, RuntimeError):
        print("MNIST is not at hand: noise of its shape")
        rng = np.random.default_rng(0)
        x = rng.random((60_000, 784)) * (rng.random((60_000, 784)) < 0.2)
        return x, x[:, ::78].argmax(axis=1) % 10


CASES = {
    "digits": Case(_digits, True, 40),
    "breast cancer": Case(_cancer, True, 60),
    "200,000 x 8": Case(_table, False, 3, {"hidden_layer_sizes": (128, 32), "batch_size": 70}),
    "MNIST": Case(_mnist, True, 3),
}


def classes_of(case: Case) -> dict[str, Any]:
    """The two estimators' classes."""
    from sklearn import neural_network as theirs

    from bpcore import sklearn as ours

    name = "MLPClassifier" if case.classes else "MLPRegressor"
    return {"bpcore": getattr(ours, name), "scikit-learn": getattr(theirs, name)}


def measure(case: Case, rounds: int) -> dict[str, dict[str, dict]]:
    """Seconds of fits and of one-row predictions, for both."""
    x, y = case.data()
    made: dict[str, Any] = {}

    def fits(name: str, cls: Any) -> Callable[[], None]:
        def call() -> None:
            made[name] = cls(
                random_state=0, max_iter=case.epochs, n_iter_no_change=case.epochs, tol=0.0,
                **case.options,
            ).fit(x, y)  # fmt: skip

        return call

    fit = timing.alternate(
        {name: fits(name, cls) for name, cls in classes_of(case).items()}, rounds,
        wake=dict.fromkeys(classes_of(case), lambda: None),
    )  # fmt: skip
    losses = {name: net.loss_ for name, net in made.items()}
    epochs = {net.n_iter_ for net in made.values()}
    if abs(losses["bpcore"] / losses["scikit-learn"] - 1) > APART or epochs != {case.epochs}:
        raise SystemExit(f"the fits are not alike: losses {losses}, epochs {epochs}")
    row = np.ascontiguousarray(x[:1])
    loops = {name: timing.repeated(lambda net=net: net.predict(row)) for name, net in made.items()}
    rows = timing.alternate({name: loop for name, (loop, _) in loops.items()}, max(rounds, 3))
    for name, (_, count) in loops.items():
        rows[name] = {key: value / count for key, value in rows[name].items()}
    return {"fit": fit, "row": rows}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.estimators", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--rounds", type=int, help="timed rounds (default 5)")
    parser.add_argument("--only", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    parser.add_argument("--json", metavar="FILE", help="also write the figures")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    rounds = arguments.rounds or (1 if arguments.quick else 5)
    figures, slow = {}, []
    print("                        scikit-learn        bpcore   times  (spread of bpcore)")
    for name in arguments.only:
        figures[name] = measure(CASES[name], rounds)
        for what, unit, scale, bound in (("fit", "ms", 1e3, FIT), ("row", "us", 1e6, ROW)):
            ours, theirs = figures[name][what]["bpcore"], figures[name][what]["scikit-learn"]
            times = theirs["median"] / ours["median"]
            slow += [f"{name} {what}"] * (times < bound)
            print(
                f"{name:<14} {what:<4} {scale * theirs['median']:12,.1f} {unit} "
                f"{scale * ours['median']:10,.1f} {unit} {times:7.1f}  "
                f"({scale * ours['min']:,.1f} to {scale * ours['max']:,.1f})",
                flush=True,
            )
    told = ", ".join(slow) or "none"
    print(f"below {FIT:g} times for a fit or {ROW:g} times for a row: {told}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
