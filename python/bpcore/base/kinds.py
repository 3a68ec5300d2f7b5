"""Kinds of data: what a value must be before anything is made of it.

A file's content is held against a kind which its reader made, so that all of it is checked at one
place, before anything is changed. Values are JSON data and arrays.

Examples
--------
>>> place = Record({"epoch": Integer(0, 9), "loss": Real()})
>>> place.check({"epoch": 3, "loss": 0.5}, "position")
>>> place.check({"epoch": 12, "loss": 0.5}, "position")
Traceback (most recent call last):
    ...
ValueError: position.epoch: got int 12, expected an integer in [0, 9]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import checks
from .memory import Array, Shape

MAX_COUNT = 2**62  # of what counts up by one: there is room for more


class Kind:
    """Base; `wanted` says in words what is accepted."""

    wanted = ""

    def accepts(self, value: Any) -> bool:
        """Whether the value alone is of the kind."""
        raise NotImplementedError

    def check(self, value: Any, where: str) -> None:
        """ValueError, with the place, for what is not of the kind."""
        if not self.accepts(value):
            raise ValueError(f"{where}: got {checks.describe(value)}, expected {self.wanted}")

    def arrays(self) -> int:
        """How many arrays a value has at most."""
        return 0


class Anything(Kind):
    """What only its owner can judge."""

    def accepts(self, value: Any) -> bool:
        return True


class Flag(Kind):
    """True or False."""

    wanted = "true or false"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)


class Integer(Kind):
    """An integer in [low, high]."""

    def __init__(self, low: int = 0, high: int = MAX_COUNT) -> None:
        self.low, self.high = low, high
        self.wanted = f"an integer in [{low}, {high}]"

    def accepts(self, value: Any) -> bool:
        return type(value) is int and self.low <= value <= self.high


class Real(Kind):
    """A finite number that is not below `low`."""

    def __init__(self, low: float = -math.inf, *, finite: bool = True) -> None:
        self.low, self.finite = low, finite
        self.wanted = ("a finite number" if finite else "a number") + (
            f" >= {low:g}" if low > -math.inf else ""
        )

    def accepts(self, value: Any) -> bool:
        if type(value) not in (int, float):
            return False
        return (math.isfinite(value) and value >= self.low) or not self.finite


class RealText(Kind):
    """A number as text, infinity too."""

    wanted = "a number as text, like '0.5' or 'inf'"

    def accepts(self, value: Any) -> bool:
        try:
            return isinstance(value, str) and repr(float(value)) == value
        except ValueError:
            return False


class Text(Kind):
    """Any text."""

    wanted = "text"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str)


class Same(Kind):
    """One value alone."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.wanted = checks.describe(value)

    def accepts(self, value: Any) -> bool:
        return type(value) is type(self.value) and bool(value == self.value)


class Like(Kind):
    """What may stand where `example` stands: a number for a number, a list for a list.

    Anything in place of None, and of what is no data.
    """

    _GROUPS = (bool, (int, float), str, list, dict, np.ndarray)

    def __init__(self, example: Any) -> None:
        if isinstance(example, np.generic):
            example = example.item()
        example = list(example) if isinstance(example, tuple) else example
        self.group: Any = next((g for g in self._GROUPS if isinstance(example, g)), object)
        self.wanted = f"what is like {checks.describe(example)}"

    def accepts(self, value: Any) -> bool:
        if isinstance(value, bool) and self.group == (int, float):
            return False
        return value is None or isinstance(value, self.group)


class Maybe(Kind):
    """Another kind, or None."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def check(self, value: Any, where: str) -> None:
        if value is not None:
            self.kind.check(value, where)

    def arrays(self) -> int:
        return self.kind.arrays()


class Items(Kind):
    """A list of any length of one kind."""

    wanted = "a list"

    def __init__(self, kind: Kind, least: int = 0) -> None:
        self.kind, self.least = kind, least
        self.wanted = f"a list of {least} or more"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, list) and len(value) >= self.least

    def check(self, value: Any, where: str) -> None:
        super().check(value, where)
        for i, item in enumerate(value):
            self.kind.check(item, f"{where}[{i}]")


class Row(Kind):
    """A list of given kinds, one after the other."""

    def __init__(self, *kinds: Kind) -> None:
        self.kinds = kinds
        self.wanted = f"a list of {len(kinds)}"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, list) and len(value) == len(self.kinds)

    def check(self, value: Any, where: str) -> None:
        super().check(value, where)
        for i, (kind, item) in enumerate(zip(self.kinds, value, strict=True)):
            kind.check(item, f"{where}[{i}]")

    def arrays(self) -> int:
        return sum(kind.arrays() for kind in self.kinds)


class Record(Kind):
    """A dict with given entries.

    Parameters
    ----------
    fields : dict of str to Kind
    open : bool
        Whether entries may be missing, and others may be there: of the known ones the kind counts.
    """

    def __init__(self, fields: Mapping[str, Kind], *, open: bool = False) -> None:
        self.fields, self.open = dict(fields), open
        names = sorted(self.fields)
        self.wanted = f"entries {names[:8] if len(names) > 8 else names}" if names else "no entry"

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        return self.open or set(value) == set(self.fields)

    def check(self, value: Any, where: str) -> None:
        if isinstance(value, dict) and not self.accepts(value):
            missing = [name for name in self.fields if name not in value]
            strange = [name for name in value if name not in self.fields]
            raise ValueError(
                f"{where}: got entries that do not fit; missing: {missing[:5] or 'none'}, "
                f"not expected: {strange[:5] or 'none'}"
            )
        super().check(value, where)
        for name, kind in self.fields.items():
            if name in value:
                kind.check(value[name], f"{where}.{name}")

    def arrays(self) -> int:
        return sum(kind.arrays() for kind in self.fields.values())


class Values(Kind):
    """An array: its shape and dtype, finite and not below `low` unless `finite` is false."""

    def __init__(
        self, shape: Shape, dtype: Any, low: float = -math.inf, *, finite: bool = True
    ) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.low, self.finite = low, finite
        self.wanted = f"an array of dtype {self.dtype} and shape {self.shape}"

    def accepts(self, value: Any) -> bool:
        if not isinstance(value, np.ndarray):
            return False
        return value.shape == self.shape and bool(value.dtype == self.dtype)

    def check(self, value: Any, where: str) -> None:
        super().check(value, where)
        if self.finite and not np.isfinite(value).all():
            raise ValueError(f"{where}: got NaN or Inf in it, expected finite numbers")
        if self.finite and self.low > -math.inf and bool((value < self.low).any()):
            raise ValueError(f"{where}: got {value.min()} in it, expected numbers >= {self.low:g}")

    def arrays(self) -> int:
        return 1


class Copies(Kind):
    """Copies of arrays, by their number as text, or none at all: ``{"0": ..., "1": ...}``."""

    def __init__(self, arrays: list[Array]) -> None:
        self.whole = Record({str(i): Values(a.shape, a.dtype) for i, a in enumerate(arrays)})
        self.wanted = f"{len(arrays)} arrays or none"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, dict) and len(value) in (0, len(self.whole.fields))

    def check(self, value: Any, where: str) -> None:
        super().check(value, where)
        if value:
            self.whole.check(value, where)

    def arrays(self) -> int:
        return self.whole.arrays()


class Judged(Kind):
    """What a function takes without an exception."""

    def __init__(self, function: Callable[[Any], object], wanted: str) -> None:
        self.function, self.wanted = function, wanted

    def check(self, value: Any, where: str) -> None:
        try:
            self.function(value)
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise ValueError(
                f"{where}: got {checks.describe(value)} ({error}), expected {self.wanted}"
            ) from error
