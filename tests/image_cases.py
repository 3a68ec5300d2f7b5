"""The rows of tests/cases.py for layers of sequences and images of positions."""

from __future__ import annotations

from .helpers.case import Layer, activation
from .reference.images import convolution, first


def convolution_rows():
    rows = []
    for tag, kind, filters, size, shape, told in (
        ("", "Conv2D", 5, 3, (4, 5, 3), {"padding": "same"}),
        ("_valid", "Conv2D", 9, (2, 3), (3, 4, 3), {"use_bias": False}),
        ("_one", "Conv2D", 4, 1, (2, 3, 3), {}),
        ("_one_groups", "Conv2D", 4, 1, (2, 3, 4), {"groups": 2}),
        ("_one_strides", "Conv2D", 4, 1, (3, 3, 3), {"strides": 2}),
        ("_strides", "Conv2D", 3, (3, 2), (5, 6, 3),
         {"strides": (2, 3), "padding": (2, 1), "activation": "gelu"}),
        ("_dilation", "Conv2D", 3, 2, (5, 4, 3), {"dilation_rate": (3, 2), "activation": "relu"}),
        ("_groups", "Conv2D", 6, 2, (3, 3, 6), {"groups": 3, "padding": 1, "strides": 2}),
        ("_depthwise", "Conv2D", 4, 3, (4, 4, 2), {"groups": 2, "padding": "same"}),
        ("_far", "Conv2D", 3, 5, (2, 1, 3), {"padding": 4, "activation": "softmax"}),
        ("_large", "Conv2D", 3, 3, (13, 12, 2), {"padding": "same"}),
        ("_first", "Conv2D", 3, 2, (3, 4, 5),
         {"data_format": "channels_first", "padding": "same", "activation": "tanh"}),
        ("", "Conv1D", 5, 3, (7, 3), {"padding": "same", "strides": 2}),
        ("_causal", "Conv1D", 4, 3, (6, 3), {"padding": "causal", "dilation_rate": 2}),
        ("_groups", "Conv1D", 4, 2, (5, 4), {"padding": 1, "groups": 2, "use_bias": False}),
        ("_first", "Conv1D", 3, 2, (3, 4), {"data_format": "channels_first"}),
    ):  # fmt: skip
        about = {k: told[v] for k, v in (("strides", "strides"), ("padding", "padding"),
                 ("dilation", "dilation_rate"), ("groups", "groups")) if v in told}  # fmt: skip
        f = activation(told.get("activation", "linear"))
        forward = lambda w, x, f=f, about=about: f(convolution(w, x, **about))  # noqa: E731
        few = tag in ("_large", "_depthwise")
        multiple = 0 if few else told.get("groups", 1)
        if "data_format" in told:
            forward, multiple = first(forward), 0
        rows.append(
            Layer(kind.lower() + tag, kind,
                  lambda L, k=kind, n=filters, s=size, t=told: getattr(L, k)(n, s, **t), (shape,),
                  forward, multiple)
        )  # fmt: skip
    return rows
