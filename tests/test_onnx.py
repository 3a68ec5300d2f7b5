"""Exported ONNX files: ONNX Runtime answers what `predict` does."""

import doctest
import pathlib
import re

import numpy as np
import pytest

import bpcore as bp
from bpcore.cli import commands as cli
from bpcore.export import onnx as export

from . import cases
from .fuzz import exports
from .helpers import support
from .helpers.exported import TOLERANCE, check, content, drawn, session

pytest.importorskip("onnx")  # the session onnx of nox has both
pytest.importorskip("onnxruntime")
L = bp.layers
# Of layers in float64: what ONNX Runtime does not compute; there the reference implementation of
# the package onnx answers.
NO_DOUBLE = re.compile("conv|depthwise|averagepooling[12]d|gelu|wide")


def data(model, rows=5, steps=7):
    rng = np.random.default_rng(1)
    shapes = [tuple(steps if n is None else n for n in t.shape) for t in model.inputs]
    return [rng.normal(size=(rows, *shape)).astype(model.dtype) for shape in shapes]


# ---- every layer ---------------------------------------------------------------------------------


def together(rows, dtype):
    """A model with an output for each of these layers, apart from one another."""
    inputs, outputs = [], []
    for case in rows:
        ins = [bp.Input(shape, name=f"{case.id} {k}") for k, shape in enumerate(case.shapes)]
        inputs += ins
        outputs.append(case.make(L)(ins if len(ins) > 1 else ins[0]))
    return drawn(bp.Model(inputs, outputs, dtype=dtype, seed=0))


ROWS = [*cases.LAYERS, *cases.APART]


def test_every_layer_in_float32(tmp_path):
    model = together(ROWS, "float32")
    check(model, data(model), tmp_path / "net.onnx")


def test_every_layer_in_float64(tmp_path):
    for reference in (False, True):
        some = [case for case in ROWS if bool(NO_DOUBLE.search(case.id)) == reference]
        assert len(some) > 30
        model = together(some, "float64")
        check(model, data(model), tmp_path / "net.onnx", reference)


def test_every_operation_is_written_or_has_no_part_in_predict():
    table = (pathlib.Path(support.ROOT) / "cpp/ops/table.cpp").read_text()
    names = set(re.findall(r'row\("(\w+)"', table)) | {"average"}
    training = {"target", "feedback", "synthetic", "difference", "hsic", "derivative", "descend"}
    assert names - set(export.KINDS) == training | {"python"}
    assert set(export.KINDS) <= names


def test_a_wrong_answer_is_found(tmp_path, monkeypatch):
    model = drawn(bp.Sequential([bp.Input((5,)), L.Dense(4, "tanh")], seed=0))
    check(model, data(model), tmp_path / "net.onnx")
    wrong = {**export.KINDS, "activation": lambda w, call: w.add("Softsign", call.inputs[0])}
    monkeypatch.setattr(export, "KINDS", wrong)
    with pytest.raises(AssertionError, match="off by"):
        check(model, data(model), tmp_path / "net.onnx")


# ---- whole networks ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", exports.KINDS)
def test_random_models(kind, tmp_path):
    """Of steps, of pixels, graphs and chains; `nox -s onnx` takes many."""
    for seed in range(5):
        exports.check(kind, seed, tmp_path)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_functions_constants_and_copies(dtype, tmp_path):
    """What no row of cases.py has: values that are the same for all samples, kinks, aliases."""
    x = bp.Input((2, 3), name="x")
    fixed, ops = L.Constant(np.arange(6.0).reshape(2, 3)).tensor(), bp.ops
    column = L.Flatten()(L.Dense(1)(x))[:, :1]
    ends = [L.Concatenate()([x, fixed]), x + fixed * fixed, L.Maximum()([x, 0.5 * fixed]), fixed,
            L.Add()([x, column]), x[:, 1, ::-2], x, L.StopGradient()(x), x, ops.log(x * x),
            ops.sqrt(ops.abs(x)), (x * x + 0.1) ** 0.7, 1.0 / (2.0 - fixed / 9.0) - x]  # fmt: skip
    ends += [L.Activation(name)(x) for name in ("step", "sign")]
    model = drawn(bp.Model(x, ends, dtype=dtype, seed=0))
    check(model, data(model), tmp_path / "net.onnx")


@pytest.mark.parametrize("shape", [(4,), (2, 4)])
def test_a_tied_kernel_stands_there_once(shape, tmp_path):
    import onnx

    code = L.Dense(3, "tanh")
    model = drawn(bp.Sequential([bp.Input(shape), code, L.TiedDense(code)], seed=0))
    check(model, data(model), tmp_path / "net.onnx")
    weights = [w.name for w in onnx.load(tmp_path / "net.onnx").graph.initializer]
    assert weights == [p.name for p in model.weights]
    some = L.MaskedDense(3, np.tri(4, 3), "tanh")
    lacking = drawn(bp.Sequential([bp.Input(shape), some, L.TiedDense(some)], seed=0))
    check(lacking, data(lacking), tmp_path / "net.onnx")


def image_net():
    rows = [bp.Input((12, 12, 3)), L.Rescaling(0.5), L.Conv2D(4, 3, activation="relu"),
            L.BatchNormalization(), L.MaxPooling2D(2), L.SpatialDropout2D(0.3),
            L.Conv2D(6, 3, padding="same", use_bias=False), L.BatchNormalization(),
            L.Activation("silu"), L.GlobalAveragePooling2D(), L.Dense(3, "softmax")]  # fmt: skip
    return drawn(bp.Sequential(rows, seed=0))


def test_images_are_turned_once(tmp_path):
    import onnx

    model = image_net()
    check(model, data(model), tmp_path / "net.onnx")
    made = [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert made.count("Transpose") == 1 and made.count("Conv") == 2


@pytest.mark.parametrize("opset", [17, 18, 20, 23])
def test_opsets(opset, tmp_path):
    check(image_net(), data(image_net()), tmp_path / "net.onnx", opset=opset)
    rows = [L.GRU(4, return_sequences=True), L.LayerNormalization(), L.GroupNormalization(2),
            L.RMSNormalization(), L.GlobalMaxPooling1D(), L.Dense(2, "hard_sigmoid")]  # fmt: skip
    model = drawn(bp.Sequential([bp.Input((6, 3)), *rows], seed=0))
    check(model, data(model), tmp_path / "net.onnx", opset=opset)


# ---- sequences -----------------------------------------------------------------------------------


def test_any_number_of_steps(tmp_path):
    a = bp.Input((None, 3), name="a")
    h, last = L.GRU(4, return_sequences=True, return_state=True)(a)
    h = L.Bidirectional(L.LSTM(3, return_sequences=True))(h)
    h = L.Conv1D(5, 3, padding="causal", activation="tanh")(h)
    h = L.TappedDelay((0, 2))(h)
    h = L.LSTM(4, return_sequences=True, go_backwards=True)(h)
    h = L.TimeDistributed(L.Dense(4))(L.LayerNormalization()(h))
    h, *states = L.LSTM(4, return_sequences=True, return_state=True)(h, initial_state=[last, last])
    ends = [h, *states, L.SimpleRNN(2, "relu")(L.Dropout(0.5)(h)), L.GlobalAveragePooling1D()(h)]
    model = drawn(bp.Model(a, ends, seed=0))
    for steps in (1, 4, 80):
        check(model, data(model, steps=steps), tmp_path / "net.onnx")


def test_ids_and_steps_that_do_not_count(tmp_path):
    """Zeros anywhere: in front, between, behind."""
    ids = bp.Input((None,), name="ids")
    h = L.Embedding(9, 3, mask_zero=True)(ids)
    for layer in (L.GRU(4, return_sequences=True), L.LSTM(5, return_sequences=True)):
        h = L.BatchNormalization()(layer(h))
    outputs = [h, L.SimpleRNN(3)(h), L.GlobalAveragePooling1D()(h), L.GlobalMaxPooling1D()(h)]
    model = drawn(bp.Model(ids, [*outputs, L.Dense(2)(h)], seed=0))
    rng = np.random.default_rng(2)
    x = rng.integers(1, 9, (6, 8)) * (rng.random((6, 8)) < 0.6)
    x[0], x[1, 4:], x[2, :4] = 3, 0, 0
    check(model, [x], tmp_path / "net.onnx")
    back = L.LSTM(3, return_sequences=True, go_backwards=True)(
        L.Embedding(9, 2, mask_zero=True)(ids)
    )
    tail = np.where(np.arange(8) < rng.integers(1, 9, (6, 1)), rng.integers(1, 9, (6, 8)), 0)
    check(drawn(bp.Model(ids, back, seed=0)), [tail], tmp_path / "net.onnx")


def test_masking_by_a_value(tmp_path):
    layers = [bp.Input((None, 2)), L.Masking(-1.0), L.LSTM(3, return_sequences=True), L.GRU(2)]
    model = drawn(bp.Sequential(layers, seed=0))
    (x,) = data(model)
    x[1, 2], x[2, 5:], x[3, :, 0], x[4, 0] = -1, -1, -1, -1
    check(model, [x], tmp_path / "net.onnx")


def test_cells_of_every_activation(tmp_path):
    names = [n for n in bp.activations.names() if "softmax" not in n and n not in ("step", "sign")]
    for kind in (L.SimpleRNN, L.LSTM, L.GRU):
        x = bp.Input((3, 2))
        ends = [kind(2, activation=name)(x) for name in names]
        if kind is not L.SimpleRNN:
            ends += [kind(2, recurrent_activation=name)(x) for name in names]
        model = drawn(bp.Model(x, ends, seed=0))
        check(model, data(model), tmp_path / "net.onnx")


def test_ids_of_any_shape(tmp_path):
    ids, other = bp.Input((4,), name="ids"), bp.Input((2, 2), name="other")
    ends = [L.Embedding(6, 2)(L.Reshape((2, 2))(ids)), L.Flatten()(L.Embedding(3, 2)(other))]
    model = drawn(bp.Model([ids, other], ends, seed=0))
    rng = np.random.default_rng(3)
    xs = [rng.integers(0, 6, (5, 4)), rng.integers(0, 3, (5, 2, 2))]
    check(model, xs, tmp_path / "net.onnx")


# ---- what stands in the file ---------------------------------------------------------------------


def small():
    layers = [bp.Input((5,)), L.Dense(4, "relu"), L.Dropout(0.5), L.Dense(3)]
    return bp.Sequential(layers, name="small", seed=0)


def test_names_shapes_and_who_wrote_it(tmp_path):
    import onnx

    a, b = bp.Input((2,), name="left"), bp.Input((None, 2), name="right")
    both = {"left": a, "total": L.Add()([a, L.GRU(2)(b)])}
    made = onnx.load_from_string(content(bp.Model([a, b], both, seed=0), tmp_path / "net.onnx", 21))
    assert [i.name for i in made.graph.input] == ["left", "right"]
    assert [o.name for o in made.graph.output] == ["left_1", "total"]
    sizes = [d.dim_param or d.dim_value for d in made.graph.input[1].type.tensor_type.shape.dim]
    assert sizes == ["N", "T", 2]
    assert (made.producer_name, made.producer_version) == ("bpcore", bp.__version__)
    assert [(o.domain, o.version) for o in made.opset_import] == [("", 21)]
    assert not any(w.external_data for w in made.graph.initializer)
    ends = L.Dense(1, name="as many")(b), L.Conv1D(1, 3, name="fewer")(b)
    made = onnx.load_from_string(content(bp.Model(b, ends, seed=0), tmp_path / "net.onnx"))
    steps = [o.type.tensor_type.shape.dim[1].dim_param for o in made.graph.output]
    assert steps == ["T", ""]
    made = onnx.load_from_string(content(small(), tmp_path / "net.onnx"))
    assert made.graph.name == "small"
    assert [w.name for w in made.graph.initializer] == [p.name for p in small().weights]


def test_examples_of_the_docs(tmp_path, monkeypatch):
    """What is skipped elsewhere, as it needs the packages."""
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    page = (pathlib.Path(support.ROOT) / "docs/export.md").read_text()
    blocks = re.findall(r"^```python onnx\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec("".join(blocks), {"__name__": "page"})
    assert len(blocks) == 2
    told = bp.Model.to_onnx.__doc__.replace("# doctest: +SKIP", "")
    example = doctest.DocTestParser().get_doctest(told, {}, "to_onnx", None, 0)
    assert doctest.DocTestRunner().run(example) == (0, 5)


# ---- what is refused, before anything is written -------------------------------------------------


class Twice(L.Layer):
    def compute_output_shape(self, input_shape):
        return input_shape

    def forward(self, x, training=False):
        return 2 * x

    def backward(self, dy):
        return 2 * dy


class Square:
    def f(self, z):
        return z * z

    def df(self, z):
        return 2 * z


def refusals():
    x, h, steps = bp.Input((3,)), bp.Input((2,)), bp.Input((None, 3))
    python = "is written in Python, which has no counterpart in ONNX"
    yield x, Twice(name="mine")(x), f"layer 'mine' {python}"
    yield x, L.Dense(2, activation=Square(), name="bent")(x), f"layer 'bent' {python}"
    v = bp.Input((3,))
    cell = bp.Model([h, v], L.Dense(2, "tanh")(L.Concatenate()([h, v])), seed=0)
    yield x, L.FixedPoint(cell, name="deep")(x), f"layer 'deep' {python}"
    delayed = L.TappedDelay((0, 100), name="late")(steps)
    yield steps, delayed, "layer 'late' depends on the number of steps"


def test_refusals(tmp_path):
    for x, y, message in refusals():
        with pytest.raises(ValueError, match=re.escape(message)):
            bp.Model(x, y, seed=0).to_onnx(tmp_path / "net.onnx")
    lost = small()
    lost.weights[1].value[2] = np.nan
    with pytest.raises(ValueError, match="weight 'dense/bias' holds NaN or Inf"):
        lost.to_onnx(tmp_path / "net.onnx")
    rounded = small()
    rounded._engine.compute = "bfloat16"  # as on a CPU that has it
    with pytest.raises(ValueError, match="'small' computes in bfloat16"):
        rounded.to_onnx(tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=r"opset.*17"):
        small().to_onnx(tmp_path / "net.onnx", opset=12)
    with pytest.raises(bp.NotBuiltError):
        bp.Sequential([L.Dense(2)]).to_onnx(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_of_more_than_a_file_holds(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "MOST", 100)
    with pytest.raises(ValueError, match="'small' has 156 bytes of weights, expected at most 100"):
        small().to_onnx(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


# ---- the command ---------------------------------------------------------------------------------


def test_the_command(tmp_path, capsys):
    model, target = small(), tmp_path / "net.onnx"
    model.save(tmp_path / "m.st")
    assert cli.main(["export", str(tmp_path / "m.st"), "--onnx", str(target)]) == 0
    assert capsys.readouterr().out == f"model exported to {target.resolve()}\n"
    model.to_onnx(tmp_path / "same.onnx")
    assert target.read_bytes() == (tmp_path / "same.onnx").read_bytes()


def test_bad_input_of_the_command(tmp_path, capsys):
    path = tmp_path / "m.st"
    small().save(path)
    for arguments, message in (
        ([str(path)], "--onnx"),
        ([str(path), "--onnx", str(tmp_path / "no" / "net.onnx")], "--onnx: there is no folder"),
        ([str(path), "--onnx", str(path)], "is the model itself"),
        ([str(tmp_path / "lost"), "--onnx", str(tmp_path / "net.onnx")], "lost"),
    ):
        try:
            assert cli.main(["export", *arguments]) == 2
        except SystemExit as stopped:  # argparse's
            assert stopped.code == 2
        assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["m.st"]


def test_a_model_for_tables_is_refused(tmp_path, capsys):
    from bpcore.tabular import TabularRegressor

    model, table = TabularRegressor((2,), epochs=1, random_state=0), {"a": [1.0, 2.0, 3.0, 4.0]}
    model.fit(table, np.arange(4.0)).save(tmp_path / "t.st")
    target = tmp_path / "net.onnx"
    assert cli.main(["export", str(tmp_path / "t.st"), "--onnx", str(target)]) == 2
    assert "hand on its network model_" in capsys.readouterr().err
    assert not target.exists()
    run = session(content(model.model_, target))  # the way out
    (y,) = run(None, {model.model_.inputs[0].name: model.preprocessor_.transform(table)})
    np.testing.assert_allclose(y[:, 0] * model.scale_ + model.mean_, model.predict(table), 1e-5)
