"""Truncated backpropagation through time: sequences in windows, states carried between them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import _core
from ..base import checks, seeding
from ..base.memory import Array
from ..credit.wiring import Filling
from ..data import arrays
from ..data.dataset import Dataset, Form, Valid, batch_size_of
from .compilation import Compilation
from .engine import Engine


class Truncation(NamedTuple):
    """A pass every `every` steps, over the last `back` steps."""

    back: int
    every: int

    @property
    def overlaps(self) -> bool:
        """Whether passes go over steps that others have gone over."""
        return self.back > self.every

    def begin(self, at: int, end: int) -> int:
        """Where the pass begins that ends at a step, its losses being those from `at` on: windows
        that do not overlap are those of a sequence that is cut, the last of which may be short."""
        return max(0, end - self.back) if self.overlaps else at


def truncation(value: Any) -> Truncation | None:
    """`bptt` as given: a number k is a pass every k steps over these k steps."""
    if value is None:
        return None
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(
                f"bptt must be a number of steps k or a pair (h, h'), got {len(value)} numbers"
            )
        back = checks.integer("bptt: h", value[0])
        every = checks.integer("bptt: h'", value[1])
        if every > back:
            raise ValueError(
                f"bptt: got (h, h') = ({back}, {every}), expected h >= h': a pass goes back over "
                "all steps since the last one, at least"
            )
        return Truncation(back, every)
    steps = checks.integer("bptt", value)
    return Truncation(steps, steps)


def purpose(told: Truncation | None) -> str:
    """Of the trainers of a fit (`Engine.trainer`)."""
    return "train" if told is None else "stretches" if told.overlaps else "windows"


def check(engine: Engine, item: Dataset, what: str) -> None:
    """Refuse models whose outputs are not of steps, or whose inputs are of fixed length."""
    shapes = engine.signature.inputs.shapes
    if item.form is None or not all(item.form.lengths) or len(set(item.form.lengths)) > 1:
        raise ValueError(
            f"bptt needs inputs that leave their length open, all of one length, got inputs "
            f"{shapes}; make them with Input((None, ...))"
        )
    for y, _ in item.ys:
        if y.ndim < 2 or y.shape[1] != item.form.lengths[0]:
            raise ValueError(
                f"bptt needs a target for each step, got {what} of shape {y.shape} for "
                f"{item.form.lengths[0]} steps; take return_sequences=True to the end"
            )
    for node in engine.nodes:
        if not node.takes_steps:
            raise ValueError(
                f"bptt: {node.layer.label} needs the whole sequence, expected layers that go "
                "forward in time"
            )


def check_fit(engine: Engine, compilation: Compilation, options: Any, train: Dataset) -> None:
    """What the options of a fit ask of sequences."""
    if options.bptt is not None:
        check(engine, train, "y")
    check_rule(engine, compilation, options.bptt)
    size = batch_size_of(options.batch_size, train.n)
    if engine.stateful and options.shuffle:
        raise ValueError(
            f"{_stateful(engine)} is stateful: sample i goes on in the next batch; pass "
            "shuffle=False"
        )
    if engine.stateful and train.n % size:
        raise ValueError(
            f"{_stateful(engine)} is stateful: got {train.n} samples in batches of {size}, "
            "expected a multiple of batch_size"
        )
    overlaps = options.bptt is not None and options.bptt.overlaps
    if overlaps:
        check_overlap(engine, compilation)
    if engine.stateful and overlaps:
        raise ValueError(
            f"{_stateful(engine)} is stateful, got windows that overlap, bptt="
            f"{tuple(options.bptt)}; expected bptt=k"
        )
    check_stateful(engine, size)


def check_rule(engine: Engine, compilation: Compilation, told: Truncation | None) -> None:
    """Refuse what a rule that learns from window to window has no meaning for."""
    rule = compilation.credit
    if not engine.trained(rule).given:
        return
    if told is None:
        engine.trainer("train", compilation)  # says why not
    elif told.overlaps:
        raise ValueError(
            f"{rule!r}: got windows that overlap, bptt={tuple(told)}, expected bptt=k: what comes "
            "from the windows behind one is predicted where it ends"
        )


def check_overlap(engine: Engine, compilation: Compilation) -> None:
    """Refuse what needs more than the gradients of windows that overlap."""
    if compilation.optimizer.preconditioner():
        raise ValueError(
            f"{type(compilation.optimizer).__name__} looks at the values of the batch of each "
            "update, got windows that overlap, whose values are of several; expected bptt=k"
        )
    if compilation.credit is not None and engine.has_python:
        layer: Any = engine.low.python_nodes[0].layer
        raise ValueError(
            f"{layer.label} is code of your own, got windows that overlap and "
            f"{compilation.credit!r}; expected bptt=k, or credit='backprop'"
        )


def check_stateful(engine: Engine, size: int) -> None:
    """Layers that go on from batch to batch need batches of one size."""
    held = engine.counters.carried.rows
    if engine.stateful and held not in (None, size):
        raise ValueError(
            f"{_stateful(engine)} is stateful and holds the states of {held} samples, got "
            f"batches of {size}; call model.reset_states() before"
        )


def _stateful(engine: Engine) -> str:
    layer: Any = next(node.layer for node in engine.nodes if node.layer.stateful)
    return str(layer.label)


def begin(engine: Engine, trainer: Any, rows: int) -> None:
    """`trainer` is about to train a batch of so many samples."""
    if engine.stateful:
        check_stateful(engine, rows)
        engine.counters.carried.begin(trainer, rows)


def order(loop: Any, train: Dataset, epochs_done: int) -> Array:
    """Of the samples in an epoch of a `train.loop.Loop`."""
    if not loop.options.shuffle:
        return np.arange(train.n)
    seed = seeding.mix(loop.model.seed, seeding.SHUFFLE)
    return np.asarray(_core.permutation(seed, epochs_done, train.n))


def samples(places: list[Place]) -> int:
    """Of all these windows together, as results count them."""
    return sum(place.rows.stop - place.rows.start for place in places)


class Place(NamedTuple):
    """A window of a batch: rows of the epoch's order, steps, the first of them whose losses are of
    this window, and whether it is the first window of its batch."""

    rows: slice
    begin: int
    end: int
    counts_from: int
    fresh: bool


def steps_of(item: Dataset) -> int:
    """Up to the last one that counts in some sample: it does not matter how far they are padded."""
    assert item.form is not None
    length = item.form.lengths[0]
    masks = [np.ones(length, bool) if v is None else v.mask.any(axis=0) for v in item.valid]
    return int(np.flatnonzero(np.any(masks, axis=0))[-1]) + 1 if masks else length


def places(
    item: Dataset, order: Array, size: int, told: Truncation, bridged: bool = False
) -> list[Place]:
    """The windows of all batches of an epoch, but for those in which nothing counts; with
    `bridged` they are there if something counts behind them."""
    length, found = steps_of(item), list[Place]()
    for start in range(0, item.n, size):
        rows, fresh = slice(start, min(start + size, item.n)), True
        masks: list[Array | None] = []
        for v in item.valid:
            masks.append(None if v is None else np.asarray(v.mask[order[rows]].any(axis=0)))
        for at in range(0, length, told.every):
            end = min(at + told.every, length)
            last = length if bridged else end
            if any(mask is None or mask[at:last].any() for mask in masks):
                found.append(Place(rows, told.begin(at, end), end, at, fresh))
                fresh = False
    return found


class Walk:
    """The states with which the windows of a batch begin, one after the other.

    A window begins where the one before has ended. Where one in which nothing counts is left out,
    the steps up to there are gone through by themselves.
    """

    def __init__(self, engine: Engine, compilation: Compilation) -> None:
        self.engine, self.compilation = engine, compilation
        self.carried = engine.counters.carried
        self.at = 0  # where the states are

    def resume(self, before: Place) -> None:
        """The carried states are those of a file, left after this window."""
        self.at = before.end

    def begin(self, trainer: Any, batch: Dataset, place: Place) -> None:
        """Before a window."""
        fresh = place.fresh
        if fresh:
            self.at = 0
        if place.begin > self.at:
            if fresh:
                self.carried.forget()
            lead = cut(batch, self.at, place.begin)
            _, states = _pass(self.engine, self.compilation, lead, self.carried.states())
            self.carried.set(states)
            fresh = False
        self.carried.begin(trainer, batch.n, fresh)

    def inputs(self, given: list[Filling], part: Dataset, batch: Dataset, place: Place) -> Any:
        """Of a window, which is part of a batch, before `begin`: its own, and those that a rule
        has given the network."""
        xs, told, held = list(part.xs), self.carried.told(), self.carried.states()
        for at, shape, key in given:  # in order
            if key is None:
                sides = _counts_from(batch, place.begin), _counts_from(batch, place.end)
                value = np.stack([sides[0] & (not place.fresh), sides[1]], axis=1)
            else:
                goes_on = key in held and (told[key][1] or not place.fresh)
                value = held[key] if goes_on else np.zeros((batch.n, *shape))
            xs.insert(at, value.astype(self.engine.dtype).reshape(batch.n, *shape))
        return xs

    def end(self, place: Place) -> None:
        """After a window: where the next one goes on."""
        self.at = place.end


def _counts_from(item: Dataset, at: int) -> Array:
    """By sample, whether a step that counts is there or behind it."""
    assert item.form is not None
    found = np.zeros(item.n, bool)
    for v in item.valid:
        found |= at < item.form.lengths[0] if v is None else v.mask[:, at:].any(axis=1)
    return found


def counted(item: Dataset, begin: int, end: int) -> list[int]:
    """By output, how many steps of all samples count, from step `begin` to `end`."""
    found = []
    for v, (y, _) in zip(item.valid, item.ys, strict=True):
        whole = item.n * len(range(y.shape[1])[begin:end])
        found.append(whole if v is None else int(v.mask[:, begin:end].sum()))
    return found


def cut(item: Dataset, begin: int, end: int, counts_from: int | None = None) -> Dataset:
    """Steps `begin` to `end` of a data set; the losses of those from `counts_from` on."""
    assert item.form is not None
    steps = slice(begin, end)
    found: list[Valid | None] = []
    ws: list[Array | None] = []
    for w, v, (y, _) in zip(item.ws, item.valid, item.ys, strict=True):
        mask = np.ones((item.n, y.shape[1]), np.uint8) if v is None else v.mask
        part = mask[:, steps].copy()
        if counts_from is not None:
            part[:, : counts_from - begin] = 0
        found.append(Valid(part, part.sum(axis=1, dtype=np.int64)))
        some = part.astype(np.float64)
        if w is not None:
            some = arrays.weights_times(w[:, steps] if w.ndim > 1 else w, some)
        ws.append(np.ascontiguousarray(some))
    form = Form(tuple(end - begin for _ in item.form.lengths), item.form.masked)
    ys = [(np.ascontiguousarray(y[:, steps]), labels) for y, labels in item.ys]
    return Dataset(item.n, [x[:, steps] for x in item.xs], ys, ws, form=form, valid=found)


def gradients(
    engine: Engine, compilation: Compilation, item: Dataset, told: Truncation
) -> tuple[float, list[Array | None]]:
    """The loss and the sum of the passes' gradients, without an update between them."""
    assert item.form is not None
    engine.counters.carried.fetch()  # a fit's, which goes on afterwards
    total = sum(counted(item, 0, item.form.lengths[0]))
    reductions = {getattr(loss, "reduction", "mean") for loss in compilation.losses}
    if len(reductions) > 1:
        raise ValueError("bptt: got losses that are means and others that are sums; give all alike")
    loss = 0.0
    found: list[Any] = [None] * len(engine.params)
    at, states = 0, dict[str, Array]()  # before this step
    for place in places(item, np.arange(item.n), item.n, told):
        if place.begin > at:
            _, states = _pass(engine, compilation, cut(item, at, place.begin), states)
            at = place.begin
        part = cut(item, place.begin, place.end, place.counts_from)
        count = sum(int(v.mask.sum()) for v in part.valid if v is not None)
        (value, grads), after = _pass(engine, compilation, part, states)
        if told.back == told.every:
            at, states = place.end, after
        share = 1.0 if reductions == {"sum"} else count / total
        loss += value * share
        for k, g in enumerate(grads):
            if g is not None:
                own = np.asarray(g, np.float64) * share
                found[k] = own if found[k] is None else found[k] + own
    return loss, [None if g is None else g.astype(engine.dtype) for g in found]


def _pass(
    engine: Engine, compilation: Compilation, part: Dataset, states: dict[str, Array]
) -> tuple[tuple[float, list[Any]], dict[str, Array]]:
    trainer = engine.of(part).trainer("passes", compilation)
    trainer.set_states(states)
    loss, grads, _ = trainer.gradients(part.xs, part.ys, part.told, wrt_inputs=False)
    return (float(loss), grads), trainer.states()
