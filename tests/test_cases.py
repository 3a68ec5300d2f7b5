"""Everything that the package offers has a row in cases.py."""

from __future__ import annotations

import inspect

import bpcore as bp
from bpcore import _core

from . import cases
from .helpers import support


def _classes(module, base):
    return {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base
        and not name.startswith("_") and name in getattr(module, "__all__", vars(module))
    }  # fmt: skip


def test_layers_have_cases():
    missing = _classes(bp.layers, bp.layers.Layer) - {c.kind for c in cases.LAYERS}
    assert missing <= cases.NOT_COMPUTING | cases.TESTED_APART, (
        f"no row in tests/cases.py for {sorted(missing)}"
    )


def test_activations_have_cases():
    assert set(_core.activation_names()) <= set(cases.ACTIVATION_NAMES)
    assert set(cases.ACTIVATION_NAMES) >= {
        "linear", "sigmoid", "hard_sigmoid", "tanh", "relu", "leaky_relu", "relu6", "elu", "selu",
        "celu", "gelu", "gelu_tanh", "silu", "mish", "softplus", "softsign", "softmax",
        "log_softmax", "exponential",
    }  # fmt: skip


def test_losses_have_cases():
    offered = _classes(bp.losses, bp.losses.CoreLoss)
    together = {name for name in offered if getattr(bp.losses, name).together}
    assert together == {"HSIC"}  # no row has a loss of its own: tests/test_hsic.py
    offered -= together
    assert offered <= {c.kind for c in cases.LOSSES}, offered
    assert {c.kind for c in cases.LOSSES} <= offered
    assert {n.replace("_logits", "") for n in _core.loss_names()} <= {c.name for c in cases.LOSSES}


def test_optimizers_have_cases():
    offered = _classes(bp.optimizers, bp.optimizers.Optimizer)
    assert offered == set(cases.OPTIMIZERS) | set(cases.SOLVERS) | {"BatchSolver"}
    for name, file in cases.SOLVERS.items():
        assert name in (support.ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8")
    rows = {row["name"]: row["class"] for row in support.load("torch")["optimizers"]["rows"]}
    assert rows == {n: k for k, names in cases.OPTIMIZERS.items() for n in names}
