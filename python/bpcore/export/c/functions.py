"""Functions of one and of two values, in C.

In all C text of this folder ``@`` stands for the network's name and an underscore, ``real`` for
float or double, ``m_exp`` for the function of <math.h> in that type, and ``R(0.5)`` for a number.
"""

from __future__ import annotations

# Activations and the functions of `bpcore.ops`; ALPHA is the slope, scale or exponent.
# A comparison that NaN fails lets it through.
ONE = {
    "linear": "return z;",
    "sigmoid": "return R(1) / (R(1) + m_exp(-z));",
    "hard_sigmoid": "return z < -R(3) ? R(0) : z > R(3) ? R(1) : (z + R(3)) / R(6);",
    "tanh": "return m_tanh(z);",
    "relu": "return z < R(0) ? R(0) : z;",
    "leaky_relu": "return z < R(0) ? ALPHA * z : z;",
    "relu6": "return z < R(0) ? R(0) : z > R(6) ? R(6) : z;",
    "elu": "return z < R(0) ? ALPHA * m_expm1(z) : z;",
    "selu": "return R(1.0507009873554805) * (z < R(0) ? R(1.6732632423543772) * m_expm1(z) : z);",
    "celu": "return z < R(0) ? ALPHA * m_expm1(z / ALPHA) : z;",
    "gelu": "return R(0.5) * z * m_erfc(-z * R(0.7071067811865476));",
    "gelu_tanh": "return z / (R(1) + m_exp(-z * (R(1.5957691216057308) "
    "+ R(0.07135481627260025) * z * z)));",
    "silu": "return z / (R(1) + m_exp(-z));",
    "mish": "real e = m_exp(z < R(40) ? z : R(40)), n = e * (e + R(2));\n"
    "  return z * (n / (n + R(2)));",
    "softplus": "return (z > R(0) ? z : R(0)) + m_log1p(m_exp(-m_fabs(z)));",
    "softsign": "return z / (R(1) + m_fabs(z));",
    "exponential": "return m_exp(z);",
    "step": "return z > R(0) ? R(1) : R(0);",
    "sign": "return z > R(0) ? R(1) : z < R(0) ? -R(1) : R(0);",
    "sin": "return m_sin(z);",
    "cos": "return m_cos(z);",
    "log": "return m_log(z);",
    "sqrt": "return m_sqrt(z);",
    "square": "return z * z;",
    "abs": "return m_fabs(z);",
    "power": "return m_pow(z, ALPHA);",
}
OF_ALPHA = {name for name, text in ONE.items() if "ALPHA" in text}

TWO = {
    "add": "a + b",
    "subtract": "a - b",
    "multiply": "a * b",
    "divide": "a / b",
    "maximum": "a >= b ? a : b",
    "minimum": "a <= b ? a : b",
}


def of_one(function: str, name: str, alpha: str) -> str:
    """The C function `name`."""
    body = ONE[function].replace("ALPHA", alpha)
    return f"static real @{name}(real z) {{\n  {body}\n}}\n"


def of_two(function: str) -> str:
    """The C function of the same name."""
    return f"static real @{function}(real a, real b) {{\n  return {TWO[function]};\n}}\n"
