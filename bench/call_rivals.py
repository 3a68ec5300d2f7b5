"""The calls of `bench.calls` by three libraries: `python -m bench.calls --rivals`.

The same net 8-64-64-4, tanh, mean squared error, Adam, 64 rows, one thread, from NumPy arrays to
numbers or NumPy arrays; first answers are compared. PyTorch eagerly, JAX by a jitted function for
each call.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

import bpcore as bp

from . import rival_nets

SIZES, ROWS, RATE = (8, 64, 64, 4), 64, 1e-3
CALLS = (
    "a training step",
    "gradients",
    "a step by dL/dy",
    "the loss alone",
    "a new net's first step",
)
Calls = dict[str, Callable[[], Any]]


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, targets, and dL/dy."""
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(ROWS, n)).astype(np.float32) for n in (SIZES[0], SIZES[-1]))
    return x, y, np.full_like(y, 1e-3)


def ours(weights: list[np.ndarray]) -> Calls:
    x, y, dy = data()

    def net() -> bp.Sequential:
        layers = [bp.Input(SIZES[:1]), *(bp.layers.Dense(n, "tanh") for n in SIZES[1:-1])]
        model = bp.Sequential([*layers, bp.layers.Dense(SIZES[-1])], seed=0)
        model.compile(bp.optimizers.Adam(RATE), "mse")
        return model

    def first() -> float:
        return net().train_on_batch(x, y)["loss"]

    models = [net() for _ in range(4)]
    for model in models:
        model.set_weights(weights)
    a, b, c, d = models
    calls = (
        lambda: a.train_on_batch(x, y)["loss"],
        lambda: list(b.gradients(x, y).parameters.values()),
        lambda: c.train_on_batch(x, dy=dy),
        lambda: d.evaluate(x, y)["loss"],
        first,
    )
    return dict(zip(CALLS, calls, strict=True))


def torchs(weights: list[np.ndarray]) -> Calls:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    x, y, dy = (torch.from_numpy(part) for part in data())
    loss_of = nn.functional.mse_loss

    def net(start: list[np.ndarray]) -> tuple[nn.Sequential, torch.optim.Optimizer]:
        made = rival_nets.torch_net(SIZES, nn.Tanh, start)
        return made, torch.optim.Adam(made.parameters(), RATE)

    def step(model: nn.Sequential, optimizer: torch.optim.Optimizer) -> float:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    a, b, c, d = (net(weights) for _ in range(4))
    parameters = list(b[0].parameters())

    def gradients() -> list[np.ndarray]:
        return [g.numpy().T for g in torch.autograd.grad(loss_of(b[0](x), y), parameters)]

    def by_delta() -> np.ndarray:
        c[1].zero_grad()
        out = c[0](x)
        out.backward(dy)
        c[1].step()
        found: np.ndarray = out.detach().numpy()
        return found

    def evaluate() -> float:
        with torch.no_grad():
            return loss_of(d[0](x), y).item()

    calls = (lambda: step(*a), gradients, by_delta, evaluate, lambda: step(*net([])))
    return dict(zip(CALLS, calls, strict=True))


def jaxs(weights: list[np.ndarray]) -> Calls:
    import jax
    import jax.numpy as jnp

    x, y, dy = data()

    net = rival_nets.jax_net(jnp.tanh)
    start, moved = rival_nets.jax_adam(weights, RATE)

    def loss_of(ws: Any, x: Any, y: Any) -> Any:
        return ((net(ws, x) - y) ** 2).mean()

    def by_loss(state: Any, x: Any, y: Any) -> Any:
        value, g = jax.value_and_grad(loss_of)(state[0], x, y)
        return moved(state, g), value

    def by_delta(state: Any, x: Any, dy: Any) -> Any:
        out, back = jax.vjp(lambda ws: net(ws, x), state[0])
        return moved(state, back(dy)[0]), out

    jitted = {"loss": jax.jit(by_loss), "delta": jax.jit(by_delta)}
    held = {"loss": start, "delta": start}
    alone, slopes, ws = jax.jit(loss_of), jax.jit(jax.grad(loss_of)), start[0]

    def step(kind: str, target: np.ndarray) -> Any:
        held[kind], found = jitted[kind](held[kind], x, target)
        return np.asarray(found)

    calls = (
        lambda: float(step("loss", y)),
        lambda: [np.asarray(g) for g in slopes(ws, x, y)],
        lambda: step("delta", dy),
        lambda: float(alone(ws, x, y)),
    )
    return dict(zip(CALLS, calls, strict=False))  # a first step compiles for a tenth of a second


def libraries() -> dict[str, Calls]:
    """By library its calls; their first answers are alike."""
    model = bp.Sequential([bp.Input(SIZES[:1]), *(bp.layers.Dense(n) for n in SIZES[1:])], seed=0)
    weights = model.get_weights()
    makers = {"bpcore": ours, "torch": torchs, "jax": jaxs}
    found = {
        name: make(weights)
        for name, make in makers.items()
        if importlib.util.find_spec(name) is not None
    }
    for name in CALLS[:-1]:
        answers = {library: [calls[name]() for _ in range(3)] for library, calls in found.items()}
        for library, own in answers.items():
            for got, expected in zip(own, answers["bpcore"], strict=True):
                pairs = (
                    zip(got, expected, strict=True) if isinstance(got, list) else [(got, expected)]
                )
                for one, other in pairs:
                    np.testing.assert_allclose(one, other, 2e-4, 1e-5, err_msg=f"{library}: {name}")
    return found
