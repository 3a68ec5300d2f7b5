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


def small(*layers):
    model = bp.Sequential([bp.Input((None, 3)), *layers], dtype="float64", seed=2)
    model.compile(bp.optimizers.SGD(1e-30), "mse")
    return model


def mean_over(model, x, y, mask):
    """The loss of `model`, by NumPy: the mean over the steps that count."""
    return np.square(model.predict(x, mask=mask) - y)[mask].mean()


def test_validation_counts_the_steps_of_its_own_mask(rng):
    """Given beside the data, or divided from them with their rows."""
    n, steps = MASK.shape
    x, y = rng.normal(size=(n, steps, 3)), rng.normal(size=(n, steps, 1))
    model = small(L.GRU(4, return_sequences=True), L.Dense(1))
    full = np.ones((n, steps), bool)
    history = model.fit(x, y, validation_data=(x, y, np.ones(n), MASK), verbose=0).history
    assert history["loss"][0] == pytest.approx(mean_over(model, x, y, full), rel=1e-12)
    assert history["val_loss"][0] == pytest.approx(mean_over(model, x, y, MASK), rel=1e-12)
    history = model.fit(x, y, mask=MASK, validation_split=0.5, verbose=0).history
    for key, rows in (("loss", slice(0, 2)), ("val_loss", slice(2, 4))):
        expected = mean_over(model, x[rows], y[rows], MASK[rows])
        assert history[key][0] == pytest.approx(expected, rel=1e-12)


def test_windows_of_shuffled_rows_keep_their_masks(rng):
    """The loss of an epoch of windows, at rate 0, is the mean over all steps that count."""
    n, steps = MASK.shape
    x, y = rng.normal(size=(n, steps, 3)), rng.normal(size=(n, steps, 1))
    model = small(L.GRU(4, return_sequences=True), L.Dense(1))
    told = {"mask": MASK, "batch_size": 4, "bptt": 3, "verbose": 0}
    losses = model.fit(x, y, epochs=3, **told).history["loss"]
    np.testing.assert_allclose(losses, mean_over(model, x, y, MASK), rtol=1e-12)


@pytest.mark.parametrize("bptt", [4, 2, (6, 4), (5, 2)])
def test_windows_in_which_nothing_counts_are_gone_through(bptt, rng):
    """Between those that count, and before the first: layers look back over them, at rate 0."""
    x, y = rng.normal(size=(3, 14, 3)), rng.normal(size=(3, 14, 1))
    mask = np.ones((3, 14), bool)
    mask[:, :4] = mask[:, 6:10] = False
    for first in (L.TappedDelay(3), L.GRU(4, return_sequences=True)):
        model = small(first, L.GRU(4, return_sequences=True), L.Dense(1))
        expected = pytest.approx(mean_over(model, x, y, mask), rel=1e-12)
        assert model.gradients(x, y, mask=mask, bptt=bptt).loss == expected
        told = {"mask": mask, "batch_size": 2, "bptt": bptt, "verbose": 0}
        assert model.fit(x, y, **told).history["loss"][0] == expected


def test_an_output_of_which_nothing_counts_in_a_window(rng):
    """Beside one of which something does: its part of the loss is 0."""
    masks = np.ones((2, 3, 6), bool)
    masks[0, :, :3] = masks[1, :, 3:] = False
    ends = [bp.Input((None, 3)), bp.Input((None, 3))]
    outputs = [L.Dense(1)(L.GRU(4, return_sequences=True)(a)) for a in ends]
    model = bp.Model(ends, outputs, dtype="float64", seed=1)
    model.compile(bp.optimizers.SGD(1e-30), "mse")
    xs, ys = list(rng.normal(size=(2, 3, 6, 3))), list(rng.normal(size=(2, 3, 6, 1)))
    expected = model.evaluate(xs, ys, mask=list(masks))
    found = model.fit(xs, ys, mask=list(masks), bptt=3, verbose=0).history
    assert {key: found[key][0] for key in expected} == pytest.approx(expected, rel=1e-12)


def test_masking_tells_by_all_values_of_a_step(rng):
    """One value that is the mask's does not hide a step; padding of a list stays hidden, too."""
    model = small(L.Masking(-1.0), L.SimpleRNN(4))
    x = rng.normal(size=(1, 5, 3))
    x[0, 1, 0] = x[0, 3, 2] = -1.0
    plain = small(L.SimpleRNN(4))
    plain.set_weights(model.get_weights())
    np.testing.assert_array_equal(model.predict(x), plain.predict(x))
    x[0, 2] = -1.0
    rest = np.delete(x, 2, axis=1)
    np.testing.assert_allclose(model.predict(x), plain.predict(rest), rtol=1e-13)
    xs = [x[0], x[0, :2], x[0, 1:]]
    for one, together in zip(xs, model.predict(xs), strict=True):
        np.testing.assert_allclose(together, model.predict(one[None])[0], rtol=1e-13)


def test_lengths_have_few_buckets():
    """At most a quarter is padding, and there are four lengths in an octave."""
    from bpcore.data.sequences import bucket

    found = [bucket(n) for n in range(1, 1025)]
    assert all(n <= b <= max(n, 1.25 * n) for n, b in enumerate(found, 1))
    assert len(set(found)) == 8 + 4 * 7 and all(bucket(b) == b for b in found)


def test_a_delay_as_long_as_the_sequence_sees_nothing(rng):
    x = rng.normal(size=(2, 4, 3))
    expected = np.zeros((2, 4, 6))
    expected[:, 3:, 3:] = x[:, :1]
    np.testing.assert_array_equal(L.TappedDelay([4, 3], dtype="float64")(x), expected)


def test_weights_by_value_beside_a_mask(rng):
    """Of as many values as steps: w (N, T, K) and the mask (N, T) meet at their first axes."""
    x, y = rng.normal(size=(4, 7, 3)), rng.normal(size=(4, 7, 7))
    w = rng.uniform(0, 2, size=(4, 7, 7))
    model = small(L.SimpleRNN(7, return_sequences=True))
    apart = w * np.square(model.predict(x, mask=MASK) - y)
    found = model.evaluate(x, y, sample_weight=w, mask=MASK)["loss"]
    assert found == pytest.approx(apart[MASK].mean(), rel=1e-12)
