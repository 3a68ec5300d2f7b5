"""What callbacks write: CSV lines, TensorBoard's scalars; History as a table and as plots."""

from __future__ import annotations

import csv
import os
import sys
import types

import numpy as np
import pytest

import bpcore as bp

C = bp.callbacks


def data(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5))
    return x, (x @ rng.normal(size=(5, 3))).argmax(axis=1)


def network():
    model = bp.Sequential([bp.layers.Dense(4, "tanh"), bp.layers.Dense(3)], seed=1)
    model.compile(optimizer=bp.optimizers.SGD(0.1), loss="cross_entropy", metrics=["accuracy"])
    return model


def rows(path, separator=","):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=separator))


# ---- CSV ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["/dev/full", "/dev/zero", "/dev/null", "pipe", "link"])
@pytest.mark.parametrize("append", [False, True])
def test_csv_is_a_file(tmp_path, kind, append):
    """A device or a pipe, which may be read without end, is refused before the first epoch."""
    path = tmp_path / "log.csv"
    if kind == "pipe":
        os.mkfifo(path)
    elif not os.path.exists("/dev/full"):
        pytest.skip("has no such devices")
    else:
        path = path if kind == "link" else kind
        if kind == "link":
            path.symlink_to("/dev/full")
    model = network()
    with pytest.raises(ValueError, match="it is not a regular file"):
        model.fit(*data(), verbose=0, callbacks=[C.CSVLogger(path, append=append)])
    assert model.optimizer.iterations == 0


def test_a_pipe_in_the_place_of_a_csv_file_ends_the_fit(tmp_path):
    class Replaces(C.Callback):
        def on_epoch_end(self, epoch, logs=None):
            os.unlink(tmp_path / "log.csv")
            os.mkfifo(tmp_path / "log.csv")

    callbacks = [C.CSVLogger(tmp_path / "log.csv"), Replaces()]
    with pytest.raises(ValueError, match="it is not a regular file"):
        network().fit(*data(), epochs=2, verbose=0, callbacks=callbacks)


def test_csv_has_every_number_to_the_bit(tmp_path):
    x, y = data()
    path = tmp_path / "log.csv"
    path.write_text("old,file\n1,2\n")
    history = network().fit(x, y, epochs=3, verbose=0, validation_split=0.2,
                            callbacks=[C.CSVLogger(path, separator=";")])  # fmt: skip
    head, *lines = rows(path, ";")
    assert head == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
    assert [line[0] for line in lines] == ["0", "1", "2"]
    for key, *column in zip(head[1:], *(line[1:] for line in lines), strict=True):
        assert [float(v) for v in column] == history.history[key]


def test_csv_with_rare_validation_and_late_columns(tmp_path):
    x, y = data()
    path = tmp_path / "log.csv"
    late = C.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(extra=7.0) if epoch == 2 else None
    )
    network().fit(x, y, epochs=4, verbose=0, validation_split=0.2, validation_freq=2,
                  callbacks=[late, C.CSVLogger(path)])  # fmt: skip
    head, *lines = rows(path)
    assert head == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "extra"]
    assert [line[3] == "NA" for line in lines] == [True, False, True, False]
    assert [line[5] for line in lines] == ["NA", "NA", "7.0", "NA"]


def test_csv_append(tmp_path):
    x, y = data()
    path, model = tmp_path / "log.csv", network()
    log = C.CSVLogger(path, append=True)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[log])
    model.fit(x, y, epochs=3, initial_epoch=2, verbose=0, callbacks=[log], validation_data=(x, y))
    head, *lines = rows(path)
    assert head[-1] == "val_accuracy" and [line[0] for line in lines] == ["0", "1", "2"]
    assert lines[0][3:] == ["NA", "NA"] and float(lines[2][3]) > 0
    model.fit(x, y, verbose=0, callbacks=[C.CSVLogger(path)])
    assert len(rows(path)) == 2


def test_csv_append_to_a_header(tmp_path):
    x, y = data()
    path = tmp_path / "log.csv"
    path.write_text("epoch,accuracy,note,loss\n")
    found = network().fit(x, y, verbose=0, callbacks=[C.CSVLogger(path, append=True)]).history
    line = ["0", repr(found["accuracy"][0]), "NA", repr(found["loss"][0])]
    assert rows(path) == [["epoch", "accuracy", "note", "loss"], line]


def test_csv_lines_are_there_at_once(tmp_path):
    x, y = data()
    path, seen = tmp_path / "log.csv", []
    look = C.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(len(rows(path))))
    network().fit(x, y, epochs=3, verbose=0, callbacks=[C.CSVLogger(path), look])
    assert seen == [2, 3, 4]


# ---- TensorBoard --------------------------------------------------------------------------------
class Writer:
    """Stands for tensorboardX.SummaryWriter: the same calls, kept in a list."""

    made: list[Writer] = []  # noqa: RUF012

    def __init__(self, logdir, purge_step=None):
        self.logdir, self.purge_step = logdir, purge_step
        self.scalars, self.histograms, self.closed, self.flushed = [], [], False, 0
        Writer.made.append(self)

    def add_scalar(self, tag, scalar_value, global_step):
        self.scalars.append((tag, float(scalar_value), global_step))

    def add_histogram(self, tag, values, global_step):
        self.histograms.append((tag, np.array(values), global_step))

    def flush(self):
        self.flushed += 1

    def close(self):
        self.closed = True


@pytest.fixture
def writers(monkeypatch):
    Writer.made = []
    fake = types.ModuleType("tensorboardX")
    fake.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "tensorboardX", fake)
    return Writer.made


def test_tensorboard_scalars(tmp_path, writers):
    x, y = data()
    board = C.TensorBoard(tmp_path / "logs", histogram_freq=2)
    history = network().fit(x, y, epochs=3, verbose=0, validation_split=0.2, callbacks=[board])
    by_folder = {w.logdir.rsplit("/", 1)[-1]: w for w in writers}
    assert set(by_folder) == {"train", "validation"}
    h = history.history
    train, validation = by_folder["train"], by_folder["validation"]
    for key in ("loss", "accuracy"):
        assert [v for t, v, _ in train.scalars if t == f"epoch_{key}"] == h[key]
        assert [(v, s) for t, v, s in validation.scalars if t == f"epoch_{key}"] == [
            (v, s) for s, v in enumerate(h[f"val_{key}"])
        ]
    assert [v for t, v, _ in train.scalars if t == "epoch_learning_rate"] == [0.1] * 3
    assert [(t, s) for t, _, s in train.histograms] == [
        (p.name, 1) for p in board.model.weights
    ]  # fmt: skip
    assert train.closed and validation.closed and train.flushed == 3


def test_tensorboard_batches_and_resume(tmp_path, writers):
    x, y = data(64)
    board = C.TensorBoard(tmp_path, update_freq=3)

    def fail(epoch, logs):
        if epoch == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        network().fit(x, y, epochs=3, batch_size=16, verbose=0,
                      callbacks=[board, C.LambdaCallback(on_epoch_end=fail)])  # fmt: skip
    assert [s for t, _, s in writers[0].scalars if t == "batch_loss"] == [3, 6]
    assert writers[0].closed and writers[0].purge_step is None
    assert board.get_state() == {"next": 2, "batches": 8}
    again = C.TensorBoard(tmp_path, update_freq=3)
    again.set_state({"next": 1, "batches": 4})
    network().fit(x, y, epochs=2, initial_epoch=1, batch_size=16, verbose=0, callbacks=[again])
    assert writers[1].purge_step == 5  # batch 3 was before the checkpoint, it is to stay
    assert [s for t, _, s in writers[1].scalars if t == "batch_loss"] == [6]


def test_tensorboard_files_are_real(tmp_path):
    pytest.importorskip("tensorboardX", reason="the extra tensorboard is not installed")
    x, y = data()
    network().fit(x, y, epochs=2, verbose=0, validation_split=0.2,
                  callbacks=[C.TensorBoard(tmp_path, histogram_freq=1)])  # fmt: skip
    for folder in ("train", "validation"):
        (events,) = (tmp_path / folder).iterdir()
        assert events.stat().st_size > 100


# ---- optional packages --------------------------------------------------------------------------
@pytest.mark.parametrize("module, extra, call", [
    ("tensorboardX", "tensorboard", lambda h: C.TensorBoard("logs")),
    ("pandas", "pandas", lambda h: h.to_pandas()),
    ("matplotlib.pyplot", "plot", lambda h: h.plot()),
])  # fmt: skip
def test_a_missing_package_is_named_with_its_extra(monkeypatch, module, extra, call):
    history = C.History()
    history.on_epoch_end(0, {"loss": 1.0})
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{module.split('.')[0]}.*bpcore\[{extra}\]"):
        call(history)


# ---- History ------------------------------------------------------------------------------------
def trained():
    x, y = data()
    return network().fit(x, y, epochs=5, verbose=0, validation_split=0.2, validation_freq=2)


def test_history_to_pandas_with_rare_validation():
    pytest.importorskip("pandas")
    history = trained()
    frame = history.to_pandas()
    assert list(frame.index) == [0, 1, 2, 3, 4] and frame.index.name == "epoch"
    assert list(frame["loss"]) == history.history["loss"]
    assert list(frame["val_loss"].dropna()) == history.history["val_loss"]
    assert list(frame["val_loss"].isna()) == [True, False, True, False, True]


def test_history_plot():
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    history = trained()
    axes = history.plot()
    assert [ax.get_ylabel() for ax in axes] == ["loss", "accuracy"]
    lines = {line.get_label(): line for line in axes[0].get_lines()}
    np.testing.assert_array_equal(lines["training"].get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(lines["training"].get_ydata(), history.history["loss"])
    np.testing.assert_array_equal(lines["validation"].get_xdata(), [2, 4])
    np.testing.assert_array_equal(lines["validation"].get_ydata(), history.history["val_loss"])
    _, own = plt.subplots()
    assert history.plot("accuracy", axes=own) == [own]
    plt.close("all")
    with pytest.raises(ValueError, match=r"'acuracy'.*did you mean 'accuracy'"):
        history.plot(["acuracy"])
    with pytest.raises(ValueError, match="axes: got 1, expected 2"):
        history.plot(axes=[own])
    with pytest.raises(ValueError, match="empty"):
        C.History().plot()
