"""Forward pass of any graph described by a list of nodes (op, inputs, params, attrs).

The description is the one the compiled core takes, shapes per sample; the mathematics is our own.
Given complex inputs or parameters it carries them through.
"""

from __future__ import annotations

import functools

import numpy as np

from .losses import loss_value
from .pointwise import ACTIVATIONS, log_softmax, maximum, softmax


def _broadcast(values):
    """Per-sample broadcasting: equal ranks are made by inserting axes after the batch axis."""
    rank = max(v.ndim for v in values)
    return [v.reshape(v.shape[:1] + (1,) * (rank - v.ndim) + v.shape[1:]) for v in values]


def _node(op, values, weights, attrs):
    if op == "dense":
        y = values[0] @ weights[0]
        return y + weights[1] if len(weights) > 1 else y
    if op == "activation":
        return ACTIVATIONS[attrs["function"]](values[0], attrs.get("alpha", 0.0))
    if op == "softmax":
        return softmax(values[0])
    if op == "log_softmax":
        return log_softmax(values[0])
    if op == "reshape":
        return values[0].reshape((len(values[0]), *attrs["shape"]))
    if op == "concatenate":
        return np.concatenate(values, axis=attrs["axis"] + 1)
    values = _broadcast(values)
    if op == "add":
        return functools.reduce(np.add, values)
    if op == "multiply":
        return functools.reduce(np.multiply, values)
    if op == "maximum":
        return functools.reduce(maximum, values)
    if op == "average":
        return functools.reduce(np.add, values) / len(values)
    if op == "subtract":
        return values[0] - values[1]
    if op == "divide":
        return values[0] / values[1]
    raise ValueError(f"the reference has no op {op!r}")


def forward(nodes, params, xs):
    """Values of all nodes. xs[k]: the array (N, *shape) of the k-th input node."""
    values, inputs = [], iter(xs)
    for node in nodes:
        op, sources, param_ids, attrs = node[:4]
        if op == "input":
            values.append(np.asarray(next(inputs)))
        elif op == "constant":
            rows = len(xs[0])
            value = np.asarray(attrs["value"])
            values.append(np.broadcast_to(value, (rows, *value.shape)))
        else:
            values.append(
                _node(op, [values[i] for i in sources], [params[i] for i in param_ids], attrs)
            )
    return values


def loss_of_graph(nodes, outputs, params, xs, ys, losses, weights=None):
    """Sum over outputs of loss_weight * loss; losses: (name, option, logits, loss_weight)."""
    values = forward(nodes, params, xs)
    return sum(
        scale * loss_value(name, values[i], y, option, logits=logits, weight=weights)
        for i, y, (name, option, logits, scale) in zip(outputs, ys, losses, strict=True)
    )
