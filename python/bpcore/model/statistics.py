"""The running statistics of BatchNormalization, measured anew."""

from __future__ import annotations

from .. import _core
from ..base.memory import Array, aligned_copy
from ..errors import diverged
from ..graph.parameter import assign
from ..train.engine import Engine


def refresh(engine: Engine, xs: list[Array], size: int, draws: int) -> bool:
    """Set them to their means over batches of `size` rows; False if no layer has any to move.

    The forward passes are those of training after `draws` batches. On any error all stay.
    """
    statistics = [p for p in engine.params if not p.trainable]
    found = {p: aligned_copy(p.value) for p in statistics}
    for k, start in enumerate(range(0, len(xs[0]), size)):
        net = engine.low.averaging(engine.outputs, found, k / (k + 1))  # a plain mean
        if net is None:
            return False
        try:
            net.forward([a[start : start + size] for a in xs], True, None, draws + k)
        except _core.Diverged as error:
            raise diverged(error, -1, None, batch=k) from None
    assign(statistics, [found[p] for p in statistics])
    return True
