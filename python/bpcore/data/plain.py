"""What data have to be so that one look of the core finds and checks them.

They are then the very arrays that the long way of `Signature` would give; whatever else comes goes
that way, which also finds the words for what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import _core
from ..base.lengths import is_open
from ..base.memory import Array, Shape
from ..losses import CoreLoss
from . import targets
from .dataset import Dataset, Form, Valid
from .free_targets import is_free
from .sequences import Steps


class Plain:
    """The looks for the inputs of a model and, with some losses, for its targets.

    Attributes
    ----------
    held : list of ndarray
        The model's weights, apart from which data have to be.
    inputs, targets, deltas : PlainParts or None
        None where there is none; deltas are gradients of the outputs.
    form, steps, valid
        As in `signature.Inputs`, the same for all plain data.
    losses : list
        Those that the targets are for.
    labels : list of bool
        Which outputs' targets are class labels.
    whole : bool
        Whether data of these losses, without weights, have passed all checks: those to come need
        only look like them.
    """

    def __init__(
        self,
        held: list[Array],
        inputs: Any = None,
        form: Form | None = None,
        steps: Steps | None = None,
        valid: Sequence[Valid | None] = (),
    ) -> None:
        self.held, self.inputs = held, inputs
        self.form, self.steps, self.valid = form, steps, list(valid)
        self.losses: Sequence[Any] | None = None
        self.labels: list[bool] = []
        self.targets: Any = None
        self.deltas: Any = None
        self.whole = False

    def data(self, x: Any, y: Any) -> Dataset | None:
        """Inputs and targets without weights, by one look at both; None: the long way."""
        for loss in self.losses or ():
            if getattr(loss, "class_weight", None) is not None:
                return None
        found = self.inputs.read_with(x, self.targets, self.labels, y)
        if found is None:
            return None
        n, xs, ys, largest, held = found
        ws: list[Array | None] = [None] * len(ys)
        return Dataset(n, xs, ys, ws, ([], []), self.form, self.valid, None, largest, held)

    def read_deltas(self, dy: Any, n: int) -> list[Array] | None:
        """Gradients of the outputs of `n` rows; None: the long way."""
        found = None if self.deltas is None else self.deltas.read(dy, n)
        if found is None:
            return None
        result: list[Array] = found[1]
        # A target may lack an axis of 1, a gradient may not.
        if len(result) == 1:
            return result if result[0] is dy else None
        return result if all(a is b for a, b in zip(result, dy, strict=True)) else None

    def of(self, losses: Sequence[Any], shapes: Sequence[Shape], dtype: str) -> Plain:
        """The same for targets of these losses, whose outputs have these shapes."""
        own = Plain(self.held, self.inputs, self.form, self.steps, self.valid)
        own.deltas = self.deltas
        wanted = [_wanted(loss, shape) for loss, shape in zip(losses, shapes, strict=True)]
        known = [part for part in wanted if part is not None]
        if len(known) == len(wanted):
            own.labels = [classes > 0 for _, classes, *_ in known]
            own.targets = _core.PlainParts(dtype, known, self.held)
        own.losses = losses
        return own


def looks(
    shapes: Sequence[Shape], held: list[Array], dtype: str, steps_of: Callable[[Form], Steps]
) -> Plain:
    """Those for inputs of these shapes, if they are closed and all of their steps count."""
    if any(map(is_open, shapes)):
        return Plain(held)
    form = Form((0,) * len(shapes), frozenset())
    steps = steps_of(form)
    if steps.inputs or any(steps.outputs):
        return Plain(held)
    wanted = [(shape, 0, -math.inf, math.inf) for shape in shapes]
    found = Plain(held, None, form, steps, [None] * len(steps.outputs))
    found.inputs = _core.PlainParts(dtype, wanted, held)
    ends = [(shape, 0, -math.inf, math.inf) for shape in steps.shapes]
    found.deltas = _core.PlainParts(dtype, ends, held)
    return found


def _wanted(loss: Any, shape: Shape) -> tuple[Shape, int, float, float] | None:
    """(shape, classes, least, greatest) of targets; None if they are left to `targets.prepare`."""
    if is_free(loss):
        return None
    kind = loss.kind if isinstance(loss, CoreLoss) else ""
    if kind == "hinge" or (kind == "cross_entropy" and (len(shape) != 1 or shape[0] == 1)):
        return None
    classes = shape[0] if kind == "cross_entropy" else 0
    shape = loss.target_shape(shape) if kind and loss.parts > 1 else shape
    return (shape, classes, *targets.RANGES.get(kind, (-math.inf, math.inf)))
