"""Exported ONNX files: ONNX Runtime answers what `predict` does."""

import sys

import numpy as np
import pytest

import bpcore as bp
from bpcore.cli import commands as cli

L = bp.layers


def small():
    return bp.Sequential(
        [bp.Input((5,), name="x"), L.Dense(4, "relu"), L.Dropout(0.5), L.Dense(3, "softmax")],
        seed=0,
    )


# ---- the command, and what is refused ------------------------------------------------------------


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"to_onnx needs the package 'onnx'.*bpcore\[onnx\]"):
        small().to_onnx(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path, capsys):
    pytest.importorskip("onnx")
    model, target = small(), tmp_path / "net.onnx"
    model.save(tmp_path / "m.st")
    assert cli.main(["export", str(tmp_path / "m.st"), "--onnx", str(target)]) == 0
    assert capsys.readouterr().out == f"model exported to {target.resolve()}\n"
    model.to_onnx(tmp_path / "same.onnx")
    assert target.read_bytes() == (tmp_path / "same.onnx").read_bytes()


def test_bad_input_of_the_command(tmp_path, capsys):
    path = tmp_path / "m.st"
    small().save(path)
    for arguments, message in (
        ([str(path)], "--onnx"),
        ([str(path), "--onnx", str(tmp_path / "no" / "net.onnx")], "--onnx: there is no folder"),
        ([str(path), "--onnx", str(path)], "is the model itself"),
        ([str(tmp_path / "lost"), "--onnx", str(tmp_path / "net.onnx")], "lost"),
    ):
        try:
            assert cli.main(["export", *arguments]) == 2
        except SystemExit as stopped:  # argparse's
            assert stopped.code == 2
        assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["m.st"]


def test_a_model_for_tables_is_refused(tmp_path, capsys):
    from bpcore.tabular import TabularRegressor

    model = TabularRegressor((2,), epochs=1, random_state=0)
    model.fit({"a": [1.0, 2.0, 3.0, 4.0]}, np.arange(4.0)).save(tmp_path / "t.st")
    target = tmp_path / "net.onnx"
    assert cli.main(["export", str(tmp_path / "t.st"), "--onnx", str(target)]) == 2
    assert "hand on its network model_" in capsys.readouterr().err
    assert not target.exists()


def answers(model, xs, path):
    """Of ONNX Runtime, after the check of the file."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model.to_onnx(path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = runtime.InferenceSession(path.read_bytes())
    names = [i.name for i in session.get_inputs()]
    return session.run(None, dict(zip(names, xs, strict=True)))


def test_dense(tmp_path):
    model, x = small(), np.random.default_rng(0).normal(size=(7, 5)).astype("float32")
    (found,) = answers(model, [x], tmp_path / "net.onnx")
    np.testing.assert_allclose(found, model.predict(x), rtol=1e-5)
