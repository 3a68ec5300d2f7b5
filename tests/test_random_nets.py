"""Random nets of all layers: the same bits for threads and tiers, and gradients by differences."""

from __future__ import annotations

import json

import pytest

from .helpers import random_nets, support

RUN = "import sys, runpy; runpy.run_module('tests.helpers.random_nets', run_name='__main__')"


@pytest.mark.parametrize("seed", range(12))
def test_threads_and_splits_do_not_change_bits(seed):
    random_nets.check_bits(seed)


@pytest.mark.parametrize("seed", range(24))
def test_gradients_are_differences(seed):
    random_nets.check_gradients(seed)


def test_fma_tiers_give_the_same_bits():
    found = [
        json.loads(support.run_python(RUN, 12, 0, "digests", BPCORE_ISA=tier).stdout)
        for tier in support.fma_tiers()
    ]
    assert all(digests == found[0] for digests in found)
    assert found[0] == [random_nets.digest(seed, 3) for seed in range(12)]
