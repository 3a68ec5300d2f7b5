"""Forks while other threads work: `python -m tests.crash.forks COUNT`.

Four threads train, evaluate, predict and measure gradients without end, two models among them,
while the main thread forks. The child has the models as they are at that moment: everything can be
called, nothing hangs, and the model that nobody trains gives its bits.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
import warnings

import numpy as np

import bpcore as bp

SECONDS = 60  # after which a child counts as hanging


def models():
    """One that trains and one that does not, with a metric in Python, and their data."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 64)), rng.integers(0, 5, 300)
    made = []
    for seed in range(2):
        layers = [bp.layers.Dense(64, "relu"), bp.layers.Dense(5)]
        model = bp.Sequential(layers, seed=seed)
        metrics = ["accuracy", lambda t, p: float(np.mean(p))]
        model.compile("adam", "cross_entropy", metrics=metrics)
        model.fit(x, y, verbose=0)
        made.append(model)
    return *made, x, y


def child(trained, still, x, y, expected):
    """What the child of a fork does; its exit status."""
    signal.alarm(SECONDS)
    status = 1
    try:
        loss = still.evaluate(x, y)["loss"]
        same = still.predict(x).tobytes() == expected[0] and loss == expected[1]
        still.gradients(x, y)
        for model in (trained, still):
            model.evaluate(x, y)
            model.predict(x)
            model.fit(x, y, batch_size=100, verbose=0)
            model.train_on_batch(x, y)
            model.compile("sgd", "cross_entropy")
            model.fit(x, y, batch_size=100, verbose=0)
            same &= all(np.isfinite(w).all() for w in model.get_weights())
        status = 0 if same else 2
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def run(count):
    """Statuses of the children that did not end well, of `count`."""
    warnings.simplefilter("ignore")  # newer Pythons warn of a fork beside threads: that is the aim
    trained, still, x, y = models()
    expected = still.predict(x).tobytes(), still.evaluate(x, y)["loss"]
    calls = [
        lambda: trained.fit(x, y, epochs=3, verbose=0),
        lambda: trained.evaluate(x, y),
        lambda: still.evaluate(x, y),
        lambda: still.predict(x),
        lambda: still.gradients(x, y),
    ]
    end, errors = threading.Event(), []

    def work(call):
        try:
            while not end.is_set():
                with contextlib.suppress(bp.BusyError):  # its metric in Python belongs to fit then
                    call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    bad = []
    for _ in range(count):
        number = os.fork()
        if number == 0:
            child(trained, still, x, y, expected)
        status = os.waitpid(number, 0)[1]
        if status:
            bad.append(os.waitstatus_to_exitcode(status))
    end.set()
    for thread in threads:
        thread.join()
    return bad + errors


if __name__ == "__main__":
    wrong = run(int(sys.argv[1]))
    print(f"{sys.argv[1]} forks, {len(wrong)} children failed: {wrong[:9]}")
    sys.exit(bool(wrong))
