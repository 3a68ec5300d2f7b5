"""Nothing is allocated in a training step, and memory stays flat over many models."""

from __future__ import annotations

import ctypes
import gc
import os

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

WORKER = r"""
import sys
import numpy as np
from bpcore import _core
from tests.helpers.counting import allocations
_core.set_num_threads(int(sys.argv[1]), True)

CROSS_ENTROPY = {"kind": "cross_entropy", "options": [0.0]}
QUANTILE = {"kind": "quantile", "options": [0.1, 0.3, 0.5, 0.7, 0.9], "point": 2}

def trainer(clip, dtype, weighted, optimizer, parameters, loss=CROSS_ENTROPY):
    rng = np.random.default_rng(0)
    sizes, params, names = (20, 70, 33, 5), [], []
    nodes, last = [("input", (), (), {"shape": (20,)}, "x")], 0
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        w, bias = _core.empty((a, b), dtype), _core.empty((b,), dtype)
        w[...] = rng.normal(size=(a, b)) / a ** 0.5
        params += [w, bias]; names += [f"w{i}", f"b{i}"]
        nodes.append(("dense", (last,), (2 * i, 2 * i + 1), {}, f"d{i}"))
        last = len(nodes) - 1
        if i < 2:
            nodes.append(("activation", (last,), (), {"function": "gelu", "alpha": 0.0}, f"a{i}"))
            last = len(nodes) - 1
    net = _core.Network(dtype, nodes, [last], params, names, [True] * len(params))
    n = _core.slot_count(optimizer)
    slots = [[_core.empty(p.shape, dtype) for _ in range(n)] for p in params]
    labels = loss is CROSS_ENTROPY
    metric = "accuracy" if labels else "mae"
    t = _core.Trainer(net, [loss], [1.0], [[(metric, {})]], optimizer, slots, clip_norm=clip,
                      parameters=parameters)
    x = rng.normal(size=(4000, 20)).astype(np.float64)  # converted batch by batch
    y = rng.integers(0, 5, 4000).astype(np.int32) if labels else rng.normal(size=4000)
    w = rng.random(4000) if weighted else None
    t.set_data([x], [(y, labels)], [w])
    return t

sgd = {"kind": "sgd", "weight_decay": 0.0, "decoupled": False}
adam = {"kind": "adam", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0,
        "decoupled": False}
bound = ("norm", 0.0, 0.5, 1.0, 1, 70, 33)
special = {"penalties": [(1e-4, 1e-3)] * 6, "groups": [(1.0, 0.0), (0.1, 0.5)],
           "group_of": [0, 1, 0, 1, 0, 1],
           "constraints": [None, ("non_negative",), bound, None, None, None]}
for clip in (0.0, 1.0):
    for dtype in ("float32", "float64"):
        for weighted in (False, True):
            for optimizer, parameters in ((sgd, {}), (adam, {}), (adam, special)):
                t = trainer(clip, dtype, weighted, optimizer, parameters)
                few, many = allocations(t, 10), allocations(t, 110)
                assert many == few, f"{clip=} {dtype} {weighted=}: {many - few} in 100 steps"
                assert many <= 50, f"one call of run() allocates {many} times"
t = trainer(0.0, "float32", True, sgd, {}, QUANTILE)
few, many = allocations(t, 10), allocations(t, 110)
assert many == few, f"quantile: {many - few} in 100 steps"

import bpcore as bp
from tests.helpers.determinism_worker import every_layer
model = bp.Sequential(every_layer(), seed=0)
model.build((20,))
model.compile("adam", loss="cross_entropy", metrics=["accuracy"])
t = model._engine.trainer("train", model._compilation)
rng = np.random.default_rng(0)
labels = rng.integers(0, 7, 4000).astype(np.int32)
t.set_data([rng.normal(size=(4000, 20))], [(labels, True)], [None])
few, many = allocations(t, 10), allocations(t, 110)
assert many == few, f"layers: {many - few} in 100 steps"
print("ok")
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_no_allocation_in_a_step(counter, threads):
    done = support.run_python(WORKER, threads, LD_PRELOAD=counter, PYTHONMALLOC="pymalloc")
    assert "ok" in done.stdout


def test_the_counter_counts(counter):
    code = """
from tests.helpers.counting import calls
before = calls()
blocks = [bytearray(5000) for _ in range(100)]
assert calls() - before >= 100
"""
    support.run_python(code, LD_PRELOAD=counter)


def resident():
    """Bytes in memory, after the C allocator has given back what is free in its heaps."""
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def life(rng):
    model = bp.Sequential([bp.layers.Dense(64, "relu"), bp.layers.Dense(5)], seed=0)
    model.compile(optimizer="adam", loss="cross_entropy", metrics=["accuracy"])
    x, y = rng.normal(size=(64, 30)), rng.integers(0, 5, 64)
    model.fit(x, y, epochs=1, verbose=0)
    model.predict(x)
    return model


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_resident_memory_stays_flat(rng):
    """Many models made and dropped, then many predictions of one."""
    for _ in range(100):
        life(rng)
    before = resident()
    for _ in range(400):
        model = life(rng)
    x = rng.normal(size=(64, 30))
    for _ in range(5000):
        model.predict(x)
    assert resident() - before <= 2 << 20


def test_a_weights_view_outlives_its_model():
    model = bp.Sequential([bp.layers.Dense(100)], seed=0)
    model.build((50,))
    view = model.weights[0].value
    copy = view.copy()
    del model
    junk = [np.ones((50, 100), np.float32) for _ in range(50)]
    assert support.same_bits(view, copy) and len(junk) == 50


def test_views_are_what_the_core_trains(rng):
    model = bp.Sequential([bp.layers.Dense(3)], seed=0)
    model.build((4,))
    view = model.weights[0].value
    model.compile(optimizer="sgd", loss="mse")
    before = view.copy()
    model.train_on_batch(rng.normal(size=(8, 4)), rng.normal(size=(8, 3)))
    assert not np.array_equal(view, before)
    view[...] = 0
    model.weights[1].value = np.ones(3)
    assert (model.predict(rng.normal(size=(2, 4))) == 1).all()
