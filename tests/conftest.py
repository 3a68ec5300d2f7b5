"""Fixtures of the whole suite."""

from __future__ import annotations

import contextlib
import os
import signal

import numpy as np
import pytest

from .helpers import counting, support, tiles

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job, which some tests
    signal.signal(signal.SIGINT, signal.default_int_handler)  # interrupt, or its children

# noxfile.py sets BPCORE_SANITIZER to what the core was built with.
SANITIZER = os.environ.get("BPCORE_SANITIZER", "")
NOT_SANITIZED = {
    "test_no_allocation_in_a_step": "its own preloaded malloc takes the sanitizer's place",
    "test_rows_allocate_nothing_in_a_step": "its own preloaded malloc takes the sanitizer's place",
    "test_resident_memory_stays_flat": "the sanitizer keeps freed memory",
    "test_every_allocation_fails_in_turn": "its own preloaded malloc takes the sanitizer's place",
    "test_errors_say_for_what": "the sanitizer's own memory counts",
    "test_memory_is_bounded": "the sanitizer's own memory counts",
    "test_a_large_weight_takes_little_more_than_itself": "the sanitizer's own memory counts",
    "test_calls_wake_no_thread_and_keep_no_memory": "the sanitizer keeps freed memory",
}


def pytest_collection_modifyitems(items):
    for item in items:
        reason = NOT_SANITIZED.get(getattr(item, "originalname", item.name))
        if SANITIZER and reason:
            item.add_marker(pytest.mark.skip(reason=f"{SANITIZER}: {reason}"))


@pytest.fixture(autouse=True)
def seed_of_nobody(monkeypatch):
    """No test begins with the seed that another one has set."""
    from bpcore.base import seeding

    monkeypatch.setattr(seeding, "_state", None)


@pytest.fixture
def all_rounded():
    """With compute="bfloat16" all products are rounded, also where that does not pay."""
    from bpcore import _core

    _core.round_all_products(True)
    yield
    _core.round_all_products(False)


@pytest.fixture(autouse=True)
def tiles_if_wanted():
    """With BPCORE_TEST_TILES (`nox -s tiles`) all products in bfloat16 are on tiles, if need be
    emulated ones."""
    wanted = tiles.POSSIBLE and os.environ.get("BPCORE_TEST_TILES")
    with tiles.in_use() if wanted else contextlib.nullcontext():
        yield


@pytest.fixture
def rng(request):
    """Seeded by the test's own name, so that a failure comes back when the test runs alone."""
    return np.random.default_rng(np.frombuffer(request.node.nodeid.encode(), np.uint8))


@pytest.fixture(scope="session")
def torch_numbers():
    return support.load("torch")


@pytest.fixture(scope="session")
def golden():
    return support.load("golden")


@pytest.fixture(scope="session")
def counter(tmp_path_factory):
    """A library that counts allocations, for LD_PRELOAD."""
    library = counting.build(tmp_path_factory.mktemp("counter"))
    if library is None:
        pytest.skip("counting allocations needs a C compiler and glibc")
    return library


@pytest.fixture
def threads_restored():
    import bpcore as bp

    before = bp.get_num_threads()
    yield
    bp.set_num_threads(before)
