"""From columns of any kind to the numbers that a network takes; what was learned is data."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..base import checks
from ..base.memory import Array
from ..data.columns import Name
from ..data.tables import Block, Table, open_table

LEVELS = 64  # of a category that get a column of their own; the rest share that of the unseen
_DISTINCT = 5000  # values of a text column that are counted
_SAMPLE = 50_000  # numbers of a column that quantiles are taken from
_KNOTS = 129  # of a quantile scale
_TRUE, _FALSE = {"true", "yes", "t", "y"}, {"false", "no", "f", "n"}
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([ T]\d{1,2}:\d{2}.*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
_MARKED = re.compile(r"[-+]?\d{1,3}(\d*|([.,' \u00a0\u202f]\d{3})+)([.,]\d+)?")
LARGEST = 1e30  # of numbers: their squares and their float32 are finite with room to spare
_TAIL = 8.0  # standard deviations
_MOSTLY = 0.9  # a column with more numbers than this holds mistakes, not categories


@dataclasses.dataclass
class Column:
    """What was learned of one column.

    Attributes
    ----------
    name : str
    kind : {"number", "boolean", "category", "constant"}
    missing : bool
        Whether the training data had missing values; then a column of ones and zeros tells them.
    center, scale : float
        Of numbers: median and mean; what is subtracted, and what divides.
    knots : list of float
        Quantiles of a number, for ``scaling="quantile"``.
    levels : list of str
        Of a category, the most frequent first.
    """

    name: str
    kind: str
    missing: bool = False
    median: float = 0.0
    center: float = 0.0
    scale: float = 1.0
    knots: list[float] = dataclasses.field(default_factory=list)
    levels: list[str] = dataclasses.field(default_factory=list)

    @property
    def width(self) -> int:
        """Columns of the result."""
        if self.kind == "constant":
            return 0
        return (len(self.levels) + 1 if self.kind == "category" else 1) + self.missing


class Preprocessor:
    """Scale numbers, fill what is missing, and turn categories and booleans into numbers.

    Numbers get mean 0 and variance 1, or become standard normal by their quantiles; a missing one
    is the median, and another column says that it was missing. A category has a column for each of
    its 64 most frequent values and one for all others: values that were not seen in training are
    no error. Booleans are 0 and 1. Dates are refused, with what to do instead. Columns without any
    value, or with one value only, and texts that are different in every row are left out with a
    warning.

    Parameters
    ----------
    scaling : {"auto", "quantile", "standard"}
        ``"auto"``: quantiles for numbers with long tails (one that is more than 8 standard
        deviations from the mean), else mean and variance.

    Attributes
    ----------
    columns : list of Column
        What was learned, by column.
    feature_names : list of str
        Of the result.

    Examples
    --------
    >>> from bpcore.tabular import Preprocessor
    >>> table = {"age": [20.0, None, 40.0], "city": ["Bern", "Rome", "Bern"]}
    >>> prepare = Preprocessor("standard").fit(table)
    >>> prepare.feature_names
    ['age', 'age missing', 'city=Bern', 'city=Rome', 'city=other']
    >>> prepare.transform({"age": [20.0], "city": ["Oslo"]}).tolist()
    [[-1.0, 0.0, 0.0, 0.0, 1.0]]
    """

    def __init__(self, scaling: str = "auto") -> None:
        self.scaling = checks.choice("scaling", scaling, ("auto", "quantile", "standard"))
        self.columns: list[Column] = []
        self.rows = 0  # that were learned from

    # ---- learning ---------------------------------------------------------------------------
    def fit(self, table: Any, leave_out: tuple[str, ...] = ()) -> Preprocessor:
        """Learn from all rows of a table, in one pass.

        Parameters
        ----------
        table : path, frame, dict or Table
            See `bpcore.tabular.open_table`.
        leave_out : tuple of str
            Columns that are no features: the target.
        """
        source = open_table(table)
        names = [name for name in source.names if name not in leave_out]
        tallies = {name: Tally(name, source.source) for name in names}
        self.rows = 0
        if not names:
            beside = f" beside the target {leave_out[0]!r}" if leave_out else ""
            raise ValueError(
                f"{source.source} has no column{beside}, expected at least 1 to learn from"
            )
        for block in source.blocks(names):
            for name in names:
                tallies[name].add(block[name])
            self.rows += len(next(iter(block.values())))
        if not self.rows:
            raise ValueError(f"{source.source} has no rows, expected at least 1")
        self.columns = [tally.column(self.scaling) for tally in tallies.values()]
        if not any(column.width for column in self.columns):
            raise ValueError(f"{source.source}: no column is left to learn from")
        return self

    @property
    def feature_names(self) -> list[str]:
        """Names of the result's columns."""
        names: list[str] = []
        for column in self.columns:
            if column.kind == "category":
                names += [f"{column.name}={level}" for level in [*column.levels, "other"]]
            elif column.kind != "constant":
                names.append(column.name)
            if column.missing and column.kind != "constant":
                names.append(f"{column.name} missing")
        return names

    @property
    def width(self) -> int:
        """Columns of the result."""
        return sum(column.width for column in self.columns)

    # ---- use ----------------------------------------------------------------------------------
    def transform(self, table: Any) -> Array:
        """The features of a table as float32 (N, width); columns may stand in any order."""
        source = open_table(table)
        self.check_columns(source)
        return np.concatenate(list(self.parts(source)))

    def parts(self, source: Table) -> Iterator[Array]:
        """The features of a table block by block; errors name file and row."""
        start = 0
        for block in source.blocks([column.name for column in self.columns if column.width]):
            yield self.features(block, source.source, start)
            start += len(next(iter(block.values())))

    def check_columns(self, source: Table) -> None:
        """Raise ValueError if a column that was learned from is missing."""
        needed = [column.name for column in self.columns if column.width]
        lacking = [name for name in needed if name not in source.names]
        if lacking:
            hint = checks.suggest(lacking[0], source.names)
            raise ValueError(
                f"{source.source} lacks the column {lacking[0]!r}, which the model was trained "
                f"with{hint}; it has {', '.join(source.names[:20])}"
            )

    def features(self, block: Block, source: str = "the table", start: int = 0) -> Array:
        """The features of a block of rows, the first of which is row `start` of `source`."""
        rows = len(next(iter(block.values())))
        result = np.zeros((rows, self.width), np.float32)
        at = 0
        for column in self.columns:
            if column.width:
                values, out = block[column.name], result[:, at : at + column.width]
                self._fill(column, values, out, source, start)
            at += column.width
        return result

    def _fill(self, column: Column, values: Array, out: Array, source: str, start: int) -> None:
        if column.kind == "category":
            other = len(column.levels)
            place: dict[str | None, int] = {level: k for k, level in enumerate(column.levels)}
            words = texts(values)
            gone = np.array([text is None for text in words], bool)
            at = np.array([place.get(text, other) for text in words], np.intp)
            known = ~gone if column.missing else np.ones(len(at), bool)
            out[np.flatnonzero(known), at[known]] = 1
        else:
            numbers = _numbers(column, values, source, start)
            if column.kind == "boolean":
                _refuse_counts(column, numbers, source, start)
            check_size(source, f"column {column.name!r}", numbers, start)
            gone = np.isnan(numbers)
            numbers[gone] = column.median
            out[:, 0] = self._scaled(column, numbers)
        if column.missing:
            out[:, -1] = gone

    def _scaled(self, column: Column, numbers: Array) -> Array:
        if column.knots:
            share = np.interp(numbers, column.knots, np.linspace(0, 1, len(column.knots)))
            return _normal(np.clip(share, 1e-3, 1 - 1e-3))
        return (numbers - column.center) / column.scale

    # ---- as data ------------------------------------------------------------------------------
    def get_config(self) -> dict[str, Any]:
        """All that was learned, as JSON data."""
        return {
            "scaling": self.scaling,
            "columns": [dataclasses.asdict(column) for column in self.columns],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Preprocessor:
        """A preprocessor from what `get_config` gave."""
        made = cls(config["scaling"])
        made.columns = [Column(**column) for column in config["columns"]]
        return made


class Tally:
    """What one pass over a column gathers."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source
        self.rows = self.gone = self.count = 0
        self.mean = self.squares = 0.0
        self.counts: Counter[str] = Counter()
        self.strange: tuple[int, str] | None = None  # the first value that is no number
        self.booleans = 0
        self.sample: list[Array] = []
        self.sampled, self.step = 0, 1

    def add(self, values: Array) -> None:
        """A block of rows."""
        if values.dtype.kind == "f":
            self._add_numbers(values)
        elif values.dtype.kind == "b":
            self.booleans += len(values)
            self.counts.update({"true": int(values.sum()), "false": int((~values).sum())})
        else:
            self._add_texts(values)
        self.rows += len(values)

    def _add_numbers(self, values: Array) -> None:
        check_size(self.source, f"column {self.name!r}", values, self.rows)
        present = values[~np.isnan(values)]
        self.gone += len(values) - len(present)
        if not len(present):
            return
        total = self.count + len(present)
        mean = float(present.mean())
        apart = mean - self.mean
        self.squares += float(np.square(present - mean).sum())
        self.squares += apart * apart * self.count * len(present) / total
        self.mean += apart * len(present) / total
        self.count = total
        self.sample.append(present[:: self.step])
        self.sampled += len(self.sample[-1])
        if self.sampled > _SAMPLE:  # every second one is enough, from now on too
            self.sample = [np.concatenate(self.sample)[::2]]
            self.sampled, self.step = len(self.sample[0]), 2 * self.step

    def _add_texts(self, values: Array) -> None:
        listed = values.tolist()
        for value, times in Counter(listed).items():
            if value is None:
                self.gone += times
                continue
            text = _word(value)
            if isinstance(value, bool):
                self.booleans += times
            number = None if isinstance(value, (bool, Name)) else _number(text)
            if number is not None:
                row = self.rows + listed.index(value)
                check_size(self.source, f"column {self.name!r}", [number], row)
                self._add_numbers(np.full(times, number))
            elif self.strange is None:
                self.strange = (self.rows + listed.index(value) + 1, text)
            if len(self.counts) < _DISTINCT or text in self.counts:
                self.counts[text] += times

    def column(self, scaling: str) -> Column:
        """What was learned."""
        present = self.rows - self.gone
        missing = self.gone > 0
        if not present:
            return self._left_out("has no value in any row")
        texts = sum(self.counts.values())
        if not texts or (self.strange is None and not self.booleans):
            return self._number(scaling, missing)
        if self.count > _MOSTLY * present and self.strange is not None:
            row, text = self.strange
            raise ValueError(
                f"{self.source}: column {self.name!r} holds {text!r} in row {row}, and numbers in "
                f"{self.count:,} others; mend it, or name {text!r} as a word for a missing value"
            )
        words = {text.lower() for text in self.counts}
        if words <= _TRUE | _FALSE and len(self.counts) <= 4:
            return Column(self.name, "boolean", missing, median=0.5)
        self._check_dates(texts)
        if len(self.counts) == 1 and not missing:
            return self._left_out(f"is {next(iter(self.counts))!r} in every row")
        if len(self.counts) > max(50, 0.5 * present):
            return self._left_out(
                f"has {len(self.counts):,} values like {next(iter(self.counts))!r} in {present:,} "
                f"rows{self._marked(texts)}"
            )
        frequent = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:LEVELS]
        return Column(self.name, "category", missing, levels=[text for text, _ in frequent])

    def _marked(self, texts: int) -> str:
        """What to do about texts that are numbers with other marks than a point."""
        marked = sum(n for text, n in self.counts.items() if _MARKED.fullmatch(text))
        if marked <= _MOSTLY * texts:
            return ""
        return ", which would be numbers if thousands= or decimal= told the marks in them"

    def _check_dates(self, texts: int) -> None:
        dates = sum(n for text, n in self.counts.items() if _DATE.fullmatch(text))
        if dates > _MOSTLY * texts:
            raise ValueError(
                f"{self.source}: column {self.name!r} holds dates like "
                f"{next(iter(self.counts))!r}; make columns of what matters (year, month, weekday, "
                "days since an event), or drop it"
            )

    def _number(self, scaling: str, missing: bool) -> Column:
        values = np.concatenate(self.sample)
        deviation = float(np.sqrt(self.squares / self.count))
        tiny = self.count * np.finfo(np.float64).eps * max(abs(self.mean), 1e-300)
        if deviation <= tiny and not missing:
            return self._left_out(f"is {self.mean:g} in every row")
        column = Column(self.name, "number", missing, float(np.median(values)), self.mean)
        column.scale = deviation if deviation > tiny else 1.0
        farthest = float(np.abs(values - self.mean).max())
        quantiles = scaling == "quantile" or (scaling == "auto" and farthest > _TAIL * deviation)
        if quantiles and len(np.unique(values)) > 10:
            knots = np.quantile(values, np.linspace(0, 1, min(_KNOTS, len(values))))
            column.knots = knots.tolist()
        return column

    def _left_out(self, why: str) -> Column:
        warnings.warn(
            f"{self.source}: column {self.name!r} {why}; it is left out", UserWarning, stacklevel=4
        )
        return Column(self.name, "constant")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) and "_" not in text else None


def texts(values: Array) -> list[str | None]:
    """Values as the texts that levels and classes are; a whole number has no point."""
    if values.dtype.kind == "f":
        return [None if v != v else _shortest(v) for v in values.tolist()]
    if values.dtype.kind == "b":
        return ["true" if v else "false" for v in values.tolist()]
    return [None if v is None else _word(v) for v in values.tolist()]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _shortest(value) if isinstance(value, float) else str(value)


def _shortest(value: float) -> str:
    return str(int(value)) if abs(value) < 2**53 and value.is_integer() else repr(value)


def check_size(source: str, what: str, values: Any, start: int) -> None:
    """ValueError with the row if a number is infinite or too large to be reckoned with."""
    size = np.abs(values)
    if not (size > LARGEST).any():
        return
    row = int(np.flatnonzero(size > LARGEST)[0])
    value = float(np.asarray(values)[row])
    told = "Inf" if np.isinf(value) else f"{value:g}"
    raise ValueError(
        f"{source}: {what} holds {told} in row {start + row + 1}, expected numbers up to "
        f"{LARGEST:g}; mark it as missing or rescale"
    )


def _numbers(column: Column, values: Array, source: str, start: int) -> Array:
    """Values of a number or boolean; what cannot be one is an error with its row."""
    if values.dtype.kind in "fb":
        return values.astype(np.float64)
    result = np.full(len(values), np.nan)
    for row, value in enumerate(values.tolist()):
        if value is None:
            continue
        text = str(value).lower()
        if column.kind == "boolean" and text in _TRUE | _FALSE:
            result[row] = text in _TRUE
            continue
        number = _number(text)
        if number is None:
            raise ValueError(
                f"{source}: column {column.name!r} holds {value!r} in row {start + row + 1}, "
                f"expected a {column.kind} as in training"
            )
        result[row] = number
    return result


def _refuse_counts(column: Column, numbers: Array, source: str, start: int) -> None:
    """ValueError with the row for a number that is neither 0 nor 1 where booleans were learned."""
    strange = np.flatnonzero(~((numbers == 0) | (numbers == 1) | np.isnan(numbers)))
    if len(strange):
        row = int(strange[0])
        raise ValueError(
            f"{source}: column {column.name!r} holds {numbers[row]:g} in row {start + row + 1}, "
            "expected a boolean as in training"
        )


def _normal(share: Array) -> Array:
    """Quantiles of the normal distribution (P. Acklam's rational form, error below 2e-9)."""
    a = (-3.969683028665376e01, 2.209460984245205e02, -2.759285104469687e02,
         1.383577518672690e02, -3.066479806614716e01, 2.506628277459239e00)  # fmt: skip
    b = (-5.447609879822406e01, 1.615858368580409e02, -1.556989798598866e02,
         6.680131188771972e01, -1.328068155288572e01, 1.0)  # fmt: skip
    c = (-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e00,
         -2.549732539343734e00, 4.374664141464968e00, 2.938163982698783e00)  # fmt: skip
    d = (7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e00,
         3.754408661907416e00, 1.0)  # fmt: skip
    tail = np.minimum(share, 1 - share)
    q = np.sqrt(-2 * np.log(tail))
    outer = np.polyval(c, q) / np.polyval(d, q) * np.where(share < 0.5, 1.0, -1.0)
    r = share - 0.5
    inner = np.polyval(a, r * r) * r / np.polyval(b, r * r)
    result: Array = np.where(tail < 0.02425, outer, inner)
    return result
