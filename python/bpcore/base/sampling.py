"""Draws of random numbers, and matrices made of them, for the initializers.

Everything is a pure function of (seed, stream) with the same bits on every CPU: the numbers come
from the core's counter-based generator, matrix products from the core's kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import _core
from .memory import Array, Shape

_BLOCK = 1 << 15  # numbers at a time: all of a weight's, as float64, would be twice its size
_PANEL = 32  # rows orthogonalised at a time; wide enough that matrix products do the work


def fans(shape: Shape) -> tuple[float, float]:
    """(fan_in, fan_out): of a kernel (..., in, out) the field's size times in, and times out."""
    if len(shape) < 2:
        n = float(math.prod(shape))
        return n, n
    field = float(math.prod(shape[:-2]))
    return field * shape[-2], field * shape[-1]


def uniform(n: int, seed: int, stream: int) -> Iterator[Array]:
    """n numbers in [0, 1), in blocks."""
    return _blocks(_core.uniform, n, seed, stream)


def normal(n: int, seed: int, stream: int) -> Iterator[Array]:
    """n unit normals, in blocks."""
    return _blocks(_core.normal, n, seed, stream)


def truncated_normal(n: int, seed: int, stream: int) -> Iterator[Array]:
    """n unit normals within +-2, by rejection: the first that fit, in the order of the stream."""
    first = 0
    while n > 0:
        drawn = min(_BLOCK, n + n // 16 + 64)  # 4.55 % are rejected
        z = np.asarray(_core.normal(seed, stream, drawn, first))
        kept = z[np.abs(z) <= 2.0][:n]
        first += drawn
        n -= len(kept)
        yield kept


def _blocks(draw: Callable[..., Any], n: int, seed: int, stream: int) -> Iterator[Array]:
    for first in range(0, n, _BLOCK):
        yield np.asarray(draw(seed, stream, min(_BLOCK, n - first), first))


def orthonormalise_rows(q: Array) -> None:
    """In place, q (m, n), m <= n, by block Gram-Schmidt, every projection twice.

    Twice is enough (L. Giraud et al., 2005): |Q Q^T - I| stays below 1e-12. LAPACK's QR would do,
    but its bits depend on the CPU and the threads; the core's matrix product promises the same.
    """
    m, _ = q.shape
    for start in range(0, m, _PANEL):
        stop = min(start + _PANEL, m)
        for _ in range(2 if start else 0):
            against = _core.matmul(q[start:stop], q[:start], False, True)
            q[start:stop] -= _core.matmul(against, q[:start], False, False)
        for i in range(start, stop):
            row, done = q[i : i + 1], q[start:i]
            for _ in range(2 if i > start else 0):
                row -= _core.matmul(_core.matmul(row, done, False, True), done, False, False)
            row /= math.sqrt(float(np.asarray(_core.matmul(row, row, False, True))[0, 0]))
