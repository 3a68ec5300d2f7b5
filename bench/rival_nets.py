"""Small dense nets of PyTorch and JAX with given weights, as `call_rivals` and `dqn` time them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

Weights = list[np.ndarray]  # kernel and bias, layer after layer


def torch_net(sizes: tuple[int, ...], activation: Any, weights: Weights) -> Any:
    """A Sequential; without weights with first ones of PyTorch's own."""
    import torch
    from torch import nn

    pairs = itertools.pairwise(sizes)
    made = nn.Sequential(*[part for a, b in pairs for part in (nn.Linear(a, b), activation())][:-1])
    with torch.no_grad():
        for p, w in zip(made.parameters(), weights, strict=False):
            p.copy_(torch.tensor(w.T))
    return made


def jax_net(activation: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """The outputs of weights and x."""

    def net(ws: Any, x: Any) -> Any:
        for w, b in zip(ws[:-2:2], ws[1:-2:2], strict=True):
            x = activation(x @ w + b)
        return x @ ws[-2] + ws[-1]

    return net


def jax_adam(weights: Weights, rate: float) -> tuple[Any, Callable[[Any, Any], Any]]:
    """The state at the start, whose first part are the weights, and a step by gradients."""
    import jax.numpy as jnp

    def step(state: Any, g: Any) -> Any:
        ws, m, v, t = state
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
        v = [0.999 * a + 0.001 * b * b for a, b in zip(v, g, strict=True)]
        k1, k2 = 1 - 0.9**t, 1 - 0.999**t
        rows = zip(ws, m, v, strict=True)
        ws = [w - rate * (a / k1) / (jnp.sqrt(b / k2) + 1e-8) for w, a, b in rows]
        return ws, m, v, t + 1

    ws = [jnp.asarray(w) for w in weights]
    return (ws, [w * 0 for w in ws], [w * 0 for w in ws], jnp.float32(1)), step
