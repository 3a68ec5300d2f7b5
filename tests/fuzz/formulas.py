"""The formulas of layers, losses, penalties, constraints, schedules and optimizers in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from .spec import Head

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
Tensor = torch.Tensor


def through(x: Tensor, held: Tensor) -> Tensor:
    """The values of `held`, whose gradient goes to x as it is."""
    return held.detach() + (x - x.detach())


class Floors:
    """Where the core holds what a formula cannot take: probabilities, by losses."""

    probability = 1e-15

    @classmethod
    def hold(cls, p: Tensor, above: bool) -> Tensor:
        """p in [eps, 1 - eps], or [eps, 1]; the gradient is the formula's at the p so held."""
        high = 1 - cls.probability if above else 1.0
        return through(p, p.clamp(cls.probability, high))


# ---- layers ------------------------------------------------------------------------------------
def activation(name: str, z: Tensor, alpha: float | None = None) -> Tensor:
    functions: dict[str, Callable[[], Tensor]] = {
        "linear": lambda: z,
        "sigmoid": lambda: torch.sigmoid(z),
        # F.hardsigmoid multiplies by 1/6 in float32
        "hard_sigmoid": lambda: torch.where(z <= -3, 0, torch.where(z >= 3, 1, (z + 3) / 6)),
        "tanh": lambda: torch.tanh(z),
        "relu": lambda: F.relu(z),
        "leaky_relu": lambda: F.leaky_relu(z, 0.2 if alpha is None else alpha),
        "relu6": lambda: F.relu6(z),
        "elu": lambda: F.elu(z, 1.0 if alpha is None else alpha),
        "selu": lambda: F.selu(z),
        "celu": lambda: F.celu(z, 1.0 if alpha is None else alpha),
        "gelu": lambda: F.gelu(z),
        "gelu_tanh": lambda: F.gelu(z, approximate="tanh"),
        "silu": lambda: F.silu(z),
        "mish": lambda: F.mish(z),
        "softplus": lambda: F.softplus(z, threshold=1e9),
        "softsign": lambda: F.softsign(z),
        "exponential": lambda: torch.exp(z),
        "softmax": lambda: torch.softmax(z, -1),
        "log_softmax": lambda: torch.log_softmax(z, -1),
    }
    return functions[name]()


def spread(x: Tensor, rank: int) -> Tensor:
    """Ranks are filled up with ones after the batch axis."""
    return x.reshape(x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:])


def merged(kind: str, xs: list[Tensor]) -> Tensor:
    rank = max(x.ndim for x in xs)
    xs = [spread(x, rank) for x in xs]
    total = xs[0]
    for x in xs[1:]:
        if kind in ("Add", "Average"):
            total = total + x
        elif kind == "Multiply":
            total = total * x
        elif kind == "Subtract":
            total = total - x
        elif kind == "Divide":
            total = total / x
        else:  # where equal, the delta goes to the first
            first = total >= x if kind == "Maximum" else total <= x
            total = torch.where(first, total, x)
    return total / len(xs) if kind == "Average" else total


def dot(a: Tensor, b: Tensor, axes: list[int], normalize: bool) -> Tensor:
    a, b = a.movedim(axes[0], -1), b.movedim(axes[1], -1)
    if normalize:
        a, b = (x / (x * x).sum(-1, keepdim=True).clamp(min=1e-14).sqrt() for x in (a, b))
    y = torch.einsum("npk,nqk->npq", a.reshape(len(a), -1, a.shape[-1]),
                     b.reshape(len(b), -1, b.shape[-1]))  # fmt: skip
    return y.reshape(len(y), *(a.shape[1:-1] + b.shape[1:-1] or (1,)))


def standardised(x: Tensor, axes: tuple[int, ...], epsilon: float, centred: bool = True) -> Tensor:
    mean = x.mean(axes, keepdim=True) if centred else 0.0
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(axes, keepdim=True) + epsilon)


# ---- losses, penalties, constraints ------------------------------------------------------------
def _rows(x: Tensor) -> Tensor:
    return x.reshape(len(x), -1)


def row_losses(head: Head, p: Tensor, y: Tensor, floors: bool) -> Tensor:
    """The loss of each row of predictions p."""
    c = head.config
    if head.loss == "CrossEntropy":
        return cross_entropy(head, p, y, floors)
    if head.loss == "BinaryCrossEntropy":
        s = c.get("label_smoothing", 0.0)
        t = y * (1 - s) + s / 2
        t_weighted = t * torch.tensor(c.get("pos_weight", 1.0))
        if head.ending == "linear":
            of_true, of_false = F.softplus(-p, threshold=1e9), F.softplus(p, threshold=1e9)
            return _rows(t_weighted * of_true + (1 - t) * of_false).mean(1)
        q = Floors.hold(p, True) if floors else p
        return _rows(-(t_weighted * torch.log(q) + (1 - t) * torch.log1p(-q))).mean(1)
    if head.loss == "KLDivergence":
        q = Floors.hold(p, False) if floors else p
        rows = (torch.xlogy(y, y) - torch.where(y > 0, y * torch.log(q), 0)).sum(-1)
        return rows if rows.ndim == 1 else _rows(rows).mean(1)
    if head.loss == "Poisson":  # Keras: 1e-7 beside the prediction
        return _rows(p - y * torch.log(p + 1e-7)).mean(1)
    if head.loss == "Hinge":
        margin = 1 - torch.where(y == 0, -1.0, y) * p
        return _rows(torch.where(margin > 0, margin, 0)).mean(1)
    if head.loss == "Quantile":
        levels = torch.tensor(c["quantiles"]).repeat_interleave(y.shape[-1])
        e = y.repeat(*(1,) * (y.ndim - 1), head.parts) - p
        return _rows(torch.where(e > 0, levels * e, (levels - 1) * e)).mean(1)
    if head.loss == "GaussianNLL":
        m, s = p.chunk(2, -1)
        held = through(s, s.clamp(min=math.log(c["epsilon"])))
        constant = 0.5 * math.log(2 * math.pi) if c["full"] else 0.0
        return _rows(0.5 * (held + (y - m) ** 2 * torch.exp(-held)) + constant).mean(1)
    e = p - y
    terms = {
        "MeanSquaredError": lambda: e**2,
        "HalfSquaredError": lambda: 0.5 * e**2 * e[0].numel(),
        "MeanAbsoluteError": lambda: e.abs(),
        "Huber": lambda: F.huber_loss(p, y, reduction="none", delta=c["delta"]),
        "LogCosh": lambda: e.abs() + F.softplus(-2 * e.abs(), threshold=1e9) - math.log(2),
        "Charbonnier": lambda: torch.hypot(torch.ones(()), e) - 1,
    }
    return _rows(terms[head.loss]()).mean(1)


def cross_entropy(head: Head, p: Tensor, y: Tensor, floors: bool) -> Tensor:
    s = head.config.get("label_smoothing", 0.0)
    classes = p.shape[-1]
    t = F.one_hot(y.long(), classes).to(p.dtype) if head.target == "labels" else y
    t = t * (1 - s) + s / classes
    if head.ending in ("linear", "log_softmax"):
        logs = torch.log_softmax(p, -1)  # of log_softmax: itself
    else:
        logs = torch.log(Floors.hold(p, True) if floors else p)
    rows = -torch.where(t > 0, t * logs, 0).sum(-1)
    if "class_weight" in head.config:
        of_class = head.config["class_weight"]
        rows = rows * torch.tensor([of_class[k] for k in range(classes)])[y.long()]
    return rows if rows.ndim == 1 else _rows(rows).mean(1)


def penalty_value(w: Tensor, name: str, config: dict[str, Any]) -> Tensor:
    if name == "Quartic":
        return config["factor"] * (w**4).sum()
    if name == "Orthogonal":
        v = w if config["mode"] == "rows" else w.T
        n = len(v)
        unit = v / v.norm(dim=1, keepdim=True).clamp(min=1e-7)
        pairs = torch.triu(unit @ unit.T, 1).abs().sum()
        return config["factor"] * pairs / (n * (n - 1) / 2) if n > 1 else 0 * pairs
    return config.get("l1", 0.0) * w.abs().sum() + config.get("l2", 0.0) * (w * w).sum()


def constrained(w: Tensor, name: str, config: dict[str, Any]) -> Tensor:
    if name == "Shrunk":
        return config["factor"] * w
    if name == "NonNeg":
        return w.clamp(min=0)
    low, high, rate = {
        "MaxNorm": lambda: (0.0, config["max_value"], 1.0),
        "UnitNorm": lambda: (1.0, 1.0, 1.0),
        "MinMaxNorm": lambda: (config["min_value"], config["max_value"], config["rate"]),
    }[name]()
    norm = w.pow(2).sum(0, keepdim=True).sqrt()
    clipped = norm.clamp(low, high)
    factor = (rate * clipped + (1 - rate) * norm) / (norm + 1e-7)
    return w * torch.where((clipped == norm) | (rate == 0), torch.ones_like(norm), factor)


# ---- schedules and optimizers ------------------------------------------------------------------
def schedule(name: str, c: dict[str, Any], step: int) -> float:
    if name == "constant":
        return float(c["rate"])
    first = c["initial_learning_rate"]
    if name == "InverseTime":
        return first / (1 + c["decay_rate"] * step / c["decay_steps"])
    if name == "Exponential":
        return first * c["decay_rate"] ** (step / c["decay_steps"])
    if name == "Step":
        return first * c["gamma"] ** (step // c["step_size"])
    if name == "Polynomial":
        share = 1 - min(step, c["decay_steps"]) / c["decay_steps"]
        last = c["end_learning_rate"]
        return (first - last) * share ** c["power"] + last
    if step < c["warmup_steps"]:
        return first * (step + 1) / c["warmup_steps"]
    share = min(step - c["warmup_steps"], c["decay_steps"]) / c["decay_steps"]
    return first * ((1 - c["alpha"]) * (1 + math.cos(math.pi * share)) / 2 + c["alpha"])


class Lion(torch.optim.Optimizer):
    """X. Chen et al., Symbolic discovery of optimization algorithms, 2023."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float]) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for w in group["params"]:
                m = self.state[w].setdefault("m", torch.zeros_like(w))
                direction = torch.sign(b1 * m + (1 - b1) * w.grad)
                w.sub_(group["lr"] * (direction + group["weight_decay"] * w))
                m.mul_(b2).add_((1 - b2) * w.grad)


def make_optimizer(name: str, c: dict[str, Any], groups: list[dict[str, Any]], lr: float) -> Any:
    optim = torch.optim
    usual = (0.9, 0.99) if name == "Lion" else (0.9, 0.999)
    betas = (c.get("beta_1", usual[0]), c.get("beta_2", usual[1]))
    makers: dict[str, Callable[[], Any]] = {
        "SGD": lambda: optim.SGD(groups, lr, c["momentum"], nesterov=c["nesterov"]),
        "Adagrad": lambda: optim.Adagrad(groups, lr),
        "RMSprop": lambda: optim.RMSprop(groups, lr, alpha=c["rho"]),
        "Adadelta": lambda: optim.Adadelta(groups, lr, rho=c["rho"]),
        "Adam": lambda: optim.Adam(groups, lr, betas, amsgrad=c.get("amsgrad", False)),
        "AdamW": lambda: optim.AdamW(groups, lr, betas, amsgrad=c.get("amsgrad", False)),
        "Adamax": lambda: optim.Adamax(groups, lr, betas),
        "Nadam": lambda: optim.NAdam(groups, lr, betas),
        "Lion": lambda: Lion(groups, lr, betas),
        "Rprop": lambda: optim.Rprop(groups, lr),
    }
    return makers[name]()
