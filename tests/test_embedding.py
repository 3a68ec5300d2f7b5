"""Tables: what a batch touches is all that a step costs, with the bits of what costs more."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

L, Opt = bp.layers, bp.optimizers


def table_of(rows, width=16, dtype="float32", optimizer="adam", seed=3, steps=None, **told):
    """A table whose first rows are the same however many there are; the target is a vector."""
    first = np.random.default_rng(seed).normal(size=(200, width))
    values = np.zeros((rows, width))
    values[:200] = first[: min(rows, 200)]
    embedding = L.Embedding(rows, width, embeddings_initializer=values, **told)
    model = bp.Sequential([bp.Input((steps,)), embedding, L.Dense(width)],
                          seed=1, dtype=dtype)  # fmt: skip
    model.compile(optimizer(), "mse")
    return model


OPTIMIZERS = {
    "sgd": lambda: Opt.SGD(0.5),
    "sgd, decay": lambda: Opt.SGD(0.5, weight_decay=0.01),
    "momentum": lambda: Opt.SGD(0.5, momentum=0.9),
    "adagrad": lambda: Opt.Adagrad(0.5),
    "rmsprop": lambda: Opt.RMSprop(0.05),
    "adam": lambda: Opt.Adam(0.05),
    "lion": lambda: Opt.Lion(0.05),
}
WAYS = {
    "plain": {},
    "norm": {"gradient_clip_norm": 0.01},
    "value": {"gradient_clip_value": 1e-3},
    "waits": {"accumulate_steps": 3},
    "waits, norm": {"accumulate_steps": 2, "gradient_clip_norm": 0.01},
}


def batches(rng, steps, width=16, count=7, n=20):
    """Some ids often, one in every sample and chunk, others once."""
    for _ in range(count):
        ids = rng.integers(0, 200, (n, steps)) // rng.integers(1, 40, (n, steps))
        ids[:, -1] = 7
        yield ids, rng.normal(size=(n, steps, width))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_large_table_has_the_bits_of_a_small_one(optimizer, way, rng):
    """Of 200 rows all are looked at, of 4,000 those that are touched."""
    data = list(batches(rng, 140, count=3, n=11))
    found = []
    for rows in (200, 4000):
        model = table_of(rows, optimizer=OPTIMIZERS[optimizer], steps=140)
        model.compile(OPTIMIZERS[optimizer](), "mse", **WAYS[way])
        for ids, y in data:
            model.fit(ids, y, batch_size=4, shuffle=False, verbose=0)
        grads = model.gradients(*data[0]).parameters["embedding/embeddings"]
        own = model.train_on_batch(data[1][0], dy=lambda y: y / 100)
        found.append((model.get_weights()[0][:200], grads[:200], own, model.weights[0].grad[:200]))
        if rows > 200:
            assert not grads[200:].any() and not model.weights[0].grad[200:].any()
    for small, large in zip(*found, strict=True):
        assert support.same_bits(small, large)


def torch_table(sparse, rule, **told):
    torch = pytest.importorskip("torch")
    table = torch.nn.Embedding(500, 16, sparse=sparse, dtype=torch.float64)
    return torch, table, getattr(torch.optim, rule)(table.parameters(), **told)


@pytest.mark.parametrize("lazy, rule, told, ours", [
    (True, "SparseAdam", {"lr": 0.05, "eps": 1e-30}, lambda: Opt.Adam(0.05, epsilon=1e-30)),
    (False, "Adam", {"lr": 0.05}, lambda: Opt.Adam(0.05)),
    (True, "Adagrad", {"lr": 0.1}, lambda: Opt.Adagrad(0.1)),
    (False, "Adagrad", {"lr": 0.1}, lambda: Opt.Adagrad(0.1)),
    (False, "SGD", {"lr": 0.3}, lambda: Opt.SGD(0.3)),
    (False, "SGD", {"lr": 0.3, "momentum": 0.9}, lambda: Opt.SGD(0.3, momentum=0.9)),
])  # fmt: skip
@pytest.mark.parametrize("rows", [500, 3000])
def test_updates_are_pytorchs(lazy, rule, told, ours, rows, rng):
    torch, theirs, optimizer = torch_table(lazy and rule == "SparseAdam", rule, **told)
    values = np.zeros((rows, 16))
    values[:500] = rng.normal(size=(500, 16))
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(values[:500]))
    model = bp.Sequential(
        [bp.Input((None,)), L.Embedding(rows, 16, embeddings_initializer=values, lazy=lazy)],
        dtype="float64",
    )
    model.compile(ours(), "mse")
    for ids, y in batches(rng, 12):
        model.train_on_batch(ids, y)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(theirs(torch.tensor(ids)), torch.tensor(y)).backward()
        optimizer.step()
        own = theirs.weight.detach().numpy()
        np.testing.assert_allclose(model.get_weights()[0][:500], own, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(model.get_weights()[0][500:], 0)


@pytest.mark.parametrize("way", WAYS)
def test_lazy_moves_nothing_else(way, rng):
    """Rows and slots of other ids keep their bits; touched rows those of a table of them alone."""
    decay = lambda: Opt.Adam(0.05, weight_decay=0.1)  # noqa: E731
    model, small = (table_of(r, optimizer=decay, lazy=True, steps=12) for r in (3000, 200))
    for each in (model, small):
        each.compile(decay(), "mse", **WAYS[way])
    model.weights[0].value[...] = np.random.default_rng(0).normal(size=(3000, 16))
    small.weights[0].value[...] = model.weights[0].value[:200]
    before = model.weights[0].value.copy()
    touched = set()
    for ids, y in batches(rng, 12, count=6):
        for each in (model, small):
            each.fit(ids, y, batch_size=10, shuffle=False, verbose=0)
        touched |= set(ids.ravel().tolist())
    rest = np.array([i for i in range(3000) if i not in touched])
    after, slots = model.weights[0].value, model.optimizer._slots[model.weights[0]]
    assert support.same_bits(after[rest], before[rest])
    assert not any(slot[rest].any() for slot in slots)
    assert (after[sorted(touched)] != before[sorted(touched)]).any(axis=1).all()
    assert support.same_bits(after[:200], small.weights[0].value)


def test_any_number_of_threads(rng):
    data = list(batches(rng, 40, n=30))
    found = []
    for threads in (1, 2, 3):
        with bp.threads(threads, exact=True):
            model = table_of(5000, optimizer=OPTIMIZERS["sgd"], steps=40)
            layers = [
                L.Embedding(5000, 8, lazy=True),
                L.LSTM(5, return_sequences=True),
                L.Dense(16),
            ]
            lstm = bp.Sequential([bp.Input((None,)), *layers], seed=4)
            lstm.compile("adam", "mse", gradient_clip_norm=0.1)
            for ids, y in data:
                model.train_on_batch(ids, y)
                lstm.train_on_batch(ids, y)
            found.append((support.weights_hash(model), support.weights_hash(lstm)))
    assert found[0] == found[1] == found[2]


def test_two_calls_of_one_table(rng):
    """Both inputs' gradients in one row, as of the rows next to each other."""
    for rows in (50, 4000):
        table = L.Embedding(rows, 16, embeddings_initializer=np.ones((rows, 16)), lazy=True)
        a, b = bp.Input((9,)), bp.Input((9,))
        model = bp.Model([a, b], L.Add()([table(a), table(b)]), dtype="float64", seed=0)
        model.compile(Opt.SGD(1.0), "half_squared_error")
        ids = rng.integers(0, 50, (2, 6, 9))
        y = rng.normal(size=(6, 9, 16))
        expected = np.ones((rows, 16))
        delta = (2 - y) / 6 / 9
        for part in ids:
            np.subtract.at(expected, part, delta)
        model.train_on_batch(list(ids), y)
        scale = (model.weights[0].value - 1).sum() / (expected - 1).sum()
        np.testing.assert_allclose(model.weights[0].value - 1, scale * (expected - 1), atol=1e-12)
        assert round(scale) in (1, 9)  # the loss is a mean over the batch, or over its steps


def test_a_loop_of_ones_own_is_the_step(rng):
    ids, y = next(batches(rng, 12))
    models = [table_of(3000, optimizer=OPTIMIZERS["adam"], lazy=True, steps=12) for _ in range(2)]
    models[0].train_on_batch(ids, y)
    out = models[1].forward(ids)
    models[1].backward(2 * (out - y) / y.size)
    models[1].apply_gradients()
    for a, b in zip(*(m.get_weights() for m in models), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    models[1].zero_gradients()
    before = models[1].get_weights()[0]
    models[1].apply_gradients()  # nothing was touched
    assert support.same_bits(models[1].get_weights()[0], before)


LEAVE_THE_REST = {
    "sgd": {"optimizer": lambda: Opt.SGD(0.1)},
    "adagrad": {"optimizer": lambda: Opt.Adagrad(0.1)},
    "lazy adam": {"optimizer": lambda: Opt.Adam(0.1), "lazy": True},
}


def step_with_the_rest_out_of_reach(told):
    """A step after which the rest of the table, and of what the optimizer keeps of it, may neither
    be read nor written: the process ends where anything does."""
    model = table_of(50_000, steps=12, **LEAVE_THE_REST[told])
    ids, y = next(batches(np.random.default_rng(1), 12))
    model.train_on_batch(ids, y)
    table = model.weights[0]
    arrays = [table.value, *model.optimizer._slots[table]]
    before = [array.copy() for array in arrays]
    libc, page = ctypes.CDLL(None, use_errno=True), mmap.PAGESIZE

    def protect(array, how):
        begin = -(-array[200:].ctypes.data // page) * page
        end = (array.ctypes.data + array.nbytes) // page * page
        assert end - begin > 0.9 * array.nbytes
        where = ctypes.c_void_p(begin), ctypes.c_size_t(end - begin)
        assert libc.mprotect(*where, how) == 0, ctypes.get_errno()

    for array in arrays:
        protect(array, 0)
    model.train_on_batch(ids, y)
    for array in arrays:
        protect(array, mmap.PROT_READ | mmap.PROT_WRITE)
    for array, old in zip(arrays, before, strict=True):
        assert not np.array_equal(array[:200], old[:200])
        assert support.same_bits(array[200:], old[200:])


@pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="needs mprotect")
@pytest.mark.parametrize("told", LEAVE_THE_REST)
def test_a_step_touches_what_its_batch_does(told):
    code = f"from tests import test_embedding as t; t.step_with_the_rest_out_of_reach({told!r})"
    support.run_python(code)


def test_lazy_is_saved(tmp_path):
    model = table_of(3000, optimizer=OPTIMIZERS["adam"], lazy=True, steps=12)
    model.save(tmp_path / "m")
    assert bp.load_model(tmp_path / "m").layers[0].lazy
    with pytest.raises(TypeError, match="lazy must be"):
        L.Embedding(3, 2, lazy="yes")
