"""Tables in files, good and bad, and the command line on them."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

import bpcore as bp
from bpcore import cli, tabular

from .helpers.tables import people, write


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


def test_another_target_and_the_number_of_answers(tmp_path, capsys):
    """`--target` of evaluate goes before the model's own; the head of answers is not counted."""
    n = 120
    x = np.linspace(-1, 1, n)
    right = np.where(x > 0, "yes", "no")
    wrong = np.where(x > 0, "no", "yes")
    data = write(tmp_path / "d.csv", {"x": x, "right": right, "wrong": wrong})
    train = write(tmp_path / "t.csv", {"x": x, "right": right})
    model, out = str(tmp_path / "m.st"), tmp_path / "a.csv"
    told = ["train", str(train), "--target", "right", "--hidden", "8", "--out", model, "--json"]
    assert cli.main(told) == 0
    capsys.readouterr()
    shares = []
    for more in ([], ["--target", "wrong"]):
        assert cli.main(["evaluate", model, str(data), "--json", *more]) == 0
        shares.append(json.loads(capsys.readouterr().out)["accuracy"])
    assert shares[0] > 0.8 and sum(shares) == pytest.approx(1)
    assert cli.main(["predict", model, str(data), "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == n


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
