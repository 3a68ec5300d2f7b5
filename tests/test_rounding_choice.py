"""compute="bfloat16" rounds the products of an operation where that pays: by shapes and CPU.

What is rounded is told by bits: an operation whose products stay in float32 has those of the same
model without compute=."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .helpers import support, tiles

L = bp.layers
INSTRUCTION = _core.config()["bfloat16"]
pairs = pytest.mark.skipif(INSTRUCTION != "avx512_bf16", reason="the sizes are those of pairs")


def built(layers, shape, compute="bfloat16"):
    model = bp.Sequential(layers(), seed=1, compute=compute)
    model.compile(bp.optimizers.Adam(1e-3), "mean_squared_error")
    model.build(shape)
    return model


def rounded(model):
    return set(model.rounded_products())


def data(shape, out, n=6):
    rng = np.random.default_rng(len(shape))
    x, y = rng.standard_normal((n, *shape)), rng.standard_normal((n, *out))
    return x.astype(np.float32), y.astype(np.float32)


# ---- which ---------------------------------------------------------------------------------------

# The table of docs/numerics.md: an operation just below a bound, and one on it.
EDGES = {
    "weights": (lambda n: [L.Dense(n)], (512,), 511, 512),
    "in": (lambda n: [L.Dense(8192)], lambda n: (n,), 31, 32),
    "out": (lambda n: [L.Dense(n)], (1024,), 255, 256),
    "convolution": (lambda n: [L.Conv2D(n, 3)], (4, 4, 114), 255, 256),  # 9 * 114 * 256 > 2^18
    "groups": (lambda n: [L.Conv1D(n, 3, groups=2)], (5, 684), 510, 512),
    "lstm": (lambda n: [L.LSTM(n)], (3, 256), 158, 159),  # (256 + 159) * 4 * 159 > 2^18
    "gru": (lambda n: [L.GRU(n)], (3, 256), 194, 195),
    "simple rnn": (lambda n: [L.SimpleRNN(n)], (3, 256), 399, 400),
}


@pairs
@pytest.mark.parametrize("name", EDGES)
def test_the_bounds_of_the_table(name):
    make, shape, below, at = EDGES[name]
    for n, expected in ((below, False), (at, True)):
        given = shape(n) if callable(shape) else shape
        model, full = (built(lambda n=n: make(n), given, c) for c in ("bfloat16", None))
        assert bool(rounded(model)) == expected, n
        x, y = data(given, model._built().output_tensors[0].shape)
        same = [support.same_bits(model.predict(x), full.predict(x))]
        found = [m.gradients(x, y, wrt_inputs=True) for m in (model, full)]
        same.append(support.same_bits(found[0].inputs, found[1].inputs))
        kernels = [next(iter(f.parameters.values())) for f in found]
        same.append(support.same_bits(*kernels))
        # forward, backward and gradient alike
        assert same == [not expected] * 3, n
        assert ("products in bfloat16" in model._built().net.describe()) == expected
        assert "bfloat16" not in full._built().net.describe()


TILE_EDGES = {
    "weights": (lambda n: [L.Dense(n)], (256,), 127, 128),
    "in": (lambda n: [L.Dense(2048)], lambda n: (n,), 31, 32),
    "out": (lambda n: [L.Dense(n)], (2048,), 31, 32),
}


@tiles.needs_tiles
@pytest.mark.parametrize("name", TILE_EDGES)
def test_the_bounds_of_tiles(name):
    make, shape, below, at = TILE_EDGES[name]
    with tiles.in_use():
        for n, expected in ((below, False), (at, True)):
            given = shape(n) if callable(shape) else shape
            model, full = (built(lambda n=n: make(n), given, c) for c in ("bfloat16", None))
            assert bool(rounded(model)) == expected, n
            assert ("by amx_bf16" in model._built().net.describe()) == expected
            x, _ = data(given, ())
            assert support.same_bits(model.predict(x), full.predict(x)) != expected, n


@pairs
def test_products_of_two_values_and_of_single_channels_are_never_rounded(all_rounded):
    a, b = bp.Input((30, 51)), bp.Input((30, 51))
    dot = bp.Model([a, b], L.Dot(axes=(2, 2))([a, b]), compute="bfloat16", seed=1)
    x = data((30, 51), (1,))[0]
    exact = np.einsum("npk,nqk->npq", x.astype(float), x.astype(float))
    assert np.abs(dot.predict([x, x]) - exact).max() <= 1e-5 * np.abs(exact).max()
    assert not rounded(dot)
    assert not rounded(built(lambda: [L.DepthwiseConv2D(3)], (5, 5, 40)))


@pairs
def test_each_operation_chooses_for_itself():
    """Beside a large layer a small one has operands that are not rounded."""
    model = built(lambda: [L.Dense(512, "tanh", name="wide"), L.Dense(8, name="small")], (600,))
    assert rounded(model) == {"wide"}
    lines = {
        line.split()[0]: line for line in model._built().net.describe().splitlines() if ": " in line
    }
    assert "products in bfloat16 by avx512_bf16" in lines["wide"]
    assert "bfloat16" not in lines["small"]
    x, _ = data((600,), (8,))
    hidden = model.activations(x)["wide"].astype(float)
    w, b = (a.astype(float) for a in model.get_weights()[2:])
    expected = hidden @ w + b
    assert np.abs(model.predict(x) - expected).max() <= 1e-5 * np.abs(expected).max()


@pairs
def test_the_choice_knows_nothing_of_rows():
    model = built(lambda: [L.Dense(512, "relu"), L.Dense(512), L.Dense(3)], (512,))
    x, _ = data((512,), (3,), n=300)
    whole = model.predict(x)
    for rows in (slice(0, 1), slice(3, 5), slice(100, 260)):
        assert support.same_bits(model.predict(x[rows]), whole[rows])


# ---- all, for tests ------------------------------------------------------------------------------


@pytest.mark.skipif(not INSTRUCTION, reason="this process has no products in bfloat16")
def test_all_are_rounded_where_a_test_asks_for_it(all_rounded):
    assert rounded(built(lambda: [L.Dense(3)], (4,)))
    _core.round_all_products(False)
    assert not rounded(built(lambda: [L.Dense(3)], (4,)))
