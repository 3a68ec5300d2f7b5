"""Tables: what is learned of a column, what is refused, files, and the command line on them."""

from __future__ import annotations

import csv
import json
import math
import os
import warnings

import numpy as np
import pytest

import bpcore as bp
from bpcore import cli, tabular

from .helpers import support


def people(n=400, seed=0):
    """A dict of columns of all kinds, and a target that follows from them."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 10, n)
    city = rng.choice(["Bern", "Oslo", "Rome"], n)
    table = {
        "age": [None if i % 9 == 0 else float(a) for i, a in enumerate(age)],
        "city": [None if i % 11 == 0 else str(c) for i, c in enumerate(city)],
        "member": [bool(b) for b in rng.random(n) > 0.5],
        "income": np.exp(rng.normal(10, 1, n)),
    }
    score = np.where(city == "Rome", 2.0, 0.0) + (age > 40) - 1.5 * np.array(table["member"])
    return table, score


def write(path, table, **options):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, **options)
        writer.writerow(table)
        writer.writerows(
            ["" if v is None else v for v in row] for row in zip(*table.values(), strict=True)
        )
    return path


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
    assert [networks.count(None, n) for n in (10, 5000, 10_000, 40_000)] == [8, 8, 4, 1]


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


# ---- files -------------------------------------------------------------------------------------
def columns(path, **options):
    table = tabular.open_table(path, **options)
    return {name: [v for b in table.blocks() for v in b[name].tolist()] for name in table.names}


def test_only_what_is_asked_for_is_read(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {"a": [1.0, 2.0], "b.c": ["x", "y"], "d": [True, False]}
    parquet.write_table(pa.table(table), tmp_path / "t.parquet")
    path = write(tmp_path / "t.csv", table)
    for source in (tmp_path / "t.parquet", path, table):
        for names in (["a"], ["b.c"], ["a", "d"]):
            (block,) = tabular.open_table(source).blocks(names)
            assert list(block) == names


def test_separators_quotes_encodings_marks(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a;b\n1,5;"x;y"\n1.000,25;NA\n', encoding="utf-8")
    found = columns(path, decimal=",", thousands=".")
    assert found == {"a": [1.5, 1000.25], "b": ["x;y", None]}
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text("naïve,b\n1,2\n", encoding=encoding)
        assert columns(path) == {"naïve": [1.0], "b": [2.0]}
    path.write_bytes("stadt,n\nZürich,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"not utf-8-sig.*give the file's encoding"):
        columns(path)
    assert columns(path, encoding="latin-1")["stadt"] == ["Zürich"]
    path.write_text("a,b,c\n1,1_000,-999\n NA ,2,5\n")
    found = columns(path, missing=["-999"])
    assert found["b"] == ["1_000", "2"] and math.isnan(found["a"][1])
    assert math.isnan(found["c"][0]) and found["c"][1] == 5.0
    (tmp_path / "t.tsv").write_text("a,b\tc\n1\tgone\n")
    found = columns(tmp_path / "t.tsv", missing=["gone"])
    assert found["a,b"] == [1.0] and math.isnan(found["c"][0])
    np.savez(tmp_path / "t.npz", x=np.arange(4.0).reshape(2, 2), y=np.array([1, 2]))
    assert columns(tmp_path / "t.npz") == {"x_0": [0.0, 2.0], "x_1": [1.0, 3.0], "y": [1.0, 2.0]}


FILES = {
    "empty": (b"", r"is empty"),
    "header only": (b"a,t\n", r"no rows"),
    "ragged": (b"a,t\n1,x\n1,2,3\n", r"line 3: 3 fields, expected 2"),
    "NUL": (b"a,t\n1,x\n\0,y\n", r"line 3.*NUL"),
    "open quote": (b'a,t\n1,"x\n2,y\n', r"quotation mark"),
    "no target": (b"a,b\n1,x\n2,y\n", r"no column 't'"),
    "one class": (b"a,t\n1,x\n2,x\n", r"one class, 'x'"),
    "missing target": (b"a,t\n1,x\n2,\n3,y\n", r"missing in row 2"),
    "same name twice": (b"a,a,t\n1,2,x\n3,4,y\n", r"two columns are named 'a'"),
    "no name": (b"a,,t\n1,2,x\n3,4,y\n", r"column 2 has no name"),
    "mixed": (b"a,t\n" + b"".join(b"%d,%s\n" % (i, b"xy"[i % 2 : i % 2 + 1]) for i in range(40))
              + b"oops,x\n", r"'oops' in row 41"),
    "wrong encoding": ("a,t\nZürich,x\nBern,y\n".encode("latin-1"), r"not utf-8"),
    "all missing": (b"a,t\n" + b",x\n,y\n" * 20, r"no column is left"),
    "infinite": (b"a,t\n1,x\ninf,y\n", r"'a' holds Inf in row 2"),
    "too large": (b"a,t\n1e300,x\n2,y\n", r"'a' holds 1e\+300 in row 1"),
    "binary": (bytes(range(256)) * 4, r"utf-8|NUL|fields|is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_bad_files_end_with_file_and_row_and_overwrite_nothing(case, tmp_path, capsys):
    data, words = FILES[case]
    path, out = tmp_path / "t.csv", tmp_path / "m.safetensors"
    path.write_bytes(data)
    out.write_text("mine")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the column that is left out
        assert cli.main(["train", str(path), "--target", "t", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error and "Traceback" not in error and out.read_text() == "mine"
    assert support.found(words, error), error


def test_a_folder_and_a_missing_file(tmp_path, capsys):
    out = tmp_path / "m.safetensors"
    for path in (tmp_path, tmp_path / "nowhere.csv"):
        assert cli.main(["train", str(path), "--target", "t", "--out", str(out)]) == 2
        assert str(path) in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("name", ["t.npz", "t.parquet"])
@pytest.mark.parametrize("data", [b"", b"hello", bytes(range(256))], ids=len)
def test_files_that_are_not_what_their_names_say(name, data, tmp_path, capsys):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(data)
    assert cli.main(["train", str(path), "--target", "t", "--out", str(tmp_path / "m")]) == 2
    assert str(path) in capsys.readouterr().err


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,t\n1,x\n2,y\n")
    path.chmod(0)
    assert cli.main(["train", str(path), "--target", "t", "--out", str(tmp_path / "m")]) == 2
    assert str(path) in capsys.readouterr().err


def test_what_is_read_is_never_overwritten(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    table, score = people(60)
    data = write(tmp_path / "d.csv", {**table, "t": np.where(score > 0.5, "yes", "no")})
    before, model = data.read_bytes(), str(tmp_path / "m.st")
    train = ["train", str(data), "--target", "t", "--epochs", "1", "--out"]
    assert cli.main([*train, str(data)]) == 2
    assert "--out" in capsys.readouterr().err and data.read_bytes() == before
    assert cli.main([*train, model, "--plot", str(tmp_path / "p.foo")]) == 2
    assert "ends in one of" in capsys.readouterr().err and not os.path.exists(model)
    assert cli.main([*train, model]) == 0
    for path in (str(data), model):
        assert cli.main(["predict", model, str(data), "-o", path]) == 2
        assert "itself" in capsys.readouterr().err
    assert data.read_bytes() == before


def test_a_bad_row_is_named_in_prediction_too(tmp_path, capsys, monkeypatch):
    from bpcore.tabular import reading

    monkeypatch.setattr(reading, "ROWS", 7)
    data, bad = tmp_path / "d.csv", tmp_path / "bad.csv"
    lines = [f"{i},{'xy'[i % 2]}" for i in range(40)]
    data.write_text("\n".join(["a,t", *lines]))
    model, out = str(tmp_path / "m.st"), tmp_path / "out.csv"
    train = ["train", str(data), "--target", "t", "--epochs", "1", "--out", model]
    assert cli.main(train) == 0
    for value in ("word", "1e300"):
        bad.write_text("\n".join(["a,t", *lines[:30], f"{value},x", *lines[30:]]))
        for told in (["predict", model, str(bad), "-o", str(out)], ["evaluate", model, str(bad)]):
            capsys.readouterr()
            assert cli.main(told) == 2
            error = capsys.readouterr().err
            assert "bad.csv" in error and "row 31" in error and "'a'" in error, error
            assert not out.exists()


def test_a_report_without_rows_that_were_held_out(tmp_path, capsys):
    data = tmp_path / "d.csv"
    data.write_text("a,t\n1,x\n2,y\n")
    told = [
        "train",
        str(data),
        "--target",
        "t",
        "--epochs",
        "1",
        "--out",
        str(tmp_path / "m"),
        "--json",
    ]
    assert cli.main(told) == 0
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert report["held_out_rows"] == 0 and sum(map(sum, report["confusion"])) == 2
    assert "too few to hold out" in told.err


def test_ten_thousand_columns(tmp_path):
    rng = np.random.default_rng(0)
    table = {f"c{i}": rng.normal(size=12) for i in range(10_000)}
    table["t"] = ["x", "y"] * 6
    path = write(tmp_path / "wide.csv", table)
    model = tabular.TabularClassifier((4,), epochs=1, random_state=0).fit(path, "t")
    assert model.preprocessor_.width == 10_000


# ---- the command line --------------------------------------------------------------------------
def test_train_evaluate_predict_info(tmp_path, capsys):
    table, score = people(800)
    data = write(tmp_path / "d.csv", {**table, "label": np.where(score > 0.5, "yes", "no")})
    model, answers = str(tmp_path / "m.st"), tmp_path / "a.csv"
    assert (
        cli.main(["train", str(data), "--target", "label", "--hidden", "16", "--out", model]) == 0
    )
    shown = capsys.readouterr().out
    assert "classification of 'label'" in shown and "confusion matrix" in shown
    assert cli.main(["evaluate", model, str(data), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    picture = tmp_path / "confusion.svg"
    assert cli.main(["evaluate", model, str(data), "--json", "--plot", str(picture)]) == 0
    assert capsys.readouterr().out.startswith("{") and "<svg" in picture.read_text()
    assert report["accuracy"] > 0.85 and sum(map(sum, report["confusion"])) == 800
    assert cli.main(["predict", model, str(data), "-o", str(answers)]) == 0
    with open(answers, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 800 and set(rows[0]) == {"label", "p(no)", "p(yes)"}
    right = np.mean(
        [r["label"] == ("yes" if s > 0.5 else "no") for r, s in zip(rows, score, strict=True)]
    )
    assert right == pytest.approx(report["accuracy"])
    capsys.readouterr()
    assert cli.main(["info", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["columns"]["city"] == "category"
    assert cli.main(["predict", model, str(data), "-o", str(data)]) == 2
    assert "is the data itself" in capsys.readouterr().err


def test_regression_as_json_with_a_plot(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    table, score = people(600)
    data = write(tmp_path / "d.csv", {**table, "y": 10 * score}, delimiter=";")
    out, plot = tmp_path / "m.st", tmp_path / "p.png"
    told = ["train", str(data), "--target", "y", "--out", str(out), "--json", "--plot", str(plot)]
    assert cli.main([*told, "--task", "regression"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["task"] == "regression" and report["r2"] > 0.5
    assert plot.read_bytes().startswith(b"\x89PNG") and out.exists()
    assert cli.main(["info", str(out)]) == 0
    bp.Sequential([bp.Input((1,)), bp.layers.Dense(1)], seed=0).save(out)
    assert cli.main(["info", str(out)]) == 0
    assert "layers: 1" in capsys.readouterr().out
