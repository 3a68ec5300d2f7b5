"""The checks that follow from a row of tests/cases.py, each a function that raises AssertionError.

`rehearse` runs a layer on the worst terms that the contract of operations allows: samples in
blocks, columns and tiles in pieces, arrays between guards, off the cache line and full of a
pattern before they are written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings

import numpy as np

import bpcore as bp
from bpcore import _core

from . import counting, support

# The most lanes of a vector of any tier.
LANES = {"float32": 16, "float64": 8}
# Of what is not written yet, every two bytes; the last is NaN in either type.
PATTERNS = (0x0000, 0xFFFF, 0x7FF8)
# Roundings: a few hundred of the largest numbers that take part.
ROUNDINGS = 500
ROWS = 7
TERMS = (
    {"block": 0, "piece": 0, "shift": 0},
    {"block": 3, "piece": 0, "shift": 1},
    {"block": 1, "piece": 2, "shift": 3},
)


def lengths(case, dtype):
    """Of the last axis: short ones, and those around the width of any vector and twice it."""
    if case.multiple == 0:
        return [None]
    widths = [w for w in (2, 4, 8, 16, 32) if w <= 2 * LANES[dtype]]
    some = {1, 3, *(n for w in widths for n in (w - 1, w, w + 1))}
    return sorted({-(-n // case.multiple) * case.multiple for n in some})


class Run:
    """A layer of some length, its data and what it gives on its first terms."""

    def __init__(self, case, dtype, length=None):
        self.case, self.dtype = case, dtype
        shapes = case.shapes if length is None else case.resized(length)
        self.name = f"{case.id} of {shapes}, {dtype}"
        rng = np.random.default_rng([*case.id.encode(), len(shapes), *shapes[0]])
        layer = case.make(bp.layers)
        layer.convert(dtype)
        layer.build(list(shapes) if len(shapes) > 1 else shapes[0])
        for w in layer.weights:
            if w.trainable:
                w.value = rng.normal(size=w.shape) / max(1, w.shape[0]) ** 0.5
        self.xs = [rng.normal(size=(ROWS, *shape)).astype(dtype) for shape in shapes]
        self.ws = [w.value.copy() for w in layer.weights]
        brick = layer._get_brick()
        self.net, self.params = brick.net, brick.params
        self.dy = rng.normal(size=(ROWS, *brick.out_shape)).astype(dtype)
        self.rng = rng

    def rehearse(self, **terms):
        """Everything it makes, as one list, and what each is called."""
        try:
            parts = _core.rehearse(self.net, self.xs, [self.dy], **terms)
        except RuntimeError as error:
            raise AssertionError(f"{self.name}, {terms}: {error}") from None
        names = ("y", "dx", "dw", "w after the batch")
        return {
            f"{name} {k}": a
            for name, arrays in zip(names, parts, strict=True)
            for k, a in enumerate(arrays)
            if a is not None
        }

    def check_back(self):
        """Backward reads `w_back`, forward and the gradients of weights do not."""
        own = [p.value.copy() for p in self.params]
        others = [w + 0.5 if p.trainable else w for p, w in zip(self.params, own, strict=True)]
        plain, made = self.rehearse(), self.rehearse(w_back=others)
        for p, w in zip(self.params, others, strict=True):
            p.value = w
        other = self.rehearse()
        for what, a in made.items():
            same = other if what.startswith("dx") else plain
            assert support.same_bits(a, same[what]), f"{self.name}: {what} reads other weights"

    def check_bits(self, expected):
        """No bit depends on the terms; no guard is touched."""
        for pattern, terms in zip(PATTERNS, TERMS, strict=True):
            found = self.rehearse(pattern=pattern, **terms)
            for what, a in expected.items():
                assert support.same_bits(a, found[what]), (
                    f"{self.name}: {what} has other bits where pattern is {pattern:#x} and {terms}"
                )

    def check_numbers(self, made):
        """y as NumPy's; <dx, v> + <dw, v> = <dy, J v> by a complex step."""
        case, n = self.case, len(self.ws)
        arrays = [a.astype(np.float64) for a in (*self.ws, *self.xs)]
        dy = self.dy.astype(np.float64)
        bound = ROUNDINGS * np.finfo(self.dtype).eps
        exact = case.forward(arrays[:n], *arrays[n:])
        error = support.relative_error(made["y 0"], exact)
        assert error <= bound, f"{self.name}: y is wrong, error {error:.2e}"
        gradients = [made[f"dw {k}"] for k in range(n)]
        gradients += [made[f"dx {k}"] for k in range(len(self.xs))]
        v = [self.rng.normal(size=a.shape) for a in arrays]
        forward = lambda *a: (dy * case.forward(a[:n], *a[n:])).sum()  # noqa: E731
        expected, found = float(support.directional(forward, arrays, v)), support.dot(gradients, v)
        scale = max(support.norm(gradients), support.norm([dy])) * support.norm(v)
        error = abs(expected - found) / max(scale, abs(expected))
        assert error <= bound, f"{self.name}: the gradient is wrong, error {error:.2e}"

    def check_sums(self, made):
        """Gradients that are added to ones, block by block."""
        found = self.rehearse(add=True, block=3, pattern=PATTERNS[-1], shift=1)
        for what, a in made.items():
            if what.startswith("d"):
                error = support.relative_error(found[what], a.astype(np.float64) + 1)
                bound = ROUNDINGS * np.finfo(self.dtype).eps * max(1, np.abs(a).max(initial=0))
                assert error <= bound, f"{self.name}: {what} is not added, error {error:.2e}"


def check_terms(case, dtype):
    """Values and gradients of all lengths, on any terms. Returns a digest of all bits."""
    digest = hashlib.sha256()
    for length in lengths(case, dtype):
        run = Run(case, dtype, length)
        made = run.rehearse()
        if case.forward is not None:
            run.check_numbers(made)
        run.check_bits(made)
        run.check_sums(made)
        for array in made.values():
            digest.update(array.tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def tier(name):
    """Kernels of another instruction set, for what is built within."""
    _core.select_tier(name)
    try:
        yield
    finally:
        _core.select_tier(os.environ.get("BPCORE_ISA", ""))


def check_tiers(case, dtype):
    """Right numbers in every tier, and one result of all that have fused multiply-adds."""
    digests = {}
    for name in support.tiers():
        with tier(name):
            digests[name] = check_terms(case, dtype)
    digests.pop("baseline", None)
    assert len(set(digests.values())) <= 1, f"{case.id}, {dtype}: other bits by tier: {digests}"


class Net:
    """All rows side by side in one model, beside a dense layer that is work for three threads."""

    rows, batch = 40, 16

    def __init__(self, cases, dtype):
        self.cases = cases
        rng = np.random.default_rng(12)
        shapes = [shape for case in cases for shape in case.shapes] + [(256,)]
        inputs = [bp.Input(shape) for shape in shapes]
        self.layers, outputs, given = [], [], iter(inputs)
        for case in cases:
            xs = [next(given) for _ in case.shapes]
            self.layers.append(case.make(bp.layers))
            outputs.append(self.layers[-1](xs if len(xs) > 1 else xs[0]))
        outputs.append(bp.layers.Dense(256)(inputs[-1]))
        self.model = bp.Model(inputs, outputs, dtype=dtype, seed=4)
        for layer in self.layers:
            for w in layer.weights:
                if w.trainable:
                    w.value = rng.normal(size=w.shape) / max(1, w.shape[0]) ** 0.5
        self.model.compile(bp.optimizers.SGD(1e-6), "half_squared_error")
        self.xs = [rng.normal(size=(self.rows, *shape)).astype(dtype) for shape in shapes]
        self.ys = [rng.normal(size=(self.rows, *y.shape)).astype(dtype) for y in outputs]

    def results(self):
        """The arrays that come of each row, by what they are."""
        model = self.model
        dxs = iter(model.gradients(self.xs, self.ys, wrt_inputs=True).inputs)
        found = {(c.id, f"dx {k}"): next(dxs) for c in self.cases for k in range(len(c.shapes))}
        with warnings.catch_warnings():  # targets are any numbers, whatever an output can give
            warnings.simplefilter("ignore", bp.errors.MismatchWarning)
            model.fit(self.xs, self.ys, batch_size=self.batch, epochs=2, verbose=0)
        for case, layer, y in zip(self.cases, self.layers, model.predict(self.xs), strict=False):
            found[case.id, "y"] = y
            for w in layer.weights:
                found[case.id, w.local_name] = w.value.copy()
        return found

    def trainer(self):
        """The core's, with data for many steps."""
        trainer = self.model._engine.trainer("train", self.model._compilation)
        many = [np.resize(a, (4000, *a.shape[1:])) for a in (*self.xs, *self.ys)]
        targets = [(y, False) for y in many[len(self.xs) :]]
        trainer.set_data(many[: len(self.xs)], targets, [None] * len(targets))
        return trainer


def check_threads(cases, dtype):
    """The bits of one thread with three: of deltas, weights after training, and predictions."""
    found = {}
    for threads in (1, 3):
        with bp.threads(threads, exact=True):
            net = Net(cases, dtype)
            found[threads] = net.results()
            words = f"threads at batch {Net.batch}: {threads}"
            assert words in net.trainer().describe(), net.trainer().describe()
    for key, array in found[1].items():
        assert np.isfinite(array).all(), key
        assert support.same_bits(array, found[3][key]), f"{key}, {dtype}: other bits by threads"


def _allocations_of_20_steps(cases, dtype):
    trainer = Net(cases, dtype).trainer()
    few = counting.allocations(trainer, 10, rate=1e-12)
    return counting.allocations(trainer, 30, rate=1e-12) - few


def check_allocations(cases):
    """None in a training step, which takes a process that counts them."""
    for dtype in LANES:
        if _allocations_of_20_steps(cases, dtype) == 0:
            continue
        alone = {case.id: _allocations_of_20_steps([case], dtype) for case in cases}
        raise AssertionError(f"{dtype}, allocations of 20 steps: {[*alone.items()]}")
