"""Rules of credit assignment in place of backpropagation: what a rule may do, and feedback."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core
from bpcore.credit import Rule

from .helpers.credit import RULES, Poison, data, forward, net, of_rule, same, weights

L = bp.layers


# ---- the mechanism -------------------------------------------------------------------------------


class Sum(Rule):
    """Backpropagation of the loss and of the mean of the first layer's squares; targets are
    multiplied into the outputs of a node that nothing reads."""

    def wire(self, net):
        net.whole()
        hidden = next(i for i, node in enumerate(net.low.nodes) if node[4] == "dense")
        shape = net.low.shapes[hidden]
        square = net.low.add("function", (hidden,), shape, "square", function="square")
        net.minimise(square, 0.25)
        self.one = net.target((4,))
        product = net.low.add("multiply", (net.outputs[0], self.one), (4,), "chosen")
        net.minimise(product, -0.5)


@pytest.mark.parametrize("labels", [True, False])
def test_objectives_and_targets(labels):
    """dL/dw of: loss + 1/4 mean of sum z1^2 - 1/2 mean of sum t p, by hand."""
    x, y = data()
    t = np.eye(4)[y] if labels else np.random.default_rng(3).dirichlet(np.ones(4), len(x))
    model = net(Sum(), layers=[L.Dense(3), L.Dense(4, "softmax")])
    w1, b1, w2, b2 = model.get_weights()
    found = of_rule(model, x, y if labels else t)
    z1 = x @ w1 + b1
    z2 = z1 @ w2 + b2
    p = np.exp(z2 - z2.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    n = len(x)
    dp = -0.5 * t / n
    dz2 = (p - t) / n + p * (dp - (dp * p).sum(1, keepdims=True))
    dz1 = dz2 @ w2.T + 0.25 * 2 * z1 / n
    for name, expected in (("dense_1/kernel", z1.T @ dz2), ("dense_1/bias", dz2.sum(0)),
                           ("dense/kernel", x.T @ dz1), ("dense/bias", dz1.sum(0))):  # fmt: skip
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, atol=1e-15)


class Stopped(Rule):
    """No gradient below the last layer."""

    def wire(self, net):
        *below, last = net.blocks()
        x = net.inputs[0]
        for block in below:
            x = net.run(block, x)
        net.outputs = [net.run(last, net.stop(x))]


def test_nothing_goes_through_a_stop():
    x, y = data()
    model, plain = net(Stopped()), net()
    found, expected = of_rule(model, x, y), plain.gradients(x, y).parameters
    for name, g in found.items():
        assert np.array_equal(g, expected[name]) if "dense_2" in name else not g.any(), name
    text = model._built().trainer("credit", model._need_compilation()).describe()
    assert text.count("no gradient") == 3  # two layers and the stop


def test_own_rates():
    model = net("backprop")
    groups = model._need_compilation().groups
    assert groups.core(["a", "b"], 0.25, [1.0, 1.0]) == {}
    found = groups.core(["a", "b"], 0.25, [1.0, 0.5])
    assert found == {"groups": [(1.0, 0.25), (0.5, 0.25)], "group_of": [0, 1]}


def test_a_stop_ends_what_is_behind_it():
    """A layer that feeds a stop alone has no way to the loss, and so no backward of its own."""
    inner = bp.Input((5,))
    hidden = L.Dense(3, "tanh")(inner)
    model = bp.Model(inner, L.Dense(4)(bp.ops.stop_gradient(hidden)), seed=0)
    model.compile("sgd", "cross_entropy")
    x, y = data()
    g = model.gradients(x, y).parameters
    assert not g["dense/kernel"].any() and g["dense_1/kernel"].any()
    text = model._built().trainer("train", model._need_compilation()).describe()
    assert text.count("no gradient") == 2


# ---- feedback alignment --------------------------------------------------------------------------


def test_feedback_alignment_is_its_formula():
    x, y = data()
    model = net(bp.credit.FeedbackAlignment())
    b2, b3 = (w.value for w in model.credit_weights)
    h, slopes, p = forward(model, x)
    delta = (p - np.eye(4)[y]) / len(x)
    expected = {}
    for k in (2, 1, 0):
        name = "dense" if k == 0 else f"dense_{k}"
        expected[f"{name}/kernel"], expected[f"{name}/bias"] = h[k].T @ delta, delta.sum(0)
        if k:
            delta = (delta @ (b3 if k == 2 else b2).T) * slopes[k - 1]
    found = of_rule(model, x, y)
    assert found.keys() == expected.keys()
    for name, g in expected.items():
        np.testing.assert_allclose(found[name], g, rtol=1e-12, atol=1e-15)


def test_the_transposed_weights_as_feedback_give_backpropagation_bit_for_bit():
    x, y = data()
    model = net(bp.credit.FeedbackAlignment(), dtype="float32")
    kernels = {p.name: p for p in model.weights}
    for b in model.credit_weights:
        b.value = kernels[b.local_name.replace(".", "/")].value
    expected = net(dtype="float32").gradients(x, y).parameters
    found = of_rule(model, x, y)
    assert all(np.array_equal(found[name], g) for name, g in expected.items())


@pytest.mark.parametrize("rule", ["fa", "dfa"])
def test_poison_in_the_transposed_weights_changes_nothing(rule):
    x, y = data()
    found = []
    for poisoned in (False, True):
        loss = Poison()
        model = net(RULES[rule](), loss=loss)
        loss.model = model if poisoned else None
        found.append(of_rule(model, x, y))
        assert poisoned == bool(np.isnan(model.weights[0].value).all())
    for name, g in found[0].items():
        assert np.array_equal(g, found[1][name]) and g.any(), name


def test_backpropagation_does_read_them():
    """So that the test above can fail."""
    x, y = data()
    loss = Poison()
    loss.model = model = net(loss=loss)
    with pytest.raises(bp.TrainingDiverged):
        model.gradients(x, y)


def test_any_graph_and_shared_layers():
    x, y = data()
    inner = bp.Input((5,))
    shared = L.Dense(5, "tanh")
    joined = L.Concatenate()([shared(shared(inner)), L.Dense(3, "relu")(inner)])
    model = bp.Model(inner, L.Dense(4, "softmax")(joined), seed=0)
    model.compile("sgd", "cross_entropy", credit=bp.credit.FeedbackAlignment())
    assert [w.local_name for w in model.credit_weights] == ["dense.kernel", "dense_2.kernel"]
    by_name = {p.name: p for p in model.weights}
    for b in model.credit_weights:
        b.value = by_name[b.local_name.replace(".", "/")].value
    expected = model.gradients(x, y).parameters
    assert all(np.array_equal(g, expected[n]) for n, g in of_rule(model, x, y).items())


@pytest.mark.parametrize("make", [
    lambda: [L.Reshape((5, 1)), L.Conv1D(3, 2, activation="relu"), L.Conv1D(2, 2), L.Flatten()],
    lambda: [L.Dense(6), L.BatchNormalization(), L.Activation("relu"), L.Dropout(0.2)],
    lambda: [L.MaskedDense(6, np.triu(np.ones((n, 6)))) for n in (5, 6)],
])  # fmt: skip
def test_layers_that_feedback_carries(make):
    """With the weights themselves as feedback it is backpropagation; with others it is not."""
    x, y = data()
    layers = [*make(), L.Dense(4, "softmax")]
    model = net(bp.credit.FeedbackAlignment(), layers=layers)
    by_name = {p.name: p for p in model.weights}
    expected = model.gradients(x, y).parameters
    first = next(iter(expected))
    assert not np.allclose(of_rule(model, x, y)[first], expected[first])
    for b in model.credit_weights:
        b.value = by_name[b.local_name.replace(".", "/")].value
    found = of_rule(model, x, y)
    for name, g in expected.items():
        assert np.array_equal(found[name], g), name


def test_sparse_feedback():
    model = net(bp.credit.FeedbackAlignment(scale=2.0, density=0.25),
                layers=[L.Dense(300), L.Dense(200), L.Dense(4)])  # fmt: skip
    b = model.credit_weights[0].value
    assert abs((b != 0).mean() - 0.25) < 0.01
    assert abs(b.std() - 2 / np.sqrt(200)) < 0.02 * b.std()


# ---- configuration, alignment --------------------------------------------------------------------


def test_files_without_a_rule_are_as_they_were(tmp_path):
    model = net()
    assert "credit" not in model.get_config()["compile"]
    assert model.credit_weights == []


def test_config():
    rule = bp.credit.FeedbackAlignment(scale=0.5)
    assert rule.get_config() == {"scale": 0.5}
    assert repr(rule) == "FeedbackAlignment(scale=0.5)"
    assert isinstance(net("feedback_alignment")._need_compilation().credit, type(rule))
    assert net(bp.credit.FeedbackAlignment)._need_compilation().credit is not None
    config = net(rule).get_config()["compile"]["credit"]
    assert config == {"class_name": "FeedbackAlignment", "config": {"scale": 0.5}}


def test_alignment():
    x, y = data()
    model = net(bp.credit.FeedbackAlignment())
    before = weights(model)
    angles = model.alignment(x, y)
    exact, found = model.gradients(x, y).parameters, of_rule(model, x, y)
    for k, name in enumerate(("dense", "dense_1", "dense_2")):
        a, b = (np.concatenate([g[f"{name}/{w}"].ravel() for w in ("kernel", "bias")])
                for g in (exact, found))  # fmt: skip
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert abs(angles[name] - np.degrees(np.arccos(min(cosine, 1)))) < 1e-5, k
    assert angles["dense_2"] == 0 and same(weights(model), before)
    assert set(net().alignment(x, y).values()) == {0.0}  # backpropagation with itself


# ---- bad input -----------------------------------------------------------------------------------


class Own(L.Layer):
    def build(self, input_shape):
        self.w = self.add_weight("w", (input_shape[-1],), "ones")

    def forward(self, x, training=False):
        self.x = x
        return x * self.w.value

    def backward(self, dy):
        self.w.grad += (dy * self.x).sum(0)
        return dy * self.w.value


def tied():
    encoder = L.Dense(3)
    return [encoder, L.TiedDense(encoder), L.Dense(4)]


@pytest.mark.parametrize("layers, what", [
    (lambda: [Own(), L.Dense(4)], "cannot carry Own 'own'"),
    (lambda: [L.Reshape((5, 1)), L.LSTM(2), L.Dense(4)], "cannot carry LSTM 'lstm'"),
    (tied, "cannot carry TiedDense 'tied_dense'"),
    (lambda: [L.Reshape((5, 1)), L.Bidirectional(L.LSTM(2)), L.Dense(4)],
     "cannot carry Bidirectional 'bidirectional'"),
])  # fmt: skip
def test_layers_that_no_rule_carries(layers, what):
    model = net(layers=layers())
    before = model._need_compilation()
    rule = bp.credit.FeedbackAlignment()
    with pytest.raises(ValueError, match=what):
        model.compile("sgd", "cross_entropy", credit=rule)
    assert model._need_compilation() is before and rule.weights == []
    net(rule)  # it is still free


@pytest.mark.parametrize("credit, error, what", [
    ("dfaa", ValueError, "dfaa"),
    (3, TypeError, "credit must be 'backprop' or a rule of bpcore.credit, got"),
    ({"class_name": "Strange", "config": {}}, ValueError, "Strange"),
])  # fmt: skip
def test_what_is_no_rule(credit, error, what):
    with pytest.raises(error, match=what):
        net(credit)


def test_arguments():
    for wrong in ({"scale": 0}, {"density": 0}, {"density": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            bp.credit.FeedbackAlignment(**wrong)
    with pytest.raises(TypeError, match="scale"):
        bp.credit.FeedbackAlignment(scal=1)


def test_one_rule_for_each_model():
    rule = bp.credit.FeedbackAlignment()
    model = net(rule)
    with pytest.raises(ValueError, match="in use by model 'sequential'"):
        net(rule)
    model.compile("sgd", "cross_entropy", credit=rule)  # the same one again: its weights stay


def test_what_goes_with_no_rule():
    with pytest.raises(ValueError, match="got no loss"):
        bp.Sequential([L.Dense(1)]).compile("sgd", credit=bp.credit.FeedbackAlignment())
    with pytest.raises(ValueError, match="LevenbergMarquardt"):
        net(bp.credit.FeedbackAlignment(), optimizer=bp.optimizers.LevenbergMarquardt(), loss="mse")


def test_the_core_checks_sizes():
    w, b = np.ones((2, 3)), np.ones((3, 2))
    told = "float64", [("input", (), (), {"shape": (2,)}, "x"), ("dense", (0,), (0,), {}, "d")]
    with pytest.raises(ValueError, match="another shape"):
        _core.Network(*told, [1], [w, b], ["w", "b"], [True, False], backs=[1, -1])


def test_sign_symmetric_feedback():
    """After each update the feedback has the weights' signs, and the sizes that it had."""
    x, y = data(40)
    model = net(bp.credit.FeedbackAlignment(sign_symmetric=True), dtype="float32",
                optimizer=bp.optimizers.Adam(0.5))  # fmt: skip
    sizes = [np.abs(b.value) for b in model.credit_weights]
    kernels = [p for p in model.weights if p.local_name == "kernel"][1:]
    flipped = 0
    for _ in range(6):
        of_rule(model, x, y)  # what a step begins with, whatever the weights were set to
        before = [p.value.copy() for p in kernels]
        for p, b, size in zip(kernels, model.credit_weights, sizes, strict=True):
            assert np.array_equal(b.value, np.copysign(size, p.value))
        model.fit(x, y, batch_size=10, verbose=0)
        for p, b, size, old in zip(kernels, model.credit_weights, sizes, before, strict=True):
            assert np.array_equal(b.value, np.copysign(size, p.value))
            flipped += (np.signbit(old) != np.signbit(p.value)).sum()
    assert flipped > 5
    model.weights[2].value = -model.weights[2].value
    of_rule(model, x, y)
    assert np.array_equal(np.signbit(model.credit_weights[0].value),
                          np.signbit(model.weights[2].value))  # fmt: skip
