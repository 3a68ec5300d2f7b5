"""Results as Markdown tables."""

from __future__ import annotations


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


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


def latency_table(result: dict) -> str:
    return table(["one row through 8-64-64-4, microseconds", *result],
                 [["", *map(number, result.values())]])  # fmt: skip
