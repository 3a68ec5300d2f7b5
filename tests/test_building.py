"""What building a model costs, counted in instructions of its Python code, as time depends on the
machine."""

from __future__ import annotations

import pathlib
import sys

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
