"""A physics-informed network: it solves a boundary value problem from the equation alone.

u'' + u = f on [0, 1] with u(0) = 0, u(1) = sin(5), where f is chosen so that u = sin(5 x). The
network never sees u: its loss is the residual at points between, and the two boundary values (M.
Raissi et al., 2019). u'' comes from the network's values at x - h, x, x + h (P. Chiu et al., 2022),
so that dL/dy of these three follows by hand, and one pass back gives all gradients.
"""

import numpy as np

import bpcore as bp

L = bp.layers
H = 0.02


def source(x):
    return -24 * np.sin(5 * x)


def loss_gradient(y, x, ends):
    """dL/dy of mean residual^2 / 600 + the squared errors at both ends; and L."""
    n = len(x)
    left, middle, right, at_ends = np.split(y[:, 0], [n, 2 * n, 3 * n])
    residual = (left - 2 * middle + right) / H**2 + middle - source(x)
    wrong = at_ends - ends
    by_residual = 2 * residual / n / 600
    dy = np.concatenate(
        [by_residual / H**2, by_residual * (1 - 2 / H**2), by_residual / H**2, 2 * wrong]
    )
    return dy[:, None], (residual**2).mean() / 600 + (wrong**2).sum()


def main():
    model = bp.Sequential(
        [L.Dense(32, "tanh"), L.Dense(32, "tanh"), L.Dense(1)], seed=0, dtype="float64"
    )
    steps = 6000
    rate = bp.schedules.Cosine(5e-3, steps)
    model.compile(bp.optimizers.Adam(rate))
    x = np.linspace(0, 1, 64)
    ends = np.sin([0.0, 5.0])
    points = np.concatenate([x - H, x, x + H, [0.0, 1.0]])[:, None]
    for _ in range(steps):
        y = model.forward(points)
        dy, loss = loss_gradient(y, x, ends)
        model.zero_gradients()
        model.backward(dy, inputs=False)
        model.apply_gradients()
    error = np.abs(model.predict(x[:, None])[:, 0] - np.sin(5 * x)).max()
    print(f"loss {loss:.1e}, largest error of u {error:.4f}")
    assert error < 0.02


if __name__ == "__main__":
    main()
