"""Layers of sequences for random models: which ones, and their formulas in PyTorch.

They are drawn apart, for every fourth seed, so that the other seeds keep their models.
"""

from __future__ import annotations

from typing import Any

import numpy as np

CELLS = ("SimpleRNN", "LSTM", "GRU")
KINDS = (*CELLS, "Bidirectional", "RepeatVector", "TappedDelay", "GlobalAveragePooling1D")
FUNCTIONS = ("tanh", "sigmoid", "softsign", "linear", "silu")
MERGES = ("concat", "sum", "mul", "ave")


def add(maker: Any) -> None:
    """One to three layers on values that have steps, or are given some."""
    rng = np.random.default_rng([24, maker.seed])

    def one(items: Any) -> Any:
        return items[int(rng.integers(len(items)))]

    for _ in range(int(rng.integers(1, 4))):
        steps = [i for i, c in enumerate(maker.calls) if len(c.shape) == 2]
        if not steps or rng.random() < 0.2:
            rows = [i for i, c in enumerate(maker.calls) if len(c.shape) == 1]
            if not rows:
                return
            value, n = int(one(rows)), int(rng.integers(2, 8))
            steps = [maker.add("RepeatVector", (value,), (n, *maker.shape(value)), n=n)]
        value = int(one(steps[-4:]))
        t, features = maker.shape(value)
        kind = str(one((*CELLS, *CELLS, "Bidirectional", "TappedDelay", "GlobalAveragePooling1D")))
        if kind == "TappedDelay":
            lags = [int(n) for n in rng.choice(t + 2, 2, replace=False)]
            maker.add(kind, (value,), (t, 2 * features), lags=lags)
        elif kind == "GlobalAveragePooling1D":
            maker.add(kind, (value,), (features,))
        elif kind == "Bidirectional":
            cell, config, sequences = str(one(CELLS)), *_config(rng, one, maker.units)
            config = {**config, **({"reset_after": True} if cell == "GRU" else {})}
            config = own(cell, config)
            units, merge = config["units"], str(one(MERGES))
            width = 2 * units if merge == "concat" else units
            inner = {"class_name": cell, "config": {**config, "return_sequences": sequences}}
            shape = (t, width) if sequences else (width,)
            maker.add(kind, (value,), shape, layer=inner, merge_mode=merge)
        else:
            config, sequences = _config(rng, one, maker.units)
            shape = (t, config["units"]) if sequences else (config["units"],)
            config["go_backwards"] = bool(rng.random() < 0.3)
            config["reset_after"] = bool(rng.random() < 0.5)
            maker.add(kind, (value,), shape, return_sequences=sequences, **own(kind, config))


def _config(rng: np.random.Generator, one: Any, units: Any) -> tuple[dict[str, Any], bool]:
    config = {
        "units": int(one(units)),
        "activation": str(one(FUNCTIONS[:3] if rng.random() < 0.8 else FUNCTIONS)),
        "recurrent_activation": str(one(("sigmoid", "sigmoid", "hard_sigmoid"))),
        "use_bias": bool(rng.random() < 0.8),
    }
    return config, bool(rng.random() < 0.6)


def own(cell: str, config: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a cell has."""
    other = {"SimpleRNN": {"recurrent_activation", "reset_after"}, "LSTM": {"reset_after"}}
    return {key: value for key, value in config.items() if key not in other.get(cell, ())}


# ---- formulas ------------------------------------------------------------------------------------
def formula(kind: str, config: dict[str, Any], x: Any, w: dict[str, Any]) -> Any:
    import torch

    if kind == "RepeatVector":
        return x[:, None].expand(-1, config["n"], -1)
    if kind == "GlobalAveragePooling1D":
        counts = getattr(x, "counts", torch.ones(x.shape[:2]))[..., None] * 1.0
        return (x * counts).sum(1) / counts.sum(1)
    if kind == "TappedDelay":
        t = x.shape[1]
        parts = [torch.cat([torch.zeros_like(x[:, :1]).expand(-1, lag, -1), x], 1)[:, :t]
                 for lag in config["lags"]]  # fmt: skip
        return torch.cat(parts, 2)
    if kind != "Bidirectional":
        return _sequence(kind, config, x, w)
    cell, inner = config["layer"]["class_name"], config["layer"]["config"]
    ways = []
    for way in ("forward", "backward"):
        own = {name.removeprefix(f"{way}_"): value for name, value in w.items()
               if name.startswith(way)}  # fmt: skip
        y = _sequence(cell, {**inner, "go_backwards": way == "backward"}, x, own)
        back = way == "backward" and inner["return_sequences"]
        ways.append(y.flip(1) if back else y)
    a, b = ways
    merges = {"sum": lambda: a + b, "mul": lambda: a * b, "ave": lambda: (a + b) / 2}
    return merges.get(config["merge_mode"], lambda: torch.cat(ways, -1))()


def _sequence(cell: str, config: dict[str, Any], x: Any, w: dict[str, Any]) -> Any:
    import torch

    from . import formulas

    def f(z: Any) -> Any:
        return formulas.activation(config["activation"], z)

    def s(z: Any) -> Any:
        return formulas.activation(config["recurrent_activation"], z)

    counts = getattr(x, "counts", torch.ones(x.shape[:2], dtype=torch.bool))
    units, r = config["units"], w["recurrent_kernel"]
    bias = w.get("bias", torch.zeros(r.shape[1]))
    apart = cell == "GRU" and config["reset_after"]
    own, inner = (bias[0], bias[1]) if apart and bias.ndim > 1 else (bias, torch.zeros(r.shape[1]))
    h = c = torch.zeros(len(x), units)
    ys = []
    back = [1] if config.get("go_backwards") else []
    for x_t, counts_t in zip(x.flip(back).unbind(1), counts.flip(back).unbind(1), strict=True):
        z, old = x_t @ w["kernel"] + own, (h, c)
        if cell == "SimpleRNN":
            h = f(z + h @ r)
        elif cell == "LSTM":
            i, forget, g, o = (z + h @ r).split(units, 1)
            c = s(forget) * c + s(i) * f(g)
            h = s(o) * f(c)
        else:
            of_h = h @ r[:, : 2 * units] + inner[: 2 * units]
            update, reset = s(z[:, : 2 * units] + of_h).split(units, 1)
            if apart:
                new = z[:, 2 * units :] + reset * (h @ r[:, 2 * units :] + inner[2 * units :])
            else:
                new = z[:, 2 * units :] + (reset * h) @ r[:, 2 * units :]
            h = update * h + (1 - update) * f(new)
        h, c = (torch.where(counts_t[:, None], *pair) for pair in zip((h, c), old, strict=True))
        ys.append(h)
    return torch.stack(ys, 1) if config["return_sequences"] else h
