"""compute="bfloat16": products of operands rounded to bfloat16, summed in float32.

The rounding is checked against integer arithmetic on the bits, the products against NumPy in
float64 on rounded operands, training against a NumPy step that rounds where the core should."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .helpers import support
from .helpers.tiles import rounded

L = bp.layers
pytestmark = pytest.mark.usefixtures("all_rounded")
FORMS = ((False, False), (False, True), (True, False), (True, True))
needs_bfloat16 = pytest.mark.skipif(
    not _core.config()["bfloat16"], reason="this CPU has no AVX512_BF16"
)


def operands(rng, m, k, n, form, draw):
    a = draw((k, m) if form[0] else (m, k)).astype(np.float32)
    b = draw((n, k) if form[1] else (k, n)).astype(np.float32)
    return a, b, (a.T if form[0] else a), (b.T if form[1] else b)


# ---- products ------------------------------------------------------------------------------------


@needs_bfloat16
@pytest.mark.parametrize("form", FORMS)
def test_exact_integers(form):
    rng = np.random.default_rng(1)
    edges = [1, 2, 3, 13, 14, 15, 16, 17, 28, 29, 31, 32, 33, 48, 63, 64, 65, 97, 300]
    for _ in range(400):
        m, k, n = (int(s) for s in rng.choice(edges, 3))
        # 8 bits of mantissa hold -128..128; sums stay below 2^24, where float32 is exact.
        a, b, op_a, op_b = operands(rng, m, k, n, form, lambda s: rng.integers(-128, 129, s))
        bias = rng.integers(-99, 99, n).astype(np.float32)
        c = _core.matmul(a, b, *form, bias=bias, compute="bfloat16")
        assert np.array_equal(c, op_a.astype(float) @ op_b + bias), (m, k, n)


@needs_bfloat16
@pytest.mark.parametrize("form", FORMS)
def test_exact_integers_where_a_far_matrix_is_asked_for_ahead(form):
    rng = np.random.default_rng(4)
    for m, k, n in [(20, 1601, 1200), (100, 3000, 700)]:
        a, b, op_a, op_b = operands(rng, m, k, n, form, lambda s: rng.integers(-32, 33, s))
        expected = op_a.astype(float) @ op_b
        for chunk in (0, 512):
            found = _core.matmul(a, b, *form, chunk=chunk, compute="bfloat16")
            assert np.array_equal(found, expected), (m, k, n, chunk)


@needs_bfloat16
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("m, k, n", [(5, 784, 33), (70, 2500, 130), (40, 4099, 20), (3, 1, 600)])
@pytest.mark.parametrize("chunk", [0, 64, 1024])
def test_operands_are_rounded_to_nearest_even(form, m, k, n, chunk):
    rng = np.random.default_rng(2)
    a, b, op_a, op_b = operands(rng, m, k, n, form, rng.standard_normal)
    c = _core.matmul(a, b, *form, chunk=chunk, compute="bfloat16")
    size = np.abs(op_a) @ np.abs(op_b)
    assert np.all(np.abs(c - rounded(op_a) @ rounded(op_b)) <= 4e-6 * size)
    # The bound tells rounded operands from others: full ones, and truncated ones.
    truncated = (np.asarray(op_a).view(np.uint32) & 0xFFFF0000).view(np.float32)
    for other in (op_a.astype(float) @ op_b, truncated.astype(float) @ rounded(op_b)):
        assert np.any(np.abs(c - other) > 4e-6 * size)


@needs_bfloat16
def test_rounding_of_single_values():
    """1 * x: halves go to even, the largest numbers become infinite, a NaN stays."""
    x = np.array([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1 + 2**-8 + 2**-20, 3.4e38, -3.4e38, 0.0,
                  -0.0, 2**-126, np.inf, np.nan], np.float32)  # fmt: skip
    expected = [1, 1 + 2**-6, -1, 1 + 2**-7, np.inf, -np.inf, 0, 0, 2**-126, np.inf, np.nan]
    for form in FORMS:
        b = np.ascontiguousarray(x[:, None] if form[1] else x[None, :])
        c = _core.matmul(np.ones((1, 1), np.float32), b, *form, compute="bfloat16")
        assert np.array_equal(c[0], np.array(expected, np.float32), equal_nan=True)


@needs_bfloat16
@pytest.mark.parametrize("form", FORMS[:3])
def test_an_element_does_not_depend_on_what_is_around_it(form):
    rng = np.random.default_rng(3)
    m, k, n = 61, 2301, 210
    a, b, _, _ = operands(rng, m, k, n, form, rng.standard_normal)
    whole = _core.matmul(a, b, *form, chunk=128, compute="bfloat16")
    for _ in range(20):
        i, j = sorted(rng.integers(0, m, 2)), sorted(rng.integers(0, n, 2))
        rows, columns = slice(i[0], i[1] + 1), slice(j[0], j[1] + 1)
        part_a = np.ascontiguousarray(a[:, rows] if form[0] else a[rows])
        part_b = np.ascontiguousarray(b[columns] if form[1] else b[:, columns])
        part = _core.matmul(part_a, part_b, *form, chunk=128, compute="bfloat16")
        assert np.array_equal(part, whole[rows, columns])


# ---- models --------------------------------------------------------------------------------------


def small(compute="bfloat16", seed=3, **options):
    layers = [L.Dense(24, "tanh"), L.Dense(17, "relu"), L.Dense(4)]
    model = bp.Sequential(layers, seed=seed, compute=compute, **options)
    model.build((11,))
    return model


def batch(n=45, columns=11, classes=4):
    rng = np.random.default_rng(7)
    return rng.standard_normal((n, columns)).astype(np.float32), rng.integers(0, classes, n)


@needs_bfloat16
def test_gradients_are_those_of_rounded_operands():
    """Every product of the step, by hand; what is not a product is not rounded."""
    x, y = batch()
    model = small()
    model.compile("sgd", "cross_entropy")
    w1, b1, w2, b2, w3, b3 = (w.astype(float) for w in model.get_weights())
    a1 = np.tanh(rounded(x) @ rounded(w1) + b1)
    a2 = np.maximum(rounded(a1) @ rounded(w2) + b2, 0)
    z = rounded(a2) @ rounded(w3) + b3
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    d3 = (p - np.eye(4)[y]) / len(x)
    d2 = rounded(d3) @ rounded(w3).T * (a2 > 0)
    d1 = rounded(d2) @ rounded(w2).T * (1 - a1 * a1)
    expected = [rounded(x).T @ rounded(d1), d1.sum(0), rounded(a1).T @ rounded(d2), d2.sum(0),
                rounded(a2).T @ rounded(d3), d3.sum(0)]  # fmt: skip
    found = list(model.gradients(x, y).parameters.values())
    full = small(None)
    full.compile("sgd", "cross_entropy")
    # An activation on the edge of two bfloat16 numbers may go either way: 2^-8 of one term.
    for g, e, f in zip(found, expected, full.gradients(x, y).parameters.values(), strict=True):
        near, far = np.linalg.norm(g - e), np.linalg.norm(f - e)
        assert near <= 2e-4 * np.linalg.norm(e)
        assert far >= 5 * near, "the check would accept products that are not rounded"


@needs_bfloat16
def test_products_that_are_added_are_the_sums_of_products_alone():
    """A layer called twice, and an input with two readers, against parts that stand alone."""
    x, y = batch(columns=1100)

    def gradients(shared, compute="bfloat16"):
        a = bp.Input((1100,))
        first = L.Dense(1100, "tanh")
        second = first if shared else L.Dense(1100, "tanh")
        side = L.Dense(1100)
        model = bp.Model(a, L.Dense(4)(second(first(a)) + side(a)), compute=compute, seed=1)
        w = np.random.default_rng(4).normal(0, 0.03, (2, 1100, 1100)).astype(np.float32)
        for layer in (first, second):
            layer.set_weights([w[0], np.zeros(1100)])
        side.set_weights([w[1], np.zeros(1100)])
        model.layers[-1].set_weights([w[0, :, :4], np.zeros(4)])
        model.compile("sgd", "cross_entropy")
        found = model.gradients(x, y, wrt_inputs=True)
        dw = found.parameters[first.kernel.name]
        if not shared:
            dw = dw + found.parameters[second.kernel.name]
        return dw, found.inputs, found.parameters[side.kernel.name]

    together, apart, full = gradients(True), gradients(False), gradients(True, None)
    for one, other, wide in zip(together, apart, full, strict=True):
        assert np.array_equal(one, other)
        assert 1e-4 < np.linalg.norm(one - wide) / np.linalg.norm(wide) < 3e-2


@needs_bfloat16
def test_weights_stay_in_single_precision():
    """Steps far below bfloat16's spacing add up."""
    x, y = batch()
    model = small()
    model.compile(bp.optimizers.SGD(1e-6), "cross_entropy")
    before = model.get_weights()[0]
    gradient = next(iter(model.gradients(x, y).parameters.values()))
    for _ in range(3):
        model.train_on_batch(x, y)
    moved = model.get_weights()[0] - before
    assert np.abs(moved + 3e-6 * gradient).max() <= 1e-2 * np.abs(3e-6 * gradient).max() + 2**-24


@needs_bfloat16
@pytest.mark.parametrize("units, columns, n", [((24, 17), 11, 45), ((520, 530), 600, 70)])
def test_same_bits_for_threads_and_splits(units, columns, n):
    """The second network goes by columns and slabs."""
    x, y = batch(n, columns)

    def run(threads):
        with bp.threads(threads, exact=True):
            layers = [L.Dense(u, "relu") for u in units]
            model = bp.Sequential([*layers, L.Dense(4)], seed=1, compute="bfloat16")
            model.compile(bp.optimizers.Adam(1e-3), "cross_entropy")
            model.fit(x, y, batch_size=n // 2 + 1, epochs=2, verbose=0)
            return model, [*model.get_weights(), model.predict(x)]

    model, expected = run(1)
    for threads in (2, 3, 8):
        assert all(map(np.array_equal, run(threads)[1], expected)), threads
    for rows in (slice(0, 1), slice(7, 24), slice(n - 1, n)):
        assert np.array_equal(model.predict(x[rows]), expected[-1][rows])
        assert np.array_equal(model(x[rows]), expected[-1][rows])


@needs_bfloat16
def test_a_last_batch_of_any_size_has_room():
    """The room is asked for at some batch sizes only; with long and short last batches, and
    columns with which the way a product is blocked changes between them."""
    rng = np.random.default_rng(5)
    for columns in (326, 401, 512):
        model = bp.Sequential([L.Dense(columns)], seed=0, compute="bfloat16")
        model.compile("sgd", "mean_squared_error")
        n = 5793 + 4823
        x, y = rng.random((n, 30), np.float32), rng.random((n, columns), np.float32)
        with bp.threads(1, exact=True):
            losses = model.fit(x, y, batch_size=5793, shuffle=False, verbose=0).history["loss"]
        assert np.isfinite(losses).all()


@needs_bfloat16
def test_resume_gives_the_same_bits(tmp_path):
    x, y = batch()
    path = tmp_path / "run.ckpt"

    def model():
        made = small()
        made.compile(bp.optimizers.Adam(1e-3), "cross_entropy")
        return made

    whole, first = model(), model()
    whole.fit(x, y, batch_size=16, epochs=4, verbose=0)
    first.fit(x, y, batch_size=16, epochs=2, verbose=0)
    first.save_checkpoint(path)
    second = bp.load_checkpoint(path)
    assert second.compute == "bfloat16"
    second.fit(x, y, batch_size=16, epochs=4, initial_epoch=2, verbose=0)
    assert support.weights_hash(second) == support.weights_hash(whole)


@needs_bfloat16
def test_learns_as_in_single_precision():
    x, y = bp.datasets.load_digits()
    x = x.reshape(len(x), -1) / np.float32(16)
    x, xt, y, yt = x[:1300], x[1300:], y[:1300], y[1300:]
    accuracy = []
    for compute in (None, "bfloat16"):
        model = bp.Sequential([L.Dense(64, "relu"), L.Dense(10)], seed=0, compute=compute)
        model.compile(bp.optimizers.Adam(3e-3), "cross_entropy")
        model.fit(x, y, batch_size=32, epochs=15, verbose=0)
        accuracy.append(np.mean(model.predict(xt).argmax(1) == yt))
    assert min(accuracy) > 0.87 and abs(accuracy[0] - accuracy[1]) < 0.02


@needs_bfloat16
def test_file_remembers_and_can_be_read_otherwise(tmp_path):
    x, _ = batch()
    path = tmp_path / "model.safetensors"
    model = small()
    model.save(path)
    again, full = bp.load_model(path), bp.load_model(path, compute="float32")
    assert (again.compute, full.compute) == ("bfloat16", "float32")
    assert np.array_equal(again.predict(x), model.predict(x))
    assert np.array_equal(full.predict(x), small(None).predict(x))
    assert not np.array_equal(full.predict(x), model.predict(x))
    instruction = _core.config()["bfloat16"]
    assert f"products in bfloat16 ({instruction})" in model.summary()
    assert "compute" not in full.get_config()


@needs_bfloat16
def test_gradcheck_looks_at_the_formulas_in_double():
    x, y = batch()
    model = small()
    model.compile("sgd", "cross_entropy")
    assert model.gradcheck(x, y).max_error <= 1e-7
    assert model.compute == "bfloat16"


# ---- where it cannot be had ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"compute": "bf16"}, ValueError, "bfloat16"),
        ({"compute": 16}, ValueError, "bfloat16.*16"),
        ({"compute": np.float32}, ValueError, "bfloat16"),
        ({"compute": "bfloat16", "dtype": "float64"}, ValueError, "dtype='float32'.*float64"),
        ({"compute": "float64"}, ValueError, "float32.*float64"),
    ],
)
def test_bad_compute(options, error, words):
    with pytest.raises(error, match=words):
        bp.Sequential([L.Dense(3)], **options)
    with pytest.raises(error, match=words):
        bp.Model(*(2 * [bp.Input((2,))]), **options)


def test_bad_compute_of_load_model_does_not_blame_the_file(tmp_path):
    path = tmp_path / "model.safetensors"
    bp.Sequential([bp.Input((2,)), L.Dense(3)], seed=1).save(path)
    with pytest.raises(ValueError, match="bf16") as caught:
        bp.load_model(path, compute="bf16")
    assert not isinstance(caught.value, bp.FormatError)


class Old(bp.Sequential):
    """A class of the user's from before there was `compute`."""

    def __init__(self, layers=None, *, name=None, dtype="float32", seed=None):
        super().__init__(layers, name=name, dtype=dtype, seed=seed)


def test_classes_and_pickles_from_before_compute():
    x, _ = batch()
    model = Old([bp.Input((11,)), L.Dense(3)], seed=1)
    again = Old.from_config(model.get_config())
    assert (type(again), again.compute) == (Old, "float32")
    state = model.__getstate__()
    del state["compute"]
    old = Old.__new__(Old)
    old.__setstate__(state)
    assert np.array_equal(old.predict(x), model.predict(x))


@needs_bfloat16
def test_a_run_does_not_go_on_in_other_products(tmp_path):
    """Nor with a layer in Python, where the checkpoint cannot hold the whole description."""
    x, y = batch()
    path = tmp_path / "run.ckpt"

    class Double(L.Layer):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, x, training):
            return self.function(x)

        def backward(self, dy):
            return 2 * dy

    def run(compute, epochs):
        layers = [L.Dense(8, "tanh"), Double(lambda a: 2 * a), L.Dense(4)]
        model = bp.Sequential(layers, seed=1, compute=compute)
        model.compile("adam", "cross_entropy")
        model.fit(x, y, batch_size=16, epochs=epochs, verbose=0, checkpoint=path)

    run("bfloat16", 1)
    with pytest.raises(ValueError, match="compute"):
        run(None, 2)


NOWHERE = """
import sys, numpy as np, bpcore as bp
from bpcore import _core
from tests.helpers import support
L = bp.layers
assert _core.config()["bfloat16"] == ""
_core.round_all_products(True)
x = np.random.default_rng(1).standard_normal((40, 6, 600)).astype(np.float32)
y = np.arange(40) % 4

def run(compute):
    layers = [L.Conv1D(40, 3), L.LSTM(20, return_sequences=True), L.GRU(16), L.Dense(600, "relu")]
    model = bp.Sequential([*layers, L.Dense(4)], seed=2, compute=compute)
    model.compile("adam", "cross_entropy")
    model.fit(x, y, batch_size=16, epochs=2, verbose=0)
    return model, [*model.get_weights(), model.predict(x)]

(model, found), (_, expected) = run("bfloat16"), run(None)
assert all(map(support.same_bits, found, expected))
assert model.compute == "bfloat16" and not model.rounded_products()
assert "products in bfloat16: none, this process has no instruction" in model.summary()
assert "bfloat16" not in model._engine.net.describe()
read = bp.load_model(sys.argv[1])
assert read.compute == "bfloat16"
full = bp.load_model(sys.argv[1], compute="float32")
assert support.same_bits(read.predict(x[:, 0, :2]), full.predict(x[:, 0, :2]))
try:
    bp.Sequential([L.Dense(3)], dtype="float64", compute="bfloat16")
except ValueError as error:
    assert "dtype='float32'" in str(error)
else:
    raise SystemExit("no error")
print("held")
"""


@pytest.mark.parametrize("way", ["tier", "instruction"])
def test_a_process_without_the_instructions_computes_in_single_precision(tmp_path, way):
    """Models are made, loaded and trained there, to the bits of float32, and say so."""
    path = tmp_path / "model.safetensors"
    bp.Sequential([bp.Input((2,)), L.Dense(3)], seed=1, compute="bfloat16").save(path)
    told = {"BPCORE_ISA": support.fma_tiers()[-1]}
    if way == "instruction":
        told = {"BPCORE_BFLOAT16": "none"}
    elif told["BPCORE_ISA"] == "v4":
        pytest.skip("no tier without bfloat16")
    assert "held" in support.run_python(NOWHERE, str(path), **told).stdout


def test_the_configuration_names_the_instruction(capsys):
    assert _core.config()["bfloat16"] in ("", "avx512_bf16", "amx_bf16")
    bp.show_config()
    name = _core.config()["bfloat16"] or "none"
    assert f"bfloat16 {name}" in " ".join(capsys.readouterr().out.split())
