"""Writes the measured tables into docs/benchmarks.md and the README, so that no number is typed."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from pathlib import Path

from . import limits, machines, report, roofline
from .networks import NETWORKS
from .training import EPOCHS

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = (
    "bpcore", "numpy", "scikit-learn", "torch", "jax", "onnxruntime", "onednn-cpu-gomp"
)  # fmt: skip


def processor() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


def versions() -> str:
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def roofline_table(results: list[dict], peak: dict[str, float]) -> str:
    networks = {n.name: n for n in NETWORKS}
    rows = []
    for row in results:
        network = networks[row["network"]]
        floor = roofline.floor(network, peak)
        measured = row["microseconds"]["bpcore"]
        rows.append(
            [
                network.name,
                f"{roofline.step_flops(network) / 1e6:.3g}",
                f"{roofline.step_bytes(network) / 1e6:.3g}",
                report.number(floor),
                report.number(measured["median"]),
                f"{floor / measured['median']:.0%}",
                f"{floor / measured['min']:.0%}",
            ]
        )
    head = [
        "network",
        "Mflop",
        "MB from memory",
        "floor, us",
        "bpcore, us",
        "of the floor",
        "at best",
    ]
    return report.table(head, rows)


def losses(results: list[dict]) -> str:
    """Where a rival is faster, in words."""
    found = []
    for row in results:
        times = {name: t["median"] for name, t in row["microseconds"].items()}
        best = min(times, key=times.__getitem__)
        if best != "bpcore":
            found.append(f"{row['network']}: {best} is {times['bpcore'] / times[best]:.2f}x faster")
    return "; ".join(found) or "on none of these networks"


def training_section(figures: dict) -> list[str]:
    results, peaks = figures["training"], figures["peaks"]
    return [
        report.training_table(results),
        f"Where bpcore is behind: {losses(results)}.",
        f"The floor is the larger of two times: all flops at {peaks['flops'] / 1e9:.0f} GFLOP/s "
        f"(FMA chains in registers on {figures['threads']} threads at once; "
        f"{peaks['flops_one'] / 1e9:.0f} on one), and what must come from memory at "
        f"{peaks['bytes'] / 1e9:.0f} GB/s (the batch; weights and state beyond 32 MB).",
        roofline_table(results, peaks),
    ]


def matmul_section(figures: dict) -> list[str]:
    results = figures["matmul"]
    return [
        report.matmul_table(results),
        report.matmul_summary(results, figures["threads"]),
    ]


HOW_TO = (
    "`pip install '.[bench]' && python -m bench` prints the tables on this page "
    "(`--help` lists what can be chosen). Whether a change of bpcore costs speed is asked apart: "
    "`python -m bench --against REF` compares the installed bpcore (new) with another (old), REF "
    "being a revision, which is built once into `build/against`, or the path of a Python "
    "interpreter that has another bpcore. Each has a process of its own, started once; the two "
    "take turns, after their answers were compared bit by bit. The lines are the training steps of "
    "the first table, `model(x)` and `predict`; a line's ratio is the median over pairs of "
    "neighbouring turns. The rule: the geometric mean of the ratios is at most 1.03 and no line "
    "is above 1.06. It takes a minute or two, and the exit code is 1 where the rule does not hold. "
    "Run it on a quiet machine; `--against HEAD` shows what the machine's noise is."
)


def document(figures: dict, limited: dict | None) -> str:
    parts = [
        "# Benchmarks",
        "Written by `python -m bench --publish`; do not edit. One machine's figures on one day: "
        "run it on yours.",
        "## How to measure",
        HOW_TO,
        "## The machine",
        f"{processor()}, {figures['threads']} threads, {figures['bpcore'].get('isa')} "
        f"kernels, Python {platform.python_version()}, {platform.system()}. "
        f"Versions: {versions()}.",
        "## Machine by machine",
        machines.INTRO,
        machines.table(),
        "## One training step",
        "Forward, loss, backward, update, with shuffled batches from memory; float32. The first "
        "losses of all libraries from equal weights are compared before anything is timed; then "
        f"they take turns in one process, {EPOCHS} epochs a turn (for bpcore one `fit`, which "
        "looks through the data once). Median (least..most) of the rounds; in bold, how many "
        "times bpcore's time a rival takes.",
        *training_section(figures),
        "## Matrix products",
        "float32, results compared first, written into arrays that exist. A call from Python is "
        "in every figure: about a microsecond, most of the smallest products. NumPy and PyTorch "
        "use all threads. oneDNN is called through its C API, row-major operands; the faster of "
        "its `dnnl_sgemm` and its matmul primitive counts.",
        *matmul_section(figures),
        "## One row",
        report.latency_table(figures["latency"]),
    ]
    if "limits" in figures:
        parts += ["## Limits", *limits.sections(figures["limits"])]
    if limited:
        parts += [
            f"## Limited to {limited['isa']}",
            limited["limited"],
            "### One training step",
            *training_section(limited),
            "### Matrix products",
            *matmul_section(limited),
        ]
    return "\n\n".join(parts) + "\n"


def publish(figures: dict, limited: dict | None) -> None:
    """Figures of all sections, and those of training and products under `--isa`, if any."""
    machines.keep(machines.column(processor(), figures, limited))
    text = document(figures, limited)
    (ROOT / "docs" / "benchmarks.md").write_text(text, encoding="utf-8")
    readme = ROOT / "README.md"
    summary = short_table(figures["training"])
    text, count = re.subn(
        r"(<!-- bench:begin -->\n).*?(<!-- bench:end -->)",
        lambda m: (
            f"{m[1]}{summary}\n\nOn {processor()}, {figures['threads']} threads; the whole of it: "
            f"[docs/benchmarks.md](docs/benchmarks.md).\n{m[2]}"
        ),
        readme.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    if count != 1:
        raise RuntimeError("README.md has no bench:begin and bench:end marks")
    readme.write_text(text, encoding="utf-8")


def short_table(results: list[dict]) -> str:
    names = list(results[0]["microseconds"])
    rows = [
        [r["network"], *(report.number(r["microseconds"][n]["median"]) for n in names)]
        for r in results
    ]
    return report.table(["one training step, microseconds", *names], rows)
