"""What makes a run the same run: start weights, code of the user's, arguments of callbacks."""

from __future__ import annotations

import functools
import sys
import types
import warnings
from unittest import mock

import numpy as np
import pytest

import bpcore as bp
from bpcore.base import code
from bpcore.errors import CheckpointError, CodeWarning
from bpcore.train import identity

from .helpers import files, support

C, L, O = bp.callbacks, bp.layers, bp.optimizers  # noqa: E741
RNG = np.random.default_rng(4)
X, Y = RNG.normal(size=(12, 4)), RNG.normal(size=(12, 2))


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)


def script(text, **names):
    """The names that a script of the user's defines."""
    module = types.ModuleType("users_script")
    vars(module).update(bp=bp, np=np, **names)
    with mock.patch.dict(sys.modules, users_script=module):
        exec(text, vars(module))
    return module


def net(seed=0, loss="mse", metrics=(), optimizer="sgd", layers=(), **options):
    model = bp.Sequential([L.Dense(3, "tanh"), *layers, L.Dense(2)], seed=seed)
    model.build((4,))
    model.compile(optimizer, loss, list(metrics), **options)
    return model


def fit(model, path, callbacks=()):
    return model.fit(
        X, Y, batch_size=4, epochs=2, verbose=0, checkpoint=path, callbacks=list(callbacks)
    )


def goes_on(path, first, second, callbacks=((), ())):
    """Whether the second model's fit takes the file of the first one's: the warnings it gives."""
    fit(first, path, callbacks[0])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(second, path, callbacks[1])
    return [w for w in said if issubclass(w.category, CodeWarning)]


# ---- weights at the start ------------------------------------------------------------------------


def with_weights(change, seed=0):
    model = net(seed)
    model.set_weights([change(w) for w in model.get_weights()])
    return model


CHANGES = {
    "rows exchanged": lambda w: w[::-1],
    "columns exchanged": lambda w: w[..., ::-1],
    "two elements exchanged": lambda w: w.ravel()[[1, 0, *range(2, w.size)]].reshape(w.shape),
    "signs": lambda w: -w,
    "scaled": lambda w: w * 1.001,
    "moved": lambda w: w + 1e-3,
    "one element": lambda w: w + np.eye(w.size)[0].reshape(w.shape) * 1e-3,
}  # fmt: skip


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("name", CHANGES)
def test_other_weights_at_the_start_are_another_run(tmp_path, name, seed):
    """Of a given seed, and of weights that the user has set himself. Mean and mean square of the
    first three are equal."""
    path = tmp_path / "run"
    start = [w * 1.5 + 0.25 for w in net(0).get_weights()]
    first, second = net(seed), net(seed)
    first.set_weights(start)
    second.set_weights([CHANGES[name](w) if w.ndim > 1 else w for w in start])
    fit(first, path)
    with pytest.raises(CheckpointError, match="weights at the start 'dense/kernel' differs"):
        fit(second, path)
    again = net(seed)
    again.set_weights(start)
    fit(again, path)


def test_rounding_makes_no_other_run(tmp_path):
    """Other CPUs may draw weights with other last digits."""
    path = tmp_path / "run"
    fit(net(), path)
    fit(with_weights(lambda w: np.nextafter(w, np.float32(2)) * np.float32(1 + 3e-7)), path)


def test_a_script_without_a_seed_goes_on(tmp_path):
    """Also where it trains before, joins models, and sets some weights itself."""
    path = tmp_path / "run"

    def plain():
        return net(None)

    def trained():
        model = net(None)
        model.fit(X, Y, verbose=0)
        return model

    def shared():
        old = trained()
        model = bp.Model(old.inputs, L.Dense(2, name="new")(old.layers[0].output))
        model.compile("sgd", "mse")
        return model

    def half_set():
        model = net(None)
        model.layers[1].set_weights([np.ones((3, 2)), np.zeros(2)])
        return model

    for make in (plain, trained, shared, half_set):
        history = fit(make(), path).history
        assert fit(make(), path).history == history
        path.unlink()

    fit(half_set(), path)
    other = half_set()
    other.layers[1].set_weights([np.full((3, 2), 2.0), np.zeros(2)])
    with pytest.raises(CheckpointError, match="'dense_1/kernel' differs"):
        fit(other, path)
    with pytest.raises(CheckpointError, match="'dense_1/kernel' was given, is drawn"):
        fit(plain(), path)


def test_in_place_changes_of_a_drawn_weight_are_seen(tmp_path):
    path = tmp_path / "run"

    def make(value):
        model = net(None)
        model.weights[0].value[...] = value
        return model

    fit(make(1.0), path)
    with pytest.raises(CheckpointError, match="'dense/kernel' differs"):
        fit(make(2.0), path)
    fit(make(1.0), path)


def test_initializers_that_repeat():
    for told, repeats in (
        ("zeros", True), ("ones", True), (bp.initializers.Constant(2.0), True), ("identity", True),
        (np.eye(3), True), ("glorot_uniform", False), ("orthogonal", False),
        (bp.initializers.GlorotUniform(seed=1), True), (lambda shape, dtype: np.ones(shape), False),
    ):  # fmt: skip
        model = bp.Sequential([L.Dense(3, kernel_initializer=told)])
        model.build((3,))
        kernel, bias = model.weights
        assert (kernel.by_chance, bias.by_chance) == (not repeats, False), told


def test_the_sketch_sees_where_numbers_stand():
    """Expected from its definition: |sum| of d r with r of variance 1/9 in each of four sums."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(300, 200))  # four blocks
    own = identity.sketch(w)
    assert len(own) == 5 and own[0] == pytest.approx(np.linalg.norm(w))
    for other in (w[::-1], w.T.reshape(w.shape), np.roll(w, 2**14), np.roll(w.ravel(), 1)):
        d = np.linalg.norm(other.ravel() - w.ravel())
        found = np.abs(np.subtract(identity.sketch(other.reshape(w.shape)), own))[1:]
        assert 0.02 * d < found.max() < 1.5 * d
    few = w.copy()
    few[0, 0], few[250, 3] = few[250, 3], few[0, 0]
    assert np.abs(np.subtract(identity.sketch(few), own)).max() > 1e-5 * own[0]
    # by the 64-bit integers of SplitMix64 as S. Vigna gives them (purpose 0, places 0, 1, 2)
    a = [2 * bp.base.seeding.mix(k, 0) / 2**64 - 1 for k in range(3)]
    b = 2 * bp.base.seeding.mix(0, 1) / 2**64 - 1
    for k in range(3):
        assert identity.sketch(np.eye(3)[k])[1] == pytest.approx(a[k] * b, rel=1e-12)
    assert identity.sketch(np.zeros((0, 4))) == [0.0] * 5
    assert identity.sketch(np.float32(w)) == pytest.approx(own, rel=1e-5, abs=1e-4)


# ---- code ----------------------------------------------------------------------------------------

LAYER = """
class Twice(bp.layers.Layer):
    def forward(self, x, training=False):
        return x * x.dtype.type({0})
    def backward(self, dy):
        return dy * dy.dtype.type({0})
"""
LOSS = """
class Mine:
    def value(self, y_true, y_pred):
        return {0} * ((y_true - y_pred) ** 2).mean(axis=-1)
    def gradient(self, y_true, y_pred):
        return {0} * 2 * (y_pred - y_true) / y_pred.size
"""
METRIC = """
def distance(y_true, y_pred):
    return float(np.abs(y_true - y_pred).mean()) * {0}
"""
RULE = """
class Mine:
    def value(self, w):
        return {0} * float((w ** 2).sum())
    def gradient(self, w):
        return {0} * 2 * w
"""
BOUND = """
class Mine:
    def project(self, w):
        return np.clip(w, -{0}, {0})
"""
PARTS = {
    "layer": (LAYER, lambda m: net(layers=[m.Twice()]), "code of 'layer twice' was changed"),
    "loss": (LOSS, lambda m: net(loss=m.Mine()), "code of 'loss' was changed"),
    "metric": (METRIC, lambda m: net(metrics=[m.distance]), r"code of 'metrics\[0\]' was changed"),
    "regularizer": (
        RULE,
        lambda m: net(layers=[L.Dense(3, kernel_regularizer=m.Mine())]),
        "code of 'regularizer of dense_1/kernel' was changed",
    ),
    "schedule": (
        "rate = lambda step: {0} / (10 + step)",
        lambda m: net(optimizer=O.SGD(m.rate)),
        "code of 'optimizer learning_rate' was changed",
    ),
    "a value around it": (
        "def make(scale):\n    return lambda step: scale / (10 + step)\nrate = make({0})",
        lambda m: net(optimizer=O.SGD(m.rate)),
        "code of 'optimizer learning_rate' was changed",
    ),
    "a global": (
        "SCALE = {0}\nrate = lambda step: SCALE / (10 + step)",
        lambda m: net(optimizer=O.SGD(m.rate)),
        "code of 'optimizer learning_rate' was changed",
    ),
    "a function it calls": (
        "def inner(step):\n    return {0} / (10 + step)\nrate = lambda step: inner(step)",
        lambda m: net(optimizer=O.SGD(m.rate)),
        "code of 'optimizer learning_rate' was changed",
    ),
    "a default": (
        "def rate(step, scale={0}):\n    return scale / (10 + step)",
        lambda m: net(optimizer=O.SGD(m.rate)),
        "code of 'optimizer learning_rate' was changed",
    ),
    "an attribute": (
        "class Rate:\n    def __init__(self, scale):\n        self.scale = scale\n"
        "    def __call__(self, step):\n        return self.scale / (10 + step)\nrate = Rate({0})",
        lambda m: net(optimizer=O.SGD(m.rate)),
        "code of 'optimizer learning_rate' was changed",
    ),
    "an array": (
        "table = np.array([{0}, 0.5])\nrate = lambda step: float(table[0]) / (10 + step)",
        lambda m: net(optimizer=O.SGD(m.rate)),
        "code of 'optimizer learning_rate' was changed",
    ),
    "a partial": (
        "import functools\ndef inner(scale, step):\n    return scale / (10 + step)\n"
        "rate = functools.partial(inner, {0})",
        lambda m: net(optimizer=O.SGD(m.rate)),
        "code of 'optimizer learning_rate' was changed",
    ),
    "a method": (
        "class Rate:\n    def at(self, step):\n        return {0} / (10 + step)\nrate = Rate().at",
        lambda m: net(optimizer=O.SGD(m.rate)),
        "code of 'optimizer learning_rate' was changed",
    ),
    "a base class": (
        "class Base:\n    def at(self, step):\n        return {0} / (10 + step)\n"
        "class Rate(Base):\n    __call__ = Base.at\nrate = Rate()",
        lambda m: net(optimizer=O.SGD(m.rate)),
        "code of 'optimizer learning_rate' was changed",
    ),
    "inside a schedule": (
        "rate = lambda step: {0} / (10 + step)",
        lambda m: net(optimizer=O.SGD(bp.schedules.Warmup(m.rate, 3))),
        "code of 'optimizer learning_rate schedule' was changed",
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_other_code_is_another_run(tmp_path, name):
    text, make, message = PARTS[name]
    path = tmp_path / "run"
    fit(make(script(text.format("0.25"))), path)
    with pytest.raises(CheckpointError, match=message):
        fit(make(script(text.format("0.75"))), path)
    assert not goes_on(path, make(script(text.format("0.25"))), make(script(text.format("0.25"))))


def test_what_is_not_code_is_no_other_run(tmp_path):
    """Comments, docstrings, places, names of local variables; and what a run has computed."""
    path = tmp_path / "run"
    text = "def rate(step):\n    base = 0.25\n    return base / (10 + step)\n"
    other = "\n\n# why\ndef rate(step):\n    x = 0.25  # so\n\n    return x / (10 + step)\n"
    told = (code.signature(script(part).rate) for part in (text, other))
    assert len({str(item) for item in told}) == 1
    loss = LOSS.replace("def value", "def __init__(self):\n        self.seen = []\n    def value")
    loss = loss.replace("return {0} * ((", "self.seen.append(1); return {0} * ((").format("1.0")
    mine = script(loss).Mine()
    assert not goes_on(path, net(loss=mine), net(loss=mine)) and mine.seen


def test_a_callback_may_be_mended(tmp_path):
    """Its code is compared, and a change is said; the run goes on."""
    path = tmp_path / "run"
    text = "class Mine(bp.callbacks.Callback):\n    def on_epoch_end(self, epoch, logs=None):\n        self.x = {0}\n"  # noqa: E501
    first, second = (script(text.format(k)).Mine for k in "12")
    assert not goes_on(path, net(), net(), ([first()], [first()]))
    said = goes_on(path, net(), net(), ([first()], [second()]))
    assert len(said) == 1 and "code of 'callbacks[0] Mine' was changed" in str(said[0].message)
    path.unlink()
    hooks = [C.LambdaCallback(on_epoch_end=lambda epoch, logs, k=k: k) for k in range(2)]
    said = goes_on(path, net(), net(), ([hooks[0]], [hooks[1]]))
    assert len(said) == 1 and "LambdaCallback on_epoch_end' was changed" in str(said[0].message)


def test_code_that_cannot_be_compared_is_said_once(tmp_path):
    path = tmp_path / "run"

    class Table:
        """Of another package, as far as anyone can tell."""

        __module__ = "numpy"

    table = Table()
    table.rate = 0.1

    def rate(step):
        return table.rate / (10 + step)

    def make():
        return net(optimizer=O.SGD(rate), metrics=[functools.partial(max, key=id)][:0])

    said = goes_on(path, make(), make())
    assert len(said) == 1
    message = str(said[0].message)
    assert "code of 'optimizer learning_rate'" in message and "it uses table (Table)" in message
    assert said[0].filename == __file__  # the line of the user's that called fit


def test_code_that_cannot_be_compared_of_a_callback(tmp_path):
    """What objects it uses is its own: a logger, the data, another model."""
    path = tmp_path / "run"
    table = np.random.default_rng()

    class Mine(C.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.x = table

    assert code.signature(Mine)["open"] == ["table (Generator)"]
    assert not goes_on(path, net(), net(), ([Mine()], [Mine()]))


def test_code_with_objects_in_sets_keys_and_caches():
    """Addresses of objects, which are others in each process, do not count; what they are does."""
    text = """
import collections, dataclasses, enum, functools, pathlib
class Kind(enum.Enum):
    A = {0}
class Point(collections.namedtuple("Point", "x y")):
    pass
@dataclasses.dataclass
class Options:
    rate: float = 0.5
class Slots:
    __slots__ = ("a",)
class Other: pass
@functools.lru_cache
def inner(step):
    return {1}
names, table, path = {{Other, inner, "b"}}, {{Other: 1, (inner,): Kind.A}}, pathlib.Path("a")
def rate(step):
    return inner(step), names, table, Kind, Point, Options, Slots, path, Kind.A
"""
    told = [code.signature(script(text.format(*k)).rate) for k in ((1, 2), (1, 2), (1, 3), (2, 2))]
    assert told[0] == told[1] and told[0]["open"] == []
    assert len({item["code"] for item in told}) == 3


def test_code_of_another_python(tmp_path):
    path = tmp_path / "run"

    def make():
        return net(optimizer=O.SGD(lambda step: 0.1))

    fit(make(), path)
    document, held, arrays = files.taken_apart(path)
    held["run"]["code"]["optimizer learning_rate"]["python"] = "cpython-399-00"
    path.write_bytes(files.put_together(document, held, arrays))
    with pytest.warns(CodeWarning, match="it was compiled by cpython-399-00, this is cpython"):
        fit(make(), path)


def test_code_that_is_no_python():
    for item in (len, np.exp, dict.get, np.ndarray.sum):
        told = code.signature(item)
        assert told["code"] is None and code.compare(told, told) == "it is not written in Python"


def test_code_that_leads_to_itself():
    module = script(
        "class A:\n    def f(self):\n        return g(self)\ndef g(x):\n    return h(x), A\n"
        "def h(x):\n    return g(x)\nA.me = A\nloop = []\nloop.append(loop)\n"
        "def k():\n    return loop, g"
    )
    for item in (module.A, module.g, module.k, module.A()):
        assert code.signature(item) == code.signature(item)
    assert code.signature(module.g)["code"] != code.signature(module.h)["code"]


def test_signatures_are_those_of_other_processes():
    """Hash seeds, and whether the module was compiled or read, do not count."""
    program = (
        "from tests.helpers import runs\nfrom bpcore.base import code\n"
        "print([code.signature(v) for v in (runs.Half, runs.Largest(), runs.spread, runs.Memory)])"
    )
    found = {
        support.run_python(program, PYTHONHASHSEED=seed, PYTHONDONTWRITEBYTECODE=write).stdout
        for seed, write in ((1, "1"), (2, ""), (3, ""))
    }
    assert len(found) == 1


# ---- arguments of callbacks ----------------------------------------------------------------------

ARGUMENTS = {
    "patience": (lambda: C.EarlyStopping("loss", patience=5), lambda: C.EarlyStopping("loss")),
    "decay": (lambda: C.EMA(0.9), lambda: C.EMA(0.5)),
    "start_epoch": (lambda: C.SWA(0), lambda: C.SWA(1)),
    "factor": (
        lambda: C.ReduceLROnPlateau("loss", factor=0.5),
        lambda: C.ReduceLROnPlateau("loss", factor=0.25),
    ),
    "schedule": (
        lambda: C.LearningRateScheduler(lambda epoch: 0.1),
        lambda: C.LearningRateScheduler(lambda epoch: 0.2),
    ),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_other_arguments_of_a_callback_are_another_run(tmp_path, name):
    path = tmp_path / "run"
    first, second = ARGUMENTS[name]
    fit(net(), path, [first()])
    with pytest.raises(CheckpointError, match=name):
        fit(net(), path, [second()])
    fit(net(), path, [first()])


def test_arguments_that_decide_nothing(tmp_path):
    """Places of files, what is printed, how long a run may take."""
    path = tmp_path / "run"
    pairs = (
        (C.EarlyStopping("loss", patience=3), C.EarlyStopping("loss", patience=3, verbose=1)),
        (C.CSVLogger(tmp_path / "a.csv"), C.CSVLogger(tmp_path / "b.csv")),
        (C.ModelCheckpoint(tmp_path / "a"), C.ModelCheckpoint(tmp_path / "b")),
        (C.TimeLimit(1e5), C.TimeLimit(2e5)),
    )
    fit(net(), path, [a for a, _ in pairs])
    fit(net(), path, [b for _, b in pairs])


def test_layers_beside_one_that_is_no_data_are_compared(tmp_path):
    """Of the others only the names were."""
    path = tmp_path / "run"

    class Opaque(L.Layer):
        def __init__(self, item):
            super().__init__()

        def forward(self, x, training=False):
            return x

        def backward(self, dy):
            return dy

    def make(rate, seed=0):
        return net(seed, layers=[Opaque(object()), L.Dropout(rate)])

    fit(make(0.25), path)
    fit(make(0.25), path)
    with pytest.raises(CheckpointError, match=r"rate was 0\.25, is 0\.5"):
        fit(make(0.5), path)
    with pytest.raises(CheckpointError, match="seed was '0', is '1'"):
        fit(make(0.25, 1), path)
