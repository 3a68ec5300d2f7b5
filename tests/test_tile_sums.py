"""Where sums are cut whose terms are taken 32 at once, on tiles: docs/numerics.md, "bfloat16".

Padding, threads and the way from thread to thread move no term from one step to another. Tiles are
emulated where the CPU has none."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import support, tiles

L = bp.layers
pytestmark = [tiles.needs_tiles, pytest.mark.usefixtures("all_rounded", "on_tiles")]


@pytest.fixture
def on_tiles():
    with tiles.in_use():
        yield


class Handed:
    """A loss whose gradient is what y_true holds: deltas as a test wants them."""

    def value(self, y_true, y_pred):
        return np.zeros(len(y_pred))

    def gradient(self, y_true, y_pred):
        return y_true


def gradients(layer, x, dy, threads=1):
    """dL/dw and dL/dx of one layer for a delta dy; the batch is a power of two, so it is exact."""
    inputs = bp.Input(x.shape[1:])
    with bp.threads(threads, exact=True):
        net = bp.Model(inputs, layer(inputs), seed=1, compute="bfloat16")
        net.compile("sgd", loss=Handed())
        found = net.gradients(x, dy * len(x), wrt_inputs=True)
    assert set(net.rounded_products().values()) == {"amx_bf16"}
    return {name.split("/")[1]: g for name, g in found.parameters.items()}, found.inputs


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


# ---- the chains by hand --------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
def test_products_of_a_dense_layer(rng, threads):
    x, dy = normal(rng, 64, 45), normal(rng, 64, 37)
    layer = L.Dense(37)
    found, dx = gradients(layer, x, dy, threads)
    assert np.array_equal(found["kernel"], tiles.chain(x.T, dy, 0))
    assert np.array_equal(dx, tiles.chain(dy, layer.kernel.value.T, 0))


@pytest.mark.parametrize("positions", [3, 32, 40, 130])
def test_a_step_never_has_terms_of_two_samples(rng, positions):
    """Nor of two chunks of 128 positions: then each sample's, or part's, terms end with zeros."""
    x, dy = normal(rng, 8, positions, 5), normal(rng, 8, positions, 6)
    kernel = 0
    for part in (slice(0, 128), slice(128, 256)):
        chunk = np.zeros((5, 6), np.float32)
        for sample, delta in zip(x[:, part], dy[:, part], strict=True):
            if len(sample):
                chunk = tiles.chain(sample.T, delta, chunk)
        kernel = kernel + chunk
    assert np.array_equal(gradients(L.Dense(6), x, dy)[0]["kernel"], kernel)
    together = tiles.chain(x.reshape(-1, 5).T, dy.reshape(-1, 6), 0)  # the check tells them apart
    assert np.array_equal(together, kernel) == (positions == 32)


# ---- what must move nothing ----------------------------------------------------------------------

LAYERS = {
    "dense": lambda: L.Dense(7),
    "convolution": lambda: L.Conv1D(7, 3, padding="same"),
    "lstm": lambda: L.LSTM(6, return_sequences=True),
    "gru": lambda: L.GRU(6, return_sequences=True, reset_after=False),
}


@pytest.mark.parametrize("short, long", [(2, 5), (40, 64), (100, 130)])
@pytest.mark.parametrize("name", LAYERS)
def test_padding_changes_no_bit(rng, name, short, long):
    x = normal(rng, 8, short, 5)
    dy = normal(rng, 8, short, LAYERS[name]().compute_output_shape((short, 5))[-1])
    more = ((0, 0), (0, long - short), (0, 0))
    expected, dx = gradients(LAYERS[name](), x, dy)
    for threads in (1, 3):
        found, longer = gradients(LAYERS[name](), np.pad(x, more), np.pad(dy, more), threads)
        for key, g in expected.items():
            assert support.same_bits(found[key], g), (key, threads)
        assert support.same_bits(longer[:, :short], dx), threads


@pytest.mark.parametrize("width", [340, 333])
def test_from_thread_to_thread(rng, width):
    """The first layer's depth is cut where tiles of its weights are, at multiples of 32."""
    x, y = normal(rng, 80, width), np.arange(80) % 5

    def run(threads):
        with bp.threads(threads, exact=True):
            model = bp.Sequential([L.Dense(80, "relu"), L.Dense(5)], seed=3, compute="bfloat16")
            model.compile("adam", "cross_entropy")
            model.fit(x, y, batch_size=40, epochs=2, verbose=0)
            text = model._engine.trainer("train", model._compilation).describe()
        assert ("passed from thread to thread" in text) == (threads > 1)
        return support.weights_hash(model)

    assert len({run(threads) for threads in (1, 2, 3, 5)}) == 1


@pytest.mark.parametrize("reset_after", [True, False])
def test_steps_through_time_by_threads(rng, reset_after):
    x, y = normal(rng, 40, 3, 33), np.arange(40) % 4

    def run(threads):
        with bp.threads(threads, exact=True):
            layers = [L.LSTM(35, return_sequences=True), L.GRU(33, reset_after=reset_after)]
            model = bp.Sequential([*layers, L.Dense(4)], seed=3, compute="bfloat16")
            model.compile("adam", "cross_entropy")
            model.fit(x, y, batch_size=40, verbose=0)
        return support.weights_hash(model)

    assert len({run(threads) for threads in (1, 3)}) == 1
