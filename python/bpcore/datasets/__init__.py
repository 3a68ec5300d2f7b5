"""Data sets: handwritten digits inside the wheel, MNIST from a folder, a cache or the network; a
series cut into windows."""

from .digits import load_digits
from .mnist import load_mnist
from .series import windows

__all__ = ["load_digits", "load_mnist", "windows"]
