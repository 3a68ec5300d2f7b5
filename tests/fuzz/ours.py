"""A spec built and trained with bpcore, by its public interface."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

import bpcore as bp

from .spec import Layer, Spec, data

L = bp.layers
Weights = dict[tuple[int, str], np.ndarray]  # by layer and the parameter's own name


class Quartic(bp.regularizers.Regularizer):
    """factor * sum w^4."""

    def __init__(self, factor=0.1):
        self.factor = factor

    def value(self, w):
        return self.factor * float((w**4).sum())

    def gradient(self, w):
        return 4 * self.factor * w**3


class Charbonnier:
    """A loss of a user's own: the mean over outputs of sqrt(1 + (p - t)^2) - 1, by rows."""

    def value(self, y_true, y_pred):
        return (np.hypot(1, y_pred - y_true) - 1).reshape(len(y_pred), -1).mean(axis=1)

    def gradient(self, y_true, y_pred):
        return (y_pred - y_true) / np.hypot(1, y_pred - y_true) / y_pred[0].size


class Shrunk(bp.constraints.Constraint):
    """factor * w."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, w):
        return self.factor * w


class Bent(L.Layer):
    """y = x + s x^2 / (1 + x^2), s one number that is trained."""

    def build(self, input_shape):
        self.s = self.add_weight("s", (1,), "ones")

    def forward(self, x, training):
        self.x = x
        return x + self.s.value * x * x / (1 + x * x)

    def backward(self, dy):
        x = self.x
        self.s.grad += (dy * x * x / (1 + x * x)).sum()
        return dy * (1 + self.s.value * 2 * x / (1 + x * x) ** 2)


def resting(units: int, features: int, dtype: str) -> Any:
    """h -> tanh([h, x] kernel + bias)."""
    h, x = bp.Input((units,)), bp.Input((features,))
    return bp.Model([h, x], L.Dense(units, "tanh")(L.Concatenate()([h, x])), dtype=dtype)


def regularizer(name: str, config: dict[str, Any]) -> Any:
    return Quartic(**config) if name == "Quartic" else getattr(bp.regularizers, name)(**config)


def constraint(name: str, config: dict[str, Any]) -> Any:
    return Shrunk(**config) if name == "Shrunk" else getattr(bp.constraints, name)(**config)


def arithmetic(x: Any, form: str, number: float) -> Any:
    forms = {
        "x + c": lambda: x + number,
        "c - x": lambda: number - x,
        "x * c": lambda: x * number,
        "x / c": lambda: x / number,
        "-x": lambda: -x,
    }
    return forms[form]()


def make_layer(spec: Layer, index: int, made: list[Any], dtype: str) -> Any:
    config: dict[str, Any] = {**spec.config, "name": f"layer_{index}"}
    for name, penalty in spec.penalties.items():
        config[f"{name}_regularizer"] = regularizer(*penalty)
    for name, bound in spec.bounds.items():
        config[f"{name}_constraint"] = constraint(*bound)
    if not spec.trainable:
        config["trainable"] = False
    if spec.kind == "TiedDense":
        config["tied_to"] = made[config["tied_to"]]
    if spec.kind == "FixedPoint":
        tol = 1e-14 if dtype == "float64" else 1e-5
        config.update(cell=resting(*config["cell"], dtype), tol=tol, backward_tol=tol)
    return Bent(**config) if spec.kind == "Bent" else getattr(L, spec.kind)(**config)


def rate(schedule: tuple[str, dict[str, Any]]) -> Any:
    name, config = schedule
    return config["rate"] if name == "constant" else getattr(bp.schedules, name)(**config)


def loss(name: str, config: dict[str, Any]) -> Any:
    return Charbonnier() if name == "Charbonnier" else getattr(bp.losses, name)(**config)


@dataclasses.dataclass
class Result:
    """What a trainer says: of the first batch before any update, and of the end."""

    first_loss: float
    first_gradients: Weights
    losses: list[float]  # by epoch
    weights: Weights
    predictions: list[np.ndarray]
    evaluated: float


class Ours:
    def __init__(self, spec: Spec, dtype: str = "float64") -> None:
        self.spec = spec
        self.layers: list[Any] = []
        symbols: list[Any] = []
        for call in spec.calls:
            if call.layer < 0:
                symbols.append(bp.Input(call.shape))
                continue
            while len(self.layers) <= call.layer:
                made = spec.layers[len(self.layers)]
                plain = made.kind == "Arithmetic"
                layer = None if plain else make_layer(made, len(self.layers), self.layers, dtype)
                self.layers.append(layer)
            sources = [symbols[s] for s in call.sources]
            layer, config = self.layers[call.layer], spec.layers[call.layer].config
            if layer is None:
                symbols.append(arithmetic(sources[0], **config))
            else:
                symbols.append(layer(sources if len(sources) > 1 else sources[0]))
        inputs = [symbols[i] for i in spec.inputs]
        outputs = [symbols[head.value] for head in spec.heads]
        self.model = bp.Model(inputs, outputs, dtype=dtype, seed=0)
        self._draw_weights()
        name, config = spec.optimizer
        losses = [loss(head.loss, head.config) for head in spec.heads]
        groups = spec.compiled.get("parameter_groups")
        options = {**spec.compiled}
        if groups is not None:  # a pattern that fits nothing is an error
            names = [w.local_name for w in self.model.weights]
            options["parameter_groups"] = {
                key: value for key, value in groups.items() if key != "*/bias" or "bias" in names
            }
        self.model.compile(
            getattr(bp.optimizers, name)(rate(spec.schedule), **config), losses,
            loss_weights=[head.weight for head in spec.heads], **options,
        )  # fmt: skip

    def _draw_weights(self) -> None:
        """Weights away from their beginnings, so that no term of a gradient is 0."""
        rng = np.random.default_rng([22, self.spec.seed])
        for layer in self.layers:
            for w in layer.weights if layer is not None else ():
                if w.local_name in ("mean", "variance"):  # of Normalization: told
                    continue
                value = rng.normal(size=w.shape) * 0.5
                if w.local_name == "kernel":
                    value *= 2 / w.shape[0] ** 0.5
                if w.local_name == "dense_kernel":  # of a FixedPoint: it has to come to rest
                    value *= 0.5 / w.shape[0] ** 0.5
                if w.local_name == "moving_variance":
                    value = 0.5 + value**2
                if w.local_name in ("gamma", "scale", "beta", "alpha", "s"):
                    value += 0.7
                w.value = value

    def weights(self) -> Weights:
        found = {}
        for index, layer in enumerate(self.layers):
            for w in layer.weights if layer is not None else ():
                found[index, w.local_name] = np.array(w.value)
        return found

    def trainable(self) -> dict[tuple[int, str], str]:
        """The full name of each parameter that is trained."""
        found = {}
        for index, layer in enumerate(self.layers):
            for w in layer.weights if layer is not None else ():
                if w.trainable:
                    found[index, w.local_name] = w.name
        return found

    def run(self) -> Result:
        spec, model = self.spec, self.model
        xs, ys, ws = data(spec)
        x, y = (v if len(v) > 1 else v[0] for v in (xs, ys))
        first = slice(0, spec.fit["batch_size"] or spec.rows)
        part = [[a[first] for a in v] if isinstance(v, list) else v[first] for v in (x, y)]
        gradients = model.gradients(*part, sample_weight=None if ws is None else ws[first])
        history = model.fit(
            x, y, verbose=0, shuffle=False, sample_weight=ws, class_weight=spec.class_weight,
            **spec.fit,
        )  # fmt: skip
        predictions = model.predict(x)
        return Result(
            gradients.loss,
            {key: gradients.parameters[name] for key, name in self.trainable().items()},
            history.history["loss"],
            self.weights(),
            predictions if isinstance(predictions, list) else [predictions],
            model.evaluate(x, y, sample_weight=ws, batch_size=7)["loss"],
        )
