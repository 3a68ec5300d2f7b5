"""Data on their way into a model: each part converted once and checked once, on every way in."""

from __future__ import annotations

import collections

import numpy as np
import pytest

import bpcore as bp
from bpcore.data import arrays
from bpcore.data.plain import Plain
from bpcore.data.signature import Signature

from .helpers import passage

L = bp.layers
N = 24


class Counted:
    """Data of some library's: an array to whoever asks, who is counted."""

    def __init__(self, values):
        self.values, self.count = np.asarray(values), 0

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        self.count += 1
        return self.values if dtype is None else self.values.astype(dtype)


def regression(built=True, **options):
    model = bp.Sequential([L.Dense(4, "tanh"), L.Dense(2)], seed=0)
    model.compile("sgd", "mse", **options)
    if built:
        model.build((3,))
    return model


def data(rng, n=N):
    return Counted(rng.normal(size=(n, 3))), Counted(rng.normal(size=(n, 2)))


def batches(x, y):
    return iter([(x, y)])


WAYS = {
    "fit": lambda m, x, y: m.fit(x, y, verbose=0),
    "fit, epochs": lambda m, x, y: m.fit(x, y, verbose=0, epochs=3),
    "fit, a part held out": lambda m, x, y: m.fit(x, y, verbose=0, validation_split=0.25),
    "fit, batches": lambda m, x, y: m.fit(batches(x, y), verbose=0),
    "evaluate": lambda m, x, y: m.evaluate(x, y),
    "evaluate, batches": lambda m, x, y: m.evaluate(batches(x, y)),
    "train_on_batch": lambda m, x, y: m.train_on_batch(x, y),
    "gradients": lambda m, x, y: m.gradients(x, y),
    "trace": lambda m, x, y: m.trace(x, y),
    "gradcheck": lambda m, x, y: m.gradcheck(x, y),
    "diagnose": lambda m, x, y: m.diagnose(x, y),
    "profile": lambda m, x, y: m.profile(x, y, repeats=1),
    "find_learning_rate": lambda m, x, y: m.find_learning_rate(x, y, batch_size=8, steps=10),
    "find_learning_rate, batches": lambda m, x, y: m.find_learning_rate(
        ((x.values, y.values) if k else (x, y) for k in range(20)), steps=10
    ),
}
NEEDS_WEIGHTS = {"evaluate", "evaluate, batches"}
ALONE = {
    "predict": lambda m, x, y: m.predict(x),
    "call": lambda m, x, y: m(x),
}


@pytest.fixture
def scans(monkeypatch):
    """How often values of each array are looked at for NaN, by the name in messages."""
    seen = collections.Counter()
    real = arrays.finite

    def finite(name, x, dtype):
        seen[name] += 1
        return real(name, x, dtype)

    monkeypatch.setattr(arrays, "finite", finite)
    for name, look in (("x", "_plain_inputs"), ("y", "_plain_targets")):  # or by the core at once
        monkeypatch.setattr(Signature, look, _counted(getattr(Signature, look), seen, name))
    monkeypatch.setattr(Plain, "data", _counted(Plain.data, seen, "x", "y"))
    return seen


def _counted(look, seen, *names):
    def counted(*given):
        found = look(*given)
        for name in names:
            seen[name] += found is not None
        return found

    return counted


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("built", [True, False])
def test_x_and_y_are_converted_and_checked_once(way, built, rng, scans):
    model = regression(built or way in NEEDS_WEIGHTS)
    x, y = data(rng)
    WAYS[way](model, x, y)
    assert (x.count, y.count) == (1, 1)
    if way == "diagnose":  # NaN is no error there
        assert scans["x"] == 0
    elif way == "find_learning_rate, batches":
        assert scans["x"] == scans["y"] == 10
    else:
        assert (scans["x"], scans["y"]) == (1, 1)


@pytest.mark.parametrize("way", ALONE)
def test_x_alone_is_converted_once(way, rng):
    for built in (True, False) if way == "call" else (True,):
        model = regression(built)
        x, y = data(rng)
        ALONE[way](model, x, y)
        assert (x.count, y.count) == (1, 0)


@pytest.mark.parametrize("built", [True, False])
def test_validation_data_are_converted_and_checked_once(built, rng, scans):
    model = regression(built)
    x, y = data(rng)
    vx, vy = data(rng, 8)
    vw = Counted(np.ones(8))
    model.fit(x, y, validation_data=(vx, vy, vw), epochs=3, verbose=0)
    assert [part.count for part in (x, y, vx, vy, vw)] == [1] * 5
    weights = "validation x's sample_weight"
    assert scans == dict.fromkeys(("x", "y", "validation x", "validation y", weights), 1)


def test_weights_are_converted_once(rng):
    model = regression()
    x, y = data(rng)
    w = Counted(rng.uniform(size=N))
    model.fit(x, y, sample_weight=w, validation_split=0.5, verbose=0)
    assert w.count == 1
    a = bp.Input((3,))
    two = bp.Model(a, [L.Dense(2)(a), L.Dense(1)(a)], seed=0)
    two.compile("sgd", "mse")
    two.fit(x, [y, np.ones((N, 1))], sample_weight=w, verbose=0)
    assert w.count == 2  # one array for both outputs


def test_several_inputs_and_outputs_are_converted_once(rng):
    a, b = bp.Input((3,), name="a"), bp.Input((3,), name="b")
    model = bp.Model({"a": a, "b": b}, {"u": L.Dense(2)(a + b), "v": L.Dense(2)(b)}, seed=0)
    model.compile("sgd", "mse")
    parts = {name: data(rng)[0] for name in "ab"}, {name: data(rng)[1] for name in "uv"}
    model.fit(*parts, validation_split=0.25, verbose=0)
    model.gradcheck(*parts)
    assert [part.count for group in parts for part in group.values()] == [2] * 4


def test_set_output_bias_and_refresh_statistics_convert_once(rng):
    model = bp.Sequential([L.BatchNormalization(), L.Dense(2)], seed=0)
    model.build((3,))
    model.compile("sgd", "mse")
    x, y = data(rng)
    model.set_output_bias(y)
    model.refresh_statistics(x)
    assert (x.count, y.count) == (1, 1)


# ---- a part held out -----------------------------------------------------------------------------


def rows_of(a):
    return map(tuple, a.tolist()) if a.ndim > 1 else a.tolist()


def torch_tensors(a):
    torch = pytest.importorskip("torch")
    return [torch.from_numpy(row) if a.ndim > 1 else torch.tensor(row) for row in a]


def pandas_rows(a):
    pandas = pytest.importorskip("pandas")
    return [pandas.Series(row) for row in a] if a.ndim > 1 else a.tolist()


def pandas_frame(a):
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(a) if a.ndim > 1 else pandas.Series(a)


FORMS = {
    "list of rows": lambda a: list(rows_of(a)),
    "tuple of rows": lambda a: tuple(rows_of(a)),
    "list of arrays": list,
    "tuple of arrays": tuple,
    "deque of rows": lambda a: collections.deque(rows_of(a)),
    "deque of arrays": collections.deque,
    "memory": lambda a: memoryview(np.ascontiguousarray(a)),
    "torch": lambda a: pytest.importorskip("torch").from_numpy(a),
    "list of torch tensors": torch_tensors,
    "list of pandas rows": pandas_rows,
    "pandas": pandas_frame,
}


@pytest.mark.parametrize("form", FORMS)
def test_what_fits_without_a_split_fits_with_one(form, rng):
    """Rows, labels and weights in any container; the same bits as arrays give."""
    x, y = rng.normal(size=(N, 3)), rng.integers(0, 2, N)
    w = rng.uniform(0.5, 1.5, N)

    def weights(*parts, **options):
        model = bp.Sequential([L.Dense(2)], seed=0)
        model.compile("sgd", "cross_entropy")
        model.fit(parts[0], parts[1], sample_weight=parts[2], verbose=0, shuffle=False, **options)
        return model.get_weights()

    convert = FORMS[form]
    for options in ({}, {"validation_split": 0.25}):
        expected = weights(x, y, w, **options)
        for parts in ((x, convert(y), w), (convert(x), y, w), (convert(x), convert(y), convert(w))):
            found = weights(*parts, **options)
            assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


def test_rows_in_errors_are_those_of_the_users_array(rng):
    x, y = rng.normal(size=(N, 3)), rng.integers(0, 2, N)
    x[20, 1] = np.nan
    model = bp.Sequential([L.Dense(2)], seed=0)
    model.compile("sgd", "cross_entropy")
    with pytest.raises(ValueError, match=r"^x contains NaN at \[20, 1\]"):
        model.fit(x, y, validation_split=0.25, verbose=0)
    y[22] = 7
    with pytest.raises(ValueError, match=r"^y contains label 7 at row 22"):
        model.fit(np.ones((N, 3)), y, validation_split=0.25, verbose=0)
    with pytest.raises(ValueError, match=r"^y contains label 7 at row 22"):
        model.diagnose(x, y)  # leaves the row with NaN out
    assert not model.built


def test_a_part_without_weight_is_an_error(rng):
    x, y = data(rng)
    for w in (np.r_[np.zeros(18), np.ones(6)], np.r_[np.ones(18), np.zeros(6)]):
        with pytest.raises(ValueError, match="weights are 0 for all of the"):
            regression().fit(x, y, sample_weight=w, validation_split=0.25, verbose=0)


def test_class_weights_count_in_training_alone(rng):
    x, y = rng.normal(size=(N, 3)), rng.integers(0, 2, N)

    def losses(**options):
        model = bp.Sequential([L.Dense(2)], seed=0)
        model.compile(bp.optimizers.SGD(1e-9), "cross_entropy")
        return model.fit(x, y, validation_split=0.5, verbose=0, **options).history

    plain, weighed = losses(), losses(class_weight={0: 3.0, 1: 3.0})
    assert weighed["loss"][0] == pytest.approx(3 * plain["loss"][0], rel=1e-5)
    assert weighed["val_loss"][0] == pytest.approx(plain["val_loss"][0], rel=1e-5)


# ---- the way of x ------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [{}, {"validation_split": 0.25}, {"shuffle": False}])
@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize("kind", ["array", "list of inputs"])
def test_x_of_fit_passes_each_file_once(built, kind, more, rng):
    """But for one return: an unbuilt model looks at the shape first."""
    x, y = rng.normal(size=(40, 4)), np.arange(40) % 3
    if kind == "list of inputs":
        ends = bp.Input((4,)), bp.Input((2,))
        joined = bp.layers.Concatenate()(list(ends))
        model = bp.Model(list(ends), bp.layers.Dense(3)(joined), seed=0)
        given = [x, rng.normal(size=(40, 2))]
    else:
        model = bp.Sequential([bp.layers.Dense(3)], seed=0)
        given = x
        if built:
            model.build((4,))
    model.compile("sgd", "cross_entropy")
    with passage.Passage(x) as way:
        model.fit(given, y, verbose=0, **more)
    assert way.arrived and {"model/trainable.py", "data/signature.py"} <= way.visits.keys()
    assert way.returns <= 1, way.visits
    assert way.returns == 0 or not built, way.visits


def test_a_detour_of_x_is_found(monkeypatch, rng):
    x, y = rng.normal(size=(40, 4)), np.arange(40) % 3
    model = bp.Sequential([bp.layers.Dense(3)], seed=0)
    model.compile("sgd", "cross_entropy")
    plain = model._build_for

    def twice(x):
        built = plain(x)
        model._built().signature.read_inputs(built)
        return built

    monkeypatch.setattr(model, "_build_for", twice)
    with passage.Passage(x) as way:
        model.fit(x, y, verbose=0)
    assert way.arrived and way.returns > 1


def test_checks_of_one_thread_do_not_stand_for_those_of_another(rng):
    """Of a `compile` that comes while data are read for the one before."""
    model = bp.Sequential([L.Dense(3)], seed=0)
    model.build((4,))
    x, y = rng.normal(size=(6, 4)), np.arange(6) % 3
    signature = model._engine.signature
    losses, others = [[bp.losses.CrossEntropy()] for _ in range(2)]

    def refuse(k, name):
        raise ValueError("no labels")

    def read():
        signature.read(x, y, None, others, check_labels=refuse)

    def check(k, name):
        with pytest.raises(ValueError, match="no labels"):
            read()

    signature.read(x, y, None, losses, check_labels=check)
    with pytest.raises(ValueError, match="no labels"):
        read()
