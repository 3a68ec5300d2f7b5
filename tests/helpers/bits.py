"""Trainings whose results must keep their bits from release to release, as named runs.

A run returns arrays. `fixtures/bits.json` holds the hash of each as an earlier release made it
(`fixtures/make_bits.py` writes it), for instruction sets with fused multiply-add and any number of
threads.

Runs use the public interface alone, and draw their data from uniform numbers and integers, so that
no mathematical library of a platform takes part.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
from bench.networks import NETWORKS, data_and_weights

import bpcore as bp

from . import support

L, O = bp.layers, bp.optimizers  # noqa: E741
FOLDER = support.FIXTURES / "bits"
ROWS = 70
# The steps of an epoch, so few that all networks take a second.
STEPS = {10: 60, 32: 20, 64: 20, 128: 4, 256: 2}
ACTIVATIONS = (
    "linear", "sigmoid", "hard_sigmoid", "tanh", "relu", "leaky_relu", "relu6", "elu", "selu",
    "celu", "gelu", "gelu_tanh", "silu", "mish", "softplus", "softsign", "softmax", "log_softmax",
    "exponential",
)  # fmt: skip


def digest(arrays):
    """Changes with any bit, shape or type of any array."""
    h = hashlib.sha256()
    for a in map(np.ascontiguousarray, arrays):
        h.update(f"{a.dtype.str}{a.shape}".encode())
        h.update(a.tobytes())
    return h.hexdigest()


def numbers(name):
    """Random numbers of a run's own."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def uniform(rng, shape, dtype="float32"):
    """Uniform on [-1, 1)."""
    return (rng.random(shape) * 2 - 1).astype(dtype)


def fitted(model, x, y, **options):
    """All that two epochs leave: weights, optimizer, losses, predictions."""
    history = model.fit(x, y, **{"batch_size": 16, "epochs": 2, "verbose": 0, **options})
    predictions = model.predict(x)
    if isinstance(predictions, np.ndarray):
        predictions = [predictions]
    losses = [np.array(history.history[key]) for key in sorted(history.history)]
    return [*model.get_weights(), *losses, *predictions]


# ---- the networks of the benchmark ---------------------------------------------------------------


def network(which, steps=None):
    """Two epochs of one of them from its told weights."""
    x, labels, kernels, biases = data_and_weights(which, steps or STEPS[which.batch])
    layers = [L.Dense(units, which.activation) for units in which.sizes[1:-1]]
    model = bp.Sequential([*layers, L.Dense(which.sizes[-1])], seed=0)
    model.build((which.sizes[0],))
    model.set_weights([a for pair in zip(kernels, biases, strict=True) for a in pair])
    model.compile(getattr(O, which.optimizer)(which.learning_rate), "cross_entropy")
    history = model.fit(x, labels, batch_size=which.batch, epochs=2, verbose=0)
    return [*model.get_weights(), np.array(history.history["loss"])]


# ---- every layer ---------------------------------------------------------------------------------


def every_layer(dtype):
    """A graph of two inputs and two outputs with every layer and every activation."""
    a, b = bp.Input((4, 6), name="a"), bp.Input((5,), name="b")
    t = L.Normalization(mean=0.25, variance=2.0)(a)
    t = L.SpatialDropout1D(0.2)(L.Dense(8, "relu")(t))
    t = L.Reshape((2, 2, 8))(L.BatchNormalization(momentum=0.8)(t))
    t = L.GroupNormalization(4)(L.SpatialDropout2D(0.1)(t))
    t = L.SpatialDropout3D(0.1)(L.Reshape((2, 2, 2, 4))(t))
    t = L.Flatten()(L.LayerNormalization()(t))
    f = L.PReLU()(L.Dense(12, kernel_regularizer="l2", kernel_constraint="max_norm")(t))
    g = L.Dropout(0.1)(L.Dense(12, "tanh", bias_regularizer="l1")(b))
    g = L.RMSNormalization()(L.Swish()(L.Scale()(g)))
    merged = [
        L.Add()([f, g]),
        L.Subtract()([f, g]),
        L.Multiply()([f, g]),
        L.Maximum()([f, g]),
        L.Average()([f, g, f]),
        f / (2.0 + g * g),
        1.5 - f,
    ]
    h = L.Concatenate()(merged)
    code = L.Dense(9, "selu", kernel_initializer="lecun_normal")
    h = L.TiedDense(code, "softplus")(L.AlphaDropout(0.1)(code(h)))
    h = L.GaussianNoise(0.05)(L.GaussianDropout(0.1)(h))
    functions = [L.Dense(3, name)(b) for name in ACTIVATIONS]
    functions += [L.Activation(name)(g) for name in ACTIVATIONS]
    last = L.Concatenate()([h, *functions])
    outputs = [L.Dense(5, name="classes")(last), L.Dense(2, name="values")(last)]
    model = bp.Model([a, b], outputs, dtype=dtype, seed=3)
    model.compile("adam", ["cross_entropy", "mse"], loss_weights=[1.0, 0.5])
    return model


def every_layer_run(dtype):
    rng = numbers("every layer")
    x = [uniform(rng, (ROWS, 4, 6)), uniform(rng, (ROWS, 5))]
    y = [rng.integers(0, 5, ROWS), uniform(rng, (ROWS, 2))]
    return fitted(every_layer(dtype), x, y)


# ---- optimizers, losses, initializers, options ---------------------------------------------------

OPTIMIZERS = {
    "sgd": lambda: O.SGD(0.05),
    "momentum": lambda: O.SGD(0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda: O.SGD(bp.schedules.InverseTime(0.05, 3, 0.5), momentum=0.9, nesterov=True),
    "adagrad": lambda: O.Adagrad(0.05),
    "rmsprop": lambda: O.RMSprop(bp.schedules.Piecewise([4], [0.01, 0.005])),
    "adadelta": lambda: O.Adadelta(),
    "adam": lambda: O.Adam(0.01, weight_decay=0.01),
    "amsgrad": lambda: O.Adam(0.01, amsgrad=True),
    "adamw": lambda: O.AdamW(0.01),
    "adamax": lambda: O.Adamax(0.01),
    "nadam": lambda: O.Nadam(0.01),
    "lion": lambda: O.Lion(0.001),
    "rprop": lambda: O.Rprop(0.01),
}


def classifier(optimizer="adam", dtype="float32", **options):
    layers = [L.Dense(33, "tanh"), L.Dropout(0.2), L.Dense(7)]
    model = bp.Sequential(layers, seed=5, dtype=dtype)
    model.compile(optimizer, "cross_entropy", **options)
    return model


def classes(name, width=19):
    rng = numbers(name)
    return uniform(rng, (ROWS, width)), rng.integers(0, 7, ROWS)


def optimizer_run(name, dtype):
    batch = {"batch_size": None} if name == "rprop" else {}
    return fitted(classifier(OPTIMIZERS[name](), dtype), *classes(name), **batch)


LOSSES = {
    "mean_squared_error": ({}, "linear"),
    "half_squared_error": ({}, "sigmoid"),
    "mean_absolute_error": ({}, "linear"),
    "huber": ({"delta": 0.4}, "linear"),
    "log_cosh": ({}, "linear"),
    "binary_cross_entropy": ({"label_smoothing": 0.1}, "sigmoid"),
    "cross_entropy": ({"label_smoothing": 0.1}, "softmax"),
    "kl_divergence": ({}, "softmax"),
    "poisson": ({}, "exponential"),
    "hinge": ({}, "tanh"),
    "quantile": ({"quantiles": [0.1, 0.5, 0.9]}, "linear"),
    "gaussian_nll": ({}, "linear"),
}
PARTS = {"quantile": 3, "gaussian_nll": 2}


def targets(loss, rng, shape, dtype="float64"):
    """Targets that fit a loss, of an output of this shape, the batch included."""
    if loss == "cross_entropy":
        return rng.integers(0, shape[-1], shape[:-1])
    if loss == "kl_divergence":  # eighths: a distribution in any arithmetic
        t = np.zeros(shape, dtype)
        t[..., 0], t[..., -1] = 0.25, 0.75
        return t
    if loss in ("binary_cross_entropy", "hinge"):
        return rng.integers(0, 2, shape).astype(dtype)
    if loss == "poisson":
        return rng.integers(0, 6, shape).astype(dtype)
    return uniform(rng, (*shape[:-1], shape[-1] // PARTS.get(loss, 1)), dtype)


def loss_run(name, dtype):
    arguments, ending = LOSSES[name]
    kind = {type(bp.losses.get(k)).__name__: k for k in bp.losses.names()}
    cls = next(getattr(bp.losses, c) for c, k in kind.items() if bp.losses.get(name).name == k)
    layers = [L.Dense(16, "relu"), L.Dense(6, ending)]
    model = bp.Sequential(layers, seed=2, dtype=dtype)
    model.compile("adam", cls(**arguments))
    rng = numbers(name)
    x = uniform(rng, (ROWS, 8))
    weight = rng.integers(1, 4, ROWS) / 2
    return fitted(model, x, targets(name, rng, (ROWS, 6)), sample_weight=weight)


INITIALIZERS = (
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal",
    "orthogonal", "identity", "uniform", "normal", "truncated_normal", "ones",
)  # fmt: skip


def initializers_run():
    """First weights alone, of small and of large arrays."""
    layers = [L.Dense(40, kernel_initializer=name, bias_initializer="normal")
              for name in INITIALIZERS]  # fmt: skip
    large = L.Dense(700, kernel_initializer="he_normal")
    model = bp.Sequential([*layers, large], seed=11)
    model.build((40,))
    return model.get_weights()


def options_run():
    """Clipping, accumulation, groups, weights, validation and the end of a batch."""
    x, y = classes("options")
    model = classifier(
        gradient_clip_norm=0.5,
        accumulate_steps=2,
        weighted_metrics=["accuracy", "f1"],  # what the release of the numbers calls metrics
        parameter_groups={"*/bias": {"weight_decay": 0.1, "learning_rate_factor": 0.5}},
    )
    weights = {k: 1 + k / 8 for k in range(7)}
    return fitted(model, x, y, class_weight=weights, validation_split=0.25, batch_size=9)


def gradients_run():
    """Gradients of weights and inputs, and trace, without an update."""
    x, y = classes("gradients")
    found = classifier(dtype="float64").gradients(x, y, wrt_inputs=True)
    return [np.array(found.loss), found.inputs, *found.parameters.values()]


def runs():
    """Name to function, all."""
    found = {f"network {n.name}": lambda n=n: network(n) for n in NETWORKS}
    for dtype in ("float32", "float64"):
        found[f"every layer {dtype}"] = lambda d=dtype: every_layer_run(d)
        for name in OPTIMIZERS:
            found[f"{name} {dtype}"] = lambda n=name, d=dtype: optimizer_run(n, d)
        for name in LOSSES:
            found[f"{name} {dtype}"] = lambda n=name, d=dtype: loss_run(n, d)
    found |= {"initializers": initializers_run, "options": options_run, "gradients": gradients_run}
    for path in sorted(FOLDER.glob("model-*.safetensors")):
        found[path.name] = lambda path=path: file_run(path)
    for name in CHECKPOINTS:
        found[f"checkpoint-{name}"] = lambda name=name: resumed(name)
        if name != "custom":  # no file describes what is written in Python
            found[f"checkpoint-{name} by hand"] = lambda name=name: loaded(name)
    return found


# ---- files ---------------------------------------------------------------------------------------


def content(path):
    """(architecture, arrays) of a file, read apart from the package."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    document = json.loads(header.pop("__metadata__")["bpcore"])
    arrays = {}
    for name, entry in sorted(header.items()):
        begin, end = (8 + length + at for at in entry["data_offsets"])
        dtype = {"F32": "<f4", "F64": "<f8"}[entry["dtype"]]
        arrays[name] = np.frombuffer(data[begin:end], dtype).reshape(entry["shape"])
    return document["model"], arrays


def loss_names(description):
    """The loss of each output, as the architecture of a file says it."""
    given = description["config"]["compile"]["loss"]
    given = given if isinstance(given, list) else [given]
    return [bp.losses.get(item).name for item in given]


def file_run(path):
    """A model of a file trained on."""
    model = bp.load_model(path)
    names = loss_names(content(path)[0])
    rng = numbers(path.name)
    xs = [uniform(rng, (ROWS, *t.shape)) for t in model.inputs]
    names *= 1 if len(names) == len(model.outputs) else len(model.outputs)
    ys = [targets(n, rng, (ROWS, *t.shape)) for n, t in zip(names, model.outputs, strict=True)]
    single = len(xs) == 1, len(ys) == 1
    return fitted(model, xs[0] if single[0] else xs, ys[0] if single[1] else ys)


# ---- checkpoints ---------------------------------------------------------------------------------


class Twice(L.Layer):
    """A layer of a user's own."""

    def forward(self, x, training):
        return 2 * x

    def backward(self, dy):
        return 2 * dy


def normalized():
    layers = [L.Dense(12), L.BatchNormalization(momentum=0.8), L.PReLU(), L.GaussianNoise(0.1)]
    model = bp.Sequential([*layers, L.Dropout(0.3), L.Dense(7)], seed=1)
    model.compile(O.SGD(bp.schedules.InverseTime(0.1, 5, 0.5), momentum=0.9), "cross_entropy",
                  gradient_clip_norm=0.7, accumulate_steps=2)  # fmt: skip
    return model


def custom():
    model = bp.Sequential([L.Dense(6, "tanh"), Twice(), L.Dense(7)], seed=4)
    model.compile(O.Adam(lambda step: 0.01 / (1 + step)), "cross_entropy")
    return model


def unseeded():
    model = bp.Sequential([L.Dense(6, "tanh"), L.Dense(7)])
    model.compile("adam", "cross_entropy")
    return model


def two_outputs():
    a = bp.Input((19,), name="a")
    h = L.Dropout(0.2)(L.Dense(9, "gelu")(a))
    model = bp.Model(a, [L.Dense(7, name="c")(h), L.Dense(2, name="v")(h)], seed=6)
    model.compile(O.Adam(0.01, amsgrad=True), ["cross_entropy", "mse"],
                  metrics=[["accuracy"], ["mae", "r2"]], loss_weights=[1.0, 0.25])  # fmt: skip
    return model


def callbacks():
    return [
        bp.callbacks.EarlyStopping("val_loss", patience=4),
        bp.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1),
        bp.callbacks.EMA(decay=0.9),
    ]


# Name: the model, the arguments of fit, and the number of the save whose file is kept.
CHECKPOINTS = {
    "adam": (
        lambda: classifier(metrics=["accuracy", "f1", "precision"]),
        lambda: {"checkpoint_every": 3, "validation_split": 0.25},
        3,
    ),
    "float64": (
        lambda: classifier(O.Rprop(0.01), "float64"),
        lambda: {"batch_size": None, "epochs": 5},
        3,
    ),
    "normalized": (
        normalized,
        lambda: {"checkpoint_every": 2, "class_weight": {k: 1 + k / 8 for k in range(7)}},
        4,
    ),
    "callbacks": (
        lambda: classifier(O.Nadam(0.05)),
        lambda: {"callbacks": callbacks(), "validation_split": 0.25, "epochs": 8},
        4,
    ),
    "outputs": (two_outputs, lambda: {"checkpoint_every": 4}, 3),
    "custom": (custom, lambda: {"checkpoint_every": 3}, 2),
    "unseeded": (unseeded, lambda: {"checkpoint_every": 2}, 4),
    "finished": (lambda: classifier("lion"), lambda: {}, 3),
}  # fmt: skip


def data_of(name):
    """Rows and labels, and values for a second output."""
    x, y = classes(name)
    return x, [y, x[:, :2]] if name == "outputs" else y


def checkpointed(name, path):
    """The run of this name with its checkpoint at `path`, from where that stands."""
    make, options, _ = CHECKPOINTS[name]
    x, y = data_of(name)
    return fitted(make(), x, y, **{"epochs": 3, "checkpoint": path, **options()})


def resumed(name):
    """The rest of a run that an earlier release began."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        shutil.copy(FOLDER / f"checkpoint-{name}.safetensors", path)
        return checkpointed(name, path)


def loaded(name):
    """Batches by hand after `load_checkpoint`."""
    model = bp.load_checkpoint(FOLDER / f"checkpoint-{name}.safetensors")
    x, y = data_of(name)
    rows = [slice(i, None, 7) for i in range(7)]
    ys = [y[r] if isinstance(y, np.ndarray) else [t[r] for t in y] for r in rows]
    found = [model.train_on_batch(x[r], t)["loss"] for r, t in zip(rows, ys, strict=True)]
    return [*model.get_weights(), np.array(found), np.array(model.optimizer.iterations)]


def hashes(threads=1):
    with bp.threads(threads, exact=True):
        return {name: digest(run()) for name, run in runs().items()}
