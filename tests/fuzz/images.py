"""Layers of images and signals for random models: which ones, and their formulas in PyTorch.

They are drawn apart, for every eighth seed, so that the other seeds keep their models.
"""

from __future__ import annotations

from typing import Any

import numpy as np

CONVOLUTIONS = ("Conv1D", "Conv2D", "DepthwiseConv2D", "SeparableConv2D")
POOLS = ("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D")
WHOLE = ("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalAveragePooling2D")
PLACES = ("ZeroPadding1D", "ZeroPadding2D", "Cropping1D", "Cropping2D")
ENLARGED = ("UpSampling1D", "UpSampling2D")
KINDS = (*CONVOLUTIONS, *POOLS, *WHOLE, *PLACES, *ENLARGED, "Rescaling")
FUNCTIONS = ("linear", "tanh", "sigmoid", "gelu", "silu", "relu")


def add(maker: Any) -> None:
    """Two to four layers, one behind the other, on an image or a signal."""
    rng = np.random.default_rng([25, maker.seed])

    def one(items: Any) -> Any:
        return items[int(rng.integers(len(items)))]

    value = int(one(range(len(maker.calls))))
    rank = int(one((1, 2, 2)))
    positions = [int(n) for n in rng.integers(3, 9 if rank == 2 else 20, rank)]
    units = int(np.prod(positions)) * int(rng.integers(1, 4))
    value = maker.add("Flatten", (value,), (int(np.prod(maker.shape(value))),))
    value = maker.make_dense(value, units, "tanh")
    shape = (*positions, units // int(np.prod(positions)))
    value = maker.add("Reshape", (value,), shape, shape=shape)
    for _ in range(int(rng.integers(2, 5))):
        kinds = [k for k in KINDS if k == "Rescaling" or k.endswith(f"{rank}D")]
        kind = str(one([*kinds, *[k for k in kinds if k in CONVOLUTIONS] * 3]))
        config = _config(kind, rank, maker.shape(value)[-1], rng, one)
        shape = _shape(kind, config, maker.shape(value))
        if min(shape) < 1 or np.prod(shape) > 900:
            continue
        value = maker.add(kind, (value,), shape, **config)
        if len(shape) != rank + 1:
            return


def _config(kind: str, rank: int, channels: int, rng: np.random.Generator, one: Any) -> Any:
    def several(items: Any) -> list[int]:
        return [int(one(items)) for _ in range(rank)]

    if kind == "Rescaling":
        return {"scale": 0.5, "offset": float(np.round(rng.uniform(-1, 1), 3))}
    if kind in WHOLE:
        return {}
    if kind in ENLARGED:
        return {"size": several((1, 2)) if rank > 1 else 2}
    if kind in PLACES:
        name = "padding" if kind.startswith("Zero") else "cropping"
        pairs = [[int(one((0, 1, 1))) for _ in range(2)] for _ in range(rank)]
        return {name: pairs if rank > 1 else pairs[0]}
    words = ["valid", "same", "same", *(["causal"] if kind == "Conv1D" else [])]
    if kind in POOLS:
        return {"pool_size": several((1, 2, 3)), "strides": several((1, 2)),
                "padding": str(one(words[:3]))}  # fmt: skip
    numbers = several((0, 1, 2))
    config = {
        "kernel_size": several((1, 2, 3, 3, 5)),
        "strides": several((1, 1, 2)),
        "padding": numbers if rng.random() < 0.3 else str(one(words)),
        "dilation_rate": several((1, 1, 2)),
        "activation": str(one(FUNCTIONS)),
        "use_bias": bool(rng.random() < 0.8),
    }
    if kind in ("DepthwiseConv2D", "SeparableConv2D"):
        config["depth_multiplier"] = int(one((1, 1, 2)))
    else:
        config["groups"] = int(one([n for n in range(1, channels + 1) if channels % n == 0]))
    if kind != "DepthwiseConv2D":
        config["filters"] = config.get("groups", 1) * int(rng.integers(1, 5))
    return config


def _shape(kind: str, c: dict[str, Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """What comes out, by the formula of the documentation."""
    *positions, channels = shape
    if kind == "Rescaling":
        return shape
    if kind in WHOLE:
        return (channels,)
    if kind in ENLARGED:
        return (*(n * m for n, m in zip(positions, _sizes(c), strict=True)), channels)
    if kind in PLACES:
        return (*(n + sum(p) for n, p in zip(positions, _margins(c), strict=True)), channels)
    found = []
    for i, (before, after) in enumerate(_pads(kind, c, positions)):
        size, dilation = _window(c, i)
        count = (positions[i] + before + after - (size - 1) * dilation - 1) // c["strides"][i] + 1
        found.append(count)
    if kind == "DepthwiseConv2D":
        channels *= c["depth_multiplier"]
    return (*found, c.get("filters", channels))


def _sizes(c: dict[str, Any]) -> list[int]:
    return c["size"] if isinstance(c["size"], list) else [c["size"]]


def _margins(c: dict[str, Any]) -> list[list[int]]:
    """What comes before and behind each axis, or is taken away."""
    sign, pairs = (1, c["padding"]) if "padding" in c else (-1, c["cropping"])
    pairs = pairs if isinstance(pairs[0], list) else [pairs]
    return [[sign * n for n in pair] for pair in pairs]


def _window(c: dict[str, Any], axis: int) -> tuple[int, int]:
    size = c["kernel_size"] if "kernel_size" in c else c["pool_size"]
    return size[axis], c["dilation_rate"][axis] if "dilation_rate" in c else 1


def _pads(kind: str, c: dict[str, Any], positions: Any) -> list[tuple[int, int]]:
    """Zeros before and behind each axis: Keras' rule for words."""
    found = []
    for i, n in enumerate(positions):
        size, dilation = _window(c, i)
        reach, stride, word = (size - 1) * dilation + 1, c["strides"][i], c["padding"]
        total = max((-(-n // stride) - 1) * stride + reach - n, 0) if word == "same" else 0
        by_word = (reach - 1, 0) if word == "causal" else (total // 2, total - total // 2)
        found.append(by_word if isinstance(word, str) else (word[i], word[i]))
    return found


# ---- formulas ------------------------------------------------------------------------------------
def formula(kind: str, c: dict[str, Any], x: Any, w: dict[str, Any]) -> Any:
    """x has its channels last, as bpcore has them; PyTorch's are first."""
    from torch.nn import functional as F

    from . import formulas

    if kind == "Rescaling":
        return x * c["scale"] + c["offset"]
    rank = x.ndim - 2
    z = x.movedim(-1, 1)
    if kind in WHOLE:
        return z.flatten(2).max(-1).values if "Max" in kind else z.flatten(2).mean(-1)
    if kind in ENLARGED:
        for axis, n in enumerate(_sizes(c)):
            x = x.repeat_interleave(n, axis + 1)
        return x
    if kind in PLACES:
        return F.pad(z, [n for pair in reversed(_margins(c)) for n in pair]).movedim(1, -1)
    pads = [n for pair in reversed(_pads(kind, c, x.shape[1:-1])) for n in pair]
    if kind in POOLS:
        most = kind.startswith("Max")
        pool = getattr(F, f"{'max' if most else 'avg'}_pool{rank}d")
        of_ones = pool(F.pad(z * 0 + 1, pads), c["pool_size"], c["strides"])
        y = pool(F.pad(z, pads, value=-1e300 if most else 0.0), c["pool_size"], c["strides"])
        return (y if most else y / of_ones).movedim(1, -1)
    convolve = getattr(F, f"conv{rank}d")

    def convolved(z: Any, kernel: Any, bias: Any, groups: int) -> Any:
        turned = kernel.permute(rank + 1, rank, *range(rank)).contiguous()
        return convolve(F.pad(z, pads), turned, bias, c["strides"], 0, c["dilation_rate"], groups)

    if kind in ("DepthwiseConv2D", "SeparableConv2D"):
        kernel = w["kernel"] if kind == "DepthwiseConv2D" else w["depthwise_kernel"]
        own = None if kind == "SeparableConv2D" else w.get("bias")
        z = convolved(z, kernel.flatten(2)[:, :, None], own, kernel.shape[2])
        if kind == "SeparableConv2D":
            z = F.conv2d(z, w["pointwise_kernel"].permute(3, 2, 0, 1), w.get("bias"))
    else:
        z = convolved(z, w["kernel"], w.get("bias"), c["groups"])
    return formulas.activation(c["activation"], z.movedim(1, -1))
