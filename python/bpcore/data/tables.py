"""Tables from files and frames, in blocks of rows, so that memory does not grow with the file.

A block is a dict from column names to ndarrays: numbers as float64 with NaN where a value is
missing, booleans, or objects (text, None where missing). Rows in errors count the table's rows from
1, without the names; where a text file cannot be read at all, its line is told.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import itertools
import math
import os
import threading
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..base import checks, optional
from ..base.memory import Array
from .columns import as_column
from .encoding import encoding_of, undecodable_line
from .frames import check_names, collected

Block = dict[str, Array]
ROWS = 20_000  # of a block
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "-", "#n/a", "missing"})
_FIELD = 1 << 20  # characters of a field, at the most
_OPTIONS = ("encoding", "separator", "missing", "decimal", "thousands")
_SEPARATORS = ",;\t|"

_lock = threading.RLock()  # a file left half read may end within, when it is garbage
_reading, _limit = 0, 0  # files that are read in this moment, and csv's limit without them


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """A block in which csv takes long fields; its limit is one for the process."""
    global _reading, _limit
    with _lock:
        _reading += 1
        if _reading == 1:
            _limit = csv.field_size_limit(max(_FIELD, csv.field_size_limit()))
    try:
        yield
    finally:
        with _lock:
            _reading -= 1
            if not _reading:
                csv.field_size_limit(_limit)


class Table:
    """A source of blocks.

    Attributes
    ----------
    names : list of str
        The columns.
    source : str
        What it is, for messages.
    rows : int or None
        How many there are, where that is known before all are read.
    """

    names: list[str]
    source: str
    rows: int | None = None

    def blocks(self, names: Sequence[str] | None = None) -> Iterator[Block]:
        """All rows of the columns that are asked for, from the beginning at each call."""
        raise NotImplementedError


class Frame(Table):
    """A pandas or polars frame, or a dict of columns."""

    def __init__(self, frame: Any, source: str = "the frame") -> None:
        labels = list(frame) if isinstance(frame, dict) else list(frame.columns)
        if isinstance(frame, dict):  # what can be gone through once is gone through now
            frame = {k: list(v) if isinstance(v, Iterator) else v for k, v in frame.items()}
        self.frame, self.source = frame, source
        self.names = [str(label) for label in labels]
        if not labels:
            raise ValueError(f"{source} has no columns, expected at least 1")
        check_names(self.names, source)
        self._labels = dict(zip(self.names, labels, strict=True))
        self._read: Block = {}
        self.rows = self._count() if isinstance(frame, dict) else len(frame)

    def blocks(self, names: Sequence[str] | None = None) -> Iterator[Block]:
        """One block for each ROWS rows; columns that are not asked for are not looked at."""
        asked = self.names if names is None else names
        columns = {name: self._column(name) for name in asked}
        for start in range(0, self.rows or 0, ROWS):
            yield {name: values[start : start + ROWS] for name, values in columns.items()}

    def _column(self, name: str) -> Array:
        if name not in self._read:
            self._read[name] = as_column(self.source, name, self.frame[self._labels[name]])
        return self._read[name]

    def _count(self) -> int:
        """The rows of a dict of columns."""
        sizes: dict[str, int] = {}
        for name, column in self.frame.items():
            text = isinstance(column, (str, bytes, dict))
            if text or not hasattr(column, "__len__") or getattr(column, "ndim", 1) != 1:
                raise TypeError(
                    f"{self.source}: column {name!r} is {checks.describe(column)}, expected values "
                    "one for each row; also of a single row in a list"
                )
            sizes[str(name)] = len(column)
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{name!r} {n}" for name, n in list(sizes.items())[:5])
            raise ValueError(f"{self.source}: columns are of unlike length: {told}")
        return max(sizes.values())


class Delimited(Table):
    """A text file with a separator between fields and names in its first line.

    Parameters
    ----------
    path : path
    encoding : str, optional
        By default UTF-8, with or without a byte-order mark, or UTF-16 with one.
    separator : str, optional
        By default the one of ``, ; tab |`` that the first line has most of.
    missing : str or sequence of str
        Further words for a missing value; numbers, too.
    decimal, thousands : str
        Marks in numbers; thousands may be "" or None.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        encoding: str | None = None,
        separator: str | None = None,
        missing: Any = (),
        decimal: str = ".",
        thousands: str | None = "",
    ) -> None:
        self.path = Path(path)
        self.source = str(self.path)
        self.encoding = encoding_of(self.path, encoding)
        self.missing = MISSING | _marked_missing(missing)
        self.decimal, self.thousands = _marks(decimal, "" if thousands is None else thousands)
        with self._open() as file:
            first = self._line(file)
        if not first.strip():
            raise ValueError(f"{self.source} is empty, expected a line of column names")
        self.separator = separator or max(_SEPARATORS, key=first.count)
        if not isinstance(self.separator, str) or len(self.separator) != 1:
            raise ValueError(f"separator must be one character, got {self.separator!r}")
        if self.separator in '"\r\n':
            raise ValueError(
                f"separator must be neither a quotation mark nor the end of a line, got "
                f"{self.separator!r}"
            )
        with contextlib.closing(self._rows()) as rows:
            self.names = [name.strip() for name in next(rows)[1]]
            check_names(self.names, self.source)
            if next(rows, None) is None:
                raise ValueError(
                    f"{self.source} has column names and no rows, expected at least 1 row"
                )

    def _open(self) -> Any:
        return open(self.path, encoding=self.encoding, newline="")

    def _line(self, file: Any) -> str:
        try:
            return str(file.readline(_FIELD))
        except UnicodeError as error:
            raise ValueError(self._undecodable(error)) from None

    def _undecodable(self, error: UnicodeError) -> str:
        why = str(error)
        if isinstance(error, UnicodeDecodeError):  # its position is one in a block that was read
            why = f"byte 0x{error.object[error.start]:02x}: {error.reason}"
        return (
            f"{self.source}, line {undecodable_line(self.path, self.encoding)}: not "
            f"{self.encoding} ({why}); give the file's encoding, for example latin-1 or cp1252"
        )

    def _rows(self) -> Generator[tuple[int, list[str]], None, None]:
        """Lines of the file and their fields, the names first; blank lines are passed over."""
        with _long_fields(), self._open() as file:
            reader = csv.reader(file, delimiter=self.separator, strict=True)
            wide = 0
            while True:
                try:
                    fields = next(reader)
                except StopIteration:
                    return
                except UnicodeError as error:
                    raise ValueError(self._undecodable(error)) from None
                except csv.Error as error:
                    raise ValueError(
                        f"{self.source}, line {reader.line_num}: {_words(error)}"
                    ) from None
                if not any(fields):
                    continue
                if "\0" in "".join(fields):
                    raise ValueError(
                        f"{self.source}, line {reader.line_num}: holds a NUL byte; it is no "
                        "text file, or UTF-16: give the encoding"
                    )
                wide = wide or len(fields)
                if len(fields) != wide:
                    raise ValueError(
                        f"{self.source}, line {reader.line_num}: {len(fields)} fields, "
                        f"expected {wide} as in the line of names; a field that holds the "
                        f"separator {self.separator!r} must stand in quotes"
                    )
                yield reader.line_num, fields

    def blocks(self, names: Sequence[str] | None = None) -> Iterator[Block]:
        """Columns of text become numbers where all of a block's values are numbers."""
        asked = set(self.names if names is None else names)
        rows = self._rows()
        next(rows)
        while part := list(itertools.islice(rows, ROWS)):
            columns = zip(*(fields for _, fields in part), strict=True)
            yield {
                name: self._column(values)
                for name, values in zip(self.names, columns, strict=True)
                if name in asked
            }

    def _column(self, values: Sequence[str]) -> Array:
        read = float if self._plain and "_" not in "".join(values) else self._number
        numbers: list[float] = []
        for value in values:
            try:
                numbers.append(read(value))
            except ValueError:
                if value.strip().lower() not in self.missing:
                    texts = [text.strip() for text in values]
                    known = [None if text.lower() in self.missing else text for text in texts]
                    return np.array(known, dtype=object)
                numbers.append(math.nan)
        return np.array(numbers, np.float64)

    @functools.cached_property
    def _plain(self) -> bool:
        """Whether `float` reads this file's numbers, and none of them marks a missing one."""
        marks = [word for word in self.missing if _is_float(word) and word != "nan"]
        return not marks and not self.thousands and self.decimal == "."

    def _number(self, value: str) -> float:
        """The same with this file's marks; ValueError for what is no number, or missing."""
        text = value.strip()
        number = None if text.lower() in self.missing else self.number(text)
        if number is None:
            raise ValueError(text)
        return number

    def number(self, text: str) -> float | None:
        """The number that a text is, with this file's marks; None if it is none."""
        if self.thousands:
            text = text.replace(self.thousands, "")
        if self.decimal != ".":
            text = text.replace(self.decimal, ".")
        try:
            value = float(text)
        except ValueError:
            return None
        return None if "_" in text else value


class Parquet(Table):
    """A parquet file, read by pyarrow."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.source = str(path)
        self._parquet = optional.require("pyarrow.parquet", "tables", "reading a parquet file")
        lib = optional.require("pyarrow", "tables", "reading a parquet file")
        self._failures = (lib.ArrowException, ValueError, OSError)
        try:
            with self._parquet.ParquetFile(path) as file:
                self.names = list(file.schema_arrow.names)
                rows = file.metadata.num_rows
        except self._failures as error:
            raise ValueError(f"{self.source} is no parquet file: {error}") from None
        if not rows:
            raise ValueError(f"{self.source} has no rows, expected at least 1")
        check_names(self.names, self.source)

    def blocks(self, names: Sequence[str] | None = None) -> Iterator[Block]:
        """Batches of the file."""
        asked = self.names if names is None else list(names)
        whole = any("." in name for name in asked)  # pyarrow takes a point for a nested field
        with self._parquet.ParquetFile(self.source) as file:
            batches = file.iter_batches(batch_size=ROWS, columns=None if whole else asked)
            while True:
                try:
                    columns = next(batches).to_pydict()
                except StopIteration:
                    return
                except self._failures as error:
                    raise ValueError(f"{self.source}: cannot be read: {error}") from None
                yield {name: as_column(self.source, name, columns[name]) for name in asked}


def open_table(source: Any, **options: Any) -> Table:
    """A table from a path (csv, tsv, parquet, npz), a frame, a dict of columns, or an array.

    Parameters
    ----------
    source : path, frame, dict or array (N, F)
        Columns of an array are named x0, x1 and so on.
    **options
        Of `Delimited`, for text files.

    Raises
    ------
    OSError
        The file is missing, a folder, or cannot be read.
    ValueError
        The file is empty, has no rows, or is not what its name says.
    """
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(str(checks.unknown("option of a text file", name, _OPTIONS)))
    if isinstance(source, Table):
        return source
    if not isinstance(source, (str, os.PathLike)):
        source = collected(source)
        if hasattr(source, "column_names") and hasattr(source, "to_pydict"):  # pyarrow's Table
            check_names(source.column_names, "the table")
            source = source.to_pydict()
        if isinstance(source, dict) or hasattr(source, "columns"):
            return Frame(source)
        if isinstance(source, np.ndarray) and source.ndim == 2:
            return Frame({f"x{i}": source[:, i] for i in range(source.shape[1])}, "the array")
        raise TypeError(
            f"a table must be a path, a pandas or polars frame, a dict of columns, or an array "
            f"(N, F), got {checks.describe(source)}; give columns a name each, as in "
            "{'a': [1.0, 2.0]}, a single row too"
        )
    path = _file(source)
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        return Parquet(path)
    if suffix == ".npz":
        return Frame(_flat(_arrays(path), str(path)), str(path))
    if suffix == ".tsv":
        options.setdefault("separator", "\t")
    return Delimited(path, **options)


def _file(source: Any) -> Path:
    """The path of a file that is there and can be read more than once."""
    name = checks.path(source, "table")
    path = Path(name)
    if path.is_dir():
        raise IsADirectoryError(f"{name} is a folder, expected a file")
    if not path.exists():
        raise FileNotFoundError(f"{name}: {checks.no_such_file(name)}")
    if not path.is_file():
        raise ValueError(
            f"{name} is a pipe or a device, expected a file, because a table is read more than "
            "once; write it to a file first"
        )
    return path


def _arrays(path: Path) -> dict[str, Array]:
    """All arrays of an npz file."""
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path}: no npz file of numbers and texts: {error}") from None


def _flat(arrays: dict[str, Array], source: str) -> dict[str, Array]:
    """Arrays of two axes as columns ``name_0``, ``name_1`` and so on."""
    columns: dict[str, Array] = {}
    names: list[str] = []
    for name, array in arrays.items():
        parts = {name: array} if array.ndim == 1 else {}
        if array.ndim > 1:
            flat = array.reshape(len(array), -1)
            parts = {f"{name}_{i}": flat[:, i] for i in range(flat.shape[1])}
        names += parts
        columns |= parts
    check_names(names, source)
    return columns


def _marked_missing(given: Any) -> set[str]:
    """The texts in a file that one word, or each of several, stands for; 9.0 is also 9."""
    one = isinstance(given, (str, bytes)) or getattr(given, "ndim", 1) == 0
    several = hasattr(given, "__iter__") and not one
    words = list(given) if several else [given]
    whole = [
        int(word) for word in words if isinstance(word, (float, np.floating)) and word % 1 == 0
    ]
    return {str(word).strip().lower() for word in [*words, *whole]}


def _marks(decimal: str, thousands: str) -> tuple[str, str]:
    """The marks in numbers, of which each is one character that no number has otherwise."""
    for name, mark in (("decimal", decimal), ("thousands", thousands)):
        sound = isinstance(mark, str) and len(mark) == 1 and not mark.isalnum() and mark not in "+-"
        if not (sound or (name == "thousands" and mark == "")):
            raise ValueError(
                f"{name} must be a mark in numbers, one character like '.' or ',', got {mark!r}"
            )
    if decimal == thousands:
        raise ValueError(
            f"decimal and thousands must be unlike marks, got {decimal!r} for both; give both, as "
            "in decimal=',' and thousands='.'"
        )
    return decimal, thousands


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _words(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end of data" in text:
        return "a quotation mark is opened and never closed"
    return text
