"""The price of a call: python -m bench.calls [--rows 64] [--rounds 15] [--rivals].

A net 8-64-64-4, tanh, Adam, float32, one thread. Of each call the microseconds beyond what the
core itself needs, which is the slope of `fit` (and of `evaluate`) over the number of batches; all
of it in one process, in turns, medians. With --rivals whole calls, and an update of deep
Q-learning, beside PyTorch and JAX.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

import bpcore as bp

from . import call_rivals, dqn

SIZES = (8, 64, 64, 4)
FEW, MANY = 20, 220  # batches of the two fits whose difference is the core's step


class Nets:
    """Models that are alike but for what each call leaves behind in them."""

    def __init__(self, rows: int) -> None:
        rng = np.random.default_rng(0)
        self.rows = rows
        self.x = rng.normal(size=(rows * MANY, SIZES[0])).astype(np.float32)
        self.y = rng.normal(size=(rows * MANY, SIZES[-1])).astype(np.float32)
        self.bx, self.by = self.x[:rows].copy(), self.y[:rows].copy()
        self.bdy = np.full((rows, SIZES[-1]), 1e-3, np.float32)
        self.tall, self.labels = (
            rng.normal(size=(20_000, 13)).astype(np.float32),
            np.arange(20_000) % 2,
        )

    def net(self, rate: object = 1e-3) -> bp.Sequential:
        model = self.plain()
        model.compile(bp.optimizers.Adam(rate), "mse")
        model.train_on_batch(self.bx, self.by)
        return model

    @staticmethod
    def plain() -> bp.Sequential:
        layers = [bp.Input(SIZES[:1]), *(bp.layers.Dense(n, "tanh") for n in SIZES[1:-1])]
        return bp.Sequential([*layers, bp.layers.Dense(SIZES[-1])], seed=0)

    # ---- the core's own share -------------------------------------------------------------------
    def core(self) -> dict[str, tuple[Callable[[], object], int]]:
        """By name a call, and how many batches it makes."""
        found: dict[str, tuple[Callable[[], object], int]] = {}
        for count in (FEW, MANY):
            part = slice(0, count * self.rows)
            x, y, model, judge = self.x[part], self.y[part], self.net(), self.net()
            options = {"batch_size": self.rows, "verbose": 0, "shuffle": False}
            found[f"step {count}"] = (
                lambda m=model, x=x, y=y, o=options: m.fit(x, y, **o), count
            )  # fmt: skip
            found[f"forward {count}"] = (
                lambda m=judge, x=x, y=y: m.evaluate(x, y, batch_size=self.rows), count
            )  # fmt: skip
        return found

    # ---- the calls ------------------------------------------------------------------------------
    def calls(self) -> dict[str, tuple[Callable[[], object], str, float, int]]:
        """By name a call, what of the core is in it, the goal beyond it, and how many calls."""
        x, y, dy, rows = self.bx, self.by, self.bdy, self.rows
        nets = [self.net() for _ in range(9)]
        cosine = self.net(bp.schedules.Cosine(1e-3, 10**9))
        other = nets[4].clone()
        weights = nets[4].get_weights()
        fit = {"batch_size": rows, "verbose": 0}

        def parts(model: bp.Sequential = nets[3]) -> None:
            model.forward(x)
            model.zero_gradients()
            model.backward(dy, inputs=False)
            model.apply_gradients()

        def fresh() -> None:
            model = self.plain()
            model.compile(bp.optimizers.Adam(1e-3), "mse")
            model.fit(x, y, **fit)

        return {
            "predict": (lambda: nets[0].predict(x), "forward", 2, 50),
            "train_on_batch": (lambda: nets[0].train_on_batch(x, y), "step", 8, 50),
            "train_on_batch, a schedule": (lambda: cosine.train_on_batch(x, y), "step", 9, 50),
            "train_on_batch(dy=)": (lambda: nets[1].train_on_batch(x, dy=dy), "step", 8, 50),
            "gradients": (lambda: nets[2].gradients(x, y), "step", 8, 50),
            "forward, backward, apply": (parts, "step", 8, 50),
            "evaluate": (lambda: nets[5].evaluate(x, y), "forward", 6, 50),
            "fit, one batch": (lambda: nets[6].fit(x, y, **fit), "step", 40, 20),
            "fit, 20 epochs more": (lambda: nets[6].fit(x, y, epochs=21, **fit), "", 0, 4),
            "set_weights": (lambda: nets[7].set_weights(weights), "", 5, 50),
            "copy_weights": (lambda: nets[8].copy_weights(nets[4]), "", 5, 50),
            "polyak_update": (lambda: other.polyak_update(nets[4], 0.01), "", 5, 50),
            "a new net and its first fit": (fresh, "step", 500, 3),
        }


def seconds(call: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def in_turns(
    calls: dict[str, tuple[Callable[[], object], int]], rounds: int
) -> dict[str, list[float]]:
    """Microseconds of each call, of every round; one untimed round comes first."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, (call, count) in calls.items():
            took = seconds(call, count) * 1e6
            if turn:
                found[name].append(took)
    return found


def tall_fit(nets: Nets, rounds: int) -> float:
    """The fixed cost of a fit of 20,000 x 13 rows: one epoch, less the slope over epochs."""
    net = bp.Sequential([bp.layers.Dense(32, "relu"), bp.layers.Dense(2)], seed=0)
    net.compile("adam", "cross_entropy")

    def fit(epochs: int) -> Callable[[], object]:
        return lambda: net.fit(nets.tall, nets.labels, epochs=epochs, verbose=0)

    took = in_turns({"1": (fit(1), 1), "3": (fit(3), 1)}, rounds)
    one, three = (statistics.median(took[key]) for key in ("1", "3"))
    return one - (three - one) / 2


def measure(rows: int, rounds: int) -> list[tuple[str, float, float]]:
    """(call, microseconds beyond the core's, goal)."""
    nets = Nets(rows)
    core, calls = nets.core(), nets.calls()
    timed = {name: (call, 1) for name, (call, _) in core.items()}
    timed |= {name: (call, count) for name, (call, _, _, count) in calls.items()}
    took = {name: statistics.median(all_) for name, all_ in in_turns(timed, rounds).items()}
    share = {
        what: (took[f"{what} {MANY}"] - took[f"{what} {FEW}"]) / (MANY - FEW)
        for what in ("step", "forward")
    }
    print(
        f"{rows} rows: the core's step {share['step']:.2f} us, its forward {share['forward']:.2f}"
    )
    result = []
    for name, (_, of, goal, _) in calls.items():
        if name == "fit, 20 epochs more":
            each = (took[name] - took["fit, one batch"]) / 20
            result.append(("fit, an epoch more", each - share["step"], 6))
        else:
            result.append((name, took[name] - share.get(of, 0), goal))
    return [*result, ("fit of 20,000 x 13, fixed", tall_fit(nets, rounds), 500)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.calls", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[64])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rivals", action="store_true")
    arguments = parser.parse_args()
    bp.set_num_threads(1)
    for rows in arguments.rows:
        for name, beyond, goal in measure(rows, arguments.rounds):
            print(f"  {name:28} {beyond:8.1f} us   goal {goal:g}{'' if beyond <= goal else '   *'}")
    if arguments.rivals:
        rivals(arguments.rounds)


def rivals(rounds: int) -> None:
    libraries = call_rivals.libraries()
    timed = {
        f"{name}, {library}": (call, 20)
        for library, calls in libraries.items()
        for name, call in calls.items()
    }
    took = {name: statistics.median(all_) for name, all_ in in_turns(timed, rounds).items()}
    print("whole calls, microseconds" + "".join(f"{name:>10}" for name in libraries))
    for name in call_rivals.CALLS:
        each = [took.get(f"{name}, {library}") for library in libraries]
        print(f"  {name:23}" + "".join(f"{'-' if t is None else f'{t:.1f}':>10}" for t in each))
    calls = {name: (update, 20) for name, update in dqn.updates().items()}
    took = {name: statistics.median(all_) for name, all_ in in_turns(calls, rounds).items()}
    print("an update of deep Q-learning, 64 rows of 4-64-64-2")
    for name, microseconds in took.items():
        ratio = microseconds / took["bpcore"]
        print(
            f"  {name:28} {microseconds:8.1f} us{'' if name == 'bpcore' else f'   {ratio:.1f} x'}"
        )


if __name__ == "__main__":
    main()
