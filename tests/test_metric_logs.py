"""A metric of many columns is a list in the logs: what each of their readers makes of it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import bpcore as bp
from bpcore.train import format_1

L, M, C = bp.layers, bp.metrics, bp.callbacks
X = np.array([[2.0, -1.0, 0.5], [-2.0, 1.0, 0.5], [0.5, 2.0, -3.0], [-0.5, -2.0, 3.0]])
Y = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 0], [0, 0, 1]])
RECALLS = [0.5, 1.0, 1.0]


def net(*metrics):
    model = bp.Sequential([bp.Input((3,)), L.Dense(3, "sigmoid", use_bias=False)], seed=0)
    model.weights[0].value = np.eye(3)
    model.compile(bp.optimizers.SGD(1e-30), "binary_cross_entropy",
                  metrics=metrics or [M.Recall(average=None), "f1"])  # fmt: skip
    return model


def fit(model, **options):
    options = {"epochs": 2, "verbose": 0, "validation_data": (X, Y), **options}
    return model.fit(X, Y, **options)


def test_history_evaluate_and_batches():
    history = fit(net())
    assert history.history["recall"] == history.history["val_recall"] == [RECALLS, RECALLS]
    assert json.loads(json.dumps(history.history)) == history.history
    assert "recall=[0.5000 1.0000 1.0000]" in repr(history)
    assert net().evaluate(X, Y)["recall"] == net().train_on_batch(X, Y)["recall"] == RECALLS


def test_lines_and_files(capsys, tmp_path):
    fit(net(), verbose=2)
    assert "recall [0.5000 1.0000 1.0000]" in capsys.readouterr().out
    many = bp.Sequential([bp.Input((9,)), L.Activation("softmax")])
    many.compile("sgd", "cross_entropy", metrics=[M.Recall(average=None)])
    many.fit(np.eye(9), np.arange(9), verbose=2)
    assert "recall [1.0000 1.0000 1.0000 1.0000 ...]" in capsys.readouterr().out
    fit(net(), verbose=1)
    path = tmp_path / "log.csv"
    fit(net(), callbacks=[C.CSVLogger(path)])
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [json.loads(row["val_recall"]) for row in rows] == [RECALLS, RECALLS]


def test_tables_and_plots():
    pytest.importorskip("pandas")
    frame = fit(net()).to_pandas()
    assert frame["recall"].tolist() == [RECALLS, RECALLS] and frame["f1"].dtype == float
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    axes = fit(net()).plot("recall")
    assert len(axes[0].lines) == 6  # of three labels, in training and validation


def test_tensorboard_gets_a_scalar_for_each(tmp_path):
    pytest.importorskip("tensorboardX")
    board = C.TensorBoard(tmp_path)
    told = {}

    class Writer:
        def add_scalar(self, tag, value, step):
            told[tag] = value

        def flush(self):
            pass

        close = flush

    board._writer = lambda name: Writer()
    fit(net(), callbacks=[board])
    assert [told[f"epoch_recall_{k}"] for k in range(3)] == RECALLS


@pytest.mark.parametrize("make", [
    lambda: C.EarlyStopping("val_recall", mode="max"), lambda: C.ReduceLROnPlateau("recall"),
    lambda: C.ModelCheckpoint("m", "val_recall", save_best_only=True),
])  # fmt: skip
def test_a_list_cannot_be_monitored(make):
    model = net()
    before = model.get_weights()[0].copy()
    with pytest.raises(ValueError, match=r"list of numbers because of average=None.*'macro'"):
        fit(model, callbacks=[make()])
    np.testing.assert_array_equal(model.get_weights()[0], before)
    fit(net(M.Recall(average="macro")), callbacks=[C.EarlyStopping("val_recall")])


def test_a_run_with_lists_goes_on(tmp_path):
    path = tmp_path / "run.ckpt"

    flag = tmp_path / "stop"
    flag.touch()

    class Stop(C.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1 and flag.exists():
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(net(), epochs=4, checkpoint=path, callbacks=[Stop()])
    flag.unlink()
    history = fit(net(), epochs=4, checkpoint=path, callbacks=[Stop()]).history
    assert history["recall"] == [RECALLS] * 4
    assert fit(net(), epochs=4, checkpoint=path, callbacks=[Stop()]).history == history


@pytest.mark.parametrize("labels", [True, False])
def test_areas_of_files_of_the_first_format(labels):
    """Of two columns each was kept by itself: score, weight, positive."""
    old = np.stack([X[:, :2], np.full((4, 2), 3.0), Y[:, :2]], axis=2)  # rows, columns, the three
    weight = np.full((4, 1), 3.0)
    if labels:
        rows = np.hstack([X[:, :2], weight, Y[:, :2]])
    else:
        rows = np.hstack([X[:, 1:2] - X[:, :1], weight, Y[:, 1:2]])
    found = format_1._of_today(old.ravel(), ("auc", {"labels": labels}), rows.size)
    np.testing.assert_array_equal(found, rows.ravel())
    np.testing.assert_array_equal(
        format_1._of_today(rows.ravel(), ("auc", {"labels": labels}), rows.size), rows.ravel()
    )
