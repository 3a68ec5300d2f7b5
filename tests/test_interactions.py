"""Parts that meet: checkpoints, callbacks, random and tied layers, files, other threads."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import BusyError, CheckpointError, CheckpointWarning
from bpcore.files import container, save
from bpcore.inspection import rate_finder

from .helpers import support

C, L = bp.callbacks, bp.layers
RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(40, 6)), RNG.integers(0, 3, 40)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """What fsync is for is in test_atomic.py."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def small(**options):
    model = bp.Sequential([L.Dense(3)], seed=0)
    model.compile("sgd", "cross_entropy", **options)
    return model


def test_callbacks_of_a_finished_run_start_anew_in_the_next_fit(tmp_path):
    """EMA and EarlyStopping of a run found finished must not carry its averages into another."""
    path = tmp_path / "run"

    def callbacks():
        return [C.EMA(decay=0.5, apply=False), C.EarlyStopping("loss", patience=9)]

    options = {"epochs": 2, "verbose": 0}
    small().fit(X, Y, callbacks=callbacks(), checkpoint=path, **options)
    used, fresh = callbacks(), callbacks()
    small().fit(X, Y, callbacks=used, checkpoint=path, **options)
    assert used[0].count > 0  # what the run left is there
    small().fit(X[:8], Y[:8], callbacks=used, **options)
    small().fit(X[:8], Y[:8], callbacks=fresh, **options)
    assert used[0].count == fresh[0].count == 2
    assert used[1].best == fresh[1].best
    for a, b in zip(used[0].get_weights(), fresh[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_history_of_a_resumed_run_as_a_table(tmp_path):
    pytest.importorskip("pandas")
    path = tmp_path / "run"
    options = {"epochs": 4, "verbose": 0, "checkpoint": path, "validation_data": (X, Y)}
    first = small().fit(X, Y, validation_freq=2, **options).to_pandas()
    again = small().fit(X, Y, validation_freq=2, **options).to_pandas()
    assert again.equals(first) and first["val_loss"].isna().tolist() == [True, False, True, False]


def test_other_parameter_groups_are_another_run(tmp_path):
    path = tmp_path / "run"
    small(parameter_groups={"*/bias": {"learning_rate_factor": 2.0}}).fit(
        X, Y, verbose=0, checkpoint=path
    )
    for groups in (None, {"*/bias": {"learning_rate_factor": 3.0}}):
        with pytest.raises(CheckpointError, match="parameter_groups"):
            small(parameter_groups=groups).fit(X, Y, verbose=0, checkpoint=path)


def test_a_finished_run_without_epochs_is_found_again(tmp_path):
    path = tmp_path / "run"
    for _ in range(2):
        history = small().fit(X, Y, epochs=1, initial_epoch=3, verbose=0, checkpoint=path)
        assert history.epoch == []


def shared():
    """A model whose dropout another model built first."""
    a, drop = bp.Input((6,)), L.Dropout(0.5)
    h = drop(L.Dense(6)(a))
    return bp.Model(a, L.Dense(4)(h), seed=1), bp.Model(a, L.Dense(3)(h), seed=2)


def used_alone():
    drop = L.Dropout(0.5)
    drop(np.ones((2, 6)), training=True)
    return None, bp.Sequential([drop, L.Dense(3)], seed=2)


@pytest.mark.parametrize("make", [shared, used_alone])
def test_load_checkpoint_keeps_the_masks_of_layers_with_a_past(tmp_path, make):
    """Their seeds are not those the model would give them."""
    _, model = make()
    model.compile("sgd", "cross_entropy")
    model.fit(X, Y, verbose=0)
    model.save_checkpoint(tmp_path / "c")
    again = bp.load_checkpoint(tmp_path / "c")
    for _ in range(2):
        found, expected = (m.fit(X, Y, verbose=0).history for m in (again, model))
        assert found == expected


def test_resume_keeps_the_masks_of_a_layer_used_alone(tmp_path):
    """Its own seed is the system's, another one in each process."""

    class Stop(C.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if self.active and epoch == 1:
                raise KeyboardInterrupt

    def run(path, active):
        _, model = used_alone()
        model.compile("sgd", "cross_entropy")
        stop = Stop()
        stop.active = active
        history = model.fit(
            X, Y, epochs=3, verbose=0, callbacks=[stop], checkpoint=path, checkpoint_every=1
        )
        return history.history

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", True)
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "b").write_bytes(data)
    assert run(tmp_path / "a", False) == run(tmp_path / "b", False)


def test_a_kernel_that_is_not_in_the_model_is_refused():
    """It would be missing from weights, files, checkpoints and averages."""
    code = L.Dense(2)
    bp.Sequential([bp.Input((6,)), code])
    a = bp.Input((2,))
    with pytest.raises(ValueError, match=r"'dense/kernel'.*not one of the model's layers"):
        bp.Model(a, L.TiedDense(code)(a))
    with pytest.raises(ValueError, match="not one of the model's layers"):
        bp.Sequential([bp.Input((2,)), L.TiedDense(code)])


def test_save_checkpoint_from_another_thread_during_fit(tmp_path):
    """Arrays that change while they are written would make a file that nobody can read."""
    model, errors = small(), []

    class Save(C.Callback):
        def on_train_batch_end(self, batch, logs=None):
            def work():
                try:
                    model.save_checkpoint(tmp_path / "other")
                except BusyError as error:
                    errors.append(str(error))

            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            model.save_checkpoint(tmp_path / "own")

    model.fit(X, Y, verbose=0, callbacks=[Save()])
    assert len(errors) == 2 and not (tmp_path / "other").exists()
    assert bp.load_checkpoint(tmp_path / "own").optimizer.iterations == 2


def test_names_of_another_model_survive_a_file(tmp_path):
    """Outputs are found by name, so a loaded model must not number its layers anew."""
    a = bp.Input((6,))
    second = L.Dense(4)
    first = bp.Model(a, second(L.Dense(4)(a)), seed=0)  # alive, or its names would be free
    x = bp.Input((4,))
    u = second(x)
    model = bp.Model(x, [u, L.Dense(4)(u)], seed=1)
    assert [layer.name for layer in model.layers] == ["input", "dense_1", "dense"], first
    model.compile("sgd", {"dense_1": "mse", "dense": "mae"}, metrics={"dense": ["mse"]})
    targets = {"dense_1": X[:, :4], "dense": 0 * X[:, :4]}
    model.save(tmp_path / "m")
    again = bp.load_model(tmp_path / "m")
    assert again.evaluate(X[:, :4], targets) == model.evaluate(X[:, :4], targets)
    expected, found = (m.trace(X[:3, :4], {k: y[:3] for k, y in targets.items()})
                       for m in (model, again))  # fmt: skip
    assert list(found) == list(expected) == ["dense_1", "dense"]
    for name in expected:
        np.testing.assert_array_equal(found[name].delta, expected[name].delta)


@pytest.mark.parametrize("loss", [bp.losses.Quantile([0.1, 0.5, 0.9]), "gaussian_nll"], ids=str)
def test_profile_without_targets_of_a_loss_with_several_outputs_a_target(loss):
    model = bp.Sequential([L.Dense(6)], seed=0)
    model.compile("sgd", loss)
    assert model.profile(X, repeats=1).batch_size == 32


def test_whole_numbers_that_callbacks_add_to_the_logs_resume(tmp_path):
    path = tmp_path / "run"

    class Count(C.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["count"] = epoch
            logs["size"] = np.int64(7)

    for _ in range(2):
        history = small().fit(X, Y, epochs=2, verbose=0, callbacks=[Count()], checkpoint=path)
        assert history.history["count"] == [0, 1] and history.history["size"] == [7, 7]


def test_a_run_is_resumed_whatever_the_size_of_its_file(tmp_path, monkeypatch):
    """The limit is against files of others; load_checkpoint can be told another."""
    path = tmp_path / "run"
    first = small().fit(X, Y, verbose=0, checkpoint=path)
    monkeypatch.setattr(container, "MAX_BYTES", 100)
    assert small().fit(X, Y, verbose=0, checkpoint=path).history == first.history
    with pytest.raises(ValueError, match="max_bytes"):
        bp.load_checkpoint(path)
    assert bp.load_checkpoint(path, max_bytes=10**6).optimizer.iterations == 2


def test_gradients_left_at_an_epochs_end_make_an_update():
    """accumulate_steps=2 over 3 batches: the third's gradients are not lost, and count alone."""

    def batches():
        for start in (0, 8, 16):
            yield X[start : start + 8], Y[start : start + 8]

    class Each:
        def __iter__(self):
            return batches()

    def fit(*data, **options):
        model = small(accumulate_steps=2)
        model.fit(*data, epochs=2, verbose=0, **options)
        return model

    whole = fit(X[:24], Y[:24], batch_size=8, shuffle=False)
    assert whole.optimizer.iterations == 4
    cut = fit(X, Y, batch_size=8, shuffle=False, steps_per_epoch=3)
    for model in (cut, fit(Each()), fit(X, Y, 8, shuffle=False, callbacks=[StopAfter(3)])):
        assert model.optimizer.iterations == 4
        for a, b in zip(model.get_weights(), whole.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


class StopAfter(C.Callback):
    """Ends every epoch after a number of batches, without ending the fit."""

    def __init__(self, batches):
        self.batches = batches

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = batch + 1 == self.batches

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = False


def test_a_schedule_is_not_asked_beyond_the_last_update():
    """A table of one rate for each update is enough."""
    table = [0.1] * 10

    def rate(step):
        return table[step]

    model = bp.Sequential([L.Dense(3)], seed=0)
    model.compile(bp.optimizers.SGD(rate), "cross_entropy")
    model.fit(X, Y, 8, epochs=2, verbose=0)
    assert model.optimizer.iterations == 10


class Spoil(C.Callback):
    """Makes a weight Inf after the eighth update, which the ninth batch finds."""

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 8:
            self.model.weights[0].value[0] = np.inf


def test_an_update_that_overflows_leaves_the_checkpoint_of_the_batch_before_it(tmp_path):
    path = tmp_path / "run"
    for _ in range(2):  # the second one resumes
        model = bp.Sequential([L.Dense(3)], seed=0)
        model.compile(bp.optimizers.SGD(bp.schedules.Piecewise([6], [0.1, 1e308])), "mse")
        with pytest.raises(bp.TrainingDiverged) as told:
            model.fit(X, X[:, :3], 8, epochs=4, verbose=0, checkpoint=path, checkpoint_every=1)
        assert (told.value.epoch, told.value.batch, told.value.tensor) == (1, 2, "update")
        good = bp.load_checkpoint(path)
        assert good.optimizer.iterations == model.optimizer.iterations == 7
        assert support.weights_hash(good) == support.weights_hash(model)


@pytest.mark.parametrize("quiet", [True, False])
def test_weights_that_are_not_finite_never_replace_a_good_checkpoint(tmp_path, quiet):
    path, outcomes = tmp_path / "run", []
    for _ in range(2):
        model = bp.Sequential([L.Dense(3)], seed=0)
        model.compile("sgd", "mse")
        guard = [C.TerminateOnNaN(verbose=0)] if quiet else []
        options = {"epochs": 4, "verbose": 0, "checkpoint": path, "checkpoint_every": 1}
        with pytest.warns(CheckpointWarning, match="not written.*dense/kernel: got NaN or Inf"):
            try:
                model.fit(X, X[:, :3], 8, callbacks=[Spoil(), *guard], **options)
            except bp.TrainingDiverged as error:
                outcomes.append((error.epoch, error.batch))
            else:
                outcomes.append(guard[0].error.batch)
    assert outcomes == ([3, 3] if quiet else [(1, 3), (1, 3)])
    good = container.read(str(path))
    assert good.document["state"]["iterations"] == 7
    assert all(np.isfinite(array).all() for array in good.arrays.values())
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"dense/kernel.*NaN or Inf.*save"):
        model.save_checkpoint(path)
    assert path.read_bytes() == before


def test_a_file_written_during_a_fit_is_of_one_moment(tmp_path, monkeypatch):
    """The hash is computed before the bytes are written, so they may not change in between."""
    model, path = small(), tmp_path / "m"
    real = save.write_atomically

    def write(name, pieces):
        pieces = iter(pieces)
        head = next(pieces)
        for p in model.weights:
            p.value[...] += 1.0  # what another thread's fit may do now
        real(name, [head, *pieces])

    class Save(C.Callback):
        def on_epoch_end(self, epoch, logs=None):
            model.save(path)

    with monkeypatch.context() as patch:
        patch.setattr(save, "write_atomically", write)
        model.fit(X, Y, verbose=0, callbacks=[Save()])
    for a, b in zip(bp.load_model(path).get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a + np.float32(1.0), b)


def test_single_frozen_weights_stay_frozen_in_files(tmp_path):
    model = small()
    model.build((6,))
    model.get_layer("dense").bias.trainable = False
    model.save(tmp_path / "m")
    again = bp.load_model(tmp_path / "m")
    assert [p.trainable for p in again.weights] == [True, False]
    again.fit(X, Y, verbose=0)
    assert not again.get_weights()[1].any()
    again.get_layer("dense").bias.trainable = True
    assert [p.trainable for p in again.weights] == [True, True]


def test_constant_features_of_a_normalization_become_0():
    """Given, adapted, or converted to the model's dtype: a variance of 0 counts as 1."""
    data = np.array([[1.0, 5.0], [3.0, 5.0]])
    for dtype in ("float32", "float64"):
        adapted = L.Normalization()
        adapted.adapt(data)
        for layer in (L.Normalization([2.0, 5.0], [1.0, 0.0]), adapted):
            model = bp.Sequential([layer], dtype=dtype)
            assert model(data.astype(dtype)).tolist() == [[-1.0, 0.0], [1.0, 0.0]]


def test_a_statistic_assigned_after_adapt_stays_in_another_dtype():
    layer = L.Normalization()
    layer.adapt(np.array([[0.1], [0.4]]))
    layer.mean.value = [7.0]
    bp.Sequential([bp.Input((1,)), layer], dtype="float64")
    assert layer.mean.value.tolist() == [7.0]
    exact = pytest.approx([np.var([0.1, 0.4])], rel=4 * np.finfo(np.float64).eps)
    assert layer.variance.value.tolist() == exact  # not rounded to float32


def test_gradients_are_those_of_the_next_training_batch():
    """With its mask: a step of SGD with rate 1 takes exactly them off the weights."""
    model = bp.Sequential([L.Dropout(0.5), L.Dense(3)], seed=0, dtype="float64")
    model.compile(bp.optimizers.SGD(1.0), "cross_entropy")
    for _ in range(3):
        model.train_on_batch(X, Y)
        before, found = model.get_weights(), model.gradients(X, Y).parameters
        model.train_on_batch(X, Y)
        for w, p in zip(before, model.weights, strict=True):
            np.testing.assert_allclose(w - p.value, found[p.name], rtol=0, atol=1e-14)


def test_a_rate_below_its_minimum_is_not_raised():
    model = small()
    model.compile(bp.optimizers.SGD(0.01), "cross_entropy")
    slower = C.ReduceLROnPlateau("loss", patience=1, min_delta=10.0, min_lr=0.1)
    model.fit(X, Y, epochs=4, verbose=0, callbacks=[slower])
    assert model.optimizer.learning_rate == 0.01


def test_a_rate_finder_whose_loss_falls_for_too_short_suggests_the_first_rate():
    rates = np.geomspace(1e-4, 1.0, 30)
    smoothed = np.r_[np.ones(11), 0.5, np.linspace(1.0, 4.0, 18)]  # the least is at 11
    assert rate_finder.suggest(rates, smoothed, 10) == rates[0]
    falling = np.r_[np.ones(11), np.linspace(1.0, 0.1, 19)]
    assert rate_finder.suggest(rates, falling, 10) > rates[9]


def test_train_on_batch_goes_on_with_the_masks_of_a_checkpoint(tmp_path):
    model = bp.Sequential([L.Dropout(0.5), L.Dense(3)], seed=0)
    model.compile("adam", "cross_entropy")
    model.fit(X, Y, 8, verbose=0)
    model.save_checkpoint(tmp_path / "c")
    again = bp.load_checkpoint(tmp_path / "c")
    for _ in range(2):
        assert again.train_on_batch(X, Y) == model.train_on_batch(X, Y)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_evaluate_in_a_callback_leaves_the_fits_metrics_alone():
    def share(y_true, y_pred):
        return float((y_pred.argmax(axis=1) == y_true.ravel()).mean())

    class Look(C.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.evaluate(X[:5], Y[:5])

    def fit(*callbacks):
        model = bp.Sequential([L.Dense(3)], seed=0)
        model.compile("sgd", "cross_entropy", [share])
        return model.fit(X, Y, 8, epochs=2, verbose=0, callbacks=list(callbacks)).history

    assert fit(Look()) == fit()


def test_quiet_units_that_still_learn_are_not_dead():
    """softplus at -10 gives almost 0, but all of a layer's gradients are of one size there."""
    model = bp.Sequential(
        [L.Dense(8, "softplus", bias_initializer=bp.initializers.Constant(-10.0)), L.Dense(3)],
        seed=0,
    )
    model.compile("sgd", "cross_entropy")
    quiet = model.diagnose(X * 0.1, Y).layers[0]
    assert quiet.activation_mean < 1e-4 and quiet.dead == 0


def test_a_resumed_csv_file_has_every_epoch_once(tmp_path):
    """The line of an epoch that has to be done again is taken back."""

    class Stop(C.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if self.active and epoch == 2:
                raise KeyboardInterrupt

    def run(name, active):
        stop = Stop()
        stop.active = active
        log = C.CSVLogger(tmp_path / f"{name}.csv")
        options = {"checkpoint": tmp_path / name, "checkpoint_every": 2, "verbose": 0}
        small().fit(X, Y, 8, epochs=4, callbacks=[log, stop], **options)
        return (tmp_path / f"{name}.csv").read_text()

    with pytest.raises(KeyboardInterrupt):
        run("a", True)
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 4
    assert run("a", False) == run("b", False)


def test_statistics_and_gradients_of_many_rows():
    """More rows than adapt and diagnose take at once."""
    x = RNG.normal(3.0, 2.0, size=(70000, 2))
    layer = L.Normalization()
    layer.adapt(x)
    np.testing.assert_allclose(layer.variance.value, x.var(axis=0), rtol=1e-6)
    model = bp.Sequential([L.Dense(3)], seed=0, dtype="float64")
    model.compile("sgd", "cross_entropy")
    x, y = x[:2500] - 3.0, RNG.integers(0, 3, 2500)
    found = model.diagnose(x, y).layers[0].gradient_norm
    model.build((2,))
    expected = model.gradients(x, y).parameters.values()
    np.testing.assert_allclose(found, np.sqrt(sum((g**2).sum() for g in expected)), rtol=1e-12)


def test_diagnose_weighs_rows_by_class_and_sample():
    weights, by_class = np.linspace(0.0, 2.0, 40), np.array([1.0, 4.0, 0.5])
    model = bp.Sequential([L.Dense(3)], seed=0, dtype="float64")
    model.compile("sgd", bp.losses.CrossEntropy(class_weight={0: 1.0, 1: 4.0, 2: 0.5}))
    model.build((6,))
    z = model.predict(X)
    rows = np.log(np.exp(z).sum(axis=1)) - z[np.arange(40), Y]
    found = model.diagnose(X, Y, sample_weight=weights).loss
    np.testing.assert_allclose(found, (rows * weights * by_class[Y]).mean(), rtol=1e-12)
