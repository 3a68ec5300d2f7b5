"""Model.diagnose: planted faults are named, healthy nets are not, and the numbers are right."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

import bpcore as bp

from .helpers import faults, support

L, opt = bp.layers, bp.optimizers


@pytest.fixture(autouse=True)
def on_one_thread():
    with bp.threads(1, exact=True):
        yield


GRADED = [
    pytest.param(plant, options, kind, id=f"{name} {options}")
    for name, (plant, kind, grades) in faults.FAULTS.items()
    for options in [{}, *grades]
]


@pytest.mark.parametrize("plant, options, kind", GRADED)
def test_planted_fault_is_the_first_finding(plant, options, kind):
    model, x, y = plant(**options)
    found = model.diagnose(x, y)
    assert not found.healthy
    first = found.findings[0]
    assert first.kind == kind, f"{found}"
    assert first.message and first.remedy and first.severity in ("critical", "warning")
    assert kind in str(found)


def test_deep_sigmoid_is_saturated_and_vanishes():
    for seed in range(4):
        model, x, y = faults.deep_sigmoid(seed=seed)
        kinds = [f.kind for f in model.diagnose(x, y).findings]
        assert kinds[:2] == ["saturation", "vanishing_gradients"]


def test_sigmoid_with_small_weights_vanishes_alone():
    model = faults.compiled(faults.net([30] * 10, "sigmoid", "glorot_uniform"))
    found = model.diagnose(*faults.digits())
    assert [f.kind for f in found.findings] == ["vanishing_gradients"]
    assert found.findings[0].severity == "critical" and found.findings[0].layer == "dense"


@pytest.mark.parametrize("case", list(faults.healthy()), ids=lambda case: case[0])
def test_healthy_nets_have_no_finding_before_and_after_training(case):
    _, model, x, y, batch_size, epochs = case
    for size in {None, batch_size}:
        found = model.diagnose(x, y, batch_size=size)
        assert found.healthy and "healthy" in str(found), f"{found}"
    model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)
    found = model.diagnose(x, y)
    assert found.healthy, f"{found}"


def test_one_row_a_batch_behind_batch_normalization():
    x, y = faults.digits()
    layers = [L.Dense(32), L.BatchNormalization(), L.Activation("relu"), L.Dense(10)]
    model = faults.compiled(bp.Sequential(layers, seed=0))
    first = model.diagnose(x, y, batch_size=1).findings[0]
    assert (first.kind, first.layer) == ("single_row_batches", "batch_normalization")
    assert model.diagnose(x, y, batch_size=32).healthy
    plain = faults.compiled(faults.net([32]))
    assert "single_row_batches" not in str(plain.diagnose(x, y, batch_size=1))


def test_overfitting_needs_rows_that_were_not_trained_with():
    (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    x, y = x[:150], y[:150]
    model = faults.compiled(faults.net([128, 128]))
    assert model.diagnose(x, y, validation_data=(xt, yt)).healthy
    model.fit(x, y, epochs=60, verbose=0)
    found = model.diagnose(x, y, validation_data=(xt, yt)).findings
    assert [f.kind for f in found] == ["overfitting"] and "constant guess" not in str(found[0])
    watch = bp.callbacks.Diagnose(every=30)
    model.fit(x, y, epochs=30, validation_data=(xt, yt), verbose=0, callbacks=[watch])
    assert [f.kind for f in watch.last.findings] == ["overfitting"]


def test_what_was_learned_by_heart_is_told_from_what_was_not():
    def words(model, x, y):
        return str(model.diagnose(x, y).findings[0])

    assert "go apart" in words(*faults.permuted_labels(task="regression"))
    model, x, y = faults.permuted_labels()
    flat = bp.Sequential([L.Dense(1, kernel_initializer="zeros")], seed=0)
    faults.compiled(flat, loss="mse")
    noise = np.random.default_rng(5).normal(size=(2000, 1))
    assert "both stay at the constant guess" in words(flat, np.tile(x, (2, 1))[:2000, 20:24], noise)
    found = model.diagnose(x, y, validation_data=(x, y))
    assert [f.kind for f in found.findings] == ["no_signal"]


# ---- the numbers --------------------------------------------------------------------------------
def by_hand(w, x, y):
    """tanh, then linear, half squared error: everything in float64 NumPy."""
    z = x @ w[0] + w[1]
    a = np.tanh(z)
    p = a @ w[2] + w[3]
    d2 = (p - y) / len(x)
    d1 = d2 @ w[2].T * (1 - a**2)
    gradients = [x.T @ d1, d1.sum(0), a.T @ d2, d2.sum(0)]
    return z, a, p, d1, d2, gradients


def test_numbers_by_layer_are_those_of_the_formulas():
    x, y = faults.regression()
    x = x * 1.7
    model = faults.compiled(
        faults.net([16], "tanh", outputs=1, dtype="float64"), opt.SGD(0.05), "half_squared_error"
    )
    model.build((8,))
    w = model.get_weights()
    z, a, p, d1, d2, g = by_hand(w, x, y)
    first, last = model.diagnose(x, y, batch_size=600).layers
    norm = np.linalg.norm
    expected = {
        "activation_mean": a.mean(), "activation_variance": a.var(),
        "saturated": np.mean(np.abs(z) > 2.18), "delta_norm": norm(d1),
        "delta_ratio": np.median(norm(d1, axis=1) / norm(d2, axis=1)),
        "weight_norm": norm(w[0]), "weight_gain": np.sqrt((w[0] ** 2).mean() * 8),
        "gradient_norm": np.hypot(norm(g[0]), norm(g[1])),
        "update_ratio": 0.05 * norm(g[0]) / norm(w[0]),
    }  # fmt: skip
    for name, value in expected.items():
        assert getattr(first, name) == pytest.approx(value, rel=1e-9), name
    assert 0 < first.saturated < 1 and np.isnan(first.dead) and np.isnan(last.saturated)
    assert last.update_ratio == pytest.approx(0.05 * norm(g[2]) / norm(w[2]), rel=1e-9)
    assert last.activation_mean == pytest.approx(p.mean(), rel=1e-9) and last.delta_ratio == 1


def test_loss_and_that_of_a_constant_guess():
    x, y = faults.regression()
    model = faults.compiled(faults.net([16], outputs=1, dtype="float64"), loss="mse")
    model.build((8,))
    weight = np.linspace(0.5, 1.5, 600)
    found = model.diagnose(x, y, sample_weight=weight)
    loss = (weight[:, None] * (model.predict(x) - y) ** 2).mean()
    assert found.loss == pytest.approx(loss, rel=1e-9) and found.rows == 600
    mean = np.average(y, weights=weight, axis=0)
    assert found.guess_loss == pytest.approx((weight[:, None] * (y - mean) ** 2).mean(), rel=1e-9)
    x, y = faults.digits()
    found = faults.compiled(faults.net([16])).diagnose(x, y)
    p = np.bincount(y) / len(y)
    assert found.guess_loss == pytest.approx(-(p * np.log(p)).sum(), rel=1e-9)
    assert found.targets["dense_1"]["classes"] == pytest.approx(p.tolist())


@pytest.mark.parametrize("loss", ["mae", "huber", "hinge", "binary_cross_entropy", "poisson"])
def test_no_constant_beats_the_guess(loss):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    y = rng.gamma(2.0, size=(300, 1))
    if loss in ("hinge", "binary_cross_entropy"):
        y = (rng.random((300, 1)) < 0.3) * 1.0
    end = {"binary_cross_entropy": "sigmoid", "poisson": "exponential"}.get(loss)
    model = bp.Sequential([L.Dense(1, end)], seed=0, dtype="float64")
    model.build((4,))
    model.compile("sgd", loss=loss)
    guess = model.diagnose(x, y).guess_loss
    losses = []
    for c in np.linspace(-3, 3, 601):
        for p, value in zip(model.weights, (np.zeros((4, 1)), np.array([c])), strict=True):
            p.value[...] = value
        losses.append(model.evaluate(x, y)["loss"])
    assert min(losses) == pytest.approx(guess, rel=2e-2)


def test_dead_units_are_counted_over_all_rows():
    """One row that wakes a unit is enough; blocks of rows do not change the count."""
    model, x, y = faults.dead_relu(0.5, -100.0)
    x = np.concatenate([x, np.full((1, 64), 500.0)])
    y = np.append(y, 0)
    model.layers[0].kernel.value[...] = np.abs(model.layers[0].kernel.value)
    model.layers[1].kernel.value[:, :16] = 1.0
    dead = model.diagnose(x, y).layers[1].dead
    hidden = np.maximum(x @ model.weights[0].value + model.weights[1].value, 0)
    z = hidden @ model.weights[2].value + model.weights[3].value
    assert dead == pytest.approx((z <= 0).all(axis=0).mean()) and dead < 0.5


# ---- the model stays as it was ------------------------------------------------------------------
@pytest.mark.parametrize("plant", [faults.high_rate, faults.large_weights, faults.bad_row])
def test_the_model_is_not_touched(plant):
    model, x, y = plant()
    good = ~np.isnan(x).any(axis=1)
    model.fit(x[good][:64], y[good][:64], verbose=0)
    for p in model.weights:
        p.grad[...] = 1.5
    twin = copy.deepcopy(model)
    state = copy.deepcopy(model.optimizer.state(model.weights))
    before = support.weights_hash(model)
    model.diagnose(x, y, batch_size=32)
    assert support.weights_hash(model) == before
    now = model.optimizer.state(model.weights)
    for old, new in zip(state["slots"], now["slots"], strict=True):
        assert all(support.same_bits(a, b) for a, b in zip(old, new, strict=True))
    assert all((p.grad == 1.5).all() for p in model.weights)
    for each in (model, twin):
        each.fit(x[good][:64], y[good][:64], epochs=2, verbose=0)
    assert support.weights_hash(model) == support.weights_hash(twin)


def test_a_model_that_is_not_built_stays_so_and_gets_the_same_weights():
    x, y = faults.digits()
    model, other = (faults.compiled(faults.net([8], seed=3)) for _ in range(2))
    model.diagnose(x, y)
    assert not model.built
    for each in (model, other):
        each.build((64,))
    assert support.weights_hash(model) == support.weights_hash(other)


# ---- data ---------------------------------------------------------------------------------------
def test_a_row_that_is_not_finite_is_named_and_the_rest_diagnosed():
    model, x, y = faults.bad_row()
    found = model.diagnose(x, y)
    assert [f.kind for f in found.findings] == ["non_finite"] and found.rows == len(x) - 1
    assert "row 17" in found.findings[0].message and "column 5" in found.findings[0].message
    good = np.arange(len(x)) != 17
    assert found.loss == model.diagnose(x[good], y[good]).loss
    everywhere = model.diagnose(np.full_like(x, np.nan), y)
    assert everywhere.findings[0].kind == "non_finite" and not everywhere.layers
    assert "row 0" in str(everywhere) and everywhere.to_dict()["loss"] is None


def test_a_target_that_is_not_finite_is_named():
    x, y = faults.regression()
    y = np.array(y)
    y[17] = np.inf
    found = faults.compiled(faults.net([8], outputs=1), loss="mse").diagnose(x, y)
    assert found.findings[0].kind == "non_finite" and "y holds inf in row 17" in str(found)
    x, y = faults.digits()
    labels = y.astype(float)
    labels[[17, 20]] = np.nan
    found = faults.compiled(faults.net([8])).diagnose(x, labels)
    assert "row 17" in str(found) and "1 other row" in str(found) and found.rows == len(x) - 2


def test_a_weight_that_is_not_finite_is_named():
    x, y = faults.digits()
    model = faults.compiled(faults.net([8, 8]))
    model.build((64,))
    model.weights[2].value[1, 1] = np.nan
    first = model.diagnose(x, y).findings[0]
    assert (first.kind, first.layer) == ("non_finite", "dense_1") and "weight" in first.message


def test_constant_data():
    x, y = faults.digits()
    model = faults.compiled(faults.net([8]))
    assert model.diagnose(np.ones_like(x), y).findings[0].kind == "constant_input"
    assert model.diagnose(x, np.zeros_like(y)).findings[0].kind == "constant_target"
    model = faults.compiled(faults.net([8], outputs=1), loss="mse")
    assert model.diagnose(x, np.full(len(x), 3.0)).findings[0].kind == "constant_target"
    found = model.diagnose(x, y / 10)
    constant = np.flatnonzero(x.std(axis=0) == 0).tolist()
    assert found.healthy and found.inputs["input"]["constant"] == constant and constant


def test_nothing_that_learns():
    x, y = faults.digits()
    model = faults.compiled(faults.net([8]))
    model.trainable = False
    assert [f.kind for f in model.diagnose(x, y).findings] == ["nothing_trainable"]
    model = faults.compiled(faults.net([8]), opt.SGD(lambda step: 0.0))
    (finding,) = model.diagnose(x, y).findings
    assert (finding.kind, finding.severity) == ("learning_rate_too_low", "critical")


def test_one_feature_of_another_size_is_named():
    x, y = faults.regression()
    x = np.array(x) * 0.1
    x[:, 3] = 15 * x[:, 3] / 0.1
    found = faults.compiled(faults.net([8], outputs=1), loss="mse").diagnose(x, y)
    assert found.findings[0].kind == "unscaled_input" and "feature 3" in str(found)


def test_weights_that_balance_the_classes_are_enough():
    model, x, y = faults.imbalance()
    share = y.mean()
    weight = np.where(y == 1, 0.5 / share, 0.5 / (1 - share))
    assert model.diagnose(x, y).findings[0].kind == "class_imbalance"
    kinds = [f.kind for f in model.diagnose(x, y, sample_weight=weight).findings]
    assert "class_imbalance" not in kinds


def test_several_inputs_and_outputs():
    x, y = faults.digits()
    a, b = bp.Input((64,), name="a"), bp.Input((64,), name="b")
    h = L.Dense(16, "relu", name="shared")
    joined = h(a) + h(b)
    model = bp.Model({"a": a, "b": b}, {"c": L.Dense(10)(joined), "d": L.Dense(1)(joined)}, seed=0)
    model.compile("adam", loss={"c": "cross_entropy", "d": "mse"})
    xs = {"a": x, "b": np.array(x)}
    found = model.diagnose(xs, {"c": y, "d": y / 10})
    assert found.healthy and [r.layer for r in found.layers][:2] == ["shared", "shared:1"]
    xs["b"] = xs["b"] * 1000
    assert model.diagnose(xs, {"c": y, "d": y / 10}).findings[0].layer == "b"
    xs["b"][17] = np.nan
    assert model.diagnose(xs, {"c": y, "d": y / 10}).findings[0].kind == "non_finite"


# ---- errors, shapes of the result ---------------------------------------------------------------
def test_bad_arguments():
    x, y = faults.digits()
    model = faults.net([8])
    with pytest.raises(RuntimeError, match="not compiled"):
        model.diagnose(x, y)
    faults.compiled(model)
    with pytest.raises(TypeError, match="y is None"):
        model.diagnose(x, None)
    with pytest.raises(bp.ShapeError, match="samples"):
        model.diagnose(x, y[:-1])
    with pytest.raises(ValueError, match="batch_size"):
        model.diagnose(x, y, batch_size=0)
    with pytest.raises(ValueError, match="sample_weight"):
        model.diagnose(x, y, sample_weight=np.full(len(x), np.nan))
    with pytest.raises(ValueError, match="label 10"):
        model.diagnose(x, y + 1)
    model.build((64,))
    with pytest.raises(bp.ShapeError, match="63 features"):
        model.diagnose(x[:, 1:], y)
    with pytest.raises(ValueError, match="0 samples"):
        model.diagnose(x[:0], y[:0])


def test_dict_table_frame_and_plot():
    model, x, y = faults.large_weights()
    found = model.diagnose(x, y)
    text = json.dumps(found.to_dict(), allow_nan=False)
    again = bp.diagnosis.Diagnosis.from_dict(json.loads(text))
    assert str(again) == str(found) and again.findings == found.findings
    assert again.inputs == found.inputs and not again.healthy
    for word in ("dense_2", "tanh", "paralysis", "Remedy"):
        assert word in found.summary()
    assert "paralysis" in repr(found)
    frame = pytest.importorskip("pandas") and found.to_pandas()
    assert list(frame.index) == ["dense", "dense_1", "dense_2"]
    assert frame.loc["dense", "weight_gain"] == found.layers[0].weight_gain
    pytest.importorskip("matplotlib")
    axes = found.plot()
    assert len(axes) == 4 and "paralysis" in axes[0].figure.get_suptitle()
    assert found.plot(axes) == axes


# ---- the callback -------------------------------------------------------------------------------
def test_callback_records_during_training():
    x, y = faults.digits()
    model, plain = (faults.compiled(faults.net([16])) for _ in range(2))
    watch = bp.callbacks.Diagnose(every=2)
    model.fit(x, y, epochs=5, verbose=0, callbacks=[watch])
    plain.fit(x, y, epochs=5, verbose=0)
    assert support.weights_hash(model) == support.weights_hash(plain)
    assert watch._train is None and watch._copied is None
    assert watch.epochs == [0, 2, 4] and watch.last.healthy
    losses = [record.loss for record in watch.records]
    assert losses == sorted(losses, reverse=True)
    state = json.loads(json.dumps(watch.get_state()))
    other = bp.callbacks.Diagnose()
    other.set_state(state)
    assert other.epochs == watch.epochs and str(other.last) == str(watch.last)
    if pytest.importorskip("pandas"):
        assert watch.to_pandas().shape[0] == 6


def test_a_copy_made_during_fit_leaves_the_data_behind():
    x, y = faults.digits()
    copies = []
    look = bp.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: copies.append(copy.deepcopy(model))
    )
    model = faults.compiled(faults.net([8]))
    model.fit(x, y, verbose=0, callbacks=[look])
    held = pickle.dumps(copies[0])
    assert len(held) < x.nbytes and x[:8].tobytes() not in held
    assert support.weights_hash(copies[0]) == support.weights_hash(model)


def test_callback_keeps_its_records_when_training_fails():
    x, y = faults.regression()
    watch = bp.callbacks.Diagnose()
    model = faults.compiled(faults.net([64, 64], outputs=1), opt.SGD(1e6), "mse")
    with pytest.raises(bp.TrainingDiverged):
        model.fit(x, y, epochs=3, verbose=0, callbacks=[watch])
    assert watch.last is not None
    assert watch.last.findings[0].kind == "learning_rate_too_high"


def test_callback_with_a_sample_and_batches():
    x, y = faults.digits()
    batches = [(x[:64], y[:64]), (x[64:128], y[64:128])]
    model = faults.compiled(faults.net([16]))
    with pytest.raises(ValueError, match="batches"):
        model.fit(batches_of(batches), epochs=1, verbose=0, callbacks=[bp.callbacks.Diagnose()])
    watch = bp.callbacks.Diagnose(x=x[:200], y=y[:200])
    model.fit(batches_of(batches), epochs=1, verbose=0, callbacks=[watch])
    assert watch.epochs == [0, 1] and watch.last.rows == 200
    with pytest.raises(TypeError, match="y is missing"):
        bp.callbacks.Diagnose(x=x)
    with pytest.raises(ValueError, match="every"):
        bp.callbacks.Diagnose(every=0)


def batches_of(items):
    class Batches:
        def __iter__(self):
            return iter(items)

    return Batches()


@pytest.mark.parametrize(
    "steps",
    [
        lambda: [L.TimeDistributed(L.Flatten())],
        lambda: [L.TimeDistributed(L.LayerNormalization()), L.TimeDistributed(L.Flatten())],
        lambda: [L.Bidirectional(L.LSTM(4, return_sequences=True))],
    ],
)
def test_a_layer_of_several_operations_is_seen_whole(steps, rng):
    """Not at its first step or way alone: its z is its output, and delta that of all of it."""
    x, y = rng.normal(size=(40, 12, 5, 3)), rng.normal(size=(40, 2))
    bidirectional = "Bi" in type(steps()[0]).__name__
    x = x[:, :, 0] if bidirectional else x
    model = bp.Sequential([bp.Input(x.shape[1:]), *steps(), L.LSTM(16), L.Dense(2)], seed=0)
    model.compile("sgd", "mse")
    layer = model.layers[-3].name
    found = model.trace(x, y)[layer]
    assert found.z.shape == found.a.shape == found.delta.shape
    np.testing.assert_array_equal(found.z, found.a)
    np.testing.assert_array_equal(found.delta, found.da)
    reports = {r.layer: r for r in model.diagnose(x, y).layers}
    assert not model.diagnose(x, y).findings
    norms = np.sqrt(np.square(found.delta.astype(float)).sum(axis=(1, 2)))
    last = np.linalg.norm(model.trace(x, y)[model.layers[-1].name].delta.astype(float), axis=1)
    assert reports[layer].delta_ratio == pytest.approx(np.median(norms / last), rel=1e-4)
