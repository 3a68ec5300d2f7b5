"""States of callbacks and metrics as data: JSON, with arrays and long lists of numbers put aside.

What grows with a run is lists of numbers. They stand one after the other in two arrays of the file,
``@reals`` and ``@integers``, so that neither their length nor their number meets a limit.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..base import checks
from ..base.kinds import MAX_COUNT
from ..base.memory import Array
from ..base.plain import Plain

REALS, INTEGERS = "@reals", "@integers"
ARRAY = re.compile("@array/[0-9]+")
_LONG = 16  # numbers of a list that are put aside
_SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Encoder(Plain):
    """Called with a value and its place: JSON data; TypeError for what a file cannot hold.

    Arrays go into `arrays`, the file's; after the last value `close` adds the numbers put aside.

    Examples
    --------
    >>> arrays = {}
    >>> encoder = Encoder(arrays)
    >>> state = encoder({"best": math.inf, "losses": [0.5] * 20}, "state")
    >>> state
    {'best': {'$float': 'inf'}, 'losses': {'$reals': [0, 20]}}
    >>> encoder.close()
    >>> Decoder(arrays)(state)["losses"] == [0.5] * 20
    True
    """

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.arrays = arrays
        self.count = 0
        self.reals, self.integers = array("d"), array("q")

    def __call__(self, value: Any, where: str = "") -> Any:
        if isinstance(value, (list, tuple)) and len(value) >= _LONG:
            kinds = set(map(type, value))
            if all(issubclass(kind, float) for kind in kinds):
                return self._aside("$reals", self.reals, value)
            if kinds == {int} and min(value) >= -MAX_COUNT and max(value) <= MAX_COUNT:
                return self._aside("$integers", self.integers, value)
        return super().__call__(value, where)

    def _aside(self, mark: str, held: array[Any], value: Any) -> dict[str, list[int]]:
        held.extend(value)
        return {mark: [len(held) - len(value), len(value)]}

    def key(self, key: Any, where: str) -> str:
        if not isinstance(key, str) or key.startswith("$"):
            raise TypeError(f"{where}: key {key!r} must be a str that does not start with '$'")
        return key

    def number(self, value: float, where: str) -> Any:
        if isinstance(value, int):
            return checks.integer(where, value, -MAX_COUNT, 2**64)
        return value if math.isfinite(value) else {"$float": str(value)}

    def other(self, value: Any, where: str) -> Any:
        if isinstance(value, np.ndarray):
            if value.dtype.kind not in "fiub":
                raise TypeError(f"{where} has dtype {value.dtype}, expected an array of numbers")
            name = f"@array/{self.count}"
            self.count += 1
            self.arrays[name] = value
            return {"$array": name}
        raise TypeError(
            f"{where} is {checks.describe(value)}, expected numbers, strings, arrays, lists and "
            "dicts, which a checkpoint can hold"
        )

    def close(self) -> None:
        """Add the numbers that were put aside."""
        if self.reals:
            self.arrays[REALS] = np.frombuffer(self.reals, np.float64)
        if self.integers:
            self.arrays[INTEGERS] = np.frombuffer(self.integers, np.int64)


class Decoder:
    """Called with JSON data: what `Encoder` was given, tuples as lists.

    ValueError and LookupError for what it cannot have made.

    Parameters
    ----------
    arrays : dict
        The file's.
    copy : bool
        Whether the arrays of a value are its own.
    """

    def __init__(self, arrays: Mapping[str, Array], *, copy: bool = True) -> None:
        self.arrays, self.copy = arrays, copy
        self.used: set[str] = set()

    def __call__(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (mark, told), = value.items()  # fmt: skip
            if mark == "$float":
                return _SPECIAL[told]
            if mark == "$array":
                return self._array(told)
            if mark in ("$reals", "$integers"):
                return self._numbers(mark, told)
        return {key: self(item) for key, item in value.items()}

    def _array(self, name: Any) -> Array:
        if not isinstance(name, str) or not ARRAY.fullmatch(name):
            raise ValueError(f"got {checks.describe(name)}, expected the name of an array")
        self.used.add(name)
        found = self.arrays[name]
        return found.copy() if self.copy else found  # not to keep all of the file

    def _numbers(self, mark: str, told: Any) -> list[Any]:
        name, dtype = (REALS, "float64") if mark == "$reals" else (INTEGERS, "int64")
        held = self.arrays[name]
        if held.ndim != 1 or held.dtype != dtype:
            raise ValueError(f"{name!r} is {checks.describe(held)}, expected {dtype} in one row")
        if not isinstance(told, list) or len(told) != 2:
            raise ValueError(f"{mark}: got {checks.describe(told)}, expected place and count")
        first = checks.integer(mark, told[0], 0, len(held))
        count = checks.integer(mark, told[1], 0, len(held) - first)
        self.used.add(name)
        result: list[Any] = held[first : first + count].tolist()
        return result

    def check_all_used(self) -> None:
        """ValueError for an array of values that none of them has."""
        names = (REALS, INTEGERS)
        own = {name for name in self.arrays if name in names or ARRAY.fullmatch(name)}
        if own - self.used:
            raise ValueError(f"array {min(own - self.used)!r} is no part of any state")
