"""SimpleRNN, LSTM and GRU against PyTorch's numbers, and what a layer with states does.

Values and gradients of every option against NumPy are rows of cases.py; the numbers of PyTorch are
in fixtures/recurrent.json (make_recurrent.py).
"""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

ROWS = support.load("recurrent")["rows"]
EXACT = 1e-12


def name(row):
    return f"{row['kind']}-{row['name']}"


def weights_of(kind, stored):
    """In bpcore's layout: PyTorch has two biases, of x and of h."""
    w, r, b, b_h = [np.array(a) for a in stored]
    return [w, r, np.stack([b, b_h]) if kind == "GRU" else b + b_h]


def close(found, expected, what):
    assert support.relative_error(found, expected) <= EXACT, what


class Inner:
    """The loss <u, y> with u as target."""

    def value(self, y_true, y_pred):
        return (y_true * y_pred).reshape(len(y_pred), -1).sum(axis=1)

    def gradient(self, y_true, y_pred):
        return y_true + 0 * y_pred


def model_of(row, **options):
    _, steps, features = np.shape(row["x"])
    units = np.shape(row["weights"][1])[0]
    layer = getattr(bp.layers, row["kind"])(
        units, return_sequences=True, return_state=True, **options
    )
    x = bp.Input((steps, features))
    states = [bp.Input((units,)) for _ in row["initial"]]
    outputs = layer(x, initial_state=states)
    model = bp.Model([x, *states], outputs, dtype="float64", seed=0)
    model.set_weights(weights_of(row["kind"], row["weights"]))
    return layer, model


def is_full(row):
    return len(set(row["lengths"])) == 1


@pytest.mark.parametrize("row", [row for row in ROWS if is_full(row)], ids=name)
def test_values_and_gradients_are_those_of_pytorch(row):
    _, model = model_of(row)
    xs = [np.array(row["x"]), *map(np.array, row["initial"])]
    ys = [np.array(row["y"]), *map(np.array, row["last"])]
    for found, expected in zip(model.predict(xs), ys, strict=True):
        close(found, expected, "values")
    model.compile("sgd", Inner())
    dys = [np.array(row["dy"]), *map(np.array, row["dlast"])]
    found = model.gradients(xs, dys, wrt_inputs=True)
    n = len(xs[0])  # gradients are of the mean over samples
    expected = weights_of(row["kind"], row["gradients"])
    if row["kind"] != "GRU":
        expected[2] = np.array(row["gradients"][2])  # two equal ones, of one sum
    for w, e in zip(model.weights, expected, strict=True):
        close(n * found.parameters[w.name], e, w.name)
    dxs = [np.array(row["dx"]), *map(np.array, row["dinitial"])]
    for d, e in zip(found.inputs, dxs, strict=True):
        close(n * d, e, "inputs")


def test_states_of_a_layer_alone(rng):
    """Arrays in, arrays out; backward takes and gives what forward gave and took."""
    layer = bp.layers.LSTM(3, return_state=True, dtype="float64")
    x, h, c = rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    y, last, cell = layer(x, initial_state=[h, c])
    assert support.same_bits(y, last)
    dx, dh, dc = layer.backward([np.ones((2, 3)), np.zeros((2, 3)), np.ones((2, 3))])
    assert dx.shape == x.shape and dh.shape == h.shape
    step = 1e-6
    moved = layer(x, initial_state=[h, c + step])
    total = lambda parts: parts[0].sum() + parts[2].sum()  # noqa: E731
    np.testing.assert_allclose((total(moved) - total((y, last, cell))) / step, dc.sum(), rtol=1e-4)


def test_a_sequence_in_two_parts_is_the_whole(rng):
    """The states of the first part begin the second, to the last bit."""
    for kind in ("SimpleRNN", "LSTM", "GRU"):
        layer = getattr(bp.layers, kind)(20, return_sequences=True, return_state=True)
        x = rng.normal(size=(3, 40, 4)).astype("float32")
        layer.build((40, 4))
        whole = layer(x)
        halves = getattr(bp.layers, kind)(20, return_sequences=True, return_state=True)
        zeros = [np.zeros((3, 20), "float32") for _ in whole[1:]]
        first = halves(x[:, :20], initial_state=zeros)
        halves.set_weights(layer.get_weights())
        first = halves(x[:, :20], initial_state=zeros)
        second = halves(x[:, 20:], initial_state=first[1:])
        assert support.same_bits(np.concatenate([first[0], second[0]], axis=1), whole[0])
        for a, b in zip(second[1:], whole[1:], strict=True):
            assert support.same_bits(a, b)


def test_first_weights():
    """Glorot's bound by fan-in and fan-out, orthonormal rows, a forget gate that is open."""
    layer = bp.layers.LSTM(8, dtype="float64")
    layer.build((3, 5))
    bound = np.sqrt(6 / (5 + 32))
    assert 0.8 * bound < np.abs(layer.kernel.value).max() <= bound
    r = layer.recurrent_kernel.value
    np.testing.assert_allclose(r @ r.T, np.eye(8), atol=1e-12)
    assert layer.bias.value.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16
    closed = bp.layers.LSTM(8, unit_forget_bias=False)
    closed.build((3, 5))
    assert not closed.bias.value.any()


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_gradcheck_save_and_load(kind, rng, tmp_path):
    """What dense layers have: gradcheck, files, trace, summary."""
    layers = [getattr(bp.layers, kind)(4, return_sequences=True, name="r"),
              getattr(bp.layers, kind)(3, go_backwards=True), bp.layers.Dense(2)]  # fmt: skip
    model = bp.Sequential(layers, dtype="float64", seed=1)
    model.compile("adam", "mse")
    x, y = rng.normal(size=(6, 5, 3)), rng.normal(size=(6, 2))
    model.fit(x, y, epochs=2, verbose=0)
    assert model.gradcheck(x, y).max_error < 1e-7
    assert model.trace(x, y)["r"].a.shape == (6, 5, 4)
    assert kind in model.summary()
    model.save(tmp_path / "m.safetensors")
    again = bp.load_model(tmp_path / "m.safetensors")
    assert support.same_bits(again.predict(x), model.predict(x))


def test_bad_input():
    layer = bp.layers.LSTM(4)
    with pytest.raises(
        bp.errors.ShapeError, match=r"got x of shape \(N, 3\), expected \(N, T, F\)"
    ):
        layer(bp.Input((3,)))
    x, h = bp.Input((5, 3)), bp.Input((2,))
    with pytest.raises(bp.errors.ShapeError, match=r"1 initial states, expected \[h, c\]"):
        layer(x, initial_state=[h])
    with pytest.raises(bp.errors.ShapeError, match=r"initial state h of shape \(N, 2\), expected"):
        layer(x, initial_state=[h, h])
    with pytest.raises(ValueError, match="activation of single values, got str 'softmax'"):
        bp.layers.GRU(4, activation="softmax")


def test_dropout_of_x_is_one_mask_for_all_steps():
    """With an identity for kernel and no way through time y is the mask: 0 or 1 / (1 - rate), of
    each sample and feature its own, of all steps the same; the gradient goes back through it."""
    layer = bp.layers.SimpleRNN(
        40, activation="linear", kernel_initializer=np.eye(40), dropout=0.75,
        recurrent_initializer="zeros", use_bias=False, return_sequences=True,
    )  # fmt: skip
    model = bp.Sequential([bp.Input((6, 40)), layer], seed=3, dtype="float64")
    x = np.ones((50, 6, 40))
    np.testing.assert_array_equal(model.predict(x), x)
    y = model.forward(x)
    assert set(np.unique(y)) == {0.0, 4.0}
    assert (y == y[:, :1]).all()
    mask = y[:, 0]
    assert abs((mask > 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / mask.size)
    assert len(set(map(bytes, mask))) == 50 and len(set(map(bytes, mask.T.copy()))) == 40
    np.testing.assert_array_equal(model.backward(np.ones_like(y)), y)
    assert not np.array_equal(model.forward(x), y)  # another batch, another mask


def test_recurrent_dropout_is_one_mask_for_all_steps():
    """With identities for kernels h_t = m h_{t-1} from the first step on; two calls of one layer
    draw apart."""
    layer = bp.layers.SimpleRNN(
        30, activation="linear", kernel_initializer=np.eye(30), recurrent_dropout=0.5,
        recurrent_initializer=np.eye(30), use_bias=False, return_sequences=True,
    )  # fmt: skip
    a = bp.Input((4, 30))
    model = bp.Model(a, [layer(a), layer(a)], seed=3, dtype="float64")
    x = np.zeros((40, 4, 30))
    x[:, 0] = 1
    for h in model.predict(x):
        np.testing.assert_array_equal(h, np.ones_like(h))
    found = model.forward(x)
    masks = [h[:, 1] for h in found]
    for h, m in zip(found, masks, strict=True):
        np.testing.assert_array_equal(h, np.stack([m**t for t in range(4)], axis=1))
        assert set(np.unique(m)) == {0.0, 2.0}
        assert abs((m > 0).mean() - 0.5) < 5 * np.sqrt(0.25 / m.size)
        assert len(set(map(bytes, m))) == 40 and len(set(map(bytes, m.T.copy()))) == 30
    assert not np.array_equal(*masks)
    last = np.zeros_like(x)
    last[:, 3] = 1
    dx = model.backward([last, np.zeros_like(x)])
    np.testing.assert_array_equal(dx, np.stack([masks[0] ** (3 - t) for t in range(4)], axis=1))


def test_a_seed_of_its_own_decides_the_masks():
    """Whatever the model's seed; another one, or none, gives others."""

    def drawn(own, of_model):
        layer = bp.layers.SimpleRNN(
            20, activation="linear", kernel_initializer=np.eye(20), dropout=0.5, seed=own,
            recurrent_initializer=np.eye(20), recurrent_dropout=0.5, return_sequences=True,
        )  # fmt: skip
        model = bp.Sequential([bp.Input((3, 20)), layer], seed=of_model)
        return model.forward(np.ones((4, 3, 20)))

    assert np.array_equal(drawn(7, 0), drawn(7, 1))
    others = [drawn(8, 0), drawn(None, 0), drawn(None, 1)]
    for i, other in enumerate(others):
        assert not any(np.array_equal(other, one) for one in [drawn(7, 0), *others[:i]])
