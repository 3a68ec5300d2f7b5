"""Layers that look back over a sequence, in streams and windows; statistics of steps that count."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

L = bp.layers


def frozen():
    return bp.optimizers.SGD(1e-300)  # so small that no weight moves


LOOKING_BACK = {
    "delay": lambda: [L.TappedDelay(3), L.Dense(4, "tanh"), L.Dense(2)],
    "gaps": lambda: [L.TappedDelay([0, 2, 5]), L.GRU(3, return_sequences=True), L.Dense(2)],
    "causal": lambda: [L.Conv1D(4, 3, padding="causal", activation="relu"), L.Dense(2)],
    "dilated": lambda: (
        [L.Conv1D(4, 2, padding="causal", dilation_rate=d) for d in (1, 2, 4)]
        + [L.LSTM(3, return_sequences=True), L.Dense(2)]
    ),
}


def model_of(layers, dtype="float32", optimizer="adam", features=3, **told):
    model = bp.Sequential([bp.Input((None, features)), *layers], seed=2, dtype=dtype)
    model.compile(optimizer, "mse", **told)
    return model


@pytest.mark.parametrize("kind", LOOKING_BACK)
def test_streams_have_the_bits_of_the_whole(kind, rng):
    model = model_of(LOOKING_BACK[kind]())
    x = rng.normal(size=(2, 20, 3)).astype("float32")
    whole = model.predict(x)
    stream = model.stream(batch=2)
    for t in range(9):
        assert support.same_bits(stream.step(x[:, t]), whole[:, t])
    others = stream.copy(), copy.copy(stream), copy.deepcopy(stream), model.stream(batch=2)
    others[-1].state = stream.state
    for t in range(9, 20):
        expected = stream.step(x[:, t])
        assert support.same_bits(expected, whole[:, t])
        for other in others:
            assert support.same_bits(other.step(x[:, t]), expected)
    stream.reset()
    assert support.same_bits(stream.step(x[:, 0]), whole[:, 0])


@pytest.mark.parametrize("kind", LOOKING_BACK)
def test_windows_see_the_steps_before_them(kind, rng):
    """With weights that do not move the losses are those of the whole, whatever the windows."""
    x, y = rng.normal(size=(4, 20, 3)), rng.normal(size=(4, 20, 2))
    expected = model_of(LOOKING_BACK[kind](), "float64", frozen()).evaluate(x, y)["loss"]
    for bptt in (20, 7, 2, (8, 4)):
        model = model_of(LOOKING_BACK[kind](), "float64", frozen())
        found = model.fit(x, y, batch_size=2, bptt=bptt, verbose=0).history["loss"][0]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_causal_convolution_is_the_zero_padded_one(rng):
    x = rng.normal(size=(3, 12, 2))
    w, b = rng.normal(size=(3, 2, 4)), rng.normal(size=4)
    layer = L.Conv1D(4, 3, padding="causal", dilation_rate=2, kernel_initializer=w,
                     bias_initializer=b, dtype="float64")  # fmt: skip
    padded = np.concatenate([np.zeros((3, 4, 2)), x], axis=1)
    expected = sum(padded[:, 2 * k : 2 * k + 12] @ w[k] for k in range(3)) + b
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12)
    model = model_of([L.Conv1D(4, 3, padding="causal"), L.TappedDelay([1, 2])], "float64",
                     features=2)  # fmt: skip
    assert model.gradcheck(x, rng.normal(size=(3, 12, 8))).max_error < 1e-7


def test_what_is_said_of_streams(rng):
    stream = model_of([L.GRU(2)]).stream()
    for new, kind, words in (
        (None, TypeError, r"must be a dict.*got None.*stream.reset\(\)"),
        ({}, ValueError, r"got \[\], expected \['gru'\]"),
        ({"gru": np.zeros((2, 2))}, ValueError, "shape"),
        ({"gru": np.full((1, 2), np.nan)}, ValueError, "NaN"),
    ):
        with pytest.raises(kind, match=words):
            stream.state = new
    with pytest.raises(TypeError, match=r"save the model and stream\.state"):
        pickle.dumps(stream)
    with pytest.raises(ValueError, match="needs the whole sequence"):
        model_of([L.Conv1D(2, 3, padding="same")]).stream()


def test_the_states_of_a_layer_called_twice(rng):
    gru = L.GRU(3, return_sequences=True)
    a = bp.Input((None, 3))
    model = bp.Model(a, gru(gru(a)), seed=0)
    x = rng.normal(size=(1, 6, 3)).astype("float32")
    stream, other = model.stream(), model.stream()
    for t in range(5):
        stream.step(x[:, t])
    other.state = stream.state
    assert set(stream.state) == {"gru", "gru_1"}
    assert support.same_bits(other.step(x[:, 5]), model.predict(x)[:, 5])


def test_repeat_vector_says_what_it_takes():
    with pytest.raises(bp.errors.ShapeError, match=r"\(N, None, 4\), expected \(N, F\).*pooling"):
        L.RepeatVector(3)(bp.Input((None, 4)))


# ---- statistics of the steps that count ----------------------------------------------------------
MASK = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)


@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_is_that_of_the_steps_that_count(training, rng):
    """Forward, backward and running statistics, against the layer on the steps alone as rows."""
    x, dy = rng.normal(2, 3, size=(4, 5, 3)), rng.normal(size=(4, 5, 3))
    layer = L.BatchNormalization(momentum=0.7)
    model = bp.Sequential([bp.Input((5, 3)), layer], dtype="float64", seed=0)
    rows = bp.Sequential([bp.Input((3,)), L.BatchNormalization(momentum=0.7)], dtype="float64")
    gamma = rng.normal(size=3)
    for each in (model, rows):
        each.weights[0].value[...] = gamma
        each.weights[2].value[...] = [0.5, 1.0, 1.5]
    found, expected = model.forward(x, training, mask=MASK), rows.forward(x[MASK], training)
    np.testing.assert_allclose(found[MASK], expected, rtol=1e-12, atol=1e-14)
    dx, drows = model.backward(dy), rows.backward(dy[MASK])
    np.testing.assert_allclose(dx[MASK], drows, rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(dx[~MASK], 0)
    for p, q in zip(model.weights, rows.weights, strict=True):
        np.testing.assert_allclose(p.value, q.value, rtol=1e-12)
        np.testing.assert_allclose(p.grad, q.grad, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("threads", [1, 3])
def test_padding_changes_no_bit_of_statistics(threads, rng):
    xs = [rng.normal(size=(n, 3)) for n in (9, 140, 30, 2, 7, 64, 64, 5, 11)]
    ys = [x[:, :2] for x in xs]
    longest, found = 0, []
    with bp.threads(threads, exact=True):
        for more in (0, 150, 300):
            steps = longest = max(longest, 140) + more
            x, y = np.zeros((9, steps, 3)), np.zeros((9, steps, 2))
            mask = np.zeros((9, steps), bool)
            for i, (a, b) in enumerate(zip(xs, ys, strict=True)):
                x[i, : len(a)], y[i, : len(a)], mask[i, : len(a)] = a, b, True
            x[~mask] = 7.0  # what is there does not matter
            model = model_of([L.BatchNormalization(), L.GRU(4, return_sequences=True), L.Dense(2)])
            model.fit(x, y, mask=mask, batch_size=4, epochs=2, verbose=0)
            found.append(support.weights_hash(model))
        model = model_of([L.BatchNormalization(), L.GRU(4, return_sequences=True), L.Dense(2)])
        model.fit(xs, ys, batch_size=4, epochs=2, verbose=0)
    assert {*found, support.weights_hash(model)} == {found[0]}


def test_gradcheck_of_normalized_sequences(rng):
    xs = [rng.normal(size=(n, 3)) for n in (4, 7, 2)]
    model = model_of([L.BatchNormalization(), L.GRU(4, return_sequences=True),
                      L.BatchNormalization(), L.Dense(2)], "float64")  # fmt: skip
    assert model.gradcheck(xs, [x[:, :2] for x in xs]).max_error < 1e-6


# ---- states of stateful layers in a loop of one's own --------------------------------------------
def test_forward_carries_states_on(rng):
    """As train_on_batch does, in turn with it; a pass that is not of training begins with zeros."""
    x, y = rng.normal(size=(2, 18, 3)), rng.normal(size=(2, 18, 2))
    model = model_of(
        [L.LSTM(4, return_sequences=True, stateful=True), L.Dense(2)], "float64", frozen()
    )
    plain = model_of([L.LSTM(4, return_sequences=True), L.Dense(2)], "float64", frozen())
    whole = plain.predict(x)
    np.testing.assert_allclose(model.forward(x[:, :5]), whole[:, :5], rtol=1e-12)
    model.backward(np.ones((2, 5, 2)))
    again = model.forward(x[:, :5], training=False)
    np.testing.assert_allclose(again, whole[:, :5], rtol=1e-12)
    loss = model.train_on_batch(x[:, 5:9], y[:, 5:9])["loss"]
    np.testing.assert_allclose(loss, ((whole - y)[:, 5:9] ** 2).mean(), rtol=1e-12)
    by_hand = model.train_on_batch(x[:, 9:12], dy=lambda y: y)
    np.testing.assert_allclose(by_hand, whole[:, 9:12], rtol=1e-12)
    np.testing.assert_allclose(model.forward(x[:, 12:]), whole[:, 12:], rtol=1e-12)
    with pytest.raises(ValueError, match="states of 2 samples, got batches of 1"):
        model.forward(x[:1])
    model.reset_states()
    np.testing.assert_allclose(model.forward(x[:1, :5]), whole[:1, :5], rtol=1e-12)
