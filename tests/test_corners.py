"""Corner cases of training that were wrong once: scratch of odd batches, labels and metrics, and
code of the user's that raises or evaluates in the middle of a fit."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from . import support

L = bp.layers


def relative(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("sizes", [(1024, 1000), (1024, 1023), (2048, 900)])
def test_smaller_batch_that_needs_more_scratch(rng, sizes):
    """The last batch of an epoch is smaller, but its kernel's gradient is packed in wider panels."""
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
        bp.set_num_threads(threads)
        model = bp.Sequential([L.Dense(256, "relu"), L.Dense(10)], seed=0)
        model.compile("sgd", "cross_entropy", metrics=metrics)
        try:
            model.fit(x, y, batch_size=64, verbose=0, steps_per_epoch=steps)
        except KeyError:
            pass
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
    with pytest.raises((TypeError, ValueError), match="^y"):
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
