"""Proximal policy optimization: a pole is balanced by a policy and its critic in one network.

Clipped surrogate loss with generalized advantages and an entropy bonus (J. Schulman et al., 2017),
by `forward`, `backward` and `apply_gradients` of a model with two outputs.
"""

import numpy as np
from dqn import Carts

import bpcore as bp

L = bp.layers
STEPS, CARTS, GAMMA, LAMBDA, CLIP = 128, 16, 0.98, 0.95, 0.2


def probabilities(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def rollout(model, carts, rng):
    """States, actions, their probabilities, returns and advantages of STEPS steps of all carts."""
    states = np.zeros((STEPS, CARTS, 4), np.float32)
    actions, ended = np.zeros((STEPS, CARTS), int), np.zeros((STEPS, CARTS))
    chosen, values, later = np.zeros((3, STEPS, CARTS))
    for t in range(STEPS):
        states[t] = carts.state
        logits, value = model(carts.state)
        p = probabilities(logits)
        actions[t] = rng.uniform(size=CARTS) < p[:, 1]
        chosen[t], values[t] = p[np.arange(CARTS), actions[t]], value[:, 0]
        after, fell = carts.step(actions[t])
        later[t] = np.where(fell, 0.0, model(after)[1][:, 0])  # of a cart that is old: what it was
        ended[t] = (carts.age == 0).astype(float)
    errors = 1.0 + GAMMA * later - values
    advantage, running = np.zeros((STEPS, CARTS)), np.zeros(CARTS)
    for t in reversed(range(STEPS)):
        running = errors[t] + GAMMA * LAMBDA * (1 - ended[t]) * running
        advantage[t] = running
    returns = advantage + values
    flat = (states.reshape(-1, 4), actions.ravel(), chosen.ravel(), returns.ravel())
    return *flat, ((advantage - advantage.mean()) / (advantage.std() + 1e-8)).ravel()


def gradients(logits, value, action, before, returns, advantage):
    """dL/dy of the batch's mean: clipped surrogate - 0.01 entropy + 0.25 (value - return)^2."""
    n, rows = len(action), np.arange(len(action))
    p = probabilities(logits)
    ratio = p[rows, action] / before
    free = np.where(advantage > 0, ratio < 1 + CLIP, ratio > 1 - CLIP)  # where clipping is idle
    toward = -p
    toward[rows, action] += 1  # d log p[action] / d logits
    surrogate = -(ratio * advantage * free)[:, None] * toward
    entropy = -(p * np.log(p)).sum(axis=1, keepdims=True)
    bonus = 0.01 * p * (np.log(p) + entropy)
    return [(surrogate + bonus) / n, 0.5 * (value - returns[:, None]) / n]


def main():
    rng = np.random.default_rng(0)
    x = bp.Input((4,))
    h = L.Dense(64, "tanh")(L.Dense(64, "tanh")(x))
    g = L.Dense(64, "tanh")(L.Dense(64, "tanh")(x))
    model = bp.Model(x, [L.Dense(2, kernel_initializer="zeros")(h), L.Dense(1)(g)], seed=0)
    model.compile(bp.optimizers.Adam(1e-3), gradient_clip_norm=0.5)
    carts = Carts(CARTS, rng)
    for _ in range(30):
        data = rollout(model, carts, rng)
        for _ in range(6):
            order = rng.permutation(STEPS * CARTS)
            for part in np.split(order, 8):
                state, *rest = (a[part] for a in data)
                y = model.forward(state)
                model.zero_gradients()
                model.backward(gradients(*y, *rest), inputs=False)
                model.apply_gradients()
    judge, lengths = Carts(32, np.random.default_rng(1)), []
    for _ in range(judge.limit):
        judge.step(model(judge.state)[0].argmax(axis=1))
        lengths.extend(judge.ended)
    print(f"steps until the pole falls, of at most {judge.limit}: {np.mean(lengths):.0f}")
    assert np.mean(lengths) > 250, "a pole that nobody balances falls after 20 steps"


if __name__ == "__main__":
    main()
