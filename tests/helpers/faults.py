"""Healthy nets, and the same with faults planted in graded strength, for the tests of diagnose."""

from __future__ import annotations

import functools

import numpy as np

import bpcore as bp

L, opt = bp.layers, bp.optimizers


@functools.cache
def digits():
    return bp.datasets.load_digits(split=True)[0]


@functools.cache
def regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 8))
    return x, np.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3] + 0.1 * rng.normal(size=(600, 1))


def net(widths, activation="relu", init="he_normal", outputs=10, end=None, seed=0, **options):
    layers = [L.Dense(w, activation, kernel_initializer=init) for w in widths]
    return bp.Sequential([*layers, L.Dense(outputs, end)], seed=seed, **options)


def compiled(model, optimizer=None, loss="cross_entropy"):
    model.compile(opt.Adam(1e-3) if optimizer is None else optimizer, loss=loss)
    return model


def residual():
    a = bp.Input((64,))
    h = L.Dense(64, "relu")(a)
    for _ in range(5):
        h = h + L.Dense(64, "relu", kernel_initializer="he_normal")(h)
    return bp.Model(a, L.Dense(10)(h), seed=0)


def scaled(model, shape, factor):
    """All kernels times `factor`."""
    model.build(shape)
    for layer in model.layers:
        layer.kernel.value *= factor
    return model


# ---- planted faults: each returns (model, x, y) -------------------------------------------------
def deep_sigmoid(width=30, depth=10, seed=0):
    normal = bp.initializers.RandomNormal(stddev=1.0)
    return (compiled(net([width] * depth, "sigmoid", normal, seed=seed), opt.SGD(0.1)), *digits())


def recurrence(steps=20, gain=1.5):
    """The same linear map over and over, as in a recurrent net unrolled in time."""
    a = bp.Input((8,))
    h = L.Dense(32)(a)
    again = L.Dense(32, kernel_initializer="orthogonal", name="recurrence")
    for _ in range(steps):
        h = again(h)
    model = bp.Model(a, L.Dense(1)(h), seed=0)
    again.kernel.value *= gain
    return (compiled(model, opt.SGD(0.01), "mse"), *regression())


def large_weights(factor=50, activation="tanh"):
    return (compiled(scaled(net([64, 64], activation, "glorot_uniform"), (64,), factor)), *digits())


def dead_relu(fraction=1.0, bias=-10.0):
    model = net([64, 64])
    model.build((64,))
    model.layers[1].bias.value[: int(64 * fraction)] = bias
    return (compiled(model), *digits())


def high_rate(factor=100, activation="relu", optimizer=opt.Adam, rate=1e-3, depth=3):
    model = net([64] * depth, activation)
    return (compiled(model, optimizer(factor * rate)), *digits())


def unscaled_input(factor=1000.0, activation="relu"):
    x, y = digits()
    return compiled(net([64, 64], activation)), x * factor, y


def bad_row(row=17, value=np.nan):
    x, y = digits()
    x = np.array(x, dtype=np.float64)
    x[row, 5] = value
    return compiled(net([64])), x, y


def imbalance(rare=0.01):
    """One digit against all others, of which this share is kept."""
    x, y = digits()
    ones = np.flatnonzero(y == 3)
    keep = ones[: max(1, int(rare * (len(y) - len(ones))))]
    rows = np.r_[np.flatnonzero(y != 3), keep]
    model = compiled(net([64], outputs=1), loss="binary_cross_entropy")
    return model, x[rows], (y[rows] == 3).astype(int)


def low_rate(rate=1e-8, optimizer=opt.Adam):
    return (compiled(net([64]), optimizer(rate)), *digits())


def unscaled_target(factor=1000.0):
    x, y = regression()
    return compiled(net([64], outputs=1), loss="mse"), x, factor * y


def constant_weights(value=0.0, init="zeros"):
    """All units of the hidden layers alike."""
    init = bp.initializers.Constant(value) if value else init
    return (compiled(net([32, 16], "tanh", init)), *digits())


def out_of_reach(end="sigmoid", shift=2.0):
    x, y = regression()
    return compiled(net([32], "tanh", "glorot_uniform", 1, end), loss="mse"), x, y + shift


def xor(rows=4, hidden=(), end=None, loss="mse"):
    """A linear network on targets that are no straight line."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * (rows // 4), float) - 0.5
    if rows > 4:
        x = x + np.random.default_rng(0).normal(0, 0.1, x.shape)
    y = (x[:, :1] * x[:, 1:] < 0) * 1.0
    model = compiled(net(hidden, "linear", "glorot_uniform", 1, end), opt.SGD(0.1), loss)
    return model, x, y


def permuted_labels(seed=0, epochs=0, task="digits"):
    x, y = digits() if task == "digits" else regression()
    y = np.random.default_rng(seed).permutation(y)
    outputs, loss = (10, "cross_entropy") if task == "digits" else (1, "mse")
    model = compiled(net([64], outputs=outputs, seed=seed), loss=loss)
    if epochs:
        model.fit(x, y, epochs=epochs, verbose=0)
    return model, x, y


def pure_noise(width=8, outputs=1):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(800, width)), rng.normal(size=(800, outputs))
    return compiled(net([32, 32], outputs=outputs), loss="mse"), x, y


def heavy_dropout(rate=0.95):
    layers = [L.Dense(64, "relu"), L.Dropout(rate), L.Dense(10)]
    return (compiled(bp.Sequential(layers, seed=0)), *digits())


def plateau(penalty=0.3):
    """Weight decay that drives every kernel to 0: a constant is all that is left."""
    decay = bp.regularizers.L2(penalty)
    layers = [L.Dense(n, f, kernel_regularizer=decay) for n, f in ((32, "tanh"), (10, None))]
    model = compiled(bp.Sequential(layers, seed=0), opt.Adam(1e-2))
    x, y = digits()
    model.fit(x, y, epochs=30, verbose=0)
    return model, x, y


FAULTS = {  # name: (plant, the kind that must come first, gradings)
    "deep sigmoid from N(0, 1)": (deep_sigmoid, "saturation",
        [{"width": 40}, {"width": 30, "seed": 1}, {"width": 50}, {"width": 100}]),
    "recurrence that explodes": (recurrence, "exploding_gradients",
        [{"gain": 1.3, "steps": 30}, {"gain": 3.0}, {"gain": 3.0, "steps": 100}, {"gain": 2.0}]),
    "weights times 50": (large_weights, "paralysis",
        [{"factor": 20}, {"factor": 200}, {"activation": "relu"}, {"activation": "sigmoid"}]),
    "dead relu": (dead_relu, "dead_units",
        [{"fraction": 0.7}, {"fraction": 0.9}, {"bias": -100.0}]),
    "learning rate x100": (high_rate, "learning_rate_too_high",
        [{"factor": 1000}, {"activation": "tanh"}, {"optimizer": opt.SGD, "rate": 0.1},
         {"optimizer": opt.RMSprop}, {"depth": 5}]),
    "unscaled input": (unscaled_input, "unscaled_input",
        [{"factor": 100.0}, {"factor": 255.0}, {"factor": 1e-3}, {"activation": "tanh"}]),
    "NaN in row 17": (bad_row, "non_finite", [{"value": np.inf}, {"value": 1e300}]),
    "class imbalance": (imbalance, "class_imbalance", [{"rare": 0.03}, {"rare": 0.003}]),
    "learning rate far too low": (low_rate, "learning_rate_too_low",
        [{"rate": 1e-6}, {"rate": 1e-10}, {"optimizer": opt.SGD, "rate": 1e-6}]),
    "weights all 0": (constant_weights, "symmetric_weights", [{"value": 0.1}]),
    "targets out of reach": (out_of_reach, "unreachable_target",
        [{"end": "relu", "shift": -3.0}, {"end": "tanh"}, {"end": "softplus", "shift": -1.0}]),
    "a line through XOR": (xor, "linear_model",
        [{"rows": 40}, {"rows": 400}, {"rows": 400, "hidden": (8, 8)},
         {"rows": 400, "end": "sigmoid", "loss": "binary_cross_entropy"}]),
    "permuted labels": (permuted_labels, "no_signal",
        [{"seed": 1}, {"epochs": 3}, {"epochs": 40}, {"task": "regression"}]),
    "pure noise": (pure_noise, "no_signal", [{"width": 2}, {"outputs": 3}]),
    "dropout of 0.95": (heavy_dropout, "heavy_dropout", [{"rate": 0.9}]),
    "plateau": (plateau, "plateau", [{"penalty": 1.0}]),
    "unscaled target": (unscaled_target, "unscaled_target", [{"factor": 50.0}]),
}  # fmt: skip


def healthy():
    """(name, model, x, y, batch_size, epochs): nets that train well."""
    x, y = digits()
    xr, yr = regression()
    yield "digits", compiled(net([64])), x, y, 32, 10
    yield "regression", compiled(net([64, 64], outputs=1), loss="mse"), xr, yr, 32, 20
    yield "deep tanh", compiled(net([64] * 10, "tanh")), x, y, 32, 5
    yield "deep relu", compiled(net([64] * 10, seed=1)), x, y, 64, 5
    for seed in range(3):
        yield f"seed {seed}", compiled(net([100, 50], seed=seed), opt.AdamW(1e-3)), x, y, 64, 4
    yield "softmax", compiled(net([64], end="softmax"), opt.SGD(0.1, momentum=0.9)), x, y, None, 4
    yield "glorot", compiled(net([64] * 3, "tanh", "glorot_uniform"), opt.SGD(0.05)), x, y, 32, 4
    yield "float64", compiled(net([64], dtype="float64")), x, y, 32, 4
    for name in ("leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "softsign", "relu6"):
        yield name, compiled(net([64, 32], name, "glorot_uniform"), opt.Adam(3e-3)), x, y, 32, 4
    for loss in ("mae", "huber", "log_cosh", "half_squared_error"):
        yield loss, compiled(net([64, 64], outputs=1), loss=loss), xr, yr, 32, 10
    for optimizer in (
        opt.RMSprop(1e-3),
        opt.Nadam(1e-3),
        opt.Adagrad(1e-2),
        opt.Lion(1e-4),
        opt.SGD(1e-3),
    ):
        yield optimizer.name, compiled(net([64]), optimizer), x, y, 32, 4
    rate = bp.schedules.Cosine(1e-3, 1000, warmup_steps=200)
    yield "warm-up", compiled(net([64]), opt.Adam(rate)), x, y, 32, 4
    yield "residual", compiled(residual()), x, y, 32, 4
    yield "linear", compiled(net([]), opt.SGD(0.1)), x, y, 32, 4
    head = [L.Dense(64, "relu"), L.Dense(10, kernel_initializer="zeros")]
    yield "zero head", compiled(bp.Sequential(head, seed=0)), x, y, 32, 4
    dropout = [L.Dropout(0.2), L.Dense(64, "relu"), L.Dropout(0.5), L.Dense(10)]
    yield "dropout", compiled(bp.Sequential(dropout, seed=0)), x, y, 32, 10
    binary = (y % 2).astype(int)
    yield "binary", compiled(net([32], outputs=1, end="sigmoid"), loss="bce"), x, binary, 32, 10
    yield "hinge", compiled(net([32], "tanh", outputs=1), loss="hinge"), x, binary, 32, 10
    both = compiled(net([32, 16, 32], outputs=64, end="sigmoid"), loss="binary_cross_entropy")
    yield "autoencoder", both, x, x, 32, 10
