"""Sums over the batch are made of chunks that are cut at fixed samples and positions
(docs/numerics.md): 1,024 samples of (N, F); 8 samples by 128 positions of (N, T, F), where padding
then changes no bit."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .helpers import support

L = bp.layers
BIG = 2.0**24  # in single precision the next number is two further


class Handed:
    """A loss whose gradient is what y_true holds: deltas as a test wants them."""

    def value(self, y_true, y_pred):
        return np.zeros(len(y_pred))

    def gradient(self, y_true, y_pred):
        return y_true


def gradients(layer, x, dy, threads=1, **model):
    """dL/dw of one layer for a delta dy, exactly: the mean's 1/N is taken out beforehand."""
    inputs = bp.Input(x.shape[1:])
    with bp.threads(threads, exact=True):
        net = bp.Model(inputs, layer(inputs), seed=1, **model)
        net.compile("sgd", loss=Handed())
        found = net.gradients(x, dy * len(x)).parameters
    return {name.split("/")[1]: g for name, g in found.items()}


def first_chunk_lost(n, positions):
    """2^24 + 1 + 1 + .. is 2^24 in one chain, so what is left says where the chains are cut.

    The sum of BIG at the first place and ones elsewhere: the chunk that begins with BIG gives BIG,
    the others their number of places (all even here).
    """
    if positions is None:
        return BIG + max(n - 1024, 0)
    return BIG + n * positions - min(n, 8) * min(positions, 128)


SHAPES = [(1024, None), (1030, None), (4096, None), (16, 2), (24, 4), (16, 128), (2, 130),
          (16, 300), (18, 128), (512, 4)]  # fmt: skip
SUMS = {
    "kernel": (lambda: L.Dense(2), "kernel"),
    "bias": (lambda: L.Dense(2), "bias"),
    "scale": (lambda: L.Scale(), "scale"),
    "beta": (lambda: L.LayerNormalization(), "beta"),
    "batch beta": (lambda: L.BatchNormalization(), "beta"),
}


@pytest.mark.parametrize("sum_of", SUMS)
@pytest.mark.parametrize("n, positions", SHAPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_where_chains_are_cut(sum_of, n, positions, threads):
    make, weight = SUMS[sum_of]
    shape = (n, 2) if positions is None else (n, positions, 2)
    dy = np.ones(shape, np.float32)
    dy.reshape(-1, 2)[0] = BIG
    found = gradients(make(), np.ones(shape, np.float32), dy, threads)[weight]
    assert (found == first_chunk_lost(n, positions)).all(), found


def test_several_axes_are_positions_in_order():
    dy = np.ones((16, 4, 100, 2), np.float32)  # 400 positions
    dy.reshape(-1, 2)[0] = BIG
    found = gradients(L.Dense(2), np.ones_like(dy), dy)
    assert (found["kernel"] == first_chunk_lost(16, 400)).all()
    assert (found["bias"] == first_chunk_lost(16, 400)).all()


PADDED = [
    (3, 1, 9),
    (20, 5, 6),
    (20, 64, 65),
    (20, 128, 129),
    (9, 100, 300),
    (17, 200, 513),
    (40, 129, 130),
]
LAYERS = {
    "dense": lambda: L.Dense(7, activation="tanh"),
    "wide": lambda: L.Dense(600),
    "scale": lambda: L.Scale(),
    "layer normalization": lambda: L.LayerNormalization(),
}  # fmt: skip


@pytest.mark.parametrize("n, short, long", PADDED)
@pytest.mark.parametrize("layer, compute", [
    *((name, None) for name in LAYERS), ("dense", "bfloat16"), ("wide", "bfloat16"),
])  # fmt: skip
@pytest.mark.usefixtures("all_rounded")
def test_padding_changes_no_bit(layer, n, short, long, compute):
    if compute and not _core.config()["bfloat16"]:
        pytest.skip("this CPU has no AVX512_BF16")
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, short, 5)).astype(np.float32)
    width = LAYERS[layer]().compute_output_shape((short, 5))[-1]
    dy = rng.normal(size=(n, short, width)).astype(np.float32)
    more = ((0, 0), (0, long - short), (0, 0))
    options = {"compute": compute} if compute else {}
    plain = gradients(LAYERS[layer](), x, dy, **options)
    for threads in (1, 3):
        for filler in (0.0, 3.0):  # whatever a padded step holds, its delta is zero
            longer = np.pad(x, more, constant_values=filler)
            padded = gradients(LAYERS[layer](), longer, np.pad(dy, more), threads, **options)
            for name, g in plain.items():
                assert support.same_bits(padded[name], g), (name, threads)


def test_a_shared_layer_adds_whole_sums(rng):
    """Each use is summed on its own, then added: padding does not move what is added to what."""
    x = rng.normal(size=(17, 100, 5)).astype(np.float32)
    dy = rng.normal(size=(17, 100, 6)).astype(np.float32)

    def found(extra):
        more = ((0, 0), (0, extra), (0, 0))
        a, b = bp.Input((100 + extra, 5)), bp.Input((100 + extra, 5))
        layer = L.Dense(6, name="d")
        net = bp.Model([a, b], L.Concatenate()([layer(a), layer(b)]), seed=1)
        net.compile("sgd", loss=Handed())
        y = np.concatenate([np.pad(dy, more), np.pad(2 * dy, more)], axis=-1)
        return net.gradients([np.pad(x, more), np.pad(x[::-1], more)], y).parameters

    short, long = found(0), found(77)
    for name, g in short.items():
        assert support.same_bits(long[name], g), name


@pytest.mark.parametrize("positions", [3, 128, 200])
def test_gradient_descent_in_place_has_the_bits_of_two_steps(positions):
    """A wide kernel takes the gradient of one chunk straight from the product."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(30, positions, 20)).astype(np.float32)
    y = rng.normal(size=(30, positions, 700)).astype(np.float32)

    def trained(threads, clip):
        with bp.threads(threads, exact=True):
            model = bp.Sequential([L.Dense(700)], seed=2)
            model.compile(bp.optimizers.SGD(0.3), "mse", gradient_clip_value=clip)
            model.fit(x, y, batch_size=8, epochs=1, verbose=0)
            return model.get_weights()

    two_steps = trained(1, 1e30)
    for threads in (1, 3):
        for a, b in zip(trained(threads, None), two_steps, strict=True):
            assert support.same_bits(a, b)
