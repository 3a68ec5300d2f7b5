"""Dense layers and products of tensors in ONNX."""

from __future__ import annotations

from .writer import Call, Kind, Writer


def _product(w: Writer, call: Call, kernel: str) -> str:
    """x kernel + bias, over the last axis."""
    x = call.inputs[0]
    bias = [w.weight(p) for p in call.weights[1:]]
    if len(call.shape) == 1:
        return w.add("Gemm", x, kernel, *bias)
    y = w.add("MatMul", x, kernel)
    return w.add("Add", y, *bias) if bias else y


def _dense(w: Writer, call: Call) -> str:
    transposed = bool(call.attrs.get("transposed"))
    return _product(w, call, w.weight(call.weights[0], (lambda k: k.T) if transposed else None))


KINDS: dict[str, Kind] = {"dense": _dense}
