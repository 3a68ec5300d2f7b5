"""Output biases from the targets: what a model should say before it has seen any input.

From an output the graph is walked back to the dense layers that make it. An array of the walked
value's shape goes along and tells which elements of the output each of its elements becomes; what
lies between is inverted.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import graph
from ..base import checks
from ..base.memory import Array, Shape
from ..data import targets
from ..graph.parameter import Parameter, assign
from ..losses import BinaryCrossEntropy, CoreLoss, GaussianNLL, Quantile
from ..train.engine import Engine

_MEAN = {"mean_squared_error", "half_squared_error", "huber", "log_cosh", "poisson"}
_SHARES = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "kl_divergence": ""}


class _Function(NamedTuple):
    """A step between dense layer and output: a function by name, or y = scale z + offset."""

    name: str
    scale: Array
    offset: Array


# What to do with a step's value, and where that is allowed: strictly between the two numbers.
_INVERSE: dict[str, tuple[Callable[[float], Any], float, float]] = {
    "sigmoid": (lambda v: np.log(v) - np.log1p(-v), 0.0, 1.0),
    "softmax": (np.log, 0.0, np.inf),  # up to a constant, which softmax ignores
    "exponential": (np.log, 0.0, np.inf),
    "softplus": (lambda v: v + np.log(-np.expm1(-v)), 0.0, np.inf),
    "tanh": (np.arctanh, -1.0, 1.0),
}


class _Dense(NamedTuple):
    """A dense layer on the way back from an output."""

    layer: str
    bias: Parameter
    elements: Array  # (P, units): those of the output that a unit makes
    functions: list[_Function]  # from the output back; scale and offset (P, units)


def set_output_bias(engine: Engine, losses: list[Any], ys: list[targets.Target], ws: Any) -> None:
    """Set the biases of the dense layers that make the outputs; nothing if one cannot be set."""
    found: dict[int, tuple[Parameter, Array]] = {}
    for k, (loss, y, w) in enumerate(zip(losses, ys, ws, strict=True)):
        outputs = engine.signature.outputs
        name, shape = outputs.names[k], outputs.shapes[k]
        index = np.arange(int(np.prod(shape))).reshape(shape)
        for dense in _walk(engine.low, engine.outputs[k], index, [], name):
            if id(dense.bias) in found:
                raise ValueError(
                    f"{dense.bias.name!r} is the bias of several outputs, which may need different "
                    "values; set it by hand"
                )
            values = _values(dense, loss, _Targets(loss, y, w, shape), name)
            found[id(dense.bias)] = dense.bias, dense.bias.check(values)
    assign([bias for bias, _ in found.values()], [value for _, value in found.values()])


def _walk(
    low: graph.Lowering, i: int, index: Array, functions: list[_Function], output: str
) -> Iterator[_Dense]:
    """The dense layers that make value `i`; `index` and `functions` have its shape."""
    op, inputs, _, _, name = low.nodes[i]
    step = low.steps.get(i)

    def reshaped(f: Callable[[Array], Array]) -> tuple[Array, list[_Function]]:
        return f(index), [_Function(s.name, f(s.scale), f(s.offset)) for s in functions]

    if isinstance(step, graph.Units) and step.bias is not None:
        units = index.shape[-1]
        yield _Dense(name, step.bias, *reshaped(lambda a: a.reshape(-1, units)))
    elif isinstance(step, graph.View):
        shape = low.shapes[inputs[0]]
        yield from _walk(low, inputs[0], *reshaped(lambda a: a.reshape(shape)), output)
    elif isinstance(step, graph.Joined):
        start = 0
        for source in inputs:
            end = start + low.shapes[source][step.axis]
            part = (slice(None),) * step.axis + (slice(start, end),)
            yield from _walk(low, source, *reshaped(operator.itemgetter(part)), output)
            start = end
    elif isinstance(step, graph.Function):
        function = _Function(step.name, np.ones(index.shape), np.zeros(index.shape))
        yield from _walk(low, inputs[0], index, [*functions, function], output)
    elif isinstance(step, graph.Affine):
        function = _Function("affine", *step.terms())
        yield from _walk(low, inputs[step.source], index, [*functions, function], output)
    else:
        raise ValueError(
            f"output {output!r} cannot be given a bias: it ends in {name!r} ({op}), expected Dense "
            "layers with use_bias=True, and after them activations, Reshape, Flatten, Concatenate, "
            "Normalization(invert=True) or arithmetic with constants; set the bias by hand"
        )


class _Targets:
    """Targets of one output by element of the output, with their weights."""

    def __init__(self, loss: Any, y: targets.Target, w: Array | None, shape: Shape) -> None:
        self.y, self.labels = y[0].reshape(len(y[0]), -1), y[1]
        self.w = np.ones((len(self.y), 1)) if w is None else w.reshape(len(w), -1)
        self.classes = shape[-1]
        self.parts = loss.parts if isinstance(loss, CoreLoss) else 1

    def of(self, elements: Array) -> tuple[Array, Array, int]:
        """All targets of the output's `elements`, their weights, and the elements' block."""
        position, column = np.divmod(elements, self.classes)
        if self.labels:
            columns, block = self.y[:, position] == column, 0
            part = position * self.w.shape[1] // self.y.shape[1]
        else:
            width = self.classes // self.parts
            blocks = column // width
            block = int(blocks[0])
            if (blocks != block).any():
                raise ValueError(
                    "a unit of the last layer makes outputs of different meaning, so that its bias "
                    "cannot be set from the targets; set it by hand"
                )
            place = position * width + column % width
            columns = self.y[:, place]
            part = place * self.w.shape[1] // self.y.shape[1]
        return columns.astype(np.float64).ravel(), self.w[:, part].ravel(), block


def _values(dense: _Dense, loss: Any, wanted: _Targets, output: str) -> Array:
    """The bias of every unit."""
    kind = loss.kind if isinstance(loss, CoreLoss) else ""
    if kind not in {*_MEAN, *_SHARES, "mean_absolute_error", "quantile", "gaussian_nll"}:
        raise ValueError(
            f"output {output!r}: there is no best constant known for the loss "
            f"{kind or checks.describe(loss)!r}; set the bias by hand"
        )
    functions = list(dense.functions)
    link = _SHARES.get(kind)
    if link:
        first = functions[0].name if functions else "affine"
        if first == "affine":  # the outputs are logits
            ones = np.ones(dense.elements.shape)
            functions.insert(0, _Function(link, ones, 0 * ones))
        elif first == "log_softmax":
            functions[0] = functions[0]._replace(name="softmax")
    result = np.empty(dense.elements.shape[-1])
    for unit in range(len(result)):
        elements = dense.elements[:, unit]
        value = _best(loss, kind, *wanted.of(elements), wanted.classes)
        if isinstance(loss, BinaryCrossEntropy) and loss.pos_weight is not None:
            value = _raised(value, np.resize(loss.pos_weight, wanted.classes), elements)
        for f in functions:
            value = _inverted(f, unit, value, output)
        result[unit] = value
    return result


def _best(loss: Any, kind: str, t: Array, w: Array, block: int, classes: int) -> float:
    """The constant with the smallest loss against targets `t` of weights `w`."""
    if kind == "mean_absolute_error":
        return _quantile(t, w, 0.5)
    if isinstance(loss, Quantile):
        return _quantile(t, w, loss.levels[block])
    mean = float(np.average(t, weights=w))
    if isinstance(loss, GaussianNLL) and block == 1:
        variance = float(np.average((t - mean) ** 2, weights=w))
        return float(np.log(max(variance, loss.epsilon)))
    if kind in _SHARES:
        smoothing = getattr(loss, "label_smoothing", 0.0)
        mean = mean * (1.0 - smoothing) + smoothing / (classes if kind == "cross_entropy" else 2)
        half = 0.5 / len(t)  # half a sample: a class that is never there still has a logarithm
        mean = min(max(mean, half), 1.0 - half)
    return mean


def _raised(rate: float, weights: Array, elements: Array) -> float:
    """The best probability where what is true weighs more, from the one where it weighs 1."""
    weight = weights[elements % len(weights)]
    if (weight != weight[0]).any():
        raise ValueError(
            "a unit of the last layer makes outputs of different pos_weight, so that its bias "
            "cannot be set from the targets; set it by hand"
        )
    return float(weight[0] * rate / (weight[0] * rate + 1.0 - rate))


def _quantile(t: Array, w: Array, level: float) -> float:
    order = np.argsort(t, kind="stable")
    total = np.cumsum(w[order])
    place = np.searchsorted(total, level * total[-1] * (1.0 - 1e-12))
    return float(t[order[min(int(place), len(t) - 1)]])


def _inverted(f: _Function, unit: int, value: float, output: str) -> float:
    """z of a unit, from y = f(z)."""
    if f.name == "affine":
        scale, offset = f.scale[:, unit], f.offset[:, unit]
        if (scale != scale[0]).any() or (offset != offset[0]).any():
            raise ValueError(
                f"output {output!r}: one unit of the last layer is scaled differently at different "
                "positions, so that its bias cannot be set from the targets; set it by hand"
            )
        return float((value - offset[0]) / scale[0])
    if f.name not in _INVERSE:
        raise ValueError(
            f"output {output!r} ends in {f.name!r}, which has no inverse here; expected a linear "
            f"output or one of {', '.join(sorted(_INVERSE))}; set the bias by hand"
        )
    inverse, low, high = _INVERSE[f.name]
    if not low < value < high:
        raise ValueError(
            f"output {output!r} ends in {f.name!r}, whose values are in ({low:g}, {high:g}), but "
            f"the targets of unit {unit} ask for {value:g}; change the activation or the loss"
        )
    return float(inverse(value))
