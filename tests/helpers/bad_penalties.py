"""Bad inputs of regularizers, constraints and parameter groups; see bad_inputs.py for the rows."""

from __future__ import annotations

import numpy as np

import bpcore as bp

from .bad_inputs import INF, NAN, TYPE, VALUE, L

C, R = bp.constraints, bp.regularizers


def build(**arguments):
    L.Dense(3, **arguments).build((4,))


class OnlyCall(R.Regularizer):
    def __call__(self, w):
        return 0.0


class NoCall(C.Constraint):
    pass


def compiled(e, groups, optimizer="adam"):
    e.model.compile(optimizer, "mse", parameter_groups=groups)


REGULARIZERS = [
    ("26-name", lambda e: L.Dense(3, kernel_regularizer="l3"), VALUE, "'l3'.*did you mean 'l"),
    ("26-number", lambda e: L.Dense(3, kernel_regularizer=0.01), TYPE, r"0.01.*L2\(0.01\)"),
    ("26-object", lambda e: L.Dense(3, bias_regularizer=object()), TYPE, "value.*gradient"),
    ("26-function", lambda e: L.Dense(3, bias_regularizer=lambda w: 0), TYPE, "value.*gradient"),
    ("26-class", lambda e: L.Dense(3, bias_regularizer=dict), TYPE, "regularizer"),
    ("26-undefined", lambda e: L.Dense(3, bias_regularizer=OnlyCall), TYPE, "value.*gradient"),
    ("26-negative", lambda e: R.L2(-1), VALUE, "l2 must be.*>= 0, got -1"),
    ("26-nan", lambda e: R.L1(NAN), VALUE, "l1.*nan"),
    ("26-inf", lambda e: R.L1L2(0.1, INF), VALUE, "l2.*inf"),
    ("26-str", lambda e: R.L2("0.1"), TYPE, "l2.*'0.1'"),
    ("26-keyword", lambda e: R.L2(l=1), TYPE, "L2.*'l'.*l2"),
    ("26-mode", lambda e: R.Orthogonal(mode="x"), VALUE, "rows.*columns.*'x'"),
    ("26-vector", lambda e: build(bias_regularizer="orthogonal"), VALUE, r"bias.*matrix.*\(3,\)"),
    ("26-config", lambda e: R.get({"class_name": "L9", "config": {}}), VALUE, "'L9'.*known"),
    (
        "26-assigned",
        lambda e: setattr(e.model.weights[1], "regularizer", "orthogonal"),
        VALUE,
        r"hidden/bias.*\(5,\)",
    ),
]
CONSTRAINTS = [
    ("name", lambda e: L.Dense(3, kernel_constraint="maxnorm"), VALUE, "did you mean 'max_norm'"),
    ("number", lambda e: L.Dense(3, kernel_constraint=3), TYPE, r"MaxNorm\(3\)"),
    ("class", lambda e: L.Dense(3, kernel_constraint=dict), TYPE, "constraint"),
    ("undefined", lambda e: L.Dense(3, bias_constraint=NoCall()), TYPE, "function of w.*NoCall"),
    ("negative", lambda e: C.MaxNorm(-1), VALUE, "max_value.*-1"),
    ("nan", lambda e: C.MaxNorm(NAN), VALUE, "max_value.*nan"),
    ("order", lambda e: C.MinMaxNorm(2.0, 1.0), VALUE, "min_value=2.0.*max_value=1.0"),
    ("rate", lambda e: C.MinMaxNorm(rate=1.5), VALUE, "rate.*1.5"),
    ("axis-type", lambda e: C.MaxNorm(axis=1.5), TYPE, "axis.*1.5"),
    ("axis-empty", lambda e: C.MaxNorm(axis=[]), VALUE, "axis.*empty"),
    ("axis", lambda e: build(kernel_constraint=C.MaxNorm(axis=2)), VALUE, r"axis=2.*\(4, 3\)"),
    ("twice", lambda e: build(kernel_constraint=C.UnitNorm([0, -2])), VALUE, r"distinct.*\(4, 3\)"),
    (
        "apart",
        lambda e: C.MaxNorm(axis=[0, 2])(np.ones((2, 3, 4))),
        VALUE,
        r"axis=\[0, 2\].*follow one another",
    ),
    ("scalar", lambda e: C.MaxNorm()(np.float64(3)), VALUE, r"axis=0.*\(\)"),
]
GROUPS = [
    ("type", lambda e: compiled(e, ["dense/*"]), TYPE, "parameter_groups must be a dict"),
    ("pattern", lambda e: compiled(e, {3: {}}), TYPE, "pattern.*3"),
    ("options", lambda e: compiled(e, {"out/*": 0.1}), TYPE, r"out/\*.*learning_rate_factor"),
    (
        "unknown",
        lambda e: compiled(e, {"out/*": {"learning_rate": 1}}),
        VALUE,
        "'learning_rate'; did you mean 'learning_rate_factor'",
    ),
    ("negative", lambda e: compiled(e, {"out/*": {"weight_decay": -1}}), VALUE, "decay.*-1"),
    ("str", lambda e: compiled(e, {"out/*": {"weight_decay": "0"}}), TYPE, "decay.*'0'"),
    ("nothing", lambda e: compiled(e, {"oot/*": {}}), VALUE, r"'oot/\*' fits no.*hidden/kernel"),
    ("rprop", lambda e: compiled(e, {"out/*": {}}, "rprop"), VALUE, "Rprop"),
]
TABLES = {"regularizers": REGULARIZERS, "constraints": CONSTRAINTS, "groups": GROUPS}
