"""Writes the measured tables into docs/benchmarks.md and the README, so that no number is typed."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from pathlib import Path

from . import report
from .networks import NETWORKS, forward_flops

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("bpcore", "numpy", "scikit-learn", "torch", "jax", "onnxruntime")


def step_flops(network) -> int:
    """Multiplications and additions of a step: forward, dx of all layers but the first, dw."""
    first = 2 * network.batch * network.sizes[0] * network.sizes[1]
    return 3 * forward_flops(network) - first


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


def arithmetic_table(results: list[dict]) -> str:
    networks = {n.name: n for n in NETWORKS}
    rows = []
    for row in results:
        flops = step_flops(networks[row["network"]])
        rate = flops / row["microseconds"]["bpcore"]["median"] / 1e3
        rows.append([row["network"], f"{flops / 1e6:.3g}", f"{rate:.0f}"])
    return report.table(["network", "Mflop a step", "bpcore, GFLOP/s"], rows)


def losses(results: list[dict]) -> str:
    """Where a rival is faster, in words."""
    found = []
    for row in results:
        times = {name: t["median"] for name, t in row["microseconds"].items()}
        best = min(times, key=times.__getitem__)
        if best != "bpcore":
            found.append(f"{row['network']}: {best} is {times['bpcore'] / times[best]:.2f}x faster")
    return "; ".join(found) or "on none of these networks"


def document(figures: dict) -> str:
    training = figures["training"]
    parts = [
        "# Benchmarks",
        "Written by `python -m bench --publish`; do not edit. One machine's figures on one day: "
        "run it on yours.",
        f"Machine: {processor()}, {figures['threads']} threads, {figures['bpcore'].get('isa')} "
        f"kernels, Python {platform.python_version()}, {platform.system()}. "
        f"Versions: {versions()}.",
        "## One training step",
        "Forward, loss, backward, update, with shuffled batches from memory; float32. The first "
        "losses of all libraries from equal weights are compared before anything is timed; then "
        "they take turns in one process. Median (least..most) of the rounds; in bold, how many "
        "times bpcore's time a rival takes.",
        report.training_table(training),
        f"Where bpcore is behind: {losses(training)}.",
        arithmetic_table(training),
    ]
    if "matmul" in figures:
        parts += ["## Matrix products", report.matmul_table(figures["matmul"])]
    if "latency" in figures:
        parts += ["## One row", report.latency_table(figures["latency"])]
    return "\n\n".join(parts) + "\n"


def publish(figures: dict) -> None:
    (ROOT / "docs" / "benchmarks.md").write_text(document(figures), encoding="utf-8")
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
