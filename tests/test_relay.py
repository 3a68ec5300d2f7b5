"""A wide first layer is passed from thread to thread: the bits of one thread, whatever the data,
the model and the way a step ends."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .helpers import support

L = bp.layers
WIDTH, HIDDEN, CLASSES = 340, 80, 5
THREADS = (2, 3, 5, 8)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(301, WIDTH)).astype(np.float32)
Y = RNG.integers(0, CLASSES, len(X))


def build(*after, activation="relu", **options):
    first = L.Dense(HIDDEN, activation=activation, bias_initializer="normal")
    return bp.Sequential([first, *after, L.Dense(CLASSES)], seed=3, **options)


def passed_on(model, threads, batch):
    with bp.threads(threads, exact=True):
        text = model._engine.trainer("train", model._compilation).describe()
    assert f"threads at batch {batch}: {threads}\n" in text, text
    return "passed from thread to thread" in text


def fitted(model, threads, x=X, y=Y, *, batch=64, optimizer="adam", compiled=None,
           expected=True, **fit):  # fmt: skip
    with bp.threads(threads, exact=True):
        model.compile(optimizer, **{"loss": "cross_entropy", **(compiled or {})})
        history = model.fit(x, y, batch_size=batch, verbose=0, **{"epochs": 3, **fit})
    if threads > 1:
        assert passed_on(model, threads, batch) == expected
    return model, history


def assert_same(make, threads=THREADS, **options):
    """make() gives a new model; optimizers are made anew by name or by a function."""
    found = []
    for n in (1, *threads):
        options_of_run = {k: v() if callable(v) else v for k, v in options.items()}
        model, history = fitted(make(), n, **options_of_run)
        found.append((support.weights_hash(model), history.history))
    for n, other in zip(threads, found[1:], strict=True):
        assert other == found[0], n


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["linear", "relu", "gelu"])  # gelu keeps z beside y
def test_bits_of_one_thread(activation, dtype):
    assert_same(lambda: build(activation=activation, dtype=dtype))


@pytest.mark.parametrize("batch, threads", [(64, 8), (41, 5), (33, 3), (24, 5), (85, 2)])
def test_any_batch(batch, threads):  # 301 samples: the last batch has from 4 to 46 of them
    assert_same(build, (threads,), batch=batch)


@pytest.mark.skipif(not _core.config()["bfloat16"], reason="this CPU has no AVX512_BF16")
@pytest.mark.parametrize("width", [340, 341])
@pytest.mark.usefixtures("all_rounded")
def test_bfloat16(width):
    x = RNG.normal(size=(200, width)).astype(np.float32)
    assert_same(lambda: build(compute="bfloat16"), x=x, y=Y[:200])


SOURCES = {
    "uint8": lambda: (X * 20 + 128).clip(0, 255).astype(np.uint8),
    "float64": lambda: X.astype(np.float64),
    "big endian": lambda: X.astype(">f4"),
    "float16": lambda: X.astype(np.float16),
    "every other column": lambda: np.repeat(X, 2, axis=1)[:, ::2],
    "every other row": lambda: np.repeat(X, 2, axis=0)[::2],
    "reversed rows": lambda: X[::-1].copy()[::-1],
    "reversed columns": lambda: X[:, ::-1].copy()[:, ::-1],
    "by columns": lambda: np.asfortranarray(X),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("shuffle", [True, False])
def test_data_of_any_kind(source, shuffle):
    x = SOURCES[source]()
    assert_same(build, (3,), x=x, shuffle=shuffle)
    plain = np.array(x, dtype=np.float32, order="C")
    models = [fitted(build(), 3, x=of, shuffle=shuffle)[0] for of in (x, plain)]
    assert support.weights_hash(models[0]) == support.weights_hash(models[1])


def test_images_behind_flatten():
    x = X[:, :324].reshape(-1, 18, 18)

    def make():
        layers = [L.Flatten(), L.Dense(HIDDEN, activation="relu"), L.Dense(CLASSES)]
        return bp.Sequential(layers, seed=1)

    assert_same(make, (2, 5), x=x)
    part = np.zeros((len(x), 18, 20), np.float32)[
        :, :, 1:19
    ]  # not one run of columns: not passed on
    part[...] = x
    assert_same(make, (2, 5), x=part)
    models = [fitted(make(), 2, x=of)[0] for of in (x, part)]
    assert support.weights_hash(models[0]) == support.weights_hash(models[1])


WAYS = {  # of a step that end otherwise than fused tiles and an early arrival
    "clip_norm": {"compiled": {"gradient_clip_norm": 0.1}},
    "clip_value": {"compiled": {"gradient_clip_value": 1e-3}},
    "accumulate": {"compiled": {"accumulate_steps": 3}},
    "metrics": {"compiled": {"metrics": ["accuracy"]}},
    "sgd": {"optimizer": lambda: bp.optimizers.SGD(0.1)},
    "schedule": {"optimizer": lambda: bp.optimizers.Adam(bp.schedules.Exponential(1e-2, 7, 0.9))},
    "weights": {"sample_weight": np.linspace(0, 2, len(X))},
    "validation": {"validation_data": (X[:50], Y[:50])},
    "python metric": {"compiled": {"metrics": [lambda y, p: np.mean(np.argmax(p, axis=1) == y)]}},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_through_a_step(way):
    assert_same(build, (2, 5), **WAYS[way])


LAYERS = {
    "dropout": lambda: [L.Dropout(0.3)],
    "batch normalization": lambda: [L.BatchNormalization()],
    "layer normalization": lambda: [L.LayerNormalization()],
    "deep": lambda: [L.Dense(70, activation="tanh"), L.Dense(60, activation="relu")],
    "by columns": lambda: [L.Dense(600, activation="relu"), L.Dense(512, activation="relu")],
}


@pytest.mark.parametrize("after", LAYERS)
def test_whatever_follows(after):
    assert_same(lambda: build(*LAYERS[after]()), (2, 5))


@pytest.mark.parametrize("options", [
    {"kernel_regularizer": bp.regularizers.L2(1e-2)},
    {"kernel_constraint": bp.constraints.MaxNorm(0.5)},
    {"use_bias": False},
], ids=["penalty", "constraint", "no bias"])  # fmt: skip
def test_first_layers_of_all_sorts(options):
    def make():
        first = L.Dense(HIDDEN, activation="relu", **options)
        return bp.Sequential([first, L.Dense(CLASSES)], seed=2)

    assert_same(make, (2, 5))


def test_not_where_others_read_its_weights_or_data():
    def frozen():
        model = build(L.Dense(90, activation="relu"))
        model.layers[0].trainable = False
        return model

    def branches():
        x = bp.Input((WIDTH,))
        h = L.Concatenate()([L.Dense(HIDDEN, activation="relu")(x), L.Dense(7)(x)])
        return bp.Model(x, L.Dense(CLASSES)(h), seed=1)

    def shared():
        a, b = bp.Input((WIDTH,)), bp.Input((WIDTH,))
        layer = L.Dense(HIDDEN, activation="relu")
        return bp.Model([a, b], L.Dense(CLASSES)(L.Add()([layer(a), layer(b)])), seed=1)

    def compared():  # a loss reads the data, without a step of the plan
        x = bp.Input((WIDTH,))
        y = L.Dense(CLASSES, name="y")(L.Dense(HIDDEN, activation="relu")(x))
        return bp.Model(x, [y, L.Flatten(name="x")(x)], seed=1)

    assert_same(frozen, (2, 3), expected=False)
    losses = {"loss": {"y": "cross_entropy", "x": "mean_squared_error"}}
    assert_same(compared, (2, 3), y={"y": Y, "x": X + 1}, compiled=losses, expected=False)
    assert_same(branches, (2, 5), expected=False)
    assert_same(shared, (2, 5), x=[X, X[::-1]], expected=False)


def test_two_inputs_one_of_which_is_passed_on():
    def make():
        a, b = bp.Input((WIDTH,)), bp.Input((6,))
        h = L.Concatenate()([L.Dense(HIDDEN, activation="relu")(a), L.Dense(7)(b)])
        return bp.Model([a, b], L.Dense(CLASSES)(h), seed=1)

    assert_same(make, (2, 5), x=[X, X[:, :6].copy()])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_gradients_are_those_of_numpy(threads):
    """Of gradients(), and of a training step: one of rate 1 takes the gradient from the weights."""
    model = build(activation="tanh", dtype="float64")
    x, t = X[:60].astype(np.float64), RNG.normal(size=(60, CLASSES))
    with bp.threads(threads, exact=True):
        model.compile(bp.optimizers.SGD(1.0), "half_squared_error")
        model.build((WIDTH,))
        before = w1, b1, w2, b2 = model.get_weights()
        found = model.gradients(x, t, wrt_inputs=True)
        model.fit(x, t, batch_size=60, verbose=0, shuffle=False)
    assert passed_on(model, threads, 60) == (threads > 1)
    h = np.tanh(x @ w1 + b1)
    d2 = (h @ w2 + b2 - t) / len(x)
    d1 = d2 @ w2.T * (1 - h * h)
    expected = [x.T @ d1, d1.sum(axis=0), h.T @ d2, d2.sum(axis=0)]
    steps = [old - new for old, new in zip(before, model.get_weights(), strict=True)]
    for (name, g), step, e in zip(found.parameters.items(), steps, expected, strict=True):
        assert np.abs(g - e).max() <= 1e-12 * np.abs(e).max(), name
        assert np.abs(step - e).max() <= 1e-12 * np.abs(e).max(), name
    assert np.abs(found.inputs - d1 @ w1.T).max() <= 1e-12 * np.abs(d1 @ w1.T).max()


class Stop(Exception):
    pass


def test_an_exception_in_the_midst_leaves_the_same_weights():
    def after(threads):
        calls = [0]

        def metric(y, p):
            calls[0] += 1
            if calls[0] == 4:
                raise Stop
            return 0.0

        model = build()
        with bp.threads(threads, exact=True):
            model.compile("adam", "cross_entropy", metrics=[metric])
            with pytest.raises(Stop):
                model.fit(X, Y, batch_size=64, epochs=2, verbose=0)
            stopped = support.weights_hash(model)
            model.compile("adam", "cross_entropy")
            model.fit(X, Y, batch_size=64, epochs=2, verbose=0)
        return stopped, support.weights_hash(model)

    alone = after(1)
    assert alone[0] != alone[1]
    assert all(after(threads) == alone for threads in (2, 5))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_diverging_step_changes_nothing(threads):
    x = X.copy()
    x[170] = 1e38
    model = build()
    with bp.threads(threads, exact=True), pytest.raises(bp.TrainingDiverged) as info:
        model.compile(bp.optimizers.SGD(1e-3), "cross_entropy")
        model.fit(x, Y, batch_size=64, epochs=2, verbose=0, shuffle=False)
    assert (info.value.sample, info.value.batch) == (170, 2)
    kept = build()
    with bp.threads(1, exact=True):
        kept.compile(bp.optimizers.SGD(1e-3), "cross_entropy")
        kept.fit(x[:128], Y[:128], batch_size=64, epochs=1, verbose=0, shuffle=False)
    assert support.weights_hash(model) == support.weights_hash(kept)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("sample, column", [(0, 339), (17, 0), (63, 200)])
def test_a_gradient_that_would_overflow_changes_nothing(threads, sample, column):
    """Outputs, losses and deltas are finite; x^T delta would not be."""
    x, t = X.copy(), np.zeros((len(X), CLASSES), np.float32)
    x[sample, column], t[sample] = 1e30, 1e12
    first = L.Dense(HIDDEN, kernel_initializer="zeros")
    model = bp.Sequential([first, L.Dense(CLASSES)], seed=3)
    with bp.threads(threads, exact=True):
        model.compile(bp.optimizers.SGD(1e-3), "half_squared_error")
        model.build((WIDTH,))
        before = support.weights_hash(model)
        with pytest.raises(bp.TrainingDiverged) as info:
            model.fit(x, t, batch_size=64, verbose=0, shuffle=False)
    assert (info.value.tensor, info.value.batch) == ("gradient", 0)
    assert support.weights_hash(model) == before


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_input_is_found_at_fault(threads):
    """fit() has looked at the data; somebody changes them while it runs."""
    x = X.copy()

    class Spoil(bp.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            x[170, 200] = np.nan

    model = build()
    with bp.threads(threads, exact=True), pytest.raises(bp.TrainingDiverged) as info:
        model.compile("adam", "cross_entropy")
        model.fit(x, Y, batch_size=64, epochs=2, verbose=0, callbacks=[Spoil()])
    assert (info.value.tensor, info.value.sample) == ("input", 170)


class Silenced(L.Layer):
    def compute_output_shape(self, input_shape):
        return input_shape

    def forward(self, x, training=False):
        return np.nan_to_num(x, nan=0.0)

    def backward(self, dy):
        return dy


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_input_is_found_at_fault_though_the_loss_is_finite(threads):
    x, t = X.copy(), np.full((len(X), CLASSES), 1e4, np.float32)

    class Spoil(bp.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            x[170, 5] = np.nan

    model = build(Silenced(), activation="linear")
    with bp.threads(threads, exact=True), pytest.raises(bp.TrainingDiverged) as info:
        model.compile(bp.optimizers.SGD(1e-9), "half_squared_error")
        model.fit(x, t, batch_size=64, epochs=2, verbose=0, shuffle=False, callbacks=[Spoil()])
    assert (info.value.tensor, info.value.sample) == ("input", 170)
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_data_are_seen_in_rows(threads):
    """While a step runs, each thread has its columns in a block of its own."""
    model = build()
    with bp.threads(threads, exact=True):
        model.compile("adam", "cross_entropy")
        model.fit(X, Y, batch_size=64, epochs=1, verbose=0)
        for rows in (slice(0, 60), slice(60, 101)):
            seen = model.trace(X[rows], Y[rows])
            assert np.array_equal(seen[model.layers[0].name].inputs, X[rows])


def test_from_fit_to_fit_with_other_threads():
    def after(*threads):
        model = build()
        model.compile("adam", "cross_entropy")
        for n in threads:
            with bp.threads(n, exact=True):
                model.fit(X, Y, batch_size=64, verbose=0)
        return support.weights_hash(model)

    assert after(1, 1, 1, 1) == after(2, 8, 1, 5)


@pytest.mark.parametrize("optimizer", [lambda: bp.optimizers.SGD(0.05), lambda: "adam"])
@pytest.mark.parametrize("way", ["fit", "train_on_batch"])
def test_from_batch_to_batch_with_other_threads(threads_restored, way, optimizer):
    """Each batch is passed on by another team, or by none; what the last one asked for is gone."""

    class Other(bp.callbacks.Callback):
        def __init__(self, threads):
            super().__init__()
            self.threads = threads

        def on_train_batch_begin(self, batch, logs=None):
            bp.set_num_threads(self.threads[batch % len(self.threads)])

    def after(*threads):
        model = build(L.Dropout(0.3))
        model.compile(optimizer(), "cross_entropy")
        if way == "fit":
            model.fit(X, Y, batch_size=32, epochs=3, verbose=0, callbacks=[Other(threads)])
        for k in range(30 * (way != "fit")):
            bp.set_num_threads(threads[k % len(threads)])
            model.train_on_batch(X[k : k + 64], Y[k : k + 64])
        return support.weights_hash(model)

    expected = after(1)
    for threads in ((1, 2), (3, 1, 8), (5, 2, 2, 7, 1)):
        assert after(*threads) == expected, threads


SMALLER = """
import bpcore as bp
from tests.test_relay import fitted, build, support
print(support.weights_hash(fitted(build(), 5)[0]))
"""


def test_a_team_smaller_than_asked_for():
    expected = support.weights_hash(fitted(build(), 1)[0])
    for limit in (1, 3, 5):
        found = support.run_python(SMALLER, OMP_THREAD_LIMIT=limit, timeout=60).stdout.split()
        assert found == [expected], limit


def test_evaluation_between_epochs_and_many_runs():
    """Short runs end the team again and again, each with a relay half way."""

    def after(threads):
        model = build()
        losses = []
        with bp.threads(threads, exact=True):
            model.compile("adam", "cross_entropy")
            for _ in range(40):
                losses.append(model.train_on_batch(X[:64], Y[:64]))
            losses.append(model.evaluate(X, Y))
        return losses, support.weights_hash(model)

    assert after(1) == after(3)
