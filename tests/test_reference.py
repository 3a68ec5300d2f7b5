"""The reference itself, against numbers computed with PyTorch in float64."""

from __future__ import annotations

import numpy as np
import pytest

from .helpers import support
from .reference import ACTIVATIONS, forward, log_softmax, loss_value, mlp, softmax

TORCH = support.load("torch")


@pytest.mark.parametrize("name", TORCH["activations"]["rows"])
def test_activation(name):
    data = TORCH["activations"]
    row = data["rows"][name]
    if name in ("softmax", "log_softmax"):
        f, z, v = {"softmax": softmax, "log_softmax": log_softmax}[name], data["z_rows"], None
        z, dy = np.array(z), np.array(data["dy_rows"])
        gradient = np.empty_like(z)
        for j in range(z.shape[1]):
            v = np.zeros_like(z)
            v[:, j] = 1
            gradient[:, j] = (support.directional(f, [z], [v]) * dy).sum(axis=1)
    else:
        z, alpha = np.array(data["z"]), row["alpha"]
        f = lambda z: ACTIVATIONS[name.split("_0")[0].split("_1")[0]](z, alpha)  # noqa: E731
        gradient = support.directional(f, [z], [np.ones_like(z)])
    np.testing.assert_allclose(f(z), row["value"], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(gradient, row["gradient"], rtol=2e-12, atol=4e-15)


@pytest.mark.parametrize("row", TORCH["losses"], ids=lambda r: f"{r['name']}-{r['arguments']}")
def test_loss(row):
    p, t = np.array(row["prediction"]), np.array(row["target"])
    option = next(iter(row["arguments"].values()), None)
    f = lambda q: loss_value(row["name"], q, t, option, logits=row["logits"])  # noqa: E731
    assert f(p) == pytest.approx(row["value"], rel=1e-13)
    support.assert_gradient(f, [p], [np.array(row["gradient"])], np.random.default_rng(0), 1e-14)


def test_graph():
    g, nodes, params, xs = support.graph_fixture()
    values = forward(nodes, params, xs)
    np.testing.assert_allclose(values[11], g["first"], rtol=1e-13)
    np.testing.assert_allclose(values[20], g["second"], rtol=1e-13, atol=1e-15)
    keys = ("shared", "shared_b", "mix", "mix_b", "head", "head_b")
    gradients = [np.array(g["gradients"][k]) for k in keys] + [np.array(g["da"]), np.array(g["db"])]

    def loss(*arrays):
        v = forward(nodes, arrays[:6], arrays[6:])
        return loss_value("cross_entropy", v[11], np.array(g["labels"]), logits=True) + (
            0.3 * loss_value("mean_squared_error", v[20], np.array(g["y"]))
        )

    assert loss(*params, *xs) == pytest.approx(g["loss"], rel=1e-14)
    support.assert_gradient(loss, params + xs, gradients, np.random.default_rng(1), 1e-14)


def test_mlp_trainer_learns_what_the_equations_say():
    """The benchmark's baseline: its gradients by complex step, and two optimizers by torch."""
    rng = np.random.default_rng(5)
    net = mlp.MLP.random((4, 6, 5, 3), "tanh", mlp.SGD(0.1), dtype=np.float64)
    x, labels = rng.normal(size=(7, 4)), rng.integers(0, 3, 7)
    _, dkernels, dbiases = net.gradients(x, labels)
    kernels, biases = [k.copy() for k in net.kernels], [b.copy() for b in net.biases]

    def loss(*arrays):
        h = x
        for i in range(3):
            h = h @ arrays[i] + arrays[3 + i]
            h = np.tanh(h) if i < 2 else h
        return loss_value("cross_entropy", h, labels, logits=True)

    support.assert_gradient(loss, kernels + biases, dkernels + dbiases, rng, 1e-14)
    assert net.fit(x, labels, 3, 5)[-1] < loss(*kernels, *biases)


def test_checker_rejects_a_wrong_gradient():
    a = np.array([0.3, -0.2])
    f = lambda x: np.sum(x**2)  # noqa: E731
    support.assert_gradient(f, [a], [2 * a], np.random.default_rng(0))
    with pytest.raises(AssertionError, match="derivative"):
        support.assert_gradient(f, [a], [2.000001 * a], np.random.default_rng(0))
