"""What means nothing is said, once, with the remedy; what is meant is silent; what is NaN is told.

The suite takes warnings for errors, so that every other test is one of silence.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import bpcore as bp

L = bp.layers
Mismatch = bp.errors.MismatchWarning


def model(end, loss, units=2, metrics=(), layers=(), width=3):
    net = bp.Sequential([bp.Input((width,)), *layers, L.Dense(units, end, name="out")], seed=0)
    net.compile("sgd", loss, metrics=metrics)
    return net


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function(*arguments, **options)


# ---- ends and losses -----------------------------------------------------------------------------

MEANINGLESS = [
    ("softmax", "binary_cross_entropy", 2, r"'out' ends in 'softmax'.*'cross_entropy'"),
    ("softmax", "binary_cross_entropy", 1, r"softmax' of one unit.*sigmoid"),
    ("softmax", "mse", 1, r"softmax' of one unit.*sigmoid"),
    ("linear", "kl_divergence", 2, r"a linear layer.*end in a softmax"),
    ("sigmoid", "kl_divergence", 2, r"'sigmoid'.*end in a softmax"),
    ("relu", "kl_divergence", 2, r"'relu'.*end in a softmax"),
    ("log_softmax", "kl_divergence", 2, r"'log_softmax'.*end in a softmax"),
    ("linear", "poisson", 1, r"a linear layer, which may be negative.*'exponential'"),
    ("tanh", "poisson", 2, r"'tanh', which may be negative"),
    ("elu", "poisson", 2, r"'elu', which may be negative"),
    ("log_softmax", "poisson", 2, r"may be negative"),
    ("sigmoid", "hinge", 1, r"'sigmoid', between 0 and 1.*linear"),
    ("relu", "hinge", 2, r"'relu', between 0 and inf"),
]
MEANT = [
    ("sigmoid", "binary_cross_entropy", 2), ("linear", "binary_cross_entropy", 1),
    ("hard_sigmoid", "binary_cross_entropy", 2), ("softmax", "cross_entropy", 2),
    ("linear", "cross_entropy", 2), ("log_softmax", "cross_entropy", 2), ("softmax", "mse", 2),
    ("softmax", "kl_divergence", 2), ("exponential", "poisson", 1), ("softplus", "poisson", 1),
    ("relu", "poisson", 2), ("sigmoid", "poisson", 2), ("linear", "hinge", 2),
    ("tanh", "hinge", 1), ("softsign", "hinge", 1), ("linear", "gaussian_nll", 2),
    ("linear", "mse", 1), ("sigmoid", "mse", 3), ("relu", "mae", 1),
]  # fmt: skip


@pytest.mark.parametrize("end, loss, units, match", MEANINGLESS)
def test_ends_that_a_loss_is_not_meant_for(end, loss, units, match):
    with pytest.warns(Mismatch, match=match) as caught:
        model(end, loss, units)
    assert len(caught) == 1 and caught[0].filename == __file__


@pytest.mark.parametrize("end, loss, units", MEANT)
def test_ends_that_a_loss_is_meant_for(end, loss, units):
    quiet(model, end, loss, units)


def test_it_is_said_where_the_end_is_known_first(tmp_path):
    """At compile if the model is built, else when it is; behind reshapes, in layers of their own,
    for each output; and again for a model that is read from a file, but not for copies."""
    net = bp.Sequential([L.Dense(4), L.Activation("softmax"), L.Reshape((2, 2))])
    quiet(net.compile, "sgd", "binary_cross_entropy")
    with pytest.warns(Mismatch, match="softmax"):
        net.build((3,))
    net.save(tmp_path / "m.safetensors")
    with pytest.warns(Mismatch, match="softmax"):
        bp.load_model(tmp_path / "m.safetensors")
    a = bp.Input((3,))
    outs = [L.Dense(2, "softmax", name="p")(a), L.Dense(1, name="q")(a)]
    both = bp.Model(a, outs)
    with pytest.warns(Mismatch) as caught:
        both.compile("sgd", ["binary_cross_entropy", "poisson"])
    assert ["'p'" in str(w.message) for w in caught] == [True, False]
    x, bits = np.ones((4, 3)), np.ones((4, 2))
    quiet(both.fit, x, [bits, bits[:, :1]], verbose=0)
    quiet(both.fit, x, [bits, bits[:, :1]], verbose=0)
    for layer in both.layers:
        layer.trainable = False  # a new engine, the same compilation
    quiet(both.evaluate, x, [bits, bits[:, :1]])


def test_unknown_ends_are_left_alone():
    """Arithmetic and layers of the user's may make anything positive."""
    a = bp.Input((3,))
    for out in (L.Dense(2)(a) * 2.0, L.Normalization(0.0, 1.0, invert=True)(L.Dense(2)(a))):
        net = bp.Model(a, out)
        quiet(net.compile, "sgd", "poisson")
        quiet(net.compile, "sgd", "kl_divergence")


# ---- targets -------------------------------------------------------------------------------------

REACH = [
    ("sigmoid", -0.5, 0.5), ("sigmoid", 0.0, 1.5), ("relu", -1.0, 3.0), ("softplus", -1.0, 3.0),
    ("exponential", -2.0, 1.0), ("tanh", -3.0, 3.0), ("softsign", 0.0, 1.2), ("relu6", 0.0, 9.0),
    ("softmax", 0.0, 2.0), ("log_softmax", -1.0, 0.5), ("elu", -1.5, 2.0), ("selu", -2.0, 2.0),
    ("hard_sigmoid", -0.1, 1.0), ("gelu", -0.5, 1.0), ("silu", -0.5, 1.0), ("mish", -0.5, 1.0),
]  # fmt: skip


def between(low, high, units=2, n=6):
    return np.linspace(low, high, n * units).reshape(n, units)


@pytest.mark.parametrize("loss", ["mse", "half_squared_error", "mae", "huber", "log_cosh",
                                  "quantile"])  # fmt: skip
@pytest.mark.parametrize("end, low, high", REACH)
def test_targets_out_of_reach(end, low, high, loss):
    x, y = np.ones((6, 3)), between(low, high)
    net = quiet(model, end, loss)
    with pytest.warns(Mismatch, match=rf"y lies between {low:g} and {high:g}.*'{end}'") as caught:
        net.fit(x, y, verbose=0)
    assert len(caught) == 1 and caught[0].filename == __file__
    quiet(net.fit, x, y, verbose=0)  # it was said
    quiet(net.evaluate, x, y)


@pytest.mark.parametrize("end", [end for end, *_ in REACH])
def test_targets_within_reach(end):
    """To the very bounds, and as far beyond as float32 rounds."""
    low, high = bp.activations.bounds(end)
    least, most = max(low, -2.0), min(high, 9.0)
    y = between(least, most).astype(np.float32)
    y[0, 0] = np.nextafter(y[0, 0], np.float32(-9))
    y[-1, -1] = np.nextafter(y[-1, -1], np.float32(99))
    quiet(quiet(model, end, "mse").fit, np.ones((6, 3)), y, verbose=0)


def test_the_bound_of_elu_is_its_alpha():
    net = bp.Sequential([L.Dense(1), L.Activation("elu", alpha=3.0)], seed=0)
    net.compile("sgd", "mse")
    quiet(net.fit, np.ones((2, 2)), [[-2.5], [1.0]], verbose=0)
    with pytest.warns(Mismatch, match=r"y lies between -4 and 1.*-3 to inf"):
        net.fit(np.ones((2, 2)), [[-4.0], [1.0]], verbose=0)


def test_every_door_looks_at_targets():
    x, y, good = np.ones((6, 3)), between(-1, 1), between(0, 1)
    doors = {
        "fit": lambda m: m.fit(x, y, verbose=0),
        "batches": lambda m: m.fit(iter([(x, y), (x, y)]), steps_per_epoch=2, verbose=0),
        "evaluate": lambda m: m.evaluate(x, y),
        "evaluate batches": lambda m: m.evaluate(iter([(x, y)])),
        "train_on_batch": lambda m: m.train_on_batch(x, y),
        "validation": lambda m: m.fit(x, good, validation_data=(x, y), verbose=0),
    }
    for name, door in doors.items():
        called = "validation y" if name == "validation" else "y"
        with pytest.warns(Mismatch, match=f"^{called} lies between -1 and 1") as caught:
            door(quiet(model, "sigmoid", "mse"))
        assert len(caught) == 1 and caught[0].filename == __file__, name


def test_targets_of_several_outputs_by_name():
    a = bp.Input((3,))
    net = bp.Model(a, {"p": L.Dense(1, "relu")(a), "q": L.Dense(1)(a)})
    net.compile("sgd", "mse")
    y = np.array([[-1.0], [1.0]])
    with pytest.warns(Mismatch, match=r"^y\['p'\] lies between -1 and 1"):
        net.fit(np.ones((2, 3)), {"p": y, "q": y}, verbose=0)


REGRESSION = np.array([[0.3], [2.0], [-1.0], [5.5]])


@pytest.mark.parametrize("metric", ["accuracy", "binary_accuracy", "precision", "recall", "f1",
                                    "auc"])  # fmt: skip
@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_classes_asked_of_a_regression(metric, loss):
    net = model("linear", loss, 1, [metric])
    with pytest.warns(Mismatch, match=rf"metric '{metric}' asks .* y holds 0.3 at row 0.*'r2'"):
        net.fit(np.ones((4, 3)), REGRESSION, verbose=0)
    quiet(net.fit, np.ones((4, 3)), REGRESSION, verbose=0)
    quiet(net.fit, np.ones((4, 3)), [[0], [1], [1], [0]], verbose=0)


@pytest.mark.parametrize("metric", ["accuracy", "f1", "auc", bp.metrics.TopK(2)])
@pytest.mark.parametrize("rows, match", [
    ([[0.2, 3.0, -1.0], [1.0, 2.0, 0.0]], r"\[ 0.2  3.  -1. \] at row 0"),  # a regression
    ([[0, 1, 0], [1, 1, 0]], r"\[1 1 0\] at row 1"),  # two labels
    ([[0, 1, 0], [0, 0, 0]], r"\[0 0 0\] at row 1"),  # none
])  # fmt: skip
def test_a_class_asked_of_rows_without_one(rows, match, metric):
    net = model("linear", "mse", 3, [metric])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bp.errors.UndefinedMetricWarning)
        with pytest.warns(Mismatch, match=rf"takes the largest of 3 targets.*{match}.*sigmoid"):
            net.fit(np.ones((2, 3)), np.array(rows), verbose=0)


@pytest.mark.parametrize("rows", [
    np.eye(3), np.eye(3) * 2 - 1, np.array([[0.2, 0.3, 0.5], [1, 0, 0], [0.1, 0.8, 0.1]]),
])  # fmt: skip
@pytest.mark.parametrize("loss", ["mse", "hinge"])
def test_rows_with_a_class_each(rows, loss):
    if loss == "hinge" and set(np.unique(rows)) - {-1.0, 0.0, 1.0}:
        return
    quiet(model("linear", loss, 3, ["accuracy", "f1"]).fit, np.ones((3, 3)), rows, verbose=0)


def test_classes_that_are_asked_of_classes():
    x = np.ones((4, 3))
    bits = np.array([[0, 1], [1, 1], [1, 0], [0, 0]])
    quiet(model("sigmoid", "binary_cross_entropy", 2, ["accuracy", "f1", "auc"]).fit, x, bits,
          verbose=0)  # fmt: skip
    quiet(model("sigmoid", "mse", 2, ["f1", "binary_accuracy"]).fit, x, bits, verbose=0)
    quiet(model("linear", "hinge", 1, ["accuracy"]).fit, x, 2 * bits[:, :1] - 1, verbose=0)
    soft = [[0.1], [0.9], [0.5], [0.3]]  # smoothed by hand
    quiet(model("sigmoid", "binary_cross_entropy", 1, ["accuracy"]).fit, x, soft, verbose=0)
    quiet(model("linear", "mse", 2, ["mae", "r2"]).fit, x, bits * 1.5, verbose=0)


# ---- layers and batches --------------------------------------------------------------------------


def test_batch_normalization_of_single_rows():
    x, y = np.random.default_rng(0).normal(size=(8, 3)), np.ones((8, 2))
    doors = {
        "fit": lambda m: m.fit(x, y, batch_size=1, verbose=0),
        "one row in all": lambda m: m.fit(x[:1], y[:1], verbose=0),
        "batches": lambda m: m.fit(iter([(x[:1], y[:1])]), steps_per_epoch=1, verbose=0),
        "train_on_batch": lambda m: m.train_on_batch(x[:1], y[:1]),
    }
    for name, door in doors.items():
        net = model("linear", "mse", layers=[L.BatchNormalization(name="bn")])
        with pytest.warns(Mismatch, match="'bn' normalizes batches of one row.*LayerN") as caught:
            door(net)
        assert len(caught) == 1, name
    for size in (2, 3, None):
        net = model("linear", "mse", layers=[L.BatchNormalization()])
        quiet(net.fit, x, y, batch_size=size, verbose=0)
    frozen = model("linear", "mse", layers=[L.BatchNormalization()])
    frozen.layers[0].trainable = False
    quiet(frozen.fit, x, y, batch_size=1, verbose=0)
    rows = bp.Sequential([bp.Input((4, 3)), L.BatchNormalization(), L.Flatten(), L.Dense(2)])
    rows.compile("sgd", "mse")  # of four positions: no single value
    quiet(rows.fit, np.ones((2, 4, 3)), y[:2], batch_size=1, verbose=0)


def test_normalization_that_was_never_adapted(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(8, 3)), np.ones((8, 2))
    layer = L.Normalization(name="scale")
    net = model("linear", "mse", layers=[layer])
    with pytest.warns(Mismatch, match=r"'scale' has no statistics.*adapt\(x\)"):
        net.fit(x, y, verbose=0)
    quiet(net.fit, x, y, verbose=0)
    with pytest.warns(Mismatch, match="has no statistics"):
        model("linear", "mse", layers=[L.Normalization()]).train_on_batch(x, y)
    adapted = model("linear", "mse", layers=[L.Normalization()])
    adapted.layers[0].adapt(x)
    quiet(adapted.fit, x, y, verbose=0)
    adapted.save(tmp_path / "m.safetensors")
    quiet(bp.load_model(tmp_path / "m.safetensors").fit, x, y, verbose=0)
    given = model("linear", "mse", layers=[L.Normalization(0.0, 1.0)])
    quiet(given.fit, x, y, verbose=0)
    assigned = model("linear", "mse", layers=[L.Normalization()])
    assigned.layers[0].mean.value = [1.0, 2.0, 3.0]
    quiet(assigned.fit, x, y, verbose=0)


# ---- NaN and infinity are told -------------------------------------------------------------------

BIG = np.full((5, 3), 1.0, np.float32)
BIG[3] = 3e38


def overflowing():
    net = model("linear", "mse", units=1, layers=[L.Dense(4, name="wide")])
    net.set_weights([np.ones_like(w) for w in net.get_weights()])
    net.compile(bp.optimizers.SGD(1e-30), "mse")
    return net


@pytest.mark.parametrize("batch_size", [1, 2, 1024])
def test_an_evaluation_that_overflows(batch_size):
    y = np.ones((5, 1))
    with pytest.warns(bp.errors.NonFiniteWarning,
                      match="^loss is not finite: the output of layer 'wide' .* row 3 of x") as (
                          caught):  # fmt: skip
        found = overflowing().evaluate(BIG, y, batch_size=batch_size)
    assert not np.isfinite(found["loss"]) and len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(bp.errors.NonFiniteWarning, match="row 0 of x"):  # of its batch
        overflowing().evaluate(iter([(BIG[:3], y[:3]), (BIG[3:], y[3:])]))
    quiet(overflowing().evaluate, BIG[:3], y[:3])


def test_all_batches_count_behind_one_that_overflows():
    net = bp.Sequential([bp.Input((1,)), L.Activation("linear")])
    net.compile("sgd", "mse", metrics=["mae"])
    x = np.array([[1e30], [1.0], [2.0], [3.0]], np.float32)
    with pytest.warns(bp.errors.NonFiniteWarning, match="the loss at output"):
        found = net.evaluate(x, np.zeros((4, 1)), batch_size=1)
    assert found["mae"] == pytest.approx((np.float64(np.float32(1e30)) + 6) / 4)


def test_a_validation_that_overflows():
    net, y = overflowing(), np.ones((5, 1))
    with pytest.warns(bp.errors.NonFiniteWarning,
                      match=r"^val_loss is not finite: .* row 3 of validation x"):  # fmt: skip
        history = net.fit(BIG[:3], y[:3], validation_data=(BIG, y), verbose=0).history
    assert np.isfinite(history["loss"]).all() and not np.isfinite(history["val_loss"]).any()


def test_weights_that_are_nan_get_advice_about_weights():
    x, y = np.ones((2, 3)), np.ones((2, 1))
    net = overflowing()
    net.layers[0].kernel.value[...] = np.nan
    for call in (net.gradients, net.trace, net.train_on_batch):
        with pytest.raises(bp.errors.TrainingDiverged) as error:
            call(x, y)
        text = str(error.value)
        assert "weight of layer 'wide'" in text and "set_weights" in text, call
        assert "scale the data" not in text and "learning rate" not in text, call
    with pytest.warns(bp.errors.NonFiniteWarning, match=r"weight of layer 'wide'.*set_weights"):
        net.evaluate(x, y)


def test_gradients_of_data_that_overflow_get_advice_about_data():
    with pytest.raises(bp.errors.TrainingDiverged, match=r"row 3 \(row 3 of x\).*scale the data"):
        overflowing().gradients(BIG, np.ones((5, 1)))
