"""Optimal control by the adjoint: a linear-quadratic regulator, against its exact solution.

A cart is to be brought to rest: x' = A x + B u, and a gain K with u = -K x is learned so that the
sum of x^T Q x + u^T R u over the time is least. The closed loop is a recurrent network that is
linear, and backpropagation through time is the adjoint of control theory (A. Bryson, Y. Ho, 1969).
The exact gain is that of Riccati's equation.

Usage: python linear_regulator.py
"""

import numpy as np

import bpcore as bp

steps = 40
A, B = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]])
Q, R = np.diag([1.0, 0.1]), np.array([[0.1]])

P = Q.copy()
for _ in range(10_000):
    gain = np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    P = Q + A.T @ P @ (A - B @ gain)


class Loop(bp.layers.Layer):
    """x <- A x + B u with u = -K x; the outputs are the terms of the cost before squaring."""

    state_size = 2

    def build(self, input_shape):
        self.gain = self.add_weight("gain", (1, 2), [[0.5, 0.5]])

    def forward(self, x, states):
        self.before = states[0] + x  # the input sets the first state
        self.u = -self.before @ self.gain.value.T
        y = np.hstack([self.before * np.sqrt(np.diag(Q)), self.u * np.sqrt(R[0])])
        return y, [self.before @ A.T + self.u @ B.T]

    def backward(self, dy, dstates):
        du = dy[:, 2:] * np.sqrt(R[0]) + dstates[0] @ B
        self.gain.grad -= du.T @ self.before
        dx = dy[:, :2] * np.sqrt(np.diag(Q)) + dstates[0] @ A - du @ self.gain.value
        return dx, [dx]


rng = np.random.default_rng(0)
x = np.zeros((64, steps, 2))
x[:, 0] = rng.normal(size=(64, 2))  # where the carts start
layer = bp.layers.RNN(Loop(), return_sequences=True)
model = bp.Sequential([bp.Input((steps, 2)), layer], dtype="float64", seed=0)
model.compile(bp.optimizers.Adam(bp.schedules.Cosine(0.2, 200)), "half_squared_error")
model.fit(x, np.zeros((64, steps, 3)), batch_size=None, epochs=200, verbose=0)
found = model.weights[0].value
print(f"exact {gain.round(3).tolist()}, learned {found.round(3).tolist()}, "
      f"apart by {np.abs(found / gain - 1).max():.2%}")  # fmt: skip
