"""A whole update of deep Q-learning, 64 rows of 4 numbers, 4-64-64-2, by three libraries.

Double Q-learning: the best action after each step by the net, its value by the target net, the
Huber loss of the chosen actions, Adam, and the target net's step towards the net. Each library
gets NumPy arrays from the memory and does it all in the way that is fastest with it: bpcore by
`train_on_batch(dy=...)` and `polyak_update`, PyTorch eagerly, JAX in one jitted function.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np

import bpcore as bp

from . import rival_nets

SIZES, ROWS, RATE, GAMMA, TAU = (4, 64, 64, 2), 64, 1e-3, 0.98, 0.01
PLACES = np.arange(ROWS)


def sample() -> tuple[np.ndarray, ...]:
    """States, actions, states after them, and whether the pole fell."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(2, ROWS, SIZES[0])).astype(np.float32)
    return states[0], rng.integers(0, 2, ROWS), states[1], rng.uniform(size=ROWS) < 0.1


def ours(weights: list[np.ndarray]) -> Callable[[], np.ndarray]:
    layers = [bp.Input(SIZES[:1]), *(bp.layers.Dense(n, "relu") for n in SIZES[1:-1])]
    q = bp.Sequential([*layers, bp.layers.Dense(SIZES[-1])], seed=0)
    q.set_weights(weights)
    q.compile(bp.optimizers.Adam(RATE))
    target = q.clone()
    state, action, after, fell = sample()

    def update() -> np.ndarray:
        best = q(after).argmax(axis=1)
        goal = 1.0 + GAMMA * np.where(fell, 0.0, target(after)[PLACES, best])

        def huber(y: np.ndarray) -> np.ndarray:
            dy = np.zeros_like(y)
            dy[PLACES, action] = np.clip(y[PLACES, action] - goal, -1, 1) / ROWS
            return dy

        y: np.ndarray = q.train_on_batch(state, dy=huber)
        target.polyak_update(q, TAU)
        return y

    return update


def torchs(weights: list[np.ndarray]) -> Callable[[], np.ndarray]:
    import torch
    from torch import nn

    torch.set_num_threads(1)

    q, target = (rival_nets.torch_net(SIZES, nn.ReLU, weights) for _ in range(2))
    optimizer = torch.optim.Adam(q.parameters(), RATE)
    own, others = list(q.parameters()), list(target.parameters())
    given = sample()

    def update() -> np.ndarray:
        state, action, after, fell = (torch.from_numpy(part) for part in given)
        with torch.no_grad():
            best = q(after).argmax(1, keepdim=True)
            value = target(after).gather(1, best)[:, 0]
            goal = 1.0 + GAMMA * torch.where(fell, 0.0, value)
        y = q(state)
        loss = nn.functional.smooth_l1_loss(y.gather(1, action[:, None])[:, 0], goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(others, own, TAU)
        return y.detach().numpy()

    return update


def jaxs(weights: list[np.ndarray]) -> Callable[[], np.ndarray]:
    import jax
    import jax.numpy as jnp

    net = rival_nets.jax_net(jax.nn.relu)
    start, moved = rival_nets.jax_adam(weights, RATE)

    def loss(ws, state, action, goal):
        y = net(ws, state)
        e = jnp.abs(y[PLACES, action] - goal)
        return jnp.where(e <= 1, 0.5 * e * e, e - 0.5).mean(), y

    @jax.jit
    def step(own, others, state, action, after, fell):
        ws = own[0]
        best = net(ws, after).argmax(1)
        goal = 1.0 + GAMMA * jnp.where(fell, 0.0, net(others, after)[PLACES, best])
        g, y = jax.grad(loss, has_aux=True)(ws, state, action, goal)
        own = moved(own, g)
        others = [(1 - TAU) * a + TAU * b for a, b in zip(others, own[0], strict=True)]
        return own, others, y

    held = [start, list(start[0])]
    given = sample()

    def update() -> np.ndarray:
        *held[:], y = step(*held, *given)
        return np.asarray(y)

    return update


def updates() -> dict[str, Callable[[], np.ndarray]]:
    """By library a function that makes one update; their first outputs are compared."""
    model = bp.Sequential([bp.Input(SIZES[:1]), *(bp.layers.Dense(n) for n in SIZES[1:])], seed=0)
    weights = model.get_weights()
    makers = {"bpcore": ours, "torch": torchs, "jax": jaxs}
    here = {name: m for name, m in makers.items() if importlib.util.find_spec(name) is not None}
    found = {name: make(weights) for name, make in here.items()}
    answers = {name: [update().copy() for _ in range(5)] for name, update in found.items()}
    for name, own in answers.items():
        for y, expected in zip(own, answers["bpcore"], strict=True):
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4, err_msg=name)
    return found
