"""The command ``bpcore``, run as a user runs it."""

import importlib.util
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import bpcore as bp
from bpcore.cli import commands as cli


def _run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "bpcore", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, _run(folder, "demo")


def test_demo_reaches_its_accuracy_in_time(demo):
    _, result = demo
    assert result.returncode == 0, result.stderr
    found = re.search(
        r"test accuracy ([\d.]+) % \((\d+) of 355\), trained in ([\d.]+) s, ([\d,]+) samples",
        result.stdout,
    )
    assert found, result.stdout
    percent, right, seconds, rate = (float(v.replace(",", "")) for v in found.groups())
    assert percent >= 97.0 and abs(percent - 100 * right / 355) < 0.006
    assert seconds < 10.0
    assert abs(rate * seconds / (1442 * 40) - 1) < 0.2  # seconds are printed with two digits


def test_demo_prints_every_epoch(demo):
    lines = re.findall(
        r"^epoch +(\d+)/40  loss ([\d.]+)  accuracy ([\d.]+)  test loss [\d.]+  "
        r"test accuracy [\d.]+$",
        demo[1].stdout,
        re.MULTILINE,
    )
    assert [int(epoch) for epoch, _, _ in lines] == list(range(1, 41))
    assert float(lines[-1][1]) < 0.1 * float(lines[0][1])


def test_demo_s_confusion_matrix_and_saved_model_agree(demo):
    folder, result = demo
    table = result.stdout.split("confusion matrix")[1].split("\n")[2:12]
    matrix = np.array([[int(v) for v in row.replace(".", "0").split()[1:]] for row in table])
    _, (xt, yt) = bp.datasets.load_digits(split=True)
    assert matrix.sum(axis=1).tolist() == np.bincount(yt).tolist()
    saved = re.search(r"model saved to (.*)", result.stdout)[1]
    assert saved == str((folder / "bpcore-digits.safetensors").resolve())
    model = bp.load_model(saved)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (yt, model.predict(xt).argmax(axis=1)), 1)
    assert (matrix == expected).all()


def test_demo_is_reproducible_and_takes_its_options(tmp_path):
    outputs = []
    for threads, name in (("1", "a.st"), ("2", "b.st")):
        options = ["--epochs", "2", "--seed", "5", "--threads", threads, "--save", name]
        result = _run(tmp_path, "demo", *options)
        assert result.returncode == 0, result.stderr
        outputs.append(re.findall(r"^epoch.*$", result.stdout, re.MULTILINE))
    assert outputs[0] == outputs[1] and len(outputs[0]) == 2
    assert (tmp_path / "a.st").read_bytes() == (tmp_path / "b.st").read_bytes()


def test_version_and_config(tmp_path, capsys):
    result = _run(tmp_path, "--version")
    assert result.stdout == f"bpcore {bp.__version__}\n" and result.returncode == 0
    assert cli.main(["config"]) == 0
    printed = capsys.readouterr().out
    for key in ("version", "isa", "threads", "openmp", "numpy", "compiler", "cpu"):
        assert re.search(rf"^{key} ", printed, re.MULTILINE), key
    values = bp.show_config("dict")
    assert values["version"] == bp.__version__ and values["numpy"] == np.__version__
    with pytest.raises(ValueError, match="mode must be"):
        bp.show_config("json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: command"),
        (["trian"], "invalid choice: 'trian'"),
        (["demo", "--epochs", "0"], "got '0', expected a whole number >= 1"),
        (["demo", "--epochs", "many"], "got 'many', expected a whole number"),
    ],
)
def test_bad_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_errors_are_one_line_without_a_traceback(tmp_path, capsys):
    target = tmp_path / "nowhere" / "model.safetensors"
    assert cli.main(["demo", "--epochs", "1", "--save", str(target)]) == 2
    assert "bpcore: error: --save: there is no folder" in capsys.readouterr().err
    assert cli.main(["demo", "--epochs", "1", "--seed", "-1"]) == 2
    assert "seed must be an int in [0, 2^64)" in capsys.readouterr().err


def test_plot(tmp_path, capsys):
    picture, model = tmp_path / "demo.png", tmp_path / "model.safetensors"
    arguments = ["demo", "--epochs", "1", "--plot", str(picture), "--save", str(model)]
    if importlib.util.find_spec("matplotlib") is None:
        assert cli.main(arguments) == 2
        assert "needs matplotlib" in capsys.readouterr().err
        assert not model.exists()  # said before the work
    else:
        assert cli.main(arguments) == 0
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_reader_that_has_seen_enough(tmp_path):
    """As in ``bpcore config | head -1``: no error is told."""
    command = [sys.executable, "-u", "-m", "bpcore", "config"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.close()
        assert child.stderr.read() == b"" and child.wait(timeout=60) == 141
