"""A training step by each rule of credit assignment, against its own arithmetic and PyTorch.

``python -m bench.credit [RULE ..]``: each line is a rule on the digits net (64-64-64-64-64-10,
batch 32, of the bottleneck 128, Adam), microseconds a step, what its matrix products would take at
the rate at which those of backpropagation's step go (in the same process, in turns), and the same
rule in PyTorch, written by hand without autograd, with the ratios. The gradients of both are
compared first. Run it with ``BPCORE_NUM_THREADS=1 OMP_NUM_THREADS=1``.
"""

from __future__ import annotations

import itertools
import sys
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
    "HSIC": lambda: bp.credit.HSICBottleneck(SIGMA, BETA),
    "AM": lambda: bp.credit.AlternatingMinimization(STEPS, RATE, MU),
}
SIGMA, BETA, STEPS, RATE, MU = 5.0, 50.0, 5, 0.3, 0.003
WIDE = {"HSIC": 128}  # batches of others
# Of the largest gradient; nHSIC in single precision has few digits (tests/test_hsic.py).
APART = {"HSIC": 5e-2}


def batch_of(rule: str) -> int:
    return WIDE.get(rule, BATCH)


def products(rule: str, units: tuple[int, ...]) -> float:
    """Multiplications of a sample in all matrix products of a step; of the bottleneck in
    factorizations and inverses, too."""
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
        case "HSIC":  # cpp/kernels/hsic.h; x and y are compared with, hidden blocks have gradients
            m = batch_of(rule)
            ends = sum(m * d + 7 / 6 * m * m for d in (units[0], units[-1]))
            return own + ends + sum(2 * m * d + 13 / 6 * m * m for d in hidden)
        case "AM":  # each layer but the first once more for its weights, and for the codes below it
            return own + 2 * STEPS * down
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

    def _hsic(self, h: list[Any], e: Any, t: Any, n: int) -> Any:
        torch, eye, ridge = self.torch, self.torch.eye(n), 1e-5 * n

        def kernel(u: Any) -> tuple[Any, Any, Any, float]:
            u = u - u.mean(0)
            square = (u * u).sum(1)
            rate = 1 / (2 * SIGMA**2 * u.shape[1])
            k = torch.exp(-rate * (square[:, None] + square - 2 * (u @ u.T)).clamp_min(0))
            mean = k.mean(0)
            centred = k - mean - mean[:, None] + mean.mean()
            return k, centred, torch.linalg.cholesky(centred + mean.mean() + ridge * eye), rate

        def ratio(u: Any) -> Any:
            _, centred, factor, _ = kernel(u)
            return torch.cholesky_solve(centred, factor)

        m = ratio(h[0]) - BETA * ratio(t)
        m, deltas = (m + m.T) / 2, []
        for z in h[1:]:
            k, _, factor, rate = kernel(z)
            q = torch.cholesky_inverse(factor) * ridge
            g = (q @ m @ q) / ridge * k
            dz = -4 * rate * (g.sum(1, keepdim=True) * z - g @ z)
            deltas.append(dz * (1 - z * z))
        return deltas, []

    def _am(self, h: list[Any], e: Any, t: Any, n: int) -> Any:
        torch, w, last = self.torch, self.w, len(h) - 1
        start = [torch.addmm(w[2 * k + 1], h[k], w[2 * k]) for k in range(last)]  # of each code
        code, active = list(start), list(h)

        def wrong(k: int) -> Any:  # of the layer behind code k
            z = torch.addmm(w[2 * k + 3], active[k + 1], w[2 * k + 2])
            return torch.softmax(z, 1) - t if k + 1 == last else z - code[k + 1]

        for k in reversed(range(last)):
            gain = 1 / MU if k + 1 == last else 2 / w[2 * k + 2].shape[1]
            pull, v = 2 / w[2 * k].shape[1], torch.zeros_like(code[k])
            for _ in range(STEPS):
                slope = (wrong(k) @ w[2 * k + 2].T) * (1 - active[k + 1] ** 2)
                d = (gain * slope + pull * (code[k] - start[k])) / n
                v = 0.9 * v + d
                code[k] = code[k] - RATE * (d + 0.9 * v)
                active[k + 1] = torch.tanh(code[k])
        deltas = [2 / (n * code[0].shape[1]) * (start[0] - code[0])]
        for k in range(last - 1):
            deltas.append(2 / (n * code[k + 1].shape[1]) * wrong(k))
        e.copy_(wrong(last - 1) / n)
        h[:] = active
        return deltas, []


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
        if not apart <= APART.get(theirs.rule, 2e-3) * np.abs(g.numpy()).max() + 1e-6:
            raise AssertionError(f"{theirs.rule}: {p.name} is {apart:g} from PyTorch's")


def main() -> None:
    import torch

    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    x = draw.random((ROWS, UNITS[0])).astype(np.float32)
    y = draw.integers(0, UNITS[-1], ROWS)
    tx, ty = torch.tensor(x), torch.tensor(y)
    asked = [name for name in RULES if name in ("backprop", *(sys.argv[1:] or RULES))]
    models = {name: network(name) for name in asked}
    rivals = {name: Torch(name, model) for name, model in models.items()}
    for name, model in models.items():
        rows = batch_of(name)
        compare(model, rivals[name], x[:rows], y[:rows])

    def ours(name: str) -> None:
        models[name].fit(x, y, batch_size=batch_of(name), epochs=10, verbose=0)

    def theirs(name: str) -> None:
        order = torch.randperm(ROWS)
        for i in range(0, ROWS, batch_of(name)):
            rows = order[i : i + batch_of(name)]
            rivals[name].step(tx[rows], ty[rows])

    spent: dict[tuple[str, str], list[float]] = {}
    for turn in range(ROUNDS + 1):
        for name in asked:
            steps = -(-ROWS // batch_of(name))
            for who, call, passes in (("bpcore", ours, 10), ("torch", theirs, 1)):
                begin = time.process_time()
                call(name)
                if turn:
                    seconds = (time.process_time() - begin) / (passes * steps)
                    spent.setdefault((name, who), []).append(seconds)
    best = {key: min(values) for key, values in spent.items()}
    rate = best["backprop", "bpcore"] / products("backprop", UNITS)
    print("rule       us a step   its arithmetic   ratio      PyTorch   ratio")
    for name in asked:
        own, other = best[name, "bpcore"], best[name, "torch"]
        floor = rate * products(name, UNITS) * batch_of(name) / BATCH
        print(
            f"{name:<10} {own * 1e6:8.1f}   {floor * 1e6:12.1f}   {own / floor:6.2f}   "
            f"{other * 1e6:9.1f}   {other / own:5.1f}"
        )


if __name__ == "__main__":
    main()
