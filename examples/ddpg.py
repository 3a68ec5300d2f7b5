"""Deep deterministic policy gradients: a mass on a track is brought to rest in the middle.

An actor gives the force, a critic its value; the actor climbs the critic's gradient by the force
(T. Lillicrap et al., 2016): `backward(dy, parameters=False)` of one network gives the dL/dy of the
other. Judged by the best linear controller, which the equations of Riccati give.
"""

import numpy as np

import bpcore as bp

L = bp.layers
GAMMA, DT = 0.95, 0.2


def step(state, force):
    """Next state (position, speed), and the reward."""
    cost = state[:, 0] ** 2 + 0.1 * state[:, 1] ** 2 + 0.1 * force[:, 0] ** 2
    speed = state[:, 1] + DT * force[:, 0]
    after = np.stack([state[:, 0] + DT * speed, speed], axis=1)
    return after.astype(np.float32), -cost.astype(np.float32)


def start(rng, count):
    return rng.uniform(-1, 1, size=(count, 2)).astype(np.float32)


def total(policy, rng):
    """The mean discounted reward of 50 steps."""
    state, found = start(rng, 500), 0.0
    for t in range(50):
        state, reward = step(state, policy(state))
        found += GAMMA**t * reward.mean()
    return found


def riccati():
    """The gain of the best linear controller, force = -gain state."""
    a, b = np.array([[1, DT], [0, 1.0]]), np.array([[DT * DT], [DT]])
    p = q = np.diag([1.0, 0.1])
    for _ in range(500):
        gain = np.linalg.solve(0.1 + GAMMA * b.T @ p @ b, GAMMA * b.T @ p @ a)
        p = q + GAMMA * a.T @ p @ (a - b @ gain)
    return gain


def main():
    rng = np.random.default_rng(0)
    actor = bp.Sequential([L.Dense(32, "tanh"), L.Dense(1)], seed=0)
    actor.build((2,))
    s, u = bp.Input((2,), name="state"), bp.Input((1,), name="force")
    h = L.Dense(64, "tanh")(L.Dense(64, "tanh")(L.Concatenate()([s, u])))
    critic = bp.Model([s, u], L.Dense(1)(h), seed=1)
    actor.compile(bp.optimizers.Adam(1e-3))
    critic.compile(bp.optimizers.Adam(2e-3), "mse")
    slow_actor, slow_critic = actor.clone(), critic.clone()
    state = start(rng, 32)
    memory, n = [np.zeros((20_000, k), np.float32) for k in (2, 1, 2, 1)], 0
    for t in range(2500):
        force = actor(state) + rng.normal(scale=0.4, size=(32, 1)).astype(np.float32)
        after, reward = step(state, force)
        for kept, new in zip(memory, (state, force, after, reward[:, None]), strict=True):
            kept[np.arange(n, n + 32) % len(kept)] = new
        n += 32
        state = after if (t + 1) % 25 else start(rng, 32)
        part = rng.integers(0, min(n, 20_000), 64)
        x, f, x2, r = (kept[part] for kept in memory)
        critic.train_on_batch([x, f], r + GAMMA * slow_critic([x2, slow_actor(x2)]))
        f = actor.forward(x)
        critic.forward([x, f], training=False)
        _, df = critic.backward(np.full((64, 1), -1 / 64), parameters=False)  # L = -mean Q
        actor.zero_gradients()
        actor.backward(df, inputs=False)
        actor.apply_gradients()
        slow_actor.polyak_update(actor, 0.01)
        slow_critic.polyak_update(critic, 0.01)
    gain = riccati()
    best = total(lambda x: (-x @ gain.T).astype(np.float32), np.random.default_rng(1))
    found = total(actor, np.random.default_rng(1))
    idle = total(lambda x: np.zeros((len(x), 1), np.float32), np.random.default_rng(1))
    print(f"reward: {found:.2f}; of the best controller {best:.2f}, of none {idle:.2f}")
    assert found > best - 0.1 * (best - idle)


if __name__ == "__main__":
    main()
