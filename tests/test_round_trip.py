"""What save writes is what load_model reads: strange names, shapes and parts, or an early error."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bpcore as bp
from bpcore.files import architecture

from .helpers import support

L = bp.layers


class Holder(L.Layer):
    """The identity, with weights of any names and shapes."""

    def __init__(self, weights=(), **options):
        super().__init__(**options)
        self.told = [(name, tuple(shape)) for name, shape in weights]

    def build(self, input_shape):
        for name, shape in self.told:
            self.add_weight(name, shape, "glorot_normal" if math.prod(shape) else "zeros")

    def forward(self, x, training=False):
        return x

    def backward(self, dy):
        return dy


class Saying(L.Layer):
    """The identity, with any description."""

    def __init__(self, value=None, **options):
        super().__init__(**options)
        self.value = value

    def get_config(self):
        return {"value": self.value}

    def forward(self, x, training=False):
        return x

    def backward(self, dy):
        return dy


OWN = {"Holder": Holder, "Saying": Saying}


def round_trip(model, path):
    """The model from its file, compared; an error of save leaves no file."""
    try:
        model.save(path)
    except BaseException:
        assert not os.path.exists(path)
        raise
    again = bp.load_model(path, OWN)
    assert [p.name for p in again.weights] == [p.name for p in model.weights]
    for p, q in zip(again.weights, model.weights, strict=True):
        assert support.same_bits(p.value, q.value)
    assert again.get_config() == model.get_config()
    return again


def holder(weights=(("w", (2,)),), name=None, **options):
    model = bp.Sequential([Holder(list(weights), name=name)], seed=0, **options)
    model.build((3,))
    return model


def dense(**options):
    model = bp.Sequential([L.Dense(2)], seed=0, **options)
    model.compile("sgd", "mse")
    model.build((3,))
    return model


# ---- any names and shapes ------------------------------------------------------------------------

ODD = [".", "..", "/", "\n", "\0", "\u200b", "\u202e", "\u00a0", "\ud800", "\u4e00" * 50, "x" * 120]
PARTS = ["a", "A", "\u00e9", "e\u0301", "\u212b", "\u00c5", "\u212a", "@", "@array", "0", '"', "\\",
         " ", "\U0001f600", "$float", "__metadata__", "{0}", "%n"]  # fmt: skip
FAIR = st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map("".join)


def mostly(usual, *seldom):
    """Draws from `usual` nine times in ten."""
    return st.integers(0, 9).flatmap(lambda k: st.one_of(*seldom) if k == 7 else usual)


NAMES = mostly(FAIR, st.sampled_from(ODD), st.text(max_size=9))
LARGE = st.lists(st.sampled_from([0, 1, 1, 2, 2**20, 2**31]), max_size=9)
SHAPES = mostly(
    st.lists(st.sampled_from([1, 2, 3]), max_size=4),
    LARGE.filter(lambda s: math.prod(s) <= 2**21 or 2**31 in s),
)
WEIGHTS = st.lists(st.tuples(NAMES, SHAPES), max_size=2)
TRIED = {"saved": 0, "refused": 0}


@settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    st.lists(st.tuples(st.none() | NAMES, WEIGHTS), min_size=1, max_size=2),
    st.none() | NAMES,
    st.none() | NAMES,
    st.none() | NAMES,
)
def test_any_names_and_shapes(tmp_path_factory, layers, name, inward, outward):
    """Round trip, or an error while the model is made."""
    path = tmp_path_factory.mktemp("m") / "m"
    try:
        first = value = bp.Input((3,), name=inward)
        for own, weights in layers:
            value = Holder([(key, tuple(shape)) for key, shape in weights], name=own)(value)
        outputs = value if outward is None else {outward: value}
        model = bp.Model(first, outputs, name=name, seed=0)
    except (ValueError, TypeError):
        TRIED["refused"] += 1
        return
    again = round_trip(model, path)
    TRIED["saved"] += 1
    model.compile("adam", "mse")
    if any(p.name == "@array/0" for p in model.weights):
        return  # see test_a_weight_called_as_an_array_of_a_checkpoint
    model.save_checkpoint(path)
    assert [p.name for p in bp.load_checkpoint(path, OWN).weights] == [
        p.name for p in again.weights
    ]


def test_the_property_met_both_kinds():
    if sum(TRIED.values()):  # else this test runs alone
        assert min(TRIED.values()) >= 20, TRIED


# ---- what is refused, and where ------------------------------------------------------------------

LONG = "\u00e4" * 120  # 240 bytes


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([("w", (1,) * 9)], r"Holder 'h': weight 'w': shape .* has 9 axes, expected at most 8"),
        ([("w", (0, 2**21, 2**21))], r"Holder 'h': weight 'w': .* the limit is"),
        ([("w", (2**31,))], "must be <= 2147483647"),
        ([("\u00e9", ()), ("e\u0301", ())], r"'h/\\xe9' and 'h/e\\u0301' look the same"),
        ([("..", ())], r"'h/\.\.' has an empty, '\.' or '\.\.' part"),
        ([(LONG + LONG[:10], ())], "262 bytes, expected 1 to 255"),
        ([("a/b", ())], "without '/'"),
        ([("a\u200bb", ())], "printable"),
    ],
)
def test_weights_that_no_file_can_hold_are_refused_when_built(weights, message):
    with pytest.raises(ValueError, match=message):
        holder(weights, "h")


def test_layers_of_one_normal_form_are_refused_when_built(tmp_path):
    names = ["\u00e9", "e\u0301"]
    model = bp.Sequential([L.Dense(2, name=name) for name in names], seed=0)
    with pytest.raises(ValueError, match=r"look the same.*rename a layer"):
        model.build((2,))
    assert not model.built and not any(layer.built for layer in model.layers)
    model = bp.Sequential([L.Activation("relu", name=name) for name in names], seed=0)
    model.build((2,))  # without weights nothing stands in their way
    assert [layer.name for layer in round_trip(model, tmp_path / "m").layers] == names


def test_long_names_go_through_checkpoints(tmp_path):
    """What stands before a weight's name there does not count."""
    model = bp.Sequential([L.Dense(2, name=LONG)], seed=0)
    model.build((3,))
    round_trip(model, tmp_path / "m")
    x, y = np.ones((4, 3)), np.ones((4, 2))
    for optimizer in ("adam", "adamax", "nadam", "adadelta", "rprop"):
        model.compile(optimizer, "mse")
        model.fit(x, y, verbose=0, checkpoint=tmp_path / optimizer)
        model.save_checkpoint(tmp_path / "c")
        again = bp.load_checkpoint(tmp_path / "c")
        assert again.optimizer.iterations == 1 and again.layers[0].name == LONG


@pytest.mark.parametrize("name", ["@", "@a", "@optimizer", "@array"])
def test_layers_may_be_called_as_parts_of_checkpoints(tmp_path, name):
    x, y = np.ones((4, 3)), np.ones((4, 2))
    for _ in range(2):  # the second reads the file of the first, arrays of its callback too
        model = bp.Sequential([L.Dense(2, name=name)], seed=0)
        model.compile("adam", "mse")
        model.fit(x, y, verbose=0, checkpoint=tmp_path / "run", callbacks=[bp.callbacks.EMA()])
    model.save_checkpoint(tmp_path / "c")
    again = bp.load_checkpoint(tmp_path / "c")
    assert support.weights_hash(again) == support.weights_hash(model)


def test_a_weight_called_as_an_array_of_a_checkpoint(tmp_path):
    model = holder([("0", (2,)), ("w", ())], "@array")
    round_trip(model, tmp_path / "m")
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match="'@array/0' has a name that checkpoints need"):
        model.save_checkpoint(tmp_path / "c")
    assert os.listdir(tmp_path) == ["m"]


def test_more_layers_than_a_file_describes(tmp_path, monkeypatch):
    monkeypatch.setattr(architecture, "MAX_LAYERS", 20)

    def deep(count):
        model = bp.Sequential([L.Activation("relu") for _ in range(count)], seed=0)
        model.build((3,))
        return model

    round_trip(deep(20), tmp_path / "m")
    with pytest.raises(ValueError, match="has 21 layers, a file describes at most 20"):
        deep(21).save(tmp_path / "n")
    a = value = bp.Input((3,))
    again = L.Activation("relu")
    for _ in range(200):
        value = again(value)
    with pytest.raises(ValueError, match="has 201 nodes, a file describes at most 200"):
        bp.Model(a, value, seed=0).save(tmp_path / "n")
    assert os.listdir(tmp_path) == ["m"]


# ---- what is changed in place --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "other"),
    [("shape", (6,)), ("shape", (2, 3)), ("dtype", "int32"), ("dtype", "S4"), ("strides", (4, 8))],
)
@pytest.mark.filterwarnings("ignore:Setting the")
def test_shape_and_dtype_of_a_value_are_its_weights(tmp_path, field, other):
    """Assigned in place they change what the user holds, not the weight."""
    model = dense()
    p, held = model.weights[0], model.weights[0].value
    expected = held.copy()
    assert p.value is held and p.value is p.value
    for array in (held, np.asarray(p)):
        try:
            setattr(array, field, other)
        except AttributeError:
            pytest.skip(f"{field} cannot be assigned here")
        assert p.shape == (3, 2) and p.dtype == np.float32
        assert support.same_bits(p.value, expected)
        round_trip(model, tmp_path / "m")
    model.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    assert (p.value != expected).any()
    assert np.shares_memory(held, p.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "a/b", "without '/'"),
        ("name", "a\n", "printable"),
        ("name", "x" * 300, "length 300"),
        ("name", 5, "must be a str"),
        ("seed", -1, r"in \[0, 2\^64\)"),
        ("seed", 2**70, r"in \[0, 2\^64\)"),
        ("seed", "a", "must be an int"),
        ("dtype", "float64", "was built with 'float32'"),
        ("compute", "x", "was built with 'float32'"),
    ],
)
def test_fields_of_a_model_that_no_file_can_hold(tmp_path, field, value, message):
    model = dense()
    setattr(model, field, value)
    with pytest.raises((ValueError, TypeError), match=message):
        model.save(tmp_path / "m")
    assert not os.listdir(tmp_path)


def test_what_was_given_is_kept_as_it_was(tmp_path):
    """Lists and dicts that their maker changes later are not the model's."""
    metrics, losses, weights = ["mae"], {"o": "mse"}, {"o": 1.0}
    boundaries, values, bias = [5], [0.1, 0.01], [1.0, 2.0]
    rate = bp.schedules.Piecewise(boundaries, values)
    a = bp.Input((3,))
    model = bp.Model(a, {"o": L.Dense(2, bias_initializer=bias)(a)}, seed=0)
    model.compile(bp.optimizers.SGD(rate), losses, metrics=metrics, loss_weights=weights)
    before = model.get_config()
    for changed in (metrics, boundaries, values, bias):
        changed.append("nonsense")
    for changed in (losses, weights):
        changed["p"] = "nonsense"
    assert model.get_config() == before
    round_trip(model, tmp_path / "m")


def test_a_weight_added_after_build_is_refused():
    class Late(Saying):
        def forward(self, x, training=False):
            self.add_weight("w", (2,))
            return x

    model = bp.Sequential([Late(name="late")], seed=0)
    with pytest.raises(RuntimeError, match=r"Late 'late'.*'w' is added after build"):
        model.build((3,))  # tries the layer on a copy


def test_a_layer_may_make_its_weights_in_its_constructor(tmp_path):
    class Early(Saying):
        def __init__(self, **options):
            super().__init__(**options)
            self.add_weight("w", (2,), "ones")

        def get_config(self):
            return {}

    model = bp.Sequential([Early()], seed=0)
    model.build((3,))
    model.save(tmp_path / "m")
    assert len(bp.load_model(tmp_path / "m", {"Early": Early}).weights) == 1


# ---- descriptions --------------------------------------------------------------------------------


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def endless():
    value = []
    value.append(value)
    return value


def type_name(value):
    return type(value).__name__


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (10**39, 10**39),
        (-(10**39), -(10**39)),
        (np.longdouble(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.int8(-3), -3),
        (np.bool_(True), True),
        (np.arange(3), [0, 1, 2]),
        ((1, (2,)), [1, [2]]),
        (-0.0, -0.0),
        (5e-324, 5e-324),
        ('\ud800\0\x7f\u2028"\\', '\ud800\0\x7f\u2028"\\'),
        ({"a": {1: 2}}, {"a": {"1": 2}}),
        (nested(40), nested(40)),
    ],
    ids=type_name,
)
def test_descriptions_that_are_data(tmp_path, value, found):
    model = bp.Sequential([Saying(name="s")], seed=0)
    model.layers[0].value = value
    model.build((3,))
    model.save(tmp_path / "m")
    again = bp.load_model(tmp_path / "m", OWN).layers[0].value
    assert again == found and repr(again) == repr(found)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (10**40, "an int of more than 40 digits"),
        (-(10**5000), "an int of more than 40 digits"),
        (math.nan, "expected a finite number"),
        (np.longdouble(math.inf), "expected a finite number"),
        (1j, "not data"),
        (np.complex64(1), "not data"),
        (np.clongdouble(1), "not data"),
        (np.datetime64("2020"), "not data"),
        ({1, 2}, "not data"),
        (b"x", "not data"),
        (np.array([object()]), "not data"),
        (nested(80), "nested deeper than 64"),
        (endless(), "nested without end"),
    ],
    ids=type_name,
)
def test_descriptions_that_are_not_data(tmp_path, value, message):
    model = bp.Sequential([Saying(name="s")], seed=0)
    model.layers[0].value = value
    model.build((3,))
    with pytest.raises((TypeError, ValueError), match=message):
        model.save(tmp_path / "m")
    assert not os.listdir(tmp_path)


def test_a_description_is_a_dict(tmp_path):
    class Listing(Saying):
        def get_config(self):
            return [1]

    model = bp.Sequential([Listing(name="s")], seed=0)
    model.build((3,))
    with pytest.raises(TypeError, match=r"Listing 's': get_config\(\) gave list \[1\]"):
        model.save(tmp_path / "m")
