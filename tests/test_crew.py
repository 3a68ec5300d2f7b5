"""How many threads are used where others share the machine: on a simulated one; and their bits.

The simulated machine has a clock of its own; a batch takes what its scene says. So the policy is
tested without a timing, whatever else runs here.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .helpers import determinism_worker as worker
from .helpers import random_nets, support


class Machine:
    """Runs batches one after the other on as many threads as its crew wants."""

    def __init__(self, cost, most, guess=1e-5):
        self.cost, self.most, self.guess = cost, most, guess
        self.crew, self.now, self.sizes = _core.Crew(), 0.0, []

    def run(self, until):
        """By teams that stay together; gives the seconds that each size has worked."""
        spent = {}
        while self.now < until:
            size = self.crew.next(self.most, self.guess, self.now)
            leave = False
            while self.now < until and not leave:
                seconds = self.cost(size, self.now)
                self.now += seconds
                spent[size] = spent.get(size, 0.0) + seconds
                leave = self.crew.add(size, 64, seconds, self.now)
            self.sizes.append((self.now, size))
        return spent

    def batches(self, spent, cost):
        return sum(seconds / cost(size, 0.0) for size, seconds in spent.items())


def scene(alone, speedup):
    return lambda size, now: alone / speedup(size)


def amdahl(size):
    return 1 / (0.1 + 0.9 / size)


@pytest.fixture(autouse=True)
def adaptive():
    with bp.threads(16):
        yield


@pytest.mark.parametrize("most, alone", [(2, 20e-6), (3, 3e-4), (16, 3e-4), (16, 20e-3)])
def test_threads_that_pay_are_used(most, alone):
    machine = Machine(scene(alone, amdahl), most, guess=alone)
    machine.run(2 * max(0.01, 5 * alone))  # found within some milliseconds, or batches
    spent = machine.run(6.0)
    assert spent[most] > 0.95 * sum(spent.values()), spent


@pytest.mark.parametrize("alone", [50e-6, 20e-3])
def test_threads_that_gain_nothing_are_not_used(alone):
    """Where lines travel slowly between cores: two threads as fast as one."""
    machine = Machine(scene(alone, lambda size: 1.0), 2, guess=alone)
    machine.run(1.0)
    spent = machine.run(11.0)
    assert spent[1] > 0.95 * sum(spent.values()), spent


def test_threads_that_take_a_while_to_wake_up_are_used_where_they_pay():
    """A tenth faster; of the first millisecond another tenth is gone until they run."""
    before = {"size": 1}

    def cost(size, now):
        wakes = size > before["size"]
        before["size"] = size
        return 30e-6 * (1.0 if size == 1 else 0.9) + (100e-6 if wakes else 0.0)

    machine = Machine(cost, 2)
    machine.run(1.0)
    spent = machine.run(6.0)
    assert spent[2] > 0.95 * sum(spent.values()), spent


def test_the_best_number_between_one_and_all():
    """Up to 4 threads pay, 16 cost."""
    gain = {1: 1.0, 2: 1.9, 4: 3.5, 8: 2.0, 16: 0.5}
    machine = Machine(scene(50e-6, gain.__getitem__), 16)
    machine.run(1.0)
    spent = machine.run(6.0)
    assert spent[4] > 0.95 * sum(spent.values()), spent


def shared(seed, alone=30e-6):
    """Two other processes on two cores: one thread has two thirds of one; a team loses a turn of
    milliseconds at every few batches, and now and then has both cores for some time."""
    rng = np.random.default_rng(seed)
    lucky = {"until": 0.0}

    def cost(size, now):
        if size == 1:
            return alone + (rng.exponential(4e-3) if rng.random() < alone / 8e-3 else 0.0)
        if now < lucky["until"]:
            return 0.6 * alone
        if rng.random() < 0.02:
            lucky["until"] = now + rng.exponential(5e-3)
        return 0.6 * alone + (rng.exponential(3e-3) if rng.random() < 0.25 else 0.0)

    return cost


def crowded(seed, alone=13e-6):
    """Eight other processes on two cores: milliseconds of work, then tens of milliseconds of
    waiting; a team waits for each of its members, at each barrier."""
    rng = np.random.default_rng(seed)

    def cost(size, now):
        if size == 1:
            return alone + (rng.exponential(30e-3) if rng.random() < alone / 5e-3 else 0.0)
        return 0.7 * alone + (rng.exponential(20e-3) if rng.random() < 0.5 else 0.0)

    return cost


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scene", [shared, crowded])
def test_beside_processes_that_take_turns_one_thread_is_used(scene, seed):
    def done(most, seconds=5.0):
        machine = Machine(scene(seed), most)
        count = 0
        while machine.now < seconds:
            size = machine.crew.next(most, 1e-5, machine.now)
            took = machine.cost(size, machine.now)
            machine.now += took
            count += 1
            machine.crew.add(size, 64, took, machine.now)
        return count

    assert done(2) > done(1) / 1.15


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("load", [shared, crowded])
def test_when_the_load_ends_the_threads_are_back_within_a_second(load, seed):
    busy, quiet = load(seed), scene(30e-6, amdahl)
    machine = Machine(lambda size, now: (busy if 2 < now < 8 else quiet)(size, now), 2)
    machine.run(2.0)
    spent = machine.run(8.0)
    assert spent[1] > 0.8 * sum(spent.values()), spent
    machine.run(9.0)
    spent = machine.run(12.0)
    assert spent[2] > 0.97 * sum(spent.values()), spent


def test_one_late_batch_does_not_end_a_team():
    """A neighbour that takes 5 ms every half a second."""
    late = {"next": 0.5}

    def cost(size, now):
        if now > late["next"]:
            late["next"] = now + 0.5
            return 5e-3
        return 30e-6 / amdahl(size)

    machine = Machine(cost, 2)
    machine.run(1.0)
    spent = machine.run(6.0)
    assert spent[2] > 0.9 * sum(spent.values()), spent


def test_an_exact_number_is_not_measured():
    with bp.threads(2, exact=True):
        machine = Machine(shared(0), 2)
        assert set(machine.run(0.5)) == {2}
        assert "exactly" in bp.show_config("dict")["threads_in_use"]


def test_exact_belongs_to_the_number(threads_restored):
    bp.set_num_threads(3, exact=True)
    assert bp.get_num_threads() == 3 and _core.exact_threads()
    with bp.threads(2):
        assert bp.get_num_threads() == 2 and not _core.exact_threads()
        with bp.threads(2, exact=True):
            assert _core.exact_threads()
        assert not _core.exact_threads()
    assert _core.exact_threads()
    assert bp.threads(2, exact=True)(_core.exact_threads)()
    bp.set_num_threads(3)
    assert not _core.exact_threads()
    for exact in (1, None, "yes"):
        with pytest.raises(TypeError, match="exact must be True or False"):
            bp.set_num_threads(2, exact)
        with pytest.raises(TypeError, match="exact must be True or False"):
            bp.threads(2, exact)


def test_the_environment_is_a_limit():
    code = "import bpcore as bp; print(bp.get_num_threads(), bp._core.exact_threads())"
    assert support.run_python(code, BPCORE_NUM_THREADS=3).stdout.split() == ["3", "False"]


# ---- bits ----------------------------------------------------------------------------------------


@pytest.fixture
def changing():
    """Another team at every batch, evaluation, prediction and pass for gradients."""
    yield
    _core.change_teams(0)


@pytest.mark.filterwarnings("ignore::bpcore.errors.MismatchWarning")
@pytest.mark.parametrize("most", [2, 5])
def test_teams_that_change_at_every_batch_change_no_bits(most, changing):
    def digests():
        found = worker.run()
        for seed in range(8):
            try:
                net = random_nets.Net(seed)
                found[f"net {seed}"] = [np.ascontiguousarray(a).tobytes() for a in net.results()]
            except bp.TrainingDiverged as error:
                found[f"net {seed}"] = str(error)
        return found

    with bp.threads(1):
        expected = digests()
    with bp.threads(most):
        _core.change_teams(most)
        found = digests()
    different = [name for name in expected if found[name] != expected[name]]
    assert not different, f"teams of up to {most}: other bits in {different}"


def wide():
    model = bp.Sequential([bp.layers.Dense(512, "relu"), bp.layers.Dense(10)], seed=3)
    model.build((784,))
    model.compile("adam", "cross_entropy")
    rng = np.random.default_rng(1)
    return model, rng.normal(size=(640, 784)).astype(np.float32), rng.integers(0, 10, 640)


def test_teams_do_change(changing):
    """The hook above is one: the sizes that a crew gives are many."""
    with bp.threads(5):
        _core.change_teams(1)
        crew = _core.Crew()
        sizes = [crew.next(5, 1e-5, 0.0) for _ in range(200)]
    assert set(sizes) == {1, 2, 3, 4, 5}


# ---- what is said --------------------------------------------------------------------------------


def test_show_config_says_how_many_and_why():
    with bp.threads(1):
        assert bp.show_config("dict")["threads_in_use"] == "1: no more are allowed"
    model, x, y = wide()
    with bp.threads(2):
        model.fit(x, y, batch_size=64, epochs=3, verbose=0)
        said = bp.show_config("dict")["threads_in_use"]
        described = model._engine.trainer("train", model._compilation).describe()
    assert said.startswith(("1 of 2: a batch of 64 rows took", "2 of 2: a batch of 64 rows took"))
    assert "threads at batch 64: 2" in described
    assert "threads in use: 1 of 2" in described or "threads in use: 2 of 2" in described


# ---- one thread ----------------------------------------------------------------------------------


def test_no_jump_where_a_second_thread_might_pay():
    """8-64-64-4 on one thread: 61 rows were the last that took the short way."""
    layers = [bp.layers.Dense(n, a) for n, a in ((64, "relu"), (64, "relu"), (4, None))]
    model = bp.Sequential(layers, seed=1)
    model.build((8,))
    rng = np.random.default_rng(0)

    def best(call, rows):
        x = rng.normal(size=(rows, 8)).astype(np.float32)
        times = []
        for _ in range(60):
            start = time.perf_counter()
            for _ in range(10):
                call(x)
            times.append(time.perf_counter() - start)
        return min(times)

    with bp.threads(1):
        for call in (model, model.predict):
            assert best(call, 64) < 1.6 * best(call, 60)  # it was 2.4 and 3.1 times as long
            assert best(call, 260) < 1.6 * best(call, 250)
