"""The seven networks of the training table, their data and starting weights."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Network:
    sizes: tuple[int, ...]
    activation: str
    batch: int
    optimizer: str  # "SGD" or "Adam"
    steps: int  # in one timed epoch: enough that a call's fixed cost does not show
    learning_rate: float

    @property
    def name(self) -> str:
        layers = "-".join(map(str, self.sizes))
        return f"{layers} {self.activation} b{self.batch} {self.optimizer}"


NETWORKS = (
    Network((784, 30, 10), "sigmoid", 10, "SGD", 1500, 0.1),
    Network((784, 128, 10), "relu", 32, "Adam", 500, 1e-3),
    Network((784, 128, 64, 10), "relu", 128, "Adam", 150, 1e-3),
    Network((784, 512, 512, 10), "relu", 128, "Adam", 40, 1e-3),
    Network((13, 32, 16, 2), "relu", 32, "Adam", 2000, 1e-3),
    Network((64, 64, 64, 4), "tanh", 64, "Adam", 1000, 1e-3),
    Network((1024, 2048, 2048, 100), "relu", 256, "SGD", 4, 0.01),
)


def data_and_weights(network: Network, steps: int):
    """(x, labels, kernels, biases), float32 and int32, the same on every machine."""
    rng = np.random.default_rng(7)
    rows = network.batch * steps
    x = rng.random((rows, network.sizes[0]), dtype=np.float32)
    labels = rng.integers(0, network.sizes[-1], rows).astype(np.int32)
    kernels, biases = [], []
    for fan_in, fan_out in zip(network.sizes[:-1], network.sizes[1:], strict=True):
        limit = np.float32((6 / (fan_in + fan_out)) ** 0.5)
        kernels.append((rng.random((fan_in, fan_out), dtype=np.float32) * 2 - 1) * limit)
        biases.append(np.zeros(fan_out, np.float32))
    return x, labels, kernels, biases


def forward_flops(network: Network) -> int:
    """Multiplications and additions of one forward pass of one batch."""
    pairs = zip(network.sizes[:-1], network.sizes[1:], strict=True)
    return 2 * network.batch * sum(i * o for i, o in pairs)
