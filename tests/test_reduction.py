"""Losses whose values are summed over a batch, in place of their mean."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

L = bp.layers
N, K = 7, 3


def _log_softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def _nll(p, t):
    m, s = p[:, :2], p[:, 2:]
    return 0.5 * (s + (t - m) ** 2 * np.exp(-s))


# By loss: units, last activation, the loss, and the terms whose sum it is, of outputs and targets.
ELEMENTS = {
    "mse": (K, None, bp.losses.MeanSquaredError, lambda p, t: (p - t) ** 2),
    "half": (K, None, bp.losses.HalfSquaredError, lambda p, t: 0.5 * (p - t) ** 2),
    "mae": (K, None, bp.losses.MeanAbsoluteError, lambda p, t: np.abs(p - t)),
    "huber": (K, None, bp.losses.Huber, lambda p, t: np.where(
        np.abs(p - t) <= 1, 0.5 * (p - t) ** 2, np.abs(p - t) - 0.5)),
    "log_cosh": (K, None, bp.losses.LogCosh, lambda p, t: np.log(np.cosh(p - t))),
    "bce": (K, "sigmoid", bp.losses.BinaryCrossEntropy,
            lambda p, t: -(t * np.log(p) + (1 - t) * np.log(1 - p))),
    "ce": (K, None, bp.losses.CrossEntropy, lambda p, t: -t * _log_softmax(p)),
    "kl": (K, "softmax", bp.losses.KLDivergence, lambda p, t: t * np.log(t / p)),
    "poisson": (K, "softplus", bp.losses.Poisson, lambda p, t: p - t * np.log(p + 1e-7)),
    "hinge": (K, "tanh", bp.losses.Hinge, lambda p, t: np.maximum(0, 1 - (2 * t - 1) * p)),
    "quantile": (K, None, bp.losses.Quantile, lambda p, t: 0.5 * np.abs(p - t)),
    "nll": (4, None, bp.losses.GaussianNLL, _nll),
}  # fmt: skip


def targets(name, rng):
    if name in ("ce", "kl"):
        return rng.dirichlet(np.ones(K), size=N)
    if name in ("bce", "hinge"):
        return rng.integers(0, 2, (N, K)).astype(float)
    if name == "poisson":
        return rng.poisson(2.0, (N, K)).astype(float)
    return rng.normal(size=(N, 2 if name == "nll" else K))


def built(units, end, loss, **options):
    model = bp.Sequential([bp.Input((4,)), L.Dense(units, end)], seed=0, dtype="float64")
    model.compile(bp.optimizers.SGD(0.1), loss, **options)
    return model


@pytest.mark.parametrize("name", ELEMENTS)
def test_sums_over_rows_and_values(name, rng):
    units, end, cls, elements = ELEMENTS[name]
    x, y = rng.normal(size=(N, 4)), targets(name, rng)
    weights = rng.uniform(0.5, 2.0, N)
    model, mean = built(units, end, cls(reduction="sum")), built(units, end, cls())
    p = model.predict(x)
    each = elements(p, y).reshape(N, -1).sum(axis=1)
    for w in (None, weights):
        total = each.sum() if w is None else (w * each).sum()
        assert model.evaluate(x, y, sample_weight=w)["loss"] == pytest.approx(total, rel=1e-12)
        found = model.gradients(x, y, sample_weight=w)
        other = mean.gradients(x, y, sample_weight=w)
        assert found.loss == pytest.approx(total, rel=1e-12)
        ratio = found.loss / other.loss  # of a sum and a mean of the same terms: their number
        assert ratio == pytest.approx(round(ratio), rel=1e-9) and round(ratio) % N == 0
        for key, g in other.parameters.items():
            np.testing.assert_allclose(found.parameters[key], g * round(ratio), rtol=1e-11)
    own = cls(reduction="sum")
    if name != "ce":  # its class takes probabilities
        assert own.value(y, p) == pytest.approx(each.sum(), rel=1e-9)
        np.testing.assert_allclose(own.gradient(y, p), cls().gradient(y, p) * round(ratio))


def test_the_number_does_not_depend_on_batches(rng):
    x, y = rng.normal(size=(N, 4)), rng.normal(size=(N, K))
    model = built(K, None, bp.losses.MeanSquaredError(reduction="sum"))
    whole = ((model.predict(x) - y) ** 2).sum()
    for size in (1, 2, N, None):
        assert model.evaluate(x, y, batch_size=size)["loss"] == pytest.approx(whole, rel=1e-12)
    assert model.test_on_batch(x, y)["loss"] == pytest.approx(whole, rel=1e-12)
    model.compile(bp.optimizers.SGD(1e-12), bp.losses.MeanSquaredError(reduction="sum"))
    history = model.fit(x, y, batch_size=2, epochs=2, verbose=0, validation_data=(x, y)).history
    assert history["loss"] == pytest.approx([whole] * 2, rel=1e-6)
    assert history["val_loss"] == pytest.approx([whole] * 2, rel=1e-6)


def test_a_step_follows_the_sum(rng):
    x, y = rng.normal(size=(N, 4)), rng.normal(size=(N, K))
    model = built(K, None, bp.losses.HalfSquaredError(reduction="sum"))
    w, b = (p.value.copy() for p in model.weights)
    delta = x @ w + b - y
    model.train_on_batch(x, y)
    np.testing.assert_allclose(model.weights[0].value, w - 0.1 * x.T @ delta, rtol=1e-12)
    np.testing.assert_allclose(model.weights[1].value, b - 0.1 * delta.sum(axis=0), rtol=1e-12)


def test_several_outputs_each_in_its_own_way(rng):
    a = bp.Input((4,))
    h = L.Dense(5, "tanh")(a)
    outputs = [L.Dense(2, name="p")(h), L.Dense(K, name="q")(h)]
    model = bp.Model(a, outputs, seed=0, dtype="float64")
    losses = [bp.losses.MeanSquaredError("sum"), bp.losses.CrossEntropy()]
    model.compile("sgd", losses, loss_weights=[2.0, 3.0])
    x, y, labels = rng.normal(size=(N, 4)), rng.normal(size=(N, 2)), np.arange(N) % K
    p, q = model.predict(x)
    squares = ((p - y) ** 2).sum()
    entropy = -_log_softmax(q)[np.arange(N), labels].mean()
    logs = model.evaluate(x, [y, labels], batch_size=3)
    assert logs["p_loss"] == pytest.approx(squares, rel=1e-12)
    assert logs["q_loss"] == pytest.approx(entropy, rel=1e-12)
    assert logs["loss"] == pytest.approx(2 * squares + 3 * entropy, rel=1e-12)
    assert model.train_on_batch(x, [y, labels])["loss"] == pytest.approx(logs["loss"], rel=1e-12)


@pytest.mark.parametrize("fixed", [False, True])
def test_steps_that_count_are_summed(fixed, rng):
    lengths = [5, 2, 4]
    net = [bp.Input((None, 3)), L.SimpleRNN(4, return_sequences=True), L.Dense(K)]
    model = bp.Sequential(net, seed=0, dtype="float64")
    model.compile("sgd", bp.losses.MeanSquaredError(reduction="sum"))
    if fixed:
        xs = rng.normal(size=(3, 5, 3))
        ys, p = rng.normal(size=(3, 5, K)), model.predict(xs)
        total = ((p - ys) ** 2).sum()
    else:
        xs = [rng.normal(size=(n, 3)) for n in lengths]
        ys = [rng.normal(size=(n, K)) for n in lengths]
        total = sum(((p - y) ** 2).sum() for p, y in zip(model.predict(xs), ys, strict=True))
    assert model.evaluate(xs, ys, batch_size=2)["loss"] == pytest.approx(total, rel=1e-12)
    found = model.gradients(xs, ys)
    assert found.loss == pytest.approx(total, rel=1e-12)
    windows = model.gradients(xs, ys, bptt=5)  # one pass over all
    for key, g in found.parameters.items():
        np.testing.assert_allclose(windows.parameters[key], g, rtol=1e-10, atol=1e-13)


def test_rows_of_pixels_are_summed(rng):
    net = [bp.Input((4, 2)), L.Dense(K)]
    model = bp.Sequential(net, seed=0, dtype="float64")
    model.compile("sgd", bp.losses.CrossEntropy(reduction="sum"))
    x, labels = rng.normal(size=(N, 4, 2)), rng.integers(0, K, (N, 4))
    each = -np.take_along_axis(_log_softmax(model.predict(x)), labels[..., None], -1)
    assert model.evaluate(x, labels, batch_size=3)["loss"] == pytest.approx(each.sum(), rel=1e-12)


def test_files_and_checkpoints_keep_it(tmp_path, rng):
    x, y = rng.normal(size=(N, 4)), rng.normal(size=(N, K))
    model = built(K, None, bp.losses.Huber(0.5, reduction="sum"))
    model.fit(x, y, verbose=0)
    model.save_checkpoint(tmp_path / "m")
    again = bp.load_checkpoint(tmp_path / "m")
    assert again._compilation.losses[0].reduction == "sum"
    assert again.evaluate(x, y) == model.evaluate(x, y)
    assert again.train_on_batch(x, y) == model.train_on_batch(x, y)
    config = {"class_name": "Huber", "config": {"delta": 0.5, "reduction": "sum"}}
    assert bp.losses.get(config).reduction == "sum"
    assert bp.losses.get("huber").reduction == "mean"


def test_what_takes_a_mean_says_so(rng):
    x, y = rng.normal(size=(N, 4)), rng.normal(size=(N, K))
    model = built(K, None, bp.losses.MeanSquaredError(reduction="sum"))
    for call in (model.hessian, model.per_sample_gradients):
        with pytest.raises(ValueError, match="takes the mean of the losses over the batch, got"):
            call(x, y)
    model = built(K, None, bp.losses.MeanSquaredError(reduction="sum"))
    model.compile(bp.optimizers.LBFGS(), bp.losses.MeanSquaredError(reduction="sum"))
    with pytest.raises(ValueError, match="LBFGS takes the mean of the losses"):
        model.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="reduction must be one of mean, sum, got 'none'"):
        bp.losses.MeanSquaredError(reduction="none")
