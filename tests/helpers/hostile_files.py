"""Hostile and damaged files, generated: (name, bytes, what the message must name).

M-numbers are those of the catalogue of malicious files that this project tests against; where it
speaks of parts that the container has not (flags, trailers), the nearest thing stands there.
"""

from __future__ import annotations

import copy
import json
import struct

import numpy as np

from . import files
from .foreign_files import checkpoints, foreign, good, zipped


def headers():
    base, (document, arrays) = good(), files.model_parts()
    text, rows = files.sealed(document, arrays), files.entries(arrays)
    data = files.data_of(arrays)
    length = struct.unpack("<Q", base[:8])[0]
    yield "M01-empty", b"", "0 bytes"
    yield "M02-short", base[:7], "7 bytes"
    yield "M03-length-only", base[:8], "8 bytes"
    for i in range(8):
        changed = bytearray(base)
        changed[8 + i] ^= 1
        yield f"M04-first-bytes-{i}", bytes(changed), "not a bpcore model|header"
    yield "M05-newlines", base.replace(b"{", b"{\r\n"), "header|metadata|bpcore"
    for number in (0, 2, 999999999):
        other = {**document, "format": number}
        yield f"M06-format-{number}", files.forged(other, arrays), "format"
    yield "M06-format-huge", files.forged({**document, "format": 2**64}, arrays), "metadata"
    yield "M06-format-true", files.forged({**document, "format": True}, arrays), "metadata"
    yield "M07-unknown-entry", files.forged({**document, "flags": 1}, arrays), "unknown entry"
    for n in (0, 1, 7, length - 8, length + 8, len(base), 2**24, 2**32 - 1, 2**63, 2**64 - 1):
        yield f"M09-header-length-{n}", struct.pack("<Q", n) + base[8:], "header|tensor|metadata"
    for n in (-1, 1):
        yield f"M08-length-{n}", struct.pack("<Q", length + n) + base[8:], "multiple of 8"
    many = [
        f',"t{i:07}":{{"dtype":"F32","shape":[],"data_offsets":[{4 * i},{4 * i + 4}]}}'
        for i in range(100_001)
    ]
    yield "M10-tensors", files.joined(files.header(text, many), bytes(4 * 100_001)), "100000"
    yield "M11-trailing-byte", base + b"\0", "data"
    yield "M11-trailing-megabyte", base + bytes(2**20), "data"
    yield "M11-two-models", base + base, "data"
    yield "M12-zip-before", b"PK\x03\x04" + base, "zip"
    yield "M12-pdf-before", b"%PDF-1.7" + base, "PDF"
    yield "M12-elf-before", b"\x7fELF" + base, "program"
    yield "M12-zip-after", base + zipped({"a": b"1"}), "data"
    no_seal = files.header(files.dumps(document), rows)
    yield "M14-no-hash", files.joined(no_seal, data), "SHA-256"
    other_document, other_arrays = files.model_parts()
    other_arrays["a/bias"] += 1
    swapped = files.sealed(other_document, other_arrays)
    yield "M15-hash-of-another", files.joined(files.header(swapped, rows), data), "SHA-256"
    yield (
        "M20-swapped",
        files.joined(files.header(text, rows), data[:-8] + data[-4:] + data[-8:-4]),
        "SHA-256",
    )
    head = files.header(text, rows)
    yield "leading-space", files.joined(" " + files.header(text, rows), data), "not a bpcore"
    yield "padding-not-minimal", files.joined(head, data, pad=8 + -len(head) % 8), "7 spaces"
    tabs = head.encode() + b"\t" * (-len(head.encode()) % 8 or 8)
    yield "padding-of-tabs", files.joined(tabs, data), "header"
    yield "space-inside", files.joined(head.replace('"shape":', '"shape": '), data), "header"
    yield "no-metadata", files.joined(files.dumps({}), data), "no metadata|header|bytes"
    extra = head.replace('"}', '","a":"b"}', 1)
    yield "second-metadata-entry", files.joined(extra, data), "header|metadata"
    yield (
        "metadata-not-text",
        files.joined('{"__metadata__":{"bpcore":{}}}' + " " * 40, b""),
        "header",
    )


def tensors():
    document, arrays = files.model_parts()
    rows, data = files.entries(arrays), files.data_of(arrays)
    text = files.sealed(document, arrays)
    n = len(data)

    def table(change, payload=data):
        changed = copy.deepcopy(rows)
        change = change(changed) or changed
        return files.joined(files.header(text, change), payload)

    def cell(row, column, value):
        return table(lambda r: r[row].__setitem__(column, value))

    shapes = {
        "M21-zero": [0],
        "M22-zero-huge": [0, 2**60],
        "M22-zero-many": [0] + [2**31 - 1] * 7,
        "M23-product-2^64": [2**32, 2**32],
        "M24-wraps-to-16": [2**62 + 4],
        "M25": [2**31] * 2,
        "M26-minus-one": [2**64 - 1],
        "M26-negative": [-1],
        "M27-rank-0": [],
        "M27-rank-9": [1] * 9,
        "M27-rank-255": [1] * 255,
        "M28-times-itemsize": [2**31 - 1, 512],
        "M29-more": [4],
        "leading-zero": None,
        "float": [3.0],
        "text": ["3"],
        "nested": [[3]],
        "null": None,
    }
    for name, shape in shapes.items():
        yield f"shape-{name}", cell(0, 2, shape), "shape|header|size|end"
    raw = files.header(text, rows).replace('"shape":[3]', '"shape":[03]', 1)
    yield "shape-zeros", files.joined(raw, data), "leading zeros"
    raw = files.header(text, rows).replace('"shape":[3]', '"shape":[3,]', 1)
    yield "shape-comma", files.joined(raw, data), "shape"
    begin, end = rows[1][3:]
    offsets = {
        "M29-short": (begin, end - 1),
        "M29-long": (begin, end + 4),
        "M30-past-the-end": (begin, n + 8),
        "M31-overlap": (begin - 1, end - 1),
        "M33-gap": (begin + 4, end + 4),
        "M34-zero": (0, end),
        "M35-far": (2**40, 2**40 + 48),
        "M36-backwards": (end, begin),
        "M37-odd": (begin + 1, end + 1),
        "M39-wraps": (2**64 - 4, 2**64 + 44),
        "M39-huge": (10**19, 10**19 + 48),
        "negative": (-4, end),
        "float": (0.0, end),
        "text": ("0", end),
    }
    for name, pair in offsets.items():
        yield (
            f"offsets-{name}",
            table(lambda r, p=pair: r[1].__setitem__(slice(3, 5), p)),
            "begin|end|header",
        )
    yield "M32-all-the-same", table(lambda r: [[row[0], "F32", [3], 0, 12] for row in r]), "begin"
    bomb = [[f"t{i:06}", "F32", [2**20], 0, 2**22] for i in range(5000)]
    yield "M32-bomb", files.joined(files.header(text, bomb), bytes(2**22)), "begin"
    yield "M38-order", table(lambda r: [r[1], r[0], *r[2:]]), "begin"
    rows2 = [[r[0], r[1], r[2], 0, 0] for r in rows]
    at = 0
    for i in (1, 0, 2, 3):  # the data too
        rows2[i][3:] = [at, at + rows[i][4] - rows[i][3]]
        at = rows2[i][4]
    yield "M38-order-of-names", table(lambda r: [rows2[i] for i in (1, 0, 2, 3)]), "order"
    yield "M41-zero-size-elsewhere", table(lambda r: r.append(["z", "F32", [0], 4, 4])), "begin"
    for code in ("F16", "BF16", "C64", "F8_E4M3", "", "f32", "F32\\u0000", "X" * 9):
        yield f"M42-dtype-{code}", cell(0, 1, code), "dtype|header"
    yield "M42-dtype-number", cell(0, 1, 0), "header"
    yield "M69-duplicate", table(lambda r: r[1].__setitem__(0, r[0][0])), "each name once"
    yield (
        "duplicate-inner-key",
        files.joined(
            files.header(text, rows).replace('"dtype":"F32"', '"dtype":"F32","dtype":"F32"', 1),
            data,
        ),
        "header",
    )
    yield (
        "unknown-inner-key",
        files.joined(files.header(text, rows).replace('"dtype"', '"x":1,"dtype"', 1), data),
        "header",
    )
    yield (
        "inner-keys-in-another-order",
        files.joined(
            files.header(text, rows).replace(
                '"shape":[3],"data_offsets":[0,12]', '"data_offsets":[0,12],"shape":[3]', 1
            ),
            data,
        ),
        "header",
    )
    yield "bool-2", *bool_file()


def bool_file():
    document, _ = files.model_parts()
    arrays = {"flag": np.array([2], np.uint8)}
    return files.forged(document, arrays, rows=[["flag", "BOOL", [1], 0, 1]]), "above 1"


def names():
    document, arrays = files.model_parts()
    rows, data = files.entries(arrays), files.data_of(arrays)
    text = files.sealed(document, arrays)
    # F32, 3 elements: comes first or last by name, and is refused for the name before that counts
    for label, name in {
        "M64-nul": "a\0b",
        "M65-escape": "a\x1b[31m",
        "M65-newline": "a\nb",
        "M66-parent": "../../x",
        "M66-absolute": "/etc/passwd",
        "M66-dot": "./x",
        "M66-inner": "a/../b",
        "M67-empty": "",
        "M68-megabyte": "a" * 2**20,
        "M68-256": "a" * 256,
        "M68-bytes": "ä" * 130,
        "M71-zero-width": "a/bi\u200bas",
        "M71-right-to-left": "a/\u202ebias",
        "M71-bom": "\ufeffa",
        "double-slash": "a//b",
        "end-slash": "a/",
        "line-separator": "a\u2028b",
    }.items():
        changed = [[name, *rows[0][1:]], *rows[1:]]
        yield f"name-{label}", files.joined(files.header(text, changed), data), "name|header"
    for label, raw in {
        "M62-not-utf8": b"\xff\xfe",
        "M63-overlong": b"\xc0\xaf",
        "surrogate": b"\xed\xa0\x80",
    }.items():
        head = files.header(text, rows).encode().replace(b'"a/bias"', b'"' + raw + b'"', 1)
        yield f"name-{label}", files.joined(head, data), "UTF-8"
    for label, name in {
        "M72-class": "__class__",
        "M72-system": "os.system",
        "M72-reduce": "__reduce__/x",
        "M74-percent": "%n%s%x",
        "M74-format": "{0.__class__}",
    }.items():
        other = {**arrays, name: np.zeros(1, np.float32)}
        yield f"name-{label}", files.forged(document, other), "do not fit"
    pair = {**arrays, "e\u0301/x": np.zeros(1, np.float32), "\u00e9/x": np.zeros(1, np.float32)}
    yield "name-M70-same-in-NFC", files.forged(document, pair), "NFC"


def documents():
    document, arrays = files.model_parts()

    def text(body, **options):
        return files.forged(body, arrays, **options)

    prefix = files.dumps({k: document[k] for k in ("format", "bpcore")})[:-1] + ',"model":'
    yield "nesting-65", text(prefix + "[" * 65 + "]" * 65 + "}"), "nested"
    yield "M61-nesting-100000", text(prefix + '{"a":' * 10**5 + "1" + "}" * 10**5 + "}"), "too many"
    yield "nesting-unbalanced", text(prefix + "[" * 10**5 + "}"), "nested"
    yield "M73-brackets", text(prefix + "[" + "[]," * 400_000 + "0]}"), "too many|header"
    yield "M73-numbers", text(prefix + "[" + "1," * 500_000 + "0]}"), "too many|header"
    yield "M73-objects", text(prefix + "[" + '{"a":1},' * 10**5 + "0]}"), "too many|header"
    yield "M73-string", text(prefix + '"' + "a" * 2**24 + '"}'), "header length"
    yield "M73-quoted-brackets", text(prefix + "[" + '"[",' * 300_000 + "0]}"), "too many"
    yield "number-of-a-million-digits", text(prefix + "1" * 10**6 + "}"), "digits"
    for label, value in {
        "nan": "NaN",
        "inf": "Infinity",
        "float-overflow": "1e999",
        "spaces": "[1, 2]",
        "key-twice": '{"a":1,"a":2}',
        "upper-exponent": "1E5",
        "escape": '"\\u0041"',
        "open": '"',
        "two-values": "1,2",
        "not-json": "hello",
        "control": '"\x01"',
        "non-ascii": '"ä"',
        "lone-surrogate": '"\\ud800"',
    }.items():
        yield f"json-{label}", text(prefix + value + "}"), "metadata|lacks|header"
    for label, value in {"list": [], "null": None, "text": "x", "number": 3, "empty": {}}.items():
        yield f"model-{label}", text({**document, "model": value}), "lacks"
    yield "kind", text({**document, "kind": "checkpoint"}), "load_checkpoint"
    upper = files.sealed(document, arrays)
    upper = upper[:-66] + upper[-66:].upper()
    rows, data = files.entries(arrays), files.data_of(arrays)
    yield "hash-in-capitals", files.joined(files.header(upper, rows), data), "SHA-256"


def semantics():
    document, arrays = files.model_parts()

    def changed(*path_and_value, arrays=arrays):
        *path, last, value = path_and_value
        body = copy.deepcopy(document)
        at = body["model"]
        for key in path:
            at = at[key]
        at[last] = value
        return files.forged(body, arrays)

    layer = ("config", "layers", 0)
    inner = (*layer, "config")
    rows = {
        "M43-layer": (*layer, "class_name", "Lambda"),
        "M43-popen": (*layer, "class_name", "os.system"),
        "M43-list": (*layer, "class_name", ["Dense"]),
        "M43-number": (*layer, "class_name", 3),
        "M43-dunder": (*layer, "class_name", "__class__"),
        "M44-activation": (*inner, "activation", "sin"),
        "M44-config": (*inner, "activation", {"class_name": "eval", "config": "1"}),
        "M45-loss": ("config", "compile", "loss", "eval"),
        "M45-number": ("config", "compile", "loss", 3),
        "M46-optimizer": ("config", "compile", "optimizer", {"class_name": "Popen", "config": {}}),
        "M47-boolean": (*layer, "trainable", 2),
        "M47-use-bias": (*inner, "use_bias", 1),
        "M48-rate-0": ("config", "compile", "optimizer", "config", {"learning_rate": -0.0}),
        "M48-rate-negative": ("config", "compile", "optimizer", "config", {"learning_rate": -1}),
        "M48-rate-text": ("config", "compile", "optimizer", "config", {"learning_rate": "x"}),
        "M48-beta": ("config", "compile", "optimizer", "config", {"beta_1": 1.0}),
        "M48-schedule": (
            "config",
            "compile",
            "optimizer",
            "config",
            {"learning_rate": {"class_name": "System", "config": {}}},
        ),
        "M49-metric": ("config", "compile", "metrics", ["exec"]),
        "M50-accumulate": ("config", "compile", "accumulate_steps", 2**63),
        "M51-units": (*inner, "units", 4),
        "M51-units-0": (*inner, "units", 0),
        "M51-units-negative": (*inner, "units", -1),
        "M51-units-huge": (*inner, "units", 2**31 - 1),
        "M51-units-beyond": (*inner, "units", 2**63),
        "M51-units-float": (*inner, "units", 3.0),
        "M52-chain": ("config", "layers", 1, "config", "units", 7),
        "M52-input": ("config", "input_shape", [5]),
        "M52-input-huge": ("config", "input_shape", [2**31 - 1]),
        "M52-input-many": ("config", "input_shape", [2**31 - 1] * 40),
        "M52-input-empty": ("config", "input_shape", []),
        "M52-input-text": ("config", "input_shape", "44"),
        "M58-output": ("config", "layers", 1, "config", "units", 1),
        "M59-layers": (
            "config",
            "layers",
            [copy.deepcopy(document["model"]["config"]["layers"][0])] * 10_001,
        ),
        "unknown-argument": (*inner, "shell", True),
        "unknown-layer-entry": (*layer, "exec", "x"),
        "unknown-model-entry": ("config", "hook", "x"),
        "no-layers": ("config", "layers", []),
        "layers-number": ("config", "layers", 3),
        "layers-text": ("config", "layers", "Dense"),
        "dtype": ("config", "dtype", "float16"),
        "dtype-other": ("config", "dtype", "float64"),
        "seed": ("config", "seed", 2**64),
        "seed-text": ("config", "seed", "0"),
        "name": ("config", "name", 3),
        "same-names": (*layer, "name", "b"),
        "name-slash": (*layer, "name", "a/b"),
        "frozen": (*layer, "frozen", ["nothing"]),
        "frozen-text": (*layer, "frozen", 3),
        "initializer": (*inner, "kernel_initializer", "exec"),
        "initializer-class": (*inner, "kernel_initializer", {"class_name": "Popen", "config": {}}),
        "model-class": ("class_name", "Popen"),
        "model-class-number": ("class_name", 3),
        "model-entry": ("weights", "x"),
        "config-list": ("config", []),
    }
    for name, change in rows.items():
        yield f"model-{name}", changed(*change), "."
    for name, change in {
        "M53-missing": lambda a: a.pop("a/bias"),
        "M54-extra": lambda a: a.update({"c/kernel": np.zeros(2, np.float32)}),
        "M56-shape": lambda a: a.update({"a/bias": np.zeros(4, np.float32)}),
        "M56-rank": lambda a: a.update({"a/bias": np.zeros((3, 1), np.float32)}),
        "M56-dtype": lambda a: a.update({"a/bias": np.zeros(3)}),
        "M75-nan": lambda a: a["a/bias"].__setitem__(1, np.nan),
        "M76-inf": lambda a: a["a/bias"].__setitem__(1, -np.inf),
        "M77-signalling": lambda a: a["a/bias"].view(np.uint32).__setitem__(0, 0x7FA00000),
        "none": lambda a: a.clear(),
    }.items():
        other = {k: v.copy() for k, v in arrays.items()}
        change(other)
        yield f"weights-{name}", files.forged(document, other), "."
    yield from graphs()


def graphs():
    """Functional models whose connections make no sense."""
    import bpcore as bp
    from bpcore.files import save

    a = bp.Input((2,), name="a")
    model = bp.Model(a, bp.layers.Dense(2, name="d")(a) + a, seed=0)
    arrays = {k: v.copy() for k, v in save.arrays_of(model).items()}
    document = {"format": 1, "bpcore": bp.__version__, "model": save.describe(model)}
    for name, path, value in (
        ("M60-cycle", ("nodes", 1, "inputs"), [2]),
        ("self", ("nodes", 1, "inputs"), [1]),
        ("negative", ("nodes", 2, "inputs"), [-1, -2]),
        ("far", ("nodes", 2, "inputs"), [0, 2**40]),
        ("text", ("nodes", 1, "inputs"), ["0"]),
        ("layer", ("nodes", 1, "layer"), 99),
        ("layer-negative", ("nodes", 1, "layer"), -1),
        ("output", ("outputs",), 9),
        ("output-negative", ("outputs",), -1),
        ("output-list", ("outputs",), [[0]]),
        ("no-output", ("outputs",), []),
        ("input-not-one", ("inputs",), [1]),
        ("input-twice", ("inputs",), [0, 0]),
        ("input-true", ("inputs",), True),
        ("no-nodes", ("nodes",), []),
        ("node-entry", ("nodes", 0, "code"), "x"),
        ("input-shape", ("layers", 0, "config", "shape"), [0]),
    ):
        body = json.loads(json.dumps(document))
        at = body["model"]["config"]
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        yield f"graph-{name}", files.forged(body, arrays), "."


def models(canary="/nonexistent"):
    yield from headers()
    yield from tensors()
    yield from names()
    yield from documents()
    yield from semantics()
    yield from foreign(canary)


__all__ = ["checkpoints", "good", "models"]
