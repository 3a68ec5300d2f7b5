"""Files of other formats, and hostile checkpoints; see hostile_files.py."""

from __future__ import annotations

import copy
import gzip
import io
import pickle
import struct
import zipfile

import numpy as np

from . import files


class Inert:
    """Its pickle would create the file named in `path`."""

    path = "/nonexistent"

    def __reduce__(self):
        return open, (self.path, "w")


def good():
    return files.forged(*files.model_parts())


def zipped(entries, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


def foreign(canary="/nonexistent"):
    Inert.path = canary
    base = good()
    for protocol in range(6):
        yield f"M81-pickle-{protocol}", pickle.dumps({"a": [1.5]}, protocol), "pickle|not a|bytes"
        yield f"M82-pickle-runs-{protocol}", pickle.dumps(Inert(), protocol), "pickle|not a|bytes"
    yield "M83-torch", zipped({"archive/data.pkl": b"\x80\x02}.", "archive/version": b"3"}), "zip"
    bomb = zipped({"a.npy": bytes(10**7)}, zipfile.ZIP_DEFLATED)
    yield "M84-npz-bomb", bomb, "zip"
    stream = io.BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    yield "M85-npy-object", stream.getvalue(), "NumPy"
    yield "M86-hdf5", b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"
    yield "M87-keras-lambda", zipped({"config.json": b'{"class_name": "Lambda"}'}), "zip"
    plain = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    yield "M88-safetensors", files.joined(files.dumps(plain), bytes(4)), "no metadata"
    yield (
        "M88-safetensors-metadata",
        files.joined(files.dumps({"__metadata__": {"format": "pt"}, **plain}), bytes(4)),
        "no metadata",
    )
    yield "M89-gguf", b"GGUF" + struct.pack("<IQQ", 3, 2**63, 2**63) + bytes(50), "GGUF"
    yield "M90-onnx", b"\x08\x07\x12\x07pytorch" + bytes(60), "ONNX"
    yield "M91-gzip", gzip.compress(base), "gzip"
    yield "M92-joblib", pickle.dumps(np.zeros(3), 4), "pickle"
    yield "M93-html", b"<!DOCTYPE html><html><body>404</body></html>" + bytes(40), "HTML"
    yield (
        "M93-lfs",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "lfs pull",
    )
    yield "text", b"hello, this is some text" * 5, "not a bpcore model"
    yield "zeros", bytes(4096), "not a bpcore model"
    yield "ones", b"\xff" * 4096, "not a bpcore model"
    yield "second-half", base[len(base) // 2 :], "not a bpcore|bytes"
    for cut in (16, 60, 100, len(base) // 2, len(base) - 1):
        yield f"cut-{cut}", base[:cut], "."


def checkpoints():
    """Checkpoints only: the model part is sound."""
    document, arrays = files.checkpoint_parts()
    slot = next(k for k in arrays if k.startswith("@optimizer/") and k.endswith("a/kernel"))

    def state(**changes):
        body = copy.deepcopy(document)
        body["state"].update(changes)
        return files.forged(body, arrays)

    def with_arrays(change):
        other = {k: v.copy() for k, v in arrays.items()}
        change(other)
        return files.forged(document, other)

    yield "M103-missing-slot", with_arrays(lambda a: a.pop(slot)), "missing"
    yield (
        "M103-other-optimizer",
        with_arrays(lambda a: a.update({"@optimizer/velocity/a/kernel": a[slot]})),
        "state of optimizer",
    )
    yield "slot-shape", with_arrays(lambda a: a.update({slot: np.zeros(3, np.float32)})), "expected"
    yield "slot-dtype", with_arrays(lambda a: a.update({slot: a[slot].astype(float)})), "expected"
    yield "extra-array", with_arrays(lambda a: a.update({"c/x": np.zeros(1)})), "do not fit"
    for key in ("iterations", "epochs_done", "stream", "draws"):
        for value in (-1, 2**63, 1.5, "1", None, True, []):
            yield f"state-{key}-{value}", state(**{key: value}), key
    yield "state-seed", state(seed=-1), "seed"
    yield "state-rate", state(learning_rate=-1), "learning_rate"
    yield "state-rate-class", state(learning_rate={"class_name": "Popen", "config": {}}), "state"
    yield "state-unknown", state(code="x"), "entries"
    for label, value in {"list": [], "empty": {}, "null": None}.items():
        yield f"state-{label}", files.forged({**document, "state": value}, arrays), "entries"
    model, weights = files.model_parts()
    yield "a-model", files.forged(model, weights), "no optimizer state"
    yield "no-model", files.forged({**document, "model": None}, arrays), "in Python"
    bare = copy.deepcopy(document)
    bare["model"]["config"]["compile"] = None
    yield "not-compiled", files.forged(bare, arrays), "not compiled"
