"""How many threads the core may use; how many pay, it finds out by measuring (docs/threads.md).

At import: ``BPCORE_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the CPUs that this process may
use: those of its affinity, or what the quota of its control groups allows if that is less (Linux;
rounded down, of 1.5 CPUs one thread, and of 0.5 too). The number of threads never changes a result,
only its speed.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from .. import _core
from . import checks

MAX_THREADS = 1024
P = ParamSpec("P")
R = TypeVar("R")


def set_num_threads(n: int, exact: bool = False) -> None:
    """Use up to `n` threads, 1 to 1024, for all models from now on.

    Parameters
    ----------
    n : int
    exact : bool, default False
        Use `n` threads for all work that is worth as many by its size, without measuring whether
        they pay. By default work that comes again and again is measured, and gets fewer threads
        where other processes share the machine, or where more gain nothing. Results are the same
        bits either way.

    Examples
    --------
    >>> import bpcore as bp
    >>> bp.set_num_threads(2)
    >>> bp.get_num_threads()
    2
    """
    n = checks.integer("n_threads", n, 1, MAX_THREADS)
    _core.set_num_threads(n, checks.boolean("exact", exact))


def get_num_threads() -> int:
    """The number of threads that may be used at most; `show_config` says how many pay."""
    return int(_core.get_num_threads())


class threads(_core.ThreadCount):
    """Use up to `n` threads inside a ``with`` block, or in a function that is decorated with it.

    The number is the process's: meanwhile it goes for calls in other threads, too.

    Parameters
    ----------
    n : int
    exact : bool, default False
        As in `set_num_threads`.

    Examples
    --------
    >>> import bpcore as bp
    >>> with bp.threads(1):
    ...     bp.get_num_threads()
    1
    """

    def __init__(self, n: int, exact: bool = False) -> None:
        self.n = checks.integer("n_threads", n, 1, MAX_THREADS)
        self.exact = checks.boolean("exact", exact)
        super().__init__(self.n, self.exact)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def decorated(*args: P.args, **kwargs: P.kwargs) -> R:
            with threads(self.n, self.exact):
                return function(*args, **kwargs)

        return decorated


def start() -> None:
    """Set the number at import; a variable that is no number is reported and passed over."""
    for variable in ("BPCORE_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(variable, "").split(",")[0].strip()  # OpenMP: a list, by nesting
        if not text:
            continue
        if text.isdigit() and 1 <= int(text) <= MAX_THREADS:
            _core.set_num_threads(int(text))
            return
        warnings.warn(
            f"{variable} must be an int in [1, {MAX_THREADS}], got {text!r}; it is ignored",
            RuntimeWarning,
            stacklevel=2,
        )
    _core.set_num_threads(max(1, min(MAX_THREADS, _core.available_cpus())))
