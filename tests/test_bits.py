"""Bits of trainings, files and checkpoints are those that an earlier release made and left."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bpcore as bp

from .fixtures import make_bits
from .helpers import bits, support

EXPECTED = support.load("bits")["runs"]
RUN = """
import json
from tests.helpers import bits
print(json.dumps({threads: bits.hashes(threads) for threads in (1, 3)}))
"""
FILES = sorted(bits.FOLDER.glob("model-*.safetensors"))


@pytest.mark.parametrize("tier", support.fma_tiers())
def test_every_run_has_the_bits_of_an_earlier_release(tier):
    """Networks, every layer, optimizers, losses, first weights; models and runs of old files."""
    done = support.run_python(RUN, BPCORE_ISA=tier)
    for threads, found in json.loads(done.stdout).items():
        assert found.keys() == EXPECTED.keys()
        other = [name for name in EXPECTED if found[name] != EXPECTED[name]]
        assert not other, f"{tier}, {threads} threads: other bits in {other}"


def test_a_hash_sees_one_bit_and_the_type():
    a = bits.network(bits.NETWORKS[4], 2)
    changed = [x.copy() for x in a]
    changed[3].view(np.uint8)[..., 0] ^= 1
    assert bits.digest(a) == bits.digest([x.copy(order="F") for x in a])
    assert bits.digest(a) != bits.digest(changed)
    assert bits.digest(a) != bits.digest([x.astype(np.float64) for x in a])


def saved(model, folder):
    model.save(folder / "m")
    return bits.content(folder / "m")


def assert_same_content(found, expected):
    assert found[0] == expected[0], "another architecture"
    assert found[1].keys() == expected[1].keys()
    for name, array in expected[1].items():
        assert support.same_bits(found[1][name], array), name


@pytest.mark.filterwarnings("ignore::bpcore.errors.MismatchWarning")  # some end in one softmax
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_an_old_file_is_saved_again_as_it_was(path, tmp_path):
    assert_same_content(saved(bp.load_model(path), tmp_path), bits.content(path))


@pytest.mark.filterwarnings("ignore::bpcore.errors.MismatchWarning")
def test_models_are_built_and_saved_as_before(tmp_path):
    """Twelve kinds; the random graphs before them depend on the tests' own generator."""
    kinds = list(make_bits.models())
    assert len(kinds) == len(FILES) == 20
    for model, path in list(zip(kinds, FILES, strict=True))[len(make_bits.GRAPHS) :]:
        assert_same_content(saved(model, tmp_path), bits.content(path))
