"""Code of the user's, made comparable: whether it is what it was in another process.

What counts is what runs: the bytecode with its constants and the names it uses, defaults, and the
values that a function takes from around it, those of other functions and classes of the user's
included. Comments, docstrings, names of local variables and places in files do not count.

Bytecode is that of one version of Python. It says nothing of code that is no Python (a builtin, an
extension module), nor of objects that are no data.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import digests

PYTHON = f"{sys.implementation.cache_tag}-{importlib.util.MAGIC_NUMBER.hex()}"
if sys.flags.optimize:
    PYTHON += f"-O{sys.flags.optimize}"
USES = "it uses "  # before the names of objects that are no data
_PARTS = {"name", "python", "code", "open"}  # of a signature
_MOST = 100_000  # values that one signature goes through
_LARGE = 2**24  # bytes of an array; of a larger one evenly spaced elements count
# Of a class: what tells where it stands, what it is called, or what Python adds.
_NOT_CODE = {"__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__firstlineno__"}
_NOT_CODE |= {"__static_attributes__", "__annotations__", "__annotate__", "__annotate_func__"}
_NOT_CODE |= {"__annotations_cache__", "__conditional_annotations__", "__abstractmethods__"}
_NOT_CODE |= {"__dataclass_fields__", "__dataclass_params__", "__match_args__"}
_NOT_CODE |= {"_abc_impl", "__parameters__", "__orig_bases__", "__type_params__", "__hash__"}


@functools.cache
def _installed() -> tuple[str, ...]:
    """Folders of Python and of installed packages."""
    import sysconfig  # here, because it takes a millisecond of every import of bpcore

    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple(os.path.realpath(paths[name]) + os.sep for name in names if paths.get(name))


def name_of(value: Any) -> str:
    """Module and name of a function or class, or of an object's class."""
    owner = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(owner, '__module__', None) or 'builtins'}.{owner.__qualname__}"


def is_installed(value: Any) -> bool:
    """Whether a function or class is of Python or of an installed package, not of the user's."""
    module = str(getattr(value, "__module__", None) or "builtins")
    if module.split(".")[0] in sys.stdlib_module_names and module != "__main__":
        return True
    if module.split(".")[0] == __name__.split(".")[0]:  # this package, wherever it stands
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and os.path.realpath(file).startswith(_installed())


def signature(value: Any) -> dict[str, Any]:
    """What tells the code of `value` from other code, as JSON data.

    Returns
    -------
    dict
        ``name``; ``python``, the version whose bytecode ``code`` is a hash of, None where there is
        no bytecode; ``open``, names of what the hash says nothing of.

    Examples
    --------
    >>> told = signature(len)
    >>> told["name"], told["code"], compare(told, told)
    ('builtins.len', None, 'it is not written in Python')
    """
    walk = _Walk()
    walk.value("", value)
    code = walk.digest.hexdigest() if walk.found else None
    return {"name": name_of(value), "python": PYTHON, "code": code, "open": sorted(walk.open)[:5]}


def compare(was: Any, now: Mapping[str, Any]) -> str:
    """``""`` for the same code, else ``"changed"``, or why it cannot be told, in words."""
    if not isinstance(was, Mapping) or not set(was) == set(now) == _PARTS:
        return "changed"
    if was["name"] != now["name"]:
        return "changed"
    if was["python"] != now["python"]:
        return f"it was compiled by {str(was['python'])[:40]}, this is {now['python']}"
    if was["code"] != now["code"]:
        return "changed"
    if now["code"] is None:
        return "it is not written in Python"
    return f"{USES}{', '.join(now['open'])}" if now["open"] else ""


class _Walk:
    """Goes through all that a piece of code is made of, in an order that is always the same."""

    def __init__(self) -> None:
        self.digest = digests.sha256()
        self.found = False  # any bytecode
        self.open: set[str] = set()
        self.left = _MOST
        self.active: list[int] = []  # objects that it is inside of
        self.done: dict[int, bytes] = {}
        self.kept: list[Any] = []  # so that no other object takes the place of one done

    def put(self, *parts: Any) -> None:
        """Into the hash, each so that it cannot be taken for another."""
        for part in parts:
            data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
            self.digest.update(len(data).to_bytes(8, "little") + data)

    def value(self, name: str, value: Any) -> None:
        """Anything that code can refer to; `name` is that by which it does."""
        self.left -= 1
        if self.left < 0:
            self.open.add("more than can be gone through")
        elif value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            self.put(type(value).__name__, repr(value))
        elif isinstance(value, np.generic):
            self.put(value.dtype.str, value.tobytes())
        elif value is Ellipsis or value is NotImplemented:
            self.put(repr(value))
        elif isinstance(value, os.PathLike):
            self.put("path", os.fspath(value))
        elif isinstance(value, types.CodeType):
            self.code(value)
        elif isinstance(value, (set, frozenset)):
            self.put("set", *sorted(self._hash_of(name, item) for item in value))
        elif isinstance(value, tuple):
            self._list(name, value)
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            self.put("array", value.dtype.str, value.shape)
            flat = value.reshape(-1)[:: max(1, value.nbytes // _LARGE)]
            self.put(np.ascontiguousarray(flat).tobytes())
        else:
            self._shared(name, value)

    def _list(self, name: str, value: Any) -> None:
        self.put(type(value).__name__, len(value))
        for item in value:
            self.value(name, item)

    def _shared(self, name: str, value: Any) -> None:
        """What may come again, and may lead to itself, with a hash of its own."""
        key = id(value)
        if key in self.active:
            self.put("circle", self.active.index(key))
            return
        if key not in self.done:
            self.active.append(key)
            self.done[key] = self._hash_of(name, value, self._content)
            self.active.pop()
            self.kept.append(value)
        self.put(self.done[key])

    def _hash_of(
        self, name: str, value: Any, walk: Callable[[str, Any], None] | None = None
    ) -> bytes:
        """The hash of a value alone."""
        outer, self.digest = self.digest, digests.sha256()
        (walk or self.value)(name, value)
        found, self.digest = self.digest.digest(), outer
        return found

    def _content(self, name: str, value: Any) -> None:
        if isinstance(value, list):
            self._list(name, value)
        elif isinstance(value, Mapping):
            self.put("dict", len(value))
            for key, item in value.items():
                self.value(name, key)
                self.value(f"{name}[...]", item)
        else:
            self._object(name, value)

    def _object(self, name: str, value: Any) -> None:
        """Functions, classes and what is neither."""
        if isinstance(value, types.ModuleType):
            self.put("module", value.__name__)
        elif isinstance(value, (classmethod, staticmethod)):
            self.value(name, value.__func__)
        elif isinstance(value, property):
            for part in (value.fget, value.fset, value.fdel):
                self.value(name, part)
        elif isinstance(value, functools.partial):
            self.put("partial")
            self.value(name, value.func)
            self.value(name, [value.args, value.keywords])
        elif isinstance(value, types.MethodType):
            self.put("method")
            self.value(name, value.__func__)
            self.value(name, value.__self__)
        elif isinstance(value, types.FunctionType):
            inner = inspect.unwrap(value)
            if isinstance(inner, types.FunctionType) and not is_installed(inner):
                self._function(inner)
            else:
                self.put("installed", name_of(inner))
        elif hasattr(value, "__wrapped__") and not isinstance(value, type):  # a cache around it
            self.put("wrapper", name_of(type(value)))
            self.value(name, inspect.unwrap(value))
        elif isinstance(value, type):
            if is_installed(value):
                self.put("installed", name_of(value))
            else:
                self._class(value)
        elif callable(value) and hasattr(value, "__qualname__"):  # a builtin, a ufunc's kin
            self.put("builtin", name_of(value))
        elif isinstance(value, np.ufunc):
            self.put("ufunc", value.__name__)
        elif is_installed(type(value)):
            self.put("object", name_of(type(value)))
            if not hasattr(type(value), "__get__"):  # as the slots of a class have it
                self.open.add(f"{name or 'itself'} ({type(value).__name__})")
        else:
            self._instance(value)

    def _instance(self, value: Any) -> None:
        """An object of a class of the user's: its class, and what it was made with."""
        self.put("instance")
        self.value("", type(value))
        for key, item in sorted(getattr(value, "__dict__", {}).items()):
            # Other attributes may be what it has computed so far.
            if isinstance(item, (bool, int, float, str, tuple, types.FunctionType)):
                self.put(key)
                self.value(f"self.{key}", item)

    def _class(self, cls: type) -> None:
        self.put("class", cls.__qualname__)
        for base in cls.__bases__:
            self.value(base.__name__, base)
        for key, item in sorted(vars(cls).items()):
            if key not in _NOT_CODE:
                self.put(key)
                self.value(f"{cls.__name__}.{key}", item)

    def _function(self, function: types.FunctionType) -> None:
        self.found = True
        self.put("function")
        doc = function.__doc__
        self.code(function.__code__, doc if isinstance(doc, str) else None)
        self.value("its defaults", function.__defaults__)
        self.value("its defaults", function.__kwdefaults__)
        cells = function.__closure__ or ()
        for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
            try:
                held = cell.cell_contents
            except ValueError:  # not assigned yet
                held = None
            if name != "__class__":
                self.value(name, held)
        for name in sorted(_names(function.__code__)):
            if name in function.__globals__:
                self.put(name)
                self.value(name, function.__globals__[name])

    def code(self, code: types.CodeType, doc: str | None = None) -> None:
        """Bytecode and constants; functions inside of it come as constants."""
        self.put("code", code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
        self.put(code.co_flags, code.co_code, getattr(code, "co_exceptiontable", b""))
        self.put(*code.co_names, len(code.co_freevars), len(code.co_cellvars))
        for i, item in enumerate(code.co_consts):
            if i == 0 and isinstance(item, str) and item == doc:
                continue
            if isinstance(item, str) and item.endswith(("<lambda>", "<locals>")):
                continue  # names of functions inside, of older Pythons
            self.value("", item)


def _names(code: types.CodeType) -> set[str]:
    """The names that a function and those inside of it look up."""
    found = set(code.co_names)
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            found |= _names(item)
    return found
