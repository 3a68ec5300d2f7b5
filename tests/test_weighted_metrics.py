"""One rule: `metrics` count samples alike, `weighted_metrics` by their weight in the loss."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

L = bp.layers
X = np.array([[-1.0], [2.0], [-3.0], [4.0], [0.5], [-0.5]])
Y = np.array([0.0, 0, 1, 1, 1, 0])
HIT = np.array([1.0, 0, 0, 1, 1, 1])  # of sigmoid(x) against y
W = np.array([1.0, 2, 0.5, 4, 0, 3])
BY_CLASS = {0: 1.0, 1: 10.0}
CLASS = np.where(Y == 1, 10.0, 1.0)


def share(y_true, y_pred):
    """Accuracy of a batch, one number."""
    return float(((y_pred > 0.5) == (y_true > 0.5)).mean())


def each(y_true, y_pred):
    """Accuracy, one number a row."""
    return ((y_pred > 0.5) == (y_true > 0.5))[:, 0]


def own(y_true, y_pred, sample_weight=None):
    """Accuracy that weighs by itself."""
    return np.average(each(y_true, y_pred), weights=sample_weight)


class Counter:
    """Accuracy as an object."""

    name = "counter"

    def reset_state(self):
        self.hits = self.all = 0.0

    def update_state(self, y_true, y_pred, sample_weight=None):
        w = np.ones(len(y_true)) if sample_weight is None else sample_weight
        self.hits += w @ each(y_true, y_pred)
        self.all += w.sum()

    def result(self):
        return self.hits / self.all if self.all else 0.0


def model(metrics=(), weighted=(), rate=1e-300):
    layers = [bp.Input((1,)), L.Dense(1, "sigmoid", use_bias=False)]
    found = bp.Sequential(layers, dtype="float64", seed=0)
    found.weights[0].value = [[1.0]]
    found.compile(bp.optimizers.SGD(rate), "binary_cross_entropy", metrics=metrics,
                  weighted_metrics=weighted)  # fmt: skip
    return found


def both():
    """All kinds of metrics in both lists; each has the value of accuracy."""
    kinds = ["accuracy", each, own, Counter()]
    return model([*kinds[:3], Counter(), share], kinds)


PLAIN = ("accuracy", "each", "own", "counter", "share")
WEIGHTED = ("weighted_accuracy", "weighted_each", "weighted_own", "weighted_counter")


def check(logs, weights, prefix=""):
    last = {key: value[-1] if isinstance(value, list) else value for key, value in logs.items()}
    for name in PLAIN:
        assert last[prefix + name] == pytest.approx(HIT.mean()), name
    for name in WEIGHTED:
        assert last[prefix + name] == pytest.approx(np.average(HIT, weights=weights)), name


@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_evaluate(batch_size):
    net = both()
    check(net.evaluate(X, Y, batch_size=batch_size, sample_weight=W), W)
    check(net.evaluate(X, Y, batch_size=batch_size), None)
    batches = [(X[i : i + 2], Y[i : i + 2], W[i : i + 2] + 0.1) for i in (0, 2, 4)]
    check(net.evaluate(iter(batches)), W + 0.1)


@pytest.mark.parametrize("weights", [None, W])
@pytest.mark.parametrize("by_class", [None, BY_CLASS])
@pytest.mark.parametrize("batch_size", [2, 6])
def test_training_by_sample_and_class(weights, by_class, batch_size):
    product = (np.ones(6) if weights is None else weights) * (1 if by_class is None else CLASS)
    fit = {"sample_weight": weights, "class_weight": by_class, "batch_size": batch_size}
    check(both().fit(X, Y, epochs=2, verbose=0, **fit).history, product)


def test_validation_has_weights_of_its_own_and_none_of_the_classes():
    net, fit = both(), {"class_weight": BY_CLASS, "verbose": 0}
    history = net.fit(X, Y, validation_data=(X, Y, W), **fit).history
    check(history, CLASS)
    check(history, W, "val_")
    check(net.fit(X, Y, validation_data=(X, Y), **fit).history, None, "val_")
    twice = (np.concatenate([a, a]) for a in (X, Y, W))
    x, y, w = twice
    history = net.fit(x, y, sample_weight=w, validation_split=0.5, **fit).history
    check(history, W * CLASS)
    check(history, W, "val_")


def test_batches():
    net = both()
    check(net.train_on_batch(X, Y, W), W)
    batches = [(X[i : i + 2], Y[i : i + 2], W[i : i + 2] + 0.1) for i in (0, 2, 4)]
    check(net.fit(batches.__iter__(), steps_per_epoch=3, verbose=0).history, W + 0.1)


def test_a_class_weight_of_the_loss_belongs_to_its_weights():
    net = model(["accuracy"], ["accuracy"])
    loss = bp.losses.BinaryCrossEntropy(class_weight=BY_CLASS)
    net.compile("sgd", loss, metrics=["accuracy"], weighted_metrics=["accuracy"])
    found = net.evaluate(X, Y, sample_weight=W)
    assert found["accuracy"] == pytest.approx(HIT.mean())
    assert found["weighted_accuracy"] == pytest.approx(np.average(HIT, weights=W * CLASS))


def test_the_name_has_a_prefix_only_where_it_is_taken():
    found = model(["accuracy"], ["mae", "accuracy"]).evaluate(X, Y)
    assert list(found) == ["loss", "accuracy", "mae", "weighted_accuracy"]


def test_several_outputs_by_list_and_dict():
    a = bp.Input((1,))
    outs = [L.Dense(1, "sigmoid", use_bias=False, name=n)(a) for n in ("one", "two")]
    net = bp.Model(a, outs, dtype="float64")
    for w in net.weights:
        w.value = [[1.0]]
    for weighted in ([["accuracy"], ["mae"]], {"one": "accuracy", "two": ["mae"]}):
        net.compile("sgd", "binary_cross_entropy", weighted_metrics=weighted)
        found = net.evaluate(X, [Y, Y], sample_weight=[W, None])
        assert found["one_accuracy"] == pytest.approx(np.average(HIT, weights=W))
        p = 1 / (1 + np.exp(-X[:, 0]))
        assert found["two_mae"] == pytest.approx(np.abs(p - Y).mean())


def test_a_number_for_a_batch_cannot_be_weighted():
    net = model([], [share])
    assert net.evaluate(X, Y)["share"] == pytest.approx(HIT.mean())
    with pytest.raises(ValueError, match=r"share.*one number for each row, or take an argument"):
        net.evaluate(X, Y, sample_weight=W)


@pytest.mark.parametrize("bad", [["acuracy"], [3], {"nobody": ["mae"]}])
def test_what_compile_refuses(bad):
    with pytest.raises((ValueError, TypeError), match=r"metric|weighted_metrics"):
        model([], bad)


def test_files_keep_the_two_lists(tmp_path):
    net = model(["accuracy"], ["accuracy", bp.metrics.Recall(0.3, average="micro")])
    net.save(tmp_path / "m.safetensors")
    again = bp.load_model(tmp_path / "m.safetensors")
    assert again.evaluate(X, Y, sample_weight=W) == net.evaluate(X, Y, sample_weight=W)


def test_a_run_with_other_weighted_metrics_is_another_run(tmp_path):
    path = tmp_path / "run.ckpt"
    model(["mae"], ["mae"]).fit(X, Y, verbose=0, checkpoint=path)
    model(["mae"], ["mae"]).fit(X, Y, verbose=0, checkpoint=path)
    with pytest.raises(bp.errors.CheckpointError, match="weighted_metrics"):
        model(["mae"], ["mse"]).fit(X, Y, verbose=0, checkpoint=path)


class Stop(Exception):
    pass


class StopAt(bp.callbacks.Callback):
    """Raises at the so-and-so-many-th batch."""

    def __init__(self, left=-1):
        self.left = left

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise Stop


def halfway(net, x, y, path, **fit):
    """Ends after four of six batches, the checkpoint being there; then goes on: the History."""
    fit = {"batch_size": 1, "epochs": 2, "verbose": 0, "checkpoint": path, "checkpoint_every": 2,
           **fit}  # fmt: skip
    with pytest.raises(Stop):
        net().fit(x, y, callbacks=[StopAt(5)], **fit)
    return lambda: net().fit(x, y, callbacks=[StopAt()], **fit).history


@pytest.mark.parametrize("loss, x, y", [
    ("binary_cross_entropy", X, Y),
    ("binary_cross_entropy", np.hstack([X, -X, X]), np.stack([Y, Y, 1 - Y], axis=1)),
    ("cross_entropy", np.hstack([X, 0 * X, -X]), np.array([0, 2, 1, 1, 2, 0])),
])  # fmt: skip
def test_a_resumed_epoch_has_the_metrics_of_a_whole_one(loss, x, y, tmp_path):
    """Of one column, labels and classes, weighted and not, also those that keep every score."""
    kinds = ["auc", "f1", "accuracy", bp.metrics.AUC("micro", name="pooled"),
             *(["r2"] if loss != "cross_entropy" else [])]  # fmt: skip

    def net():
        found = bp.Sequential([L.Dense(x.shape[1])], seed=0, dtype="float64")
        found.compile("sgd", loss, metrics=kinds, weighted_metrics=kinds)
        return found

    whole = net().fit(x, y, batch_size=1, epochs=2, verbose=0, sample_weight=W + 1).history
    assert halfway(net, x, y, tmp_path / "run.ckpt", sample_weight=W + 1)() == whole
