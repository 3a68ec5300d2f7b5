"""Steps whose numbers have become too small for normal float32, against those of the beginning."""

from __future__ import annotations

import statistics
import time

import numpy as np

from .. import report
from ..timing import alternate
from .options import Options

TITLE = "Denormal numbers"
INTRO = (
    "16-32-1 tanh learns 0 by SGD with momentum and weight decay, so that weights, activations, "
    "deltas and momentum shrink by the same factor a step: until the loss is below 1e-30, until "
    "deltas are denormal (below 1.2e-38, which the core's arithmetic takes as 0), then outputs, "
    "then the steps of the weights. Steps of each stage and of the start take turns; within 5 %."
)
ROWS, BATCH = 128_000, 64
TURNS = 5  # for each round: an epoch takes 7 ms, less than a disturbance
# The largest weight at which a stage begins: the output is about its square, the loss about its
# fourth power, the delta of the hidden layer about its cube; its step is 1e-4 of it.
STAGES = {
    "start": 1.0,
    "loss below 1e-30": 1e-8,
    "deltas denormal": 1e-13,
    "outputs denormal": 1e-20,
    "steps denormal": 2e-34,
}


def model(weights=None):
    import bpcore as bp

    made = bp.Sequential([bp.layers.Dense(32, "tanh"), bp.layers.Dense(1)], seed=0)
    # a factor of 1 - 1e-4 a step: a timed epoch of 2,000 hardly leaves its stage
    made.compile(bp.optimizers.SGD(1e-3, momentum=0.9, weight_decay=1e-2), "mse")
    made.build((16,))
    if weights is not None:
        made.set_weights(weights)
    return made


def largest(trained) -> float:
    return max(float(np.abs(w).max()) for w in trained.get_weights())


def numpy_ratio() -> float:
    """Time of NumPy's product of arrays whose results are denormal, over one of normal ones."""
    y, half = np.empty(4096, np.float32), np.full(4096, 0.5, np.float32)

    def seconds(value: float) -> float:
        x, times = np.full(4096, value, np.float32), []
        for _ in range(200):
            start = time.perf_counter()
            np.multiply(x, half, out=y)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    return seconds(1e-40) / seconds(1.0)


def measure(options: Options) -> dict:
    x = np.random.default_rng(0).random((ROWS, 16), dtype=np.float32)
    y = np.zeros((ROWS, 1), np.float32)
    path, models, losses, weights = model(), {}, {}, {}
    for stage, limit in STAGES.items():
        while largest(path) > limit:
            path.fit(x, y, batch_size=BATCH, verbose=0)
        models[stage] = model(path.get_weights())
        weights[stage] = largest(path)
        losses[stage] = path.evaluate(x[:1024], y[:1024])["loss"]
    if not losses["start"] > 1e-3 > 1e-30 > losses["loss below 1e-30"] > 0:
        raise AssertionError(f"the losses are not as small as they should be: {losses}")
    epochs = {
        stage: lambda m=m: m.fit(x, y, batch_size=BATCH, verbose=0) for stage, m in models.items()
    }
    timed = alternate(epochs, TURNS * options.rounds)
    steps = ROWS // BATCH
    stages = [
        {
            "stage": stage,
            "weight": weights[stage],
            "loss": losses[stage],
            "microseconds": {k: v / steps * 1e6 for k, v in timed[stage].items()},
        }
        for stage in STAGES
    ]
    return {"stages": stages, "numpy": numpy_ratio()}


def table(found: dict) -> str:
    start = found["stages"][0]["microseconds"]
    rows = []
    for row in found["stages"]:
        times = row["microseconds"]
        ratios = [f"{times[k] / start[k]:.2f}" for k in ("median", "min")]
        values = [f"{row[k]:.1e}" for k in ("weight", "loss")]
        rows.append([row["stage"], *values, report.number(times["median"]), *ratios])
    head = ["stage", "largest weight", "loss", "one step, us", "over the start's", "at best"]
    note = f"NumPy's product of arrays takes {found['numpy']:.1f} times as long with such numbers."
    return report.table(head, rows) + "\n\n" + note
