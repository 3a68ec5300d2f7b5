"""A complete multilayer perceptron in NumPy: the benchmarks' baseline, and a check of whole runs.

Softmax cross-entropy on integer labels; SGD (momentum) or Adam; fit() shuffles, gathers, steps.
Written as a good NumPy programmer would: whole batches, in-place updates, no needless copies.
"""

from __future__ import annotations

import itertools

import numpy as np


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


# name -> (f(z), f'(z) from a = f(z))
HIDDEN = {
    "sigmoid": (_sigmoid, lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a * a),
    "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(a.dtype)),
}


class SGD:
    def __init__(self, learning_rate=0.01, momentum=0.0):
        self.learning_rate, self.momentum, self.velocity = learning_rate, momentum, None

    def update(self, parameters, gradients):
        if self.momentum:
            self.velocity = self.velocity or [np.zeros_like(p) for p in parameters]
            for v, g in zip(self.velocity, gradients, strict=True):
                v *= self.momentum
                v += g
            gradients = self.velocity
        for p, g in zip(parameters, gradients, strict=True):
            p -= self.learning_rate * g


class Adam:
    """Kingma and Ba 2015, Algorithm 1."""

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
        self.learning_rate, self.beta_1, self.beta_2 = learning_rate, beta_1, beta_2
        self.epsilon, self.step, self.moments = epsilon, 0, None

    def update(self, parameters, gradients):
        if self.moments is None:
            self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
        self.step += 1
        rate = self.learning_rate / (1 - self.beta_1**self.step)
        correction = (1 - self.beta_2**self.step) ** 0.5
        for p, g, (m, v) in zip(parameters, gradients, self.moments, strict=True):
            m *= self.beta_1
            m += (1 - self.beta_1) * g
            v *= self.beta_2
            v += (1 - self.beta_2) * g * g
            p -= rate * m / (np.sqrt(v) / correction + self.epsilon)


class MLP:
    """kernels[l] is (inputs, units), biases[l] is (units,); they are trained in place."""

    def __init__(self, kernels, biases, activation, optimizer):
        self.kernels, self.biases = list(kernels), list(biases)
        self.f, self.df = HIDDEN[activation]
        self.optimizer = optimizer

    @classmethod
    def random(cls, sizes, activation, optimizer, seed=0, dtype=np.float32):
        rng = np.random.default_rng(seed)
        kernels = [
            rng.uniform(-1, 1, (i, o)).astype(dtype) * dtype((6 / (i + o)) ** 0.5)
            for i, o in itertools.pairwise(sizes)
        ]
        biases = [np.zeros(o, dtype) for o in sizes[1:]]
        return cls(kernels, biases, activation, optimizer)

    def forward(self, x):
        """The list of all layers' outputs, the input first and the logits last."""
        a = [x]
        last = len(self.kernels) - 1
        for layer, (w, b) in enumerate(zip(self.kernels, self.biases, strict=True)):
            z = a[-1] @ w
            z += b
            a.append(z if layer == last else self.f(z))
        return a

    def gradients(self, x, labels):
        """Loss of the batch and (dkernels, dbiases): the four equations of backpropagation."""
        a = self.forward(x)
        z = a[-1] - a[-1].max(axis=1, keepdims=True)
        p = np.exp(z)
        total = p.sum(axis=1, keepdims=True)
        rows = np.arange(len(x))
        loss = (np.log(total[:, 0]) - z[rows, labels]).mean()
        p /= total
        p[rows, labels] -= 1
        delta = p / z.dtype.type(len(x))
        dkernels, dbiases = [None] * len(self.kernels), [None] * len(self.kernels)
        for layer in range(len(self.kernels) - 1, -1, -1):
            dkernels[layer] = a[layer].T @ delta
            dbiases[layer] = delta.sum(axis=0)
            if layer:
                delta = (delta @ self.kernels[layer].T) * self.df(a[layer])
        return float(loss), dkernels, dbiases

    def train_on_batch(self, x, labels):
        loss, dkernels, dbiases = self.gradients(x, labels)
        self.optimizer.update(self.kernels + self.biases, dkernels + dbiases)
        return loss

    def fit(self, x, labels, batch_size=32, epochs=1, seed=0, shuffle=True):
        """Mean loss of each epoch."""
        rng, history = np.random.default_rng(seed), []
        for _ in range(epochs):
            order = rng.permutation(len(x)) if shuffle else np.arange(len(x))
            total = 0.0
            for start in range(0, len(x), batch_size):
                rows = order[start : start + batch_size]
                total += self.train_on_batch(x[rows], labels[rows]) * len(rows)
            history.append(total / len(x))
        return history

    def predict(self, x):
        """Class probabilities."""
        z = self.forward(x)[-1]
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)
