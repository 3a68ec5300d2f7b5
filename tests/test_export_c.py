"""Networks in C: a compiler takes them without a word, and they answer what `predict` does."""

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest

import bpcore as bp
from bpcore.cli import commands as cli
from bpcore.export.c import functions, ops
from bpcore.export.c.steps import read
from bpcore.model.in_c import source

from .helpers import compiled, support
from .helpers.compiled import SANITIZED, TOLERANCE, compile_c

L = bp.layers
needs_compiler = pytest.mark.skipif(
    compiled.COMPILER is None, reason="no C compiler; the session c_export of nox wants one"
)


def small(dtype="float32", **options):
    layers = [bp.Input((5,), name="x"), L.Dense(4, "relu"), L.Dropout(0.5), L.Dense(3, "softmax")]
    return bp.Sequential(layers, dtype=dtype, seed=0, **options)


def masked_sequences():
    """Every layer that heeds a mask, and one mask of ids."""
    x, ids = bp.Input((6, 2)), bp.Input((6,))
    h = L.Masking(-1.0)(x)
    e = L.Embedding(7, 3, mask_zero=True)(ids)
    outputs = [
        L.LSTM(3)(h),
        L.GRU(3, return_sequences=True)(h),
        L.SimpleRNN(3, go_backwards=True, return_sequences=True)(h),
        L.Bidirectional(L.GRU(2, return_sequences=True))(e),
        L.GlobalAveragePooling1D()(e),
        L.GlobalMaxPooling1D()(h),
        L.BatchNormalization()(h),
        L.LSTM(2, return_sequences=True)(L.Concatenate()([h, e])),
    ]
    model = bp.Model([x, ids], outputs, seed=3)
    rng = np.random.default_rng(1)
    xs, lengths = rng.normal(size=(4, 6, 2)), [6, 3, 1, 5]
    numbers = rng.integers(1, 7, size=(4, 6))
    for row, n in enumerate(lengths):
        xs[row, n:], numbers[row, n:] = -1.0, 0
    return model, [xs, numbers]


def states():
    """States that go from one layer to another, and dropout of all kinds."""
    a, b = bp.Input((5, 3)), bp.Input((4, 3))
    y, h, c = L.LSTM(4, return_state=True, dropout=0.2, recurrent_dropout=0.3)(a)
    z = L.LSTM(4, return_sequences=True)(b, initial_state=[h, c])
    w, g = L.GRU(4, return_state=True, return_sequences=True, reset_after=False)(a)
    outputs = [y, z, w, g * 2.0, L.GRU(4, go_backwards=True)(b, initial_state=g)]
    outputs += [L.SimpleRNN(3, "linear")(a), L.GRU(3, "leaky_relu", "hard_sigmoid")(b),
                L.LSTM(3, "softsign", "linear", return_sequences=True)(b)]  # fmt: skip
    rng = np.random.default_rng(2)
    return bp.Model([a, b], outputs, seed=2), [rng.normal(size=(3, n, 3)) for n in (5, 4)]


def shared():
    """Outputs that are inputs, that are one another, constants; layers that are called twice;
    shapes that are only seen; tied weights, missing ones."""
    a, b = bp.Input((2, 3)), bp.Input((6,))
    dense, first = L.Dense(3, "tanh"), L.Dense(4, "celu")
    h = dense(dense(a))
    tied = L.TiedDense(first)(first(b))
    mask = np.random.default_rng(0).random((6, 4)) < 0.5
    some = L.MaskedDense(4, mask)
    outputs = [a, h, h, L.Flatten()(h) + b, L.Reshape((3, 2))(a), tied,
               some(b), L.TiedDense(some)(some(b)), L.Activation("softmax")(L.Reshape((3, 2))(h)),
               L.Activation("elu", alpha=0.3)(b), L.Activation("elu")(b),
               bp.ops.maximum(h, h[:, ::-1]) - 0.5 * h[:, :, 1:2] / 3.0]  # fmt: skip
    fixed, square, columns = L.Constant(np.arange(6.0)).tensor(), a * a, h[:, :, :1]
    outputs += [fixed, fixed - b, L.Concatenate()([b, fixed]), bp.ops.log(square + 0.1),
                bp.ops.sqrt(square), L.Activation("step")(a), L.Activation("sign")(b),
                L.Add()([columns, a, columns, h[:, 0], a]),
                L.Minimum()([h[:, 0], columns, a])]  # fmt: skip
    rng = np.random.default_rng(4)
    return bp.Model([a, b], outputs, dtype="float64", seed=5), [
        rng.normal(size=(3, 2, 3)), rng.normal(size=(3, 6))]  # fmt: skip


def models():
    found = {dtype: compiled.every_layer(dtype) for dtype in TOLERANCE}
    far = 1e6 + 0.3 + np.random.default_rng(6).normal(size=(4, 3))
    layers = [bp.Input((3,)), L.Normalization(mean=[1e6 + 0.3] * 3, variance=[2.0] * 3)]
    found["far"] = bp.Sequential([*layers, L.Dense(2)], seed=0), [far]
    found |= {"masked": masked_sequences(), "states": states(), "shared": shared()}
    found |= {f"graph_{seed}": compiled.random_graph(seed) for seed in range(4)}
    return found | {f"net_{seed}": compiled.random_net(seed) for seed in range(4)}


@pytest.fixture(scope="module")
def networks():
    return models()


@pytest.fixture(scope="module")
def library(networks, tmp_path_factory):
    if compiled.COMPILER is None:
        pytest.skip("no C compiler; the session c_export of nox wants one")
    only = {name: model for name, (model, _) in networks.items()}
    wide = {"float64": only.pop("float64")}
    made = compiled.Library(tmp_path_factory.mktemp("c"), only, "-O2")
    made.join(compiled.Library(tmp_path_factory.mktemp("c64"), wide, "-O1"))  # for the time's sake
    return made


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_layer(networks, library, dtype):
    model, xs = networks[dtype]
    xs = compiled.rounded(model, xs)
    pairs = zip(library.predict(dtype, xs), compiled.answers(model, xs), strict=True)
    for row, (found, expected) in zip(compiled.ROWS, pairs, strict=True):
        assert compiled.difference(found, expected) <= TOLERANCE[dtype], row.id


def test_other_networks(networks, library):
    for name, (model, xs) in networks.items():
        xs = compiled.rounded(model, xs)
        pairs = zip(library.predict(name, xs), compiled.answers(model, xs), strict=True)
        for k, (found, expected) in enumerate(pairs):
            assert compiled.difference(found, expected) <= TOLERANCE[model.dtype], (name, k)


def test_every_operation_is_met(networks):
    """The rows of the table, all of them, and the operations of the core, all but some."""
    met, used = set(), set()
    for model, _ in networks.values():
        parts = source(model, model._built())
        for step in read(parts, ops.KINDS, ops.obstacle).steps:
            met.add(step.op)
            used |= {step.attrs.get(key) for key in ("function", "activation")}
    silent = {"input", "reshape", "stop", "noise"}  # that need no statement
    assert met == set(ops.KINDS) - silent
    assert set(functions.ONE) <= used
    table = (support.ROOT / "cpp" / "ops" / "table.cpp").read_text()
    core = set(re.findall(r'row\("(\w+)"', table))
    training = {"target", "feedback", "synthetic", "difference", "hsic", "derivative", "descend"}
    assert core - set(ops.KINDS) == training | {"python"}


# ---- the file ------------------------------------------------------------------------------------
def run(program, text=""):
    done = subprocess.run([str(program)], input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@needs_compiler
def test_a_wrong_weight_is_found(tmp_path):
    model = bp.Sequential([bp.Input((5,)), L.Dense(4, "tanh"), L.Dense(3, "softmax")], seed=0)
    x = np.random.default_rng(0).normal(size=(9, 5))
    model.to_c(tmp_path / "net.c", test_vectors=x)
    assert run(compile_c(tmp_path / "net.c", tmp_path / "net", "-DNET_MAIN")) == (
        0, "net: 0 rows differ\n")  # fmt: skip
    text = (tmp_path / "net.c").read_text()
    weight = f"{model.weights[2].value[1, 2]!s}f"
    assert text.count(weight) == 1
    (tmp_path / "bad.c").write_text(text.replace(weight, f"0.1f + {weight}"))
    status, said = run(compile_c(tmp_path / "bad.c", tmp_path / "bad", "-DNET_MAIN"))
    assert status == 1 and re.fullmatch(r"net: [1-9] rows differ\n", said)


@needs_compiler
def test_a_program_that_reads_rows(tmp_path):
    model = small("float64")
    model.to_c(tmp_path / "net.c", name="digits")
    program = compile_c(tmp_path / "net.c", tmp_path / "net", "-DDIGITS_MAIN")
    x = np.random.default_rng(0).normal(size=(3, 5))
    status, said = run(program, " ".join(map(repr, x.ravel().tolist())))
    found = np.array([line.split() for line in said.splitlines()], float)
    assert status == 0 and compiled.difference(found, model.predict(x)) <= 1e-12


@needs_compiler
def test_ids_and_sanitizers(tmp_path):
    """The self test of a network with ids and masks, under the sanitizers of address and
    behaviour; an id that the table does not have reads nothing."""
    model, (xs, ids) = masked_sequences()
    compiled.run_self_tests(
        tmp_path, {"masked": (model, [xs, ids]), "states": states()}, compiled.COMPILER,
        "-O1", *SANITIZED,
    )  # fmt: skip
    table = bp.Sequential([bp.Input((2,)), L.Embedding(3, 2)], seed=0)
    table.to_c(tmp_path / "table.c", name="table")
    program = compile_c(tmp_path / "table.c", tmp_path / "table", "-DTABLE_MAIN", *SANITIZED)
    status, said = run(program, "2 0  -1 3  2147483647 1")
    found = np.array([line.split() for line in said.splitlines()], float).reshape(3, 2, 2)
    rows = table.weights[0].value
    assert status == 0 and np.allclose(found[0], rows[[2, 0]]) and np.allclose(found[2, 1], rows[1])
    assert not found[1].any() and not found[2, 0].any()


def test_memory_is_used_again(tmp_path):
    """A chain of layers needs two of its values at a time, and functions of single values none."""
    layers = [bp.Input((9,)), *(L.Dense(50, "tanh") for _ in range(10)), L.Dense(2)]
    bp.Sequential(layers, seed=0).to_c(tmp_path / "net.c")
    text = (tmp_path / "net.c").read_text()
    assert "#define NET_ARENA_SIZE 100\n" in text
    bp.Sequential([bp.Input((9,)), L.Dense(50, "tanh")], seed=0).to_c(tmp_path / "one.c")
    assert "#define NET_ARENA_SIZE 0\n" in (tmp_path / "one.c").read_text()  # all is in y
    numbers = 9 * 50 + 50 + 9 * (50 * 50 + 50) + 50 * 2 + 2
    assert f"Flash: {4 * numbers:,} bytes" in text and "RAM: 400 bytes" in text


def test_what_works_in_training_alone_leaves_nothing(tmp_path):
    made = []
    for rate in (0.0, 0.4):
        layers = [
            bp.Input((4, 3)),
            L.Dropout(rate),
            L.LSTM(5, dropout=rate, recurrent_dropout=rate),
        ]
        bp.Sequential(layers, seed=0).to_c(tmp_path / "net.c")
        made.append((tmp_path / "net.c").read_text())
    assert made[0] == made[1]


def test_the_header_is_part_of_the_file(tmp_path):
    small().to_c(tmp_path / "net.c", test_vectors=np.zeros((1, 5)))
    header = (tmp_path / "net.h").read_text().split("\n", 1)[1]
    assert header in (tmp_path / "net.c").read_text()
    assert "void net_predict(const float *x, float *y);" in header


@needs_compiler
def test_names_do_not_become_code(tmp_path):
    pd = pytest.importorskip("pandas")
    evil = '*/ int x = 1; /* ??/ \\ \n é "%d"'
    name = evil.replace("/", "").replace("\n", "")
    model = bp.Sequential([bp.Input((2,), name=name), L.Dense(1, name=f"d{name}")], name=name)
    model.compile("sgd", "mse")
    model.fit(pd.DataFrame({evil: [1.0, 2.0], "b": [0.0, 1.0]}), [1.0, 2.0], verbose=0)
    model.to_c(tmp_path / "net.c")
    text = (tmp_path / "net.c").read_text()
    assert "int x = 1_ " in text and text.count("*/") == text.count("/*")
    compile_c(tmp_path / "net.c", tmp_path / "net.o", "-c")


@needs_compiler
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_the_header_in_cpp(tmp_path):
    small().to_c(tmp_path / "net.c")
    user = tmp_path / "user.cpp"
    user.write_text('#include "net.h"\nfloat y[NET_Y_SIZE];\nvoid f() { net_predict(y, y); }\n')
    subprocess.run(
        ["c++", "-Wall", "-Werror", "-c", str(user), "-o", str(tmp_path / "o")], check=True
    )


# ---- streams -------------------------------------------------------------------------------------
def streams():
    """Layers that carry something from step to step, and an answer for each step or at the end."""
    x, ids = bp.Input((None, 3)), bp.Input((None,))
    h = L.Conv1D(4, 3, padding="causal", dilation_rate=2)(x)
    rnn = L.SimpleRNN(4, return_sequences=True)
    h = L.TappedDelay([0, 2, 3])(L.GRU(4, return_sequences=True)(rnn(rnn(h))))
    e = L.Embedding(6, 4, mask_zero=True)(ids)
    last = [bp.Input((None, 3)), L.Dense(4), L.SimpleRNN(4, return_sequences=True), L.LSTM(5)]
    rng = np.random.default_rng(0)
    rows, numbers = rng.normal(size=(3, 9, 3)), rng.integers(0, 6, size=(3, 9))
    return {
        "each": (bp.Model(x, L.Dense(2)(L.BatchNormalization()(h)), seed=1), [rows]),
        "last": (bp.Sequential(last, dtype="float64", seed=1), [rows]),
        "masked": (bp.Model(ids, L.GRU(3, reset_after=False)(e), seed=1), [numbers]),
        "plain": (bp.Model(x, L.Dense(2, "tanh")(x), seed=1), [rows]),
    }


@needs_compiler
def test_streams(tmp_path):
    models = streams()
    tolerances = [f"-D{name.upper()}_TOLERANCE=1e-{12 if name == 'last' else 5}" for name in models]
    compiled.run_self_tests(
        tmp_path, models, compiled.COMPILER, "-O1", *SANITIZED, *tolerances)  # fmt: skip
    model, (x,) = models["each"]
    assert "x: 3 numbers" in (tmp_path / "each.c").read_text()
    model.to_c(tmp_path / "each.c", name="each")
    program = compile_c(tmp_path / "each.c", tmp_path / "each", "-DEACH_MAIN")
    status, said = run(program, " ".join(map(repr, x[0].ravel().tolist())))
    found = np.array([line.split() for line in said.splitlines()], float)
    stream = model.stream()
    assert status == 0 and compiled.difference(found, np.stack(list(map(stream.step, x[0])))) < 1e-5


@needs_compiler
def test_streams_do_not_know_one_another(tmp_path):
    model, (x,) = streams()["each"]
    model.to_c(tmp_path / "net.c")
    size = int(re.search(r"values\[(\d+)\]", (tmp_path / "net.h").read_text())[1])
    library = ctypes.CDLL(
        str(compile_c(tmp_path / "net.c", tmp_path / "net.so", "-shared", "-fPIC")))  # fmt: skip
    states, y = np.full((2, size), np.nan, np.float32), np.empty((2, 9, 2), np.float32)
    x = x.astype(np.float32)
    for state in states:
        library.net_reset(ctypes.c_void_p(state.ctypes.data))
    for t in range(9):
        for k in (0, 1):
            arrays = states[k], x[k, t], y[k, t]
            library.net_step(*(ctypes.c_void_p(a.ctypes.data) for a in arrays))
    assert compiled.difference(y, model.predict(x[:2])) < 1e-5


def test_what_a_stream_cannot_have(tmp_path):
    model, (x,) = streams()["plain"]
    for options, message in (
        ({"int8": True, "calibration": x}, "int8 is of models whose inputs have a fixed length"),
        ({"test_vectors": [x[0], x[1, :4]]}, "got sequences of several lengths"),
    ):
        with pytest.raises(ValueError, match=message):
            model.to_c(tmp_path / "net.c", **options)
    assert not list(tmp_path.iterdir())


# ---- what is refused -----------------------------------------------------------------------------
class Doubled(L.Layer):
    def forward(self, x, training=False):
        return 2 * x


def rounding():
    model = small()
    model._built().compute = "bfloat16"
    return model


def broken():
    model = small()
    model.weights[0].value[0, 0] = np.nan
    return model


REFUSED = [
    (lambda: bp.Sequential([bp.Input((2,)), Doubled(), Doubled()]),
     r"layer 'doubled' \(python\): it is computed in Python.*'doubled_1'"),
    (lambda: bp.Sequential([bp.Input((None, 2)), L.Bidirectional(L.LSTM(3))]),
     r"length is open.*Bidirectional.* needs the whole sequence.*bp\.Input\(\(32, 2\)\)"),
    (rounding, r"'sequential' computes in bfloat16, expected float32.*without compute="),
    (broken, r"layer 'dense': weight 'dense/kernel' holds NaN"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_models_without_a_counterpart(make, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make().to_c(tmp_path / "net.c")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"name": "2net"}, ValueError, r"name is '2net', expected a name in C"),
        ({"name": "int"}, ValueError, r"name is 'int'"),
        ({"name": "a b"}, ValueError, r"name is 'a b'"),
        ({"name": "n\n"}, ValueError, r"name is 'n\\n'"),
        ({"name": "né"}, ValueError, r"name is 'né'"),
        ({"name": 3}, TypeError, r"name must be a str"),
        ({"test_vectors": np.zeros((2, 4))}, ValueError, r"test_vectors"),
        ({"test_vectors": np.zeros((0, 5))}, ValueError, r"test_vectors"),
        ({"test_vectors": np.full((1, 5), np.nan)}, ValueError, r"test_vectors"),
        ({"path": "net.txt"}, ValueError, r"expected a file \*\.c"),
        ({"path": "no/net.c"}, FileNotFoundError, r"there is no directory"),
    ],
)
def test_bad_arguments(options, error, message, tmp_path):
    path = tmp_path / options.pop("path", "net.c")
    with pytest.raises(error, match=message):
        small().to_c(path, **options)
    assert not list(tmp_path.iterdir())


def test_a_header_of_the_users_is_spared(tmp_path):
    (tmp_path / "net.h").write_text("int mine(void);\n")
    with pytest.raises(FileExistsError, match=r"net\.h' is beside the file.*not written by bpcore"):
        small().to_c(tmp_path / "net.c")
    assert [p.name for p in tmp_path.iterdir()] == ["net.h"]
    for _ in range(2):  # its own it replaces
        small().to_c(tmp_path / "other.c")
    assert (tmp_path / "net.h").read_text() == "int mine(void);\n"


def test_an_unbuilt_model(tmp_path):
    with pytest.raises(bp.errors.NotBuiltError):
        bp.Sequential([L.Dense(2)]).to_c(tmp_path / "net.c")


# ---- the command ---------------------------------------------------------------------------------
def test_the_command(tmp_path, capsys):
    model = small()
    model.save(tmp_path / "m.st")
    assert cli.main(["export", str(tmp_path / "m.st"), "--c", str(tmp_path / "net.c")]) == 0
    assert capsys.readouterr().out == f"model exported to {(tmp_path / 'net.c').resolve()}\n"
    model.to_c(tmp_path / "same.c")
    assert cli.main(["export", str(tmp_path / "m.st"), "--c", str(tmp_path / "digits.c")]) == 0
    assert "void digits_predict(" in (tmp_path / "digits.h").read_text()
    assert (tmp_path / "net.c").read_bytes() == (tmp_path / "same.c").read_bytes()


def test_bad_input_of_the_command(tmp_path, capsys):
    path = tmp_path / "m.h"
    small().save(path)
    for target, message in (
        (tmp_path / "net.txt", "expected a file *.c"),
        (tmp_path / "my net.c", "name is 'my net', expected a name in C"),
        (tmp_path / "m.c", "m.h is the model itself"),
        (tmp_path / "no" / "net.c", "--c: there is no folder"),
    ):
        assert cli.main(["export", str(path), "--c", str(target)]) == 2
        said = capsys.readouterr().err
        assert message in said and "Traceback" not in said
    assert [p.name for p in tmp_path.iterdir()] == ["m.h"]
