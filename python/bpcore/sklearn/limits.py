"""How many threads an estimator uses: those of joblib's workers times ours never multiply."""

from __future__ import annotations

import threading

import joblib.parallel

from ..base import threads


def limited(n_threads: int | None) -> threads.threads:
    """A context with at most `n_threads`; by default all, and one in a thread of joblib's.

    joblib tells its processes by OMP_NUM_THREADS how many threads each may use, which bpcore obeys;
    its threads are told nothing, and there are already as many as the user asked for.
    """
    if n_threads:
        return threads.threads(n_threads)
    beside = threading.current_thread() is not threading.main_thread()
    if beside and joblib.parallel.get_active_backend()[0].nesting_level:
        return threads.threads(1)
    return threads.threads(threads.get_num_threads())
