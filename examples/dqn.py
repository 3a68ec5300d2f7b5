"""Deep Q-learning: a pole is balanced on a cart, by values of actions learnt from its own trials.

Double Q-learning with replay (V. Mnih et al., 2015; H. van Hasselt et al., 2016). The loss is the
user's own: dL/dy goes to `train_on_batch`, and a target network follows by `polyak_update`.
"""

import numpy as np

import bpcore as bp

L = bp.layers


class Carts:
    """Poles on carts (A. Barto, R. Sutton, C. Anderson, 1983), many at once."""

    limit = 500  # steps

    def __init__(self, count, rng):
        self.rng, self.count = rng, count
        self.state = self.fresh(count)
        self.age = np.zeros(count, int)

    def fresh(self, count):
        return self.rng.uniform(-0.05, 0.05, size=(count, 4)).astype(np.float32)

    def step(self, action):
        """(next state, fell); a cart that fell or is old begins anew."""
        x, v, angle, spin = self.state.T
        force = np.where(action == 1, 10.0, -10.0)
        sine, cosine = np.sin(angle), np.cos(angle)
        push = (force + 0.05 * spin**2 * sine) / 1.1
        turn = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
        pull = push - 0.05 * turn * cosine / 1.1
        after = np.stack([x + 0.02 * v, v + 0.02 * pull, angle + 0.02 * spin, spin + 0.02 * turn])
        after = after.T.astype(np.float32)
        fell = (np.abs(after[:, 0]) > 2.4) | (np.abs(after[:, 2]) > 0.2095)
        self.age += 1
        over = fell | (self.age >= self.limit)
        self.state = np.where(over[:, None], self.fresh(self.count), after)
        self.ended = self.age[over]
        self.age[over] = 0
        return after, fell


class Memory:
    """The last transitions."""

    def __init__(self, size):
        self.size, self.n = size, 0
        self.state, self.after = np.zeros((2, size, 4), np.float32)
        self.action, self.fell = np.zeros(size, int), np.zeros(size, bool)

    def add(self, state, action, after, fell):
        at = np.arange(self.n, self.n + len(state)) % self.size
        self.state[at], self.action[at], self.after[at], self.fell[at] = state, action, after, fell
        self.n += len(state)

    def sample(self, rng, count):
        at = rng.integers(0, min(self.n, self.size), count)
        return self.state[at], self.action[at], self.after[at], self.fell[at]


def main():
    rng = np.random.default_rng(0)
    q = bp.Sequential([L.Dense(64, "relu"), L.Dense(64, "relu"), L.Dense(2)], seed=0)
    q.build((4,))
    q.compile(bp.optimizers.Adam(1e-3))  # without a loss: it is made below
    target = q.clone()
    carts, memory, rows = Carts(16, rng), Memory(50_000), np.arange(64)
    for step in range(6000):
        explore = rng.uniform(size=carts.count) < max(0.05, 1 - step / 500)
        action = np.where(explore, rng.integers(0, 2, carts.count), q(carts.state).argmax(axis=1))
        state = carts.state
        after, fell = carts.step(action)
        memory.add(state, action, after, fell)
        if step < 50:
            continue
        for _ in range(2):
            state, action, after, fell = memory.sample(rng, 64)
            best = q(after).argmax(axis=1)
            goal = 1.0 + 0.98 * np.where(fell, 0.0, target(after)[rows, best])

            def huber(y, action=action, goal=goal):
                """dL/dy of the mean Huber loss of the chosen actions' values."""
                dy = np.zeros_like(y)
                dy[rows, action] = np.clip(y[rows, action] - goal, -1, 1) / len(y)
                return dy

            q.train_on_batch(state, dy=huber)
            target.polyak_update(q, 0.01)
    judge, lengths = Carts(32, np.random.default_rng(1)), []
    for _ in range(judge.limit):
        judge.step(q(judge.state).argmax(axis=1))
        lengths.extend(judge.ended)
    print(f"steps until the pole falls, of at most {judge.limit}: {np.mean(lengths):.0f}")
    assert np.mean(lengths) > 150, "a pole that nobody balances falls after 20 steps"


if __name__ == "__main__":
    main()
