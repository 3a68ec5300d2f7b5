"""Files in place of arrays, and names of columns in place of targets, for models."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

import bpcore as bp
from bpcore import cli
from bpcore.data import tables

from .helpers.tables import write


def data(n=90):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)


def network():
    model = bp.Sequential([bp.layers.Dense(5, "tanh"), bp.layers.Dense(3)], seed=0)
    model.compile("adam", "cross_entropy", metrics=["accuracy"])
    return model


def file(folder, x, y, order="abct", kind="csv"):
    columns = {**dict(zip("abc", x.T, strict=True)), "t": y}
    columns = {name: columns[name].tolist() for name in order}
    path = folder / f"data.{kind}"
    if kind == "csv":
        return write(path, columns)
    if kind == "npz":
        np.savez(path, **columns)
        return path
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_a_file_is_as_its_arrays(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 17)
    x, y = data()
    path = file(tmp_path, x, y, kind=kind)
    a, b = network(), network()
    told = {"epochs": 3, "verbose": 0}
    a.fit(x, y, validation_data=(x[:20], y[:20]), **told)
    few = file(pathlib.Path(tmp_path, "few").resolve().parent, x, y, kind=kind)
    history = b.fit(path, "t", validation_data=(str(few), "t"), **told)
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(np.array_equal(v, w) for v, w in zip(a.get_weights(), b.get_weights(), strict=True))
    assert a.evaluate(x, y) == b.evaluate(str(path), "t")
    assert np.array_equal(a.predict(x), b.predict(path))  # t is passed over
    turned = file(tmp_path, x, y, order="tcab", kind=kind)
    assert np.array_equal(a.predict(x), b.predict(turned))
    b.save(tmp_path / "m.safetensors")
    again = bp.load_model(tmp_path / "m.safetensors")
    assert np.array_equal(again.predict(turned), a.predict(x))
    assert again.evaluate(turned, "t") == a.evaluate(x, y)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_column_of_a_frame_is_the_target(library):
    lib = pytest.importorskip(library)
    x, y = data()
    frame = lib.DataFrame({"a": x[:, 0], "t": y, "b": x[:, 1], "c": x[:, 2]})
    a, b = network(), network()
    a.fit(x, y, epochs=2, verbose=0)
    b.fit(frame, "t", epochs=2, verbose=0)
    assert all(np.array_equal(v, w) for v, w in zip(a.get_weights(), b.get_weights(), strict=True))
    assert a.evaluate(x, y) == b.evaluate(frame, "t")
    with pytest.raises(ValueError, match=r"x has no column 'T'.*did you mean 't'"):
        b.fit(frame, "T", epochs=1, verbose=0)


def test_the_command_line_takes_models_of_numbers(tmp_path, capsys):
    x, y = data()
    path, out = file(tmp_path, x, y, order="tcab"), tmp_path / "out.csv"
    model = network()
    model.fit(file(tmp_path, x, y), "t", epochs=2, verbose=0)
    assert model.feature_names == ["a", "b", "c"]
    saved = str(tmp_path / "m.safetensors")
    model.save(saved)
    path = file(tmp_path, x, y, order="tcab")
    assert cli.main(["evaluate", saved, str(path), "--target", "t", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == pytest.approx(model.evaluate(x, y))
    assert cli.main(["predict", saved, str(path), "-o", str(out)]) == 0
    told = np.loadtxt(out, delimiter=",", skiprows=1)
    np.testing.assert_allclose(told, model.predict(x), rtol=1e-7)
    assert "90 rows answered" in capsys.readouterr().out
    for bad in (
        ["evaluate", saved, str(path)],
        ["evaluate", saved, str(path), "--target", "t", "--plot", str(tmp_path / "p.svg")],
    ):
        assert cli.main(bad) == 2
        assert "a model of numbers does not know" in capsys.readouterr().err


def test_what_is_no_number_is_named_with_file_and_row(tmp_path):
    x, y = data()
    model = network()
    path = tmp_path / "d.csv"
    for text, words in (
        ("a,t\n1,0\nred,1\n", r"d\.csv: column 'a' holds 'red' in row 2; .*bpcore\.tabular"),
        ("a,t\n1,0\n,1\n", r"column 'a' has a missing value in row 2"),
        ("a,t\n1,yes\n2,no\n", r"column 't' holds 'yes' in row 1"),
        ("a,b\n1,0\n", r"has no column 't'"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            model.fit(path, "t", verbose=0)
    assert not model.built  # and nothing was left behind
    model.fit(file(tmp_path, x, y), "t", verbose=0)
    path.write_text("a,b\n1,0\n")
    with pytest.raises(ValueError, match=r"d\.csv has no column 'c'"):
        model.predict(path)
    with pytest.raises(FileNotFoundError):
        model.fit(tmp_path / "nowhere.csv", "t")
    for text in ("words", "nowhere.csv"):
        with pytest.raises(TypeError, match=f"got str '{text}'"):
            model.fit(text, y)
