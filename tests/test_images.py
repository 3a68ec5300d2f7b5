"""Networks of images as a whole: one result in every way, and no allocation in a step."""

from __future__ import annotations

import json

import pytest

from .helpers import support

WAYS = "from tests.helpers import images_worker as w; import sys; w.main([1, 2, 3, 8], sys.argv[1])"


def test_one_result(tmp_path):
    """Threads, instruction sets, memory layouts, channels first or last, killed and resumed."""
    tiers = support.fma_tiers()
    found = []
    for tier, code in ((tiers[0], 9), (tiers[-1], 0)):  # the first one is killed
        done = support.run_python(WAYS, tmp_path / "run.ckpt", check=False, BPCORE_ISA=tier)
        assert done.returncode == code, done.stderr
        lines = done.stdout.splitlines()
        found += [*json.loads(lines[0]).items(), *(("resumed", line) for line in lines[1:])]
    assert len(found) == 2 * 11 + 1
    assert {value for _, value in found} == {found[0][1]}, found


ALLOCATIONS = """
import sys
import numpy as np
import bpcore as bp
from tests.helpers import images_worker as images
from tests.helpers.counting import allocations
bp.set_num_threads(int(sys.argv[1]), exact=True)
for told in ({}, {"data_format": "channels_first"}):
    x, y = images.data()
    x = np.moveaxis(x, -1, 1).copy() if told else x
    model = bp.Sequential([bp.Input(x.shape[1:]), *images.layers(told)], seed=5)
    model.compile("adam", "cross_entropy", metrics=["accuracy"])
    trainer = model._engine.trainer("train", model._compilation)
    x, y = np.tile(x, (90, 1, 1, 1)), np.tile(y.astype(np.int32), 90)
    trainer.set_data([x], [(y, True)], [None])  # bytes, gathered and scaled batch by batch
    few, many = allocations(trainer, 10), allocations(trainer, 60)
    assert many == few, f"{many - few} in 50 steps"
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_no_allocation_in_a_step(counter, threads):
    support.run_python(ALLOCATIONS, threads, LD_PRELOAD=counter, PYTHONMALLOC="pymalloc")
