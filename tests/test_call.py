"""The short way of model(x) and predict for few rows: bits, errors, results of the long one."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import support


def network(dtype="float32", units=(64, 64, 4), width=8):
    layers = [bp.layers.Dense(u, activation="tanh") for u in units[:-1]]
    model = bp.Sequential([*layers, bp.layers.Dense(units[-1])], dtype=dtype, seed=0)
    model.build((width,))
    return model


def long_way(model, x):
    """A batch size of its own takes `predict` past the short way."""
    return model.predict(x, batch_size=4096)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_as_the_long_way(dtype, rng):
    model = network(dtype)
    for n in (1, 2, 3, 17, 128, 129):
        x = rng.normal(size=(n, 8)).astype(dtype)
        expected = long_way(model, x)
        assert model._fast(x, None, True) is not None or n > 20
        odd = np.zeros((n, 16), dtype)[:, ::2]
        odd[...] = x
        for form in (x, np.asfortranarray(x), odd, x.astype(">f8" if dtype == "float64" else ">f4"),
                     x.tolist(), x.view(np.memmap)):  # fmt: skip
            assert support.same_bits(model(form), expected)
            assert support.same_bits(model.predict(form), expected)


def test_what_is_not_simple_takes_the_long_way(rng):
    model = network()
    x = rng.normal(size=(2, 8)).astype(np.float32)
    for other in (x.astype(np.float64), x[:, ::-1], np.ma.array(x), x[:0], x.tolist(), None, x[0]):
        assert model._fast(other, None, False) is None
    assert model._fast(x, x, False) is None


def test_out_is_filled_and_given_back(rng):
    model = network()
    x = rng.normal(size=(3, 8)).astype(np.float32)
    out = np.full((3, 4), 7, np.float32)
    for call in (model, model.predict):
        out[...] = 7
        assert call(x, out=out) is out
        assert support.same_bits(out, long_way(model, x))


@pytest.mark.parametrize("make, error", [
    (lambda m, x: np.empty((2, 4), np.float32), bp.ShapeError),
    (lambda m, x: np.empty((3, 4)), ValueError),
    (lambda m, x: [[0.0] * 4] * 3, TypeError),
    (lambda m, x: np.empty((3, 8), np.float32)[:, ::2], ValueError),
    (lambda m, x: x[:, :4], ValueError),
    (lambda m, x: x.reshape(-1)[:12].reshape(3, 4), ValueError),
    (lambda m, x: m.weights[0].value.reshape(-1)[:12].reshape(3, 4), ValueError),
])  # fmt: skip
def test_a_bad_out_changes_nothing(make, error, rng):
    model = network()
    model.compile(loss="mse")  # the hash wants an optimizer
    x = rng.normal(size=(3, 8)).astype(np.float32)
    out = make(model, x)
    before, held = support.weights_hash(model), np.array(out)
    for call in (model, model.predict):
        with pytest.raises(error, match="out"):
            call(x, out=out)
    assert support.weights_hash(model) == before and support.same_bits(np.array(out), held)
    frozen = np.empty((3, 4), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        model(x, out=frozen)


def test_predict_reports_what_call_lets_pass(rng):
    model = network()
    x = rng.normal(size=(2, 8)).astype(np.float32)
    x[1, 3] = np.nan
    assert np.isnan(model(x)[1]).all() and np.isfinite(model(x)[0]).all()
    with pytest.raises(ValueError, match=r"NaN at \[1, 3\]"):
        model.predict(x)
    assert np.isnan(model.predict(x, check_finite=False)[1]).all()


def test_new_weights_and_new_layers_are_seen(rng):
    model = network()
    x = rng.normal(size=(1, 8)).astype(np.float32)
    old = model(x).copy()
    model.weights[-1].value += 1
    np.testing.assert_allclose(model(x), old + 1, rtol=1e-6)
    model.add(bp.layers.Dense(2))
    assert model(x).shape == (1, 2)


def test_calls_wake_no_thread_and_keep_no_memory():
    code = """
import gc, os, numpy as np, bpcore as bp
model = bp.Sequential([bp.layers.Dense(64, "tanh"), bp.layers.Dense(4)], seed=0)
model.build((8,))
x = np.ones((1, 8), np.float32)
out = np.empty((1, 4), np.float32)
def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
threads = len(os.listdir("/proc/self/task"))
for _ in range(1000):
    model(x)
before = resident()
for _ in range(300_000):
    model(x)
    model(x, out=out)
assert resident() - before < 1 << 20, resident() - before
assert len(os.listdir("/proc/self/task")) == threads
for _ in range(100):  # a model that is gone leaves nothing behind
    m = bp.Sequential([bp.layers.Dense(1000)], seed=0)
    m.build((1000,))
    m(np.ones((1, 1000), np.float32))
    gc.collect()
    if _ == 10:
        before = resident()
assert resident() - before < 40 << 20, resident() - before
"""
    support.run_python(code)
