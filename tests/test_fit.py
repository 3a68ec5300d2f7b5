"""The training loop: History, validation, weights, clipping, accumulation, sources of data."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import textwrap

import numpy as np
import pytest

import bpcore as bp
from bpcore.base import progress

from .helpers import support


def data(rows=96, width=6, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, width))
    return x, (x @ rng.normal(size=(width, classes))).argmax(axis=1)


def network(optimizer=None, dtype="float64", metrics=("accuracy",), **options):
    model = bp.Sequential(
        [bp.layers.Dense(16, "tanh"), bp.layers.Dense(4)], dtype=dtype, seed=3
    )  # fmt: skip
    model.compile(optimizer=optimizer or bp.optimizers.Adam(0.01), loss="cross_entropy",
                  metrics=list(metrics), **options)  # fmt: skip
    return model


def weights_after(model, *arguments, **options):
    model.fit(*arguments, **{"verbose": 0, **options})
    return model.get_weights()


def assert_same(a, b):
    assert all(support.same_bits(x, y) for x, y in zip(a, b, strict=True))


def test_it_learns_and_history_says_so():
    x, y = data(400)
    model = network()
    history = model.fit(x, y, epochs=30, verbose=0, validation_split=0.25)
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(v) == 30 for v in history.history.values())
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    assert history.history["val_accuracy"][-1] > 0.8
    assert list(history.epoch) == list(range(30))


def test_validation_split_takes_the_last_rows():
    x, y = data(100)
    a, b = network(), network()
    split = a.fit(x, y, validation_split=0.2, epochs=2, verbose=0).history
    given = b.fit(x[:80], y[:80], validation_data=(x[80:], y[80:]), epochs=2, verbose=0).history
    assert split == given
    assert_same(a.get_weights(), b.get_weights())
    assert given["val_loss"][-1] == pytest.approx(b.evaluate(x[80:], y[80:])["loss"], rel=1e-13)


def test_epoch_loss_is_the_mean_over_samples():
    """The last batch is smaller; the loss of each batch is taken before its update."""
    x, y = data(50)
    fitted, stepped = network(), network()
    loss = fitted.fit(x, y, batch_size=16, shuffle=False, verbose=0).history["loss"][0]
    total = sum(
        stepped.train_on_batch(x[i : i + 16], y[i : i + 16])["loss"] * len(x[i : i + 16])
        for i in range(0, 50, 16)
    )
    assert loss == pytest.approx(total / 50, rel=1e-13)
    assert_same(fitted.get_weights(), stepped.get_weights())


def test_shuffling_visits_every_row_once():
    """Plain SGD with a tiny rate: the sum of all rows' gradients, in any order."""
    x, y = data(64)
    shuffled = weights_after(network(bp.optimizers.SGD(1e-9)), x, y, batch_size=8)
    ordered = weights_after(network(bp.optimizers.SGD(1e-9)), x, y, batch_size=8, shuffle=False)
    for a, b in zip(shuffled, ordered, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-15)
    first = weights_after(network(), x, y, batch_size=8)
    assert any(
        (a != b).any()
        for a, b in zip(
            first, weights_after(network(), x, y, batch_size=8, shuffle=False), strict=True
        )
    )


def test_two_fits_are_one_longer_fit():
    x, y = data()
    once = weights_after(network(), x, y, epochs=4, shuffle=False)
    model = network()
    model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    assert_same(once, weights_after(model, x, y, epochs=4, initial_epoch=2, shuffle=False))


def test_batch_size_none_is_full_batch():
    x, y = data()
    a = weights_after(network(), x, y, batch_size=None, epochs=3, shuffle=False)
    b = weights_after(network(), x, y, batch_size=96, epochs=3, shuffle=False)
    c = weights_after(network(), x, y, batch_size=10**6, epochs=3, shuffle=False)
    assert_same(a, b)
    assert_same(a, c)


def test_epochs_zero_is_a_no_op():
    x, y = data()
    model = network()
    model.build((6,))
    before = support.weights_hash(model)
    assert model.fit(x, y, epochs=0, verbose=0).history.get("loss", []) == []
    assert support.weights_hash(model) == before


# ---- weights ------------------------------------------------------------------------------------
def test_integer_weights_are_repetitions():
    x, y = data(40)
    w = np.random.default_rng(1).integers(0, 4, 40)
    weighted, repeated = network(), network()
    for m in (weighted, repeated):
        m.build((6,))
    a = weighted.gradients(x, y, sample_weight=w)
    b = repeated.gradients(np.repeat(x, w, axis=0), np.repeat(y, w))
    for name in a.parameters:
        np.testing.assert_allclose(a.parameters[name] * 40, b.parameters[name] * w.sum(),
                                   rtol=1e-11, atol=1e-13)  # fmt: skip


def test_class_weight_is_a_sample_weight():
    x, y = data()
    table = {0: 1.0, 1: 2.0, 2: 0.5, 3: 3.0}
    a = weights_after(network(), x, y, epochs=2, class_weight=table)
    w = np.array([table[k] for k in y])
    b = weights_after(network(), x, y, epochs=2, sample_weight=w)
    assert_same(a, b)
    both = weights_after(network(), x, y, epochs=2, class_weight=table, sample_weight=w)
    assert_same(both, weights_after(network(), x, y, epochs=2, sample_weight=w * w))


def test_weights_of_one_change_nothing():
    x, y = data()
    a = weights_after(network(), x, y, epochs=2)
    assert_same(a, weights_after(network(), x, y, epochs=2, sample_weight=np.ones(96)))


# ---- clipping and accumulation ------------------------------------------------------------------
@pytest.mark.parametrize("limit", [0.01, 0.3, 1e9])
def test_clip_norm(limit):
    x, y = data()
    model = network(bp.optimizers.SGD(1.0), gradient_clip_norm=limit)
    model.build((6,))
    before, g = model.get_weights(), model.gradients(x, y).parameters
    size = support.norm(list(g.values()))
    model.train_on_batch(x, y)
    for w, old, parameter in zip(model.get_weights(), before, model.weights, strict=True):
        expected = old - g[parameter.name] * min(1.0, limit / size)
        np.testing.assert_allclose(w, expected, rtol=1e-12, atol=1e-14)


def test_clip_value():
    x, y = data()
    model = network(bp.optimizers.SGD(1.0), gradient_clip_value=0.02)
    model.build((6,))
    before, g = model.get_weights(), model.gradients(x, y).parameters
    model.train_on_batch(x, y)
    for w, old, parameter in zip(model.get_weights(), before, model.weights, strict=True):
        expected = old - np.clip(g[parameter.name], -0.02, 0.02)
        np.testing.assert_allclose(w, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_accumulated_batches_equal_one_big_batch(steps):
    x, y = data(96)
    small = weights_after(network(accumulate_steps=steps), x, y, batch_size=8, epochs=2,
                          shuffle=False)  # fmt: skip
    big = weights_after(network(), x, y, batch_size=8 * steps, epochs=2, shuffle=False)
    for a, b in zip(small, big, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_a_remainder_is_applied_at_the_end_of_the_epoch():
    x, y = data(40)
    model = network(bp.optimizers.SGD(0.1), accumulate_steps=4)
    found = weights_after(model, x, y, batch_size=8, shuffle=False)  # 5 batches: 4 and 1
    by_hand = network(bp.optimizers.SGD(0.1))
    by_hand.train_on_batch(x[:32], y[:32])
    by_hand.train_on_batch(x[32:], y[32:])
    for a, b in zip(found, by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    assert model.optimizer.iterations == 2


# ---- callbacks ----------------------------------------------------------------------------------
class Recorder(bp.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch}")

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(f"batch {batch}")

    def on_train_batch_end(self, batch, logs=None):
        assert np.isfinite(logs["loss"])
        self.calls.append(f"batch end {batch}")

    def on_epoch_end(self, epoch, logs=None):
        assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(logs)
        self.calls.append(f"epoch end {epoch}")

    def on_train_end(self, logs=None):
        self.calls.append("end")


def test_callbacks_are_called_in_order():
    x, y = data(20)
    recorder = Recorder()
    network().fit(x, y, batch_size=10, epochs=2, verbose=0, callbacks=[recorder],
                  validation_data=(x, y))  # fmt: skip
    batches = ["batch 0", "batch end 0", "batch 1", "batch end 1"]
    expected = ["begin"]
    for k in range(2):
        expected += [f"epoch {k}", *batches, f"epoch end {k}"]
    assert recorder.calls == [*expected, "end"]


def test_stop_training():
    class Stop(bp.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 2

    history = network().fit(*data(), epochs=50, verbose=0, callbacks=[Stop()])
    assert len(history.history["loss"]) == 3
    assert len(network().fit(*data(), epochs=2, verbose=0).history["loss"]) == 2


def test_verbose(capsys):
    x, y = data()
    network().fit(x, y, epochs=3, verbose=0)
    silent = capsys.readouterr()
    assert silent.out == silent.err == ""
    network().fit(x, y, epochs=3, verbose=2)
    shown = capsys.readouterr().out
    assert len(shown.strip().splitlines()) == 3 and "loss" in shown and "accuracy" in shown
    network().fit(x, y, epochs=3, verbose=1)
    assert "".join(capsys.readouterr()).strip()


def on_a_terminal(code, columns):
    """What Python code sends to a terminal that has this number of columns."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=slave, stderr=slave, cwd=support.ROOT
    ) as process:
        os.close(slave)
        sent = b""
        with contextlib.suppress(OSError):  # how Linux tells the end of a terminal
            while piece := os.read(master, 1 << 16):
                sent += piece
        os.close(master)
    assert process.returncode == 0, sent.decode()
    return sent.decode()


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_bar_begins_with_the_losses_at_any_width(columns):
    code = """
        from tests.test_fit import data, network
        x, y = data()
        network().fit(x, y, epochs=3, validation_data=(x, y), verbose=1)
    """
    sent = on_a_terminal(textwrap.dedent(code), columns)
    texts = [text.strip() for text in re.split(r"[\r\n]+", sent) if text.startswith("epoch")]
    bars = [text for text in texts if "%|" in text]
    assert bars and all(len(text) <= columns for text in bars)
    assert all(re.match(r"epoch \d/3  loss \d", text) for text in bars)
    assert any("val_loss" in text for text in bars) or columns == 40
    last = [text for text in texts if text not in bars][-1]
    assert re.match(r"epoch 3/3  loss \S+  val_loss \S+  accuracy \S+  val_accuracy", last)


def test_numbers_of_a_validation_stay_in_the_bar_until_the_next():
    bar = progress.Progress(1, 2, 4, 2)
    bar.epoch_end(0, {"loss": 1.0, "accuracy": 0.5, "val_loss": 2.0})
    bar.show(1, {"loss": 0.5, "accuracy": 0.75})
    assert bar.bar.desc.startswith("epoch 2/2  loss 0.5000  val_loss 2.0000")
    bar.close()


# ---- where data comes from ----------------------------------------------------------------------
def batches(x, y, size=32):
    for i in range(0, len(x), size):
        yield x[i : i + size], y[i : i + size]


def test_iterator_of_batches():
    x, y = data()
    by_iterator = network()
    by_iterator.fit(batches(x, y), verbose=0)
    assert_same(by_iterator.get_weights(), weights_after(network(), x, y, shuffle=False))


def test_memmap(tmp_path):
    x, y = data()
    path = tmp_path / "x.bin"
    np.asarray(x, np.float32).tofile(path)
    mapped = np.memmap(path, np.float32, "r", shape=x.shape)
    a = weights_after(network(), mapped, y)
    assert_same(a, weights_after(network(), x.astype(np.float32), y))
    del mapped


def test_lists_are_arrays():
    x, y = data(20)
    assert_same(weights_after(network(), x.tolist(), y.tolist()), weights_after(network(), x, y))


def test_pandas_frame():
    pandas = pytest.importorskip("pandas")
    x, y = data()
    frame = pandas.DataFrame(x, columns=list("abcdef"))
    assert_same(weights_after(network(), frame, pandas.Series(y)), weights_after(network(), x, y))


def test_polars_frame():
    polars = pytest.importorskip("polars")
    x, y = data()
    frame = polars.DataFrame(x, schema=list("abcdef"))
    assert_same(weights_after(network(), frame, polars.Series(y)), weights_after(network(), x, y))


def two_inputs():
    a, b = bp.Input((3,), name="left"), bp.Input((3,), name="right")
    out = bp.layers.Dense(4)(bp.layers.Concatenate()([a, b]))
    model = bp.Model([a, b], out, dtype="float64", seed=1)
    model.compile(optimizer="adam", loss="cross_entropy")
    return model


def test_several_inputs_as_list_tuple_and_dict():
    x, y = data()
    left, right = x[:, :3], x[:, 3:]
    a = weights_after(two_inputs(), [left, right], y)
    assert_same(a, weights_after(two_inputs(), (left, right), y))
    assert_same(a, weights_after(two_inputs(), {"right": right, "left": left}, y))


# ---- the rest of the model ----------------------------------------------------------------------
def test_frozen_layer():
    x, y = data()
    model = network()
    model.build((6,))
    model.layers[0].trainable = False
    before = model.get_weights()
    after = weights_after(model, x, y, epochs=2)
    assert_same(before[:2], after[:2])
    assert not np.array_equal(before[2], after[2])
    model.layers[0].trainable = True
    thawed = weights_after(model, x, y)
    assert not np.array_equal(thawed[0], after[0])


def test_evaluate_predict_and_call_agree():
    x, y = data()
    model = network()
    model.fit(x, y, verbose=0)
    z = model.predict(x)
    assert support.same_bits(model(x), z)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    loss = -np.log(e[np.arange(96), y] / e.sum(axis=1)).mean()
    assert model.evaluate(x, y)["loss"] == pytest.approx(loss, rel=1e-12)
    assert model.evaluate(x, y)["accuracy"] == (z.argmax(axis=1) == y).mean()
    assert model.predict(x[:0]).shape == (0, 4)


def test_trace_shows_every_layer():
    x, y = data(9)
    model = network()
    model.build((6,))
    trace = model.trace(x, y)
    w1, b1, w2, b2 = model.get_weights()
    first, last = (trace[layer.name] for layer in model.layers)
    z1 = x @ w1 + b1
    np.testing.assert_allclose(first.z, z1, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(first.a, np.tanh(z1), rtol=1e-12, atol=1e-14)
    z2 = np.tanh(z1) @ w2 + b2
    e = np.exp(z2 - z2.max(axis=1, keepdims=True))
    delta = (e / e.sum(axis=1, keepdims=True) - np.eye(4)[y]) / 9
    np.testing.assert_allclose(last.delta, delta, rtol=1e-11, atol=1e-15)
    below = delta @ w2.T * (1 - np.tanh(z1) ** 2)
    np.testing.assert_allclose(first.delta, below, rtol=1e-11, atol=1e-15)


def test_a_numpy_trainer_gives_the_same_run():
    """The benchmark's NumPy MLP, epoch by epoch, in order."""
    from .reference import mlp

    x, y = data(90)
    model = network(bp.optimizers.Adam(0.01))
    model.build((6,))
    w = [a.copy() for a in model.get_weights()]
    theirs = mlp.MLP(w[0::2], w[1::2], "tanh", mlp.Adam(0.01))
    ours = model.fit(x, y, batch_size=16, epochs=5, shuffle=False, verbose=0).history["loss"]
    expected = theirs.fit(x, y, 16, epochs=5, shuffle=False)
    np.testing.assert_allclose(ours, expected, rtol=1e-11)
    for a, b in zip(model.get_weights()[0::2], theirs.kernels, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
