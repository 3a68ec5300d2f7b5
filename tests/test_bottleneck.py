"""The HSIC bottleneck against an independent formula; what goes from block to block: nothing."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import checkpoint_runs
from .helpers.credit import data, nhsic, of_rule, same, weights

torch = pytest.importorskip("torch")
L = bp.layers
HSIC = bp.credit.HSICBottleneck


def net(rule, layers=None, loss="cross_entropy", dtype="float64", seed=0, optimizer="adam"):
    layers = layers or [L.Dense(7, "tanh"), L.Dense(6, "tanh"), L.Dense(4)]
    model = bp.Sequential([bp.Input((5,)), *layers], seed=seed, dtype=dtype)
    model.compile(optimizer, loss, credit=rule)
    return model


def by_formula(model, x, y, sigmas, beta, unformatted, activation=torch.tanh):
    """Gradients of all blocks and of the head, by differentiation with detached inputs."""
    w = [torch.tensor(p, requires_grad=True) for p in model.get_weights()]
    x, hot = torch.tensor(x), torch.eye(4, dtype=torch.float64)[torch.tensor(y)]
    h, total, blocks = x, torch.zeros((), dtype=torch.float64), len(w) // 2
    for k in range(blocks):
        last = k == blocks - 1
        z = h.detach() @ w[2 * k] + w[2 * k + 1]
        h = z if last else activation(z)
        if last and not unformatted:
            total = total - torch.log_softmax(h, 1)[torch.arange(len(h)), torch.tensor(y)].mean()
        else:
            total = total + sum(nhsic(h, x, s) - beta * nhsic(h, hot, s) for s in sigmas)
    total.backward()
    return {p.name: t.grad.numpy() for p, t in zip(model.weights, w, strict=True)}


@pytest.mark.parametrize("unformatted", [False, True])
@pytest.mark.parametrize("sigma", [1.0, (0.7, 2.0)])
def test_gradients_are_those_of_the_formula(sigma, unformatted):
    x, y = data(40)
    model = net(HSIC(sigma=sigma, beta=20.0, unformatted=unformatted))
    found = of_rule(model, x, y)
    expected = by_formula(model, x, y, np.atleast_1d(sigma), 20.0, unformatted)
    for name, g in expected.items():
        # float64 of the published form is good to about 1e-6 (tests/test_hsic.py says why).
        np.testing.assert_allclose(found[name], g, rtol=0, atol=1e-5 * np.abs(g).max() + 1e-9)


def test_nothing_goes_from_block_to_block():
    """Whatever stands behind a block, its gradients are the same bits; and those of what stands
    behind it do not depend on the first block's by any derivative."""
    x, y = data(30)
    model = net(HSIC(beta=20.0))
    before = of_rule(model, x, y)
    for p in model.weights[2:]:
        p.value = np.random.default_rng(1).normal(size=p.shape)
    after = of_rule(model, x, y)
    for name in ("dense/kernel", "dense/bias"):
        assert np.array_equal(before[name], after[name])
    assert not np.array_equal(before["dense_1/kernel"], after["dense_1/kernel"])
    # The head alone: the blocks' objective is as it was, so are their gradients.
    model.weights[4].value = model.weights[4].value * 3
    assert np.array_equal(of_rule(model, x, y)["dense_1/kernel"], after["dense_1/kernel"])


def test_the_head_is_what_backpropagation_would_make_of_it():
    x, y = data(30)
    model = net(HSIC())
    expected, found = model.gradients(x, y).parameters, of_rule(model, x, y)
    for name in ("dense_2/kernel", "dense_2/bias"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-13, atol=1e-16)


def test_a_frozen_layer_and_blocks_of_several_layers():
    x, y = data(40)
    block = [L.Dense(6, use_bias=False), L.BatchNormalization(center=False, scale=False)]
    frozen = L.Dense(5, "tanh", trainable=False)
    model = net(HSIC(), layers=[*block, L.Activation("relu"), frozen, L.Dense(4)])
    before = [w.copy() for w in model.get_weights()]
    model.fit(x, y, batch_size=20, epochs=2, verbose=0)
    moved = {p.name: not np.array_equal(a, p.value)
             for p, a in zip(model.weights, before, strict=True)}  # fmt: skip
    assert {name for name, is_moved in moved.items() if not is_moved} == {
        "dense_1/kernel", "dense_1/bias",
    }  # fmt: skip


@pytest.mark.parametrize("unformatted", [False, True])
def test_bits_threads_kill_resume_save_and_load(unformatted, tmp_path, monkeypatch):
    x, y = data(70)

    def run(threads=1, path=None):
        with bp.threads(threads, exact=True):
            rule = HSIC(sigma=(1.0, 3.0), unformatted=unformatted)
            model = net(rule, dtype="float32", optimizer="sgd")
            saving = {"checkpoint": path, "checkpoint_every": 1} if path else {}
            model.fit(x, y, batch_size=32, epochs=3, verbose=0, **saving)
        return model

    whole = run()
    for threads in (2, 3):
        assert same(weights(run(threads)), weights(whole))
    path = tmp_path / "run.ckpt"
    assert checkpoint_runs.stopped_after(4, monkeypatch, lambda: run(path=path))
    assert same(weights(run(path=path)), weights(whole))
    if unformatted:
        whole._need_compilation().credit.match(whole.predict(x), y)
    whole.save(tmp_path / "m.safetensors")
    loaded = bp.load_model(tmp_path / "m.safetensors")
    assert same(weights(loaded), weights(whole))
    for model in (whole, loaded):
        model.train_on_batch(x, y)
    assert same(weights(loaded), weights(whole))


def test_units_are_matched_on_training_data():
    rule = HSIC(unformatted=True)
    model = net(rule)
    p = np.eye(4)[[2, 2, 2, 0, 0, 1]] + 0.01 * np.arange(4)
    y = np.array([3, 3, 1, 1, 1, 0])
    # 0 -> 1, 1 -> 0, 2 -> 3 (two of three); 3 is nowhere the largest and all its means are equal.
    assert rule.match(p, y).tolist() == [1, 0, 3, 0]
    assert rule.match(p, np.eye(4)[y]).tolist() == [1, 0, 3, 0]
    assert rule.classify(p).tolist() == [3, 3, 3, 1, 1, 0]
    assert [w.name for w in model.credit_weights] == ["credit/classes"]


BAD = {
    "sigma": (lambda: HSIC(sigma=0.0), ValueError, "sigma must be"),
    "no sigma": (lambda: HSIC(sigma=[]), ValueError, "sigma is empty"),
    "beta": (lambda: HSIC(beta=-1.0), ValueError, "beta must be"),
    "epsilon": (lambda: HSIC(epsilon=0), ValueError, "epsilon must be"),
    "rows": (
        lambda: bp.Sequential([bp.Input((3, 5)), L.Dense(6), L.Dense(4)]).compile(
            "adam", "mse", credit=HSIC()
        ),
        ValueError,
        "HSICBottleneck cannot carry .*one row of numbers each",
    ),
    "recurrent": (
        lambda: bp.Sequential([bp.Input((3, 5)), L.SimpleRNN(6), L.Dense(4)]).compile(
            "adam", "cross_entropy", credit=HSIC()
        ),
        ValueError,
        "HSICBottleneck cannot carry .*simple_rnn",
    ),
    "several numbers a target": (
        lambda: net(HSIC(), loss=bp.losses.GaussianNLL()),
        ValueError,
        "needs targets of the output's shape",
    ),
    "loss of one's own": (
        lambda: net(HSIC(), loss=bp.losses.HSIC(classes=3)),
        ValueError,
        "needs targets of the output's shape",
    ),
    "solver": (lambda: net(HSIC(), optimizer="lbfgs"), ValueError, "credit"),
    "no match": (lambda: HSIC().classes, ValueError, "for unformatted=True"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    make, error, words = BAD[name]
    with pytest.raises(error, match=words):
        make()


def test_bad_input_of_fits_and_matches():
    x, y = data(12)
    model = net(HSIC())
    before = weights(model)
    with pytest.raises(ValueError, match="HSICBottleneck compares the rows of a batch"):
        model.fit(x, y, batch_size=1, verbose=0)
    with pytest.raises(ValueError, match="HSICBottleneck compares the rows of a batch"):
        model.train_on_batch(x[:1], y[:1])
    assert same(weights(model), before)
    rule = HSIC(unformatted=True)
    model = net(rule)
    with pytest.raises(ValueError, match="expected \\(N, 4\\)"):
        rule.match(x, y)
    with pytest.raises(ValueError, match="expected 12 labels"):
        rule.match(model.predict(x), y[:-1])
