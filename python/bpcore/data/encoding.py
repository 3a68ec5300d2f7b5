"""What characters the bytes of a text file are, and where they are not."""

from __future__ import annotations

import codecs
import io
from pathlib import Path

_BLOCK = 1 << 16  # bytes
# What the first bytes of files that are no text look like.
_FOREIGN = (
    (b"PAR1\x15", "a parquet file; let its name end in .parquet"),
    (b"PK\x03\x04", "a zip archive, such as a table of Excel (.xlsx); write it as CSV"),
    (b"\xd0\xcf\x11\xe0", "a table of an older Excel (.xls); write it as CSV"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"\x93NUMPY", "a NumPy array (.npy); pass the array, or write it as npz"),
    (b"\x89HDF", "an HDF5 file; write it as CSV or parquet"),
    (b'{"__meta', "a model's file (safetensors); give a table"),  # behind the header's length
    (b"SQLite format 3\0", "a database of SQLite; write a table of it as CSV"),
)


def encoding_of(path: Path, told: str | None) -> str:
    """What the user told; else UTF-16 where a byte-order mark says so, and UTF-8 where none does.

    Raises
    ------
    ValueError
        It is no encoding of text, or the file is a known one that holds no text.
    """
    if told is not None:
        try:
            io.TextIOWrapper(io.BytesIO(), encoding=told)
        except (LookupError, TypeError, ValueError):
            raise ValueError(
                f"encoding must be one of text files, for example latin-1 or cp1252, got {told!r}"
            ) from None
    with open(path, "rb") as file:
        start = file.read(16)
    for first, what in _FOREIGN:
        if start.startswith(first, 8 if first.startswith(b"{") else 0):
            raise ValueError(f"{path} is no text file but {what}")
    marked = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return told or ("utf-16" if marked else "utf-8-sig")


def undecodable_line(path: Path, encoding: str) -> int:
    """The line of a text file in which it ends to be of this encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    ends = io.IncrementalNewlineDecoder(None, translate=True)  # \n, \r\n and \r alone
    line = 1
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            before = decoder.getstate()
            try:
                line += ends.decode(decoder.decode(block)).count("\n")
            except UnicodeError:
                decoder.setstate(before)
                break
    for byte in block:
        try:
            line += ends.decode(decoder.decode(bytes([byte]))).count("\n")
        except UnicodeError:
            break
    return line + ends.decode("", final=True).count("\n")
