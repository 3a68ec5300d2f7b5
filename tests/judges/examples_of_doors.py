"""The examples of everyday use that need more packages or time than the plain suite has.

``python -m pytest tests/judges/examples_of_doors.py``; with optuna, polars, nbconvert, ipykernel.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ..test_examples import DOORS, FOLDER


@pytest.mark.parametrize("name", sorted(DOORS))
def test_an_example_runs_as_written(name, tmp_path):
    done = subprocess.run(
        [sys.executable, str(FOLDER / name)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0 and done.stdout, f"{done.stdout}\n{done.stderr}"
