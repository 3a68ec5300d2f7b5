"""Mistakes with tables, in Python and on the command line; and columns of every kind."""

from __future__ import annotations

import datetime
import os

import numpy as np
import pytest

import bpcore as bp
from bpcore import cli, tabular
from bpcore.cli import words as cli_words

from .helpers.tables import write

N = 60
RNG = np.random.default_rng(0)
TABLE = {
    "age": [None, *RNG.normal(40, 9, N - 1).tolist()],
    "city": (["Bern", "Oslo"] * N)[:N],
    "member": [bool(i % 3) for i in range(N)],
    "buys": (["yes", "no", "no"] * N)[:N],
}


def made(**more):
    told = {"hidden": (4,), "epochs": 1, "members": 1, "random_state": 0}
    return tabular.TabularClassifier(**{**told, **more})


@pytest.fixture(scope="module")
def fitted():
    return made().fit(TABLE, "buys")


# ---- what a table is -----------------------------------------------------------------------------
@pytest.mark.parametrize("row, words", [
    ({"age": 3.0, "city": "Oslo", "member": True}, "'age' is float 3.0.*a single row in a list"),
    ({"age": [3.0], "city": "Oslo", "member": [True]}, "'city' is str 'Oslo'.*single row"),
    ({"age": np.zeros((1, 2))}, r"'age' is ndarray.*shape \(1, 2\), expected values one for each"),
    ([{"age": 3.0}], r"must be a path.*\{'a': \[1.0, 2.0\]\}, a single row too"),
    ({}, "the frame has no columns"),
])  # fmt: skip
def test_a_row_is_no_table(row, words, fitted):
    with pytest.raises((TypeError, ValueError), match=words):
        fitted.predict(row)


def test_columns_that_are_not_asked_for_are_not_looked_at(fitted):
    """As in files, where others may stand among them."""
    dates = np.arange("2020-01-01", "2020-03-01", dtype="datetime64[D]")[:N]
    more = {**TABLE, "when": dates, "parts": [[1]] * N}
    assert np.array_equal(fitted.predict(more), fitted.predict(TABLE))
    with pytest.raises(TypeError, match=r"the frame: column 'when' has dtype datetime64.*dates"):
        made().fit({**TABLE, "when": dates}, "buys")


def test_names_that_are_no_texts_and_masked_values():
    ages = np.ma.masked_invalid(np.array(TABLE["age"], float))
    labels, texts = {0: ages, 1: TABLE["city"]}, {"0": TABLE["age"], "1": TABLE["city"]}
    a, b = made().fit(labels, TABLE["buys"]), made().fit(texts, TABLE["buys"])
    assert "0 missing" in a.preprocessor_.feature_names
    assert np.array_equal(a.predict_proba(labels), b.predict_proba(texts))


def test_a_table_of_pyarrow(fitted):
    pa = pytest.importorskip("pyarrow")
    assert np.array_equal(fitted.predict(pa.table(TABLE)), fitted.predict(TABLE))
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(ValueError, match="two columns are named 'a'"):
        tabular.open_table(twice)


@pytest.mark.parametrize("kind, words", [
    ("period", "has dtype period.*dates are not taken"),
    ("bytes", r"holds a bytes b'a', expected.*decode"),
])  # fmt: skip
def test_kinds_that_only_look_like_texts(kind, words):
    pd = pytest.importorskip("pandas")
    values = [b"a", b"b"] * 30 if kind == "bytes" else pd.period_range("2020", periods=N, freq="M")
    with pytest.raises(TypeError, match=f"the frame: column 'c' {words}"):
        made().fit(pd.DataFrame({**TABLE, "c": values}), "buys")


def test_a_column_of_an_npz_file_is_named_with_the_file(tmp_path, capsys):
    path = tmp_path / "t.npz"
    np.savez(path, a=np.arange(3) + 1j, t=np.array(["x", "y", "x"]))
    told = ["train", str(path), "--target", "t", "--out", str(tmp_path / "m")]
    assert cli.main(told) == 2
    assert f"{path}: column 'a' has dtype complex128" in capsys.readouterr().err


@pytest.mark.parametrize("value", [2, 0.5, "maybe"])
def test_what_is_no_boolean_any_more(value, fitted):
    """In a column that held booleans in training; with its row."""
    table = {**TABLE, "member": [*[True] * 7, value, *[False] * (N - 8)]}
    with pytest.raises(ValueError, match=r"'member' holds .* in row 8, expected a boolean"):
        fitted.predict(table)
    for same in ([1, 0, None], [True, False, None], ["yes", "NO", None], [1.0, 0.0, np.nan]):
        few = {name: values[:3] for name, values in TABLE.items()} | {"member": same}
        expected = fitted.predict_proba({**few, "member": [True, False, None]})
        assert np.array_equal(fitted.predict_proba(few), expected)


# ---- targets -------------------------------------------------------------------------------------
def test_targets_that_do_not_fit_the_rows(fitted):
    for target in (["buys"], TABLE["buys"][:5]):
        with pytest.raises(ValueError, match=rf"target has {len(target)} rows, the table {N}"):
            made().fit(TABLE, target)
    with pytest.raises(ValueError, match=f"target has 3 rows, the table {N}"):
        fitted.score(TABLE, TABLE["buys"][:3])
    with pytest.raises(ValueError, match="target is missing in row 2"):
        fitted.score(TABLE, ["yes", None, *TABLE["buys"][2:]])
    with pytest.raises(ValueError, match=r"got int 3$"):
        made().fit(TABLE, 3)


def test_numbers_are_no_classes():
    """A value for each row is not learned by a class for each."""
    for target in (RNG.normal(size=N), np.arange(N), [f"name {i}" for i in range(N)]):
        with pytest.raises(ValueError, match=r"the target holds 60 values in 60 rows.*Regressor"):
            made().fit(TABLE, target)
    with pytest.raises(ValueError, match=r"the target holds 59 values in 60 rows.*Regressor"):
        made().fit(TABLE, [0.5, *np.arange(N - 1) / 2])


@pytest.mark.parametrize("classes", [30, 55])
def test_classes_that_seldom_come_again_are_classes(classes):
    for target in (np.arange(N) % classes, [f"name {i % classes}" for i in range(N)]):
        assert len(made().fit(TABLE, target).classes_) == classes


def test_columns_that_can_be_gone_through_once(fitted):
    once = {name: iter(values) for name, values in TABLE.items()}
    assert np.array_equal(fitted.predict(once), fitted.predict(TABLE))


def test_levels_of_polars_that_are_called_like_times():
    pl = pytest.importorskip("polars")
    kind = pl.Enum(["night time", "day time", "no date"])
    levels = pl.Series(["day time", "no date", None], dtype=kind)
    (block,) = tabular.open_table(pl.DataFrame({"a": levels})).blocks()
    assert block["a"].tolist() == ["day time", "no date", None]
    with pytest.raises(TypeError, match="dates are not taken"):
        list(tabular.open_table(pl.DataFrame({"a": [datetime.date(2020, 1, 1)]})).blocks())


def test_before_a_fit_every_use_says_so():
    new = made()
    for use in (new.predict, new.predict_proba, new.score):
        with pytest.raises(RuntimeError, match="TabularClassifier is not fitted; call fit"):
            use(TABLE)


# ---- arguments -----------------------------------------------------------------------------------
@pytest.mark.parametrize("name, value, words", [
    ("hidden", "64", "hidden must be an int, got str '64'"),
    ("hidden", None, "hidden must be an int, got None"),
    ("dropout", 1.0, r"dropout must be in \[0, 1\)"),
    ("batch_size", 0, "batch_size must be >= 1"),
    ("validation_fraction", -0.1, r"validation_fraction must be in \[0, 1\)"),
    ("validation_fraction", 1.0, r"validation_fraction must be in \[0, 1\)"),
    ("validation_fraction", "x", "validation_fraction must be a finite number"),
    ("members", 1001, "members must be <= 1000"),
    ("random_state", -1, "random_state must be >= 0"),
    ("random_state", 1.5, "random_state must be an int"),
    ("callbacks", 3, "callbacks must be a list of Callback"),
    ("model", lambda: bp.Sequential([bp.layers.Dense(3)]), r"to \[\(3,\)\], expected.*n_outputs"),
])  # fmt: skip
def test_arguments(name, value, words):
    with pytest.raises((TypeError, ValueError), match=words):
        made(**{name: value}).fit(TABLE, "buys")


def test_one_layer_and_one_callback_need_no_list(tmp_path):
    one = made(hidden=4, callbacks=bp.callbacks.TimeLimit(60)).fit(TABLE, "buys")
    assert np.array_equal(one.predict(TABLE), made().fit(TABLE, "buys").predict(TABLE))
    one.save(tmp_path / "m.st")
    assert np.array_equal(tabular.load(tmp_path / "m.st").predict(TABLE), one.predict(TABLE))
    with pytest.raises(bp.errors.FormatError, match=r"holds a 'tabular'.*bpcore\.tabular\.load"):
        bp.load_model(tmp_path / "m.st")


def test_one_callback_of_an_estimator_needs_no_list():
    pytest.importorskip("sklearn")
    from bpcore.sklearn import MLPRegressor, RNNRegressor

    limit, x = bp.callbacks.TimeLimit(60), RNG.normal(size=(20, 3))
    MLPRegressor(callbacks=limit, tol=9, n_iter_no_change=1).fit(x, x[:, 0])
    RNNRegressor(4, max_iter=1, callbacks=limit).fit(x, x[:, 0])


@pytest.mark.parametrize("marks", [
    {"decimal": ""}, {"decimal": ".."}, {"decimal": "5"}, {"decimal": None},
    {"thousands": "''"}, {"thousands": "-"}, {"thousands": "."}, {"decimal": ",", "thousands": ","},
])  # fmt: skip
def test_marks_in_numbers(marks, tmp_path):
    path = write(tmp_path / "t.csv", {"a": [1.5, 2.5], "b": [1, 2]})
    with pytest.raises(ValueError, match=r"must be a mark in numbers|must be unlike marks"):
        tabular.open_table(path, **marks)


# ---- the command line ----------------------------------------------------------------------------
@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "t.csv", TABLE)
    made().fit(TABLE, "buys").save("m.st")
    return tmp_path


TRAIN = ["train", "t.csv", "--target", "buys", "--epochs", "1", "--hidden", "4"]


@pytest.mark.parametrize("told, words", [
    (["--learning-rate", "1e30"], "bpcore: error: training diverged"),
    (["--plot", "o.png", "--out", "o.png"], "--plot: o.png is written already"),
    (["--decimal", ""], "decimal must be a mark"),
    (["--thousands", "."], "must be unlike marks, got '.' for both; give both, as in decimal=','"),
])  # fmt: skip
def test_train_says_what_is_wrong(told, words, folder, capsys):
    before = sorted(os.listdir())
    assert cli.main([*TRAIN, *told]) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("told, words", [
    (["--dropout", "1.5"], "--dropout: got '1.5', expected a number in [0, 1)"),
    (["--dropout", "x"], "--dropout: got 'x', expected a number in [0, 1)"),
    (["--learning-rate", "0"], "--learning-rate: got '0', expected a number > 0"),
    (["--learning-rate", "nan"], "--learning-rate: got 'nan', expected a number > 0"),
    (["--seed", "-1"], "--seed: got '-1', expected a whole number from 0"),
    (["--seed", "9" * 30], "--seed: got '999"),
    (["--out", ""], "--out: path must be a non-empty string"),
])  # fmt: skip
def test_options_are_read_before_anything_else(told, words, folder, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([*TRAIN, *told])
    assert end.value.code == 2 and words in capsys.readouterr().err


def test_what_int_reads_is_a_seed():
    assert cli_words.seed("+3") == cli_words.seed(" 3") == 3


def test_predict_says_what_is_wrong(folder, capsys):
    before = sorted(os.listdir())
    for told, words in (
        (["predict", "m.st", "t.csv", "-o", "out.parquet"], "expected a name like answers.csv"),
        (["predict", "t.csv", "m.st", "-o", "out.csv"], "'t.csv': not a bpcore model"),
        (["predict", "m.st", "m.st", "-o", "out.csv"], "m.st is no text file but a model's file"),
        (["predict", "m.st", "t.csv", "-o", "/dev/full"], "is not a regular file"),
    ):
        assert cli.main(told) == 2, told
        assert words in capsys.readouterr().err, told
    read, write_ = os.pipe()
    try:
        assert cli.main(["predict", "m.st", "t.csv", "-o", f"/dev/fd/{write_}"]) == 2
    finally:
        os.close(read)
        os.close(write_)
    assert "is not a regular file" in capsys.readouterr().err
    assert sorted(os.listdir()) == before


# ---- files, and pictures -------------------------------------------------------------------------
@pytest.mark.parametrize("start", [
    b"ARROW1\0\0", b"\x80\x04\x95", b'[{"a": 1}]', b'{"a": [1]}', b"<!DOCTYPE html>", b"<?xml ",
])  # fmt: skip
def test_more_files_that_are_no_tables_of_text(start, tmp_path):
    (tmp_path / "t.csv").write_bytes(start + b"\n1,2\n")
    with pytest.raises(ValueError, match=r"t\.csv is no text file but .*; write"):
        tabular.open_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"<DATE>,b\n{1")  # such names there are
    with pytest.raises(ValueError, match="line 2: 1 fields, expected 2"):
        tabular.open_table(tmp_path / "t.csv")


def test_row_numbers_without_a_name_and_marked_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(",a,t\n0,1,x\n1,2,y\n")
    with pytest.raises(ValueError, match=r"t\.csv: column 1 has no name.*index=False"):
        tabular.open_table(path)
    lines = "".join(f'"1,{i:03d}",{i},{"xy"[i % 2]}\n' for i in range(N))
    path.write_text("a,b,t\n" + lines)
    with pytest.warns(UserWarning, match=r"60 values like '1,000'.*thousands= or decimal= told"):
        made().fit(path, "t")
    told = made().fit(tabular.open_table(path, thousands=","), "t")
    assert told.preprocessor_.feature_names == ["a", "b"]
    path.write_text("a,b,t\n" + lines.replace('"1,', '"no 1,'))
    with pytest.warns(UserWarning, match=r"60 values like 'no 1,000' in 60 rows; it is left out"):
        made().fit(path, "t")


def test_options_of_text_files(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\nNA,A\n-999,gone\n")
    for missing, expected in (("gone", ["A", None]), (["gone", -999], ["A", None])):
        (block,) = tabular.open_table(path, missing=missing).blocks()
        assert block["b"].tolist() == expected
        assert np.isnan(block["a"]).tolist() == [True, missing != "gone"]
    for options, words in (
        ({"sep": ";"}, "unknown option of a text file 'sep'; did you mean 'separator'"),
        ({"separator": 3}, "separator must be one character, got 3"),
        ({"separator": '"'}, "separator must be neither a quotation mark"),
        ({"separator": "\n"}, "separator must be neither"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            tabular.open_table(path, **options)


@pytest.mark.parametrize("kind", ["Array", "Struct"])
def test_several_values_in_a_row_of_polars(kind):
    pl = pytest.importorskip("polars")
    array = pl.Series([[1, 2]] * N, dtype=pl.Array(pl.Int64, 2))
    values = array if kind == "Array" else pl.Series([{"a": 1, "b": 2}] * N)
    with pytest.raises(TypeError, match=f"column 'c' has dtype {kind}.*make a column of each"):
        made().fit(pl.DataFrame({"x": range(N), "c": values}), TABLE["buys"])


def test_doors_without_an_import_of_their_own():
    assert {"tabular", "plotting"} <= set(bp.__all__)  # test_importing finds them all
    assert bp.tabular is tabular and callable(bp.plotting.residuals)


def test_residuals_of_what_is_no_number():
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="hold NaN or Inf, expected finite numbers"):
        bp.plotting.residuals([1.0, 2.0], [np.nan, 2.0])
    pd = pytest.importorskip("pandas")
    model = bp.Sequential([bp.Input((1,)), bp.layers.Dense(1)])
    with pytest.raises(TypeError, match=r"x: the series has dtype (str|object)"):
        model.predict(pd.Series(["a"]))


def test_models_of_numbers_on_the_command_line(folder, capsys, monkeypatch):
    """What the model itself says is told with the file; rows count from its beginning."""
    from bpcore.data import tables

    monkeypatch.setattr(tables, "ROWS", 4)
    bp.Sequential([bp.Input((2,)), bp.layers.Dense(1)], seed=0).save("plain.st")
    good = "a,b\n" + "1,2\n" * 5
    for text, words in (
        (good + "1,inf\n", "n.csv: column 'b' holds inf in row 6, expected finite numbers"),
        (good + "1,1e300\n", "n.csv, rows from 5: x[1, 1] = 1e+300 overflows float32"),
        ("a,b,c\n1,2,3\n", "n.csv, rows from 1: x has 3 features, model expects 2"),
    ):
        (folder / "n.csv").write_text(text)
        assert cli.main(["predict", "plain.st", "n.csv", "-o", "out.csv"]) == 2
        assert words in capsys.readouterr().err
    (folder / "n.csv").write_text(good)
    assert cli.main(["evaluate", "plain.st", "n.csv", "--target", "b"]) == 2
    assert "bpcore: error: " in capsys.readouterr().err and not os.path.exists("out.csv")
    bp.Sequential([bp.Input((1,)), bp.layers.Dense(1)], seed=0).save("plain.st")
    assert cli.main(["evaluate", "plain.st", "n.csv", "--target", "b"]) == 2
    assert "is not compiled; call compile" in capsys.readouterr().err
