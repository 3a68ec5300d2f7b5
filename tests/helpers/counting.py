"""Counts calls of the C allocator, in a process that `build`'s library is loaded into first."""

from __future__ import annotations

import ctypes
import functools
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np

# The real functions are glibc's.
COUNTER = r"""
#include <stddef.h>
#include <errno.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void*, size_t);
extern void *__libc_memalign(size_t, size_t);
static volatile long calls;
static void count(void) { __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED); }
long bp_test_calls(void) { return calls; }
void *malloc(size_t n) { count(); return __libc_malloc(n); }
void *calloc(size_t a, size_t b) { count(); return __libc_calloc(a, b); }
void *realloc(void *p, size_t n) { count(); return __libc_realloc(p, n); }
void *memalign(size_t a, size_t n) { count(); return __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { count(); return __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n) {
  count(); *p = __libc_memalign(a, n); return *p ? 0 : ENOMEM;
}
"""


def build(folder: pathlib.Path) -> pathlib.Path | None:
    """The library, for LD_PRELOAD; None where there is no C compiler or no glibc."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if (
        not compiler
        or not sys.platform.startswith("linux")
        or os.confstr("CS_GNU_LIBC_VERSION") is None
    ):
        return None
    (folder / "counter.c").write_text(COUNTER)
    command = [compiler, "-shared", "-fPIC", "-O1", "-fno-builtin", "counter.c", "-o", "counter.so"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "counter.so"


@functools.cache
def _count():
    function = ctypes.CDLL(None).bp_test_calls
    function.restype = ctypes.c_long
    return function


def calls() -> int:
    """Calls so far, in this process."""
    return int(_count()())


def allocations(trainer, batches, rate=1e-3):
    """Calls of the allocator in a number of batches, after five others, of a trainer with data."""
    rate = np.array([rate])
    trainer.start_epoch(32, shuffle=True, seed=1, epoch=0)
    trainer.run(rate, max_batches=5, seconds=1e9)
    before = calls()
    done = trainer.run(rate, max_batches=batches, seconds=1e9)
    assert done == batches, (done, batches)
    return calls() - before
