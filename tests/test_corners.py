"""Corner cases of training that were wrong once: scratch of odd batches, labels and metrics, and
code of the user's that raises or evaluates in the middle of a fit."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .helpers import support

L = bp.layers


def relative(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("sizes", [(1024, 1000), (1024, 1023), (2048, 900)])
def test_smaller_batch_that_needs_more_scratch(rng, sizes):
    """The last batch of an epoch is smaller, but its kernel's gradient takes wider panels."""
    model = bp.Sequential([L.Dense(2048)], seed=0)
    model.build((64,))
    model.compile(bp.optimizers.SGD(1.0), "half_squared_error")
    for n in sizes:
        model.set_weights([np.zeros((64, 2048)), np.zeros(2048)])
        x, y = rng.normal(size=(n, 64)), rng.normal(size=(n, 2048))
        model.train_on_batch(x, y)
    assert relative(model.weights[0].value, x.T @ y / n) < 1e-5


def test_shared_layer_over_several_chunks_of_the_batch(rng):
    """The second use adds to the first one's gradient, chunk by chunk: that takes scratch too."""
    a, shared = bp.Input((64,)), L.Dense(64)
    model = bp.Model(a, shared(shared(a)), seed=0, dtype="float64")
    model.compile(bp.optimizers.SGD(1.0), "half_squared_error")
    x, y = rng.normal(size=(3000, 64)), rng.normal(size=(3000, 64))
    w, b = (p.value.copy() for p in model.weights)
    h = x @ w + b
    delta = (h @ w + b - y) / 3000
    model.train_on_batch(x, y)
    assert relative(w - model.weights[0].value, h.T @ delta + x.T @ (delta @ w.T)) < 1e-12


def test_a_metric_that_raises_leaves_the_weights_before_the_batch(rng, threads_restored):
    x, y = rng.normal(size=(256, 256)).astype("f4"), rng.integers(0, 10, 256)

    def fitted(threads, metrics=(), steps=None):
        bp.set_num_threads(threads, exact=True)
        model = bp.Sequential([L.Dense(256, "relu"), L.Dense(10)], seed=0)
        model.compile("sgd", "cross_entropy", metrics=metrics)
        with contextlib.suppress(KeyError):
            model.fit(x, y, batch_size=64, verbose=0, steps_per_epoch=steps)
        return support.weights_hash(model)

    def third_call_raises():
        calls = []

        def metric(_true, _pred):
            calls.append(1)
            if len(calls) == 3:
                raise KeyError("metric")
            return 0.0

        return [metric]

    expected = fitted(1, steps=2)
    assert all(fitted(t, third_call_raises()) == expected for t in (1, 2, 2, 2, 2))


@pytest.mark.parametrize("metric", ["mae", "mse", "rmse", "r2", "binary_accuracy"])
def test_metrics_of_values_refuse_labels(rng, metric):
    """They read the dense targets, which are not there: once a crash."""
    x, y = rng.normal(size=(20, 4)), rng.integers(0, 3, 20)
    model = bp.Sequential([L.Dense(3)], seed=0)
    model.compile("sgd", "cross_entropy", metrics=[metric])
    with pytest.raises(ValueError, match=r"holds class labels; expected one-hot targets"):
        model.fit(x, y, verbose=0)
    assert not model.built
    assert np.isfinite(model.fit(x, np.eye(3)[y], verbose=0).history[metric][0])


def test_auc_of_labels_of_two_classes(rng):
    x, y = rng.normal(size=(200, 4)), rng.integers(0, 2, 200)
    model = bp.Sequential([L.Dense(2, "softmax")], seed=0)
    model.build((4,))
    model.compile("sgd", "cross_entropy", metrics=["auc"])
    p = model.predict(x).astype("f8")[:, 1]
    pairs = p[y == 1][:, None] - p[y == 0][None, :]
    assert abs(model.evaluate(x, y)["auc"] - np.mean((pairs > 0) + 0.5 * (pairs == 0))) < 1e-3


def test_accuracy_of_hinge_is_on_the_side_of_zero():
    model = bp.Sequential([L.Dense(1, kernel_initializer="ones")], seed=0)
    model.build((1,))
    model.compile("sgd", "hinge", metrics=["accuracy"])
    assert model.evaluate([[0.2], [-0.2], [0.9], [-3.0]], [1, -1, 1, -1])["accuracy"] == 1.0


@pytest.mark.parametrize("x", [[], {}, None, 3.0, "abc", {1, 2}, np.float64(1)])
def test_validation_split_of_what_has_no_rows(x):
    model = bp.Sequential([L.Dense(2)], seed=0)
    model.compile("sgd", "mse")
    with pytest.raises((TypeError, ValueError), match=r"^(x|validation_split)\b.*(must|is|leaves)"):
        model.fit(x, [1, 2], validation_split=0.5, verbose=0)
    assert not model.built


@pytest.mark.parametrize("y", [3, "ab", {1}])
def test_validation_split_of_targets_without_rows(y):
    model = bp.Sequential([L.Dense(2)], seed=0)
    model.compile("sgd", "mse")
    with pytest.raises((TypeError, ValueError), match=r"^y"):
        model.fit(np.ones((4, 2)), y, validation_split=0.5, verbose=0)
    assert not model.built


@pytest.mark.parametrize("as_object", [False, True])
def test_evaluate_in_a_callback_leaves_the_metrics_of_the_fit_alone(rng, as_object):
    x, y = rng.normal(size=(256, 4)), rng.integers(0, 3, 256)

    class Rows:
        def reset_state(self):
            self.rows = 0

        def update_state(self, _true, predicted, sample_weight=None):
            self.rows += len(predicted)

        def result(self):
            return self.rows

    def rows(_true, predicted):
        return float(len(predicted))

    class Evaluate(bp.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.evaluate(x[:7], y[:7])

    model = bp.Sequential([L.Dense(3)], seed=0)
    model.compile("sgd", "cross_entropy", metrics=[Rows() if as_object else rows])
    history = model.fit(x, y, batch_size=64, verbose=0, callbacks=[Evaluate()]).history
    assert history["rows"] == [256 if as_object else 64]


def accumulated(rows, **options):
    """SGD over batches of 32, four for an update, in the order of the data."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, 4)), rng.normal(size=(rows, 3))
    model = bp.Sequential([L.Dense(3)], seed=0, dtype="float64")
    model.compile(bp.optimizers.SGD(0.1), "mse", accumulate_steps=4, **options)
    return model, x, y


@pytest.mark.parametrize("options", [{}, {"gradient_clip_norm": 0.1}])
@pytest.mark.parametrize("rows", [128, 192, 200])
def test_accumulation_over_an_iterator_is_that_over_arrays(rows, options):
    model, x, y = accumulated(rows, **options)
    model.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
    other, _, _ = accumulated(rows, **options)
    batches = [(x[i : i + 32], y[i : i + 32]) for i in range(0, rows, 32)]
    for _ in range(2):
        other.fit(iter(batches), verbose=0)
    assert support.weights_hash(other) == support.weights_hash(model)
    assert other.optimizer.iterations == model.optimizer.iterations == 2 * -(-rows // 128)


def test_accumulation_with_a_rest_at_an_early_end_of_the_epoch():
    """Six batches of eight: an update of four, and one of the two that are left."""
    model, x, y = accumulated(256)
    model.fit(x, y, batch_size=32, epochs=1, steps_per_epoch=6, shuffle=False, verbose=0)
    other, _, _ = accumulated(256)
    other.fit(x[:192], y[:192], batch_size=32, epochs=1, shuffle=False, verbose=0)
    assert support.weights_hash(other) == support.weights_hash(model)
    assert model.optimizer.iterations == 2


def constant(value):
    return bp.initializers.Constant(value)


@pytest.mark.parametrize(
    ("layers", "x", "where"),
    [
        ([L.Dense(1, kernel_initializer=constant(1.0))], 1e20, "loss"),  # its delta is finite
        (  # the loss is finite, and so are all values
            [
                L.Dense(4, kernel_initializer=constant(1e-10)),
                L.Dense(4, kernel_initializer=constant(1e25)),
                L.Dense(4, kernel_initializer=constant(1e25)),
                L.Dense(1, kernel_initializer=constant(1e-20)),
            ],
            1e-15,
            "delta of layer 'dense'",
        ),
    ],
)
def test_what_overflows_alone_is_found_before_the_update(layers, x, where):
    model = bp.Sequential(layers, seed=0)
    model.build((4,))
    model.compile("sgd", "mse")
    before = support.weights_hash(model)
    with pytest.raises(bp.TrainingDiverged, match=where):
        model.train_on_batch(np.full((2, 4), x), np.zeros((2, 1)))
    assert support.weights_hash(model) == before


def test_maximum_gives_the_delta_of_a_tie_to_the_first():
    a, b = bp.Input((3,)), bp.Input((3,))
    model = bp.Model([a, b], L.Maximum()([a, b]), seed=0)
    model.compile("sgd", "half_squared_error")
    x = np.ones((2, 3), "f4")
    first, second = model.gradients([x, x], np.zeros((2, 3)), wrt_inputs=True).inputs
    assert (first == 0.5).all() and (second == 0).all()


def test_a_layer_in_python_sees_the_batch_as_a_whole():
    rows = []

    class Spy(L.Layer):
        def forward(self, x, training=False):
            rows.append(len(x))
            return x - x.mean(axis=0)

        def backward(self, dy):
            return dy - dy.mean(axis=0)

    model = bp.Sequential([Spy(), L.Dense(64), L.Dense(64)], seed=0)
    model.build((64,))
    rows.clear()
    model.predict(np.ones((1000, 64), "f4"), batch_size=None)
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((500, 64)), np.ones((500, 64)))
    model.evaluate(np.ones((600, 64)), np.ones((600, 64)), batch_size=None)
    assert rows == [1000, 500, 600]


def test_gradients_of_a_large_batch_keep_their_digits():
    """Sums over the batch start anew every 1024 rows; one long chain in float32 is 1e-3 off."""
    n = 300_000
    model = bp.Sequential([L.Dense(1, kernel_initializer="zeros")], seed=0)
    model.build((1,))
    model.compile("sgd", "half_squared_error")
    x = np.full((n, 1), 0.1, "f4")
    found = model.gradients(x, np.full((n, 1), -0.7, "f4")).parameters
    assert abs(found["dense/kernel"].item() / 0.07 - 1) < 4e-5
    assert abs(found["dense/bias"].item() / 0.7 - 1) < 4e-5


def test_infinite_halves_pass_through_a_call():
    model = bp.Sequential([L.Activation("linear")], seed=0)
    model.build((3,))
    y = model(np.array([[np.inf, -np.inf, 65504.0]], np.float16))
    assert y.tolist() == [[np.inf, -np.inf, 65504.0]]


def test_a_layer_in_python_adds_its_delta_where_a_value_branches(rng):
    class Square(L.Layer):
        def forward(self, x, training=False):
            self.x = x
            return x * x

        def backward(self, dy):
            return 2 * self.x * dy

    for first in (True, False):
        a = bp.Input((5,))
        h = L.Dense(5)(a)
        square = Square()(h) if first else None
        double = 2 * h
        square = Square()(h) if square is None else square
        model = bp.Model(a, square + double, seed=0, dtype="float64")
        model.compile("sgd", "half_squared_error")
        x, y = rng.normal(size=(7, 5)), rng.normal(size=(7, 5))
        h = x @ model.weights[0].value
        expected = x.T @ ((h * h + 2 * h - y) / 7 * (2 * h + 2))
        assert relative(model.gradients(x, y).parameters["dense/kernel"], expected) < 1e-12


def test_a_call_never_writes_to_the_arrays_of_calls_before(rng):
    """The first is read where it lies, the second is converted into memory of the model's."""
    model = bp.Sequential([L.Dense(4)], seed=0)
    model.build((4,))
    first, second = rng.normal(size=(8, 4)).astype("f4"), rng.normal(size=(8, 4))
    kept = first.copy()
    y = model(first)
    expected = model.predict(second)
    assert (first == kept).all()
    assert (model(second) == expected).all() and (model(first) == y).all()
    assert (first == kept).all()


def test_a_broadcast_operand_that_branches_adds_up(rng):
    """The sum over repeated axes is added to what another consumer has left."""
    a, b = bp.Input((3, 4)), bp.Input((4,))
    h = 1.0 * b
    for outputs in ([a * h, 3 * h], [3 * h, a * h]):
        model = bp.Model([a, b], outputs, seed=0, dtype="float64")
        model.compile("sgd", "half_squared_error")
        x, y = rng.normal(size=(6, 3, 4)), rng.normal(size=(6, 4))
        zeros = [np.zeros((6, *t.shape)) for t in outputs]
        found = model.gradients([x, y], zeros, wrt_inputs=True).inputs[1]
        expected = ((x * y[:, None]) * x).sum(axis=1) / 6 + 9 * y / 6
        assert relative(found, expected) < 1e-12


class HalfSquares:
    def value(self, y_true, y_pred):
        return 0.5 * ((y_pred - y_true) ** 2).sum(axis=1)

    def gradient(self, y_true, y_pred):
        return y_pred - y_true


def test_loss_weights_hold_for_losses_in_python(rng):
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    model = bp.Sequential([L.Dense(2)], seed=0, dtype="float64")
    model.build((3,))
    found = []
    for loss in ("half_squared_error", HalfSquares()):
        model.compile("sgd", loss, loss_weights=[0.3])  # a new compile also drops the old trainers
        g = model.gradients(x, y)
        found.append((g.loss, *g.parameters.values()))
    assert abs(found[0][0] - found[1][0]) < 1e-12
    pairs = zip(found[0][1:], found[1][1:], strict=True)
    assert all(relative(a, b) < 1e-12 for a, b in pairs)


def test_a_second_compile_takes_effect(rng):
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    model = bp.Sequential([L.Dense(2)], seed=0, dtype="float64")
    model.build((3,))
    model.compile("sgd", "mse")
    first = model.evaluate(x, y)["loss"], model.train_on_batch(x, y)["loss"]
    model.compile("sgd", "half_squared_error", gradient_clip_norm=1e-30)
    before = model.get_weights()
    assert model.evaluate(x, y)["loss"] != first[0]
    p = model.predict(x)
    loss = model.train_on_batch(x, y)["loss"]
    assert abs(loss - 0.5 * ((p - y) ** 2).sum(axis=1).mean()) < 1e-12
    pairs = zip(model.get_weights(), before, strict=True)
    assert all(np.allclose(a, b, 0, 1e-25) for a, b in pairs)


class Scale(L.Layer):
    def build(self, input_shape):
        self.s = self.add_weight("s", input_shape, "ones")

    def forward(self, x, training=False):
        self.x = x
        return x * self.s.value

    def backward(self, dy):
        self.s.grad += (dy * self.x).sum(axis=0)
        return dy * self.s.value


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_layer_in_python_called_several_times(rng, calls):
    """Each call has its own memory, and no gradient of the batch before is left in the next."""
    scale, value = Scale(), bp.Input((4,))
    a = value
    for _ in range(calls):
        value = scale(value)
    model = bp.Model(a, value, seed=0, dtype="float64")
    model.compile("sgd", "half_squared_error")
    s = model.weights[0].value
    s[...] = rng.normal(size=4)
    for _ in range(2):
        x, y = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
        delta = (x * s**calls - y) / 5
        expected = (delta * x * calls * s ** (calls - 1)).sum(axis=0)
        assert relative(model.gradients(x, y).parameters["scale/s"], expected) < 1e-12


def test_freezing_a_layer_keeps_the_optimizer_state_of_the_others(rng):
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    model = bp.Sequential([L.Dense(4), L.Dense(2)], seed=0, dtype="float64")
    model.compile(bp.optimizers.SGD(0.1, momentum=0.9), "half_squared_error")
    before = []
    for step in range(3):
        if step == 2:
            model.layers[1].trainable = False
        g = model.gradients(x, y).parameters["dense/kernel"] if model.built else 0.0
        before.append((model.weights[0].value.copy() if model.built else None, g))
        model.train_on_batch(x, y)
    velocity = (before[1][0] - before[2][0]) / 0.1
    expected = before[2][0] - 0.1 * (0.9 * velocity + before[2][1])
    assert relative(model.weights[0].value, expected) < 1e-12


def test_every_epoch_has_an_order_of_its_own():
    orders = []

    def spy(true, _predicted):
        orders.append(true.ravel().tolist())
        return 0.0

    model = bp.Sequential([L.Dense(1)], seed=0)
    model.compile("sgd", "mse", metrics=[spy])
    model.fit(np.zeros((50, 1)), np.arange(50.0), batch_size=50, epochs=2, verbose=0)
    model.fit(np.zeros((50, 1)), np.arange(50.0), batch_size=50, verbose=0)
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_gradients_replace_those_of_the_call_before(rng):
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    model = bp.Sequential([L.Dense(2)], seed=0)
    model.build((3,))
    model.compile("sgd", "mse")
    for _ in range(2):
        found = model.gradients(x, y).parameters["dense/kernel"]
        assert (model.weights[0].grad == found).all()


def test_data_that_is_a_view_of_the_weights_is_read_before_they_change():
    def trained(copy):
        model = bp.Sequential([L.Dense(6)], seed=0)
        model.build((6,))
        model.compile(bp.optimizers.SGD(0.5), "half_squared_error")
        x = model.weights[0].value
        model.fit(x.copy() if copy else x, np.ones((6, 6)), batch_size=2, epochs=2, verbose=0)
        return support.weights_hash(model)

    assert trained(False) == trained(True)


@pytest.mark.parametrize("loss", ["cross_entropy", "kl_divergence"])
def test_losses_over_positions_with_sample_weights(rng, loss):
    """Outputs (N, T, K): the mean over N and T, weighted by sample."""
    model = bp.Sequential([L.Dense(3, "softmax")], seed=0)
    model.build((5, 4))
    model.compile("sgd", loss)
    x, labels, w = rng.normal(size=(6, 5, 4)), rng.integers(0, 3, (6, 5)), rng.random(6)
    y = labels if loss == "cross_entropy" else np.eye(3)[labels]
    assert float(model.gradcheck(x, y, sample_weight=w)) < 1e-7
    p = np.take_along_axis(model.predict(x), labels[..., None], 2)[..., 0]
    expected = (w * -np.log(p).mean(axis=1)).mean()
    assert abs(model.gradients(x, y, sample_weight=w).loss - expected) < 1e-5


def test_an_output_that_an_activation_reads_too_is_not_fused_away(rng):
    x = rng.normal(size=(5, 3))
    a = bp.Input((3,))
    z = L.Dense(4)(a)
    model = bp.Model(a, [z, L.Activation("tanh")(z)], seed=0, dtype="float64")
    model.compile("sgd", "half_squared_error")
    w = model.weights[0].value
    for got, expected in zip(model.predict(x), (x @ w, np.tanh(x @ w)), strict=True):
        assert relative(got, expected) < 1e-12
    y = np.tanh(x @ w)
    delta = (x @ w + y * (1 - y**2)) / 5
    found = model.gradients(x, [np.zeros((5, 4))] * 2).parameters["dense/kernel"]
    assert relative(found, x.T @ delta) < 1e-12


def test_the_generator_is_philox():
    """The known answer of Random123 (J. Salmon et al., 2011) for counter 0 and key 0."""
    words = (0xE169C58D6627E8D5, 0x9B00DBD8BC57AC4C)
    expected = [(word >> 11) * 2.0**-53 for word in words]
    assert np.asarray(_core.uniform(0, 0, 2)).tolist() == expected
