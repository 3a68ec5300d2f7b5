"""What was measured on each machine, a file each: the columns of a table in docs/benchmarks.md."""

from __future__ import annotations

import datetime
import json
import re
import statistics
from pathlib import Path

from .. import report

FOLDER = Path(__file__).resolve().parent
INTRO = (
    "A column for each kind of machine on which `python -m bench --publish` was run; the other "
    "tables of this page are of the machine it last ran on. Steps: microseconds of bpcore, "
    "and how many times as long the fastest rival took. Products: bpcore over oneDNN, geometric "
    "mean and least of all shapes. What was not measured is left empty."
)


def _step(row: dict) -> str:
    times = {name: t["median"] for name, t in row["microseconds"].items()}
    ours = times.pop("bpcore")
    rival = min(times, key=times.__getitem__)
    return f"{report.number(ours)}, {times[rival] / ours:.2f}x ({rival})"


def _products(results: list[dict], threads: int) -> str:
    ours, rival = report.label("bpcore", threads), report.label("oneDNN", threads)
    rates = [r["gflops"] for r in results if rival in r["gflops"]]
    ratios = [r[ours] / r[rival] for r in rates]
    return f"{statistics.geometric_mean(ratios):.3f}, least {min(ratios):.2f}" if ratios else ""


def _lines(figures: dict) -> dict[str, str]:
    lines = {row["network"]: _step(row) for row in figures["training"]}
    for threads in sorted({1, figures["threads"]}):
        label = f"products, {threads} thread{'s' * (threads > 1)}"
        lines[label] = _products(figures["matmul"], threads)
    return lines


def column(name: str, figures: dict, limited: dict | None) -> dict:
    """What is kept of a run: by the names of the lines, in their order."""
    bpcore = figures["bpcore"]
    day = datetime.datetime.now(datetime.timezone.utc).date()
    about = f"{name}, {figures['threads']} threads, {bpcore['isa']}"
    lines = {"measured": f"{day}, bpcore {bpcore['version']}", **_lines(figures)}
    for row in figures.get("limits", {}).get("bfloat16", []):
        full, rounded = (row["microseconds"][k]["median"] for k in ("bpcore", "bpcore bfloat16"))
        by = row["rounding"] or "float32"
        lines[f"{row['network']}, bfloat16"] = f"{full / rounded:.2f}x ({by})"
    if limited:
        lines |= {f"{line}, {limited['isa']}": text for line, text in _lines(limited).items()}
    return {"machine": about, "lines": lines}


def keep(found: dict) -> None:
    """In the machine's own file, in place of what was measured there before."""
    name = re.sub(r"[^a-z0-9]+", "-", found["machine"].lower()).strip("-")
    text = json.dumps(found, indent=1) + "\n"
    (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


def table() -> str:
    columns = [json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    names = list(dict.fromkeys(line for c in columns for line in c["lines"]))
    rows = [[name, *(c["lines"].get(name, "") for c in columns)] for name in names]
    return report.table(["", *(c["machine"] for c in columns)], rows)
