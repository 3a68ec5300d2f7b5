"""Tables: what is learned of a column, what is refused, and the estimators on them."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import bpcore as bp
from bpcore import tabular

from .helpers import support
from .helpers.tables import people


# ---- preparation -------------------------------------------------------------------------------
def test_standard_scaling_medians_flags_and_levels():
    table = {"a": [1.0, None, 3.0, 8.0], "b": ["x", "y", "x", "x"], "c": [True, False, True, True]}
    prepare = tabular.Preprocessor("standard").fit(table)
    assert prepare.feature_names == ["a", "a missing", "b=x", "b=y", "b=other", "c"]
    known = np.array([1.0, 3.0, 8.0])
    filled = (np.array([1.0, 3.0, 3.0, 8.0]) - known.mean()) / known.std()
    found = prepare.transform(table)
    np.testing.assert_allclose(found[:, 0], filled, rtol=1e-6)
    assert found[:, 1].tolist() == [0, 1, 0, 0] and found[:, 2:5].sum() == 4
    strange = prepare.transform({"c": [None], "b": ["z"], "a": [3.0]})  # another order, unseen
    assert strange[0, 1:].tolist() == [0, 0, 0, 1, 0.5]


def test_a_missing_category_is_no_other_value():
    """Known, unseen and missing: a column each, and never two of them."""
    prepare = tabular.Preprocessor().fit({"b": ["x", None, "y", "x"]})
    assert prepare.feature_names == ["b=x", "b=y", "b=other", "b missing"]
    found = prepare.transform({"b": ["y", "z", None]})
    assert found.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_missing_numbers_are_medians_not_means():
    table = {"a": [1.0, 2.0, None, 90.0, 3.0, 4.0]}
    known = np.array([1.0, 2.0, 90.0, 3.0, 4.0])
    found = tabular.Preprocessor("standard").fit(table).transform(table)
    assert found[2, 0] == pytest.approx((3.0 - known.mean()) / known.std(), rel=1e-6)
    assert found[2, 1] == 1


def test_the_most_frequent_levels_have_columns():
    """64 of 70, and the rarest six are one: the six that come first by name."""
    words = [f"v{i:02d}" for i in range(70) for _ in range(2 if i < 6 else 3 + i % 5)]
    prepare = tabular.Preprocessor().fit({"b": words})
    assert prepare.width == 65
    found = prepare.transform({"b": [f"v{i:02d}" for i in range(70)]})
    assert found[:6, 64].all() and not found[6:, 64].any()


def test_mean_and_variance_of_many_blocks():
    """Blocks of unlike means, as of a file that is sorted: NumPy's numbers of all at once."""
    from bpcore.data import tables

    n = 2 * tables.ROWS + tables.ROWS // 2
    x = np.linspace(-5, 20, n) + np.random.default_rng(0).normal(size=n)
    (column,) = tabular.Preprocessor("standard").fit({"x": x}).columns
    assert column.center == pytest.approx(x.mean(), rel=1e-12)
    assert column.scale == pytest.approx(x.std(), rel=1e-12)


def test_numbers_beyond_those_of_training_stay_where_the_network_has_learned():
    """By quantiles the least and the largest are those of 1/1000 and 999/1000."""
    x = np.random.default_rng(0).lognormal(size=5000)
    prepare = tabular.Preprocessor("quantile").fit({"x": x})
    low, high = prepare.transform({"x": [-1e9, 1e9]})[:, 0]
    assert (low, high) == (pytest.approx(-3.0902323, abs=1e-5), pytest.approx(3.0902323, abs=1e-5))


def test_quantile_scaling_makes_normal_numbers():
    x = np.exp(np.random.default_rng(0).normal(size=20_000))
    found = tabular.Preprocessor().fit({"x": x}).transform({"x": x})[:, 0]
    assert abs(found.mean()) < 0.02 and abs(found.std() - 1) < 0.05
    order = np.argsort(x)
    assert (np.diff(found[order]) >= 0).all()
    for p, z in ((0.5, 0.0), (0.975, 1.959964), (0.1586553, -1.0)):
        assert found[order[int(p * len(x))]] == pytest.approx(z, abs=0.1)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_and_dicts_are_alike(library):
    lib = pytest.importorskip(library)
    table, score = people()
    frame = lib.DataFrame(table)
    a = tabular.TabularRegressor((16,), epochs=5, random_state=0).fit(table, score)
    b = tabular.TabularRegressor((16,), epochs=5, random_state=0).fit(frame, score)
    assert np.array_equal(a.predict(table), b.predict(frame[["city", "income", "member", "age"]]))


def test_columns_that_say_nothing_are_left_out_with_a_word():
    n = 120
    table = {"x": np.arange(float(n)), "same": ["k"] * n, "empty": [None] * n, "one": np.ones(n),
             "id": [f"u{i}" for i in range(n)]}  # fmt: skip
    with pytest.warns(UserWarning) as noted:
        prepare = tabular.Preprocessor().fit(table)
    assert prepare.feature_names == ["x"]
    assert sorted(str(w.message).split("'")[1] for w in noted) == ["empty", "id", "one", "same"]
    assert prepare.transform({"x": [1.0]}).shape == (1, 1)  # they are not asked for again


BAD = {
    "dates": ({"d": ["2024-01-01", "2024-01-02"] * 20}, r"'d' holds dates.*year, month"),
    "a word among numbers": (
        {"n": [str(i) for i in range(30)] + ["oops"]}, r"'n' holds 'oops' in row 31"),
    "infinity": ({"n": [1.0, np.inf]}, r"holds Inf in row 2"),
    "nothing left": ({"n": [1.0, 1.0]}, r"no column is left"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_prepared_is_named(case):
    table, words = BAD[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=words):
            tabular.Preprocessor().fit(table)


def test_use_refuses_what_training_did_not_have():
    prepare = tabular.Preprocessor().fit({"age": [1.0, 2.0, 3.0], "b": ["x", "y", "x"]})
    with pytest.raises(ValueError, match=r"lacks the column 'age'.*did you mean 'aged'"):
        prepare.transform({"aged": [1.0], "b": ["x"]})
    with pytest.raises(ValueError, match=r"'age' holds 'old' in row 2, expected a number"):
        prepare.transform({"age": [1.0, "old"], "b": ["x", "x"]})


# ---- estimators --------------------------------------------------------------------------------
def test_classifier_learns_saves_and_loads(tmp_path):
    table, score = people(1500)
    label = np.where(score > 0.5, "yes", "no")
    model = tabular.TabularClassifier((32,), random_state=0).fit({**table, "label": label}, "label")
    test, truth = people(400, seed=1)
    assert model.score(test, np.where(truth > 0.5, "yes", "no")) > 0.85
    path = tmp_path / "m.safetensors"
    model.save(path)
    code = (
        "import sys, json; from bpcore import tabular; m = tabular.load(sys.argv[1]);"
        "row = {'age': [None], 'city': ['Paris'], 'member': [True], 'income': [1000.0]};"
        "print(json.dumps(m.predict_proba(row).tolist()))"
    )
    row = {"age": [None], "city": ["Paris"], "member": [True], "income": [1000.0]}
    found = json.loads(support.run_python(code, path).stdout)
    assert found == model.predict_proba(row).tolist()
    with pytest.raises(bp.FormatError, match="expected a model"):
        bp.load_model(path)
    bp.Sequential([bp.Input((1,)), bp.layers.Dense(1)], seed=0).save(path)
    with pytest.raises(bp.FormatError, match="no tabular model"):
        tabular.load(path)


def test_regressor_gives_back_the_targets_units():
    table, score = people(1500)
    model = tabular.TabularRegressor((32,), random_state=0).fit(table, 1e6 + 1000 * score)
    test, truth = people(400, seed=1)
    assert model.score(test, 1e6 + 1000 * truth) > 0.6
    apart = model.predict(test) - (1e6 + 1000 * truth)
    assert np.abs(apart).mean() < 1000


def test_bad_targets_are_named_before_training():
    table, score = people(60)
    named = {**table, "t": [None, *["a"] * 59]}
    with pytest.raises(ValueError, match=r"target is missing in row 1"):
        tabular.TabularClassifier().fit(named, "t")
    with pytest.raises(ValueError, match=r"no column 'tt'; did you mean 't'"):
        tabular.TabularClassifier().fit(named, "tt")
    with pytest.raises(ValueError, match=r"one class, 'a'"):
        tabular.TabularClassifier().fit(table, ["a"] * 60)
    with pytest.raises(ValueError, match=r"holds 'a' in row 2"):
        tabular.TabularRegressor().fit(table, [1.0, "a"] * 30)
    with pytest.raises(ValueError, match=r"nothing to learn"):
        tabular.TabularRegressor().fit(table, np.ones(60))
    with pytest.raises(ValueError, match=r"target has 59 rows, the table 60"):
        tabular.TabularRegressor().fit(table, score[1:])
    with pytest.raises(RuntimeError, match="not fitted"):
        tabular.TabularRegressor().predict(table)
    with pytest.raises(ValueError, match=r"sample_weight has shape \(59,\), expected \(60,\)"):
        tabular.TabularRegressor().fit(table, score, np.ones(59))
    with pytest.raises(ValueError, match="unlike length: 'a' 2, 'b' 3"):
        tabular.TabularRegressor().fit({"a": [1, 2], "b": [1, 2, 3]}, [1, 2])
    assert tabular.TabularRegressor(dropout=0.5).get_params()["dropout"] == 0.5
    with pytest.raises(ValueError, match="did you mean 'dropout'"):
        tabular.TabularRegressor().set_params(droput=0.1)


def test_classes_come_back_as_they_were(tmp_path):
    table, score = people(120)
    for values, kind in (
        ((score > 0.5).astype(np.int64) + 1_234_567, "i"),
        (score > 0.5, "b"),
        (np.where(score > 0.5, 0.5, 1.25), "f"),
        (np.where(score > 0.5, "no", "yes"), "U"),
    ):
        model = tabular.TabularClassifier((8,), epochs=2, random_state=0).fit(table, values)
        assert model.predict(table).dtype.kind == kind == model.classes_.dtype.kind
        assert model.classes_.tolist() == np.unique(values).tolist()
        assert model.score(table, values) == np.mean(model.predict(table) == values)
        model.save(tmp_path / "m.st")
        again = tabular.load(tmp_path / "m.st")
        assert again.predict(table).tolist() == model.predict(table).tolist()


@pytest.mark.parametrize("categories", ["one-hot", "embedding"])
def test_categories_are_learned_either_way(categories, tmp_path):
    rng = np.random.default_rng(0)
    names = [f"town {i}" for i in range(30)]
    height = dict(zip(names, rng.normal(size=30), strict=True))
    town = rng.choice(names, 1500)
    table = {"town": town, "x": rng.normal(size=1500)}
    y = np.array([height[t] for t in town])
    model = tabular.TabularRegressor((16,), categories=categories, dropout=0.0, random_state=0)
    model.fit(table, y)
    assert model.score(table, y) > 0.95
    assert len(model.model_.inputs) == (1 if categories == "one-hot" else 2)
    model.save(tmp_path / "m.st")
    assert np.array_equal(tabular.load(tmp_path / "m.st").predict(table), model.predict(table))
    model.predict({"town": ["never seen"], "x": [0.0]})
    only = tabular.TabularRegressor((4,), epochs=1, categories=categories).fit({"t": town}, y)
    assert only.predict({"t": town[:3]}).shape == (3,)


def test_members_answer_with_their_mean(monkeypatch, tmp_path):
    from bpcore.tabular import networks

    table, score = people(200)
    made = []
    plain = networks.Recipe.build
    monkeypatch.setattr(networks.Recipe, "build", lambda *a: made.append(plain(*a)) or made[-1])
    for categories in ("one-hot", "embedding"):
        made.clear()
        model = tabular.TabularRegressor(
            (6,), members=3, epochs=4, random_state=0, categories=categories
        ).fit(table, score)
        x = networks.inputs(model.model_, model.preprocessor_, model.preprocessor_.transform(table))
        expected = np.mean([member.predict(x) for member, _ in made], axis=0)
        np.testing.assert_allclose(model.model_.predict(x), expected, rtol=1e-5, atol=1e-6)
        assert len(made) == len(model.histories_) == 3
        truth, answers = model.held_out_
        assert len(truth) == len(answers) == 3 * int(200 * 0.15)
        model.save(tmp_path / "m.st")
        assert np.array_equal(tabular.load(tmp_path / "m.st").predict(table), model.predict(table))
    held = networks.held_out(200, 0.15, 0, 3)
    assert (held.sum(axis=1) == 30).all() and held.sum(axis=0).max() == 1
    sizes = ((10, 3), (5000, 3), (10_000, 3), (40_000, 3), (10, 10_000))
    assert [networks.count(None, *size) for size in sizes] == [16, 8, 4, 1, 4]


def test_held_out_answers_are_means_over_those_who_held_out():
    """Each row by two of four members: their mean, in the target's units."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    model = tabular.TabularRegressor(
        (8,), members=4, validation_fraction=0.5, epochs=60, dropout=0.0, random_state=0
    ).fit({"x": x}, 50 + 3 * x)
    truth, answers = model.held_out_
    assert len(truth) == 300
    np.testing.assert_allclose(np.sort(truth), np.sort(50 + 3 * x), rtol=1e-6)
    assert 1 - np.square(truth - answers).sum() / np.square(truth - truth.mean()).sum() > 0.9
    slope = np.polyfit(truth - truth.mean(), answers, 1)[0]
    assert slope == pytest.approx(1, abs=0.1)  # of sums it would be 2


def test_sample_weights_belong_to_their_rows():
    """Rows of weight 0 have the wrong class, and stand among the others in no order."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=600)
    right = x > 0
    counts = rng.random(600) > 0.5
    given = np.where(counts, right, ~right)
    for members in (1, 3):
        model = tabular.TabularClassifier((8,), epochs=40, members=members, random_state=0)
        model.fit({"x": x}, np.where(given, "b", "a"), sample_weight=counts.astype(float))
        assert (model.predict({"x": x}) == np.where(right, "b", "a")).mean() > 0.9


def test_the_score_of_a_regressor_is_r_squared():
    table, score = people(200)
    model = tabular.TabularRegressor((6,), epochs=3, members=1, random_state=0)
    model.fit(table, 100 + score)
    apart = 100 + score - model.predict(table)
    assert model.score(table, 100 + score) == pytest.approx(1 - apart.var() / score.var() - (
        apart.mean() ** 2 / score.var()), rel=1e-9)  # fmt: skip


def test_numbers_as_classes_are_in_the_order_of_numbers():
    x = np.arange(120.0)
    y = np.array([100, 9, 10, 9])[np.arange(120) % 4]
    model = tabular.TabularClassifier((4,), epochs=1, members=1, random_state=0)
    model.fit({"x": x}, y)
    assert model.classes_.tolist() == [9, 10, 100]


def test_patience_ends_a_training_that_learns_nothing():
    draw = np.random.default_rng(0)
    model = tabular.TabularClassifier((64,), epochs=400, patience=3, members=1, random_state=0)
    model.fit({"x": draw.normal(size=200)}, draw.integers(0, 2, 200))
    best = int(np.argmin(model.history_.history["val_loss"])) + 1
    assert model.n_iter_ == best + 3 < 400


def test_long_tails_are_scaled_by_quantiles():
    x = np.random.default_rng(0).normal(size=2000)
    kinds = [len(c.knots) for c in tabular.Preprocessor().fit({"a": x, "b": np.exp(2 * x)}).columns]
    assert kinds[0] == 0 and kinds[1] > 0


def test_a_network_of_the_users_own():
    table, score = people(300)

    def build(n_features, n_outputs, seed):
        stack = [bp.layers.Dense(12, "tanh"), bp.layers.Dense(n_outputs, "softmax")]
        return bp.Sequential([bp.Input((n_features,)), *stack], seed=seed)

    model = tabular.TabularClassifier(model=build, epochs=30, random_state=0).fit(table, score > 0)
    assert [layer.units for layer in model.model_.layers if hasattr(layer, "units")] == [12, 2]
    np.testing.assert_allclose(model.predict_proba(table).sum(axis=1), 1, rtol=1e-5)
    with pytest.raises(TypeError, match="a function that makes one"):
        tabular.TabularClassifier(model=bp.Sequential([])).fit(table, score > 0)


def test_pipelines_and_searches_of_scikit_learn_take_them():
    pytest.importorskip("sklearn")
    pd = pytest.importorskip("pandas")
    from sklearn.base import clone, is_classifier, is_regressor
    from sklearn.model_selection import GridSearchCV, cross_val_score

    table, score = people(300)
    frame, label = pd.DataFrame(table), np.where(score > 0.5, "yes", "no")
    model = tabular.TabularClassifier((16,), epochs=40, random_state=0)
    assert is_classifier(model) and is_regressor(tabular.TabularRegressor())
    assert cross_val_score(model, frame, label, cv=3, scoring="accuracy").mean() > 0.7
    search = GridSearchCV(model, {"epochs": [1, 40]}, cv=2).fit(frame, label)
    assert search.best_params_ == {"epochs": 40} and clone(model).get_params()["epochs"] == 40


def test_rows_beyond_memory_are_mapped(monkeypatch):
    from bpcore.tabular import rows

    table, score = people(500)
    expected = tabular.TabularRegressor((8,), epochs=3, random_state=0).fit(table, score)
    monkeypatch.setattr(rows, "IN_MEMORY", 1000)
    prepare = tabular.Preprocessor().fit(table)
    held = np.arange(500) % 4 == 0
    train, test = rows.features(prepare, tabular.open_table(table), held)
    assert isinstance(train, np.memmap) and isinstance(test, np.memmap)
    whole = prepare.transform(table)
    assert np.array_equal(train, whole[~held]) and np.array_equal(test, whole[held])
    mapped = tabular.TabularRegressor((8,), epochs=3, random_state=0).fit(table, score)
    assert np.array_equal(mapped.predict(table), expected.predict(table))


def test_odd_frames_and_targets():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    n = 100
    numbers = np.arange(n) % 2 + 3
    for column in (pd.Categorical(numbers), pd.Series(numbers.astype(float)).astype("category")):
        names = tabular.Preprocessor().fit(pd.DataFrame({"a": column})).feature_names
        assert names == ["a=3", "a=4", "a=other"]  # who says category means it
    lazy = pl.DataFrame({"a": np.arange(n)}).lazy()
    assert tabular.Preprocessor().fit(lazy).feature_names == ["a"]
    model = tabular.TabularClassifier((4,), epochs=1, members=1)
    big = np.where(numbers == 3, 2**60, 2**60 + 1)
    assert model.fit({"a": np.arange(n)}, big).classes_.tolist() == [2**60, 2**60 + 1]
    assert model.predict({"a": np.empty(0)}).shape == (0,)
    assert model.predict_proba({"a": np.empty(0)}).shape == (0, 2)
    with pytest.raises(ValueError, match="has no rows"):
        tabular.TabularRegressor().fit({"a": []}, [])
    with pytest.raises(TypeError, match="'a' has dtype complex128"):
        tabular.Preprocessor().fit({"a": numbers * 1j})
    with pytest.raises(TypeError, match="'a' holds a list"):
        tabular.Preprocessor().fit({"a": [[1, 2]] * n})
