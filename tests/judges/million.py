"""A million rows through ``bpcore train``, ``evaluate`` and ``predict``: memory and time.

``python -m tests.judges.million [ROWS]``. The table has ten numbers, two categories, missing values
and a target, about 100 bytes a row. The peak of memory is that of the process itself (what is not
backed by a file), looked at every 50 ms; it must stay below `BOUND`, whatever the number of rows.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BOUND = 900  # MB; Python with NumPy alone takes 60, the features of a million rows 100
BLOCK = 20_000


def write(path: Path, rows: int) -> None:
    """The table."""
    rng = np.random.default_rng(0)
    towns = np.array([f"town {i}" for i in range(40)])
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{i}" for i in range(10)), "town", "kind", "y"])
        for start in range(0, rows, BLOCK):
            n = min(BLOCK, rows - start)
            x, town = rng.normal(size=(n, 10)), rng.integers(0, 40, n)
            y = np.where(x[:, 0] + town / 20 > 1, "yes", "no")
            told = np.char.mod("%.4f", x)
            told[rng.random((n, 10)) < 0.02] = ""
            kinds = rng.choice(["a", "b", "c"], n)
            writer.writerows(np.column_stack([told, towns[town], kinds, y]).tolist())


def run(*command: str) -> tuple[float, float]:
    """Peak of memory in MB, and seconds."""
    start, peak = time.perf_counter(), 0
    child = subprocess.Popen([sys.executable, "-m", "bpcore", *command], stdout=subprocess.DEVNULL)
    while child.poll() is None:
        try:
            status = Path(f"/proc/{child.pid}/status").read_text()
            peak = max(peak, int(status.split("RssAnon:")[1].split()[0]))
        except (OSError, IndexError):
            pass
        time.sleep(0.05)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {child.returncode}")
    return peak / 1024, time.perf_counter() - start


def main(argv: list[str]) -> int:
    rows = int(argv[0]) if argv else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        data, model = Path(folder) / "table.csv", str(Path(folder) / "m.safetensors")
        answers = Path(folder) / "answers.csv"
        write(data, rows)
        print(f"{rows:,} rows, {data.stat().st_size / 2**20:,.0f} MB", flush=True)
        train = ["train", str(data), "--target", "y", "--hidden", "16", "--epochs", "1"]
        high = 0.0
        for command in (
            [*train, "--out", model],
            ["evaluate", model, str(data)],
            ["predict", model, str(data), "-o", str(answers)],
        ):
            peak, seconds = run(*command)
            high = max(high, peak)
            print(f"{command[0]:<9} {peak:6,.0f} MB, {seconds:6.1f} s", flush=True)
        with open(answers) as file:
            lines = sum(1 for _ in file) - 1
    print(f"{lines:,} answers; the bound is {BOUND} MB")
    return int(high > BOUND or lines != rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
