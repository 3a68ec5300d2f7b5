"""The IDX file format of MNIST: strict reading of bytes, gzip-compressed or plain.

Format (Y. LeCun, "The MNIST database"): two zero bytes, a type code (0x08: unsigned byte), the
number of dimensions, each dimension as a big-endian 32-bit number, then the values in C order.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np

_UNSIGNED_BYTE = 0x08
_MAX_DIMENSIONS = 8


def decompress(data: bytes, name: str, limit: int) -> bytes:
    """The content of a gzip file, or `data` itself if it is not one; at most `limit` bytes."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            content = stream.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{name}: damaged gzip file ({error}); delete it and get it anew"
        ) from error
    if len(content) > limit:
        raise ValueError(f"{name}: unpacks to more than the {limit} bytes expected")
    return content


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """Parse the bytes of an IDX file of unsigned bytes.

    Returns a read-only uint8 array with the dimensions of the file. Raises ValueError with the
    file's name if the magic number, the dimensions or the length are not as the format says.
    """
    if len(content) < 4:
        raise ValueError(f"{name}: {len(content)} bytes are too few for an IDX file (at least 8)")
    zero, kind, rank = content[:2], content[2], content[3]
    if zero != b"\0\0":
        start = content[:16]
        raise ValueError(
            f"{name}: not an IDX file, it starts with {start!r}, expected two zero bytes"
        )
    if kind != _UNSIGNED_BYTE:
        raise ValueError(f"{name}: IDX type code 0x{kind:02x}, expected 0x08 (unsigned byte)")
    if not 1 <= rank <= _MAX_DIMENSIONS:
        raise ValueError(f"{name}: {rank} dimensions, expected 1 to {_MAX_DIMENSIONS}")
    header = 4 + 4 * rank
    if len(content) < header:
        raise ValueError(f"{name}: {len(content)} bytes, but the header alone takes {header}")
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4))
    values = math.prod(shape)
    if len(content) - header != values:
        raise ValueError(
            f"{name}: {len(content) - header} bytes of data, expected {values} for shape {shape}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def read_idx(path: str | Path, *, limit: int = 1 << 31) -> np.ndarray:
    """Read one IDX file, plain or gzip-compressed; `limit` bounds the unpacked size."""
    path = Path(path).expanduser()
    return parse_idx(decompress(path.read_bytes(), str(path), limit), str(path))
