"""Paths of files and names of columns in the estimators of scikit-learn's door."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import bpcore as bp

pytest.importorskip("sklearn")

from sklearn.exceptions import ConvergenceWarning

from bpcore.sklearn import Classifier, MLPClassifier, MLPRegressor, Regressor

from .helpers.tables import write

pd = pytest.importorskip("pandas")


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


@pytest.fixture
def table():
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, 80))
    member = draw.random(80) < 0.5
    words = np.where(a + member > 0.5, "yes", "no")
    return pd.DataFrame({"a": a, "word": words, "member": member, "b": b, "sum": a + b})


def wrapped(n_outputs, seed):
    return bp.Sequential([bp.layers.Dense(8, "relu"), bp.layers.Dense(n_outputs)], seed=seed)


@pytest.mark.parametrize("made", [
    lambda: MLPClassifier((6,), max_iter=5, random_state=0),
    lambda: Classifier(wrapped, epochs=5, random_state=0),
])  # fmt: skip
@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "frame", "polars"])
def test_a_file_is_the_frame_that_it_holds(made, form, table, tmp_path):
    """The same bits as by hand from the frame, the same names, the same score."""
    table = table.drop(columns="sum")
    features = table.drop(columns="word")
    if form == "parquet":
        pytest.importorskip("pyarrow")
        table.to_parquet(tmp_path / "t.parquet")
    elif form not in ("frame", "polars"):
        delimiter = "\t" if form == "tsv" else ","
        columns = {name: table[name].tolist() for name in table}
        write(tmp_path / f"t.{form}", columns, delimiter=delimiter)
    if form == "polars":
        polars = pytest.importorskip("polars")
        data = polars.DataFrame({name: table[name].tolist() for name in table})
    else:
        data = table if form == "frame" else tmp_path / f"t.{form}"
    net = made().fit(data, "word")
    expected = made().fit(features.astype(float), table["word"].to_numpy())
    assert list(net.feature_names_in_) == ["a", "member", "b"]
    for x, y in zip(net.model_.get_weights(), expected.model_.get_weights(), strict=True):
        assert np.array_equal(x, y)
    score = expected.score(features.astype(float), table["word"].to_numpy())
    assert net.score(data, "word") == score
    if form not in (
        "frame",
        "polars",
    ):  # of a frame the target must be taken out, as in scikit-learn
        answers = expected.predict(features.astype(float))
        assert np.array_equal(net.predict(data), answers)
        assert np.array_equal(net.predict(str(data)), answers)


def test_numbers_partial_fit_and_rows_to_watch(table, tmp_path):
    table = table.drop(columns="word")
    path = tmp_path / "t.csv"
    table.to_csv(path, index=False)
    x, y = table.drop(columns="sum").astype(float), table["sum"].to_numpy()
    options = {"hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 0}
    for ours, theirs in (
        (MLPRegressor(**options).fit(path, "sum"), MLPRegressor(**options).fit(x, y)),
        (MLPRegressor(**options).partial_fit(path, "sum"),
         MLPRegressor(**options).partial_fit(x, y)),
        (MLPRegressor(**options).fit(path, "sum", X_val=path, y_val="sum"),
         MLPRegressor(**options).fit(x, y, X_val=x, y_val=y)),
        (Regressor(wrapped, epochs=3, random_state=0).fit(path, "sum"),
         Regressor(wrapped, epochs=3, random_state=0).fit(x, y)),
    ):  # fmt: skip
        assert np.allclose(ours.predict(path), theirs.predict(x), rtol=1e-12, atol=0)
    table["sum"] = np.arange(80) % 3
    table.to_csv(path, index=False)
    net = MLPClassifier((4,), random_state=0).partial_fit(path, "sum", classes=[0, 1, 2])
    assert net.classes_.dtype.kind == "i" and net.predict(path).dtype.kind == "i"


def test_only_the_last_fit_says_which_column_is_left_out(table, tmp_path):
    """A fit with targets of the user's own takes all columns; a score changes nothing."""
    table = table.drop(columns="word")
    path, alike = tmp_path / "t.csv", tmp_path / "u.csv"
    table.to_csv(path, index=False)
    table.rename(columns={"sum": "other"}).to_csv(alike, index=False)
    for net in (
        MLPRegressor(hidden_layer_sizes=(3,), max_iter=2, random_state=0),
        Regressor(wrapped, epochs=2, random_state=0),
    ):
        found = net.fit(path, "sum").predict(path)
        net.score(alike, "other")
        assert np.array_equal(net.predict(path), found)
        net.fit(path, table["sum"].to_numpy())
        assert list(net.feature_names_in_) == list(table.columns)


def test_large_and_infinite_targets_stay_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,t\n" + "".join(f"{i},{i}e300\n" for i in range(4)))
    with pytest.raises(ValueError, match=r"y\[1, 0\] = 1e\+300 overflows"):
        Regressor(wrapped, epochs=1, random_state=0).fit(path, "t")
    path.write_text("a,t\n1,2\n2,inf\n")
    with pytest.raises(ValueError, match="y contains infinity"):
        MLPRegressor(max_iter=1).fit(path, "t")


def test_what_does_not_fit_is_scikit_learns_error(table, tmp_path):
    table = table.drop(columns="word")
    path, other = tmp_path / "t.csv", tmp_path / "u.csv"
    table.to_csv(path, index=False)
    net = MLPRegressor(max_iter=2).fit(path, "sum")
    table[["b", "a", "member", "sum"]].to_csv(other, index=False)
    with pytest.raises(ValueError, match="same order as they were in fit"):
        net.predict(other)
    table[["a", "sum"]].to_csv(other, index=False)
    with pytest.raises(ValueError, match=r"seen at fit time, yet now missing:\n- b\n- member"):
        net.predict(other)
    for text, words in (
        ("a,sum\n1,2\nword,3\n", r"u\.csv: column 'a' holds 'word' in row 2"),
        ("a,sum\n1,2\n,3\n", r"u\.csv: column 'a' has a missing value in row 2"),
        ("a,sum\n1,2\n2,\n", r"u\.csv: the target 'sum' is missing in row 2"),
        ("a,b\n1,2\n2,3\n", r"u\.csv has no column 'sum'"),
        ("sum\n1\n2\n", r"no column beside the target 'sum'"),
    ):
        other.write_text(text)
        with pytest.raises(ValueError, match=words):
            MLPRegressor(max_iter=2).fit(other, "sum")
    with pytest.raises(TypeError, match="no such file"):
        MLPRegressor().fit("nowhere.csv", "sum")


def test_a_target_of_numbers_and_words_in_turn_is_refused(table, tmp_path, monkeypatch):
    """A block of numbers behind a block of words: '1' and '1.0' would be two classes."""
    from bpcore.data import tables

    monkeypatch.setattr(tables, "ROWS", 2)
    (tmp_path / "t.csv").write_text("a,t\n1,1\n2,2\n3,x\n4,y\n")
    with pytest.raises(ValueError, match=r"t\.csv.*numbers"):
        MLPClassifier().fit(tmp_path / "t.csv", "t")


def test_files_need_pandas(table, tmp_path, monkeypatch):
    import sys

    table.drop(columns="word").to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"needs the package 'pandas'.*bpcore\[pandas\]"):
        MLPRegressor().fit(tmp_path / "t.csv", "sum")
