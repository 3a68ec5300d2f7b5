"""Elementary functions: error in units of the last place over sampled inputs, special values.

tests/cpp/ulp.cpp tries all 2^32 floats; here a sample guards every commit. A float32 result is
compared with float64's, a float64 result with 80-bit extended precision.
"""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

from bpcore import _core

from .helpers import support
from .reference.pointwise import _erf_real

LIMIT = {"exp": 2, "log": 2, "log1p": 2, "tanh": 2, "sigmoid": 2, "erf": 2, "softplus": 2,
         "sqrt": 0.5001}  # fmt: skip
HAS_EXTENDED = np.finfo(np.longdouble).nmant >= 63


def erf_extended(x):
    """2/sqrt(pi) exp(-x^2) sum 2^n x^(2n+1) / (2n+1)!!: all terms positive (DLMF 7.6.2)."""
    y = np.minimum(np.abs(x), np.longdouble(7))
    term, total = y.copy(), y.copy()
    for n in range(1, 260):
        term = term * (2 * y * y / (2 * n + 1))
        total = total + term
    value = 2 / np.sqrt(np.longdouble(math.pi) + np.longdouble(1.2246467991473532e-16))
    value = value * np.exp(-y * y) * total
    return np.copysign(np.minimum(value, 1), x)


def exact(name, x):
    """The function in the precision of x (float64 or long double)."""
    with np.errstate(all="ignore"):
        if name == "sigmoid":
            small = np.exp(-np.abs(x))
            return np.where(x >= 0, 1 / (1 + small), small / (1 + small))
        if name == "softplus":
            return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
        if name == "erf":
            return erf_extended(x) if x.dtype == np.longdouble else _erf_real(x)
        return getattr(np, name)(x)


def sample(dtype, name, rng, count):
    """Bit patterns drawn evenly (so all exponents come), the range that matters, boundaries."""
    unsigned = np.uint32 if dtype == np.float32 else np.uint64
    bits = rng.integers(0, np.iinfo(unsigned).max, count, dtype=unsigned, endpoint=True)
    edge = {"exp": 745, "softplus": 745, "sigmoid": 745, "erf": 6.5, "tanh": 22}.get(name, 4)
    near = rng.uniform(-edge, edge, count).astype(dtype)
    points = np.array([0.0, 0.5, 1, 88.72, 88.73, 103.9, 709.78, 745.1, math.log(2), 2**-12, 5.9])
    points = np.concatenate([points, -points]).astype(dtype)
    around = np.concatenate([np.nextafter(points, dtype(s)) for s in (-np.inf, np.inf)])
    x = np.concatenate([bits.view(dtype), near, points, around])
    x = x[np.isfinite(x)]
    if name in ("log", "sqrt"):
        x = np.abs(x)
    return x[x > -1] if name == "log1p" else x


def ulps(found, expected, dtype):
    """Distance in units of the last place of the exact value; an overflow must be an overflow."""
    info = np.finfo(dtype)
    with np.errstate(over="ignore"):
        rounded = expected.astype(dtype)
    spacing = np.spacing(np.minimum(np.abs(rounded), info.max * dtype(0.75))).astype(expected.dtype)
    overflow = np.isinf(rounded)
    same = overflow & (found == rounded)
    with np.errstate(invalid="ignore"):
        error = np.abs(found.astype(expected.dtype) - expected) / spacing
    return np.where(same, 0, error)


@pytest.mark.parametrize("name", LIMIT)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_error(name, dtype):
    wide = np.float64 if dtype is np.float32 else np.longdouble
    if dtype is np.float64 and not HAS_EXTENDED:
        pytest.skip("long double is no wider than double here")
    count = 200_000 if dtype is np.float32 else 30_000
    x = sample(dtype, name, np.random.default_rng(6), count)
    found = _core.math(name, x)
    assert found.dtype == dtype
    error = ulps(found, exact(name, x.astype(wide)), dtype)
    assert not np.isnan(error).any(), x[np.isnan(error)][:5]
    worst = int(error.argmax())
    assert error[worst] <= LIMIT[name], f"{error[worst]:.3f} ULP at {x[worst]!r}"


SPECIAL = {
    "exp": [(0.0, 1.0), (-0.0, 1.0), (np.inf, np.inf), (-np.inf, 0.0)],
    "log": [(1.0, 0.0), (0.0, -np.inf), (-0.0, -np.inf), (np.inf, np.inf), (-1.0, np.nan)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -np.inf), (np.inf, np.inf), (-2.0, np.nan)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (np.inf, 1.0), (-np.inf, -1.0)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (np.inf, 1.0), (-np.inf, 0.0)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (np.inf, 1.0), (-np.inf, -1.0)],
    "softplus": [(np.inf, np.inf), (-np.inf, 0.0)],
    "sqrt": [(0.0, 0.0), (-0.0, -0.0), (4.0, 2.0), (np.inf, np.inf), (-1.0, np.nan)],
}


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(name, dtype):
    points = [*SPECIAL[name], (np.nan, np.nan)]
    for lane in range(19):  # every lane of a vector, full and tail, with other values beside it
        for x, expected in points:
            a = np.full(19, 0.75, dtype)
            a[lane] = x
            y = _core.math(name, a)
            if np.isnan(expected):
                assert np.isnan(y[lane]), (x, y[lane])
            else:
                assert y[lane] == expected and np.signbit(y[lane]) == np.signbit(expected), (x, y)
            assert (np.delete(y, lane) == y[lane - 1]).all()


@pytest.mark.parametrize("name", LIMIT)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_length_or_position(name, dtype):
    x = np.abs(np.random.default_rng(7).normal(size=80)).astype(dtype)
    whole = _core.math(name, x)
    for n in range(40):
        for start in range(3):
            assert support.same_bits(_core.math(name, x[start : start + n].copy()),
                                     whole[start : start + n])  # fmt: skip


def test_fma_tiers_give_the_same_bits():
    code = f"""
import hashlib, numpy as np
from bpcore import _core
from tests.test_math import sample
digest = hashlib.sha256()
for name in {list(LIMIT)}:
    for dtype in (np.float32, np.float64):
        x = sample(dtype, name, np.random.default_rng(9), 50_000)
        digest.update(_core.math(name, x).tobytes())
for name in _core.activation_names():
    x = np.random.default_rng(9).normal(size=20_000).astype("f4") * 4
    digest.update(_core.activation(name, x, 0.3).tobytes())
    digest.update(_core.activation_grad(name, x, x[::-1].copy(), 0.3).tobytes())
print(digest.hexdigest())
"""
    found = {t: support.run_python(code, BPCORE_ISA=t).stdout for t in support.fma_tiers()}
    assert len(set(found.values())) == 1, found


@pytest.mark.parametrize("tier", support.tiers())
def test_other_tiers(tier):
    if "BPCORE_TEST_CHILD" in os.environ:
        pytest.skip("this is the child")
    code = f"import pytest; raise SystemExit(pytest.main(['-q', {__file__!r}]))"
    support.run_python(code, BPCORE_ISA=tier, BPCORE_TEST_CHILD=1, timeout=200)
