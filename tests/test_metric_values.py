"""Metrics of one column, of classes and of several labels, by their definitions; what is refused.

`nox -s judges` holds the same cases, and many more, against scikit-learn.
"""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import scored
from .reference import metrics as ref

L, M = bp.layers, bp.metrics
SEEDS = range(24)


def counted(case, weighted, threshold=0.5):
    """Precision, recall and F1 (3, K) of every class or label, their support, which occur."""
    w = case.w if weighted else None
    if case.form == "classes":
        guess = case.p.argmax(axis=1)
        pairs = [((case.t == k) * 1.0, (guess == k) * 1.0) for k in range(case.p.shape[1])]
    elif case.form == "labels":
        pairs = [(case.t[:, k], (case.p[:, k] > threshold) * 1.0) for k in range(case.p.shape[1])]
    else:
        yes = (case.p > case.threshold(threshold)) * 1.0
        pairs = [(1 - case.t, 1 - yes), (case.t, yes)]
    values = np.array([ref.precision_recall_f1(t, g, weight=w) for t, g in pairs]).T
    weights = np.ones(len(case.w)) if w is None else w
    support = np.array([weights[t > 0.5].sum() for t, _ in pairs])
    occurs = np.array([bool((t + g).any()) for t, g in pairs])
    total = [np.concatenate([a[i] for a in pairs]) for i in (0, 1)]
    pooled = ref.precision_recall_f1(*total, weight=np.tile(weights, len(pairs)))
    return values, support, occurs, np.array(pooled)


def averaged(case, average, weighted, threshold=0.5):
    values, support, occurs, pooled = counted(case, weighted, threshold)
    if average is None:
        return values
    if average == "micro":
        return pooled
    if average == "weighted":
        return values @ support / support.sum() if support.any() else 0 * pooled
    if average == "auto" and values.shape[1] == 2 and case.form != "labels":
        return values[:, 1]
    return values.mean(axis=1) if case.form == "labels" else values[:, occurs].mean(axis=1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", scored.FORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_counts(form, seed, weighted):
    case = scored.case(form, seed)
    averages = ("auto", "macro", "micro", "weighted", None)
    made = [cls(average=a, name=f"{cls.name}-{a}")
            for a in averages for cls in (M.Precision, M.Recall, M.F1)]  # fmt: skip
    found = case.evaluate(made, weighted)
    for i, average in enumerate(averages):
        expected = averaged(case, average, weighted)
        for value, wanted in zip(found[3 * i : 3 * i + 3], expected, strict=True):
            np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-15, err_msg=str(average))


@pytest.mark.parametrize("form", ["binary", "labels"])
@pytest.mark.parametrize("seed", range(12))
def test_thresholds(form, seed):
    case = scored.case(form, seed)
    for threshold in (0.2173, 0.7131):
        made = [M.Precision(threshold), M.Recall(threshold), M.F1(threshold),
                M.BinaryAccuracy(threshold)]  # fmt: skip
        *found, right = case.evaluate(made)
        np.testing.assert_allclose(found, averaged(case, "auto", False, threshold), rtol=1e-12)
        assert right == pytest.approx(((case.p > case.threshold(threshold)) == case.t).mean())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", scored.FORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_areas(form, seed, weighted):
    case = scored.case(form, seed)
    t = case.t if form != "classes" else np.eye(case.p.shape[1])[case.t]
    if not scored.both_present(t):
        pytest.skip("an area that is not defined: test_one_class_only")
    w = case.w if weighted else None
    p, t = case.p.reshape(len(t), -1), t.reshape(len(t), -1)
    areas = np.array([ref.auc(t[:, k], p[:, k], w) for k in range(t.shape[1])])
    if form == "classes" and case.loss == "mse" and t.shape[1] == 2:
        areas[:] = ref.auc(t[:, 1], p[:, 1] - p[:, 0], w)  # one score for two classes
    support = (t * (1 if w is None else w[:, None])).sum(axis=0)
    found = case.evaluate([M.AUC(a, name=str(a)) for a in ("macro", "weighted", None)], weighted)
    assert found[0] == pytest.approx(areas.mean(), rel=1e-10)
    assert found[1] == pytest.approx(areas @ support / support.sum(), rel=1e-10)
    several = form == "labels" or t.shape[1] > 2
    np.testing.assert_allclose(found[2], areas if several else areas[-1], rtol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", scored.FORMS)
@pytest.mark.parametrize("seed", range(12))
def test_accuracies(form, seed, weighted):
    case = scored.case(form, seed)
    w = case.w if weighted else None
    k = min(2, case.p.shape[-1]) if case.p.ndim > 1 else 1
    made = [M.Accuracy(), *([M.TopK(k)] if form == "classes" else [])]
    found = case.evaluate(made, weighted)
    if form == "classes":
        assert found[0] == pytest.approx(ref.accuracy(case.t, case.p, w), rel=1e-12)
        ties = len(np.unique(case.z)) < case.z.size
        assert ties or found[1] == pytest.approx(ref.top_k(case.t, case.p, k, w), rel=1e-12)
    elif form == "labels" and case.loss == "mse":  # accuracy takes the largest, as it always has
        assert found[0] == pytest.approx(ref.accuracy(case.t.argmax(1), case.p, w), rel=1e-12)
    else:
        right = ((case.p > case.cut) == case.t).reshape(len(case.w), -1).mean(axis=1)
        assert found[0] == pytest.approx(np.average(right, weights=w), rel=1e-12)


def fixed(k, act, loss, metrics, dtype="float64"):
    """One layer of a given kernel."""
    model = bp.Sequential([bp.Input((len(k),)), L.Dense(len(k[0]), act, use_bias=False)],
                          dtype=dtype)  # fmt: skip
    model.compile("sgd", loss, metrics=metrics)
    model.weights[0].value = k
    return model


def test_no_label_predicted_is_a_recall_of_0():
    model = fixed(np.eye(3), "sigmoid", "binary_cross_entropy", ["recall"])
    y = np.array([[1, 1, 0], [1, 0, 1.0]])
    assert model.evaluate(np.full((2, 3), -2.0), y)["recall"] == 0.0


@pytest.mark.parametrize("classes", [2, 3])
def test_one_hot_targets_and_labels_have_the_same_area(classes, rng):
    x, labels = rng.normal(size=(30, classes)), rng.integers(0, classes, 30)
    for end in ("softmax", "linear"):
        model = fixed(np.eye(classes), end, "cross_entropy", ["auc", "f1", "accuracy"])
        assert model.evaluate(x, labels) == model.evaluate(x, np.eye(classes)[labels])
    perfect = fixed(np.eye(classes), "softmax", "cross_entropy", ["auc"])
    eye = np.eye(classes)[labels]
    assert perfect.evaluate(9 * eye, eye)["auc"] == 1.0


def test_logits_have_the_area_of_their_probabilities(rng):
    """The logits of a class order the rows otherwise than its probabilities do."""
    x, labels = rng.normal(size=(80, 4)) + 3 * rng.normal(size=(80, 1)), rng.integers(0, 4, 80)
    linked, logits = (fixed(np.eye(4), end, "cross_entropy", ["auc"]) for end in
                      ("softmax", "linear"))  # fmt: skip
    p = linked.predict(x)
    expected = np.mean([ref.auc(labels == k, p[:, k]) for k in range(4)])
    assert linked.evaluate(x, labels)["auc"] == pytest.approx(expected, rel=1e-12)
    assert logits.evaluate(x, labels)["auc"] == pytest.approx(expected, rel=1e-12)


def test_scores_that_round_to_1_keep_their_order():
    x = np.float32([[40], [50], [60], [70]])
    model = fixed(np.eye(1), "sigmoid", "binary_cross_entropy", ["auc"], "float32")
    assert (model.predict(x) == 1).all() and model.evaluate(x, [0, 0, 1, 1])["auc"] == 1.0


@pytest.mark.parametrize("beside", ["mae", "mse", "rmse", "r2", lambda t, p: 0.0])
@pytest.mark.parametrize("end", ["sigmoid", "linear"])
def test_a_metric_of_values_leaves_thresholds_where_they_are(end, beside):
    """One metric asks for probabilities, the other compares logits with the threshold's logit."""
    x, y = np.array([[-2.0], [-1], [1], [2]]), np.array([0, 0, 1, 1])
    model = fixed(np.eye(1), end, "binary_cross_entropy",
                  ["accuracy", "precision", M.BinaryAccuracy(0.8), beside])  # fmt: skip
    found = model.evaluate(x, y)
    assert found["accuracy"] == found["precision"] == 1.0
    assert found["binary_accuracy"] == 0.75  # sigmoid(1) = 0.73


@pytest.mark.parametrize("end, loss", [("softmax", "cross_entropy"), ("linear", "cross_entropy"),
                                       ("softmax", "mse"),
                                       ("softmax", "kl_divergence")])  # fmt: skip
def test_binary_accuracy_is_of_probabilities_whatever_the_loss(end, loss, rng):
    x, y = rng.normal(size=(40, 3)), np.eye(3)[rng.integers(0, 3, 40)]
    found = fixed(np.eye(3), end, loss, [M.BinaryAccuracy(0.4)]).evaluate(x, y)
    expected = ((scored.softmax(x) > 0.4) == y).mean()
    assert found["binary_accuracy"] == pytest.approx(expected, rel=1e-12)


def test_rows_of_an_output_with_positions_have_a_class_each(rng):
    """Of any loss: an image or a sequence of outputs is no single row of classes."""
    x, labels = rng.normal(size=(9, 4, 3)), rng.integers(0, 3, (9, 4))
    y = np.eye(3)[labels]
    for loss in ("mse", "mae", "cross_entropy"):
        model = bp.Sequential([bp.Input((4, 3)), L.Activation("softmax")], dtype="float64")
        model.compile("sgd", loss, metrics=["accuracy", "f1", "top_k", "auc"][:2])
        assert model.evaluate(x, y)["accuracy"] == (x.argmax(-1) == labels).mean(), loss


def test_many_classes_take_three_counts_each(rng):
    """20,000 classes: 20,000 x 20,000 counts would be 3.2 GB."""
    classes = 20_000
    labels = rng.integers(0, classes, 64)
    x = np.zeros((64, classes), np.float32)
    x[np.arange(64), labels] = 1
    model = bp.Sequential([bp.Input((classes,)), L.Activation("linear")])
    model.compile("sgd", "cross_entropy", metrics=["f1", "precision", M.Recall(average=None)])
    found = model.evaluate(x, labels, batch_size=16)
    assert found["f1"] == found["precision"] == 1.0 and len(found["recall"]) == classes


# ---- what has no value, and what cannot act ------------------------------------------------------


@pytest.mark.parametrize("target, word", [(0, "false"), (1, "true")])
def test_one_class_only(target, word):
    x, y = np.array([[0.1], [0.4], [0.3]]), np.full(3, target)
    model = fixed(np.eye(1), "sigmoid", "binary_cross_entropy", ["auc"])
    with pytest.warns(bp.errors.UndefinedMetricWarning, match=f"auc is not defined.* are {word}"):
        assert np.isnan(model.evaluate(x, y)["auc"])
    with pytest.warns(bp.errors.UndefinedMetricWarning, match="val_auc is not defined"):
        history = model.fit([[0.1], [0.2]], [0, 1], validation_data=(x, y), verbose=0).history
    assert np.isnan(history["val_auc"]).all() and not np.isnan(history["auc"]).any()


def test_one_class_only_of_several(rng):
    x, y = rng.normal(size=(6, 3)), np.array([[0, 1, 1], [1, 0, 1]] * 3)
    labels = fixed(np.eye(3), "sigmoid", "binary_cross_entropy", [M.AUC(None), M.AUC(name="m")])
    with pytest.warns(bp.errors.UndefinedMetricWarning, match="of label 2 are true"):
        found = labels.evaluate(x, y)
    assert np.isnan(found["auc"]).tolist() == [False, False, True] and np.isnan(found["m"])
    classes = fixed(np.eye(3), "softmax", "cross_entropy", ["auc"])
    with pytest.warns(bp.errors.UndefinedMetricWarning, match="of class 2 are false"):
        assert np.isnan(classes.evaluate(x, [0, 1] * 3)["auc"])
    weighted = fixed(np.eye(3), "softmax", "cross_entropy", [M.AUC("weighted")])
    found = weighted.evaluate(x, [0, 1] * 3)["auc"]  # a class that never occurs has no weight
    p = scored.softmax(x)
    truth = np.array([0, 1] * 3)
    assert found == pytest.approx(np.mean([ref.auc(truth == k, p[:, k]) for k in (0, 1)]))


def test_a_part_of_an_epoch_need_not_have_both_classes(tmp_path, capsys):
    """The bar and callbacks see metrics on the way; only an epoch's end says what is missing."""
    model = fixed(np.eye(1), "sigmoid", "binary_cross_entropy", ["auc"])
    seen = []
    each = bp.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: seen.append(logs["auc"]))
    x = np.array([[0.1], [0.2], [0.3], [0.4]])
    model.fit(x, [0, 0, 1, 1], batch_size=1, shuffle=False, verbose=1, callbacks=[each])
    assert np.isnan(seen[0]) and not np.isnan(seen[-1])


@pytest.mark.parametrize("metric", [M.Precision, M.Recall, M.F1])
@pytest.mark.parametrize("end, loss", [("softmax", "cross_entropy"), ("linear", "cross_entropy"),
                                       ("softmax", "mse"), ("linear", "mse")])  # fmt: skip
def test_a_threshold_that_cannot_act_is_an_error(metric, end, loss):
    with pytest.raises(ValueError, match=r"threshold=0\.3 has no effect on an output of 3 c"):
        fixed(np.eye(3), end, loss, [metric(0.3)])
    model = bp.Sequential([L.Dense(3, end)])
    model.compile("sgd", loss, metrics=[metric(threshold=0.3)])  # the width is not known yet
    with pytest.raises(ValueError, match="has no effect"):
        model.fit(np.ones((2, 2)), np.eye(3)[:2], verbose=0)
    assert not model.built


def test_a_file_with_a_threshold_that_cannot_act_still_loads(tmp_path):
    """Earlier releases took it."""
    config = {"class_name": "Precision", "config": {"threshold": 0.3}}
    with pytest.warns(bp.errors.MismatchWarning, match="has no effect"):
        model = fixed(np.eye(3), "softmax", "cross_entropy", [config])
    model.save(tmp_path / "m.safetensors")
    with pytest.warns(bp.errors.MismatchWarning, match="has no effect"):
        again = bp.load_model(tmp_path / "m.safetensors")
    assert again.evaluate(np.eye(3), [0, 1, 2])["precision"] == 1.0


@pytest.mark.parametrize("bad", ["mean", "binary", 3, ["macro"]])
def test_unknown_averages(bad):
    with pytest.raises((ValueError, TypeError), match="average must be one of"):
        M.Recall(average=bad)
    with pytest.raises((ValueError, TypeError), match="average must be one of"):
        M.AUC(average=bad)


def test_two_of_one_class_need_names_of_their_own():
    with pytest.raises(ValueError, match=r"given twice.*name='precision_2'"):
        fixed(np.eye(1), "sigmoid", "mse", [M.Precision(0.3), M.Precision(0.7)])
    made = [M.Precision(0.3, name="loose"), M.Precision(0.7, name="strict")]
    found = fixed(np.eye(1), "sigmoid", "binary_cross_entropy", made).evaluate(
        [[-0.5], [0.2], [2.0]], [0, 0, 1]
    )
    assert found["loose"] == pytest.approx(1 / 3) and found["strict"] == 1.0


@pytest.mark.parametrize("cls", [M.Accuracy, M.TopK, M.BinaryAccuracy, M.Precision, M.Recall, M.F1,
                                 M.AUC, M.MeanAbsoluteError, M.MeanSquaredError,
                                 M.RootMeanSquaredError, M.R2])  # fmt: skip
def test_every_metric_takes_a_name_and_keeps_it_in_a_file(cls, tmp_path):
    model = fixed(np.eye(5), "softmax", "cross_entropy", [cls(name="mine"), cls()])
    model.save(tmp_path / "m.safetensors")
    found = bp.load_model(tmp_path / "m.safetensors").evaluate(np.eye(5), np.eye(5))
    assert found["mine"] == found[cls().name]


def test_a_class_stands_for_its_object_in_a_file_too(tmp_path):
    model = fixed(np.eye(5), "softmax", "cross_entropy", [M.TopK, M.F1])
    model.save(tmp_path / "m.safetensors")
    found = bp.load_model(tmp_path / "m.safetensors").evaluate(np.eye(5), np.arange(5))
    assert found["top_5_accuracy"] == found["f1"] == 1.0
