"""Metrics by their definitions, quadratic where that is clearest."""

from __future__ import annotations

import numpy as np


def accuracy(labels, p, weight=None):
    return float(np.average(p.argmax(axis=1) == labels, weights=weight))


def top_k(labels, p, k, weight=None):
    hits = [(row > row[t]).sum() < k for row, t in zip(p, labels, strict=True)]
    return float(np.average(hits, weights=weight))


def binary_accuracy(t, p, threshold=0.5, weight=None):
    hits = ((p.ravel() > threshold) == (t.ravel() > 0.5)).astype(float)
    return float(np.average(hits, weights=weight))


def precision_recall_f1(t, p, threshold=0.5, weight=None):
    w = np.ones(t.size) if weight is None else weight
    t, yes = t.ravel() > 0.5, p.ravel() > threshold
    true, false, missed = w[t & yes].sum(), w[~t & yes].sum(), w[t & ~yes].sum()
    precision = true / (true + false) if true + false else 0.0
    recall = true / (true + missed) if true + missed else 0.0
    both = precision + recall
    return precision, recall, (2 * precision * recall / both if both else 0.0)


def auc(t, p, weight=None):
    """Probability that a random positive scores above a random negative; a tie counts half."""
    t, p = t.ravel() > 0.5, p.ravel()
    w = np.ones(t.size) if weight is None else weight
    pairs = w[t][:, None] * w[~t][None, :]
    difference = p[t][:, None] - p[~t][None, :]
    return float((pairs * ((difference > 0) + 0.5 * (difference == 0))).sum() / pairs.sum())


def r2(t, p, weight=None):
    """1 - residual / total sum of squares per output, averaged over outputs."""
    t, p = t.reshape(len(t), -1), p.reshape(len(p), -1)
    w = (np.ones(len(t)) if weight is None else weight)[:, None]
    mean = (w * t).sum(axis=0) / w.sum()
    return float((1 - (w * (t - p) ** 2).sum(axis=0) / (w * (t - mean) ** 2).sum(axis=0)).mean())
