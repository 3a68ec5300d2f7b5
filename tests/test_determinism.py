"""The same bits for every thread count, FMA tier, memory layout, split and flush-to-zero state."""

from __future__ import annotations

import ctypes
import json
import mmap
import platform

import numpy as np
import pytest

import bpcore as bp

from .helpers import determinism_worker as worker
from .helpers import support

RUN = "import runpy; runpy.run_module('tests.helpers.determinism_worker', run_name='__main__')"


@pytest.fixture(scope="module")
def expected():
    done = support.run_python(RUN, BPCORE_ISA=support.fma_tiers()[-1], BPCORE_NUM_THREADS=1)
    return json.loads(done.stdout)


@pytest.mark.parametrize("tier", ["v3", "v4", "neon"])
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_same_bits_for_threads_and_tiers(tier, threads, expected):
    if tier not in support.tiers():
        pytest.skip(f"this CPU has no {tier}")
    done = support.run_python(RUN, BPCORE_ISA=tier, BPCORE_NUM_THREADS=threads)
    found = json.loads(done.stdout)
    different = [name for name in expected if found[name] != expected[name]]
    assert not different, f"{tier}, {threads} threads: other bits in {different}"


def test_baseline_is_close():
    if "baseline" not in support.tiers():
        pytest.skip("no such tier on this architecture")
    code = """
import numpy as np, bpcore as bp, sys
from tests.helpers.determinism_worker import data, models, trained
x, y = data()
name, layers, optimizer, loss = next(iter(models()))
np.save(sys.argv[1], np.concatenate([a.ravel() for a in trained(layers, optimizer, loss, x, y)]))
"""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        found = []
        for tier in ("baseline", support.fma_tiers()[0]):
            path = f"{folder}/{tier}.npy"
            support.run_python(code, path, BPCORE_ISA=tier)
            found.append(np.load(path))
    assert np.abs(found[0] - found[1]).max() <= 1e-3 * np.abs(found[1]).max()


def small():
    L = bp.layers
    return [L.Dense(20, "relu"), L.Dense(7)], bp.optimizers.Adam(0.01), "cross_entropy"


def test_set_num_threads_in_one_process(threads_restored):
    x, y = worker.data()
    found = set()
    for n in (1, 2, 3, 8):
        bp.set_num_threads(n, exact=True)
        found.add(worker.digest(worker.trained(*small(), x, y)))
    assert len(found) == 1


def test_repeated_runs_are_equal():
    x, y = worker.data()
    assert len({worker.digest(worker.trained(*small(), x, y)) for _ in range(5)}) == 1


def layouts(x):
    yield "fortran", np.asfortranarray(x)
    backwards = np.ascontiguousarray(x[::-1])
    yield "reversed rows", backwards[::-1]
    yield "reversed columns", np.ascontiguousarray(x[:, ::-1])[:, ::-1]
    wide = np.zeros((len(x) * 2, x.shape[1] * 3), x.dtype)
    wide[::2, ::3] = x
    yield "strided", wide[::2, ::3]
    yield "other byte order", x.astype(x.dtype.newbyteorder())
    raw = np.zeros(x.nbytes + 1, np.uint8)
    odd = raw[1:].view(x.dtype).reshape(x.shape)
    odd[...] = x
    yield "misaligned", odd
    locked = x.copy()
    locked.flags.writeable = False
    yield "read-only", locked
    yield "float64", x.astype(np.float64)


def test_memory_layouts_give_the_bits_of_the_contiguous_copy():
    x, y = worker.data(200)
    expected = worker.digest(worker.trained(*small(), x, y))
    for name, array in layouts(x):
        assert worker.digest(worker.trained(*small(), array, y)) == expected, name
    for dtype in (np.int8, np.int16, np.int64, np.uint8, ">i4", np.float32, np.float64):
        found = worker.digest(worker.trained(*small(), x, y.astype(dtype)))
        assert found == expected, dtype


def test_progress_bar_and_callbacks_do_not_change_bits(capsys):
    x, y = worker.data(200)
    found = [worker.digest(worker.trained(*small(), x, y, verbose=v)) for v in (0, 1, 2)]

    class Watch(bp.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            pass

    found.append(worker.digest(worker.trained(*small(), x, y, callbacks=[Watch()])))
    assert len(set(found)) == 1


def test_a_prediction_does_not_depend_on_its_batch(threads_restored):
    x, y = worker.data(300)
    rng = np.random.default_rng(1)
    for name, layers, optimizer, loss in worker.models():
        model = bp.Sequential(layers, seed=1)
        model.compile(optimizer=optimizer, loss=loss)
        model.fit(x, y, epochs=1, verbose=0)
        whole = model.predict(x)
        for size in (1, 2, 3, 7, 16, 33, 100, 299, 300, 1024):
            assert support.same_bits(model.predict(x, batch_size=size), whole), (name, size)
        for _ in range(60):
            rows = rng.permutation(300)[: rng.integers(1, 40)]
            assert support.same_bits(model.predict(x[rows]), whole[rows]), name
        for n in (1, 3, 8):
            bp.set_num_threads(n, exact=True)
            assert support.same_bits(model.predict(x), whole), (name, n)
        for i in (0, 151, 299):
            assert support.same_bits(model(x[i : i + 1]), whole[i : i + 1]), name


def test_shuffle_is_a_function_of_the_seed():
    x, y = worker.data(200)
    a, b = (worker.trained(*small(), x, y, epochs=3) for _ in range(2))
    assert worker.digest(a) == worker.digest(b)
    c = worker.trained(*small(), x, y, epochs=3, shuffle=False)
    assert worker.digest(a) != worker.digest(c)


def mxcsr_setter():
    """ldmxcsr [rdi]; ret, as a function: the control word of this thread's SSE unit."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\x0f\xae\x17\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    function = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_uint32))(address)

    def set_word(word):
        function(ctypes.byref(ctypes.c_uint32(word)))

    set_word.keep = code
    return set_word


STATES = {"FTZ": 0x9F80, "DAZ": 0x1FC0, "FTZ and DAZ": 0x9FC0, "round up": 0x5F80}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="MXCSR is x86-64's")
@pytest.mark.parametrize("state", STATES)
def test_callers_float_state_does_not_matter(state, threads_restored):
    """Tiny weights, so that products are subnormal; whichever thread does the work."""
    set_word = mxcsr_setter()
    x, y = worker.data(128)
    x = (x * 1e-20).astype(np.float32)

    def result(poison):
        layers = [bp.layers.Dense(16, "linear", kernel_initializer=bp.initializers.Constant(1e-19)),
                  bp.layers.Dense(7)]  # fmt: skip
        model = bp.Sequential(layers, seed=1)
        model.compile(optimizer=bp.optimizers.SGD(1e-3), loss="cross_entropy")
        model.build((37,))
        model.predict(x)
        set_word(poison)
        try:
            model.fit(x, y, batch_size=32, epochs=1, shuffle=False, verbose=0)
            arrays = [*model.get_weights(), model.predict(x), model(x[:1])]
        finally:
            set_word(0x1F80)
        return worker.digest(arrays)

    found = {}
    for n in (1, 2):
        bp.set_num_threads(n, exact=True)
        found[n, "clean"], found[n, "poisoned"] = result(0x1F80), result(STATES[state])
    assert len(set(found.values())) == 1, found
