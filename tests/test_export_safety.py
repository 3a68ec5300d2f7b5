"""What both kinds of files for other programs refuse, and what they leave behind when writing
fails."""

import importlib.util
import re
import resource
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import bpcore as bp

from .helpers import compiled
from .helpers.compiled import compile_c

L = bp.layers
needs_compiler = pytest.mark.skipif(
    compiled.COMPILER is None, reason="no C compiler; the session c_export of nox wants one"
)
needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnx") is None, reason="no onnx; the session onnx of nox has it"
)
FORMATS = ("c", pytest.param("onnx", marks=needs_onnx))


def small(units=4, **options):
    return bp.Sequential([bp.Input((3,)), L.Dense(units, "tanh"), L.Dense(2)], seed=0, **options)


def write(model, kind, path, **options):
    return getattr(model, f"to_{kind}")(path / f"net.{kind}", **options)


# ---- words of the user's -------------------------------------------------------------------------
@needs_compiler
@pytest.mark.parametrize("name", ["R(mm)", "real", "m_exp(x)"])
def test_words_that_stand_for_something_in_c(name, tmp_path):
    """In names they are left as they are; of the net's own, strings are, too."""
    layers = [bp.Input((3,), name=name), L.Dense(2, name=f"{name} in")]
    model = bp.Sequential(layers, name=name, seed=0)
    prefix = name if name.isalpha() else "net"
    x = np.ones((1, 3))
    model.to_c(tmp_path / "net.c", name=prefix, test_vectors=x)
    assert (tmp_path / "net.c").read_text().count(f"{name} in") >= 2
    made = compile_c(tmp_path / "net.c", tmp_path / "net", f"-D{prefix.upper()}_MAIN")
    said = subprocess.run([str(made)], capture_output=True, text=True, check=True).stdout
    assert said == f"{prefix}: 0 rows differ\n"


# ---- numbers that are none -----------------------------------------------------------------------
def test_answers_that_are_no_numbers(tmp_path):
    rows = np.array([[0.0, 0.0, 0.0], [3.0, 3.0, 3.0]])
    model = bp.Sequential([bp.Input((3,)), L.Dense(1, kernel_initializer="ones")])
    model.weights[0].value = np.full((3, 1), 3e38)
    with pytest.raises(ValueError, match=r"test_vectors: the model's answer for row 1 holds NaN"):
        model.to_c(tmp_path / "net.c", test_vectors=rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda x: x * 1e300, "constant holds NaN or Inf, expected finite numbers of float32"),
        (lambda x: x**1e300, "constant holds NaN or Inf"),
    ],
)
def test_numbers_beyond_float32(kind, layer, message, tmp_path):
    x = bp.Input((3,))
    with pytest.raises(ValueError, match=message):
        write(bp.Model(x, layer(x)), kind, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_in_eight_bits(value, tmp_path):
    model = small()
    model.weights[2].value[0, 0] = value
    with pytest.raises(ValueError, match="layer 'dense_1': weight 'dense_1/kernel' holds NaN"):
        write(model, "c", tmp_path, int8=True, calibration=np.ones((2, 3)))


@needs_compiler
def test_a_calibration_of_almost_zeros(tmp_path):
    """Its steps would be 0 in float32, by which nothing is divided."""
    model, x = small(), np.full((2, 3), 1e-44)
    write(model, "c", tmp_path, int8=True, calibration=x)
    steps = re.findall(r"_quantize\(\w+, [^,]+, 3, ([^,]+),", (tmp_path / "net.c").read_text())
    assert [float(step.rstrip("f")) for step in steps] == [1.0]


# ---- ids -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("layer", [lambda x: x, L.Flatten(), L.Reshape((2, 2))])
def test_ids_are_no_output(layer):
    """They were handed out as if their bits were those of floats."""
    x = bp.Input((4,))
    with pytest.raises(ValueError, match=r"output '\w+' takes numbers, and its input holds ids"):
        bp.Model(x, [layer(x), L.Embedding(5, 2)(x)])


# ---- one moment ----------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_is_of_one_moment(kind, tmp_path):
    """Beside a training in another thread there is none; in a callback there is."""
    model, inside, go_on = small(), threading.Event(), threading.Event()
    model.compile("sgd", "mse")

    class Waiting(bp.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            write(model, kind, tmp_path)
            (tmp_path / f"net.{kind}").unlink()
            inside.set()
            go_on.wait(20)

    told = {"callbacks": [Waiting()], "verbose": 0}
    thread = threading.Thread(
        target=model.fit, args=(np.ones((4, 3)), np.ones((4, 2))), kwargs=told
    )
    thread.start()
    try:
        assert inside.wait(20)
        with pytest.raises(bp.errors.BusyError, match=f"got a call of to_{kind} meanwhile"):
            write(model, kind, tmp_path)
        assert not (tmp_path / f"net.{kind}").exists()
    finally:
        go_on.set()
        thread.join()
    write(model, kind, tmp_path)


def test_weights_that_change_meanwhile(tmp_path, monkeypatch):
    from bpcore.export import c

    model, own = small(), c.files

    def files(*args):
        made = own(*args)
        model.set_weights(model.get_weights())  # as another thread may
        return made

    monkeypatch.setattr(c, "files", files)
    with pytest.raises(bp.errors.BusyError, match="weights of different moments"):
        write(model, "c", tmp_path)
    assert not list(tmp_path.iterdir())


# ---- the disk ------------------------------------------------------------------------------------
def test_where_the_file_cannot_be_there_is_no_header(tmp_path):
    (tmp_path / "net.c").mkdir()
    with pytest.raises(IsADirectoryError):
        write(small(), "c", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["net.c"]


def test_where_the_header_cannot_be_there_is_no_file(tmp_path):
    (tmp_path / "net.h").mkdir()
    with pytest.raises(FileExistsError, match=r"net\.h' is beside the file"):
        write(small(), "c", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["net.h"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_full_disk(kind, tmp_path):
    """No file may grow beyond 1,000 bytes: the old ones stay."""
    write(small(), kind, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write(small(300), kind, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"to_onnx needs the package 'onnx'.*bpcore\[onnx\]"):
        small().to_onnx(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
