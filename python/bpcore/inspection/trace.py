"""Every value of one forward and backward pass, by layer, for study and teaching."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..base.memory import Array
from ..graph import Place


class LayerTrace:
    """One layer's part of a pass over N samples.

    Attributes
    ----------
    inputs : ndarray or list of ndarray
        What came in.
    z : ndarray
        The weighted input, before the activation.
    a : ndarray
        The output, after it.
    delta : ndarray
        dL/dz, the backpropagated error; L is the mean loss of the batch.
    """

    def __init__(self, inputs: Any, z: Array, a: Array, delta: Array) -> None:
        self.inputs, self.z, self.a, self.delta = inputs, z, a, delta

    def __repr__(self) -> str:
        return f"<LayerTrace z {self.z.shape} a {self.a.shape}>"


def calls_of(engine: Any) -> Iterator[tuple[str, Any, Place]]:
    """All layers' calls but inputs: name (the k-th: ``name:k``, k > 0), node, place with z."""
    calls: dict[str, int] = {}
    for node in engine.nodes:
        if not node.inputs:
            continue
        place = engine.places[id(node)]
        z = place.z
        if z == place.a and place.inputs and engine.low.activation(z):
            z = place.inputs[0]  # an Activation layer: z is what it is applied to
        name = node.layer.name
        k = calls.get(name, 0)
        calls[name] = k + 1
        yield (name if k == 0 else f"{name}:{k}"), node, Place(place.inputs, z, place.a)


def trace(engine: Any, compilation: Any, item: Any) -> dict[str, LayerTrace]:
    """The trace of all layers but inputs."""
    engine = engine.of(item)
    trainer = engine.trainer("trace", compilation)
    trainer.gradients(item.xs, item.ys, item.told, wrt_inputs=True)
    result: dict[str, LayerTrace] = {}
    for name, _, place in calls_of(engine):
        inputs = [trainer.value(i) for i in place.inputs]
        result[name] = LayerTrace(
            inputs[0] if len(inputs) == 1 else inputs,
            trainer.value(place.z),
            trainer.value(place.a),
            trainer.delta(place.z),
        )
    return result
