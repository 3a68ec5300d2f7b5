"""scikit-learn's door for sequences: recurrent estimators, and any model over lists."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import bpcore as bp

pytest.importorskip("sklearn")

from sklearn.base import clone, is_classifier, is_regressor
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.utils.class_weight import compute_sample_weight

from bpcore.sklearn import Classifier, Regressor, RNNClassifier, RNNRegressor

FAST = {"learning_rate_init": 0.02, "max_iter": 25, "random_state": 0}


def walks(n=120, features=2, seed=0):
    """Sequences of unlike lengths, and whether their first column sums to more than 0."""
    draw = np.random.default_rng(seed)
    x = [draw.normal(size=(draw.integers(2, 9), features)) for _ in range(n)]
    return x, np.array(["down", "up"])[[int(s[:, 0].sum() > 0) for s in x]]


def signs(x):
    """For each step whether the sum up to it is above 0."""
    return [np.where(np.cumsum(s[:, 0]) > 0, "up", "down") for s in x]


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple"])
def test_a_class_for_each_sequence(cell):
    x, y = walks()
    net = RNNClassifier(12, cell, **FAST).fit(x, y)
    test, truth = walks(seed=1)
    assert net.score(test, truth) > 0.85 and list(net.classes_) == ["down", "up"]
    assert net.n_features_in_ == 2 and net.n_iter_ == 25
    z = net.model_.predict([s.astype(np.float64) for s in test])
    e = np.exp(z - z.max(axis=1, keepdims=True))
    np.testing.assert_allclose(net.predict_proba(test), e / e.sum(axis=1, keepdims=True))
    again = pickle.loads(pickle.dumps(net))
    assert np.array_equal(again.predict_proba(test), net.predict_proba(test))


def test_a_class_for_each_step_is_what_the_model_learns_by_hand():
    """The same network, trained by `fit` of the model on the same lists: the same bits."""
    x, _ = walks(40)
    y = signs(x)
    net = RNNClassifier(8, "gru", max_iter=3, random_state=5, class_weight="balanced").fit(x, y)
    flat = np.concatenate(y)
    weight = compute_sample_weight("balanced", flat)
    cuts = np.cumsum([len(s) for s in x])[:-1]
    seed = int(np.random.RandomState(5).randint(2**31 - 1))
    stack = [bp.Input((None, 2)), bp.layers.GRU(8, return_sequences=True), bp.layers.Dense(2)]
    model = bp.Sequential(stack, seed=seed, dtype="float64")
    model.compile(bp.optimizers.Adam(1e-3), "cross_entropy")
    told = [(s == "up").astype(np.int64) for s in y]
    model.fit(x, told, sample_weight=np.split(weight / weight.mean(), cuts), epochs=3, verbose=0)
    for a, b in zip(model.get_weights(), net.model_.get_weights(), strict=True):
        assert np.array_equal(a, b)
    found = net.predict(x)
    assert [len(s) for s in found] == [len(s) for s in x]
    weights = np.arange(1.0, 41)
    spread = np.repeat(weights, [len(s) for s in x])
    expected = accuracy_score(flat, np.concatenate(found), sample_weight=spread)
    assert net.score(x, y, weights) == pytest.approx(expected)
    assert net.score(x, y, np.split(spread, cuts)) == pytest.approx(expected)


def test_steps_of_one_length_as_lists_and_as_arrays():
    """Lists (T,) of one length, and arrays (N, T, F) with targets (N, T): the same training."""
    x = np.random.default_rng(0).normal(size=(30, 5, 2))
    y = np.array(signs(x))
    a = RNNClassifier(6, "gru", max_iter=3, random_state=0).fit(x, y)
    b = RNNClassifier(6, "gru", max_iter=3, random_state=0).fit(list(x), list(y))
    assert a.predict(x).shape == (30, 5) and isinstance(b.predict(list(x)), list)
    np.testing.assert_allclose(a.predict_proba(x), b.predict_proba(list(x)), rtol=1e-9)
    assert a.score(x, y) == b.score(list(x), list(y)) == np.mean(a.predict(x) == y)


def test_labels_of_steps_as_an_array_of_lists_and_of_ids():
    """Targets (N, T) of a list whose sequences are of one length, and of ids (N, T)."""
    x = np.random.default_rng(0).normal(size=(30, 5, 2))
    y = np.array(signs(x))
    a = RNNClassifier(6, "gru", max_iter=3, random_state=0).fit(list(x), y)
    b = RNNClassifier(6, "gru", max_iter=3, random_state=0).fit(list(x), list(y))
    for one, two in zip(a.predict_proba(list(x)), b.predict_proba(list(x)), strict=True):
        assert np.array_equal(one, two)
    assert a.score(list(x), y) == b.score(list(x), list(y))
    ids = np.random.default_rng(1).integers(0, 4, (60, 5))
    net = RNNClassifier(6, "gru", embedding=4, **FAST).fit(ids, ids % 2)
    assert net.predict(ids).shape == (60, 5) and net.score(ids, ids % 2) > 0.95
    with pytest.raises(ValueError, match="1d array"):  # of a whole sequence there is one label
        RNNClassifier(max_iter=1).fit(walks(30)[0], y)


def test_whole_numbers_after_a_series_are_values_and_none_are_ids():
    series = np.random.default_rng(0).normal(size=(20, 4))
    net = RNNRegressor(4, max_iter=2, random_state=0).fit(series, series[:, 0])
    whole = np.arange(8).reshape(2, 4)
    assert np.array_equal(net.predict(whole), net.predict(whole.astype(np.float32)))
    mixed = [[0.5, 1.5], [1, 2, 3]] * 4  # one with a point is enough
    net = RNNRegressor(4, max_iter=2, random_state=0).fit(mixed, [0.0, 1.0] * 4)
    assert net.n_features_in_ == 1 and net.predict([[1, 2]]) == net.predict([[1.0, 2.0]])
    net = RNNRegressor(4, max_iter=1).fit([[1, 2], [3]], [0.0, 1.0])
    with pytest.raises(ValueError, match=r"sequence 0 has dtype float64.*ids"):
        net.predict([[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"x\[1\] has no step"):
        net.fit([[1, 2], []], [0.0, 1.0])


def test_labels_of_no_axes_are_labels():
    x, _ = walks(6)
    for label in (lambda i: np.array(i % 2), lambda i: np.int64(i % 2)):
        net = RNNClassifier(3, max_iter=1).fit(x, [label(i) for i in range(6)])
        assert list(net.classes_) == [0, 1]


def test_numbers_for_sequences_and_steps():
    x, _ = walks()
    sums = [np.cumsum(s, axis=0) for s in x]
    ends = np.array([s[-1, 0] for s in sums])
    net = RNNRegressor(16, "gru", **{**FAST, "max_iter": 40}).fit(x, ends)
    assert net.predict(x).shape == ends.shape and net.score(x, ends) > 0.8
    both = RNNRegressor(16, "gru", **FAST).fit(x, sums)  # two numbers for each step
    found = both.predict(x)
    assert [f.shape for f in found] == [s.shape for s in sums]
    expected = r2_score(np.concatenate(sums), np.concatenate(found))
    assert both.score(x, sums) == pytest.approx(expected) and expected > 0.5
    one = RNNRegressor(4, max_iter=1, random_state=0).fit(x, [s[:, 0] for s in sums])
    assert [f.ndim for f in one.predict(x)] == [1] * len(x)
    windows = np.random.default_rng(0).normal(size=(20, 3, 1))  # several numbers for each sample
    assert RNNRegressor(4, max_iter=1).fit(windows, windows[..., 0]).predict(windows).shape == (
        20,
        3,
    )


def test_ids_series_and_object_arrays():
    draw = np.random.default_rng(0)
    ids = [draw.integers(0, 7, draw.integers(1, 6)) for _ in range(150)]
    y = np.array([int((s == 3).any()) for s in ids])
    net = RNNClassifier(12, "gru", embedding=6, **FAST).fit(ids, y)
    assert net.score(ids, y) > 0.9
    assert net.model_.layers[0].weights[0].shape == (7, 6)
    assert RNNClassifier(4, n_ids=9, max_iter=1).fit(ids, y).model_.layers[0].input_dim == 9
    with pytest.raises(ValueError, match="7"):
        net.predict([np.array([1, 7])])
    series = np.sin(0.4 * np.arange(200))
    windows = np.lib.stride_tricks.sliding_window_view(series[:-1], 6)
    one = RNNRegressor(8, "gru", **FAST).fit(windows, series[6:])
    two = RNNRegressor(8, "gru", **FAST).fit(list(windows), series[6:])
    assert one.score(windows, series[6:]) > 0.9 and one.n_features_in_ == 1
    np.testing.assert_allclose(one.predict(windows), two.predict(list(windows)), rtol=1e-6)
    objects = np.empty(len(ids), object)
    objects[:] = ids
    assert np.array_equal(net.predict(objects), net.predict(ids))


def test_layers_directions_dtypes_and_early_stopping():
    x, y = walks(80)
    net = RNNClassifier((6, 5), bidirectional=True, dropout=0.1, early_stopping=True,
                        n_iter_no_change=2, max_iter=60, learning_rate_init=0.05,
                        random_state=0).fit(x, y)  # fmt: skip
    names = [type(layer).__name__ for layer in net.model_.layers]
    assert names == ["Bidirectional", "Bidirectional", "Dense"]
    assert net.n_iter_ < 60 and "val_loss" in net.history_.history
    assert net.model_.dtype == "float64"
    single = RNNClassifier(4, max_iter=1).fit([s.astype(np.float32) for s in x], y)
    assert single.model_.dtype == "float32"


def test_searches_and_folds_over_lists():
    x, y = walks(60)
    assert is_classifier(RNNClassifier()) and is_regressor(RNNRegressor())
    assert clone(RNNClassifier(3, class_weight="balanced")).class_weight == "balanced"
    found = cross_val_score(RNNClassifier(8, "gru", **FAST), x, y, cv=3)
    assert found.shape == (3,) and found.mean() > 0.6
    steps = signs(x)
    found = cross_val_score(RNNClassifier(8, "gru", **FAST), x, steps, cv=KFold(2))
    assert found.mean() > 0.6
    grid = {"hidden_layer_sizes": [2, 8], "max_iter": [1, 20]}
    search = GridSearchCV(RNNClassifier(cell="gru", learning_rate_init=0.02, random_state=0),
                          grid, cv=2).fit(x, y)  # fmt: skip
    assert search.best_params_["max_iter"] == 20


def test_any_model_over_lists():
    """`Classifier` and `Regressor` hand the features of a step to the function."""

    def build(n_features, n_outputs, seed):
        stack = [bp.Input((None, n_features)), bp.layers.GRU(8), bp.layers.Dense(n_outputs)]
        return bp.Sequential(stack, seed=seed)

    def steps(n_features, n_outputs, seed):
        gru = bp.layers.GRU(8, return_sequences=True)
        return bp.Sequential([bp.Input((None, n_features)), gru, bp.layers.Dense(n_outputs)])

    x, y = walks(60)
    rate = bp.optimizers.Adam(0.02)
    net = Classifier(build, epochs=30, optimizer=rate, random_state=0).fit(x, y)
    assert net.score(x, y) > 0.8 and net.predict_proba(x).shape == (60, 2)
    assert Classifier(steps, epochs=20, optimizer=rate).fit(x, signs(x)).score(x, signs(x)) > 0.7
    ends = np.array([s.sum() for s in x])
    assert Regressor(build, epochs=40, optimizer=rate).fit(x, ends).score(x, ends) > 0.5
    sums = [np.cumsum(s[:, 0]) for s in x]
    found = Regressor(steps, epochs=1).fit(x, sums).predict(x)
    assert [f.shape for f in found] == [s.shape for s in sums]


def test_rows_as_lists_are_no_sequences():
    """As many targets as features: R squared is scikit-learn's mean over outputs, not over all."""
    x = np.random.default_rng(0).normal(size=(30, 2))
    y = x * [1, 10] + [3, 0]
    net = Regressor(epochs=3, random_state=0).fit(x.tolist(), y.tolist())
    assert net.predict(x.tolist()).shape == (30, 2)
    assert net.score(x.tolist(), y.tolist()) == pytest.approx(r2_score(y, net.predict(x)))


@pytest.mark.parametrize(("x", "words"), [
    (np.zeros(4), r"X has dtype float64 and shape \(4,\), expected numbers \(N, T, F\) or"),
    ([np.zeros((2, 3)), np.zeros((2, 4))], r"sequence 1 has shape \(2, 4\)"),
    ([np.zeros((2, 3)), np.zeros(2, int)], r"sequence 1 has shape \(2,\)"),
    (["ab", "c"], r"sequence 0 has dtype <U2"),
    ([], "no sequences"),
])  # fmt: skip
def test_what_are_no_sequences(x, words):
    with pytest.raises(ValueError, match=words):
        RNNClassifier(max_iter=1).fit(x, np.arange(len(x)) % 2)


def test_arguments_and_lengths_are_checked():
    x, y = walks(20)
    with pytest.raises(ValueError, match="cell"):
        RNNClassifier(cell="elman").fit(x, y)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        RNNClassifier(max_iter=1).fit(x, y[:-1])
    with pytest.raises(ValueError, match=r"RNNClassifier needs .* one class: 'a'"):
        RNNClassifier(max_iter=1).fit(x, ["a"] * 20)
    steps = signs(x)
    steps[7] = steps[7][:-1]
    with pytest.raises(ValueError, match=rf"y\[7\] has {len(steps[7])} targets, expected"):
        RNNClassifier(max_iter=1).fit(x, steps)
    for weight in ([1, 2], np.ones((20, 2)), [np.ones(len(s) + 1) for s in x]):
        with pytest.raises(ValueError, match=r"sample_weight has \d+ values, expected 20, one for"):
            RNNClassifier(max_iter=1).fit(x, signs(x), sample_weight=weight)
    for kind in (RNNRegressor, RNNClassifier):
        with pytest.raises(ValueError, match="y is None"):
            kind(max_iter=1).fit(x, None)
    for options, words in (
        ({"hidden_layer_sizes": ()}, "hidden_layer_sizes is empty"),
        ({"n_ids": 0}, "input_dim must be >= 1, got 0"),
        ({"early_stopping": True, "validation_fraction": 2}, r"validation_fraction must be in"),
    ):
        with pytest.raises(ValueError, match=words):
            RNNClassifier(**options).fit([[1, 2], [3]] * 5, [0, 1] * 5)
    with pytest.raises(TypeError, match="bidirectional"):
        RNNClassifier(bidirectional="no").fit(x, y)
    net = RNNClassifier(4, max_iter=1).fit(x, y)
    with pytest.raises(ValueError, match="3"):
        net.predict([np.zeros((4, 3))])
