"""Direct feedback, synthetic gradients and target propagation against their formulas."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers.credit import Poison, data, forward, net, of_rule, same, weights

L, C = bp.layers, bp.credit


def close(found, expected, tolerance=1e-12):
    assert found.keys() >= expected.keys()
    for name, g in expected.items():
        np.testing.assert_allclose(found[name], g, rtol=tolerance, atol=1e-15, err_msg=name)


# ---- direct feedback alignment -------------------------------------------------------------------


def test_direct_feedback_is_its_formula():
    x, y = data()
    model = net(C.DirectFeedbackAlignment())
    b1, b2 = (w.value for w in model.credit_weights)
    h, slopes, p = forward(model, x)
    e = (p - np.eye(4)[y]) / len(x)
    deltas = {"dense": (e @ b1.T) * slopes[0], "dense_1": (e @ b2.T) * slopes[1], "dense_2": e}
    expected = {f"{name}/kernel": h[k].T @ d for k, (name, d) in enumerate(deltas.items())}
    close(of_rule(model, x, y), expected | {f"{n}/bias": d.sum(0) for n, d in deltas.items()})


@pytest.mark.parametrize("loss, last", [("cross_entropy", "softmax"), ("mse", "tanh")])
def test_of_one_hidden_layer_the_transposed_weights_give_backpropagation(loss, last):
    """Bit for bit; e is the delta of the last matrix, whatever is behind it."""
    x, y = data()
    layers = [L.Dense(6, "relu"), L.Dense(4, last)]
    model = net(C.DirectFeedbackAlignment(), layers=layers, dtype="float32", loss=loss)
    model.credit_weights[0].value = model.weights[2].value
    t = y if loss == "cross_entropy" else np.eye(4)[y]
    expected = model.gradients(x, t).parameters
    found = of_rule(model, x, t)
    assert all(np.array_equal(found[name], g) for name, g in expected.items())


def test_nothing_but_feedback_goes_down():
    """Of an error of 0 at the outputs nothing is left; and the layers between do not matter."""
    x, y = data()
    model = net(C.DirectFeedbackAlignment())
    before = of_rule(model, x, y)["dense_1/kernel"]
    e0 = forward(model, x)[2]
    found = of_rule(net(C.DirectFeedbackAlignment(), loss="kl_divergence"), x, e0)
    assert all(np.abs(g).max() < 1e-15 for g in found.values())
    text = model._built().trainer("credit", model._need_compilation()).describe()
    lines = [line for line in text.splitlines() if "updated after" in line]
    assert [line.partition("backward of ")[2] for line in lines] == [
        "credit, the loss", "credit, the loss", "credit, the loss",
    ]  # fmt: skip
    assert before.any()


# ---- synthetic gradients -------------------------------------------------------------------------


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("hidden", [(), (5,), (5, 3)])
def test_synthetic_gradients_are_their_formula(context, hidden):
    x, y = data()
    model = net(C.SyntheticGradients(context=context, hidden=hidden))
    rng = np.random.default_rng(2)
    for p in model.credit_weights:
        p.value = rng.normal(size=p.shape) * 0.3
    own = {p.local_name: p.value for p in model.credit_weights}
    h, slopes, p = forward(model, x)
    t, n, w = np.eye(4)[y], len(x), model.get_weights()

    def module(name, value):
        u, kept = (np.hstack([value, t]) if context else value), []
        for k in range(len(hidden) + 1):
            z = u @ own[f"{name}.{k}.kernel"] + own[f"{name}.{k}.bias"]
            kept.append((u, z))
            u = np.maximum(z, 0) if k < len(hidden) else z
        return z, kept

    expected = {}
    back = ((p - t) / n) @ w[4].T  # what comes back to h_2, as a part of the batch's mean
    expected["dense_2/kernel"] = h[2].T @ ((p - t) / n)
    for k, name in ((1, "dense_1"), (0, "dense")):
        guess, kept = module(name, h[k + 1])
        delta = guess / n * slopes[k]
        expected[f"{name}/kernel"], expected[f"{name}/bias"] = h[k].T @ delta, delta.sum(0)
        d = 2 * (guess - n * back) / n
        for layer in range(len(hidden), -1, -1):
            u, z = kept[layer]
            if layer < len(hidden):
                d = d * (z > 0)
            expected[f"credit/{name}.{layer}.kernel"] = u.T @ d
            expected[f"credit/{name}.{layer}.bias"] = d.sum(0)
            d = d @ own[f"{name}.{layer}.kernel"].T
        back = delta @ w[2 * k].T
    close(of_rule(model, x, y), expected)


def exact_module(model):
    """Of a linear net of two layers and half squared error: dL/dh = (h w + b - t) w^T."""
    w, b = (model.weights[k].value for k in (2, 3))
    kernel, bias = model.credit_weights
    kernel.value = np.vstack([w @ w.T, -w.T])
    bias.value = b @ w.T


def test_an_oracle_gives_the_trajectory_of_backpropagation():
    x, _ = data()
    t = np.random.default_rng(5).normal(size=(len(x), 4))
    layers = lambda: [L.Dense(6, "tanh"), L.Dense(4)]  # noqa: E731
    told = {"loss": "half_squared_error"}
    model = net(C.SyntheticGradients(), layers=layers(), **told)
    plain = net(layers=layers(), **told)
    for _ in range(20):
        exact_module(model)
        assert max(model.alignment(x, t).values()) < 1e-5
        model.train_on_batch(x, t)
        plain.train_on_batch(x, t)
    for p, q in zip(model.weights, plain.weights, strict=True):
        np.testing.assert_allclose(p.value, q.value, rtol=1e-10, atol=1e-12)


def test_a_linear_module_of_a_linear_quadratic_problem_becomes_exact():
    """With the layers held fixed (W. Czarnecki et al., 2017)."""
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(60, 5)), rng.normal(size=(60, 2))
    layers = [L.Dense(3, trainable=False), L.Dense(2, trainable=False)]
    model = net(C.SyntheticGradients(), layers=layers, loss="half_squared_error",
                optimizer=bp.optimizers.SGD(0.05, momentum=0.9))  # fmt: skip
    model.fit(x, t, batch_size=None, epochs=1500, verbose=0)
    found = [p.value.copy() for p in model.credit_weights]
    exact_module(model)
    for a, p in zip(found, model.credit_weights, strict=True):
        np.testing.assert_allclose(a, p.value, atol=1e-6)


def test_at_the_start_only_the_last_layer_learns_of_the_loss():
    x, y = data()
    model = net(C.SyntheticGradients())
    for name, g in of_rule(model, x, y).items():
        if name.startswith(("dense/", "dense_1/", "credit/dense.")):
            assert not g.any(), name  # the next module predicts 0 as well
        else:
            assert g.any(), name


def test_no_gradient_crosses_blocks():
    """The first block and its module know of the second one, and of nothing behind it."""
    x, y = data()
    found = []
    for change in (0.0, 1.0):
        model = net(C.SyntheticGradients())
        rng = np.random.default_rng(2)
        for p in model.credit_weights:
            p.value = rng.normal(size=p.shape)
        model.weights[4].value = model.weights[4].value + change
        found.append(of_rule(model, x, y))
    for name in found[0]:
        equal = np.array_equal(found[0][name], found[1][name])
        assert equal == name.startswith(("dense/", "dense_1/", "credit/dense.")), name


def test_the_plan_says_what_is_unlocked():
    model = net(C.SyntheticGradients())
    text = model._built().trainer("credit", model._need_compilation()).describe()
    after = {
        line.split()[0]: line.partition("backward of ")[2]
        for line in text.splitlines() if "updated after" in line
    }  # fmt: skip
    assert after["dense"] == after["dense_1"] == "nothing behind it"
    assert after["dense_2"] == "the loss"
    assert after["credit.dense.0"] == "dense, dense_1"  # the boundary, and the block behind it
    plain = net()
    text = plain._built().trainer("train", plain._need_compilation()).describe()
    assert "dense (7,): by blocks of samples; updated after backward of dense_1, dense_2" in text


def test_synthetic_gradients_refuse():
    layers = lambda: [L.Dense(3), L.Dense(4)]  # noqa: E731
    for loss in (Poison(), bp.losses.GaussianNLL()):
        with pytest.raises(ValueError, match="give context=False"):
            model = net(layers=layers(), loss="mse")
            model.compile("sgd", loss, credit=C.SyntheticGradients())
    for wrong, error in (("64", TypeError), (3, TypeError), ((0,), ValueError)):
        with pytest.raises(error, match="hidden"):
            C.SyntheticGradients(hidden=wrong)
    with pytest.raises(ValueError, match="module_learning_rate"):
        C.SyntheticGradients(module_learning_rate=0)
    with pytest.raises(ValueError, match="above 0 at compile"):
        net(
            C.SyntheticGradients(module_learning_rate=1.0),
            optimizer=bp.optimizers.SGD(lambda step: 0.1 * step),
        )


def test_a_rate_of_its_own(tmp_path):
    """The module's steps are those of its rate; files keep the proportion."""
    x, y = data()
    steps = []
    for own in (None, 0.1, 0.4):
        model = net(
            C.SyntheticGradients(module_learning_rate=own), optimizer=bp.optimizers.SGD(0.1)
        )
        model.train_on_batch(x, y)
        steps.append([p.value.copy() for p in model.credit_weights])
    assert same(steps[0], steps[1])
    for a, b in zip(steps[1], steps[2], strict=True):
        np.testing.assert_allclose(4 * a, b, rtol=1e-12)
    model.optimizer.learning_rate = 0.03
    model.save(tmp_path / "m")
    loaded = bp.load_model(tmp_path / "m")
    for one in (model, loaded):
        one.train_on_batch(x, y)
    assert same(weights(model), weights(loaded))


# ---- difference target propagation ---------------------------------------------------------------


def test_target_propagation_is_its_formula():
    """Of four hidden layers of tanh, sigmoid, none and softplus; f'(z) from f(z)."""
    x, y = data()
    functions = {
        "tanh": (np.tanh, lambda a: 1 - a**2),
        "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
        "linear": (lambda z: z, np.ones_like),
        "softplus": (lambda z: np.log1p(np.exp(z)), lambda a: 1 - np.exp(-a)),
    }
    layers = [L.Dense(7 - k, f) for k, f in enumerate(functions)]
    model = net(C.DifferenceTargetPropagation(0.2, 0.0), layers=[*layers, L.Dense(4)])
    rng = np.random.default_rng(2)
    for p in model.credit_weights:
        p.value = rng.normal(size=p.shape)
    own = {p.local_name: p.value for p in model.credit_weights}
    w, n = model.get_weights(), len(x)
    h = [x]
    for k, (f, _) in enumerate(functions.values()):
        h.append(f(h[-1] @ w[2 * k] + w[2 * k + 1]))
    z = h[-1] @ w[-2] + w[-1]
    e = np.exp(z) / np.exp(z).sum(1, keepdims=True) - np.eye(4)[y]
    target = h[-1] - 0.2 * e @ w[-2].T
    expected = {"dense_4/kernel": h[-1].T @ e / n}
    made = list(functions.values())
    for k in range(4, 0, -1):
        name = "dense" if k == 1 else f"dense_{k - 1}"
        d = 2 * (h[k] - target) / n * made[k - 1][1](h[k])
        expected[f"{name}/kernel"], expected[f"{name}/bias"] = h[k - 1].T @ d, d.sum(0)
        if k == 1:
            break
        v, c, (f, slope) = own[f"{name}.kernel"], own[f"{name}.bias"], made[k - 2]
        guess = f(h[k] @ v + c)
        target = h[k - 1] - guess + f(target @ v + c)
        d = 2 * (guess - h[k - 1]) / n * slope(guess)
        expected[f"credit/{name}.kernel"] = h[k].T @ d
        expected[f"credit/{name}.bias"] = d.sum(0)
    close(of_rule(model, x, y), expected, 1e-10)


def test_noise_of_the_inverse():
    """It is drawn anew for each batch, of the deviation that was asked for."""
    x, y = data(4000)
    layers = [L.Dense(6), L.Dense(6), L.Dense(4)]
    model = net(C.DifferenceTargetPropagation(noise=0.5), layers=layers)
    w = np.eye(6)
    model.weights[2].value, model.weights[3].value = w, np.zeros(6)
    kernel, bias = model.credit_weights
    kernel.value = 2 * np.eye(6)
    h = x @ model.weights[0].value + model.weights[1].value
    found = of_rule(model, x, y)["credit/dense_1.kernel"]  # 2 u^T u / N, u = h + noise
    noise = np.trace(found - 2 * h.T @ h / len(h)) / 12
    assert abs(noise - 0.25) < 0.02
    model.train_on_batch(x, y)
    kernel.value, model.weights[2].value, model.weights[3].value = 2 * np.eye(6), w, np.zeros(6)
    bias.value = np.zeros(6)
    assert np.abs(of_rule(model, x, y)["credit/dense_1.kernel"] - found).max() > 1e-4


def test_exact_inverses_give_the_direction_of_backpropagation():
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(30, 5)), rng.normal(size=(30, 5))
    layers = [L.Dense(5, kernel_initializer="orthogonal") for _ in range(4)]
    model = net(C.DifferenceTargetPropagation(target_rate=0.3), layers=layers, loss="mse")
    for k in range(2):
        w, b = model.weights[2 + 2 * k].value, model.weights[3 + 2 * k].value
        model.credit_weights[2 * k].value = w.T
        model.credit_weights[2 * k + 1].value = -b @ w.T
    expected = model.gradients(x, t).parameters
    found = of_rule(model, x, t)
    for name, g in expected.items():
        factor = 1 if name.startswith("dense_3") else 2 * 0.3
        np.testing.assert_allclose(found[name], factor * g, rtol=1e-9, atol=1e-13, err_msg=name)
    assert max(model.alignment(x, t).values()) < 1e-6


def test_a_value_that_is_its_own_target_passes_that_on():
    """t_l = h_l gives t_{l-1} = h_{l-1} exactly: no update of any layer."""
    x, _ = data()
    layers = [*(L.Dense(units, "tanh") for units in (9, 8, 7)), L.Dense(4)]
    model = net(C.DifferenceTargetPropagation(), loss="mse", dtype="float32", layers=layers)
    kernel = model.weights[6]
    kernel.value = np.zeros(kernel.shape)
    found = of_rule(model, x, np.random.default_rng(0).normal(size=(len(x), 4)))
    for name, g in found.items():
        assert g.any() == name.startswith(("dense_3", "credit")), name


def test_no_gradient_crosses_more_than_one_layer():
    """Backward of the forward weights reads no matrix but the output layer's."""
    x, y = data()
    model = net(C.DifferenceTargetPropagation(), layers=[L.Dense(6, "tanh"), L.Dense(6, "tanh"),
                L.Dense(6, "tanh"), L.Dense(4)])  # fmt: skip
    for p in model.credit_weights:
        p.value = np.zeros(p.shape)  # inverses that know nothing
    found = of_rule(model, x, y)
    assert not found["dense/kernel"].any() and not found["dense_1/kernel"].any()
    assert found["dense_2/kernel"].any() and found["credit/dense_1.bias"].any()


def test_discrete_units():
    """sign(h) is sent on and is what the inverse takes, h has the target."""
    x, y = data()
    layers = [L.Dense(7, "tanh"), L.Activation("sign"), L.Dense(6, "tanh"), L.Activation("sign"),
              L.Dense(4)]  # fmt: skip
    model = net(C.DifferenceTargetPropagation(target_rate=2.0, noise=0.0), layers=layers)
    rng = np.random.default_rng(2)
    for p in model.credit_weights:
        p.value = rng.normal(size=p.shape)
    v, c = (p.value for p in model.credit_weights)
    w, n, t = model.get_weights(), len(x), np.eye(4)[y]
    h1 = np.tanh(x @ w[0] + w[1])
    h2 = np.tanh(np.sign(h1) @ w[2] + w[3])
    z = np.sign(h2) @ w[4] + w[5]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    target2 = h2 - 2.0 * (p - t) @ w[4].T  # the sign's gradient is 1 where |h| <= 1
    target1 = h1 - np.tanh(np.sign(h2) @ v + c) + np.tanh(np.sign(target2) @ v + c)
    guess = np.tanh(np.sign(h2) @ v + c)
    expected = {
        "dense/kernel": x.T @ (2 * (h1 - target1) / n * (1 - h1**2)),
        "dense_1/kernel": np.sign(h1).T @ (2 * (h2 - target2) / n * (1 - h2**2)),
        "credit/dense_1.kernel": np.sign(h2).T @ (2 * (guess - h1) / n * (1 - guess**2)),
    }
    close(of_rule(model, x, y), expected)
    assert np.abs(expected["dense/kernel"]).max() > 0
    model.fit(x, y, epochs=2, verbose=0)


@pytest.mark.parametrize("layers, what", [
    (lambda: [L.Dense(6), L.Dense(6), L.BatchNormalization(), L.Dense(4)], "BatchNormalization"),
    (lambda: [L.Dense(6), L.Dense(6), L.Dropout(0.5), L.Dense(4)], "Dropout"),
    (lambda: [L.Reshape((5, 1)), L.Conv1D(3, 2), L.Flatten(), L.Dense(3), L.Dense(4)],
     None),
    (lambda: [L.Reshape((5, 1)), L.Dense(3), L.Conv1D(3, 2), L.Flatten(), L.Dense(4)],
     "Dense 'dense'"),
])  # fmt: skip
def test_blocks_that_targets_do_not_reach(layers, what):
    model = net(layers=layers())
    if what is None:
        return model.compile("sgd", "cross_entropy", credit=C.DifferenceTargetPropagation())
    with pytest.raises(ValueError, match=f"DifferenceTargetPropagation cannot carry {what}"):
        model.compile("sgd", "cross_entropy", credit=C.DifferenceTargetPropagation())


@pytest.mark.parametrize("rule", [C.DirectFeedbackAlignment, C.SyntheticGradients,
                                  C.DifferenceTargetPropagation])  # fmt: skip
def test_chains_alone(rule):
    inner = bp.Input((5,))
    a = L.Dense(3)(inner)
    branches = bp.Model(inner, L.Dense(4)(L.Concatenate()([a, L.Dense(2)(a)])))
    with pytest.raises(ValueError, match="expected one chain"):
        branches.compile("sgd", "cross_entropy", credit=rule())
    two = bp.Model([inner, b := bp.Input((2,))], L.Dense(4)(L.Concatenate()([a, b])))
    with pytest.raises(ValueError, match="one chain of layers, got a model of 2 inputs"):
        two.compile("sgd", "cross_entropy", credit=rule())


def test_the_last_matrix_is_a_dense_layers():
    layers = [L.Reshape((5, 1)), L.Conv1D(3, 2), L.Conv1D(4, 4), L.Flatten()]
    with pytest.raises(ValueError, match="cannot carry Conv1D 'conv1d_1': it ends the model"):
        net(layers=layers).compile("sgd", "cross_entropy", credit=C.DirectFeedbackAlignment())
