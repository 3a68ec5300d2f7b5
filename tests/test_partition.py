"""Layers with many weights go by columns where there are several threads, and their gradients by
slabs of columns: the same bits as on one thread, and the right numbers."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .helpers import support

L = bp.layers
SIZES = (600, 520, 530)  # odd shares: 520 = 8 * 64 + 8; both kernels hold more than 2^18 weights


def trained(threads, activation, batch, dtype="float32"):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(70, SIZES[0])), rng.normal(size=(70, 3))
    layers = [L.Dense(n, activation=activation, bias_initializer="normal") for n in SIZES[1:]]
    with bp.threads(threads, exact=True):
        model = bp.Sequential([*layers, L.Dense(3)], seed=1, dtype=dtype)
        model.compile(bp.optimizers.Adam(1e-3), "mse")
        model.fit(x, y, batch_size=batch, epochs=2, verbose=0)
        return [*model.get_weights(), model.predict(x)]


@pytest.mark.parametrize("activation", ["relu", "gelu"])  # gelu keeps z beside y
@pytest.mark.parametrize("batch", [32, 70])
def test_columns_give_the_bits_of_rows(activation, batch):
    alone = trained(1, activation, batch)
    for threads in (2, 3, 5):
        together = trained(threads, activation, batch)
        assert all((a == b).all() for a, b in zip(alone, together, strict=True)), threads


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_gradients_by_columns_and_slabs(threads):
    rng = np.random.default_rng(6)
    x, t = rng.normal(size=(40, SIZES[0])), rng.normal(size=(40, SIZES[2]))
    with bp.threads(threads, exact=True):
        model = bp.Sequential(
            [L.Dense(n, activation="tanh", bias_initializer="normal") for n in SIZES[1:]],
            seed=2,
            dtype="float64",
        )
        model.compile("sgd", "half_squared_error")
        model.build((SIZES[0],))
        found = model.gradients(x, t, wrt_inputs=True)
    w1, b1, w2, b2 = model.get_weights()
    h = np.tanh(x @ w1 + b1)
    y = np.tanh(h @ w2 + b2)
    d2 = (y - t) / 40 * (1 - y * y)
    d1 = d2 @ w2.T * (1 - h * h)
    expected = [x.T @ d1, d1.sum(axis=0), h.T @ d2, d2.sum(axis=0)]
    for (name, g), e in zip(found.parameters.items(), expected, strict=True):
        assert np.abs(g - e).max() <= 1e-12 * np.abs(e).max(), name
    assert np.abs(found.inputs - d1 @ w1.T).max() <= 1e-12 * np.abs(d1 @ w1.T).max()


def plan_of(model, threads):
    with bp.threads(threads, exact=True):
        return model._engine.trainer("train", model._compilation).describe()


@pytest.mark.parametrize("sizes, batch, expected", [
    ((13, 32, 16, 2), 32, {8: 1, 32: 1, 64: 1}),           # too little work for a second thread
    ((784, 30, 10), 10, {8: 2, 32: 2, 64: 2}),             # by work; at least 4 samples each
    ((784, 128, 10), 32, {8: 8, 32: 8, 64: 8}),
    ((784, 128, 64, 10), 128, {8: 8, 32: 32, 64: 32}),
    ((600, 520, 530, 10), 16, {8: 8, 32: 32, 64: 64}),     # by columns: not bound by samples
])  # fmt: skip
def test_plans_for_many_cores_run_on_few(sizes, batch, expected, rng):
    """What would run on 8, 32 and 64 cores is chosen from the shape, and gives the same bits."""
    x = rng.normal(size=(3 * batch + 5, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], len(x))
    found = []
    for threads in (1, *expected):
        with bp.threads(threads, exact=True):
            layers = [L.Dense(n, activation="relu") for n in sizes[1:-1]]
            model = bp.Sequential([*layers, L.Dense(sizes[-1])], seed=1)
            model.compile("adam", "cross_entropy")
            model.fit(x, y, batch_size=batch, verbose=0)
            text = plan_of(model, threads)
            assert f"threads at batch {batch}: {expected.get(threads, 1)}\n" in text, text
            assert ("by columns" in text) == (sizes[0] == 600), text
            found.append([*model.get_weights(), model.predict(x)])
    for other in found[1:]:
        assert all((a == b).all() for a, b in zip(found[0], other, strict=True))


def tied(threads, dtype="float64"):
    rng = np.random.default_rng(7)
    x, t = rng.normal(size=(2, 40, SIZES[0]))
    with bp.threads(threads, exact=True):
        code = L.Dense(SIZES[1], activation="tanh", bias_initializer="normal")
        model = bp.Sequential([L.Dense(SIZES[0]), code, L.TiedDense(code)], seed=2, dtype=dtype)
        model.compile("sgd", "half_squared_error")
        model.build((SIZES[0],))
        return model, x, t, model.gradients(x, t, wrt_inputs=True)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_gradients_of_a_tied_layer_by_columns_and_slabs(threads):
    model, x, t, found = tied(threads)
    w0, b0, w, b, c = model.get_weights()
    h0 = x @ w0 + b0
    h = np.tanh(h0 @ w + b)
    d2 = (h @ w.T + c - t) / 40
    d1 = d2 @ w * (1 - h * h)
    d0 = d1 @ w.T
    expected = [x.T @ d0, d0.sum(axis=0), h0.T @ d1 + d2.T @ h, d1.sum(axis=0), d2.sum(axis=0)]
    for (name, g), e in zip(found.parameters.items(), expected, strict=True):
        assert np.abs(g - e).max() <= 1e-12 * np.abs(e).max(), name
    assert np.abs(found.inputs - d0 @ w0.T).max() <= 1e-12 * np.abs(d0 @ w0.T).max()


def test_a_tied_layer_by_columns_has_the_bits_of_rows():
    alone = tied(1, "float32")[-1]
    for threads in (2, 3, 5):
        found = tied(threads, "float32")[-1]
        assert (found.inputs == alone.inputs).all(), threads
        for name, g in found.parameters.items():
            assert (g == alone.parameters[name]).all(), (threads, name)


@pytest.mark.parametrize("sizes, batch, threads", [((3254, 531), 1120, 13), ((2337, 402), 2379, 8)])
def test_shares_of_the_columns_stay_in_their_scratch(sizes, batch, threads):
    """Sizes that once wrote past its end; tests/cpp/scratch.cpp tries many."""
    code = f"""
import numpy as np, bpcore as bp
layers = [bp.layers.Dense(n, kernel_initializer="zeros") for n in {sizes}]
model = bp.Sequential(layers, dtype="float64", seed=0)
model.compile("sgd", "mse")
x = np.ones(({batch}, 4))
with bp.threads({threads}, exact=True):
    model.fit(x, np.ones(({batch}, {sizes[1]})), batch_size={batch}, verbose=0)
"""
    support.run_python(code)


WIDE = (300, 1100, 700)  # slabs of 367, 366, 367 columns and of 350; runs of several tiles


def descended(
    threads,
    *,
    sizes=WIDE,
    batch=64,
    dtype="float32",
    compute=None,
    optimizer=None,
    clip=None,
    **options,
):
    """Weights after plain gradient descent; a clip that never clips takes the gradient by array."""
    rng = np.random.default_rng(8)
    rows = 3 * batch + 5
    x, y = rng.normal(size=(rows, sizes[0])), rng.integers(0, 4, rows)
    with bp.threads(threads, exact=True):
        layers = [L.Dense(n, activation="relu", **options) for n in sizes[1:]]
        model = bp.Sequential([*layers, L.Dense(4)], seed=1, dtype=dtype, compute=compute)
        optimizer = optimizer() if optimizer else bp.optimizers.SGD(0.3)
        model.compile(optimizer, "cross_entropy", gradient_clip_value=clip)
        model.fit(x, y, batch_size=batch, epochs=2, verbose=0)
        return model.get_weights()


def equal(a, b):
    return all((p == q).all() for p, q in zip(a, b, strict=True))


DESCENTS = {
    "plain": {},
    "few": {"batch": 7},
    "a chunk": {"batch": 1024},
    "more than a chunk": {"batch": 1100},
    "transposed is cheaper": {"sizes": (640, 513), "batch": 1000},  # a slab of 257 columns
    "passed from thread to thread": {"sizes": (340, 80)},
    "float64": {"dtype": "float64"},
    "float64, more steps than a block": {"dtype": "float64", "batch": 900},
    "bfloat16": {"compute": "bfloat16"},
    "bfloat16, odd": {"compute": "bfloat16", "batch": 63, "sizes": (301, 901, 515)},
    "decay": {"optimizer": lambda: bp.optimizers.SGD(0.3, weight_decay=0.1)},
    "penalty": {"kernel_regularizer": bp.regularizers.L2(0.1)},
    "constraint": {"kernel_constraint": bp.constraints.MaxNorm(0.5)},
}


@pytest.mark.parametrize("name", DESCENTS)
@pytest.mark.usefixtures("all_rounded")
def test_gradient_descent_in_place_has_the_bits_of_two_steps(name):
    if "bfloat16" in name and not _core.config()["bfloat16"]:
        pytest.skip("this CPU has no AVX512_BF16")
    options = DESCENTS[name]
    two_steps = descended(1, clip=1e30, **options)
    for threads in (1, 2, 3, 5):
        assert equal(descended(threads, **options), two_steps), threads


def test_gradient_descent_in_place_takes_what_it_is_told():
    """The same data and seed with other options give other weights: the test above compares."""
    plain = descended(2)
    others = [
        descended(2, optimizer=lambda: bp.optimizers.SGD(0.29)),
        descended(2, optimizer=lambda: bp.optimizers.SGD(0.3, weight_decay=0.1)),
        descended(2, clip=1e-5),
        descended(2, kernel_regularizer=bp.regularizers.L2(0.1)),
    ]
    for other in others:
        assert not any((a == b).all() for a, b in zip(plain[:4:2], other[:4:2], strict=True))


def test_gradient_descent_clips_wide_gradients():
    x, y = np.full((20, 300), 9.0), np.arange(20) % 4
    model = bp.Sequential([L.Dense(1100, activation="relu"), L.Dense(4)], seed=1)
    model.compile(bp.optimizers.SGD(0.5), "cross_entropy", gradient_clip_value=1e-3)
    model.build((300,))
    before = model.get_weights()[0].copy()
    model.train_on_batch(x, y)
    moved = np.abs(model.get_weights()[0] - before)
    assert 4.9e-4 < moved.max() < 5.1e-4


@pytest.mark.parametrize("threads", [1, 3])
def test_gradient_descent_in_place_is_that_of_numpy(threads):
    rng = np.random.default_rng(9)
    x, t = rng.normal(size=(40, WIDE[0])), rng.normal(size=(40, WIDE[1]))
    with bp.threads(threads, exact=True):
        model = bp.Sequential([L.Dense(WIDE[1])], seed=2, dtype="float64")
        model.compile(bp.optimizers.SGD(0.5), "half_squared_error")
        model.build((WIDE[0],))
        w, b = (p.copy() for p in model.get_weights())
        model.fit(x, t, batch_size=40, epochs=1, shuffle=False, verbose=0)
    delta = (x @ w + b - t) / 40
    expected = [w - 0.5 * x.T @ delta, b - 0.5 * delta.sum(axis=0)]
    for found, e in zip(model.get_weights(), expected, strict=True):
        assert np.abs(found - e).max() <= 1e-12 * np.abs(e).max()


def test_a_frozen_or_shared_wide_layer_is_left_alone_or_summed():
    rng = np.random.default_rng(10)
    x, t = rng.normal(size=(50, WIDE[1])), rng.normal(size=(50, WIDE[1]))

    def run(threads, clip):
        with bp.threads(threads, exact=True):
            shared, frozen = L.Dense(WIDE[1], activation="tanh"), L.Dense(WIDE[1], trainable=False)
            a = bp.Input((WIDE[1],))
            model = bp.Model(a, frozen(shared(shared(a))), seed=3)
            model.compile(bp.optimizers.SGD(0.1), "mse", gradient_clip_value=clip)
            before = frozen.kernel.value.copy()
            model.fit(x, t, batch_size=20, verbose=0)
            assert (frozen.kernel.value == before).all()
            return model.get_weights()

    two_steps = run(1, 1e30)
    assert all(equal(run(threads, None), two_steps) for threads in (1, 2, 3))


@pytest.mark.parametrize("width, out, batch, last, dtype, compute", [
    (32, 691, 1309, 1020, "float32", None),
    (8, 1095, 1253, 1020, "float32", None),
    (24, 1203, 1049, 682, "float64", None),
    (504, 519, 1025, 1020, "float32", "bfloat16"),
])  # fmt: skip
@pytest.mark.usefixtures("all_rounded")
def test_a_last_batch_in_place_has_room(width, out, batch, last, dtype, compute):
    """Whole batches are more than a chunk, so not in place, the last one is. Under the address
    sanitizer a write past the scratch ends the process; without it, it may."""
    if compute and not _core.config()["bfloat16"]:
        pytest.skip("this CPU has no AVX512_BF16")
    rng = np.random.default_rng(11)
    x, y = rng.normal(size=(batch + last, width)), rng.normal(size=(batch + last, out))
    found = []
    for threads, clip in [(1, 1e30), (1, None), (3, None)]:
        with bp.threads(threads, exact=True):
            model = bp.Sequential([L.Dense(out)], seed=0, dtype=dtype, compute=compute)
            model.compile(bp.optimizers.SGD(0.1), "mse", gradient_clip_value=clip)
            model.fit(x, y, batch_size=batch, epochs=1, verbose=0)
        found.append(model.get_weights())
    assert equal(found[0], found[1]) and equal(found[0], found[2])
