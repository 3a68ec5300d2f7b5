"""A few trainings of the fuzzer of bits (`nox -s bits` has 5,000), and its own checks."""

from __future__ import annotations

import numpy as np
import pytest

from .fuzz import bits
from .helpers import support


def test_random_trainings_give_one_result_in_all_ways():
    counts, different = bits.run(30, ways=2)
    assert not different and counts["trainings"] >= 30


class Here:
    """A worker in this process."""

    def ask(self, seed, way, threads, path, stops):
        call = bits.forked if way.kill and stops else bits.answer
        return call(seed, way, threads, path, stops)

    def close(self):
        pass


@pytest.fixture
def fuzzer():
    made = bits.Fuzzer([])
    made.workers = {"here": Here()}
    yield made
    made.close()


@pytest.mark.parametrize("kill", [False, True])
def test_a_stopped_run_goes_on(fuzzer, kill):
    """By an exception, and by a signal to a child."""
    expected = fuzzer.train(0, bits.Way("here"))
    way = bits.Way("here", stop=2, kill=kill, every=1, after=("here", 2))
    assert len(expected) == 64 and fuzzer.train(0, way) == expected
    assert fuzzer.counts["resumes"] == 1


@pytest.mark.parametrize("cause", ["threads", "layout", "resume"])
def test_a_bit_that_depends_on_the_way_is_found(fuzzer, monkeypatch, capsys, cause):
    real = bits.trained

    def trained(seed, way, path, stops):
        arrays = real(seed, way, path, stops)
        caused = {
            "threads": bits.bp.get_num_threads() > 1,
            "layout": way.layout >= 0,
            "resume": bool(way.stop) and not stops,
        }
        if caused[cause]:
            arrays[0] = np.nextafter(arrays[0], np.inf, dtype=arrays[0].dtype)
        return arrays

    monkeypatch.setattr(bits, "trained", trained)
    assert not all(fuzzer.check(seed, ways=4) for seed in range(3))
    assert "but" in capsys.readouterr().out


def test_layouts_hold_the_same_numbers():
    rng = bits.random.Random(0)
    for array in (np.arange(24.0).reshape(4, 3, 2) / 8, np.arange(6), np.ones((2, 1), np.float32)):
        for _ in range(60):
            found = bits.laid_out(array, rng)
            assert found.shape == array.shape and (found == array).all()
    for seed in (3, 4):
        xs, ys, _ = bits.exact_data(bits.LargeMaker(seed).spec())
        for array in (*xs, *ys):
            assert support.same_bits(array, array.astype(np.float16).astype(array.dtype))
