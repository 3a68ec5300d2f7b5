"""Processor time of `import bpcore`, and of a first fit, above that of `import numpy`.

``python -m bench.importing [ROUNDS]``. Fresh processes in turn, user and system time of each; the
first round, which may write compiled files, is not counted.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

FIT = """
import numpy as np
import bpcore as bp
model = bp.Sequential([bp.layers.Dense(4, "relu"), bp.layers.Dense(2)], seed=0)
model.compile("adam", "mse")
model.fit(np.ones((8, 3)), np.ones((8, 2)), verbose=0)
"""
CODE = {"numpy": "import numpy", "bpcore": "import bpcore", "first fit": FIT}


def milliseconds(code: str) -> float:
    """Of a process of its own, with one thread: more take processor time to start."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**os.environ, "BPCORE_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main(argv: list[str]) -> int:
    rounds = int(argv[0]) if argv else 20
    found: dict[str, list[float]] = {name: [] for name in CODE}
    for _ in range(rounds + 1):
        for name, code in CODE.items():
            found[name].append(milliseconds(code))
    base = statistics.median(found["numpy"][1:])
    print(f"numpy      {base:6.1f} ms")
    for name in ("bpcore", "first fit"):
        print(f"{name:<10} {statistics.median(found[name][1:]) - base:+6.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
