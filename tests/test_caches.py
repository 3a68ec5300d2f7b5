"""Products for other caches than this CPU's: other blocks, the same bits."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bpcore import _core

from .helpers import bits, support

FORMS = ((False, False), (False, True), (True, False))
KB = 1 << 10
OTHERS = ((32 * KB, 256 * KB), (64 * KB, 4096 * KB), (48 * KB, 2048 * KB))
RUN = """
import json
from tests import test_caches
print(json.dumps(test_caches.hashes_of_all_caches()))
"""


def operands(form, m, k, n, dtype):
    rng = np.random.default_rng(m + k + n)
    a = rng.standard_normal((k, m) if form[0] else (m, k)).astype(dtype)
    return a, rng.standard_normal((n, k) if form[1] else (k, n)).astype(dtype)


def products():
    """On every path, with sizes around the limits that follow the caches."""
    sizes = [(15, 1037, 1003), (100, 2048, 811), (40, 130, 70), (61, 300, 210), (1024, 103, 130),
             (250, 700, 500), (7, 900, 600), (190, 260, 512)]  # fmt: skip
    for m, k, n in sizes:
        for form in FORMS:
            for dtype, chunk in ((np.float32, 0), (np.float32, 64), (np.float64, 0)):
                if dtype is np.float32 or m < 100:
                    yield _core.matmul(*operands(form, m, k, n, dtype), *form, chunk=chunk)


def hashes_of_all_caches():
    found = []
    for caches in ((0, 0), *OTHERS):
        _core.use_caches(*caches)
        found.append(bits.digest(list(products())))
    return found


@pytest.mark.parametrize("tier", support.fma_tiers())
def test_products_have_the_same_bits_for_all_caches(tier):
    """That there are other blocks then is seen by tests/cpp/scratch.cpp."""
    hashes = json.loads(support.run_python(RUN, BPCORE_ISA=tier).stdout)
    assert len(hashes) == 1 + len(OTHERS) and len(set(hashes)) == 1


@pytest.fixture
def caches():
    yield _core.use_caches
    _core.use_caches()


def test_the_caches_are_found_and_believed_within_limits(caches):
    own = _core.config()
    assert 32 * KB <= own["l1_cache"] <= 64 * KB and 256 * KB <= own["l2_cache"] <= 4096 * KB
    for wanted, expected in (
        (OTHERS[0], OTHERS[0]),
        ((1, 1), OTHERS[0]),
        ((1 << 40, 1 << 40), OTHERS[1]),
    ):
        caches(*wanted)
        assert (_core.config()["l1_cache"], _core.config()["l2_cache"]) == expected
    caches()
    assert _core.config() == own
