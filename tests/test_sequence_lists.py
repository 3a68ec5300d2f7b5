"""Lists of sequences in a loop of one's own; weights and masks nested as they are."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

L = bp.layers


def ragged(rng, lengths=(4, 9, 2, 9), features=3):
    return [rng.normal(size=(n, features)) for n in lengths]


def model_of(*more, dtype="float64", seed=1):
    layers = [bp.Input((None, 3)), L.GRU(4, return_sequences=True), *more, L.Dense(2)]
    model = bp.Sequential(layers, seed=seed, dtype=dtype)
    model.compile(bp.optimizers.SGD(0.1), "mse", weighted_metrics=["mae"])
    return model


def test_forward_and_backward_of_a_list_are_those_of_each_sequence(rng):
    xs = ragged(rng)
    dys = [rng.normal(size=(len(x), 2)) for x in xs]
    model = model_of()
    ys = model.forward(xs)
    model.zero_gradients()
    dxs = model.backward(dys)
    found = [p.grad.copy() for p in model.weights]
    assert [y.shape for y in ys] == [(len(x), 2) for x in xs]
    model.zero_gradients()
    for x, y, dy, dx in zip(xs, ys, dys, dxs, strict=True):
        np.testing.assert_allclose(model.forward(x[None])[0], y, rtol=1e-13)
        np.testing.assert_allclose(model.backward(dy[None])[0], dx, rtol=1e-12, atol=1e-14)
    for a, p in zip(found, model.weights, strict=True):
        np.testing.assert_allclose(a, p.grad, rtol=1e-11, atol=1e-14)


def test_a_step_of_ones_own_on_a_list_is_the_models(rng):
    xs = ragged(rng)
    ys = [rng.normal(size=(len(x), 2)) for x in xs]
    by_loss, by_hand = model_of(), model_of()
    by_loss.train_on_batch(xs, ys)
    steps = sum(map(len, xs))

    def dy(found):
        return [2 * (y - t) / (2 * steps) for y, t in zip(found, ys, strict=True)]

    given = by_hand.train_on_batch(xs, dy=dy)
    assert [y.shape for y in given] == [y.shape for y in ys]
    for a, b in zip(by_loss.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_step_of_ones_own_takes_a_mask(rng):
    layers = [L.GRU(3, return_sequences=True), L.Dense(2)]
    model = bp.Sequential([bp.Input((4, 3)), *layers], dtype="float64", seed=0)
    model.compile("sgd", "half_squared_error")
    other = model.clone()
    other.compile("sgd")
    x, mask = rng.normal(size=(2, 4, 3)), np.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)
    np.testing.assert_array_equal(
        other.train_on_batch(x, dy=lambda y: y / mask.sum(), mask=mask),
        model.forward(x, mask=mask),
    )
    model.train_on_batch(x, np.zeros((2, 4, 2)), mask=mask)
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_last_states_of_a_list_are_an_array(rng):
    xs = ragged(rng)
    model = bp.Sequential([bp.Input((None, 3)), L.LSTM(4)], seed=0, dtype="float64")
    y = model.forward(xs)
    assert y.shape == (4, 4)
    dxs = model.backward(np.ones((4, 4)))
    assert [dx.shape for dx in dxs] == [x.shape for x in xs] and all(dx.any() for dx in dxs)


def test_bad_dy_of_a_list(rng):
    xs = ragged(rng)
    model = model_of()
    good = model.forward(xs)
    bad = [
        (np.zeros((4, 9, 2)), TypeError, "expected a list of 4 arrays"),
        (good[:3], TypeError, "expected a list of 4 arrays"),
        ([*good[:3], good[3][:-1]], ValueError, r"dy\[3\] has 8 steps, its sequence of x has 9"),
        ([y[:, :1] for y in good], ValueError, "expected"),
        ([y * np.nan for y in good], ValueError, "NaN"),
    ]
    for dy, kind, words in bad:
        with pytest.raises(kind, match=words):
            model.backward(dy)
    model.backward(good)  # the pass was still there


@pytest.mark.parametrize("equal", [False, True])
def test_weights_and_masks_nested_like_the_lists(equal, rng):
    xs = ragged(rng, (5, 5, 5, 5) if equal else (4, 9, 2, 9))
    ys = [rng.normal(size=(len(x), 2)) for x in xs]
    weights = [rng.uniform(0.1, 2, len(x)) for x in xs]
    masks = [rng.uniform(size=len(x)) < 0.7 for x in xs]
    for mask in masks:
        mask[0] = True
    model = model_of()
    predicted = [model.predict(x[None], mask=m[None])[0] for x, m in zip(xs, masks, strict=True)]
    errors = np.concatenate([((p - y) ** 2).mean(axis=1) for p, y in
                             zip(predicted, ys, strict=True)])  # fmt: skip
    counts, w = np.concatenate(masks), np.concatenate(weights)
    expected = (errors * w)[counts].sum() / counts.sum()
    found = model.evaluate(xs, ys, sample_weight=weights, mask=masks)
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-12)
    for part, y in zip(model.predict(xs, mask=masks), predicted, strict=True):
        np.testing.assert_allclose(part, y, rtol=1e-13)
    steps = model.predict(xs)[0].shape[0] if equal else 10  # what the longest is padded to
    padded = np.zeros((4, steps))
    for row, part in zip(padded, weights, strict=True):
        row[: len(part)] = part
    own = model.evaluate(xs, ys, sample_weight=padded, mask=masks)
    assert own == found
    with pytest.raises(ValueError, match=r"sample_weight\[1\] has 2 steps, its sequence of x has"):
        model.evaluate(xs, ys, sample_weight=[weights[0], weights[1][:2], *weights[2:]])
    with pytest.raises(ValueError, match=r"mask\[2\] has 1 steps, its sequence of x has"):
        model.evaluate(xs, ys, mask=[*masks[:2], masks[2][:1], masks[3]])


def test_weights_by_output_nested(rng):
    xs = ragged(rng)
    a = bp.Input((None, 3))
    h = L.GRU(4, return_sequences=True)(a)
    model = bp.Model(a, {"p": L.Dense(1, name="p")(h), "q": L.Dense(2, name="q")(h)},
                     dtype="float64", seed=0)  # fmt: skip
    model.compile("sgd", "mse")
    ys = {"p": [x[:, :1] for x in xs], "q": [x[:, :2] for x in xs]}
    ones = [np.ones(len(x)) for x in xs]
    plain = model.evaluate(xs, ys)
    assert model.evaluate(xs, ys, sample_weight={"p": ones, "q": ones}) == plain
    assert model.evaluate(xs, ys, sample_weight=ones) == plain
    twice = model.evaluate(xs, ys, sample_weight={"p": [2 * w for w in ones]})
    np.testing.assert_allclose(twice["p_loss"], 2 * plain["p_loss"], rtol=1e-13)
    assert twice["q_loss"] == plain["q_loss"]


def test_a_model_as_a_cell_is_saved(rng, tmp_path):
    h, a = bp.Input((5,)), bp.Input((3,))
    new = L.Activation("tanh")(L.Dense(5, name="of_h")(h) * 0.3 + L.Dense(5)(a))
    cell = bp.Model([h, a], new, seed=4)
    b = bp.Input((3,))
    model = bp.Model(b, L.Dense(1)(L.FixedPoint(cell, tol=1e-5, name="rest")(b)), seed=1)
    model.compile("adam", "mse")
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 1))
    model.train_on_batch(x, y)
    model.weights[0].trainable = False
    model.save(tmp_path / "m")
    model.save_checkpoint(tmp_path / "c")
    for other in (bp.load_model(tmp_path / "m"), bp.load_checkpoint(tmp_path / "c")):
        assert [p.name for p in other.weights] == [p.name for p in model.weights]
        assert [p.trainable for p in other.weights] == [p.trainable for p in model.weights]
        assert support.same_bits(other.predict(x), model.predict(x))
        assert other.get_layer("rest").tol == 1e-5
    model.save_weights(tmp_path / "w")
    other.set_weights([w + 1 for w in model.get_weights()])
    other.load_weights(tmp_path / "w")
    other.train_on_batch(x, y)
    model.train_on_batch(x, y)
    assert support.weights_hash(other) == support.weights_hash(model)


@pytest.mark.parametrize("lengths", [(4, 9, 2, 9), (5, 5)])
def test_what_is_seen_of_a_list_is_that_of_each_sequence(lengths, rng):
    """Of the loss, a mean over all steps, a sequence has the share of its steps."""
    xs = ragged(rng, lengths)
    ys = [rng.normal(size=(len(x), 2)) for x in xs]
    model = model_of()
    found, dxs = model.activations(xs), model.gradients(xs, ys, wrt_inputs=True).inputs
    forward, trace = model.trace(xs), model.trace(xs, ys)
    assert str(len(xs)) in repr(trace["dense"]) and isinstance(model.predict(xs), list)
    close = {"rtol": 1e-11, "atol": 1e-14}
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        share = len(x) / sum(lengths)
        alone = model.gradients(x[None], y[None], wrt_inputs=True).inputs[0]
        assert dxs[i].shape == x.shape
        np.testing.assert_allclose(dxs[i], share * alone, **close)
        single, told = model.activations(x[None]), model.trace(x[None], y[None])
        for name in ("gru", "dense"):
            np.testing.assert_allclose(found[name][i], single[name][0], **close)
            for key in ("inputs", "z", "a"):
                part = getattr(told[name], key)[0]
                np.testing.assert_allclose(getattr(forward[name], key)[i], part, **close)
                np.testing.assert_allclose(getattr(trace[name], key)[i], part, **close)
            for key in ("da", "delta"):
                part = share * getattr(told[name], key)[0]
                np.testing.assert_allclose(getattr(trace[name], key)[i], part, **close)


def test_what_is_seen_has_the_form_of_what_was_given(rng):
    """Lists where a list came and the steps are kept; arrays for arrays, and behind the steps."""
    a, b = bp.Input((None, 3), name="a"), bp.Input((2,), name="b")
    h = L.GRU(4, return_sequences=True, name="h")(L.Masking(7.0, name="masking")(a))
    last = L.LSTM(5, name="last")(h)
    model = bp.Model({"a": a, "b": b}, L.Dense(1, name="y")(L.Concatenate(name="both")([last, b])),
                     seed=0, dtype="float64")  # fmt: skip
    model.compile("sgd", "mse")
    xs, extra = ragged(rng), rng.normal(size=(4, 2))
    xs[1][3] = 7.0
    x, y = {"a": xs, "b": extra}, rng.normal(size=(4, 1))
    dxs = model.gradients(x, y, wrt_inputs=True).inputs
    shapes = [x.shape for x in xs]
    assert [dx.shape for dx in dxs["a"]] == shapes and dxs["b"].shape == (4, 2)
    found, trace = model.activations(x), model.trace(x, y)
    for part, given in zip(found["masking"], xs, strict=True):
        np.testing.assert_array_equal(part, given * (given != 7.0).any(axis=1, keepdims=True))
    assert [len(part) for part in trace["h"].delta] == [len(x) for x in xs]
    assert found["last"].shape == (4, 5) and trace["both"].inputs[1].shape == (4, 2)
    array = {"a": np.stack([x[:2] for x in xs]), "b": extra}
    mask = {"a": np.array([[True, False]] * 4)}
    assert model.gradients(array, y, wrt_inputs=True, mask=mask).inputs["a"].shape == (4, 2, 3)
    assert model.trace(array, y, mask=mask)["h"].a.shape == (4, 2, 4)
    assert model.activations(array)["masking"].shape == (4, 2, 3)
