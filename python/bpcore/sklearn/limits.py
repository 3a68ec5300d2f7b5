"""How many threads an estimator uses: those of joblib's workers times ours never multiply."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import joblib.parallel

from .. import _core
from ..base import checks, threads

_lock = threading.Lock()
_asked: list[int] = []  # by the estimators that are at work in this moment
_before, _exact = 0, False  # the process's number, which comes back when none is left


@contextmanager
def limited(n_threads: int | None) -> Iterator[None]:
    """A block with at most `n_threads`; by default all, and one in a thread of joblib's.

    joblib tells its processes by OMP_NUM_THREADS how many threads each may use, which bpcore obeys;
    its threads are told nothing, and there are already as many as the user asked for. The number is
    one for the process, so of several estimators at work the one that asks for fewest counts.
    """
    global _before, _exact
    n = n_threads or (1 if _is_joblibs() else 0)
    if not n:
        yield
        return
    n = checks.integer("n_threads", n, 1, threads.MAX_THREADS)
    with _lock:
        if not _asked:
            _before, _exact = threads.get_num_threads(), _core.exact_threads()
        _asked.append(n)
        threads.set_num_threads(min(_asked), _exact)
    try:
        yield
    finally:
        with _lock:
            _asked.remove(n)
            threads.set_num_threads(min(_asked, default=_before), _exact)


def _is_joblibs() -> bool:
    beside = threading.current_thread() is not threading.main_thread()
    return beside and bool(joblib.parallel.get_active_backend()[0].nesting_level)
