"""Products in bfloat16 on tiles (AMX): the bits that docs/numerics.md promises, whatever the form,
the blocks and the threads. On a CPU without tiles they are emulated, instruction by instruction."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from . import test_bfloat16, test_chunks, test_relay
from .helpers import support, tiles

FORMS = ((False, False), (False, True), (True, False), (True, True))


@pytest.fixture
def on_tiles():
    with tiles.in_use():
        yield


def operands(rng, m, k, n, form):
    a = rng.standard_normal((k, m) if form[0] else (m, k)).astype(np.float32)
    b = rng.standard_normal((n, k) if form[1] else (k, n)).astype(np.float32)
    return a, b, (a.T if form[0] else a), (b.T if form[1] else b)


def product(a, b, form, **options):
    return _core.matmul(a, b, *form, compute="bfloat16", **options)


# ---- the stand-in --------------------------------------------------------------------------------


def pairs(b):
    """The rows of b (32, 16) two by two, as the instruction takes them: (16, 16, 2)."""
    return np.ascontiguousarray(b.reshape(16, 2, 16).transpose(0, 2, 1))


def halves(x):
    """The upper halves of float32: bfloat16, if the lower ones are zero."""
    return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def emulated(a, b, c):
    result = c.copy()
    a, b = halves(a), halves(pairs(b))
    address = [x.ctypes.data_as(ctypes.c_void_p) for x in (a, b, result)]
    tiles.emulator().product(*address)
    return result


def hard_numbers(rng, shape):
    """Of all magnitudes, some zero, infinite or subnormal; as bfloat16."""
    x = rng.standard_normal(shape) * 2.0 ** rng.integers(-80, 80, shape)
    x[rng.random(shape) < 0.05] = 0
    x[rng.random(shape) < 0.002] = np.inf
    x[rng.random(shape) < 0.02] = 2.0**-130
    return tiles.rounded(x.astype(np.float32)).astype(np.float32)


@tiles.needs_tiles
def test_the_stand_in_does_what_the_manual_says(rng):
    for _ in range(50):
        a, b, c = (
            rng.standard_normal(s).astype(np.float32) for s in ((16, 32), (32, 16), (16, 16))
        )
        a, b = tiles.rounded(a).astype(np.float32), tiles.rounded(b).astype(np.float32)
        found = emulated(a, b, c)
        assert np.array_equal(found, tiles.chain(a, b, c))
        in_order = c.copy()  # the check tells this order of sums from others
        for k in range(32):
            in_order += a[:, k, None] * b[k]
        assert not np.array_equal(found, in_order)


@pytest.mark.skipif(not tiles.HARDWARE, reason="the stand-in stands alone where there are no tiles")
def test_the_stand_in_is_the_instruction(rng):
    with tiles.in_use():
        for _ in range(500):
            a, b = hard_numbers(rng, (16, 32)), hard_numbers(rng, (32, 16))
            c = hard_numbers(rng, 16)
            found = _core.matmul(a, b, bias=c, compute="bfloat16")
            expected = emulated(a, b, np.tile(c, (16, 1)))
            assert np.array_equal(found, expected, equal_nan=True)


@tiles.needs_tiles
@pytest.mark.skipif(tiles.HARDWARE, reason="the CPU's own tiles are not counted")
def test_tiles_are_used_and_given_back(on_tiles, rng):
    a, b, _, _ = operands(rng, 40, 70, 50, FORMS[0])
    before = tiles.counts()
    product(a, b, FORMS[0])
    done = {kind: n - before[kind] for kind, n in tiles.counts().items()}
    sums, steps = 3 * 4, 3  # whole tiles of C; 70 terms are three times 32
    assert done["configurations"] == done["releases"] == 1
    assert (done["products"], done["stores"], done["zeros"]) == (sums * steps, sums, sums)
    assert done["loads"] == steps * 2 * (4 + 3)  # two panels; rows two by two, then one


# ---- bits ----------------------------------------------------------------------------------------


@tiles.needs_tiles
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "m, k, n", [(1, 1, 1), (16, 32, 16), (33, 31, 47), (5, 784, 33), (70, 97, 130), (3, 65, 300)]
)
def test_bits_of_one_chain(on_tiles, rng, form, m, k, n):
    a, b, op_a, op_b = operands(rng, m, k, n, form)
    bias = rng.standard_normal(n).astype(np.float32)
    assert np.array_equal(product(a, b, form), tiles.chain(op_a, op_b, 0))
    assert np.array_equal(product(a, b, form, bias=bias), tiles.chain(op_a, op_b, bias))


@tiles.needs_tiles
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("k, chunk", [(100, 32), (64, 64), (65, 64), (300, 96), (200, 320)])
def test_bits_of_chunks(on_tiles, rng, form, k, chunk):
    a, b, op_a, op_b = operands(rng, 20, k, 37, form)
    cuts = range(0, k, chunk)
    sums = [tiles.chain(op_a[:, i : i + chunk], op_b[i : i + chunk], 0) for i in cuts]
    expected = sums[0]
    for other in sums[1:]:
        expected = expected + other
    assert np.array_equal(product(a, b, form, chunk=chunk), expected)


@tiles.needs_tiles
def test_blocks_of_rows_and_of_terms_change_nothing(on_tiles, rng):
    """More rows than a block has, and more terms: the chain goes on from what C holds."""
    a, b, _, _ = operands(rng, 300, 2300, 35, FORMS[0])
    whole = product(a, b, FORMS[0])
    rows = [0, 15, 16, 255, 256, 299]
    assert np.array_equal(whole[rows], tiles.chain(a[rows], b, 0))
    for cut in (32, 64, 2048, 2272):
        out = product(np.ascontiguousarray(a[:, :cut]), b[:cut], FORMS[0])
        rest = np.ascontiguousarray(a[:, cut:])
        assert np.array_equal(product(rest, b[cut:], FORMS[0], out=out, goes_on=True), whole)


@tiles.needs_tiles
def test_a_chunk_is_whole_steps(on_tiles, rng):
    a, b, _, _ = operands(rng, 4, 100, 4, FORMS[0])
    with pytest.raises(ValueError, match="multiple of 32"):
        product(a, b, FORMS[0], chunk=48)


@tiles.needs_tiles
def test_special_values(on_tiles):
    """Halves to even, infinities beyond the range, subnormals zero, a NaN stays in its element."""
    x = np.array(
        [1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, -3.4e38, -0.0, 2**-126, 2**-130, np.inf, np.nan],
        np.float32,
    )
    expected = [1, 1 + 2**-6, np.inf, -np.inf, 0, 2**-126, 0, np.inf, np.nan]
    for form in FORMS:
        b = np.ascontiguousarray(x[:, None] if form[1] else x[None, :])
        found = product(np.ones((1, 1), np.float32), b, form)[0]
        assert np.array_equal(found, np.array(expected, np.float32), equal_nan=True)


# ---- models --------------------------------------------------------------------------------------

# What the other files ask of products in bfloat16; `nox -s tiles` runs all of it on tiles.
HELD = {
    "gradients": lambda _: test_bfloat16.test_gradients_are_those_of_rounded_operands(),
    "threads": lambda _: test_bfloat16.test_same_bits_for_threads_and_splits((24, 17), 11, 45),
    "resume": test_bfloat16.test_resume_gives_the_same_bits,
    "padding": lambda _: test_chunks.test_padding_changes_no_bit(
        "dense", *test_chunks.PADDED[0], "bfloat16"
    ),
    "from thread to thread": lambda _: test_relay.test_bfloat16(340),
    "learning": lambda _: test_bfloat16.test_learns_as_in_single_precision(),
    "files": test_bfloat16.test_file_remembers_and_can_be_read_otherwise,
}


@tiles.needs_tiles
@pytest.mark.usefixtures("all_rounded")
@pytest.mark.parametrize("name", HELD)
def test_models(on_tiles, name, tmp_path):
    HELD[name](tmp_path)


# ---- the choice ----------------------------------------------------------------------------------


def test_what_cannot_be_selected_changes_nothing():
    before = _core.config()["bfloat16"]
    for name in ("amx", "AMX_BF16", "v4", "bfloat16"):
        with pytest.raises(RuntimeError, match=f"'{name}'.*amx_bf16 or avx512_bf16.*none"):
            _core.select_bfloat16(name)
    if not tiles.HARDWARE:
        with pytest.raises(RuntimeError, match=f"'amx_bf16': {_core.config()['no_tiles']}"):
            _core.select_bfloat16("amx_bf16")
    assert _core.config()["bfloat16"] == before


@pytest.mark.skipif(not tiles.has("avx512_bf16"), reason="no CPU with tiles is without AVX512_BF16")
def test_the_way_back_where_the_system_lends_no_tiles():
    """As on a CPU without them; who asks for them is told why."""
    try:
        _core.select_bfloat16("avx512_bf16")
        expected = _core.config()["bfloat16"]
        _core.select_bfloat16("", "refused")
        with pytest.raises(RuntimeError, match="'amx_bf16': the operating system does not lend"):
            _core.select_bfloat16("amx_bf16", "refused")
        assert _core.config()["bfloat16"] in (expected, "", False)  # Intel's are no faster
        assert "operating system" in _core.config()["no_tiles"]
    finally:
        _core.select_bfloat16("")


def test_training_in_single_precision_asks_the_system_for_nothing(tmp_path, monkeypatch):
    """Its checkpoints, too: `config` would ask for the tiles."""

    def asked():
        raise AssertionError("the system is asked for tiles")

    monkeypatch.setattr(_core, "config", asked)
    for _ in range(2):  # the second time from the file
        model = bp.Sequential([bp.layers.Dense(3)], seed=1)
        model.compile("adam", "mse")
        x = np.ones((8, 4), np.float32)
        model.fit(x, x[:, :3], epochs=2, verbose=0, checkpoint=tmp_path / "run.ckpt")


def test_the_environment_selects():
    code = "from bpcore import _core; print(repr(_core.config()['bfloat16']))"
    assert support.run_python(code, BPCORE_BFLOAT16="none").stdout.strip() in ("''", "False")
    if tiles.has("avx512_bf16"):
        found = support.run_python(code, BPCORE_BFLOAT16="avx512_bf16").stdout.strip()
        assert found in ("'avx512_bf16'", "True")
