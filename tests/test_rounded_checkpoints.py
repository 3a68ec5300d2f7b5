"""A run goes on with the products in bfloat16 that it began with, or not at all.

Which instruction a process has is chosen here as BPCORE_BFLOAT16 chooses it."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .helpers import files, support, tiles

L = bp.layers
X = np.random.default_rng(4).standard_normal((48, 40)).astype(np.float32)
Y = np.arange(48) % 3
needs_pairs = pytest.mark.skipif(not tiles.has("avx512_bf16"), reason="this CPU has no AVX512_BF16")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)


@contextlib.contextmanager
def process(instruction, all=True):
    """One that has this instruction, and rounds small products, too."""
    with contextlib.ExitStack() as stack:
        if instruction == "amx_bf16":
            stack.enter_context(tiles.in_use())
        else:
            _core.select_bfloat16(instruction)
        _core.round_all_products(all)
        try:
            yield
        finally:
            _core.round_all_products(False)
            _core.select_bfloat16("")


class Stop(bp.callbacks.Callback):
    def __init__(self, at):
        self.at = at

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at:
            raise InterruptedError


def made(compute="bfloat16"):
    layers = [L.Dense(24, "tanh", name="a"), L.Dense(3, name="b")]
    model = bp.Sequential(layers, seed=5, compute=compute)
    model.compile("adam", "cross_entropy")
    model.build((40,))
    return model


def fit(path, compute="bfloat16", stop=99):
    model = made(compute)
    with contextlib.suppress(InterruptedError):
        model.fit(X, Y, batch_size=16, epochs=4, verbose=0, callbacks=[Stop(stop)], checkpoint=path)
    return model


def stopped(path, instruction, **options):
    with process(instruction, **options):
        return fit(path, stop=2)


def refused(path, *words):
    """By fit and by load_checkpoint; nothing has changed."""
    before = path.read_bytes()
    model = made()
    weights = support.weights_hash(model)
    for attempt in (
        lambda: model.fit(
            X, Y, batch_size=16, epochs=4, verbose=0, callbacks=[Stop(99)], checkpoint=path
        ),
        lambda: bp.load_checkpoint(path),
    ):
        with pytest.raises(bp.errors.FormatError) as caught:
            attempt()
        for word in words:
            assert word in str(caught.value)
    assert support.weights_hash(model) == weights and model.optimizer.iterations == 0
    assert path.read_bytes() == before
    return caught.value


INSTRUCTIONS = ["avx512_bf16", pytest.param("amx_bf16", marks=tiles.needs_tiles)]


@needs_pairs
@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_the_same_instruction_goes_on_to_the_same_bits(tmp_path, instruction):
    path = tmp_path / "run"
    stopped(path, instruction)
    with process(instruction):
        whole, again = fit(tmp_path / "whole"), fit(path)
    assert support.weights_hash(again) == support.weights_hash(whole)
    assert support.weights_hash(again) != support.weights_hash(fit(tmp_path / "full", None))


@needs_pairs
@pytest.mark.parametrize("was", INSTRUCTIONS)
@pytest.mark.parametrize("now", ["none", *INSTRUCTIONS])
def test_another_instruction_does_not_go_on(tmp_path, was, now):
    path = tmp_path / "run"
    stopped(path, was)
    with process(now):
        if was == now:
            fit(path)
            return
        error = refused(
            path, f"those of 'a', 'b' by '{was}'", f"this process has {now}",
            f"BPCORE_BFLOAT16={was} ", "if this CPU has it, or go on on a CPU that has it",
            "load_checkpoint(path, compute='float32')",
        )  # fmt: skip
        assert isinstance(error, bp.errors.CheckpointError)


@needs_pairs
def test_a_run_in_single_precision_does_not_go_on_rounded(tmp_path):
    path = tmp_path / "run"
    stopped(path, "none")
    with process("avx512_bf16"):
        refused(path, "are none, here", "those of 'a', 'b'", "set BPCORE_BFLOAT16=none before")
    with process("none"):
        assert support.weights_hash(fit(path)) == support.weights_hash(fit(tmp_path / "x", None))


@needs_pairs
def test_a_run_of_which_nothing_is_rounded_goes_on_anywhere(tmp_path):
    path = tmp_path / "run"
    stopped(path, "avx512_bf16", all=False)
    with process("none"):
        assert support.weights_hash(fit(path)) == support.weights_hash(fit(tmp_path / "x", None))


@needs_pairs
def test_another_choice_of_what_is_rounded_does_not_go_on(tmp_path):
    path = tmp_path / "run"
    stopped(path, "avx512_bf16")
    document, held, arrays = files.taken_apart(path)
    document["state"]["bfloat16"]["operations"] = ["a"]
    path.write_bytes(files.put_together(document, held, arrays))
    with process("avx512_bf16"):
        refused(path, "those of 'a' by", "those of 'a', 'b' by", "the version of bpcore that wrote")


@needs_pairs
def test_files_from_before_the_entry(tmp_path):
    """They were of AVX512_BF16, and all their products were rounded."""
    path = tmp_path / "run"
    stopped(path, "avx512_bf16")
    document, held, arrays = files.taken_apart(path)
    del document["state"]["bfloat16"]
    path.write_bytes(files.put_together(document, held, arrays))
    with process("none"):
        refused(path, "all by avx512_bf16", "BPCORE_BFLOAT16=avx512_bf16 ")
    with process("avx512_bf16"):
        whole = fit(tmp_path / "whole")
        with pytest.warns(bp.errors.CheckpointWarning, match="rounded all products.*guaranteed"):
            again = fit(path)
    assert support.weights_hash(again) == support.weights_hash(whole)


@needs_pairs
def test_the_ways_out(tmp_path):
    path = tmp_path / "run"
    before = stopped(path, "avx512_bf16")
    with process("none"):
        for compute in ("float32", "bfloat16"):
            model = bp.load_checkpoint(path, compute=compute)
            assert model.compute == compute
            assert support.weights_hash(model) == support.weights_hash(before)
            model.fit(X, Y, batch_size=16, verbose=0)
        with pytest.raises(ValueError, match="compute must be"):
            bp.load_checkpoint(path, compute="bf16")
    code = """
import sys, bpcore as bp
from bpcore import _core
_core.round_all_products(True)
print(bp.load_checkpoint(sys.argv[1]).optimizer.iterations)
"""
    done = support.run_python(code, str(path), BPCORE_BFLOAT16="avx512_bf16")
    assert done.stdout.split() == ["6"]


FORGED = [
    None, 3, [], "avx512_bf16", {}, {"instruction": "avx512_bf16"},
    {"instruction": "avx512_bf16", "operations": ["a", "b"], "more": 1},
    {"instruction": "sse", "operations": ["a", "b"]}, {"instruction": [], "operations": []},
    {"instruction": "avx512_bf16", "operations": "ab"},
    {"instruction": "avx512_bf16", "operations": ["a", 1]},
    {"instruction": "avx512_bf16", "operations": {"a": "b"}},
]  # fmt: skip


@needs_pairs
@pytest.mark.parametrize("entry", FORGED, ids=str)
def test_forged_entries(tmp_path, entry):
    path = tmp_path / "run"
    stopped(path, "avx512_bf16")
    document, held, arrays = files.taken_apart(path)
    document["state"]["bfloat16"] = entry
    path.write_bytes(files.put_together(document, held, arrays))
    with process("avx512_bf16"):
        refused(path, "state.bfloat16")


def test_other_models_have_no_entry(tmp_path):
    path = tmp_path / "run"
    fit(path, None, stop=2)
    document, held, arrays = files.taken_apart(path)
    assert "bfloat16" not in document["state"]
    document["state"]["bfloat16"] = {"instruction": "", "operations": []}
    path.write_bytes(files.put_together(document, held, arrays))
    with pytest.raises(bp.errors.CheckpointError, match="not expected: \\['bfloat16'\\]"):
        fit(path, None)
