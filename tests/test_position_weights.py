"""Weights (N, T) and (N, K): of the positions of a sample, or of its columns.

What is expected comes from PyTorch's losses without reduction, in float64, times the weights.
"""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

torch = pytest.importorskip("torch")
F = torch.nn.functional
L = bp.layers
RNG = np.random.default_rng(3)
N, T, K = 7, 5, 6
LEVELS = (0.1, 0.5, 0.9)


def near(value):
    return pytest.approx(value, rel=1e-12, abs=1e-15)


def classes(p, t):
    return F.cross_entropy(p.movedim(-1, 1), t.long(), reduction="none")


def soft(p, t):
    return -(t * F.log_softmax(p, -1)).sum(-1)


def divergence(p, t):
    return F.kl_div(torch.log_softmax(p, -1), t, reduction="none")


def pinball(p, t):
    p = p.reshape(*p.shape[:-1], len(LEVELS), -1)
    e = t.unsqueeze(-2) - p
    q = torch.tensor(LEVELS, dtype=p.dtype)[:, None]
    return torch.maximum(q * e, (q - 1) * e).mean(-2)


def gaussian(p, t):
    m, s = p.chunk(2, -1)
    s = s.clamp(min=float(np.log(1e-6)))
    return F.gaussian_nll_loss(m, t, s.exp(), full=False, reduction="none")


def hinge(p, t):
    return (1 - t * p).clamp(min=0)


def positive(p, t):
    q = torch.arange(1, K + 1, dtype=p.dtype)
    return F.binary_cross_entropy_with_logits(p, t, pos_weight=q, reduction="none")


def of_each(f):
    return lambda p, t: f(p, t, reduction="none")


real, share = RNG.normal(size=(N, T, K)), RNG.dirichlet(np.ones(K), (N, T))
binary = RNG.integers(0, 2, (N, T, K)).astype(float)
POS = list(range(1, K + 1))
# loss, targets, values of an output for each of a target, terms: (N, T), or (N, T, K); whether
# their sum over columns is the loss, or their mean
CASES = {
    "mse": ("mean_squared_error", real, 1, of_each(F.mse_loss), "mean"),
    "half": ("half_squared_error", real, 1, lambda p, t: (p - t) ** 2 / 2, "all"),
    "mae": ("mean_absolute_error", real, 1, of_each(F.l1_loss), "mean"),
    "huber": ("huber", real, 1, of_each(F.huber_loss), "mean"),
    "log_cosh": ("log_cosh", real, 1, lambda p, t: torch.log(torch.cosh(p - t)), "mean"),
    "bce": ("binary_cross_entropy", binary, 1, of_each(F.binary_cross_entropy_with_logits), "mean"),
    "pos": (bp.losses.BinaryCrossEntropy(pos_weight=POS), binary, 1, positive, "mean"),
    "hinge": ("hinge", 2 * binary - 1, 1, hinge, "mean"),
    "quantile": (bp.losses.Quantile(LEVELS), real, 3, pinball, "mean"),
    "gaussian": ("gaussian_nll", real, 2, gaussian, "mean"),
    "kl": ("kl_divergence", share, 1, divergence, "sum"),
    "labels": ("cross_entropy", RNG.integers(0, K, (N, T)), 1, classes, "row"),
    "soft": ("cross_entropy", share, 1, soft, "row"),
}


def built(loss, parts=1, dtype="float64", end=None, **more):
    """A model whose output is its input times one weight, so that dloss/dx is all of it."""
    layers = [bp.Input((T, parts * K)), L.Scale(), *([L.Activation(end)] if end else [])]
    model = bp.Sequential(layers, dtype=dtype, seed=0)
    model.compile(bp.optimizers.SGD(0.1), loss, **more)
    return model


def expected(name, x, w):
    """Loss and dloss/dx by PyTorch."""
    _, y, _, terms, kind = CASES[name]
    z = torch.tensor(x, requires_grad=True)
    each = terms(z, torch.tensor(y))
    weights = torch.tensor(w)
    weights = weights.reshape(weights.shape + (1,) * (each.ndim - weights.ndim))
    total = (each * weights).sum() / N
    if kind == "mean":
        total = total / (T * K)
    elif kind in ("row", "sum"):
        total = total / T
    (dx,) = torch.autograd.grad(total, z)
    return total.item(), dx.numpy()


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient(name, axes):
    loss, y, parts, _, kind = CASES[name]
    if axes == 3 and kind == "row":
        pytest.skip("one number for a row")
    model = built(loss, parts, end="softmax" if name == "kl" else None)
    x = RNG.normal(size=(N, T, parts * K))
    w = RNG.uniform(0, 3, (N, T, K)[:axes]) * (RNG.random((N, T, K)[:axes]) > 0.2)
    value, dx = expected(name, x, w)
    found = model.gradients(x, y, sample_weight=w, wrt_inputs=True)
    assert found.loss == near(value)
    np.testing.assert_allclose(found.inputs, dx, rtol=1e-10, atol=1e-14)
    assert model.evaluate(x, y, sample_weight=w, batch_size=3)["loss"] == near(value)
    batches = [(x[i : i + 1], y[i : i + 1], w[i : i + 1]) for i in range(N)]
    assert model.evaluate(iter(batches))["loss"] == near(value)
    assert model.train_on_batch(x, y, w)["loss"] == near(value)
    assert float(model.gradcheck(x, y, sample_weight=w)) < 1e-6


def test_columns_of_vectors():
    """(N, K) for outputs (N, K), where K is shorter and longer than a vector of numbers."""
    for k in (1, 2, 3, 8, 17, 40):
        x, y, w = RNG.normal(size=(N, k)), RNG.normal(size=(N, k)), RNG.uniform(0, 2, (N, k))
        model = bp.Sequential([bp.Input((k,)), L.Scale()], dtype="float64")
        model.compile("sgd", "mse")
        found = model.gradients(x, y, sample_weight=w, wrt_inputs=True)
        assert found.loss == near((w * (x - y) ** 2).mean())
        np.testing.assert_allclose(found.inputs, 2 * w * (x - y) / (N * k), rtol=1e-13)


def test_fit_and_validation():
    x, y = RNG.normal(size=(N, T, K)), real
    w, v = RNG.uniform(0, 2, (N, T)), RNG.uniform(0, 2, (N, T, K))
    more = {"batch_size": N, "shuffle": False, "verbose": 0}
    found = built("mse").fit(x, y, sample_weight=w, validation_data=(x, y, v), **more).history
    assert found["loss"] == [near((w[..., None] * (x - y) ** 2).mean())]
    model = built("mse")
    _, dx = expected("mse", x, w)
    model.fit(x, y, sample_weight=w, **more)
    scale = 1 - 0.1 * (dx * x).sum((0, 1))
    np.testing.assert_allclose(model.weights[0].value, scale, rtol=1e-12)
    assert found["val_loss"] == [near((v * (scale * x - y) ** 2).mean())]
    split = built("mse").fit(x, y, sample_weight=w, validation_split=0.4, epochs=1, verbose=0)
    assert len(split.history["val_loss"]) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(64, T), (64, T, K)])
def test_the_same_bits_over_threads(dtype, shape):
    x, y, w = RNG.normal(size=(64, T, K)), RNG.normal(size=(64, T, 3)), RNG.uniform(0, 2, shape)
    w = w[..., :3] if w.ndim == 3 else w
    found = []
    for threads in (1, 2, 3):
        with bp.threads(threads, exact=True):
            layers = [bp.Input((T, K)), L.Dense(300, "tanh"), L.Dense(3)]
            model = bp.Sequential(layers, dtype=dtype, seed=0)
            model.compile("adam", "mse", weighted_metrics=["mae"])
            history = model.fit(x, y, sample_weight=w, batch_size=32, epochs=2, verbose=0).history
        found.append((history, [p.value.tobytes() for p in model.weights]))
    assert found[0] == found[1] == found[2]


def test_weights_that_follow_one_another():
    """One trainer takes no weights, few, many and few again; each as a fresh one does."""
    x, y = RNG.normal(size=(N, T, K)), real
    model = built("mse")
    for shape in (None, (N,), (N, T, K), (N, T), None, (N, T, K)):
        w = None if shape is None else RNG.uniform(0, 2, shape)
        assert model.evaluate(x, y, sample_weight=w) == built("mse").evaluate(x, y, sample_weight=w)


def test_a_weight_of_0_hides_what_overflows():
    x, y, w = np.zeros((N, T, K)), np.zeros((N, T, K)), np.ones((N, T, K))
    x[2, 3, 4], w[2, 3, 4] = 1e300, 0
    found = built("mse").gradients(x, y, sample_weight=w, wrt_inputs=True)
    assert found.loss == 0 and not found.inputs.any()


# ---- metrics -------------------------------------------------------------------------------------


def each_step(y_true, y_pred):
    """One number for each step."""
    return np.abs(y_true - y_pred).mean(-1)


def own(y_true, y_pred, sample_weight):
    """Weighs by itself."""
    return np.average(each_step(y_true, y_pred), weights=sample_weight)


class Seen:
    """Keeps the shapes of the weights that it is given."""

    name = "seen"

    def reset_state(self):
        self.shapes = []

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.shapes.append(sample_weight.shape)

    def result(self):
        return len(self.shapes)


def test_weighted_metrics_by_step():
    x, y, w = RNG.normal(size=(N, T, K)), real, RNG.uniform(0, 2, (N, T))
    seen = Seen()
    model = built("mse", metrics=["mae"], weighted_metrics=["mse", "r2", each_step, own, seen])
    found = model.evaluate(x, y, sample_weight=w, batch_size=N)
    assert found["mae"] == near(np.abs(x - y).mean())
    assert found["mse"] == near(np.average(((x - y) ** 2).mean(-1), weights=w))
    mean = (w[..., None] * y).sum(0) / w.sum(0)[:, None]
    spread = (w[..., None] * (y - mean) ** 2).sum(0)
    rest = (w[..., None] * (x - y) ** 2).sum(0)
    assert found["r2"] == pytest.approx((1 - rest / spread).mean(), rel=1e-10)
    assert found["each_step"] == found["own"] == near(np.average(each_step(x, y), weights=w))
    assert seen.shapes == [(N, T)]


def test_weighted_classes_by_step():
    metrics = pytest.importorskip("sklearn.metrics")
    x, y, w = RNG.normal(size=(N, T, K)), RNG.integers(0, K, (N, T)), RNG.uniform(0, 2, (N, T))
    names = ["accuracy", bp.metrics.TopK(2), bp.metrics.F1(average="macro"), "auc"]
    model = built("cross_entropy", metrics=["accuracy"], weighted_metrics=names)
    found = model.evaluate(x, y, sample_weight=w, batch_size=2)
    flat, truth, weight = x.reshape(-1, K), y.ravel(), w.ravel()
    guess = flat.argmax(1)
    assert found["accuracy"] == near((guess == truth).mean())
    assert found["weighted_accuracy"] == near(np.average(guess == truth, weights=weight))
    top = metrics.top_k_accuracy_score(truth, flat, k=2, sample_weight=weight, labels=range(K))
    assert found["top_2_accuracy"] == near(top)
    f1 = metrics.f1_score(truth, guess, average="macro", sample_weight=weight)
    assert found["f1"] == near(f1)
    p = np.exp(flat) / np.exp(flat).sum(1, keepdims=True)
    areas = [metrics.roc_auc_score(truth == k, p[:, k], sample_weight=weight) for k in range(K)]
    assert found["auc"] == pytest.approx(np.mean(areas), rel=1e-10)


def test_weighted_labels_by_column():
    metrics = pytest.importorskip("sklearn.metrics")
    x, w = RNG.normal(size=(N, T, K)), RNG.uniform(0, 2, (N, T, K))
    recall = bp.metrics.Recall(average=None)
    model = built("binary_cross_entropy", metrics=["auc"], weighted_metrics=["accuracy", recall])
    found = model.evaluate(x, binary, sample_weight=w)
    assert found["accuracy"] == near(np.average((x > 0) == binary, weights=w))
    truth, guess, weight = (a.reshape(-1, K) for a in (binary, x > 0, w))
    for k in range(K):
        one = metrics.recall_score(truth[:, k], guess[:, k], sample_weight=weight[:, k])
        assert found["recall"][k] == near(one)
    by_row = built("binary_cross_entropy", weighted_metrics=["auc"])
    with pytest.raises(ValueError, match=r"weighted_metrics: 'auc' takes one weight for each row"):
        by_row.evaluate(x, binary, sample_weight=w)
    assert 0 < by_row.evaluate(x, binary, sample_weight=w[..., 0])["auc"] < 1


# ---- what else takes weights ---------------------------------------------------------------------


class Squares:
    """The mean squared error, with as many axes as it is told."""

    def __init__(self, axes):
        self.axes = axes

    def value(self, y, p):
        return ((p - y) ** 2).mean(axis=tuple(range(self.axes, p.ndim)))

    def gradient(self, y, p):
        return 2 * (p - y) / np.prod(p.shape[self.axes :])


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_losses_in_python(axes):
    x, w = RNG.normal(size=(N, T, K)), RNG.uniform(0, 2, (N, T, K)[:axes])
    value, dx = expected("mse", x, w)
    for more in range(axes, 4):
        found = built(Squares(more)).gradients(x, real, sample_weight=w, wrt_inputs=True)
        assert found.loss == near(value)
        np.testing.assert_allclose(found.inputs, dx, rtol=1e-12)
    if axes > 1:
        with pytest.raises(
            ValueError, match=r"value returned shape \(7,\).*weights of shape \(7, 5"
        ):
            built(Squares(1)).gradients(x, real, sample_weight=w)


def test_several_outputs():
    a = bp.Input((T, K))
    model = bp.Model(
        a, [L.Scale(name="one")(a), L.Dense(2, name="two")(a)], dtype="float64", seed=0
    )
    model.compile("sgd", ["mse", "cross_entropy"])
    x, labels = RNG.normal(size=(N, T, K)), RNG.integers(0, 2, (N, T))
    fine, w = RNG.uniform(0, 2, (N, T, K)), RNG.uniform(0, 2, (N, T))
    found = model.evaluate(x, [real, labels], sample_weight=[fine, w])
    assert found["one_loss"] == near((fine * (x - real) ** 2).mean())
    nll = classes(torch.tensor(model.predict(x)[1]), torch.tensor(labels)).numpy()
    assert found["two_loss"] == near((w * nll).mean())
    both = model.evaluate(x, [real, labels], sample_weight=w)  # one for all
    assert both["one_loss"] == near((w[..., None] * (x - real) ** 2).mean())
    with pytest.raises(ValueError, match=r"expected \(7,\) or \(7, 5\).*'two'"):
        model.evaluate(x, [real, labels], sample_weight=fine)


def test_class_weights_multiply():
    x, y, w = RNG.normal(size=(N, K)), RNG.integers(0, K, N), RNG.uniform(0, 2, (N, K))
    by_class, truth = RNG.uniform(1, 2, K), np.eye(K)[y]
    model = bp.Sequential([bp.Input((K,)), L.Scale()], dtype="float64")
    model.compile(bp.optimizers.SGD(1e-300), "mse")
    found = model.fit(x, truth, sample_weight=w, class_weight=by_class, verbose=0).history
    assert found["loss"] == [near((by_class[y][:, None] * w * (x - truth) ** 2).mean())]


def test_output_bias():
    y, w = real[:, 0], RNG.uniform(0, 2, (N, K))
    model = bp.Sequential([bp.Input((2,)), L.Dense(K)], dtype="float64")
    model.compile("sgd", "mse")
    model.set_output_bias(y, sample_weight=w)
    assert model.weights[1].value == near(np.average(y, axis=0, weights=w))
    steps = bp.Sequential([bp.Input((T, 2)), L.Dense(K)], dtype="float64")
    steps.compile("sgd", "cross_entropy")
    labels, w = RNG.integers(0, K, (40, T)), RNG.uniform(0, 2, (40, T))
    steps.set_output_bias(labels, sample_weight=w)
    share = np.bincount(labels.ravel(), weights=w.ravel(), minlength=K) / w.sum()
    assert np.exp(steps.weights[1].value) == near(share)


def test_diagnose_knows_the_best_constant():
    """Of targets some of whose columns hardly count."""
    y, w = RNG.normal(size=(400, 2)) * [1, 10], np.ones((400, 2)) * [2, 0.5]
    model = bp.Sequential([bp.Input((3,)), L.Dense(2)], seed=0)
    model.compile("sgd", "mse")
    found = model.diagnose(RNG.normal(size=(400, 3)), y, sample_weight=w)
    guess = (w * (y - y.mean(0)) ** 2).mean()
    assert found.guess_loss == pytest.approx(guess, rel=1e-6)


@pytest.mark.parametrize("shape", [(N, K), (N, T, 1), (T, N), (N, T, K, 1), (N + 1, T), ()])
def test_other_shapes_are_refused(shape):
    model, x, w = built("mse"), RNG.normal(size=(N, T, K)), np.ones(shape)
    message = r"sample_weight has shape .*expected \(7,\) or \(7, 5\) or \(7, 5, 6\)"
    calls = [
        lambda: model.fit(x, real, sample_weight=w, verbose=0),
        lambda: model.evaluate(x, real, sample_weight=w),
        lambda: model.train_on_batch(x, real, w),
        lambda: model.gradients(x, real, sample_weight=w),
        lambda: model.fit(iter([(x, real, w)]), verbose=0),
        lambda: model.fit(x, real, validation_data=(x, real, w), verbose=0),
    ]
    before = model.weights[0].value.copy()
    for call in calls:
        with pytest.raises(bp.ShapeError, match=message):
            call()
    assert (model.weights[0].value == before).all()


def test_a_cross_entropy_has_no_weights_of_classes():
    model, x = built("cross_entropy"), RNG.normal(size=(N, T, K))
    for y in (CASES["labels"][1], share):
        with pytest.raises(bp.ShapeError, match=r"shape \(7, 5, 6\), expected \(7,\) or \(7, 5\):"):
            model.evaluate(x, y, sample_weight=np.ones((N, T, K)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_bad_values_name_their_place(bad):
    w = np.ones((N, T))
    w[3, 2] = bad
    with pytest.raises(ValueError, match=r"sample_weight contains .* at \[3, 2\], expected finite"):
        built("mse").evaluate(real, real, sample_weight=w)


def test_a_run_goes_on(tmp_path):
    """Killed between two epochs, saved within one, with weights that have two axes."""
    x, w = RNG.normal(size=(N, T, K)), RNG.uniform(0, 2, (N, T))
    call = {"sample_weight": w, "batch_size": 2, "epochs": 3, "verbose": 0}

    def fit(model, **more):
        return model.fit(x, real, **call, **more).history

    whole = built("mse", weighted_metrics=["mae"])
    history = fit(whole)

    class Killed(Exception):
        pass

    class Kill(bp.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2 and killing:
                raise Killed

    more, killing = {"checkpoint": tmp_path / "run.ckpt", "callbacks": [Kill()]}, True
    with pytest.raises(Killed):
        fit(built("mse", weighted_metrics=["mae"]), checkpoint_every=3, **more)
    killing, resumed = False, built("mse", weighted_metrics=["mae"])
    with pytest.warns(bp.CodeWarning, match="Kill' was changed"):
        assert fit(resumed, checkpoint_every=3, **more) == history
    assert (resumed.weights[0].value == whole.weights[0].value).all()
    w[0, 0] += 1
    with pytest.raises(bp.CheckpointError, match="sample_weight"):
        fit(built("mse", weighted_metrics=["mae"]), checkpoint_every=3, **more)


class _Squares(bp.losses.Loss):
    def value(self, y_true, y_pred):
        return np.mean((y_pred - y_true) ** 2, axis=-1)

    def gradient(self, y_true, y_pred):
        return 2 * (y_pred - y_true) / y_pred.shape[-1]


@pytest.mark.parametrize("steps", [1, 3])
def test_weights_of_samples_reach_a_loss_of_ones_own(steps, rng):
    """A single step is no weight of its own."""
    x, y = rng.normal(size=(4, steps, 2)), rng.normal(size=(4, steps, 2))
    found = []
    for loss in ("mse", _Squares()):
        layers = [bp.Input((None, 2)), bp.layers.SimpleRNN(3, return_sequences=True)]
        model = bp.Sequential([*layers, bp.layers.Dense(2)], seed=0, dtype="float64")
        model.compile("sgd", loss)
        found.append(model.evaluate(x, y, sample_weight=np.array([1.0, 2.0, 3.0, 40.0]))["loss"])
    errors = ((model.predict(x) - y) ** 2).mean(axis=(1, 2))
    assert found == pytest.approx([errors @ [1.0, 2.0, 3.0, 40.0] / 4] * 2, rel=1e-12)
