"""Worked examples with known numbers (fixtures/golden.json), in float64."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .helpers.support import graph_fixture


def neuron(weights, bias=None, optimizer=None, loss="half_squared_error"):
    layer = bp.layers.Dense(1, activation="sigmoid", use_bias=bias is not None, name="neuron")
    model = bp.Sequential([layer], dtype="float64", seed=0)
    model.build((len(weights),))
    model.set_weights(
        [np.array(weights)[:, None], *([np.array([bias])] if bias is not None else [])]
    )
    model.compile(optimizer=optimizer or bp.optimizers.SGD(0.01), loss=loss)
    return model


def example(golden):
    g = golden["G1_neptune_example1"]
    i = g["inputs"]
    return g, i, np.array([i["x"]]), np.array([[i["target"]]])


def test_one_neuron_by_hand(golden):
    """net 1.94, output 0.874352143, error 0.356465271, the gradient and one step."""
    g, i, x, t = example(golden)
    model = neuron(i["w"], i["b"])
    trace = model.trace(x, t)["neuron"]
    assert trace.z[0, 0] == pytest.approx(1.94, rel=1e-15)
    assert trace.a[0, 0] == pytest.approx(g["p"], rel=1e-15)
    assert trace.delta[0, 0] == pytest.approx(g["dE_db"], rel=1e-14)
    found = model.gradients(x, t)
    assert found.loss == pytest.approx(g["E"], rel=1e-15)
    w = found.parameters["neuron/kernel"][:, 0]
    assert w == pytest.approx([g["dE_dw1"], g["dE_dw2"]], rel=1e-14)
    assert found.parameters["neuron/bias"][0] == pytest.approx(g["dE_db"], rel=1e-14)
    assert model.get_weights()[0][:, 0].tolist() == i["w"], "gradients() changes nothing"
    model.train_on_batch(x, t)
    step = g["bp_step"]
    kernel, bias = model.get_weights()
    assert kernel[:, 0] == pytest.approx([step["w1"], step["w2"]], rel=1e-15)
    assert bias[0] == pytest.approx(step["b"], rel=1e-15)
    assert model.predict(x)[0, 0] == pytest.approx(step["p"], rel=1e-15)
    assert g["E"] - model.evaluate(x, t)["loss"] == pytest.approx(step["reduction"], rel=1e-10)


def test_numbers_as_printed():
    model = neuron([0.5, 0.2], 1.83)
    x, t = np.array([[0.1, 0.3]]), np.array([[0.03]])
    assert round(model.predict(x)[0, 0], 9) == 0.874352143
    assert round(model.evaluate(x, t)["loss"], 9) == 0.356465271
    found = model.gradients(x, t).parameters
    assert found["neuron/kernel"][:, 0].round(9).tolist() == [0.009276093, 0.027828278]
    model.train_on_batch(x, t)
    assert model.get_weights()[0][:, 0].round(11).tolist() == [0.49990723907, 0.19972171722]


@pytest.mark.parametrize("start", ["0,0", "0.5,0.5", "1,1"])
def test_80000_online_steps(golden, start):
    g = golden["G3_neptune_example2"]
    run, inputs = g["runs"][start], g["inputs"]
    model = neuron([float(v) for v in start.split(",")], loss="mean_squared_error")
    x, t = np.array([inputs["x"]]), np.array([[inputs["target"]]])
    assert model.predict(x)[0, 0] == pytest.approx(run["p0"], rel=1e-14)
    done = 0
    # an online run prints, then updates: the last printed prediction has 79,999 updates behind it
    for steps, key in ((1, "p1"), (1000, "p1000"), (10000, "p10000"), (79999, "p_last")):
        n = steps - done
        model.fit(np.repeat(x, n, axis=0), np.repeat(t, n, axis=0), batch_size=1, epochs=1,
                  shuffle=False, verbose=0)  # fmt: skip
        done = steps
        assert model.predict(x)[0, 0] == pytest.approx(run[key], rel=1e-13)
    assert model.train_on_batch(x, t)["loss"] == pytest.approx(run["err_last"], rel=1e-6)
    assert model.get_weights()[0][:, 0] == pytest.approx([run["w1"], run["w2"]], rel=1e-9)


def test_80000_steps_as_printed(golden):
    g = golden["G3_neptune_example2"]["printed_by_seed"]
    x, t = np.array([[0.1, 0.4]]), np.array([[0.7]])
    model = neuron([g["implied_y0"] / x.sum()] * 2, loss="mean_squared_error")  # net y0 at first
    n = 79999
    model.fit(np.repeat(x, n, axis=0), np.repeat(t, n, axis=0), batch_size=1, shuffle=False,
              verbose=0)  # fmt: skip
    assert model.predict(x)[0, 0] == pytest.approx(g["prediction"], rel=1e-12)
    assert round(model.predict(x)[0, 0], 8) == 0.69999944
    assert model.train_on_batch(x, t)["loss"] == pytest.approx(g["error"], rel=1e-6)


def momentum_steps(golden, optimizer):
    _, i, x, t = example(golden)
    model, rows = neuron(i["w"], i["b"], optimizer), []
    for _ in range(3):
        model.train_on_batch(x, t)
        kernel, bias = model.get_weights()
        rows.append([bias[0], *kernel[:, 0]])
    return np.array(rows)


def test_momentum_forms(golden):
    g, SGD = golden["G8_momentum_b_w1_w2"], bp.optimizers.SGD
    close = {"rtol": 1e-14, "atol": 0}
    np.testing.assert_allclose(momentum_steps(golden, SGD(0.01)), g["plain"], **close)
    heavy = momentum_steps(golden, SGD(0.01, momentum=0.9))
    np.testing.assert_allclose(heavy, g["heavy_ball"], **close)
    # an exponential mean of gradients, v = 0.9 v + 0.1 g, is the same with a tenth of the rate
    np.testing.assert_allclose(momentum_steps(golden, SGD(0.001, momentum=0.9)), g["ema"], **close)


def test_nesterov_momentum(golden):
    """Ours, as PyTorch's, keeps the point looked ahead to: w + 0.9 (w - previous w)."""
    _, i, _, _ = example(golden)
    w = np.array([[i["b"], *i["w"]], *golden["G8_momentum_b_w1_w2"]["nesterov"]])
    ahead = w[1:] + 0.9 * (w[1:] - w[:-1])
    found = momentum_steps(golden, bp.optimizers.SGD(0.01, momentum=0.9, nesterov=True))
    np.testing.assert_allclose(found, ahead, rtol=1e-14)


def test_activations(golden):
    names = {"swish": "silu"}
    for x, row in golden["activations"].items():
        for name, (value, slope) in row.items():
            name, z = names.get(name, name), np.array([float(x)])
            assert _core.activation(name, z, 0.0)[0] == pytest.approx(value, rel=1e-14)
            found = _core.activation_grad(name, z, np.ones(1), 0.0)[0]
            assert found == pytest.approx(slope, rel=1e-13)


def test_delta_is_p_minus_t():
    rng = np.random.default_rng(1)
    z, labels = rng.normal(size=(5, 4)) * 3, rng.integers(0, 4, 5)
    t, e = np.eye(4)[labels], np.exp(z - z.max(axis=1, keepdims=True))
    for name, y, p, f in (
        ("cross_entropy", labels, e / e.sum(axis=1, keepdims=True), "softmax"),
        ("binary_cross_entropy", t, 1 / (1 + np.exp(-z)), "sigmoid"),
    ):
        found = {}
        for ending in (f, "linear"):
            model = bp.Sequential([bp.Input((4,)), bp.layers.Activation(ending)], dtype="float64")
            model.compile(optimizer="sgd", loss=name)
            found[ending] = model.gradients(z, y, wrt_inputs=True)
            per_row = 5 if name == "cross_entropy" else 5 * 4
            np.testing.assert_allclose(found[ending].inputs * per_row, p - t, rtol=0, atol=4e-16)
        assert found[f].loss == pytest.approx(found["linear"].loss, rel=1e-14)


@pytest.mark.parametrize("size", [1e4, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits_stay_finite(size, dtype):
    z = np.array([[size, 0, -size], [-size, -size, -size], [size, size, 0]])
    for name, y in (("cross_entropy", np.array([2, 0, 1])), ("binary_cross_entropy", np.eye(3))):
        model = bp.Sequential([bp.Input((3,)), bp.layers.Activation("linear")], dtype=dtype)
        model.compile(optimizer="sgd", loss=name)
        found = model.gradients(z, y, wrt_inputs=True)
        assert np.isfinite(found.loss) and np.isfinite(found.inputs).all()


def test_graph_with_sharing(torch_numbers):
    """A layer used twice, a skip, two inputs, two outputs: PyTorch's numbers to 1e-12."""
    g, _, _, xs = graph_fixture()
    L = bp.layers
    a, b = bp.Input((4,)), bp.Input((4,))
    shared, mix, head = L.Dense(4, activation="tanh"), L.Dense(3), L.Dense(2)
    h = shared(a)
    skip = shared(h) + h
    gate = L.Activation("sigmoid")(b) * skip
    first = mix(L.Concatenate()([gate, h - b]))
    wave = L.Maximum()([skip, b]) / (L.Activation("exponential")(h * 0.5) + 1)
    second = head(L.Activation("silu")(wave))
    model = bp.Model([a, b], [first, second], dtype="float64")
    for layer, name in ((shared, "shared"), (mix, "mix"), (head, "head")):
        layer.weights[0].value = g["weights"][name]
        layer.weights[1].value = g["weights"][name + "_b"]
    model.compile(loss=["cross_entropy", "mse"], loss_weights=g["loss_weights"])
    y = [np.array(g["labels"]), np.array(g["y"])]
    found = model.gradients(xs, y, wrt_inputs=True)
    assert found.loss == pytest.approx(g["loss"], rel=1e-13)
    for k, outputs in enumerate(model.predict(xs)):
        np.testing.assert_allclose(outputs, g[("first", "second")[k]], rtol=1e-12, atol=1e-14)
    for layer, name in ((shared, "shared"), (mix, "mix"), (head, "head")):
        for parameter, key in zip(layer.weights, (name, name + "_b"), strict=True):
            np.testing.assert_allclose(found.parameters[parameter.name], g["gradients"][key],
                                       rtol=1e-12, atol=1e-14)  # fmt: skip
    np.testing.assert_allclose(found.inputs[0], g["da"], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.inputs[1], g["db"], rtol=1e-12, atol=1e-14)


def test_no_weight_changes_before_every_delta_is_known():
    """Updating the output layer before the hidden delta is taken gives other numbers than ours."""
    rng = np.random.default_rng(8)
    w1, w2 = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
    x, t, rate = rng.normal(size=(5, 3)), rng.normal(size=(5, 2)), 0.1
    h = np.tanh(x @ w1)
    delta = (h @ w2 - t) / 5
    new_w2 = w2 - rate * h.T @ delta
    right = w1 - rate * x.T @ ((delta @ w2.T) * (1 - h * h))
    early = w1 - rate * x.T @ ((delta @ new_w2.T) * (1 - h * h))
    layers = [bp.layers.Dense(4, "tanh", use_bias=False), bp.layers.Dense(2, use_bias=False)]
    model = bp.Sequential(layers, dtype="float64")
    model.build((3,))
    model.set_weights([w1, w2])
    model.compile(optimizer=bp.optimizers.SGD(rate), loss="half_squared_error")
    model.train_on_batch(x, t)
    found = model.get_weights()
    np.testing.assert_allclose(found[1], new_w2, rtol=1e-14)
    np.testing.assert_allclose(found[0], right, rtol=1e-13)
    assert np.abs(found[0] - early).max() > 1e-4


def test_gradients_accumulate_over_the_whole_batch():
    """One update with the batch's mean gradient, not one per sample."""
    rng = np.random.default_rng(9)
    w, x, t = rng.normal(size=(3, 2)), rng.normal(size=(200, 3)), rng.normal(size=(200, 2))
    model = bp.Sequential([bp.layers.Dense(2, use_bias=False)], dtype="float64")
    model.build((3,))
    model.set_weights([w])
    model.compile(optimizer=bp.optimizers.SGD(0.5), loss="half_squared_error")
    model.train_on_batch(x, t)
    mean = x.T @ (x @ w - t) / 200
    np.testing.assert_allclose(model.get_weights()[0], w - 0.5 * mean, rtol=1e-13)
    online = w.copy()
    for row, y in zip(x, t, strict=True):
        online -= 0.5 / 200 * np.outer(row, row @ online - y)
    assert np.abs(model.get_weights()[0] - online).max() > 1e-3


def test_binary_cross_entropy_of_three_samples(golden):
    """The file gives outputs and the summed loss; targets 1, 0, 1 are the only ones that fit."""
    g = golden["G6_bce_two_layer"]
    p, t = np.array(g["y_hat"])[:, None], np.array([[1.0], [0], [1]])
    model = bp.Sequential([bp.Input((1,)), bp.layers.Activation("sigmoid")], dtype="float64")
    model.compile(optimizer="sgd", loss="binary_cross_entropy")
    found = model.gradients(np.log(p / (1 - p)), t, wrt_inputs=True)
    assert 3 * found.loss == pytest.approx(g["loss_sum"], rel=1e-14)
    np.testing.assert_allclose(3 * found.inputs, p - t, rtol=1e-13)
