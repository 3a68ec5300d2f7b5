"""Parameter groups: rates and weight decay by patterns of parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from ..base import checks

_OPTIONS = ("learning_rate_factor", "weight_decay")


class Groups:
    """`Model.compile`'s ``parameter_groups``: {pattern: options}, the first that fits counts."""

    def __init__(self, value: Any, optimizer: Any) -> None:
        self._given: dict[str, dict[str, float]] = {}
        if value is None:
            return
        if not isinstance(value, Mapping):
            raise TypeError(
                "parameter_groups must be a dict of patterns to options, got "
                f"{checks.describe(value)}; for example {{'*/bias': {{'weight_decay': 0.0}}}}"
            )
        for pattern, options in value.items():
            self._given[_pattern(pattern)] = _options(pattern, options, optimizer)

    def check(self, names: list[str]) -> None:
        """Raise ValueError if a pattern fits none of the names."""
        for pattern in self._given:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(
                    f"parameter_groups: pattern {pattern!r} fits no parameter"
                    f"{checks.suggest(pattern, names)}; names: {_listed(names)}"
                )

    def core(self, names: list[str], weight_decay: float, rates: list[float]) -> dict[str, Any]:
        """For the core: (learning_rate_factor, weight_decay) by group, and the group by name.

        `rates`: by name, what the factor is multiplied by.
        """
        if not self._given and all(rate == 1.0 for rate in rates):
            return {}
        groups = [(1.0, weight_decay)]
        patterns = list(self._given)
        for options in self._given.values():
            decay = options.get("weight_decay", weight_decay)
            groups.append((options.get("learning_rate_factor", 1.0), decay))
        group_of = [
            next((k for k, p in enumerate(patterns, start=1) if fnmatchcase(name, p)), 0)
            for name in names
        ]
        for i, rate in enumerate(rates):
            if rate != 1.0:
                factor, decay = groups[group_of[i]]
                group_of[i] = len(groups)
                groups.append((factor * rate, decay))
        return {"groups": groups, "group_of": group_of}

    def get_config(self) -> dict[str, dict[str, float]] | None:
        """What was given, or None."""
        return {pattern: dict(options) for pattern, options in self._given.items()} or None


def _pattern(pattern: Any) -> str:
    if not isinstance(pattern, str) or not pattern:
        raise TypeError(
            "parameter_groups: a pattern must be text such as 'dense_1/*', got "
            f"{checks.describe(pattern)}"
        )
    return pattern


def _options(pattern: str, options: Any, optimizer: Any) -> dict[str, float]:
    where = f"parameter_groups[{pattern!r}]"
    if not isinstance(options, Mapping):
        raise TypeError(
            f"{where} must be a dict of options, got {checks.describe(options)}; known: "
            f"{', '.join(_OPTIONS)}"
        )
    if optimizer.name == "rprop":
        raise ValueError(
            f"{where}: Rprop adapts a step for each weight by itself, expected an optimizer with "
            "a learning rate; take another one, or freeze layers by trainable=False"
        )
    for key in options:
        if key not in _OPTIONS:
            raise ValueError(
                f"{where}: unknown option {key!r}{checks.suggest(str(key), _OPTIONS)}; known: "
                f"{', '.join(_OPTIONS)}"
            )
    return {key: checks.real(f"{where}: {key}", value, 0.0) for key, value in options.items()}


def _listed(names: list[str]) -> str:
    text = ", ".join(names[:20])
    return text if len(names) <= 20 else f"{text}, ... ({len(names)} in all)"
