"""Losses with several outputs for each target: gaussian_nll and quantile."""

from __future__ import annotations

import math

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

L = bp.layers
LEVELS = [0.1, 0.5, 0.9]
BOTH = [bp.losses.GaussianNLL(full=True), bp.losses.Quantile(LEVELS)]


def identity(width, loss, dtype="float64", **options):
    model = bp.Sequential([bp.Input((width,)), L.Activation("linear")], dtype=dtype)
    model.compile("sgd", loss, **options)
    return model


def small_net(loss, width, dtype="float64", metrics=()):
    model = bp.Sequential([L.Dense(16, "tanh"), L.Dense(width)], dtype=dtype, seed=2)
    model.compile(bp.optimizers.Adam(0.02), loss, metrics)
    return model


def test_gaussian_nll_is_minus_the_log_of_the_density(rng):
    """Against the density itself, for one target and for three."""
    for k in (1, 3):
        p, t = rng.normal(size=(6, 2 * k)), rng.normal(size=(6, k))
        m, variance = p[:, :k], np.exp(p[:, k:])
        density = np.exp(-((t - m) ** 2) / (2 * variance)) / np.sqrt(2 * math.pi * variance)
        expected = -np.log(density).mean()
        loss = bp.losses.GaussianNLL(full=True)
        assert identity(2 * k, loss).gradients(p, t).loss == pytest.approx(expected, rel=1e-12)
        assert loss.value(t, p) == pytest.approx(expected, rel=1e-12)
        short = bp.losses.GaussianNLL()
        assert loss.value(t, p) - short.value(t, p) == pytest.approx(0.5 * math.log(2 * math.pi))


def test_quantile_blocks_are_single_quantiles(rng):
    p, t = rng.normal(size=(7, 6)), rng.normal(size=(7, 2))
    whole = identity(6, bp.losses.Quantile(LEVELS)).gradients(p, t, wrt_inputs=True)
    parts = [
        identity(2, bp.losses.Quantile(q)).gradients(p[:, 2 * k : 2 * k + 2], t, wrt_inputs=True)
        for k, q in enumerate(LEVELS)
    ]
    assert whole.loss == pytest.approx(np.mean([part.loss for part in parts]), rel=1e-13)
    joined = np.concatenate([part.inputs for part in parts], axis=1) / 3
    np.testing.assert_allclose(whole.inputs, joined, rtol=1e-13)


def test_half_the_absolute_error_is_the_pinball_loss_of_the_median(rng):
    p, t = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    p[0, 0] = t[0, 0]
    found = identity(3, "quantile").gradients(p, t, wrt_inputs=True)
    expected = identity(3, "mae").gradients(p, t, wrt_inputs=True)
    assert found.loss == pytest.approx(expected.loss / 2, rel=1e-14)
    np.testing.assert_allclose(found.inputs, expected.inputs / 2, rtol=1e-14)


@pytest.mark.parametrize("loss", BOTH, ids=lambda loss: loss.kind)
def test_the_class_alone_agrees_with_the_core(loss, rng):
    p, t = rng.normal(size=(4, 2 * loss.parts)) * 2, rng.normal(size=(4, 2))
    p[0, 0] = t[0, 0]
    found = identity(2 * loss.parts, loss).gradients(p, t, wrt_inputs=True)
    assert loss.value(t, p) == pytest.approx(found.loss, rel=1e-13)
    np.testing.assert_allclose(loss.gradient(t, p), found.inputs, rtol=1e-13, atol=1e-16)
    with pytest.raises(bp.errors.ShapeError, match="multiple of"):
        loss.value(t, p[:, :1])
    with pytest.raises(bp.errors.ShapeError, match="y_true of shape"):
        loss.value(t[:, :1], p)


@pytest.mark.parametrize("loss", BOTH, ids=lambda loss: loss.kind)
def test_targets_with_and_without_a_column_agree(loss, rng):
    x, y = rng.normal(size=(9, 4)), rng.normal(size=9)
    model = small_net(loss, loss.parts)
    model.fit(x, y, epochs=1, verbose=0)
    a, b = model.evaluate(x, y), model.evaluate(x, y[:, None])
    assert a == b
    assert loss.value(y, model.predict(x)) == pytest.approx(a["loss"], rel=1e-12)


@pytest.mark.parametrize("loss", BOTH, ids=lambda loss: loss.kind)
def test_sequences_are_means_over_their_positions(loss, rng):
    """Outputs (N, T, parts * K), targets (N, T, K), weights by sample."""
    p, t = rng.normal(size=(3, 4, 2 * loss.parts)), rng.normal(size=(3, 4, 2))
    weight = np.array([1.0, 0.0, 2.5])
    model = bp.Sequential([bp.Input(p.shape[1:]), L.Activation("linear")], dtype="float64")
    model.compile("sgd", loss, ["mae"])
    flat = identity(p.shape[2], loss, metrics=["mae"])
    found = model.gradients(p, t, sample_weight=weight, wrt_inputs=True)
    rows = (p.reshape(12, -1), t.reshape(12, -1))
    expected = flat.gradients(*rows, sample_weight=np.repeat(weight, 4), wrt_inputs=True)
    assert found.loss == pytest.approx(expected.loss, rel=1e-13)
    np.testing.assert_allclose(found.inputs.reshape(12, -1), expected.inputs, rtol=1e-13)
    assert model.evaluate(p, t)["mae"] == pytest.approx(flat.evaluate(*rows)["mae"], rel=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", BOTH, ids=lambda loss: loss.kind)
def test_the_same_bits_for_any_number_of_threads(loss, dtype, rng):
    x, y = rng.normal(size=(300, 5)), rng.normal(size=(300, 7))
    hashes = set()
    for threads in (1, 2, 3, 5):
        with bp.threads(threads, exact=True):
            model = small_net(loss, 7 * loss.parts, dtype, ["mae", "r2"])
            history = model.fit(x, y, batch_size=64, epochs=2, verbose=0).history
            hashes.add((support.weights_hash(model), history["loss"][-1], history["r2"][-1]))
    assert len(hashes) == 1


@pytest.mark.parametrize("loss", BOTH, ids=lambda loss: loss.kind)
@pytest.mark.parametrize("k", [1, 2, 3, 7, 8, 15, 16, 17, 40])
def test_float32_is_close_to_float64_at_all_lengths(loss, k, rng):
    p = rng.normal(size=(5, k * loss.parts)).astype(np.float32)
    t = rng.normal(size=(5, k)).astype(np.float32)
    narrow, wide = (
        identity(p.shape[1], loss, dtype).gradients(p, t, wrt_inputs=True)
        for dtype in ("float32", "float64")
    )
    assert narrow.loss == pytest.approx(wide.loss, rel=2e-6)
    assert support.relative_error(narrow.inputs, wide.inputs) <= 2e-6
    np.testing.assert_allclose(wide.inputs, loss.gradient(t, p), rtol=1e-12, atol=1e-15)


def test_variances_below_epsilon_are_held(rng):
    """Value and slopes as at s = log(epsilon), where s has a way back."""
    loss = bp.losses.GaussianNLL(epsilon=1e-4)
    low, held = np.array([[0.3, -50.0]]), np.array([[0.3, math.log(1e-4)]])
    t = np.array([[0.5]])
    model = identity(2, loss)
    a, b = (model.gradients(p, t, wrt_inputs=True) for p in (low, held))
    assert a.loss == b.loss
    np.testing.assert_array_equal(a.inputs, b.inputs)
    assert a.inputs[0, 1] < 0, "the error is larger than the variance, so s must grow"
    np.testing.assert_allclose(a.inputs, [[-0.2 / 1e-4, 0.5 * (1 - 0.04 / 1e-4)]], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gaussian_nll_of_extremes(dtype):
    """Large |s| of either sign, means far away: finite slopes, and the loss where it is finite."""
    big = float(np.finfo(dtype).max)
    model = identity(2, "gaussian_nll", dtype)
    for mean, s, expected in [
        (0.0, 1e6, 5e5), (1.0, -1e30, 0.5 * (math.log(1e-6) + 0.0)), (0.5, big, big / 2),
        (-big, big, big / 2), (1e20, 200.0, 100 + 0.5 * (1e20 * math.exp(-100)) ** 2),
    ]:  # fmt: skip
        found = model.gradients(np.array([[mean, s]]), np.array([[1.0]]), wrt_inputs=True)
        assert found.loss == pytest.approx(expected, rel=1e-5)
        assert np.isfinite(found.inputs).all()
    with pytest.raises(bp.errors.TrainingDiverged):
        model.gradients(np.array([[big, -100.0]]), np.array([[-big]]))
    ignored = model.gradients(
        np.array([[big, -100.0], [0, 0]]), np.array([[-big], [1]]), sample_weight=np.array([0.0, 1])
    )
    assert ignored.loss == 0.25


@pytest.mark.parametrize("loss", BOTH, ids=lambda loss: loss.kind)
def test_metrics_compare_the_targets_with_mean_or_median(loss, rng):
    p, t = rng.normal(size=(20, 2 * loss.parts)), rng.normal(size=(20, 2))
    weight = rng.uniform(0, 2, 20)
    seen = []

    def watch(y_true, y_pred):
        seen.append((y_true.shape, y_pred.shape))
        return loss.value(y_true, y_pred)

    model = identity(p.shape[1], loss, metrics=["mae", "mse", "rmse", "r2", watch])
    point = p[:, :2] if loss.kind == "gaussian_nll" else p[:, 2:4]
    found = model.evaluate(p, t, batch_size=7)
    e = point - t
    assert found["mae"] == pytest.approx(np.abs(e).mean(), rel=1e-12)
    assert found["mse"] == pytest.approx((e**2).mean(), rel=1e-12)
    assert found["rmse"] == pytest.approx(math.sqrt((e**2).mean()), rel=1e-12)
    r2 = 1 - (e**2).sum(axis=0) / ((t - t.mean(axis=0)) ** 2).sum(axis=0)
    assert found["r2"] == pytest.approx(r2.mean(), rel=1e-11)
    assert found["watch"] == pytest.approx(found["loss"], rel=1e-12)
    assert seen[0] == ((7, 2), (7, 2 * loss.parts))
    model.compile("sgd", loss, weighted_metrics=["mse"])
    weighted = model.evaluate(p, t, sample_weight=weight)["mse"]
    assert weighted == pytest.approx((weight @ (e**2)).sum() / weight.sum() / 2, rel=1e-12)


def test_metrics_that_have_nothing_to_compare_are_refused():
    with pytest.raises(ValueError, match="metric 'accuracy' does not go with the loss 'gauss"):
        identity(2, "gaussian_nll", metrics=["accuracy"])
    with pytest.raises(ValueError, match=r"add 0\.5 to its quantiles"):
        identity(2, bp.losses.Quantile([0.1, 0.9]), metrics=["mae"])
    identity(2, bp.losses.Quantile([0.1, 0.9]), metrics=[lambda y_true, y_pred: 0.0])


def test_outputs_and_targets_of_a_wrong_size_are_refused(rng):
    with pytest.raises(bp.errors.ShapeError, match="K means and then K logarithms"):
        identity(3, "gaussian_nll")
    with pytest.raises(bp.errors.ShapeError, match=r"one block for each of the quantiles \[0.1, 0"):
        identity(4, bp.losses.Quantile(LEVELS))
    model = identity(4, "gaussian_nll")
    with pytest.raises(bp.errors.ShapeError, match=r"expected \(5, 2\)"):
        model.evaluate(rng.normal(size=(5, 4)), rng.normal(size=(5, 4)))
    with pytest.raises(ValueError, match="NaN"):
        model.evaluate(rng.normal(size=(5, 4)), np.full((5, 2), np.nan))


@pytest.mark.parametrize("quantiles, message", [
    (0.0, r"in \(0, 1\)|> 0"), (1, "quantiles"), ([], "empty"), ([0.9, 0.1], "increase"),
    ([0.5, 0.5], "increase"), ([0.1, 1.2], "quantiles"), (math.nan, "quantiles"),
])  # fmt: skip
def test_wrong_quantiles_are_refused(quantiles, message):
    with pytest.raises(ValueError, match=message):
        bp.losses.Quantile(quantiles)


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="quantiles"):
        bp.losses.Quantile("0.5")
    with pytest.raises(ValueError, match="epsilon"):
        bp.losses.GaussianNLL(epsilon=0.0)
    with pytest.raises(TypeError, match="full"):
        bp.losses.GaussianNLL(full=1.5)


@pytest.mark.parametrize("loss", [*BOTH, bp.losses.Quantile(0.25), bp.losses.GaussianNLL(1e-3)],
                         ids=lambda loss: repr(loss.get_config()))  # fmt: skip
def test_a_saved_model_has_the_same_loss(loss, rng, tmp_path):
    x, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    model = small_net(loss, loss.parts)
    model.fit(x, y, epochs=1, verbose=0)
    path = tmp_path / "model.safetensors"
    model.save(path)
    assert bp.load_model(path).evaluate(x, y) == model.evaluate(x, y)
    again = bp.losses.get({"class_name": type(loss).__name__, "config": loss.get_config()})
    assert again.spec() == loss.spec()


def test_two_heads_learn_mean_and_noise(rng):
    """y = 2 x + noise of standard deviation 0.1 + |x|: both heads must find theirs."""
    x = rng.uniform(-1, 1, (2000, 1))
    y = 2 * x + (0.1 + np.abs(x)) * rng.normal(size=x.shape)
    inputs = bp.Input((1,))
    h = L.Dense(32, activation="tanh")(inputs)
    model = bp.Model(inputs, L.Concatenate()([L.Dense(1)(h), L.Dense(1)(h)]), seed=0)
    model.compile(bp.optimizers.Adam(0.01), "gaussian_negative_log_likelihood", ["mae"])
    model.fit(x, y, batch_size=64, epochs=40, verbose=0)
    grid = np.array([[-0.8], [-0.4], [0.4], [0.8]])
    mean, s = model.predict(grid).T
    np.testing.assert_allclose(mean, 2 * grid[:, 0], atol=0.2)
    np.testing.assert_allclose(np.exp(s / 2), 0.1 + np.abs(grid[:, 0]), rtol=0.25)


def test_quantiles_hold_their_shares_of_the_data(rng):
    x = rng.uniform(-1, 1, (2000, 1))
    y = x[:, 0] + rng.exponential(size=2000)
    model = small_net(bp.losses.Quantile(LEVELS), 3)
    for rate in (0.02, 0.005, 0.001):
        model.optimizer.learning_rate = rate
        model.fit(x, y, batch_size=100, epochs=20, verbose=0)
    below = (y[:, None] < model.predict(x)).mean(axis=0)
    np.testing.assert_allclose(below, LEVELS, atol=0.03)


def test_two_losses_of_one_output(rng):
    """Deltas of the same values add, those of gaussian_nll to those of a mean squared error."""
    a = bp.Input((3,))
    h = L.Dense(4)(L.Dense(5, activation="tanh")(a))
    model = bp.Model(a, [h, h, h], seed=0, dtype="float64")
    model.compile("sgd", ["mse", "gaussian_nll", bp.losses.Quantile([0.2, 0.5])])
    x, ys = rng.normal(size=(6, 3)), [rng.normal(size=(6, k)) for k in (4, 2, 2)]
    assert model.gradcheck(x, ys).max_error <= 1e-7
    p = model.predict(x)[0]
    losses = (bp.losses.MeanSquaredError(), BOTH[0], bp.losses.Quantile([0.2, 0.5]))
    total = sum(loss.value(y, p) for loss, y in zip(losses, ys, strict=True))
    constant = 0.5 * math.log(2 * math.pi)
    assert model.evaluate(x, ys)["loss"] == pytest.approx(total - constant, rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 15, 16, 17, 63, 64, 65, 130])
def test_single_targets_at_all_numbers_of_rows(n, rng):
    """One target a row: rows, or levels, are the lanes; a row's result does not know the others."""
    for loss in BOTH:
        p, t = rng.normal(size=(n, loss.parts)), rng.normal(size=(n, 1))
        w = rng.uniform(size=n)
        model = identity(loss.parts, loss)
        found = model.gradients(p, t, sample_weight=w, wrt_inputs=True)
        assert found.loss == pytest.approx((w * loss.rows(t, p)).sum() / n, rel=1e-12)
        expected = loss.slope(t, p) * w[:, None] / n
        np.testing.assert_allclose(found.inputs, expected, rtol=1e-12, atol=1e-16)
        alone = model.gradients(p[-1:], t[-1:], sample_weight=w[-1:], wrt_inputs=True)
        np.testing.assert_allclose(alone.inputs[0], found.inputs[-1] * n, rtol=1e-13)


def test_an_output_of_each_kind(rng):
    """Several outputs, each with its own loss, in one model; the gradients by differences."""
    inputs = bp.Input((3,))
    h = L.Dense(4, activation="tanh")(inputs)
    outputs = [L.Dense(4, name="a")(h), L.Dense(3, name="b")(h), L.Dense(1, name="c")(h)]
    model = bp.Model(inputs, outputs, seed=0, dtype="float64")
    model.compile(
        "sgd", ["gaussian_nll", bp.losses.Quantile(LEVELS), "mse"], loss_weights=[1, 0.5, 2]
    )
    x, ys = rng.normal(size=(6, 3)), [rng.normal(size=(6, k)) for k in (2, 1, 1)]
    assert model.gradcheck(x, ys).max_error <= 1e-7


BITS = """
import hashlib
import numpy as np
import bpcore as bp
rng = np.random.default_rng(3)
digest = hashlib.sha256()
for dtype in ("float32", "float64"):
    for loss, k in ((bp.losses.GaussianNLL(), 1), (bp.losses.GaussianNLL(), 5),
                    (bp.losses.Quantile([0.1, 0.5, 0.9]), 1), (bp.losses.Quantile([0.3, 0.7]), 19)):
        model = bp.Sequential([bp.layers.Dense(9, "tanh"), bp.layers.Dense(k * loss.parts)],
                              dtype=dtype, seed=1)
        model.compile("adam", loss)
        x, y = rng.normal(size=(70, 4)), rng.normal(size=(70, k))
        digest.update(repr(model.fit(x, y, epochs=2, verbose=0).history["loss"]).encode())
        for w in model.get_weights():
            digest.update(w.tobytes())
print(digest.hexdigest())
"""


def test_the_same_bits_on_every_instruction_set_with_fma():
    found = {support.run_python(BITS, BPCORE_ISA=t).stdout for t in support.fma_tiers()}
    assert len(found) <= 1
