"""Two workers taking turns, and the rule by which a change counts as none."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import report
from .installs import ROOT, Install

MEAN, WORST = 1.03, 1.06  # the geometric mean of the ratios, and the largest
TURN = 0.06  # seconds of work in a turn
DOUBTFUL = 1.04  # a line with such a ratio gets twice as many turns more, and none is left out
SAME_WORK = 1e-3  # answers farther apart than this are not those of the same computation
START = "import sys; sys.path.append({!r}); from bench.against.worker import main; main()"


class Side:
    """A process that has one of the installs, started once."""

    def __init__(self, install: Install, threads: int) -> None:
        self.install = install
        self.process = subprocess.Popen(
            [install.python, "-c", START.format(str(ROOT))], cwd=tempfile.gettempdir(),
            env=install.environment(threads), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self.file = self._read()["file"]
        if install.folder is not None and not Path(self.file).is_relative_to(install.folder):
            self.close()
            raise SystemExit(
                f"{install.label}: bpcore comes from {self.file}, expected {install.folder}; an "
                "editable install goes before every path: install bpcore plainly"
            )

    def _read(self) -> dict:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker of {self.install.label} ended; what it said is above")
        return json.loads(line)

    def ask(self, **request: object) -> dict:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._read()

    def seconds(self, count: int) -> float:
        return float(self.ask(count=count)["seconds"])

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


@dataclasses.dataclass(frozen=True)
class Line:
    """Seconds of each turn, old and new in pairs, of one unit of work (a step, a call)."""

    name: str
    old: tuple[float, ...]
    new: tuple[float, ...]
    bits: str = ""  # how the answers differ, if they do

    def with_turns(self, other: Line) -> Line:
        return Line(self.name, self.old + other.old, self.new + other.new, self.bits)

    @property
    def ratio(self) -> float:
        """New over old: the median over pairs of turns, which drift of the machine hits alike."""
        return statistics.median(n / o for o, n in zip(self.old, self.new, strict=True))

    @property
    def spread(self) -> tuple[float, float]:
        """The middle half of the pairs' ratios."""
        pairs = sorted(n / o for o, n in zip(self.old, self.new, strict=True))
        return pairs[len(pairs) // 4], pairs[-1 - len(pairs) // 4]


def answers(old: Side, new: Side, name: str) -> tuple[str, int]:
    """How the two answers differ ('' if in no bit), and the steps in a unit of the work."""
    first, second = old.ask(prepare=name), new.ask(prepare=name)
    if first["digest"] == second["digest"]:
        return "", first["steps"]
    with tempfile.TemporaryDirectory() as folder:
        loaded = []
        for k, side in enumerate((old, new)):
            path = str(Path(folder, f"{k}.npz"))
            side.ask(save=path)
            with np.load(path) as file:
                loaded.append([file[key] for key in file.files])
    return apart(name, *loaded), first["steps"]


def apart(name: str, old: Sequence[np.ndarray], new: Sequence[np.ndarray]) -> str:
    """The largest difference of two answers, over the largest magnitude of its array."""
    if [a.shape for a in old] != [a.shape for a in new]:
        raise SystemExit(f"{name}: the answers have other shapes; nothing was timed")
    largest = max(
        float(np.abs(a.astype(np.float64) - b).max() / max(float(np.abs(a).max()), 1e-30))
        for a, b in zip(old, new, strict=True)
    )
    if not largest <= SAME_WORK:
        raise SystemExit(f"{name}: the answers differ by {largest:.1e}; nothing was timed")
    return f"other bits, at most {largest:.1e} apart"


def measure(old: Side, new: Side, name: str, turns: int) -> Line:
    bits, steps = answers(old, new, name)
    count = 1
    while (elapsed := min(old.seconds(count), new.seconds(count))) < TURN / 2:
        count *= 2
    count = max(1, round(count * TURN / elapsed))
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns):
        for k in (0, 1) if turn % 2 else (1, 0):
            seconds[k].append((old, new)[k].seconds(count) / (count * steps))
    return Line(name, tuple(seconds[0]), tuple(seconds[1]), bits)


def run(old: Install, new: Install, names: Sequence[str], turns: int, threads: int) -> list[Line]:
    """All lines."""
    sides = Side(old, threads), Side(new, threads)
    try:
        lines = []
        for name in names:
            line = measure(*sides, name, turns)
            if line.ratio > DOUBTFUL:
                line = line.with_turns(measure(*sides, name, 2 * turns))
            lines.append(line)
        return lines
    finally:
        for side in sides:
            side.close()


def verdict(lines: Sequence[Line]) -> tuple[bool, str]:
    """Whether the rule holds, and the sentence."""
    mean = statistics.geometric_mean(line.ratio for line in lines)
    worst = max(lines, key=lambda line: line.ratio)
    holds = mean <= MEAN and worst.ratio <= WORST
    return holds, (
        f"new over old: geometric mean {mean:.3f} (at most {MEAN}), worst line {worst.ratio:.3f} "
        f"(at most {WORST}): {worst.name}. The rule {'holds' if holds else 'DOES NOT HOLD'}."
    )


def table(lines: Sequence[Line]) -> str:
    rows = []
    for line in lines:
        low, high = line.spread
        rows.append(
            [
                line.name,
                *(report.number(statistics.median(side) * 1e6) for side in (line.old, line.new)),
                f"{line.ratio:.3f}",
                f"{low:.3f}..{high:.3f}",
                str(len(line.old)),
                line.bits or "equal",
            ]
        )
    head = [
        "microseconds a step or call",
        "old",
        "new",
        "new / old",
        "middle half",
        "turns",
        "bits",
    ]
    return report.table(head, rows)
