"""Every value of one forward and backward pass, by layer, for study and teaching."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..base.memory import Array
from ..data.inputs import in_sequences
from ..graph import Node, Place, Tensor, is_open


class LayerTrace:
    """One layer's part of a pass over N samples.

    Of sequences that came as a list, what has their steps is a list (T_i, ...), too.

    Attributes
    ----------
    inputs : ndarray or list of ndarray
        What came in.
    z : ndarray
        The weighted input, before the activation; the output of a layer that ends in none.
    a : ndarray
        The output, after it.
    delta : ndarray or None
        dL/dz, the backpropagated error; L is the mean loss of the batch. None without a target.
    da : ndarray or None
        dL/da, from which delta comes by the activation's derivative.
    """

    def __init__(self, inputs: Any, z: Any, a: Any, delta: Any = None, da: Any = None) -> None:
        self.inputs, self.z, self.a, self.delta, self.da = inputs, z, a, delta, da

    def __repr__(self) -> str:
        return f"<LayerTrace z {_shown(self.z)} a {_shown(self.a)}>"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"of {len(value)} sequences"
    return str(value.shape)


def calls_of(engine: Any) -> Iterator[tuple[str, Any, Place]]:
    """All layers' calls but inputs: name (the k-th: ``name:k``, k > 0), node, place with z."""
    calls: dict[str, int] = {}
    for node in engine.nodes:
        if not node.inputs:
            continue
        place = engine.places[id(node)]
        z = place.a  # of a layer that ends in an activation: what that is applied to
        if engine.low.activation(z):
            z = engine.low.nodes[z][1][0]
        name = node.layer.name
        k = calls.get(name, 0)
        calls[name] = k + 1
        yield (name if k == 0 else f"{name}:{k}"), node, Place(place.inputs, z, place.a)


def passed_through(engine: Any, found: Any) -> dict[int, Array]:
    """The values of the core's nodes that `calls_of` names, in inference mode; by their numbers."""
    places = [place for _, _, place in calls_of(engine)]
    wanted = {i for place in places for i in (*place.inputs, place.z, place.a)}
    xs = found.xs
    given = xs[: len(engine.input_tensors)]  # the core's first nodes; those of masks are anywhere
    numbers = sorted(i for i in wanted if i >= len(given))
    if engine.tapped is None:  # made anew with the engine's own network
        engine.tapped = engine.low.network(numbers)
    values = dict(zip(numbers, engine.tapped.forward(xs, False), strict=True))
    values.update({i: np.asarray(x, dtype=engine.dtype) for i, x in enumerate(given)})
    return values


def activations(engine: Any, found: Any) -> dict[str, Any]:
    """The outputs of all layers but inputs."""
    engine = engine.formed(found.form)
    values = passed_through(engine, found)
    return {
        name: _as_given(engine, found, node.output, place.a, values[place.a])
        for name, node, place in calls_of(engine)
    }


def _as_given(engine: Any, found: Any, t: Tensor, i: int, value: Array) -> Any:
    """What belongs to tensor `t`, node `i` of the core, as the sequences of the data came."""
    return in_sequences(value, engine.low.masks_of(i), found.each) if is_open(t.shape) else value


def _inputs_as_given(engine: Any, found: Any, node: Node, place: Place, value: Any) -> Any:
    """What came into a call of a layer; `value` tells a node's."""
    pairs = zip(node.inputs, place.inputs, strict=True)
    inputs = [_as_given(engine, found, t, i, value(i)) for t, i in pairs]
    return inputs[0] if len(inputs) == 1 else inputs


def forward_trace(engine: Any, found: Any) -> dict[str, LayerTrace]:
    """The trace without a target: no delta."""
    engine = engine.formed(found.form)
    values = passed_through(engine, found)
    result: dict[str, LayerTrace] = {}
    for name, node, place in calls_of(engine):
        inputs = _inputs_as_given(engine, found, node, place, values.__getitem__)
        parts = [values[place.z], values[place.a]]
        parts = [_as_given(engine, found, node.output, place.a, part) for part in parts]
        result[name] = LayerTrace(inputs, *parts)
    return result


def trace(engine: Any, compilation: Any, item: Any) -> dict[str, LayerTrace]:
    """The trace of all layers but inputs."""
    engine = engine.of(item)
    trainer = engine.trainer("trace", compilation)
    trainer.gradients(item.xs, item.ys, item.told, wrt_inputs=True)
    result: dict[str, LayerTrace] = {}
    for name, node, place in calls_of(engine):
        inputs = _inputs_as_given(engine, item, node, place, trainer.value)
        parts = [
            trainer.value(place.z),
            trainer.value(place.a),
            trainer.delta(place.z),
            _at_output(engine, compilation, item, trainer, place.a),
        ]
        parts = [_as_given(engine, item, node.output, place.a, part) for part in parts]
        result[name] = LayerTrace(inputs, *parts)
    return result


def _at_output(engine: Any, compilation: Any, item: Any, trainer: Any, a: int) -> Array:
    """dL/da; where a loss is fused with the last activation, which skips it, by its formula."""
    try:
        found: Array = trainer.delta(a)
    except ValueError:  # no gradient was kept there
        pass
    else:
        return found
    k = engine.outputs.index(a)
    loss, (y, _), weights = compilation.losses[k], item.ys[k], item.ws[k]
    value = trainer.value(a)
    da = loss.gradient(y, value) * compilation.weights[k]
    if weights is not None:
        da = da * weights.reshape(weights.shape + (1,) * (da.ndim - weights.ndim))
    return np.asarray(da, dtype=engine.dtype)
