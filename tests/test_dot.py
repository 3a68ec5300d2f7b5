"""Dot over all ranks and axes against np.einsum, and what it refuses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import bpcore as bp

L = bp.layers
LETTERS = "abcdefgh"


def einsum(x, y, i, j):
    """Over axis i of x and j of y, counted with the batch."""
    left = ["n", *LETTERS[: x.ndim - 1]]
    right = ["n", *LETTERS[x.ndim - 1 : x.ndim + y.ndim - 2]]
    left[i] = right[j] = "k"
    rest = [c for c in left[1:] + right[1:] if c != "k"]
    return np.einsum(f"{''.join(left)},{''.join(right)}->n{''.join(rest)}", x, y)


def model_of(shapes, **arguments):
    inputs = [bp.Input(s) for s in shapes]
    return bp.Model(inputs, L.Dot(**arguments)(inputs), dtype="float64")


@pytest.mark.parametrize("left, right", [*itertools.product((1, 2, 3), repeat=2)])
def test_all_ranks_and_axes(left, right, rng):
    for i, j in itertools.product(range(1, left + 1), range(1, right + 1)):
        shapes = list(rng.integers(1, 5, left)), list(rng.integers(1, 5, right))
        shapes[0][i - 1] = shapes[1][j - 1] = int(rng.integers(1, 6))
        x, y = (rng.normal(size=(5, *s)) for s in shapes)
        expected = einsum(x, y, i, j)
        if left == right == 1:
            expected = expected[:, None]
        for axes in ((i, j), (i - left - 1, j - right - 1)):
            found = model_of(shapes, axes=axes).predict([x, y])
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)
        if i == j:
            assert np.array_equal(model_of(shapes, axes=i).predict([x, y]), found)
        cosines = model_of(shapes, axes=(i, j), normalize=True).predict([x, y])
        unit = einsum(
            x / np.linalg.norm(x, axis=i, keepdims=True),
            y / np.linalg.norm(y, axis=j, keepdims=True), i, j,
        )  # fmt: skip
        np.testing.assert_allclose(cosines, unit.reshape(cosines.shape), rtol=1e-13, atol=1e-14)


def test_vectors_of_no_length_have_no_direction():
    """As in Keras, a norm is at least 1e-7: no division by zero, and finite gradients."""
    x, y = np.array([[0.0, 0.0], [3e-9, 4e-9], [3.0, 4.0]]), np.array([[1.0, 0.0]] * 3)
    model = model_of([(2,), (2,)], axes=1, normalize=True)
    np.testing.assert_allclose(model.predict([x, y]).ravel(), [0.0, 0.03, 0.6], rtol=1e-14)
    model.compile("sgd", "half_squared_error")
    dx, dy = model.gradients([x, y], np.full((3, 1), -1.0), wrt_inputs=True).inputs
    delta = np.array([[1.0], [1.03], [1.6]]) / 3  # of the mean over the batch
    np.testing.assert_allclose(dx[:2], (delta * y * 1e7)[:2], rtol=1e-13)
    np.testing.assert_allclose(dx[2], delta[2] * np.array([0.64, -0.48]) / 5, rtol=1e-13)
    np.testing.assert_allclose(dy, delta * [[0, 0], [0, 0.04], [0, 0.8]], rtol=1e-12, atol=1e-15)


def test_of_a_value_with_itself(rng):
    """Both deltas are added up; the squared length."""
    x = rng.normal(size=(4, 3))
    a = bp.Input((3,))
    model = bp.Model(a, L.Dot(axes=-1)([a, a]), dtype="float64")
    np.testing.assert_allclose(model.predict(x), (x * x).sum(1, keepdims=True), rtol=1e-14)
    model.compile("sgd", "half_squared_error")
    found = model.gradients(x, np.zeros((4, 1)), wrt_inputs=True)
    np.testing.assert_allclose(found.inputs, 2 * x * (x * x).sum(1, keepdims=True) / 4, rtol=1e-13)


def test_in_a_model_that_is_trained_saved_and_shown(tmp_path, rng):
    """Attention over five vectors, by two products."""
    query, keys = bp.Input((4,)), bp.Input((5, 4))
    weights = L.Activation("softmax")(L.Dot(axes=(2, 1))([keys, query]))
    seen = L.Dot(axes=(1, 1), name="seen")([keys, weights])
    model = bp.Model([query, keys], L.Dense(1)(seen), seed=0)
    model.compile("adam", "mse")
    x, y = [rng.normal(size=(40, 4)), rng.normal(size=(40, 5, 4))], rng.normal(size=(40, 1))
    losses = model.fit(x, y, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert "seen" in str(model.summary())
    model.save(tmp_path / "m")
    again = bp.load_model(tmp_path / "m")
    assert again.get_config() == model.get_config()
    assert np.array_equal(again.predict(x), model.predict(x))


@pytest.mark.parametrize("axes, error, words", [
    (0, ValueError, "axes must not be 0, got 0; that is the batch axis"),
    ((1, 0), ValueError, "axes must not be 0"),
    ((1, 2, 3), ValueError, "axes has 3 numbers, expected one integer or two"),
    ((1,), ValueError, "axes has 1 numbers"),
    ("1", TypeError, "axes"),
    (1.0, TypeError, "axes"),
    ((1, None), TypeError, "axes"),
    (3, ValueError, "got axis 3 for samples of rank 2, expected -2 to -1 or 1 to 2"),
    ((1, -3), ValueError, "got axis -3 for samples of rank 2"),
    ((2, 1), ValueError, r"\(3, 4\) and \(3, 5\), whose axes 2 and 1 have lengths 4 and 3"),
])  # fmt: skip
def test_bad_axes_are_refused(axes, error, words):
    with pytest.raises(error, match=words):
        L.Dot(axes)([bp.Input((3, 4)), bp.Input((3, 5))])


def test_other_numbers_of_inputs_are_refused():
    a = bp.Input((3,))
    with pytest.raises(ValueError, match="got 3 inputs, expected exactly 2"):
        L.Dot(1)([a, a, a])
    with pytest.raises(ValueError, match="expected a list of at least 2"):
        L.Dot(1)(a)
    with pytest.raises(TypeError, match="normalize"):
        L.Dot(1, normalize="yes")
