"""Philox4x32-10 (J. Salmon, M. Moraes, R. Dror, D. Shaw, 2011) in plain integers."""

from __future__ import annotations

_WORD = 2**32


def philox(seed, stream, counter):
    """The four words of a block: key (seed), counter words (counter, stream), low halves first."""
    c = [counter % _WORD, counter // _WORD, stream % _WORD, stream // _WORD]
    key = [seed % _WORD, seed // _WORD]
    for _ in range(10):
        high_0, low_0 = divmod(0xD2511F53 * c[0], _WORD)
        high_2, low_2 = divmod(0xCD9E8D57 * c[2], _WORD)
        c = [high_2 ^ c[1] ^ key[0], low_2, high_0 ^ c[3] ^ key[1], low_0]
        key = [(key[0] + 0x9E3779B9) % _WORD, (key[1] + 0xBB67AE85) % _WORD]
    return tuple(c)
