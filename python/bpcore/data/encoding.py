"""What characters the bytes of a text file are, and where they are not."""

from __future__ import annotations

import codecs
import io
from pathlib import Path

_BLOCK = 1 << 16  # bytes
# What files look like that are no text: from which byte, which bytes.
_FOREIGN = (
    (0, b"PAR1\x15", "a parquet file; let its name end in .parquet"),
    (0, b"PK\x03\x04", "a zip archive, such as a table of Excel (.xlsx); write it as CSV"),
    (0, b"\xd0\xcf\x11\xe0", "a table of an older Excel (.xls); write it as CSV"),
    (0, b"\x1f\x8b", "a gzip file; unpack it first"),
    (0, b"\x93NUMPY", "a NumPy array (.npy); pass the array, or write it as npz"),
    (0, b"ARROW1\0", "a feather file; write it as parquet"),
    (0, b"\x80\x04", "a Python pickle; write it as CSV or parquet"),
    (0, b"\x80\x05", "a Python pickle; write it as CSV or parquet"),
    (0, b'[{"', "JSON; write it as CSV or parquet"),
    (0, b'{"', "JSON; write it as CSV or parquet"),
    (0, b"<!DOCTYPE", "an HTML page; write its table as CSV"),
    (0, b"<html>", "an HTML page; write its table as CSV"),
    (0, b"<html ", "an HTML page; write its table as CSV"),
    (0, b"<table>", "an HTML page; write its table as CSV"),
    (0, b"<table ", "an HTML page; write its table as CSV"),
    (0, b"<?xml", "an XML document; write its table as CSV"),
    (0, b"\x89HDF", "an HDF5 file; write it as CSV or parquet"),
    (8, b'{"__meta', "a model's file (safetensors); give a table"),
    (0, b"SQLite format 3\0", "a database of SQLite; write a table of it as CSV"),
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
            told = io.TextIOWrapper(io.BytesIO(), encoding=told).encoding  # of "locale", too
        except (LookupError, TypeError, ValueError):
            raise ValueError(
                f"encoding must be one of text files, for example latin-1 or cp1252, got {told!r}"
            ) from None
    with open(path, "rb") as file:
        start = file.read(16)
    for at, first, what in _FOREIGN:
        if start.startswith(first, at):
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
