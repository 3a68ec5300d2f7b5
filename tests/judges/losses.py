"""Every loss against PyTorch (value and gradient), and those that they have against scikit-learn.

``python -m pytest tests/judges/losses.py``; 200 random cases of each, with and without weights.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch.nn import functional as F

import bpcore as bp

LS = bp.losses
CASES = 200
NONE = {"reduction": "none"}


def softened(t, s, k):
    return t * (1 - s) + s / k


# name: (loss of random options, its end, targets, row-wise values in PyTorch)
def mean_squared_error(rng, k):
    return (
        LS.MeanSquaredError(),
        "linear",
        rng.normal(size=k),
        lambda z, t: F.mse_loss(z, t, **NONE),
    )


def half_squared_error(rng, k):
    rows = lambda z, t: F.mse_loss(z, t, **NONE) * z.shape[1] / 2  # noqa: E731
    return LS.HalfSquaredError(), "linear", rng.normal(size=k), rows


def mean_absolute_error(rng, k):
    return (
        LS.MeanAbsoluteError(),
        "linear",
        rng.normal(size=k),
        lambda z, t: F.l1_loss(z, t, **NONE),
    )


def huber(rng, k):
    d = float(rng.uniform(0.1, 3))
    return (
        LS.Huber(d),
        "linear",
        rng.normal(size=k),
        lambda z, t: F.huber_loss(z, t, delta=d, **NONE),
    )


def log_cosh(rng, k):
    return LS.LogCosh(), "linear", rng.normal(size=k), lambda z, t: torch.log(torch.cosh(z - t))


def binary_cross_entropy(rng, k):
    s = float(rng.choice([0.0, 0.1, 0.3]))
    q = rng.uniform(0.2, 5, k[1]) if rng.random() < 0.5 else None
    end = ["linear", "sigmoid"][rng.integers(2)]
    t = (rng.random(k) < 0.4) * 1.0 if rng.random() < 0.7 else rng.random(k)

    def rows(z, t):
        weight = None if q is None else torch.tensor(q)
        return F.binary_cross_entropy_with_logits(z, softened(t, s, 2), pos_weight=weight, **NONE)

    return LS.BinaryCrossEntropy(label_smoothing=s, pos_weight=q), end, t, rows


def cross_entropy(rng, k):
    s = float(rng.choice([0.0, 0.1, 0.3]))
    end = ["linear", "softmax", "log_softmax"][rng.integers(3)]
    labels = rng.random() < 0.5
    classes = max(2, k[1])
    t = rng.integers(0, classes, k[0]) if labels else rng.dirichlet(np.ones(classes), k[0])
    return (
        LS.CrossEntropy(label_smoothing=s),
        end,
        t,
        lambda z, t: F.cross_entropy(z, t, label_smoothing=s, **NONE),
    )


def kl_divergence(rng, k):
    t = rng.dirichlet(np.ones(max(2, k[1])), k[0])
    return (
        LS.KLDivergence(),
        "softmax",
        t,
        lambda z, t: F.kl_div(torch.log_softmax(z, 1), t, **NONE).sum(1),
    )


def poisson(rng, k):
    def rows(z, t):
        return F.poisson_nll_loss(torch.exp(z), t, log_input=False, eps=1e-7, **NONE)

    return LS.Poisson(), "exponential", rng.poisson(2.0, k) * 1.0, rows


def hinge(rng, k):
    t = rng.choice([-1.0, 1.0], k)
    return LS.Hinge(), "linear", t, lambda z, t: torch.clamp(1 - t * z, min=0)


def quantile(rng, k):
    levels = np.sort(rng.uniform(0.02, 0.98, int(rng.integers(1, 4))))

    def rows(z, t):
        blocks = z.reshape(len(z), len(levels), -1)
        e = t[:, None, :] - blocks
        q = torch.tensor(levels)[:, None]
        return torch.maximum(q * e, (q - 1) * e)

    loss = LS.Quantile(levels.tolist())
    return loss, "linear", rng.normal(size=k), rows


def gaussian_nll(rng, k):
    full = bool(rng.integers(2))

    def rows(z, t):
        m, s = z.chunk(2, 1)
        return F.gaussian_nll_loss(m, t, torch.exp(s), full=full, eps=1e-6, **NONE)

    return LS.GaussianNLL(full=full), "linear", rng.normal(size=k), rows


KINDS = (mean_squared_error, half_squared_error, mean_absolute_error, huber, log_cosh,
         binary_cross_entropy, cross_entropy, kl_divergence, poisson, hinge, quantile,
         gaussian_nll)  # fmt: skip


def test_every_loss_is_here():
    """But the one over the rows of a batch, which tests/test_hsic.py holds against PyTorch."""
    assert {kind.__name__ for kind in KINDS} | {"hsic"} == set(LS.names())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_value_and_gradient(kind, weighted):
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        n, k = int(rng.integers(1, 40)), int(rng.integers(1, 12))
        loss, end, t, rows = kind(rng, (n, k))
        width = (t.shape[1] if t.ndim > 1 else max(2, k)) * loss.parts
        x = rng.normal(size=(n, width)) * rng.uniform(0.2, 3)
        w = rng.uniform(0, 3, n) if weighted else np.ones(n)
        model = bp.Sequential([bp.Input((width,)), bp.layers.Activation(end)], dtype="float64")
        model.compile("sgd", loss)
        found = model.gradients(x, t, sample_weight=w if weighted else None, wrt_inputs=True)
        z = torch.tensor(x, requires_grad=True)
        values = rows(z, torch.tensor(t))
        total = (values.reshape(n, -1).mean(1) * torch.tensor(w)).mean()
        total.backward()
        assert found.loss == pytest.approx(total.item(), rel=1e-10, abs=1e-13), seed
        expected = z.grad.numpy()
        np.testing.assert_allclose(found.inputs, expected, rtol=1e-9,
                                   atol=1e-12 * max(abs(expected).max(), 1e-3))  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
def test_values_that_scikit_learn_has(weighted):
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        n, k = int(rng.integers(2, 40)), int(rng.integers(2, 6))
        w = rng.uniform(0.1, 3, n)
        weights = {"sample_weight": w if weighted else None}
        share = w.mean() if weighted else 1.0  # ours is over N, theirs over the sum of weights
        t, p = rng.normal(size=(n, 1)), rng.normal(size=(n, 1))
        labels = rng.integers(0, k, n)
        q = rng.dirichlet(np.ones(k), n)
        level = float(rng.uniform(0.05, 0.95))
        signs, counts = rng.choice([-1.0, 1.0], (n, 1)), rng.poisson(2.0, (n, 1)) + 0.5
        rates = rng.uniform(0.1, 4, (n, 1))
        log_loss = sk.log_loss(labels, q, labels=range(k), **weights)
        pairs = [
            ("mse", "linear", p, t, sk.mean_squared_error(t, p, **weights)),
            ("mae", "linear", p, t, sk.mean_absolute_error(t, p, **weights)),
            (LS.Quantile(level), "linear", p, t,
             sk.mean_pinball_loss(t, p, alpha=level, **weights)),
            ("cross_entropy", "softmax", np.log(q), labels, log_loss),
        ]  # fmt: skip
        if len(np.unique(signs)) == 2:
            pairs.append(("hinge", "linear", p, signs, sk.hinge_loss(signs[:, 0], p[:, 0],
                                                                    **weights)))  # fmt: skip
        for loss, end, x, y, expected in pairs:
            model = bp.Sequential([bp.Input(x.shape[1:]), bp.layers.Activation(end)],
                                  dtype="float64")  # fmt: skip
            model.compile("sgd", loss)
            found = model.evaluate(x, y, **weights)["loss"]
            assert found == pytest.approx(expected * share, rel=1e-9), (seed, loss)
        # half of scikit-learn's deviance, but for what does not depend on the rate
        model = bp.Sequential([bp.Input((1,)), bp.layers.Activation("exponential")],
                              dtype="float64")  # fmt: skip
        model.compile("sgd", "poisson")
        deviance = sk.mean_poisson_deviance(counts, rates, **weights) / 2
        best = np.average(
            (counts - counts * np.log(counts))[:, 0], weights=weights["sample_weight"]
        )
        found = model.evaluate(np.log(rates), counts, **weights)["loss"] / share
        assert found == pytest.approx(deviance + best, rel=1e-5, abs=1e-5)  # ours has log(p + 1e-7)
