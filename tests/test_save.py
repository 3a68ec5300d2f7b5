"""Saving and loading: the same bits, atomically, and refusal of everything else."""

import errno
import json
import os
import stat
import struct

import numpy as np
import pytest

import bpcore as bp
from bpcore import atomic, save
from bpcore.errors import FormatError, NotBuiltError


def _sequential(dtype="float32"):
    layers = [
        bp.layers.Dense(7, activation="tanh", kernel_initializer="he_normal"),
        bp.layers.Dense(4, use_bias=False, name="middle"),
        bp.layers.Activation("relu"),
        bp.layers.Dense(3, activation="softmax"),
    ]
    model = bp.Sequential(layers, dtype=dtype, seed=1)
    model.build((5,))
    return model


def _graph(dtype="float64"):
    a, b = bp.Input((4,), name="a"), bp.Input((4,), name="b")
    shared = bp.layers.Dense(6, activation="gelu", name="shared")
    u, v = shared(a), shared(b)
    h = bp.layers.Concatenate()([u, v * 2.0])
    out = bp.layers.Dense(2)(h) + bp.layers.Dense(2)(u)
    return bp.Model([a, b], [out, bp.layers.Dense(1, name="second")(h)], dtype=dtype, seed=2)


def _inputs(model, n=9):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 4)), rng.normal(size=(n, 4))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip_has_the_same_bits(tmp_path, dtype):
    model = _sequential(dtype)
    x = np.random.default_rng(0).normal(size=(20, 5))
    model.save(tmp_path / "m.safetensors")
    again = bp.load_model(tmp_path / "m.safetensors")
    assert type(again) is bp.Sequential and again.dtype == dtype
    assert [p.name for p in again.weights] == [p.name for p in model.weights]
    assert model.predict(x).tobytes() == again.predict(x).tobytes()


def test_graph_round_trip(tmp_path):
    model = _graph()
    model.save(tmp_path / "m.safetensors")
    again = bp.load_model(str(tmp_path / "m.safetensors"))
    assert again.count_params() == model.count_params()  # the shared layer is still one
    for p, q in zip(model.predict(_inputs(model)), again.predict(_inputs(model)), strict=True):
        assert p.tobytes() == q.tobytes()


def test_trained_weights_survive_and_files_are_canonical(tmp_path):
    (x, y), _ = bp.datasets.load_digits(split=True)
    model = bp.Sequential([bp.layers.Dense(10)], seed=0)
    model.compile("adam", "cross_entropy")
    model.fit(x, y, epochs=1, verbose=0)
    model.save(tmp_path / "a")
    again = bp.load_model(tmp_path / "a")
    again.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert again.evaluate(x, y) == model.evaluate(x, y)  # compiled as it was


def test_python_losses_are_left_out(tmp_path):
    class Mine:
        def value(self, y_true, y_pred):
            return ((y_true - y_pred) ** 2).mean(axis=-1)

        def gradient(self, y_true, y_pred):
            return 2 * (y_pred - y_true) / y_pred.size

    model = bp.Sequential([bp.layers.Dense(2)], seed=0)
    model.compile("sgd", Mine())
    model.build((3,))
    model.save(tmp_path / "m")
    again = bp.load_model(tmp_path / "m")
    assert (again.predict(np.ones((1, 3))) == model.predict(np.ones((1, 3)))).all()
    with pytest.raises(RuntimeError, match="compile"):
        again.evaluate(np.ones((1, 3)), np.ones((1, 2)))


def test_the_file_is_plain_safetensors(tmp_path):
    numpy_reader = pytest.importorskip("safetensors.numpy")
    model = _sequential()
    model.save(tmp_path / "m")
    tensors = numpy_reader.load_file(tmp_path / "m")
    assert sorted(tensors) == sorted(p.name for p in model.weights)
    for p in model.weights:
        assert (tensors[p.name] == p.value).all()


class Doubling(bp.layers.Layer):
    """y = 2 x."""

    def forward(self, x, training=False):
        return 2 * x

    def backward(self, dy):
        return 2 * dy


def test_custom_layers_need_custom_objects(tmp_path):
    model = bp.Sequential([Doubling(), bp.layers.Dense(2)], seed=0)
    model.build((3,))
    model.save(tmp_path / "m")
    with pytest.raises(FormatError, match=r"(?s)Doubling.*custom_objects"):
        bp.load_model(tmp_path / "m")
    again = bp.load_model(tmp_path / "m", custom_objects={"Doubling": Doubling})
    x = np.ones((2, 3))
    assert (again.predict(x) == model.predict(x)).all()


# ---- writing -------------------------------------------------------------------------------------


def test_mode_of_a_file_is_kept_and_links_are_followed(tmp_path):
    target, link = tmp_path / "file", tmp_path / "link"
    atomic.write_atomically(target, b"1")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask
    target.chmod(0o640)
    link.symlink_to(target)
    atomic.write_atomically(link, b"2")
    assert link.is_symlink() and target.read_bytes() == b"2"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_order_of_a_write(tmp_path, monkeypatch):
    calls = []

    def record(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            calls.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(atomic.os, name, call)

    for name in ("open", "write", "fsync", "close", "replace"):
        record(name)
    atomic.write_atomically(tmp_path / "file", b"data")
    expected = ["open", "write", "fsync", "close", "replace", "open", "fsync", "close"]
    assert calls == expected


@pytest.mark.parametrize("function", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, function, error):
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, function, fail)
        with pytest.raises(type(error)):
            atomic.write_atomically(target, b"new")
    assert target.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]
    atomic.write_atomically(target, b"new")
    assert target.read_bytes() == b"new"


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(atomic.os, "write", lambda handle, data: real(handle, data[:3]))
    atomic.write_atomically(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_bad_paths(tmp_path):
    model = _sequential()
    for path in (None, 3, b"bytes"):
        with pytest.raises(TypeError, match="path must be"):
            model.save(path)
    for path in ("", "a\0b"):
        with pytest.raises(ValueError, match="path must be a non-empty string without NUL"):
            model.save(path)
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        model.save(tmp_path / "none" / "m")
    with pytest.raises(IsADirectoryError):
        model.save(tmp_path)
    with pytest.raises(IsADirectoryError):
        bp.load_model(tmp_path)
    with pytest.raises(FileNotFoundError):
        bp.load_model(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    for action in (model.save, bp.load_model):
        with pytest.raises(ValueError, match="not a regular file"):
            action(tmp_path / "pipe")
    with pytest.raises(NotBuiltError):
        bp.Sequential([bp.layers.Dense(2)]).save(tmp_path / "m")


# ---- reading what is not a model -----------------------------------------------------------------

FOREIGN = [
    (b"", "0 bytes"),
    (b"\x80\x05K\x01.", "a Python pickle"),
    (b"PK\x03\x04" + b"\0" * 30, "a zip archive"),
    (b"\x89HDF\r\n\x1a\n" + b"\0" * 30, "an HDF5 file"),
    (b"\x93NUMPY\x01\0" + b"\0" * 30, "a NumPy array"),
    (b"\x1f\x8b\x08" + b"\0" * 30, "a gzip file"),
    (b"GGUF" + b"\0" * 30, "a GGUF file"),
    (b"<!DOCTYPE html><html></html>", "an HTML or XML page"),
    (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    (b"hello, this is some text", "it starts with b'hello"),
    (b"\xff" * 64, "not a bpcore model"),
    (struct.pack("<Q", 2) + b"{}", "no metadata"),
]


@pytest.mark.parametrize(("content", "message"), FOREIGN)
def test_foreign_files_are_named(tmp_path, content, message):
    path = tmp_path / "m"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        bp.load_model(path)


def _packed():
    arrays = {"d/kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}
    return save.pack({"class_name": "Sequential", "config": {}}, arrays)


def test_every_truncation_and_every_flipped_bit_is_found():
    data = _packed()
    document, arrays = save.unpack(data, "name")
    assert document["class_name"] == "Sequential" and list(arrays) == ["d/kernel"]
    for cut in range(len(data)):
        with pytest.raises(FormatError):
            save.unpack(data[:cut], "name")
    for extra in (b"\0", b" " * 8):
        with pytest.raises(FormatError):
            save.unpack(data + extra, "name")
    for i in range(len(data)):
        for bit in range(8):
            bad = data[:i] + bytes([data[i] ^ 1 << bit]) + data[i + 1 :]
            with pytest.raises(FormatError):
                save.unpack(bad, "name")


def _with_metadata(change):
    """A file whose checksum fits, after `change` of its own JSON."""
    data = _packed()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    body = json.loads(header["__metadata__"]["bpcore"])
    change(body)
    del body["sha256"]
    arrays = {"d/kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}
    body["sha256"] = save._digest(body, arrays)
    header["__metadata__"]["bpcore"] = json.dumps(body)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 2, "format 2 by bpcore .* reads formats up to 1"),
        ("format", 0, "format number 0"),
        ("format", True, "format number True"),
        ("model", [], "no architecture"),
    ],
)
def test_headers_that_make_no_sense(key, value, message):
    with pytest.raises(FormatError, match=message):
        save.unpack(_with_metadata(lambda body: body.update({key: value})), "name")


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', "[" * 3000 + "]" * 3000, '{"a": NaN}', "[1]", '{"a"', "\xff"]
)
def test_strict_json(text):
    with pytest.raises(FormatError, match="damaged header"):
        save._parse(text.encode("latin-1"), "name")


BAD_MODELS = [
    ({"class_name": "Popen", "config": {}}, "unknown model class 'Popen'"),
    ({"class_name": "Sequential"}, "lacks 'class_name' or 'config'"),
    ({"class_name": "Sequential", "config": {}}, "cannot be built|do not fit"),
    ({"class_name": "Sequential", "config": {"layers": 3}}, "cannot be built"),
]


@pytest.mark.parametrize(("document", "message"), BAD_MODELS)
def test_architectures_that_make_no_sense(tmp_path, document, message):
    (tmp_path / "m").write_bytes(save.pack(document, {"w": np.zeros(1)}))
    with pytest.raises(FormatError, match=message):
        bp.load_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("middle/kernel"), r"missing: \['middle/kernel'\]"),
        (lambda arrays: arrays.update(extra=np.zeros(1)), r"not expected: \['extra'\]"),
        (
            lambda arrays: arrays.update({"middle/kernel": np.zeros((4, 7), "float32")}),
            r"'middle/kernel' is float32 \(4, 7\), expected float32 \(7, 4\)",
        ),
        (
            lambda arrays: arrays.update({"middle/kernel": np.zeros((7, 4))}),
            r"is float64 \(7, 4\), expected float32",
        ),
        (
            lambda arrays: arrays.update({"middle/kernel": np.full((7, 4), np.nan, "float32")}),
            "holds NaN or Inf",
        ),
    ],
)
def test_weights_that_do_not_fit(tmp_path, change, message):
    model = _sequential()
    arrays = {key: value.copy() for key, value in save._arrays(model).items()}
    change(arrays)
    (tmp_path / "m").write_bytes(save.pack(save._describe(model), arrays))
    with pytest.raises(FormatError, match=message):
        bp.load_model(tmp_path / "m")


def test_loading_runs_nothing_and_opens_one_file(tmp_path):
    """An audit hook sees no import, exec, compile, process or socket while a model is read."""
    import subprocess
    import sys

    _sequential().save(tmp_path / "m")
    program = """
import sys
import bpcore as bp
bp.load_model(sys.argv[1])  # once before, for the package's own lazy imports
seen = []
def hook(event, arguments):
    if event in ("import", "exec", "compile", "os.system", "subprocess.Popen", "socket.connect"):
        seen.append(event)
    elif event == "open":
        seen.append((event, str(arguments[0])))
sys.addaudithook(hook)
bp.load_model(sys.argv[1])
print(seen)
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "m")], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    opened = [entry for entry in eval(result.stdout) if not str(entry[1]).isdigit()]
    assert opened == [("open", str(tmp_path / "m"))]
