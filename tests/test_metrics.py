"""Metrics against their definitions in NumPy, by evaluate and by fit, weighted and in any batch."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .reference import metrics as ref


def scores(width, metrics, loss, ending="linear", dtype="float64", weighted=()):
    """A model that hands its input on: what is measured is known."""
    model = bp.Sequential([bp.Input((width,)), bp.layers.Activation(ending)], dtype=dtype)
    model.compile(optimizer="sgd", loss=loss, metrics=metrics, weighted_metrics=weighted)
    return model


@pytest.fixture
def classes(rng):
    z, labels = rng.normal(size=(203, 6)), rng.integers(0, 6, 203)
    z[np.arange(203), labels] += 0.8
    return z, labels, rng.random(203) + 0.1


@pytest.fixture
def binary(rng):
    t = (rng.random(301) < 0.4).astype(float)
    p = np.clip(0.5 + 0.2 * rng.normal(size=301) + 0.25 * (t - 0.5), 0.01, 0.99).round(2)  # ties
    return p[:, None], t[:, None], rng.random(301) + 0.1


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1024])
def test_accuracy_and_top_k(classes, batch_size):
    z, labels, w = classes
    model = scores(6, ["accuracy", bp.metrics.TopK(3)], "cross_entropy", weighted=["accuracy"])
    found = model.evaluate(z, labels, batch_size=batch_size)
    assert found["accuracy"] == pytest.approx(ref.accuracy(labels, z), rel=1e-13)
    top = next(v for k, v in found.items() if k.startswith("top_"))
    assert top == pytest.approx(ref.top_k(labels, z, 3), rel=1e-13)
    found = model.evaluate(z, labels, batch_size=batch_size, sample_weight=w)
    assert found["weighted_accuracy"] == pytest.approx(ref.accuracy(labels, z, w), rel=1e-12)
    assert found["accuracy"] == pytest.approx(ref.accuracy(labels, z), rel=1e-12)
    one_hot = model.evaluate(z, np.eye(6)[labels])
    assert one_hot["accuracy"] == pytest.approx(ref.accuracy(labels, z), rel=1e-13)


@pytest.mark.parametrize("batch_size", [5, 1024])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", ["probabilities", "logits"])
def test_binary_metrics(binary, batch_size, weighted, form):
    p, t, w = binary
    z = np.log(p / (1 - p))
    names = ["binary_accuracy", "precision", "recall", "f1", "auc"]
    ending = "linear" if form == "logits" else "sigmoid"
    model = scores(1, [], "binary_cross_entropy", ending, weighted=names)
    p = 1 / (1 + np.exp(-z))
    keep = np.abs(p[:, 0] - 0.5) > 1e-9  # on the threshold a rounding decides
    z, p, t, w = z[keep], p[keep], t[keep], w[keep] if weighted else None
    found = model.evaluate(z, t, batch_size=batch_size, sample_weight=w)
    expected = (ref.binary_accuracy(t, p, weight=w), *ref.precision_recall_f1(t, p, weight=w))
    for name, value in zip(names, expected, strict=False):
        assert found[name] == pytest.approx(value, rel=1e-12), name
    assert found["auc"] == pytest.approx(ref.auc(t, z.round(9), w), rel=1e-9)


@pytest.mark.parametrize("threshold", [0.3, 0.8])
def test_thresholds(binary, threshold):
    p, t, _ = binary
    p = p + 0.001  # off the threshold
    model = scores(1, [bp.metrics.BinaryAccuracy(threshold), bp.metrics.Precision(threshold)],
                   "mse")  # fmt: skip
    found = model.evaluate(p, t)
    assert found["binary_accuracy"] == pytest.approx(ref.binary_accuracy(t, p, threshold))
    assert found["precision"] == pytest.approx(ref.precision_recall_f1(t, p, threshold)[0])


def test_multiclass_precision_recall_f1_are_macro_averages(classes):
    z, labels, w = classes
    model = scores(6, [], "cross_entropy", weighted=["precision", "recall", "f1"])
    found = model.evaluate(z, labels, sample_weight=w)
    guess = z.argmax(axis=1)
    parts = np.array([
        ref.precision_recall_f1((labels == k) * 1.0, (guess == k) * 1.0, weight=w)
        for k in range(6)
    ])  # fmt: skip
    for i, name in enumerate(("precision", "recall", "f1")):
        assert found[name] == pytest.approx(parts[:, i].mean(), rel=1e-12)


@pytest.mark.parametrize("batch_size", [3, 1024])
@pytest.mark.parametrize("weighted", [False, True])
def test_regression_metrics(rng, batch_size, weighted):
    t, p = rng.normal(size=(97, 3)) + 5, rng.normal(size=(97, 3)) * 0.3
    p += t
    w = rng.random(97) + 0.1 if weighted else None
    found = scores(3, [], "mse", weighted=["mae", "mse", "rmse", "r2"]).evaluate(
        p, t, batch_size=batch_size, sample_weight=w
    )
    mean = lambda e: np.average(e.mean(axis=1), weights=w)  # noqa: E731
    assert found["mae"] == pytest.approx(mean(np.abs(p - t)), rel=1e-12)
    assert found["mse"] == pytest.approx(mean((p - t) ** 2), rel=1e-12)
    assert found["rmse"] == pytest.approx(mean((p - t) ** 2) ** 0.5, rel=1e-12)
    assert found["r2"] == pytest.approx(ref.r2(t, p, w), rel=1e-9)


def test_r2_survives_a_large_mean(rng):
    t = rng.normal(size=(200, 1)) + 1e8
    p = t + rng.normal(size=(200, 1)) * 0.3
    found = scores(1, ["r2"], "mse").evaluate(p, t)["r2"]
    centred = t - t.mean()
    assert found == pytest.approx(1 - ((p - t) ** 2).sum() / (centred**2).sum(), rel=1e-6)


@pytest.mark.parametrize("constant", [0.0, 3.0, 1e12 / 3, -1e-9])
def test_r2_of_a_constant_target_is_1_or_0(constant, rng):
    """As scikit-learn has it, and whatever the weights round to."""
    t, w = np.full((60, 1), constant), rng.uniform(0.1, 3, 60)
    model = scores(1, ["r2"], "mse", weighted=["r2"])
    exact, off = (model.evaluate(p, t, sample_weight=w) for p in (t, t + 1))
    assert exact["r2"] == exact["weighted_r2"] == 1.0
    assert off["r2"] == off["weighted_r2"] == 0.0


@pytest.mark.parametrize("name", ["auc", "precision", "recall", "f1"])
def test_perfect_and_hopeless(name):
    t = np.array([[0.0], [1], [1], [0], [1]])
    model = scores(1, [name], "mse")
    assert model.evaluate(t, t)[name] == 1.0
    assert model.evaluate(1 - t, t)[name] == 0.0


def test_fit_reports_the_metric_of_its_epoch(classes):
    """With no learning to speak of, the epoch's metric is evaluate's."""
    z, labels, _ = classes
    model = bp.Sequential([bp.layers.Dense(6)], dtype="float64", seed=0)
    model.compile(optimizer=bp.optimizers.SGD(1e-300), loss="cross_entropy",
                  metrics=["accuracy", bp.metrics.TopK(2)])  # fmt: skip
    history = model.fit(z, labels, batch_size=32, epochs=2, verbose=0,
                        validation_data=(z[:50], labels[:50])).history  # fmt: skip
    found = model.evaluate(z, labels)
    for name, value in found.items():
        assert history[name][-1] == pytest.approx(value, rel=1e-12)
        assert history["val_" + name][-1] == pytest.approx(
            model.evaluate(z[:50], labels[:50])[name], rel=1e-12
        )


def test_metrics_in_plain_python(classes):
    z, labels, _ = classes

    def biggest(y_true, y_pred):
        return float(np.abs(y_pred).max(axis=1).mean())

    class Counter:
        name = "counted"

        def reset_state(self):
            self.n = 0

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.n += len(y_pred)

        def result(self):
            return self.n

    model = scores(6, [biggest, Counter(), "accuracy"], "cross_entropy")
    found = model.evaluate(z, labels, batch_size=50)
    assert found["biggest"] == pytest.approx(np.abs(z).max(axis=1).mean(), rel=1e-12)
    assert found["counted"] == 203
    history = model.fit(z, labels, batch_size=50, epochs=2, verbose=0).history
    assert history["counted"] == [203, 203]


def test_several_outputs_name_their_metrics(rng):
    a = bp.Input((3,))
    outputs = [bp.layers.Dense(2, name="one")(a), bp.layers.Dense(4, name="two")(a)]
    model = bp.Model(a, outputs, seed=0)
    model.compile(loss=["mse", "cross_entropy"], metrics=[["mae"], ["accuracy"]])
    x = rng.normal(size=(30, 3))
    found = model.evaluate(x, [rng.normal(size=(30, 2)), rng.integers(0, 4, 30)])
    assert {"loss", "one_mae", "two_accuracy"} <= set(found), found
