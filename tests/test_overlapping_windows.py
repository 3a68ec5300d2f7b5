"""`fit(bptt=(h, h'))`: passes over the last h steps through activations as they were computed."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core
from bpcore.data.dataset import Form

from .helpers import support

L = bp.layers


class Twin:
    """SimpleRNN and Dense in NumPy, that keeps h_t of each step and goes back with the weights that
    it has by then."""

    def __init__(self, weights, rate, l2=0.0, clip=np.inf):
        self.w, self.r, self.b, self.v, self.c = (np.array(a) for a in weights)
        self.rate, self.l2, self.clip = rate, l2, clip
        self.losses = []  # of each pass: sum of squares, how many, and the penalty before it

    def fit(self, x, y, mask, h, every, recompute=False):
        n, steps, _ = x.shape
        states = [np.zeros((n, len(self.r)))]  # h_{-1}, h_0, ..
        for at in range(0, steps, every):
            end = min(at + every, steps)
            begin = max(0, end - h)
            for t in range(begin if recompute else at, end):
                new = np.tanh(x[:, t] @ self.w + states[t] @ self.r + self.b)
                states[t + 1 :] = [np.where(mask[:, t, None], new, states[t])]
            if mask[:, at:end].any():
                self.back(x, y, mask, states, (begin, at, end))

    def back(self, x, y, mask, states, place):
        begin, at, end = place
        count = mask[:, at:end].sum() * y.shape[2]
        sums = [np.zeros_like(a) for a in (self.w, self.r, self.b, self.v, self.c)]
        sums[3] += 2 * self.l2 * self.v
        self.losses.append([0.0, count, self.l2 * (self.v**2).sum()])
        dh = np.zeros_like(states[0])
        for t in reversed(range(begin, end)):
            valid = mask[:, t, None]
            if t >= at:
                d = valid * 2 * (states[t + 1] @ self.v + self.c - y[:, t]) / count
                self.losses[-1][0] += ((d * count / 2) ** 2).sum()
                sums[3] += states[t + 1].T @ d
                sums[4] += d.sum(axis=0)
                dh = dh + d @ self.v.T
            dz = valid * dh * (1 - states[t + 1] ** 2)
            sums[0] += x[:, t].T @ dz
            sums[1] += states[t].T @ dz
            sums[2] += dz.sum(axis=0)
            dh = np.where(valid, dz @ self.r.T, dh)
        norm = np.sqrt(sum((g**2).sum() for g in sums))
        for a, g in zip(self.weights, sums, strict=True):
            a -= self.rate * min(1, self.clip / norm) * g

    @property
    def weights(self):
        return self.w, self.r, self.b, self.v, self.c


def model_of(*layers, features=3, optimizer=None, **options):
    compiled = {k: options.pop(k) for k in ("accumulate_steps", "gradient_clip_norm", "metrics")
                if k in options}  # fmt: skip
    options = {"seed": 0, "dtype": "float64", **options}
    model = bp.Sequential([bp.Input((None, features)), *layers], **options)
    model.compile(optimizer or bp.optimizers.SGD(0.5), "mse", **compiled)
    return model


def plain(**options):
    return model_of(L.SimpleRNN(4, return_sequences=True), L.Dense(2), **options)


LENGTHS = [11, 7, 4, 9, 11]


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("bptt", [(5, 2), (4, 2), (3, 1), (11, 1), (7, 4), (20, 3), (11, 10)])
def test_activations_are_those_of_their_time(bptt, ragged, rng):
    lengths = LENGTHS if ragged else [11] * 5
    x, y = rng.normal(size=(5, 11, 3)), rng.normal(size=(5, 11, 2))
    mask = np.arange(11) < np.array(lengths)[:, None]
    model = plain()
    twin, other = (Twin(model.get_weights(), 0.5) for _ in range(2))
    xs = [a[:n] for a, n in zip(x, lengths, strict=True)]
    ys = [a[:n] for a, n in zip(y, lengths, strict=True)]
    model.fit(xs, ys, bptt=bptt, batch_size=5, shuffle=False, verbose=0)
    twin.fit(x, y, mask, *bptt)
    for a, b in zip(model.get_weights(), twin.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
    if bptt[1] < 10:  # the way of the releases before: steps gone through once more
        other.fit(x, y, mask, *bptt, recompute=True)
        gap = max(np.abs(a - b).max() for a, b in zip(twin.weights, other.weights, strict=True))
        assert gap > 1e-3


def test_penalties_limits_and_logs_are_of_the_pass(rng):
    x, y = rng.normal(size=(5, 11, 3)), rng.normal(size=(5, 11, 2))
    model = model_of(
        L.SimpleRNN(4, return_sequences=True),
        L.Dense(2, kernel_regularizer=bp.regularizers.L2(0.1)),
        gradient_clip_norm=0.5,
        metrics=["mse"],
    )
    twin = Twin(model.get_weights(), 0.5, l2=0.1, clip=0.5)
    h = model.fit(x, y, bptt=(7, 4), batch_size=5, shuffle=False, verbose=0).history
    twin.fit(x, y, np.ones((5, 11), bool), 7, 4)
    for a, b in zip(model.get_weights(), twin.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
    mean = sum(loss for loss, _, _ in twin.losses) / sum(count for _, count, _ in twin.losses)
    assert h["mse"][0] == pytest.approx(mean, rel=1e-12)
    penalty = np.mean([penalty for _, _, penalty in twin.losses])
    assert h["loss"][0] == pytest.approx(mean + penalty, rel=1e-12)


class Shift(L.Layer):
    """x + b in Python, and tanh of it, which backward needs."""

    def build(self, input_shape):
        self.b = self.add_weight("b", (input_shape[-1],), "zeros")

    def forward(self, x, training=False):
        self.y = np.tanh(x + self.b.value)
        return self.y

    def backward(self, dy):
        d = dy * (1 - self.y**2)
        self.b.grad += d.sum(axis=(0, 1))
        return d


STACKS = {
    "lstm": lambda: [L.LSTM(4, return_sequences=True)],
    "gru": lambda: [L.GRU(4, return_sequences=True)],
    "gru, reset before": lambda: [L.GRU(4, return_sequences=True, reset_after=False)],
    "two": lambda: [L.LSTM(4, return_sequences=True), L.GRU(3, return_sequences=True)],
    "delay": lambda: [L.Dense(3, "tanh"), L.TappedDelay(4)],
    "delay of data": lambda: [L.TappedDelay(2), L.SimpleRNN(3, return_sequences=True)],
    "causal": lambda: [
        L.Dense(3),
        L.Conv1D(4, 3, padding="causal"),
        L.GRU(3, return_sequences=True),
    ],
    "normalised": lambda: [L.LayerNormalization(), L.SimpleRNN(3, return_sequences=True)],
    "python": lambda: [L.Dense(3), Shift(), L.SimpleRNN(3, return_sequences=True), Shift()],
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("bptt", [(5, 2), (6, 3), (12, 1)])
def test_without_an_update_between_them_passes_sum_to_gradients(name, bptt, rng):
    """One update of their mean, against `gradients`, which goes over each pass as a whole."""
    x, y = rng.normal(size=(3, 12, 3)), rng.normal(size=(3, 12, 2))
    passes = 12 // bptt[1]
    model = model_of(*STACKS[name](), L.Dense(2), optimizer=bp.optimizers.SGD(1.0),
                     accumulate_steps=passes)  # fmt: skip
    before = {p.name: p.value.copy() for p in model.weights}
    found = model.gradients(x, y, bptt=bptt).parameters
    model.fit(x, y, bptt=bptt, batch_size=3, verbose=0)
    assert model.optimizer.iterations == 1
    for p in model.trainable_weights:
        np.testing.assert_allclose(
            before[p.name] - p.value, found[p.name], rtol=0, atol=1e-12, err_msg=p.name
        )


class Counting(L.Layer):
    """x, how often it was gone through, and a number that others assign."""

    def build(self, input_shape):
        self.calls, self.told = 0, 0

    def forward(self, x, training=False):
        self.calls += 1
        return x * 1.0

    def backward(self, dy):
        return dy


@pytest.mark.parametrize("bptt, stretches", [((5, 2), 9), ((7, 4), 4), ((11, 10), 2)])
def test_layers_in_python_do_not_go_back_in_time(bptt, stretches, rng):
    """A pass leaves them as the last step did, with what callbacks have assigned."""
    x, y = rng.normal(size=(4, 11, 3)), rng.normal(size=(4, 11, 2))
    model = model_of(L.Dense(3), Counting(), L.SimpleRNN(3, return_sequences=True), L.Dense(2))
    layer = next(layer for layer in model.layers if isinstance(layer, Counting))

    def tell(batch, logs):
        layer.told = batch

    model.fit(x, y, bptt=bptt, batch_size=4, verbose=0,
              callbacks=[bp.callbacks.LambdaCallback(on_train_batch_begin=tell)])  # fmt: skip
    assert (layer.calls, layer.told) == (stretches, -(-11 // bptt[1]) - 1)


@pytest.mark.parametrize("bptt", [(5, 2), (7, 4)])
def test_layers_in_python_and_tables_keep_their_activations(bptt, rng):
    """Against built-in layers that compute the same, at a rate at which recomputing would show."""
    x, y = rng.integers(0, 3000, size=(4, 11)), rng.normal(size=(4, 11, 2))
    once = np.unique(x, return_inverse=True)[1].reshape(x.shape)
    rows = rng.normal(size=(3000, 3))
    rest = lambda: [L.SimpleRNN(3, return_sequences=True), L.Dense(2)]  # noqa: E731
    table = bp.Sequential(
        [bp.Input((None,)), L.Embedding(3000, 3), Shift(), *rest()],
        dtype="float64", seed=0)  # fmt: skip
    table.compile(bp.optimizers.SGD(0.5), "mse")
    hot = np.eye(once.max() + 1)[once]
    model = model_of(L.Dense(3, "tanh"), *rest(), features=hot.shape[-1])
    weights = table.get_weights()
    weights[0] = rows
    table.set_weights(weights)
    model.set_weights([rows[np.unique(x)], *weights[1:]])
    for m, data in ((table, x), (model, hot)):
        m.fit(data, y, bptt=bptt, batch_size=4, epochs=2, shuffle=False, verbose=0)
    found, expected = table.get_weights(), model.get_weights()
    found[0] = found[0][np.unique(x)]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


class Own(bp.losses.Loss):
    """The mean squared error in Python."""

    def value(self, y_true, y_pred):
        return ((y_pred - y_true) ** 2).mean(axis=-1)

    def gradient(self, y_true, y_pred):
        return 2 * (y_pred - y_true) / y_pred.shape[-1]


@pytest.mark.parametrize("bptt", [(5, 2), (7, 4)])
def test_losses_in_python_and_weights_are_of_the_pass(bptt, rng):
    x, y = rng.normal(size=(5, 11, 3)), rng.normal(size=(5, 11, 2))
    mask = np.arange(11) < np.array(LENGTHS)[:, None]
    told = {"mask": mask, "sample_weight": rng.uniform(size=(5, 11)), "bptt": bptt}
    one, two = plain(), plain()
    two.compile(bp.optimizers.SGD(0.5), Own())
    found = [m.fit(x, y, batch_size=5, verbose=0, shuffle=False, **told) for m in (one, two)]
    assert found[0].history["loss"][0] == pytest.approx(found[1].history["loss"][0], rel=1e-12)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("k", [2, 11])
def test_windows_that_do_not_overlap_are_those_of_a_number(k, rng):
    x, y = rng.normal(size=(5, 11, 3)), rng.normal(size=(5, 11, 2))
    one, two = plain(), plain()
    one.fit(x, y, bptt=k, verbose=0)
    two.fit(x, y, bptt=(k, k), verbose=0)
    assert support.weights_hash(one) == support.weights_hash(two)


def test_padding_decides_nothing(rng):
    """A list, and arrays that go on behind its longest sequence: where the last pass begins."""
    xs = [rng.normal(size=(n, 3)) for n in (11, 4, 9)]
    ys = [rng.normal(size=(n, 2)) for n in (11, 4, 9)]
    found = set()
    for steps in (None, 11, 12, 17):
        x, y, told = xs, ys, {"bptt": (5, 3), "batch_size": 3, "epochs": 2, "verbose": 0}
        if steps is not None:
            x, y = np.full((3, steps, 3), 7.0), np.full((3, steps, 2), 7.0)
            for i, (a, b) in enumerate(zip(xs, ys, strict=True)):
                x[i, : len(a)], y[i, : len(b)] = a, b
            told["mask"] = np.arange(steps) < np.array([11, 4, 9])[:, None]
        model = model_of(L.LSTM(6, return_sequences=True), L.Dense(2))
        sums = model.gradients(x, y, mask=told.get("mask"), bptt=(5, 3))
        model.fit(x, y, **told)
        found.add((support.weights_hash(model), sums.loss))
    assert len(found) == 1


def test_threads_change_no_bit(rng):
    """Every stretch of enough work for as many as there are."""
    x, y = rng.normal(size=(120, 11, 3)), rng.normal(size=(120, 11, 2))
    found = set()
    for n in (1, 2, 3):
        with bp.threads(n, exact=True):
            model = model_of(L.LSTM(48, return_sequences=True, dropout=0.2), L.TappedDelay(2),
                             L.BatchNormalization(), L.Dense(2), dtype="float32",
                             optimizer="adam")  # fmt: skip
            model.fit(x, y, bptt=(7, 4), batch_size=60, epochs=2, verbose=0)
            for steps in (1, 3, 4):
                engine = model._engine.formed(Form((steps,), frozenset()))
                told = engine.trainer("stretches", model._compilation).describe()
                assert f"threads at batch 60: {n}\n" in told
        found.add(support.weights_hash(model))
    assert len(found) == 1


def test_a_loss_that_is_not_finite_changes_no_weight(rng):
    x, y = rng.normal(size=(5, 11, 3)), rng.normal(size=(5, 11, 2))
    y[2, 1, 0] = 1e308
    model = plain()
    before = support.weights_hash(model)
    with pytest.raises(bp.errors.TrainingDiverged):
        model.fit(x, y, bptt=(5, 2), verbose=0)
    assert support.weights_hash(model) == before


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("bptt", [4, (5, 2), (7, 4)])
def test_the_row_of_a_loss_that_is_not_finite_is_that_of_the_data(bptt, shuffle, rng):
    x, y = rng.normal(size=(12, 11, 3)), rng.normal(size=(12, 11, 2))
    y[7, 6] = 1e308
    with pytest.raises(bp.errors.TrainingDiverged, match=r"\(row 7 of x\)") as told:
        plain().fit(x, y, bptt=bptt, batch_size=5, shuffle=shuffle, verbose=0)
    assert told.value.sample == 7


class Breaks(L.Layer):
    """x; backward is interrupted."""

    broken = False

    def forward(self, x, training=False):
        return x * 1.0

    def backward(self, dy):
        if self.broken:
            raise KeyboardInterrupt
        return dy


def broken_metric(y_true, y_pred):
    if np.abs(y_true).max() > 50:
        raise ArithmeticError
    return 0.0


FAILS = {  # in the second stretch of a pass, going back, in the update, in a metric, by Ctrl-C
    "loss": (lambda m, x, y: y.__setitem__((0, 2, 0), 1e308), bp.errors.TrainingDiverged),
    "gradient": (
        lambda m, x, y: (x.__setitem__((slice(None), 1), 1e200), y.__setitem__((0, 1), 1e120)),
        bp.errors.TrainingDiverged,
    ),
    "update": (
        lambda m, x, y: (setattr(m.optimizer, "learning_rate", 1e308), np.add(y, 1e3, y)),
        bp.errors.TrainingDiverged,
    ),
    "metric": (lambda m, x, y: y.__setitem__((0, 2, 0), 100.0), ArithmeticError),
    "metric at once": (lambda m, x, y: y.__setitem__((0, 0, 0), 100.0), ArithmeticError),
    "interrupt": (lambda m, x, y: setattr(m.layers[-3], "broken", True), KeyboardInterrupt),
}


@pytest.mark.parametrize("name", FAILS)
def test_a_pass_that_fails_leaves_nothing(name, rng):
    """No running statistics, no random numbers: the model goes on as one that has not tried."""
    x, y = rng.normal(size=(5, 11, 3)), rng.normal(size=(5, 11, 2))
    one, two = (
        model_of(
            L.Dense(3),
            L.BatchNormalization(),
            L.Dropout(0.3),
            Breaks() if name == "interrupt" else L.Activation("linear"),
            L.SimpleRNN(4, return_sequences=True),
            L.Dense(2),
            metrics=[broken_metric] if "metric" in name else [],
        )
        for _ in range(2)
    )
    change, error = FAILS[name]
    told = {"bptt": (5, 2) if name == "gradient" else (7, 4), "shuffle": False, "verbose": 0}
    bad_x, bad_y = x.copy(), y.copy()
    change(one, bad_x, bad_y)
    with pytest.raises(error):
        one.fit(bad_x, bad_y, **told)
    assert support.weights_hash(one) == support.weights_hash(two)
    one.optimizer.learning_rate = 0.5
    one.layers[-3].broken = False
    for model in (one, two):
        model.fit(x, y, **told)
    assert support.weights_hash(one) == support.weights_hash(two)


def test_what_needs_the_values_of_one_batch_is_refused(rng):
    x, y = rng.normal(size=(5, 11, 3)), rng.normal(size=(5, 11, 2))
    model = plain(optimizer=bp.optimizers.KFAC())
    before = support.weights_hash(model)
    with pytest.raises(ValueError, match=r"KFAC.*windows that overlap.*bptt=k"):
        model.fit(x, y, bptt=(5, 2), verbose=0)
    assert support.weights_hash(model) == before


def test_layers_may_be_frozen_between_windows(rng):
    """A pass goes back to where they were, and no further: frozen weights stay as they are."""
    x, y = rng.normal(size=(4, 12, 3)), rng.normal(size=(4, 12, 2))
    model = model_of(L.SimpleRNN(4, return_sequences=True), L.SimpleRNN(3, return_sequences=True),
                     L.Dense(2))  # fmt: skip
    held = []

    def freeze(batch, logs):
        if batch == 2:
            model.layers[0].trainable = False
            held.append(model.get_weights())

    model.fit(x, y, bptt=(5, 2), batch_size=4, verbose=0,
              callbacks=[bp.callbacks.LambdaCallback(on_train_batch_end=freeze)])  # fmt: skip
    same = [support.same_bits(a, b) for a, b in zip(held[0], model.get_weights(), strict=True)]
    assert same == [True] * 3 + [False] * 5


@pytest.mark.parametrize("bptt", [2, (5, 2)])
def test_layers_are_not_frozen_while_gradients_wait(bptt, rng):
    """Two of one size: what waits of the one is not taken for the other's."""
    x, y = rng.normal(size=(4, 12, 3)), rng.normal(size=(4, 12, 2))
    model = model_of(L.Dense(3), L.Dense(3), L.SimpleRNN(3, return_sequences=True), L.Dense(2),
                     accumulate_steps=2)  # fmt: skip
    first, second = [layer for layer in model.layers if layer.weights][:2]
    first.trainable = False

    def change(batch, logs):
        first.trainable, second.trainable = True, False

    with pytest.raises(ValueError, match=r"other weights wait.*after an update"):
        model.fit(x, y, bptt=bptt, batch_size=4, verbose=0,
                  callbacks=[bp.callbacks.LambdaCallback(on_train_batch_end=change)])  # fmt: skip


class Plain(bp.credit.Rule):
    """Backpropagation, as a rule."""

    def wire(self, net):
        net.whole()


def test_a_rule_goes_back_through_what_was_kept(rng):
    """As backpropagation does; with a layer in Python it is refused by name."""
    x, y = rng.normal(size=(5, 11, 3)), rng.normal(size=(5, 11, 2))
    one, two = plain(), plain()
    two.compile(bp.optimizers.SGD(0.5), "mse", credit=Plain())
    for model in (one, two):
        model.fit(x, y, bptt=(5, 2), batch_size=5, shuffle=False, verbose=0)
    assert support.weights_hash(one) == support.weights_hash(two)
    own = model_of(L.SimpleRNN(3, return_sequences=True), Shift(name="shift"), L.Dense(2))
    own.compile("sgd", "mse", credit=Plain())
    before = support.weights_hash(own)
    with pytest.raises(ValueError, match="'shift' is code of your own"):
        own.fit(x, y, bptt=(5, 2), verbose=0)
    assert support.weights_hash(own) == before


def test_a_stretch_of_the_core_has_memory_for_what_it_is_asked():
    model = plain()
    trainer = model._engine.trainer("stretches", model._compilation)
    one, two = (_core.StretchFloat64(trainer) for _ in range(2))
    for call in (one.kept, lambda: one.size, lambda: one.set_kept(np.zeros(3)), one.undo,
                 lambda: one.forward(None, [3], True)):  # fmt: skip
        with pytest.raises(ValueError, match="stretch"):
            call()
    one.make_room(2)
    a = one.size
    two.make_room(50)
    one.make_room(50)  # of which the trainer knows already
    assert one.size == 25 * a == two.size
    found = np.arange(one.size, dtype=np.float64)
    one.set_kept(found)
    assert not two.kept().any() and np.array_equal(one.kept(), found)
