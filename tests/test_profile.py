"""Model.profile: its structure, its flops and bytes by formula; times are not judged."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bpcore as bp

from .helpers import support

L = bp.layers
N, I, H, O = 32, 12, 20, 5  # noqa: E741


def network(optimizer="adam", dtype="float32", **options):
    model = bp.Sequential([L.Dense(H, "tanh"), L.Dense(O)], seed=0, dtype=dtype)
    model.compile(optimizer, loss="cross_entropy", **options)
    return model


def data(n=100):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, I)).astype(np.float32), rng.integers(0, O, n)


@pytest.mark.parametrize("dtype, item", [("float32", 4), ("float64", 8)])
def test_flops_and_bytes_are_those_of_the_formulas(dtype, item):
    x, y = data()
    first, last = network(dtype=dtype).profile(x, y, repeats=1).layers
    assert first.layer == "dense" and last.layer == "dense_1"
    assert first.forward_flops == 2 * N * I * H and first.update_flops == 2 * N * I * H
    assert first.backward_flops == 0  # nobody wants dL/dx
    assert (last.forward_flops, last.backward_flops, last.update_flops) == (2 * N * H * O,) * 3
    assert last.flops == 6 * N * H * O
    weights = H * O + O
    assert last.forward_bytes == item * (N * (H + O) + weights)
    assert last.backward_bytes == item * (N * (H + O) + weights)
    assert last.update_bytes == item * (N * (H + O) + 6 * weights)  # w, m and v, in and out


def test_shares_and_the_roof():
    x, y = data()
    profile = network().profile(x, y, repeats=3)
    assert sum(profile.shares.values()) == pytest.approx(1.0, abs=1e-12)
    assert set(profile.shares) == {"dense", "dense_1", "(gather)", "(loss)"}
    assert all(layer.forward > 0 and layer.update > 0 for layer in profile.layers)
    assert profile.peak > 0 and profile.bandwidth > 0 and profile.seconds > 0
    for layer in profile.layers:
        roof = min(profile.peak, layer.flops / layer.bytes * profile.bandwidth)
        assert profile.roof(layer) == pytest.approx(roof)
        assert profile.bound(layer) == ("flops" if roof == profile.peak else "bytes")
        assert layer.gflops == pytest.approx(layer.flops / layer.seconds / 1e9)
    described = json.loads(json.dumps(profile.to_dict()))
    assert described["layers"][1]["layer"] == "dense_1" and described["batch_size"] == N
    for word in ("dense_1", "(loss)", "GFLOP/s", "bound"):
        assert word in str(profile)
    assert "2 layers" in repr(profile)


def test_the_model_is_not_touched_and_threads_come_back():
    x, y = data()
    model = network(bp.optimizers.SGD(0.1, momentum=0.9), gradient_clip_value=1.0)
    model.fit(x, y, verbose=0)
    slots = [s.copy() for p in model.weights for s in model.optimizer._slots[p]]
    before = support.weights_hash(model)
    with bp.threads(2):
        model.profile(x, y, repeats=2)
        assert bp.get_num_threads() == 2
    assert support.weights_hash(model) == before
    now = [s for p in model.weights for s in model.optimizer._slots[p]]
    assert all(support.same_bits(a, b) for a, b in zip(slots, now, strict=True))
    unbuilt = network()
    unbuilt.profile(x, y, repeats=1)
    assert not unbuilt.built


def test_nobody_does_more_than_the_machine_can():
    """Times are not judged, but a phase whose work was left out looks faster than any machine."""
    model = bp.Sequential([L.Dense(1100, "relu"), L.Dense(O)], seed=0)
    model.compile(bp.optimizers.SGD(0.1), "cross_entropy")  # wide: updated in place
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 700)).astype(np.float32), rng.integers(0, O, 64)
    profile = model.profile(x, y, batch_size=64, repeats=3)
    wide = profile.layers[0]
    for flops, seconds in [(wide.forward_flops, wide.forward), (wide.update_flops, wide.update)]:
        assert 1e-9 * flops / seconds < 20 * profile.peak


def test_without_targets_and_with_frozen_and_shared_layers():
    x, _ = data()
    model = network()
    model.build((I,))
    model.layers[0].trainable = False
    first, _ = model.profile(x, repeats=1).layers
    assert first.update_flops == first.backward_flops == 0 and first.forward_flops > 0
    a = bp.Input((I,))
    again = L.Dense(I, "relu", name="again")
    model = bp.Model(a, {"p": L.Dense(1, "softplus")(again(again(a))), "q": L.Dense(3)(a)}, seed=0)
    model.compile("sgd", loss={"p": "poisson", "q": "cross_entropy"})
    shared = model.profile(np.abs(x), repeats=1, batch_size=1000).layers[0]
    assert shared.layer == "again" and shared.forward_flops == 2 * 2 * 100 * I * I


def test_layers_in_python_are_timed():
    class Twice(L.Layer):
        def forward(self, x, training=False):
            return 2 * x

        def backward(self, dy):
            return 2 * dy

    model = bp.Sequential([L.Dense(4), Twice(name="twice"), L.Dense(O)], seed=0)
    model.compile("sgd", loss="cross_entropy")
    layer = model.profile(*data(), repeats=1).layers[1]
    assert layer.layer == "twice" and layer.forward > 0 and layer.backward > 0


def test_bad_arguments():
    x, y = data()
    with pytest.raises(RuntimeError, match="not compiled"):
        bp.Sequential([L.Dense(2)]).profile(x, y)
    model = network()
    for name, value in (("batch_size", 0), ("batch_size", None), ("repeats", 0), ("repeats", 1.5)):
        with pytest.raises((ValueError, TypeError), match=name):
            model.profile(x, y, **{name: value})
    with pytest.raises(bp.ShapeError, match="samples"):
        model.profile(x, y[:3])
    with pytest.raises(ValueError, match="NaN"):
        model.profile(np.full_like(x, np.nan), y)
