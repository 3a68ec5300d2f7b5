"""Callbacks: decisions on hand-made sequences, every way out of a fit, states that go on alike."""

from __future__ import annotations

import functools
import re
import signal
import time

import numpy as np
import pytest

import bpcore as bp
from bpcore.base import memory

from .helpers import bad_callbacks, support
from .helpers.callback_runs import RATES, STOPS, data, feed, network

C = bp.callbacks


@pytest.mark.parametrize("options, values, stop, best_epoch, best", STOPS)
def test_early_stopping_decides(options, values, stop, best_epoch, best):
    callback = C.EarlyStopping(**options)
    last, weight, _ = feed(callback, values, validation_freq=2)
    assert last == (len(values) - 1 if stop is None else stop) and callback.stopped_epoch == stop
    assert (callback.best_epoch, callback.best) == (best_epoch, best)
    assert weight == best_epoch


def test_early_stopping_without_restoring():
    assert feed(C.EarlyStopping(patience=1, restore_best_weights=False), [3, 2, 4])[1] == 2


def test_a_callback_used_again_starts_anew():
    callback = C.EarlyStopping(patience=1)
    assert feed(callback, [1, 2])[:2] == (1, 0.0)
    assert feed(callback, [9, 8, 7])[:2] == (2, 2.0) and callback.best == 7


@pytest.mark.parametrize("name, mode", [
    ("loss", "min"), ("val_loss", "min"), ("val_out_loss", "min"), ("accuracy", "max"),
    ("val_top_5_accuracy", "max"), ("binary_accuracy", "max"), ("val_mae", "min"), ("rmse", "min"),
    ("val_head_auc", "max"), ("f1", "max"), ("r2", "max"),
])  # fmt: skip
def test_mode_auto(name, mode):
    assert C.EarlyStopping(name).mode == mode


@pytest.mark.parametrize("options, values, rates", RATES)
def test_reduce_on_plateau_decides(options, values, rates):
    found = feed(C.ReduceLROnPlateau(**options), values)[2]
    np.testing.assert_allclose(found, rates, rtol=1e-15)


def test_the_monitored_name_must_come():
    """Behind a callback that may add it, it is missed where it should have been."""
    model, (x, y) = network(), data()
    options = {"verbose": 0, "epochs": 4, "validation_split": 0.2, "validation_freq": 2}
    may_add = C.LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    with pytest.raises(ValueError, match=r"val_mae.*epoch 2"):
        model.fit(x, y, **options, callbacks=[may_add, C.ReduceLROnPlateau("val_mae")])
    found = model.fit(x, y, **options, callbacks=[C.EarlyStopping(patience=9)])
    assert len(found.history["val_loss"]) == 2


# ---- ways out -----------------------------------------------------------------------------------
class Worsen(C.Callback):
    """Spoils the weights after epoch 2; then raises, or stops, or waits for Ctrl-C."""

    def __init__(self, how):
        self.how, self.best, self.exits = how, None, 0

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            logs["score"] = 1.0
            self.best = self.model.get_weights()
        else:
            logs["score"] = 0.0
        if epoch == 4 and self.how == "stop":
            self.model.stop_training = True

    def on_train_batch_begin(self, batch, logs=None):
        if self.best is None or batch != 2:
            return
        if self.how == "interrupt":
            signal.raise_signal(signal.SIGINT)
        elif isinstance(self.how, BaseException):
            raise self.how

    def on_train_exit(self):
        self.exits += 1


@pytest.mark.parametrize("how", ["end", "stop", "interrupt", ValueError("mine"), SystemExit(3)],
                         ids=str)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_best_weights_come_back_on_every_way_out(how, first):
    model, (x, y) = network(), data()
    worsen, stop = Worsen(how), C.EarlyStopping("score", patience=9, mode="max")
    saver = C.EMA(0.9)
    callbacks = [worsen, stop, saver] if first else [saver, worsen, stop]
    kind = {"end": None, "stop": None, "interrupt": KeyboardInterrupt}.get(how) or (
        type(how) if isinstance(how, BaseException) else None
    )
    options = {"epochs": 6, "batch_size": 16, "verbose": 0, "callbacks": callbacks}
    if kind is None:
        model.fit(x, y, **options)
    else:
        with pytest.raises(kind):
            model.fit(x, y, **options)
    assert worsen.exits == 1 and stop.best_epoch == 2
    for a, b in zip(model.get_weights(), worsen.best, strict=True):
        assert support.same_bits(a, b)
    model.fit(x, y, verbose=0)  # still usable


def test_exit_hooks_all_run_and_the_first_exception_is_the_one_to_see():
    calls = []

    class Fails(C.Callback):
        def __init__(self, name):
            self.name = name

        def on_train_exit(self):
            calls.append(self.name)
            raise OSError(self.name)

    (x, y), model = data(), network()
    with pytest.raises(OSError, match="a"):
        model.fit(x, y, verbose=0, callbacks=[Fails("a"), Fails("b")])

    def raises(logs):
        raise ZeroDivisionError

    with pytest.warns(RuntimeWarning, match="on_train_exit.*'c'"), pytest.raises(ZeroDivisionError):
        model.fit(x, y, verbose=0,
                  callbacks=[Fails("c"), C.LambdaCallback(on_train_begin=raises)])  # fmt: skip
    assert calls == ["a", "b", "c"]


def test_order_of_all_hooks():
    calls = []

    class Watch(C.Callback):
        def __init__(self, name):
            self.name = name

        def around_validation(self):
            class Around:
                def __enter__(inner):
                    calls.append(f"in {self.name}")

                def __exit__(inner, *error):
                    calls.append(f"out {self.name}")

            return Around()

    hooks = {name: functools.partial(lambda name, *a: calls.append(name), name)
             for name in C.base.HOOKS}  # fmt: skip
    x, y = data(20)
    all_three = [Watch("a"), C.LambdaCallback(**hooks), Watch("b")]
    network().fit(x, y, batch_size=20, epochs=2, validation_freq=2, validation_data=(x, y),
                  verbose=0, callbacks=all_three)  # fmt: skip
    one = ["on_epoch_begin", "on_train_batch_begin", "on_train_batch_end"]
    test = ["on_test_begin", "in a", "in b", "on_test_end"]
    assert calls == ["on_train_begin", *one, "on_epoch_end", *one, *test, "on_epoch_end", "out b",
                     "out a", "on_train_end", "on_train_exit"]  # fmt: skip


def test_copies_are_not_torn_by_ctrl_c():
    """The timer fires amid thousands of copies; the interrupt comes after the last."""
    sources = list(np.repeat(np.arange(20000.0), 100).reshape(20000, 100))
    targets = list(np.full((20000, 100), -1.0))

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            memory.copy_all(targets, sources)
            time.sleep(5)  # where copying took less than the timer
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert all((target == i).all() for i, target in enumerate(targets))


def test_terminate_on_nan_ends_quietly():
    x, y = data()
    guard, stop = C.TerminateOnNaN(verbose=0), C.EarlyStopping("loss", patience=99)
    ends, counts = [], []
    model = network(bp.optimizers.SGD(lambda step: 0.1 if step < 9 else 1e308))

    def ended(logs):
        ends.append(logs)
        counts.append(model.optimizer.iterations)

    callbacks = [guard, stop, C.LambdaCallback(on_train_end=ended)]
    history = model.fit(x, y, batch_size=24, epochs=9, verbose=0, callbacks=callbacks)
    assert counts == [model.optimizer.iterations] and counts[0] % 4 != 0  # amid an epoch
    assert isinstance(guard.error, bp.TrainingDiverged) and guard.error.epoch >= 2
    assert history.epoch == list(range(guard.error.epoch)) and len(ends) == 1
    assert all(np.isfinite(w).all() for w in model.get_weights())
    with pytest.raises(bp.TrainingDiverged):
        network(bp.optimizers.SGD(lambda step: 1e308)).fit(x, y, verbose=0, epochs=9)


def test_time_limit():
    x, y = data(4096)
    model, limit = network(), C.TimeLimit(0.2)
    start = time.monotonic()
    history = model.fit(x, y, batch_size=1, epochs=10**6, verbose=0, callbacks=[limit],
                        validation_data=(x, y))  # fmt: skip
    assert limit.stopped and time.monotonic() - start >= 0.2
    assert np.isfinite(history.history["val_loss"][-1])
    calm = C.TimeLimit(3600)
    assert len(model.fit(x, y, epochs=2, verbose=0, callbacks=[calm]).epoch) == 2
    assert not calm.stopped
    spent = C.TimeLimit(10)
    spent.set_state({"spent": 11.0})
    assert model.fit(x, y, epochs=9, verbose=0, callbacks=[spent]).epoch == [0]


@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_slice_end"])
def test_a_stop_is_obeyed_after_the_batch(batches, hook):
    class Stop(C.Callback):
        seen = 0

        def on_train_batch_begin(self, batch, logs=None):
            """Makes slices of single batches."""

    def stop(self, *arguments, **options):
        self.seen += 1
        self.model.stop_training = self.seen == 3

    setattr(Stop, hook, stop)
    model, (x, y) = network(), data()
    source = (((x[i : i + 8], y[i : i + 8]) for i in range(0, 96, 8)),) if batches else (x, y)
    history = model.fit(*source, batch_size=8, epochs=1, verbose=0, callbacks=[Stop()])
    assert model.optimizer.iterations == 3 and history.epoch == [0]


def test_slice_hooks_do_not_split_the_loop():
    """The bits and the count of updates are those without."""
    x, y = data()
    plain, limited = network(), network()
    plain.fit(x, y, epochs=3, verbose=0)
    limited.fit(x, y, epochs=3, verbose=0, callbacks=[C.TimeLimit(99)])
    assert support.weights_hash(plain) == support.weights_hash(limited)
    assert not C.base.CallbackList([C.TimeLimit(9), C.EarlyStopping(), C.SWA(1)]).has_batch_hooks


# ---- rates --------------------------------------------------------------------------------------
def test_learning_rate_scheduler_sets_epochs():
    model, (x, y) = network(bp.optimizers.SGD(0.4)), data()
    twice = C.LearningRateScheduler(lambda epoch, rate: rate / 2)
    history = model.fit(x, y, epochs=3, verbose=0, callbacks=[twice])
    assert history.history["learning_rate"] == [0.2, 0.1, 0.05]
    by_epoch = C.LearningRateScheduler(bp.schedules.Step(1.0, step_size=2, gamma=0.5))
    history = model.fit(x, y, epochs=6, initial_epoch=1, verbose=0, callbacks=[by_epoch])
    assert history.history["learning_rate"] == [1.0, 0.5, 0.5, 0.25, 0.25]
    assert model.optimizer.learning_rate == 0.25


def test_reduced_rate_is_used_and_reported():
    model, (x, y) = network(bp.optimizers.SGD(0.5)), data()
    plateau = C.ReduceLROnPlateau("loss", patience=1, min_delta=1e9, factor=0.5)
    history = model.fit(x, y, epochs=4, verbose=0, callbacks=[plateau])
    assert history.history["learning_rate"] == [0.5, 0.5, 0.25, 0.125]
    assert model.optimizer.learning_rate == 0.0625


# ---- saving -------------------------------------------------------------------------------------
def test_model_checkpoint_best_only(tmp_path):
    model, (x, y) = network(), data()
    values = [3.0, 2.0, 2.5, 1.0, 4.0]
    score = C.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(val_loss=values[epoch]))
    path = tmp_path / "deep" / "{epoch:02d}-{val_loss:.1f}.safetensors"
    save = C.ModelCheckpoint(path, save_best_only=True, initial_value_threshold=2.7)
    model.fit(x, y, epochs=5, verbose=0, callbacks=[score, save, C.EarlyStopping(patience=9)])
    names = sorted(p.name for p in (tmp_path / "deep").iterdir())
    assert names == ["02-2.0.safetensors", "04-1.0.safetensors"] and save.best == 1.0
    best = bp.load_model(tmp_path / "deep" / names[-1])
    for a, b in zip(best.get_weights(), model.get_weights(), strict=True):
        assert support.same_bits(a, b)


def test_model_checkpoint_every_epoch_and_every_so_many_batches(tmp_path):
    model, (x, y) = network(), data()
    model.fit(x, y, epochs=3, verbose=0, callbacks=C.ModelCheckpoint(tmp_path / "e{epoch}.st"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e1.st", "e2.st", "e3.st"]
    batches = C.ModelCheckpoint(tmp_path / "b{epoch}-{batch}.st", save_freq=4)
    model.fit(x, y, epochs=2, batch_size=16, verbose=0, callbacks=[batches])
    assert sorted(p.name for p in tmp_path.glob("b*")) == ["b1-4.st", "b2-2.st", "b2-6.st"]
    with pytest.raises(ValueError, match=r"val_loss.*have only epoch, loss, accuracy"):
        model.fit(x, y, verbose=0, callbacks=[C.ModelCheckpoint(tmp_path / "{val_loss}.st")])


def test_verbose_says_what_happened(capsys, tmp_path):
    x, y = data()
    callbacks = [C.EarlyStopping("loss", patience=1, min_delta=9.0, verbose=1),
                 C.ReduceLROnPlateau("loss", patience=1, min_delta=9.0, verbose=1),
                 C.ModelCheckpoint(tmp_path / "m.st", verbose=1)]  # fmt: skip
    network().fit(x, y, epochs=9, verbose=0, callbacks=callbacks)
    out = capsys.readouterr().out
    assert re.search(r"(?s)epoch 1: saved .*epoch 2: learning rate reduced to 0\.002.*"
                     r"epoch 2: early stopping.*weights of epoch 1: loss", out)  # fmt: skip


# ---- bad arguments ------------------------------------------------------------------------------
@pytest.mark.parametrize("name, call, error, pattern", bad_callbacks.ROWS,
                         ids=[row[0] for row in bad_callbacks.ROWS])  # fmt: skip
def test_bad_arguments(name, call, error, pattern):
    e = bad_callbacks.env()
    before = support.weights_hash(e.model)
    with pytest.raises(error) as caught:
        call(e)
    assert re.search(pattern, str(caught.value), re.S), str(caught.value)
    assert support.weights_hash(e.model) == before
