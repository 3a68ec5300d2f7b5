"""Layers, losses and sizes that rules cannot carry: an error that says which and why, before any
work, and a model that is as it was."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers.credit import RULES, data, net, of_rule, same, weights
from .test_credit import Own, tied

L = bp.layers
ROW = [L.Flatten, lambda: L.Dense(4)]  # to the output
KIN = "rules do not know what matrices its way back reads"
NOISY, SINGLE = "it draws random numbers", "an inverse ends in a function of single values"
ALL = sorted(RULES)

# layers, shape of a sample, who refuses them, and the words behind the rule's name
LAYERS = {
    "recurrent": (
        lambda: [L.GRU(3), *(make() for make in ROW)], (6, 5),
        set(ALL) - {"dni", "cdni"}, f" cannot carry GRU 'gru': {KIN}",
    ),
    "of others": (
        lambda: [L.TimeDistributed(L.Dense(3)), *(make() for make in ROW)], (6, 5),
        ALL, f" cannot carry TimeDistributed 'time_distributed': {KIN}",
    ),
    "both ways": (
        lambda: [L.Bidirectional(L.LSTM(3)), L.Dense(4)], (6, 5),
        ALL, f" cannot carry Bidirectional 'bidirectional': {KIN}",
    ),
    "tied": (tied, (5,), ALL, f" cannot carry TiedDense 'tied_dense': {KIN}"),
    "code of one's own": (
        lambda: [Own(), L.Dense(4)], (5,), ALL, f" cannot carry Own 'own': {KIN}",
    ),
    "dropout": (
        lambda: [L.Dense(6), L.Dropout(0.3), L.Dense(4)], (5,),
        ["am"], f" cannot carry Dropout 'dropout': {NOISY}",
    ),
    "noise": (
        lambda: [L.GaussianNoise(0.1), L.Dense(6), L.Dense(4)], (5,),
        ["am"], f" cannot carry GaussianNoise 'gaussian_noise': {NOISY}",
    ),
    "softmax between": (
        lambda: [L.Dense(6), L.Activation("softmax"), L.Dense(5), L.Dense(4)], (5,),
        ["dtp"], f" cannot carry Activation 'activation': {SINGLE}",
    ),
    "norm between": (
        lambda: [L.Dense(6), L.Dense(5), L.BatchNormalization(), L.Dense(4)], (5,),
        ["dtp"], " cannot carry BatchNormalization 'batch_normalization': hidden blocks are Dense",
    ),
    "steps": (
        lambda: [L.Dense(6), L.Dense(4)], (6, 5),
        ["dtp"], " cannot carry Dense 'dense': its values are not one row of units",
    ),
    "steps at the end": (
        lambda: [L.Dense(6), L.Dense(4)], (6, 5),
        ["dfa"], " cannot carry Dense 'dense_1': it ends the model, where",
    ),
    "rows at the end": (
        lambda: [L.Dense(6), L.Dense(4)], (6, 5),
        ["hsic"], " cannot carry Dense 'dense_1': targets are compared sample by sample",
    ),
    "images": (
        lambda: [L.Conv1D(3, 2), L.Conv1D(2, 2), *(make() for make in ROW)], (6, 5),
        ["dtp"], " cannot carry Conv1D 'conv1d': its values are not one row",
    ),
    "convolution at the end": (
        lambda: [L.Conv1D(3, 2), L.Conv1D(4, 5), L.Flatten()], (6, 5),
        ["dfa"], " cannot carry Conv1D 'conv1d_1': it ends the model",
    ),
    "nothing to train": (
        lambda: [L.Activation("softmax")], (4,),
        set(ALL) - {"fa"}, ": the model has no layer with a matrix to train",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name, rule", [(n, r) for n, told in LAYERS.items() for r in sorted(told[2])]
)
def test_layers(name, rule):
    make, shape, _, words = LAYERS[name]
    model = bp.Sequential([bp.Input(shape), *make()], seed=0)
    model.compile("adam", "cross_entropy")
    before, w, credit = model._need_compilation(), weights(model), RULES[rule]()
    with pytest.raises(ValueError) as caught:
        model.compile("sgd", "cross_entropy", credit=credit)
    text = str(caught.value)
    assert text.startswith(type(credit).__name__ + words), text
    assert model._need_compilation() is before and same(weights(model), w)
    assert credit.weights == []
    net(credit)  # the rule is free for another model


TARGETS = "needs targets of the output's shape"
MEANS = "has no meaning for the loss"
LOSSES = {
    ("am", "mean_absolute_error"): (lambda: "mae", None, MEANS),
    ("am", "kl_divergence"): (lambda: "kl_divergence", "softmax", MEANS),
    ("am", "the end"): (lambda: "mse", "tanh", "which ends in 'tanh'"),
    ("am", "a sum"): (
        lambda: bp.losses.MeanSquaredError(reduction="sum"), None, "follows the plain loss",
    ),
    ("am", "of a batch"): (lambda: bp.losses.HSIC(classes=4), None, MEANS),
    ("cdni", "other targets"): (bp.losses.GaussianNLL, None, "its modules see the target"),
    ("hsic", "other targets"): (bp.losses.GaussianNLL, None, TARGETS),
    ("hsic", "other classes"): (lambda: bp.losses.HSIC(classes=3), None, TARGETS),
}  # fmt: skip


@pytest.mark.parametrize("rule, name", LOSSES)
def test_losses(rule, name):
    make, end, words = LOSSES[rule, name]
    model = net(layers=[L.Dense(3), L.Dense(4, end)], loss="mse")
    before = model._need_compilation()
    with pytest.raises(ValueError, match=words):
        model.compile("sgd", make(), credit=RULES[rule]())
    assert model._need_compilation() is before


@pytest.mark.parametrize("rule", ALL)
@pytest.mark.parametrize("make", [bp.optimizers.LBFGS, bp.optimizers.KFAC])
def test_optimizers_that_need_the_loss_itself(make, rule):
    """K-FAC's curvature is that of backpropagation's deltas, too."""
    with pytest.raises(
        ValueError, match=f"{make.__name__} needs the derivatives of the loss itself"
    ):
        net(RULES[rule](), optimizer=make())


SIZES = {
    "columns": (lambda x, y: (x, np.eye(4)[y][:, :3]), {}, "y has 3 columns"),
    "labels": (lambda x, y: (x, y + 2), {}, "y contains label"),
    "rows": (lambda x, y: (x, y[:-1]), {}, "22"),
    "features": (lambda x, y: (x[:, :4], y), {}, "4"),
    "steps of backpropagation": (lambda x, y: (x, y), {"bptt": 2}, "bptt needs"),
}


@pytest.mark.parametrize("rule", ALL)
@pytest.mark.parametrize("name", SIZES)
def test_data(name, rule):
    change, told, words = SIZES[name]
    model = net(RULES[rule]())
    before = weights(model)
    with pytest.raises(ValueError, match=words):
        model.fit(*change(*data()), verbose=0, **told)
    assert same(weights(model), before) and model._need_compilation().optimizer.iterations == 0


@pytest.mark.parametrize("kind", [L.SeparableConv2D, L.DepthwiseConv2D])
def test_convolutions_in_parts_are_sent_back_by_feedback(kind):
    """All their kernels have feedback in their place: with themselves as that it is
    backpropagation, and with 0 nothing comes through."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 6, 6, 2)), rng.integers(0, 3, 9)
    args = (3, 2) if kind is L.SeparableConv2D else (2,)
    layers = [L.Conv2D(2, 2, activation="tanh"), kind(*args), L.Flatten(), L.Dense(3)]
    model = bp.Sequential([bp.Input((6, 6, 2)), *layers], seed=0, dtype="float64")
    model.compile("sgd", "cross_entropy", credit=bp.credit.FeedbackAlignment())
    own = {p.name.replace("/", "."): p for p in model.weights}
    parts = [b for b in model.credit_weights if "conv2d" in b.local_name]
    assert len(parts) == (2 if kind is L.SeparableConv2D else 1)
    for b in model.credit_weights:
        b.value = own[b.local_name].value
    expected = model.gradients(x, y).parameters
    found = of_rule(model, x, y)
    assert all(np.array_equal(g, expected[name]) for name, g in found.items() if name in expected)
    for b in parts:
        kept = b.value.copy()
        b.value = np.zeros_like(kept)
        assert not of_rule(model, x, y)["conv2d/kernel"].any()
        b.value = kept
