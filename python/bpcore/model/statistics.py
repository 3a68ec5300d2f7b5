"""The running statistics of BatchNormalization, measured anew."""

from __future__ import annotations

from ..base.memory import Array
from ..train.engine import Engine


def refresh(engine: Engine, xs: list[Array], size: int, draws: int) -> bool:
    """Set them to their means over batches of `size` rows; False if no layer has any to move.

    The forward passes are those of training after `draws` batches. On any error all stay.
    """
    live = [
        attrs
        for _, _, _, attrs, _ in engine.low.nodes
        if "momentum" in attrs and attrs["mode"] == "batch"
    ]
    usual = [attrs["momentum"] for attrs in live]
    before = [(p, p.value.copy()) for p in engine.params if not p.trainable]
    try:
        for k, start in enumerate(range(0, len(xs[0]) if live else 0, size)):
            for attrs in live:
                attrs["momentum"] = k / (k + 1)  # a plain mean
            net = engine.low.network(engine.outputs)
            net.forward([a[start : start + size] for a in xs], True, None, draws + k)
    except BaseException:
        for p, value in before:
            p.value[...] = value
        raise
    finally:
        for attrs, momentum in zip(live, usual, strict=True):
            attrs["momentum"] = momentum
    return bool(live)
