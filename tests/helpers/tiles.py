"""Products in bfloat16 on tiles (AMX), also on a CPU that has none.

`tiles.c` does what the instructions do. What it needs of the CPU all the same is AVX512_BF16, by
which operands are converted.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import pathlib
import tempfile

import numpy as np
import pytest

from bpcore import _core

from .compiled import COMPILER, compile_c

SELECTED = os.environ.get("BPCORE_BFLOAT16", "")  # what this process began with
SOURCE = pathlib.Path(__file__).with_suffix(".c")
KINDS = ("configurations", "releases", "zeros", "loads", "stores", "products")
# A C compiler that a sanitizer's build does not concern: what is compiled here is no part of it.
OPTIONS = ("-std=gnu11", "-O2", "-march=native", "-ffp-contract=off", "-shared", "-fPIC")


@functools.cache
def emulator():
    """The compiled file."""
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "tiles.so"
        library = ctypes.CDLL(str(compile_c(SOURCE, target, *OPTIONS)))
    library.count.restype = ctypes.c_long
    return library


def has(name):
    """Whether the CPU itself has the instruction."""
    try:
        _core.select_bfloat16(name)
    except RuntimeError:
        return False
    _core.select_bfloat16(SELECTED)
    return True


HARDWARE = has("amx_bf16")
POSSIBLE = HARDWARE or (has("avx512_bf16") and COMPILER is not None)
needs_tiles = pytest.mark.skipif(
    not POSSIBLE, reason="tiles are emulated where there are AVX512_BF16 and a C compiler"
)


@contextlib.contextmanager
def in_use():
    """Products in bfloat16 are on tiles, the CPU's own or emulated ones."""
    if not HARDWARE:
        emulator().install()
    try:
        _core.select_bfloat16("amx_bf16", "" if HARDWARE else "emulated")
        yield
    finally:
        _core.select_bfloat16(SELECTED)
        if not HARDWARE:
            emulator().uninstall()


def counts():
    """How often each kind of instruction was emulated."""
    return {kind: emulator().count(i) for i, kind in enumerate(KINDS)}


def rounded(a):
    """To bfloat16, nearest even, as float64; subnormals are zero."""
    a = np.asarray(a, np.float32)
    bits = a.view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    result = bits.astype(np.uint32).view(np.float32).astype(np.float64)
    return np.where(np.abs(a) < 2.0**-126, 0.0, result)


def chain(a, b, start):
    """The bits of a (M, K) b (K, N), K terms of one chain, as docs/numerics.md says: of each 32
    terms the even ones and the odd ones are summed from zero, in order, each product and addition
    in one rounding to float32; the two are added, then to the sum so far, which begins at `start`.
    """
    a, b = rounded(a), rounded(b)
    rest = -a.shape[1] % 32
    a = np.pad(a, ((0, 0), (0, rest)))
    b = np.pad(b, ((0, rest), (0, 0)))
    c = np.broadcast_to(np.asarray(start, np.float32), (len(a), b.shape[1])).copy()
    for k in range(0, a.shape[1], 32):
        sums = np.zeros((2, *c.shape), np.float32)
        for i in range(k, k + 32):
            # A product has 16 bits: with a sum of 24 it is exact in float64 wherever that matters.
            exact = a[:, i, None] * b[None, i] + sums[i % 2].astype(np.float64)
            sums[i % 2] = exact.astype(np.float32)
        c += sums[0] + sums[1]
    return c
