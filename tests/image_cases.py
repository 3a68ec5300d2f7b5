"""The rows of tests/cases.py for layers of sequences and images of positions."""

from __future__ import annotations

import numpy as np

from .helpers.case import Layer, activation
from .reference.images import convolution, first, placed, pooling


def _convolution_rows():
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


def _depthwise(w, x, **about):
    """A kernel (R, S, C, M) as one of C groups, (R, S, 1, C M)."""
    kernel = w[0].reshape(*w[0].shape[:2], 1, -1)
    return convolution([kernel, *w[1:]], x, groups=w[0].shape[2], **about)


def _depthwise_rows():
    rows = []
    for tag, size, shape, told in (
        ("", 3, (4, 4, 3), {"padding": "same"}),
        ("_several", (2, 3), (4, 5, 3), {"depth_multiplier": 3, "strides": 2, "padding": 1}),
        ("_pixels", 1, (2, 3, 3), {"depth_multiplier": 2, "use_bias": False}),
    ):
        about = {k: told[k] for k in ("strides", "padding") if k in told}
        rows.append(
            Layer("depthwise" + tag, "DepthwiseConv2D",
                  lambda L, s=size, t=told: L.DepthwiseConv2D(s, **t), (shape,),
                  lambda w, x, a=about: _depthwise(w, x, **a))
        )  # fmt: skip
    return rows


def _separable(w, x, **about):
    return convolution(w[1:], _depthwise(w[:1], x, **about))


def _separable_rows():
    rows = []
    for tag, filters, size, shape, told in (
        ("", 4, 3, (4, 4, 3), {"padding": "same", "activation": "tanh"}),
        ("_several", 5, (2, 3), (4, 5, 2),
         {"depth_multiplier": 2, "strides": 2, "padding": 1, "use_bias": False}),
    ):  # fmt: skip
        about = {k: told[k] for k in ("strides", "padding") if k in told}
        f = activation(told.get("activation", "linear"))
        rows.append(
            Layer("separableconv2d" + tag, "SeparableConv2D",
                  lambda L, n=filters, s=size, t=told: L.SeparableConv2D(n, s, **t), (shape,),
                  lambda w, x, f=f, a=about: f(_separable(w, x, **a)))
        )  # fmt: skip
    return rows


def _pooling_rows():
    rows = []
    for most, words in ((True, "Max"), (False, "Average")):
        for tag, rank, shape, told in (
            ("", 2, (4, 5, 3), {}),
            ("_overlapping", 2, (5, 4, 3),
             {"pool_size": (3, 2), "strides": (2, 1), "padding": "same"}),
            ("_padding", 2, (3, 3, 3), {"pool_size": 3, "strides": 2, "padding": (1, 2)}),
            ("_first", 2, (3, 4, 5), {"data_format": "channels_first"}),
            ("", 1, (5, 3), {}),
            ("_same", 1, (7, 3), {"pool_size": 3, "strides": 2, "padding": "same"}),
        ):  # fmt: skip
            size = told.get("pool_size", 2)
            about = (most, size, told.get("strides", size), told.get("padding", "valid"))
            forward = lambda w, x, a=about: pooling(x, *a)  # noqa: E731
            if "data_format" in told:
                forward = first(forward)
            kind = f"{words}Pooling{rank}D"
            rows.append(
                Layer(kind.lower() + tag, kind, lambda L, k=kind, t=told: getattr(L, k)(**t),
                      (shape,), forward, 0 if "data_format" in told else 1)
            )  # fmt: skip
        kind = f"Global{words}Pooling2D"
        for tag, told in (("", {}), ("_keepdims", {"keepdims": True}),
                          ("_first", {"data_format": "channels_first"})):  # fmt: skip
            forward = lambda w, x, m=most, keep="keepdims" in told: _whole(x, m, keep)  # noqa: E731
            if "data_format" in told:
                forward = lambda w, x, m=most: _whole(np.moveaxis(x, 1, -1), m, False)  # noqa: E731
            rows.append(
                Layer(kind.lower() + tag, kind, lambda L, k=kind, t=told: getattr(L, k)(**t),
                      ((3, 2, 4),), forward, 0 if "data_format" in told else 1)
            )  # fmt: skip
    return rows


def _whole(x, most, keep):
    y = pooling(x, most, x.shape[1:-1], 1)
    return y if keep else y[:, 0, 0]


def _placing_rows():
    rows = []
    for tag, kind, shape, argument, told in (
        ("", "ZeroPadding2D", (2, 3, 3), ((0, 2), (1, 3)), ((0, 1), (4, 7), (1, 1))),
        ("_first", "ZeroPadding2D", (2, 3, 3), (1, 2), ((1, 2), (4, 7), (1, 1))),
        ("", "ZeroPadding1D", (2, 3), (2, 0), ((2,), (4,), (1,))),
        ("", "Cropping2D", (4, 5, 3), ((1, 0), (2, 1)), ((-1, -2), (3, 2), (1, 1))),
        ("", "Cropping1D", (4, 3), (1, 2), ((-1,), (1,), (1,))),
        ("", "UpSampling2D", (2, 3, 3), (2, 3), ((0, 0), (4, 9), (2, 3))),
        ("", "UpSampling1D", (2, 3), 3, ((0,), (6,), (3,))),
    ):
        forward, more = lambda w, x, t=told: placed(x, *t), {}
        if tag:
            forward, more, shape = (
                first(forward),
                {"data_format": "channels_first"},
                (3, *shape[:2]),
            )
        rows.append(
            Layer(kind.lower() + tag, kind,
                  lambda L, k=kind, a=argument, m=more: getattr(L, k)(a, **m), (shape,), forward,
                  0 if tag else 1)
        )  # fmt: skip
    for shape in ((5,), (2, 3, 4)):
        rows.append(
            Layer(f"rescaling_{len(shape)}", "Rescaling", lambda L: L.Rescaling(0.25, -1.5),
                  (shape,), lambda w, x: 0.25 * x - 1.5)
        )  # fmt: skip
    return rows


def image_rows():
    return [
        *_convolution_rows(),
        *_depthwise_rows(),
        *_separable_rows(),
        *_pooling_rows(),
        *_placing_rows(),
    ]
