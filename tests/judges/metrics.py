"""Every metric against scikit-learn, 200 random cases of each form of output, plain and weighted.

``python -m pytest tests/judges/metrics.py``
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

import bpcore as bp

from ..helpers import scored

M = bp.metrics
CASES = 200
AVERAGES = {
    "auto": "binary",
    "macro": "macro",
    "micro": "micro",
    "weighted": "weighted",
    None: None,
}
# what these say of classes that nothing names is 0 here as well
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
FUNCTIONS = ((M.Precision, sk.precision_score), (M.Recall, sk.recall_score), (M.F1, sk.f1_score))


def every_case(form):
    return [scored.case(form, seed) for seed in range(CASES)]


def predicted(case, threshold=0.5):
    if case.form == "classes":
        return case.p.argmax(axis=1)
    return (case.p > case.threshold(threshold)) * 1


@quiet
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("form", scored.FORMS)
def test_precision_recall_f1(form, average, weighted):
    thresholds = [None] if form == "classes" else [None, 0.2173, 0.7131]
    for case in every_case(form):
        for threshold in thresholds:
            guess = predicted(case, threshold or 0.5)
            options = {"average": AVERAGES[average], "sample_weight": case.w if weighted else None}
            two = form == "binary" or (form == "classes" and case.p.shape[1] == 2)
            if average == "auto" and not two:
                options["average"] = "macro"
            if average is None and form != "labels":
                options["labels"] = range(2 if form == "binary" else case.p.shape[1])
            made = [cls(threshold, average) for cls, _ in FUNCTIONS]
            for value, (_, function) in zip(case.evaluate(made, weighted), FUNCTIONS, strict=True):
                expected = function(case.t, guess, **options)
                np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
@pytest.mark.parametrize("form", scored.FORMS)
def test_auc(form, average, weighted):
    compared = 0
    for case in every_case(form):
        t = case.t if form != "classes" else np.eye(case.p.shape[1])[case.t]
        if not scored.both_present(t):
            continue
        compared += 1
        p, w = case.p, case.w if weighted else None
        if form == "classes" and p.shape[1] == 2:
            expected = sk.roc_auc_score(case.t, p[:, 1] - p[:, 0], sample_weight=w)
        else:  # one-hot columns: one against the rest, whatever the scores add up to
            expected = sk.roc_auc_score(t, p, average=average, sample_weight=w)
        found = case.evaluate([M.AUC(average)], weighted)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert compared > CASES // 3


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", scored.FORMS)
def test_accuracies(form, weighted):
    for case in every_case(form):
        w = case.w if weighted else None
        found = case.evaluate([M.Accuracy()], weighted)[0]
        if form == "classes" or (form == "labels" and case.loss == "mse"):
            truth = case.t if form == "classes" else case.t.argmax(axis=1)
            expected = sk.accuracy_score(truth, case.p.argmax(axis=1), sample_weight=w)
        elif form == "binary":
            expected = sk.accuracy_score(case.t, predicted(case), sample_weight=w)
        else:  # by label
            expected = 1 - sk.hamming_loss(case.t, predicted(case), sample_weight=w)
        assert found == pytest.approx(expected, rel=1e-12)
        threshold = 0.2173
        if form != "classes":
            found = case.evaluate([M.BinaryAccuracy(threshold)], weighted)[0]
            columns = case.t.reshape(len(case.w), -1), predicted(case, threshold)
            expected = 1 - sk.hamming_loss(columns[0], columns[1].reshape(columns[0].shape),
                                           sample_weight=w)  # fmt: skip
            assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_top_k(weighted):
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        n, classes = int(rng.integers(2, 60)), int(rng.integers(3, 9))
        z, t = rng.normal(size=(n, classes)), rng.integers(0, classes, n)
        w = rng.uniform(0.1, 3, n)
        k = int(rng.integers(1, classes))
        case = scored.Case("classes", "cross_entropy", "softmax", z, t, t, z, z, w, w, n, 0.5)
        expected = sk.top_k_accuracy_score(t, z, k=k, labels=range(classes),
                                           sample_weight=w if weighted else None)  # fmt: skip
        assert case.evaluate([M.TopK(k)], weighted)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("columns", [1, 3])
def test_values(columns, weighted):
    for seed in range(CASES):
        rng = np.random.default_rng([seed, columns])
        n = int(rng.integers(2, 60))
        t = rng.normal(size=(n, columns)) * 10.0 ** rng.integers(-3, 4) + rng.normal() * 100
        p = t + rng.normal(size=t.shape) * rng.uniform(0.1, 2) * t.std()
        if seed % 7 == 0 and not weighted:
            t[:, 0] = 3.0  # constant; scikit-learn knows it by an exact mean
        w = rng.uniform(0.1, 3, n)
        case = scored.Case("values", "mse", "linear", p, t, t, p, p, w, w, n, 0.5)
        made = [M.MeanAbsoluteError(), M.MeanSquaredError(), M.RootMeanSquaredError(), M.R2()]
        weights = {"sample_weight": w if weighted else None}
        mse = sk.mean_squared_error(t, p, **weights)
        expected = [sk.mean_absolute_error(t, p, **weights), mse, np.sqrt(mse),
                    sk.r2_score(t, p, **weights)]  # fmt: skip
        np.testing.assert_allclose(case.evaluate(made, weighted), expected, rtol=1e-9, atol=1e-12)
