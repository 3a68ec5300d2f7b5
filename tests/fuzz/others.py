"""Layers of ids, of steps that do not count, and the rest for random models, with their formulas.

They are drawn apart, for every eighth seed, so that the other seeds keep their models.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import recurrent

KINDS = ("Embedding", "Masking", "TimeDistributed", "MaskedDense", "FixedPoint")
OF_INTEGERS = ("Embedding", "Masking")  # inputs of theirs are drawn as 0, 1, 2, ...


def add(maker: Any) -> None:
    """One or two chains: steps of which some do not count, and what works on a row."""
    rng = np.random.default_rng([26, maker.seed])

    def one(items: Any) -> Any:
        return items[int(rng.integers(len(items)))]

    for _ in range(int(rng.integers(1, 3))):
        if rng.random() < 0.6:
            _steps(maker, rng, one)
        else:
            _row(maker, rng, one)


def _steps(maker: Any, rng: np.random.Generator, one: Any) -> None:
    """Ids or values of an input of their own, and layers that pass over what does not count."""
    t, width = int(rng.integers(2, 7)), int(rng.integers(1, 5))
    if rng.random() < 0.6:
        x = maker.call(-1, (), (t,))
        value = maker.add("Embedding", (x,), (t, width), input_dim=int(rng.integers(2, 7)),
                          output_dim=width, mask_zero=bool(rng.random() < 0.7))  # fmt: skip
    else:
        x = maker.call(-1, (), (t, width))
        value = maker.add("Masking", (x,), (t, width), mask_value=float(one((0, 1))))
    if rng.random() < 0.6:
        units, f = int(one(maker.units)), str(one(recurrent.FUNCTIONS))
        inner = {"class_name": "Dense", "config": {"units": units, "activation": f}}
        value = maker.add("TimeDistributed", (value,), (t, units), layer=inner)
    kind = str(one((*recurrent.CELLS, "GlobalAveragePooling1D")))
    if kind == "GlobalAveragePooling1D":
        maker.add(kind, (value,), maker.shape(value)[1:])
        return
    config = {"units": int(one(maker.units)), "activation": "tanh", "use_bias": True,
              "recurrent_activation": "sigmoid", "return_sequences": False}  # fmt: skip
    config["reset_after"] = config["go_backwards"] = bool(rng.random() < 0.3)
    maker.add(kind, (value,), (config["units"],), **recurrent.own(kind, config))


def _row(maker: Any, rng: np.random.Generator, one: Any) -> None:
    rows = [i for i, c in enumerate(maker.calls) if len(c.shape) == 1 and c.layer >= 0]
    if not rows:
        return
    value, units = int(one(rows)), int(one(maker.units))
    features = maker.shape(value)[0]
    if rng.random() < 0.5:
        mask = rng.integers(0, 2, (features, units)).tolist()
        maker.add("MaskedDense", (value,), (units,), units=units, mask=mask, activation="tanh",
                  use_bias=True)  # fmt: skip
        return
    maker.add("FixedPoint", (value,), (units,), cell=[units, features], max_iter=2000,
              backward_iter=2000, damping=float(one((0.0, 0.2))),
              solver=str(one(("iterate", "anderson"))),
              backward=str(one(("iterate", "direct"))))  # fmt: skip


def data(spec: Any, value: int, rng: np.random.Generator) -> np.ndarray:
    """Of an input, by the layers that read it. Of ids and marked steps the first one counts."""
    shape = (spec.rows, *spec.calls[value].shape)
    readers = [spec.layers[c.layer] for c in spec.calls if value in c.sources]
    if not any(layer.kind in OF_INTEGERS for layer in readers):
        return rng.normal(size=shape)
    config = readers[0].config
    x = rng.integers(0, config.get("input_dim", 3), shape)
    x[:, 0] = 1 - int(config.get("mask_value", 0))
    return x


# ---- formulas ------------------------------------------------------------------------------------
def formula(kind: str, config: dict[str, Any], x: Any, w: dict[str, Any]) -> Any:
    """`counts` (N, T) goes with values some of whose steps do not count."""
    import torch

    from . import formulas

    if kind == "Embedding":
        y = w["embeddings"][x]
        if config["mask_zero"]:
            y.counts = x != 0
        return y
    if kind == "Masking":
        counts = (x != config["mask_value"]).any(-1)
        y = x * counts[..., None] * 1.0
        y.counts = counts
        return y
    if kind == "TimeDistributed":
        inner = config["layer"]["config"]
        y = formulas.activation(inner["activation"], x @ w["kernel"] + w["bias"])
        if hasattr(x, "counts"):
            y.counts = x.counts
        return y
    if kind == "MaskedDense":
        kernel = w["kernel"] * torch.tensor(config["mask"])
        return formulas.activation(config["activation"], x @ kernel + w["bias"])
    h = torch.zeros(len(x), config["cell"][0])
    for _ in range(2000):
        before, h = h, torch.tanh(torch.cat([h, x], 1) @ w["dense_kernel"] + w["dense_bias"])
        if float((h - before).detach().abs().max()) < 1e-15:
            break
    return h
