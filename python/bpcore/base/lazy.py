"""Public names of a package that are imported at first use, so that importing the package is quick.

A program uses a part of what there is; what it does not ask for costs it no time (PEP 562).
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# Two threads that import a package and a module of it take the locks of both in two orders,
# and one of them ends with an error: so one thread at a time looks for names. What a thread within
# an import statement of its own asks for may keep the other from finishing; it does not wait for
# ever, but goes on as if there were no lock.
_PATIENCE = 5.0  # seconds
_turn = threading.RLock()


def _renewed() -> None:
    """In a child of a fork the thread that had the lock is not there."""
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renewed)


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
        if name not in where and name not in public:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        turn = _turn
        mine = turn.acquire(timeout=_PATIENCE)
        try:
            return found(name)
        finally:
            if mine:
                turn.release()

    def found(name: str) -> Any:
        if name in where:
            value = getattr(importlib.import_module(f"{package}.{where[name]}"), name)
            setattr(sys.modules[package], name, value)  # from now on it is found without this
            return value
        return importlib.import_module(f"{package}.{name}")

    def known() -> list[str]:
        own = vars(sys.modules[package])
        return sorted({*public, *(name for name in own if name.startswith("__"))})

    return get, known
