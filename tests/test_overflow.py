"""An update that would not be finite is a flaw of its batch: what was before it stays, to the bit.

In float32 a learning rate of 1e39 is infinite: with it every update overflows that depends on one.
"""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from . import cases

L = bp.layers
O = bp.optimizers  # noqa: E741
WIDE = 340  # this many inputs are passed on from thread to thread
N, BATCH = 64, 16
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(N, WIDE)).astype(np.float32), RNG.integers(0, 5, N).astype(np.int32)
OPTIMIZERS = ["SGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "Adamax", "Nadam", "Lion"]
MORE = {
    "momentum": lambda rate: O.SGD(rate, momentum=0.9),
    "nesterov": lambda rate: O.SGD(rate, momentum=0.9, nesterov=True),
    "amsgrad": lambda rate: O.Adam(rate, amsgrad=True),
    "decay": lambda rate: O.SGD(rate, weight_decay=1e-3),
}


def made(name, rate):
    return MORE[name](rate) if name in MORE else getattr(O, name)(rate)


def state(model):
    """Weights, running statistics, slots and the count of updates, as bytes."""
    slots = [slot for p in model.weights for slot in model.optimizer._slots.get(p, [])]
    arrays = [a.tobytes() for a in (*model.get_weights(), *slots)]
    return [*arrays, model.optimizer.iterations]


def flaw(model, *data, **options):
    """The error of a fit, whose state must be what it was at the end of the last good batch."""
    with pytest.raises(bp.TrainingDiverged) as told:
        model.fit(*data, verbose=0, shuffle=False, **options)
    return told.value


def network(optimizer, dtype="float32", **options):
    layers = [L.Dense(64, "relu"), L.BatchNormalization(), L.Dense(5, "softmax")]
    model = bp.Sequential([bp.Input((WIDE,)), *layers], seed=0, dtype=dtype)
    model.compile(optimizer, "cross_entropy", **options)
    return model


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", [*OPTIMIZERS, *MORE])
def test_an_update_that_overflows_leaves_all_as_before(threads_restored, threads, name):
    bp.set_num_threads(threads)
    for good in (0, 2, 3):  # in the first, an earlier and the last batch
        rate = lambda step, good=good: 1e-3 if step < good else 1e39  # noqa: E731
        model, twin = network(made(name, rate)), network(made(name, rate))
        if good:
            twin.fit(
                X[: good * BATCH], Y[: good * BATCH], batch_size=BATCH, verbose=0, shuffle=False
            )
        error = flaw(model, X, Y, batch_size=BATCH)
        assert (error.tensor, error.epoch, error.batch) == ("update", 0, good)
        assert "the weights are those before this batch" in str(error)
        before = state(twin) if good else state(model)
        assert state(model) == before and model.optimizer.iterations == good
        fresh = network(made(name, rate)).get_weights()
        assert good or all(map(np.array_equal, model.get_weights(), fresh))
        assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("options", [{}, {"gradient_clip_norm": 1.0}, {"gradient_clip_value": 1.0}])
@pytest.mark.parametrize("name", [*OPTIMIZERS, "Rprop", "momentum"])
def test_a_gradient_that_overflows_leaves_all_as_before(name, options):
    """In the third batch x, the loss and delta are finite, and x^T delta is not."""
    x, y = np.ones((8, 2), np.float32), np.ones((8, 1), np.float32)
    x[4:6], y[4:6] = 3e29, 1e18
    models = []
    for rows in (4, 8):
        model = bp.Sequential([L.Dense(1, kernel_initializer="zeros", name="out")], seed=0)
        model.compile(made(name, 1e-30), "mse", **options)
        models.append(model)
        if rows == 4:
            model.fit(x[:4], y[:4], batch_size=2, verbose=0, shuffle=False)
        else:
            error = flaw(model, x, y, batch_size=2)
            # Rprop's first steps are not that small.
            assert (error.batch, error.tensor) == (2, "loss" if name == "Rprop" else "gradient")
    assert state(models[0]) == state(models[1])


def test_an_update_that_is_large_but_finite_is_made():
    """The bound excludes nothing here, so the update is tried, and is PyTorch's: w - rate g."""
    x, y = np.full((4, 1), 1e15, np.float32), np.full((4, 1), -1e10, np.float32)
    model = bp.Sequential([L.Dense(1, use_bias=False, kernel_initializer="zeros")], seed=0)
    model.compile(O.SGD(2.0**20), "half_squared_error")
    model.fit(x, y, batch_size=4, verbose=0)
    assert model.get_weights()[0] == pytest.approx(-(2.0**20) * 1e25, rel=1e-6)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("width, units", [(6, 3), (WIDE, 64), (8, 600)])
def test_a_large_gradient_gives_the_bits_of_a_small_one(threads_restored, threads, width, units):
    """Scaled by powers of two, x and weights train alike: a trial computes as an update does, which
    may be in place (600 units), or of a layer that is passed from thread to thread (WIDE)."""
    bp.set_num_threads(threads)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(32, width)).astype(np.float32)
    y = 1e3 * rng.normal(size=(32, units)).astype(np.float32)
    found = []
    for scale in (1.0, 2.0**40):
        model = bp.Sequential([L.Dense(units, use_bias=False, kernel_initializer="zeros")], seed=0)
        model.compile(O.SGD(1e-3 / scale**2), "half_squared_error")
        model.fit(x * np.float32(scale), y, batch_size=8, verbose=0, shuffle=False)
        found.append(model.get_weights()[0] * np.float32(scale))
    assert np.array_equal(*found)


@pytest.mark.parametrize("name", ["SGD", "momentum", "Adam"])
def test_gradients_that_wait_for_a_rest_of_accumulate_steps(name):
    rate = lambda step: 1e-3 if step < 1 else 1e39  # noqa: E731
    batches = [(X[k : k + BATCH], Y[k : k + BATCH]) for k in (0, 16, 32)]
    model, twin = (network(made(name, rate), accumulate_steps=2) for _ in range(2))
    twin.fit(iter(batches[:2]), verbose=0)
    with pytest.raises(bp.TrainingDiverged) as told:
        model.fit(iter(batches), verbose=0)
    assert (told.value.tensor, told.value.batch) == ("update", 2)
    mine, others = state(model), state(twin)
    assert model.optimizer.iterations == 1
    for weight, other in zip(model.weights, twin.weights, strict=True):
        if "moving" not in weight.name:  # statistics move with each batch, also with the third
            assert np.array_equal(weight.value, other.value)
    assert mine[len(model.weights) :] == others[len(model.weights) :]


def test_one_batch():
    model = network(O.Adam(1e-3))
    model.train_on_batch(X, Y)
    before = state(model)
    model.optimizer.learning_rate = 1e39
    with pytest.raises(bp.TrainingDiverged, match="update of layer 'dense"):
        model.train_on_batch(X, Y)
    assert state(model) == before


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adadelta"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_the_callers_own(dtype, name):
    """Their update shares the optimizer's state with that of fit."""
    model = network(made(name, 1e-3), dtype)
    model.fit(X, Y, batch_size=BATCH, verbose=0)
    gradients = [np.ones_like(p.value) for p in model.trainable_weights]
    model.apply_gradients(gradients)
    before = state(model)
    gradients[0][3, 5] = np.finfo(dtype).max
    if name == "SGD":
        model.optimizer.learning_rate = 1e3
    with pytest.raises(bp.TrainingDiverged, match="update of layer 'dense'") as told:
        model.apply_gradients(gradients)
    assert (told.value.layer, told.value.tensor) == ("dense", "update")
    assert state(model) == before
    gradients[0][3, 5] = 1.0
    model.optimizer.learning_rate = 1e-3
    model.apply_gradients(gradients)
    model.fit(X, Y, batch_size=BATCH, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_slots_that_another_way_of_training_made_large():
    """The bounds of fit's steps know of them: -1e38 of the velocity and 3e38 of rate 1 overflow."""
    model = one(optimizer=O.SGD(1.0, momentum=0.999))
    x, y = np.zeros((4, 3)), np.zeros((4, 2))
    model.fit(x, y, verbose=0)
    large = [np.full_like(p.value, -2e38) for p in model.trainable_weights]
    model.apply_gradients(large)
    before = state(model)
    with pytest.raises(bp.TrainingDiverged):
        model.fit(x, y, verbose=0)
    assert state(model) == before


def test_backward_of_ones_own_adds_nothing_that_is_not_finite():
    model = bp.Sequential([bp.Input((3,)), L.Dense(2, kernel_initializer="zeros", name="one")])
    model.compile("sgd", "mse")
    model.forward(np.full((4, 3), 1e30, np.float32), training=True)
    with pytest.raises(bp.TrainingDiverged) as told:
        model.backward(np.full((4, 2), 1e20, np.float32))
    assert (told.value.layer, told.value.tensor) == ("one", "gradient")
    assert not any(p.grad.any() for p in model.trainable_weights)


def test_the_best_weights_come_back():
    model = network(O.SGD(lambda step: 1e-3 if step < 8 else 1e39))
    keep = bp.callbacks.EarlyStopping("loss", patience=9)
    flaw(model, X, Y, batch_size=BATCH, epochs=4, callbacks=[keep])
    assert keep.best_epoch == 1


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_batch_normalization_of_hashes(dtype):
    """Their squares overflow: the moving variance would be Inf, and each prediction the same."""
    x = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (N, 3), dtype=dtype)
    model = bp.Sequential([bp.Input((3,)), L.BatchNormalization(), L.Dense(1)], seed=0)
    model.compile("adam", "mse")
    before = state(model)[: len(model.weights)]
    error = flaw(model, x, np.ones((N, 1)), batch_size=N)
    assert (error.layer, error.tensor) == ("batch_normalization", "statistics")
    assert "running statistics of layer 'batch_normalization'" in str(error)
    assert state(model)[: len(model.weights)] == before
    with pytest.raises(bp.TrainingDiverged):
        model.refresh_statistics(x, batch_size=N)
    layer = model.layers[0]
    with pytest.raises(bp.TrainingDiverged, match="nothing was changed"):
        layer.forward(x.astype(np.float32), training=True)
    assert state(model)[: len(model.weights)] == before


def one(dtype="float32", optimizer=None, **options):
    layer = L.Dense(2, name="one", **options)
    model = bp.Sequential([bp.Input((3,)), layer], seed=0, dtype=dtype)
    model.compile(optimizer or O.SGD(0.1), "mse")
    return model


def ends(model, x=None, scale=1.0):
    """Where a fit of one batch fails that must change nothing."""
    before = state(model)
    weights = before[: len(model.weights)]
    x = np.ones((4, 3)) if x is None else x
    error = flaw(model, x * scale, np.ones((4, 2)), batch_size=4)
    assert state(model)[: len(weights)] == weights and model.optimizer.iterations == 0
    return error.layer, error.tensor


def test_a_norm_that_overflows():
    """The squares of 1e200 overflow, and the norm with them: the scale would be Inf / Inf."""
    norm, large = bp.constraints.MaxNorm(2.0), bp.initializers.Constant(1e200)
    model = one("float64", kernel_constraint=norm, kernel_initializer=large)
    assert ends(model, scale=1e-200) == ("one", "update")


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e39])
def test_a_constraint_in_python(value):
    model = one(kernel_constraint=lambda w: np.full(w.shape, value, np.float64))
    assert ends(model) == ("one", "update")


def test_penalties():
    large = bp.initializers.Constant(1e12)
    l2 = bp.regularizers.L2(1e30)
    model = one(kernel_regularizer=l2, kernel_initializer=large)
    assert ends(model, scale=1e-12) == ("one", "gradient")
    model = one(optimizer=O.SGD(1000.0), kernel_regularizer=bp.regularizers.L2(1e36))
    assert ends(model) == ("one", "update")

    class Steep(bp.regularizers.Regularizer):
        def value(self, w):
            return 0.0

        def gradient(self, w):
            return np.full_like(w, 3e38)

    model = one(optimizer=O.SGD(100.0), kernel_regularizer=Steep())
    assert ends(model) == ("one", "update")


def test_a_layer_in_python():
    class Scaled(L.Layer):
        def build(self, input_shape):
            self.w = self.add_weight("w", (1,), initializer="zeros")
            super().build(input_shape)

        def compute_output_shape(self, input_shape):
            return input_shape

        def forward(self, x, training=False):
            return x * self.w.value

        def backward(self, dy):
            self.w.grad[...] = 3e38
            return dy

    model = bp.Sequential([bp.Input((3,)), Scaled(name="mine")], seed=0)
    model.compile(O.SGD(10.0), "mse")
    before = state(model)[:1]
    error = flaw(model, np.ones((4, 3)), np.ones((4, 3)), batch_size=4)
    assert (error.layer, error.tensor) == ("mine", "update")
    assert state(model)[:1] == before


@pytest.mark.parametrize(
    "name", ["Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Adagrad", "Adadelta"]
)
def test_an_epsilon_that_is_0_in_float32_is_refused(name):
    optimizer = getattr(bp.optimizers, name)(epsilon=1e-50)
    with pytest.raises(ValueError, match="is 0 in float32"):
        one(optimizer=optimizer)
    model = one("float64", getattr(bp.optimizers, name)(epsilon=1e-50))
    model.fit(np.ones((8, 3)), np.ones((8, 2)), verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def described(layer, shape):
    model = bp.Sequential([bp.Input(shape), layer, L.Flatten(), L.Dense(1)], seed=0)
    model.compile("sgd", "mse")
    return model._engine.trainer("train", model._compilation).describe()


THROUGH_TIME = {"SimpleRNN", "LSTM", "GRU", "Bidirectional"}  # gradients may grow from step to step


def test_few_layers_of_ours_are_always_in_doubt():
    """Their gradients are looked at, or updates made twice: else an operation has to bound them."""
    looked_at, twice = "all are looked at before the update", "updates: on a copy first"
    for case in cases.LAYERS:
        if len(case.shapes) == 1 and case.kind not in THROUGH_TIME:
            text = described(case.make(L), case.shapes[0])
            assert looked_at not in text and twice not in text, case.id
    assert twice in described(L.Dense(2, kernel_constraint=lambda w: w), (3,))
    text = described(L.LSTM(2), (4, 3))
    assert looked_at in text and twice not in text


def test_a_recurrent_layer_whose_gradient_overflows():
    """Each step multiplies the gradient of the one before: 1e10 by 1e10 by 1e10 and so on."""
    start = {"kernel_initializer": "zeros", "bias_initializer": "zeros"}
    large = bp.initializers.Constant(1e10)
    cell = L.SimpleRNN(1, "linear", recurrent_initializer=large, name="loop", **start)
    model = bp.Sequential([bp.Input((8, 1)), cell], seed=0)
    model.compile(O.Adam(), "mse")
    before = state(model)[:3]
    error = flaw(model, np.ones((4, 8, 1)), np.ones((4, 1)), batch_size=4)
    assert (error.layer, error.tensor) == ("loop", "gradient")
    assert state(model)[:3] == before and model.optimizer.iterations == 0
