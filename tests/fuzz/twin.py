"""A spec trained with PyTorch in float64: the formulas once more, by autograd and torch.optim.

Nothing of bpcore takes part but the random numbers of noise layers, which come from layers of the
same seeds that stand alone. What PyTorch does not have is written here from its source: Lion,
constraints, penalties, losses, weights of samples, accumulation, clipping, schedules.
"""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch

import bpcore as bp

from . import formulas, images, others, recurrent
from .ours import Result, Weights
from .spec import NOISE, SPATIAL, Call, Layer, Spec, data

Tensor = torch.Tensor
RANDOM = (*NOISE, *SPATIAL.values())


class Twin:
    """Weights, optimizer and the run of one spec.

    floors: probabilities are held where the core holds them. last_places: gradients are changed by
    -1, 0 or 1 last places of the largest gradient, as another order of sums would do.
    """

    def __init__(
        self,
        spec: Spec,
        weights: Weights,
        floors: bool = False,
        last_places: np.random.Generator | None = None,
    ) -> None:
        self.spec, self.floors, self.last_places = spec, floors, last_places
        self.values = {key: torch.tensor(value) for key, value in weights.items()}
        self.trained = [key for key in self.values if self._is_trained(*key)]
        for key in self.trained:
            self.values[key].requires_grad_(True)
        self.noise = {
            i: self._noise_layers(layer)
            for i, layer in enumerate(spec.layers)
            if layer.kind in RANDOM
        }
        self.updates = 0
        self.optimizer = self._optimizer()

    def _is_trained(self, index: int, name: str) -> bool:
        layer = self.spec.layers[index]
        fixed = name.startswith("moving") or layer.kind == "Normalization"
        return layer.trainable and not fixed

    @staticmethod
    def _noise_layers(layer: Layer) -> tuple[Any, Any]:
        return tuple(getattr(bp.layers, layer.kind)(**layer.config, dtype="float64") for _ in "01")

    # ---- forward -------------------------------------------------------------------------------
    def forward(self, xs: list[Tensor], training: bool) -> list[Tensor]:
        """All values. In training the moving statistics change and random numbers are drawn."""
        given, values = iter(xs), []
        for call in self.spec.calls:
            if call.layer < 0:
                values.append(next(given))
            else:
                values.append(self._call(call, [values[s] for s in call.sources], training))
        return values

    def _call(self, call: Call, xs: list[Tensor], training: bool) -> Tensor:
        layer, w = self.spec.layers[call.layer], self._of(call.layer)
        kind, c, x = layer.kind, layer.config, xs[0]
        if kind in ("Dense", "TiedDense"):
            kernel = w["kernel"] if kind == "Dense" else self.values[c["tied_to"], "kernel"].T
            z = x @ kernel
            return formulas.activation(c["activation"], z + w["bias"] if c["use_bias"] else z)
        if kind == "Activation":
            return formulas.activation(c["activation"], x, c.get("alpha"))
        if kind in ("Flatten", "Reshape"):
            return x.reshape(len(x), *call.shape)
        if kind == "Concatenate":
            return torch.cat(xs, c["axis"])
        if kind == "Dot":
            return formulas.dot(*xs, **c)
        if kind in RANDOM:
            return self._noisy(call.layer, x) if training else x
        if kind == "Arithmetic":
            return self._arithmetic(x, **c)
        if kind in ("Scale", "PReLU", "Swish", "Bent"):
            return self._scaled(kind, x, w)
        if kind in recurrent.KINDS:
            return recurrent.formula(kind, c, x, w)
        if kind in others.KINDS:
            return others.formula(kind, c, x, w)
        if kind in images.KINDS:
            return images.formula(kind, c, x, w)
        if kind.endswith("Normalization"):
            return self._normalized(layer, x, w, training)
        return formulas.merged(kind, xs)

    def _of(self, index: int) -> dict[str, Tensor]:
        return {name: value for (i, name), value in self.values.items() if i == index}

    @staticmethod
    def _arithmetic(x: Tensor, form: str, number: float) -> Tensor:
        if form == "c - x":
            return number - x
        if form == "-x":
            return -x
        return {"+": x + number, "*": x * number, "/": x / number}[form[2]]

    @staticmethod
    def _scaled(kind: str, x: Tensor, w: dict[str, Tensor]) -> Tensor:
        if kind == "Scale":
            return x * w["scale"]
        if kind == "Swish":
            return x * torch.sigmoid(w["beta"] * x)
        if kind == "PReLU":
            return torch.where(x > 0, x, w["alpha"] * x)
        return x + w["s"] * x * x / (1 + x * x)

    def _noisy(self, index: int, x: Tensor) -> Tensor:
        """y = m x + c, m and c from the layer's values at 1 and 0."""
        zero, one = self.noise[index]
        shape = tuple(x.shape)
        c = np.asarray(zero(np.zeros(shape), training=True))
        m = np.asarray(one(np.ones(shape), training=True)) - c
        return x * torch.tensor(m) + torch.tensor(c)

    def _normalized(self, layer: Layer, x: Tensor, w: dict[str, Tensor], training: bool) -> Tensor:
        kind, c = layer.kind, layer.config
        if kind == "Normalization":
            mean, deviation = w["mean"], torch.sqrt(w["variance"])
            return mean + x * deviation if c["invert"] else (x - mean) / deviation
        if kind == "BatchNormalization":
            y = self._batch_normalized(layer, x, w, training)
        elif kind == "GroupNormalization":
            parts = x.reshape(*x.shape[:-1], c["groups"], -1)
            axes = (*range(1, x.ndim - 1), x.ndim)
            y = formulas.standardised(parts, axes, c["epsilon"]).reshape(x.shape)
        else:
            y = formulas.standardised(
                x, tuple(c["axis"]), c["epsilon"], kind == "LayerNormalization"
            )
        y = y * w["gamma"] if "gamma" in w else y
        return y + w["beta"] if "beta" in w else y

    def _batch_normalized(
        self, layer: Layer, x: Tensor, w: dict[str, Tensor], training: bool
    ) -> Tensor:
        c = layer.config
        if not (training and layer.trainable):
            return (x - w["moving_mean"]) / torch.sqrt(w["moving_variance"] + c["epsilon"])
        flat = x.reshape(-1, x.shape[-1])
        mean, variance = flat.mean(0), flat.var(0, unbiased=False)
        with torch.no_grad():
            keep, m = c["momentum"], len(flat)
            w["moving_mean"].mul_(keep).add_((1 - keep) * mean)
            if m > 1:
                w["moving_variance"].mul_(keep).add_((1 - keep) * variance * m / (m - 1))
        return (x - mean) / torch.sqrt(variance + c["epsilon"])

    # ---- losses and penalties ------------------------------------------------------------------
    def loss(self, values: list[Tensor], ys: list[Tensor], weight: Tensor | None) -> Tensor:
        """Weighted by outputs and rows, the mean over the batch, and penalties."""
        total = torch.zeros(())
        for head, y in zip(self.spec.heads, ys, strict=True):
            rows = formulas.row_losses(head, values[head.value], y, self.floors)
            total = total + head.weight * (rows if weight is None else rows * weight).mean()
        return total + self.penalty()

    def penalty(self) -> Tensor:
        total = torch.zeros(())
        for index, layer in enumerate(self.spec.layers):
            for name, penalty in layer.penalties.items():
                total = total + formulas.penalty_value(self.values[index, name], *penalty)
        return total

    # ---- training ------------------------------------------------------------------------------
    def gradients(self, loss: Tensor) -> list[Tensor]:
        weights = [self.values[key] for key in self.trained]
        if not weights or not loss.requires_grad:
            return [torch.zeros_like(w) for w in weights]
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        return [
            torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)
        ]

    def batch(self, xs: list[Tensor], ys: list[Tensor], ws: Tensor | None) -> Tensor:
        return self.loss(self.forward(xs, True), ys, ws)

    def rate(self) -> float:
        return formulas.schedule(*self.spec.schedule, self.updates)

    def _optimizer(self) -> Any:
        name, config = self.spec.optimizer
        groups = []
        for key in self.trained:
            factor, decay = 1.0, config.get("weight_decay", 0.01 if name == "AdamW" else 0.0)
            patterns = self.spec.compiled.get("parameter_groups", {})
            for pattern, options in patterns.items():
                if fnmatchcase(f"layer_{key[0]}/{key[1]}", pattern):
                    factor = options.get("learning_rate_factor", 1.0)
                    decay = options.get("weight_decay", decay)
                    break
            own = {} if name == "Rprop" else {"weight_decay": decay}
            groups.append({"params": [self.values[key]], "factor": factor, **own})
        return formulas.make_optimizer(name, config, groups, self.rate()) if groups else None

    def disturbed(self, gradients: list[Tensor]) -> list[Tensor]:
        rng = self.last_places
        if rng is None or not gradients:
            return gradients
        unit = 2.0**-52 * max(float(g.abs().max()) for g in gradients)
        return [g + unit * torch.tensor(rng.integers(-1, 2, g.shape)) for g in gradients]

    def update(self, gradients: list[Tensor]) -> None:
        gradients = self.disturbed(gradients)
        value = self.spec.compiled.get("gradient_clip_value")
        if value is not None:
            gradients = [g.clamp(-value, value) for g in gradients]
        norm = math.sqrt(sum(float((g * g).sum()) for g in gradients))
        limit = self.spec.compiled.get("gradient_clip_norm")
        if limit is not None and norm > limit:
            gradients = [g * (limit / norm) for g in gradients]
        if self.optimizer is not None:
            for group, g in zip(self.optimizer.param_groups, gradients, strict=True):
                group["params"][0].grad = g
                if self.spec.optimizer[0] != "Rprop":
                    group["lr"] = group["factor"] * self.rate()
            self.optimizer.step()
        self.updates += 1
        with torch.no_grad():
            for index, layer in enumerate(self.spec.layers):
                for name, bound in layer.bounds.items():
                    if layer.trainable:
                        w = self.values[index, name]
                        w.copy_(formulas.constrained(w, *bound))

    def epoch(self, xs: list[Tensor], ys: list[Tensor], ws: Tensor | None) -> float:
        """One pass; the mean of the batches' losses, by rows."""
        size, rows = self.spec.fit["batch_size"] or self.spec.rows, self.spec.rows
        every, waiting, total = self.spec.compiled.get("accumulate_steps", 1), [], 0.0
        for start in range(0, rows, size):
            part = slice(start, start + size)
            loss = self.batch(
                [x[part] for x in xs], [y[part] for y in ys], None if ws is None else ws[part]
            )
            total += float(loss.detach()) * len(xs[0][part])
            waiting.append(self.gradients(loss))
            if len(waiting) == every or start + size >= rows:
                self.update([sum(g) / len(waiting) for g in zip(*waiting, strict=True)])
                waiting = []
        return total / rows

    def sample_weights(self, ys: list[np.ndarray], ws: np.ndarray | None) -> Tensor | None:
        if self.spec.class_weight is None:
            return None if ws is None else torch.tensor(ws)
        of_class = np.vectorize(self.spec.class_weight.__getitem__, otypes=[float])(ys[0])
        return torch.tensor(of_class if ws is None else of_class * ws)

    def run(self) -> Result:
        spec = self.spec
        arrays, targets, ws = data(spec)
        xs, ys = ([torch.tensor(a) for a in v] for v in (arrays, targets))
        weight = None if ws is None else torch.tensor(ws)
        first = slice(0, spec.fit["batch_size"] or spec.rows)
        # A twin of its own: gradients move no statistics and use no random numbers up.
        trial = Twin(spec, self.arrays(), self.floors)
        loss = trial.batch(
            [x[first] for x in xs], [y[first] for y in ys],
            None if weight is None else weight[first],
        )  # fmt: skip
        gradients = dict(zip(trial.trained, map(np.asarray, trial.gradients(loss)), strict=True))
        fitted = self.sample_weights(targets, ws)
        losses = [self.epoch(xs, ys, fitted) for _ in range(spec.fit["epochs"])]
        with torch.no_grad():
            values = self.forward(xs, False)
            evaluated = float(self.loss(values, ys, weight))
        predictions = [values[head.value].numpy() for head in spec.heads]
        return Result(
            float(loss.detach()), gradients, losses, self.arrays(), predictions, evaluated
        )

    def arrays(self) -> Weights:
        return {key: value.detach().numpy().copy() for key, value in self.values.items()}
