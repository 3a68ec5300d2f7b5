"""Command line: `python -m bench [--quick] [--json FILE] [--only TABLE]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps, 3 rounds")
    parser.add_argument(
        "--json", metavar="FILE", help="also write the figures to FILE (- = stdout)"
    )
    parser.add_argument("--only", choices=("training", "matmul", "latency", "limits"))
    parser.add_argument("--network", metavar="TEXT", help="only networks whose name contains TEXT")
    parser.add_argument("--threads", type=int, help="threads of every library (default: all CPUs)")
    parser.add_argument("--rounds", type=int, help="timed rounds (default 7, 3 with --quick)")
    parser.add_argument("--long", action="store_true", help="ten million calls, not a million")
    parser.add_argument("--memmap-mb", type=int, default=400, help="size of the file of rows")
    parser.add_argument("--compiled", action="store_true", help="also PyTorch with torch.compile")
    parser.add_argument(
        "--publish", action="store_true", help="write docs/benchmarks.md and the README's table"
    )
    arguments = parser.parse_args(argv)
    threads = arguments.threads or len(os.sched_getaffinity(0))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # before NumPy and the others are imported
    rounds = arguments.rounds or (3 if arguments.quick else 7)
    figures = run(arguments, threads, rounds)
    if arguments.publish:
        from . import publish

        publish.publish(figures)
    if arguments.json == "-":
        json.dump(figures, sys.stdout, indent=1)
    elif arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    return 0


def run(arguments, threads: int, rounds: int) -> dict:
    import importlib.util

    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
    from . import latency, limits, matmul, report, roofline, training

    out = sys.stderr if arguments.json == "-" else sys.stdout
    figures: dict = {"machine": platform.processor() or platform.machine(), "threads": threads}
    if importlib.util.find_spec("bpcore"):
        import bpcore as bp

        figures["bpcore"] = {k: str(v) for k, v in bp._core.config().items()}
    print(f"{threads} threads, {rounds} rounds, medians; {figures.get('bpcore', '')}\n", file=out)
    if arguments.only in (None, "training"):
        figures["peaks"] = roofline.peaks(threads)
        figures["training"] = training.training(
            rounds, arguments.quick, arguments.compiled, arguments.network
        )
        print(report.training_table(figures["training"]) + "\n", file=out)
    if arguments.only in (None, "matmul"):
        figures["matmul"] = matmul.matmul(rounds, arguments.quick)
        print(report.matmul_table(figures["matmul"]) + "\n", file=out)
    if arguments.only in (None, "latency"):
        figures["latency"] = latency.latency(rounds)
        print(report.latency_table(figures["latency"]) + "\n", file=out)
    if arguments.only in (None, "limits"):
        figures["limits"] = limits.limits(
            limits.Options(threads, rounds, arguments.quick, arguments.long, arguments.memmap_mb)
        )
        print("\n\n".join(limits.sections(figures["limits"])) + "\n", file=out)
    return figures


if __name__ == "__main__":
    sys.exit(main())
