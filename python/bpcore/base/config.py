"""What this installation is and uses: versions, instruction set, threads, compiler, CPU."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core
from .._version import __version__

__all__ = ["show_config"]


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Print, or return, what bpcore runs with; put it into a bug report.

    Parameters
    ----------
    mode : {"stdout", "dict"}
        "stdout" prints a table and returns None, "dict" returns the values.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.show_config("dict")["version"] == bp.__version__
    True
    """
    if mode not in ("stdout", "dict"):
        raise ValueError(f"mode must be 'stdout' or 'dict', got {mode!r}")
    values = _collect()
    if mode == "dict":
        return values
    width = max(map(len, values))
    for key, value in values.items():
        shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        print(f"{key.replace('_', ' '):<{width}}  {'none' if shown == '' else shown}")
    return None


def _collect() -> dict[str, Any]:
    core: dict[str, Any] = _core.config()
    values: dict[str, Any] = {"version": __version__, "isa": core.pop("isa")}
    core.pop("version", None)
    values["threads"] = _core.get_num_threads()
    values["threads_in_use"] = _threads_in_use()
    values["available_cpus"] = _core.available_cpus()
    values.update(core)
    if not core["no_tiles"]:  # it says why there are none
        del values["no_tiles"]
    values["numpy"] = np.__version__
    values["python"] = platform.python_version()
    values["platform"] = platform.platform()
    values["cpu"] = _cpu_name()
    return values


def _threads_in_use() -> str:
    """How many of the threads that are allowed are used, and why."""
    allowed = _core.get_num_threads()
    if allowed == 1:
        return "1: no more are allowed"
    if _core.exact_threads():
        return f"{allowed}: exactly as many were asked for"
    return str(_core.threads_in_use()) or f"up to {allowed}: nothing has been measured yet"


def _cpu_name() -> str:
    """The CPU's marketing name where the system tells it, else the architecture."""
    if sys.platform == "linux":
        try:
            lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip().lower() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
