"""The interpreter's end, forks beside working threads, subinterpreters."""

from __future__ import annotations

import os

import pytest

from .crash import exits, forks
from .helpers import support

UNIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def test_the_interpreter_ends_beside_working_threads(tmp_path):
    """Each kind of call once, at a random moment."""
    assert exits.run(len(exits.KINDS), str(tmp_path)) == []


@UNIX
def test_forks_beside_working_threads(threads_restored):
    assert forks.run(40) == []


IN_CALLBACK = """
import os, signal, threading
import numpy as np, bpcore as bp
from tests.crash.interrupts import state
x, y = np.random.default_rng(0).normal(size=(200, 64)), np.arange(200) % 5

def network():
    model = bp.Sequential([bp.layers.Dense(64, "relu"), bp.layers.Dense(5)], seed=0)
    model.compile("adam", "cross_entropy")
    return model

other = network()
other.fit(x, y, verbose=0)
end = threading.Event()
def work():
    while not end.is_set():
        other.evaluate(x, y)
thread = threading.Thread(target=work)
thread.start()

class Forks(bp.callbacks.Callback):
    child = None
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2 and self.child is None:
            self.child = os.fork()
            if self.child == 0:
                signal.alarm(30)
                self.model.evaluate(x, y)
                other.evaluate(x, y)

model, forks = network(), Forks()
assert not model._training.held
try:
    model.fit(x, y, epochs=2, verbose=0, callbacks=[forks])
    model.fit(x, y, epochs=2, verbose=0)
    print(state(model), end=" ", flush=True)
finally:
    if forks.child == 0:
        os._exit(0)
status = os.waitpid(forks.child, 0)[1]
end.set()
thread.join()
assert status == 0, status
"""


@UNIX
def test_a_fork_in_a_callback_trains_on_in_both():
    """The child is the one inside of fit, which it ends, with the parent's bits."""
    # Both may print at the same moment, so the spaces between their words are not in order.
    said = "".join(support.run_python(IN_CALLBACK, BPCORE_NUM_THREADS=2).stdout.split())
    assert len(said) == 128 and said[:64] == said[64:]


SUBINTERPRETER = """
import faulthandler, sys
faulthandler.dump_traceback_later(60, exit=True)
try:
    import _xxsubinterpreters as subinterpreters
except ImportError:
    import _interpreters as subinterpreters
sys.argv[1:] and __import__(sys.argv[1])
subinterpreters.run_string(subinterpreters.create(), '''
import warnings
warnings.simplefilter("ignore")  # NumPy's own
try:
    import bpcore
except ImportError as error:
    print(error)
else:
    print("imported")
''')
"""


@pytest.mark.parametrize("first", ["", "numpy", "bpcore"])
def test_import_in_a_subinterpreter(first):
    """An ImportError, with or without bpcore in the main one; it used to wait for ever."""
    said = support.run_python(SUBINTERPRETER, *([first] if first else [])).stdout
    assert "subinterpreter" in said or "cannot load module more than once" in said
    assert "imported\n" not in said
