"""kill -9 at random moments: `python -m tests.crash.kill COUNT [SEED]`.

A training with a checkpoint every 20 batches is killed, resumed with another number of threads,
killed again, until it ends, COUNT resumes in all: all ends must be one hash, that of a run left
alone. The runs are forked from a process that has trained nothing, so its threads have not begun.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import tempfile
import time
import traceback

import bpcore as bp
from bpcore.files import container

from . import train


def forked(path, threads, seconds=None):
    """The hash of a run in a child, or None if it was killed after `seconds`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writer, train.train(path, threads).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    with open(reader, "rb") as stream:
        found = stream.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"a run failed; its checkpoint is {path}")
    return found if os.WIFEXITED(status) else None


def run(count, seed=0):
    """Kill runs until `count` have resumed; {"kills", "resumed", "ends", "hash"}."""
    rng = random.Random(seed)
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "run.ckpt")
    start = time.perf_counter()
    expected = forked(path, 1)
    os.unlink(path)
    length = time.perf_counter() - start  # of a run; the load of the machine changes it
    found = {"kills": 0, "resumed": 0, "ends": 0, "hash": expected[:16]}
    while found["resumed"] < count or os.path.exists(path):
        found["resumed"] += os.path.exists(path)
        last = found["resumed"] > count + 20  # kills may go on for ever
        result = forked(path, rng.choice((1, 2, 3)), None if last else rng.uniform(0, length))
        if result is None:
            found["kills"] += 1
            length *= 1.05
            if os.path.exists(path):
                container.read(path)  # raises unless it is whole
            continue
        length *= 0.85
        if result != expected or bp.load_checkpoint(path).optimizer.iterations != 273:
            raise RuntimeError(f"got {result}, expected {expected}; the checkpoint is {path}")
        found["ends"] += 1
        left = [name for name in os.listdir(folder) if name.endswith(".tmp")]
        if left:
            raise RuntimeError(f"left over in {folder}: {left}")
        os.unlink(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + ".lock")
    os.rmdir(folder)
    return found


if __name__ == "__main__":
    arguments = [int(a) for a in sys.argv[1:]]
    print(run(*arguments))
