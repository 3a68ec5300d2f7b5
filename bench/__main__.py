"""Command line: `python -m bench [--quick] [--json FILE] [--only SECTION ..] [--isa v3]`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from . import isa

SECTIONS = ("training", "matmul", "latency", "limits")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps, 3 rounds")
    parser.add_argument(
        "--json", metavar="FILE", help="also write the figures to FILE (- = stdout)"
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument(
        "--isa", choices=tuple(isa.VARIABLES), help="limit every library to this instruction set"
    )
    parser.add_argument("--network", metavar="TEXT", help="only networks whose name contains TEXT")
    parser.add_argument("--threads", type=int, help="threads of every library (default: all CPUs)")
    parser.add_argument("--rounds", type=int, help="timed rounds (default 7, 3 with --quick)")
    parser.add_argument("--long", action="store_true", help="ten million calls, not a million")
    parser.add_argument("--memmap-mb", type=int, default=400, help="size of the file of rows")
    parser.add_argument("--compiled", action="store_true", help="also PyTorch with torch.compile")
    parser.add_argument(
        "--against",
        metavar="REF",
        help="only compare this install with another: a revision, or the path of its interpreter",
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="write docs/benchmarks.md and the README's table, also with --compiled and --isa v3",
    )
    arguments = parser.parse_args(argv)
    if arguments.publish and (tuple(arguments.only) != SECTIONS or arguments.isa):
        parser.error("--publish writes all sections, limited ones too; leave out --only and --isa")
    threads = arguments.threads or len(os.sched_getaffinity(0))
    if arguments.isa:
        isa.limit(arguments.isa)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)  # before NumPy and the others are imported
    if arguments.against:
        return against_other(arguments, threads)
    rounds = arguments.rounds or (3 if arguments.quick else 7)
    figures = run(arguments, threads, rounds)
    if arguments.json == "-":
        json.dump(figures, sys.stdout, indent=1)
    elif arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
    if arguments.publish:
        from . import publish

        older = "v3" if figures["bpcore"]["isa"] == "v4" else None
        publish.publish(figures, limited_figures(older, arguments) if older else None)
    return 0


def against_other(arguments, threads: int) -> int:
    """Old and new in turns; 1 if the rule does not hold."""
    from .against import compare, installs, worker

    old, new = installs.resolve(arguments.against), installs.present()
    names = [name for name in worker.LINES if (arguments.network or "") in name]
    turns = arguments.rounds or (7 if arguments.quick else 21)
    print(f"old: {old.label}; new: {new.label}; {threads} threads, medians\n")
    lines = compare.run(old, new, names, turns, threads)
    holds, sentence = compare.verdict(lines)
    print(compare.table(lines) + "\n\n" + sentence)
    if arguments.json:
        figures = [dataclasses.asdict(line) for line in lines]
        Path(arguments.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return 0 if holds else 1


def limited_figures(name: str, arguments) -> dict:
    """Training and products in a process limited to an instruction set."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "bench", "--isa", name, "--json", str(path)]
        command += ["--only", "training", "matmul"] + ["--quick"] * arguments.quick
        for option in ("threads", "rounds", "network"):
            if (value := getattr(arguments, option)) is not None:
                command += [f"--{option}", str(value)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        return json.loads(path.read_text(encoding="utf-8"))


def run(arguments, threads: int, rounds: int) -> dict:
    import importlib.util

    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
    import bpcore as bp
    from bpcore import _core

    bp.set_num_threads(threads, exact=True)

    from . import latency, limits, matmul, report, roofline, training

    out = sys.stderr if arguments.json == "-" else sys.stdout
    figures: dict = {
        "machine": platform.processor() or platform.machine(),
        "threads": threads,
        "bpcore": {k: str(v) for k, v in _core.config().items()},
    }
    print(f"{threads} threads, {rounds} rounds, medians; {figures['bpcore']}\n", file=out)
    figures["peaks"] = roofline.peaks(threads)
    if arguments.isa:
        figures["isa"] = arguments.isa
        figures["limited"] = isa.sentence(arguments.isa, isa.check(figures["peaks"]["flops"]))
        print(figures["limited"] + "\n", file=out)
    if "training" in arguments.only:
        figures["training"] = training.training(
            rounds, arguments.quick, arguments.compiled or arguments.publish, arguments.network
        )
        print(report.training_table(figures["training"]) + "\n", file=out)
    if "matmul" in arguments.only:
        figures["matmul"] = matmul.matmul(rounds, arguments.quick, threads)
        print(report.matmul_table(figures["matmul"]) + "\n", file=out)
        summary = report.matmul_summary(figures["matmul"], threads)
        print(summary + "\n", file=out)
    if "latency" in arguments.only:
        figures["latency"] = latency.latency(rounds)
        print(report.latency_table(figures["latency"]) + "\n", file=out)
    if "limits" in arguments.only:
        figures["limits"] = limits.limits(
            limits.Options(threads, rounds, arguments.quick, arguments.long, arguments.memmap_mb)
        )
        print("\n\n".join(limits.sections(figures["limits"])) + "\n", file=out)
    return figures


if __name__ == "__main__":
    sys.exit(main())
