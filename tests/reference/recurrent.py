"""Recurrent cells step by step, from their formulas; complex arrays go through."""

from __future__ import annotations

import numpy as np

from .pointwise import sigmoid


def simple_rnn(x, states, w, f=np.tanh, **_):
    h = f(x @ w[0] + states[0] @ w[1] + (w[2] if len(w) > 2 else 0.0))
    return [h]


def lstm(x, states, w, f=np.tanh, s=sigmoid, **_):
    h, c = states
    z = x @ w[0] + h @ w[1] + (w[2] if len(w) > 2 else 0.0)
    i, forget, g, o = np.split(z, 4, axis=-1)
    c = s(forget) * c + s(i) * f(g)
    return [s(o) * f(c), c]


def gru(x, states, w, f=np.tanh, s=sigmoid, reset_after=True, factors=1.0):
    (h,) = states
    n = h.shape[-1]
    p = h * factors
    bias = w[2] if len(w) > 2 else np.zeros((2, 3 * n) if reset_after else 3 * n)
    a = x @ w[0] + (bias[0] if reset_after else bias)
    b = p @ w[1] + (bias[1] if reset_after else 0.0)
    z, r = s(a[..., :n] + b[..., :n]), s(a[..., n : 2 * n] + b[..., n : 2 * n])
    inner = r * b[..., 2 * n :] if reset_after else (r * p) @ w[1][:, 2 * n :]
    return [z * h + (1 - z) * f(a[..., 2 * n :] + inner)]


CELLS = {"SimpleRNN": simple_rnn, "LSTM": lstm, "GRU": gru}
STATES = {"SimpleRNN": 1, "LSTM": 2, "GRU": 1}


def unrolled(kind, w, x, mask=None, initial=None, backwards=False, **options):
    """(h of every step at its place, the states after the last), holding over steps that do not
    count."""
    units = w[1].shape[0]
    zeros = np.zeros((len(x), units), x.dtype)
    states = list(initial) if initial is not None else [zeros] * STATES[kind]
    steps = range(x.shape[1])[:: -1 if backwards else 1]
    ys = {}
    for t in steps:
        new = CELLS[kind](x[:, t], states, w, **options)
        counts = np.ones((len(x), 1), bool) if mask is None else mask[:, t, None] != 0
        ys[t] = np.where(counts, new[0], 0.0)
        states = [np.where(counts, a, b) for a, b in zip(new, states, strict=True)]
    return np.stack([ys[t] for t in range(x.shape[1])], axis=1), states
