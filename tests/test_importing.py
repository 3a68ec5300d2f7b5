"""`import bpcore` is quick: it loads the core and little else; names come at first use."""

from __future__ import annotations

import importlib

import pytest

import bpcore as bp

from .helpers import support

# What a first import may bring beside NumPy, and what a first fit may: the release before the rooms
# were many brought 58 and 74 modules.
IMPORT, FIT = 20, 135


def test_an_import_brings_little():
    code = f"""
import sys
import numpy
before = set(sys.modules)
import bpcore
brought = set(sys.modules) - before
assert len(brought) <= {IMPORT}, sorted(brought)
assert not any(name.startswith(("bpcore.model", "bpcore.layers")) for name in brought)
model = bpcore.Sequential([bpcore.layers.Dense(4, "relu"), bpcore.layers.Dense(2)], seed=0)
model.compile("adam", "mse")
model.fit(numpy.ones((8, 3)), numpy.ones((8, 2)), verbose=0)
brought = set(sys.modules) - before
assert len(brought) <= {FIT}, len(brought)
unused = {{"bpcore.credit.feedback", "bpcore.diagnosis", "bpcore.base.svg", "html", "json"}}
assert not unused & brought, unused & brought
"""
    support.run_python(code)


@pytest.mark.parametrize("package", ["bpcore", "bpcore.callbacks", "bpcore.credit"])
def test_every_public_name_is_there(package):
    """As an attribute, by ``from ... import``, in ``dir``, and by a star."""
    module = importlib.import_module(package)
    code = f"""
import {package} as module
for name in module.__all__:
    assert name in dir(module), name
    exec(f"from {package} import {{name}}")
    assert getattr(module, name) is locals()[name], name
space = {{}}
exec("from {package} import *", space)
assert set(module.__all__) <= set(space)
"""
    support.run_python(code)
    assert set(dir(module)) >= set(module.__all__)
    with pytest.raises(AttributeError, match=rf"module '{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec(f"from {package} import nothing")


def test_a_name_is_of_the_module_that_is_said():
    """Each class comes from where it is defined, and is the same one by every path."""
    from bpcore.callbacks import monitor
    from bpcore.credit import feedback
    from bpcore.model.sequential import Sequential

    assert bp.callbacks.EarlyStopping is monitor.EarlyStopping
    assert bp.credit.FeedbackAlignment is feedback.FeedbackAlignment
    assert bp.Sequential is Sequential and "Sequential" in vars(bp)


def test_threads_that_ask_first_get_the_same():
    """Two threads may be the first to ask for a name."""
    code = """
import threading
import bpcore
start, found = threading.Barrier(4), []
def ask():
    start.wait()
    found.append((bpcore.Sequential, bpcore.callbacks.EMA, bpcore.credit.HSICBottleneck))
threads = [threading.Thread(target=ask) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
assert len(found) == 4 and len(set(found)) == 1
"""
    support.run_python(code)


# A thread that begins when another is about to make a module and holds its lock.
BESIDE = """
import sys, threading, time
from importlib.machinery import PathFinder
import bpcore

class Beside:
    def find_spec(self, name, path=None, target=None):
        if name != sys.argv[1]:
            return None
        def create_module(spec):
            other.start()
            time.sleep(0.3)
            getattr(bpcore, sys.argv[3])
        spec = PathFinder.find_spec(name, path)
        spec.loader.create_module = create_module
        return spec

failed = []
def ask():
    try:
        getattr(bpcore, sys.argv[2])
    except BaseException as error:
        failed.append(error)

other = threading.Thread(target=ask, daemon=True)
sys.meta_path.insert(0, Beside())
"""


def test_a_package_and_a_module_of_it_that_two_threads_ask_for():
    """One imports `layers`, the other `layers.input`: each has the lock that the other needs."""
    code = BESIDE + "bpcore.layers; other.join(60); assert not failed, failed"
    support.run_python(code, "bpcore.layers", "Input", "__name__")


def test_a_thread_within_an_import_of_its_own_is_not_waited_for_without_end():
    """It is importing `losses` and asks for `metrics`; the other has asked for `losses`."""
    code = BESIDE + (
        "from bpcore.base import lazy; lazy._PATIENCE = 0.2\n"
        "import bpcore.losses; other.join(60); assert not failed and not other.is_alive()"
    )
    support.run_python(code, "bpcore.losses", "losses", "metrics", timeout=30)
