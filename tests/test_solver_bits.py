"""Every solver: the same bits on any number of threads, and after any resume."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp

from .helpers.stops import StopAt

L, O = bp.layers, bp.optimizers  # noqa: E741
LM = O.LevenbergMarquardt
MAKERS = {
    "levenberg": LM,
    "marquardt": lambda: LM(scaling="marquardt"),
    "bayesian": lambda: LM(regularization="bayesian"),
    "lbfgs": O.LBFGS,
    "conjugate": O.ScaledConjugateGradient,
    **{
        variant: lambda variant=variant: O.Rprop(0.05, variant=variant)
        for variant in ("irprop-", "irprop+", "rprop-", "rprop+")
    },
    "quickprop": O.Quickprop,
    "kfac": lambda: O.KFAC(refresh=3),
    "kfac, exact lengths": lambda: O.KFAC(1.0, rescale="both", refresh=3),
}
SMALL = {"kfac": 64, "kfac, exact lengths": 64}  # batches; of the others all rows are one
SQUARE = ("levenberg", "marquardt", "bayesian")  # their work grows with the square of the weights
FOR_A_THREAD = 600_000  # flops; for less work none is woken


def data(outputs, n):
    draw = np.random.default_rng(outputs)
    x = draw.normal(size=(n, 6))
    return x, np.tanh(x[:, :outputs] * x[:, 1 : outputs + 1]) + 0.1 * draw.normal(size=(n, outputs))


def made(name, outputs, units=24):
    layers = [L.Dense(units, "tanh"), L.Dense(outputs)]
    model = bp.Sequential([bp.Input((6,)), *layers], dtype="float64", seed=1)
    model.compile(MAKERS[name](), "mse", metrics=["mae"])
    return model


def bits(model, history):
    states = model.optimizer.numbers() if hasattr(model.optimizer, "numbers") else {}
    arrays = [*model.get_weights(), *(states[key] for key in sorted(states))]
    logs = dict(history.history)
    logs.pop("evaluations", None)  # how much was done: a resumed run looks at its beginning anew
    return [a.tobytes() for a in arrays], logs


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("name", MAKERS)
def test_bits_do_not_depend_on_threads(name, outputs):
    """More rows than are held at once; with one output the rows of J are made, else products."""
    units, rows = (24, 700) if name in SQUARE else (96, 1600)
    batch = 800 if name in SMALL else None
    x, y = data(outputs, rows)

    def trained(threads):
        model = made(name, outputs, units)
        weights = model.count_params()
        work = rows * weights**2 if name in SQUARE else 6 * weights * (batch or rows)
        assert work > 3 * FOR_A_THREAD
        with bp.threads(threads, exact=True):
            history = model.fit(x, y, batch_size=batch, epochs=3, verbose=0)
        return bits(model, history)

    assert trained(1) == trained(3)


@pytest.mark.parametrize("name", MAKERS)
def test_a_resumed_run_has_the_bits_of_one_that_was_never_stopped(name, tmp_path):
    """That one had no callback, so its iterations were not made one by one."""
    x, y = data(1, 90)
    told = {"batch_size": SMALL.get(name), "epochs": 9, "verbose": 0}
    whole = made(name, 1, units=5)
    expected = bits(whole, whole.fit(x, y, **told))
    path, hook = tmp_path / "run.ckpt", StopAt(5)
    with pytest.raises(InterruptedError):
        made(name, 1, units=5).fit(x, y, **told, checkpoint=path, callbacks=[hook])
    again, hook.epoch = made(name, 1, units=5), -1
    assert bits(again, again.fit(x, y, **told, checkpoint=path, callbacks=[hook])) == expected
