"""Streams, truncated backpropagation through time, stateful layers: states that go on."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

L = bp.layers


def model_of(*layers, features=3, loss="mse", dtype="float32", optimizer="adam"):
    model = bp.Sequential([bp.Input((None, features)), *layers], seed=2, dtype=dtype)
    model.compile(optimizer, loss)
    return model


def stacked():
    return [L.LSTM(9, return_sequences=True), L.Dense(5, "tanh"), L.GRU(6, return_sequences=True),
            L.SimpleRNN(4, return_sequences=True), L.Dense(2)]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_stream_has_the_bits_of_the_batch(dtype, rng):
    model = model_of(*stacked(), dtype=dtype)
    x = rng.normal(size=(3, 30, 3)).astype(dtype)
    whole = model.predict(x)
    one, many = model.stream(), model.stream(batch=3)
    for t in range(30):
        assert support.same_bits(one.step(x[1, t]), whole[1, t])
        assert support.same_bits(many.step(x[:, t]), whole[:, t])
    many.reset(1)
    again = many.copy()
    later = many.step(x[:, 0])
    assert support.same_bits(later[1], whole[1, 0])
    assert not np.array_equal(later[0], whole[0, 0])
    assert support.same_bits(again.step(x[:, 0]), later)
    one.reset()
    assert support.same_bits(one.step(x[0, 0].tolist()), whole[0, 0])  # the long way
    held = one.state
    assert held["lstm"].shape == (1, 18) and held["gru"].shape == (1, 6)
    other = model.stream()
    other.state = held
    assert support.same_bits(other.step(x[0, 1]), whole[0, 1])


def test_a_stream_of_ids_and_of_last_states(rng):
    model = bp.Sequential([L.Embedding(9, 4), L.LSTM(5), L.Dense(3)], seed=1)
    model.build((None,))
    ids = rng.integers(0, 9, 12)
    stream = model.stream()
    for t, i in enumerate(ids):
        assert support.same_bits(stream.step(i), model.predict([ids[: t + 1]])[0])
    with pytest.raises(ValueError, match="id 9 at"):
        stream.step(9)


def test_streams_refuse_what_they_cannot_do():
    with pytest.raises(ValueError, match="leaves the number of steps open"):
        bp.Sequential([bp.Input((5, 3)), L.GRU(2)]).stream()
    with pytest.raises(ValueError, match="needs the whole sequence"):
        model_of(L.Bidirectional(L.GRU(2))).stream()
    stream = model_of(L.GRU(2)).stream()
    with pytest.raises(bp.errors.ShapeError, match=r"x has shape \(2,\), expected \(3,\)"):
        stream.step(np.zeros(2, "float32"))
    with pytest.raises(ValueError, match="NaN"):
        stream.step(np.full(3, np.nan, "float32"))


def test_windows_as_long_as_the_sequence_are_full_backpropagation(rng):
    x, y = rng.normal(size=(10, 12, 3)), rng.normal(size=(10, 12, 2))
    found = []
    for bptt in (None, 12, 40, (12, 12)):
        model = model_of(*stacked())
        model.fit(x, y, batch_size=4, epochs=2, verbose=0, bptt=bptt)
        found.append(model.get_weights())
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert support.same_bits(a, b)


def test_windows_carry_the_state_and_cut_the_gradient(rng):
    """One update a window, each as by hand: from the states of the window before."""
    x, y = rng.normal(size=(4, 10, 3)), rng.normal(size=(4, 10, 2))
    model = model_of(L.GRU(5, return_sequences=True), L.Dense(2), dtype="float64",
                     optimizer=bp.optimizers.SGD(0.1))  # fmt: skip
    first = [w.copy() for w in model.get_weights()]
    seen = []
    model.fit(
        x,
        y,
        batch_size=4,
        shuffle=False,
        verbose=0,
        bptt=4,
        callbacks=[bp.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: seen.append(b))],
    )
    assert seen == [0, 1, 2]
    a, h = bp.Input((None, 3)), bp.Input((5,))
    gru = L.GRU(5, return_sequences=True, return_state=True)
    ys, last = gru(a, initial_state=[h])
    hand = bp.Model([a, h], [L.Dense(2)(ys), last], dtype="float64", seed=0)
    hand.set_weights(first)
    hand.compile(bp.optimizers.SGD(0.1), "mse", loss_weights=[1.0, 0.0])
    state = np.zeros((4, 5))
    for begin in (0, 4, 8):
        part = slice(begin, min(begin + 4, 10))
        following = hand.predict([x[:, part], state])[1]
        hand.train_on_batch([x[:, part], state], [y[:, part], following])
        state = following
    for a, b in zip(model.get_weights(), hand.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


X, Y = np.array([1.0, -1.0, 0.5, 0.25]), np.array([0.5, 0.0, -0.5, 1.0])
# dL/d(w, u, b, v) of h_t = tanh(w x_t + u h_{t-1} + b), L = sum of 1/2 (v h_t - y_t)^2, worked out
# in float64: in full, and with each step's loss cut to K transitions.
GOLDEN = {
    None: (0.11048978785131719, 0.19347200037185766, 1.3352410846093807),
    1: (0.46513753487582465, -0.09359332745085097, 0.7314502925556827),
    2: (-0.4295993224483509, 0.31532306311175157, 1.2489315515692532),
    3: (0.23964957036896511, 0.19347200037185766, 1.4644008671270288),
}


@pytest.mark.parametrize("k", GOLDEN)
def test_golden_gradients_through_time(k):
    model = model_of(L.SimpleRNN(1, return_sequences=True), L.Dense(1, use_bias=False),
                     features=1, loss="half_squared_error", dtype="float64")  # fmt: skip
    model.set_weights([[[0.5]], [[0.8]], [0.1], [[1.2]]])
    found = model.gradients(X[None, :, None], Y[None, :, None], bptt=None if k is None else (k, 1))
    assert 4 * found.loss == pytest.approx(0.5370418091895139, abs=1e-12)
    sums = [4 * float(g.ravel()[0]) for g in found.parameters.values()]
    np.testing.assert_allclose(sums, [*GOLDEN[k], 0.2055350469450364], rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_golden_gradients_of_a_fit(k):
    """One update of the mean of the four passes' gradients, each of its own step's loss."""
    model = model_of(L.SimpleRNN(1, return_sequences=True), L.Dense(1, use_bias=False),
                     features=1, loss="half_squared_error", dtype="float64")  # fmt: skip
    model.compile(bp.optimizers.SGD(1.0), "half_squared_error", accumulate_steps=4)
    first = [[[0.5]], [[0.8]], [0.1], [[1.2]]]
    model.set_weights(first)
    model.fit(X[None, :, None], Y[None, :, None], bptt=(k, 1), verbose=0)
    moved = [4 * (np.ravel(a) - np.ravel(b))[0] for a, b in
             zip(first, model.get_weights(), strict=True)]  # fmt: skip
    expected = [*GOLDEN[None if k == 4 else k], 0.2055350469450364]
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bptt, updates", [(4, 3), ((6, 4), 3), ((5, 1), 10), (10, 1)])
def test_callbacks_and_schedules_count_updates(bptt, updates, rng):
    x, y = rng.normal(size=(6, 10, 3)), rng.normal(size=(6, 10, 2))
    steps = []

    def rate(step):
        steps.append(np.max(step))
        return np.full(np.shape(step), 0.01)

    seen = []
    count = bp.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: seen.append(b))
    model = model_of(L.GRU(3, return_sequences=True), L.Dense(2), optimizer=bp.optimizers.SGD(rate))
    model.fit(x, y, batch_size=3, epochs=2, bptt=bptt, verbose=0, callbacks=[count])
    assert seen == [*range(2 * updates)] * 2 and model.optimizer.iterations == 4 * updates
    model.fit(x, y, batch_size=3, bptt=bptt, steps_per_epoch=1, verbose=0)
    assert model.optimizer.iterations == 4 * updates + 1


def test_overlapping_windows_are_gradients_of_each_pass(rng):
    """A pass and its update after the other, each by `gradients` on the part that it goes over."""
    x, y = rng.normal(size=(3, 7, 3)), rng.normal(size=(3, 7, 2))
    layers = lambda: [L.LSTM(4, return_sequences=True), L.Dense(2)]  # noqa: E731
    model = model_of(*layers(), dtype="float64")
    whole = model.gradients(x, y, bptt=(4, 2))
    by_fit = model_of(*layers(), dtype="float64")
    by_fit.compile(bp.optimizers.SGD(1.0), "mse", accumulate_steps=4)
    before = by_fit.get_weights()
    by_fit.fit(x, y, bptt=(4, 2), batch_size=3, verbose=0)
    # fit takes the mean of the four passes, of 2, 2, 2 and 1 steps; gradients weighs them by steps.
    three = model.gradients(x[:, :6], y[:, :6], bptt=(4, 2)).parameters
    for p, a, b in zip(model.weights, before, by_fit.get_weights(), strict=True):
        last = whole.parameters[p.name] * 7 - three[p.name] * 6
        np.testing.assert_allclose(a - b, (3 * three[p.name] + last) / 4, rtol=1e-10, atol=1e-13)


def test_stateful_batches_are_one_long_sequence(rng):
    x, y = rng.normal(size=(2, 30, 3)), rng.normal(size=(2, 30, 2))
    frozen = lambda: bp.optimizers.SGD(1e-300)  # noqa: E731
    layers = lambda s: [L.LSTM(5, return_sequences=True, stateful=s), L.Dense(2)]  # noqa: E731
    model = model_of(*layers(True), optimizer=frozen(), dtype="float64")
    cut = lambda a: np.concatenate([a[:, :10], a[:, 10:20], a[:, 20:]])  # noqa: E731
    h = model.fit(cut(x), cut(y), batch_size=2, shuffle=False, verbose=0)
    plain = model_of(*layers(False), optimizer=frozen(), dtype="float64")
    expected = plain.evaluate(x, y)["loss"]
    np.testing.assert_allclose(h.history["loss"][0], expected, rtol=1e-12)
    assert model.evaluate(x[:, :10], y[:, :10]) == plain.evaluate(x[:, :10], y[:, :10])
    on = model.fit(cut(x), cut(y), batch_size=2, shuffle=False, verbose=0)
    assert on.history["loss"] != h.history["loss"]
    model.reset_states()
    anew = model.fit(cut(x), cut(y), batch_size=2, shuffle=False, verbose=0)
    assert anew.history["loss"] == h.history["loss"]
    bad = [
        ({"batch_size": 2}, "pass shuffle=False"),
        ({"batch_size": 4, "shuffle": False}, "a multiple of batch_size"),
        ({"batch_size": 3, "shuffle": False}, "holds the states of 2 samples"),
    ]
    for told, words in bad:
        with pytest.raises(ValueError, match=words):
            model.fit(cut(x), cut(y), verbose=0, **told)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_gradients_vanish_and_explode(factor, rng):
    """A linear recurrence, whose gradient changes by this factor at each step back."""
    rnn = L.SimpleRNN(3, "linear", recurrent_initializer=factor * np.eye(3))
    model = model_of(rnn, L.Dense(1), dtype="float64")
    norms = model.gradient_norms_over_time(rng.normal(size=(4, 20, 3)), rng.normal(size=(4, 1)))
    np.testing.assert_allclose(norms[:-1] / norms[1:], factor, rtol=1e-12)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gradient_norms_are_those_of_the_states(kind, rng):
    """Against the gradient of the state that begins the second part of a sequence cut in two."""
    x, y = rng.normal(size=(3, 9, 2)), rng.normal(size=(3, 1))
    model = model_of(getattr(L, kind)(4), L.Dense(1), features=2, dtype="float64")
    norms = model.gradient_norms_over_time(x, y)
    cell, head = model.weights[:3], model.weights[3:]
    for t in (1, 5, 8):  # h_{t-1} is where the second part begins
        first = getattr(L, kind)(4, return_state=True, dtype="float64")
        zeros = [np.zeros((3, 4)) for _ in range(2 if kind == "LSTM" else 1)]
        first(x[:, :t], initial_state=zeros)
        first.set_weights([p.value for p in cell])
        states = first(x[:, :t], initial_state=zeros)[1:]
        ends = [bp.Input((None, 2)), *(bp.Input((4,)) for _ in states)]
        rest = bp.Model(ends, L.Dense(1)(getattr(L, kind)(4)(ends[0], initial_state=ends[1:])),
                        dtype="float64", seed=0)  # fmt: skip
        rest.set_weights([p.value for p in (*cell, *head)])
        rest.compile("sgd", "mse")
        dh = rest.gradients([x[:, t:], *states], y, wrt_inputs=True).inputs[1]
        assert norms[t - 1] == pytest.approx(np.linalg.norm(dh), rel=1e-10)


def test_bad_truncation(rng):
    x, y = rng.normal(size=(4, 6, 3)), rng.normal(size=(4, 6, 2))
    model = model_of(L.GRU(3, return_sequences=True), L.Dense(2))
    for bptt, words in (
        (0, "bptt must be >= 1"),
        ((2, 3), "expected h >= h'"),
    ):
        with pytest.raises(ValueError, match=words):
            model.fit(x, y, verbose=0, bptt=bptt)
    stateful = model_of(L.GRU(3, return_sequences=True, stateful=True), L.Dense(2))
    with pytest.raises(ValueError, match="windows that overlap"):
        stateful.fit(x, y, batch_size=4, shuffle=False, verbose=0, bptt=(4, 2))
    last = model_of(L.GRU(3), L.Dense(2))
    with pytest.raises(ValueError, match="a target for each step"):
        last.fit(x, y[:, 0], verbose=0, bptt=2)


def test_stateful_layers_take_batches_of_one_size():
    model = bp.Sequential([bp.Input((4, 2)), L.LSTM(3, stateful=True), L.Dense(1)], seed=0)
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((3, 4, 2)), np.ones((3, 1)))
    before = support.weights_hash(model)
    with pytest.raises(ValueError, match=r"states of 3 samples, got batches of 2.*reset_states"):
        model.train_on_batch(np.ones((2, 4, 2)), np.ones((2, 1)))
    assert support.weights_hash(model) == before
    model.reset_states()
    model.train_on_batch(np.ones((2, 4, 2)), np.ones((2, 1)))
