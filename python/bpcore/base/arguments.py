"""Arguments of constructors: bound to names for `get_config`, with a hint for a misspelt one."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks
from .plain import Plain


@functools.lru_cache(maxsize=512)
def snake_case(name: str) -> str:
    """``BatchNormalization`` -> ``batch_normalization``, ``Conv2D`` -> ``conv2d``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])(?!D$)|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return words.lower().strip("_")


@functools.lru_cache(maxsize=512)
def _signature(cls: type) -> inspect.Signature:
    return inspect.signature(inspect.unwrap(cls.__init__))  # type: ignore[misc]


def names(cls: type) -> Mapping[str, Any]:
    """The arguments of a class that have a name, by it."""
    return _signature(cls).parameters


@functools.lru_cache(maxsize=512)
def _plain_arguments(cls: type) -> tuple[tuple[str, ...], dict[str, Any], frozenset[str]] | None:
    """Arguments by position, all with their defaults, and those without one; None where there are
    arguments of other kinds."""
    parameters = list(_signature(cls).parameters.values())[1:]
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if any(p.kind not in by_name for p in parameters):
        return None
    places = tuple(p.name for p in parameters if p.kind is by_name[0])
    needed = frozenset(p.name for p in parameters if p.default is inspect.Parameter.empty)
    return places, {p.name: p.default for p in parameters}, needed


def _bound(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """What `bind` gives, if all fits in the plainest way."""
    plain = _plain_arguments(cls)
    if plain is None or len(args) > len(plain[0]):
        return None
    places, defaults, needed = plain
    given = dict(zip(places, args, strict=False))
    if kwargs:
        if not (kwargs.keys() <= defaults.keys()) or not given.keys().isdisjoint(kwargs):
            return None
        given.update(kwargs)
    if not needed <= given.keys():
        return None
    return {
        key: given.get(key, default)
        for key, default in defaults.items()
        if key in given or key in ("name", "trainable")
    }


def bind(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments that were given, by name; TypeError with a hint for an unknown one."""
    plain = _bound(cls, args, kwargs)
    if plain is not None:
        return plain
    signature = _signature(cls)
    try:
        bound = signature.bind(None, *args, **kwargs).arguments
    except TypeError as error:
        names = [p.name for p in list(signature.parameters.values())[1:]]
        strange = [key for key in kwargs if key not in names]
        if not strange:
            raise TypeError(f"{cls.__name__}(): {error}") from None
        raise TypeError(
            f"{cls.__name__}() has no argument {strange[0]!r}{checks.suggest(strange[0], names)}"
            f"; known: {', '.join(names)}"
        ) from None
    result: dict[str, Any] = {}
    for key, parameter in list(signature.parameters.items())[1:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            result.update(bound.get(key, {}))
        elif key in bound:
            result[key] = bound[key]
        elif key in ("name", "trainable"):
            result[key] = parameter.default
    return result


def kept(value: Any) -> Any:
    """Lists and dicts as they are now: what their maker does to them later changes nothing."""
    if type(value) in (list, tuple):
        return type(value)(kept(item) for item in value)
    if type(value) is dict:
        return {key: kept(item) for key, item in value.items()}
    return value


@functools.lru_cache(maxsize=512)
def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has an argument of this name (or ``**kwargs``)."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(
        p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()
    )


def called(function: Callable[..., Any], offered: Mapping[str, Any], /, **more: Any) -> Any:
    """What a user's function gives for those of the offered arguments that it has."""
    names = inspect.signature(function).parameters
    return function(**{k: v for k, v in offered.items() if k in names}, **more)


class PlainArguments(Plain):
    """Arguments of constructors: arrays become lists, objects their class and ``get_config()``."""

    def other(self, value: Any, where: str) -> Any:
        if isinstance(value, np.ndarray):
            return value.tolist()
        if hasattr(value, "get_config"):
            value = value() if isinstance(value, type) else value
            return {"class_name": type(value).__name__, "config": value.get_config()}
        raise TypeError(
            f"argument {where!r} = {checks.describe(value)} cannot be saved; give it a get_config "
            "method, or pass a name, number or list"
        )


plain = PlainArguments()


def named(
    kind: str,
    identifier: Any,
    base: type,
    by_name: Mapping[str, Callable[[], Any]],
    by_class: Mapping[str, Any],
) -> Any:
    """An object of `base` from a name, class, object or configuration; else None."""
    if isinstance(identifier, str):
        if identifier.lower() not in by_name:
            raise checks.unknown(kind, identifier, list(by_name))
        return by_name[identifier.lower()]()
    if isinstance(identifier, type) and issubclass(identifier, base):
        return identifier()
    if isinstance(identifier, Mapping) and set(identifier) == {"class_name", "config"}:
        if identifier["class_name"] not in by_class:
            raise checks.unknown(kind, identifier["class_name"], list(by_class))
        return by_class[identifier["class_name"]].from_config(dict(identifier["config"]))
    return identifier if isinstance(identifier, base) else None


def blank(cls: type) -> Any:
    """An object without a call of ``__new__`` or ``__init__``, for unpickling."""
    return object.__new__(cls)


class ShownSignature:
    """Makes ``help`` and editors show a class with the arguments of ``__init__``.

    Without it they would show the ``*args, **kwargs`` of ``__new__``.
    """

    def __get__(self, instance: Any, owner: type) -> inspect.Signature:
        if instance is not None:  # an object that can be called has a signature of its own
            raise AttributeError("__signature__")
        signature = _signature(owner)
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class Configured:
    """Base of classes that keep their constructor's arguments (bound in ``__new__``)."""

    _config_args: dict[str, Any]
    __signature__ = ShownSignature()

    if not TYPE_CHECKING:  # editors and type checkers look at __init__

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            self = super().__new__(cls)
            self._config_args = {k: kept(value) for k, value in bind(cls, args, kwargs).items()}
            return self

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as far as JSON can hold them."""
        return {key: self._plain(key, value) for key, value in self._config_args.items()}

    def _plain(self, key: str, value: Any) -> Any:
        """An argument as data."""
        return plain(value, key)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """An object from what `get_config` gave."""
        return cls(**config)

    def __reduce__(self) -> Any:
        method = getattr(self, "__getstate__", None)  # every object has it from Python 3.11 on
        return blank, (type(self),), method() if method else dict(self.__dict__)

    def __repr__(self) -> str:
        listed = ", ".join(f"{key}={value!r}" for key, value in self._config_args.items())
        return f"{type(self).__name__}({listed})"
