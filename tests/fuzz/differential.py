"""bpcore against PyTorch in float64: `python -m tests.fuzz.differential COUNT [FIRST]`.

Random models of all layers, losses, optimizers, penalties and constraints (`spec.py`) are trained a
few epochs by bpcore (`ours.py`) and by autograd and torch.optim (`twin.py`). The loss and gradients
of the first batch must agree to 1e-9, everything at the end to 1e-6, or one of the rules in
`rules.py` must explain the difference. What no rule explains is printed and makes the exit code 1.
"""

from __future__ import annotations

import collections
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import bpcore as bp

from .. import cases
from . import formulas, images, others, ours, recurrent, rules, spec, twin

NOT_CALLED = {"Layer", "Input"}


NAMES = ("Optimizer", "get", "names")


def uncovered() -> list[str]:
    """What bpcore offers and this fuzzer does not know yet."""
    text = "\n".join(
        Path(module.__file__).read_text(encoding="utf-8")
        for module in (spec, formulas, twin, recurrent, images, others)
    )
    missing = [f"layer {n}" for n in bp.layers.__all__ if n not in NOT_CALLED and n not in text]
    offered: list[tuple[str, Any, Any, set[str]]] = [
        ("loss", bp.losses, spec.LOSSES, {"HSIC", "Loss", "get", "names"}),
        ("optimizer", bp.optimizers, (*spec.OPTIMIZERS, *cases.SOLVERS), {"BatchSolver", *NAMES}),
    ]
    for kind, module, known, rest in offered:
        missing += [f"{kind} {n}" for n in module.__all__ if n not in rest and n not in known]
    functions = (*spec.SMOOTH, *spec.KINKED, *spec.ROWS, "exponential", *bp.activations.THRESHOLDS)
    missing += [f"activation {n}" for n in bp.activations.names() if n not in functions]
    return missing


def check(seed: int) -> str | None:
    """'' where both trainers agree, the rule that explains why they do not, or None."""
    model = spec.make(seed)
    mine = ours.Ours(model)
    weights = mine.weights()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", bp.errors.MismatchWarning)  # random models make no sense
        try:
            found = mine.run()
        except bp.errors.TrainingDiverged:
            return rules.diverged(twin.Twin(model, weights, floors=True).run())
        return rules.explanation(model, weights, found, twin.Twin(model, weights).run())


def run(count: int, first: int = 0, report: int = 0) -> tuple[collections.Counter[str], list[int]]:
    """How many models agree or are explained by which rule, and the seeds of the others."""
    counts: collections.Counter[str] = collections.Counter()
    unexplained, begun = [], time.perf_counter()
    for seed in range(first, first + count):
        reason = check(seed)
        if reason is None:
            unexplained.append(seed)
            print(f"seed {seed}: not explained", flush=True)
        else:
            counts[reason or "agree"] += 1
        if report and (seed + 1 - first) % report == 0:
            rate = (seed + 1 - first) / (time.perf_counter() - begun)
            print(f"{seed + 1 - first} models, {rate:.1f}/s: {dict(counts)}", flush=True)
    return counts, unexplained


if __name__ == "__main__":
    arguments = [int(a) for a in sys.argv[1:]]
    if missing := uncovered():
        print(f"not covered, write it in spec.py and twin.py: {', '.join(missing)}")
    counts, unexplained = run(*arguments, *[0] * (2 - len(arguments)), report=100)
    print(f"{dict(counts)}; not explained: {unexplained or 'none'}")
    sys.exit(bool(unexplained or missing))
