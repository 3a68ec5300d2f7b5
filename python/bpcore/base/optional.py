"""Packages that only some functions need, imported there."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, extra: str, user: str) -> Any:
    """The module, or an ImportError that names the extra of bpcore that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{user} needs the package {package!r}, which is not installed; "
            f"run: pip install 'bpcore[{extra}]'"
        ) from error
