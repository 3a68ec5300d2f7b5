"""What is wrong with the data: NaN, scale, classes; and the loss of a constant guess."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import activations, data
from ..base.memory import Array
from ..data.dataset import Dataset, subset
from ..inspection.parts import Parts
from .report import Finding

# Root mean squares of a feature. Initializers are made for 1 (X. Glorot, Y. Bengio, 2010; Y. LeCun
# and others, "Efficient BackProp", 1998); raw pixels to 255 and years are far out, 4-bit pixels
# (to 16, rms 7) and features of unit norm over 442 rows (rms 0.05) still train.
LARGE_FEATURE, SMALL_FEATURE = 20.0, 0.02
UNEVEN_FEATURES = 100.0  # largest over median rms
LARGE_TARGET = 20.0  # rms of a regression's target: outputs begin near 0 with size about 1
# Shares of classes; a class in 21 still trains, one in 50 hardly shows in the mean loss.
IMBALANCE = 20.0  # largest share over smallest
ROWS_PER_CLASS = 20  # fewer rows say nothing of shares
FEW_OUTSIDE = 0.01  # of the targets: an outlier or two cost little
_REGRESSION = {"mean_squared_error", "half_squared_error", "mean_absolute_error", "huber",
               "log_cosh"}  # fmt: skip
# Layers behind which the scale of the data does not matter, or that take numbers of words.
_RESCALING = ("Normalization", "Embedding", "Rescaling")


def prepare(
    twin: Parts, x: Any, y: Any, sample_weight: Any = None, mask: Any = None, prefix: str = ""
) -> tuple[Dataset | None, list[Finding]]:
    """The rows that are finite, checked as `fit` does, and a finding for those that are not.

    `prefix` stands before "x" and "y" in messages.
    """
    signature, compilation = twin.engine.signature, twin.compilation
    read = signature.read_inputs(x, prefix + "x", finite=False, mask=mask)
    xs, n = read.xs[: len(signature.inputs)], read.n
    if y is None:
        raise TypeError("y is None, expected targets of shape (N, ...)")
    named = [(label, t.array) for label, t in signature.outputs.tables(prefix + "y", y)]
    findings: list[Finding] = []
    good = np.ones(n, dtype=bool)
    labels = [label for label, _ in signature.inputs.parts(prefix + "x", xs)]
    for (label, array), name in zip(
        [*zip(labels, xs, strict=True), *named],
        [*signature.inputs.names, *signature.outputs.names],
        strict=True,
    ):
        data.rows(label, array, prefix + "x", n)
        finding, rows = _non_finite(label, name, array, twin.engine.dtype)
        good &= rows
        findings += finding
    if not good.any():
        return None, findings
    # A good row in the place of each other one: the numbers in errors are those of the user's rows.
    stand_in = np.where(good, np.arange(n), int(good.argmax()))
    if not good.all():
        named = [(label, array[stand_in]) for label, array in named]
    found = dict(zip(signature.outputs.names, [array for _, array in named], strict=True))
    ys, ws = signature.read_targets(found, sample_weight, compilation.losses, n, inputs=read)
    valid = list(read.valid) or None
    item = Dataset(n, read.xs, ys, ws, form=read.form, valid=valid, lengths=read.lengths)
    return (item if good.all() else subset(item, np.flatnonzero(good))), findings


def _non_finite(label: str, name: str, array: Array, dtype: str) -> tuple[list[Finding], Array]:
    """The finding, and which rows are good."""
    if array.dtype.kind != "f" or array.size == 0:
        return [], np.ones(len(array), dtype=bool)
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(dtype, copy=False)).reshape(len(array), -1)
    rows: Array = finite.all(axis=1)
    bad = np.flatnonzero(~rows)
    if not bad.size:
        return [], rows
    row, column = int(bad[0]), int(np.flatnonzero(~finite[bad[0]])[0])
    value = array.reshape(len(array), -1)[row, column]
    others = f", and in {bad.size - 1} other rows" if bad.size > 1 else ""
    what = f"too large for {dtype}" if np.isfinite(value) else "not finite"
    message = f"{label} holds {value:g} in row {row}, column {column}{others}: it is {what}."
    remedy = "Fill or drop these rows, and look where they come from; the rest was diagnosed."
    return [Finding("non_finite", "critical", message, remedy, name)], rows


def inputs(twin: Parts, item: Dataset) -> tuple[dict[str, dict[str, Any]], list[Finding]]:
    """Numbers by feature, and findings on their scale."""
    numbers: dict[str, dict[str, Any]] = {}
    findings: list[Finding] = []
    names = twin.engine.signature.inputs.names
    given = item.xs[: len(names)]  # masks follow
    for x, name, tensor in zip(given, names, twin.engine.input_tensors, strict=True):
        flat = x.reshape(item.n, -1).astype(np.float64)
        mean, std = flat.mean(axis=0), flat.std(axis=0)
        low, high = flat.min(axis=0), flat.max(axis=0)
        constant = np.flatnonzero(low == high)
        numbers[name] = {
            "mean": mean.tolist(), "std": std.tolist(), "low": low.tolist(),
            "high": high.tolist(), "constant": constant.tolist(),
        }  # fmt: skip
        if _is_rescaled(twin.engine.nodes, tensor):
            continue
        findings += _scale(name, np.sqrt(mean**2 + std**2), low, high, constant, item.n)
    return numbers, findings


def _is_rescaled(nodes: Any, tensor: Any) -> bool:
    """Whether all layers that read this input make its scale irrelevant."""
    readers = [type(n.layer).__name__ for n in nodes if any(t is tensor for t in n.inputs)]
    return bool(readers) and all(reader.endswith(_RESCALING) for reader in readers)


def _scale(
    name: str, rms: Array, low: Array, high: Array, constant: Array, n: int
) -> list[Finding]:
    remedy = (
        "Scale each feature to mean 0 and standard deviation 1 (images: divide by the largest "
        "value), with the numbers of the training data."
    )
    if len(constant) == rms.size and n > 1:
        message = f"all {rms.size} features are constant over {n} rows: there is nothing to learn."
        return [Finding("constant_input", "critical", message, "Look where x comes from.", name)]
    used = rms[rms > 0]
    k, middle = int(rms.argmax()), float(np.median(used))
    about = f"feature {k} has values from {low[k]:.4g} to {high[k]:.4g} (rms {rms[k]:.4g})"
    if rms[k] > LARGE_FEATURE:
        severity = "critical" if rms[k] > 10 * LARGE_FEATURE else "warning"
        message = f"{about}; weights are initialized for features of size about 1."
    elif rms[k] < SMALL_FEATURE:
        severity = "warning"
        message = f"the largest, {about}, is small; weights are initialized for size about 1."
    elif rms[k] > UNEVEN_FEATURES * middle:
        severity = "warning"
        message = f"{about}, {rms[k] / middle:.3g} times the size of the median feature."
    else:
        return []
    return [Finding("unscaled_input", severity, message, remedy, name)]


def targets(twin: Parts, item: Dataset) -> tuple[dict[str, dict[str, Any]], list[Finding], float]:
    """Numbers by output, findings on scale and classes, and the loss of the best constant guess."""
    engine, compilation = twin.engine, twin.compilation
    numbers: dict[str, dict[str, Any]] = {}
    findings: list[Finding] = []
    total = 0.0
    for k, name in enumerate(engine.signature.outputs.names):
        (y, labels), loss = item.ys[k], compilation.losses[k]
        kind = getattr(loss, "kind", "")
        flat = y.reshape(item.n, -1) if labels else y.reshape(item.n, -1).astype(np.float64)
        weight = _of_each(item.ws[k], flat)
        shares = _shares(flat, labels, kind, engine.signature.outputs.shapes[k], weight)
        if shares is not None:
            numbers[name] = {"classes": shares.tolist()}
            findings += _classes(name, shares, item.n)
            guess = _entropy(shares, getattr(loss, "label_smoothing", 0.0))
        else:
            numbers[name] = {"mean": float(flat.mean()), "std": float(flat.std())}
            findings += _values(name, flat, kind)
            findings += _reach(name, flat, engine.ends()[k].op)
            guess = _guess(flat, kind, weight, loss)
        total += compilation.weights[k] * guess * float(weight.mean())
    return numbers, findings, total


def _of_each(weights: Array | None, flat: Array) -> Array:
    """The weight of each target."""
    if weights is None:
        return np.ones(flat.shape)
    return np.repeat(weights.reshape(len(flat), -1), flat.shape[1] * len(flat) // weights.size, 1)


def _shares(flat: Array, labels: bool, kind: str, shape: Any, weight: Array) -> Array | None:
    """Share of each class, by weight; None if there are no classes."""
    if labels:
        counts = np.bincount(flat.ravel(), weights=weight.ravel(), minlength=shape[-1])
    elif kind == "cross_entropy":
        counts = (flat * weight).reshape(len(flat), -1, shape[-1]).sum(axis=(0, 1))
    elif kind == "binary_cross_entropy" and flat.shape[1] == 1:
        ones = float((flat * weight).sum())
        counts = np.array([weight.sum() - ones, ones])
    else:
        return None
    result: Array = counts / max(float(counts.sum()), 1e-300)
    return result


def _entropy(shares: Array, smoothing: float) -> float:
    p = shares * (1 - smoothing) + smoothing / len(shares)
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


def _classes(name: str, shares: Array, n: int) -> list[Finding]:
    most, least = int(shares.argmax()), int(shares.argmin())
    if shares[most] == 1.0 and n > 1:
        message = f"all {n} targets are class {most}: a constant answers them."
        remedy = "Look where y comes from; if the rows are sorted by class, diagnose a mixture."
        return [Finding("constant_target", "critical", message, remedy, name)]
    if n < ROWS_PER_CLASS * len(shares) or shares[most] < IMBALANCE * shares[least]:
        return []
    message = (
        f"class {most} is {shares[most]:.1%} of the targets, class {least} {shares[least]:.1%}; "
        f"always answering {most} is right in {shares[most]:.1%}."
    )
    remedy = (
        "Pass class_weight to fit (number of rows over that of the class), gather more of the rare "
        "class, and judge by more than accuracy."
    )
    return [Finding("class_imbalance", "warning", message, remedy, name)]


def _values(name: str, flat: Array, kind: str) -> list[Finding]:
    if kind not in _REGRESSION:
        return []
    if len(flat) > 1 and float(np.ptp(flat, axis=0).max()) == 0:
        message = f"all {len(flat)} targets are equal: a constant answers them."
        finding = Finding("constant_target", "critical", message, "Look where y comes from.", name)
        return [finding]
    rms = np.sqrt(np.square(flat).mean(axis=0))
    k = int(rms.argmax())
    if rms[k] <= LARGE_TARGET:
        return []
    column = flat[:, k]
    message = (
        f"targets have mean {column.mean():.4g} and standard deviation {column.std():.4g} "
        f"(output {k}); outputs begin near 0 with size about 1."
    )
    remedy = "Train on (y - mean) / std, and turn predictions back."
    return [Finding("unscaled_target", "warning", message, remedy, name)]


def _reach(name: str, flat: Array, end: str) -> list[Finding]:
    """Targets that the last activation cannot give."""
    low, high = activations.bounds(end)
    outside = (flat < low) | (flat > high)
    share = float(outside.mean())
    if share <= FEW_OUTSIDE:
        return []
    message = (
        f"{share:.0%} of the targets, which lie between {flat.min():.4g} and {flat.max():.4g}, are "
        f"outside what {end!r} can give: {low:g} to {high:g}."
    )
    remedy = "End in a linear layer, or scale the targets into that range."
    return [Finding("unreachable_target", "critical", message, remedy, name)]


def _guess(flat: Array, kind: str, weight: Array, loss: Any) -> float:
    """Loss of the best constant prediction, by weights of mean 1; nan: not known."""
    totals = np.maximum(weight.sum(axis=0), 1e-300)
    w, column = weight / totals, totals / totals.mean()
    mean = (w * flat).sum(axis=0)
    variance = float(((w * np.square(flat - mean)).sum(axis=0) * column).mean())
    if kind == "mean_squared_error":
        return variance
    if kind == "half_squared_error":
        return float(0.5 * variance * flat.shape[1])
    if kind == "binary_cross_entropy":
        return float(np.mean([_entropy(np.array([1 - p, p]), 0.0) for p in mean] * column))
    if kind == "hinge":
        ones = (w * (flat > 0)).sum(axis=0)
        return float(2 * (np.minimum(ones, 1 - ones) * column).mean())
    middle: Any = {"mean_absolute_error": np.median, "huber": np.median, "log_cosh": np.median,
              "poisson": np.mean, "kl_divergence": np.mean}.get(kind)  # fmt: skip
    if middle is None:
        return math.nan
    constant = np.broadcast_to(middle(flat, axis=0), flat.shape)
    return float(loss.value(flat, constant))
