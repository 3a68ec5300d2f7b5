"""Losses, complex-safe. Each returns one value per row; a batch's loss is their weighted mean."""

from __future__ import annotations

import math

import numpy as np

from .pointwise import absolute, log_softmax, maximum, softplus


def _rows(a):
    return np.reshape(a, (len(a), -1))


def mean_squared_error(p, t, option=0.0):
    return ((_rows(p) - _rows(t)) ** 2).mean(axis=1)


def half_squared_error(p, t, option=0.0):
    return 0.5 * ((_rows(p) - _rows(t)) ** 2).sum(axis=1)


def mean_absolute_error(p, t, option=0.0):
    return absolute(_rows(p) - _rows(t)).mean(axis=1)


def huber(p, t, option=1.0):
    """1/2 e^2 where |e| <= d, else d |e| - 1/2 d^2 (Huber 1964)."""
    e = absolute(_rows(p) - _rows(t))
    return np.where(np.real(e) <= option, 0.5 * e * e, option * e - 0.5 * option**2).mean(axis=1)


def log_cosh(p, t, option=0.0):
    """log cosh e = |e| + softplus(-2|e|) - log 2."""
    e = absolute(_rows(p) - _rows(t))
    return (e + softplus(-2 * e) - math.log(2)).mean(axis=1)


def binary_cross_entropy(p, t, option=0.0):
    p, t = _rows(p), _rows(t) * (1 - option) + option / 2
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(axis=1)


def binary_cross_entropy_logits(z, t, option=0.0):
    z, t = _rows(z), _rows(t) * (1 - option) + option / 2
    return (softplus(z) - t * z).mean(axis=1)


def _distribution(t, n, smoothing):
    t = np.asarray(t)
    if np.issubdtype(t.dtype, np.integer):
        t = np.eye(n)[t]
    return t * (1 - smoothing) + smoothing / n


def cross_entropy(p, t, option=0.0):
    return -(_distribution(t, p.shape[-1], option) * np.log(p)).sum(axis=-1)


def cross_entropy_logits(z, t, option=0.0):
    return -(_distribution(t, z.shape[-1], option) * log_softmax(z)).sum(axis=-1)


def kl_divergence(p, t, option=0.0):
    p, t = _rows(p), _rows(t)
    safe = np.where(t > 0, t, 1.0)
    return np.where(t > 0, t * (np.log(safe) - np.log(p)), 0).sum(axis=1)


def poisson(p, t, option=0.0):
    p, t = _rows(p), _rows(t)
    return (p - t * np.log(p + 1e-7)).mean(axis=1)


def hinge(p, t, option=0.0):
    """mean max(0, 1 - t p); targets 0/1 mean -1/+1, as in Keras."""
    p, t = _rows(p), _rows(t)
    t = np.where(t == 0, -1.0, t) if np.isin(t, (0, 1)).all() else t
    return maximum(1 - t * p, np.zeros(1)).mean(axis=1)


def quantile(p, t, option=0.5):
    """mean of q e where e = t - p > 0, else (q - 1) e; blocks of t's size, one for each level."""
    p, t, levels = _rows(p), _rows(t), np.atleast_1d(option)
    parts = []
    for k, q in enumerate(levels):
        e = t - p[:, k * t.shape[1] : (k + 1) * t.shape[1]]
        parts.append(np.where(np.real(e) > 0, q * e, (q - 1) * e))
    return np.concatenate(parts, axis=1).mean(axis=1)


def gaussian_nll(p, t, option=False):
    """-log of the normal density of mean p[:, :K], variance exp(p[:, K:]); option: + log 2 pi."""
    p, t = _rows(p), _rows(t)
    m, s = p[:, : t.shape[1]], p[:, t.shape[1] :]
    constant = math.log(2 * math.pi) if option else 0.0
    return 0.5 * (s + (t - m) ** 2 / np.exp(s) + constant).mean(axis=1)


LOSSES = {
    "mean_squared_error": mean_squared_error,
    "half_squared_error": half_squared_error,
    "mean_absolute_error": mean_absolute_error,
    "huber": huber,
    "log_cosh": log_cosh,
    "binary_cross_entropy": binary_cross_entropy,
    "cross_entropy": cross_entropy,
    "kl_divergence": kl_divergence,
    "poisson": poisson,
    "hinge": hinge,
    "quantile": quantile,
    "gaussian_nll": gaussian_nll,
}
OF_LOGITS = {
    "binary_cross_entropy": binary_cross_entropy_logits,
    "cross_entropy": cross_entropy_logits,
}


def loss_value(name, prediction, target, option=None, *, logits=False, weight=None):
    """Weighted mean over the batch: sum_i w_i loss_i / N."""
    function = (OF_LOGITS if logits else LOSSES)[name]
    rows = function(prediction, target) if option is None else function(prediction, target, option)
    if rows.ndim > 1:  # labels of shape (N, T): a row's loss is the mean over its positions
        rows = rows.reshape(len(rows), -1).mean(axis=1)
    return (rows if weight is None else rows * weight).sum() / len(rows)
