"""Data sets: handwritten digits inside the wheel, MNIST from a folder, a cache or the network."""

from .digits import load_digits
from .mnist import load_mnist

__all__ = ["load_digits", "load_mnist"]
