"""Normalised HSIC as a loss over the rows of a batch: golden numbers, gradients, bits, bad input.

Expected values are those of the published formula, in 40 digits, and of PyTorch's derivatives of
that formula (K H (K H + epsilon m I)^-1 as it stands, which the core never forms).
"""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers import checkpoint_runs
from .helpers.credit import nhsic

X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
Y = np.array([0, 0, 1, 1])


def model_of(width, loss, dtype="float64"):
    """A model whose output is its input, so that the loss's own gradient can be read."""
    model = bp.Sequential([bp.Input((width,)), bp.layers.Activation("linear")], dtype=dtype)
    model.compile("sgd", loss)
    return model


def as_published(z, t, sigma, epsilon=1e-5):
    """tr(R_z R_t) and its gradient by z, by automatic differentiation in float64."""
    torch = pytest.importorskip("torch")
    z = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    value = nhsic(z, torch.tensor(t, dtype=torch.float64), sigma, epsilon)
    value.backward()
    return float(value.detach()), z.grad.numpy()


def test_golden_numbers():
    """Both to 16 digits; the float64 of the published code is 4e-13 off either."""
    of_labels = model_of(2, bp.losses.HSIC(sigma=1.0, classes=2)).gradients(X, Y).loss
    assert of_labels == pytest.approx(0.9998475284388161597, rel=1e-12)
    assert of_labels == pytest.approx(0.9998475284391737, rel=1e-12)
    of_rows = model_of(2, bp.losses.HSIC(sigma=1.0)).gradients(X, np.eye(2)[Y]).loss
    assert of_rows == pytest.approx(of_labels, rel=1e-12)
    itself = model_of(2, bp.losses.HSIC(sigma=1.0)).gradients(X, X).loss
    assert itself == pytest.approx(2.997960406680649874, rel=1e-12)
    assert itself == pytest.approx(2.9979604066802326, rel=1e-12)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-2])
@pytest.mark.parametrize("rows", [2, 3, 17, 64, 65, 130, 200])
def test_value_and_gradient_as_pytorch(rows, epsilon, rng):
    x, y = rng.normal(size=(rows, 7)), np.arange(rows) % 5
    loss = bp.losses.HSIC(sigma=0.8, classes=5, epsilon=epsilon)
    found = model_of(7, loss).gradients(x, y, wrt_inputs=True)
    value, gradient = as_published(x, np.eye(5)[y], 0.8, epsilon)
    # The published form meets a Q = I - R of about epsilon beside a 1, twice; torch's digits of it
    # go first.
    assert found.loss == pytest.approx(value, rel=1e-11)
    assert loss.value(y, x) == pytest.approx(value, rel=1e-11)
    close = {"rtol": 0, "atol": 1e-11 / epsilon * np.abs(gradient).max() + 1e-9}
    np.testing.assert_allclose(found.inputs, gradient, **close)
    np.testing.assert_allclose(
        loss.gradient(y, x), found.inputs, rtol=0, atol=1e-10 * np.abs(gradient).max()
    )


def test_several_sigmas_and_a_scale_add_up(rng):
    x, t = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    both = model_of(3, bp.losses.HSIC(sigma=(0.5, 2.0), scale=-3.0))
    found = both.gradients(x, t, wrt_inputs=True)
    alone = [as_published(x, t, s) for s in (0.5, 2.0)]
    assert found.loss == pytest.approx(-3 * sum(v for v, _ in alone), rel=1e-9)
    expected = -3 * sum(g for _, g in alone)
    np.testing.assert_allclose(found.inputs, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_single_precision_is_close_to_double(rng):
    """cond(K + epsilon m I) is at most 1/epsilon = 1e5, so single precision keeps two digits."""
    x, y = rng.normal(size=(256, 16)), rng.integers(0, 10, 256)
    loss = bp.losses.HSIC(sigma=1.0, classes=10)
    single = model_of(16, loss, "float32").gradients(x, y, wrt_inputs=True)
    double = model_of(16, loss).gradients(x, y, wrt_inputs=True)
    assert single.loss == pytest.approx(double.loss, rel=2e-3)
    error = np.linalg.norm(single.inputs - double.inputs)
    assert error < 2e-2 * np.linalg.norm(double.inputs)


def test_far_from_zero_distances_keep_their_digits(rng):
    """|u|^2 + |v|^2 - 2 u v would lose all of them."""
    x, y = rng.normal(size=(40, 4)), rng.integers(0, 3, 40)
    loss = bp.losses.HSIC(sigma=1.0, classes=3)
    shifted = np.float32(x) + np.float32(4096)
    moved = shifted.astype(np.float64) - 4096  # what is left of x in single precision
    found = model_of(4, loss, "float32").gradients(shifted, y).loss
    assert found == pytest.approx(model_of(4, loss).gradients(moved, y).loss, rel=2e-3)


def test_order_of_rows_and_independence(rng):
    x, y = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    loss, order = bp.losses.HSIC(sigma=1.0, classes=3), rng.permutation(30)
    a = model_of(4, loss).gradients(x, y, wrt_inputs=True)
    b = model_of(4, loss).gradients(x[order], y[order], wrt_inputs=True)
    assert a.loss == pytest.approx(b.loss, rel=1e-9)
    size = np.abs(a.inputs).max()
    np.testing.assert_allclose(a.inputs[order], b.inputs, rtol=0, atol=1e-9 * size)
    # With a ridge that outweighs noise, what is independent counts ever less; what is not, does.
    wide = bp.losses.HSIC(sigma=1.0, epsilon=0.05)
    values = []
    for n in (50, 800):
        u, v = rng.normal(size=(n, 1)), rng.normal(size=(n, 1))
        model = model_of(1, wide)
        values.append(model.gradients(u, v).loss / model.gradients(u, u).loss)
    assert values[1] < 0.1 * values[0] < 0.1


def test_constant_outputs_say_nothing_and_get_no_gradient():
    found = model_of(3, bp.losses.HSIC(classes=2)).gradients(
        np.ones((8, 3)), np.arange(8) % 2, wrt_inputs=True
    )
    assert abs(found.loss) < 1e-12
    assert not found.inputs.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_threads(dtype, rng):
    x, y = rng.normal(size=(300, 20)), rng.integers(0, 4, 300)

    def train(threads):
        with bp.threads(threads, exact=True):
            model = bp.Sequential([bp.layers.Dense(33, "tanh")], dtype=dtype, seed=1)
            model.compile("adam", bp.losses.HSIC(classes=4, scale=-1.0))
            history = model.fit(x, y, batch_size=70, epochs=3, verbose=0)
        return history.history["loss"], [w.tobytes() for w in model.get_weights()]

    assert train(1) == train(2) == train(3)


def test_training_makes_outputs_tell_the_classes_apart():
    (x, y), (xt, yt) = bp.datasets.load_digits(split=True)
    model = bp.Sequential([bp.layers.Dense(32, "tanh")], seed=0)
    model.compile(bp.optimizers.Adam(3e-3), bp.losses.HSIC(sigma=2.0, classes=10, scale=-1.0))
    model.build((64,))
    before = model.evaluate(xt, yt, batch_size=120)["loss"]
    model.fit(x, y, batch_size=128, epochs=10, verbose=0)
    assert model.evaluate(xt, yt, batch_size=120)["loss"] < before - 0.5


def test_saving_and_resuming(tmp_path, monkeypatch, rng):
    x, y = rng.normal(size=(90, 5)), rng.integers(0, 3, 90)

    def run(path=None):
        model = bp.Sequential([bp.layers.Dense(6, "tanh")], seed=2)
        model.compile("adam", bp.losses.HSIC(sigma=(1.0, 3.0), classes=3, scale=-1.0))
        saving = {"checkpoint": path, "checkpoint_every": 1} if path else {}
        model.fit(x, y, batch_size=40, epochs=4, verbose=0, **saving)
        return model

    whole, path = run(), tmp_path / "run.ckpt"
    assert checkpoint_runs.stopped_after(5, monkeypatch, lambda: run(path))
    again = run(path)
    assert [w.tobytes() for w in again.get_weights()] == [w.tobytes() for w in whole.get_weights()]
    whole.save(tmp_path / "m.safetensors")
    loaded = bp.load_model(tmp_path / "m.safetensors")
    assert loaded.evaluate(x, y) == whole.evaluate(x, y)


BAD = {
    "sigma": (lambda: bp.losses.HSIC(sigma=0.0), "sigma must be"),
    "negative": (lambda: bp.losses.HSIC(sigma=(1.0, -2.0)), "sigma must be"),
    "empty": (lambda: bp.losses.HSIC(sigma=()), "sigma is empty"),
    "epsilon": (lambda: bp.losses.HSIC(epsilon=0.0), "epsilon must be"),
    "classes": (lambda: bp.losses.HSIC(classes=1), "classes must be"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name):
    make, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        make()


def test_what_has_no_meaning_is_refused(rng):
    x, y = rng.normal(size=(6, 3)), np.arange(6) % 2
    model = model_of(3, bp.losses.HSIC(classes=2))
    with pytest.raises(ValueError, match="compares the rows of a batch with each other, got batch"):
        model.fit(x, y, batch_size=1, verbose=0)
    with pytest.raises(ValueError, match="compares the rows of a batch with each other, got batch"):
        model.train_on_batch(x[:1], y[:1])
    with pytest.raises(ValueError, match="no row has a loss that could be weighted"):
        model.fit(x, y, sample_weight=np.ones(6), verbose=0)
    with pytest.raises(ValueError, match="contains label 2"):
        model.fit(x, np.arange(6), verbose=0)
    with pytest.raises(ValueError, match="compares outputs with their targets"):
        model.compile("sgd", bp.losses.HSIC(classes=2), metrics=["accuracy"])
    image = bp.Sequential([bp.Input((4, 4)), bp.layers.Activation("linear")])
    with pytest.raises(ValueError, match="expected \\(K,\\), one row of numbers"):
        image.compile("sgd", bp.losses.HSIC())
    with pytest.raises(ValueError, match="second derivative"):
        model_of(3, bp.losses.HSIC(classes=2)).hessian_vector(x, y, np.ones(0))
    with pytest.raises(ValueError, match="no sample has a loss of its own"):
        model_of(3, bp.losses.HSIC(classes=2)).per_sample_gradients(x, y)


def test_infinite_outputs_are_reported(rng):
    x = rng.normal(size=(8, 3)) * 1e30
    model = bp.Sequential([bp.layers.Dense(3, "exponential")], seed=0)
    model.compile("sgd", bp.losses.HSIC(classes=2))
    with pytest.raises(bp.TrainingDiverged):
        model.fit(x, np.arange(8) % 2, verbose=0)
