"""Random layers: Philox's numbers, one mask for both passes, any threads, any resume."""

from __future__ import annotations

import copy
import pickle
import statistics

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .helpers import support
from .reference.philox import philox

CONSTANTS = support.load("normalization")["alpha_dropout"]


def bits(seed, stream, n, group=0):
    """Number i of a stream as kernels/random.isa.cpp places it."""
    numbers = []
    for i in range(n):
        place = group * 64 + i
        block = philox(seed, stream, place // 64 * 16 + place % 16)
        numbers.append(block[place % 64 // 16])
    return np.array(numbers, dtype=np.uint64)


# Random123's known answers: (counter, stream, seed) of all zeros, all ones, the digits of pi.
KNOWN = (
    (0, 0, 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (2**64 - 1, 2**64 - 1, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (0x85A308D3243F6A88, 0x0370734413198A2E, 0x299F31D0A4093822,
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
)  # fmt: skip


@pytest.mark.parametrize("counter, stream, seed, expected", KNOWN)
def test_the_generator_gives_the_known_answers(counter, stream, seed, expected):
    assert philox(seed, stream, counter) == expected
    assert _core.philox(seed, stream, counter) == expected


def test_blocks_and_words_of_the_generator(rng):
    numbers = [int(v) for v in rng.integers(0, 2**63, 30, dtype=np.uint64)]
    for seed, stream, counter in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
        for near in (counter, counter % 40, 2**32 + counter % 20):
            assert _core.philox(seed, stream, near) == philox(seed, stream, near)
    blocks = [philox(5, 9, i) for i in range(40)]
    words = [b[k] | b[k + 1] << 32 for b in blocks for k in (0, 2)]
    for n in (0, 1, 31, 32, 33, 80):
        for first in (0, 1, 32, 45, 80 - n):
            some = words[first : first + n]
            found = _core.uniform(5, 9, min(n, 80 - first), first)
            assert found.tolist() == [(w >> 11) * 2.0**-53 for w in some]
        order = list(range(n))
        for i in range(n - 1, 0, -1):
            j = words[i] * (i + 1) >> 64
            order[i], order[j] = order[j], order[i]
        assert _core.permutation(5, 9, n).tolist() == order
    for n, first in ((1, -1), (-1, 0), (3, 2**63 - 2)):
        with pytest.raises(ValueError, match="counted from 0"):
            _core.uniform(5, 9, n, first)
        with pytest.raises(ValueError, match="counted from 0"):
            _core.normal(5, 9, n, first)


def mask(layer, shape, rate, draw, rows):
    """Inverted dropout's mask for a batch."""
    size = int(np.prod(shape))
    seed = bp.base.seeding.mix(layer.seed, 0)
    groups = -(-size // 64) if len(shape) == 1 else 2**28
    rows = [bits(seed, draw, size, r * groups) >= np.uint64(rate * 2**32) for r in range(rows)]
    return np.array(rows).reshape(-1, *shape) / (1 - rate)


@pytest.mark.parametrize("shape", [(1,), (7,), (64,), (130,), (3, 50)])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.9])
def test_masks_are_philoxs(shape, rate, rng):
    layer = bp.layers.Dropout(rate, seed=11)
    layer.convert("float64")
    x = rng.normal(size=(3, *shape))
    for draw in range(2):
        expected = mask(layer, shape, rate, draw, 3) if draw or layer.built else None
        y = layer(x, training=True)
        if expected is None:
            expected = mask(layer, shape, rate, draw, 3)
        np.testing.assert_allclose(y, x * expected, rtol=1e-15)
        dy = rng.normal(size=x.shape)
        np.testing.assert_allclose(layer.backward(dy), dy * expected, rtol=1e-15)
    np.testing.assert_array_equal(layer(x), x)


@pytest.mark.parametrize("make", [
    lambda L: L.Dropout(0.4, seed=3), lambda L: L.AlphaDropout(0.4, seed=3),
    lambda L: L.GaussianDropout(0.4, seed=3), lambda L: L.GaussianNoise(0.4, seed=3),
    lambda L: L.SpatialDropout1D(0.4, seed=3),
])  # fmt: skip
@pytest.mark.parametrize("features", [1, 7, 64, 65])
def test_padding_at_the_end_changes_no_random_number(make, features, rng):
    """A number depends on seed, draw, sample, step and unit: not on how long the samples are."""
    x = rng.normal(size=(5, 40, features))
    padded = np.concatenate([x, np.zeros((5, 77, features))], axis=1)
    short, long = make(bp.layers), make(bp.layers)
    for _ in range(2):
        y = short(x, training=True)
        np.testing.assert_array_equal(y, long(padded, training=True)[:, :40])
    assert features == 1 or len({sample.tobytes() for sample in y / x}) == 5


def test_spatial_dropout_takes_whole_channels(rng):
    x = rng.normal(size=(20, 6, 4, 9)) + 10
    layer = bp.layers.SpatialDropout2D(0.4, seed=3)
    kept = layer(x, training=True) != 0
    assert (kept == kept[:, :1, :1]).all()
    assert 0.4 < kept[:, 0, 0].mean() < 0.8
    np.testing.assert_array_equal(
        layer(x, training=True), _noise_shape(x, (1, 1, 9), 3, draws=2)
    )  # the same as Dropout with that noise_shape


@pytest.mark.parametrize("kind, shape", [("1D", (6, 9)), ("2D", (6, 4, 9)), ("3D", (2, 3, 4, 9))])
def test_spatial_dropout_of_channels_first(kind, shape, rng):
    """The channels of channels_last, and their gradient."""
    make = getattr(bp.layers, f"SpatialDropout{kind}")
    last, first = make(0.4, seed=3), make(0.4, seed=3, data_format="channels_first")
    turned = lambda a: np.ascontiguousarray(np.moveaxis(a, -1, 1))  # noqa: E731
    x = rng.normal(size=(20, *shape)) + 10
    np.testing.assert_array_equal(first(turned(x), training=True), turned(last(x, training=True)))
    np.testing.assert_array_equal(first.backward(turned(x)), turned(last.backward(x)))


def test_a_noise_shape_with_the_batch_axis():
    """As Keras has it, and files of earlier releases."""
    x = np.ones((6, 4, 9))
    for shape in ((None, 1, 9), [None, 1, 9]):
        np.testing.assert_array_equal(
            _noise_shape(x, shape, 3, draws=2), _noise_shape(x, (1, 9), 3, draws=2)
        )
    with pytest.raises(ValueError, match="None for axis 1"):
        bp.layers.Dropout(0.4, noise_shape=(None, 1, None))


def _noise_shape(x, shape, seed, draws):
    layer = bp.layers.Dropout(0.4, noise_shape=shape, seed=seed)
    return [layer(x, training=True) for _ in range(draws)][-1]


@pytest.mark.parametrize("case", CONSTANTS, ids=lambda c: str(c["rate"]))
def test_alpha_dropout_has_the_papers_constants(case, rng):
    layer = bp.layers.AlphaDropout(case["rate"], seed=5)
    layer.convert("float64")
    x = rng.normal(size=(400, 50))
    y = layer(x, training=True)
    low = case["a"] * case["alpha"] + case["b"]
    dropped = np.isclose(y, low, rtol=1e-12)
    np.testing.assert_allclose(y[~dropped], case["a"] * x[~dropped] + case["b"], rtol=1e-12)
    assert abs(dropped.mean() - case["rate"]) < 0.01
    assert abs(y.mean()) < 0.02 and abs(y.var() - 1) < 0.03
    dy = rng.normal(size=x.shape)
    np.testing.assert_allclose(layer.backward(dy), np.where(dropped, 0, case["a"] * dy), rtol=1e-12)


def test_gaussian_numbers_are_quantiles():
    layer = bp.layers.GaussianNoise(2.0, seed=9)
    layer.convert("float64")
    y = layer(np.zeros((4, 500)), training=True)
    seed = bp.base.seeding.mix(9, 0)
    normal = statistics.NormalDist(0, 2)
    for row in range(4):
        cells = (bits(seed, 0, 500, row * 8) >> np.uint64(9)).astype(np.float64)
        exact = [normal.inv_cdf((c + 0.5) / 2**23) for c in cells]
        np.testing.assert_allclose(y[row], exact, rtol=3e-6, atol=3e-7)
    single = bp.layers.GaussianNoise(2.0, seed=9)(np.zeros((4, 500), np.float32), training=True)
    np.testing.assert_allclose(single, y, rtol=3e-5, atol=3e-6)


def test_gaussian_dropout_has_dropouts_moments(rng):
    layer = bp.layers.GaussianDropout(0.2, seed=1)
    layer.convert("float64")
    x = np.ones((300, 100))
    m = layer(x, training=True)
    assert abs(m.mean() - 1) < 0.01 and abs(m.var() - 0.25) < 0.01
    dy = rng.normal(size=x.shape)
    np.testing.assert_allclose(layer.backward(dy), dy * m, rtol=1e-14)


def network(seed=4, dtype="float32"):
    L = bp.layers
    model = bp.Sequential(
        [L.Dropout(0.2), L.Dense(33, activation="relu"), L.Dropout(0.5), L.GaussianNoise(0.1),
         L.Dense(20, activation="selu"), L.AlphaDropout(0.1), L.GaussianDropout(0.3),
         L.BatchNormalization(), L.Dense(3)], seed=seed, dtype=dtype)  # fmt: skip
    model.build((10,))
    model.compile(bp.optimizers.Adam(0.01), loss="cross_entropy")
    return model


def data(n=300):
    r = np.random.default_rng(8)
    return r.normal(size=(n, 10)).astype(np.float32), r.integers(0, 3, n)


def test_same_bits_for_any_threads(threads_restored):
    x, y = data()
    hashes = set()
    for threads in (1, 2, 3, 8):
        bp.set_num_threads(threads, exact=True)
        model = network()
        model.fit(x, y, batch_size=150, epochs=3, verbose=0)
        hashes.add(support.weights_hash(model))
    assert len(hashes) == 1


def test_gradients_with_masks():
    x, y = data(12)
    model = network(dtype="float64")
    assert float(model.gradcheck(x, y)) <= 1e-7
    first, again = model.gradients(x, y).loss, model.gradients(x, y).loss
    assert first == again, "asking for gradients draws nothing"
    model.train_on_batch(x, y)
    assert model._counters.draws == 1


def test_every_batch_and_every_place_draws_anew():
    shared = bp.layers.Dropout(0.5)
    a = bp.Input((64,))
    model = bp.Model(a, [shared(a), shared(shared(a))], seed=1)
    model.compile("sgd", loss="mse")
    x = np.ones((1, 64))
    passes = []
    for _ in range(2):
        trace = model.trace(x, [x, x])
        passes += [trace["dropout"].a, trace["dropout:1"].a]
        model.train_on_batch(x, [x, x])
    assert len({(p != 0).tobytes() for p in passes}) == 4


def test_a_copy_goes_on_with_the_same_numbers():
    x, y = data()
    model = network()
    model.fit(x, y, verbose=0)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for m in (model, *twins):
        m.fit(x, y, epochs=2, verbose=0)
    assert len({support.weights_hash(m) for m in (model, *twins)}) == 1
    other = network(seed=5)
    assert other.layers[0].seed_in_use != model.layers[0].seed_in_use
    assert len({layer.seed_in_use for layer in model.layers if hasattr(layer, "seed")}) == 5


def test_files_keep_the_seeds(tmp_path):
    model = network()
    model.save(tmp_path / "m.safetensors")
    again = bp.load_model(tmp_path / "m.safetensors")
    x, y = data()
    model.fit(x, y, verbose=0), again.fit(x, y, verbose=0)
    assert support.weights_hash(again) == support.weights_hash(model)


@pytest.mark.parametrize("call", [
    lambda L: L.Dropout(1.0), lambda L: L.Dropout(-0.1), lambda L: L.Dropout(float("nan")),
    lambda L: L.AlphaDropout(1), lambda L: L.GaussianDropout(2.0), lambda L: L.GaussianNoise(-1.0),
    lambda L: L.Dropout(0.5, noise_shape=(2, 1))(np.ones((2, 2, 3))),
    lambda L: L.SpatialDropout1D(0.5)(np.ones((2, 3))),
    lambda L: L.Dropout(0.5, seed=-1),
])  # fmt: skip
def test_bad_arguments(call):
    with pytest.raises(ValueError):
        call(bp.layers)
