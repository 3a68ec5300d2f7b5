"""One row per layer, activation, loss and optimizer; test_gradients.py and others run them all.

A name that the package offers and that has no row here fails test_cases.py.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from . import function_cases, image_cases
from .helpers.case import Layer, activation
from .reference import ACTIVATIONS
from .reference.pointwise import maximum, minimum
from .reference.recurrent import unrolled

ACTIVATION_NAMES = [*ACTIVATIONS, "softmax", "log_softmax"]


def _dense(w, x):
    y = x @ w[0]
    return y + w[1] if len(w) > 1 else y


def _dense_rows():
    rows = [
        Layer("dense", "Dense", lambda L: L.Dense(4), ((3,),), _dense),
        Layer("dense_no_bias", "Dense", lambda L: L.Dense(4, use_bias=False), ((3,),), _dense),
        Layer("dense_one", "Dense", lambda L: L.Dense(1), ((1,),), _dense),
        Layer("dense_wide", "Dense", lambda L: L.Dense(37), ((33,),), _dense),
        Layer("dense_rank3", "Dense", lambda L: L.Dense(4), ((5, 3),), _dense),
        Layer(
            "dense_rank4",
            "Dense",
            lambda L: L.Dense(2, activation="tanh"),
            ((2, 3, 4),),
            lambda w, x: np.tanh(_dense(w, x)),
        ),
    ]
    for name in ACTIVATION_NAMES:
        f = activation(name)
        rows.append(
            Layer(
                f"dense_{name}",
                "Dense",
                lambda L, name=name: L.Dense(5, activation=name),
                ((3,),),
                lambda w, x, f=f: f(_dense(w, x)),
            )
        )
        rows.append(
            Layer(
                f"activation_{name}",
                "Activation",
                lambda L, name=name: L.Activation(name),
                ((4, 3),),
                lambda w, x, f=f: f(x),
            )
        )
    return rows


def _fold(function):
    """A merge of several inputs, ranks filled up with ones after the batch axis."""

    def forward(w, *xs):
        rank = max(x.ndim for x in xs)
        xs = [x.reshape(x.shape[:1] + (1,) * (rank - x.ndim) + x.shape[1:]) for x in xs]
        result = xs[0]
        for x in xs[1:]:
            result = function(result, x)
        return result

    return forward


def _merge_rows():
    two, three, broad = ((4,), (4,)), ((2, 3), (2, 3), (2, 3)), ((2, 3), (1, 3))
    rows = []
    kinds = ("Add", np.add), ("Multiply", np.multiply), ("Maximum", maximum), ("Minimum", minimum)
    for kind, f in kinds:
        for tag, shapes in (("", two), ("_three", three), ("_broadcast", broad)):
            rows.append(
                Layer(
                    kind.lower() + tag,
                    kind,
                    lambda L, kind=kind: getattr(L, kind)(),
                    shapes,
                    _fold(f),
                )
            )
    rows += [
        Layer("subtract", "Subtract", lambda L: L.Subtract(), two, _fold(np.subtract)),
        Layer("divide", "Divide", lambda L: L.Divide(), two, _fold(np.divide)),
        Layer(
            "average",
            "Average",
            lambda L: L.Average(),
            three,
            lambda w, *xs: sum(xs[1:], xs[0]) / len(xs),
        ),
        Layer(
            "concatenate",
            "Concatenate",
            lambda L: L.Concatenate(),
            ((2, 3), (2, 1)),
            lambda w, *xs: np.concatenate(xs, axis=-1),
        ),
        Layer(
            "concatenate_axis_1",
            "Concatenate",
            lambda L: L.Concatenate(axis=1),
            ((2, 3), (1, 3), (4, 3)),
            lambda w, *xs: np.concatenate(xs, axis=1),
        ),
    ]
    return rows


def _unit(x):
    """Vectors along the last axis divided by their norms, of at least 1e-7."""
    squares = (x * x).sum(axis=-1, keepdims=True)
    return x / np.sqrt(maximum(squares, 1e-14 + 0 * squares))


def _dot(axes, normalize):
    """Keras' batch dot, as a matrix product of what is along the axes."""

    def forward(w, a, b):
        i, k = (axes, axes) if isinstance(axes, int) else axes
        a, b = np.moveaxis(a, i, -1), np.moveaxis(b, k, -1)
        if normalize:
            a, b = _unit(a), _unit(b)
        rows = lambda x: x.reshape(len(x), -1, x.shape[-1])  # noqa: E731
        y = rows(a) @ rows(b).swapaxes(1, 2)
        return y.reshape(len(y), *(a.shape[1:-1] + b.shape[1:-1] or (1,)))

    return forward


def _dot_rows():
    rows = []
    for tag, axes, shapes, multiple in (
        ("", 1, ((4,), (4,)), 1),
        ("_last", -1, ((2, 5), (3, 5)), 1),
        ("_first", 1, ((3, 4), (3, 4)), 1),
        ("_matrices", (2, 1), ((3, 4), (4, 5)), 0),
        ("_with_vector", (2, 1), ((3, 4), (4,)), 0),
        ("_rank3", (2, -2), ((2, 3, 4), (2, 3, 5)), 0),
    ):
        for normalize in (False, True):
            rows.append(
                Layer(f"dot{tag}{'_normalized' * normalize}", "Dot",
                      lambda L, axes=axes, normalize=normalize: L.Dot(axes, normalize), shapes,
                      _dot(axes, normalize), multiple)
            )  # fmt: skip
    return rows


def _standard(x, axes, epsilon, centred=True):
    m = x.mean(axis=axes, keepdims=True) if centred else 0.0
    return (x - m) / np.sqrt(((x - m) ** 2).mean(axis=axes, keepdims=True) + epsilon)


def _groups(x, groups, epsilon):
    parts = x.reshape(*x.shape[:-1], groups, -1)
    axes = (*range(1, x.ndim - 1), x.ndim)
    return _standard(parts, axes, epsilon).reshape(x.shape)


def _normalization_rows():
    affine = lambda w, u: u * w[0] + w[1]  # noqa: E731
    positive = lambda x: maximum(x, 0.0 * x)  # noqa: E731
    rows = []
    for tag, shape, axis in (("", (5,), -1), ("_wide", (37,), -1), ("_rank2", (3, 4), -1),
                             ("_two", (2, 3, 5), [-2, -1])):  # fmt: skip
        axes = tuple(axis) if isinstance(axis, list) else (axis,)
        rows += [
            Layer("layer_normalization" + tag, "LayerNormalization",
                  lambda L, a=axis: L.LayerNormalization(a), (shape,),
                  lambda w, x, a=axes: affine(w, _standard(x, a, 1e-3))),
            Layer("rms_normalization" + tag, "RMSNormalization",
                  lambda L, a=axis: L.RMSNormalization(a, 1e-3), (shape,),
                  lambda w, x, a=axes: w[0] * _standard(x, a, 1e-3, False)),
        ]  # fmt: skip
    for groups, shape in ((2, (6,)), (3, (4, 6)), (1, (2, 3, 4)), (4, (2, 3, 4))):
        rows.append(
            Layer(f"group_normalization_{groups}_{len(shape)}", "GroupNormalization",
                  lambda L, g=groups: L.GroupNormalization(g), (shape,),
                  lambda w, x, g=groups: affine(w, _groups(x, g, 1e-3)), groups)
        )  # fmt: skip
    for tag, shape, shared in (
        ("", (5,), False),
        ("_rank2", (3, 20), False),
        ("_one", (3, 7), True),
    ):
        rows += [
            Layer("scale" + tag, "Scale", lambda L, s=shared: L.Scale(shared=s), (shape,),
                  lambda w, x: x * w[0]),
            Layer("prelu" + tag, "PReLU", lambda L, s=shared: L.PReLU(shared=s), (shape,),
                  lambda w, x: positive(x) + w[0] * (x - positive(x))),
            Layer("swish" + tag, "Swish", lambda L, s=shared: L.Swish(shared=s), (shape,),
                  lambda w, x: x * ACTIVATIONS["sigmoid"](x * w[0], 0.0)),
        ]  # fmt: skip
    return rows


def _recurrent(kind, sequences=False, backwards=False, **options):
    """The NumPy forward of a recurrent layer."""

    def forward(w, x):
        ys, states = unrolled(kind, w, x, backwards=backwards, **options)
        if not sequences:
            return states[0]
        return ys[:, ::-1] if backwards else ys

    return forward


def _recurrent_rows():
    rows = []

    def add(tag, kind, units, shape, told, **options):
        forward = _recurrent(kind, "return_sequences" in told, "go_backwards" in told, **options)
        make = lambda L: getattr(L, kind)(units, **told)  # noqa: E731
        rows.append(Layer(kind.lower() + tag, kind, make, (shape,), forward))

    sequences, backwards = {"return_sequences": True}, {"go_backwards": True}
    for kind in ("SimpleRNN", "LSTM", "GRU"):
        add("", kind, 3, (5, 4), {})
        add("_sequences", kind, 3, (5, 4), sequences)
        add("_backwards", kind, 3, (5, 4), backwards)
        add("_reversed", kind, 3, (5, 4), {**sequences, **backwards, "use_bias": False})
        told = {"activation": "gelu", **sequences}
        if kind != "SimpleRNN":
            told["recurrent_activation"] = "hard_sigmoid"
        functions = {"f": activation("gelu"), "s": activation("hard_sigmoid")}
        add("_wide", kind, 17, (20, 3), told, **functions)
    for tag, told in (
        ("", {}),
        ("_no_bias", {"use_bias": False}),
        ("_silu", {"activation": "silu"}),
    ):
        f = activation(told.get("activation", "tanh"))
        told = {"reset_after": False, **sequences, **told}
        add(f"_reset_before{tag}", "GRU", 5, (4, 3), told, reset_after=False, f=f)
    return rows


def _delayed(x, lag):
    zeros = np.zeros((len(x), min(lag, x.shape[1]), x.shape[2]))
    return np.concatenate([zeros, x[:, : max(x.shape[1] - lag, 0)]], axis=1)


def _both(kind, w, x, sequences):
    n = len(w) // 2
    pairs = [unrolled(kind, w[:n], x), unrolled(kind, w[n:], x, backwards=True)]
    return [ys if sequences else states[0] for ys, states in pairs]


def _largest(x):
    result = x[:, 0]
    for t in range(1, x.shape[1]):
        result = maximum(result, x[:, t])
    return result


LAYERS = [
    *_dense_rows(),
    *image_cases.image_rows(),
    *function_cases.function_rows(),
    *_merge_rows(),
    *_dot_rows(),
    *_normalization_rows(),
    *_recurrent_rows(),
    Layer(
        "repeat_vector",
        "RepeatVector",
        lambda L: L.RepeatVector(3),
        ((4,),),
        lambda w, x: np.repeat(x[:, None], 3, axis=1),
    ),
    Layer(
        "tapped_delay",
        "TappedDelay",
        lambda L: L.TappedDelay([0, 2, 9, 1]),
        ((4, 3),),
        lambda w, x: np.concatenate([_delayed(x, lag) for lag in (0, 2, 9, 1)], axis=-1),
    ),
    Layer(
        "bidirectional",
        "Bidirectional",
        lambda L: L.Bidirectional(L.GRU(3)),
        ((5, 4),),
        lambda w, x: np.concatenate(_both("GRU", w, x, False), axis=-1),
    ),
    Layer(
        "bidirectional_sum",
        "Bidirectional",
        lambda L: L.Bidirectional(L.LSTM(3, return_sequences=True), "ave"),
        ((5, 4),),
        lambda w, x: sum(_both("LSTM", w, x, True)) / 2,
    ),
    Layer(
        "time_distributed",
        "TimeDistributed",
        lambda L: L.TimeDistributed(L.Dense(4, activation="tanh")),
        ((5, 3),),
        lambda w, x: np.tanh(_dense(w, x)),
    ),
    Layer(
        "time_distributed_unrolled",
        "TimeDistributed",
        lambda L: L.TimeDistributed(L.LayerNormalization([1, 2])),
        ((3, 2, 4),),
        lambda w, x: _standard(x, (2, 3), 1e-3) * w[0] + w[1],
    ),
    Layer(
        "global_average_pooling",
        "GlobalAveragePooling1D",
        lambda L: L.GlobalAveragePooling1D(),
        ((5, 3),),
        lambda w, x: x.mean(axis=1),
    ),
    Layer(
        "global_max_pooling",
        "GlobalMaxPooling1D",
        lambda L: L.GlobalMaxPooling1D(keepdims=True),
        ((5, 3),),
        lambda w, x: _largest(x)[:, None],
    ),
    Layer(
        "flatten",
        "Flatten",
        lambda L: L.Flatten(),
        ((2, 3, 4),),
        lambda w, x: x.reshape(len(x), -1),
    ),
    Layer(
        "reshape",
        "Reshape",
        lambda L: L.Reshape((-1, 3)),
        ((2, 6),),
        lambda w, x: x.reshape(len(x), -1, 3),
        3,
    ),
]

# Layers offered that compute nothing.
NOT_COMPUTING = {"Constant", "CoreLayer", "Input", "InputLayer", "Layer",
                 "Recurrent", "Returned", "Wrapper"}  # fmt: skip
# Layers whose forward in training is another than afterwards: their values are tested in
# test_noise.py and test_normalization.py, the rest as of any row; Masking makes the loss one of
# steps: test_sequences.py.
APART = [
    Layer("masking", "Masking", lambda L: L.Masking(), ((3, 4),), None),
    Layer("alpha_dropout", "AlphaDropout", lambda L: L.AlphaDropout(0.3, seed=1), ((6,),), None),
    Layer("dropout", "Dropout", lambda L: L.Dropout(0.3, seed=1), ((2, 6),), None),
    Layer("gaussian_dropout", "GaussianDropout",
          lambda L: L.GaussianDropout(0.3, seed=1), ((6,),), None),
    Layer("gaussian_noise", "GaussianNoise", lambda L: L.GaussianNoise(0.3, seed=1), ((6,),), None),
    *(Layer(f"spatial_dropout_{rank}d", f"SpatialDropout{rank}D",
            lambda L, rank=rank: getattr(L, f"SpatialDropout{rank}D")(0.3, seed=1),
            ((*(2,) * rank, 3),), None) for rank in (1, 2, 3)),
    Layer("batch_normalization", "BatchNormalization",
          lambda L: L.BatchNormalization(), ((6,),), None),
    Layer("batch_normalization_rank2", "BatchNormalization",
          lambda L: L.BatchNormalization(scale=False), ((4, 6),), None),
    Layer("normalization", "Normalization",
          lambda L: L.Normalization(mean=0.3, variance=2.0), ((6,),), None),
    Layer("denormalization", "Normalization",
          lambda L: L.Normalization(mean=0.3, variance=2.0, invert=True), ((6,),), None),
]  # fmt: skip
# And what needs a second layer, whole numbers, or a cell (test_sequences.py,
# test_fixed_point.py).
TESTED_APART = {case.kind for case in APART} | {
    "StopGradient", "TiedDense", "Embedding", "FixedPoint", "RNN"
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Loss:
    """ending: the activation before the loss; target: what kind of y it takes; parts: outputs per
    value of y."""

    name: str
    kind: str
    arguments: dict
    ending: str
    target: str
    parts: int = 1

    @property
    def id(self):
        return "-".join([self.name, self.ending, self.target, *map(str, self.arguments.values())])


LOSSES = [
    Loss("mean_squared_error", "MeanSquaredError", {}, "linear", "real"),
    Loss("mean_squared_error", "MeanSquaredError", {}, "softmax", "real"),
    Loss("half_squared_error", "HalfSquaredError", {}, "sigmoid", "real"),
    Loss("mean_absolute_error", "MeanAbsoluteError", {}, "linear", "real"),
    Loss("huber", "Huber", {}, "linear", "real"),
    Loss("huber", "Huber", {"delta": 0.4}, "linear", "real"),
    Loss("log_cosh", "LogCosh", {}, "linear", "real"),
    Loss("binary_cross_entropy", "BinaryCrossEntropy", {}, "linear", "bits"),
    Loss("binary_cross_entropy", "BinaryCrossEntropy", {}, "sigmoid", "bits"),
    Loss("binary_cross_entropy", "BinaryCrossEntropy", {"label_smoothing": 0.1}, "linear", "bits"),
    Loss("cross_entropy", "CrossEntropy", {}, "linear", "labels"),
    Loss("cross_entropy", "CrossEntropy", {}, "softmax", "labels"),
    Loss("cross_entropy", "CrossEntropy", {}, "log_softmax", "labels"),
    Loss("cross_entropy", "CrossEntropy", {}, "linear", "distribution"),
    Loss("cross_entropy", "CrossEntropy", {}, "softmax", "distribution"),
    Loss("cross_entropy", "CrossEntropy", {"label_smoothing": 0.1}, "linear", "labels"),
    Loss("cross_entropy", "CrossEntropy", {"label_smoothing": 0.2}, "softmax", "distribution"),
    Loss("kl_divergence", "KLDivergence", {}, "softmax", "distribution"),
    Loss("poisson", "Poisson", {}, "exponential", "counts"),
    Loss("hinge", "Hinge", {}, "tanh", "signs"),
    Loss("hinge", "Hinge", {}, "linear", "bits"),
    Loss("quantile", "Quantile", {}, "linear", "real"),
    Loss("quantile", "Quantile", {"quantiles": 0.9}, "linear", "real"),
    Loss("quantile", "Quantile", {"quantiles": [0.1, 0.5, 0.9]}, "linear", "real", 3),
    Loss("gaussian_nll", "GaussianNLL", {}, "linear", "real", 2),
    Loss("gaussian_nll", "GaussianNLL", {"full": True}, "tanh", "real", 2),
]  # fmt: skip


def targets(kind, rows, columns, rng):
    if kind == "labels":
        return rng.integers(0, columns, rows)
    if kind == "distribution":
        t = rng.dirichlet(np.ones(columns), rows)
        t[0] = np.eye(columns)[0]
        return t
    if kind == "bits":
        return rng.integers(0, 2, (rows, columns)).astype(np.float64)
    if kind == "signs":
        return rng.integers(0, 2, (rows, columns)) * 2.0 - 1
    if kind == "counts":
        return rng.integers(0, 6, (rows, columns)).astype(np.float64)
    return rng.normal(size=(rows, columns))


def numpy_loss(case, ending_output, t):
    """The loss of an output before and after its ending: (value name, prediction, logits)."""
    from .reference import loss_value

    linked = {"binary_cross_entropy", "cross_entropy"}
    option = next(iter(case.arguments.values()), None)
    logits = case.name in linked and case.ending in ("linear", "log_softmax")
    return loss_value(case.name, ending_output, t, option, logits=logits)


# Optimizer classes; their numbers are in fixtures/torch.json under these names.
OPTIMIZERS = {
    "SGD": ("sgd", "momentum", "nesterov", "sgd_decay", "momentum_decay"),
    "Adagrad": ("adagrad", "adagrad_fast"),
    "RMSprop": ("rmsprop", "rmsprop_rho"),
    "Adadelta": ("adadelta", "adadelta_rho"),
    "Adam": ("adam", "adam_fast", "amsgrad"),
    "AdamW": ("adamw", "adamw_decay"),
    "Adamax": ("adamax", "adamax_fast"),
    "Nadam": ("nadam", "nadam_fast"),
    "Lion": ("lion", "lion_decay"),
    "Rprop": ("rprop",),
}
# Second-order methods and the file of their tests: no update of theirs is another library's.
SOLVERS = {
    "LevenbergMarquardt": "test_levenberg",
    "LBFGS": "test_solvers",
    "ScaledConjugateGradient": "test_solvers",
    "Quickprop": "test_solvers",
    "KFAC": "test_kfac",
}
