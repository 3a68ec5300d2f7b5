"""Optimizers: 100 steps against PyTorch's numbers in float64, float32 close, slots, schedules."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core

from .helpers import support

DATA = support.load("torch")["optimizers"]
ROWS = {row["name"]: row for row in DATA["rows"]}


def network(optimizer, dtype="float64"):
    layers = [bp.layers.Dense(4, activation="tanh"), bp.layers.Dense(2)]
    model = bp.Sequential(layers, dtype=dtype, seed=0)
    model.build((3,))
    model.set_weights([np.array(a) for a in DATA["start"]])
    model.compile(optimizer=optimizer, loss="mse")
    return model


def run(model, steps):
    x, y = np.array(DATA["x"]), np.array(DATA["y"])
    for _ in range(steps):
        model.train_on_batch(x, y)
    return model.get_weights()


def make(row):
    return getattr(bp.optimizers, row["class"])(**row["arguments"])


@pytest.mark.parametrize("name", ROWS)
def test_100_steps_as_pytorch(name):
    row = ROWS[name]
    model, done = network(make(row)), 0
    for step, expected in row["weights"].items():
        found = run(model, int(step) - done)
        done = int(step)
        for a, b in zip(found, expected, strict=True):
            error = support.relative_error(a, b)
            assert error <= 1e-12, f"{name}, step {step}: {error:.2e}"


# Signs of gradients near zero decide whole steps of these in float32.
@pytest.mark.parametrize("name", [n for n in ROWS if n not in ("rprop", "lion", "lion_decay")])
def test_100_steps_in_float32(name):
    found = run(network(make(ROWS[name]), "float32"), 100)
    for a, b in zip(found, ROWS[name]["weights"]["100"], strict=True):
        assert support.relative_error(a, b) <= 1e-5 * (40 if "ada" in name else 1)


@pytest.mark.parametrize("name", ROWS)
def test_fit_takes_the_same_steps(name):
    """The epoch loop with whole batches is train_on_batch repeated, to the bit."""
    by_batch, by_fit = network(make(ROWS[name])), network(make(ROWS[name]))
    run(by_batch, 7)
    by_fit.fit(np.array(DATA["x"]), np.array(DATA["y"]), batch_size=6, epochs=7, shuffle=False,
               verbose=0)  # fmt: skip
    for a, b in zip(by_batch.get_weights(), by_fit.get_weights(), strict=True):
        assert support.same_bits(a, b)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("n", [1, 3, 8, 16, 17, 33])
def test_every_weight_is_updated_alike(name, n):
    """All elements equal before, equal gradients: equal after, whatever the lane or the tail."""
    model = bp.Sequential([bp.layers.Dense(n, use_bias=False)], seed=0)
    model.build((1,))
    model.set_weights([np.full((1, n), 0.25)])
    model.compile(optimizer=make(ROWS[name]), loss="half_squared_error")
    for _ in range(3):
        model.train_on_batch(np.ones((2, 1)), np.full((2, n), 3.0))
    w = model.get_weights()[0]
    assert (w == w[0, 0]).all() and w[0, 0] != 0.25


def test_frozen_weights_stay(rng):
    for name, row in ROWS.items():
        model = network(make(row))
        model.layers[0].trainable = False
        model.compile(optimizer=make(row), loss="mse")
        before = model.get_weights()
        after = run(model, 3)
        assert support.same_bits(before[0], after[0]) and support.same_bits(before[1], after[1])
        assert not np.array_equal(before[2], after[2]), name


def test_default_arguments_are_pytorchs():
    assert bp.optimizers.Adam().epsilon == 1e-8
    for kind, rate in {"SGD": 0.01, "Adagrad": 0.01, "RMSprop": 0.01, "Adadelta": 1.0,
                       "Adam": 1e-3, "AdamW": 1e-3, "Adamax": 2e-3, "Nadam": 2e-3, "Lion": 1e-4,
                       "Rprop": 0.01}.items():  # fmt: skip
        assert getattr(bp.optimizers, kind)().learning_rate == rate


@pytest.mark.parametrize("alias", ["sgd", "adam", "AdamW", "rmsprop", "nadam", "lion"])
def test_optimizer_by_name(alias):
    run(network(alias), 2)


def test_learning_rate_can_be_read_and_assigned():
    model = network(bp.optimizers.SGD(0.1))
    assert model.optimizer.learning_rate == 0.1
    model.optimizer.learning_rate = 0.2
    other = network(bp.optimizers.SGD(0.2))
    for a, b in zip(run(model, 3), run(other, 3), strict=True):
        assert support.same_bits(a, b)


SCHEDULES = {
    "Constant": (lambda S: S.Constant(0.1), lambda k: 0.1),
    "Cosine": (lambda S: S.Cosine(0.1, 10), lambda k: 0.05 * (1 + np.cos(np.pi * min(k, 10) / 10))),
    "Cosine_alpha": (lambda S: S.Cosine(0.1, 10, alpha=0.2),
                     lambda k: 0.1 * (0.8 * 0.5 * (1 + np.cos(np.pi * min(k, 10) / 10)) + 0.2)),
    "callable": (lambda S: lambda step: 0.1 / (1 + step), lambda k: 0.1 / (1 + k)),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("how", ["fit", "train_on_batch"])
def test_schedule_is_followed_step_by_step(name, how):
    """With a constant gradient of 1 the weight falls by the sum of the rates."""
    make_schedule, rate = SCHEDULES[name]
    model = bp.Sequential([bp.layers.Dense(1, use_bias=False)], dtype="float64", seed=0)
    model.build((1,))
    model.set_weights([[[0.0]]])
    model.compile(optimizer=bp.optimizers.SGD(make_schedule(bp.schedules)), loss="mae")
    x, y = np.ones((14, 1)), np.full((14, 1), -100.0)
    if how == "fit":
        model.fit(x, y, batch_size=1, epochs=1, shuffle=False, verbose=0)
    else:
        for i in range(14):
            model.train_on_batch(x[i : i + 1], y[i : i + 1])
    total = -sum(rate(k) for k in range(14))
    assert model.get_weights()[0][0, 0] == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("value", [np.nan, None, -1.0, "x"])
def test_schedule_that_returns_nonsense(value):
    """The steps before it count; the error names the step."""
    model = network(bp.optimizers.SGD(lambda step: 0.1 if step < 3 else value))
    x, y = np.array(DATA["x"]), np.array(DATA["y"])
    with pytest.raises(ValueError, match=r"(?s)schedule.*step 3|step 3.*schedule"):
        model.fit(x, y, batch_size=6, epochs=9, shuffle=False, verbose=0)
    expected = run(network(bp.optimizers.SGD(0.1)), 3)
    for a, b in zip(model.get_weights(), expected, strict=True):
        assert support.same_bits(a, b)


def test_schedule_that_raises():
    def schedule(step):
        if step == 2:
            raise KeyError("mine")
        return 0.1

    model = network(bp.optimizers.SGD(schedule))
    with pytest.raises((ValueError, KeyError)) as caught:
        model.fit(np.array(DATA["x"]), np.array(DATA["y"]), batch_size=6, epochs=9, verbose=0)
    cause = caught.value if isinstance(caught.value, KeyError) else caught.value.__cause__
    assert isinstance(cause, KeyError)


def test_core_knows_the_same_optimizers():
    assert {"sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "amsgrad",
            "adamax", "nadam", "lion", "rprop"} <= set(_core.optimizer_names())  # fmt: skip


def test_mlp_trajectory_as_pytorch(torch_numbers):
    """Five epochs of a 6-8-5-3 network in batches, in order: losses and weights."""
    t = torch_numbers["trajectory"]
    for name, optimizer in (
        ("sgd", bp.optimizers.SGD(0.1, momentum=0.9)),
        ("adam", bp.optimizers.Adam(0.01)),
    ):
        layers = [bp.layers.Dense(8, "relu"), bp.layers.Dense(5, "tanh"), bp.layers.Dense(3)]
        model = bp.Sequential(layers, dtype="float64", seed=0)
        model.build((6,))
        model.set_weights([np.array(a) for a in t["start"]])
        model.compile(optimizer=optimizer, loss="cross_entropy")
        history = model.fit(np.array(t["x"]), np.array(t["labels"]), batch_size=t["batch"],
                            epochs=5, shuffle=False, verbose=0)  # fmt: skip
        expected = t["runs"][name]
        np.testing.assert_allclose(history.history["loss"], expected["loss"], rtol=1e-12)
        for a, b in zip(model.get_weights(), expected["weights"], strict=True):
            assert support.relative_error(a, b) <= 1e-12


# ---- settings that change under way --------------------------------------------------------------


class OnOneWeight:
    """y = w x by the squared error, with SGD and momentum by their formula."""

    x, y = np.array([[1.0], [3.0]]), np.array([[2.0], [-1.0]])

    def __init__(self):
        self.w, self.v, self.settings = 0.5, 0.0, {"learning_rate": 0.05, "momentum": 0.9}
        layers = [bp.Input((1,)), bp.layers.Dense(1, use_bias=False, kernel_initializer=[[0.5]])]
        self.model = bp.Sequential(layers, dtype="float64", seed=0)
        self.model.compile(bp.optimizers.SGD(0.05, momentum=0.9), "mse")

    def change(self, **settings):
        self.settings.update(settings)
        for name, value in settings.items():
            setattr(self.model.optimizer, name, value)

    def step(self):
        g = float(np.mean(2 * (self.w * self.x - self.y) * self.x))
        self.v = self.settings["momentum"] * self.v + g
        self.w -= self.settings["learning_rate"] * self.v

    def same(self):
        return abs(self.model.weights[0].value[0, 0] - self.w) < 1e-12


STEPS = {
    "train_on_batch": lambda m, x, y: m.train_on_batch(x, y),
    "fit": lambda m, x, y: m.fit(x, y, batch_size=2, verbose=0),
    "apply_gradients": lambda m, x, y: m.apply_gradients(m.gradients(x, y).parameters),
}


@pytest.mark.parametrize("step", STEPS)
def test_settings_assigned_between_steps_count_at_once(step):
    net = OnOneWeight()
    for change in ({}, {}, {"momentum": 0.3}, {"learning_rate": 0.01}, {"momentum": 0.5}, {}):
        net.change(**change)
        STEPS[step](net.model, net.x, net.y)
        net.step()
        assert net.same(), (step, change)


@pytest.mark.parametrize("batches", [False, True])
def test_settings_assigned_between_the_epochs_of_a_fit_count_at_once(batches):
    net, plan = OnOneWeight(), [{}, {"learning_rate": 0.01}, {"learning_rate": 0.03}, {}]

    def begin(epoch, logs=None):
        net.change(**plan[epoch])
        net.step()

    options = {"epochs": 4, "verbose": 0}
    options["callbacks"] = [bp.callbacks.LambdaCallback(on_epoch_begin=begin)]
    if batches:
        net.model.fit(((net.x, net.y) for _ in plan), steps_per_epoch=1, **options)
    else:
        net.model.fit(net.x, net.y, batch_size=2, **options)
    assert net.same()


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_train_batch_begin", "on_train_batch_end"])
@pytest.mark.parametrize("batches", [False, True])
def test_settings_assigned_by_callbacks_count_from_the_next_batch_on(batches, hook):
    net, losses = OnOneWeight(), []
    changes = iter(
        [{"momentum": 0.3}, {"momentum": 0.0, "nesterov": False}, {"learning_rate": 0.01}]
    )

    def change(*_, logs=None):
        net.change(**next(changes, {}))

    def step(batch, logs=None):
        losses.append(float(np.mean((net.w * net.x - net.y) ** 2)))
        net.step()

    at_end = hook == "on_train_batch_end"
    first = bp.callbacks.LambdaCallback(on_train_batch_begin=step)
    second = bp.callbacks.LambdaCallback(**{hook: change})
    options = {
        "epochs": 3,
        "verbose": 0,
        "callbacks": [first, second] if at_end else [second, first],
    }
    if batches:
        history = net.model.fit(((net.x, net.y) for _ in range(9)), steps_per_epoch=3, **options)
    else:
        x, y = np.tile(net.x, (3, 1)), np.tile(net.y, (3, 1))
        history = net.model.fit(x, y, batch_size=2, shuffle=False, **options)
    assert net.same()
    expected = np.reshape(losses, (3, 3)).mean(axis=1)  # what was gathered before a change, too
    np.testing.assert_allclose(history.history["loss"], expected, rtol=1e-12)


def test_a_setting_that_changes_keeps_the_gradients_that_wait(rng):
    """SGD by its formula on the mean of two batches' gradients."""
    x, y = rng.normal(size=(2, 8, 1))
    layers = [bp.layers.Dense(1, use_bias=False, kernel_initializer="ones")]
    model = bp.Sequential(layers, dtype="float64", seed=0)
    model.compile(bp.optimizers.SGD(0.1, momentum=0.9), "mse", accumulate_steps=2)

    def change(batch, logs=None):
        if batch == 1:
            model.optimizer.momentum = 0.2

    hook = bp.callbacks.LambdaCallback(on_train_batch_begin=change)
    model.fit(x, y, batch_size=2, shuffle=False, verbose=0, callbacks=[hook])
    w, v = 1.0, 0.0
    for k in (0, 4):
        g = np.mean(2 * (w * x[k : k + 4] - y[k : k + 4]) * x[k : k + 4])
        v = 0.2 * v + g
        w -= 0.1 * v
    np.testing.assert_allclose(model.weights[0].value, [[w]], rtol=1e-13)


def test_a_new_compile_takes_its_own_optimizer():
    net = OnOneWeight()
    for momentum in (0.9, 0.0):
        net.model.compile(bp.optimizers.SGD(0.05, momentum=momentum), "mse")
        net.v, net.settings["momentum"] = 0.0, momentum
        for _ in range(3):
            net.model.train_on_batch(net.x, net.y)
            net.step()
        assert net.same()


def test_a_new_compile_of_the_same_optimizer_takes_its_own_loss():
    net = OnOneWeight()
    net.model.train_on_batch(net.x, net.y)
    net.model.compile(net.model.optimizer, "mae")
    net.model.set_weights([[[0.5]]])
    found = net.model.train_on_batch(net.x, net.y)
    assert found["loss"] == np.mean(np.abs(0.5 * net.x - net.y))


CHANGING = {  # what the rates of four epochs follow from, and what a callback does before each
    "a function": (
        lambda now: lambda step: now[0],
        lambda net, now, epoch: now.__setitem__(0, [0.05, 0.01, 0.02, 0.03][epoch]),
        [0.05, 0.01, 0.02, 0.03],
    ),
    "a schedule, changed": (
        lambda now: bp.schedules.Exponential(0.05, 1, 0.5),
        lambda net, now, epoch: vars(net.model.optimizer.learning_rate).update(
            initial_learning_rate=[0.05, 0.02, 0.04, 0.08][epoch]
        ),
        [0.05, 0.01, 0.01, 0.01],
    ),
    "a schedule, gone back in": (
        lambda now: bp.schedules.Exponential(0.05, 1, 0.5),
        lambda net, now, epoch: setattr(net.model.optimizer, "iterations", [3, 1, 4, 0][epoch]),
        [0.05 / 8, 0.05 / 2, 0.05 / 16, 0.05],
    ),
}


@pytest.mark.parametrize("heard", ["on_epoch_begin", "on_train_batch_begin"])
@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize("name", CHANGING)
def test_rates_that_change_between_the_epochs_of_a_fit_count_at_once(name, batches, heard):
    make, change, rates = CHANGING[name]
    now, net, epochs = [0.05], OnOneWeight(), iter(range(4))
    net.model.optimizer.learning_rate = make(now)

    def begin(*_, logs=None):
        epoch = next(epochs)
        change(net, now, epoch)
        net.settings["learning_rate"] = rates[epoch]
        net.step()

    callback = bp.callbacks.LambdaCallback(**{heard: begin})
    options = {"epochs": 4, "verbose": 0, "callbacks": [callback]}
    if batches:
        net.model.fit(((net.x, net.y) for _ in rates), steps_per_epoch=1, **options)
    else:
        net.model.fit(net.x, net.y, batch_size=2, **options)
    assert net.same()


@pytest.mark.parametrize("step", STEPS)
def test_settings_that_code_of_the_users_computes_count_at_each_step(step):
    class Growing(bp.optimizers.SGD):
        def spec(self):
            return {**super().spec(), "kind": "momentum", "momentum": 0.1 * self.iterations}

    net = OnOneWeight()
    net.model.compile(Growing(0.05), "mse")
    for k in range(5):
        net.settings["momentum"] = 0.1 * k
        STEPS[step](net.model, net.x, net.y)
        net.step()
        assert net.same(), k


def test_a_setting_that_another_thread_assigns_while_a_step_begins_is_not_lost(monkeypatch):
    net, spec = OnOneWeight(), bp.optimizers.SGD.spec

    def read(self):
        found = spec(self)
        monkeypatch.undo()  # right behind the look
        net.change(momentum=0.3)
        return found

    for changed in (False, True, False):
        if changed:
            net.change(momentum=0.5)  # so that the next step looks
            monkeypatch.setattr(bp.optimizers.SGD, "spec", read)
        else:
            net.step()
        net.model.train_on_batch(net.x, net.y)
        if changed:
            net.settings["momentum"] = 0.5  # of the step that had begun
            net.step()
            net.settings["momentum"] = 0.3
    assert net.same()


@pytest.mark.parametrize("rate", [0.05, "a schedule"])
@pytest.mark.parametrize("step", STEPS)
def test_a_momentum_that_is_assigned_changes_the_inertia_too(step, rate):
    """v = momentum v + (1 - momentum) g, by the momentum of now."""
    net = OnOneWeight()
    schedule = bp.schedules.Exponential(0.05, 1, 1.0) if rate == "a schedule" else rate
    net.model.compile(bp.optimizers.SGD(schedule, momentum=0.9, inertia=True), "mse")
    for momentum in (0.9, 0.9, 0.5, 0.5):
        net.change(momentum=momentum, learning_rate=0.05 * (1 - momentum))
        net.model.optimizer.learning_rate = schedule
        STEPS[step](net.model, net.x, net.y)
        net.step()
        assert net.same(), momentum


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (lambda: bp.optimizers.SGD(0.05), {"momentum": 0.5}),
        (lambda: bp.optimizers.SGD(0.05, momentum=0.9), {"momentum": 0.0, "weight_decay": 0.1}),
        (lambda: bp.optimizers.AdamW(0.05), {"weight_decay": 0.5, "beta_1": 0.5, "lr": 0.01}),
    ],
)
def test_settings_that_were_assigned_are_in_a_checkpoint(make, settings, tmp_path):
    net, path = OnOneWeight(), tmp_path / "model.safetensors"
    net.model.compile(make(), "mse")
    net.model.train_on_batch(net.x, net.y)
    for name, value in settings.items():
        setattr(net.model.optimizer, name, value)
    net.model.train_on_batch(net.x, net.y)
    net.model.save_checkpoint(path)
    other = bp.load_checkpoint(path)
    assert all(getattr(other.optimizer, name) == value for name, value in settings.items())
    for model in (net.model, other):
        model.train_on_batch(net.x, net.y)
    assert np.array_equal(net.model.weights[0].value, other.weights[0].value)
    with pytest.raises(AttributeError):
        net.model.optimizer.momentun = 0.5
    assert "momentun" not in net.model.optimizer.get_config()
