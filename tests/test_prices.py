"""What a call costs beyond the core: Python's calls are counted, which no busy machine disturbs.

The microseconds are `python -m bench.calls`'s; 0.1 us each is a rule of thumb.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

import bpcore as bp

L = bp.layers
X = np.linspace(-1, 1, 64 * 8, dtype=np.float32).reshape(64, 8)
Y, DY = np.ones((64, 4), np.float32), np.full((64, 4), 1e-3, np.float32)


def net(rate=1e-3):
    layers = [bp.Input((8,)), L.Dense(64, "tanh"), L.Dense(64, "tanh"), L.Dense(4)]
    model = bp.Sequential(layers, seed=0)
    model.compile(bp.optimizers.Adam(rate), "mse")
    return model


def by_hand(model):
    model.forward(X)
    model.zero_gradients()
    model.backward(DY, inputs=False)
    model.apply_gradients()


def epochs(model):
    model.fit(X, Y, batch_size=64, epochs=11, verbose=0)


CALLS = {  # the call, and how many calls of functions it may make
    "train_on_batch": (lambda m, o, w: m.train_on_batch(X, Y), 58),
    "train_on_batch(dy=)": (lambda m, o, w: m.train_on_batch(X, dy=DY), 88),
    "forward, backward, apply": (lambda m, o, w: by_hand(m), 95),
    "gradients": (lambda m, o, w: m.gradients(X, Y), 78),
    "evaluate": (lambda m, o, w: m.evaluate(X, Y), 60),
    "fit": (lambda m, o, w: m.fit(X, Y, batch_size=64, verbose=0), 250),
    "fit of 11 epochs": (lambda m, o, w: epochs(m), 900),
    "set_weights": (lambda m, o, w: m.set_weights(w), 30),
    "copy_weights": (lambda m, o, w: m.copy_weights(o), 85),
    "polyak_update": (lambda m, o, w: m.polyak_update(o, 0.1), 50),
    "predict": (lambda m, o, w: m.predict(X), 8),
}


def counted(work):
    """How many functions a call calls, of Python and of C."""
    found = 0

    def see(frame, event, argument):
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize("rate", [1e-3, "a schedule"])
@pytest.mark.parametrize("name", CALLS)
def test_few_functions_are_called(name, rate):
    call, most = CALLS[name]
    model = net(bp.schedules.Cosine(1e-3, 10**6) if rate == "a schedule" else rate)
    other, weights = model.clone(), model.get_weights()
    for _ in range(2):  # the first one makes what the others find
        call(model, other, weights)
    assert counted(lambda: call(model, other, weights)) <= most


def test_a_rate_that_is_assigned_costs_the_same_whatever_the_number_of_layers():
    def price(depth):
        model = bp.Sequential([L.Dense(4) for _ in range(depth)], seed=0)
        model.compile(bp.optimizers.SGD(1e-3), "mse")

        def step():
            model.optimizer.learning_rate = 1e-3
            model.train_on_batch(X, Y)

        step(), step()
        return counted(step)

    assert price(20) == price(2)
