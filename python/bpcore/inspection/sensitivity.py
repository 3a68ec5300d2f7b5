"""The derivatives of outputs by inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from ..base.memory import Array

_ROWS = 4096  # of a pass: each sample comes once for each output


def sensitivity(engine: Any, given: Any) -> Array:
    """dy/dx (N, O, I), outputs and inputs flat, in inference mode."""
    engine, xs = engine.formed(given.form), given.xs
    kind = _core.PassesFloat32 if engine.dtype == "float32" else _core.PassesFloat64
    passes = kind(engine.net, _core.Counter())  # the caller's own pass is left alone
    shapes = [engine.low.shapes[i] for i in engine.outputs]
    sizes = [int(np.prod(shape)) for shape in shapes]
    count, n = sum(sizes), len(xs[0])
    each = max(1, _ROWS // count)
    found = []
    for start in range(0, n, each):
        parts = [np.repeat(x[start : start + each], count, axis=0) for x in xs]
        rows = len(parts[0])
        passes.forward(parts, False)
        unit = np.tile(np.eye(count, dtype=engine.dtype), (rows // count, 1))
        cuts = np.split(unit, np.cumsum(sizes)[:-1], axis=1)
        dys = [cut.reshape(rows, *shape) for cut, shape in zip(cuts, shapes, strict=True)]
        dxs = passes.backward(dys, None, True)[: len(engine.input_tensors)]
        flat = [dx.reshape(rows, -1) for dx in dxs]
        found.append(np.concatenate(flat, axis=1).reshape(rows // count, count, -1))
    return np.concatenate(found)
