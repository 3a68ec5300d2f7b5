"""From Python objects to data that JSON can hold: one walk for all that is stored or compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import checks


class Plain:
    """Turns a value into None, bools, numbers, strings, lists and dicts of these.

    Called with the value and a text that tells its place in messages. Subclasses say what becomes
    of numbers, of keys, and of objects that are no data.

    Examples
    --------
    >>> import numpy as np
    >>> Plain()({"rate": np.float32(0.5), 3: (True, None)}, "options")
    {'rate': 0.5, '3': [True, None]}
    """

    def __call__(self, value: Any, where: str = "") -> Any:
        if isinstance(value, np.longdouble):  # the one number whose item() is no Python number
            value = float(value)
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, (int, float)):
            return self.number(value, where)
        if isinstance(value, Mapping):
            return {
                self.key(key, where): self(item, f"{where}.{key}") for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return self.other(value, where)

    def key(self, key: Any, where: str) -> str:
        """A key of a dict as text."""
        return str(key)

    def number(self, value: float, where: str) -> Any:
        """An int or a float, which may be NaN or infinite."""
        return value

    def other(self, value: Any, where: str) -> Any:
        """What is none of these; its result is not walked again."""
        raise TypeError(f"{where} is {checks.describe(value)}, which is not data")
