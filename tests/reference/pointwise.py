"""Activations, complex-safe: branches look at the real part only."""

from __future__ import annotations

import math

import numpy as np

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946

_erf_real = np.vectorize(math.erf, otypes=[np.float64])
_erfc_real = np.vectorize(math.erfc, otypes=[np.float64])


def positive(z):
    return np.real(z) > 0


def absolute(z):
    return np.where(np.real(z) < 0, -z, z)


def maximum(a, b):
    """The larger by real part; the first of two equals."""
    return np.where(np.real(a) >= np.real(b), a, b)


def minimum(a, b):
    """The smaller by real part; the first of two equals."""
    return np.where(np.real(a) <= np.real(b), a, b)


def normal_cdf(z):
    """Phi(x + i h) = erfc(-x / sqrt 2) / 2 + i h exp(-x^2 / 2) / sqrt(2 pi) + O(h^2)."""
    x = np.real(z)
    value = 0.5 * _erfc_real(-x / math.sqrt(2))
    if not np.iscomplexobj(z):
        return value
    return value + 1j * np.imag(z) * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def sigmoid(z):
    small = np.exp(-absolute(z))
    return np.where(np.real(z) >= 0, 1 / (1 + small), small / (1 + small))


def softplus(z):
    return np.where(positive(z), z, 0) + np.log1p(np.exp(-absolute(z)))


def hard_sigmoid(z, alpha=0.0):
    inside = (z + 3) / 6
    return np.where(np.real(z) <= -3, 0, np.where(np.real(z) >= 3, 1, inside))


def relu(z, alpha=0.0):
    return np.where(positive(z), z, 0)


def relu6(z, alpha=0.0):
    return np.where(np.real(z) <= 0, 0, np.where(np.real(z) >= 6, 6, z))


def leaky_relu(z, alpha=0.2):
    return np.where(positive(z), z, alpha * z)


def _negative(z):
    """z where it is below zero, else 0: keeps exp() from overflowing on the other branch."""
    return np.where(positive(z), 0, z)


def elu(z, alpha=1.0):
    return np.where(positive(z), z, alpha * np.expm1(_negative(z)))


def selu(z, alpha=0.0):
    return SELU_SCALE * elu(z, SELU_ALPHA)


def celu(z, alpha=1.0):
    return np.where(positive(z), z, alpha * np.expm1(_negative(z) / alpha))


def gelu(z, alpha=0.0):
    return z * normal_cdf(z)


def gelu_tanh(z, alpha=0.0):
    """z (1 + tanh u) / 2, where (1 + tanh u) / 2 = sigmoid(2 u) loses no digits in the tail."""
    return z * sigmoid(2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))


def softmax(z):
    shifted = np.exp(z - np.real(z).max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def log_softmax(z):
    shifted = z - np.real(z).max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


# name -> f(z, alpha). One row per name of the enum Activation.
ACTIVATIONS = {
    "linear": lambda z, alpha=0.0: z,
    "sigmoid": lambda z, alpha=0.0: sigmoid(z),
    "hard_sigmoid": hard_sigmoid,
    "tanh": lambda z, alpha=0.0: np.tanh(z),
    "relu": relu,
    "leaky_relu": leaky_relu,
    "relu6": relu6,
    "elu": elu,
    "selu": selu,
    "celu": celu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": lambda z, alpha=0.0: z * sigmoid(z),
    "mish": lambda z, alpha=0.0: z * np.tanh(softplus(z)),
    "softplus": lambda z, alpha=0.0: softplus(z),
    "softsign": lambda z, alpha=0.0: z / (1 + absolute(z)),
    "exponential": lambda z, alpha=0.0: np.exp(z),
}

# What `alpha` is when a user gives only the name (Keras 3's functions).
DEFAULT_ALPHA = {"leaky_relu": 0.2, "elu": 1.0, "celu": 1.0}
