"""ONNX files of models, and their answers, for comparisons with `predict`."""

from __future__ import annotations

import math

import numpy as np
import pytest

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def session(content, reference=False):
    """The content of a file after ONNX's check of it: a function of arrays by name.

    reference: whether not ONNX Runtime answers, but the package onnx; None: if the former cannot,
    as it has not all operations in float64.
    """
    onnx = pytest.importorskip("onnx")
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    if reference:
        return judge(onnx.load_from_string(content))
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return runtime.InferenceSession(content, options).run
    except runtime.capi.onnxruntime_pybind11_state.NotImplemented:
        if reference is None:
            return judge(onnx.load_from_string(content))
        raise


def judge(made):
    """The package's own evaluator, with an Erf of more digits than float32's."""
    from onnx.reference import ReferenceEvaluator, op_run

    class Erf(op_run.OpRun):
        op_domain = ""

        def _run(self, x):
            return (np.vectorize(math.erf, otypes=[x.dtype])(x),)

    return ReferenceEvaluator(made, new_ops=[Erf]).run


def content(model, path, opset=17):
    model.to_onnx(path, opset)
    return path.read_bytes()


def outputs(model, xs):
    """What `predict` answers, as a list."""
    found = model.predict(xs[0] if len(xs) == 1 else list(xs))
    return found if isinstance(found, list) else [found]


def check(model, xs, path, reference=False, opset=17, exact=None):
    """The file's answers are those of `predict`, value by value.

    exact: the answers of the same model in float64, where float32 may be nothing to rely on; four
    times what `predict` itself is off is allowed then, and what gelu loses far below zero, where
    1 + erf is a difference of numbers near 1.
    """
    names = [t.name for t in model.inputs]
    run = session(content(model, path, opset), reference)
    found, wanted = run(None, dict(zip(names, xs, strict=True))), outputs(model, xs)
    for k, (t, y, p) in enumerate(zip(model.outputs, found, wanted, strict=True)):
        assert (y.shape, y.dtype) == (p.shape, p.dtype), t.name
        allowed = TOLERANCE[model.dtype] * (np.abs(p) + np.abs(p).max(initial=0.0))
        if exact is not None:
            own = np.abs(exact[k] - p).max(initial=0.0)
            allowed = allowed + 4 * own + 2 * np.finfo(p.dtype).eps
        over = np.abs(y - p) - allowed
        assert (over <= 0).all(), f"{t.name}: off by {np.abs(y - p).max():.2g}"


def drawn(model, seed=5):
    """With weights drawn anew, running statistics too."""
    rng = np.random.default_rng(seed)
    for p in model.weights:
        positive = "variance" in p.name
        some = rng.normal(size=p.shape) / max(1, p.shape[0]) ** 0.5
        p.value = rng.uniform(0.5, 1.5, p.shape) if positive else some
    return model
