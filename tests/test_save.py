"""Saving and loading: the same bits, atomically, and refusal of everything else."""

import hashlib
import os

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import FormatError, NotBuiltError
from bpcore.files import container, save

from .helpers import files, support


def _sequential(dtype="float32"):
    layers = [
        bp.layers.Dense(7, activation="tanh", kernel_initializer="he_normal"),
        bp.layers.Dense(4, use_bias=False, name="middle"),
        bp.layers.Activation("relu"),
        bp.layers.Dense(3, activation="softmax"),
    ]
    model = bp.Sequential(layers, dtype=dtype, seed=1)
    model.build((5,))
    return model


def _graph(dtype="float64"):
    a, b = bp.Input((4,), name="a"), bp.Input((4,), name="b")
    shared = bp.layers.Dense(6, activation="gelu", name="shared")
    u, v = shared(a), shared(b)
    h = bp.layers.Concatenate()([u, v * 2.0])
    out = bp.layers.Dense(2)(h) + bp.layers.Dense(2)(u)
    return bp.Model([a, b], [out, bp.layers.Dense(1, name="second")(h)], dtype=dtype, seed=2)


def _inputs(model, n=9):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 4)), rng.normal(size=(n, 4))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip_has_the_same_bits(tmp_path, dtype):
    model = _sequential(dtype)
    x = np.random.default_rng(0).normal(size=(20, 5))
    model.save(tmp_path / "m.safetensors")
    again = bp.load_model(tmp_path / "m.safetensors")
    assert type(again) is bp.Sequential and again.dtype == dtype
    assert [p.name for p in again.weights] == [p.name for p in model.weights]
    assert model.predict(x).tobytes() == again.predict(x).tobytes()


def test_graph_round_trip(tmp_path):
    model = _graph()
    model.save(tmp_path / "m.safetensors")
    again = bp.load_model(str(tmp_path / "m.safetensors"))
    assert again.count_params() == model.count_params()  # the shared layer is still one
    for p, q in zip(model.predict(_inputs(model)), again.predict(_inputs(model)), strict=True):
        assert p.tobytes() == q.tobytes()


def test_trained_weights_survive_and_files_are_canonical(tmp_path):
    (x, y), _ = bp.datasets.load_digits(split=True)
    model = bp.Sequential([bp.layers.Dense(10)], seed=0)
    model.compile("adam", "cross_entropy")
    model.fit(x, y, epochs=1, verbose=0)
    model.save(tmp_path / "a")
    again = bp.load_model(tmp_path / "a")
    again.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert again.evaluate(x, y) == model.evaluate(x, y)  # compiled as it was


def test_python_losses_are_left_out(tmp_path):
    class Mine:
        def value(self, y_true, y_pred):
            return ((y_true - y_pred) ** 2).mean(axis=-1)

        def gradient(self, y_true, y_pred):
            return 2 * (y_pred - y_true) / y_pred.size

    model = bp.Sequential([bp.layers.Dense(2)], seed=0)
    model.compile("sgd", Mine())
    model.build((3,))
    model.save(tmp_path / "m")
    with pytest.warns(bp.errors.NotCompiledWarning):
        again = bp.load_model(tmp_path / "m")
    assert (again.predict(np.ones((1, 3))) == model.predict(np.ones((1, 3)))).all()
    with pytest.raises(RuntimeError, match="compile"):
        again.evaluate(np.ones((1, 3)), np.ones((1, 2)))


def test_the_file_is_plain_safetensors(tmp_path):
    numpy_reader = pytest.importorskip("safetensors.numpy")
    model = _sequential()
    model.save(tmp_path / "m")
    tensors = numpy_reader.load_file(tmp_path / "m")
    assert sorted(tensors) == sorted(p.name for p in model.weights)
    for p in model.weights:
        assert (tensors[p.name] == p.value).all()


def test_checkpoints_are_plain_safetensors_too(tmp_path):
    """Also with arrays of several types, whose order safetensors prescribes."""
    numpy_reader = pytest.importorskip("safetensors.numpy")
    document, arrays = files.checkpoint_parts()
    arrays |= {"b": np.array([True, False]), "i": np.arange(3), "s": np.array(2.5), "e": np.ones(0)}
    arrays |= {"h": np.arange(3, dtype=np.int16), "z": np.arange(5, dtype=np.uint8)}
    document = {key: document[key] for key in ("kind", "model", "state")}
    (tmp_path / "m").write_bytes(files.packed(document, arrays))
    for found in (
        numpy_reader.load_file(tmp_path / "m"),
        container.read(str(tmp_path / "m")).arrays,
    ):
        assert sorted(found) == sorted(arrays)
        for name, array in arrays.items():
            assert support.same_bits(found[name], array), name


class Doubling(bp.layers.Layer):
    """y = 2 x."""

    def forward(self, x, training=False):
        return 2 * x

    def backward(self, dy):
        return 2 * dy


def test_custom_layers_need_custom_objects(tmp_path):
    model = bp.Sequential([Doubling(), bp.layers.Dense(2)], seed=0)
    model.build((3,))
    model.save(tmp_path / "m")
    with pytest.raises(FormatError, match=r"(?s)Doubling.*custom_objects"):
        bp.load_model(tmp_path / "m")
    again = bp.load_model(tmp_path / "m", custom_objects={"Doubling": Doubling})
    x = np.ones((2, 3))
    assert (again.predict(x) == model.predict(x)).all()


def test_bad_paths(tmp_path):
    model = _sequential()
    for path in (None, 3, b"bytes"):
        with pytest.raises(TypeError, match="path must be"):
            model.save(path)
    for path in ("", "a\0b"):
        with pytest.raises(ValueError, match="path must be a non-empty string without NUL"):
            model.save(path)
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        model.save(tmp_path / "none" / "m")
    with pytest.raises(IsADirectoryError):
        model.save(tmp_path)
    with pytest.raises(IsADirectoryError):
        bp.load_model(tmp_path)
    with pytest.raises(FileNotFoundError):
        bp.load_model(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    for action in (model.save, bp.load_model):
        with pytest.raises(ValueError, match="not a regular file"):
            action(tmp_path / "pipe")
    with pytest.raises(NotBuiltError):
        bp.Sequential([bp.layers.Dense(2)]).save(tmp_path / "m")


# ---- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("a/bias"), r"missing: \['a/bias'\]"),
        (lambda arrays: arrays.update(extra=np.zeros(1)), r"not expected: \['extra'\]"),
        (
            lambda arrays: arrays.update({"a/kernel": np.zeros((3, 4), "float32")}),
            r"'a/kernel' is float32 \(3, 4\), expected float32 \(4, 3\)",
        ),
        (
            lambda arrays: arrays.update({"a/kernel": np.zeros((4, 3))}),
            r"is float64 \(4, 3\), expected float32",
        ),
    ],
)
def test_weights_that_do_not_fit(tmp_path, change, message):
    document, arrays = files.model_parts()
    change(arrays)
    (tmp_path / "m").write_bytes(files.forged(document, arrays))
    with pytest.raises(FormatError, match=message):
        bp.load_model(tmp_path / "m")


def test_nonfinite_weights_need_permission(tmp_path):
    document, arrays = files.model_parts()
    arrays["a/bias"][:] = np.nan, np.inf, -0.0
    arrays["b/kernel"].view(np.uint32)[0, 0] = 0x7FA00001  # a signalling NaN keeps its bits
    (tmp_path / "m").write_bytes(files.forged(document, arrays))
    with pytest.raises(FormatError, match=r"holds NaN or Inf.*allow_nonfinite"):
        bp.load_model(tmp_path / "m")
    model = bp.load_model(tmp_path / "m", allow_nonfinite=True)
    for p in model.weights:
        assert p.value.tobytes() == arrays[p.name].tobytes()


@pytest.mark.parametrize("value", [1e-45, -0.0, 3e38])
def test_odd_finite_weights_are_accepted(tmp_path, value):
    document, arrays = files.model_parts()
    arrays = {name: np.full_like(array, value) for name, array in arrays.items()}
    (tmp_path / "m").write_bytes(files.forged(document, arrays))
    model = bp.load_model(tmp_path / "m")
    model.predict(np.ones((2, 4)))
    assert model.weights[0].value.tobytes() == arrays["a/kernel"].tobytes()


def test_negative_variance_is_refused(tmp_path):
    document, arrays = files.model_parts()

    class Normalizing(Doubling):
        """Has a variance."""

        def build(self, input_shape):
            self.add_weight("moving_variance", input_shape, "ones", trainable=False)

    model = bp.Sequential([Normalizing(name="n")], seed=0)
    model.build((2,))
    arrays = {k: v.copy() for k, v in save.arrays_of(model).items()}
    document = {"format": 1, "bpcore": bp.__version__, "model": save.describe(model)}
    for value, fits in ((0.0, True), (-1e-30, False)):
        arrays["n/moving_variance"][1] = value
        (tmp_path / "m").write_bytes(files.forged(document, arrays))
        if fits:
            bp.load_model(tmp_path / "m", {"Normalizing": Normalizing})
            continue
        with pytest.raises(FormatError, match="variance < 0"):
            bp.load_model(tmp_path / "m", {"Normalizing": Normalizing})


def test_the_files_own_hash(tmp_path):
    _sequential().save(tmp_path / "m")
    found = hashlib.sha256((tmp_path / "m").read_bytes()).hexdigest()
    bp.load_model(tmp_path / "m", sha256=found)
    bp.load_model(tmp_path / "m", sha256=found.upper())
    other = "0" * 64
    with pytest.raises(FormatError, match=rf"(?s){found}.*{other}"):
        bp.load_model(tmp_path / "m", sha256=other)


def test_the_largest_file(tmp_path):
    _sequential().save(tmp_path / "m")
    size = (tmp_path / "m").stat().st_size
    bp.load_model(tmp_path / "m", max_bytes=size)
    with pytest.raises(FormatError, match=rf"{size} bytes.*at most {size - 1}.*max_bytes"):
        bp.load_model(tmp_path / "m", max_bytes=size - 1)


def test_a_file_of_every_format_version_loads():
    """Written by the version that introduced the format; each must load forever."""
    x = {"a": np.linspace(-1, 1, 8).reshape(2, 4), "b": np.linspace(0, 1, 6).reshape(2, 3)}
    outputs = [
        [0.6557762026786804, -0.7019155025482178],
        [-0.2262757420539856, 0.10159280896186829],
    ]
    expected = {1: outputs, 2: outputs}  # the second is the first, five updates of its rate later
    assert sorted(expected) == list(range(1, save.FORMAT + 1))
    for version, outputs in expected.items():
        model = bp.load_model(support.FIXTURES / "formats" / f"model-{version}.safetensors")
        np.testing.assert_allclose(model.predict(x), outputs, rtol=2e-6)
        assert [layer.name for layer in model.layers][2] == "größe"
        assert type(model.optimizer.learning_rate) is bp.schedules.Cosine
        assert model.optimizer.iterations == {1: 0, 2: 5}[version]
    path = support.FIXTURES / "formats" / "checkpoint-1.safetensors"
    model = bp.load_checkpoint(path)
    assert (model.optimizer.iterations, model._counters.epochs_done) == (6, 2)
    logs = model.fit(np.eye(4), np.arange(4) % 2, batch_size=2, verbose=0).history
    np.testing.assert_allclose(logs["loss"], CHECKPOINT_1, rtol=1e-5)


CHECKPOINT_1 = [0.5013156309723854]


def test_names_that_no_file_can_hold(tmp_path):
    for name, flaw in {"..": "'..' part", "ä" * 150: "1 to 255"}.items():
        model = bp.Sequential([bp.layers.Dense(2, name=name)], seed=0)
        with pytest.raises(ValueError, match=flaw):
            model.build((2,))
    model = bp.Sequential([bp.layers.Dense(2, name='5" \\ größe')], seed=0)
    model.build((2,))
    model.save(tmp_path / "m")
    again = bp.load_model(tmp_path / "m")
    assert again.weights[0].name == '5" \\ größe/kernel'


def test_what_is_too_large_to_load_is_not_saved(tmp_path):
    big = np.zeros((600, 600)).tolist()
    model = bp.Sequential([bp.layers.Dense(600, kernel_initializer=big)], seed=0)
    model.build((600,))
    with pytest.raises(ValueError, match="cannot save"):
        model.save(tmp_path / "m")
    assert not os.listdir(tmp_path)
