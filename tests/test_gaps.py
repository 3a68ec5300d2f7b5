"""Steps that do not count, anywhere in a sequence: each row is the row without them.

Values and gradients against the same layer on the steps that count alone, one row at a time.
"""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

L = bp.layers
MASK = np.array(
    [[0, 1, 1, 0, 0, 1, 0], [1, 0, 1, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0]],
    bool,
)


def layers_of(kind, **told):
    return pytest.param(lambda: [getattr(L, kind)(4, **told)], id=f"{kind}-{'-'.join(told)}")


@pytest.mark.parametrize(
    "make",
    [
        *[layers_of(kind) for kind in ("SimpleRNN", "LSTM", "GRU")],
        *[layers_of(kind, return_sequences=True) for kind in ("SimpleRNN", "LSTM", "GRU")],
        *[layers_of(kind, go_backwards=True) for kind in ("SimpleRNN", "LSTM", "GRU")],
        layers_of("GRU", reset_after=False),
        layers_of("GRU", reset_after=False, return_sequences=True),
        pytest.param(lambda: [L.GlobalAveragePooling1D()], id="average"),
        pytest.param(lambda: [L.GlobalMaxPooling1D()], id="max"),
        pytest.param(
            lambda: [L.LSTM(4, return_sequences=True), L.GRU(3, return_sequences=True),
                     L.GlobalMaxPooling1D()], id="stack"),
        pytest.param(
            lambda: [L.Bidirectional(L.LSTM(4)), L.Dense(2)], id="Bidirectional"),
    ],
)  # fmt: skip
def test_a_row_is_the_row_without_its_gaps(make, rng):
    model = bp.Sequential([bp.Input((None, 3)), *make()], dtype="float64", seed=2)
    n, steps = MASK.shape
    x = rng.normal(size=(n, steps, 3))
    for row, counts in zip(x, MASK, strict=True):
        row[~counts] = row[counts].max(axis=0)  # what a maximum must not take, or give a share to
    y = model.forward(x, mask=MASK)
    dy = rng.normal(size=y.shape)
    model.zero_gradients()
    dx = model.backward(dy)
    gradients = [p.grad.copy() for p in model.weights]
    if y.ndim == 3:
        assert not y[~MASK].any()
    assert not dx[~MASK].any()
    model.zero_gradients()
    for i in range(n):
        some = (i, MASK[i]) if y.ndim == 3 else (i,)
        alone = model.forward(x[i, MASK[i]][None])
        np.testing.assert_allclose(alone[0], y[some], rtol=1e-12, atol=1e-14)
        back = model.backward(dy[some][None])
        np.testing.assert_allclose(back[0], dx[i, MASK[i]], rtol=1e-11, atol=1e-14)
    for p, g in zip(model.weights, gradients, strict=True):
        np.testing.assert_allclose(p.grad, g, rtol=1e-11, atol=1e-13)
