"""The rows of tests/cases.py for what bpcore.ops makes, and for missing connections."""

from __future__ import annotations

import numpy as np

from .helpers.case import Layer

MASK = np.array([[1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 0, 1]])


def function_rows():
    """What bpcore.ops makes; functions of positive numbers, and thresholds, are in test_ops.py."""
    rows = [
        Layer(f"function_{name}", "Function", lambda L, n=name: L.Function(n), ((2, 5),),
              lambda w, x, f=f: f(x))
        for name, f in (("sin", np.sin), ("cos", np.cos), ("square", np.square),
                        ("abs", lambda x: np.where(x.real > 0, x, -x)))
    ]  # fmt: skip
    for power in (3.0, -2.0):
        rows.append(
            Layer(f"function_power_{power:g}", "Function",
                  lambda L, p=power: L.Function("power", p), ((5,),),
                  lambda w, x, p=power: x**p)
        )  # fmt: skip
    rows += [
        Layer("reduce_sum", "ReduceSum", lambda L: L.ReduceSum(), ((2, 3, 4),),
              lambda w, x: x.sum(axis=(1, 2, 3))[:, None]),
        Layer("reduce_sum_last", "ReduceSum", lambda L: L.ReduceSum(-1), ((3, 4),),
              lambda w, x: x.sum(axis=-1)),
        Layer("reduce_sum_two", "ReduceSum", lambda L: L.ReduceSum((1, -1), keepdims=True),
              ((2, 3, 4),), lambda w, x: x.sum(axis=(1, 3), keepdims=True)),
        Layer("reduce_mean", "ReduceMean", lambda L: L.ReduceMean(1), ((5, 4),),
              lambda w, x: x.mean(axis=1)),
        Layer("slice", "Slice", lambda L: L.Slice(1, 3, 2, -2), ((4, 5),),
              lambda w, x: x[:, 3::-2]),
        Layer("slice_last", "Slice", lambda L: L.Slice(-1, 1, 2), ((2, 3),),
              lambda w, x: x[..., 1:3], 0),
        Layer("masked_dense", "MaskedDense", lambda L: L.MaskedDense(4, MASK), ((3,),),
              lambda w, x: x @ (w[0] * MASK) + w[1], 0),
        Layer("masked_dense_rank2", "MaskedDense", lambda L: L.MaskedDense(4, MASK, use_bias=False),
              ((2, 3),), lambda w, x: x @ (w[0] * MASK), 0),
    ]  # fmt: skip
    return rows
