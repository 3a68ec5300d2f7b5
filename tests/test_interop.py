"""Weights in PyTorch's layout: by the definition of a convolution there, and there and back."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore import interop
from bpcore import layers as L
from bpcore.errors import NotBuiltError, ShapeError


def net(seed=0):
    return bp.Sequential(
        [
            bp.Input((7, 6, 4)),
            L.Conv2D(6, (3, 2), groups=2, use_bias=False, name="conv"),
            L.BatchNormalization(name="norm"),
            L.DepthwiseConv2D(2, depth_multiplier=2, bias_initializer="ones", name="depth"),
            L.SeparableConv2D(5, 2, bias_initializer="ones", name="sep"),
            L.Flatten(),
            L.Dense(3, name="head"),
        ],
        seed=seed,
        dtype="float64",
    )


def torch_convolution(x, w, groups=1):
    """PyTorch's formula, channels first: y[k] = sum over its group's c of x[c] * w[k, c]."""
    k, inner, rows, columns = w.shape
    y = np.zeros((k, x.shape[1] - rows + 1, x.shape[2] - columns + 1))
    for f, c, r, s in np.ndindex(*w.shape):
        seen = x[f // (k // groups) * inner + c]
        y[f] += w[f, c, r, s] * seen[r : r + y.shape[1], s : s + y.shape[2]]
    return y


def test_the_layout_is_that_of_pytorchs_formulas(rng):
    model = net()
    state = interop.to_torch(model)
    assert {name: w.shape for name, w in state.items()} == {
        "conv.weight": (6, 2, 3, 2), "norm.weight": (6,), "norm.bias": (6,),
        "norm.running_mean": (6,), "norm.running_var": (6,), "depth.weight": (12, 1, 2, 2),
        "depth.bias": (12,), "sep.depthwise.weight": (12, 1, 2, 2),
        "sep.pointwise.weight": (5, 12, 1, 1), "sep.pointwise.bias": (5,), "head.weight": (3, 45),
        "head.bias": (3,),
    }  # fmt: skip
    x = rng.normal(size=(7, 6, 4))
    h = torch_convolution(x.transpose(2, 0, 1), state["conv.weight"], groups=2)
    h = h / np.sqrt(1 + model.layers[1].epsilon)
    h = torch_convolution(h, state["depth.weight"], groups=6) + 1
    h = torch_convolution(h, state["sep.depthwise.weight"], groups=12)
    h = torch_convolution(h, state["sep.pointwise.weight"]) + 1
    y = state["head.weight"] @ h.transpose(1, 2, 0).ravel()
    np.testing.assert_allclose(model.predict(x[None])[0], y, rtol=1e-12)


def test_there_and_back():
    a, b = net(1), net(2)
    state = interop.to_torch(a)
    state["norm.num_batches_tracked"] = np.array(3)
    interop.from_torch(state, b.layers)
    for v, w in zip(a.get_weights(), b.get_weights(), strict=True):
        assert np.array_equal(v, w)


def test_a_signal_has_one_axis():
    layer = L.Conv1D(2, 3, name="c")
    layer.build((9, 4))
    interop.from_torch({"x.weight": np.arange(24.0).reshape(2, 4, 3), "x.bias": [1, 2]}, [layer])
    assert layer.kernel.value[2, 1].tolist() == [5, 17]
    assert layer.bias.value.tolist() == [1, 2]


@pytest.mark.parametrize("change, error, words", [
    (lambda s: s.pop("conv.weight"), ValueError, "got 5 modules with weights"),
    (lambda s: s.pop("head.bias"), ValueError, "module 'head' has ['weight'], expected ['bias', "),
    (lambda s: s.update({"head.weight": np.ones((45, 3))}), ShapeError,
     "state['head.weight'] has shape (45, 3), expected (3, 45)"),
])  # fmt: skip
def test_what_does_not_fit_changes_nothing(change, error, words):
    model = net()
    before, state = model.get_weights(), {k: w + 1 for k, w in interop.to_torch(model).items()}
    change(state)
    with pytest.raises(error) as found:
        interop.from_torch(state, model.layers)
    assert words in str(found.value), found.value
    for v, w in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(v, w)


def test_other_layers_and_things_are_refused():
    with pytest.raises(ValueError, match="has no layout in PyTorch that is known here"):
        interop.to_torch(bp.Sequential([bp.Input((3, 2)), L.GRU(2)]))
    with pytest.raises(NotBuiltError, match="call build first"):
        interop.from_torch({}, [L.Dense(2)])
    with pytest.raises(TypeError, match="must be a mapping or a path"):
        interop.from_torch([1], [])
