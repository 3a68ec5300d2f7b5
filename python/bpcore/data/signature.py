"""What a model takes and gives: names, shapes and dtype of its ends; a user's data brought to it.

`Signature.read` is the one way in for data, from `fit` to `predict`: each part of x and y is
converted once and checked once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from .. import _core
from ..base import checks
from ..base.lengths import MaskKey, is_open
from ..base.memory import Array, Shape
from ..losses import BinaryCrossEntropy, CrossEntropy
from . import arrays, frames, free_targets, sequences, targets
from .arrays import Table
from .dataset import Dataset, Form
from .frames import Names as Columns
from .frames import check_unlike, counts, listed
from .inputs import Inputs, lengths_of
from .opening import opened
from .plain import Plain, looks
from .sequences import Steps
from .targets import Target
from .weights import by_class, by_output

Names = tuple[str, str]  # by which messages call x and y


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


class Signature:
    """Names, shapes and dtype of a model's ends.

    Parameters
    ----------
    inputs, outputs : Ends
    dtype : {"float32", "float64"}
        Of the model's computations.
    held : callable () -> iterable of ndarray
        The model's weights: data that share memory with them are copied, since a training step
        would change them under its feet.
    steps : callable (Form) -> Steps
        What the network for data of this form asks of sequences.
    ids : mapping of int to int
        The inputs that hold ids, and how many ids there are.
    """

    def __init__(
        self,
        inputs: Ends,
        outputs: Ends,
        dtype: str,
        held: Callable[[], Iterable[Array]],
        steps: Callable[[Form], Steps],
        ids: Mapping[int, int],
    ) -> None:
        self.inputs, self.outputs, self.dtype = inputs, outputs, dtype
        self._held, self._steps, self.ids = held, steps, ids
        self.plain: Plain | None = None

    def read(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        losses: Sequence[Any],
        *,
        names: Names = ("x", "y"),
        check_labels: Callable[[int, str], None] | None = None,
        mask: Any = None,
    ) -> Dataset:
        """Inputs, targets and weights, checked.

        Parameters
        ----------
        x, y, sample_weight
            As `Model.fit` takes them.
        losses : list
            One for each output; they say what a target is.
        names : tuple of two str
            By which messages call x and y.
        check_labels : callable (number of the output, name of the targets), optional
            Asked about targets that are class labels; raises if something else needs values.
        mask : array (N, T), or a list or dict of them by input, optional
            Which steps of an input count.

        Returns
        -------
        Dataset

        Raises
        ------
        TypeError, ValueError
            `ShapeError` for shapes. The message says which part, and where in it.
        """
        plain = self.plain
        if plain is not None and plain.whole and plain.losses is losses:
            data = plain.data(x, y) if sample_weight is None and mask is None else None
            if data is not None:
                return data
        columns: tuple[list[Columns | None], list[Columns | None]] = ([], [])
        short = mask is None and not isinstance(y, str)  # a name is looked for in x
        found = self._plain_inputs(x) if short else None
        if found is None:
            x, y = opened(x, y, self.known, names)
            if y is None and any(map(is_open, self.inputs.shapes)) and sequences.are_batches(x):
                raise TypeError(
                    f"{names[0]}: got a list of (x, y), and no y: of a model whose input leaves "
                    f"its length open a list is sequences; for batches pass iter({names[0]})"
                )
            given = self.inputs.tables(names[0], x)
            found = self._inputs(given, names[0], mask=mask)
            columns[0].extend(table.columns for _, table in given)
        ys = self._plain_targets(y, losses, found)
        plain = self.plain if ys is not None and check_labels is not None else None
        if ys is None:
            wanted = self._wanted(y, names[1], losses, found.n)
            ys, _ = self._targets(wanted, losses, found.n, found)
            columns[1].extend(table.columns for _, table in wanted)
        ws = self._weighed(ys, sample_weight, losses, found, names, check_labels)
        if plain is not None and plain.losses is losses:  # no other thread's
            plain.whole = True
        more = columns, found.form, list(found.valid), found.lengths, found.largest
        return Dataset(found.n, found.xs, ys, ws, *more, each=found.each)

    def _plain_inputs(self, x: Any) -> Inputs | None:
        """Those of most calls, found by one look of the core; None: by the long way."""
        if self.plain is None:
            shapes, held = self.inputs.shapes, list(self._held())
            self.plain = Plain(held) if self.ids else looks(shapes, held, self.dtype, self._steps)
        plain = self.plain
        found = None if plain.inputs is None else plain.inputs.read(x)
        if found is None:
            return None
        n, xs, largest = found
        return Inputs(xs, n, plain.form, plain.valid, None, plain.steps, largest)

    def _plain_targets(self, y: Any, losses: Sequence[Any], found: Inputs) -> list[Target] | None:
        """The same of targets, for inputs that were found so."""
        plain = self.plain
        if plain is None or found.steps is None or found.steps is not plain.steps:
            return None
        if plain.losses is not losses:
            self.plain = plain = plain.of(losses, self.outputs.shapes, self.dtype)
        ys = None if plain.targets is None else plain.targets.read(y, found.n)
        return None if ys is None else list(zip(ys[1], plain.labels, strict=True))

    def learn(self, columns: tuple[list[Columns | None], list[Columns | None]]) -> None:
        """Keep a data set's columns of frames: frames to come have to have them, in any order."""
        for ends, found in zip((self.inputs, self.outputs), columns, strict=True):
            least = 1 if ends is self.inputs else 2  # one target needs no name
            for k, names in enumerate(found):
                if ends.columns[k] is None and names is not None and len(names) >= least:
                    ends.columns[k] = names

    def restored_on_error(self) -> AbstractContextManager[Any]:
        """Forget the columns that were learned if the block raises."""
        ends = self.inputs, self.outputs
        return _core.Restored([(e, {**e.__dict__, "columns": list(e.columns)}) for e in ends])

    def read_inputs(
        self, x: Any, name: str = "x", *, finite: bool = True, empty: bool = False, mask: Any = None
    ) -> Inputs:
        """The arrays of all inputs, and the number of samples.

        `finite`: whether NaN and Inf are errors; `empty`: whether there may be no sample.
        """
        found = self._plain_inputs(x) if finite and mask is None else None
        if found is not None:
            return found
        x, _ = opened(x, None, self.known, (name, "y"))
        return self._inputs(self.inputs.tables(name, x), name, finite, empty, mask)

    @property
    def known(self) -> Columns | None:
        """The columns of the only input, if the model was trained on a frame or file."""
        return self.inputs.columns[0] if len(self.inputs) == 1 else None

    def _inputs(
        self,
        given: list[tuple[str, Table]],
        name: str,
        finite: bool = True,
        empty: bool = False,
        mask: Any = None,
    ) -> Inputs:
        found: list[tuple[str, Array]] = []
        ends = zip(given, self.inputs.shapes, self.inputs.names, strict=True)
        for k, ((label, table), shape, end) in enumerate(ends):
            array = arrays.features(label, table.array, shape, end)
            if found:
                arrays.rows(label, array, name, found[0][1].shape[0])
            if k in self.ids:
                arrays.ids(label, array, self.ids[k], end)
            found.append((label, array))
        first = found[0][1]
        n = int(first.shape[0])
        if n == 0 and not empty:
            raise ValueError(f"{name} has 0 samples, expected at least 1: got shape {first.shape}")
        largest = [arrays.finite(*part, self.dtype) for part in found] if finite else []
        xs = [self._apart(array) for _, array in found]
        lengths = [table.lengths for _, table in given]
        return self._with_masks(
            Inputs(xs, n, largest=largest), [label for label, _ in found], lengths, mask
        )

    # ---- steps --------------------------------------------------------------------------------
    def _with_masks(
        self, data: Inputs, labels: list[str], lengths: list[Array | None], mask: Any
    ) -> Inputs:
        """The form of the data, and masks behind the inputs where the network reads them."""
        shapes = self.inputs.shapes
        ends = [x.shape[1] if is_open(s) else 0 for x, s in zip(data.xs, shapes, strict=True)]
        given = self._masks(mask, data, lengths)
        masks: list[Array | None] = []
        for x, own, told in zip(data.xs, lengths, given, strict=True):
            if own is not None and (own < x.shape[1]).any():
                valid = sequences.up_to(own, x.shape[1])
                masks.append(valid if told is None else told & valid)
            else:
                masks.append(told)
        masked = frozenset(k for k, m in enumerate(masks) if m is not None)
        form = Form(tuple(ends), masked)
        steps = self._steps(form)
        by_key: dict[MaskKey, Array] = {}
        for key in {*steps.inputs, *(key for keys in steps.outputs for key in keys)}:
            m = masks[key.source]
            if key.value is not None:
                m = sequences.by_value(data.xs[key.source], key.value, m)
            assert m is not None
            sequences.check(labels[key.source], m, in_front=key in steps.in_front)
            by_key[key] = m
        valid_of = [sequences.valid([by_key[key] for key in keys]) for keys in steps.outputs]
        behind = [by_key[key].view(np.uint8) for key in steps.inputs]
        known = lengths_of([key for keys in steps.outputs for key in keys], lengths)
        largest = [*data.largest, *[1.0] * len(behind)] if data.largest else ()
        return Inputs([*data.xs, *behind], data.n, form, valid_of, known, steps, largest, lengths)

    def _masks(self, mask: Any, data: Inputs, lengths: list[Array | None]) -> list[Array | None]:
        """A user's masks by input; those that hold nothing back are none."""
        if mask is None:
            return [None] * len(self.inputs)
        found: list[Array | None] = []
        names = self.inputs.names
        if isinstance(mask, dict):
            strange = [key for key in mask if key not in names]
            if strange:
                raise ValueError(f"mask: unknown input {strange[0]!r}, expected names of {names}")
            parts = [mask.get(key) for key in names]
        elif len(self.inputs) > 1:
            if not isinstance(mask, (list, tuple)) or len(mask) != len(self.inputs):
                raise TypeError(
                    f"mask must be a dict or list by input ({', '.join(map(repr, names))}), got "
                    f"{checks.describe(mask)}"
                )
            parts = list(mask)
        else:
            parts = [mask]
        for part, x, name, own in zip(parts, data.xs, names, lengths, strict=True):
            if part is None:
                found.append(None)
                continue
            label = "mask" if len(names) == 1 else f"mask[{name!r}]"
            if x.ndim < 2:
                raise ValueError(f"{label}: input {name!r} has no axis of steps, got a mask for it")
            part = sequences.nested(label, part, own, x.shape[1])
            m = sequences.read_mask(label, part, data.n, x.shape[1])
            found.append(None if m.all() else m)
        return found

    def read_targets(
        self,
        y: Any,
        sample_weight: Any,
        losses: Sequence[Any],
        n: int | None = None,
        names: Names = ("x", "y"),
        check_labels: Callable[[int, str], None] | None = None,
        inputs: Inputs | None = None,
    ) -> tuple[list[Target], list[Array | None]]:
        """Targets and weights of all outputs; without `n` the first output's rows count."""
        wanted = self._wanted(y, names[1], losses)
        given = inputs or Inputs([], 0)
        ys, n = self._targets(wanted, losses, n, given)
        given = given._replace(n=n)
        return ys, self._weighed(ys, sample_weight, losses, given, names, check_labels)

    def _wanted(
        self, y: Any, name: str, losses: Sequence[Any], n: int = 0
    ) -> list[tuple[str, Table]]:
        if y is None:
            raise TypeError(f"{name} is None, expected targets of shape (N, ...)")
        free = [free_targets.is_free(loss) for loss in losses]
        if not any(free):
            return self.outputs.tables(name, y)
        parts = [(name, y)] if len(free) == 1 else self.outputs.parts(name, y)
        ends = zip(parts, free, self.outputs.columns, self.outputs.shapes, strict=True)
        return [
            (label, Table(free_targets.rows_of(label, part, n)))
            if is_free
            else self.outputs.table(label, part, columns, shape)
            for (label, part), is_free, columns, shape in ends
        ]

    def _targets(
        self, wanted: list[tuple[str, Table]], losses: Sequence[Any], n: int | None, given: Inputs
    ) -> tuple[list[Target], int]:
        """Targets, and their rows; `given`: the inputs they belong to. Without any no output may
        have steps whose number is open."""
        found: list[Target] = []
        shapes = self._shapes(given)
        ends = zip(wanted, losses, shapes, strict=True)
        for k, ((label, table), loss, shape) in enumerate(ends):
            array = table.array
            if n is None:
                n = len(array) if array.ndim else 0
                if n == 0:
                    raise ValueError(f"{label} has 0 samples, expected at least 1")
            end = self.outputs.names[k]
            valid = given.valid[k] if given.valid else None
            if isinstance(array, free_targets.Rows):
                free_targets.check_valid(label, valid)
                found.append((array, True))
                continue
            if valid is None:
                target = targets.prepare(label, array, loss, shape, n, end, self.dtype)
            else:
                target = targets.prepare_steps(
                    label, table, loss, shape, valid.mask, end, self.dtype, given.lengths
                )
            found.append((self._apart(target[0]), target[1]))
        assert n is not None
        return found, n

    def _shapes(self, given: Inputs) -> Sequence[Shape]:
        return given.steps.shapes if given.steps is not None else self.outputs.shapes

    def _weighed(
        self,
        found: list[Target],
        sample_weight: Any,
        losses: Sequence[Any],
        given: Inputs,
        names: Names,
        check_labels: Callable[[int, str], None] | None,
    ) -> list[Array | None]:
        """The weights by output of checked targets, which metrics may still refuse."""
        for k, (y, labels) in enumerate(found):
            if labels and check_labels is not None and not isinstance(y, free_targets.Rows):
                check_labels(k, self.outputs.label(names[1], k))
        name = "sample_weight" if names[0] == "x" else f"{names[0]}'s sample_weight"
        shapes, ends = self._shapes(given), self.outputs.names
        weights = by_output(
            name, sample_weight, given.n, losses, shapes, ends, self.dtype, given.lengths
        )
        for k, loss in enumerate(losses):
            table = getattr(loss, "class_weight", None)
            if table is not None and isinstance(loss, (CrossEntropy, BinaryCrossEntropy)):
                of_loss = "class_weight of the loss"
                weights[k] = self._by_class(of_loss, table, found[k], k, loss, weights[k])
        for k, valid in enumerate(given.valid):
            if valid is not None:
                own = weights[k]
                mask = valid.mask.astype(np.float64)
                weights[k] = mask if own is None else arrays.weights_times(own, mask)
        return weights

    def weigh_classes(self, data: Dataset, class_weight: Any, losses: Sequence[Any]) -> None:
        """Multiply the weights of a checked data set by those of the samples' classes."""
        if len(data.ys) > 1:
            raise ValueError("class_weight needs a model with one output; use sample_weight")
        data.ws[0] = self._by_class(
            "class_weight", class_weight, data.ys[0], 0, losses[0], data.ws[0]
        )

    def _by_class(
        self, name: str, table: Any, target: Target, k: int, loss: Any, weights: Array | None
    ) -> Array:
        return by_class(name, table, target, self.outputs.shapes[k], loss, weights, self.dtype)

    def _apart(self, array: Array) -> Array:
        """A copy if the array is a view of weights."""
        if array.base is None and array.flags.owndata:
            return array
        overlaps = any(arrays.overlaps(array, weight) for weight in self._held())
        return array.copy() if overlaps else array


def _table(label: str, value: Any, shape: Shape) -> Table:
    """The part converted; a list or series, where the length is open, as sequences."""
    if isinstance(value, Table) or not is_open(shape):
        return arrays.table(label, value)
    value = frames.sequences(value)
    if not sequences.is_list(value):
        return arrays.table(label, value)
    found = sequences.read_list(label, value, shape[1:])
    return Table(found.array, None, found.lengths)


def _in_columns(label: str, table: Table, known: Columns | None) -> Table:
    """The table with its columns in the order of those that are known."""
    found = table.columns
    if known is None or found is None or found == known or counts(found):
        return table
    if sorted(found) == sorted(known):
        check_unlike(known, label)  # else they cannot be put in order
        order = [found.index(column) for column in known]
        return Table(table.array[:, order], known)
    if counts(known):
        return table
    missing = [column for column in known if column not in found]
    strange = [column for column in found if column not in known]
    raise ValueError(
        f"{label} has columns {listed(found)}, expected {listed(known)}, with which the model "
        f"was trained or adapted (missing: {listed(missing)}; not expected: {listed(strange)}); "
        f"rename the columns, or pass {label}.to_numpy() to have them read by position"
    )
