"""How gradients fare on their way back through time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.memory import Array


def gradient_norms(engine: Any, compilation: Any, item: Any, layer: Any) -> Array:
    """The norms of dL/dh_t over samples and units, by step; `engine` is traced."""
    node = next(n for n in engine.nodes if n.layer is layer)
    trainer = engine.trainer("gradients", compilation)
    trainer.gradients(item.xs, item.ys, item.told, wrt_inputs=False)
    kept = np.asarray(trainer.saved(_recurrent(engine, engine.places[id(node)])), np.float64)
    steps = engine.low.shapes[engine.places[id(node)].inputs[0]][0]
    dh = kept.reshape(item.n, steps, -1)[..., -layer.units :]
    result: Array = np.sqrt(np.square(dh).sum(axis=(0, 2)))
    return result


def _recurrent(engine: Any, place: Any) -> int:
    """The node of the cell among those that a layer has written down."""
    names = ("simple_rnn", "lstm", "gru")
    own = range(min(place.z, place.a), place.a + 1)
    return next(i for i in own if engine.low.nodes[i][0] in names)
