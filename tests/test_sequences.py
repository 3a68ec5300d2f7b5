"""Sequences of unequal lengths: lists, masks, embeddings; results are those of one by one."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore.layers import functions

from .helpers import support
from .test_recurrent import ROWS, Inner, close, is_full, name, weights_of

L = bp.layers


def ragged(rng, lengths, features=3):
    return [rng.normal(size=(n, features)).astype("float32") for n in lengths]


@pytest.mark.parametrize("row", [row for row in ROWS if not is_full(row)], ids=name)
def test_lists_are_pytorchs_packed_sequences(row):
    """Values and gradients, by list and by mask."""
    lengths, units = row["lengths"], np.shape(row["weights"][1])[0]
    x, y, dy = (np.array(row[key]) for key in ("x", "y", "dy"))
    layer = getattr(L, row["kind"])(units, return_sequences=True, return_state=True)
    a = bp.Input((None, x.shape[2]))
    states = [bp.Input((units,)) for _ in row["initial"]]
    model = bp.Model([a, *states], layer(a, initial_state=states), dtype="float64", seed=0)
    model.set_weights(weights_of(row["kind"], row["weights"]))
    rest = [np.array(s) for s in row["initial"]]
    lists = [part[:n] for part, n in zip(x, lengths, strict=True)]
    found = model.predict([lists, *rest])
    for one, expected, n in zip(found[0], y, lengths, strict=True):
        assert one.shape == (n, units)
        close(one, expected[:n], "y")
    for s, expected in zip(found[1:], row["last"], strict=True):
        close(s, expected, "state")
    model.compile("sgd", Inner())
    mask = np.arange(x.shape[1]) < np.array(lengths)[:, None]
    junk = np.where(mask[..., None], x, 7.0)
    dlast = [np.array(d) for d in row["dlast"]]
    got = model.gradients([junk, *rest], [dy, *dlast], mask={a.name: mask}, wrt_inputs=True)
    total, n = mask.sum(), len(x)
    expected = weights_of(row["kind"], row["gradients"])
    if row["kind"] != "GRU":
        expected[2] = np.array(row["gradients"][2])
    # The loss of the sequence is a mean over its steps, that of a state over samples: compare
    # with weights that make both sums.
    model.compile("sgd", Inner(), loss_weights=[total / n] + [1.0] * len(dlast))
    got = model.gradients([junk, *rest], [dy, *dlast], mask={a.name: mask}, wrt_inputs=True)
    for w, e in zip(model.weights, expected, strict=True):
        close(n * got.parameters[w.name], e, w.name)
    close(n * got.inputs[0], np.array(row["dx"]), "dx")


@pytest.mark.parametrize("make", [
    lambda: [L.LSTM(9)],
    lambda: [L.GRU(9, return_sequences=True), L.SimpleRNN(7, go_backwards=True)],
    lambda: [L.Bidirectional(L.LSTM(4, return_sequences=True)), L.Bidirectional(L.GRU(3), "sum")],
    lambda: [L.GRU(5, return_sequences=True, go_backwards=True), L.LSTM(6)],
    lambda: [L.LSTM(4, return_sequences=True), L.GlobalAveragePooling1D()],
    lambda: [L.Dense(4, "tanh"), L.GlobalMaxPooling1D()],
])  # fmt: skip
def test_a_list_gives_the_bits_of_one_by_one(make, rng):
    model = bp.Sequential([bp.Input((None, 3)), *make(), L.Dense(2)], seed=1)
    xs = ragged(rng, [3, 170, 1, 40, 41, 9])
    together = model.predict(xs)
    for x, y in zip(xs, together, strict=True):
        assert support.same_bits(model.predict([x])[0], y)
        assert support.same_bits(model.predict(x[None])[0], y)


@pytest.mark.parametrize("threads", [1, 3])
def test_padding_changes_no_bit_of_training(threads, rng):
    """With N T far over 1,024, behind dense layers on the steps too."""
    xs = ragged(rng, [int(n) for n in rng.integers(1, 300, 24)])
    ys = [rng.integers(0, 4, len(x)) for x in xs]

    def trained(pad):
        model = bp.Sequential(
            [bp.Input((None, 3)), L.Dense(5, "tanh"), L.Dropout(0.2),
             L.LSTM(9, dropout=0.1, recurrent_dropout=0.2, return_sequences=True),
             L.GRU(6, return_sequences=True), L.Dense(4)], seed=1)  # fmt: skip
        model.compile("adam", "cross_entropy", metrics=["accuracy"])
        if pad is None:
            h = model.fit(xs, ys, batch_size=9, epochs=2, verbose=0)
        else:
            steps = max(map(len, xs)) + pad
            x, y = np.full((24, steps, 3), 9.0, "float32"), np.zeros((24, steps), int)
            mask = np.zeros((24, steps), bool)
            for i, (a, b) in enumerate(zip(xs, ys, strict=True)):
                x[i, : len(a)], y[i, : len(a)], mask[i, : len(a)] = a, b, True
            h = model.fit(x, y, batch_size=9, epochs=2, verbose=0, mask=mask)
        return [*model.get_weights(), np.array(h.history["loss"]), np.array(h.history["accuracy"])]

    with bp.threads(threads, exact=True):
        found = [trained(pad) for pad in (None, 0, 57)]
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert support.same_bits(a, b)


def test_the_loss_is_a_mean_over_the_steps_that_count(rng):
    xs = ragged(rng, [2, 5, 3])
    ys = [rng.normal(size=(len(x), 1)) for x in xs]
    model = bp.Sequential([bp.Input((None, 3)), L.GRU(4, return_sequences=True), L.Dense(1)],
                          dtype="float64", seed=1)  # fmt: skip
    model.compile("sgd", "mse", metrics=["mae"])
    errors = np.concatenate([model.predict([x])[0] - y for x, y in zip(xs, ys, strict=True)])
    for size in (1, 2, 3):
        found = model.evaluate(xs, ys, batch_size=size)
        np.testing.assert_allclose(found["loss"], (errors**2).mean(), rtol=1e-12)
        np.testing.assert_allclose(found["mae"], np.abs(errors).mean(), rtol=1e-12)
    assert model.gradcheck(xs, ys).max_error < 1e-7
    weights = np.array([1.0, 0.0, 2.0])
    per_step = np.repeat(weights, [2, 5, 3])[:, None]
    found = model.evaluate(xs, ys, sample_weight=weights)
    np.testing.assert_allclose(found["loss"], (per_step * errors**2).sum() / 10, rtol=1e-12)


def test_embedding_is_a_table(rng):
    """Values, and the gradient of a one-hot product; ids beyond 2^24 are not rounded."""
    ids = rng.integers(0, 7, (5, 40))
    model = bp.Sequential([bp.Input((40,)), L.Embedding(7, 3)], dtype="float64", seed=0)
    table = model.weights[0].value.copy()
    np.testing.assert_array_equal(model.predict(ids), table[ids])
    model.compile("sgd", Inner())
    dy = rng.normal(size=(5, 40, 3))
    got = model.gradients(ids, dy).parameters["embedding/embeddings"]
    expected = np.zeros((7, 3))
    np.add.at(expected, ids, dy)
    np.testing.assert_allclose(5 * got, expected, rtol=1e-12, atol=1e-12)
    wide = bp.Sequential(
        [bp.Input((1,)), L.Embedding(2**24 + 2, 1, embeddings_initializer="zeros")]
    )
    wide.weights[0].value[2**24 + 1] = 5.0
    assert wide.predict(np.array([[2**24 + 1], [2**24]])).ravel().tolist() == [5.0, 0.0]


def test_embedding_and_masking_tell_which_steps_count(rng):
    ids = [rng.integers(1, 9, n) for n in (4, 7, 2)]
    padded = np.zeros((3, 7), int)
    for row, part in zip(padded, ids, strict=True):
        row[: len(part)] = part
    layers = lambda **k: [L.Embedding(9, 4, **k), L.LSTM(5), L.Dense(2)]  # noqa: E731
    told = bp.Sequential(layers(mask_zero=True), seed=3)
    told.build((None,))
    plain = bp.Sequential(layers(), seed=3)
    plain.build((None,))
    assert support.same_bits(told.predict(padded), plain.predict(ids))
    xs = ragged(rng, (4, 7, 2))
    x = np.full((3, 7, 3), -5.0, "float32")
    for row, part in zip(x, xs, strict=True):
        row[: len(part)] = part
    masking = bp.Sequential([L.Masking(-5.0), L.GRU(5)], seed=3)
    masking.build((None, 3))
    without = bp.Sequential([bp.Input((None, 3)), L.GRU(5)], seed=3)
    without.set_weights(masking.get_weights())
    assert support.same_bits(masking.predict(x), without.predict(xs))


def test_bad_sequences_are_told_by_row(rng):
    model = bp.Sequential([L.LSTM(4, return_sequences=True), L.Dense(2)], seed=0)
    model.compile("sgd", "mse")
    xs = ragged(rng, [3, 4])
    ys = [np.zeros((n, 2)) for n in (3, 4)]
    model.fit(xs, ys, verbose=0)
    before = support.weights_hash(model)
    bad = [
        ([xs[0], xs[1][:0]], ys, {}, r"x\[1\] has no step"),
        ([xs[0], xs[1][:, :2]], ys, {}, r"x\[1\] has shape \(4, 2\), expected \(T, 3\)"),
        (xs, [ys[0], ys[1][:3]], {}, r"y\[1\] has 3 steps, its sequence of x has 4"),
        (np.zeros((2, 4, 3)), np.zeros((2, 4, 2)), {"mask": np.zeros((2, 3), bool)},
         r"mask has shape \(2, 3\), expected \(2, 4\)"),
        (np.zeros((2, 4, 3)), np.zeros((2, 4, 2)), {"mask": [[1, 0, 0, 0], [0, 0, 0, 0]]},
         "no step of row 1 counts"),
    ]  # fmt: skip
    for x, y, told, words in bad:
        with pytest.raises(ValueError, match=words):
            model.fit(x, y, verbose=0, **told)
    nan = [xs[0], xs[1].copy()]
    nan[1][2, 1] = np.nan
    with pytest.raises(ValueError, match=r"x contains NaN at \[1, 2, 1\]"):
        model.fit(nan, ys, verbose=0)
    gap = np.array([[True, False, True, True], [True] * 4])
    back = bp.Sequential([L.LSTM(4, return_sequences=True, go_backwards=True)], seed=0)
    with pytest.raises(ValueError, match="step 2 of row 0 counts and the one before it does not"):
        back.build((None, 3))
        back.predict(np.zeros((2, 4, 3)), mask=gap)
    ids = bp.Sequential([L.Embedding(5, 2), L.GRU(3)], seed=0)
    ids.build((None,))
    with pytest.raises(ValueError, match=r"id 5 at \[1, 0\], expected 0 to 4"):
        ids.predict([[1, 2], [5]])
    assert support.weights_hash(model) == before


class Leaky(L.Layer):
    """A cell in Python: h' = tanh(x w + h u)."""

    state_size = 4

    def build(self, input_shape):
        self.w = self.add_weight("w", (input_shape[-1], 4))
        self.u = self.add_weight("u", (4, 4), "orthogonal")

    def forward(self, x, states):
        self.x, self.before = x, states[0]
        self.h = np.tanh(x @ self.w.value + self.before @ self.u.value)
        return self.h, [self.h]

    def backward(self, dy, dstates):
        delta = (dy + dstates[0]) * (1 - self.h**2)
        self.w.grad += self.x.T @ delta
        self.u.grad += self.before.T @ delta
        return delta @ self.w.value.T, [delta @ self.u.value.T]


@pytest.mark.parametrize("told", [{}, {"return_sequences": True}, {"go_backwards": True}])
def test_a_cell_in_python_is_the_layer(told, rng):
    """Against SimpleRNN with the same weights: values, gradients, sequences of unequal lengths."""
    xs = [rng.normal(size=(n, 3)) for n in (5, 2, 7)]
    found = []
    for make in (lambda: L.RNN(Leaky(), **told), lambda: L.SimpleRNN(4, use_bias=False, **told)):
        model = bp.Sequential([bp.Input((None, 3)), make(), L.Dense(2)], dtype="float64", seed=5)
        if found:
            model.set_weights(found[0].get_weights())
        model.compile("sgd", "mse")
        found.append(model)
    ours, layer = found
    assert [p.name for p in ours.weights][:2] == ["rnn/w", "rnn/u"]
    ys = [rng.normal(size=y.shape) for y in layer.predict(xs)]
    for a, b in zip(ours.predict(xs), layer.predict(xs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    a, b = (model.gradients(xs, ys).parameters for model in found)
    for p, q in zip(a.values(), b.values(), strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    "told", [{}, {"return_sequences": True}, {"go_backwards": True}], ids=lambda t: "".join(t)
)
def test_a_cell_in_python_holds_its_state_where_steps_do_not_count(told, rng):
    """Gaps in front, within and behind, with values in them: each row is the row without them, by
    the complex step of a recurrence in NumPy."""
    layer = L.RNN(Leaky(), **told)
    model = bp.Sequential([bp.Input((None, 3)), layer], dtype="float64", seed=5)
    mask = np.array([[0, 1, 1, 0, 1, 0], [1, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1, 1]], bool)
    x = rng.normal(size=(3, 6, 3))
    u = rng.normal(size=(3, 6, 4) if layer.return_sequences else (3, 4))

    def forward(w, r, x):
        y = np.zeros(u.shape, w.dtype)
        for i in range(3):
            h = np.zeros(4, w.dtype)
            counts = np.flatnonzero(mask[i])
            for t in counts[::-1] if layer.go_backwards else counts:
                h = np.tanh(x[i, t] @ w + h @ r)
                if layer.return_sequences:
                    y[i, t] = h
            if not layer.return_sequences:
                y[i] = h
        return y

    arrays = [*model.get_weights(), x]
    y = model.forward(x, mask=mask)
    np.testing.assert_allclose(y, forward(*arrays), rtol=1e-13, atol=1e-15)
    model.zero_gradients()
    dx = model.backward(u)
    assert not dx[~mask].any()
    gradients = [*(p.grad for p in model.weights), dx]
    support.assert_gradient(lambda *parts: (u * forward(*parts)).sum(), arrays, gradients, rng)


def test_windows_of_a_series():
    x, y = bp.datasets.windows(np.arange(20).reshape(10, 2), length=3, horizon=2, stride=3)
    assert x.shape == (2, 3, 2) and y.shape == (2, 2)
    assert x[1, :, 0].tolist() == [6, 8, 10] and y[1].tolist() == [14, 15]
    with pytest.raises(ValueError, match="expected at least 11"):
        bp.datasets.windows(np.arange(10), length=10)


@pytest.mark.parametrize("make", [
    lambda: [L.GRU(2, return_sequences=True), L.Flatten()],
    lambda: [L.GroupNormalization(1), L.GRU(2)],
    lambda: [L.LayerNormalization([1, 2]), L.GRU(2)],
    lambda: [L.Reshape((3, 4)), L.GRU(2)],
    lambda: [functions.ReduceSum(1)],
    lambda: [functions.ReduceMean((1, 2))],
    lambda: [functions.Slice(1, 3, 4, -1), L.GRU(2)],
    lambda: [functions.Slice(1, 3, 1)],
    lambda: [L.Dense(1), L.Reshape((4,)), L.Activation("softmax")],
])  # fmt: skip
def test_what_mixes_steps_refuses_a_mask(make, rng):
    model = bp.Sequential([bp.Input((4, 3)), *make()], seed=0)
    x = rng.normal(size=(2, 4, 3))
    model.predict(x)
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool)
    with pytest.raises(ValueError, match="mixes the steps of its input and knows no mask"):
        model.predict(x, mask=mask)


def test_an_open_length_that_is_flattened_is_refused():
    with pytest.raises(bp.errors.ShapeError, match="no fixed number of steps"):
        L.Flatten()(bp.Input((None, 3)))
    with pytest.raises(ValueError, match="None for axis 1"):
        bp.Input((3, None))


def test_batches_of_unlike_lengths_and_validation(rng):
    """An iterable of padded batches gives the weights of one list; a fourth item is a mask."""
    xs, ys = ragged(rng, [5, 3, 8, 8, 2, 4]), []
    ys = [x[:, :1] for x in xs]

    def padded(part):
        steps = max(map(len, part))
        out = np.zeros((len(part), steps, part[0].shape[1]), part[0].dtype)
        mask = np.zeros((len(part), steps), bool)
        for row, m, a in zip(out, mask, part, strict=True):
            row[: len(a)], m[: len(a)] = a, True
        return out, mask

    batches = []
    for start in (0, 2, 4):
        x, mask = padded(xs[start : start + 2])
        batches.append((x, padded(ys[start : start + 2])[0], np.ones(2), mask))

    class Again:
        def __iter__(self):
            return iter(batches)

    found = []
    for told in ({"x": xs, "y": ys, "batch_size": 2, "shuffle": False}, {"x": Again()}):
        model = bp.Sequential([bp.Input((None, 3)), L.GRU(4, return_sequences=True), L.Dense(1)],
                              seed=2)  # fmt: skip
        model.compile("adam", "mse", metrics=["mae"])
        h = model.fit(**told, epochs=2, verbose=0, validation_data=batches[0])
        found.append([*model.get_weights(), np.array(h.history["loss"]),
                      np.array(h.history["mae"]), np.array(h.history["val_loss"])])  # fmt: skip
    for a, b in zip(*found, strict=True):
        assert support.same_bits(a, b)


class Stop(bp.callbacks.Callback):
    """Interrupts training after a number of batches, as a kill would."""

    def __init__(self, at: int) -> None:
        self.left = at

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def get_state(self):
        return {}

    def set_state(self, state) -> None:
        pass


@pytest.mark.parametrize("dropout, metric", [(0.0, "mae"), (0.2, "mae"), (0.0, "auc")])
def test_a_killed_fit_on_a_list_goes_on_to_the_same_bits(dropout, metric, rng, tmp_path):
    xs = ragged(rng, rng.integers(1, 40, 60))
    ys = [x[:, :1] > 0 if metric == "auc" else x[:, :1] for x in xs]
    loss = "binary_cross_entropy" if metric == "auc" else "mse"

    def fit(**options):
        model = bp.Sequential(
            [
                bp.Input((None, 3)),
                bp.layers.LSTM(6, return_sequences=True, dropout=dropout),
                bp.layers.Dense(1, "sigmoid" if metric == "auc" else None),
            ],
            seed=2,
        )
        model.compile("adam", loss, metrics=[metric])
        history = model.fit(xs, ys, batch_size=8, epochs=3, verbose=0, **options)
        return model, history.history

    told = {"checkpoint": tmp_path / "run.ckpt", "checkpoint_every": 5}
    whole, history = fit()
    with pytest.raises(KeyboardInterrupt):
        fit(**told, callbacks=[Stop(11)])
    again, resumed = fit(**told, callbacks=[Stop(10**6)])
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert resumed["loss"] == history["loss"]
    assert resumed[metric] == history[metric]
    # The longest sequence is the model's plan from here on; the diagnosis runs it.
    assert again.diagnose(xs, ys) is not None


def test_an_output_has_the_lengths_of_the_list_that_reaches_it():
    e, d = bp.Input((None, 3)), bp.Input((None, 2))
    _, h, c = L.LSTM(2, return_state=True)(e)
    y = L.LSTM(2, return_sequences=True)(d, initial_state=[h, c])
    model = bp.Model([e, d], y, seed=0)
    model.compile("sgd", "mse")
    given = [np.ones((n, 3)) for n in (2, 5)], [np.ones((n, 2)) for n in (4, 1)]
    assert [p.shape for p in model.predict(list(given))] == [(4, 2), (1, 2)]
    model.fit(list(given), given[1], verbose=0)
    with pytest.raises(bp.ShapeError, match="steps"):
        model.evaluate(list(given), [np.ones((n, 2)) for n in (2, 5)])


def test_several_outputs_in_a_sequential_are_refused():
    for layer in (
        L.GRU(2, return_sequences=True, return_state=True),
        L.Bidirectional(L.GRU(2, return_sequences=True), merge_mode=None),
    ):
        with pytest.raises(ValueError, match=r"layers\[0\].*gives several outputs.*bpcore.Model"):
            bp.Sequential([bp.Input((None, 3)), layer])


def test_steps_that_do_not_count_have_no_part_in_a_loop_of_ones_own(rng):
    x, mask = rng.normal(size=(2, 3, 2)), np.array([[1, 0, 0], [1, 1, 1]], bool)
    model = bp.Sequential(
        [bp.Input((None, 2)), L.GRU(3, return_sequences=True), L.Dense(1)], seed=0, dtype="float64"
    )
    model.compile("sgd", bp.losses.HalfSquaredError())
    t = x[:, :, :1]
    expected = model.gradients(x, t, mask=mask).parameters
    model.zero_gradients()
    y = model.forward(x, mask=mask)
    model.backward((y - t) / 4)  # of four steps that count
    for p in model.weights:
        np.testing.assert_allclose(p.grad, expected[p.name], rtol=1e-12, atol=1e-15)
    with pytest.raises(ValueError, match="steps that do not count"):
        model.jacobian([x[0, :1], x[1]])
