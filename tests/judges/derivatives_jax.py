"""Jacobians, Hessian, Gauss-Newton and Fisher products against JAX's, in float64 to 1e-10.

``python -m pytest tests/judges/derivatives_jax.py``; nets of `tests/judges/derivatives.py`, whose
formulas are written down once more, and recurrent ones.
"""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

jax = pytest.importorskip("jax")
pytest.importorskip("torch")  # of the other judge
jax.config.update("jax_enable_x64", True)
jnp, nn = jax.numpy, jax.nn

from . import derivatives  # noqa: E402

ACTIVATIONS = {
    "tanh": jnp.tanh,
    "sigmoid": nn.sigmoid,
    "softplus": nn.softplus,
    "silu": nn.silu,
    "mish": nn.mish,
    "gelu": lambda z: nn.gelu(z, approximate=False),
    "gelu_tanh": lambda z: nn.gelu(z, approximate=True),
    "elu": nn.elu,
    "selu": nn.selu,
    "softsign": nn.soft_sign,
    "exponential": jnp.exp,
    "softmax": nn.softmax,
    "log_softmax": nn.log_softmax,
}
LOSSES = {
    "mse": lambda z, t: ((z - t) ** 2).mean(axis=1),
    "half_squared_error": lambda z, t: 0.5 * ((z - t) ** 2).sum(axis=1),
    "log_cosh": lambda z, t: jnp.log(jnp.cosh(z - t)).mean(axis=1),
    "cross_entropy": lambda z, t: -jnp.take_along_axis(nn.log_softmax(z), t[:, None], 1)[:, 0],
    "binary_cross_entropy": lambda z, t: (nn.softplus(z) - t * z).mean(axis=1),
}


def close(found, expected):
    expected = np.asarray(expected)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * scale)


def unpacked(flat, shapes):
    w, at = [], 0
    for shape in shapes:
        n = int(np.prod(shape))
        w.append(flat[at : at + n].reshape(shape))
        at += n
    return w


def along(of, w, v):
    """The derivative of `of` in the direction v."""
    return jax.jvp(of, (w,), (v,))


@pytest.mark.parametrize("seed", range(12))
def test_against_jax(seed):
    case = derivatives.Case(seed)
    model, y = case.model, case.y
    x, w, v = jnp.asarray(case.x), jnp.asarray(case.w.numpy()), jnp.asarray(case.v.numpy())
    f, g = ACTIVATIONS[case.f], ACTIVATIONS[case.g]

    def forward(flat, x):
        w = unpacked(flat, case.shapes)
        a = f(x @ w[0] + w[1])
        centred = a - a.mean(axis=-1, keepdims=True)
        scaled = centred / jnp.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-3)
        b = g((scaled * w[2] + w[3]) @ w[4] + w[5])
        return (a * b + b) @ w[6] + w[7]

    def rows(z):
        return LOSSES[case.loss](z, jnp.asarray(y))

    outputs = lambda flat: forward(flat, x)  # noqa: E731
    close(model.jacobian(case.x), jax.jacrev(outputs)(w))
    inputs = jax.vmap(jax.jacrev(lambda row: forward(w, row)))(x)
    close(model.input_jacobian(case.x), inputs)
    close(model.per_sample_gradients(case.x, y), jax.jacrev(lambda flat: rows(outputs(flat)))(w))
    gradient = jax.grad(lambda flat: rows(outputs(flat)).mean())
    close(model.hessian_vector(case.x, y, np.asarray(v)), along(gradient, w, v)[1])
    z, moved = along(outputs, w, v)
    curved = along(jax.grad(lambda z: rows(z).mean()), z, moved)[1]
    gauss = jax.vjp(outputs, w)[1](curved)[0]
    close(model.gauss_newton_vector(case.x, y, np.asarray(v)), gauss)
    if case.loss != "log_cosh":
        close(model.fisher_vector(case.x, np.asarray(v)), gauss)


def simple(w, x, h, c):
    return jnp.tanh(x @ w[0] + w[2] + h @ w[1]), c


def lstm(w, x, h, c):
    i, f, g, o = jnp.split(x @ w[0] + w[2] + h @ w[1], 4, axis=1)
    c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(c), c


def gru(w, x, h, c):
    za, ra, na = jnp.split(x @ w[0] + w[2][0], 3, axis=1)
    zb, rb, nb = jnp.split(h @ w[1] + w[2][1], 3, axis=1)
    z, r = nn.sigmoid(za + zb), nn.sigmoid(ra + rb)
    return z * h + (1 - z) * jnp.tanh(na + r * nb), c


@pytest.mark.parametrize("kind, step", [("SimpleRNN", simple), ("LSTM", lstm), ("GRU", gru)])
def test_recurrent_layers_against_jax(kind, step):
    rng = np.random.default_rng(len(kind))
    layers = [bp.Input((6, 2)), getattr(bp.layers, kind)(4), bp.layers.Dense(2)]
    model = bp.Sequential(layers, dtype="float64", seed=0)
    model.set_weights([rng.normal(size=w.shape) * 0.6 for w in model.weights])
    model.compile("sgd", "half_squared_error")
    x, y = rng.normal(size=(5, 6, 2)), rng.normal(size=(5, 2))
    shapes = [w.shape for w in model.weights]
    w = jnp.asarray(model.weights_vector)
    v = jnp.asarray(rng.normal(size=len(w)))

    def outputs(flat):
        parts = unpacked(flat, shapes)
        h = c = jnp.zeros((5, 4))
        for t in range(6):
            h, c = step(parts[:3], x[:, t], h, c)
        return h @ parts[3] + parts[4]

    close(model.jacobian(x), jax.jacrev(outputs)(w))
    gradient = jax.grad(lambda flat: 0.5 * ((outputs(flat) - y) ** 2).sum(axis=1).mean())
    close(model.hessian_vector(x, y, np.asarray(v)), along(gradient, w, v)[1])
    gauss = jax.vjp(outputs, w)[1](along(outputs, w, v)[1] / 5)[0]
    close(model.gauss_newton_vector(x, y, np.asarray(v)), gauss)
