"""Bad inputs, one row each: what is called, the exception, and what its message must name.

Numbers are those of the reliability catalogue's tables A to D here (models, layers, building,
compiling), E to G in bad_data.py (fit, train_on_batch, predict and evaluate).
`e` is an Env: a model of 4 inputs and 3 classes, built, compiled and trained a little, with
x (10, 4) and labels y (10,).
"""

from __future__ import annotations

import dataclasses
import gc

import numpy as np

import bpcore as bp

L, O, S = bp.layers, bp.optimizers, bp.Sequential  # noqa: E741
NAN, INF = float("nan"), float("inf")
VALUE, TYPE = ValueError, TypeError
SHAPE, UNBUILT, BUSY = bp.errors.ShapeError, bp.errors.NotBuiltError, bp.errors.BusyError
EITHER = (ValueError, TypeError)


@dataclasses.dataclass
class Env:
    model: object
    x: np.ndarray
    y: np.ndarray
    tmp: object = None

    def fit(self, x=None, y=None, **options):
        options = {"verbose": 0, **options}
        return self.model.fit(self.x if x is None else x, self.y if y is None else y, **options)

    def changed(self, index, value):
        x = self.x.copy()
        x[index] = value
        return x


def env(tmp=None):
    rng = np.random.default_rng(0)
    model = S([L.Dense(5, "tanh", name="hidden"), L.Dense(3, name="out")], seed=0)
    model.compile(optimizer=O.Adam(0.01), loss="cross_entropy", metrics=["accuracy"])
    x, y = rng.normal(size=(10, 4)), np.arange(10) % 3
    model.fit(x, y, verbose=0)
    return Env(model, x, y, tmp)


def regression(e, loss="mse", end="linear"):
    """e's model with another loss: real targets of two columns."""
    m = S([L.Dense(5, "tanh"), L.Dense(2, end, name="out")], seed=0)
    m.build((4,))
    m.compile(optimizer="sgd", loss=loss)
    return m


def unbuilt(compiled=True):
    m = S([L.Dense(3)])
    if compiled:
        m.compile(loss="mse")
    return m


def graph(f):
    a, b = bp.Input((4,)), bp.Input((3,))
    return f(a, b)


class NoForward(L.Layer):
    pass


class Returns(L.Layer):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, training):
        return self.value(x)

    def backward(self, dy):
        return dy


class Array:
    def __array__(self, *arguments, **options):
        raise RuntimeError("no array today")


def python_layer(e, value):
    m = S([Returns(lambda x: np.array(x)), L.Dense(3)], seed=0)
    m.build((4,))
    m.layers[0].value = value
    return m.predict(e.x)


def owned_twice(e):
    layer = L.Dense(3)
    first = S([layer])
    first.build((4,))
    second = S([layer])
    second.build((4,))


def same_optimizer_twice(e, keep=True):
    optimizer, kept = O.SGD(0.1), []
    for _ in range(2):
        m = S([L.Dense(3)])
        m.build((4,))
        m.compile(optimizer=optimizer, loss="mse")
        m.train_on_batch(e.x, np.zeros((10, 3)))
        kept += [m] if keep else []
        del m
        gc.collect()


def after_relu(e):
    m = S([L.Dense(3, activation="relu")], seed=0)
    m.build((4,))
    m.compile(loss="cross_entropy")
    m.train_on_batch(e.x, e.y)


# number and id, call, exception, pattern of the message
A = [
    ("1-empty", lambda e: S([]).build((4,)), VALUE, "layer"),
    ("2-none", lambda e: bp.Model(None, None), TYPE, "None"),
    ("3-string", lambda e: S([L.Dense(3), "relu"]), TYPE, r"layers\[1\].*relu.*Activation"),
    ("4-class", lambda e: S([L.Dense]), TYPE, r"layers\[0\].*class Dense.*instance"),
    ("6-owned", owned_twice, VALUE, "model"),
    (
        "7-names",
        lambda e: S([L.Dense(1, name="a"), L.Dense(2, name="b"), L.Dense(1, name="a")]).build((4,)),
        VALUE,
        "duplicate.*'a'",
    ),
    ("8-nul", lambda e: L.Dense(3, name="a\0b"), VALUE, "name"),
    ("8-slash", lambda e: L.Dense(3, name="a/b"), VALUE, "name"),
    ("8-empty", lambda e: L.Dense(3, name=""), VALUE, "name"),
    ("8-long", lambda e: L.Dense(3, name="a" * 10**6), VALUE, "name"),
    ("8-int", lambda e: L.Dense(3, name=5), TYPE, "name"),
    ("9-negative", lambda e: S([L.Dense(3)], seed=-1), VALUE, "seed.*-1"),
    ("9-large", lambda e: S([L.Dense(3)], seed=2**64), VALUE, "seed"),
    ("9-float", lambda e: S([L.Dense(3)], seed=1.5), TYPE, "seed.*1.5"),
    ("9-str", lambda e: S([L.Dense(3)], seed="x"), TYPE, "seed.*'x'"),
    ("9-bool", lambda e: S([L.Dense(3)], seed=True), TYPE, "seed.*True"),
    ("10-half", lambda e: S([L.Dense(3)], dtype="float16"), VALUE, "float32.*float64.*float16"),
    ("10-int", lambda e: S([L.Dense(3)], dtype=int), VALUE, "float32.*float64"),
    ("10-typo", lambda e: S([L.Dense(3)], dtype="flaot32"), VALUE, "float32.*flaot32"),
    ("11-keyword", lambda e: L.Dense(3, activaton="relu"), TYPE, "activaton.*activation"),
    ("11-model", lambda e: S([L.Dense(3)], sed=3), TYPE, "sed"),
    ("12-zero", lambda e: bp.set_num_threads(0), VALUE, "0"),
    ("12-negative", lambda e: bp.set_num_threads(-1), VALUE, "-1"),
    ("12-huge", lambda e: bp.set_num_threads(10**9), VALUE, "1000000000"),
    ("12-float", lambda e: bp.set_num_threads(2.0), TYPE, "2.0"),
    (
        "graph-unused",
        lambda e: graph(lambda a, b: bp.Model([a, b], L.Dense(2)(a))),
        VALUE,
        "unused",
    ),
    (
        "graph-disconnected",
        lambda e: graph(lambda a, b: bp.Model(a, L.Dense(2)(b))),
        VALUE,
        "disconnected|not among",
    ),
    ("graph-merge", lambda e: graph(lambda a, b: L.Add()([a, b])), VALUE, r"4.*3"),
    ("graph-plus", lambda e: graph(lambda a, b: a + b), VALUE, r"4.*3"),
    ("graph-one", lambda e: graph(lambda a, b: L.Add()([a])), VALUE, "1 input"),
    (
        "graph-concatenate",
        lambda e: L.Concatenate(axis=1)([bp.Input((2, 3)), bp.Input((2, 4))]),
        VALUE,
        r"3.*4",
    ),
    ("graph-reshape", lambda e: L.Reshape((3, 3))(bp.Input((8,))), VALUE, r"9|8"),
    (
        "graph-not-symbolic",
        lambda e: bp.Model(np.ones(3), np.ones(3)),
        TYPE,
        "Input|symbolic|tensor",
    ),
]
B = [
    ("13", lambda e: L.Dense(0), VALUE, "units must be >= 1, got 0"),
    ("14", lambda e: L.Dense(-5), VALUE, "units must be >= 1, got -5"),
    ("15", lambda e: L.Dense(3.7), TYPE, "units must be an int, got float 3.7"),
    ("16", lambda e: L.Dense("10"), TYPE, "units must be an int, got str '10'"),
    ("17", lambda e: L.Dense(True), TYPE, "units must be an int, got bool True"),
    ("18-array", lambda e: L.Dense(np.array([3])), TYPE, "units must be an int"),
    ("18-none", lambda e: L.Dense(None), TYPE, "units must be an int, got None"),
    ("19", lambda e: L.Dense(2**31), VALUE, "units must be <= 2147483647"),
    ("20", lambda e: L.Dense(10**30), VALUE, "units must be <= 2147483647"),
    ("21", lambda e: L.Dense(3, activation="rellu"), VALUE, "'rellu'; did you mean 'relu'"),
    ("22", lambda e: L.Dense(3, activation=lambda x: x), TYPE, "activation"),
    ("22-number", lambda e: L.Activation(3), TYPE, "activation.*3"),
    (
        "27-unknown",
        lambda e: L.Dense(3, kernel_initializer="glorot"),
        VALUE,
        "'glorot'.*did you mean",
    ),
    (
        "27-shape",
        lambda e: L.Dense(3, kernel_initializer=np.ones((2, 2))).build((4,)),
        VALUE,
        r"\(2, 2\).*\(4, 3\)|\(4, 3\).*\(2, 2\)",
    ),
    (
        "27-nan",
        lambda e: L.Dense(2, kernel_initializer=np.full((4, 2), NAN)).build((4,)),
        VALUE,
        "(?i)nan",
    ),
    (
        "28",
        lambda e: (
            S([L.Dense(3), L.Dense(2)]).layers and S([bp.Input((4,)), L.Dense(3), bp.Input((5,))])
        ),
        EITHER,
        "[Ii]nput",
    ),
    ("use_bias", lambda e: L.Dense(3, use_bias="yes"), TYPE, "use_bias.*'yes'"),
    ("trainable", lambda e: L.Dense(3, trainable=1), TYPE, "trainable"),
    (
        "30-missing",
        lambda e: (m := S([NoForward(), L.Dense(2)]), m.build((4,)), m.predict(e.x)),
        TYPE,
        "NoForward.*forward",
    ),
    ("30-none", lambda e: python_layer(e, lambda x: None), EITHER, "Returns.*forward.*None"),
    ("30-shape", lambda e: python_layer(e, lambda x: x[:, :2]), VALUE, r"Returns.*forward"),
    ("30-nan", lambda e: python_layer(e, lambda x: x * NAN), (VALUE, RuntimeError), "Returns"),
    ("reshape", lambda e: L.Reshape("no"), EITHER, "no"),
    ("axis", lambda e: L.Concatenate(axis=1.5), TYPE, "1.5"),
]
C = [
    ("31-none", lambda e: L.Dense(3).build((None,)), VALUE, r"kernel.*depends on.*None"),
    ("31-later", lambda e: L.Dense(3).build((4, None)), VALUE, "None for axis 1.*must be known"),
    ("none-input-1", lambda e: bp.Input((5, None, 3)), VALUE, "Input shape.*None for axis 1"),
    ("31-empty", lambda e: L.Dense(3).build(()), EITHER, "."),
    ("31-float", lambda e: L.Dense(3).build(3.5), TYPE, "3.5"),
    ("31-negative", lambda e: L.Dense(3).build((3, -1)), VALUE, "-1"),
    ("31-zero", lambda e: L.Dense(3).build((0,)), VALUE, "0"),
    (
        "32",
        lambda e: L.Dense(2**31 - 1).build((2**31 - 1,)),
        (VALUE, MemoryError),
        "(?i)elements|GiB|EiB",
    ),
    ("33", lambda e: e.model.build((5,)), RuntimeError, r"already built.*4"),
    ("33-layer", lambda e: e.model.layers[0].build((7,)), RuntimeError, r"already built.*4"),
    ("34-summary", lambda e: unbuilt().summary(), UNBUILT, "build|fit"),
    ("34-weights", lambda e: unbuilt().get_weights(), UNBUILT, "build|fit"),
    ("34-count", lambda e: unbuilt().count_params(), UNBUILT, "build|fit"),
    (
        "35-count",
        lambda e: e.model.set_weights(e.model.get_weights()[:-1]),
        SHAPE,
        "expected 4.*got 3",
    ),
    (
        "35-shape",
        lambda e: e.model.set_weights([w.T for w in e.model.get_weights()]),
        SHAPE,
        r"weights\[0\].*\(4, 5\).*\(5, 4\)",
    ),
    (
        "35-object",
        lambda e: e.model.set_weights([w.astype(object) for w in e.model.get_weights()]),
        TYPE,
        "object",
    ),
    (
        "35-nan",
        lambda e: e.model.set_weights([w * NAN for w in e.model.get_weights()]),
        VALUE,
        "(?i)nan",
    ),
    ("35-none", lambda e: e.model.set_weights(None), TYPE, "None"),
    (
        "value-shape",
        lambda e: setattr(e.model.weights[0], "value", np.ones((2, 2))),
        SHAPE,
        r"\(2, 2\)",
    ),
    (
        "value-dtype",
        lambda e: setattr(e.model.weights[0], "value", np.ones((4, 5), complex)),
        TYPE,
        "complex",
    ),
]
D = [
    ("36", lambda e: e.model.compile(loss="mse_"), VALUE, "'mse_'.*did you mean 'mse'"),
    ("36-optimizer", lambda e: e.model.compile("adm", "mse"), VALUE, "'adm'.*did you mean 'adam'"),
    (
        "36-metric",
        lambda e: e.model.compile("sgd", "mse", ["acuracy"]),
        VALUE,
        "'acuracy'.*did you mean 'accuracy'",
    ),
    ("37", lambda e: e.model.compile(loss=None), TYPE, "loss.*None"),
    ("37-object", lambda e: e.model.compile(loss=object()), TYPE, "loss"),
    ("37-class", lambda e: e.model.compile(optimizer=3, loss="mse"), TYPE, "optimizer.*3"),
    ("38", lambda e: O.SGD(learning_rate=0), VALUE, "learning_rate must be.*> 0, got 0"),
    ("38-lr", lambda e: O.SGD(lr=0), VALUE, "learning_rate"),
    ("39", lambda e: O.SGD(-1), VALUE, "learning_rate.*-1"),
    ("40", lambda e: O.SGD(NAN), VALUE, "learning_rate.*nan"),
    ("41", lambda e: O.SGD(INF), VALUE, "learning_rate.*inf"),
    ("42", lambda e: O.SGD("0.1"), TYPE, "learning_rate.*'0.1'"),
    ("42-assign", lambda e: setattr(e.model.optimizer, "learning_rate", -2.0), VALUE, "-2"),
    ("43-momentum", lambda e: O.SGD(0.1, momentum=1), VALUE, r"momentum.*1"),
    ("43-negative", lambda e: O.SGD(0.1, momentum=-0.1), VALUE, "momentum.*-0.1"),
    ("43-beta1", lambda e: O.Adam(beta_1=1), VALUE, "beta_1.*1"),
    ("43-beta2", lambda e: O.Adam(beta_2=1.5), VALUE, "beta_2.*1.5"),
    ("43-eps", lambda e: O.Adam(epsilon=0), VALUE, "epsilon.*0"),
    ("43-decay", lambda e: O.AdamW(weight_decay=-1), VALUE, "weight_decay.*-1"),
    ("43-rho", lambda e: O.RMSprop(rho=1), VALUE, "rho.*1"),
    ("43-nesterov", lambda e: O.SGD(0.1, nesterov=1), TYPE, "nesterov"),
    (
        "43-clipnorm",
        lambda e: e.model.compile(loss="mse", gradient_clip_norm=0),
        VALUE,
        "gradient_clip_norm.*0",
    ),
    (
        "43-clipvalue",
        lambda e: e.model.compile(loss="mse", gradient_clip_value=-1),
        VALUE,
        "gradient_clip_value.*-1",
    ),
    (
        "43-accumulate",
        lambda e: e.model.compile(loss="mse", accumulate_steps=0),
        VALUE,
        "accumulate_steps.*0",
    ),
    ("44", same_optimizer_twice, VALUE, "optimizer is bound to model"),
    ("44-gone", lambda e: same_optimizer_twice(e, False), VALUE, "model that is gone"),
    ("45", after_relu, (ValueError, UserWarning), "relu"),
    (
        "45-one-output",
        lambda e: (
            m := S([L.Dense(1)]),
            m.build((4,)),
            m.compile(loss="cross_entropy"),
            m.fit(e.x, e.y, verbose=0),
        ),
        VALUE,
        "output",
    ),
    ("huber", lambda e: bp.losses.Huber(delta=0), VALUE, "delta.*0"),
    (
        "smoothing",
        lambda e: bp.losses.CrossEntropy(label_smoothing=1.5),
        VALUE,
        "label_smoothing.*1.5",
    ),
    (
        "loss-weights",
        lambda e: e.model.compile(loss="mse", loss_weights=[1, 2]),
        EITHER,
        "loss_weights",
    ),
    ("schedule", lambda e: bp.schedules.Cosine(0.1, 0), VALUE, "decay_steps.*0"),
    ("top-k", lambda e: bp.metrics.TopK(0), VALUE, "k.*0"),
    (
        "top-k-wide",
        lambda e: (e.model.compile(loss="cross_entropy", metrics=[bp.metrics.TopK(9)]), e.fit()),
        VALUE,
        r"k.*3.*9",
    ),
    ("47", lambda e: S([L.Dense(3)]).fit(e.x, e.y), RuntimeError, "compile"),
    ("47-train", lambda e: S([L.Dense(3)]).train_on_batch(e.x, e.y), RuntimeError, "compile"),
    ("47-evaluate", lambda e: S([L.Dense(3)]).evaluate(e.x, e.y), RuntimeError, "compile"),
]
TABLES = {"A": A, "B": B, "C": C, "D": D}
