"""Where the time of a training step goes: by layer and phase, against what the machine can do."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _core
from ..base import checks
from ..base.memory import Array, Shape
from ..base.threads import threads
from ..data.dataset import Dataset, subset
from ..losses import CoreLoss

PHASES = ("forward", "backward", "update")
_MATRIX = 384  # three of them (1.8 MB in float32) stay in the level-2 cache of servers
_COPY = 2**26  # bytes: beyond the last-level cache's share of a core
_TRIES = 5


@dataclasses.dataclass
class LayerProfile:
    """One layer's part of a step of one batch on one thread, all its calls together.

    Attributes
    ----------
    layer : str
    forward, backward, update : float
        Median seconds; update is the gradients of the weights and the optimizer.
    forward_flops, backward_flops, update_flops : int
        Dense: 2 N I O each; backward is 0 where no layer before needs a delta.
    forward_bytes, backward_bytes, update_bytes : int
        If every array were read or written once.
    """

    layer: str
    forward: float = 0.0
    backward: float = 0.0
    update: float = 0.0
    forward_flops: int = 0
    backward_flops: int = 0
    update_flops: int = 0
    forward_bytes: int = 0
    backward_bytes: int = 0
    update_bytes: int = 0

    @property
    def seconds(self) -> float:
        """All three phases."""
        return self.forward + self.backward + self.update

    @property
    def flops(self) -> int:
        """All three phases."""
        return self.forward_flops + self.backward_flops + self.update_flops

    @property
    def bytes(self) -> int:
        """All three phases."""
        return self.forward_bytes + self.backward_bytes + self.update_bytes

    @property
    def gflops(self) -> float:
        """GFLOP/s."""
        return self.flops / self.seconds / 1e9 if self.seconds > 0 else 0.0


class Profile:
    """What `Model.profile` returns.

    Attributes
    ----------
    layers : list of LayerProfile
    gather, loss : float
        Seconds of bringing the batch in, and of loss and its delta.
    seconds : float
        The whole step.
    batch_size : int
    peak : float
        GFLOP/s of one thread: the core's product of two matrices in cache, the best of some tries.
    bandwidth : float
        GB/s of one thread: copying an array beyond the cache, bytes read and written.
    """

    def __init__(
        self,
        layers: list[LayerProfile],
        gather: float,
        loss: float,
        batch_size: int,
        peak: float,
        bandwidth: float,
    ) -> None:
        self.layers, self.gather, self.loss = layers, gather, loss
        self.batch_size, self.peak, self.bandwidth = batch_size, peak, bandwidth

    @property
    def seconds(self) -> float:
        """Of the step: layers, loss and gathering."""
        return sum(layer.seconds for layer in self.layers) + self.gather + self.loss

    @property
    def shares(self) -> dict[str, float]:
        """Fraction of the step's time by layer, and ``"(gather)"`` and ``"(loss)"``; sums to 1."""
        parts = {layer.layer: layer.seconds for layer in self.layers}
        parts.update({"(gather)": self.gather, "(loss)": self.loss})
        total = max(self.seconds, 1e-12)
        return {name: seconds / total for name, seconds in parts.items()}

    def roof(self, layer: LayerProfile) -> float:
        """GFLOP/s that flops and bytes allow: min(peak, flops / bytes * bandwidth).

        S. Williams, A. Waterman, D. Patterson, "Roofline", 2009.
        """
        return min(self.peak, layer.flops / max(layer.bytes, 1) * self.bandwidth)

    def bound(self, layer: LayerProfile) -> str:
        """``"flops"`` or ``"bytes"``: what limits the layer where arrays come from memory.

        A batch that stays in cache may be faster than a roof of bytes.
        """
        return "flops" if self.roof(layer) >= self.peak else "bytes"

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON data."""
        layers = [
            {
                **dataclasses.asdict(layer),
                "gflops": layer.gflops,
                "peak_share": layer.gflops / self.peak,
                "roof": self.roof(layer),
                "bound": self.bound(layer),
            }
            for layer in self.layers
        ]
        return {
            "layers": layers, "gather": self.gather, "loss": self.loss, "seconds": self.seconds,
            "batch_size": self.batch_size, "peak": self.peak, "bandwidth": self.bandwidth,
        }  # fmt: skip

    def summary(self) -> str:
        """A table, as text: microseconds, share of the step, GFLOP/s, share of the peak."""
        head = ("layer", "forward", "backward", "update", "share", "Mflop", "GFLOP/s", "peak",
                "bound")  # fmt: skip
        shares = self.shares
        rows: list[tuple[str, ...]] = [head]
        for layer in self.layers:
            times = [f"{getattr(layer, phase) * 1e6:.1f}" for phase in PHASES]
            rows.append(
                (layer.layer, *times, f"{shares[layer.layer]:.1%}", f"{layer.flops / 1e6:.3g}",
                 f"{layer.gflops:.3g}", f"{layer.gflops / self.peak:.0%}", self.bound(layer))
            )  # fmt: skip
        for name, seconds in (("(gather)", self.gather), ("(loss)", self.loss)):
            rows.append((name, f"{seconds * 1e6:.1f}", "", "", f"{shares[name]:.1%}", *[""] * 4))
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
            for row in rows
        ]
        flops = sum(layer.flops for layer in self.layers)
        return "\n".join(
            [
                f"a step of {self.batch_size} rows on one thread: {self.seconds * 1e6:.1f} us, "
                f"{flops / max(self.seconds, 1e-12) / 1e9:.3g} GFLOP/s; the machine: "
                f"{self.peak:.3g} GFLOP/s, {self.bandwidth:.3g} GB/s; times in us",
                lines[0],
                "-" * max(map(len, lines)),
                *lines[1:],
            ]
        )

    __str__ = summary

    def __repr__(self) -> str:
        return f"<Profile of {len(self.layers)} layers, {self.seconds * 1e6:.1f} us a step>"


def profile(
    engine: Any, compilation: Any, x: Any, y: Any, batch_size: Any, repeats: Any
) -> Profile:
    """See `Model.profile`; engine and compilation are those of a copy."""
    size = checks.integer("batch_size", batch_size)
    count = checks.integer("repeats", repeats)
    signature = engine.signature
    read = signature.read_inputs(x)
    n = read.n
    if y is None:
        ends = zip(signature.outputs.names, compilation.losses, read.steps.shapes, strict=True)
        y = {name: _zeros(loss, shape, n) for name, loss, shape in ends}
    ys, ws = signature.read_targets(y, None, compilation.losses, n, inputs=read)
    item = Dataset(n, read.xs, ys, ws, form=read.form, valid=list(read.valid))
    n = min(n, size)
    item = subset(item, slice(n))
    trainer = engine.of(item).trainer("train", compilation)
    with threads(1):
        runs = [trainer.profile(item.xs, item.ys, item.told) for _ in range(count + 2)][2:]
        peak, bandwidth = _peak(engine.dtype, engine.low.compute), _bandwidth()
    middle = {key: float(np.median([run[key] for run in runs])) for key in ("gather", "loss")}
    return Profile(_layers(runs), middle["gather"], middle["loss"], n, peak, bandwidth)


def _zeros(loss: Any, shape: Shape, n: int) -> Array:
    """Targets that any loss takes: class 0 for labels, else zeros."""
    kind = loss.kind if isinstance(loss, CoreLoss) else ""
    if kind == "cross_entropy":
        return np.zeros((n, *shape[:-1]), dtype=np.int32)
    target = loss.target_shape(shape) if isinstance(loss, CoreLoss) else shape
    return np.zeros((n, *target), dtype=np.int8)


def _layers(runs: list[dict[str, Any]]) -> list[LayerProfile]:
    found: dict[str, LayerProfile] = {}
    for s, (name, _, flops, sizes) in enumerate(runs[0]["steps"]):
        layer = found.setdefault(name, LayerProfile(name))
        for i, phase in enumerate(PHASES):
            seconds = float(np.median([run["steps"][s][1][i] for run in runs]))
            for key, value in ((phase, seconds), (f"{phase}_flops", flops[i]),
                               (f"{phase}_bytes", sizes[i])):  # fmt: skip
                setattr(layer, key, getattr(layer, key) + value)
    return list(found.values())


def _best(work: Callable[[], Any]) -> float:
    """Shortest time of some tries, in seconds."""
    times = []
    for _ in range(_TRIES + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return max(min(times[1:]), 1e-9)


def _peak(dtype: str, compute: str) -> float:
    a = np.full((_MATRIX, _MATRIX), 0.5, dtype=dtype)
    return float(2 * _MATRIX**3 / _best(lambda: _core.matmul(a, a, compute=compute)) / 1e9)


def _bandwidth() -> float:
    source = np.ones(_COPY // 8)
    target = np.empty_like(source)
    return 2 * _COPY / _best(lambda: np.copyto(target, source)) / 1e9
