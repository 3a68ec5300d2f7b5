"""Initializers: ranges, moments and structure by their formulas; refusals of bad arguments."""

import math
import sys

import numpy as np
import pytest

import bpcore as bp
from bpcore import _core, initializers

from .helpers import support

# name -> (variance of the formula, bound of the support) for a kernel of 300 inputs, 200 units.
# Uniform on +-r has variance r^2 / 3. A normal cut at two deviations that keeps variance v has its
# bound at 2 sqrt(v) / 0.8796 (0.8796^2 = 0.77374 = variance of the unit normal cut at +-2).
IN, OUT = 300, 200


def _uniform(variance):
    return variance, math.sqrt(3 * variance)


def _cut(variance):
    return variance, 2 * math.sqrt(variance / 0.7737413)


SCALED = {
    "glorot_uniform": _uniform(2 / (IN + OUT)),
    "glorot_normal": _cut(2 / (IN + OUT)),
    "he_uniform": _uniform(2 / IN),
    "he_normal": _cut(2 / IN),
    "lecun_uniform": _uniform(1 / IN),
    "lecun_normal": _cut(1 / IN),
    "uniform": _uniform(0.05**2 / 3),
    "truncated_normal": (0.7737413 * 0.05**2, 0.1),
    "normal": (0.05**2, math.inf),
}


CLASSES = {"uniform": "Uniform", "normal": "Normal", "truncated_normal": "TruncatedNormal"}


@pytest.mark.parametrize("name", SCALED)
def test_moments_and_support(name):
    variance, bound = SCALED[name]
    w = initializers.get(name)((IN, OUT), "float64", seed=3, stream=1)
    n = w.size
    assert w.shape == (IN, OUT) and w.dtype == np.float64
    # Five standard errors: of a mean sqrt(v / n), of a variance at most sqrt(2 / n) relatively.
    assert abs(w.mean()) < 5 * math.sqrt(variance / n)
    assert abs(w.var() / variance - 1) < 5 * math.sqrt(2 / n)
    assert np.abs(w).max() <= bound * (1 + 1e-6)
    if bound < math.inf:
        assert np.abs(w).max() > 0.98 * bound


def test_fan_of_a_filter_bank_counts_the_field():
    w = initializers.get("he_uniform")((3, 3, 16, 8), "float64", seed=0)
    bound = math.sqrt(6 / (3 * 3 * 16))
    assert 0.98 * bound < np.abs(w).max() <= bound


def test_plain_values():
    assert (initializers.get("zeros")((2, 3)) == 0).all()
    assert (initializers.get("ones")((4,)) == 1).all()
    assert (initializers.get(0.25)((2, 2)) == 0.25).all()
    assert (initializers.get("identity")((2, 3)) == [[1, 0, 0], [0, 1, 0]]).all()


@pytest.mark.parametrize("name", ["glorot_uniform", "truncated_normal", "orthogonal"])
def test_a_pure_function_of_seed_and_stream_in_any_dtype(name):
    make = initializers.get(name)
    a = make((20, 30), "float64", seed=7, stream=2)
    assert (make((20, 30), "float64", seed=7, stream=2) == a).all()
    assert (make((20, 30), "float32", seed=7, stream=2) == a.astype("float32")).all()
    assert (make((20, 30), "float64", seed=7, stream=3) != a).any()
    assert (make((20, 30), "float64", seed=8, stream=2) != a).any()


def test_large_weights_are_drawn_from_one_stream():
    """In blocks: no number is left out or drawn twice where one ends, and 2.0 is the cut."""
    n, seed, stream = 300 * 400, 11, 4
    u = np.asarray(_core.uniform(seed, stream, n))
    z = np.asarray(_core.normal(seed, stream, n + n // 10))
    expected = {"uniform": u, "normal": z[:n], "truncated_normal": z[np.abs(z) <= 2][:n]}
    for name, numbers in expected.items():
        low_high = {"minval": 0.0, "maxval": 1.0} if name == "uniform" else {"stddev": 1.0}
        make = initializers.get({"class_name": CLASSES[name], "config": low_high})
        assert (make((300, 400), "float64", seed=seed, stream=stream).ravel() == numbers).all()


BUILD = """
import sys
from pathlib import Path
import bpcore as bp

def resident(name):
    text = Path("/proc/self/status").read_text()
    return int(text.split(name + ":")[1].split()[0]) / 1024

def model(units):
    layer = bp.layers.Dense(units, kernel_initializer=sys.argv[1])
    made = bp.Sequential([layer], seed=0)
    made.build((units,))
    return made

model(10)
before = resident("VmRSS")
model(2000)
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "normal"])
def test_a_large_weight_takes_little_more_than_itself(name):
    """15 MB: a copy would double it, and one in float64 more than that."""
    megabytes = float(support.run_python(BUILD, name).stdout)
    assert 15 < megabytes < 24


def test_values_of_another_shape_are_refused():
    class Flat(initializers.Initializer):
        def values(self, shape, seed, stream):
            return np.ones(shape[-1])  # would be spread over the rows

    with pytest.raises(ValueError, match=r"'kernel': Flat\(\).*shape \(3,\), expected \(2, 3\)"):
        bp.layers.Dense(3, kernel_initializer=Flat()).build((2,))


def test_subclasses_are_asked():
    """By whichever way they give their values."""

    class Added(initializers.HeNormal):
        def values(self, shape, seed, stream):
            return super().values(shape, seed, stream) + 100

    class Called(initializers.GlorotUniform):
        def __call__(self, shape, dtype="float32", seed=0, stream=0):
            return super().__call__(shape, dtype, seed, stream) + np.float32(100)

    class Ones(initializers.Zeros):
        def values(self, shape, seed, stream):
            values = super().values(shape, seed, stream)
            values[:] = 1  # what it inherits may be written to
            return values

    for made in (Added(), Called()):
        layer = bp.layers.Dense(3, kernel_initializer=made)
        layer.build((4,))
        assert layer.weights[0].value.min() > 90 and layer.weights[0].value.max() < 110
    assert (Ones()((2, 2)) == 1).all()


def test_a_parameter_has_its_own_array():
    mine = np.ones((2, 3), np.float32)

    class Kept(initializers.Initializer):
        def __call__(self, shape, dtype="float32", seed=0, stream=0):
            return mine

    layer = bp.layers.Dense(3, kernel_initializer=Kept())
    layer.build((2,))
    layer.weights[0].value[...] = 5
    assert (mine == 1).all()


def test_a_scalar_weight(tmp_path):
    class Scaled(bp.layers.Layer):
        def build(self, input_shape):
            self.factor = self.add_weight("factor", (), "ones")

        def forward(self, x, training=False):
            self.x = x
            return x * self.factor.value

        def backward(self, dy):
            self.factor.grad += (dy * self.x).sum()
            return dy * self.factor.value

    model = bp.Sequential([Scaled()], seed=0)
    x = np.ones((8, 2), np.float32)
    model.compile(bp.optimizers.SGD(0.1), "mean_squared_error")
    model.fit(x, 3 * x, epochs=50, batch_size=8, verbose=0)
    assert model.weights[0].shape == () and abs(float(model.weights[0].value) - 3) < 0.01
    model.save(tmp_path / "m.bpc")
    again = bp.load_model(tmp_path / "m.bpc", custom_objects={"Scaled": Scaled})
    assert (again.predict(x) == model.predict(x)).all()


def test_loading_draws_no_weights(tmp_path, monkeypatch):
    model = bp.Sequential([bp.layers.Dense(3, kernel_initializer="he_normal")], seed=0)
    model.build((4,))
    model.save(tmp_path / "m.bpc")

    def drawn(*_):
        raise AssertionError("drawn")

    monkeypatch.setattr(_core, "normal", drawn)
    assert (bp.load_model(tmp_path / "m.bpc").get_weights()[0] == model.get_weights()[0]).all()
    with pytest.raises(AssertionError, match="drawn"):
        bp.layers.Dense(3, kernel_initializer="he_normal").build((4,))


def test_too_large_a_weight_is_named(monkeypatch):
    class ArrayMemoryError(MemoryError):
        def __init__(self, shape, dtype):  # as NumPy's
            super().__init__(shape, dtype)

    def full(*arguments):
        raise ArrayMemoryError(*arguments)

    monkeypatch.setattr(_core, "empty", full)
    for name in ("glorot_uniform", "zeros"):
        layer = bp.layers.Dense(3, kernel_initializer=name)
        with pytest.raises(MemoryError, match=r"weight 'kernel': no memory for \(2, 3\)"):
            layer.build((2,))
        assert not layer.built and layer.weights == []


def test_own_seed_takes_the_place_of_the_model_s():
    own = initializers.Uniform(seed=5)
    assert (own((9,), seed=1) == own((9,), seed=2)).all()
    assert (own((9,), seed=1) == initializers.Uniform()((9,), seed=5)).all()


@pytest.mark.parametrize("shape", [(64, 64), (100, 40), (40, 100), (3, 3, 5, 7), (1, 1)])
def test_orthogonal(shape):
    w = initializers.Orthogonal(gain=2.0)(shape, "float64", seed=1).reshape(-1, shape[-1]) / 2
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), rtol=0, atol=1e-12)


def test_orthogonal_is_the_q_factor_with_positive_diagonal():
    a = np.asarray(_core.normal(11, 4, 70 * 50)).reshape(50, 70)
    q, r = np.linalg.qr(a.T)  # an independent algorithm: Householder
    expected = q * np.sign(np.diag(r))
    got = initializers.Orthogonal()((70, 50), "float64", seed=11, stream=4)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


def test_nguyen_widrow_lengths():
    w = initializers.get("nguyen_widrow")((3, 50), "float64", seed=0)
    length = 0.7 * 50 ** (1 / 3)
    np.testing.assert_allclose(np.sqrt((w**2).sum(axis=0)), length, rtol=1e-14)
    b = initializers.NguyenWidrow(inputs=3)((5000,), "float64", seed=0)
    bound = 0.7 * 5000 ** (1 / 3)
    assert 0.99 * bound < np.abs(b).max() <= bound and b.min() < 0 < b.max()
    with pytest.raises(ValueError, match=r"shape \(5,\).*inputs="):
        initializers.get("nguyen_widrow")((5,))


def test_arrays_and_functions():
    values = np.arange(6.0).reshape(2, 3)
    assert (initializers.get(values)((2, 3)) == values).all()
    assert (initializers.get(values.tolist())((2, 3)) == values).all()
    assert (initializers.get(lambda shape: np.full(shape, 2))((2, 3)) == 2).all()
    assert (initializers.get(lambda shape, dtype: np.zeros(shape, dtype))((2,)) == 0).all()
    made = initializers.get(values)
    made((2, 3), "float64")[0, 0] = 99  # a copy each time
    assert made((2, 3))[0, 0] == 0


@pytest.mark.parametrize("name", [*initializers.names(), "orthogonal"])
def test_config_round_trip(name):
    first = initializers.get(name)
    again = initializers.get(initializers.serialize(first))
    shape = (6, 6)
    assert type(again) is type(first) and again.get_config() == first.get_config()
    assert (first(shape, "float64", seed=1) == again(shape, "float64", seed=1)).all()


BAD = [
    ("glorot_unifrom", ValueError, "did you mean 'glorot_uniform'"),
    ("xyzzy", ValueError, "unknown initializer 'xyzzy'.*known:"),
    (None, TypeError, "got None"),
    (True, TypeError, "got bool"),
    ([[1.0, math.nan]], ValueError, r"nan at \[0, 1\]"),
    ([math.inf], ValueError, r"inf at \[0\]"),
    (np.array(["a"]), TypeError, "dtype <U1"),
    ({"class_name": "Zerosss"}, ValueError, "did you mean 'Zeros'"),
    ({"class_name": "os.system", "config": {}}, ValueError, "unknown initializer"),
    ({"what": 1}, ValueError, "needs 'class_name'"),
]


@pytest.mark.parametrize(("identifier", "error", "message"), BAD)
def test_bad_identifiers(identifier, error, message):
    with pytest.raises(error, match=message):
        initializers.get(identifier)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"shape \(2, 3\), expected \(3, 2\)"):
        initializers.get(np.zeros((2, 3)))((3, 2))
    with pytest.raises(ValueError, match=r"shape \(1,\), expected \(2,\)"):
        initializers.get(lambda shape: [0.0])((2,))
    with pytest.raises(ValueError, match=r"stddev must be a finite number >= 0, got -1"):
        initializers.Normal(stddev=-1)
    with pytest.raises(ValueError, match="finite"):
        initializers.Constant(math.nan)
    with pytest.raises(ValueError, match="minval must be <= maxval"):
        initializers.Uniform(1, 0)
    with pytest.raises(ValueError, match="scale must be a finite number > 0, got 0"):
        initializers.VarianceScaling(scale=0)
    with pytest.raises(ValueError, match="mode must be one of"):
        initializers.VarianceScaling(mode="fan")
    with pytest.raises(ValueError, match="at least two axes"):
        initializers.get("orthogonal")((3,))
    with pytest.raises(TypeError, match="seed must be an int"):
        initializers.Uniform(seed=1.5)
    with pytest.raises(TypeError, match="cannot be saved"):
        initializers.serialize(initializers.get(lambda shape: 0))
