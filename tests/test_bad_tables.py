"""Bad files for the command line: file and row are named, the status is 2, nothing is written."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import shutil
import tempfile
import warnings

import numpy as np
import pytest

from bpcore import cli

from .helpers import support
from .helpers.tables import people, write

BODY = b"".join(b"%d,%s,%s\n" % (i % 7, b"uv"[i % 2 : i % 2 + 1], b"xy"[i % 7 > 3 :][:1])
                for i in range(60))  # fmt: skip
GOOD = b"a,b,t\n" + BODY
# What is in the file, and what is said of it by train and, where it is bad for a model that was
# trained before, by evaluate and predict.
FILES = {
    "empty": (b"", r"is empty", r"is empty"),
    "blank lines": (b"\n\n\n", r"is empty", r"is empty"),
    "header only": (b"a,b,t\n", r"no rows", r"no rows"),
    "ragged": (GOOD + b"1,u,x,2\n", r"line 62: 4 fields, expected 3", r"line 62: 4 fields"),
    "short": (GOOD + b"1,u\n", r"line 62: 2 fields, expected 3", r"line 62: 2 fields"),
    "NUL": (GOOD + b"\0,u,x\n", r"line 62.*NUL", r"line 62.*NUL"),
    "UTF-16 without its mark": (GOOD.decode().encode("utf-16-le"), r"line 1.*UTF-16", r"line 1.*"),
    "open quote": (GOOD + b'1,"u,x\n', r"line 62.*quotation mark", r"line 62.*quotation mark"),
    "text behind a quote": (b'a,b,t\n1,"u"u,x\n' + BODY, r"line 2", r"line 2"),
    "same name twice": (b"a,a,t\n" + BODY, r"two columns are named 'a'", r"named 'a'"),
    "no name": (b"a,,t\n" + BODY, r"column 2 has no name", r"column 2 has no name"),
    "mixed": (GOOD + b"oops,u,x\n", r"'a'.*'oops' in row 61", r"'a'.*'oops' in row 61"),
    "infinite": (GOOD + b"inf,u,x\n", r"'a' holds Inf in row 61", r"'a' holds Inf in row 61"),
    "too large": (GOOD + b"1e300,u,x\n", r"'a' holds 1e\+300 in row 61", r"'a' .* in row 61"),
    "wrong encoding": (GOOD + "1,Zürich,x\n".encode("latin-1"),
                       r"line 62: not utf-8.*0xfc", r"line 62: not utf-8.*0xfc"),
    "binary": (bytes(range(128, 256)) * 8, r"line 1: not utf-8", r"line 1: not utf-8"),
    "packed": (gzip.compress(GOOD), r"a gzip file; unpack it", r"a gzip file; unpack it"),
    "long field": (GOOD + b"1," + b"u" * (1 << 21) + b",x\n", r"line 62", r"line 62"),
    "no target": (b"a,b\n1,u\n2,v\n", r"no column 't'", None),
    "one class": (b"a,b,t\n1,u,x\n2,v,x\n", r"one class, 'x'", None),
    "missing target": (GOOD + b"1,u,\n", r"target is missing in row 61", None),
    "all missing": (b"a,t\n" + b",x\n,y\n" * 20, r"no column is left", r"lacks the column 'b'"),
    "dates": (b"a,t\n2020-01-02,x\n2021-03-04,y\n", r"'a' holds dates like", r"lacks the column"),
    "another table": (b"c,d\n1,2\n", r"no column 't'", r"no column 't'|lacks the column 'a'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    (folder / "good.csv").write_bytes(GOOD)
    train = ["train", str(folder / "good.csv"), "--target", "t", "--epochs", "1"]
    assert cli.main([*train, "--out", str(folder / "m.st")]) == 0
    return str(folder / "m.st")


def refused(capsys, path, words, *arguments):
    """The command ends with 2 and one line that names the file and says the words."""
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a column that is left out
        assert cli.main([*map(str, arguments)]) == 2
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    line = told.err.strip().splitlines()[-1]
    assert line.startswith("bpcore: error: ") and str(path) in line, line
    assert support.found(words, line), line


@pytest.mark.parametrize("case", FILES)
def test_bad_files_end_with_file_and_row_and_overwrite_nothing(case, model, tmp_path, capsys):
    data, of_train, of_use = FILES[case]
    path, out = tmp_path / "t.csv", tmp_path / "out"
    path.write_bytes(data)
    out.write_text("mine")
    refused(capsys, path, of_train, "train", path, "--target", "t", "--out", out)
    if of_use is not None:
        refused(capsys, path, of_use, "evaluate", model, path)
        refused(capsys, path, of_use, "predict", model, path, "-o", out)
    assert out.read_text() == "mine" and sorted(os.listdir(tmp_path)) == ["out", "t.csv"]


def test_bad_targets_of_an_evaluation(model, tmp_path, capsys):
    path = tmp_path / "t.csv"
    for more, words in (
        (b"1,u,\n", r"target is missing in row 61"),
        (b"1,u,z\n", r"'z' in row 61"),
    ):
        path.write_bytes(GOOD + more)
        refused(capsys, path, words, "evaluate", model, path)
    path.write_bytes(b"a,b\n1,u\n")
    refused(capsys, path, r"no column 't'", "evaluate", model, path)


def test_a_column_without_values_is_left_out_and_told(tmp_path, capsys):
    path, out = tmp_path / "t.csv", tmp_path / "m.st"
    path.write_bytes(b"gone," + GOOD.replace(b"\n", b"\n,")[:-1])
    train = ["train", str(path), "--target", "t", "--epochs", "1", "--out", str(out)]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli.main(train) == 0
    told = capsys.readouterr().err
    assert str(path) in told and "'gone' has no value in any row; it is left out" in told


def test_ten_thousand_columns(tmp_path, capsys):
    draw = np.random.default_rng(0)
    table = {f"c{i}": draw.normal(size=12).round(2) for i in range(10_000)}
    table["t"] = ["x", "y"] * 6
    path, out = write(tmp_path / "wide.csv", table), tmp_path / "m.st"
    train = ["train", str(path), "--target", "t", "--epochs", "1", "--hidden", "4"]
    assert cli.main([*train, "--out", str(out)]) == 0
    assert "12 rows, 10000 columns" in capsys.readouterr().out
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], lines[5].replace(",", ",word,", 1), *lines[6:]]))
    words = r"line 6: 10002 fields, expected 10001"
    refused(capsys, path, words, *train, "--out", tmp_path / "other")


@pytest.mark.parametrize("last", [b"", b"\xc3"], ids=["whole", "cut"])
@pytest.mark.parametrize("lines", [0, 1, 40_000])
def test_the_line_of_a_wrong_encoding_is_exact(lines, last, tmp_path):
    """Also beyond the block in which it was read, and where the file ends within a character."""
    from bpcore.data import tables

    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n" + "ü,ü\n".encode() * lines + (last or b"\xff,1\n" + b"1,2\n" * 99))
    with pytest.raises(ValueError, match=rf"t\.csv, line {lines + 2}: not utf-8-sig"):
        list(tables.open_table(path).blocks())
    # a block of 65,536 bytes ends within a character, and the next one is wrong further on
    path.write_bytes(b"ab,c\n" + "あ,1\n".encode("shift_jis") * 20_000 + b"\xff,1\n")
    with pytest.raises(ValueError, match=r"line 20002: not shift_jis"):
        list(tables.open_table(path, encoding="shift_jis").blocks())
    path.write_bytes("a,b\n1,2\n".encode("utf-16") + b"\x00\xd8")  # half of a pair
    with pytest.raises(ValueError, match=r"line 3: not utf-16"):
        list(tables.open_table(path, encoding="utf-16").blocks())


def test_a_folder_and_a_missing_file(model, tmp_path, capsys):
    out = tmp_path / "m.safetensors"
    for path in (tmp_path, tmp_path / "nowhere.csv"):
        refused(capsys, path, "", "train", path, "--target", "t", "--out", out)
        refused(capsys, path, "", "evaluate", model, path)
        refused(capsys, path, "", "predict", model, path, "-o", out)
        refused(capsys, path, "", "evaluate", path, path)
    assert not out.exists()


# A child that gives its rights away, when all that it needs was imported: root may read all.
CHILD = """
import json, os, sys, warnings
from bpcore import cli
try:
    import matplotlib.pyplot
except ImportError:
    pass
warnings.simplefilter("ignore")
folder, commands = sys.argv[1], json.loads(sys.argv[2])
good, spare = os.path.join(folder, "good.csv"), os.path.join(folder, "spare.st")
assert cli.main(["train", good, "--target", "t", "--epochs", "1", "--out", spare]) == 0
assert cli.main(["evaluate", spare, good]) == 0
assert cli.main(["predict", spare, good, "-o", spare + ".csv"]) == 0
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for command in commands:
    print("-----", file=sys.stderr)
    assert cli.main(command) == 2, command
"""


@pytest.fixture
def reachable():
    """A folder that other users get to, as they do not to pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name)
        path.chmod(0o711)
        yield path


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users here that may not read")
def test_without_permission(reachable, model):
    """Of the data, of the model, of the folder that is written to."""
    tmp_path = reachable
    closed, place, good = tmp_path / "closed", tmp_path / "place", tmp_path / "good.csv"
    closed.mkdir()
    place.mkdir()
    good.write_bytes(GOOD)
    secret, hidden, out = closed / "secret.csv", closed / "m.st", str(place / "m.st")
    secret.write_bytes(GOOD)
    shutil.copy(model, hidden)
    for path, mode in ((secret, 0), (hidden, 0), (place, 0o777), (closed, 0o555)):
        path.chmod(mode)
    train = ["train", str(good), "--target", "t", "--epochs", "1", "--out"]
    cases = [
        (secret, ["train", str(secret), "--target", "t", "--out", out]),
        (secret, ["predict", str(tmp_path / "spare.st"), str(secret), "-o", out]),
        (hidden, ["predict", str(hidden), str(good), "-o", out]),
        (hidden, ["evaluate", str(hidden), str(good)]),
        (closed, [*train, str(closed / "new.st")]),
        (closed, [*train, out, "--plot", str(closed / "p.svg")]),
        (closed, ["predict", str(tmp_path / "spare.st"), str(good), "-o", str(closed / "a.csv")]),
    ]
    done = support.run_python(CHILD, tmp_path, json.dumps([command for _, command in cases]))
    told = done.stderr.split("-----\n")[1:]
    for (path, _), line in zip(cases, told, strict=True):
        assert line.startswith("bpcore: error: ") and str(path) in line, line
        assert line.count("\n") == 1, line
    assert not os.listdir(place) and sorted(os.listdir(closed)) == ["m.st", "secret.csv"]


@pytest.mark.parametrize("name", ["t.npz", "t.parquet"])
@pytest.mark.parametrize("data", [b"", b"hello", bytes(range(256))], ids=len)
def test_files_that_are_not_what_their_names_say(name, data, tmp_path, capsys):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(data)
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
    from bpcore.data import tables

    monkeypatch.setattr(tables, "ROWS", 7)
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
