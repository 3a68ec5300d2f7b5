"""Weights to and from other libraries: PyTorch's names and layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from . import layers as L
from .base import checks
from .base.memory import Array
from .errors import NotBuiltError, ShapeError
from .graph.parameter import Parameter

__all__ = ["from_torch", "to_torch"]


def _dense(kernel: Array) -> Array:
    return np.transpose(kernel)


def _convolution(kernel: Array) -> Array:
    """(R, S, C / G, K), or (S, C / G, K), as (K, C / G, R, S)."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _depthwise(kernel: Array) -> Array:
    """(R, S, C, M) as the (C M, 1, R, S) of a convolution in C groups."""
    return _convolution(kernel.reshape(*kernel.shape[:2], 1, -1))


def _as_it_is(w: Array) -> Array:
    return w


_Part = tuple[str, Parameter, Callable[[Array], Array]]  # PyTorch's name, the weight, its layout


def _parts(layer: Any) -> list[list[_Part]]:
    """What PyTorch has for a layer: the weights of one module or, of a separable one, of two."""
    bias = getattr(layer, "bias", None)
    last: list[_Part] = [] if bias is None else [("bias", bias, _as_it_is)]
    if isinstance(layer, L.SeparableConv2D):
        pixels = ("weight", layer.pointwise_kernel, _convolution)
        return [[("weight", layer.depthwise_kernel, _depthwise)], [pixels, *last]]
    if isinstance(layer, L.BatchNormalization):
        names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
                 "moving_variance": "running_var"}  # fmt: skip
        return [[(names[p.local_name], p, _as_it_is) for p in layer.weights]]
    turns: dict[type, Callable[[Array], Array]] = {
        L.Dense: _dense, L.Conv1D: _convolution, L.Conv2D: _convolution,
        L.DepthwiseConv2D: _depthwise,
    }  # fmt: skip
    if type(layer) not in turns:
        raise ValueError(
            f"{layer.label} has no layout in PyTorch that is known here, expected Dense, "
            "convolutions or BatchNormalization; set its weights by hand"
        )
    return [[("weight", layer.kernel, turns[type(layer)]), *last]]


def _modules(layers: Iterable[Any]) -> list[tuple[str, list[_Part]]]:
    """For each module in order: a name, and its weights."""
    found = []
    for layer in layers:
        if not layer.built:
            raise NotBuiltError(f"{layer.label} has no weights yet; call build first")
        if not layer.weights:
            continue
        parts = _parts(layer)
        tags = [""] if len(parts) == 1 else [".depthwise", ".pointwise"]
        found += [(layer.name + tag, part) for tag, part in zip(tags, parts, strict=True)]
    return found


def to_torch(model: Any) -> dict[str, Array]:
    """The weights of a model under PyTorch's names and in its layout.

    Parameters
    ----------
    model : Model
        Its layers with weights are `Dense`, `Conv1D`, `Conv2D`, `DepthwiseConv2D`,
        `SeparableConv2D` and `BatchNormalization`.

    Returns
    -------
    dict of str to ndarray
        In the order of the layers: ``"<layer>.weight"``, ``"<layer>.bias"``, of batch normalization
        also ``running_mean`` and ``running_var``. A dense kernel is (O, I), that of a convolution
        (K, C / groups, R, S). A separable convolution is two, ``"<layer>.depthwise"`` and
        ``"<layer>.pointwise"``. Copies, in C order.

    Raises
    ------
    ValueError
        Another layer has weights.

    Notes
    -----
    `Flatten` goes through rows, columns, channels; PyTorch's images have their channels first. For
    a dense layer behind one, permute there: ``x.permute(0, 2, 3, 1).flatten(1)``.

    Examples
    --------
    >>> import bpcore as bp
    >>> from bpcore import interop
    >>> layer = bp.layers.Conv2D(6, (3, 2), groups=2, name="conv")
    >>> model = bp.Sequential([bp.Input((8, 8, 4)), layer])
    >>> {name: w.shape for name, w in interop.to_torch(model).items()}
    {'conv.weight': (6, 2, 3, 2), 'conv.bias': (6,)}
    """
    return {
        f"{name}.{part}": np.array(turn(weight.value), order="C")
        for name, parts in _modules(model.layers)
        for part, weight, turn in parts
    }


def from_torch(state: Any, layers: Iterable[Any]) -> None:
    """Set the weights of layers from those of PyTorch's modules.

    Parameters
    ----------
    state : mapping of str to tensor or array, or path
        A ``state_dict()``, or the file that ``torch.save`` made of one. Its modules are taken in
        their order, whatever their names are; ``num_batches_tracked`` is left out.
    layers : sequence of Layer
        Layers that are built, in the order of the modules; those without weights are passed over.
        Of what kinds, see `to_torch`.

    Raises
    ------
    ValueError, ShapeError
        The modules are not as many as the layers, or do not have their weights and shapes. Then no
        weight was changed.

    Examples
    --------
    >>> import bpcore as bp, numpy as np
    >>> from bpcore import interop
    >>> layer = bp.layers.Dense(2, use_bias=False)
    >>> layer.build((3,))
    >>> interop.from_torch({"head.weight": np.arange(6.0).reshape(2, 3)}, [layer])
    >>> layer.kernel.value.tolist()
    [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    """
    given: dict[str, dict[str, Array]] = {}
    for key, value in _loaded(state).items():
        name, _, part = key.rpartition(".")
        if part != "num_batches_tracked":
            given.setdefault(name, {})[part] = np.asarray(value)
    wanted = _modules(layers)
    if len(given) != len(wanted):
        raise ValueError(
            f"state: got {len(given)} modules with weights ({', '.join(given)}), expected "
            f"{len(wanted)} for the layers ({', '.join(name for name, _ in wanted)})"
        )
    fitted = []
    for (module, arrays), (name, parts) in zip(given.items(), wanted, strict=True):
        if set(arrays) != {part for part, _, _ in parts}:
            raise ValueError(
                f"state: module {module!r} has {sorted(arrays)}, expected "
                f"{sorted(part for part, _, _ in parts)} for {name!r}"
            )
        for part, weight, turn in parts:
            places = np.arange(weight.value.size).reshape(weight.shape)
            if (shape := turn(places).shape) != arrays[part].shape:
                raise ShapeError(
                    f"state[{module + '.' + part!r}] has shape {arrays[part].shape}, expected "
                    f"{shape} because the weight {part!r} of {name!r} is {weight.shape}"
                )
            fitted.append((weight, turn(places), arrays[part]))
    for weight, places, array in fitted:
        new = np.empty(weight.shape, array.dtype)
        new.ravel()[places.ravel()] = array.ravel()
        weight.value = new


def _loaded(state: Any) -> Mapping[str, Any]:
    if isinstance(state, Mapping):
        return state
    if not isinstance(state, (str, os.PathLike)):
        raise TypeError(f"state must be a mapping or a path, got {type(state).__name__}")
    import torch

    path = checks.path(state, "state")
    loaded: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded
