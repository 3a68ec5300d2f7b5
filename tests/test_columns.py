"""Columns of data frames: kept with the model; another order is put right, others are refused."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import bpcore as bp
from bpcore.data import frames

L = bp.layers
LIBRARIES = ("pandas", "polars")


@pytest.fixture(params=LIBRARIES)
def frame(request):
    """A maker of frames from an array and names."""
    module = pytest.importorskip(request.param)
    return lambda a, names: module.DataFrame({n: a[:, k] for k, n in enumerate(names)})


@pytest.fixture
def xy(rng):
    return rng.normal(size=(20, 3)), rng.normal(size=(20, 2))


def model_of(*layers, **options):
    model = bp.Sequential(list(layers) or [L.Dense(2)], seed=0)
    model.compile("sgd", options.pop("loss", "mse"), **options)
    return model


def test_another_order_is_put_right(frame, xy):
    """On every way in, the numbers are those of the array in the order of training."""
    x, y = xy
    model = model_of()
    model.fit(frame(x, "abc"), y, verbose=0)
    other = frame(x[:, [2, 0, 1]], "cab")
    assert np.array_equal(model.predict(other), model.predict(x))
    assert np.array_equal(model(other), model(x))
    assert model.evaluate(other, y) == model.evaluate(x, y)
    assert model.gradients(other, y).loss == model.gradients(x, y).loss
    twin = copy.deepcopy(model)
    model.fit(other, y, validation_data=(other, y), verbose=0)
    twin.fit(x, y, validation_data=(x, y), verbose=0)
    model.train_on_batch(other, y)
    twin.train_on_batch(x, y)
    model.fit(iter([(other, y)]), verbose=0)
    twin.fit(iter([(x, y)]), verbose=0)
    assert all(map(np.array_equal, model.get_weights(), twin.get_weights()))
    held = model_of()
    held.fit(frame(x, "abc"), y, validation_data=(other, y), verbose=0)
    assert held.evaluate(other, y) == held.evaluate(x, y)


@pytest.mark.parametrize("late", [False, True])
def test_what_was_adapted_to_a_frame_says_the_order(frame, xy, late):
    """Before the first fit too, whether the model was made before or after; also from its file."""
    x, y = xy
    x = x * [1, 10, 100] + [0, 5, 7]
    scale = L.Normalization()
    if not late:
        scale.adapt(frame(x, "abc"))
    model = bp.Sequential([bp.Input((3,)), scale, L.Dense(2)], seed=0)
    if late:
        scale.adapt(frame(x, "abc"))
    model.compile("sgd", "mse")
    other = frame(x[:, [2, 0, 1]], "cab")
    assert np.array_equal(model.predict(other), model.predict(x))
    with pytest.raises(ValueError, match="not expected: 'd'"):
        model.fit(frame(x, "abd"), y, verbose=0)
    twin = bp.Sequential.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    assert np.array_equal(twin.predict(other), model.predict(x))
    model.fit(other, y, verbose=0, shuffle=False)
    assert not np.array_equal(model.get_weights()[-1], twin.get_weights()[-1])


def test_other_columns_are_refused(frame, xy):
    x, y = xy
    model = model_of()
    model.fit(frame(x, "abc"), y, verbose=0)
    before = model.get_weights()
    renamed, more = frame(x, "abd"), frame(np.hstack([x, x[:, :1]]), "abcd")
    wanted = r"x has columns 'a', 'b', 'd', expected 'a', 'b', 'c'.*missing: 'c'; not expected: 'd'"
    for call in (
        lambda: model.predict(renamed),
        lambda: model(renamed),
        lambda: model.evaluate(renamed, y),
        lambda: model.fit(renamed, y, verbose=0),
        lambda: model.fit(iter([(renamed, y)]), verbose=0),
        lambda: model.train_on_batch(renamed, y),
        lambda: model.fit(x, y, validation_data=(renamed, y), verbose=0),
    ):
        with pytest.raises(ValueError, match=wanted):
            call()
    with pytest.raises(ValueError, match="not expected: 'd'"):
        model.predict(more)
    assert all(map(np.array_equal, model.get_weights(), before))
    assert np.array_equal(model.predict(renamed.to_numpy()), model.predict(x))


def test_targets_of_several_columns_have_names(frame, xy):
    x, y = xy
    model = model_of()
    model.fit(x, frame(y, "uv"), verbose=0)
    assert model.evaluate(x, frame(y[:, ::-1], "vu")) == model.evaluate(x, y)
    with pytest.raises(ValueError, match=r"^y has columns"):
        model.evaluate(x, frame(y, "uw"))
    one = model_of(L.Dense(1))
    one.fit(x, frame(y[:, :1], "u"), verbose=0)
    one.evaluate(x, frame(y[:, :1], "w"))  # there is nothing to mistake it for


def test_names_go_with_copies_and_files(frame, xy, tmp_path):
    x, y = xy
    model = model_of()
    plain = len(model_bytes(fitted(x, y), tmp_path))
    model.fit(frame(x, "abc"), frame(y, "uv"), verbose=0)
    assert len(model_bytes(model, tmp_path)) > plain
    model.save_checkpoint(tmp_path / "c")
    copies = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        bp.load_model(tmp_path / "m"),
        bp.load_checkpoint(tmp_path / "c"),
        bp.Sequential.from_config(model.get_config()),
    ]
    for again in copies:
        assert again.get_config() == model.get_config()
        found = again.predict(frame(x[:, ::-1], "cba"))
        assert np.array_equal(found, again.predict(x))
        with pytest.raises(ValueError, match="'z'"):
            again.predict(frame(x, "abz"))
        with pytest.raises(ValueError, match="'z'"):
            again.evaluate(x, frame(y, "uz"))


def fitted(x, y):
    model = model_of()
    model.fit(x, y, verbose=0)
    return model


def model_bytes(model, tmp_path):
    model.save(tmp_path / "m")
    return (tmp_path / "m").read_bytes()


def test_arrays_leave_no_trace_in_files(xy, tmp_path):
    assert b"columns" not in model_bytes(fitted(*xy), tmp_path)


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"inputs": [["a", "b", "c"]]},
        {"inputs": [["a"], ["b"]], "outputs": [None]},
        {"inputs": [[1, 2, 3]], "outputs": [None]},
        {"inputs": ["abc"], "outputs": [None]},
        {"inputs": None, "outputs": [None]},
        [["a"]],
    ],
)
def test_bad_columns_in_a_description_are_refused(columns, xy):
    config = {**fitted(*xy).get_config(), "columns": columns}
    with pytest.raises(ValueError, match="columns"):
        bp.Sequential.from_config(config)


def test_a_call_that_fails_learns_nothing(frame, xy):
    x, y = xy
    model = model_of()
    model.build((3,))
    bad = x.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.fit(frame(bad, "abc"), y, verbose=0)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(frame(x, "abc"), y, validation_data=(bad, y), verbose=0)
    with pytest.raises(ValueError, match="validation_split"):
        model.fit(frame(x, "abc"), y, validation_split=0.999, verbose=0)
    model.predict(frame(x, "abd"))
    model.evaluate(frame(x, "abd"), y)  # nor does a call that does not train
    model.fit(frame(x, "abe"), y, verbose=0)
    with pytest.raises(ValueError, match="'d'"):
        model.predict(frame(x, "abd"))


def test_several_inputs_have_columns_of_their_own(frame, xy):
    x, y = xy
    a, b = bp.Input((3,), name="a"), bp.Input((3,), name="b")
    model = bp.Model([a, b], L.Dense(2)(a - 2 * b), seed=0)
    model.compile("sgd", "mse")
    model.fit([frame(x, "abc"), frame(-x, "def")], y, verbose=0)
    found = model.predict([frame(x[:, ::-1], "cba"), frame(-x[:, [1, 0, 2]], "edf")])
    assert np.array_equal(found, model.predict([x, -x]))
    with pytest.raises(ValueError, match=r"x\['b'\] has columns"):
        model.predict([frame(x, "abc"), frame(x, "abc")])


def test_another_layer_keeps_the_names_of_inputs(frame, xy):
    x, y = xy
    model = model_of()
    model.fit(frame(x, "abc"), frame(y, "uv"), verbose=0)
    model.add(L.Dense(3))
    assert np.array_equal(model.predict(frame(x[:, ::-1], "cba")), model.predict(x))
    model.fit(x, frame(np.hstack([y, y[:, :1]]), "xyz"), verbose=0)


def test_labels_that_only_count_are_places(xy):
    """As in a frame that was made of an array."""
    pd = pytest.importorskip("pandas")
    x, y = xy
    named = pd.DataFrame(x, columns=list("abc"))
    model = model_of()
    model.fit(named, y, verbose=0)
    assert np.array_equal(model.predict(pd.DataFrame(x)), model.predict(x))
    model = model_of()
    model.fit(pd.DataFrame(x), y, verbose=0)
    assert np.array_equal(model.predict(named), model.predict(x))
    assert np.array_equal(model.predict(pd.DataFrame(x)[[2, 0, 1]]), model.predict(x))
    years = pd.DataFrame(x, columns=[1998, 1999, 2000])
    model = model_of()
    model.fit(years, y, verbose=0)
    assert np.array_equal(model.predict(years[[2000, 1998, 1999]]), model.predict(x))
    twice = pd.DataFrame(x, columns=["a", "a", "b"])
    model = model_of()
    model.fit(twice, y, verbose=0)
    assert np.array_equal(model.predict(twice), model.predict(x))
    with pytest.raises(ValueError, match="columns"):
        model.predict(twice.iloc[:, [2, 0, 1]])


def test_names_do_not_tell_runs_apart(xy, tmp_path):
    """A checkpoint of a fit on arrays goes on with a frame of the same numbers."""
    pd = pytest.importorskip("pandas")
    x, y = xy
    path = tmp_path / "run"
    whole = model_of()
    whole.fit(x, y, epochs=4, verbose=0, checkpoint=path)
    again = model_of()
    history = again.fit(
        pd.DataFrame(x, columns=list("abc")), y, epochs=4, verbose=0, checkpoint=path
    )
    assert len(history.history["loss"]) == 4
    assert all(map(np.array_equal, again.get_weights(), whole.get_weights()))


def counted(method, counts):
    def to_numpy(self, *args, **options):
        counts.append(self.size)
        return method(self, *args, **options)

    return to_numpy


def test_a_frame_is_copied_at_most_once(monkeypatch):
    """Whatever the dtypes of its columns; and its values are those of the columns."""
    pd = pytest.importorskip("pandas")
    n = 6
    columns = {
        "i": np.arange(n, dtype=np.int8),
        "f": np.linspace(0, 1, n, dtype=np.float32),
        "n": pd.array(np.arange(n), dtype="Int64"),
        "b": np.arange(n) % 2 == 0,
        "s": pd.arrays.SparseArray(np.arange(n) * 0.5),
    }
    for names in ("i", "f", "n", "ii", "nn", "if", "in", "nf", "ib", "s", "sf", "ifnbs"):
        frame = pd.concat([pd.Series(columns[c]) for c in names], axis=1)
        counts = []
        with monkeypatch.context() as patch:
            for cls in (pd.DataFrame, pd.Series):
                patch.setattr(cls, "to_numpy", counted(cls.to_numpy, counts))
            found = frames.from_pandas("x", frame)
        assert sum(counts) == frame.size
        expected = np.column_stack([np.asarray(columns[c]) for c in names])
        assert found.dtype == expected.dtype and np.array_equal(found, expected)
    block = pd.DataFrame(np.ones((4, 3)))
    assert np.shares_memory(frames.from_pandas("x", block), block.to_numpy())
