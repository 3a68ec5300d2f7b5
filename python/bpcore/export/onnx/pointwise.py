"""Functions of single values in ONNX: activations, and `bpcore.ops`.

ONNX's own operations where they have one. Their attributes are float32, so that in float64 what has
a slope or scale is written out with constants; so is what ONNX Runtime has in float32 alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .writer import Call, Kind, Writer

_SELU = (1.0507009873554804934193349852946, 1.6732632423543772848170429916717)
Function = Callable[[Writer, str, float], str]


def _own(op: str) -> Function:
    """An operation of ONNX without attributes."""
    return lambda w, x, alpha: w.add(op, x)


def _times(w: Writer, x: str, factor: float) -> str:
    return w.add("Mul", x, w.constant(factor))


def _clipped(w: Writer, x: str, low: float, high: float) -> str:
    if w.is_double:  # ONNX Runtime refuses a Clip of float64 behind a Relu
        return w.add("Min", w.add("Max", x, w.constant(low)), w.constant(high))
    return w.add("Clip", x, w.constant(low), w.constant(high))


def _hard_sigmoid(w: Writer, x: str, alpha: float) -> str:
    """clip(x + 3, 0, 6) / 6."""
    six = _clipped(w, w.add("Add", x, w.constant(3.0)), 0.0, 6.0)
    return w.add("Div", six, w.constant(6.0))


def _leaky_relu(w: Writer, x: str, alpha: float) -> str:
    if not w.is_double:
        return w.add("LeakyRelu", x, alpha=alpha)
    falling = _times(w, w.add("Min", x, w.constant(0.0)), alpha)
    return w.add("Add", w.add("Relu", x), falling)


def _exponential_unit(w: Writer, x: str, scale: float, height: float, width: float) -> str:
    """scale (max(x, 0) + height (e^(min(x, 0) / width) - 1))."""
    falling = w.add("Div", w.add("Min", x, w.constant(0.0)), w.constant(width))
    bent = w.add("Sub", w.add("Exp", falling), w.constant(1.0))
    return _times(w, w.add("Add", w.add("Relu", x), _times(w, bent, height)), scale)


def _elu(w: Writer, x: str, alpha: float) -> str:
    if w.is_double:
        return _exponential_unit(w, x, 1.0, alpha, 1.0)
    return w.add("Elu", x, alpha=alpha)


def _celu(w: Writer, x: str, alpha: float) -> str:
    if w.is_double:
        return _exponential_unit(w, x, 1.0, alpha, alpha)
    return w.add("Celu", x, alpha=alpha)


def _selu(w: Writer, x: str, alpha: float) -> str:
    if w.is_double:
        return _exponential_unit(w, x, *_SELU, 1.0)
    return w.add("Selu", x)


def _gelu(w: Writer, x: str, alpha: float) -> str:
    """x (1 + erf(x / sqrt 2)) / 2."""
    erf = w.add("Erf", _times(w, x, math.sqrt(0.5)))
    return w.add("Mul", _times(w, x, 0.5), w.add("Add", erf, w.constant(1.0)))


def _gelu_tanh(w: Writer, x: str, alpha: float) -> str:
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    cube = w.add("Mul", x, w.add("Mul", x, x))
    inner = _times(w, w.add("Add", x, _times(w, cube, 0.044715)), math.sqrt(2 / math.pi))
    return w.add("Mul", _times(w, x, 0.5), w.add("Add", w.add("Tanh", inner), w.constant(1.0)))


def _silu(w: Writer, x: str, alpha: float) -> str:
    return w.add("Mul", x, w.add("Sigmoid", x))


def _softplus(w: Writer, x: str, alpha: float) -> str:
    """log(1 + e^x), in float64 as max(x, 0) + log(1 + e^-|x|)."""
    if not w.is_double:
        return w.add("Softplus", x)
    power = w.add("Exp", w.add("Neg", w.add("Abs", x)))
    return w.add("Add", w.add("Relu", x), w.add("Log", w.add("Add", power, w.constant(1.0))))


def _softsign(w: Writer, x: str, alpha: float) -> str:
    """x / (1 + |x|)."""
    if not w.is_double:
        return w.add("Softsign", x)
    return w.add("Div", x, w.add("Add", w.add("Abs", x), w.constant(1.0)))


def _mish(w: Writer, x: str, alpha: float) -> str:
    return w.add("Mul", x, w.add("Tanh", _softplus(w, x, alpha)))


ACTIVATIONS: dict[str, Function] = {
    "sigmoid": _own("Sigmoid"),
    "hard_sigmoid": _hard_sigmoid,
    "tanh": _own("Tanh"),
    "relu": _own("Relu"),
    "leaky_relu": _leaky_relu,
    "relu6": lambda w, x, alpha: _clipped(w, x, 0.0, 6.0),
    "elu": _elu,
    "selu": _selu,
    "celu": _celu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "mish": _mish,
    "softplus": _softplus,
    "softsign": _softsign,
    "exponential": _own("Exp"),
}


def _step(w: Writer, x: str, alpha: float) -> str:
    return w.cast(w.add("Greater", x, w.constant(0.0)))


FUNCTIONS: dict[str, Function] = {
    "sin": _own("Sin"),
    "cos": _own("Cos"),
    "log": _own("Log"),
    "sqrt": _own("Sqrt"),
    "square": lambda w, x, alpha: w.add("Mul", x, x),
    "abs": _own("Abs"),
    "power": lambda w, x, alpha: w.add("Pow", x, w.constant(alpha)),
    "step": _step,
    "sign": _own("Sign"),
}


def _of(table: dict[str, Function]) -> Kind:
    def written(w: Writer, call: Call) -> str:
        f, alpha = table[call.attrs["function"]], call.attrs.get("alpha", 0.0)
        return w.pointwise(call.inputs[0], len(call.shape) + 1, lambda x: f(w, x, alpha))

    return written


def _same(w: Writer, call: Call) -> str:
    """Random layers do nothing here, and nothing is learnt."""
    return call.inputs[0]


KINDS: dict[str, Kind] = {
    "activation": _of(ACTIVATIONS),
    "function": _of(FUNCTIONS),
    "noise": _same,
    "stop": _same,
    "softmax": lambda w, call: w.add("Softmax", call.inputs[0], axis=-1),
    "log_softmax": lambda w, call: w.add("LogSoftmax", call.inputs[0], axis=-1),
}
