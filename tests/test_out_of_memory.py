"""Without memory: an error that says for what, and a model that works on as if nothing had been."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from .helpers import support

WORKER = r"""
import ctypes, sys
import numpy as np
import bpcore as bp
from tests.helpers import support
fail = ctypes.CDLL(None).bp_test_fail
fail.argtypes = [ctypes.c_long]
bp.set_num_threads(int(sys.argv[1]), exact=True)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(300, 20)), rng.integers(0, 5, 300)
L = bp.layers

def model(options):
    made = bp.Sequential([L.Dense(33, "gelu"), L.BatchNormalization(), L.Dense(5)], seed=0)
    made.build((20,))
    made.compile(loss="cross_entropy", **options)
    made.train_on_batch(x[:10], y[:10])  # the workspace is for few rows
    return made

CALLS = {
    "train_on_batch": lambda m: m.train_on_batch(x, y),
    "fit": lambda m: m.fit(x, y, batch_size=150, verbose=0),
    "evaluate": lambda m: m.evaluate(x, y, batch_size=None),
    "predict": lambda m: m.predict(x, batch_size=None),
    "gradients": lambda m: m.gradients(x, y),
    "call": lambda m: m(x[:5].astype(np.float32)),
}
OPTIONS = [
    {"optimizer": "adam", "metrics": ["accuracy"]},
    {"optimizer": "sgd", "gradient_clip_norm": 1.0, "accumulate_steps": 2},
]
points = 0
for options in OPTIONS:
    for name, call in CALLS.items():
        twin = model(options)
        call(twin)
        CALLS["train_on_batch"](twin)
        for n in range(1, 2000):
            made = model(options)
            before = support.weights_hash(made)
            fail(n)
            try:
                call(made)
                break
            except MemoryError as error:
                text = str(error)
                assert text.startswith("no memory for ") or "state of optimizer" in text, text
            finally:
                fail(0)
            points += 1
            assert support.weights_hash(made) == before, (name, n, text)
            call(made)
            CALLS["train_on_batch"](made)
            assert support.weights_hash(made) == support.weights_hash(twin), (name, n, text)
print("points", points)
"""


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None or not os.path.exists("/proc/self/maps"):
        pytest.skip("needs a C++ compiler and Linux")
    folder = tmp_path_factory.mktemp("failing")
    source = support.ROOT / "tests" / "cpp" / "failing.cpp"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", source, "-o", "failing.so"],
        cwd=folder, check=True,
    )  # fmt: skip
    return folder / "failing.so"


@pytest.mark.parametrize("threads", [1, 2])
def test_every_allocation_fails_in_turn(failing, threads):
    """MemoryError, weights as before, and afterwards the same bits; nothing is written beyond."""
    done = support.run_python(WORKER, threads, LD_PRELOAD=failing)
    assert int(done.stdout.split()[-1]) >= 60


LIMITED = r"""
import gc, resource, sys
import numpy as np
import bpcore as bp
L = bp.layers

def told(room, call, *words):
    gc.collect()  # models of earlier calls would be room for this one
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (room << 20), -1))
    try:
        call()
    except MemoryError as error:
        found = str(error)
        assert all(word in found for word in words), (found, words)
    else:
        raise AssertionError(words)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))

wide = bp.Sequential([L.Dense(4000, kernel_initializer="zeros", name="wide")], seed=0)
wide.compile("adam", "mse")
wide.build((4000,))
wide.save(sys.argv[1])
one = np.zeros((1, 4000))
told(80, lambda: bp.load_model(sys.argv[1]),
     "Dense 'wide': weight 'kernel'", "(4000, 4000), 64000000 bytes")
told(8, lambda: wide.train_on_batch(one, one), "state of optimizer Adam for wide/kernel",
     "no memory for 64000000 bytes (61 MiB): an array of shape (4000, 4000)")
told(8, lambda: wide.gradients(one, one), "(61.1 MiB): the gradients of all weights")
model = bp.Sequential([L.Dense(2000, "tanh"), L.Dense(2000, "tanh"), L.Dense(1)], seed=0)
model.compile("adam", "mse")
model.build((10,))
x, y = np.zeros((60000, 10), np.float32), np.zeros((60000, 1), np.float32)
whole, rows = {"batch_size": None}, "the values of 60000 rows at once; a smaller batch_size"
told(200, lambda: model.fit(x, y, verbose=0, **whole), "no memory for 19", "(1.79 GiB)", rows)
told(200, lambda: model.train_on_batch(x, y), rows)
told(200, lambda: model.gradients(x, y), rows)
told(200, lambda: model.evaluate(x, y, **whole), rows)
model.train_on_batch(x[:10], y[:10])
model.predict(x[:10])
"""


def test_errors_say_for_what(tmp_path):
    """Under a limit of the system: how many bytes, and for what."""
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("reads /proc")
    given_back = {"MALLOC_MMAP_THRESHOLD_": 1 << 20}  # freed blocks are not kept for the next
    support.run_python(LIMITED, tmp_path / "m", BPCORE_NUM_THREADS=1, **given_back)
