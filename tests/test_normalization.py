"""Normalizing layers and PReLU against PyTorch in float64; batch statistics; tied weights."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

NUMBERS = support.load("normalization")
CLOSE = {"rtol": 1e-12, "atol": 1e-13}
KINDS = {"layer": "LayerNormalization", "group": "GroupNormalization", "rms": "RMSNormalization",
         "prelu": "PReLU"}  # fmt: skip


def name_of(case):
    return case["name"].replace(" ", "_")


def build(layer, case, x, names):
    layer.convert("float64")
    layer.build(np.shape(x)[1:])
    for name in names:
        if case.get(name) is not None:
            getattr_weight(layer, name).value = np.array(case[name])
    return layer


def getattr_weight(layer, name):
    return next(w for w in layer.weights if w.local_name == name)


def assert_same(layer, case, names, training):
    """y, dx and the gradients of the weights."""
    x, upstream = np.array(case["x"]), np.array(case["upstream"])
    np.testing.assert_allclose(layer.forward(x, training=training), case["y"], **CLOSE)
    layer.zero_gradients()
    np.testing.assert_allclose(layer.backward(upstream), case["dx"], **CLOSE)
    for name in names:
        if case.get("d" + name) is not None:
            found = layer.gradients[name]
            np.testing.assert_allclose(found, case["d" + name], **CLOSE)


@pytest.mark.parametrize("case", NUMBERS["batch"], ids=name_of)
def test_batch_normalization_is_pytorchs(case):
    affine = case["gamma"] is not None
    layer = bp.layers.BatchNormalization(
        momentum=case["momentum"], epsilon=case["epsilon"], center=affine, scale=affine
    )
    names = ("gamma", "beta")
    build(layer, case, case["batches"][0]["x"], names)
    for batch in case["batches"]:
        assert_same(layer, batch, names, True)
        np.testing.assert_allclose(layer.moving_mean.value, batch["moving_mean"], **CLOSE)
        np.testing.assert_allclose(layer.moving_variance.value, batch["moving_variance"], **CLOSE)
    assert_same(layer, case["inference"], names, False)


@pytest.mark.parametrize("kind, case", [(k, c) for k in KINDS for c in NUMBERS[k]],
                         ids=lambda v: v if isinstance(v, str) else name_of(v))  # fmt: skip
def test_layers_of_a_sample_are_pytorchs(kind, case):
    options = {"epsilon": case["epsilon"]} if "epsilon" in case else {}
    names = ("alpha",) if kind == "prelu" else ("gamma", "beta")
    if kind in ("layer", "rms"):
        options.update(axis=case["axes"], scale=case["gamma"] is not None)
    if kind == "layer":
        options["center"] = case["beta"] is not None
    if kind == "group":
        options["groups"] = case["groups"]
        options.update(center=case["beta"] is not None, scale=case["gamma"] is not None)
    if kind == "prelu":
        options["shared"] = len(case["alpha"]) == 1
    layer = build(getattr(bp.layers, KINDS[kind])(**options), case, case["x"], names)
    for training in (False, True):
        assert_same(layer, case, names, training)


def test_the_comparison_rejects_a_biased_running_variance():
    case = NUMBERS["batch"][0]
    layer = bp.layers.BatchNormalization(momentum=case["momentum"], epsilon=case["epsilon"])
    build(layer, case, case["batches"][0]["x"], ("gamma", "beta"))
    layer.moving_variance.value = case["batches"][-1]["moving_variance_biased"]
    layer.moving_mean.value = case["batches"][-1]["moving_mean"]
    with pytest.raises(AssertionError):
        assert_same(layer, case["inference"], ("gamma", "beta"), False)
    assert_same(layer, case["inference_biased"], ("gamma", "beta"), False)


def model_of(*layers, dtype="float64", shape=(5,)):
    model = bp.Sequential(list(layers), dtype=dtype, seed=2)
    model.build(shape)
    model.compile(bp.optimizers.SGD(0.1), loss="mse")
    return model


@pytest.mark.parametrize("make", [
    lambda: [bp.layers.BatchNormalization()],
    lambda: [bp.layers.BatchNormalization(center=False, scale=False)],
    lambda: [bp.layers.Dense(4), bp.layers.BatchNormalization(), bp.layers.Activation("tanh")],
    lambda: [bp.layers.Dense(70), bp.layers.BatchNormalization(), bp.layers.Dense(3)],
    lambda: [bp.layers.Reshape((5, 1)), bp.layers.Dense(3), bp.layers.BatchNormalization()],
])  # fmt: skip
@pytest.mark.parametrize("rows", [2, 7, 150])
def test_gradcheck_of_batch_statistics(make, rows, rng, threads_restored):
    for threads in (1, 3):
        bp.set_num_threads(threads, exact=True)
        model = model_of(*make())
        x = rng.normal(size=(rows, 5))
        y = rng.normal(size=model.predict(x).shape)
        assert float(model.gradcheck(x, y)) <= 1e-7


def test_training_moves_the_statistics_once_a_batch_and_nothing_else_does(rng):
    layer = bp.layers.BatchNormalization(momentum=0.75)
    model = model_of(layer)
    x, y = rng.normal(2, 3, size=(24, 5)), rng.normal(size=(24, 5))
    before = support.weights_hash(model)
    model.gradients(x, y), model.trace(x, y), model.evaluate(x, y), model.predict(x)
    model.gradcheck(x, y)
    assert support.weights_hash(model) == before
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    mean, variance = np.zeros(5), np.ones(5)
    for part in np.split(x, 3):
        mean = 0.75 * mean + 0.25 * part.mean(axis=0)
        variance = 0.75 * variance + 0.25 * part.var(axis=0, ddof=1)
    np.testing.assert_allclose(layer.moving_mean.value, mean, rtol=1e-12)
    np.testing.assert_allclose(layer.moving_variance.value, variance, rtol=1e-12)


def test_a_frozen_layer_uses_and_keeps_its_statistics(rng):
    layer = bp.layers.BatchNormalization()
    model = model_of(layer, bp.layers.Dense(5))
    layer.moving_mean.value, layer.moving_variance.value = rng.normal(size=5), rng.uniform(1, 2, 5)
    layer.trainable = False
    held = [w.value.copy() for w in layer.weights]
    x, y = rng.normal(size=(16, 5)), rng.normal(size=(16, 5))
    loss = model.gradients(x, y).loss
    assert loss == pytest.approx(model.evaluate(x, y)["loss"], rel=1e-13)
    model.fit(x, y, verbose=0)
    for old, w in zip(held, layer.weights, strict=True):
        np.testing.assert_array_equal(w.value, old)
    layer.trainable = True
    assert model.gradients(x, y).loss != pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("layer", [
    "BatchNormalization(trainable=False)", "Normalization(1.0, 4.0)",
    "Normalization(1.0, 4.0, invert=True)",
])  # fmt: skip
def test_input_gradients_of_wide_statistics_stay_in_their_scratch(layer):
    code = f"""
import numpy as np, bpcore as bp
model = bp.Sequential([bp.layers.{layer}], dtype="float64", seed=0)
model.compile("sgd", "half_squared_error")
model.build((200_000,))
x = np.ones((3, 200_000))
found = model.gradients(x, x - 1, wrt_inputs=True)
slope = model.predict(x[:1] + 1) - model.predict(x[:1])
assert np.allclose(found.inputs, slope * model.predict(x) / 3, rtol=1e-9)
"""
    support.run_python(code)  # its own process: a write past the end ends it


def test_a_batch_of_one_is_defined():
    """y = beta, and the variance of one value moves nothing."""
    layer = bp.layers.BatchNormalization(momentum=0.5)
    model = model_of(layer, shape=(2,))
    layer.beta.value = [3.0, 4.0]
    y = layer.forward([[10.0, 20.0]], training=True)
    assert y.tolist() == [[3.0, 4.0]]
    with pytest.warns(bp.errors.MismatchWarning, match="batches of one row"):
        model.train_on_batch([[10.0, 20.0]], [[0.0, 0.0]])
    assert layer.moving_variance.value.tolist() == [1.0, 1.0]
    assert np.isfinite(layer.moving_mean.value).all()


def test_statistics_of_micro_batches(rng):
    """Accumulation: each batch by its own statistics, one move each."""
    layer = bp.layers.BatchNormalization(momentum=0.9)
    model = bp.Sequential([layer], dtype="float64", seed=0)
    model.build((3,))
    model.compile("sgd", loss="mse", accumulate_steps=2)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 3))
    gradients = []
    for part, target in zip(np.split(x, 2), np.split(y, 2), strict=True):
        gradients.append(model.gradients(part, target).parameters["batch_normalization/gamma"])
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    expected = 1 - 0.01 * np.mean(gradients, axis=0)
    np.testing.assert_allclose(layer.gamma.value, expected, rtol=1e-12)
    mean = 0.9 * (0.1 * x[:4].mean(axis=0)) + 0.1 * x[4:].mean(axis=0)
    np.testing.assert_allclose(layer.moving_mean.value, mean, rtol=1e-12)


def test_refreshed_statistics_are_means_over_batches(rng):
    first, second = bp.layers.BatchNormalization(), bp.layers.BatchNormalization(momentum=0.5)
    model = model_of(first, bp.layers.Dense(3), second)
    x = rng.normal(1, 2, size=(20, 5))
    weights = [w.value.copy() for w in model.trainable_weights]
    model.refresh_statistics(x, batch_size=8)
    parts = [x[:8], x[8:16], x[16:]]
    mean = np.mean([p.mean(axis=0) for p in parts], axis=0)
    variance = np.mean([p.var(axis=0, ddof=1) for p in parts], axis=0)
    np.testing.assert_allclose(first.moving_mean.value, mean, rtol=1e-12)
    np.testing.assert_allclose(first.moving_variance.value, variance, rtol=1e-12)
    hidden = [(p - p.mean(0)) / np.sqrt(p.var(0) + 1e-3) @ model.layers[1].kernel.value
              for p in parts]  # fmt: skip
    spread = np.mean([h.var(axis=0, ddof=1) for h in hidden], axis=0)
    np.testing.assert_allclose(second.moving_variance.value, spread, rtol=1e-10)
    for old, w in zip(weights, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(w.value, old)
    model.train_on_batch(x, x[:, :3])  # with the usual momentum again
    expected = 0.99 * mean + 0.01 * x.mean(axis=0)
    np.testing.assert_allclose(first.moving_mean.value, expected, rtol=1e-12)
    for layer in (first, second):
        layer.trainable = False
    with pytest.raises(ValueError, match="no trainable BatchNormalization"):
        model.refresh_statistics(x)


def test_a_diverged_batch_leaves_the_statistics(rng):
    layer = bp.layers.BatchNormalization()
    model = model_of(layer, bp.layers.Dense(1), dtype="float32")
    x = rng.normal(size=(8, 5)).astype(np.float32)
    before = support.weights_hash(model)
    with pytest.raises(bp.TrainingDiverged):
        model.train_on_batch(x * np.float32(1e37), np.full((8, 1), 3e38, np.float32))
    assert support.weights_hash(model) == before


def test_large_means_do_not_cancel():
    x = np.float32(4096) + np.linspace(-1, 1, 64, dtype=np.float32).reshape(-1, 1)
    for layer, data in ((bp.layers.BatchNormalization(epsilon=1e-6), x),
                        (bp.layers.LayerNormalization(epsilon=1e-6), x.T)):  # fmt: skip
        y = layer(data, training=True)
        wide = data.astype(np.float64)
        exact = (wide - wide.mean()) / np.sqrt(wide.var() + 1e-6)
        assert np.abs(y - exact).max() <= 2e-3


# ---- Normalization -------------------------------------------------------------------------------


def test_adapt_standardizes_and_is_saved(rng, tmp_path):
    x = rng.normal([5, -3, 0], [10, 0.1, 1], size=(500, 3))
    x[:, 2] = 7
    scaler = bp.layers.Normalization()
    scaler.adapt(x)
    model = bp.Sequential([scaler, bp.layers.Dense(2)], seed=0, dtype="float64")
    model.build((3,))
    standard = scaler.forward(x)
    exact = (x[:, :2] - x[:, :2].mean(axis=0)) / x[:, :2].std(axis=0)
    np.testing.assert_allclose(standard[:, :2], exact, rtol=1e-9)
    assert (standard[:, 2] == 0).all()
    model.compile("adam", loss="mse")
    before = [w.value.copy() for w in scaler.weights]
    model.fit(x, x[:, :2], verbose=0)
    for w, old in zip(scaler.weights, before, strict=True):
        np.testing.assert_array_equal(w.value, old)
    model.save(tmp_path / "m.safetensors")
    again = bp.load_model(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_inverse_gives_targets_their_scale(rng):
    y = rng.normal(100, 25, size=(400, 2))
    output = bp.layers.Normalization(invert=True)
    output.adapt(y)
    forward = bp.layers.Normalization()
    forward.adapt(y)
    np.testing.assert_allclose(output(forward(y)), y, rtol=1e-4)
    model = model_of(bp.layers.Dense(2), output)
    x = rng.normal(size=(12, 5))
    assert float(model.gradcheck(x, rng.normal(size=(12, 2)))) <= 1e-7


@pytest.mark.parametrize("call, message", [
    (lambda L: L.BatchNormalization(momentum=1.5), "momentum"),
    (lambda L: L.BatchNormalization(momentum=1.0), "momentum"),
    (lambda L: L.BatchNormalization(epsilon=0), "epsilon"),
    (lambda L: L.LayerNormalization(epsilon=-1e-3), "epsilon"),
    (lambda L: L.BatchNormalization(axis=2).build((3, 4, 5)), "or the first one behind"),
    (lambda L: L.LayerNormalization(axis=1).build((3, 4)), "last axis"),
    (lambda L: L.LayerNormalization(axis=[]), "axis"),
    (lambda L: L.GroupNormalization(groups=0), "groups"),
    (lambda L: L.GroupNormalization(groups=3).build((4,)), "groups"),
    (lambda L: L.Normalization(mean=1.0), "together"),
    (lambda L: L.Normalization(mean=0.0, variance=-1.0), "variance"),
    (lambda L: L.Normalization(mean=[0, 1.0], variance=[1, 1.0]).build((3,)), "statistics"),
    (lambda L: L.Normalization().adapt([[np.nan]]), "NaN"),
    (lambda L: L.Normalization().adapt([1.0, 2.0]), "adapt"),
])  # fmt: skip
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(bp.layers)


@pytest.mark.parametrize("axis, shape", [(1, (4, 5, 3)), (-3, (4, 5, 3)), (1, (6, 3))])
def test_batch_normalization_of_channels_first(axis, shape, rng):
    """The bits of channels last: in training, on the way back, of the statistics, and in use."""
    last, first = bp.layers.BatchNormalization(), bp.layers.BatchNormalization(axis)
    x, dy = rng.normal(2, 3, size=(7, *shape)), rng.normal(size=(7, *shape))
    turned = lambda a: np.ascontiguousarray(np.moveaxis(a, -1, 1))  # noqa: E731
    for layer, a in ((last, x), (first, turned(x))):
        layer.build(a.shape[1:])
        layer.gamma.value = np.arange(shape[-1]) + 0.5
    for training in (True, False):
        y = last.forward(x, training=training)
        np.testing.assert_array_equal(first.forward(turned(x), training=training), turned(y))
    np.testing.assert_array_equal(first.backward(turned(dy)), turned(last.backward(dy)))
    for a, b in zip(first.weights, last.weights, strict=True):
        np.testing.assert_array_equal(a.value, b.value, err_msg=a.name)
    assert first.gradients.keys() == last.gradients.keys()
    for name, gradient in last.gradients.items():
        np.testing.assert_array_equal(first.gradients[name], gradient, err_msg=name)


def test_steps_that_do_not_count_are_no_channels():
    with pytest.raises(ValueError, match="knows no mask"):
        bp.Sequential([bp.Input((5, 2)), bp.layers.Masking(), bp.layers.BatchNormalization(1)])


def test_tied_weights(rng, tmp_path):
    """y = x w w^T in one matrix: its gradient has both parts, and files know the tie."""
    code = bp.layers.Dense(3, use_bias=False, name="code")
    decoder = bp.layers.TiedDense(code, use_bias=False)
    model = bp.Sequential([code, decoder], dtype="float64", seed=1)
    model.build((6,))
    model.compile(bp.optimizers.SGD(0.1), loss="half_squared_error")
    x = rng.normal(size=(9, 6))
    w = code.kernel.value.copy()
    error = (x @ w @ w.T - x) / 9
    expected = x.T @ error @ w + error.T @ x @ w
    found = model.gradients(x, x).parameters
    assert list(found) == ["code/kernel"]
    np.testing.assert_allclose(found["code/kernel"], expected, rtol=1e-12)
    model.fit(x, x, epochs=2, verbose=0)
    for other in (copy.deepcopy(model), _saved(model, tmp_path)):
        np.testing.assert_array_equal(other.predict(x), model.predict(x))
        other.fit(x, x, verbose=0)
        w = other.get_weights()[0]
        np.testing.assert_allclose(other.predict(x), x @ w @ w.T, rtol=1e-12)


def _saved(model, tmp_path):
    model.save(tmp_path / "tied.safetensors")
    return bp.load_model(tmp_path / "tied.safetensors")


def test_a_tie_needs_its_layer():
    with pytest.raises(TypeError, match="Dense"):
        bp.layers.TiedDense(3)
    with pytest.raises(bp.NotBuiltError, match="before this one"):
        bp.Sequential([bp.layers.TiedDense(bp.layers.Dense(2))]).build((4,))
    code = bp.layers.Dense(2)
    with pytest.raises(bp.ShapeError, match="2 because"):
        bp.Sequential([code, bp.layers.Dense(3), bp.layers.TiedDense(code)]).build((4,))
