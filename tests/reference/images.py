"""Layers with windows in NumPy, one tap at a time; x has its channels last, and may be complex."""

from __future__ import annotations

import numpy as np

from .pointwise import maximum


def padding_of(word, size, window, stride, dilation):
    """Zeros before and after an axis, by the definition of the word."""
    reach = (window - 1) * dilation + 1
    if word == "valid":
        return 0, 0
    if word == "causal":
        return reach - 1, 0
    if word == "same":
        outputs = -(-size // stride)
        total = max((outputs - 1) * stride + reach - size, 0)
        return total // 2, total - total // 2
    return word, word


def taps(x, window, strides, paddings, dilation):
    """For each tap of the window its index and what it sees at all positions."""
    pads = [padding_of(p, n, w, s, d) for p, n, w, s, d in
            zip(paddings, x.shape[1:-1], window, strides, dilation, strict=True)]  # fmt: skip
    sizes = x.shape[1:-1]
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    counts = [(n + sum(pad) - (w - 1) * d - 1) // s + 1 for n, pad, w, s, d in
              zip(sizes, pads, window, strides, dilation, strict=True)]  # fmt: skip
    for tap in np.ndindex(*window):
        cuts = [slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(tap, dilation, counts, strides, strict=True)]  # fmt: skip
        yield tap, x[(slice(None), *cuts)]


def listed(value, rank):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank


def convolution(w, x, strides=1, padding="valid", dilation=1, groups=1):
    """x (N, .., C) * w[0] (.., C / groups, K) + w[1] (K)."""
    rank = x.ndim - 2
    kernel = w[0]
    inner, filters = kernel.shape[-2], kernel.shape[-1] // groups
    told = [listed(v, rank) for v in (strides, padding, dilation)]
    y = 0
    for tap, seen in taps(x, kernel.shape[:-2], *told):
        parts = [
            seen[..., g * inner : (g + 1) * inner] @ kernel[tap][:, g * filters : (g + 1) * filters]
            for g in range(groups)
        ]
        y = y + np.concatenate(parts, axis=-1)
    return y + w[1] if len(w) > 1 else y


def first(f):
    """f for arrays with their channels first."""
    return lambda w, x: np.moveaxis(f(w, np.moveaxis(x, 1, -1)), -1, 1)


def pooling(x, most, window, strides, padding="valid"):
    """The largest or the mean of what lies inside of x."""
    rank = x.ndim - 2
    told = [listed(v, rank) for v in (window, strides, padding, 1)]
    inside = taps(np.ones((1, *x.shape[1:-1], 1)), *told)
    y, count = 0, 0
    for (_, seen), (_, here) in zip(taps(x, *told), inside, strict=True):
        new = here > 0
        if most:
            y = np.where(new & (count > 0), maximum(y + 0 * seen, seen), np.where(new, seen, y))
        else:
            y = y + seen
        count = count + here
    return y if most else y / count


def placed(x, befores, sizes, repeats):
    """y[p] = x[(p - before) // repeat], 0 outside, along each axis of positions."""
    for axis, (before, size, repeat) in enumerate(zip(befores, sizes, repeats, strict=True), 1):
        x = np.repeat(x, repeat, axis=axis)
        pads = [(0, 0)] * x.ndim
        pads[axis] = (max(before, 0), max(size - before - x.shape[axis], 0))
        x = np.pad(x, pads)
        begin = max(-before, 0)
        x = x.take(range(begin, begin + size), axis=axis)
    return x
