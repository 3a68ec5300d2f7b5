"""What a first hour meets: messages, names that complete, help, results that can be stored."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest

import bpcore as bp

L, C = bp.layers, bp.callbacks


def data(rows=64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 6))
    return x, (x @ rng.normal(size=(6, 4))).argmax(axis=1)


def network():
    model = bp.Sequential([L.Dense(4)], seed=3)
    model.compile("adam", loss="cross_entropy", metrics=["accuracy"])
    return model


def test_layers_in_a_row_instead_of_a_list():
    with pytest.raises(TypeError, match=r"one list of layers, got 2 arguments; give one list"):
        bp.Sequential(L.Dense(3), L.Dense(1))


def test_a_message_does_not_print_a_frame_or_a_tensor():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": np.arange(50)})
    with pytest.raises(TypeError, match=r"got DataFrame of shape \(50, 1\)$"):
        bp.Sequential(frame)
    with pytest.raises(TypeError, match=r"got Series of shape \(50,\)"):
        L.Dense(frame["a"])


def test_completion_shows_what_is_public():
    names = [name for name in dir(bp) if not name.startswith("__")]
    assert sorted(names) == sorted(name for name in bp.__all__ if not name.startswith("__"))


@pytest.mark.parametrize(
    "cls, first",
    [
        (bp.Model, ["inputs", "outputs", "name"]),
        (bp.Sequential, ["layers", "name"]),
        (L.Dense, ["units", "activation"]),
        (L.Dropout, ["rate", "noise_shape"]),
        (bp.optimizers.Adam, ["learning_rate", "beta_1"]),
        (bp.losses.Huber, ["delta"]),
        (bp.initializers.HeNormal, ["seed"]),
        (C.EarlyStopping, ["monitor", "min_delta"]),
        (bp.regularizers.L2, ["l2"]),
    ],
)
def test_help_shows_the_arguments(cls, first):
    assert list(inspect.signature(cls).parameters)[: len(first)] == first


def test_help_of_classes_of_the_users_and_of_objects():
    class Mine(L.Layer):
        def __init__(self, width, depth=2):
            super().__init__()

    assert list(inspect.signature(Mine).parameters) == ["width", "depth"]
    assert list(inspect.signature(L.Dense(3)).parameters) == ["x", "training"]


def test_history_is_json_whatever_a_callback_adds():
    class Adds(C.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["float32"] = np.float32(0.5)
            logs["count"] = np.int64(epoch)
            logs["by_class"] = np.arange(3.0)
            logs["shape"] = (np.int32(2), 3)
            logs["note"] = C.EarlyStopping
            logs["flag"] = np.bool_(True)

    found = network().fit(*data(), epochs=2, verbose=0, callbacks=[Adds()]).history
    again = json.loads(json.dumps(found))
    assert again == found and again["by_class"] == [[0.0, 1.0, 2.0]] * 2
    assert again["count"] == [0, 1] and again["flag"] == [True] * 2
    assert again["shape"] == [[2, 3]] * 2


def test_every_plot_gives_a_list_of_axes():
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    model, (x, y) = network(), data()
    history = model.fit(x, y, verbose=0)
    for found in (history, model.diagnose(x, y), model.find_learning_rate(x, y)):
        axes = found.plot()
        assert isinstance(axes, list) and all(hasattr(axis, "figure") for axis in axes)
        assert found.plot(axes=axes) == axes
        with pytest.raises(ValueError, match="axes: got"):
            found.plot(axes=[*axes, axes[0]])
    plt.close("all")


def test_a_loaded_model_goes_on_with_its_schedule(tmp_path):
    """The rate goes on; Adam's moments are new, so its bias corrections begin anew."""
    x, y = data()
    rate = bp.schedules.Exponential(0.1, 4, 0.5)
    model = bp.Sequential([L.Dense(4)], seed=3, dtype="float64")
    model.compile(bp.optimizers.Adam(rate), loss="cross_entropy")
    model.fit(x, y, batch_size=16, epochs=2, verbose=0)
    path = tmp_path / "m.safetensors"
    model.save(path)
    again = bp.load_model(path)
    assert again.optimizer.iterations == 8 and again.optimizer.current_rate() == 0.1 * 0.5**2
    fresh = bp.Sequential([L.Dense(4)], seed=3, dtype="float64")
    fresh.build((6,))
    fresh.set_weights(model.get_weights())
    fresh.compile(bp.optimizers.Adam(0.1 * 0.5**2), loss="cross_entropy")
    for each in (again, fresh):
        each.train_on_batch(x, y)
    for a, b in zip(again.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    again.save_checkpoint(tmp_path / "c.ckpt")
    both = bp.load_checkpoint(tmp_path / "c.ckpt"), again
    for each in both:
        each.train_on_batch(x, y)
    assert all(np.array_equal(*pair) for pair in zip(*(m.get_weights() for m in both), strict=True))
    again.optimizer.iterations = 0  # a user who sets it back gets no division by zero
    again.train_on_batch(x, y)
    assert all(np.isfinite(w).all() for w in again.get_weights())


def test_loading_says_what_was_left_behind(tmp_path):
    x, y = data()
    path = tmp_path / "m.safetensors"
    model = network()
    model.compile(bp.optimizers.SGD(lambda step: 0.1), loss="cross_entropy")
    model.fit(x, y, verbose=0)
    model.save(path)
    with pytest.warns(bp.errors.NotCompiledWarning, match="call compile before fit"):
        again = bp.load_model(path)
    assert not again.compiled and np.array_equal(again.predict(x), model.predict(x))
    never = bp.Sequential([bp.Input((2,)), L.Dense(1)], seed=0)
    never.save(path)
    bp.load_model(path)  # nothing was left behind, nothing is said


def test_a_later_epoch_with_a_new_schedule_is_told():
    x, y = data()
    model = network()
    model.compile(bp.optimizers.SGD(bp.schedules.Step(0.1, 10, 0.5)), loss="cross_entropy")
    with pytest.warns(bp.errors.ScheduleWarning, match="begins at its first step"):
        model.fit(x, y, initial_epoch=2, epochs=3, verbose=0)
    model.fit(x, y, initial_epoch=3, epochs=4, verbose=0)
