"""Public names of a package that are imported at first use, so that importing the package is quick.

A program uses a part of what there is; what it does not ask for costs it no time (PEP 562).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def names_of(
    package: str, public: Iterable[str], where: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    public : iterable of str
        Its ``__all__``: names that it has, names in `where`, and modules of the package.
    where : mapping of str to str
        Of a name the module in the package that defines it. A public name that neither this nor
        the package knows is a module.
    """
    public = frozenset(public)

    def get(name: str) -> Any:
        if name in where:
            value = getattr(importlib.import_module(f"{package}.{where[name]}"), name)
            setattr(sys.modules[package], name, value)  # from now on it is found without this
            return value
        if name in public:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def known() -> list[str]:
        own = vars(sys.modules[package])
        return sorted({*public, *(name for name in own if name.startswith("__"))})

    return get, known
