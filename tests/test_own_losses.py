"""Losses and metrics as classes of one's own, and targets of any shape and dtype."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import ShapeError

L = bp.layers


class Chosen(bp.losses.Loss):
    """-advantage * y[action]: a loss of columns that no output has the shape of."""

    target_shape = None

    def value(self, y_true, y_pred):
        self.seen = {key: part.dtype for key, part in y_true.items()}
        return -y_true["advantage"] * y_pred[np.arange(len(y_pred)), y_true["action"]]

    def gradient(self, y_true, y_pred):
        dy = np.zeros_like(y_pred)
        dy[np.arange(len(y_pred)), y_true["action"]] = -y_true["advantage"]
        return dy


class MeanAdvantage(bp.metrics.Metric):
    def reset_state(self):
        self.total = self.count = 0.0

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total += float(y_true["advantage"].sum())
        self.count += len(y_pred)

    def result(self):
        return self.total / self.count


def data(rng, n=50):
    x = rng.normal(size=(n, 3))
    y = {"action": rng.integers(0, 4, n), "advantage": rng.normal(size=n).astype(np.float32)}
    return x, y


def made():
    model = bp.Sequential([L.Dense(4)], seed=0, dtype="float64")
    loss = Chosen()
    model.compile(bp.optimizers.SGD(0.1), loss, metrics=[MeanAdvantage()])
    return model, loss


def gradient(x, y, w=1.0):
    dy = np.zeros((len(x), 4))
    dy[np.arange(len(x)), y["action"]] = -y["advantage"] * w
    return x.T @ dy / len(x)


def test_free_targets_keep_their_dtypes(rng):
    x, y = data(rng)
    model, loss = made()
    found = model.gradients(x, y)
    np.testing.assert_allclose(found.parameters["dense/kernel"], gradient(x, y), rtol=1e-13)
    assert loss.seen == {"action": np.dtype("int64"), "advantage": np.dtype("float32")}
    out = model.predict(x)
    expected = -(y["advantage"] * out[np.arange(50), y["action"]]).mean()
    logs = model.evaluate(x, y, batch_size=7)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-13)
    np.testing.assert_allclose(logs["mean_advantage"], y["advantage"].mean(), rtol=1e-6)
    assert model.test_on_batch(x, y) == pytest.approx(logs, rel=1e-12)
    weights = rng.uniform(size=50)
    found = model.gradients(x, y, sample_weight=weights)
    np.testing.assert_allclose(
        found.parameters["dense/kernel"], gradient(x, y, weights), rtol=1e-12, atol=1e-15
    )


def test_free_targets_in_fit(rng):
    """Shuffled and divided like any: one step a batch by hand gives the same weights."""
    x, y = data(rng)
    model, _ = made()
    model.fit(x, y, batch_size=50, verbose=0, validation_split=0.2, shuffle=True)
    hand = bp.Sequential([L.Dense(4)], seed=0, dtype="float64")
    hand.build((3,))
    part = {key: value[:40] for key, value in y.items()}
    expected = hand.weights[0].value - 0.1 * gradient(x[:40], part)
    np.testing.assert_allclose(model.weights[0].value, expected, rtol=1e-12)
    batches = [(x[i : i + 10], {k: v[i : i + 10] for k, v in y.items()}) for i in range(0, 50, 10)]
    model.fit(iter(batches), verbose=0)


def test_a_table_of_any_width(rng):
    class Table(Chosen):
        def value(self, y_true, y_pred):
            return super().value(
                {"action": y_true[:, 0].astype(int), "advantage": y_true[:, 1]}, y_pred
            )

        def gradient(self, y_true, y_pred):
            return super().gradient(
                {"action": y_true[:, 0].astype(int), "advantage": y_true[:, 1]}, y_pred
            )

    x, y = data(rng)
    a, b = bp.Sequential([L.Dense(4)], seed=0), bp.Sequential([L.Dense(4)], seed=0)
    a.compile("adam", Chosen()), b.compile("adam", Table())
    wide = np.column_stack([y["action"], y["advantage"], np.full(50, np.nan)])
    a.fit(x, y, epochs=2, verbose=0), b.fit(x, wide, epochs=2, verbose=0)
    np.testing.assert_allclose(a.weights[0].value, b.weights[0].value, rtol=1e-6)


def test_two_outputs_one_free(rng):
    a = bp.Input((3,))
    model = bp.Model(a, {"policy": L.Dense(4)(a), "value": L.Dense(1)(a)}, seed=0)
    model.compile("adam", {"policy": Chosen(), "value": "mse"})
    x, y = data(rng)
    logs = model.train_on_batch(x, {"policy": y, "value": np.zeros(50)})
    assert set(logs) == {"loss", "policy_loss", "value_loss"}


def test_what_does_not_go_with_free_targets(rng):
    x, y = data(rng)
    model, _ = made()
    with pytest.raises(ShapeError, match=r"x has 50 samples, y\['action'\] has 49"):
        model.train_on_batch(x, {**y, "action": y["action"][:-1]})
    with pytest.raises(ValueError, match="class_weight needs targets that are classes"):
        model.fit(x, y, class_weight={0: 1}, verbose=0)
    model.build((3,))
    with pytest.raises(
        ValueError, match="metric 'mae' compares with targets of the output's shape"
    ):
        model.compile("sgd", Chosen(), metrics=["mae"])
    with pytest.raises(TypeError, match="y is None"):
        model.train_on_batch(x)


def test_a_saved_run_knows_its_targets(rng, tmp_path):
    x, y = data(rng)
    path = tmp_path / "run.ckpt"
    model, _ = made()
    model.fit(x, y, verbose=0, epochs=2, checkpoint=path)
    again, _ = made()
    again.fit(x, y, verbose=0, epochs=2, checkpoint=path)
    np.testing.assert_array_equal(again.weights[0].value, model.weights[0].value)
    other, _ = made()
    with pytest.raises(bp.errors.CheckpointError):
        other.fit(x, {**y, "action": y["action"][::-1]}, verbose=0, epochs=2, checkpoint=path)


def test_what_must_be_defined_is_said():
    class Half(bp.losses.Loss):
        def value(self, y_true, y_pred):
            return 0.0

    class Idle(bp.metrics.Metric):
        def result(self):
            return 0.0

    model = bp.Sequential([bp.Input((2,)), L.Dense(1)])
    with pytest.raises(TypeError, match=r"loss Half lacks gradient.*define value\(self"):
        model.compile("sgd", Half())
    with pytest.raises(TypeError, match=r"loss Half lacks gradient"):
        model.compile("sgd", Half)
    with pytest.raises(TypeError, match="metric Idle lacks update_state, reset_state"):
        model.compile("sgd", "mse", metrics=[Idle()])
    with pytest.raises(NotImplementedError, match="Half must define gradient"):
        Half().gradient(0, 0)


def test_a_loss_of_the_output_s_shape(rng):
    """Without target_shape y is checked and converted as ever; a class does as an object does."""

    class Square(bp.losses.Loss):
        def value(self, y_true, y_pred):
            assert y_true.dtype == y_pred.dtype
            return ((y_pred - y_true) ** 2).mean(axis=1)

        def gradient(self, y_true, y_pred):
            return 2 * (y_pred - y_true) / y_pred.shape[1]

    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    own, built_in = (bp.Sequential([L.Dense(2)], seed=0) for _ in range(2))
    own.compile("adam", Square), built_in.compile("adam", "mse")
    own.fit(x, y, verbose=0), built_in.fit(x, y, verbose=0)
    np.testing.assert_allclose(own.weights[0].value, built_in.weights[0].value, rtol=1e-5)
    with pytest.raises(ShapeError, match="y has 3 columns"):
        own.train_on_batch(x, x)
    with pytest.raises(TypeError, match="cannot be saved"):
        own._compilation.get_config()


@pytest.mark.parametrize("bad", [None, 1j, "a", [None]])
@pytest.mark.parametrize("method", ["value", "gradient"])
def test_what_is_no_number_is_refused(method, bad, rng):
    """A forgotten return gives None, which NumPy would take for NaN."""

    class Bad(bp.losses.Loss):
        def value(self, y_true, y_pred):
            return np.zeros(len(y_pred)) if method == "gradient" else bad

        def gradient(self, y_true, y_pred):
            return y_pred if method == "value" else bad

    model = bp.Sequential([L.Dense(2)], seed=0)
    model.compile("sgd", Bad())
    with pytest.raises(TypeError, match=f"Bad.{method} returned .*expected an array of real numb"):
        model.train_on_batch(rng.normal(size=(4, 3)), np.zeros((4, 2)))


def test_free_targets_know_no_mask(rng):
    class Free(bp.losses.Loss):
        target_shape = None

        def value(self, y_true, y_pred):
            return (y_pred**2).sum(axis=(1, 2))

        def gradient(self, y_true, y_pred):
            return 2 * y_pred

    model = bp.Sequential([bp.Input((None, 3)), L.GRU(2, return_sequences=True)], seed=0)
    model.compile("sgd", Free())
    xs = [rng.normal(size=(n, 3)) for n in (5, 3)]
    with pytest.raises(ValueError, match=r"y: a loss with targets of any shape .* knows no mask"):
        model.fit(xs, np.arange(2), verbose=0)
    model.fit(np.stack([xs[0]] * 2), np.arange(2), verbose=0)  # of equal lengths
