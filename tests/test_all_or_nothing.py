"""What sets several things sets all of them, or raises and leaves every one as it was."""

from __future__ import annotations

import itertools
import signal
import threading
import time

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import ShapeError

from .helpers import support

L = bp.layers


def model(seed=0, **options):
    made = bp.Sequential([L.Dense(3, "relu", name="a"), L.Dense(2, name="b")], seed=seed, **options)
    made.compile("adam", "mse")
    made.build((4,))
    return made


def ones(made):
    return [np.ones(p.shape) for p in made.weights]


def locked(made, k):
    made.weights[k].value.flags.writeable = False
    return made


def settings(tmp_path):
    """Each way to assign the weights of a model."""
    other = model(seed=1)
    other.train_on_batch(np.ones((4, 4)), np.ones((4, 2)))
    other.save_checkpoint(tmp_path / "c")
    x, y = np.ones((4, 4)), np.ones((4, 2))
    model(seed=1).fit(x, y, verbose=0, checkpoint=tmp_path / "run")
    return {
        "set_weights": lambda made: made.set_weights(ones(made)),
        "copy_weights": lambda made: made.copy_weights(other),
        "fit": lambda made: made.fit(x, y, verbose=0, checkpoint=tmp_path / "run"),
    }


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("way", ["set_weights", "copy_weights", "fit"])
def test_a_read_only_weight_keeps_the_others(tmp_path, way, k):
    made = locked(model(seed=1), k)
    before = support.weights_hash(made)
    name = made.weights[k].name
    with pytest.raises(ValueError, match=f"{name}: its value is read-only.*nothing was changed"):
        settings(tmp_path)[way](made)
    assert support.weights_hash(made) == before
    made.weights[k].value.flags.writeable = True
    settings(tmp_path)[way](made)
    assert support.weights_hash(made) != before


def test_of_a_layer_too():
    made = locked(model(), 1)
    before = support.weights_hash(made)
    with pytest.raises(ValueError, match="a/bias: its value is read-only"):
        made.layers[0].set_weights([np.ones((4, 3)), np.ones(3)])
    with pytest.raises(ValueError, match="read-only"):
        made.weights[1].value = np.ones(3)
    assert support.weights_hash(made) == before


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.full(2, np.nan), ValueError),
        (np.full(2, 1e300), ValueError),
        (np.ones(3), ShapeError),
        (np.array(["a", "b"]), TypeError),
        (np.ones(2, complex), TypeError),
        ([[1], [2, 3]], ShapeError),
        (None, TypeError),
    ],
)
def test_a_bad_last_weight_keeps_the_others(bad, error):
    made = model()
    before = support.weights_hash(made)
    with pytest.raises(error):
        made.set_weights([*ones(made)[:-1], bad])
    assert support.weights_hash(made) == before


def test_weights_may_come_from_the_model_itself():
    """Views of the very arrays that are set, in another order."""
    made = bp.Sequential([L.Dense(3, use_bias=False), L.Dense(3, use_bias=False)], seed=0)
    made.build((3,))
    first, second = made.get_weights()
    made.set_weights([p.value.T for p in reversed(made.weights)])
    assert support.same_bits(made.weights[0].value, second.T)
    assert support.same_bits(made.weights[1].value, first.T)


def test_no_signal_comes_between_two_weights():
    """Ctrl-C at any moment: all weights are of one call."""
    made = bp.Sequential([L.Dense(2, use_bias=False) for _ in range(60)], seed=0)
    made.build((2,))
    values = [[np.full((2, 2), float(k)) for _ in range(60)] for k in range(2)]
    seen = set()

    def look(number, frame):
        found = {float(p._value[0, 0]) for p in made.weights}
        seen.add(len(found))

    made.set_weights(values[0])
    before = signal.signal(signal.SIGALRM, look)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
        end = time.monotonic() + 0.5
        for k in itertools.count():
            made.set_weights(values[k % 2])
            if time.monotonic() > end:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen == {1}


def test_output_biases_of_several_outputs():
    a = bp.Input((3,))
    made = bp.Model(a, [L.Dense(1, name="u")(a), L.Dense(1, name="v")(a)], seed=0)
    made.compile("sgd", "mse")
    locked(made, 3)
    before = support.weights_hash(made)
    with pytest.raises(ValueError, match="v/bias: its value is read-only"):
        made.set_output_bias([np.ones((4, 1)), np.full((4, 1), 2.0)])
    assert support.weights_hash(made) == before
    made.weights[3].value.flags.writeable = True
    made.set_output_bias([np.ones((4, 1)), np.full((4, 1), 2.0)])
    assert [float(made.weights[k].value[0]) for k in (1, 3)] == [1.0, 2.0]


def test_a_failed_adapt_keeps_mean_and_variance():
    layer = L.Normalization(name="n")
    made = bp.Sequential([layer, L.Dense(1)], seed=0)
    made.compile("sgd", "mse")
    made.build((3,))
    layer.adapt(np.arange(12.0).reshape(4, 3))
    before = support.weights_hash(made)
    for bad in (np.full((4, 3), np.nan), np.full((4, 3), 1e300), np.ones((4, 2)), "x"):
        with pytest.raises((ValueError, TypeError)):
            layer.adapt(bad)
        assert support.weights_hash(made) == before
    for p in layer.weights[1:]:
        p.value.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        layer.adapt(np.ones((4, 3)))
    assert support.weights_hash(made) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["slots"][-1].__setitem__(-1, np.ones(7)),
        lambda state: state["slots"][-1].__setitem__(-1, np.ones(2, complex)),
        lambda state: state["slots"][-1].__setitem__(-1, np.array(["a", "b"])),
        lambda state: state["slots"][-1].pop(),
        lambda state: state.update(iterations=-1),
        lambda state: state.update(iterations="x"),
        lambda state: state["slots"].pop(),
        lambda state: state.pop("iterations"),
    ],
)
def test_a_bad_state_of_an_optimizer_changes_nothing(change):
    made, x, y = model(), np.ones((4, 4)), np.ones((4, 2))
    made.train_on_batch(x, y)
    state = made.optimizer.state(made.weights)
    state = {**state, "slots": [[a.copy() for a in arrays] for arrays in state["slots"]]}
    change(state)
    twin = model()
    twin.train_on_batch(x, y)
    with pytest.raises((ValueError, TypeError, KeyError)):
        made.optimizer.set_state(made.weights, state)
    for _ in range(2):
        made.train_on_batch(x, y)
        twin.train_on_batch(x, y)
    assert support.weights_hash(made) == support.weights_hash(twin)


def test_a_model_that_cannot_be_built_gives_its_layers_back():
    """Their dtype, too: a layer that was float32 has float32 weights."""
    layer = L.Dense(2)
    layer.build((3,))
    before = layer.get_weights()
    wrong = L.Dense(2, kernel_initializer=np.ones((7, 7)))
    with pytest.raises(ValueError, match="initializer array"):
        bp.Sequential([bp.Input((3,)), layer, wrong], dtype="float64")
    assert layer.dtype == "float32"
    assert all(map(support.same_bits, layer.get_weights(), before))
    assert layer([[1.0, 2.0, 3.0]]).dtype == np.float32


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "nonsense"},
        {"loss": "mse", "metrics": ["nonsense"]},
        {"loss": "mse", "metrics": ["mae", "mae"]},
        {"loss": "mse", "loss_weights": [-1.0]},
        {"loss": "mse", "parameter_groups": {"none/*": {}}},
        {"loss": "mse", "accumulate_steps": 0},
    ],
)
def test_a_failed_compile_changes_nothing(options):
    made = model()
    compiled, optimizer = made._compilation, made.optimizer
    with pytest.raises((ValueError, TypeError)):
        made.compile(bp.optimizers.SGD(), **options)
    assert made._compilation is compiled and made.optimizer is optimizer
    made.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)


def test_compile_while_another_thread_evaluates():
    """Each evaluation is of one compilation, whole, whichever it is."""
    made = bp.Sequential([L.Dense(1)], seed=0)
    made.build((4,))
    x, y = np.random.default_rng(0).normal(size=(500, 4)), np.arange(500) % 2
    ways = [("hinge", ["binary_accuracy"]), ("mse", ["mae", "r2"])]  # for hinge y is -1 and 1
    expected = []
    for way in ways:
        made.compile("sgd", *way)
        expected.append(made.evaluate(x, y))
    errors, stop = [], threading.Event()

    def evaluate():
        try:
            while not stop.is_set():
                assert made.evaluate(x, y) in expected
                assert made.evaluate(iter([(x, y)])) in expected
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=evaluate) for _ in range(3)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 1
    k = 0
    while time.monotonic() < end and not errors:
        k += 1
        made.compile("sgd", *ways[k % 2])
        assert made.evaluate(x, y) == expected[k % 2]
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors, errors


def test_compile_between_two_batches_of_evaluate():
    """The batches that come after it are read as those before."""
    made = bp.Sequential([L.Dense(1)], seed=0)
    made.build((4,))
    x, y = np.random.default_rng(0).normal(size=(50, 4)), np.arange(50) % 2
    made.compile("sgd", "mse")
    expected = made.evaluate(x, y)

    def batches():
        yield x[:20], y[:20]
        made.compile("sgd", "hinge")  # takes y for -1 and 1
        yield x[20:], y[20:]

    assert made.evaluate(batches())["loss"] == pytest.approx(expected["loss"], rel=1e-6)
