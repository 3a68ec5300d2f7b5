"""Pictures: what is drawn is what was counted."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import plotting

pyplot = pytest.importorskip("matplotlib.pyplot")
pyplot.switch_backend("Agg")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def test_a_confusion_matrix_shows_the_counts():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    truth, answers = rng.choice(list("abc"), 200), rng.choice(list("abc"), 200)
    expected = sklearn.confusion_matrix(truth, answers)
    ax = plotting.confusion_matrix(truth, answers)
    assert np.array_equal(ax.images[0].get_array(), expected)
    assert [t.get_text() for t in ax.texts] == [str(n) for n in expected.ravel()]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "c"]
    scores = np.eye(3)[np.searchsorted(list("abc"), answers)]
    again = plotting.confusion_matrix(truth, scores, labels=list("abc"))
    assert np.array_equal(again.images[0].get_array(), expected)
    many = plotting.confusion_matrix(np.arange(30), np.arange(30))
    assert not many.texts
    with pytest.raises(ValueError, match="labels lacks the class 'c'"):
        plotting.confusion_matrix(truth, answers, labels=["a", "b"])
    with pytest.raises(ValueError, match="got 3 truths and 2 answers"):
        plotting.confusion_matrix([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="got 2 scores, expected 3 classes"):
        plotting.confusion_matrix([0, 1], np.eye(2), labels=[0, 1, 2])


def test_residuals_show_every_row():
    truth = np.linspace(0, 1, 50)
    left, right = plotting.residuals(truth, truth[:, None] + 0.1)
    points = left.collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 1] - points[:, 0], 0.1)
    assert sum(bar.get_height() for bar in right.patches) == 50
    low, high = right.get_xlim()  # answers that are too large lie right of 0
    assert low < 0.1 < high and sum(b.get_height() for b in right.patches if b.get_x() > 0) == 50
    _, right = plotting.residuals(truth, truth)
    assert sum(bar.get_height() for bar in right.patches) == 50
    with pytest.raises(ValueError, match="axes: got 1, expected 2"):
        plotting.residuals(truth, truth, axes=left)


def test_predictions_against_the_epoch():
    x = np.linspace(-1, 1, 40)[:, None]
    model = bp.Sequential([bp.layers.Dense(1)], seed=0, dtype="float64")
    model.compile(bp.optimizers.SGD(0.1), "mse")
    recorder = plotting.PredictionRecorder(x[:3], 3 * x[:3], every=2)
    model.fit(x, 3 * x, epochs=7, verbose=0, callbacks=[recorder])
    assert recorder.epochs == [1, 3, 5, 7]
    assert np.array_equal(recorder.predictions[-1], model.predict(x[:3]))
    apart = model.predict(x[:3]) - 3 * x[:3]
    assert recorder.errors()[-1] == pytest.approx(np.sqrt(np.mean(apart**2)))
    left, right = recorder.plot()
    drawn = left.lines[1].get_ydata()
    assert np.array_equal(drawn, [p[1, 0] for p in recorder.predictions])
    assert np.array_equal(right.lines[0].get_ydata(), recorder.errors())
    with pytest.raises(ValueError, match="has no targets"):
        plotting.PredictionRecorder(x).errors()
    with pytest.raises(ValueError, match="holds no record"):
        plotting.PredictionRecorder(x).plot()


def test_of_many_predictions_ten_are_drawn():
    x = np.linspace(-1, 1, 400)[:, None]
    recorder = plotting.PredictionRecorder(x, x[:, 0])
    recorder.epochs, recorder.predictions = [1, 2], [0 * x, 0.5 * x]
    left, right = recorder.plot()
    lines = [line for line in left.lines if line.get_linestyle() == "-"]
    ends = np.array([line.get_ydata()[-1] for line in lines])
    assert len(lines) == 10 and ends[0] == -0.5 and ends[-1] == 0.5
    targets = [line.get_ydata()[0] for line in left.lines if line.get_linestyle() == ":"]
    assert np.array_equal(targets, 2 * ends)  # each beside its own line
    expected = np.sqrt(np.mean((0.5 * x) ** 2))  # of all rows
    assert right.lines[0].get_ydata()[1] == pytest.approx(expected)


def test_epochs_are_whole_numbers():
    history = bp.callbacks.History()
    for epoch in range(20):
        history.add(epoch, {"loss": 1.0 / (epoch + 1)}, 0.1)
    (ax,) = history.plot()
    ax.figure.canvas.draw()
    assert len(ax.get_xticks()) > 3 and all(tick == int(tick) for tick in ax.get_xticks())


def test_the_ticks_and_scale_of_the_users_axes_stay():
    model = bp.Sequential([bp.layers.Dense(1)], seed=0)
    model.compile("sgd", "mse")
    history = model.fit(np.ones((4, 2)), np.ones(4), epochs=3, verbose=0)
    ax = pyplot.figure().add_subplot()
    ax.set_xticks([1, 2.5])
    history.plot(axes=ax)
    assert list(ax.get_xticks()) == [1, 2.5]
    ax = pyplot.figure().add_subplot(xscale="log")
    history.plot(axes=ax)
    assert ax.get_xscale() == "log"


def test_the_pictures_of_the_docs_are_those_that_its_snippets_make(tmp_path):
    """The graph to the letter; of the others, which matplotlib's releases draw unlike, the size."""
    import importlib.util

    from .helpers import support

    folder = support.ROOT / "docs" / "pictures"
    spec = importlib.util.spec_from_file_location("make", folder / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    made = make.main(tmp_path)
    assert made == sorted(p.name for p in folder.iterdir() if p.suffix in (".svg", ".png"))
    assert (tmp_path / "graph.svg").read_text() == (folder / "graph.svg").read_text()
    for name in made:
        if name.endswith("png"):
            shapes = [pyplot.imread(place / name).shape for place in (tmp_path, folder)]
            assert shapes[0] == shapes[1], name
