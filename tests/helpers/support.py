"""What several test modules share: fixtures' numbers, hashes, complex steps, other processes."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np

from ..reference import STEP

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"


def load(name):
    return json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))


def graph_fixture():
    """The nodes, parameters and inputs of the graph in torch.json, as the reference takes them."""
    g = load("torch")["graph"]
    params = [np.array(g["weights"][k]) for k in ("shared", "shared_b", "mix", "mix_b", "head",
                                                  "head_b")]  # fmt: skip
    act = lambda f: {"function": f, "alpha": 0.0}  # noqa: E731
    nodes = [
        ("input", (), (), {"shape": (4,)}),
        ("input", (), (), {"shape": (4,)}),
        ("dense", (0,), (0, 1), {}),
        ("activation", (2,), (), act("tanh")),
        ("dense", (3,), (0, 1), {}),
        ("activation", (4,), (), act("tanh")),
        ("add", (5, 3), (), {}),
        ("activation", (1,), (), act("sigmoid")),
        ("multiply", (7, 6), (), {}),
        ("subtract", (3, 1), (), {}),
        ("concatenate", (8, 9), (), {"axis": 0}),
        ("dense", (10,), (2, 3), {}),
        ("maximum", (6, 1), (), {}),
        ("constant", (), (), {"value": np.array(0.5)}),
        ("multiply", (3, 13), (), {}),
        ("activation", (14,), (), act("exponential")),
        ("constant", (), (), {"value": np.array(1.0)}),
        ("add", (15, 16), (), {}),
        ("divide", (12, 17), (), {}),
        ("activation", (18,), (), act("silu")),
        ("dense", (19,), (4, 5), {}),
    ]
    return g, nodes, params, [np.array(g["a"]), np.array(g["b"])]


def weights_hash(model):
    """Changes with any bit of any weight or of the optimizer's step count."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    optimizer = getattr(model, "optimizer", None)
    digest.update(str(getattr(optimizer, "iterations", 0)).encode())
    return digest.hexdigest()


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def found(words, text):
    """Whether a regular expression is somewhere in a text of several lines."""
    return re.search(words, text, re.S) is not None


def norm(arrays):
    return float(np.sqrt(sum(np.sum(np.abs(a) ** 2) for a in arrays)))


def dot(a, b):
    return float(sum(np.sum(x * y) for x, y in zip(a, b, strict=True)))


def directional(function, arrays, directions):
    """J v by one complex step, for a function of several arrays that returns an array or number."""
    moved = [a + 1j * STEP * v for a, v in zip(arrays, directions, strict=True)]
    return np.imag(function(*moved)) / STEP


def assert_gradient(function, arrays, gradients, rng, relative=1e-12, directions=3):
    """<gradient, v> must equal the complex-step derivative of a scalar function along random v."""
    for _ in range(directions):
        v = [rng.normal(size=a.shape) for a in arrays]
        expected = float(directional(function, arrays, v))
        found = dot(gradients, v)
        scale = max(norm(gradients) * norm(v), abs(expected), 1e-30)
        error = abs(found - expected) / scale
        assert error <= relative, f"<gradient, v> = {found!r}, derivative {expected!r}: {error:.2e}"


def run_python(code, *arguments, timeout=120, check=True, **environment):
    """Runs code in a fresh interpreter from the repository's root; returns the finished process."""
    env = {**os.environ, **{k: str(v) for k, v in environment.items()}}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, env=env,
        capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def tiers():
    """Instruction-set tiers this CPU can run."""
    from bpcore import _core

    config = _core.config()
    for key in ("isas", "available", "isas_available", "available_isas"):
        if key in config:
            return list(config[key])
    raise KeyError(f"config() lists no available tiers: {config}")


def fma_tiers():
    return [t for t in tiers() if t != "baseline"]


def assert_same(a, b):
    """Two dicts of arrays with equal keys and equal elements."""
    assert list(a) == list(b)
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=str(key))


def relative_error(found, expected):
    """Largest difference over the largest magnitude expected."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if expected.size == 0:
        return 0.0
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-300))
