"""What classes and labels weigh: `class_weight`, and `pos_weight` of the binary cross entropy."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

L, BCE = bp.layers, bp.losses.BinaryCrossEntropy


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def by_formula(z, t, q, smoothing=0.0):
    """Row losses and their gradients by z, of -(q t log p + (1 - t) log(1 - p)), p = sigmoid(z)."""
    t = t * (1 - smoothing) + smoothing / 2
    loss = q * t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)
    slope = q * t * (sigmoid(z) - 1) + (1 - t) * sigmoid(z)
    n = z[0].size
    return loss.reshape(len(z), -1).sum(axis=1) / n, slope / n


def identity(shape, loss, ending="linear", dtype="float64"):
    model = bp.Sequential([bp.Input(shape), L.Activation(ending)], dtype=dtype)
    model.compile("sgd", loss)
    return model


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (9,), (37,), (4, 3), (2, 3, 17)])
@pytest.mark.parametrize("ending", ["linear", "sigmoid"])
def test_pos_weight_by_its_formula(shape, ending, smoothing, rng):
    n = 7
    z, t = rng.normal(size=(n, *shape)) * 3, (rng.random((n, *shape)) < 0.4) * 1.0
    w = rng.uniform(0, 2, n)
    for q in (2.5, rng.uniform(0.2, 9, shape[-1])):
        loss = BCE(label_smoothing=smoothing, pos_weight=q)
        rows, slope = by_formula(z, t, q, smoothing)
        model = identity(shape, loss, ending)
        for weight in (None, w):
            share = np.ones(n) if weight is None else weight
            found = model.gradients(z, t, sample_weight=weight, wrt_inputs=True)
            assert found.loss == pytest.approx(rows @ share / n, rel=1e-13)
            expected = slope * share.reshape(n, *[1] * len(shape)) / n
            np.testing.assert_allclose(found.inputs, expected, rtol=1e-12, atol=1e-15)
        alone = loss.value(t, sigmoid(z))
        assert alone == pytest.approx(rows.mean(), rel=1e-12)
        through = loss.gradient(t, sigmoid(z)) * sigmoid(z) * sigmoid(-z)
        np.testing.assert_allclose(through, slope / n, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("q", [3.0, [0.5, 4.0, 1.0]])
def test_of_probabilities_that_are_no_sigmoid(q, rng):
    z, t = rng.uniform(-2, 2, (6, 3)), (rng.random((6, 3)) < 0.5) * 1.0
    p = z / 6 + 0.5  # hard_sigmoid
    found = identity((3,), BCE(pos_weight=q), "hard_sigmoid").gradients(z, t, wrt_inputs=True)
    loss = -(q * t * np.log(p) + (1 - t) * np.log1p(-p))
    assert found.loss == pytest.approx(loss.mean(), rel=1e-13)
    slope = ((1 - t) / (1 - p) - q * t / p) / 18 / 6
    np.testing.assert_allclose(found.inputs, slope, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_weight_of_1_is_none(dtype, rng):
    z, t = rng.normal(size=(40, 11)) * 5, (rng.random((40, 11)) < 0.5) * 1.0
    for q in (1.0, np.ones(11)):
        a, b = (identity((11,), loss, "sigmoid", dtype).gradients(z, t, wrt_inputs=True)
                for loss in (BCE(), BCE(pos_weight=q)))  # fmt: skip
        assert a.loss == pytest.approx(b.loss, rel=1e-6 if dtype == "float32" else 1e-14)
        np.testing.assert_allclose(a.inputs, b.inputs, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ending", ["linear", "sigmoid", "hard_sigmoid"])
def test_no_finite_logit_gives_nan(dtype, ending):
    big = float(np.finfo(dtype).max) / 4
    z = np.array([[0, 1e4, -1e4], [big, -big, big], [-big, big, 1e-30]])
    for t in (np.zeros((3, 3)), np.ones((3, 3)), np.eye(3)):
        found = identity((3,), BCE(pos_weight=[0.5, 2, 3]), ending, dtype).gradients(
            z, t, wrt_inputs=True
        )
        assert np.isfinite(found.inputs).all() and not np.isnan(found.loss)


def test_gradcheck_through_a_network(rng):
    x, t = rng.normal(size=(8, 4)), (rng.random((8, 3)) < 0.5) * 1.0
    for ending in ("sigmoid", "linear"):
        model = bp.Sequential([L.Dense(5, "tanh"), L.Dense(3, ending)], seed=0, dtype="float64")
        model.compile("sgd", BCE(label_smoothing=0.05, pos_weight=[0.3, 1, 12]))
        assert model.gradcheck(x, t).max_error <= 1e-7


def test_the_link_stays_fused_and_trains(rng, tmp_path):
    """A rare label is learned with its weight, and not without; the file keeps it."""
    x = rng.normal(size=(400, 1))
    t = np.hstack([x > 0, (x > 1.3) & (rng.random((400, 1)) < 0.4)]) * 1.0
    recalls = []
    for q in (None, [1.0, 10.0]):
        model = bp.Sequential([L.Dense(2, "sigmoid")], seed=0)
        recall = bp.metrics.Recall(average=None)
        model.compile(bp.optimizers.Adam(0.1), BCE(pos_weight=q), metrics=[recall])
        model.fit(x, t, epochs=30, verbose=0)
        assert "fused: sigmoid" in model._engine.trainer("train", model._compilation).describe()
        recalls.append(model.evaluate(x, t)["recall"][1])
    assert recalls[0] < 0.5 < 0.9 < recalls[1]
    model.save(tmp_path / "m.safetensors")
    again = bp.load_model(tmp_path / "m.safetensors")
    assert again.evaluate(x, t) == model.evaluate(x, t)


BITS = """
import hashlib
import numpy as np
import bpcore as bp
rng = np.random.default_rng(3)
digest = hashlib.sha256()
for dtype in ("float32", "float64"):
    for k in (1, 3, 19):
        model = bp.Sequential([bp.layers.Dense(9, "tanh"), bp.layers.Dense(k)], dtype=dtype, seed=1)
        model.compile("adam", bp.losses.BinaryCrossEntropy(pos_weight=list(range(1, k + 1))))
        x, y = rng.normal(size=(70, 4)), rng.random((70, k)).round()
        digest.update(repr(model.fit(x, y, epochs=2, verbose=0).history["loss"]).encode())
        for w in model.get_weights():
            digest.update(w.tobytes())
print(digest.hexdigest())
"""


def test_the_same_bits_on_every_instruction_set_with_fma():
    found = {support.run_python(BITS, BPCORE_ISA=t).stdout for t in support.fma_tiers()}
    assert len(found) <= 1


@pytest.mark.parametrize("ending", ["linear", "sigmoid"])
@pytest.mark.parametrize("q", [4.0, [4.0, 0.5, 2.0]])
def test_the_output_bias_with_weights_is_the_best(ending, q, rng):
    t = (rng.random((300, 3)) < [0.1, 0.5, 0.8]) * 1.0
    model = bp.Sequential([L.Dense(3, ending, kernel_initializer="zeros")], dtype="float64")
    model.build((2,))
    model.compile("sgd", BCE(pos_weight=q))
    model.set_output_bias(t)
    rate = t.mean(axis=0)
    z = np.log(q * rate / (1 - rate))
    np.testing.assert_allclose(model.weights[1].value, z, rtol=1e-12)
    assert abs(model.gradients(np.zeros((300, 2)), t).parameters["dense/bias"]).max() < 1e-15


@pytest.mark.parametrize("bad, match", [
    (0.0, "pos_weight must be"), ([1.0, -2.0], "pos_weight must be"), ("3", "pos_weight must be"),
    (float("nan"), "pos_weight must be"), ([[1.0, 2.0]], "got shape"), ([], "got shape"),
    (True, "pos_weight must be"),
])  # fmt: skip
def test_weights_that_are_refused(bad, match):
    with pytest.raises((ValueError, TypeError), match=match):
        BCE(pos_weight=bad)


def test_as_many_weights_as_columns():
    with pytest.raises(bp.errors.ShapeError, match="got 2 pos_weight for an output of shape"):
        identity((3,), BCE(pos_weight=[1.0, 2.0]))
    with pytest.raises(bp.errors.ShapeError, match="got 2 pos_weight"):
        BCE(pos_weight=[1.0, 2.0]).value(np.ones((4, 3)), np.full((4, 3), 0.5))


# ---- class_weight --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (3,)])
@pytest.mark.parametrize("ending", ["sigmoid", "linear"])
def test_several_labels_have_no_class(shape, ending, rng):
    """Rows were weighed by their first true label."""
    x, y = rng.normal(size=(6, 4)), (rng.random((6, *shape)) < 0.5) * 1
    table = {k: k + 1.0 for k in range(shape[0])}
    model = bp.Sequential([L.Dense(shape[0], ending)])
    model.compile("sgd", "binary_cross_entropy")
    for weights in (table, "balanced", list(table.values())):
        with pytest.raises(ValueError, match=r"sample_weight.*BinaryCrossEntropy\(pos_weight"):
            model.fit(x, y, class_weight=weights, verbose=0)
    assert not model.built
    model.compile("sgd", BCE(class_weight=table))
    with pytest.raises(ValueError, match=r"sample_weight.*BinaryCrossEntropy\(pos_weight"):
        model.fit(x, y, verbose=0)


@pytest.mark.parametrize("y", [[[1, 1, 0], [0, 0, 1]], [[0, 0, 0], [0, 1, 0]],
                               [[0.1, 0.7, 2.0], [3.0, 1.0, 0.5]]])  # fmt: skip
@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_rows_without_one_class_have_no_class(y, loss):
    model = bp.Sequential([L.Dense(3)])
    model.compile("sgd", loss)
    with pytest.raises(ValueError, match=r"one class per row.*sample_weight"):
        model.fit(np.ones((2, 2)), np.array(y), class_weight={0: 1, 1: 2, 2: 3}, verbose=0)


def weights_after(model, x, y, **options):
    model.fit(x, y, epochs=2, verbose=0, **options)
    return model.get_weights()


def net(units, loss, ending="linear"):
    model = bp.Sequential([L.Dense(units, ending)], seed=0, dtype="float64")
    model.compile("sgd", loss)
    return model


@pytest.mark.parametrize("loss, units, false", [("binary_cross_entropy", 1, 0), ("mse", 1, 0),
                                                ("hinge", 1, 0), ("hinge", 1, -1)])  # fmt: skip
def test_one_column_has_two_classes(loss, units, false, rng):
    x, y = rng.normal(size=(20, 3)), np.where(rng.random(20) < 0.3, 1, false)
    a = weights_after(net(units, loss), x, y, class_weight={0: 0.5, 1: 4.0})
    b = weights_after(net(units, loss), x, y, sample_weight=np.where(y == 1, 4.0, 0.5))
    assert all(map(np.array_equal, a, b))


@pytest.mark.parametrize("form", ["labels", "one-hot", "one-hot of mse", "column", "signs"])
def test_balanced(form, rng):
    """N / (classes x rows of the class), as scikit-learn's compute_class_weight."""
    labels = rng.choice(4, 50, p=[0.6, 0.25, 0.1, 0.05])
    x, loss, y = rng.normal(size=(50, 3)), "cross_entropy", labels
    if form.startswith("one-hot"):
        y, loss = np.eye(4)[labels], "mse" if form.endswith("mse") else loss
    elif form in ("column", "signs"):
        labels = (labels == 0) * 1
        loss, y = ("hinge", 2 * labels - 1) if form == "signs" else ("binary_cross_entropy", labels)
    counts = np.bincount(labels)
    w = (50 / (len(counts) * counts))[labels]
    units = len(counts) if y.ndim > 1 or loss == "cross_entropy" else 1
    a = weights_after(net(units, loss), x, y, class_weight="balanced")
    b = weights_after(net(units, loss), x, y, sample_weight=w)
    assert all(map(np.array_equal, a, b))
    both = weights_after(net(units, loss), x, y, class_weight="balanced", sample_weight=w)
    squared = weights_after(net(units, loss), x, y, sample_weight=w * w)
    for p, q in zip(both, squared, strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-12)


def test_balanced_counts_the_rows_that_are_trained_on(rng):
    """Those held out do not count, and a class that does not occur has no weight to have."""
    y = np.array([0] * 9 + [2] * 3 + [1] * 12)
    x = rng.normal(size=(24, 2))
    a = weights_after(net(3, "cross_entropy"), x, y, class_weight="balanced", validation_split=0.5)
    w = np.where(y[:12] == 0, 12 / (2 * 9), 12 / (2 * 3))
    b = weights_after(net(3, "cross_entropy"), x[:12], y[:12], sample_weight=w)
    assert all(map(np.array_equal, a, b))


def test_balanced_bias(rng):
    y = rng.choice(3, 90, p=[0.7, 0.2, 0.1])
    model = net(3, "cross_entropy")
    model.build((2,))
    model.set_output_bias(y, class_weight="balanced")
    np.testing.assert_allclose(np.ptp(model.weights[1].value), 0, atol=1e-12)


@pytest.mark.parametrize("bad", ["balance", "auto", b"balanced"])
def test_other_words_are_refused(bad, rng):
    model = net(3, "cross_entropy")
    with pytest.raises(ValueError, match=r"class_weight must be 'balanced', a dict .* got"):
        model.fit(rng.normal(size=(4, 2)), [0, 1, 2, 0], class_weight=bad, verbose=0)
    model.compile("sgd", bp.losses.CrossEntropy(class_weight="balanced"))
    with pytest.raises(ValueError, match="class_weight of the loss must be a dict"):
        model.fit(rng.normal(size=(4, 2)), [0, 1, 2, 0], verbose=0)


def test_weights_of_classes_count_in_training_alone(rng):
    """Those given to fit; those of the loss itself count wherever it is evaluated."""
    x, y = rng.normal(size=(40, 3)), rng.integers(0, 2, 40)
    xv, yv = rng.normal(size=(30, 3)), rng.integers(0, 2, 30)
    table = np.array([0.5, 4.0])

    def losses(model, x, y):
        p = model.predict(x)[np.arange(len(y)), y]
        return -np.log(p)

    for of_loss in (False, True):
        model = bp.Sequential([L.Dense(2, "softmax")], dtype="float64", seed=0)
        loss = bp.losses.CrossEntropy(class_weight=table) if of_loss else "cross_entropy"
        model.compile(bp.optimizers.SGD(1e-30), loss)
        told = {} if of_loss else {"class_weight": dict(enumerate(table))}
        found = model.fit(x, y, validation_data=(xv, yv), verbose=0, **told).history
        held = table[yv] if of_loss else 1.0
        np.testing.assert_allclose(found["loss"], (table[y] * losses(model, x, y)).mean())
        np.testing.assert_allclose(found["val_loss"], (held * losses(model, xv, yv)).mean())
        split = model.fit(x, y, validation_split=0.25, verbose=0, **told).history
        held = table[y[30:]] if of_loss else 1.0
        np.testing.assert_allclose(split["val_loss"], (held * losses(model, x[30:], y[30:])).mean())
