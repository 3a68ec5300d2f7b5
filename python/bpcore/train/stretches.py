"""Overlapping windows of sequences: passes over activations as they were computed.

`bptt=(h, h')` goes back over the last h steps every h' steps, with the losses of the last h'
(R. Williams and J. Peng, 1990). A step is computed once, with the weights of its time: steps are
cut into stretches wherever a pass begins or ends, and the core keeps of each what backward needs
(`cpp/train/stretch.h`) until no pass goes over it any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import _core
from ..base.memory import Array
from ..data.dataset import Dataset, Form
from . import windows


def cuts(length: int, told: windows.Truncation) -> list[int]:
    """Where stretches of sequences of this length begin and end."""
    found = {0}
    for at in range(0, length, told.every):
        end = min(at + told.every, length)
        found |= {told.begin(at, end), end}
    return sorted(found)


class Stretch(NamedTuple):
    """Steps `begin` to `end` of a batch, gone through forward; layers in Python with what each has
    left for backward."""

    begin: int
    end: int
    core: Any
    flags: list[bool]  # which weights were trained
    kept: list[tuple[Any, Any]]

    def restore(self) -> None:
        """Layers in Python are what they were after these steps."""
        for node, state in self.kept:
            node.restore(state)


class Passes:
    """The passes of an epoch of a `train.loop.Loop`, and the stretches that the next one needs."""

    def __init__(self, loop: Any, train: Dataset, told: windows.Truncation) -> None:
        assert train.form is not None
        self.loop, self.told, self.form = loop, told, train.form
        self.cuts = cuts(windows.steps_of(train), told)
        self.held: list[Stretch] = []
        self.spare: list[Stretch] = []  # their memory serves again
        self.begun = False
        float32 = loop.engine.dtype == "float32"
        self.kind: Any = _core.StretchFloat32 if float32 else _core.StretchFloat64

    def run(self, batch: Dataset, place: windows.Place, rate: float) -> None:
        """The new steps of a window forward, a pass back over all of it, and its update."""
        if place.fresh:
            self._drop(len(self.held))
        counted = windows.counted(batch, place.counts_from, place.end)
        gone: list[Any] = []  # through, in this pass
        try:
            at = self.held[-1].end if self.held else 0
            for end in self.cuts:
                if at < end <= place.end:
                    gone.append(self._forward(batch, at, end, counted, at >= place.counts_from))
                    at = end
            # A pass goes no further back than to where a callback has frozen or thawed weights.
            flags = self.held[-1].flags
            self._drop(sum(s.end <= place.begin or s.flags != flags for s in self.held))
            self._backward(place)
        except BaseException:
            _undo(gone)
            raise
        try:
            gone[-1].trainer.end_pass(rate)
        except _core.Diverged:  # after Ctrl-C the update has been made
            _undo(gone)
            raise

    def _forward(
        self, batch: Dataset, begin: int, end: int, counted: list[int], counts: bool
    ) -> Any:
        part = windows.cut(batch, begin, end)
        engine, trainer = self.loop.engine.of(part), self.loop._trainer_for(part, self.begun)
        if not self.begun:
            trainer.reset_results()
            self.begun = True
        before = self.held[-1].core if self.held else None
        core = next((s.core for s in self.spare if s.core.trainer is trainer), None)
        self.spare = [s for s in self.spare if s.core is not core]
        core = core or self.kind(trainer)
        trainer.set_data(part.xs, part.ys, part.told)
        try:
            core.forward(before, counted, counts)
        finally:
            trainer.drop_data()
        kept = [(node, node.kept()) for node in engine.low.python_nodes]
        self.held.append(Stretch(begin, end, core, engine.flags, kept))
        return core

    def _backward(self, place: windows.Place) -> None:
        newest = self.held[-1].core.trainer
        sums = newest if newest.pending else None  # who has the gradients that wait
        behind = None
        try:
            for stretch in reversed(self.held):
                trainer = stretch.core.trainer
                if sums is not None and sums is not trainer:
                    trainer.take_waiting(sums)
                stretch.restore()
                stretch.core.backward(
                    behind,
                    losses=stretch.begin >= place.counts_from,
                    penalties=behind is None,
                    add=sums is not None,
                )
                sums, behind = trainer, stretch.core
        finally:  # layers in Python go on from the last step, not from the first of the pass
            self.held[-1].restore()
        if sums is not newest:
            newest.take_waiting(sums)

    def _drop(self, count: int) -> None:
        self.spare = [*self.spare, *self.held[:count]][-2:]
        self.held = self.held[count:]

    # ---- files ----------------------------------------------------------------------------------
    def expected(self, place: windows.Place, rows: int) -> dict[str, int]:
        """After a window: by key, how many numbers a file holds of the stretches to go on with."""
        sizes: dict[int, int] = {}
        found = {}
        for begin, end in self._needed(place):
            if end - begin not in sizes:
                sizes[end - begin] = self._empty(end - begin, rows).size
            found[f"{begin}/{end}"] = sizes[end - begin]
        return found

    def kept(self, place: windows.Place) -> dict[str, Array]:
        """After a window: of each of these stretches all that backward reads, by their keys."""
        needed, found = set(self._needed(place)), {}
        for stretch in self.held:
            if (stretch.begin, stretch.end) not in needed:
                continue
            for node, _ in stretch.kept:
                raise ValueError(
                    f"{node.layer.label} is code of your own, and keeps what its backward needs in "
                    "itself, where overlapping windows need it after the next update"
                )
            found[f"{stretch.begin}/{stretch.end}"] = stretch.core.kept()
        return found

    def resume(self, rows: int, kept: Mapping[str, Array]) -> None:
        """These stretches are those of a file, of so many samples."""
        self.begun = True
        for key in sorted(kept, key=lambda key: int(key.partition("/")[0])):
            begin, end = (int(step) for step in key.split("/"))
            core = self._empty(end - begin, rows)
            core.set_kept(kept[key])
            self.held.append(Stretch(begin, end, core, self.loop.engine.flags, []))

    def _needed(self, place: windows.Place) -> list[tuple[int, int]]:
        last = self.cuts[-1]
        if place.end == last:
            return []
        begin = self.told.begin(place.end, min(place.end + self.told.every, last))
        pairs = zip(self.cuts[:-1], self.cuts[1:], strict=True)
        return [(a, b) for a, b in pairs if b > begin and b <= place.end]

    def _empty(self, steps: int, rows: int) -> Any:
        form = Form(tuple(steps for _ in self.form.lengths), self.form.masked)
        engine = self.loop.engine.formed(form)
        core = self.kind(engine.trainer("stretches", self.loop.compilation))
        core.make_room(rows)
        return core


def _undo(gone: list[Any]) -> None:
    """Running statistics are those before these stretches."""
    for core in reversed(gone):
        core.undo()


def check(places: Mapping[str, int], found: Mapping[str, Array], dtype: str) -> None:
    """ValueError for what a file cannot hold of stretches, by key so many numbers."""
    if set(found) != set(places):
        raise ValueError(f"steps: got those of {sorted(found)}, expected {sorted(places)}")
    for key, array in found.items():
        if array.shape != (places[key],) or array.dtype != dtype:
            raise ValueError(
                f"steps {key}: got {array.dtype} of shape {array.shape}, expected {dtype} of "
                f"shape {(places[key],)}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"steps {key}: got NaN or Inf, expected finite numbers")
