"""SHA-256. Its module loads OpenSSL, which takes longer than any other import of bpcore's: 2 ms
that only files, checkpoints and fingerprints need."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib


def sha256(data: bytes = b"") -> hashlib._Hash:
    """A digest, of `data` so far."""
    import hashlib

    return hashlib.sha256(data)
