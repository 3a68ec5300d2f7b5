"""How long and how large the measurements are, and those that need a process of their own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Options:
    threads: int
    rounds: int
    quick: bool = False
    long: bool = False  # ten times the calls
    memmap_mb: int = 400


def in_child(module: str, **arguments) -> dict:
    """What work(**arguments) of a module beside this one returns in a fresh interpreter."""
    code = (
        f"import json, sys; from bench.limits.{module} import work; "
        "print(json.dumps(work(**json.loads(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)
