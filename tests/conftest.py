"""Fixtures of the whole suite."""

from __future__ import annotations

import numpy as np
import pytest

from . import support


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


@pytest.fixture
def threads_restored():
    import bpcore as bp

    before = bp.get_num_threads()
    yield
    bp.set_num_threads(before)
