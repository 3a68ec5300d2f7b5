"""Reuse: sub-models, frozen layers, copying weights by name."""

from __future__ import annotations

import copy
import gc
import weakref

import numpy as np
import pytest

import bpcore as bp

from .helpers import support


def base(seed=0, units=5):
    layers = [bp.layers.Dense(units, "tanh", name="code"), bp.layers.Dense(3, name="head")]
    model = bp.Sequential(layers, seed=seed, dtype="float64")
    model.build((4,))
    return model


def test_a_sub_model_ends_at_an_inner_layer_and_shares_weights(rng):
    model = base()
    x = rng.normal(size=(6, 4))
    encoder = bp.Model(model.inputs, model.get_layer("code").output, dtype="float64")
    w, b = (p.value for p in model.get_layer("code").weights)
    np.testing.assert_allclose(encoder.predict(x), np.tanh(x @ w + b), rtol=1e-13)
    model.compile("sgd", loss="mse")
    model.fit(x, rng.normal(size=(6, 3)), verbose=0)
    np.testing.assert_allclose(encoder.predict(x), np.tanh(x @ w + b), rtol=1e-13)


def test_a_new_head_on_a_frozen_base(rng):
    old = base()
    new = bp.Model(old.inputs, bp.layers.Dense(2, name="new")(old.get_layer("code").output),
                   dtype="float64", seed=1)  # fmt: skip
    old.get_layer("code").trainable = False
    held = [p.value.copy() for p in old.weights]
    new.compile("adam", loss="mse")
    x, y = rng.normal(size=(8, 4)), rng.normal(size=(8, 2))
    start = new.get_weights()[-2]
    new.fit(x, y, epochs=2, verbose=0)
    for before, p in zip(held, old.weights, strict=True):
        np.testing.assert_array_equal(p.value, before)
    assert not np.array_equal(new.get_weights()[-2], start)
    old.get_layer("code").trainable = True
    new.fit(x, y, verbose=0)
    assert not np.array_equal(old.weights[0].value, held[0])
    np.testing.assert_array_equal(old.weights[2].value, held[2])


def test_output_is_there_after_copies_and_files(tmp_path):
    model = base()
    model.save(tmp_path / "m.safetensors")
    for other in (copy.deepcopy(model), bp.load_model(tmp_path / "m.safetensors")):
        assert other.get_layer("code").output is not model.get_layer("code").output
        encoder = bp.Model(other.inputs, other.get_layer("code").output, dtype="float64")
        assert encoder.weights[0] is other.weights[0]
        assert other.outputs[0].shape == (3,)


def test_no_output_or_several_is_an_error():
    layer = bp.layers.Dense(2)
    with pytest.raises(ValueError, match="0 outputs"):
        _ = layer.output
    a = bp.Input((2,))
    model = bp.Model(a, layer(layer(a)))
    with pytest.raises(ValueError, match="2 outputs"):
        _ = layer.output
    with pytest.raises(bp.NotBuiltError):
        _ = bp.Sequential([bp.layers.Dense(2)]).inputs
    del model


def test_a_model_is_freed_with_its_graph():
    model = base()
    node = weakref.ref(model.get_layer("code").output.node)
    layer = model.get_layer("code")
    del model
    gc.collect()
    assert node() is None
    with pytest.raises(ValueError, match="0 outputs"):
        _ = layer.output


def test_weights_by_name():
    a, b = base(0), base(1)
    assert a.copy_weights(b) == [p.name for p in a.weights]
    assert support.same_bits(a.weights[2].value, b.weights[2].value)
    other = base(2, units=7)
    before = [p.value.copy() for p in other.weights]
    with pytest.raises(bp.ShapeError, match="code/kernel"):
        other.copy_weights(a)
    for old, p in zip(before, other.weights, strict=True):
        assert support.same_bits(p.value, old)
    assert other.copy_weights(a, skip_mismatch=True) == ["head/bias"]
    stranger = bp.Sequential([bp.layers.Dense(1, name="x")])
    stranger.build((4,))
    with pytest.raises(ValueError, match="share no weight"):
        stranger.copy_weights(a)
    with pytest.raises(TypeError, match="Model"):
        a.copy_weights([1])


def test_layers_of_two_models_are_joined_if_their_names_differ():
    """Automatic names of two models are alike, those of layers that first meet in one differ."""
    generator, critic = bp.layers.Dense(2), bp.layers.Dense(1)
    z, point = bp.Input((3,)), bp.Input((2,))
    first, second = bp.Model(z, generator(z)), bp.Model(point, critic(point))
    with pytest.raises(ValueError, match=r"duplicate layer name 'dense'.*build the joined model"):
        bp.Model(z, critic(first.outputs[0]))
    del first, second

    generator, critic = bp.layers.Dense(2), bp.layers.Dense(1)
    made = generator(z)
    both = bp.Model(z, critic(made))
    apart = bp.Model(z, made), bp.Model(point, critic(point))
    assert [p.name for p in apart[1].weights] == ["dense_1/kernel", "dense_1/bias"]
    assert both.weights == [*apart[0].weights, *apart[1].weights]


def test_trainable_set_before_each_update_keeps_the_optimizers_apart(rng):
    """As of a GAN: two models share a layer, which only one of them trains."""
    generator, critic = bp.layers.Dense(2), bp.layers.Dense(1)
    z, point = bp.Input((3,)), bp.Input((2,))
    made = generator(z)
    both = bp.Model(z, critic(made), seed=0, dtype="float64")
    alone = bp.Model(point, critic(point), dtype="float64")
    for model in (both, alone):
        model.compile(bp.optimizers.Adam(0.1), loss="mse")
    x, p = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    for _ in range(3):
        held = [w.copy() for w in generator.get_weights()]
        alone.trainable = True
        alone.train_on_batch(p, np.ones((8, 1)))
        assert all(map(np.array_equal, held, generator.get_weights()))
        held = [w.copy() for w in critic.get_weights()]
        alone.trainable = False
        both.train_on_batch(x, np.ones((8, 1)))
        assert all(map(np.array_equal, held, critic.get_weights()))
    assert (alone.optimizer.iterations, both.optimizer.iterations) == (3, 3)
