"""What building a model costs, counted in instructions of its Python code, as time depends on the
machine."""

from __future__ import annotations

import copy
import pathlib
import pickle
import sys

import numpy as np
import pytest

import bpcore as bp

FOLDER = str(pathlib.Path(bp.__file__).parent)


def steps(function):
    """How many instructions of bpcore's Python code `function` takes."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def assert_linear(building):
    """`building(n)` counts; fifty calls more cost twice what twenty-five before them did."""
    building(2)  # what is imported and made once
    few, more, most = (building(n) for n in (25, 50, 100))
    assert few > 25 * 20
    assert most - more == pytest.approx(2 * (more - few), rel=0.02)


def one_layer(n):
    """One layer, called n times in a row."""
    layer, value = bp.layers.Dense(2), bp.Input((2,))
    start = value
    for _ in range(n):
        value = layer(value)
    return start, value


def one_input(n):
    """One layer on each of n branches of a value, and their sum."""
    layer, start = bp.layers.Dense(2), bp.Input((2,))
    return start, bp.layers.Add()([layer(start * float(i)) for i in range(n)])


def several_layers(n):
    """n layers in a row."""
    start = value = bp.Input((2,))
    for _ in range(n):
        value = bp.layers.Dense(2)(value)
    return start, value


@pytest.mark.parametrize("graph", [one_layer, one_input, several_layers])
def test_building_is_linear_in_the_calls(graph):
    def building(n):
        ends = graph(n)
        return steps(lambda: bp.Model(*ends, seed=0))

    assert_linear(building)


@pytest.mark.parametrize("graph", [one_layer, several_layers])
def test_building_again_is_linear_in_the_calls(graph):
    """Models made one after another of the same tensors, and parts of them."""

    def building(n):
        ends = graph(n)
        kept = [bp.Model(*ends, seed=0)]
        return steps(lambda: kept.append(bp.Model(*ends)))

    assert_linear(building)


def test_a_sequential_is_made_and_built_in_linear_steps():
    def building(n):
        layers = [bp.layers.Dense(2) for _ in range(n)]
        return steps(lambda: bp.Sequential(layers, seed=0).build((2,)))

    assert_linear(building)


def test_what_is_quadratic_is_found():
    """A loop in a loop of bpcore's code does not pass."""
    name = f"{FOLDER}/planted.py"
    source = "def f(n):\n    for i in range(n):\n        for j in range(n):\n            pass\n"
    found: dict = {}
    exec(compile(source, name, "exec"), found)
    with pytest.raises(AssertionError):
        assert_linear(lambda n: steps(lambda: found["f"](n)))


@pytest.mark.parametrize(
    "layer, name",
    [
        (bp.layers.Conv2D(1, 3), "conv2d"),
        (bp.layers.GlobalAveragePooling1D(), "global_average_pooling1d"),
        (bp.layers.SimpleRNN(1), "simple_rnn"),
        (bp.layers.LSTM(1), "lstm"),
        (bp.layers.BatchNormalization(), "batch_normalization"),
        (bp.layers.SpatialDropout2D(0.1), "spatial_dropout2_d"),  # of files that are there
    ],
)
def test_names_by_default_are_keras(layer, name):
    assert layer.name == name


NAMED = {
    "at once": lambda first, last: bp.Sequential([first, last], seed=0),
    "by add": lambda first, last: added(bp.Sequential([first], seed=0), last),
    "grown": lambda first, last: added(
        bp.Sequential([first, bp.layers.Dense(4)], seed=0), bp.layers.Dense(5), last
    ),
}


def added(model, *layers):
    for layer in layers:
        model.add(layer)
    return model


def saved(model, folder):
    model.save(folder / "net.safetensors")
    return bp.load_model(folder / "net.safetensors")


@pytest.mark.parametrize("way", NAMED)
def test_a_sequential_keeps_the_name_of_its_input(way, tmp_path, capsys):
    first, last = bp.Input((4,), name="x"), bp.layers.Dense(2, name="last")
    model = NAMED[way](first, last)
    x = np.ones((3, 4), np.float32)
    expected = model.predict(x)
    twins = {
        "saved": saved(model, tmp_path),
        "saved twice": saved(saved(model, tmp_path), tmp_path),
        "config": bp.Sequential.from_config(model.get_config()),
        "clone": model.clone(),
        "drawn anew": model.clone(weights=False),
        "copied": copy.deepcopy(model),
        "pickled": pickle.loads(pickle.dumps(model)),
    }
    weights = model.get_weights()
    for twin in (model, *twins.values()):
        assert [t.name for t in twin.inputs] == ["x"]
        twin.set_weights(weights)
        assert np.array_equal(twin.predict({"x": x}), expected)
        with pytest.raises(ValueError, match=r"got keys \['input'\], expected \['x'\]"):
            twin.predict({"input": x})
        twin.add(bp.layers.Dense(1))  # made anew, it is still the same input
        assert [t.name for t in twin.inputs] == ["x"]
    model.compile("sgd", "mse")
    model.fit({"x": x}, np.ones((3, 1)), verbose=0)
    model.summary()
    assert "x (InputLayer) " in capsys.readouterr().out
    path = tmp_path / "net.c"
    model.to_c(path)
    assert " x: 4 numbers, x\n" in path.read_text()
    exporter = pytest.importorskip("onnx")
    model.to_onnx(tmp_path / "net.onnx")
    assert [i.name for i in exporter.load(tmp_path / "net.onnx").graph.input] == ["x"]


def test_the_name_of_an_input_is_none_of_a_layers():
    first, same = bp.Input((4,), name="x"), bp.layers.Dense(2, name="x")
    with pytest.raises(ValueError, match="duplicate layer name 'x'"):
        bp.Sequential([first, same])
    model = bp.Sequential([bp.Input((4,), name="dense"), bp.layers.Dense(2)])
    assert [layer.name for layer in model.layers] == ["dense_1"]


def test_files_of_inputs_without_a_name_are_as_before():
    """The entry is in a file only where there is a name, and a file without it has none."""
    model = bp.Sequential([bp.Input((4,)), bp.layers.Dense(2)], seed=0)
    config = model.get_config()
    assert set(config) == {"name", "dtype", "seed", "input_shape", "layers"}
    assert [t.name for t in bp.Sequential.from_config(config).inputs] == ["input"]
