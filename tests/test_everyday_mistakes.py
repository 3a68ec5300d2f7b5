"""What people type by mistake, and what they are told; and what they may type."""

from __future__ import annotations

import codecs
import csv
import locale
import os
import pathlib
import re

import numpy as np
import pytest

import bpcore as bp
from bpcore import cli, tabular
from bpcore.base import checks
from bpcore.data import encoding, tables

from .helpers.tables import write

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 2))
COLUMNS = {"a": X[:, 0].tolist(), "b": X[:, 1].tolist(), "target": (X[:, 0] > 0).astype(int)}


def network(outputs=2):
    model = bp.Sequential([bp.layers.Dense(4, "relu"), bp.layers.Dense(outputs)], seed=0)
    model.compile("adam", "cross_entropy")
    return model


def estimator():
    pytest.importorskip("sklearn")
    from bpcore.sklearn import MLPClassifier

    return MLPClassifier((4,), tol=9, n_iter_no_change=1, random_state=0)


def table(**more):
    return tabular.TabularClassifier((4,), epochs=1, random_state=0, **more)


FITS = {  # of x and y, by every door that takes names and files
    "model": lambda x, y: network().fit(x, y, verbose=0),
    "estimator": lambda x, y: estimator().fit(x, y),
    "table": lambda x, y: table().fit(x, y),
}


def frame(library, columns):
    return pytest.importorskip(library).DataFrame(columns)


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "table.csv", COLUMNS)


# ---- names of columns ----------------------------------------------------------------------------
@pytest.mark.parametrize("x", [X, X.tolist()], ids=["array", "list"])
def test_a_name_needs_columns_with_names(x):
    """Also of a model that is built, and of validation data."""
    way = r"'target', the name of a column.*no names of columns; pass the targets as an array, or"
    built = network()
    built.fit(X, COLUMNS["target"], verbose=0)
    for call in (
        lambda: network().fit(x, "target", verbose=0),
        lambda: built.fit(x, "target", verbose=0),
        lambda: built.evaluate(x, "target"),
        lambda: built.fit(X, COLUMNS["target"], validation_data=(x, "target"), verbose=0),
        lambda: estimator().fit(x, "target"),
        lambda: estimator().partial_fit(x, "target", classes=[0, 1]),
    ):
        with pytest.raises(TypeError, match=re.compile(way, re.DOTALL)):
            call()


@pytest.mark.parametrize("door", FITS)
@pytest.mark.parametrize("form", ["csv", "pandas", "polars"])
def test_nothing_is_left_beside_the_target(door, form, tmp_path):
    alone = {"target": COLUMNS["target"]}
    data = write(tmp_path / "t.csv", alone) if form == "csv" else frame(form, alone)
    with pytest.raises(ValueError, match=r"has no column beside the target 'target'"):
        FITS[door](data, "target")


@pytest.mark.parametrize("door", FITS)
@pytest.mark.parametrize("doubled", ["a", "target"])
@pytest.mark.parametrize("form", ["csv", "pandas"])
def test_two_columns_of_one_name(door, doubled, form, tmp_path):
    data = tmp_path / "t.csv"
    data.write_text(f"a,b,target,{doubled}\n" + "1,2,0,3\n2,1,1,0\n" * 9)
    if form == "pandas":
        data = pytest.importorskip("pandas").read_csv(data, header=None, skiprows=1)
        data.columns = ["a", "b", "target", doubled]
    with pytest.raises(ValueError, match=rf"two columns are named '{doubled}'; rename one"):
        FITS[door](data, "target")


def test_columns_of_one_name_cannot_be_put_in_order():
    pd = pytest.importorskip("pandas")
    model = network()
    twins = pd.DataFrame(np.hstack([X, X]), columns=["a", "b", "c", "a"])
    model.fit(twins, COLUMNS["target"], verbose=0)
    model.predict(twins)
    with pytest.raises(ValueError, match="x: two columns are named 'a'; rename one"):
        model.predict(twins[["b"]].join(twins[["a", "c"]]))
    model, nameless = network(), pd.DataFrame(X, columns=["", "b"])
    model.fit(nameless, COLUMNS["target"], verbose=0)
    assert np.array_equal(model.predict(nameless[["b", ""]]), model.predict(nameless))
    nameless["t"] = COLUMNS["target"]
    network().fit(nameless, "t", verbose=0)


def test_arrays_of_an_npz_file_whose_columns_have_one_name(tmp_path):
    for names in (("x", "x_1"), ("x_1", "x")):
        arrays = {name: X if name == "x" else X[:, 0] for name in names}
        np.savez(tmp_path / "t.npz", **arrays)
        with pytest.raises(ValueError, match=r"t\.npz: two columns are named 'x_1'"):
            tabular.open_table(tmp_path / "t.npz")


# ---- paths ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("door", FITS)
@pytest.mark.parametrize("name", ["tabel", "table", "tabel.csv", "TABLE.CSV", "./tabel"])
def test_a_misspelt_path(door, name, path):
    with pytest.raises((TypeError, FileNotFoundError)) as told:
        FITS[door](name, "target")
    assert f"{name}" in str(told.value)
    assert "there is no such file; did you mean 'table.csv'?" in str(told.value)


def test_misspelt_folders_models_and_names_like_nothing(path, capsys):
    for name, words in (
        ("zzzz", r"'zzzz', and there is no such file$"),
        ("nodir/table.csv", r"there is no folder 'nodir'"),
        ("", "x must be a non-empty string"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            network().fit(name, "target", verbose=0)
    network().fit(path, "target", verbose=0)
    table().fit(path, "target").save("model.st")
    for load in (bp.load_model, tabular.load):
        with pytest.raises(FileNotFoundError, match=r"no such file; did you mean 'model\.st'") as e:
            load("modle.st")
        assert e.value.filename == "modle.st"
    assert cli.main(["evaluate", "modle.st", "table.csv"]) == 2
    assert "did you mean 'model.st'?" in capsys.readouterr().err
    assert cli.main(["train", "tabel", "--target", "target"]) == 2
    assert "did you mean 'table.csv'?" in capsys.readouterr().err
    path.rename("table")  # a file without an ending is read as text
    network().fit("table", "target", verbose=0)


def test_home_is_put_in_place_of_its_sign(path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(path.parent / "home"))
    home = path.parent / "home"
    home.mkdir()
    path.rename(home / "table.csv")
    for fit in FITS.values():
        fit("~/table.csv", "target")
        fit(pathlib.Path("~/table.csv"), "target")
    fitted = table().fit("~/table.csv", "target")
    fitted.save("~/t.st")
    assert np.array_equal(tabular.load("~/t.st").predict("~/table.csv"), fitted.predict(COLUMNS))
    assert cli.main(["predict", "~/t.st", "~/table.csv", "--out=~/out.csv"]) == 0
    model = network()
    model.fit(X, COLUMNS["target"], verbose=0, epochs=2, checkpoint="~/c", callbacks=[
        bp.callbacks.CSVLogger("~/log.csv"), bp.callbacks.ModelCheckpoint("~/{epoch}.st"),
    ])  # fmt: skip
    model.save("~/m.st")
    model.save_weights("~/w.st")
    model.save_checkpoint("~/s.st")
    model.load_weights("~/w.st")
    model.plot("~/m.svg")
    assert np.array_equal(bp.load_model("~/m.st").predict(X), model.predict(X))
    bp.load_checkpoint("~/s.st")
    assert {p.name for p in home.iterdir()} >= {
        "t.st", "out.csv", "c", "log.csv", "1.st", "2.st", "m.st", "w.st", "s.st", "m.svg",
    }  # fmt: skip
    assert sorted(p.name for p in path.parent.iterdir()) == ["home"]


# ---- text ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["rot13", "base64", "hex", "zlib", "utf-99", "", 5])
def test_what_is_no_encoding_of_text(name, path, capsys):
    with pytest.raises(ValueError, match=rf"encoding must be one of text files.*got {name!r}"):
        tabular.open_table(path, encoding=name)
    if name and name != 5:
        assert cli.main(["train", str(path), "--target", "target", "--encoding", name]) == 2
        assert "encoding must be" in capsys.readouterr().err


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [3, 1 << 16])
def test_lines_are_told_whatever_ends_them(end, size, tmp_path, monkeypatch):
    """Also where a block of bytes ends between two of them, and right behind the end of a line."""
    monkeypatch.setattr(encoding, "_BLOCK", size)
    head, path = end.join(["a,b", "1,2", "", "3,4", ""]).encode(), tmp_path / "t.csv"
    for bad, words in (
        (b"\xff,1", "line 5: not utf-8-sig"),
        (b"1,\xff", "line 5: not utf-8-sig"),
        (b"1,2,3", "line 5: 3 fields"),
        (b'1,"2', "line 5: a quotation mark"),
    ):
        path.write_bytes(head + bad + end.encode() + b"5,6")
        if b'"' in bad:
            path.write_bytes(head + bad)
        with pytest.raises(ValueError, match=rf"t\.csv, {words}"):
            list(tabular.open_table(path).blocks())
    path.write_bytes(head)
    (block,) = tabular.open_table(path).blocks()
    assert block["a"].tolist() == [1, 3] and block["b"].tolist() == [2, 4]


@pytest.mark.parametrize("start, words", [
    (b"PK\x03\x04\x14", r"a zip archive.*\.xlsx\); write it as CSV"),
    (b"\xd0\xcf\x11\xe0\xa1", "an older Excel"),
    (b"PAR1\x15\x04\x15", r"let its name end in \.parquet"),
    (b"\x1f\x8b\x08", "gzip file; unpack"),
    (b"\x93NUMPY\x01", r"\.npy"),
    (b"SQLite format 3\0", "database"),
])  # fmt: skip
def test_files_that_are_known_and_no_text(start, words, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(start + bytes(99))
    with pytest.raises(ValueError, match=rf"t\.csv is no text file but .*{words}"):
        tabular.open_table(path)
    path.write_text("PAR1,PAR2\n1,2\n")  # the names of parameters
    assert tabular.open_table(path).names == ["PAR1", "PAR2"]


@pytest.mark.parametrize("name", ["ARROW1", "<table_id>", "<html_size>", "[{a"])
def test_names_of_columns_that_only_begin_like_such_files(name, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"{name},b\n1,2\n")
    assert tabular.open_table(path).names == [name, "b"]


@pytest.mark.parametrize("words", [
    np.array(["-9", "none"]), {"-9": 1}.keys(), "-9", -9, -9.0, [-9.0], np.float64(-9),
    np.array(-9),
])  # fmt: skip
def test_words_for_missing_values_come_in_any_form(words, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,-9\n2,3\n")
    (block,) = tabular.open_table(path, missing=words).blocks()
    assert np.array_equal(block["b"], [np.nan, 3], equal_nan=True)
    assert block["a"].tolist() == [1, 2]
    (block,) = tabular.open_table(path, missing=(word for word in ["1"]), thousands=None).blocks()
    assert np.array_equal(block["a"], [np.nan, 2], equal_nan=True)


def test_the_encoding_of_the_locale(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,2\n")
    assert tabular.open_table(path, encoding="locale").names == ["a", "b"]
    if codecs.lookup(locale.getpreferredencoding(False)).name == "utf-8":
        path.write_bytes(b"a,b\n1,\xff\n")
        with pytest.raises(ValueError, match="line 2: not"):
            list(tabular.open_table(path, encoding="locale").blocks())


def test_files_that_are_read_side_by_side(tmp_path):
    """csv's limit of a field is one for the process: it lasts for all, and comes back at last."""
    path, limit = tmp_path / "t.csv", csv.field_size_limit()
    path.write_text("a,b\n" + "1,2\n" * tables.ROWS + f"3,{'x' * 2 * limit}\n")
    first, second = (tabular.open_table(path).blocks() for _ in range(2))
    next(first), next(second)
    assert len(list(first)) == len(list(second)) == 1
    assert csv.field_size_limit() == limit
    path.write_text("a,a\n1,2\n")
    with pytest.raises(ValueError, match="two columns") as kept:
        tabular.open_table(path)
    assert csv.field_size_limit() == limit and kept.tb is not None


def test_a_misspelt_path_in_a_large_folder(tmp_path, monkeypatch):
    """Of which the names are not compared one by one."""
    (tmp_path / "table.csv").touch()
    monkeypatch.setattr(checks, "_LISTED", 0)
    with pytest.raises(FileNotFoundError, match=r"there is no such file$"):
        tabular.open_table(tmp_path / "tabel.csv")
    with pytest.raises(FileNotFoundError, match=r"mean 'table\.csv'"):
        tabular.open_table(tmp_path / "table")


def test_pipes_and_devices_are_no_tables(tmp_path, capsys):
    """They cannot be read twice."""
    os.mkfifo(tmp_path / "pipe")
    for path in (os.devnull, str(tmp_path / "pipe")):
        assert cli.main(["train", path, "--target", "t", "--out", str(tmp_path / "m")]) == 2
        assert f"{path} is a pipe or a device, expected a file" in capsys.readouterr().err


# ---- series of sequences -------------------------------------------------------------------------
def walks(n=24):
    return [RNG.normal(size=(2 + i % 4, 2)) for i in range(n)]


@pytest.mark.parametrize("kind", ["numbers", "lists", "ids", "polars"])
def test_a_series_of_sequences_is_a_list_of_them(kind):
    """Whatever its index; targets and weights of steps too."""
    pytest.importorskip("sklearn")
    pd = pytest.importorskip("pandas")
    from bpcore.sklearn import RNNClassifier, RNNRegressor

    x = walks()
    if kind in ("lists", "polars"):
        x = [part[:, 0].tolist() for part in x]
    elif kind == "ids":
        x = [RNG.integers(0, 5, len(part)) for part in x]

    def series(parts):
        if kind == "polars":
            return pytest.importorskip("polars").Series([list(map(float, p)) for p in parts])
        return pd.Series(list(parts), index=np.arange(100, 100 + len(parts))[::-1])

    label = [["up", "down"][k % 2] for k in range(len(x))]
    told = {"hidden_layer_sizes": 4, "max_iter": 2, "random_state": 0}
    expected = RNNClassifier(**told).fit(x, label)
    found = RNNClassifier(**told).fit(series(x), pd.Series(label))
    assert np.array_equal(found.predict_proba(series(x)), expected.predict_proba(x))
    assert found.score(series(x), label) == expected.score(x, label)
    steps = [np.arange(len(part), dtype=float) for part in x]
    weight = [1 + one for one in steps]
    expected = RNNRegressor(**told).fit(x, steps, sample_weight=weight)
    found = RNNRegressor(**told).fit(series(x), series(steps), sample_weight=series(weight))
    for a, b in zip(found.predict(series(x)), expected.predict(x), strict=True):
        assert np.array_equal(a, b)
    score = expected.score(x, steps, sample_weight=weight)
    assert found.score(series(x), series(steps), sample_weight=series(weight)) == score


def test_a_series_of_sequences_in_searches_and_models():
    pytest.importorskip("sklearn")
    pd = pytest.importorskip("pandas")
    from sklearn.model_selection import cross_val_score

    from bpcore.sklearn import RNNRegressor

    x, y = walks(), RNG.normal(size=24)
    net = RNNRegressor(4, max_iter=2, random_state=0)
    scores = cross_val_score(net, pd.Series(x), y, cv=2)
    assert np.array_equal(scores, cross_val_score(net, x, y, cv=2))

    def made():
        cells = [bp.Input((None, 2)), bp.layers.GRU(3), bp.layers.Dense(1)]
        model = bp.Sequential(cells, seed=0)
        model.compile("adam", "mse")
        return model

    a, b = made(), made()
    a.fit(x, y, verbose=0)
    b.fit(pd.Series(x), y, verbose=0)
    assert np.array_equal(a.predict(x), b.predict(pd.Series(x)))


# ---- estimators ----------------------------------------------------------------------------------
@pytest.mark.parametrize("target", ["name", "values"])
def test_lazy_frames_of_polars(target):
    pl = pytest.importorskip("polars")
    values = {"a": COLUMNS["a"], "b": COLUMNS["b"], "target": COLUMNS["target"]}
    whole = pl.DataFrame(values)
    x, y = (whole, "target") if target == "name" else (whole.drop("target"), values["target"])
    for door in ("model", "estimator"):
        FITS[door](x.lazy(), y)
    a, b = network(), network()
    a.fit(x, y, verbose=0)
    b.fit(x.lazy(), y, verbose=0)
    features = whole.drop("target")
    assert np.array_equal(a.predict(features), b.predict(features.lazy()))
    assert b.feature_names == ["a", "b"]


def test_a_wrong_number_of_threads_does_not_stay():
    """It was kept, and ended the fits of all estimators after it."""
    for wrong in (-5, "x", 10**6):
        with pytest.raises((TypeError, ValueError), match="n_threads must be"):
            estimator().set_params(n_threads=wrong).fit(X, COLUMNS["target"])
    before = bp.get_num_threads()
    estimator().set_params(n_threads=1).fit(X, COLUMNS["target"])
    assert bp.get_num_threads() == before


def test_negative_weights_of_samples():
    """Also if all are, whose mean made them positive."""
    pytest.importorskip("sklearn")
    from bpcore.sklearn import Classifier, MLPRegressor

    for net in (estimator(), MLPRegressor(max_iter=1), Classifier(epochs=1)):
        for weight in (-np.ones(30), np.r_[np.ones(29), -1.0]):
            row = int((weight < 0).argmax())
            with pytest.raises(ValueError, match=f"sample_weight contains -1 at row {row}"):
                net.fit(X, COLUMNS["target"], sample_weight=weight)


def test_weights_of_steps_that_are_none():
    """Negative ones, of which the mean made positive ones too, and those of other steps."""
    pytest.importorskip("sklearn")
    from bpcore.sklearn import RNNClassifier, RNNRegressor

    x = [np.ones((3, 2)), np.ones((4, 2))] * 5
    y = [np.arange(len(part)) % 2 for part in x]
    for net in (RNNClassifier(max_iter=1), RNNRegressor(max_iter=1)):
        for weight in ([-np.ones(len(part)) for part in x], np.r_[np.ones(9), -1.0]):
            step = 0 if isinstance(weight, list) else 31
            with pytest.raises(ValueError, match=f"sample_weight contains -1 at step {step}, exp"):
                net.fit(x, y, sample_weight=weight)
        with pytest.raises(ValueError, match=r"sample_weight\[0\] has 4 values, expected 3"):
            net.fit(x, y, sample_weight=[np.ones(7 - len(part)) for part in x])
        with pytest.raises(ValueError, match="sample_weight has 5 parts, expected 10"):
            net.fit(x, y, sample_weight=[np.ones(7)] * 5)


def test_a_model_of_more_outputs_than_classes():
    """A class that is none could be the answer."""
    pytest.importorskip("sklearn")
    from bpcore.sklearn import Classifier

    five = Classifier(lambda: bp.Sequential([bp.layers.Dense(5)], seed=0), epochs=1)
    with pytest.raises(bp.errors.ShapeError, match="model has 5 outputs, expected 2, one for each"):
        five.fit(X, COLUMNS["target"])

    def one():
        return bp.Sequential([bp.layers.Dense(1, "sigmoid")], seed=0)

    assert Classifier(one, loss="binary_cross_entropy", epochs=1).fit(
        X, COLUMNS["target"]
    ).predict_proba(X).shape == (30, 2)


def test_what_is_no_sequence_is_told():
    pytest.importorskip("sklearn")
    pd = pytest.importorskip("pandas")
    from bpcore.sklearn import RNNClassifier

    label = ["up", "down"] * 12
    for x, words in (
        (pd.DataFrame({"walk": walks()}), r"pass the column of sequences, as in X\['walk'\]"),
        (["abc", "de"] * 12, "sequence 0 has dtype <U3.*whole numbers, which are ids"),
        ([["a", "b"], ["c"]] * 12, "sequence 0 has dtype <U1.*which are ids"),
    ):
        with pytest.raises(ValueError, match=words):
            RNNClassifier(4, max_iter=1).fit(x, label)
