"""16 dtypes x 12 layouts x 6 entries: the bits of the contiguous copy, or a clear refusal."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

REAL = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">i4", ">f4"]
REFUSED = ["c8", "O"]
DTYPES = REAL + REFUSED
ROWS, WIDTH = 6, 4


def values(dtype):
    """Whole numbers that every dtype holds exactly (bool: 0 and 1)."""
    x = (np.arange(ROWS * WIDTH).reshape(ROWS, WIDTH) * 7) % 5
    return (x % 2 if dtype == "?" else x).astype(dtype)


def _field(x):
    record = np.zeros(x.shape, [("pad", "u1"), ("x", x.dtype)])
    record["x"] = x
    return record["x"]


def _misaligned(x):
    if x.dtype == object:
        return x
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def _every_second(x, axis):
    wide = np.zeros((ROWS * (2 - axis), WIDTH * (1 + axis)), x.dtype)
    view = wide[::2] if axis == 0 else wide[:, ::2]
    view[...] = x
    return view


def _locked(x):
    y = x.copy()
    y.flags.writeable = False
    return y


LAYOUTS = {
    "contiguous": lambda x: x,
    "fortran": np.asfortranarray,
    "reversed rows": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "reversed columns": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "every second row": lambda x: _every_second(x, 0),
    "every second column": lambda x: _every_second(x, 1),
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "one row repeated": lambda x: np.broadcast_to(x[:1], x.shape),
    "one column repeated": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "misaligned": _misaligned,
    "field of records": _field,
    "read-only": _locked,
}


@pytest.fixture(scope="module")
def model():
    m = bp.Sequential([bp.layers.Dense(3, "tanh"), bp.layers.Dense(2)], seed=1)
    m.build((WIDTH,))
    m.compile(optimizer=bp.optimizers.SGD(0.1), loss="mse")
    return m


def fresh(model):
    model.set_weights([np.linspace(-1, 1, w.value.size).reshape(w.shape) for w in model.weights])


def entries(model, x, y):
    """Every way in, with what comes out."""
    yield "predict", lambda: model.predict(x)
    yield "call", lambda: model(x)
    yield "evaluate", lambda: np.array(model.evaluate(x, y)["loss"])
    yield "gradients", lambda: model.gradients(x, y).parameters[model.weights[0].name]
    yield "train_on_batch", lambda: (model.train_on_batch(x, y), model.get_weights()[0])[1]
    yield "fit", lambda: (model.fit(x, y, batch_size=4, shuffle=False, verbose=0),
                          model.get_weights()[0])[1]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_as_input(dtype, layout, model):
    y = np.linspace(0, 1, ROWS * 2).reshape(ROWS, 2)
    x = LAYOUTS[layout](values(dtype))
    if dtype in REFUSED:
        fresh(model)
        before = support.weights_hash(model)
        for name, call in entries(model, x, y):
            with pytest.raises(TypeError, match=r"dtype|real number"):
                call()
            assert support.weights_hash(model) == before, name
        return
    copy = np.ascontiguousarray(x).astype(np.float32)
    for (name, call), (_, expected) in zip(entries(model, x, y), entries(model, copy, y),
                                           strict=True):  # fmt: skip
        fresh(model)
        found = call()
        fresh(model)
        assert support.same_bits(found, expected()), name


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_as_target(dtype, layout, model):
    x = np.linspace(-1, 1, ROWS * WIDTH).reshape(ROWS, WIDTH)
    y = LAYOUTS[layout](values(dtype))[:, :2]
    fresh(model)
    if dtype in REFUSED:
        with pytest.raises(TypeError, match=r"dtype|real number"):
            model.train_on_batch(x, y)
        return
    model.train_on_batch(x, y)
    found = model.get_weights()
    fresh(model)
    model.train_on_batch(x, np.ascontiguousarray(y).astype(np.float32))
    assert all(support.same_bits(a, b) for a, b in zip(found, model.get_weights(), strict=True))


@pytest.mark.parametrize("value", [
    np.array([["1"] * WIDTH] * ROWS), np.array([[b"1"] * WIDTH] * ROWS),
    np.zeros((ROWS, WIDTH), "M8[s]"), np.zeros((ROWS, WIDTH), "m8[s]"),
    np.zeros((ROWS, WIDTH), "V4"), np.zeros((ROWS, WIDTH), [("a", "f4")]),
    np.zeros((ROWS, WIDTH), np.clongdouble),
    np.ma.masked_array(np.ones((ROWS, WIDTH)), mask=np.eye(ROWS, WIDTH)),
], ids=["str", "bytes", "datetime", "timedelta", "void", "record", "complex", "mask"])  # fmt: skip
def test_no_silent_lossy_cast(value, model):
    for call in (model.predict, model, lambda a: model.train_on_batch(a, np.zeros((ROWS, 2)))):
        with pytest.raises((TypeError, ValueError)):
            call(value)


def test_long_double_overflow_is_an_error(model):
    if np.finfo(np.longdouble).max == np.finfo(np.float64).max:
        pytest.skip("long double is double here")
    x = np.full((ROWS, WIDTH), np.longdouble("1e400"))
    with pytest.raises((TypeError, ValueError)):
        model.predict(x)


def test_huge_broadcast_view_fails_before_allocating(model):
    x = np.broadcast_to(np.float32(0), (2**50, WIDTH))
    with pytest.raises((MemoryError, ValueError)):
        model.predict(x)


def test_integers_are_converted_batch_by_batch():
    """uint8 images: the result is that of the float array, whatever the batch."""
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 256, (100, 5, 5), dtype=np.uint8), rng.integers(0, 3, 100)
    found = []
    for data in (x, x.astype(np.float64)):
        m = bp.Sequential([bp.layers.Flatten(), bp.layers.Dense(3)], seed=0)
        m.compile(optimizer=bp.optimizers.SGD(1e-5), loss="cross_entropy")
        m.fit(data, y, batch_size=16, epochs=2, verbose=0)
        found.append(m.get_weights()[0])
    assert support.same_bits(*found)
