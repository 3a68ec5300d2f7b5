"""Alternating minimisation against a step of it in PyTorch, and what its parts are meant to do."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers.credit import data, net, of_rule, same, weights

torch = pytest.importorskip("torch")
F = torch.nn.functional
L, AM = bp.layers, bp.credit.AlternatingMinimization


class Twin:
    """One step as the source describes it, with autograd for every gradient.

    blocks: (kernel, bias or None, gamma and beta or None) each; `pull`: the loss of the output.
    """

    def __init__(self, model, normalized, activation, loss):
        self.p = {p.name: torch.tensor(p.value, requires_grad=True)
                  for p in model.weights if "moving" not in p.name}  # fmt: skip
        self.names = [n.rpartition("/")[0] for n in self.p if n.endswith("kernel")]
        self.normalized, self.activation, self.loss = normalized, activation, loss

    def linear(self, k, a):
        name = self.names[k]
        z = a @ self.p[f"{name}/kernel"]
        if f"{name}/bias" in self.p:
            z = z + self.p[f"{name}/bias"]
        if self.normalized and k < len(self.names) - 1:
            own = f"batch_normalization{'' if k == 0 else f'_{k}'}"
            z = F.batch_norm(z, None, None, self.p[f"{own}/gamma"], self.p[f"{own}/beta"],
                             training=True, eps=1e-3)  # fmt: skip
        return z

    def codes(self, x, y, steps, rate, mu):
        """Codes before and after, and the last one's objective before and after."""
        count = len(self.names) - 1
        with torch.no_grad():
            before, a = [], x
            for k in range(count):
                before.append(self.linear(k, a))
                a = self.activation(before[-1])
        codes, told = list(before), []
        for k in reversed(range(count)):
            c = before[k].clone().requires_grad_(True)
            step = torch.optim.SGD([c], lr=rate, momentum=0.9, nesterov=True)

            def objective(k=k, c=c):
                out = self.linear(k + 1, self.activation(c))
                near = F.mse_loss(c, before[k])
                if k == count - 1:
                    return self.loss(out, y) / mu + near
                return F.mse_loss(out, codes[k + 1]) + near

            told.append(float(objective().detach()))
            for _ in range(steps):
                step.zero_grad()
                value = objective()
                (c.grad,) = torch.autograd.grad(value, [c])
                step.step()
            told.append(float(objective().detach()))
            codes[k] = c.detach()
        return before, codes, told

    def gradients(self, x, y, **told):
        _, codes, _ = self.codes(x, y, **told)
        total, a = 0.0, x
        for k, code in enumerate(codes):
            total = total + F.mse_loss(self.linear(k, a), code)
            a = self.activation(code)
        total = total + self.loss(self.linear(len(codes), a), y)
        total.backward()
        return {name: p.grad.numpy() for name, p in self.p.items()}


CASES = {
    "cross entropy": ("relu", torch.relu, "cross_entropy", F.cross_entropy, False),
    "normalized": ("relu", torch.relu, "cross_entropy", F.cross_entropy, True),
    "tanh and mse": ("tanh", torch.tanh, "mse", F.mse_loss, False),
    "bits": ("sigmoid", torch.sigmoid, "binary_cross_entropy",
             F.binary_cross_entropy_with_logits, False),
}  # fmt: skip


def case(name, rule, **told):
    function, activation, loss, of_torch, normalized = CASES[name]
    layers = []
    for units in (7, 6, 8):
        layers.append(L.Dense(units, use_bias=not normalized))
        layers += [L.BatchNormalization()] if normalized else []
        layers.append(L.Activation(function))
    model = net(rule, layers=[*layers, L.Dense(4)], loss=loss, **told)
    x, y = data(24)
    t = y if loss == "cross_entropy" else np.eye(4)[y]
    twin = Twin(model, normalized, activation, of_torch)
    return model, twin, x, t, (torch.tensor(x), torch.tensor(t))


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("name", CASES)
def test_a_step_is_that_of_the_source(name, steps):
    told = {"rate": 0.2, "mu": 0.05, "steps": steps}
    model, twin, x, t, tensors = case(name, AM(steps, told["rate"], told["mu"]))
    found, expected = of_rule(model, x, t), twin.gradients(*tensors, **told)
    assert set(found) == set(expected)
    for key, g in expected.items():
        np.testing.assert_allclose(
            found[key], g, rtol=0, atol=1e-10 * max(np.abs(g).max(), 1e-3), err_msg=key
        )


def test_codes_lower_their_objectives():
    """By the settings of the source, of a batch of 200 rows as there; from any start."""
    for seed in range(3):
        model, twin, *_ = case("cross entropy", AM(), seed=seed)
        x, y = data(200, seed)
        _, _, told = twin.codes(torch.tensor(x), torch.tensor(y), 5, 0.3, 0.003)
        before, after = told[::2], told[1::2]
        assert all(b < a for a, b in zip(before, after, strict=True))
        assert of_rule(model, x, y)["dense/kernel"].any()


def test_small_steps_point_where_backpropagation_does():
    x, y = data(24)
    angles = []
    for rate in (1.0, 1e-2, 1e-4):
        model = net(AM(1, rate, 0.1), layers=[L.Dense(7, "tanh"), L.Dense(4)])
        angles.append(max(model.alignment(x, y).values()))
    assert angles[2] < 0.1 and angles[2] <= angles[1] <= angles[0]


def test_hidden_updates_are_local():
    """With nothing but its own inputs and code a block learns: whatever is above, the gradient of
    the first layer depends on it through codes alone, which a rate of all but 0 leaves alone."""
    x, y = data(24)
    model = net(AM(1, 1e-30, 1.0), layers=[L.Dense(7, "tanh"), L.Dense(6, "tanh"), L.Dense(4)])
    found = of_rule(model, x, y)
    assert all(np.abs(found[f"{n}/kernel"]).max() < 1e-20 for n in ("dense", "dense_1"))
    expected = model.gradients(x, y).parameters
    for name in ("dense_2/kernel", "dense_2/bias"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-15)


def test_running_statistics_move_once_a_step_by_the_forward_pass():
    x, y = data(24)
    layers = lambda: [L.Dense(7), L.BatchNormalization(), L.Activation("relu"), L.Dense(6),  # noqa: E731
                      L.BatchNormalization(), L.Activation("relu"), L.Dense(4)]  # fmt: skip
    plain, rule = net(layers=layers()), net(AM(), layers=layers())
    for model in (plain, rule):
        model.train_on_batch(x, y)
    for p, q in zip(plain.weights, rule.weights, strict=True):
        if "moving" in p.name:
            assert np.array_equal(p.value, q.value), p.name


def test_the_loss_reported_is_that_of_the_forward_pass():
    x, y = data(24)
    model = net(AM(), layers=[L.Dense(7, "tanh"), L.Dense(4)])
    expected = model.evaluate(x, y)
    found = model.train_on_batch(x, y)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-12)
    assert found["accuracy"] == expected["accuracy"]


def test_signs_and_frozen_layers():
    """Binary units, whose derivative is straight through; a frozen layer stays where it is."""
    x, y = data(40)
    model = net(AM(), layers=[L.Dense(16, "sign"), L.Dense(8, "tanh", trainable=False), L.Dense(4)],
                optimizer="adam")  # fmt: skip
    before = weights(model)
    model.fit(x, y, batch_size=20, epochs=2, verbose=0)
    moved = [not np.array_equal(a, b) for a, b in zip(before, weights(model), strict=True)]
    assert moved == [True, True, False, False, True, True]


def test_another_loss_is_followed_after_another_compile():
    x, y = data(24)
    t, rule = np.eye(4)[y], AM(1, 1e-9, 1.0)  # codes stay where they are
    model = net(rule, layers=[L.Dense(7, "tanh"), L.Dense(4)], loss="mse")
    a = of_rule(model, x, t)
    model.compile("sgd", "half_squared_error", credit=rule)
    b = of_rule(model, x, t)
    np.testing.assert_allclose(b["dense_1/bias"], 2 * a["dense_1/bias"], rtol=1e-6)
    assert not same(list(a.values()), list(b.values()))


BAD = {
    "steps": (lambda: AM(code_steps=0), "code_steps must be"),
    "rate": (lambda: AM(code_rate=0.0), "code_rate must be"),
    "mu": (lambda: AM(mu=-1.0), "mu must be"),
    "loss": (lambda: net(AM(), loss="kl_divergence"), "has no meaning for the loss 'kl_div"),
    "end": (
        lambda: net(AM(), layers=[L.Dense(5), L.Dense(4, "tanh")], loss="mse"),
        "which ends in 'tanh'",
    ),
    "smoothing": (
        lambda: net(AM(), loss=bp.losses.CrossEntropy(label_smoothing=0.1)),
        "follows the plain loss 'cross_entropy'",
    ),
    "own loss": (lambda: net(AM(), loss=bp.losses.Loss()), "lacks value"),
    "dropout": (
        lambda: net(AM(), layers=[L.Dense(5), L.Dropout(0.5), L.Dense(4)]),
        "AlternatingMinimization cannot carry .*: it draws random numbers",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    make, words = BAD[name]
    with pytest.raises((ValueError, TypeError), match=words):
        make()
