"""Clones, weights that follow others, weights in files, calls with training=True."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import FormatError, ShapeError

from .helpers import support

L = bp.layers


def made(dtype="float64", **options):
    layers = [L.Dense(6, "relu"), L.BatchNormalization(), L.Dropout(0.5), L.Dense(2)]
    model = bp.Sequential(layers, seed=1, dtype=dtype, **options)
    model.build((4,))
    return model


def numbered(model):
    return dict(enumerate(model.get_weights()))


def test_clone_is_a_model_of_its_own(rng):
    model = made()
    model.compile("adam", "mse")
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 2))
    model.fit(x, y, verbose=0)
    twin = model.clone()
    support.assert_same(numbered(twin), numbered(model))
    assert type(twin) is type(model) and twin.dtype == "float64" and not twin.compiled
    np.testing.assert_array_equal(twin.predict(x), model.predict(x))
    before = numbered(twin)
    model.fit(x, y, verbose=0)
    support.assert_same(numbered(twin), before)
    twin.compile("sgd", "mse")
    twin.fit(x, y, verbose=0)
    assert model.optimizer.iterations == 2


def test_neither_of_two_clones_sees_the_other_train(rng):
    """Weights, statistics, shuffles and dropout: each goes the way of a model that was alone."""
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 2))

    def compiled(model):
        model.compile("adam", "mse")
        return model

    alone, model = compiled(made()), compiled(made())
    twin = compiled(model.clone())
    for one, other in zip(model.weights, twin.weights, strict=True):
        assert not np.shares_memory(one.value, other.value)
    twin.fit(x, y, batch_size=7, epochs=2, verbose=0)
    twin(x, training=True)
    model.fit(x, y, batch_size=7, epochs=2, verbose=0)
    alone.fit(x, y, batch_size=7, epochs=2, verbose=0)
    support.assert_same(numbered(model), numbered(alone))
    support.assert_same(numbered(twin), numbered(alone))
    drawn = alone(x, training=True)
    for _ in range(3):
        model(x, training=True)
    fresh, given = compiled(model.clone()), compiled(made())
    np.testing.assert_array_equal(fresh(x, training=True), drawn)
    given.set_weights(model.get_weights())
    for one in (fresh, given):  # a clone begins to count anew: orders of rows, masks
        one.fit(x, y, batch_size=7, epochs=2, verbose=0)
    support.assert_same(numbered(fresh), numbered(given))


def test_clone_with_new_weights():
    """From the next seed, as a new model has them."""
    bp.set_seed(5)
    model = bp.Sequential([bp.Input((4,)), L.Dense(6), L.Dense(2)], dtype="float64")
    fresh = model.clone(weights=False)
    bp.set_seed(5)
    bp.Sequential([bp.Input((4,)), L.Dense(6)])
    second = bp.Sequential([bp.Input((4,)), L.Dense(6), L.Dense(2)], dtype="float64")
    support.assert_same(numbered(fresh), numbered(second))
    assert not np.array_equal(fresh.weights[0].value, model.weights[0].value)
    shared = L.Dense(3)
    a = bp.Input((3,))
    graph = bp.Model(a, shared(shared(a)), dtype="float64").clone(weights=False)
    assert graph.count_params() == 12 and graph.dtype == "float64"


def test_weights_given_as_live_views_are_read_before_any_changes(rng):
    """Two layers alike change their weights with each other."""
    layers = [bp.layers.Dense(3, bias_initializer="normal") for _ in range(2)]
    model = bp.Sequential([bp.Input((3,)), *layers], seed=0)
    k1, b1, k2, b2 = model.get_weights()
    one, two = ([p.value for p in layer.weights] for layer in layers)
    model.set_weights([*two, *one])
    for found, expected in zip(model.get_weights(), (k2, b2, k1, b1), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_polyak_update(rng):
    """All weights, statistics too, by the formula in the model's dtype."""
    for dtype in ("float32", "float64"):
        model, target = made(dtype), made(dtype)
        model.set_weights([rng.uniform(1, 2, size=w.shape) for w in model.get_weights()])
        before, t = target.get_weights(), np.dtype(dtype).type
        target.polyak_update(model, 0.005)
        for w, old, new in zip(target.get_weights(), before, model.get_weights(), strict=True):
            expected = t(1 - 0.005) * old + t(0.005) * new
            np.testing.assert_allclose(w, expected, rtol=4 * np.finfo(dtype).eps)
        target.polyak_update(model, 1.0)
        support.assert_same(numbered(target), numbered(model))
        target.polyak_update(made(dtype), 0)
        support.assert_same(numbered(target), numbered(model))
        target.polyak_update(target, 0.3)
        support.assert_same(numbered(target), numbered(model))


def test_a_polyak_update_by_1_copies_what_statistics_were_rounded_from(rng):
    """Data far from 0: a float32 mean alone would shift all predictions."""
    x = 1e6 + rng.normal(size=(200, 3))
    pair = []
    for data in (x, x + 40):
        scale = L.Normalization()
        scale.adapt(data)
        model = bp.Sequential([scale, L.Dense(2)], seed=0)
        model.build((3,))
        pair.append(model)
    model, target = pair
    expected = (x - x.mean(axis=0)) / x.std(axis=0) @ model.weights[-2].value
    target.polyak_update(model, 1.0)
    np.testing.assert_array_equal(target.predict(x), model.predict(x))
    np.testing.assert_allclose(target.predict(x), expected, atol=1e-3)


def test_polyak_update_refuses():
    model = made()
    before = numbered(model)
    with pytest.raises(ShapeError, match=r"weights\[0\] is .*clone\(\)"):
        model.polyak_update(made("float32"), 0.5)
    fewer = bp.Sequential([bp.Input((1,))], seed=0, dtype="float64")
    with pytest.raises(ShapeError, match=r"weights\[0\] is nothing, expected float64 \("):
        model.polyak_update(fewer, 0.5)
    with pytest.raises(ValueError, match="tau must be"):
        model.polyak_update(made(), 1.5)
    with pytest.raises(TypeError, match="source must be a Model"):
        model.polyak_update([1], 0.5)
    support.assert_same(numbered(model), before)


def test_weights_in_files(tmp_path):
    model, other = made(), made()
    model.set_weights([w + 1 for w in model.get_weights()])
    model.save_weights(tmp_path / "w.safetensors")
    with pytest.raises(bp.errors.FormatError, match="expected a model; read it with load_w"):
        bp.load_model(tmp_path / "w.safetensors")
    other.load_weights(tmp_path / "w.safetensors")
    support.assert_same(numbered(other), numbered(model))
    model.save(tmp_path / "m.safetensors")
    third = made()
    third.load_weights(tmp_path / "m.safetensors")
    support.assert_same(numbered(third), numbered(model))
    with pytest.raises(FormatError, match=r"float64.*expected float32"):
        made("float32").load_weights(tmp_path / "w.safetensors")
    with pytest.raises(FormatError, match="holds a 'weights', expected a model"):
        bp.load_model(tmp_path / "w.safetensors")
    data = bytearray((tmp_path / "w.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "w.safetensors").write_bytes(data)
    with pytest.raises(FormatError):
        third.load_weights(tmp_path / "w.safetensors")
    model.compile("adam", "mse")
    model.save_checkpoint(tmp_path / "c.ckpt")
    with pytest.raises(FormatError, match="expected weights or a model"):
        third.load_weights(tmp_path / "c.ckpt")


def test_other_safetensors_readers_take_weights(tmp_path):
    model = made()
    model.save_weights(tmp_path / "w.safetensors")
    raw = (tmp_path / "w.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    import json

    head = json.loads(raw[8 : 8 + size])
    assert set(head) - {"__metadata__"} == {p.name for p in model.weights}


def test_a_call_that_draws(rng):
    """Masks of its own each time, training's untouched, statistics left where they are."""
    model, twin = made(), made()
    x = rng.normal(size=(200, 4))
    found = np.stack([model(x, training=True) for _ in range(50)])
    assert (found.std(axis=0) > 0).all()
    support.assert_same(numbered(model), numbered(twin))
    again = made()
    np.testing.assert_array_equal(again(x, training=True), found[0])
    np.testing.assert_array_equal(again(x, training=True), found[1])
    y = rng.normal(size=(200, 2))
    for m in (model, twin):
        m.compile("sgd", "mse")
        m.train_on_batch(x, y)
    support.assert_same(numbered(model), numbered(twin))
    out = np.empty((200, 2))
    assert model(x, training=True, out=out) is out


def test_a_call_that_draws_gives_lists_for_lists(rng):
    layers = [L.GRU(2, return_sequences=True), L.Dropout(0.5)]
    model = bp.Sequential([bp.Input((None, 3)), *layers], seed=0, dtype="float64")
    xs = [rng.normal(size=(n, 3)) for n in (4, 2)]
    for got, mean in zip(model(xs, training=True), model(xs), strict=True):
        assert got.shape == mean.shape
        assert np.isin(np.round(got / mean, 9), (0, 2)).all()


def test_monte_carlo_dropout_has_the_mean_of_its_linear_model(rng):
    """y = sum over kept units of 2 w x: mean w x, variance sum (w x)^2."""
    model = bp.Sequential([L.Dropout(0.5), L.Dense(1, use_bias=False)], seed=0, dtype="float64")
    x = rng.normal(size=(1, 8))
    model.build((8,))
    parts = x[0] * model.weights[0].value[:, 0]
    draws = np.array([model(x, training=True)[0, 0] for _ in range(4000)])
    spread = np.sqrt((parts**2).sum())
    assert abs(draws.mean() - parts.sum()) < 5 * spread / np.sqrt(4000)
    assert abs(draws.std() / spread - 1) < 0.1


def test_parts_have_the_dtype_of_the_whole(rng):
    model = bp.Sequential([L.Dense(6, name="code"), L.Dense(2)], dtype="float64", seed=0)
    model.build((3,))
    encoder = bp.Model(model.inputs, model.get_layer("code").output)
    head = bp.Model(model.inputs, L.Dense(5)(model.outputs[0]))
    assert encoder.dtype == head.dtype == model.clone().dtype == "float64"
    x = rng.normal(size=(4, 3))
    assert encoder(x).dtype == head(x).dtype == np.float64
    assert bp.Model(*(lambda a: (a, L.Dense(2)(a)))(bp.Input((3,)))).dtype == "float32"
    with pytest.raises(ValueError, match="has dtype float64"):
        bp.Model(model.inputs, model.outputs, dtype="float32")


def test_an_optimizer_knows_its_attributes():
    adam = bp.optimizers.Adam(0.1)
    adam.lr = 0.2
    assert adam.learning_rate == adam.lr == 0.2
    with pytest.raises(
        AttributeError, match=r"no attribute 'learning_rat'; did you mean 'learning_"
    ):
        adam.learning_rat = 0.3
    with pytest.raises(AttributeError, match=r"'beta_3'.*did you mean 'beta_"):
        _ = adam.beta_3
    assert not hasattr(adam, "momentum")

    class Own(bp.optimizers.SGD):
        def __init__(self, learning_rate=0.1):
            super().__init__(learning_rate)
            self.mine = 3

    own = Own()
    own.mine = 4
    with pytest.raises(AttributeError):
        own.mien = 4


def test_a_misspelt_hook_is_named(rng):
    class Wrong(bp.callbacks.Callback):
        def on_epoch_ends(self, epoch, logs=None):
            raise AssertionError

    class Fine(bp.callbacks.Callback):
        def on_predict_begin(self, logs=None):
            """Keras calls it, bpcore does not."""

        def on_a_whim(self):
            """A method of its own."""

    model = made()
    model.compile("sgd", "mse")
    x, y = rng.normal(size=(8, 4)), rng.normal(size=(8, 2))
    with pytest.raises(
        AttributeError, match=r"'on_epoch_ends', which is no hook; did you mean 'on_ep"
    ):
        model.fit(x, y, verbose=0, callbacks=[Wrong()])
    model.fit(x, y, verbose=0, callbacks=[Fine()])
