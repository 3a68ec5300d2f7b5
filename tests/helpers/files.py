"""Raw files of bpcore's format, written apart from the package: sound ones, and any others."""

from __future__ import annotations

import hashlib
import json
import struct

import numpy as np

import bpcore as bp
from bpcore.files import checkpoint, container, save

CODES = {"float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8", "bool": "BOOL"}


def dumps(value):
    return json.dumps(value, separators=(",", ":"))


def digest(body, arrays):
    h = hashlib.sha256(body.encode())
    for key in sorted(arrays):
        a = arrays[key]
        h.update(dumps({"name": key, "type": a.dtype.str, "shape": list(a.shape)}).encode())
        h.update(a.tobytes())
    return h.hexdigest()


def entries(arrays):
    """The table of sound tensors as [name, dtype, shape, begin, end]."""
    rows, at = [], 0
    for key in sorted(arrays, key=lambda k: (-arrays[k].dtype.itemsize, k)):
        a = arrays[key]
        rows.append([key, CODES[a.dtype.name], list(a.shape), at, at + a.nbytes])
        at += a.nbytes
    return rows


def header(text, rows):
    """JSON of the header, unpadded, from the document's text and table rows (or raw text)."""
    parts = ['{"__metadata__":{"bpcore":' + json.dumps(text) + "}"]
    for row in rows:
        if isinstance(row, str):
            parts.append(row)
            continue
        name, code, shape, begin, end = row
        about = {"dtype": code, "shape": shape, "data_offsets": [begin, end]}
        parts.append("," + json.dumps(name, ensure_ascii=False) + ":" + dumps(about))
    return "".join(parts) + "}"


def joined(head, data, pad=None, length=None):
    if isinstance(head, str):
        head = head.encode("utf-8", "surrogatepass")
    head += b" " * (-len(head) % 8 if pad is None else pad)
    return struct.pack("<Q", len(head) if length is None else length) + head + data


def data_of(arrays):
    order = sorted(arrays, key=lambda k: (-arrays[k].dtype.itemsize, k))
    return b"".join(arrays[k].tobytes() for k in order)


def sealed(body, arrays):
    """The document's text with the hash that fits; `body` a dict, or JSON text of an object."""
    text = body if isinstance(body, str) else dumps(body)
    return text[:-1] + ',"sha256":"' + digest(text, arrays) + '"}'


def forged(body, arrays, rows=None, data=None, **options):
    """A whole file whose hash fits."""
    head = header(sealed(body, arrays), entries(arrays) if rows is None else rows)
    return joined(head, data_of(arrays) if data is None else data, **options)


def packed(document, arrays):
    return b"".join(container.pack(document, arrays, 1))


def small_model(seed=0):
    model = bp.Sequential(
        [bp.layers.Dense(3, "relu", name="a"), bp.layers.Dense(2, name="b")], seed=seed
    )
    model.build((4,))
    model.compile("adam", "cross_entropy", metrics=["accuracy"])
    return model


def model_parts():
    """(document, arrays) of a small sound model, free to be changed."""
    model = small_model()
    document = {"format": 1, "bpcore": bp.__version__, "model": save.describe(model)}
    return json.loads(json.dumps(document)), {k: v.copy() for k, v in save.arrays_of(model).items()}


def checkpoint_parts(number=checkpoint.FORMAT):
    """(document, arrays) of a sound checkpoint after one update."""
    model = small_model()
    model.train_on_batch(np.ones((5, 4)), np.arange(5) % 2)
    state, arrays = checkpoint.capture(model, model._counters)
    document = {"format": number, "bpcore": bp.__version__, "kind": "checkpoint",
                "model": save.describe(model), "state": state}  # fmt: skip
    return json.loads(json.dumps(document)), {k: v.copy() for k, v in arrays.items()}


def taken_apart(path):
    """(document, part of fit, arrays) of a run's checkpoint, each free to be changed."""
    content = container.read(str(path))
    document, arrays = content.document, dict(content.arrays)
    if document["format"] == 1:
        return document, document.pop("fit"), arrays
    return document, json.loads(arrays.pop("@fit").tobytes()), arrays


def put_together(document, held, arrays):
    """The file of such parts, under a hash that fits; `held` may be text."""
    if document["format"] == 1:
        return forged({**document, "fit": held}, arrays)
    text = held if isinstance(held, bytes) else dumps(held).encode()
    return forged(document, {**arrays, "@fit": np.frombuffer(text, np.uint8)})
