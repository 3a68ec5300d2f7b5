"""A training step by each rule of credit assignment, against its own arithmetic and PyTorch.

``python -m bench.credit``: each line is a rule on the digits net (64-64-64-64-64-10, batch 32,
Adam), microseconds a step, what its matrix products would take at the rate at which those of
backpropagation's step go (in the same process, in turns), and the same rule in PyTorch, written by
hand without autograd, with the ratios. The gradients of both are compared first.
Run it with ``BPCORE_NUM_THREADS=1 OMP_NUM_THREADS=1``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import bpcore as bp

UNITS, BATCH, ROWS, ROUNDS = (64, 64, 64, 64, 64, 10), 32, 1437, 9
RULES: dict[str, Callable[[], Any]] = {
    "backprop": lambda: "backprop",
    "FA": bp.credit.FeedbackAlignment,
    "DFA": bp.credit.DirectFeedbackAlignment,
    "DNI": lambda: bp.credit.SyntheticGradients(context=False),
    "cDNI": bp.credit.SyntheticGradients,
    "DTP": lambda: bp.credit.DifferenceTargetPropagation(0.3, 0.0),
}


def products(rule: str, units: tuple[int, ...]) -> float:
    """Multiplications of a sample in all matrix products of a step."""
    pairs = list(itertools.pairwise(units))
    own = sum(2 * a * b for a, b in pairs)  # forward, and the gradients of the weights
    down = sum(a * b for a, b in pairs[1:])  # deltas through each matrix but the first
    hidden = units[1:-1]
    match rule:
        case "DFA":
            return own + sum(h * units[-1] for h in hidden)
        case "DNI" | "cDNI":
            seen = units[-1] if rule == "cDNI" else 0
            return own + down + sum(2 * (h + seen) * h for h in hidden)
        case "DTP":  # f again with noise; g forward, its gradient, and g at two points
            between = sum(a * b for a, b in pairs[1:-1])
            return own + 5 * between + pairs[-1][0] * pairs[-1][1]
    return own + down


class Torch:
    """The same net and rule in PyTorch, from the weights of a model of bpcore."""

    def __init__(self, rule: str, model: Any) -> None:
        import torch

        self.torch, self.rule = torch, rule
        take = lambda ps: [torch.tensor(p.value.copy()) for p in ps]  # noqa: E731
        self.w, self.own = take(model.weights), take(model.credit_weights)
        trained = [w for w, p in zip(self.own, model.credit_weights, strict=True) if p.trainable]
        self.all = [*self.w, *trained]
        for p in self.all:
            p.grad = torch.zeros_like(p)
        self.adam = torch.optim.Adam(self.all, 1e-3, foreach=True)

    def gradients(self, x: Any, y: Any) -> list[Any]:
        torch, w, n = self.torch, self.w, len(x)
        h = [x]
        for k in range(0, len(w) - 2, 2):
            h.append(torch.tanh(torch.addmm(w[k + 1], h[-1], w[k])))
        e = torch.softmax(torch.addmm(w[-1], h[-1], w[-2]), 1)
        one_hot = torch.nn.functional.one_hot(y, e.shape[1]).to(e.dtype)
        e = (e - one_hot) / n
        deltas, more = getattr(self, f"_{self.rule.lower()}")(h, e, one_hot, n)
        deltas.append(e)
        found = []
        for a, d in zip(h, deltas, strict=True):
            found += [a.T @ d, d.sum(0)]
        return found + more

    def step(self, x: Any, y: Any) -> None:
        with self.torch.no_grad():
            for p, g in zip(self.all, self.gradients(x, y), strict=True):
                p.grad = g
            self.adam.step()

    def _chain(self, h: list[Any], e: Any, matrices: list[Any]) -> Any:
        deltas = []
        for value, b in zip(h[:0:-1], reversed(matrices), strict=True):
            e = (e @ b.T) * (1 - value * value)
            deltas.append(e)
        return deltas[::-1], []

    def _backprop(self, h: list[Any], e: Any, t: Any, n: int) -> Any:
        return self._chain(h, e, self.w[2::2])

    def _fa(self, h: list[Any], e: Any, t: Any, n: int) -> Any:
        return self._chain(h, e, self.own)

    def _dfa(self, h: list[Any], e: Any, t: Any, n: int) -> Any:
        pairs = zip(h[1:], self.own, strict=True)
        return [(e @ b.T) * (1 - value * value) for value, b in pairs], []

    def _dni(self, h: list[Any], e: Any, t: Any, n: int, context: bool = False) -> Any:
        torch = self.torch
        seen = [torch.cat([value, t], 1) if context else value for value in h[1:]]
        m = list(zip(self.own[::2], self.own[1::2], strict=True))
        guess = [torch.addmm(b, s, v) for s, (v, b) in zip(seen, m, strict=True)]
        deltas = [g / n * (1 - value * value) for g, value in zip(guess, h[1:], strict=True)]
        more: list[Any] = []
        for k, s in enumerate(seen):
            above = deltas[k + 1] if k + 1 < len(deltas) else e
            d = 2 / n * (guess[k] - n * (above @ self.w[2 * k + 2].T))
            more += [s.T @ d, d.sum(0)]
        return deltas, more

    def _cdni(self, h: list[Any], e: Any, t: Any, n: int) -> Any:
        return self._dni(h, e, t, n, context=True)

    def _dtp(self, h: list[Any], e: Any, t: Any, n: int) -> Any:
        torch, rate, more = self.torch, 0.3, []
        target = h[-1] - rate * n * (e @ self.w[-2].T)
        deltas = []
        for k in range(len(h) - 1, 0, -1):
            deltas.append(2 / n * (h[k] - target) * (1 - h[k] * h[k]))
            if k == 1:
                break
            v, c = self.own[2 * k - 4], self.own[2 * k - 3]
            here = torch.tanh(torch.addmm(c, h[k], v))
            target = h[k - 1] - here + torch.tanh(torch.addmm(c, target, v))
            noisy = h[k - 1] + 0.0 * torch.randn_like(h[k - 1])
            up = torch.tanh(torch.addmm(self.w[2 * k - 1], noisy, self.w[2 * k - 2]))
            back = torch.tanh(torch.addmm(c, up, v))
            d = 2 / n * (back - noisy) * (1 - back * back)
            more = [up.T @ d, d.sum(0), *more]
        return deltas[::-1], more


def network(rule: str) -> Any:
    hidden = [bp.layers.Dense(n, "tanh") for n in UNITS[1:-1]]
    model = bp.Sequential([bp.Input(UNITS[:1]), *hidden, bp.layers.Dense(UNITS[-1])], seed=0)
    model.compile(bp.optimizers.Adam(1e-3), "cross_entropy", credit=RULES[rule]())
    draw = np.random.default_rng(1)
    for p in model.credit_weights:
        p.value = draw.normal(size=p.shape) * 0.1
    return model


def compare(model: Any, theirs: Torch, x: Any, y: Any) -> None:
    """The gradients of a batch agree: an SGD step of 1 is their difference of weights."""
    import torch

    twin = model.clone()
    twin.compile(bp.optimizers.SGD(1.0), "cross_entropy", credit=RULES[theirs.rule]())
    for p, q in zip(twin.credit_weights, model.credit_weights, strict=True):
        p.value = q.value
    before = [p.value.copy() for p in twin.weights]
    twin.train_on_batch(x, y)
    expected = theirs.gradients(torch.tensor(x), torch.tensor(y))
    for p, old, g in zip(twin.weights, before, expected[: len(before)], strict=True):
        apart = np.abs(old - p.value - g.numpy()).max()
        if not apart <= 2e-3 * np.abs(g.numpy()).max() + 1e-6:
            raise AssertionError(f"{theirs.rule}: {p.name} differs from PyTorch")


def main() -> None:
    import torch

    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    x = draw.random((ROWS, UNITS[0])).astype(np.float32)
    y = draw.integers(0, UNITS[-1], ROWS)
    tx, ty = torch.tensor(x), torch.tensor(y)
    models = {name: network(name) for name in RULES}
    rivals = {name: Torch(name, model) for name, model in models.items()}
    for name, model in models.items():
        compare(model, rivals[name], x[:BATCH], y[:BATCH])
    steps = -(-ROWS // BATCH)

    def ours(name: str) -> None:
        models[name].fit(x, y, batch_size=BATCH, epochs=10, verbose=0)

    def theirs(name: str) -> None:
        order = torch.randperm(ROWS)
        for i in range(0, ROWS, BATCH):
            rows = order[i : i + BATCH]
            rivals[name].step(tx[rows], ty[rows])

    spent: dict[tuple[str, str], list[float]] = {}
    for turn in range(ROUNDS + 1):
        for name in RULES:
            for who, call, passes in (("bpcore", ours, 10), ("torch", theirs, 1)):
                begin = time.process_time()
                call(name)
                if turn:
                    seconds = (time.process_time() - begin) / (passes * steps)
                    spent.setdefault((name, who), []).append(seconds)
    best = {key: min(values) for key, values in spent.items()}
    rate = best["backprop", "bpcore"] / products("backprop", UNITS)
    print("rule       us a step   its arithmetic   ratio      PyTorch   ratio")
    for name in RULES:
        own, other = best[name, "bpcore"], best[name, "torch"]
        floor = rate * products(name, UNITS)
        print(
            f"{name:<10} {own * 1e6:8.1f}   {floor * 1e6:12.1f}   {own / floor:6.2f}   "
            f"{other * 1e6:9.1f}   {other / own:5.1f}"
        )


if __name__ == "__main__":
    main()
