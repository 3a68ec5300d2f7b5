"""Products, sums and scales in ONNX: dense layers, merges, normalization."""

from __future__ import annotations

import functools

import numpy as np

from ...base.memory import Array
from .writer import Call, Kind, Writer


def _product(w: Writer, call: Call, kernel: str, transposed: bool = False) -> str:
    """x kernel + bias, over the last axis."""
    x = call.inputs[0]
    bias = [w.weight(p) for p in call.weights[1:]]
    if len(call.shape) == 1:
        return w.add("Gemm", x, kernel, *bias, **({"transB": 1} if transposed else {}))
    y = w.add("MatMul", x, w.transpose(kernel, [1, 0]) if transposed else kernel)
    return w.add("Add", y, *bias) if bias else y


def _dense(w: Writer, call: Call) -> str:
    return _product(w, call, w.weight(call.weights[0]), bool(call.attrs.get("transposed")))


def _masked_dense(w: Writer, call: Call) -> str:
    there = call.attrs["mask"] != 0
    kernel = w.weight(call.weights[0], lambda k: np.where(there, k, 0))
    return _product(w, call, kernel, bool(call.attrs.get("transposed")))


def _merge(op: str) -> Kind:
    """All inputs, two by two from the left; shapes of samples are filled up with ones in front."""

    def written(w: Writer, call: Call) -> str:
        rank = len(call.shape)
        given = [
            w.unsqueeze(x, *range(1, 1 + rank - len(shape)))
            for x, shape in zip(call.inputs, call.shapes, strict=True)
        ]

        def pairs(xs: list[str]) -> str:
            return functools.reduce(lambda a, b: w.add(op, a, b), xs)

        if any(shape != call.shape for shape in call.shapes):
            return pairs(given)
        return w.before_turns(given, rank + 1, lambda xs, order: pairs(xs))

    return written


def _average(w: Writer, call: Call) -> str:
    return w.add("Div", _merge("Add")(w, call), w.constant(float(len(call.inputs))))


def _dot(w: Writer, call: Call) -> str:
    """Sums over one axis of each of two samples, maybe of vectors brought to length 1."""
    letters, terms = iter("abcdefghijklmopqrstuvwxyz"), []
    xs = list(call.inputs)
    for k, (shape, axis) in enumerate(zip(call.shapes, call.attrs["axes"], strict=True)):
        terms.append(["s" if a == axis else next(letters) for a in range(len(shape))])
        if call.attrs.get("normalize"):
            squares = w.reduce("ReduceSum", w.add("Mul", xs[k], xs[k]), [axis + 1], keep=True)
            length = w.add("Max", w.add("Sqrt", squares), w.constant(1e-7))
            xs[k] = w.add("Div", xs[k], length)
    rest = [letter for letter in terms[0] + terms[1] if letter != "s"]
    a, b, c = ("n" + "".join(part) for part in (*terms, rest))
    y = w.add("Einsum", *xs, equation=f"{a},{b}->{c}")
    return y if rest else w.unsqueeze(y, 1)


def _scale(w: Writer, call: Call) -> str:
    factor = call.weights[0].value
    rank = len(call.shape) + 1
    return w.along_last(call.inputs[0], rank, [factor], lambda x, a: w.add("Mul", x, a))


def _sum(w: Writer, call: Call) -> str:
    y = w.reduce("ReduceSum", call.inputs[0], [call.attrs["axis"] + 1], keep=True)
    kept = list(call.shapes[0])
    kept[call.attrs["axis"]] = 1
    if call.attrs["scale"] != 1.0:
        y = w.add("Mul", y, w.constant(call.attrs["scale"]))
    return y if tuple(kept) == call.shape else w.reshape(y, call.shape)


def _batch_normalization(w: Writer, call: Call) -> str:
    """By running statistics: (x - m) / sqrt(v + epsilon) gamma + beta, over the last axis; or the
    other way."""
    attrs = call.attrs
    arrays: list[Array] = [p.value.astype(np.float64) for p in call.weights]
    mean, variance = arrays[-2:]
    x, rank = call.inputs[0], len(call.shape) + 1
    deviation = np.sqrt(variance + attrs.get("epsilon", 0.0))
    if attrs.get("mode") == "inverse":
        told = [deviation, mean]
        return w.along_last(x, rank, told, lambda x, d, m: w.add("Add", w.add("Mul", x, d), m))
    factor = (arrays[0] if attrs.get("scale") else np.ones_like(mean)) / deviation

    def written(x: str, m: str, f: str, *beta: str) -> str:
        y = w.add("Mul", w.add("Sub", x, m), f)
        return w.add("Add", y, *beta) if beta else y

    beta = [arrays[-3]] if attrs.get("center") else []
    return w.along_last(x, rank, [mean, factor, *beta], written)


def _normalization(w: Writer, call: Call) -> str:
    """(x - m) / sqrt(v + epsilon) gamma + beta, by sets of values of each sample."""
    attrs, shape, x = call.attrs, call.shape, call.inputs[0]
    groups, weights = attrs.get("groups", 0), [w.weight(p) for p in call.weights]
    count = 1 if groups else attrs.get("axes", 1)
    if attrs["centred"] and not groups and not w.is_double:
        scale = weights[0] if attrs["scale"] else w.constant(np.ones(shape[len(shape) - count :]))
        told = {"axis": -count, "epsilon": attrs["epsilon"]}
        return w.add("LayerNormalization", x, scale, *weights[int(attrs["scale"]) :], **told)
    axes = list(range(len(shape) + 1 - count, len(shape) + 1))
    if groups:  # (N, positions, G, W)
        axes = [1, 3]
        x = w.add("Reshape", x, w.integers([0, -1, groups, shape[-1] // groups]))

    def mean(x: str) -> str:
        return w.reduce("ReduceMean", x, axes, keep=True)

    u = w.add("Sub", x, mean(x)) if attrs["centred"] else x
    variance = w.add("Add", mean(w.add("Mul", u, u)), w.constant(attrs["epsilon"]))
    y = w.add("Div", u, w.add("Sqrt", variance))
    if groups:
        y = w.reshape(y, shape)
    for op, weight in zip(["Mul"] * bool(attrs["scale"]) + ["Add"], weights, strict=False):
        y = w.add(op, y, weight)
    return y


KINDS: dict[str, Kind] = {
    "dense": _dense,
    "masked_dense": _masked_dense,
    "add": _merge("Add"),
    "subtract": _merge("Sub"),
    "multiply": _merge("Mul"),
    "divide": _merge("Div"),
    "average": _average,
    "maximum": _merge("Max"),
    "minimum": _merge("Min"),
    "dot": _dot,
    "scale": _scale,
    "sum": _sum,
    "batch_normalization": _batch_normalization,
    "normalization": _normalization,
}
