"""Random models as plain data, from which two trainers are built that know nothing of each other.

`ours.py` builds them with bpcore, `twin.py` with PyTorch. A value is the output of one call of a
layer; layers are named by their index, so that one may be called twice.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from . import images, others, recurrent

Shape = tuple[int, ...]
SMOOTH = ("linear", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "mish", "softplus")
KINKED = (
    "relu", "leaky_relu", "relu6", "elu", "selu", "celu", "hard_sigmoid", "softsign",
)  # fmt: skip
ROWS = ("softmax", "log_softmax")
WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 13, 17, 33)
MERGES = ("Add", "Subtract", "Multiply", "Maximum", "Average", "Divide")
NOISE = ("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise")
SPATIAL = {2: "SpatialDropout1D", 3: "SpatialDropout2D", 4: "SpatialDropout3D"}
# Loss: the endings it is used with, and the kind of its targets.
LOSSES: dict[str, tuple[tuple[str, ...], str]] = {
    "MeanSquaredError": (("linear", "softmax", "tanh"), "real"),
    "HalfSquaredError": (("linear", "sigmoid"), "real"),
    "MeanAbsoluteError": (("linear",), "real"),
    "Huber": (("linear",), "real"),
    "LogCosh": (("linear",), "real"),
    "BinaryCrossEntropy": (("linear", "sigmoid", "mixture"), "bits"),
    "CrossEntropy": (("linear", "softmax", "log_softmax", "mixture"), "classes"),
    "KLDivergence": (("softmax",), "distribution"),
    "Poisson": (("exponential", "softplus"), "counts"),
    "Hinge": (("tanh", "linear"), "signs"),
    "Quantile": (("linear",), "real"),
    "GaussianNLL": (("linear",), "real"),
    "Charbonnier": (("linear",), "real"),  # a loss in Python
}
OPTIMIZERS = ("SGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "Adamax", "Nadam", "Lion",
              "Rprop")  # fmt: skip


@dataclasses.dataclass
class Layer:
    kind: str
    config: dict[str, Any]
    trainable: bool = True
    # Parameter name: (name, arguments) of a regularizer, of a constraint.
    penalties: dict[str, tuple[str, dict[str, Any]]] = dataclasses.field(default_factory=dict)
    bounds: dict[str, tuple[str, dict[str, Any]]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Call:
    layer: int  # -1: an input
    sources: tuple[int, ...]
    shape: Shape


@dataclasses.dataclass
class Head:
    """A loss on a value. parts: values of the output for one of the target."""

    value: int
    loss: str
    config: dict[str, Any]
    ending: str
    target: str
    parts: int
    weight: float


@dataclasses.dataclass
class Spec:
    seed: int
    layers: list[Layer]
    calls: list[Call]
    heads: list[Head]
    optimizer: tuple[str, dict[str, Any]]
    schedule: tuple[str, dict[str, Any]]
    compiled: dict[str, Any]  # options of compile
    fit: dict[str, Any]  # batch_size, epochs
    rows: int
    weighted: bool
    class_weight: dict[int, float] | None

    @property
    def inputs(self) -> list[int]:
        return [i for i, call in enumerate(self.calls) if call.layer < 0]


class Maker:
    """Makes one spec; the same for the same seed."""

    widths, units = WIDTHS, (1, 2, 3, 4, 5)

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([20, seed])
        self.seed = seed
        self.layers: list[Layer] = []
        self.calls: list[Call] = []
        self.heads: list[Head] = []
        self.dense: list[tuple[int, Shape]] = []  # (layer, its input's shape)

    # ---- small choices -------------------------------------------------------------------------
    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def one(self, items: Any) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def real(self, low: float, high: float) -> float:
        return float(np.round(self.rng.uniform(low, high), 4))

    def function(self) -> str:
        return str(self.one(SMOOTH + KINKED if self.chance(0.9) else ROWS))

    def seed_of_noise(self) -> int:
        return int(self.rng.integers(1, 2**31))

    # ---- values ----------------------------------------------------------------------------------
    def call(self, layer: int, sources: tuple[int, ...], shape: Shape) -> int:
        self.calls.append(Call(layer, sources, tuple(map(int, shape))))
        return len(self.calls) - 1

    def add(self, kind: str, sources: tuple[int, ...], shape: Shape, /, **config: Any) -> int:
        self.layers.append(Layer(kind, config))
        return self.call(len(self.layers) - 1, sources, shape)

    def shape(self, value: int) -> Shape:
        return self.calls[value].shape

    def some(self) -> int:
        """A value, more often a late one."""
        return int(len(self.calls) * self.rng.random() ** 0.5)

    def partner(self, value: int) -> int:
        """Another value of the same shape, made if there is none."""
        shape = self.shape(value)
        same = [i for i, c in enumerate(self.calls) if c.shape == shape and i != value]
        if same and self.chance(0.7):
            return int(self.one(same))
        near = [i for i, c in enumerate(self.calls) if c.shape[:-1] == shape[:-1]]
        return self.make_dense(int(self.one(near)), shape[-1], str(self.one(SMOOTH)))

    def options_of_dense(self, layer: Layer) -> None:
        """Penalties, constraints, and sometimes no training."""
        if self.chance(0.15):
            layer.trainable = False
        matrix = layer.kind == "Dense"
        names = (["kernel"] if matrix else []) + (["bias"] if layer.config["use_bias"] else [])
        for name in names:
            if name == "bias" and not matrix:
                continue  # TiedDense takes none
            if self.chance(0.2):
                layer.penalties[name] = self.penalty(name)
            if self.chance(0.15):
                layer.bounds[name] = self.bound()

    def penalty(self, name: str) -> tuple[str, dict[str, Any]]:
        kinds = [
            ("L1", {"l1": self.real(1e-4, 0.02)}),
            ("L2", {"l2": self.real(1e-4, 0.05)}),
            ("L1L2", {"l1": self.real(0, 0.01), "l2": self.real(0, 0.05)}),
            ("Quartic", {"factor": self.real(0, 0.02)}),
            ("Orthogonal", {"factor": self.real(0.01, 0.2), "mode": self.one(("rows", "columns"))}),
        ]
        return self.one(kinds if name == "kernel" else kinds[:4])

    def bound(self) -> tuple[str, dict[str, Any]]:
        low = self.real(0.1, 0.6)
        kinds = [
            ("MaxNorm", {"max_value": self.real(0.5, 1.5)}),
            ("UnitNorm", {}),
            ("NonNeg", {}),
            ("MinMaxNorm", {"min_value": low, "max_value": low + 0.5, "rate": self.real(0.2, 1)}),
            ("Shrunk", {"factor": self.real(0.9, 1)}),
        ]
        return self.one(kinds)

    # ---- moves -----------------------------------------------------------------------------------
    def make_dense(self, value: int, units: int, function: str) -> int:
        shape = (*self.shape(value)[:-1], units)
        made = self.add(
            "Dense", (value,), shape, units=int(units), activation=function,
            use_bias=self.chance(0.85),
        )  # fmt: skip
        self.options_of_dense(self.layers[-1])
        self.dense.append((len(self.layers) - 1, self.shape(value)))
        return made

    def move_dense(self) -> None:
        self.make_dense(self.some(), int(self.one(self.widths)), self.function())

    def move_again(self) -> None:
        """A dense layer once more, on another value of its input's shape."""
        for layer, shape in self.dense[::-1]:
            found = [i for i, c in enumerate(self.calls) if c.shape == shape]
            units = self.layers[layer].config["units"]
            self.call(layer, (int(self.one(found)),), (*shape[:-1], units))
            return

    def move_tied(self) -> None:
        """A decoder on a dense layer's output."""
        if not self.dense:
            return
        layer, shape = self.one(self.dense)
        units = self.layers[layer].config["units"]
        found = [i for i, c in enumerate(self.calls) if c.shape[-1] == units]
        value = int(self.one(found))
        self.add(
            "TiedDense", (value,), (*self.shape(value)[:-1], shape[-1]), tied_to=layer,
            activation=self.function(), use_bias=self.chance(0.8),
        )  # fmt: skip
        self.options_of_dense(self.layers[-1])

    def move_activation(self) -> None:
        value, name = self.some(), self.function()
        config: dict[str, Any] = {"activation": name}
        if name in ("leaky_relu", "elu", "celu") and self.chance(0.5):
            config["alpha"] = self.real(0.1, 1.5)
        self.add("Activation", (value,), self.shape(value), **config)

    def move_shape(self) -> None:
        value = self.some()
        size = int(np.prod(self.shape(value)))
        if len(self.shape(value)) > 1 and self.chance(0.5):
            self.add("Flatten", (value,), (size,))
            return
        parts = [(d, size // d) for d in range(1, size + 1) if size % d == 0]
        target = self.one([(size,), *parts, (1, 1, size), *((1, *p) for p in parts)])
        self.add("Reshape", (value,), target, shape=tuple(map(int, target)))

    def move_noise(self) -> None:
        value = self.some()
        shape, seed, rate = (
            self.shape(value),
            self.seed_of_noise(),
            float(self.one((0.1, 0.3, 0.5))),
        )
        if len(shape) in SPATIAL and self.chance(0.5):
            self.add(SPATIAL[len(shape)], (value,), shape, rate=rate, seed=seed)
            return
        kind = self.one(NOISE)
        config: dict[str, Any] = {
            "seed": seed,
            "stddev" if kind == "GaussianNoise" else "rate": rate,
        }
        if kind == "Dropout" and len(shape) > 1 and self.chance(0.3):
            config["noise_shape"] = (1,) * (len(shape) - 1) + shape[-1:]
        self.add(kind, (value,), shape, **config)

    def move_normalization(self) -> None:
        value = self.some()
        shape = self.shape(value)
        affine = {"center": self.chance(0.8), "scale": self.chance(0.8)}
        epsilon = float(self.one((1e-3, 1e-2, 0.1)))
        kind = self.one(("BatchNormalization", "LayerNormalization", "RMSNormalization",
                         "GroupNormalization", "Normalization"))  # fmt: skip
        if kind == "BatchNormalization":
            momentum = float(self.one((0.5, 0.9, 0.99)))
            self.add(kind, (value,), shape, momentum=momentum, epsilon=epsilon, **affine)
            self.layers[-1].trainable = self.chance(0.85)
        elif kind == "GroupNormalization":
            groups = [g for g in range(1, shape[-1] + 1) if shape[-1] % g == 0]
            self.add(kind, (value,), shape, groups=int(self.one(groups)), epsilon=epsilon, **affine)
        elif kind == "Normalization":
            numbers = {"mean": self.real(-1, 1), "variance": self.real(0.3, 2)}
            self.add(kind, (value,), shape, invert=self.chance(0.3), **numbers)
        else:
            axes = list(range(-int(self.rng.integers(1, len(shape) + 1)), 0))
            config = {"scale": affine["scale"]} if kind == "RMSNormalization" else affine
            self.add(kind, (value,), shape, axis=axes, epsilon=epsilon, **config)

    def move_scale(self) -> None:
        value = self.some()
        kind = self.one(("Scale", "PReLU", "Swish"))
        self.add(kind, (value,), self.shape(value), shared=self.chance(0.4))
        if self.chance(0.3):  # the same one on another value
            same = [i for i, c in enumerate(self.calls) if c.shape == self.shape(value)]
            self.call(len(self.layers) - 1, (int(self.one(same)),), self.shape(value))

    def move_merge(self) -> None:
        value = self.some()
        other, kind = self.partner(value), self.one(MERGES)
        shape = self.shape(value)
        if kind == "Divide":  # by something between 1 and 2
            below = self.add("Activation", (other,), shape, activation="sigmoid")
            below = self.add("Arithmetic", (below,), shape, form="x + c", number=1.0)
            self.add("Divide", (value, below), shape)
            return
        sources = [value, other]
        if kind in ("Add", "Multiply", "Maximum", "Average") and self.chance(0.3):
            sources.append(self.partner(value))
        if kind == "Maximum" and len(set(sources)) < len(sources):
            kind = "Add"
        if kind == "Maximum" and self.seed % 2:  # not drawn, so that seeds keep their models
            kind = "Minimum"
        self.add(kind, tuple(sources), shape)

    def move_broadcast(self) -> None:
        """Merges of unlike shapes: (2, 3) with (1, 3) or (3,)."""
        value = self.some()
        shape = self.shape(value)
        narrow = (1,) * (len(shape) - 1) + shape[-1:] if self.chance(0.5) else shape[-1:]
        found = [i for i, c in enumerate(self.calls) if c.shape == narrow]
        if found:
            self.add(
                self.one(("Add", "Multiply", "Subtract")), (value, int(self.one(found))), shape
            )

    def move_concatenate(self) -> None:
        value = self.some()
        shape = self.shape(value)
        axis = int(self.rng.integers(len(shape)))
        rest = (len(shape), shape[:axis], shape[axis + 1 :])
        found = [
            i for i, c in enumerate(self.calls)
            if (len(c.shape), c.shape[:axis], c.shape[axis + 1 :]) == rest
        ]  # fmt: skip
        sources = (value, int(self.one(found)))
        if self.seed % 3 == 0 and self.dot(sources):  # not drawn, so that seeds keep their models
            return
        length = sum(self.shape(s)[axis] for s in sources)
        if length <= 40:
            self.add("Concatenate", sources, (*shape[:axis], length, *shape[axis + 1 :]),
                     axis=axis + 1)  # fmt: skip

    def dot(self, sources: tuple[int, int]) -> bool:
        """Products along the last axis of the same length; of every second seed as cosines."""
        a, b = map(self.shape, sources)
        axis = max((k for k in range(len(a)) if a[k] == b[k]), default=None)
        if axis is None:
            return False
        shape = (*a[:axis], *a[axis + 1 :], *b[:axis], *b[axis + 1 :]) or (1,)
        if np.prod(shape) > 60:
            return False
        self.add("Dot", sources, shape, axes=[axis + 1, axis - len(b)],
                 normalize=self.seed % 2 == 0)  # fmt: skip
        return True

    def move_arithmetic(self) -> None:
        value = self.some()
        form = self.one(("x + c", "c - x", "x * c", "x / c", "-x"))
        number = self.real(0.5, 2) * (1 if form == "x / c" or self.chance(0.5) else -1)
        self.add("Arithmetic", (value,), self.shape(value), form=form, number=number)

    def move_own(self) -> None:
        """A layer written in Python, with a weight."""
        value = self.some()
        self.add("Bent", (value,), self.shape(value))

    # ---- heads -----------------------------------------------------------------------------------
    def head(self, value: int) -> None:
        loss = str(self.one(list(LOSSES)))
        endings, target = LOSSES[loss]
        ending = str(self.one(endings))
        config, parts = self.loss_options(loss, ending)
        units = int(self.rng.integers(2, 5))
        if target == "classes":
            target = self.one(("labels", "distribution"))
        if len(self.shape(value)) > 2 or self.chance(0.5):
            size = int(np.prod(self.shape(value)))
            value = self.add("Flatten", (value,), (size,)) if len(self.shape(value)) > 1 else value
        if loss == "BinaryCrossEntropy" and self.chance(0.3):
            several = self.chance(0.5)
            config["pos_weight"] = [self.real(0.3, 3) for _ in range(units)] if several else 2.5
        row = loss == "CrossEntropy" and target == "labels" and len(self.shape(value)) == 1
        if row and self.chance(0.3):
            config["class_weight"] = {k: self.real(0.3, 2) for k in range(units)}
        if ending == "mixture":  # probabilities that no link takes apart
            f = "softmax" if loss == "CrossEntropy" else "sigmoid"
            both = [self.make_dense(value, units, f) for _ in range(2)]
            value = self.add("Average", tuple(both), self.shape(both[0]))
        else:
            value = self.make_dense(value, units * parts, ending)
        self.layers[self.calls[value].layer].trainable = True
        weight = self.real(0.3, 2)
        self.heads.append(Head(value, loss, config, ending, target, parts, weight))

    def loss_options(self, loss: str, ending: str) -> tuple[dict[str, Any], int]:
        if loss == "Huber":
            return {"delta": self.real(0.2, 2)}, 1
        if loss in ("CrossEntropy", "BinaryCrossEntropy") and self.chance(0.4):
            return {"label_smoothing": self.real(0.01, 0.3)}, 1
        if loss == "Quantile":
            levels = sorted({self.real(0.05, 0.95) for _ in range(int(self.rng.integers(1, 4)))})
            return {"quantiles": levels}, len(levels)
        if loss == "GaussianNLL":
            return {"full": self.chance(0.5), "epsilon": float(self.one((1e-6, 1e-2)))}, 2
        return {}, 1

    # ---- training --------------------------------------------------------------------------------
    def optimizer(self) -> tuple[str, dict[str, Any]]:
        name = str(self.one(OPTIMIZERS))
        decay = {"weight_decay": self.real(0.001, 0.1)} if self.chance(0.4) else {}
        betas = {"beta_1": self.real(0.5, 0.95), "beta_2": self.real(0.8, 0.999)}
        if name == "SGD":
            momentum = self.real(0.3, 0.95) if self.chance(0.6) else 0.0
            nesterov = bool(momentum) and self.chance(0.5)
            return name, {"momentum": momentum, "nesterov": nesterov, **decay}
        if name in ("RMSprop", "Adadelta"):
            return name, {"rho": self.real(0.7, 0.99), **decay}
        if name == "Lion" or (name in ("Adam", "AdamW", "Adamax", "Nadam") and self.chance(0.5)):
            return name, {**betas, **decay}
        if name in ("Adam", "AdamW"):
            return name, {"amsgrad": self.chance(0.5), **decay}
        return name, {} if name == "Rprop" else decay

    def schedule(self, name: str) -> tuple[str, dict[str, Any]]:
        rate = {"SGD": 0.05, "Adadelta": 0.5, "Adagrad": 0.05, "Lion": 0.002}.get(name, 0.01)
        rate *= self.real(0.3, 1.5)
        if name == "Rprop" or self.chance(0.5):
            return "constant", {"rate": rate}
        kinds = [
            ("InverseTime", {"decay_steps": 3, "decay_rate": self.real(0.1, 1)}),
            ("Exponential", {"decay_steps": 4, "decay_rate": self.real(0.3, 1)}),
            ("Step", {"step_size": 3, "gamma": self.real(0.3, 1)}),
            ("Cosine", {"decay_steps": 12, "alpha": 0.1, "warmup_steps": 3}),
            ("Polynomial", {"decay_steps": 8, "end_learning_rate": rate / 10, "power": 2.0}),
        ]
        kind, config = self.one(kinds)
        return kind, {"initial_learning_rate": rate, **config}

    def spec(self) -> Spec:
        for _ in range(int(self.rng.integers(1, 4))):
            rank = int(self.one((1, 1, 1, 2, 3, 4)))
            shape = (
                *(int(self.rng.integers(1, 4)) for _ in range(rank - 1)),
                int(self.one(self.widths)),
            )
            self.call(-1, (), shape)
        moves = [getattr(self, name) for name in dir(self) if name.startswith("move_")]
        moves += [self.move_dense] * 3
        for _ in range(int(self.rng.integers(3, 12))):
            self.one(moves)()
        more = {1: recurrent, 5: recurrent, 7: images, 4: others}.get(self.seed % 8)
        if more is not None:
            more.add(self)
        used = {s for call in self.calls for s in call.sources}
        for value in [i for i in range(len(self.calls)) if i not in used]:
            self.head(value)
        optimizer = self.optimizer()
        rows = int(self.rng.integers(3, 41))
        batch = None if optimizer[0] == "Rprop" else int(self.one((1, 2, 3, 5, 8, 13, 16)))
        compiled: dict[str, Any] = {}
        if self.chance(0.25):
            compiled["gradient_clip_norm"] = self.real(0.05, 1)
        if self.chance(0.2):
            compiled["gradient_clip_value"] = self.real(0.01, 0.3)
        if self.chance(0.25):
            compiled["accumulate_steps"] = int(self.rng.integers(2, 5))
        if self.chance(0.25) and optimizer[0] != "Rprop":
            compiled["parameter_groups"] = {
                "*/bias": {"weight_decay": 0.0, "learning_rate_factor": self.real(0.3, 2)},
                "*/*": {"weight_decay": self.real(0, 0.05)},
            }
        shape = self.shape(self.heads[0].value)
        single = len(self.heads) == 1 and self.heads[0].target == "labels" and len(shape) == 1
        weights = {k: self.real(0.3, 2) for k in range(shape[0])} if single else None
        return Spec(
            self.seed, self.layers, self.calls, self.heads, optimizer, self.schedule(optimizer[0]),
            compiled, {"batch_size": batch, "epochs": int(self.rng.integers(1, 4))}, rows,
            self.chance(0.4), weights if self.chance(0.4) else None,
        )  # fmt: skip


def make(seed: int) -> Spec:
    return Maker(seed).spec()


def targets(kind: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Targets of a kind for predictions of this shape, the batch included."""
    if kind == "labels":
        return rng.integers(0, shape[-1], shape[:-1])
    if kind == "distribution":
        t = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
        t[0] = np.eye(shape[-1])[0]
        return t
    if kind == "bits":
        return rng.integers(0, 2, shape).astype(np.float64)
    if kind == "signs":
        return rng.integers(0, 2, shape) * 2.0 - 1
    if kind == "counts":
        return rng.integers(0, 6, shape).astype(np.float64)
    return rng.normal(size=shape)


def data(spec: Spec) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray | None]:
    """Inputs, targets and sample weights."""
    rng = np.random.default_rng([21, spec.seed])
    xs = [others.data(spec, i, rng) for i in spec.inputs]
    ys = []
    for head in spec.heads:
        shape = (spec.rows, *spec.calls[head.value].shape)
        ys.append(targets(head.target, (*shape[:-1], shape[-1] // head.parts), rng))
    return xs, ys, rng.uniform(0.2, 2, spec.rows) if spec.weighted else None
