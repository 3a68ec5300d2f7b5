"""Matrix products: exact on integers over thousands of shapes, within the bound on reals."""

from __future__ import annotations

import os

import numpy as np
import pytest

from bpcore import _core

from .helpers import support

ROUNDED = [{"compute": "bfloat16"}] * bool(_core.config()["bfloat16"])

FORMS = ((False, False), (False, True), (True, False))
SHAPES = int(os.environ.get("BPCORE_TEST_SHAPES", "20000"))
EDGES = np.array([0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 127,
                  128, 129])  # fmt: skip
# Two chains of products up to 64 * 128 stay below 2^24, where float32 is exact, up to this length.
MAX_K = 2**24 // (64 * 128)
POOL = 1 << 20


def shapes(count, rng):
    """(m, k, n): edges of the tiles, and sizes up to 512 spread over the octaves."""
    for _ in range(count):
        sizes = np.where(
            rng.random(3) < 0.7, rng.choice(EDGES, 3), (2 ** rng.uniform(0, 9, 3)).astype(int)
        )
        m, k, n = (int(s) for s in sizes)
        if m * k * n > 1 << 20:  # time is budgeted: the large ones are rarer than they come
            m = max(1, m // 16)
        yield m, k, n


def take(pool, rng, rows, columns):
    start = int(rng.integers(0, POOL - rows * columns))
    return np.ascontiguousarray(pool[start : start + rows * columns].reshape(rows, columns))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_integers(dtype):
    rng = np.random.default_rng(11)
    a_pool = rng.integers(-64, 65, POOL).astype(dtype)
    b_pool = rng.integers(-128, 129, POOL).astype(dtype)
    count = SHAPES if dtype is np.float32 else SHAPES // 10
    zeros = outputs = 0
    for m, k, n in shapes(count, rng):
        for transpose_a, transpose_b in FORMS:
            a = take(a_pool, rng, *((k, m) if transpose_a else (m, k)))
            b = take(b_pool, rng, *((n, k) if transpose_b else (k, n)))
            c = _core.matmul(a, b, transpose_a, transpose_b)
            op_a = (a.T if transpose_a else a).astype(np.float64)
            op_b = (b.T if transpose_b else b).astype(np.float64)
            expected = op_a @ op_b  # exact: all partial sums are integers below 2^53
            assert c.dtype == dtype
            assert np.array_equal(c, expected), f"{m}x{k}x{n} {transpose_a=} {transpose_b=}"
            if k:
                outputs += c.size
                zeros += c.size - np.count_nonzero(c)
    assert zeros <= 0.3 * outputs, "the test would not see a kernel that writes nothing"


def integers(form, m, k, n, dtype):
    """(a, b, the exact product)"""
    rng = np.random.default_rng(12)
    a = rng.integers(-32, 33, (k, m) if form[0] else (m, k)).astype(dtype)
    b = rng.integers(-32, 33, (n, k) if form[1] else (k, n)).astype(dtype)
    return a, b, (a.T if form[0] else a).astype(float) @ (b.T if form[1] else b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("m, k, n", [
    (1024, 400, 200), (100, 2048, 150), (1024, 1030, 300), (1024, 103, 130),
    (250, 2048, 300), (1024, 400, 700), (600, 1024, 300),
])  # fmt: skip
def test_exact_where_rows_share_cache_lines(form, m, k, n, dtype):
    """Rows of A a multiple of 4096 bytes apart are packed too."""
    a, b, expected = integers(form, m, k, n, dtype)
    for chunk in (0, 64):
        assert np.array_equal(_core.matmul(a, b, *form, chunk=chunk), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("m, k, n", [(15, 1037, 1003), (100, 2048, 811), (230, 400, 2100)])
def test_exact_where_few_rows_meet_a_far_matrix(form, m, k, n, dtype):
    """With a B of more than 3 MB all rows of A pass in short blocks of k, panel by panel."""
    a, b, expected = integers(form, m, k, n, dtype)
    bias = np.arange(n, dtype=dtype) - n // 2
    assert np.array_equal(_core.matmul(a, b, *form, bias=bias), expected + bias)
    for chunk in (64, 640, 4096):
        assert np.array_equal(_core.matmul(a, b, *form, chunk=chunk), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", [{}, *ROUNDED])
def test_no_steps_give_the_bias_everywhere(form, options):
    a = np.ones((0, 3) if form[0] else (3, 0), np.float32)
    n = 140_000  # more than a group of columns
    bias, out = np.arange(n, dtype=np.float32), np.full((3, n), np.nan, np.float32)
    _core.matmul(a, np.ones((n, 0) if form[1] else (0, n), np.float32), *form, bias=bias, out=out,
                 **options)  # fmt: skip
    assert np.array_equal(out, np.tile(bias, (3, 1)))


@pytest.mark.parametrize("form", FORMS)
def test_long_exact_chain(form):
    rng = np.random.default_rng(4)
    for k in (MAX_K - 1, MAX_K):
        a, b = rng.integers(-64, 65, (5, k)), rng.integers(-128, 129, (k, 37))
        left = np.ascontiguousarray(a.T if form[0] else a, np.float32)
        right = np.ascontiguousarray(b.T if form[1] else b, np.float32)
        assert np.array_equal(_core.matmul(left, right, *form), a @ b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("k", [1, 7, 64, 256, 784, 2048])
def test_real_numbers_within_bound(dtype, form, k):
    """|C - exact| <= min(K, 8) u |A||B| elementwise, for normally distributed data."""
    rng = np.random.default_rng(k)
    a, b = rng.normal(size=(37, k)).astype(dtype), rng.normal(size=(k, 53)).astype(dtype)
    left = np.ascontiguousarray(a.T if form[0] else a)
    right = np.ascontiguousarray(b.T if form[1] else b)
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    bound = min(k, 8) * np.finfo(dtype).eps / 2 * (np.abs(a).astype(float) @ np.abs(b))
    error = np.abs(_core.matmul(left, right, *form) - exact)
    assert (error <= bound).all(), f"{(error / bound).max() * min(k, 8):.2f} u"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bias_starts_the_chain(dtype):
    rng = np.random.default_rng(2)
    for m, k, n in shapes(200, rng):
        a, b = rng.integers(-9, 9, (m, k)).astype(dtype), rng.integers(-9, 9, (k, n)).astype(dtype)
        bias = rng.integers(-9, 9, n).astype(dtype)
        assert np.array_equal(_core.matmul(a, b, False, False, bias=bias), a @ b + bias)


def test_rows_do_not_depend_on_their_neighbours():
    rng = np.random.default_rng(3)
    for m, k, n in [
        (1, 5, 3), (17, 64, 33), (40, 300, 10), (130, 70, 65), (9, 784, 128), (120, 1100, 1000),
    ]:  # fmt: skip
        a, b = rng.normal(size=(m, k)).astype("f4"), rng.normal(size=(k, n)).astype("f4")
        whole = _core.matmul(a, b, False, False)
        for i in range(0, m, 7):
            row = np.ascontiguousarray(a[i : i + 1])
            assert support.same_bits(_core.matmul(row, b, False, False), whole[i : i + 1])


def large_shapes(rng):
    """Past the sizes from which B's columns, or whole tiles of a gradient's rows, are divided."""
    for m, k, n in [(5, 1024, 256), (30, 600, 513), (1000, 300, 1000), (1, 700, 640)]:
        yield m, k, n
        yield m + int(rng.integers(40)), k + int(rng.integers(40)), n + int(rng.integers(40))
    yield 1800, 40, 33


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_same_bits_for_every_number_of_threads(dtype, form):
    rng = np.random.default_rng(6)
    transpose_a, transpose_b = form
    rounded = ROUNDED if dtype == np.float32 else []
    for m, k, n in [*shapes(60, rng), *large_shapes(rng)]:
        a = rng.normal(size=(k, m) if transpose_a else (m, k)).astype(dtype)
        b = rng.normal(size=(n, k) if transpose_b else (k, n)).astype(dtype)
        bias = rng.normal(size=n).astype(dtype)
        for options in ({}, {"bias": bias}, {"chunk": 16}, *rounded):
            alone = _core.matmul(a, b, *form, **options)
            for threads in (2, 3, 8):
                out = np.full((m, n), np.nan, dtype)
                assert _core.matmul(a, b, *form, **options, threads=threads, out=out) is out
                assert support.same_bits(out, alone), f"{m}x{k}x{n}, {threads} threads, {options}"


def test_wrong_out_is_refused():
    a = np.ones((3, 4), "f4")
    small, strided = np.ones((3, 2), "f4"), np.ones((6, 3), "f4")[::2]
    for out in (small, strided, np.ones((3, 3)), [[0.0] * 3] * 3):
        with pytest.raises(ValueError, match="out"):
            _core.matmul(a, a, False, True, out=out)
    with pytest.raises(ValueError, match="thread"):
        _core.matmul(a, a, False, True, threads=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_peak_is_a_rate(dtype):
    """Flops a second: more than one a nanosecond on anything, and less than a wrong count gives."""
    for seconds in (0.01, 0.1, 1.0):  # longer where other processes have the cores
        peak = _core.fma_peak(dtype, threads=2, seconds=seconds)
        assert 0 < peak < 2e12
        if peak > 1e9:
            return
    raise AssertionError(f"{peak:.3g} flops a second")


def test_nan_and_inf_propagate():
    a, b = np.zeros((9, 20), "f4"), np.ones((20, 35), "f4")
    b[3, 4], b[5, 6] = np.nan, np.inf  # 0 * inf is NaN: zeros may not be skipped
    c = _core.matmul(a, b, False, False)
    assert np.isnan(c[:, [4, 6]]).all() and (np.delete(c, [4, 6], axis=1) == 0).all()


@pytest.mark.parametrize("tier", support.tiers())
def test_other_tiers(tier):
    """The same tests again, in a process that runs another instruction set."""
    if "BPCORE_TEST_SHAPES" in os.environ:
        pytest.skip("this is that process")
    code = f"import pytest; raise SystemExit(pytest.main(['-q', '-x', {__file__!r}]))"
    support.run_python(code, BPCORE_ISA=tier, BPCORE_TEST_SHAPES=1500, timeout=300)


def test_fma_tiers_give_the_same_bits():
    code = """
import hashlib, numpy as np
from bpcore import _core
rng, digest = np.random.default_rng(8), hashlib.sha256()
for _ in range(300):
    m, k, n = rng.integers(1, 90, 3)
    for dtype in ("f4", "f8"):
        a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
        digest.update(_core.matmul(a, b, False, False).tobytes())
        digest.update(_core.matmul(np.ascontiguousarray(a.T), b, True, False).tobytes())
        digest.update(_core.matmul(a, np.ascontiguousarray(b.T), False, True).tobytes())
print(digest.hexdigest())
"""
    found = {t: support.run_python(code, BPCORE_ISA=t).stdout for t in support.fma_tiers()}
    assert len(set(found.values())) == 1, found


GOES_ON = """
import numpy as np
from bpcore import _core
rng = np.random.default_rng(3)
shapes = [(1, 5, 3), (5, 784, 30), (16, 392, 128), (3, 60, 17), (40, 200, 33), (300, 900, 300),
          (20, 2401, 1200), (130, 1500, 70), (17, 64, 8), (9, 300, 1), (4, 1300, 513)]
for compute, dtype in {cases}:
    for m, k, n in shapes:
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        bias = rng.standard_normal(n).astype(dtype)
        whole = _core.matmul(a, b, bias=bias, compute=compute)
        turned = a.T.copy()
        for cut in {{0, k // 3 // 2 * 2, k // 2 // 2 * 2, k - k % 2}}:
            parts = _core.matmul(a[:, :cut].copy(), b[:cut], bias=bias, compute=compute)
            _core.matmul(a[:, cut:].copy(), b[cut:], compute=compute, out=parts, goes_on=True)
            assert np.array_equal(parts, whole), (compute, dtype, m, k, n, cut)
            parts = _core.matmul(turned[:cut], b[:cut], True, bias=bias, compute=compute)
            _core.matmul(turned[cut:], b[cut:], True, compute=compute, out=parts, goes_on=True)
            assert np.array_equal(parts, whole), ("turned", compute, dtype, m, k, n, cut)
            if 0 < cut <= k // 2:  # the check sees sums that were added instead
                other = _core.matmul(a[:, :cut].copy(), b[:cut], bias=bias, compute=compute)
                other += _core.matmul(a[:, cut:].copy(), b[cut:], compute=compute)
                unlike = not np.array_equal(other, whole)
                assert unlike or m * n < 100, (compute, dtype, m, k, n, cut)
"""


@pytest.mark.parametrize("tier", support.tiers())
def test_a_product_goes_on_where_another_ended(tier):
    cases = [("", "float32"), ("", "float64")]
    if tier == support.tiers()[0] and ROUNDED:
        cases.append(("bfloat16", "float32"))
    support.run_python(GOES_ON.format(cases=cases), BPCORE_ISA=tier)
