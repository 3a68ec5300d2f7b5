"""The ends of a model: what is known of its inputs and outputs, and data as they came in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..base import checks
from ..base.lengths import is_open
from ..base.memory import Array, Shape
from . import arrays, sequences
from .arrays import Table
from .dataset import Form, Valid
from .frames import Names as Columns
from .sequences import Steps


class Ends:
    """The inputs of a model, or its outputs.

    Attributes
    ----------
    names : list of str
    shapes : list of tuple of int
        Per sample.
    listed : bool
        The model was made with a list, so that even a single part may come in a list.
    columns : list of (tuple of str, or None)
        Of the frames that the model was trained with; None where it was none.
    adapted : list of list of objects with `columns`
        By end: what was adapted to data of its own before, right behind it. The columns of that
        frame are the end's, until it has some.
    """

    def __init__(self, names: Sequence[str], shapes: Sequence[Shape], listed: bool = False) -> None:
        self.names, self.shapes, self.listed = list(names), list(shapes), listed
        self.columns: list[Columns | None] = [None] * len(self.names)
        self.adapted: list[list[Any]] = [[] for _ in self.names]

    def __len__(self) -> int:
        return len(self.names)

    def parts(self, name: str, value: Any) -> list[tuple[str, Any]]:
        """What the user calls each part, and the part: `value` for one end, else from a dict by
        names or a list or tuple in order."""
        labels = [self.label(name, k) for k in range(len(self))]
        return list(zip(labels, self._in_order(name, value), strict=True))

    def label(self, name: str, k: int) -> str:
        """What the user calls part `k`."""
        return name if len(self) == 1 else f"{name}[{self.names[k]!r}]"

    def tables(self, name: str, value: Any) -> list[tuple[str, Table]]:
        """The parts converted, the columns of frames in the order of the model's."""
        for k, layers in enumerate(self.adapted):
            for layer in layers:
                self.columns[k] = self.columns[k] or layer.columns
        parts = zip(self.parts(name, value), self.columns, self.shapes, strict=True)
        return [self.table(label, part, columns, s) for (label, part), columns, s in parts]

    @staticmethod
    def table(label: str, part: Any, columns: Columns | None, shape: Shape) -> tuple[str, Table]:
        """A part and what the user calls it, its columns in the order of the model's."""
        return label, _in_columns(label, _table(label, part, shape), columns)

    def _in_order(self, name: str, value: Any) -> list[Any]:
        if isinstance(value, dict):
            strange = [key for key in value if key not in self.names]
            missing = [key for key in self.names if key not in value]
            if strange or missing:
                raise ValueError(
                    f"{name}: got keys {sorted(map(str, value))}, expected {sorted(self.names)}, "
                    "the model's names"
                )
            return [value[key] for key in self.names]
        if len(self) == 1:
            one = self.listed and isinstance(value, (list, tuple)) and len(value) == 1
            alone = one and not is_open(self.shapes[0])  # there a list is sequences
            return [value[0] if alone else value]
        if not isinstance(value, (list, tuple)):
            raise TypeError(
                f"{name} must be a list, tuple or dict of {len(self)} arrays "
                f"({', '.join(map(repr, self.names))}), got {checks.describe(value)}"
            )
        if len(value) != len(self):
            raise ValueError(f"{name}: got {len(value)} arrays, expected {len(self)}: {self.names}")
        return list(value)


class Inputs(NamedTuple):
    """The inputs of data: arrays, with masks behind them, and the number of samples.

    `form`: of the network they are for; `valid`: by output, which steps count; `lengths`: of the
    sequences, where they came as such, and `each` by input; `steps`: what the network asks of them;
    `largest`: by input, no magnitude in it is above that, where somebody looked.
    """

    xs: list[Array]
    n: int
    form: Form | None = None
    valid: Sequence[Valid | None] = ()
    lengths: Array | None = None
    steps: Steps | None = None
    largest: Sequence[float] = ()
    each: Sequence[Array | None] = ()


def comes_in_list(found: Inputs, k: int) -> bool:
    """Whether the k-th output has the steps of sequences that came one by one."""
    return found.lengths is not None and found.steps is not None and found.steps.per_step[k]


def cut(y: Array, found: Inputs, k: int) -> Any:
    """Of sequences that came one by one the k-th output in the same way, if it has their steps."""
    if not comes_in_list(found, k) or found.lengths is None:
        return y
    if not found.valid or found.valid[k] is None:
        return list(y)
    return [row[:n] for row, n in zip(y, found.lengths, strict=True)]


def _table(label: str, value: Any, shape: Shape) -> Table:
    """The part converted; a list, where the length is open, as sequences."""
    if isinstance(value, Table) or not is_open(shape) or not sequences.is_list(value):
        return arrays.table(label, value)
    found = sequences.read_list(label, value, shape[1:])
    return Table(found.array, None, found.lengths)


def _in_columns(label: str, table: Table, known: Columns | None) -> Table:
    """The table with its columns in the order of those that are known."""
    found = table.columns
    if known is None or found is None or found == known or _count(found):
        return table
    if sorted(found) == sorted(known) and len(set(known)) == len(known):
        order = [found.index(column) for column in known]
        return Table(table.array[:, order], known)
    if _count(known):
        return table
    missing = [column for column in known if column not in found]
    strange = [column for column in found if column not in known]
    raise ValueError(
        f"{label} has columns {_listed(found)}, expected {_listed(known)}, with which the model "
        f"was trained or adapted (missing: {_listed(missing)}; not expected: {_listed(strange)}); "
        f"rename the columns, or pass {label}.to_numpy() to have them read by position"
    )


def _count(columns: Columns) -> bool:
    """Whether the labels only count the columns, as those of a frame made of an array do."""
    return columns == tuple(map(str, range(len(columns))))


def _listed(columns: Sequence[str]) -> str:
    text = ", ".join(map(repr, columns[:20])) or "none"
    return text if len(columns) <= 20 else f"{text}, ... ({len(columns)} in all)"
