"""Losses: values and gradients against PyTorch's numbers, weights, links, extremes."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from . import cases
from .helpers import support

ROWS = support.load("torch")["losses"]
KINDS = {c.name: c.kind for c in cases.LOSSES}


def identity(width, loss, ending="linear", dtype="float64"):
    """A model whose output is its input, so that the loss's own gradient can be read."""
    model = bp.Sequential([bp.Input((width,)), bp.layers.Activation(ending)], dtype=dtype)
    model.compile(optimizer="sgd", loss=loss)
    return model


def as_input(row):
    """(ending, input, dp/dinput): cross entropies of probabilities need a probability's ending."""
    p = np.array(row["prediction"])
    if row["logits"] or row["name"] not in ("binary_cross_entropy", "cross_entropy"):
        return "linear", p, np.ones_like(p)
    if row["name"] == "binary_cross_entropy":
        return "hard_sigmoid", 6 * p - 3, np.full_like(p, 1 / 6)
    return "softmax", np.log(p), None


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['name']}-{r['arguments']}-{r['logits']}")
def test_value_and_gradient_as_pytorch(row):
    loss = getattr(bp.losses, KINDS[row["name"]])(**row["arguments"])
    ending, x, slope = as_input(row)
    model = identity(x.shape[1], loss, ending)
    found = model.gradients(x, np.array(row["target"]), wrt_inputs=True)
    assert found.loss == pytest.approx(row["value"], rel=1e-12)
    expected = np.array(row["gradient"])
    if slope is None:  # through softmax: J^T g = p (g - <g, p>)
        p = np.array(row["prediction"])
        expected = p * (expected - (expected * p).sum(axis=1, keepdims=True))
    else:
        expected = expected * slope
    np.testing.assert_allclose(found.inputs, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("case", cases.LOSSES, ids=lambda c: c.id)
def test_sample_weight_is_a_weighted_sum_over_the_batch_size(case, rng):
    loss = getattr(bp.losses, case.kind)(**case.arguments)
    model = identity(4 * case.parts, loss, case.ending)
    x, t = rng.normal(size=(6, 4 * case.parts)), cases.targets(case.target, 6, 4, rng)
    w = np.array([0.5, 1, 2, 0, 3, 1.5])
    rows = [model.gradients(x[i : i + 1], t[i : i + 1], wrt_inputs=True) for i in range(6)]
    whole = model.gradients(x, t, sample_weight=w, wrt_inputs=True)
    np.testing.assert_allclose(
        whole.inputs, [w[i] * rows[i].inputs[0] / 6 for i in range(6)], rtol=1e-12, atol=1e-16
    )
    assert whole.loss == pytest.approx(sum(w[i] * rows[i].loss for i in range(6)) / 6, rel=1e-12)


def test_links_give_the_same_as_logits(rng):
    x, labels = rng.normal(size=(9, 4)), rng.integers(0, 4, 9)
    bits = (rng.random((9, 4)) < 0.5) * 1.0
    for name, f, y in (("cross_entropy", "softmax", labels), ("binary_cross_entropy", "sigmoid",
                                                              bits)):  # fmt: skip
        linked, logits = identity(4, name, f), identity(4, name)
        a, b = (m.gradients(x, y, wrt_inputs=True) for m in (linked, logits))
        assert a.loss == pytest.approx(b.loss, rel=1e-14)
        np.testing.assert_allclose(a.inputs, b.inputs, rtol=1e-13, atol=1e-17)
        np.testing.assert_allclose(logits.predict(x), x, rtol=0, atol=0)
        p = linked.predict(x)
        assert ((p > 0) & (p < 1)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_row_of_cross_entropy_has_the_bits_it_has_alone(dtype, smoothing, labelled, rng):
    """Rows of few classes are computed side by side. Batch sizes are powers of 2, whose division
    is exact; on one thread, so that nothing cuts the rows."""
    bp.set_num_threads(1, exact=True)
    loss = bp.losses.CrossEntropy(label_smoothing=smoothing)
    for classes in (2, 3, 7, 8, 9, 12, 16, 17):
        model = identity(classes, loss, dtype=dtype)
        for n in (4, 8, 16, 32, 128):
            x = (rng.normal(size=(n, classes)) * 10 ** rng.uniform(-2, 0.8)).astype(dtype)
            y = rng.integers(0, classes, n)
            if not labelled:
                y = rng.dirichlet(np.ones(classes), n).astype(dtype)
            w = rng.integers(1, 4, n).astype(dtype)
            for weight in (None, w):
                whole = model.gradients(x, y, sample_weight=weight, wrt_inputs=True)
                rows = [
                    model.gradients(
                        x[i : i + 1], y[i : i + 1], wrt_inputs=True,
                        sample_weight=None if weight is None else weight[i : i + 1],
                    )
                    for i in range(n)
                ]  # fmt: skip
                alone = np.concatenate([r.inputs for r in rows])
                assert support.same_bits(whole.inputs * n, alone), (classes, n)
                total = np.cumsum([r.loss for r in rows])[-1]  # sum() compensates, from 3.12 on
                assert whole.loss * n == total, (classes, n)


def test_labels_and_one_hot_agree(rng):
    x, labels = rng.normal(size=(9, 4)), rng.integers(0, 4, 9)
    model = identity(4, "cross_entropy")
    a, b = (model.gradients(x, y, wrt_inputs=True) for y in (labels, np.eye(4)[labels]))
    assert a.loss == pytest.approx(b.loss, rel=1e-14)
    np.testing.assert_allclose(a.inputs, b.inputs, rtol=1e-13, atol=1e-17)
    column = model.gradients(x, labels[:, None], wrt_inputs=True)
    assert column.loss == a.loss


@pytest.mark.parametrize("alias, name", [
    ("sparse_categorical_crossentropy", "cross_entropy"),
    ("categorical_crossentropy", "cross_entropy"),
    ("binary_crossentropy", "binary_cross_entropy"), ("mse", "mean_squared_error"),
    ("mae", "mean_absolute_error"), ("pinball", "quantile"),
])  # fmt: skip
def test_aliases(alias, name, rng):
    x = rng.normal(size=(5, 3))
    y = rng.integers(0, 3, 5) if name == "cross_entropy" else (rng.random((5, 3)) < 0.5) * 1.0
    if alias == "categorical_crossentropy":
        y = np.eye(3)[y]
    assert identity(3, alias).gradients(x, y).loss == identity(3, name).gradients(x, y).loss


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", cases.LOSSES, ids=lambda c: c.id)
def test_never_nan_for_finite_predictions(case, dtype):
    big = float(np.finfo(dtype).max) / 2
    rows = [[0, 0, 0], [1e4, 0, -1e4], [-1e4, -1e4, -1e4], [1e-30, -1e-30, 0]]
    if case.target in ("labels", "distribution", "bits") and case.ending != "log_softmax":
        rows += [[big, -big, 0], [big, big, big], [-big, -big, -big]]
    if case.ending == "exponential":
        rows = [[0, 1, -1], [-1e4, -50, 20]]
    x = np.tile(np.array(rows), case.parts)
    loss = getattr(bp.losses, case.kind)(**case.arguments)
    model = identity(3 * case.parts, loss, case.ending, dtype)
    t = cases.targets(case.target, len(x), 3, np.random.default_rng(0))
    found = model.gradients(x, t, wrt_inputs=True)
    assert not np.isnan(found.loss) and np.isfinite(found.inputs).all()


def test_several_outputs_and_loss_weights(rng):
    a = bp.Input((3,))
    first, second = bp.layers.Dense(2, name="one")(a), bp.layers.Dense(3, name="two")(a)
    model = bp.Model(a, [first, second], dtype="float64", seed=0)
    x, y, labels = rng.normal(size=(5, 3)), rng.normal(size=(5, 2)), rng.integers(0, 3, 5)
    one, two = model.predict(x)
    mse = ((one - y) ** 2).mean()
    e = np.exp(two)
    ce = -np.log(e[np.arange(5), labels] / e.sum(axis=1)).mean()
    model.compile(loss=["mse", "cross_entropy"], loss_weights=[0.5, 2.0])
    assert model.gradients(x, [y, labels]).loss == pytest.approx(0.5 * mse + 2 * ce, rel=1e-13)


class Mine:
    """mean |e|^3 / 3 per sample, in plain Python."""

    def value(self, y_true, y_pred):
        return (np.abs(y_pred - y_true) ** 3).mean(axis=1) / 3

    def gradient(self, y_true, y_pred):
        e = y_pred - y_true
        return e * np.abs(e) / e.shape[1]


def test_loss_in_plain_python_trains(rng):
    x = rng.normal(size=(64, 3))
    y = x @ rng.normal(size=(3, 2))
    model = bp.Sequential([bp.layers.Dense(2)], dtype="float64", seed=0)
    model.compile(optimizer=bp.optimizers.Adam(0.05), loss=Mine())
    history = model.fit(x, y, batch_size=16, epochs=60, verbose=0).history["loss"]
    assert history[-1] < 0.05 * history[0]
    found = model.gradients(x, y)
    w, b = (a.copy() for a in model.get_weights())
    e = x @ w + b - y
    expected = x.T @ (e * np.abs(e) / 2) / 64
    np.testing.assert_allclose(found.parameters[model.weights[0].name], expected, rtol=1e-11)
    assert found.loss == pytest.approx((np.abs(e) ** 3).mean() / 3, rel=1e-12)


def test_weights_of_one_run_are_not_those_of_the_next(rng):
    x, y, w = rng.normal(size=(40, 5)), rng.integers(0, 3, 40), rng.random(40) + 0.5

    def losses(*runs):
        model = bp.Sequential([bp.layers.Dense(3)], seed=1, dtype="float64")
        model.compile(bp.optimizers.SGD(1e-300), loss="cross_entropy")
        found = [
            model.fit(x, target, sample_weight=weight, batch_size=8, shuffle=False, verbose=0)
            for target, weight in runs
        ]
        return [h.history["loss"][0] for h in found]

    one_hot = np.eye(3)[y]
    kinds = [(y, w), (y, None), (one_hot, None), (one_hot, w), (y, None)]
    assert losses(*kinds) == [losses(kind)[0] for kind in kinds]


class Squares:
    """The mean squared error in plain Python, by rows."""

    def value(self, y_true, y_pred):
        return ((y_pred - y_true) ** 2).mean(axis=1)

    def gradient(self, y_true, y_pred):
        return 2 * (y_pred - y_true) / y_pred.shape[1]


def test_a_loss_in_plain_python_is_weighted_where_it_is_reported(rng):
    """As the built-in one: in gradients, history and evaluate; a row of weight 0 counts nothing."""
    x, y, w = rng.normal(size=(12, 3)), rng.normal(size=(12, 2)), rng.uniform(0.2, 2, 12)
    w[3] = 0
    found = []
    for loss in ("mse", Squares()):
        model = bp.Sequential([bp.layers.Dense(2)], dtype="float64", seed=0)
        model.compile(optimizer=bp.optimizers.SGD(0.1), loss=loss)
        first = model.gradients(x, y, sample_weight=w).loss
        fitted = model.fit(x, y, sample_weight=w, batch_size=5, epochs=2, verbose=0).history["loss"]
        found.append([first, *fitted, model.evaluate(x, y, sample_weight=w)["loss"]])
    assert found[1] == pytest.approx(found[0], rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", ["poisson", "kl_divergence", "cross_entropy", "binary_cross_entropy"]
)
def test_value_and_evaluate_are_one_number_also_at_probabilities_of_0(name, dtype):
    """Predictions at and near the ends, from a model that passes on what it gets, and by hand."""
    x = np.array([[0, 1], [1e-9, 1 - 1e-9], [1e-17, 1], [0.3, 0.7], [1, 0]], dtype)
    y = np.array([[1, 0], [0.5, 0.5], [1, 0], [0, 1], [1, 0]])
    if name == "poisson":
        x, y = (
            np.array([[0, 2], [1e-9, 1e-3], [-1, 5]], dtype),
            np.array([[3.0, 0], [2, 7], [0, 1]]),
        )
    loss = bp.losses.get(name)
    model = bp.Sequential([bp.Input((2,)), bp.layers.Activation("hard_sigmoid")], dtype=dtype)
    if name in ("poisson", "kl_divergence"):
        model = bp.Sequential([bp.Input((2,)), bp.layers.Scale(1.0)], dtype=dtype)
    elif name == "cross_entropy":  # an ending that is a probability, and whose values can be 0
        layers = [bp.Input((2,)), bp.layers.Activation("softmax"), bp.layers.Reshape((2,))]
        model = bp.Sequential(layers, dtype=dtype)
        x = np.array([[-800, 0], [-20, 0], [-40, 1], [1, 2], [0, -800]], dtype)
    else:
        x = 6 * x - 3
    model.compile("sgd", loss)
    found = model.gradients(x, y, wrt_inputs=True)
    p = model.predict(x)
    assert p.dtype == dtype and model.evaluate(x, y)["loss"] == found.loss
    assert found.loss == pytest.approx(loss.value(y, p), rel=3e-6 if dtype == "float32" else 1e-13)
    if name in ("poisson", "kl_divergence"):
        slope = loss.gradient(y, p)
        rtol = 3e-6 if dtype == "float32" else 1e-13
        np.testing.assert_allclose(found.inputs, slope, rtol=rtol)


@pytest.mark.parametrize("name", ["BinaryCrossEntropy", "CrossEntropy"])
@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_logits_are_no_probabilities(name, value):
    """By hand nobody knows of a model; they were held at the edge, as if they were 0 or 1."""
    loss = getattr(bp.losses, name)()
    for call in (loss.value, loss.gradient):
        with pytest.raises(ValueError, match=r"got y_pred with .* expected probabilities"):
            call([[1.0, 0.0]], [[0.5, value]])
    assert np.isfinite(loss.value([[1.0, 0.0]], [[1 + 1e-6, -1e-6]]))


def test_a_built_in_loss_in_a_loop_of_one_s_own(rng):
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    model = bp.Sequential([bp.layers.Dense(2)], dtype="float64", seed=0)
    model.compile("sgd", "huber")
    model.build((3,))
    other = model.clone()
    other.compile("sgd")
    loss = bp.losses.Huber()
    other.train_on_batch(x, dy=lambda p: loss.gradient(y, p))
    model.train_on_batch(x, y)
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)
