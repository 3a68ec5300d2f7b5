"""States that go from batch to batch and from window to window: who has them, and that files do."""

from __future__ import annotations

import numpy as np
import pytest

import bpcore as bp
from bpcore.errors import CheckpointError

from .helpers import files, support

L = bp.layers


class Kill(bp.callbacks.Callback):
    """Ends the run after a number of updates, as a kill would."""

    def __init__(self, at: int) -> None:
        self.left = at

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def get_state(self):
        return {}

    def set_state(self, state) -> None:
        pass


def data(ragged=False):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(12, 11, 3)), rng.normal(size=(12, 11, 2))
    if not ragged:
        return x, y
    lengths = [11, 1, 5, 3, 11, 7, 2, 4, 8, 3, 3, 6]  # a batch without a third window
    return [a[:n] for a, n in zip(x, lengths, strict=True)], [
        a[:n] for a, n in zip(y, lengths, strict=True)
    ]


def model_of(
    stateful=False, dropout=0.0, steps=None, also_plain=False, delay=False, optimizer="adam"
):
    layers = [L.TappedDelay(3)] if delay else []
    layers += [L.LSTM(5, return_sequences=True, stateful=stateful, dropout=dropout)]
    if also_plain:
        layers.append(L.GRU(4, return_sequences=True))
    model = bp.Sequential([bp.Input((steps, 3)), *layers, L.Dense(2)], seed=2)
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


RUNS = {
    "windows": {"bptt": 4, "batch_size": 5},
    "windows, dropout": {"bptt": 3, "batch_size": 4, "model": {"dropout": 0.2}},
    "overlapping windows": {"bptt": (5, 2), "batch_size": 5},
    "overlapping windows of two lengths": {
        "bptt": (7, 4),
        "batch_size": 5,
        "model": {"delay": True, "dropout": 0.2, "also_plain": True},
    },
    "overlapping windows of a list": {"bptt": (4, 1), "batch_size": 5, "ragged": True},
    "windows of a list": {"bptt": 4, "batch_size": 5, "ragged": True},
    "windows with a gap": {"bptt": 2, "batch_size": 5, "gap": True, "model": {"delay": True}},
    "stateful": {"batch_size": 4, "shuffle": False, "model": {"stateful": True, "steps": 11}},
    "stateful windows": {"bptt": 4, "batch_size": 4, "shuffle": False, "model": {"stateful": True}},
    "stateful and not": {
        "bptt": 4,
        "batch_size": 4,
        "shuffle": False,
        "model": {"stateful": True, "also_plain": True},
    },
}


def fit(told, at=0, **more):
    told = {**told}
    x, y = data(told.pop("ragged", False))
    if told.pop("gap", False):
        told["mask"] = np.isin(np.arange(11), (4, 5, 6), invert=True) & np.ones((12, 1), bool)
    model = model_of(**told.pop("model", {}))
    history = model.fit(x, y, epochs=3, verbose=0, callbacks=[Kill(at)], **told, **more)
    return model, history.history


@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_goes_on_to_the_same_bits(name, tmp_path):
    whole, history = fit(RUNS[name])
    for every, at in ((1, 5), (3, 8), (None, 6)):
        path = tmp_path / f"{every}.ckpt"
        with pytest.raises(KeyboardInterrupt):
            fit(RUNS[name], at, checkpoint=path, checkpoint_every=every)
        again, resumed = fit(RUNS[name], checkpoint=path, checkpoint_every=every)
        assert support.weights_hash(again) == support.weights_hash(whole)
        assert resumed == history
        finished, told = fit(RUNS[name], checkpoint=path, checkpoint_every=every)
        assert told == history and support.weights_hash(finished) == support.weights_hash(whole)


@pytest.mark.parametrize("name", ["stateful", "stateful windows"])
def test_what_a_stateful_model_does_next_is_in_its_files(name, tmp_path):
    """Of a finished run, and of `save_checkpoint`: the states are there for the next fit."""
    whole, _ = fit(RUNS[name])
    fit(RUNS[name], checkpoint=tmp_path / "run")
    finished, _ = fit(RUNS[name], checkpoint=tmp_path / "run")
    whole.save_checkpoint(tmp_path / "m")
    loaded = bp.load_checkpoint(tmp_path / "m")
    x, y = data()
    results = []
    for model in (whole, finished, loaded):
        on = {
            key: RUNS[name][key] for key in ("bptt", "batch_size", "shuffle") if key in RUNS[name]
        }
        results.append((model.fit(x, y, verbose=0, **on).history, support.weights_hash(model)))
    assert results[1] == results[0] and results[2] == results[0]
    loaded.reset_states()
    assert loaded.fit(x, y, verbose=0, **on).history != whole.fit(x, y, verbose=0, **on).history


def forge(tmp_path, name, change, at=5):
    path = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(RUNS[name], at, checkpoint=path, checkpoint_every=1)
    document, held, arrays = files.taken_apart(path)
    change(document, held, arrays)
    path.write_bytes(files.put_together(document, held, arrays))
    return path


def put(key, value):
    def change(document, held, arrays):
        if value is None:
            del arrays[key]
        else:
            arrays[key] = value(arrays.get(key))

    return change


LSTM, STEPS = "@carried/lstm/0", "@stretch/1/2"
FORGED = [
    ("windows", put(LSTM, None), "states: got"),
    ("windows", put(LSTM, lambda a: a[:-1]), r"state of lstm/0: got .*shape \(5, 10\)"),
    ("windows", put(LSTM, lambda a: a[:, :-1]), "state of lstm/0"),
    ("windows", put(LSTM, lambda a: a.ravel()), "state of lstm/0"),
    ("windows", put(LSTM, lambda a: a.astype("float64")), "expected finite float32"),
    ("windows", put(LSTM, lambda a: a * np.float32("nan")), "expected finite"),
    ("windows", put("@carried/gru/0", lambda a: np.zeros((5, 4), "float32")), "states: got"),
    ("windows", lambda d, h, a: h.update(position=[0, 10]), r"position\[1\]"),
    ("windows of a list", lambda d, h, a: h.update(position=[0, 9]), "window 9, expected at most"),
    ("windows", lambda d, h, a: h["gathered"].update(samples=3), "samples"),
    ("overlapping windows", put(STEPS, None), "steps: got those of"),
    ("overlapping windows", put("@stretch/8/10", lambda a: np.zeros(3, "float32")), "steps: got"),
    ("overlapping windows", put(STEPS, lambda a: a[:-1]), "steps 1/2: got float32 of shape"),
    ("overlapping windows", put(STEPS, lambda a: a.astype("float64")), "steps 1/2: got float64"),
    ("overlapping windows", put(STEPS, lambda a: a * np.float32("nan")), "steps 1/2: got NaN"),
    ("overlapping windows", put(STEPS, lambda a: a + np.float32("inf")), "steps 1/2: got NaN"),
    ("overlapping windows", put(LSTM, lambda a: np.zeros((5, 10), "float32")), "expected none"),
    ("stateful", put(LSTM, lambda a: a[:3]), "state of lstm/0"),
    ("stateful and not", put("@carried/gru/0", None), "states: got"),
]


@pytest.mark.parametrize("name, change, words", FORGED, ids=range(len(FORGED)))
def test_forged_states_change_nothing(tmp_path, name, change, words):
    path = forge(tmp_path, name, change, at=3)
    told = {**RUNS[name]}
    x, y = data(told.pop("ragged", False))
    model = model_of(**told.pop("model", {}))
    before, data_of_file = support.weights_hash(model), path.read_bytes()
    with pytest.raises(CheckpointError, match=words):
        model.fit(x, y, epochs=3, verbose=0, checkpoint=path, checkpoint_every=1,
                  callbacks=[Kill(0)], **told)  # fmt: skip
    assert support.weights_hash(model) == before and path.read_bytes() == data_of_file
    model.fit(x, y, epochs=3, verbose=0, callbacks=[Kill(0)], **told)
    assert support.weights_hash(model) == support.weights_hash(fit(RUNS[name])[0])


def test_states_where_there_are_none_are_refused(tmp_path):
    def fit_plain(at):
        x, y = data()
        model = model_of()
        return model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[Kill(at)],
                         checkpoint=tmp_path / "run", checkpoint_every=1)  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        fit_plain(4)
    document, held, arrays = files.taken_apart(tmp_path / "run")
    arrays[LSTM] = np.zeros((4, 10), "float32")
    (tmp_path / "run").write_bytes(files.put_together(document, held, arrays))
    with pytest.raises(CheckpointError, match="expected none"):
        fit_plain(0)


def test_a_stateful_run_without_states_in_its_file_says_so(tmp_path):
    path = forge(tmp_path, "stateful", put(LSTM, None), at=4)
    with pytest.warns(bp.errors.CheckpointWarning, match="goes on with zeros"):
        fit(RUNS["stateful"], checkpoint=path, checkpoint_every=1)


def frozen():
    return bp.optimizers.SGD(1e-300)  # so small that no weight moves


def test_layers_that_are_not_stateful_begin_with_zeros_beside_one_that_is():
    """By the layers called by hand, the state of the first one handed on."""
    x, y = data()
    model = model_of(stateful=True, also_plain=True, steps=11, optimizer=frozen())
    lstm = L.LSTM(5, return_sequences=True, return_state=True)
    zeros = [np.zeros((4, 5), "float32")] * 2
    lstm(x[:4], initial_state=zeros)
    lstm.set_weights(model.get_weights()[:3])
    for bptt in (None, 4):
        model.reset_states()
        states = zeros
        for begin in (0, 4, 8):
            part = slice(begin, begin + 4)
            if bptt is None:
                loss = model.train_on_batch(x[part], y[part])["loss"]
            else:
                opened = model_of(stateful=True, also_plain=True, optimizer=frozen())
                if begin == 0:
                    on = opened
                loss = on.fit(x[part], y[part], batch_size=4, shuffle=False, verbose=0,
                              bptt=bptt).history["loss"][0]  # fmt: skip
            h, *states = lstm(x[part].astype("float32"), initial_state=states)
            rest = bp.Sequential([bp.Input((11, 5)), L.GRU(4, return_sequences=True), L.Dense(2)])
            rest.set_weights(model.get_weights()[3:])
            expected = np.mean((rest.predict(h) - y[part]) ** 2)
            np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_states_outlive_what_makes_trainers_anew():
    """Another compilation, frozen layers and gradients in between do not lose them."""
    x, y = data()

    def losses(between):
        model = model_of(stateful=True, optimizer=frozen())
        first = model.train_on_batch(x, y)["loss"]
        between(model)
        return first, model.train_on_batch(x, y)["loss"]

    def freeze(model):
        model.layers[1].trainable = False

    plain = losses(lambda model: None)
    assert plain[0] != plain[1]
    for between in (
        freeze,
        lambda model: model.compile(frozen(), "mse"),
        lambda model: model.gradients(x[:7], y[:7], bptt=3),
        lambda model: model.evaluate(x, y),
        lambda model: model.predict(x),
    ):
        assert losses(between) == pytest.approx(plain, rel=1e-6)
    assert losses(lambda model: model.reset_states())[1] == plain[0]


def test_stateful_batches_of_unlike_lengths_go_on():
    """Batches from an iterator: the second has other steps, and the states of the first."""
    x, y = data()
    model = model_of(stateful=True, optimizer=frozen())
    cut = [(x[:, :4], y[:, :4]), (x[:, 4:], y[:, 4:])]
    history = model.fit(iter(cut), verbose=0).history["loss"]
    np.testing.assert_allclose(history, model.evaluate(x, y)["loss"], rtol=1e-6)
    with pytest.raises(ValueError, match="states of 12 samples, got batches of 5"):
        model.fit(iter([(x[:5], y[:5])]), verbose=0)
    with pytest.raises(TypeError, match=r"a list of \(x, y\).*sequences.*pass iter\(x\)"):
        model.fit(cut, verbose=0)


def test_gradients_wait_over_windows_of_unlike_lengths():
    """Four windows of 3, 3, 3 and 2 steps to an update: the mean of their gradients."""
    x, y = data()
    model, hand = (model_of(optimizer=bp.optimizers.SGD(0.1)) for _ in range(2))
    model.compile(bp.optimizers.SGD(0.1), "mse", accumulate_steps=4)
    model.fit(x, y, bptt=3, batch_size=12, verbose=0)
    first = hand.gradients(x, y, bptt=3).parameters
    counts = np.array([3, 3, 3, 2]) / 11  # gradients() weighs by the steps that count
    assert set(counts) == {3 / 11, 2 / 11}
    equal = hand.gradients(x[:, :9], y[:, :9], bptt=3).parameters  # of the first three
    for p, w in zip(hand.weights, model.get_weights(), strict=True):
        last = (first[p.name] - equal[p.name] * 9 / 11) * 11 / 2
        expected = p.value - 0.1 * (3 * equal[p.name] + last) / 4
        np.testing.assert_allclose(w, expected, rtol=1e-4, atol=1e-6)
