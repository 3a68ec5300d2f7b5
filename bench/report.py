"""Results as Markdown tables."""

from __future__ import annotations

import statistics


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def label(library: str, threads: int) -> str:
    return f"{library}, {threads} thread{'s' * (threads > 1)}"


def training_table(results: list[dict]) -> str:
    """Median (spread) per library; beside each rival, how many times slower than bpcore it is."""
    names = list(results[0]["microseconds"])
    rows = []
    for row in results:
        times, cells = row["microseconds"], [row["network"]]
        ours = times.get("bpcore", {}).get("median")
        for name in names:
            t = times[name]
            cell = f"{number(t['median'])} ({number(t['min'])}..{number(t['max'])})"
            if ours and name != "bpcore":
                cell += f" **{t['median'] / ours:.2f}x**"
            cells.append(cell)
        rows.append(cells)
    return table(["one training step, microseconds", *names], rows)


def matmul_table(results: list[dict]) -> str:
    names = list(results[0]["gflops"])
    rows = [
        [
            r["shape"],
            r["form"],
            *(number(r["gflops"][n]) if n in r["gflops"] else "" for n in names),
        ]
        for r in results
    ]
    return table(["M x K x N, GFLOP/s", "form", *names], rows)


def matmul_summary(results: list[dict], threads: int) -> str:
    """bpcore beside oneDNN over all shapes and forms, and large products beside the FMA peak."""
    sentences = []
    for count in sorted({1, threads}):
        ours, rival = label("bpcore", count), label("oneDNN", count)
        rates = [r["gflops"] for r in results]
        if ratios := [r[ours] / r[rival] for r in rates if rival in r]:
            sentences.append(
                f"{ours}, over {rival}: geometric mean {statistics.geometric_mean(ratios):.3f}, "
                f"least {min(ratios):.2f}, most {max(ratios):.2f}."
            )
        large = [r for r in results if r["peak"]]
        shares = [
            f"{r['shape']} {r['form']} {r['gflops'][ours] / r['peak'][ours]:.0%}" for r in large
        ]
        readings = [r["peak"][ours] for r in large]
        sentences.append(
            f"Of the FMA peak before and after ({min(readings):.0f} to {max(readings):.0f} "
            f"GFLOP/s): {', '.join(shares)}."
        )
    return " ".join(sentences)


def latency_table(result: dict) -> str:
    return table(["one row through 8-64-64-4, microseconds", *result],
                 [["", *map(number, result.values())]])  # fmt: skip
