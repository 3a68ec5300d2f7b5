"""bpcore's files: a safetensors container, written in one canonical form and read strictly.

A header of JSON says name, type, shape and place of every tensor; its metadata hold one document,
JSON as well, whose last entry is a SHA-256 over the document and all tensors. There is one way to
write a given content, and the reader accepts nothing else: every deviation is a FormatError that
says file, field, what came and what was expected. The hash finds damage, it does not prove origin.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .._version import __version__
from ..base import checks, digests
from ..base.checks import MAX_ELEMENTS, MAX_NAME, MAX_RANK, MAX_SIZE, name_flaw
from ..base.memory import Array
from ..errors import FormatError

FORMAT_VERSION = 2  # the newest that is read: of models save.FORMAT, of checkpoints their own
MAX_HEADER = 2**24  # bytes
MAX_BYTES = 2**33  # of a whole file, unless the caller says otherwise
MAX_TENSORS = 100_000
MAX_NESTING = 64
MAX_DIGITS = 40  # of an integer
_MAX_PARSED = 2**24  # bytes that the values of a document take, 10,000 layers at least
_MAX_TOKENS = 2_000_000  # brackets of a document
_PIECE = 2**23  # bytes that are hashed, read or written at once: some hundredths of a second
_MORE = 64  # bytes of a name of several slashes beyond MAX_NAME: @optimizer/<slot>/<weight>

DTYPES = {
    "F64": "<f8", "F32": "<f4", "I64": "<i8", "U64": "<u8", "I32": "<i4", "U32": "<u4",
    "I16": "<i2", "U16": "<u2", "I8": "|i1", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_TYPES = {code: np.dtype(text) for code, text in DTYPES.items()}
_CODES = {dtype: code for code, dtype in _TYPES.items()}

# What the first bytes of files that people pass by mistake look like.
_FOREIGN = (
    (b"\x80", "a Python pickle (.pkl, .joblib or an old .pt)"),
    (b"PK\x03\x04", "a zip archive (.npz, .keras or .pt)"),
    (b"\x89HDF", "an HDF5 file (.h5)"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"GGUF", "a GGUF file"),
    (b"\x08", "an ONNX or other protobuf file"),
    (b"\x7fELF", "a program"),
    (b"%PDF", "a PDF document"),
    (b"<", "an HTML or XML page"),
    (b"version https://git-lfs", "a Git LFS pointer; run git lfs pull"),
)
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_DESCRIPTION = "cannot save: the description of the model (initializers given as arrays count)"
_PREFIX = b'{"__metadata__":{"bpcore":"'
_VERSION = re.compile(rb'\{"format":([0-9]{1,9}),"bpcore":"([0-9A-Za-z.+-]{1,40})",')
_SEAL = re.compile(rb',"sha256":"([0-9a-f]{64})"\}')
_ENTRY = re.compile(
    rb',"((?:[^"\\]|\\["\\]){0,400})":\{"dtype":"([A-Z0-9_]{1,8})","shape":\[([0-9,]{0,120})\],'
    rb'"data_offsets":\[([0-9]{1,20}),([0-9]{1,20})\]\}'
)
_CONTROL = re.compile(rb"[\x00-\x1f]")
_NO_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))


class Content:
    """What a file holds: `document`, which begins with its format, and `arrays`."""

    def __init__(self, document: dict[str, Any], arrays: dict[str, Array], size: int) -> None:
        self.document, self.arrays, self.size = document, arrays, size


def shown(text: str, limit: int = 120) -> str:
    """Text from outside for a message: quoted, everything unprintable escaped, cut."""
    return ascii(text[:limit] + ("..." if len(text) > limit else ""))


# ---- writing -------------------------------------------------------------------------------------


def pack(
    document: Mapping[str, Any], arrays: Mapping[str, Array], version: int
) -> Iterator[bytes | memoryview]:
    """The file's bytes in pieces; everything is checked before the first piece.

    Raises
    ------
    ValueError
        A name or the document is beyond what `read` takes back.
    """
    folded: set[str] = set()
    for name, array in arrays.items():
        flaw = _name_flaw(name, folded) or _shape_flaw(array.shape)
        if flaw:
            raise ValueError(f"cannot save: tensor {shown(name)} {flaw}; rename or reshape it")
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    tensors = {name: _little(name, arrays[name]) for name in order}
    body = {"format": version, "bpcore": __version__, **document}
    data = _head(body, _digest(canonical(body).encode(), tensors), tensors)
    head = iter([len(data).to_bytes(8, "little") + data])
    return itertools.chain(head, *map(_pieces, tensors.values()))


def check(document: Mapping[str, Any], arrays: Mapping[str, Array], spare: int = 0) -> None:
    """ValueError for what `pack` would not take; `spare`: bytes that the description may gain."""
    tensors = {name: _little(name, array) for name, array in arrays.items()}
    _head({"format": 1, "bpcore": __version__, **document}, "0" * 64, tensors, spare)


def _head(
    body: Mapping[str, Any], digest: str, tensors: Mapping[str, Array], spare: int = 0
) -> bytes:
    """All before the numbers, once it is what `read` takes back."""
    text = canonical({**body, "sha256": digest})
    check_nesting(text.encode(), _DESCRIPTION)
    header = ['{"__metadata__":{"bpcore":', json.dumps(text), "}"]
    offset = 0
    for name, array in tensors.items():
        entry = {
            "dtype": _CODES[array.dtype],
            "shape": array.shape,
            "data_offsets": (offset, offset + array.nbytes),
        }
        header += [",", json.dumps(name, ensure_ascii=False), ":", canonical(entry)]
        offset += array.nbytes
    data = ("".join(header) + "}").encode()
    data += b" " * (-len(data) % 8)
    if len(data) + spare > MAX_HEADER or len(tensors) > MAX_TENSORS:
        raise ValueError(
            f"cannot save: {len(tensors)} tensors and {len(data)} bytes of description, expected "
            f"at most {MAX_TENSORS} and {MAX_HEADER}; initializers given as arrays count"
        )
    return data


def _pieces(array: Array) -> Iterator[memoryview]:
    """The bytes of a contiguous array, without a copy, few enough at once for Ctrl-C."""
    data = array.reshape(-1).view(np.uint8).data
    return (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))


def _little(name: str, array: Array) -> Array:
    """The array as the file has it; TypeError for a dtype outside the closed list."""
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _CODES:
        raise TypeError(f"cannot save: {shown(name)} has dtype {array.dtype}, expected numbers")
    return np.asarray(array, dtype=dtype, order="C")  # ascontiguousarray would make () (1,)


def canonical(value: Any) -> str:
    """The one JSON text of a value."""
    return _ENCODER.encode(value)


def _digest(body: bytes, arrays: Mapping[str, Array]) -> str:
    """SHA-256 over the document and every tensor's name, type, shape and bytes."""
    digest = digests.sha256(body)
    for key in sorted(arrays):
        array = arrays[key]
        about = {"name": key, "type": array.dtype.str, "shape": array.shape}
        digest.update(canonical(about).encode())
        for piece in _pieces(array):
            digest.update(piece)
    return digest.hexdigest()


def _name_flaw(name: str, folded: set[str]) -> str:
    """What is wrong with a tensor's name, or nothing; `folded` gathers normal forms."""
    flaw = name_flaw(name, MAX_NAME + (_MORE if name.count("/") > 1 else 0))
    if flaw or name.isascii():
        return flaw
    normal = unicodedata.normalize("NFC", name)
    if normal in folded:
        return "is another's name in the normal form NFC of Unicode"
    folded.add(normal)
    return ""


def _shape_flaw(shape: tuple[int, ...]) -> str:
    """What is wrong with a tensor's shape, or nothing; sizes of 0 count as 1."""
    if len(shape) > MAX_RANK:
        return f"has {len(shape)} axes, expected at most {MAX_RANK}"
    if max(shape, default=0) > MAX_SIZE or math.prod(n or 1 for n in shape) > MAX_ELEMENTS:
        return f"has shape {shape}, expected sizes up to {MAX_SIZE} and {MAX_ELEMENTS} elements"
    return ""


# ---- reading -------------------------------------------------------------------------------------


def read(name: str, *, sha256: str | None = None, max_bytes: int | None = None) -> Content:
    """Read and check a file, opened once, into memory of its own.

    Parameters
    ----------
    sha256 : str, optional
        What the hash of the file's bytes must be.
    max_bytes : int, optional
        The largest file to read, 8 GiB by default.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
    try:
        handle = os.open(name, flags)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            error.errno, f"cannot load: {checks.no_such_file(name)}", name
        ) from None
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"cannot load {name!r}: it is a directory")
        if not stat.S_ISREG(status.st_mode):  # a pipe would block, a device may never end
            raise ValueError(f"cannot load {name!r}: it is not a regular file")
        return _Reader(handle, shown(name, 1000), status.st_size, sha256).content(
            MAX_BYTES if max_bytes is None else max_bytes
        )
    finally:
        os.close(handle)


class _Reader:
    """One pass over an open file."""

    def __init__(self, handle: int, file: str, size: int, sha256: str | None) -> None:
        self.handle, self.file, self.size = handle, file, size
        self.expected = sha256
        self.whole = digests.sha256() if sha256 is not None else None

    def error(self, field: str, got: Any, expected: str, advice: str = "") -> FormatError:
        """The one shape of all messages."""
        return FormatError(f"{self.file}: {field}: got {got}, expected {expected}{advice}")

    def content(self, max_bytes: int) -> Content:
        """All checks, in the order that lets each rely on those before it."""
        if self.size > max_bytes:
            raise self.error(
                "file", f"{self.size} bytes", f"at most {max_bytes}", "; pass max_bytes to allow it"
            )
        start = self._take(bytearray(min(self.size, 64)))
        header = self._header(start)
        end = header.find(b'}"}', len(_PREFIX))
        if not header.startswith(_PREFIX) or end < 0:
            raise self._not_ours(header)
        # Every copy is dropped as soon as may be: a header may be large, memory must stay bounded.
        raw, rest = header[len(_PREFIX) : end + 1], header[end + 3 :]
        del header
        text = self._document_text(raw)
        del raw
        seal = self._version_and_seal(text)
        body = b"".join((memoryview(text)[: -len(b',"sha256":""}') - 64], b"}"))
        del text
        arrays = self._arrays(self._table(rest, end + 3))
        found = _digest(body, arrays)
        if found != seal:
            raise self.error("SHA-256 of the content", found, seal, "; the file is damaged")
        check_nesting(body, f"{self.file}: metadata")
        plain = body.decode("ascii")
        del body
        return Content(parsed(plain, f"{self.file}: metadata"), arrays, self.size)

    # ---- bytes ----------------------------------------------------------------------------------
    def _take(self, buffer: Any) -> Any:
        """Fill `buffer` from the file."""
        rest = memoryview(buffer)
        while len(rest):
            count = os.readv(self.handle, [rest[:_PIECE]])
            if count == 0:
                raise self.error("file", "an end", f"{len(rest)} more bytes; it shrank meanwhile")
            if self.whole is not None:
                self.whole.update(rest[:count])
            rest = rest[count:]
        return buffer

    def _header(self, start: bytearray) -> bytearray:
        """The header's bytes, once length and first bytes are sound."""
        if start[8:9] != b"{":
            for first, what in _FOREIGN:
                if start.startswith(first):
                    raise FormatError(f"{self.file}: not a bpcore model but {what}")
        if self.size < 64:
            raise FormatError(
                f"{self.file}: file is {self.size} bytes; a bpcore model has at least 64; it "
                f"starts with {bytes(start[:16])!r}"
            )
        length = int.from_bytes(start[:8], "little")
        if start[8:9] != b"{":
            raise FormatError(
                f"{self.file}: not a bpcore model; it starts with {bytes(start[:16])!r}"
            )
        limit = min(MAX_HEADER, self.size - 8)
        if not 56 <= length <= limit:
            raise self.error("header length", length, f"56 to {limit}; is the file cut short?")
        if length % 8:
            raise self.error("header length", length, "a multiple of 8")
        self.data_size = self.size - 8 - length
        header = bytearray(length)
        header[:56] = start[8:]
        self._take(memoryview(header)[56:])
        return header

    def _not_ours(self, header: bytearray) -> FormatError:
        if b'"bpcore"' in header[:200]:
            return self.error("header", repr(bytes(header[:60])), f"it to begin with {_PREFIX!r}")
        if b'"data_offsets"' in header or b'"__metadata__"' in header or header.strip() == b"{}":
            return FormatError(
                f"{self.file}: a safetensors file, but not of a bpcore model (no metadata of "
                "bpcore); read it with the safetensors package and assign with set_weights"
            )
        return FormatError(
            f"{self.file}: not a bpcore model; it starts with {bytes(header[:16])!r}"
        )

    # ---- the document ---------------------------------------------------------------------------
    def _document_text(self, raw: bytearray) -> bytearray:
        """The document's JSON, out of the JSON string that holds it."""
        text = raw.replace(b'\\"', b'"').replace(b"\\\\", b"\\")
        # Equal if and only if each of both was escaped once, and nothing else was.
        size = len(text) + text.count(b'"') + text.count(b"\\")
        if size != len(raw) or not text.isascii() or _CONTROL.search(text):
            raise self.error("metadata", "another string", "canonical JSON in ASCII")
        return text

    def _version_and_seal(self, text: bytearray) -> str:
        told = _VERSION.match(text)
        if told is None:
            raise self.error(
                "metadata", repr(bytes(text[:40])), '\'{"format":number,"bpcore":version,\''
            )
        version, writer = int(told[1]), told[2].decode()
        if version > FORMAT_VERSION:
            raise FormatError(
                f"{self.file}: written in format {version} by bpcore {writer!r}; this bpcore "
                f"{__version__} reads formats up to {FORMAT_VERSION}; upgrade it"
            )
        if version < 1:
            raise self.error("format number", version, "at least 1")
        seal = _SEAL.fullmatch(text[-len(b',"sha256":""}') - 64 :])
        if seal is None:
            raise self.error("metadata", repr(bytes(text[-40:])), "a SHA-256 at its end")
        return seal[1].decode()

    # ---- the tensors ----------------------------------------------------------------------------
    def _table(self, header: bytearray, place: int) -> list[tuple[str, str, tuple[int, ...]]]:
        """Name, type and shape of all tensors; the data are covered exactly, in order."""
        count = header.count(b'"data_offsets":')
        if count > MAX_TENSORS:
            raise self.error("tensors", count, f"at most {MAX_TENSORS}")
        table: list[tuple[str, str, tuple[int, ...]]] = []
        at, offset, last = 0, 0, (-1024, "")
        folded: set[str] = set()
        while (entry := _ENTRY.match(header, at)) is not None:
            at = entry.end()
            try:
                name = _name(entry[1], folded)
                code, shape, offset = _tensor(entry, offset, self.data_size)
                order = (-int(DTYPES[code][2]), name)
                if order <= last:
                    raise _Flaw("place", "this", "each name once, in order of size and name")
            except _Flaw as flaw:
                name = shown(entry[1].decode("latin-1"))
                raise self.error(f"tensor {name}: {flaw.field}", flaw.got, flaw.expected) from None
            table.append((name, code, shape))
            last = order
        if header[at:].rstrip(b" ") != b"}" or len(header) - at > 8:
            raise self.error(
                f"header at byte {place + at}",
                ascii(header[at : at + 100].decode("latin-1")),
                'an entry ,"name":{"dtype":...,"shape":[...],"data_offsets":[...]} or its end: } '
                "and at most 7 spaces",
            )
        if offset != self.data_size:
            raise self.error("data", f"{self.data_size} bytes", f"{offset}, the sum of all tensors")
        return table

    def _arrays(self, table: list[tuple[str, str, tuple[int, ...]]]) -> dict[str, Array]:
        """The tensors, parts of one buffer as large as the file's data."""
        data = np.empty(self.data_size, np.uint8)
        self._take(data.data)
        arrays: dict[str, Array] = {}
        offset = 0
        for name, code, shape in table:
            dtype = _TYPES[code]
            end = offset + math.prod(shape) * dtype.itemsize
            if code == "BOOL" and (data[offset:end] > 1).any():
                raise self.error(f"tensor {shown(name)}", "a byte above 1", "False or True")
            arrays[name] = data[offset:end].view(dtype).reshape(shape)
            offset = end
        if os.read(self.handle, 1):
            raise self.error("file", "more bytes", f"{self.size}; it grew while it was read")
        if self.whole is not None and self.whole.hexdigest() != self.expected:
            raise self.error(
                "SHA-256 of the file", self.whole.hexdigest(), f"{self.expected}, the sha256 given"
            )
        return arrays


class _Flaw(Exception):
    """What is wrong with one tensor's entry."""

    def __init__(self, field: str, got: Any, expected: str) -> None:
        self.field, self.got, self.expected = field, got, expected


def _name(raw: bytes, folded: set[str]) -> str:
    """A tensor's name; `folded` gathers the normal forms of those beyond ASCII."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise _Flaw("name", "other bytes", "UTF-8") from None
    if "\\" in name:
        name = name.replace('\\"', '"').replace("\\\\", "\\")
    flaw = _name_flaw(name, folded)
    if flaw:
        raise _Flaw("name", shown(name), f"another, since this {flaw}")
    return name


def _tensor(entry: re.Match[bytes], offset: int, size: int) -> tuple[str, tuple[int, ...], int]:
    """Type, shape and end of the tensor that begins at `offset` in `size` bytes of data."""
    code = entry[2].decode()
    if code not in DTYPES:
        raise _Flaw("dtype", repr(code), f"one of {', '.join(DTYPES)}")
    parts = entry[3].split(b",") if entry[3] else []
    if not all(parts) or len(parts) > MAX_RANK or max(map(len, parts), default=0) > 10:
        raise _Flaw("shape", f"[{entry[3].decode()}]", f"at most {MAX_RANK} sizes up to {MAX_SIZE}")
    numbers = [int(part) for part in (*parts, entry[4], entry[5])]
    if any(part[0] == 48 and len(part) > 1 for part in (*parts, entry[4], entry[5])):
        raise _Flaw("shape and data_offsets", numbers, "numbers without leading zeros")
    shape, begin, end = tuple(numbers[:-2]), numbers[-2], numbers[-1]
    flaw = _shape_flaw(shape)
    if flaw:
        raise _Flaw("shape", list(shape), f"another, since this {flaw}")
    if begin != offset:
        raise _Flaw("begin", begin, f"{offset}: no holes, no overlap")
    wanted = offset + math.prod(shape) * int(DTYPES[code][2])
    if end != wanted or end > size:
        raise _Flaw("end", end, f"{wanted} for shape {shape} of {code}, in {size} bytes of data")
    return code, shape, end


def parsed(text: str, where: str) -> dict[str, Any]:
    """The values of text that is canonical; its depth has been checked."""
    try:
        value = json.loads(text, parse_int=_integer, parse_constant=_refuse)
        same = canonical(value) == text
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: damaged: {error}") from error
    if not same or not isinstance(value, dict):
        raise FormatError(
            f"{where}: got another form, expected canonical JSON: every key once, no spaces"
        )
    return value


def check_nesting(text: bytes, where: str, *, bounded: bool = True) -> None:
    """Refuse JSON too deep and, if `bounded`, with too many values, at a cost bounded by its
    length."""
    # About what the parsed values take: 64 bytes for a list or entry, 232 for a dict.
    size = 0 if not bounded else 64 * (text.count(b",") + text.count(b"[")) + 232 * text.count(b"{")
    if size <= _MAX_PARSED:
        flat = text.replace(b"\\\\", b"").replace(b'\\"', b"")
        # Strings without brackets are two adjacent quotes by now; the rest is walked through.
        tokens = flat.translate(None, _NO_STRUCTURE).replace(b'""', b"")
    if bounded and (size > _MAX_PARSED or len(tokens) > _MAX_TOKENS):
        raise FormatError(
            f"{where}: got too many values, about {size} bytes, expected at most {_MAX_PARSED}"
        )
    depth, inside = 0, False
    for token in tokens:
        if token == 34:
            inside = not inside
        elif not inside:
            depth += 1 if token in b"[{" else -1
            if depth > MAX_NESTING:
                raise FormatError(
                    f"{where}: got lists or objects nested deeper than {MAX_NESTING}, expected less"
                )


def _integer(digits: str) -> int:
    count = len(digits.removeprefix("-"))
    if count > MAX_DIGITS:
        raise ValueError(f"a number of {count} digits, expected at most {MAX_DIGITS}")
    return int(digits)


def _refuse(token: str) -> Any:
    raise ValueError(f"{token} is not JSON")
